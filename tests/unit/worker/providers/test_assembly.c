/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer that is put together: what the pieces become in OpenAI's form, what the sink hears of them, which ends are failures (one row
 * each), what is bounded, and that counts of tokens come out in order whatever a provider counted.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/providers/assembly.h"

static struct arena arena;
static struct assembly s;
static struct buf heard;

static void hear(void *arg, const struct provider_delta *d)
{
	buf_printf(arg, "%d:%d:" STR_FMT ":" STR_FMT ":" STR_FMT "\n", (int)d->kind, d->index, STR_ARG(d->id), STR_ARG(d->name), STR_ARG(d->text));
}

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, (size_t)64 << 20);
	buf_init(&heard, 65536);
	assembly_init(&s, 100, (struct provider_sink){ hear, &heard }, &arena);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assembly_done(&s);
	buf_done(&heard);
	arena_done(&arena);
	return 0;
}

static void end(const char *finish)
{
	assembly_keep(&s, &s.finish, str_from(finish));
	s.done = true;
}

static json_t *message_of(const json_t *answer)
{
	return json_get(json_array_get(json_get(answer, "choices"), 0), "message");
}

static void test_assembly_pieces_become_one_answer(void **state)
{
	(void)state;
	assert_int_equal(assembly_text(&s, DELTA_REASONING, STR("hm")), 0);
	assert_int_equal(assembly_text(&s, DELTA_TEXT, STR("")), 0);
	assert_int_equal(assembly_text(&s, DELTA_TEXT, STR("Grü")), 0);
	assert_int_equal(assembly_text(&s, DELTA_TEXT, STR("ße")), 0);
	assert_int_equal(assembly_tool(&s, 1, STR("b"), STR("g"), STR("")), 0);
	assert_int_equal(assembly_tool(&s, 0, STR("a"), STR("f"), STR("{\"x\"")), 0);
	assert_int_equal(assembly_tool(&s, 0, STR("c"), STR("h"), STR(":1}")), 0);
	s.tools[1].signature = STR("sig");
	s.thinking = json_array();
	s.usage = (struct provider_usage){ .input = 9, .cached_input = 5, .output = 4, .reasoning = 1 };
	s.usage_known = true;
	assembly_keep(&s, &s.id, STR("r1"));
	assembly_keep(&s, &s.id, STR("r2"));
	end("tool_calls");
	assert_int_equal(assembly_bytes(&s), 2 + 4 + 3 + 7);
	struct provider_result r = { .retry_after_ms = -1 };
	assembly_conclude(&s, 0, false, &r);
	assert_int_equal(r.class, ERR_OK);
	assert_false(r.has_partial);
	assert_int_equal(r.output_bytes, 16);
	assert_true(r.usage_known && r.usage.reasoning == 1 && str_eq_z(r.finish_reason, "tool_calls"));
	assert_true(str_eq_z(buf_str(&r.result),
	                     "{\"id\":\"r1\",\"object\":\"chat.completion\",\"created\":0,\"model\":\"\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
	                     "\"content\":\"Grüße\",\"refusal\":null,\"reasoning_content\":\"hm\",\"thinking_blocks\":[],\"tool_calls\":["
	                     "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}},"
	                     "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"},"
	                     "\"extra_content\":{\"google\":{\"thought_signature\":\"sig\"}}}]},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],"
	                     "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13,"
	                     "\"prompt_tokens_details\":{\"cached_tokens\":5,\"cache_write_tokens\":0,\"audio_tokens\":0},"
	                     "\"completion_tokens_details\":{\"reasoning_tokens\":1}}}"));
	buf_done(&r.result);
}

static void test_assembly_sink_hears_each_piece_once(void **state)
{
	(void)state;
	assembly_text(&s, DELTA_TEXT, STR(""));
	assert_false(s.token);
	assembly_text(&s, DELTA_TEXT, STR("x"));
	assembly_text(&s, DELTA_REFUSAL, STR("no"));
	assembly_text(&s, DELTA_REASONING, STR("hm"));
	assembly_tool(&s, 2, STR("id"), STR("f"), STR("{"));
	assembly_tool(&s, 2, STR("id"), STR("f"), STR("}"));
	assembly_tool(&s, 2, STR(""), STR(""), STR(""));
	assert_true(s.token);
	assert_true(str_eq_z(buf_str(&heard), "0:0:::x\n1:0:::no\n2:0:::hm\n3:2:id:f:{\n3:2:::}\n"));
}

