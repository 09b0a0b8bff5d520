/* SPDX-License-Identifier: Apache-2.0 */
/* An event is read without JSON only where it is the known one but for its text (and, where told so, the numbers behind it). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "worker/providers/shape.h"

static const struct str mark = STR("\"text\":\"");

static void test_an_event_of_the_same_shape_says_its_text(void **state)
{
	(void)state;
	struct shape s;
	struct str text;
	shape_init(&s);
	assert_false(shape_read(&s, STR("{\"text\":\"one\",\"n\":1}"), true, &text));
	shape_learn(&s, STR("{\"text\":\"one\",\"n\":1}"), mark);
	assert_true(shape_read(&s, STR("{\"text\":\"another\",\"n\":1}"), false, &text));
	assert_true(str_eq(text, STR("another")));
	assert_true(shape_read(&s, STR("{\"text\":\"\",\"n\":1}"), false, &text));
	assert_int_equal(text.n, 0);
	assert_false(shape_read(&s, STR("{\"text\":\"one\",\"n\":22}"), false, &text));
	assert_true(shape_read(&s, STR("{\"text\":\"one\",\"n\":22}"), true, &text));
	shape_done(&s);
}

static void test_short_escapes_are_read_as_json_reads_them(void **state)
{
	(void)state;
	static const struct {
		struct str event, text;
	} cases[] = {
		{ STR("{\"text\":\"a\\nb\"}"), STR("a\nb") },
		{ STR("{\"text\":\"\\\"\"}"), STR("\"") },
		{ STR("{\"text\":\"\\\\\"}"), STR("\\") },
		{ STR("{\"text\":\"\\\\n\\/\\b\\f\\r\\t\"}"), STR("\\n/\b\f\r\t") },
		{ STR("{\"text\":\"eight plain \\n\\n and more of \xC3\xA9 them\"}"), STR("eight plain \n\n and more of \xC3\xA9 them") },
	};
	struct shape s;
	struct str text;
	shape_init(&s);
	shape_learn(&s, STR("{\"text\":\"one\"}"), mark);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(shape_read(&s, cases[i].event, false, &text));
		assert_true(str_eq(text, cases[i].text));
		json_t *json = json_parse(cases[i].event, NULL);
		assert_true(str_eq(json_str(json, "text"), cases[i].text));
		json_decref(json);
	}
	shape_done(&s);
}

/* Numbers become longer and shorter wherever they stand in the eight bytes that are compared at once. */
static void test_counts_may_have_any_number_of_digits(void **state)
{
	(void)state;
	struct shape s;
	struct str text;
	struct buf known, event;
	buf_init(&known, 256);
	buf_init(&event, 256);
	shape_init(&s);
	for (int pad = 0; pad < 12; pad++)
		for (int was = 1; was < 12; was++)
			for (int is = 1; is < 12; is++) {
				buf_clear(&known);
				buf_printf(&known, "{\"text\":\"one\",\"%.*s\":%.*s,\"m\":7}", pad, "abcdefghijkl", was, "12345678901");
				buf_clear(&event);
				buf_printf(&event, "{\"text\":\"two\",\"%.*s\":%.*s,\"m\":88}", pad, "abcdefghijkl", is, "12345678901");
				shape_learn(&s, buf_str(&known), mark);
				assert_true(shape_read(&s, buf_str(&event), true, &text));
				assert_false(shape_read(&s, buf_str(&event), false, &text));
			}
	shape_done(&s);
	buf_done(&known);
	buf_done(&event);
}

static void test_whatever_differs_elsewhere_is_not_of_the_shape(void **state)
{
	(void)state;
	static const struct str others[] = {
		STR("{\"text\":\"a\\u000ab\",\"n\":1}"), STR("{\"text\":\"a\\x\",\"n\":1}"), STR("{\"text\":\"a\\\",\"n\":1}"), STR("{\"text\":\"a\\"),
		STR("{\"text\":\"a\",\"n\":1,\"x\":2}"), STR("{\"text\":\"a\",\"n\":}"),
		STR("{\"text\":\"a\",\"n\":-1}"),     STR("{\"text\":\"a\",\"n\":1"),            STR("{\"texts\":\"a\",\"n\":1}"),
	};
	struct shape s;
	struct str text;
	shape_init(&s);
	shape_learn(&s, STR("{\"text\":\"one\",\"n\":1}"), mark);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(shape_read(&s, others[i], true, &text));
	shape_done(&s);
}

static void test_an_ambiguous_event_teaches_nothing(void **state)
{
	(void)state;
	struct shape s;
	struct str text;
	shape_init(&s);
	shape_learn(&s, STR("{\"text\":\"one\"}"), mark);
	shape_learn(&s, STR("{\"text\":\"one\",\"text\":\"two\"}"), mark);
	assert_false(shape_read(&s, STR("{\"text\":\"one\"}"), true, &text));
	shape_learn(&s, STR("{\"text\":\"with \\\"quotes\\\"\"}"), mark);
	assert_false(shape_read(&s, STR("{\"text\":\"with \"}"), true, &text));
	shape_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_event_of_the_same_shape_says_its_text),
		cmocka_unit_test(test_short_escapes_are_read_as_json_reads_them),
		cmocka_unit_test(test_counts_may_have_any_number_of_digits),
		cmocka_unit_test(test_whatever_differs_elsewhere_is_not_of_the_shape),
		cmocka_unit_test(test_an_ambiguous_event_teaches_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
