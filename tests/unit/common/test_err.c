/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/err.h: one line per failure, texts that stay UTF-8, a table without holes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/err.h"
#include "common/log.h"

static void test_err_set_returns_the_negative_code(void **state)
{
	(void)state;
	struct err err = { .param = "/old" };
	assert_int_equal(err_set(&err, ERR_NOT_FOUND, "no job %d", 7), -ERR_NOT_FOUND);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.text, "no job 7");
	assert_string_equal(err.param, "");
	assert_int_equal(err_set(NULL, ERR_IO, "nobody reads this"), -ERR_IO);
}

static void test_err_set_at_names_the_field(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(err_set_at(&err, ERR_WRONG_TYPE, "/request/n", "wanted an %s", "integer"), -ERR_WRONG_TYPE);
	assert_string_equal(err.param, "/request/n");
	assert_string_equal(err.text, "wanted an integer");
	assert_int_equal(err_set_at(NULL, ERR_WRONG_TYPE, "/x", "y"), -ERR_WRONG_TYPE);
}

static void test_err_texts_are_cut_at_a_characters_border(void **state)
{
	(void)state;
	char euros[600] = "";
	for (size_t i = 0; i + 3 < sizeof(euros); i += 3)
		memcpy(euros + i, "\xE2\x82\xAC", 3);
	struct err err;
	for (int shift = 0; shift < 3; shift++) {
		err_set_at(&err, ERR_INVALID, euros + shift * 3, "%.*s%s", shift, "abc", euros);
		assert_in_range(strlen(err.text), ERR_TEXT_MAX - 4, ERR_TEXT_MAX - 1);
		assert_true(str_is_utf8(str_from(err.text)));
		assert_in_range(strlen(err.param), ERR_PARAM_MAX - 4, ERR_PARAM_MAX - 1);
		assert_true(str_is_utf8(str_from(err.param)));
	}
}

static void test_err_wrap_puts_the_prefix_in_front(void **state)
{
	(void)state;
	struct err err;
	err_set(&err, ERR_BAD_JSON, "line 1");
	err_wrap(&err, "reply of %s", "openai");
	assert_string_equal(err.text, "reply of openai: line 1");
	assert_int_equal(err.code, ERR_BAD_JSON);
	err_set(&err, err.code, "again: %s", err.text); /* the arguments may lie in the err itself */
	assert_string_equal(err.text, "again: reply of openai: line 1");
	for (int i = 0; i < 50; i++)
		err_wrap(&err, "deep");
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	err_wrap(NULL, "nothing");
}

static void test_err_table_has_no_holes_and_no_doubles(void **state)
{
	(void)state;
	for (int i = ERR_OK + 1; i < ERR_COUNT; i++) {
		assert_int_equal(err_by_code_name(str_from(err_code_name(i))), i);
		assert_string_equal(err_code_name(-i), err_code_name(i));
		assert_true(strlen(err_title(i)) > 0);
		assert_in_range(err_http_status(i), 400, 599);
		assert_in_range(err_level(i), LOG_DEBUG, LOG_ERROR);
	}
	assert_int_equal(err_by_code_name(STR("nonsense")), ERR_OK);
	assert_int_equal(err_by_code_name(STR("ok")), ERR_OK);
}

static void test_err_columns_are_read_by_code(void **state)
{
	(void)state;
	assert_string_equal(err_code_name(-ERR_BAD_JSON), "invalid_json");
	assert_int_equal(err_http_status(-ERR_PROVIDER_RATE_LIMIT), 429);
	assert_true(err_is_retryable(-ERR_PROVIDER_RATE_LIMIT));
	assert_false(err_is_retryable(ERR_NOT_FOUND));
	assert_string_equal(err_code_name(-9999), "internal_error");
	assert_string_equal(err_code_name(INT32_MIN), "internal_error");
	assert_string_equal(err_code_name(0), "ok");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_set_returns_the_negative_code),
		cmocka_unit_test(test_err_set_at_names_the_field),
		cmocka_unit_test(test_err_texts_are_cut_at_a_characters_border),
		cmocka_unit_test(test_err_wrap_puts_the_prefix_in_front),
		cmocka_unit_test(test_err_table_has_no_holes_and_no_doubles),
		cmocka_unit_test(test_err_columns_are_read_by_code),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