static void test_assembly_is_bounded(void **state)
{
	char wide[101] = { 0 }, *p = arena_alloc(&arena, 2000);
	(void)state;
	for (size_t i = 0; i < sizeof(wide); i++)
		wide[i] = 'x';
	for (size_t i = 0; i < 2000; i++)
		p[i] = 'y';
	assert_int_equal(assembly_text(&s, DELTA_TEXT, (struct str){ wide, 101 }), -ERR_TOO_LARGE);
	assert_int_equal(assembly_text(&s, DELTA_REFUSAL, (struct str){ wide, 100 }), 0);
	assert_int_equal(assembly_tool(&s, 0, STR("a"), STR("f"), (struct str){ wide, 101 }), -ERR_TOO_LARGE);
	assert_int_equal(assembly_tool(&s, ASSEMBLY_TOOLS_MAX - 1, STR("a"), STR("f"), STR("")), 0);
	assert_int_equal(assembly_tool(&s, ASSEMBLY_TOOLS_MAX, STR("a"), STR("f"), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(assembly_tool(&s, -1, STR("a"), STR("f"), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(assembly_tool(&s, INT64_MAX, STR("a"), STR("f"), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(assembly_tool(&s, 3, (struct str){ p, 2000 }, (struct str){ p, 2000 }, STR("")), 0);
	assert_int_equal(s.tools[3].id.n, 0);
	assembly_keep(&s, &s.model, (struct str){ p, 1001 });
	assert_int_equal(s.model.n, 0);
	assembly_keep(&s, &s.model, (struct str){ p, 1000 });
	assert_int_equal(s.model.n, 1000);
}

struct ending {
	const char *text;      /* NULL: none came */
	const char *arguments; /* of a tool call f; NULL: none */
	const char *finish;
	bool schema;
	int rc;
	enum err_code before, class;
};

static const struct ending endings[] = {
	{ "x", NULL, "stop", false, 0, ERR_OK, ERR_OK },
	{ "", NULL, "stop", false, 0, ERR_OK, ERR_OK },
	{ NULL, NULL, "stop", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ "x", NULL, "eos", false, 0, ERR_OK, ERR_OK }, /* not known: kept as it is */
	{ "x", NULL, "", false, 0, ERR_OK, ERR_STREAM_CUT },
	{ "x", NULL, NULL, false, 0, ERR_OK, ERR_STREAM_CUT },
	{ "x", NULL, "stop", false, -ERR_STREAM_CUT, ERR_OK, ERR_STREAM_CUT },
	{ "x", NULL, "stop", false, -ERR_OUTCOME_UNKNOWN, ERR_OK, ERR_OUTCOME_UNKNOWN },
	{ "x", NULL, "stop", false, -ERR_STREAM_CUT, ERR_PROVIDER_OVERLOADED, ERR_PROVIDER_OVERLOADED },
	{ "x", NULL, "length", false, 0, ERR_OK, ERR_OK },
	{ "{\"a\":", NULL, "length", true, 0, ERR_OK, ERR_OUTPUT_TRUNCATED },
	{ "{}", NULL, "stop", true, 0, ERR_OK, ERR_OK },
	{ "", NULL, "length", false, 0, ERR_OK, ERR_OUTPUT_TRUNCATED },
	{ NULL, NULL, "length", false, 0, ERR_OK, ERR_OUTPUT_TRUNCATED },
	{ "x", NULL, "content_filter", false, 0, ERR_OK, ERR_CONTENT_FILTER },
	{ "x", NULL, "insufficient_system_resource", false, 0, ERR_OK, ERR_TRANSIENT },
	{ "x", NULL, "error", false, 0, ERR_OK, ERR_TRANSIENT },
	{ NULL, NULL, "MALFORMED_FUNCTION_CALL", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ NULL, NULL, "UNEXPECTED_TOOL_CALL", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ NULL, NULL, "TOO_MANY_TOOL_CALLS", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ "x", NULL, "OTHER", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ NULL, "{\"a\":1}", "tool_calls", false, 0, ERR_OK, ERR_OK },
	{ NULL, "", "tool_calls", false, 0, ERR_OK, ERR_OK },
	{ NULL, "{\"a\":", "tool_calls", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ NULL, "{\"a\":1}{\"b\":2}", "tool_calls", false, 0, ERR_OK, ERR_BAD_OUTPUT },
	{ NULL, "{\"a\":", "length", false, 0, ERR_OK, ERR_OUTPUT_TRUNCATED },
	{ NULL, "{\"a\":1}", "length", false, 0, ERR_OK, ERR_OK },
};

static void test_assembly_each_end_has_its_meaning(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		const struct ending *e = &endings[i];
		tear_down(state);
		set_up(state);
		if (e->text)
			assembly_text(&s, DELTA_TEXT, str_from(e->text));
		if (e->arguments)
			assembly_tool(&s, 0, STR("a"), STR("f"), str_from(e->arguments));
		if (e->finish)
			end(e->finish);
		struct provider_result r = { .class = e->before };
		assembly_conclude(&s, e->rc, e->schema, &r);
		if (r.class != e->class)
			fail_msg("row %zu: got %s", i, err_code_name((int)r.class));
		assert_int_equal(r.has_partial, e->class != ERR_OK && e->text && *e->text);
		json_t *answer = r.result.n ? json_parse(buf_str(&r.result), NULL) : NULL;
		assert_int_equal(answer != NULL, r.class == ERR_OK || r.has_partial);
		assert_int_equal(json_bool(answer, "partial", false), r.has_partial);
		assert_true(!e->text || !answer || str_eq_z(json_str(message_of(answer), "content"), e->text));
		json_decref(answer);
		buf_done(&r.result);
	}
}

static void test_assembly_a_tool_call_needs_a_name(void **state)
{
	struct provider_result r = { .class = ERR_OK };
	(void)state;
	assembly_tool(&s, 0, STR("a"), STR(""), STR("{}"));
	end("tool_calls");
	assembly_conclude(&s, 0, false, &r);
	assert_int_equal(r.class, ERR_BAD_OUTPUT);
	buf_done(&r.result);
}

static void test_assembly_usage_of_the_provider_is_passed_on(void **state)
{
	(void)state;
	s.usage_raw = json_pack("{s:i,s:s}", "prompt_tokens", 3, "queue_time", "0.1");
	s.usage_known = true;
	json_t *answer = assembly_answer(&s, false);
	assert_true(json_equal(json_get(answer, "usage"), s.usage_raw));
	assert_true(json_is_null(json_get(message_of(answer), "content")));
	json_decref(answer);
}

static void test_assembly_counts_are_brought_into_order(void **state)
{
	static const struct {
		struct provider_usage in, out;
	} rows[] = {
		{ { .input = 10, .cached_input = 4, .cache_write = 6, .output = 3, .reasoning = 3 }, { .input = 10, .cached_input = 4, .cache_write = 6, .output = 3, .reasoning = 3 } },
		{ { .input = -1, .cached_input = 4, .output = -9, .reasoning = -1 }, { .input = 0 } },
		{ { .input = 10, .cached_input = 40, .cache_write = 5, .output = 1, .reasoning = 2 }, { .input = 10, .cached_input = 10, .output = 1, .reasoning = 1 } },
		{ { .input = 10, .cached_input = 8, .cache_write = 5 }, { .input = 10, .cached_input = 8, .cache_write = 2 } },
		{ { .input = 10, .audio_input = 11, .image_input = -2 }, { .input = 10, .audio_input = 10 } },
		{ { .input = INT64_MAX, .output = INT64_MIN }, { .input = 1000000000000 } },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_usage u = rows[i].in;
		const struct provider_usage *w = &rows[i].out;
		assembly_usage_tidy(&u);
		assert_int_equal(u.input, w->input);
		assert_int_equal(u.cached_input, w->cached_input);
		assert_int_equal(u.cache_write, w->cache_write);
		assert_int_equal(u.audio_input, w->audio_input);
		assert_int_equal(u.image_input, w->image_input);
		assert_int_equal(u.output, w->output);
		assert_int_equal(u.reasoning, w->reasoning);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_assembly_pieces_become_one_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_sink_hears_each_piece_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_each_end_has_its_meaning, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_a_tool_call_needs_a_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_usage_of_the_provider_is_passed_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assembly_counts_are_brought_into_order, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
