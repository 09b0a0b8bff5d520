/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's promises while things go wrong: crashes, ended sessions, lost answers, silent servers, asked-for retries.
 * Every query completes exactly once, and the same statement is sent again until its answer is certain. Real Postgres,
 * really crashed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/dbtest.h"
#include "tests/lib/pg.h"

#define STREAM 400

#define UPSERT "insert into r (id) values ($1::int4) on conflict (id) do update set n = r.n + 1"
static const struct db_stmt stmt_keep = { "keep", "insert into r (id) values ($1::int4) on conflict (id) do nothing",
	                                  1 };
static const struct db_stmt stmt_lost_answer = { "lost_answer", UPSERT, 1 };
static const struct db_stmt stmt_lost_once = { "lost_once", UPSERT, 1 };
static const struct db_stmt stmt_lost_send = { "lost_send", UPSERT, 1 };
static const struct db_stmt stmt_tx_first = { "tx_first", UPSERT, 1 };
static const struct db_stmt stmt_tx_second = { "tx_second", UPSERT, 1 };
static const char faults[] =
    "db.result.lost_answer=error@1,db.result.lost_once=error@1,db.send.lost_send=error@1,db.result.tx_second=error@1";

/* first(kind) fails, warns or sleeps the first time it is called in a database, and never again. */
static const char schema[] = "create table r (id int primary key, n int not null default 1);"
                             "create sequence calls;"
                             "create function first(kind text) returns void language plpgsql as $$ begin"
                             "  if nextval('calls') > 1 then return; end if;"
                             "  if kind = 'sleep' then perform pg_sleep(10);"
                             "  elsif kind = 'warning' then raise warning 'transaction has already committed locally, "
                             "but might not have been replicated';"
                             "  else raise exception 'first time' using errcode = kind; end if; end $$;";

static struct db_cfg fresh_cfg(void)
{
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	pg_test_sql(schema);
	return cfg;
}

