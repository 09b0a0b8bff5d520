/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking client: scripts are all or nothing, values are text, failures carry the server's words and state. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/db/db_sync.h"
#include "tests/lib/pg.h"

static void test_db_sync_script_is_all_or_nothing(void **state)
{
	(void)state;
	struct db_sync *s;
	struct err err;
	assert_int_equal(db_sync_open(pg_test_url(), "test", 5, &s, &err), 0);
	assert_int_equal(db_sync_script(s, "create table a (id int); create table b (id int); select 1/0;", &err),
	                 -ERR_DB_QUERY);
	assert_string_equal(db_sync_sqlstate(s), "22012");
	assert_string_equal(err.text, "division by zero");
	assert_int_equal(db_sync_script(s, "create table a (id int); insert into a values (1), (null);", &err), 0);
	assert_string_equal(db_sync_sqlstate(s), "");
	db_sync_close(s);
	assert_int_equal(pg_test_number("select count(*) from a"), 2);
}

static void test_db_sync_query_gives_text_and_null(void **state)
{
	(void)state;
	struct db_sync *s;
	struct err err;
	const char *params[] = { "it's", NULL, "7" };
	assert_int_equal(db_sync_open(pg_test_url(), "test", 5, &s, &err), 0);
	assert_int_equal(db_sync_query(s, "select $1::text, $2::text, $3::int + 1, current_setting('application_name')",
	                               3, params, &err),
	                 0);
	assert_int_equal(db_sync_rows(s), 1);
	assert_string_equal(db_sync_get(s, 0, 0), "it's");
	assert_null(db_sync_get(s, 0, 1));
	assert_string_equal(db_sync_get(s, 0, 2), "8");
	assert_string_equal(db_sync_get(s, 0, 3), "test");
	assert_int_equal(db_sync_query(s, "select nothing", 0, NULL, &err), -ERR_DB_QUERY);
	assert_string_equal(db_sync_sqlstate(s), "42703");
	pg_test_terminate();
	assert_int_equal(db_sync_query(s, "select 1", 0, NULL, &err), -ERR_DATABASE);
	db_sync_close(s);
}

static void test_db_sync_open_says_why_not(void **state)
{
	(void)state;
	struct db_sync *s = NULL;
	struct err err;
	assert_int_equal(db_sync_open("host=/nonexistent", "test", 2, &s, &err), -ERR_DATABASE);
	assert_null(s);
	assert_true(str_find(str_from(err.text), STR("/nonexistent")) >= 0);
	assert_int_equal(db_sync_open("no_such_option=1", "test", 2, &s, &err), -ERR_DATABASE);
	assert_true(str_find(str_from(err.text), STR("no_such_option")) >= 0);
	db_sync_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_db_sync_script_is_all_or_nothing),
		cmocka_unit_test(test_db_sync_query_gives_text_and_null),
		cmocka_unit_test(test_db_sync_open_says_why_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
