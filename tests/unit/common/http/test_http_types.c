/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/http/http_types.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/err.h"
#include "common/http/http_types.h"

static void test_http_reason_knows_every_status_that_errors_use(void **state)
{
	(void)state;
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(999), "Unknown");
	for (int i = ERR_OK; i < ERR_COUNT; i++)
		assert_string_not_equal(http_reason(err_http_status(i)), "Unknown");
}

static void test_http_find_takes_the_first_of_any_case(void **state)
{
	(void)state;
	const struct http_header h[] = {
		{ STR("Accept"), STR("*/*") },
		{ STR("X-Empty"), { NULL, 0 } },
		{ STR("accept"), STR("text/html") },
	};
	assert_true(str_eq_z(http_find(h, ARRAY_LEN(h), "ACCEPT"), "*/*"));
	assert_int_equal(http_count(h, ARRAY_LEN(h), "accept"), 2);
	assert_non_null(http_find(h, ARRAY_LEN(h), "x-empty").p); /* there, and empty */
	assert_null(http_find(h, ARRAY_LEN(h), "accep").p);
	assert_null(http_find(NULL, 0, "accept").p);
	assert_int_equal(http_count(NULL, 0, "accept"), 0);
}

static void test_http_media_type_has_no_parameters_and_lower_case(void **state)
{
	(void)state;
	static const struct {
		struct str in;
		const char *want;
	} rows[] = {
		{ STR("application/json"), "application/json" },
		{ STR(" Application/JSON ; charset=UTF-8"), "application/json" },
		{ STR("text/x;"), "text/x" },
		{ STR(";"), "" },
		{ STR(""), "" },
		{ { NULL, 0 }, "" },
		{ STR("application/a-name-that-does-not-fit-into-the-callers-array"), "" },
	};
	char out[32];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_true(str_eq_z(http_media_type(rows[i].in, out, sizeof(out)), rows[i].want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_reason_knows_every_status_that_errors_use),
		cmocka_unit_test(test_http_find_takes_the_first_of_any_case),
		cmocka_unit_test(test_http_media_type_has_no_parameters_and_lower_case),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