static int setup(void **state)
{
	struct dbtest *t = calloc(1, sizeof(*t));
	struct db_cfg cfg = fresh_cfg();
	dbtest_open(t, &cfg);
	dbtest_until_up(t, true);
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

/* --- under a stream of queries --- */

static struct dbcall *stream_start(struct dbtest *t)
{
	struct dbcall *calls = calloc(STREAM, sizeof(*calls));
	for (int i = 0; i < STREAM; i++) {
		dbcall_init(&calls[i], &stmt_keep);
		calls[i].q.retry_ms = -1;
		db_arg_i32(&calls[i].q.args, i);
	}
	for (int i = 0; i < STREAM / 2; i++)
		assert_int_equal(dbcall_start(t, &calls[i]), 0);
	dbtest_until(t, &calls[10].completions, 1);
	return calls;
}

static void stream_end(struct dbtest *t, struct dbcall *calls)
{
	for (int i = STREAM / 2; i < STREAM; i++)
		assert_int_equal(dbcall_start(t, &calls[i]), 0);
	for (int i = 0; i < STREAM; i++) {
		dbtest_until(t, &calls[i].completions, 1);
		assert_int_equal(calls[i].rc, 0);
		db_query_done(&calls[i].q);
	}
	assert_int_equal(pg_test_number("select count(*) from r"), STREAM);
	free(calls);
}

static void note_change(void *arg, bool up)
{
	int *changes = arg;
	*changes = *changes * 10 + (up ? 1 : 2);
}

static void test_db_a_server_that_is_not_there_is_told_with_the_reason(void **state)
{
	struct dbtest *t = *state;
	struct db_cfg cfg = dbtest_cfg("host=127.0.0.1 port=1");
	int changes = 0;
	struct db *away = db_new(&t->loop, &cfg);
	db_on_change(away, note_change, &changes);
	dbtest_turns(t, 300);
	assert_int_equal(changes, 2); /* once */
	assert_non_null(strstr(db_why_down(away), "Connection refused"));
	assert_null(strchr(db_why_down(away), '\n'));
	db_free(away, NULL, NULL);
}

static void test_db_crash_of_the_server_loses_nothing(void **state)
{
	struct dbtest *t = *state;
	int changes = 0;
	if (!pg_test_owns_cluster())
		skip();
	dbtest_turns(t, 100); /* all connections are up, and told */
	db_on_change(t->db, note_change, &changes);
	struct dbcall *calls = stream_start(t);
	pg_test_crash();
	dbtest_until_up(t, false);
	pg_test_start();
	stream_end(t, calls);
	assert_int_equal(changes, 21); /* down, up */
}

static void test_db_ended_sessions_lose_nothing(void **state)
{
	struct dbtest *t = *state;
	struct dbcall *calls = stream_start(t);
	pg_test_terminate();
	stream_end(t, calls);
}

/* --- lost on the way --- */

static int run_upsert(struct dbtest *t, struct dbcall *c, const struct db_stmt *stmt, int64_t retry_ms)
{
	dbcall_init(c, stmt);
	c->q.retry_ms = retry_ms;
	db_arg_i32(&c->q.args, 1);
	int rc = dbcall_run(t, c);
	db_query_done(&c->q);
	return rc;
}

static void test_db_lost_answer_sends_the_same_again(void **state)
{
	struct dbcall c;
	assert_int_equal(run_upsert(*state, &c, &stmt_lost_answer, 10000), 0);
	assert_int_equal(c.q.work.tries, 2);
	assert_int_equal(pg_test_number("select n from r where id = 1"), 2); /* the first commit had happened */
}

static void test_db_lost_send_sends_again(void **state)
{
	struct dbcall c;
	assert_int_equal(run_upsert(*state, &c, &stmt_lost_send, 10000), 0);
	assert_int_equal(c.q.work.tries, 2);
	assert_int_equal(pg_test_number("select n from r where id = 1"), 1);
}

static void test_db_without_retry_a_lost_answer_is_told(void **state)
{
	struct dbcall c;
	assert_int_equal(run_upsert(*state, &c, &stmt_lost_once, 0), -ERR_DATABASE);
	assert_int_equal(c.q.work.tries, 1);
	assert_string_equal(c.q.err.text, "statement lost_once: fault point db.result");
}

static int tx_rc, tx_completions;

static void on_tx(struct op *op, int rc)
{
	(void)op;
	tx_rc = rc;
	tx_completions++;
}

static void test_db_lost_answer_sends_the_whole_transaction_again(void **state)
{
	struct dbtest *t = *state;
	struct db_query first, second, *queries[] = { &first, &second };
	struct db_tx tx = { .queries = queries, .n = 2, .retry_ms = 10000, .op = { .on_done = on_tx } };
	db_query_init(&first, &stmt_tx_first);
	db_query_init(&second, &stmt_tx_second);
	db_arg_i32(&first.args, 1);
	db_arg_i32(&second.args, 2);
	tx_completions = 0;
	assert_int_equal(db_tx_start(t->db, &tx, NULL), 0);
	dbtest_until(t, &tx_completions, 1);
	assert_int_equal(tx_rc, 0);
	assert_int_equal(tx.work.tries, 2);
	assert_int_equal(pg_test_number("select sum(n) from r"), 4);
	db_query_done(&first);
	db_query_done(&second);
}

/* --- what the server asks for --- */

static const struct db_stmt stmt_first = { "first", "select first($1::text)", 1 };

static int run_first(struct dbtest *t, const char *kind, int64_t retry_ms, unsigned *ret_tries)
{
	struct dbcall c;
	pg_test_sql("select setval('calls', 1, false)");
	dbcall_init(&c, &stmt_first);
	c.q.retry_ms = retry_ms;
	db_arg_text(&c.q.args, str_from(kind));
	int rc = dbcall_run(t, &c);
	*ret_tries = c.q.work.tries;
	db_query_done(&c.q);
	return rc;
}

static void test_db_passing_failures_are_tried_again(void **state)
{
	static const struct {
		const char *kind;
		int rc;
		unsigned tries;
	} rows[] = {
		{ "40001", 0, 2 },
		{ "40P01", 0, 2 },
		{ "55P03", 0, 2 },
		{ "57P01", 0, 2 },
		{ "57014", 0, 2 },
		{ "53100", 0, 2 },
		{ "53200", 0, 2 },
		{ "53300", 0, 2 },
		{ "58030", 0, 2 },
		{ "25006", 0, 2 },
		{ "08006", 0, 2 },
		{ "26000", 0, 2 },
		{ "warning", 0, 2 },
		{ "23505", -ERR_DB_QUERY, 1 },
		{ "XX000", -ERR_DB_QUERY, 1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned tries;
		assert_int_equal(run_first(*state, rows[i].kind, 10000, &tries), rows[i].rc);
		assert_int_equal(tries, rows[i].tries);
	}
}

static void test_db_without_retry_a_passing_failure_is_told(void **state)
{
	unsigned tries;
	assert_int_equal(run_first(*state, "40001", 0, &tries), -ERR_DATABASE);
	assert_int_equal(tries, 1);
}

/* --- silence --- */

static void test_db_silent_server_is_left_at_the_deadline(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = fresh_cfg();
	unsigned tries;
	cfg.deadline_ms = 250;
	dbtest_open(&t, &cfg);
	assert_int_equal(run_first(&t, "sleep", 10000, &tries), 0);
	assert_int_equal(tries, 2);
	assert_int_equal(run_first(&t, "sleep", 0, &tries), -ERR_DATABASE);
	assert_int_equal(tries, 1);
	dbtest_close(&t);
}

static void test_db_without_a_server_queries_end_after_their_time(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg("host=/nonexistent");
	struct dbcall once, some;
	dbtest_open(&t, &cfg);
	dbcall_init(&once, &stmt_keep);
	dbcall_init(&some, &stmt_keep);
	db_arg_i32(&once.q.args, 1);
	db_arg_i32(&some.q.args, 1);
	once.q.retry_ms = 0;
	some.q.retry_ms = 200;
	assert_int_equal(dbcall_start(&t, &some), 0);
	assert_int_equal(dbcall_run(&t, &once), -ERR_DATABASE);
	dbtest_until(&t, &some.completions, 1);
	assert_int_equal(some.rc, -ERR_DATABASE);
	assert_string_equal(some.q.err.text, "statement keep: no connection to the database");
	assert_false(db_is_up(t.db));
	db_query_done(&once.q);
	db_query_done(&some.q);
	dbtest_close(&t);
}

static void test_db_hosts_that_are_silent_or_away_are_passed_over(void **state)
{
	(void)state;
	if (!pg_test_owns_cluster())
		skip();
	struct db_cfg cfg = fresh_cfg();
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* takes the connection and says nothing */
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	struct buf more;
	buf_init(&more, 256);
	buf_printf(&more, "host=no-such-host.invalid,localhost,%s port=5432,%d,5432%c", pg_test_socket_dir(),
	           ntohs(sa.sin_port), 0);
	cfg.url = pg_test_url_with(more.p);
	cfg.connections = 1;
	struct dbtest t;
	struct dbcall c;
	dbtest_open(&t, &cfg);
	assert_int_equal(run_upsert(&t, &c, &stmt_keep, 20000), 0);
	/* The one that worked is taken first the next time: no two seconds of silence again. */
	pg_test_terminate();
	assert_int_equal(run_upsert(&t, &c, &stmt_keep, 1500), 0);
	dbtest_close(&t);
	buf_done(&more);
	close(fd);
}

static void test_db_more_than_the_socket_takes_flows_both_ways(void **state)
{
	(void)state;
	struct dbtest t;
	struct db_cfg cfg = fresh_cfg();
	static struct dbcall calls[12];
	static const struct db_stmt stmt = { "big_echo", "select $1::text", 1 };
	const size_t n = 4 << 20;
	char *big = malloc(n);
	memset(big, 'z', n);
	cfg.connections = 1;
	cfg.depth = ARRAY_LEN(calls);
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		dbcall_init(&calls[i], &stmt);
		db_arg_text(&calls[i].q.args, (struct str){ big, n - i });
		assert_int_equal(dbcall_start(&t, &calls[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		dbtest_until(&t, &calls[i].completions, 1);
		assert_int_equal(calls[i].rc, 0);
		assert_int_equal(calls[i].q.work.tries, 1);
		assert_int_equal(db_get_str(&calls[i].q, 0, 0).n, n - i);
		db_query_done(&calls[i].q);
	}
	dbtest_close(&t);
	free(big);
}

int main(void)
{
	setenv("MILLRACE_FAULTS", faults, 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_db_a_server_that_is_not_there_is_told_with_the_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_crash_of_the_server_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_ended_sessions_lose_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_lost_answer_sends_the_same_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_lost_send_sends_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_without_retry_a_lost_answer_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_lost_answer_sends_the_whole_transaction_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_passing_failures_are_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_db_without_retry_a_passing_failure_is_told, setup, teardown),
		cmocka_unit_test(test_db_silent_server_is_left_at_the_deadline),
		cmocka_unit_test(test_db_without_a_server_queries_end_after_their_time),
		cmocka_unit_test(test_db_hosts_that_are_silent_or_away_are_passed_over),
		cmocka_unit_test(test_db_more_than_the_socket_takes_flows_both_ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
