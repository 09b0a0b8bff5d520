/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of an answer on their way into a row of table chunk: adjacent ones of a kind are one object, tool calls keep their index, id and name, and
 * an array that does not fit is no array.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/execution/deltas.h"

static struct deltas d;

static int set_up(void **state)
{
	(void)state;
	deltas_init(&d, 1000);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	deltas_done(&d);
	return 0;
}

static void add(enum delta_kind kind, const char *text)
{
	deltas_add(&d, &(struct provider_delta){ .kind = kind, .text = str_from(text) });
}

static void add_tool(int index, const char *id, const char *name, const char *text)
{
	deltas_add(&d, &(struct provider_delta){ .kind = DELTA_TOOL, .index = index, .id = str_from(id), .name = str_from(name), .text = str_from(text) });
}

static void assert_text(const char *want)
{
	struct str have = deltas_text(&d);
	assert_non_null(have.p);
	if (!str_eq_z(have, want))
		fail_msg("wanted %s\nhave " STR_FMT, want, STR_ARG(have));
}

static void test_deltas_adjacent_text_is_one_object(void **state)
{
	(void)state;
	assert_true(deltas_are_empty(&d));
	add(DELTA_REASONING, "hm");
	add(DELTA_TEXT, "Gr\xc3\xbc");
	add(DELTA_TEXT, "\xc3\x9f"
	                "e \"du\"\n");
	add(DELTA_TEXT, "");
	add(DELTA_REFUSAL, "no");
	add(DELTA_TEXT, "yes");
	assert_false(deltas_are_empty(&d));
	assert_text("[{\"reasoning_content\":\"hm\"},{\"content\":\"Gr\xc3\xbc\xc3\x9f"
	            "e \\\"du\\\"\\n\"},{\"refusal\":\"no\"},{\"content\":\"yes\"}]");
}

static void test_deltas_pieces_of_one_tool_call_are_joined(void **state)
{
	(void)state;
	add_tool(0, "a", "f", "");
	add_tool(0, "", "", "{\"x\"");
	add_tool(0, "", "", ":1}");
	add_tool(1, "b", "g", "{}");
	add_tool(0, "", "", " ");
	assert_text("[{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},"
	            "{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
	            "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\" \"}}]}]");
}

static void test_deltas_text_may_be_read_and_added_to(void **state)
{
	(void)state;
	assert_text("[]");
	add(DELTA_TEXT, "a");
	assert_text("[{\"content\":\"a\"}]");
	assert_text("[{\"content\":\"a\"}]");
	add(DELTA_TEXT, "b");
	assert_text("[{\"content\":\"a\"},{\"content\":\"b\"}]");
	deltas_clear(&d);
	assert_true(deltas_are_empty(&d));
	add(DELTA_TEXT, "c");
	assert_text("[{\"content\":\"c\"}]");
}

static void test_deltas_an_answer_so_far_is_its_pieces(void **state)
{
	(void)state;
	struct arena arena;
	struct assembly s;
	arena_init(&arena, (size_t)1 << 20);
	assembly_init(&s, 1000, (struct provider_sink){ NULL, NULL }, &arena);
	assert_int_equal(assembly_text(&s, DELTA_TEXT, STR("one ")), 0);
	assert_int_equal(assembly_text(&s, DELTA_REASONING, STR("hm")), 0);
	assert_int_equal(assembly_text(&s, DELTA_TEXT, STR("two")), 0);
	assert_int_equal(assembly_tool(&s, 1, STR("b"), STR("g"), STR("{")), 0);
	deltas_add_answer(&d, &s);
	add_tool(1, "", "", "}");
	assert_text("[{\"reasoning_content\":\"hm\"},{\"content\":\"one two\"},"
	            "{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}]");
	assembly_done(&s);
	arena_done(&arena);
}

static void test_deltas_too_much_is_no_array(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++)
		add(i % 2 ? DELTA_TEXT : DELTA_REASONING, "0123456789012345678901234567890123456789");
	assert_null(deltas_text(&d).p);
	deltas_clear(&d);
	add(DELTA_TEXT, "a");
	assert_text("[{\"content\":\"a\"}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_deltas_adjacent_text_is_one_object, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deltas_pieces_of_one_tool_call_are_joined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deltas_text_may_be_read_and_added_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deltas_an_answer_so_far_is_its_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deltas_too_much_is_no_array, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
