/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limiter against a real database: several limiters with worker ids of their own in one program, as the processes of a fleet, in real
 * time. test_limiter_sql.c has the statement alone, with time that passes faster.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/migrate.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "tests/lib/confs.h"
#include "tests/lib/dbtest.h"
#include "tests/lib/pg.h"
#include "worker/limits/limiter.h"
#include "worker/limits/limiter_priv.h"

static const char conf_text[] =
    "{\"targets\":{"
    "\"fast\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\",\"limits\":{\"requests\":60000,\"headroom\":1}},"
    "\"rare\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\",\"limits\":{\"requests\":1,\"headroom\":1}},"
    "\"slow\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\",\"limits\":{\"requests\":2,\"headroom\":1}},"
    "\"text\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\",\"limits\":{\"tokens\":600000,\"headroom\":1}},"
    "\"eight\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\",\"limits\":{\"concurrency\":8,\"headroom\":1}},"
    "\"free\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\"}},"
    "\"tiers\":{\"one\":{\"requests\":1},\"many\":{\"requests\":600}},\"rates\":{\"users\":{\"ann\":\"one\",\"*\":\"many\"}}}";

#define PROCESSES 3

static struct dbtest t;
static struct worker workers[PROCESSES];

static const char *hex_of(const struct worker *w)
{
	static char text[ID_TEXT_MAX];
	return id_text(w->id, "", text).p;
}

static void settled_loop(void)
{
	for (int i = 0; i < 500; i++) {
		bool idle = true;
		for (int p = 0; p < PROCESSES; p++)
			idle = idle && limiter_is_idle(workers[p].limiter);
		if (idle)
			return;
		dbtest_turns(&t, 20);
	}
	fail_msg("the limiters do not come to rest");
}

static int opened(void **state)
{
	struct err err = { 0 };
	const char *url = pg_test_url();
	confs_open(state);
	if (migrate_run(url, NULL, &err) < 0)
		fail_msg("%s", err.text);
	conf_set_now(confs_good(conf_text));
	struct db_cfg cfg = dbtest_cfg(url);
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	for (int i = 0; i < PROCESSES; i++) {
		struct worker *w = &workers[i];
		*w = (struct worker){ .loop = &t.loop, .db = t.db, .id = id_make(-1) };
		list_init(&w->jobs);
		pg_test_sqlf("insert into worker (id, host, pid, slots) values ('%s', 'h', %d, 8)", hex_of(w), i);
		w->limiter = limiter_new(w);
	}
	return 0;
}

static int closed(void **state)
{
	for (int i = 0; i < PROCESSES; i++)
		limiter_drain(workers[i].limiter);
	settled_loop();
	for (int i = 0; i < PROCESSES; i++)
		limiter_free(workers[i].limiter);
	dbtest_close(&t);
	conf_set_now(NULL);
	metrics_done();
	return confs_close(state);
}

struct call {
	struct limit_op op;
	struct limit_ticket ticket;
	int rc, done;
};

static int ended; /* calls, over the program */

static void on_done(struct op *op, int rc)
{
	struct call *c = container_of(container_of(op, struct limit_op, op), struct call, op);
	c->rc = rc;
	c->done++;
	ended++;
}

static const struct conf_target *target(const char *name)
{
	const struct conf *c = conf_now();
	for (size_t i = 0; i < c->ntargets; i++)
		if (str_eq_z(c->targets[i].name, name))
			return &c->targets[i];
	fail_msg("no target %s", name);
	return NULL;
}

static void take_ask(int process, struct call *c, const struct limit_ask *ask, int64_t max_wait_ms)
{
	*c = (struct call){ .rc = 1 };
	c->op.op.on_done = on_done;
	limiter_take(workers[process].limiter, &c->op, ask, &c->ticket, max_wait_ms, NULL);
}

static void take_one(int process, struct call *c, const char *name, int64_t tokens, int64_t max_wait_ms)
{
	struct limit_ask ask = { .target = target(name), .tenant_id = 7, .input_tokens = tokens };
	take_ask(process, c, &ask, max_wait_ms);
}

static void wait_for(const struct call *c)
{
	dbtest_until(&t, &c->done, 1);
}

/* --- takes --- */

static void test_limiter_without_limits_all_go_at_once(void **state)
{
	(void)state;
	struct call c;
	int64_t wait;
	take_one(0, &c, "free", 1000000, 0);
	assert_int_equal(c.done, 1);
	assert_int_equal(c.rc, 0);
	assert_int_equal(c.ticket.n, 0);
	limiter_settle(&c.ticket, 5, 5);
	assert_true(limiter_room(workers[0].limiter, target("free"), 10, &wait) >= 10);
}

