/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plans of the hot statements on a database with jobs in it, for whatever parameters (a generic plan, as a prepared statement gets
 * after its fifth run): none reads a table of jobs from end to end, and the claim reads the queue in its order.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/migrate.h"
#include "common/buf.h"
#include "common/db/db_sync.h"
#include "sql_api.h"
#include "sql_worker.h"
#include "tests/lib/pg.h"

static struct db_sync *s;

/* 20,000 jobs: 4,000 are queued, 4,000 parked, 2,000 run, 10,000 have ended. */
static const char fill[] =
    "insert into tenant (name, webhook_secret) values ('a', 'whsec_a'), ('b', 'whsec_b');"
    "insert into lane (name) values ('default');"
    "insert into worker (id, host, pid, slots) select gen_random_uuid(), 'h', n, 256 from generate_series(1, 8) n;"
    "create temp table made as select n, n % 1024 as bucket, millrace_id(n % 1024) as id, 1 + n % 2 as tenant from generate_series(1, 20000) n;"
    "insert into job (bucket, id, tenant_id, expires_at, lane, kind, priority, max_attempts, route)"
    " select bucket, id, tenant, now() + interval '1 day', 1, 0, 4, 5, 'default' from made;"
    "insert into payload (bucket, job_id, body) select bucket, id, repeat('x', 1000) from made;"
    "insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)"
    " select n, tenant, 0, now() + interval '1 day', bucket, 1, id, 4 from made where n <= 4000;"
    "insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, reason)"
    " select n, tenant, 0, now() + interval '1 day', now() + interval '1 hour', bucket, 1, id, 4, 1 from made where n > 4000 and n <= 8000;"
    "insert into lease (pass, tenant_id, token, expires_at, worker_id, claim_no, bucket, lane, job_id, priority, attempts, interruptions)"
    " select n, tenant, 1, now() + interval '1 day', (select id from worker where pid = 1 + n % 8), n / 100, bucket, 1, id, 4, 0, 0"
    " from made where n > 8000 and n <= 10000;"
    "insert into outcome (bucket, job_id, token, tenant_id, status) select bucket, id, 1, tenant, 3 from made where n > 10000;"
    "insert into result (bucket, job_id, token, body) select bucket, id, 1, repeat('y', 1000) from made where n > 10000;"
    "insert into attempt (bucket, job_id, token, tenant_id, started_at, number, target, code)"
    " select bucket, id, 1, tenant, now(), 1, 't', 'ok' from made where n > 10000;"
    "insert into idempotency (bucket, tenant_id, key, fingerprint, object_kind, object_id, status, expires_at)"
    " select bucket, tenant, 'k' || n, '\\x00', 0, id, 202, now() + interval '1 day' from made;"
    "insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url) select bucket, id, tenant, id, 'job.succeeded',"
    " 'https://' || case n % 100 when 0 then 'h' || n else 'dead' end || '/hook' from made;"
    "insert into unstored (bucket, job_id, tenant_id, look_at) select bucket, id, tenant, now() from made where n % 20 = 0;"
    /* As autovacuum does: a partition without rows is left out, and is planned as one that will have some. */
    "do $$ declare t regclass; begin"
    " for t in select oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace and pg_relation_size(oid) > 0 loop"
    "  execute format('analyze %s', t); end loop; end $$";

