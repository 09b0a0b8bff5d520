/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit_take.sql by hand: no sliding minute holds more than the limit, whatever workers do with their grants (time is made to pass by shifting
 * what the table counts); late and repeated statements; its plan.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/migrate.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/db/db_sync.h"
#include "sql_worker.h"
#include "tests/lib/pg.h"

static const char *const workers[] = { "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b" };

static int64_t taken_of(const char *key)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_printf(&b, "select coalesce(sum(t), 0)::int8 from limit_bucket, unnest(taken) t where key = '%s'", key);
	buf_add_char(&b, '\0');
	int64_t n = pg_test_number(b.p);
	buf_done(&b);
	return n;
}

static struct db_sync *s;

static void must(const char *text, int n, const char *const *params)
{
	struct err err = { 0 };
	if (db_sync_query(s, text, n, params, &err) < 0)
		fail_msg("%s", err.text);
}

static int64_t number(int col)
{
	return strtoll(db_sync_get(s, 0, col), NULL, 10);
}

struct number {
	char p[32];
};

static const char *text_of(struct number *n, const char *fmt, int64_t v)
{
	struct buf b;
	buf_init(&b, sizeof n->p);
	buf_printf(&b, "%s%jd%s", fmt[0] == '{' ? "{" : "", (intmax_t)v, fmt[0] == '{' ? "}" : "");
	memcpy(n->p, b.p, b.n);
	n->p[b.n] = '\0';
	buf_done(&b);
	return n->p;
}

/* One row of limit_take, by hand; the number granted, -1 when the row was not there. */
static int64_t raw_take(const char *key, bool is_hold, int64_t cap, int64_t want, int64_t need, int64_t back, int64_t back_second, const char *worker, int64_t seq,
                        int64_t *ret_second)
{
	struct number n[6];
	const char *params[] = { key, text_of(&n[0], "{", cap), is_hold ? "{t}" : "{f}", "{f}", text_of(&n[1], "{", want), text_of(&n[2], "{", need),
		                 text_of(&n[3], "{", back), text_of(&n[4], "{", back_second), "{0}", "{-1}", worker, text_of(&n[5], "", seq), "60000", "{5000}" };
	must(sql_worker_limit_take.sql, ARRAY_LEN(params), params);
	if (db_sync_rows(s) == 0)
		return -1;
	if (ret_second)
		*ret_second = number(2);
	return number(1);
}