static void test_limiter_a_call_waits_for_its_slice(void **state)
{
	(void)state;
	struct call c;
	take_one(0, &c, "fast", 0, 5000);
	assert_int_equal(c.done, 0);
	wait_for(&c);
	assert_int_equal(c.rc, 0);
	assert_int_equal(c.ticket.n, 1);
	limiter_settle(&c.ticket, 1, 1);
	assert_int_equal(c.ticket.n, 0);
	limiter_release(&c.ticket); /* safe on an empty one */
	assert_true(pg_test_number("select count(*) from limit_bucket where key = 'target:fast:requests'") == 1);
}

static void test_limiter_many_calls_need_few_statements(void **state)
{
	(void)state;
	static struct call calls[2000];
	int64_t before = metric_get(METRIC_DB_QUERIES, "limit_take\x1fok");
	int64_t takes = metric_get(METRIC_LIMIT_TAKES, "");
	uint64_t start = clock_mono_ms();
	/* The bucket fills at 952 per second: some seconds of calls, ten at a time. */
	for (int i = 0; i < 2000; i += 20) {
		for (int k = i; k < i + 20; k++)
			take_one(0, &calls[k], "fast", 0, 20000);
		dbtest_turns(&t, 20);
	}
	for (int i = 0; i < 2000; i++) {
		wait_for(&calls[i]);
		assert_int_equal(calls[i].rc, 0);
		limiter_settle(&calls[i].ticket, 1, 1);
	}
	uint64_t took = clock_mono_ms() - start;
	int64_t sent = metric_get(METRIC_DB_QUERIES, "limit_take\x1fok") - before;
	assert_int_equal(metric_get(METRIC_LIMIT_TAKES, "") - takes, 2000);
	assert_in_range(sent, 1, took / LIMIT_TICK_MS + 3);
	print_message("%d calls in %d ms by %d statements\n", 2000, (int)took, (int)sent);
}

static void test_limiter_a_need_larger_than_the_limit_never_goes(void **state)
{
	(void)state;
	struct call c;
	take_one(0, &c, "text", 600001, 5000);
	assert_int_equal(c.done, 1);
	assert_int_equal(c.rc, -ERR_TOO_LARGE);
	assert_string_equal(c.op.which, "the target's tokens per minute");
	assert_true(c.op.is_target);
	assert_int_equal(c.ticket.n, 0);
}

static void test_limiter_a_large_need_goes_and_is_paid_for(void **state)
{
	(void)state;
	struct call big, small;
	take_one(0, &big, "text", 300000, 10000); /* fifteen times what may be saved up */
	wait_for(&big);
	assert_int_equal(big.rc, 0);
	limiter_settle(&big.ticket, 300000, 0);
	take_one(1, &small, "text", 30000, 2000); /* long enough for an answer */
	wait_for(&small);
	assert_int_equal(small.rc, -ERR_TIMEOUT);
	/* 280,000 below zero and a full bucket to come, at 9,524 per second. */
	assert_in_range(small.op.wait_ms, 20000, 40000);
	assert_int_equal(small.op.shorten_to, -1); /* there is no output to shorten */
	pg_test_sql("delete from limit_bucket where key = 'target:text:tokens'");
}

static void test_limiter_those_who_give_up_are_told_different_times(void **state)
{
	(void)state;
	static struct call calls[50];
	int64_t before = 0;
	for (int i = 0; i < 50; i++) {
		take_one(2, &calls[i], "slow", 0, 0);
		assert_int_equal(calls[i].rc, -ERR_TIMEOUT);
		assert_string_equal(calls[i].op.which, "the target's requests per minute");
		if (i > 0)
			assert_in_range(calls[i].op.wait_ms, before + 20000, before + 100000);
		before = calls[i].op.wait_ms;
	}
	dbtest_turns(&t, 200);
}

static void test_limiter_who_needs_other_limits_passes(void **state)
{
	(void)state;
	struct call ann[2], bob;
	struct limit_ask ask = { .target = target("free"), .tenant_id = 7, .user = STR("ann") };
	take_ask(0, &ann[0], &ask, 5000);
	wait_for(&ann[0]); /* a sender's limit begins full: one per minute */
	assert_int_equal(ann[0].rc, 0);
	take_ask(0, &ann[1], &ask, 1500);
	ask.user = STR("bob");
	take_ask(0, &bob, &ask, 5000);
	wait_for(&bob);
	assert_int_equal(bob.rc, 0);
	assert_int_equal(ann[1].done, 0);
	op_cancel(&ann[1].op.op);
	assert_int_equal(ann[1].rc, -ERR_CANCELED);
	assert_int_equal(ann[1].ticket.n, 0);
	limiter_settle(&ann[0].ticket, 0, 0);
	limiter_settle(&bob.ticket, 0, 0);
	assert_int_equal(pg_test_number("select count(*) from limit_bucket where key = 'user:7/ann:requests'"), 1);
}

