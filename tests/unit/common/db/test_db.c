/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's promises while the server is well: every query gets its own answer, transactions are whole, errors name
 * the statement, the queue is bounded, cancel never reaches a commit, values of all types come back as they went. Real
 * Postgres.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "tests/lib/dbtest.h"
#include "tests/lib/pg.h"

#define MANY 1000

static const struct db_stmt stmt_echo = { "echo", "select $1::int8", 1 };
static const struct db_stmt stmt_insert = { "insert_t", "insert into t (id) values ($1::int4)", 1 };
static const struct db_stmt stmt_wrong = { "wrong", "select no_such_column", 0 };
static const struct db_stmt stmt_divide = { "divide", "select 1 / $1::int4", 1 };
static const struct db_stmt stmt_sleep = { "sleep", "select pg_sleep(0.3)", 0 };

static int setup(void **state)
{
	struct dbtest *t = calloc(1, sizeof(*t));
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	pg_test_sql("create table t (id int primary key)");
	dbtest_open(t, &cfg);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct dbtest *t = *state;
	dbtest_close(t);
	free(t);
	return 0;
}

static int completions_of(const struct dbcall *calls, int n)
{
	int sum = 0;
	for (int i = 0; i < n; i++)
		sum += calls[i].completions;
	return sum;
}

static void many_echoes(struct dbtest *t)
{
	struct dbcall *calls = calloc(MANY, sizeof(*calls));
	for (int i = 0; i < MANY; i++) {
		dbcall_init(&calls[i], &stmt_echo);
		db_arg_i64(&calls[i].q.args, i * 1000003ll - 7);
		assert_int_equal(dbcall_start(t, &calls[i]), 0);
	}
	for (int i = 0; i < MANY; i++)
		dbtest_until(t, &calls[i].completions, 1);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(calls[i].rc, 0);
		assert_int_equal(db_rows(&calls[i].q), 1);
		assert_int_equal(db_get_int(&calls[i].q, 0, 0), i * 1000003ll - 7);
		db_query_done(&calls[i].q);
	}
	assert_int_equal(completions_of(calls, MANY), MANY);
	free(calls);
}

static void test_db_a_thousand_queries_get_their_own_answers(void **state)
{
	many_echoes(*state);
}

static void test_db_one_connection_answers_in_order(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	cfg.connections = 1;
	dbtest_open(&t, &cfg);
	static struct dbcall calls[50];
	for (int i = 0; i < 50; i++) {
		dbcall_init(&calls[i], &stmt_echo);
		db_arg_i64(&calls[i].q.args, i);
		assert_int_equal(dbcall_start(&t, &calls[i]), 0);
	}
	dbtest_until(&t, &calls[49].completions, 1);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(calls[i].completions, 1);
		assert_true(i == 0 || calls[i].order > calls[i - 1].order);
		db_query_done(&calls[i].q);
	}
	dbtest_close(&t);
}

static void test_db_pooler_mode_uses_no_named_statements(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	cfg.pooler = true;
	static const struct db_stmt names = { "names", "select count(*) from pg_prepared_statements where name <> ''",
		                              0 };
	static const struct db_stmt timeout = { "timeout", "select current_setting('statement_timeout')", 0 };
	dbtest_open(&t, &cfg);
	many_echoes(&t);
	struct dbcall c;
	dbcall_init(&c, &names);
	assert_int_equal(dbcall_run(&t, &c), 0);
	assert_int_equal(db_get_int(&c.q, 0, 0), 0);
	db_query_done(&c.q);
	dbcall_init(&c, &timeout);
	assert_int_equal(dbcall_run(&t, &c), 0);
	assert_true(str_eq_z(db_get_str(&c.q, 0, 0), "0"));
	db_query_done(&c.q);
	dbtest_close(&t);
}

