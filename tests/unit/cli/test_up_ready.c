/* SPDX-License-Identifier: Apache-2.0 */
/* The ready file: valid JSON with every member, whatever the texts hold. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/up_ready.h"
#include "common/json.h"

static json_t *written(const struct up_ready *r)
{
	struct buf b;
	struct err err = { 0 };
	buf_init(&b, 1 << 16);
	assert_int_equal(up_ready_write(&b, r), 0);
	json_t *v = json_parse(buf_str(&b), &err);
	if (!v)
		fail_msg("%s", err.text);
	buf_done(&b);
	return v;
}

static void test_up_ready_has_everything(void **state)
{
	(void)state;
	const pid_t api[] = { 10, 11 }, worker[] = { 20 };
	const struct up_ready r = { .url = "http://127.0.0.1:8080",
		                    .api_key = "mr_a",
		                    .admin_key = "mr_b",
		                    .database_url = "postgresql://u:p@/d?host=%2Fa%20\"b\"",
		                    .simulator_url = "http://s",
		                    .api = api,
		                    .napi = 2,
		                    .worker = worker,
		                    .nworker = 1,
		                    .postgres = 30,
		                    .simulator = 40 };
	_cleanup_(json_drop) json_t *v = written(&r);
	assert_true(str_eq_z(json_str(v, "url"), r.url));
	assert_true(str_eq_z(json_str(v, "api_key"), "mr_a"));
	assert_true(str_eq_z(json_str(v, "admin_key"), "mr_b"));
	assert_true(str_eq_z(json_str(v, "database_url"), r.database_url));
	assert_true(str_eq_z(json_str(v, "simulator_url"), "http://s"));
	const json_t *pids = json_get(v, "pids");
	assert_int_equal(json_array_size(json_get(pids, "api")), 2);
	assert_int_equal(json_integer_value(json_array_get(json_get(pids, "api"), 1)), 11);
	assert_int_equal(json_integer_value(json_array_get(json_get(pids, "worker"), 0)), 20);
	assert_int_equal(json_i64(pids, "postgres", 0), 30);
	assert_int_equal(json_i64(pids, "simulator", 0), 40);
}

static void test_up_ready_absent_is_null(void **state)
{
	(void)state;
	const struct up_ready r = { .url = "u", .api_key = "a", .admin_key = "b", .database_url = "d", .postgres = 1 };
	_cleanup_(json_drop) json_t *v = written(&r);
	assert_true(json_is_null(json_object_get(v, "simulator_url")));
	assert_true(json_is_null(json_object_get(json_get(v, "pids"), "simulator")));
	assert_int_equal(json_array_size(json_get(json_get(v, "pids"), "api")), 0);
}

static void test_up_ready_does_not_cut(void **state)
{
	(void)state;
	struct buf b;
	const struct up_ready r = { .url = "u", .api_key = "a", .admin_key = "b", .database_url = "d" };
	buf_init(&b, 20);
	assert_true(up_ready_write(&b, &r) < 0);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up_ready_has_everything),
		cmocka_unit_test(test_up_ready_absent_is_null),
		cmocka_unit_test(test_up_ready_does_not_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