static void test_limiter_names_of_any_length_and_bytes_make_keys(void **state)
{
	(void)state;
	static char name[5000];
	memset(name, 'x', sizeof name);
	name[7] = '\n';
	struct call c;
	struct limit_ask ask = { .target = target("free"), .tenant_id = INT64_MAX, .user = { name, sizeof name } };
	take_ask(0, &c, &ask, 5000);
	wait_for(&c);
	assert_int_equal(c.rc, 0);
	limiter_settle(&c.ticket, 0, 0);
	assert_int_equal(pg_test_number("select count(*) from limit_bucket where key like 'user:9223372036854775807/#%' and length(key) < 200"), 1);
}

/* --- calls in flight --- */

static int64_t held_in_all(void)
{
	return pg_test_number("select coalesce(sum(h.held), 0)::int8 from limit_hold h join worker w on w.id = h.worker_id"
	                      " where h.key = 'target:eight:concurrency' and w.state in (0, 1)");
}

static void until_held(int64_t want)
{
	for (int i = 0; i < 250 && held_in_all() != want; i++)
		dbtest_turns(&t, 20);
	assert_int_equal(held_in_all(), want);
}

static void test_limiter_calls_in_flight_are_never_more_than_the_limit(void **state)
{
	(void)state;
	static struct call calls[60];
	int going = 0, over = 0;
	for (int i = 0; i < 60; i++)
		take_one(i % PROCESSES, &calls[i], "eight", 0, 30000);
	while (over < 60) {
		dbtest_turns(&t, 30);
		going = 0;
		for (int i = 0; i < 60; i++)
			going += calls[i].done == 1 && calls[i].rc == 0 && calls[i].ticket.n > 0;
		assert_in_range(going, 0, 8);
		assert_in_range(held_in_all(), 0, 8);
		for (int i = 0; i < 60; i++) {
			if (calls[i].done && calls[i].ticket.n > 0 && (i + over) % 2 == 0) {
				limiter_settle(&calls[i].ticket, 1, 1);
				over++;
			}
		}
		if (going == 1)
			for (int i = 0; i < 60; i++)
				over += calls[i].done && calls[i].ticket.n > 0 ? (limiter_settle(&calls[i].ticket, 1, 1), 1) : 0;
	}
	until_held(0);
}

static void take_long(int process, struct call *c, int64_t call_ms)
{
	struct limit_ask ask = { .target = target("eight"), .tenant_id = 7, .call_ms = call_ms };
	take_ask(process, c, &ask, 30000);
}

static void wait_for_eight(const struct call *calls)
{
	for (int i = 0; i < 8; i++)
		wait_for(&calls[i]);
}

static void take_eight(int process, struct call *calls)
{
	for (int i = 0; i < 8; i++)
		take_long(process, &calls[i], 60000);
}

static void settle_all(struct call *calls, int n)
{
	for (int i = 0; i < n; i++)
		limiter_settle(&calls[i].ticket, 1, 1);
}

/* As lease.c does: declared dead, registered again under another id. */
static void die_and_return(int process)
{
	struct worker *w = &workers[process];
	pg_test_sqlf("update worker set state = 3 where id = '%s'", hex_of(w));
	w->id = id_make(-1);
	pg_test_sqlf("insert into worker (id, host, pid, slots) values ('%s', 'h', 9, 8)", hex_of(w));
}

/* queue.lease is 30 s, queue.rescue a few: silent for longer the worker begins nothing, and what it began is over after 60 s more. */
static void test_limiter_what_a_silent_worker_held_is_counted_until_its_calls_are_over(void **state)
{
	(void)state;
	static struct call mine[8], theirs[8];
	struct worker *w = &workers[1];
	take_eight(1, mine);
	wait_for_eight(mine);
	take_eight(0, theirs);
	int before = ended;
	pg_test_sqlf("update worker set state = 3, beat_at = now() - interval '88 seconds' where id = '%s'", hex_of(w));
	dbtest_turns(&t, 600);
	assert_int_equal(ended, before);
	pg_test_sqlf("update worker set beat_at = now() - interval '1000 seconds' where id = '%s'", hex_of(w));
	wait_for_eight(theirs);
	die_and_return(1);
	struct call again;
	take_long(1, &again, 60000);
	dbtest_turns(&t, 400);
	settle_all(mine, 8);
	dbtest_turns(&t, 300);
	assert_int_equal(again.done, 0);
	limiter_settle(&theirs[0].ticket, 1, 1);
	wait_for(&again);
	assert_int_equal(again.rc, 0);
	limiter_settle(&again.ticket, 1, 1);
	settle_all(theirs + 1, 7);
	until_held(0);
}