static void test_db_works_through_a_transaction_pooler(void **state)
{
	(void)state;
	struct dbtest t;
	pg_test_url();
	const char *url = pg_test_pooler_url();
	if (!url)
		skip();
	struct db_cfg cfg = dbtest_cfg(url);
	cfg.pooler = true;
	dbtest_open(&t, &cfg);
	many_echoes(&t);
	assert_int_equal(dbtest_exec(&t, &stmt_wrong), -ERR_DB_QUERY);
	many_echoes(&t);
	dbtest_close(&t);
}

static void test_db_session_has_its_limits(void **state)
{
	static const struct db_stmt limits = {
		"limits",
		"select current_setting('statement_timeout'), current_setting('lock_timeout'), "
		"current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')",
		0
	};
	struct dbcall c;
	dbcall_init(&c, &limits);
	assert_int_equal(dbcall_run(*state, &c), 0);
	assert_true(str_eq_z(db_get_str(&c.q, 0, 0), "20s"));
	assert_true(str_eq_z(db_get_str(&c.q, 0, 1), "10s"));
	assert_true(str_eq_z(db_get_str(&c.q, 0, 2), "10s"));
	assert_true(str_eq_z(db_get_str(&c.q, 0, 3), "test"));
	db_query_done(&c.q);
}

/* --- errors --- */

static void test_db_error_names_statement_and_state(void **state)
{
	struct dbtest *t = *state;
	struct dbcall c;
	dbcall_init(&c, &stmt_wrong);
	assert_int_equal(dbcall_run(t, &c), -ERR_DB_QUERY);
	assert_string_equal(c.q.sqlstate, "42703");
	assert_string_equal(c.q.err.text, "statement wrong: column \"no_such_column\" does not exist");
	assert_int_equal(c.q.err.code, ERR_DB_QUERY);
	db_query_done(&c.q);
	/* The pipeline goes on, and the failed one is prepared again, not taken for prepared. */
	many_echoes(t);
	assert_int_equal(dbtest_exec(t, &stmt_wrong), -ERR_DB_QUERY);
}

static void test_db_wrong_parameter_is_not_retried(void **state)
{
	static const struct db_stmt stmt = { "narrow", "select $1::int8", 1 };
	struct dbcall c;
	dbcall_init(&c, &stmt);
	db_arg_i16(&c.q.args, 1);
	assert_int_equal(dbcall_run(*state, &c), -ERR_DB_QUERY);
	assert_int_equal(c.q.work.tries, 1);
	db_query_done(&c.q);
}

static void test_db_missing_prepared_statement_is_prepared_again(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	static const struct db_stmt deallocate = { "deallocate", "deallocate all", 0 };
	static const struct db_stmt star = { "star", "select * from s", 0 };
	static const struct db_stmt widen = { "widen", "alter table s add b int", 0 };
	cfg.connections = 1;
	pg_test_sql("create table s (a int); insert into s values (1)");
	dbtest_open(&t, &cfg);
	many_echoes(&t);
	assert_int_equal(dbtest_exec(&t, &deallocate), 0);
	many_echoes(&t);
	/* The same for one whose result type changed under it. */
	assert_int_equal(dbtest_exec(&t, &star), 0);
	assert_int_equal(dbtest_exec(&t, &widen), 0);
	assert_int_equal(dbtest_exec(&t, &star), 0);
	dbtest_close(&t);
}

/* --- transactions --- */

struct txcall {
	struct db_tx tx;
	int rc, completions;
};

static void on_tx(struct op *op, int rc)
{
	struct txcall *c = container_of(op, struct txcall, tx.op);
	c->rc = rc;
	c->completions++;
}

static int run_tx(struct dbtest *t, struct txcall *c, struct db_query **queries, size_t n)
{
	*c = (struct txcall){ .tx = { .queries = queries, .n = n, .retry_ms = 10000, .op = { .on_done = on_tx } } };
	assert_int_equal(db_tx_start(t->db, &c->tx, NULL), 0);
	dbtest_until(t, &c->completions, 1);
	return c->rc;
}