static int opened(void **state)
{
	(void)state;
	struct err err = { 0 };
	const char *url = pg_test_url();
	if (migrate_run(url, NULL, &err) < 0 || db_sync_open(url, "test_limiter_sql", 10, &s, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ARRAY_LEN(workers); i++)
		pg_test_sqlf("insert into worker (id, host, pid, slots) values ('%s', 'h', 1, 8)", workers[i]);
	return 0;
}

static int closed(void **state)
{
	(void)state;
	db_sync_close(s);
	return 0;
}

/* A statement of a lost connection that comes late changes no held calls; sent twice, it takes twice, and never gives more than it counts. */
static void test_limiter_sql_statements_that_come_late_or_twice_do_no_harm(void **state)
{
	(void)state;
	const char *a = workers[0], *b = workers[1];
	assert_int_equal(raw_take("{held}", true, 10, 4, 0, 0, 0, a, 1, NULL), -1);
	int64_t first = raw_take("{held}", true, 10, 4, 0, 0, 0, a, 5, NULL);
	assert_int_equal(first, 4);
	assert_int_equal(raw_take("{held}", true, 10, 4, 0, 0, 0, a, 5, NULL), 4);
	(void)raw_take("{held}", true, 10, 9, 0, 4, 0, a, 3, NULL); /* late: an older one */
	assert_int_equal(pg_test_number("select held from limit_hold where key = 'held'"), 4);
	assert_in_range(raw_take("{held}", true, 10, 10, 0, 0, 0, b, 1, NULL), 1, 6);
	assert_int_equal(raw_take("{held}", true, 10, 4, 0, 0, 0, "00000000-0000-0000-0000-000000000001", 1, NULL), 0); /* is no worker */

	assert_int_equal(raw_take("{twice}", false, 600, 5, 5, 0, 0, a, 6, NULL), -1);
	pg_test_sql("update limit_bucket set tokens = 20 where key = 'twice'");
	int64_t granted = raw_take("{twice}", false, 600, 5, 5, 0, 0, a, 7, NULL) + raw_take("{twice}", false, 600, 5, 5, 0, 0, a, 7, NULL);
	assert_int_equal(granted, taken_of("twice"));
}

static void test_limiter_sql_reads_its_rows_by_key(void **state)
{
	(void)state;
	struct err err = { 0 };
	pg_test_sql("insert into limit_bucket (key) select 'k' || n from generate_series(1, 5000) n; analyze limit_bucket");
	assert_int_equal(db_sync_script(s, "set plan_cache_mode = force_generic_plan", &err), 0);
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_printf(&b, "prepare p as %s", sql_worker_limit_take.sql);
	buf_add_char(&b, '\0');
	must(b.p, 0, NULL);
	must("explain (costs off) execute p (null, null, null, null, null, null, null, null, null, null, null, null, null, null)", 0, NULL);
	for (int i = 0; i < db_sync_rows(s); i++)
		if (strstr(db_sync_get(s, i, 0), "Seq Scan on limit_"))
			fail_msg("%s", db_sync_get(s, i, 0));
	buf_done(&b);
	pg_test_sql("delete from limit_bucket where key like 'k%'");
}

/* --- the promise, by the statement itself --- */

static uint64_t seed = 88172645463325252u;

static int64_t below(int64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (int64_t)(seed % (uint64_t)n);
}

struct grant {
	int64_t at_ms, amount, second; /* second: the table's, less what was shifted before */
	int64_t shifted;
};

/* Moves what the table counted n seconds into the past. */
static void pass(int64_t seconds)
{
	pg_test_sqlf("update limit_bucket set at = at - %d * interval '1 second', taken = (select array_agg(taken[1 + (i + %d) %% 64] order by i)"
	    " from generate_series(0, 63) i) where key = 'greedy'", (int)seconds, (int)seconds);
}

/*
 * Workers that take all they can and use it at the worst moment of the two seconds that it may be on its way: then any 62 s of grants may lie in one
 * minute. Some is given back unused. Time passes in steps of up to three seconds, or of a minute and a half.
 */
static void test_limiter_sql_no_minute_holds_more_than_the_limit(void **state)
{
	(void)state;
	static struct grant grants[3000];
	static const struct {
		int64_t cap, need;
	} cases[] = { { 40, 1 }, { 3000, 40 }, { 3000, 2000 } };
	const char *a = workers[0], *b = workers[1];
	for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
		int64_t cap = cases[k].cap, shifted = 0, sum = 0;
		int n = 0;
		pg_test_sqlf("delete from limit_bucket where key = 'greedy'");
		for (int i = 0; i < 700; i++) {
			struct grant *last = n > 0 ? &grants[n - 1] : NULL;
			bool gives = last && below(6) == 0 && last->amount > 1 && shifted == last->shifted;
			int64_t back = gives ? last->amount / 2 : 0, second = 0, need = 1 + below(cases[k].need);
			int64_t granted = raw_take("{greedy}", false, cap, need + below(cap), need, back, gives ? last->second : 0, below(2) ? a : b, i, &second);
			if (gives)
				last->amount -= back;
			if (granted > 0)
				grants[n++] = (struct grant){ (int64_t)clock_mono_ms() + shifted * 1000, granted, second, shifted };
			int64_t step = below(100) == 0 ? 90 : below(3) == 0 ? below(4) : 0;
			if (step)
				pass(step);
			shifted += step;
		}
		for (int i = 0, from = 0; i < n; i++) {
			sum += grants[i].amount;
			while (grants[i].at_ms - grants[from].at_ms > 61900)
				sum -= grants[from++].amount;
			if (sum > cap)
				fail_msg("limit %d: %d in a minute", (int)cap, (int)sum);
		}
		assert_true(n > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limiter_sql_statements_that_come_late_or_twice_do_no_harm),
		cmocka_unit_test(test_limiter_sql_reads_its_rows_by_key),
		cmocka_unit_test(test_limiter_sql_no_minute_holds_more_than_the_limit),
	};
	return cmocka_run_group_tests(tests, opened, closed);
}