/* What it held may be others' by now, also when it has not told the table yet who it is; and is theirs as soon as its last call is aborted. */
static void test_limiter_a_worker_that_comes_back_under_another_id_holds_nothing(void **state)
{
	(void)state;
	static struct call mine[8], theirs[8], again;
	int64_t wait_ms;
	take_eight(1, mine);
	wait_for_eight(mine);
	settle_all(mine + 6, 2);
	die_and_return(1);
	assert_int_equal(limiter_room(workers[1].limiter, target("eight"), 4, &wait_ms), 0);
	take_long(1, &again, 60000);
	assert_int_equal(again.done, 0);
	dbtest_turns(&t, 400);
	assert_int_equal(again.done, 0); /* the six that run are counted, and the two that ended were held as well */
	take_eight(0, theirs);
	int before = ended;
	settle_all(mine, 5);
	dbtest_turns(&t, 400);
	assert_int_equal(ended, before);
	limiter_release(&mine[5].ticket);
	wait_for(&again);
	limiter_settle(&again.ticket, 1, 1);
	wait_for_eight(theirs);
	settle_all(theirs, 8);
	until_held(0);
}

static void test_limiter_a_call_begins_when_the_table_knows_how_long_it_may_last(void **state)
{
	(void)state;
	struct call small, large;
	take_long(0, &small, 1000);
	wait_for(&small);
	take_long(0, &large, 90000);
	assert_int_equal(large.done, 0);
	wait_for(&large);
	assert_int_equal(large.rc, 0);
	assert_int_equal(pg_test_number("select max(call_ms)::int8 from limit_hold where key = 'target:eight:concurrency' and held > 0"), 90000);
	limiter_settle(&small.ticket, 1, 1);
	limiter_settle(&large.ticket, 1, 1);
	until_held(0);
}

/* --- tokens --- */

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

static void until_taken(const char *key, int64_t want)
{
	for (int i = 0; i < 250 && taken_of(key) != want; i++)
		dbtest_turns(&t, 20);
	assert_int_equal(taken_of(key), want);
}

static void test_limiter_what_is_not_used_comes_back_and_what_is_used_beyond_is_owed(void **state)
{
	(void)state;
	static const char key[] = "target:text:tokens";
	struct call c;
	take_one(0, &c, "text", 1000, 5000);
	wait_for(&c);
	limiter_settle(&c.ticket, 600, 0);
	until_taken(key, 600);
	take_one(0, &c, "text", 1000, 5000);
	wait_for(&c);
	limiter_settle(&c.ticket, 1200, 300);
	until_taken(key, 2100);
	take_one(0, &c, "text", 1000, 5000);
	wait_for(&c);
	limiter_release(&c.ticket);
	until_taken(key, 2100);
	take_one(0, &c, "text", 1000, 5000);
	wait_for(&c);
	limiter_settle(&c.ticket, -1, 5); /* unknown: the estimate stays */
	until_taken(key, 3100);
}

static void test_limiter_headers_lower_at_once_and_never_raise(void **state)
{
	(void)state;
	struct limit_headers h = { .requests_limit = 60000, .requests_remaining = 0, .tokens_limit = -1, .tokens_remaining = -1, .input_remaining = -1,
		                   .output_remaining = -1 };
	struct call c;
	dbtest_turns(&t, 1500); /* the bucket fills */
	limiter_headers(workers[0].limiter, target("fast"), &h);
	for (int i = 0; i < 100 && pg_test_number("select floor(tokens)::int8 from limit_bucket where key = 'target:fast:requests'") > 1000; i++)
		dbtest_turns(&t, 10);
	assert_true(pg_test_number("select floor(tokens)::int8 from limit_bucket where key = 'target:fast:requests'") <= 1000);
	h.requests_remaining = 1000000;
	limiter_headers(workers[0].limiter, target("fast"), &h);
	dbtest_turns(&t, 200);
	assert_true(pg_test_number("select floor(tokens)::int8 from limit_bucket where key = 'target:fast:requests'") <= 2000);
	take_one(0, &c, "fast", 0, 5000);
	wait_for(&c);
	assert_int_equal(c.rc, 0);
	limiter_settle(&c.ticket, 1, 1);
}