static void test_db_tx_commits_whole_or_rolls_back_whole(void **state)
{
	struct dbtest *t = *state;
	struct db_query insert1, insert2, divide, *queries[] = { &insert1, &divide, &insert2 };
	struct txcall c;
	for (int divisor = 0; divisor < 2; divisor++) {
		db_query_init(&insert1, &stmt_insert);
		db_query_init(&insert2, &stmt_insert);
		db_query_init(&divide, &stmt_divide);
		db_arg_i32(&insert1.args, 1);
		db_arg_i32(&divide.args, divisor);
		db_arg_i32(&insert2.args, 2);
		int rc = run_tx(t, &c, queries, 3);
		if (divisor == 0) {
			assert_int_equal(rc, -ERR_DB_QUERY);
			assert_string_equal(c.tx.err.text, "statement divide: division by zero");
			assert_string_equal(divide.sqlstate, "22012");
			assert_int_equal(pg_test_number("select count(*) from t"), 0);
		} else {
			assert_int_equal(rc, 0);
			assert_int_equal(db_get_int(&divide, 0, 0), 1);
			assert_int_equal(pg_test_number("select count(*) from t"), 2);
		}
		for (size_t i = 0; i < 3; i++)
			db_query_done(queries[i]);
	}
}

static void test_db_failure_of_the_commit_is_a_failure(void **state)
{
	struct dbtest *t = *state;
	static const struct db_stmt insert = { "insert_child", "insert into child values ($1::int4)", 1 };
	struct dbcall c;
	pg_test_sql("create table child (id int references t deferrable initially deferred)");
	dbcall_init(&c, &insert);
	db_arg_i32(&c.q.args, 9);
	assert_int_equal(dbcall_run(t, &c), -ERR_DB_QUERY); /* its INSERT was answered well, its Sync was not */
	assert_string_equal(c.q.sqlstate, "23503");
	db_query_done(&c.q);
	assert_int_equal(pg_test_number("select count(*) from child"), 0);
	many_echoes(t);
}

/* --- the queue --- */

static void test_db_queue_is_bounded(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	struct dbcall calls[8];
	cfg.connections = 1;
	cfg.depth = 2;
	cfg.max_waiting = 5;
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	for (int i = 0; i < 8; i++) {
		dbcall_init(&calls[i], &stmt_sleep);
		assert_int_equal(dbcall_start(&t, &calls[i]), i < 7 ? 0 : -ERR_OVERLOADED);
	}
	assert_int_equal(db_waiting(t.db), 5);
	dbtest_until(&t, &calls[6].completions, 1);
	assert_int_equal(completions_of(calls, 8), 7);
	for (int i = 0; i < 8; i++)
		db_query_done(&calls[i].q);
	dbtest_close(&t);
}

static void test_db_cancel_reaches_only_what_is_not_sent(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	struct dbcall sent, waiting;
	static const struct db_stmt slow_insert = { "slow_insert", "insert into u select 1 from pg_sleep(0.2)", 0 };
	cfg.connections = cfg.depth = 1;
	pg_test_sql("create table u (id int)");
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	dbcall_init(&sent, &slow_insert);
	dbcall_init(&waiting, &slow_insert);
	assert_int_equal(dbcall_start(&t, &sent), 0);
	assert_int_equal(dbcall_start(&t, &waiting), 0);
	op_cancel(&waiting.q.op);
	assert_int_equal(waiting.completions, 1);
	assert_int_equal(waiting.rc, -ERR_CANCELED);
	op_cancel(&sent.q.op);
	assert_int_equal(sent.completions, 0);
	dbtest_until(&t, &sent.completions, 1);
	assert_int_equal(sent.rc, 0);
	assert_int_equal(pg_test_number("select count(*) from u"), 1);
	db_query_done(&sent.q);
	db_query_done(&waiting.q);
	dbtest_close(&t);
}

