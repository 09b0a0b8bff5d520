/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One timer, armed by traffic and let go by silence. Each tick reads the floors; every second one also publishes this
 * process's counts and takes the others'. A tick that fails (no database) is left out: places are then counted from an
 * older floor, which accept.sql makes good with the floor that it sees.
 */
#include "api/jobs/fair_sync.h"

#include <stdlib.h>

#include "api/api.h"
#include "sql_api.h"

#define TICK_MS   250
#define QUIET_MS  2000
#define FORGET_MS 60000
#define PEERS_S   30
#define SYNC_MAX  5000

struct fair_sync {
	struct api *api;
	struct fairness *f;
	struct timer timer;
	struct db_query floors, others;
	uint64_t touched_ms;
	unsigned ticks;
	bool stopped;
};

static void on_floors(struct op *op, int rc)
{
	struct fair_sync *s = container_of(op, struct fair_sync, floors.op);
	for (int i = 0; rc == 0 && i < db_rows(&s->floors); i++)
		fairness_floor(s->f, (int)db_get_int(&s->floors, i, 0), (int)db_get_int(&s->floors, i, 1),
		               db_get_int(&s->floors, i, 2));
	db_query_done(&s->floors);
}

static void ask_floors(struct fair_sync *s)
{
	if (s->floors.op.active)
		return;
	db_query_init(&s->floors, &sql_api_lane_floors);
	s->floors.op.on_done = on_floors;
	s->floors.retry_ms = 0;
	if (api_query_start(s->api, &s->floors, NULL) < 0)
		db_query_done(&s->floors);
}

static void on_others(struct op *op, int rc)
{
	struct fair_sync *s = container_of(op, struct fair_sync, others.op);
	const struct db_query *q = &s->others;
	for (int i = 0; rc == 0 && i < db_rows(q); i++)
		fairness_others(s->f, db_get_id(q, i, 0), db_get_int(q, i, 1), (int)db_get_int(q, i, 2),
		                (int)db_get_int(q, i, 3), db_get_int(q, i, 4));
	db_query_done(&s->others);
}

static void publish(struct fair_sync *s)
{
	if (s->others.op.active)
		return;
	struct db_array tenant, lane, priority, work;
	db_array_init(&tenant, DB_INT8, 1 << 20);
	db_array_init(&lane, DB_INT4, 1 << 20);
	db_array_init(&priority, DB_INT2, 1 << 20);
	db_array_init(&work, DB_INT8, 1 << 20);
	LIST_EACH(&s->f->shares, k)
	{
		struct fair_share *share = container_of(k, struct fair_share, link);
		if (share->synced == share->work || tenant.n >= SYNC_MAX)
			continue;
		share->synced = share->work;
		db_array_i64(&tenant, share->tenant_id);
		db_array_i32(&lane, share->lane);
		db_array_i16(&priority, (int16_t)share->priority);
		db_array_i64(&work, share->work);
	}
	if (tenant.n > 0) {
		db_query_init(&s->others, &sql_api_fair_sync);
		struct db_args *a = &s->others.args;
		db_arg_id(a, s->api->id);
		db_arg_array(a, &tenant);
		db_arg_array(a, &lane);
		db_arg_array(a, &priority);
		db_arg_array(a, &work);
		db_arg_i32(a, PEERS_S);
		s->others.op.on_done = on_others;
		s->others.retry_ms = 0;
		if (api_query_start(s->api, &s->others, NULL) < 0)
			db_query_done(&s->others);
	}
	db_array_done(&tenant);
	db_array_done(&lane);
	db_array_done(&priority);
	db_array_done(&work);
}

static void on_tick(struct timer *t)
{
	struct fair_sync *s = container_of(t, struct fair_sync, timer);
	uint64_t now = loop_now_ms(&s->api->loop);
	ask_floors(s);
	if (s->ticks++ % 2 == 0)
		publish(s);
	fairness_forget(s->f, now > FORGET_MS ? now - FORGET_MS : 0);
	if (now - s->touched_ms < QUIET_MS)
		timer_start(&s->timer, TICK_MS);
}

struct fair_sync *fair_sync_new(struct api *api, struct fairness *f)
{
	struct fair_sync *s = calloc(1, sizeof(*s));
	assert(s);
	s->api = api;
	s->f = f;
	timer_init(&s->timer, &api->loop, on_tick);
	return s;
}

void fair_sync_stop(struct fair_sync *s)
{
	s->stopped = true;
	timer_stop(&s->timer);
}

void fair_sync_free(struct fair_sync *s)
{
	if (!s)
		return;
	assert(!s->floors.op.active && !s->others.op.active);
	free(s);
}

void fair_sync_touch(struct fair_sync *s)
{
	s->touched_ms = loop_now_ms(&s->api->loop);
	if (!s->stopped && !timer_is_armed(&s->timer))
		timer_start(&s->timer, 1);
}
