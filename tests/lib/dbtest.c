/* SPDX-License-Identifier: Apache-2.0 */
/* The loop is turned by hand (uv_run once), with a tick that wakes it, so that a lost completion is a failure and not a
 * hang. */
#include "dbtest.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/err.h"

#define LIMIT_MS 30000
#define TICK_MS  20

struct db_cfg dbtest_cfg(const char *url)
{
	return (struct db_cfg){ .url = url,
		                .application = "test",
		                .connections = 3,
		                .depth = 8,
		                .max_waiting = 2000,
		                .statement_timeout_ms = 20000,
		                .deadline_ms = 20000 };
}

void dbtest_open(struct dbtest *t, const struct db_cfg *cfg)
{
	loop_init(&t->loop);
	t->closed = false;
	t->db = db_new(&t->loop, cfg);
	assert_non_null(t->db);
}

static void on_tick(struct timer *t)
{
	timer_start(t, TICK_MS);
}

static void turn_while(struct dbtest *t, bool (*more)(struct dbtest *t, const void *arg), const void *arg,
                       uint64_t limit_ms)
{
	struct timer tick;
	uint64_t end = clock_mono_ms() + limit_ms;
	timer_init(&tick, &t->loop, on_tick);
	timer_start(&tick, TICK_MS);
	while (more(t, arg) && clock_mono_ms() < end)
		uv_run(&t->loop.uv, UV_RUN_ONCE);
	timer_stop(&tick);
}

struct count {
	const int *n;
	int want;
};

static bool is_below(struct dbtest *t, const void *arg)
{
	const struct count *c = arg;
	(void)t;
	return *c->n < c->want;
}

void dbtest_until(struct dbtest *t, const int *n, int want)
{
	struct count c = { n, want };
	turn_while(t, is_below, &c, LIMIT_MS);
	assert_int_equal(*n, want);
}

static bool is_other(struct dbtest *t, const void *arg)
{
	return db_is_up(t->db) != *(const bool *)arg;
}

void dbtest_until_up(struct dbtest *t, bool up)
{
	turn_while(t, is_other, &up, LIMIT_MS);
	assert_int_equal(db_is_up(t->db), up);
}

static bool always(struct dbtest *t, const void *arg)
{
	(void)t;
	(void)arg;
	return true;
}

void dbtest_turns(struct dbtest *t, uint64_t ms)
{
	turn_while(t, always, NULL, ms);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static bool is_open(struct dbtest *t, const void *arg)
{
	(void)arg;
	return !t->closed;
}

void dbtest_close(struct dbtest *t)
{
	db_free(t->db, on_closed, &t->closed);
	turn_while(t, is_open, NULL, LIMIT_MS);
	assert_true(t->closed);
	loop_done(&t->loop);
}

static void on_call(struct op *op, int rc)
{
	static int order;
	struct dbcall *c = container_of(op, struct dbcall, q.op);
	c->rc = rc;
	c->completions++;
	c->order = ++order;
}

void dbcall_init(struct dbcall *c, const struct db_stmt *stmt)
{
	*c = (struct dbcall){ .rc = 1 };
	db_query_init(&c->q, stmt);
	c->q.op.on_done = on_call;
}

int dbcall_start(struct dbtest *t, struct dbcall *c)
{
	return db_query_start(t->db, &c->q, NULL);
}

int dbcall_run(struct dbtest *t, struct dbcall *c)
{
	assert_int_equal(dbcall_start(t, c), 0);
	dbtest_until(t, &c->completions, 1);
	return c->rc;
}

int dbtest_exec(struct dbtest *t, const struct db_stmt *stmt)
{
	struct dbcall c;
	dbcall_init(&c, stmt);
	int rc = dbcall_run(t, &c);
	db_query_done(&c.q);
	return rc;
}