static void test_limiter_room_is_what_may_begin_and_more_comes_when_asked(void **state)
{
	(void)state;
	int64_t wait = 0;
	int room = 0;
	for (int i = 0; i < 200 && room < 10; i++) {
		room = limiter_room(workers[2].limiter, target("fast"), 20, &wait);
		assert_true(room > 0 || wait > 0);
		dbtest_turns(&t, 20);
	}
	assert_true(room >= 10);
	struct call c;
	take_one(2, &c, "fast", 0, 0);
	assert_int_equal(c.rc, 0); /* at once */
	limiter_settle(&c.ticket, 1, 1);
}

/* --- the database --- */

static void test_limiter_nothing_goes_while_the_database_is_away(void **state)
{
	(void)state;
	if (!pg_test_owns_cluster())
		skip();
	static struct call c[50];
	int64_t granted = 0;
	dbtest_turns(&t, 1200); /* no slice lives */
	pg_test_crash();
	for (int i = 0; i < 50; i++)
		take_one(0, &c[i], "fast", 0, 30000);
	dbtest_turns(&t, 700);
	for (int i = 0; i < 50; i++)
		granted += c[i].done;
	assert_int_equal(granted, 0);
	pg_test_start();
	for (int i = 0; i < 50; i++) {
		wait_for(&c[i]);
		assert_int_equal(c[i].rc, 0);
		limiter_settle(&c[i].ticket, 1, 1);
	}
}

static void test_limiter_a_reload_changes_the_limits_of_those_who_wait(void **state)
{
	(void)state;
	struct call c;
	take_one(0, &c, "rare", 0, 20000);
	dbtest_turns(&t, 150);
	assert_int_equal(c.done, 0);
	conf_set_now(confs_good("{\"targets\":{\"rare\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\","
	                        "\"limits\":{\"requests\":600000,\"headroom\":1}}}}"));
	struct call d;
	take_one(0, &d, "rare", 0, 20000);
	wait_for(&c);
	assert_int_equal(c.rc, 0);
	wait_for(&d);
	limiter_settle(&c.ticket, 1, 1);
	limiter_settle(&d.ticket, 1, 1);
	conf_set_now(confs_good(conf_text));
}

static void test_limiter_drain_returns_what_is_unused(void **state)
{
	(void)state;
	struct limiter *l = workers[2].limiter;
	int64_t wait = 0;
	dbtest_turns(&t, 1200);
	int64_t before = taken_of("target:fast:requests");
	for (int i = 0; i < 100 && limiter_room(l, target("fast"), 20, &wait) == 0; i++)
		dbtest_turns(&t, 10);
	assert_true(taken_of("target:fast:requests") > before);
	limiter_drain(l);
	settled_loop();
	assert_true(taken_of("target:fast:requests") <= before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limiter_without_limits_all_go_at_once),
		cmocka_unit_test(test_limiter_a_call_waits_for_its_slice),
		cmocka_unit_test(test_limiter_many_calls_need_few_statements),
		cmocka_unit_test(test_limiter_a_need_larger_than_the_limit_never_goes),
		cmocka_unit_test(test_limiter_a_large_need_goes_and_is_paid_for),
		cmocka_unit_test(test_limiter_those_who_give_up_are_told_different_times),
		cmocka_unit_test(test_limiter_who_needs_other_limits_passes),
		cmocka_unit_test(test_limiter_names_of_any_length_and_bytes_make_keys),
		cmocka_unit_test(test_limiter_calls_in_flight_are_never_more_than_the_limit),
		cmocka_unit_test(test_limiter_what_a_silent_worker_held_is_counted_until_its_calls_are_over),
		cmocka_unit_test(test_limiter_a_worker_that_comes_back_under_another_id_holds_nothing),
		cmocka_unit_test(test_limiter_a_call_begins_when_the_table_knows_how_long_it_may_last),
		cmocka_unit_test(test_limiter_what_is_not_used_comes_back_and_what_is_used_beyond_is_owed),
		cmocka_unit_test(test_limiter_headers_lower_at_once_and_never_raise),
		cmocka_unit_test(test_limiter_room_is_what_may_begin_and_more_comes_when_asked),
		cmocka_unit_test(test_limiter_nothing_goes_while_the_database_is_away),
		cmocka_unit_test(test_limiter_a_reload_changes_the_limits_of_those_who_wait),
		cmocka_unit_test(test_limiter_drain_returns_what_is_unused),
	};
	return cmocka_run_group_tests(tests, opened, closed);
}