static int filled(void **state)
{
	(void)state;
	struct err err = { 0 };
	const char *url = pg_test_url();
	if (migrate_run(url, NULL, &err) < 0 || db_sync_open(url, "test_plans", 60, &s, &err) < 0 ||
	    db_sync_script(s, fill, &err) < 0 || db_sync_script(s, "set plan_cache_mode = force_generic_plan; set enable_partition_pruning = off", &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int closed(void **state)
{
	(void)state;
	db_sync_close(s);
	return 0;
}

static void must(const char *sql)
{
	struct err err = { 0 };
	if (db_sync_query(s, sql, 0, NULL, &err) < 0)
		fail_msg("%s: %s", sql, err.text);
}

/* The plan's lines, each ended by a line feed. */
static void explain(const struct db_stmt *stmt, struct buf *ret)
{
	struct buf sql;
	buf_init(&sql, 1 << 20);
	buf_printf(&sql, "prepare p as %s", stmt->sql);
	buf_add(&sql, "", 1);
	must(sql.p);
	buf_clear(&sql);
	buf_add_z(&sql, "explain (costs off) execute p");
	for (int i = 0; i < stmt->nparams; i++)
		buf_add_z(&sql, i == 0 ? "(null" : ", null");
	buf_add_z(&sql, stmt->nparams ? ")" : "");
	buf_add(&sql, "", 1);
	must(sql.p);
	buf_init(ret, 1 << 20);
	for (int i = 0; i < db_sync_rows(s); i++)
		buf_printf(ret, "%s\n", db_sync_get(s, i, 0));
	buf_add(ret, "", 1);
	must("deallocate p");
	buf_done(&sql);
}

/* A table of jobs, or one of its partitions. */
static bool is_of_jobs(const char *name)
{
	static const char *const tables[] = { "job", "payload", "ready", "parked", "lease", "outcome", "result", "attempt", "idempotency", "webhook_delivery" };
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		size_t n = strlen(tables[i]);
		if (strncmp(name, tables[i], n) == 0 && strchr("_ \n", name[n]))
			return true;
	}
	return false;
}

/* but: a table that may be read; NULL: none. */
static void assert_no_seq_scan(const struct db_stmt *stmt, const char *but)
{
	struct buf plan;
	explain(stmt, &plan);
	for (const char *at = plan.p; (at = strstr(at, "Seq Scan on ")) != NULL;) {
		at += strlen("Seq Scan on ");
		if (is_of_jobs(at) && !(but && strncmp(at, but, strlen(but)) == 0)) {
			fputs(plan.p, stderr); /* longer than what cmocka prints */
			fail_msg("%s reads a table from end to end: %.60s", stmt->name, at);
		}
	}
	buf_done(&plan);
}

static void test_plans_of_intake_read_by_key(void **state)
{
	(void)state;
	assert_no_seq_scan(&sql_api_accept, NULL);
	assert_no_seq_scan(&sql_api_accept_again, NULL);
	assert_no_seq_scan(&sql_api_idempotency_get, NULL);
}

static void test_plans_of_reading_read_by_key(void **state)
{
	(void)state;
	assert_no_seq_scan(&sql_api_job_get, NULL);
	assert_no_seq_scan(&sql_api_response_get, NULL);
	assert_no_seq_scan(&sql_api_response_before, NULL);
	assert_no_seq_scan(&sql_api_ended_jobs, NULL);
	assert_no_seq_scan(&sql_api_ended_answers, NULL);
	assert_no_seq_scan(&sql_api_events, NULL);
	assert_no_seq_scan(&sql_api_follow, NULL);
	assert_no_seq_scan(&sql_api_chunks_after, NULL);
	assert_no_seq_scan(&sql_api_chunk_newest, NULL);
	assert_no_seq_scan(&sql_api_attempts, NULL);
	assert_no_seq_scan(&sql_api_cancel, NULL);
	assert_no_seq_scan(&sql_api_job_erase, NULL);
	assert_no_seq_scan(&sql_api_retry, NULL);
	assert_no_seq_scan(&sql_api_ahead, NULL);
	assert_no_seq_scan(&sql_api_batch_results, NULL);
	assert_no_seq_scan(&sql_api_batch_output_page, NULL);
	assert_no_seq_scan(&sql_api_batch_output_finish, NULL);
	assert_no_seq_scan(&sql_api_batch_retry, NULL);
}

static void test_plans_of_the_worker_read_by_key(void **state)
{
	(void)state;
	assert_no_seq_scan(&sql_worker_claim, NULL);
	assert_no_seq_scan(&sql_worker_record, NULL);
	assert_no_seq_scan(&sql_worker_attempt_write, NULL);
	assert_no_seq_scan(&sql_worker_give_back, NULL);
	assert_no_seq_scan(&sql_worker_cancels, NULL);
	assert_no_seq_scan(&sql_worker_chunk_write, NULL);
	assert_no_seq_scan(&sql_worker_chunk_prune, NULL);
	/* It looks at all leases of one worker, which may be all that there are. */
	assert_no_seq_scan(&sql_worker_strays, "lease");
	assert_no_seq_scan(&sql_worker_orphans, NULL);
	assert_no_seq_scan(&sql_worker_unstored_erase, NULL);
	assert_no_seq_scan(&sql_worker_promote, NULL);
	assert_no_seq_scan(&sql_worker_parked_next, NULL);
}

/* Sorting the queue at each claim would make a claim as slow as the queue is long. */
static void test_plans_claim_takes_the_queue_in_order(void **state)
{
	(void)state;
	struct buf plan;
	explain(&sql_worker_claim, &plan);
	if (!strstr(plan.p, "using ready_order on ready") || strstr(plan.p, "Sort"))
		fail_msg("the claim does not follow ready_order:\n%s", plan.p);
	buf_done(&plan);
}

/* The test above can fail: it finds a table that is read whole. */
static void test_plans_a_whole_table_is_seen(void **state)
{
	(void)state;
	static const struct db_stmt whole = { "whole", "select count(*) from payload where length(body) = $1::int4", 1 };
	struct buf plan;
	explain(&whole, &plan);
	const char *at = strstr(plan.p, "Seq Scan on payload");
	assert_non_null(at);
	assert_true(is_of_jobs(at + strlen("Seq Scan on ")));
	assert_false(is_of_jobs("jobs\n"));
	assert_false(is_of_jobs("worker\n"));
	buf_done(&plan);
}

/* In whatever order they are taken; one receiver has nearly all that wait. */
static void test_plans_of_webhooks_read_what_is_due(void **state)
{
	(void)state;
	struct buf plan;
	assert_no_seq_scan(&sql_worker_webhook_take, NULL);
	explain(&sql_worker_webhook_take, &plan);
	assert_non_null(strstr(plan.p, "webhook_delivery_due"));
	assert_non_null(strstr(plan.p, "webhook_delivery_receiver"));
	assert_null(strstr(plan.p, "Bitmap"));
	buf_done(&plan);
	assert_no_seq_scan(&sql_worker_webhook_give_back, NULL);
	assert_no_seq_scan(&sql_worker_webhook_next, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plans_of_intake_read_by_key),
		cmocka_unit_test(test_plans_of_reading_read_by_key),
		cmocka_unit_test(test_plans_of_the_worker_read_by_key),
		cmocka_unit_test(test_plans_claim_takes_the_queue_in_order),
		cmocka_unit_test(test_plans_of_webhooks_read_what_is_due),
		cmocka_unit_test(test_plans_a_whole_table_is_seen),
	};
	return cmocka_run_group_tests(tests, filled, closed);
}
