/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array by lane number: name, and the route that the present configuration gives it (looked up again after a reload). A lane without a route here (bare
 * model names, a route that was taken out) is claimed from freely: its jobs find out what becomes of them.
 *
 * lane_wait is written at most once a second for each lane, and only while it is closed; a row that is older than a few seconds means nothing any more.
 */
#include "worker/queue/lane_routes.h"

#include <stdlib.h>

#include "sql_worker.h"
#include "worker/queue/lease.h"
#include "worker/targets/routing.h"

#define LOOK_AGAIN_MS 1000
#define SAY_MS        1000
#define LANES_MAX     100000

struct lane_route {
	struct str name; /* in names; p NULL: not known */
	const struct conf_route *route;
	const struct conf *of; /* the snapshot that route was looked up in */
	uint64_t said_ms;
};

struct lane_routes {
	struct worker *worker;
	struct arena names;
	struct arena routes;  /* of `conf` */
	struct conf *conf;    /* ref'ed; NULL: none yet */
	struct lane_route *lanes; /* owned */
	int n;
	struct db_query query;
	bool busy;
};

static struct lane_route *lane_at(struct lane_routes *r, int lane)
{
	return lane >= 0 && lane < r->n && r->lanes[lane].name.p ? &r->lanes[lane] : NULL;
}

void lane_routes_named(struct lane_routes *r, int lane, struct str name)
{
	if (lane < 0 || lane >= LANES_MAX || lane_at(r, lane))
		return;
	if (lane >= r->n) {
		int n = MAX(lane + 16, r->n * 2);
		r->lanes = realloc(r->lanes, (size_t)n * sizeof *r->lanes);
		assert(r->lanes);
		for (; r->n < n; r->n++)
			r->lanes[r->n] = (struct lane_route){ 0 };
	}
	r->lanes[lane].name = arena_str(&r->names, name);
}

bool lane_routes_knows(const struct lane_routes *r, int lane)
{
	return lane >= LANES_MAX || (lane >= 0 && lane < r->n && r->lanes[lane].name.p);
}

static const struct conf_route *route_of(struct lane_routes *r, struct lane_route *l)
{
	struct conf *now = conf_now_ref();
	if (now != r->conf) {
		conf_unref(r->conf);
		arena_done(&r->routes);
		arena_init(&r->routes, (size_t)16 << 20);
		r->conf = conf_ref(now);
	}
	conf_unref(now);
	if (l->of != r->conf) {
		l->of = r->conf;
		l->route = str_eq_z(l->name, "*") ? NULL : conf_route_find(r->conf, &r->routes, l->name);
	}
	return l->route;
}

static void on_said(struct op *op, int rc)
{
	struct lane_routes *r = container_of(container_of(op, struct db_query, op), struct lane_routes, query);
	(void)rc;
	db_query_done(&r->query);
	r->busy = false;
}

static void say(struct lane_routes *r, struct lane_route *l, int64_t wait_ms, enum park_reason reason)
{
	uint64_t now = loop_now_ms(r->worker->loop);
	if (r->busy || now < l->said_ms + SAY_MS || r->worker->state != WORKER_LIVE)
		return;
	l->said_ms = now;
	db_query_init(&r->query, &sql_worker_lane_wait);
	r->query.op.on_done = on_said;
	r->query.retry_ms = 0;
	db_arg_i32(&r->query.args, (int32_t)(l - r->lanes));
	db_arg_i16(&r->query.args, (int16_t)reason);
	if (wait_ms < 0)
		db_arg_null(&r->query.args);
	else
		db_arg_i64(&r->query.args, wait_ms);
	r->busy = db_query_start(r->worker->db, &r->query, NULL) == 0;
	if (!r->busy)
		db_query_done(&r->query);
}

int lane_routes_room(struct lane_routes *r, int lane, int wanted, int64_t *ret_wait_ms)
{
	struct lane_route *l = lane_at(r, lane);
	const struct conf_route *route = l ? route_of(r, l) : NULL;
	enum park_reason reason = PARK_UNAVAILABLE;
	int64_t wait_ms = 0;
	if (!route)
		return wanted;
	int room = routing_room(r->worker, route, wanted, &wait_ms, &reason);
	*ret_wait_ms = wait_ms < 0 ? LOOK_AGAIN_MS : MIN(MAX(wait_ms, 1), LOOK_AGAIN_MS);
	if (room == 0)
		say(r, l, wait_ms, reason);
	return room;
}

bool lane_routes_are_idle(const struct lane_routes *r)
{
	return !r->busy;
}

struct lane_routes *lane_routes_new(struct worker *w)
{
	struct lane_routes *r = calloc(1, sizeof *r);
	assert(r);
	r->worker = w;
	arena_init(&r->names, (size_t)64 << 20);
	arena_init(&r->routes, (size_t)16 << 20);
	return r;
}

void lane_routes_free(struct lane_routes *r)
{
	if (!r)
		return;
	assert(!r->busy);
	conf_unref(r->conf);
	arena_done(&r->names);
	arena_done(&r->routes);
	free(r->lanes);
	free(r);
}
