/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement of both rooms can be prepared against the migrated schema, with as many parameters as its callers
 * give. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/migrate.h"
#include "common/buf.h"
#include "common/db/db_sync.h"
#include "sql_api.h"
#include "sql_worker.h"
#include "tests/lib/pg.h"

static struct db_sync *s;

static int migrated(void **state)
{
	(void)state;
	struct err err = { 0 };
	const char *url = pg_test_url();
	if (migrate_run(url, NULL, &err) < 0 || db_sync_open(url, "test_sql", 10, &s, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int closed(void **state)
{
	(void)state;
	db_sync_close(s);
	return 0;
}

static void prepare_all(const struct db_stmt *const *all, int n, const char *room)
{
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		struct buf b;
		struct err err = { 0 };
		buf_init(&b, 1 << 20);
		buf_printf(&b, "prepare %s_%s as %s", room, all[i]->name, all[i]->sql);
		buf_add(&b, "", 1);
		if (db_sync_query(s, b.p, 0, NULL, &err) < 0)
			fail_msg("%s/sql/%s.sql: %s", room, all[i]->name, err.text);
		buf_clear(&b);
		buf_printf(&b, "select cardinality(parameter_types) from pg_prepared_statements where name = '%s_%s'",
		           room, all[i]->name);
		buf_add(&b, "", 1);
		assert_int_equal(db_sync_query(s, b.p, 0, NULL, &err), 0);
		assert_int_equal(db_sync_rows(s), 1);
		buf_clear(&b);
		buf_printf(&b, "%d", all[i]->nparams);
		buf_add(&b, "", 1);
		assert_string_equal(db_sync_get(s, 0, 0), b.p);
		buf_done(&b);
	}
}

static void test_sql_api_statements_fit_the_schema(void **state)
{
	(void)state;
	prepare_all(sql_api_all, sql_api_all_n, "api");
}

static void test_sql_worker_statements_fit_the_schema(void **state)
{
	(void)state;
	prepare_all(sql_worker_all, sql_worker_all_n, "worker");
}

/* A statement that names neither works over all tenants, or is about none: its head comment says so, and here is the
 * list. */
static void test_sql_api_statements_name_bucket_and_tenant(void **state)
{
	(void)state;
	static const char *const others[] = { "admin_target_change", "admin_target_events", "admin_targets", "admin_wake", "ahead", "blob_read", "door_take", "file_lock_tenant",
		                              "file_sweep_abandoned", "file_sweep_chunks", "key_get", "lane_floors", "lane_get", "notify", "presence", "ready" };
	for (int i = 0; i < sql_api_all_n; i++) {
		bool is_other = false;
		for (size_t k = 0; k < ARRAY_LEN(others); k++)
			is_other = is_other || strcmp(others[k], sql_api_all[i]->name) == 0;
		bool names = strstr(sql_api_all[i]->sql, "tenant_id") != NULL;
		if (!is_other && !names)
			fail_msg("%s does not name tenant_id", sql_api_all[i]->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sql_api_statements_fit_the_schema),
		cmocka_unit_test(test_sql_worker_statements_fit_the_schema),
		cmocka_unit_test(test_sql_api_statements_name_bucket_and_tenant),
	};
	return cmocka_run_group_tests(tests, migrated, closed);
}