static void test_db_free_completes_everything(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	static struct dbcall calls[40];
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	for (int i = 0; i < 40; i++) {
		dbcall_init(&calls[i], &stmt_sleep);
		assert_int_equal(dbcall_start(&t, &calls[i]), 0);
	}
	dbtest_close(&t);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(calls[i].completions, 1);
		assert_int_equal(calls[i].rc, -ERR_DRAINING);
		db_query_done(&calls[i].q);
	}
}

static void test_db_bad_connection_string_makes_no_db(void **state)
{
	(void)state;
	struct loop l;
	struct db_cfg cfg = dbtest_cfg("no_such_option=1");
	loop_init(&l);
	assert_null(db_new(&l, &cfg));
	loop_done(&l);
}

/* --- values --- */

static void test_db_values_come_back_as_they_went(void **state)
{
	static const struct db_stmt stmt = {
		"values",
		"select $1::int2, $2::int4, $3::int8, $4::bool, $5::text, $6::bytea, $7::uuid, "
		"$8::timestamptz, $9::text, $10::text, $8::timestamptz = '2024-02-29 12:00:00.000001Z'",
		10
	};
	struct dbcall c;
	struct id id = id_make(7);
	char *big = malloc(1 << 20);
	memset(big, 'x', 1 << 20);
	int64_t wall = 1709208000000001;
	dbcall_init(&c, &stmt);
	struct db_args *a = &c.q.args;
	db_arg_i16(a, INT16_MIN);
	db_arg_i32(a, INT32_MIN);
	db_arg_i64(a, INT64_MIN);
	db_arg_bool(a, true);
	db_arg_text(a, STR("grüß' \"\\"));
	db_arg_bytea(a, STR("\0\1\377"));
	db_arg_id(a, id);
	db_arg_time(a, wall);
	db_arg_text(a, (struct str){ big, 1 << 20 });
	db_arg_null(a);
	assert_int_equal(dbcall_run(*state, &c), 0);
	assert_int_equal(db_get_int(&c.q, 0, 0), INT16_MIN);
	assert_int_equal(db_get_int(&c.q, 0, 1), INT32_MIN);
	assert_int_equal(db_get_int(&c.q, 0, 2), INT64_MIN);
	assert_true(db_get_bool(&c.q, 0, 3));
	assert_true(str_eq(db_get_str(&c.q, 0, 4), STR("grüß' \"\\")));
	assert_true(str_eq(db_get_str(&c.q, 0, 5), STR("\0\1\377")));
	assert_true(id_eq(db_get_id(&c.q, 0, 6), id));
	assert_int_equal(db_get_time(&c.q, 0, 7), wall);
	assert_true(str_eq(db_get_str(&c.q, 0, 8), (struct str){ big, 1 << 20 }));
	assert_true(db_is_null(&c.q, 0, 9));
	assert_int_equal(db_get_str(&c.q, 0, 9).n, 0);
	assert_true(db_get_bool(&c.q, 0, 10));
	db_query_done(&c.q);
	free(big);
}

#define ARRAYS 8

static void fill_arrays(struct db_array *a, struct id id, struct str big)
{
	static const enum db_type types[ARRAYS] = { DB_INT2, DB_INT4,  DB_INT8, DB_BOOL,
		                                    DB_TEXT, DB_BYTEA, DB_UUID, DB_TIME };
	for (size_t i = 0; i < ARRAYS; i++)
		db_array_init(&a[i], types[i], 4 << 20);
	for (size_t i = 0; i < ARRAYS; i++) {
		db_array_text(&a[4], STR("to be forgotten"));
		db_array_clear(&a[4]);
	}
	db_array_i16(&a[0], -5);
	db_array_i32(&a[1], 70000);
	db_array_i64(&a[2], -5000000000);
	db_array_bool(&a[3], true);
	db_array_text(&a[4], big);
	db_array_text(&a[5], STR("\0b"));
	db_array_id(&a[6], id);
	db_array_time(&a[7], 1709208000000001);
	for (size_t i = 0; i < ARRAYS; i++)
		db_array_null(&a[i]);
}

