/* SPDX-License-Identifier: Apache-2.0 */
/* An event is read without JSON only where it is the known one but for its plain text (and, where told so, the numbers behind it). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

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

static void test_whatever_differs_elsewhere_is_not_of_the_shape(void **state)
{
	(void)state;
	static const struct str others[] = {
		STR("{\"text\":\"a\\nb\",\"n\":1}"), STR("{\"text\":\"a\",\"n\":1,\"x\":2}"), STR("{\"text\":\"a\",\"n\":}"),
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
		cmocka_unit_test(test_whatever_differs_elsewhere_is_not_of_the_shape),
		cmocka_unit_test(test_an_ambiguous_event_teaches_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