static void test_db_arrays_of_all_types_come_back_as_rows(void **state)
{
	static const struct db_stmt stmt = {
		"arrays",
		"select * from unnest($1::int2[], $2::int4[], $3::int8[], $4::bool[], $5::text[], $6::bytea[], "
		"$7::uuid[], $8::timestamptz[])",
		ARRAYS
	};
	struct db_array a[ARRAYS];
	struct dbcall c;
	struct id id = id_make(3);
	char *big = malloc(1 << 20);
	memset(big, 'y', 1 << 20);
	fill_arrays(a, id, (struct str){ big, 1 << 20 });
	dbcall_init(&c, &stmt);
	for (size_t i = 0; i < ARRAYS; i++)
		db_arg_array(&c.q.args, &a[i]);
	assert_int_equal(dbcall_run(*state, &c), 0);
	assert_int_equal(db_rows(&c.q), 2);
	assert_int_equal(db_get_int(&c.q, 0, 0), -5);
	assert_int_equal(db_get_int(&c.q, 0, 1), 70000);
	assert_int_equal(db_get_int(&c.q, 0, 2), -5000000000);
	assert_true(db_get_bool(&c.q, 0, 3));
	assert_true(str_eq(db_get_str(&c.q, 0, 4), (struct str){ big, 1 << 20 }));
	assert_true(str_eq(db_get_str(&c.q, 0, 5), STR("\0b")));
	assert_true(id_eq(db_get_id(&c.q, 0, 6), id));
	assert_int_equal(db_get_time(&c.q, 0, 7), 1709208000000001);
	for (int i = 0; i < ARRAYS; i++)
		assert_true(db_is_null(&c.q, 1, i));
	db_query_done(&c.q);
	/* Empty ones too. */
	dbcall_init(&c, &stmt);
	for (size_t i = 0; i < ARRAYS; i++) {
		db_array_clear(&a[i]);
		db_arg_array(&c.q.args, &a[i]);
		db_array_done(&a[i]);
	}
	assert_int_equal(dbcall_run(*state, &c), 0);
	assert_int_equal(db_rows(&c.q), 0);
	db_query_done(&c.q);
	free(big);
}

static void test_db_array_past_its_maximum_is_refused(void **state)
{
	static const struct db_stmt stmt = { "array", "select unnest($1::int8[])", 1 };
	struct dbtest *t = *state;
	struct db_array a;
	struct dbcall c;
	db_array_init(&a, DB_INT8, 100);
	for (int i = 0; i < 10; i++)
		db_array_i64(&a, i);
	dbcall_init(&c, &stmt);
	db_arg_array(&c.q.args, &a);
	assert_int_equal(dbcall_start(t, &c), -ERR_TOO_LARGE);
	db_query_done(&c.q);
	db_array_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_db_a_thousand_queries_get_their_own_answers, setup, teardown),
		cmocka_unit_test(test_db_one_connection_answers_in_order),
		cmocka_unit_test(test_db_pooler_mode_uses_no_named_statements),
		cmocka_unit_test(test_db_works_through_a_transaction_pooler),
		cmocka_unit_test_setup_teardown(test_db_session_has_its_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_error_names_statement_and_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_wrong_parameter_is_not_retried, setup, teardown),
		cmocka_unit_test(test_db_missing_prepared_statement_is_prepared_again),
		cmocka_unit_test_setup_teardown(test_db_tx_commits_whole_or_rolls_back_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_failure_of_the_commit_is_a_failure, setup, teardown),
		cmocka_unit_test(test_db_queue_is_bounded),
		cmocka_unit_test(test_db_cancel_reaches_only_what_is_not_sent),
		cmocka_unit_test(test_db_free_completes_everything),
		cmocka_unit_test(test_db_bad_connection_string_makes_no_db),
		cmocka_unit_test_setup_teardown(test_db_values_come_back_as_they_went, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_arrays_of_all_types_come_back_as_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_array_past_its_maximum_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
