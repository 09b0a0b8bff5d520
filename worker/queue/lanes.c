/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pairs of lane and priority that this worker knows of, a few dozen at most in practice, in an array. Each has
 *
 *   may_hold    something may wait there: set by a hint or a look, cleared by a claim that found less than it wanted, unless a hint
 *               came while it was out
 *   floor       where claims start; `settling` is the next floor, in use from settle_at on
 *   candidate   the first pass of the last claim: nothing older waits, so it is the next floor to publish
 *
 * Floors are published together every FLOOR_PUBLISH_MS while claims move. A lane that was never heard of is found by the look at the queue.
 */
#include "worker/queue/lanes.h"

#include <stdlib.h>
#include <string.h>

#include "sql_worker.h"
#include "worker/queue/claim.h"

struct pair {
	int lane, priority;
	bool may_hold;
	bool hinted; /* since the claim in flight was sent: what it says may be older */
	int64_t floor, settling, candidate, published;
	uint64_t settle_at_ms;
	uint64_t head_since_ms; /* since when, about, its head waits */
	uint64_t picked;        /* turn of the round robin */
	uint64_t closed_until_ms;
};

struct lanes {
	struct worker *worker;
	struct pair *pairs; /* owned */
	size_t n, cap;
	uint64_t turn;
	struct timer publish_timer;
	struct db_query query;
	bool publishing, dirty;
};

static struct pair *pair_of(struct lanes *l, int lane, int priority)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->pairs[i].lane == lane && l->pairs[i].priority == priority)
			return &l->pairs[i];
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->pairs = realloc(l->pairs, l->cap * sizeof *l->pairs);
		assert(l->pairs);
	}
	struct pair *p = &l->pairs[l->n++];
	memset(p, 0, sizeof *p);
	p->lane = lane;
	p->priority = priority;
	p->head_since_ms = loop_now_ms(l->worker->loop);
	return p;
}

void lanes_hint(struct lanes *l, int lane, int priority)
{
	struct pair *p = pair_of(l, lane, priority);
	if (!p->may_hold)
		p->head_since_ms = loop_now_ms(l->worker->loop);
	p->may_hold = p->hinted = true;
}

static void settle(struct pair *p, uint64_t now_ms)
{
	if (p->settling > p->floor && now_ms >= p->settle_at_ms)
		p->floor = p->settling;
}

/* The priority less the steps that its head has aged. */
static int64_t rank(const struct pair *p, uint64_t now_ms)
{
	uint64_t waited = now_ms > p->head_since_ms ? now_ms - p->head_since_ms : 0;
	return p->priority - (int64_t)(waited / (uint64_t)conf_now()->queue_aging_ms);
}

bool lanes_next(struct lanes *l, uint64_t now_ms, struct lane_pick *ret)
{
	struct pair *best = NULL;
	int64_t best_rank = 0;
	for (size_t i = 0; i < l->n; i++) {
		struct pair *p = &l->pairs[i];
		if (!p->may_hold || now_ms < p->closed_until_ms)
			continue;
		int64_t r = rank(p, now_ms);
		if (!best || r < best_rank || (r == best_rank && p->picked < best->picked)) {
			best = p;
			best_rank = r;
		}
	}
	if (!best)
		return false;
	settle(best, now_ms);
	best->picked = ++l->turn;
	best->hinted = false;
	*ret = (struct lane_pick){ .lane = best->lane, .priority = best->priority, .from_pass = best->floor };
	return true;
}

void lanes_close(struct lanes *l, int lane, uint64_t until_ms)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->pairs[i].lane == lane)
			l->pairs[i].closed_until_ms = until_ms;
}

void lanes_open(struct lanes *l)
{
	for (size_t i = 0; i < l->n; i++)
		l->pairs[i].closed_until_ms = 0;
}

void lanes_claimed(struct lanes *l, const struct lane_pick *pick, int wanted, int n, int64_t first_pass, uint64_t now_ms)
{
	struct pair *p = pair_of(l, pick->lane, pick->priority);
	if (n < wanted && !p->hinted)
		p->may_hold = false;
	if (n == 0)
		return;
	/* The next in line has waited less than what was just taken; a look corrects this. */
	p->head_since_ms = MAX(p->head_since_ms, now_ms > 1000 ? now_ms - 1000 : 0);
	if (first_pass > p->candidate)
		p->candidate = first_pass;
	if (p->candidate > p->published) {
		l->dirty = true;
		if (!l->publishing && !timer_is_armed(&l->publish_timer))
			timer_start(&l->publish_timer, FLOOR_PUBLISH_MS);
	}
}

void lanes_seen(struct lanes *l, int lane, int priority, int64_t pass, int64_t age_ms, uint64_t now_ms)
{
	struct pair *p = pair_of(l, lane, priority);
	p->may_hold = true;
	p->head_since_ms = now_ms > (uint64_t)MAX(age_ms, 0) ? now_ms - (uint64_t)MAX(age_ms, 0) : 0;
	/* It slipped below the floor: its insert had not seen the floor, or a claim was rolled back. */
	if (pass < p->floor)
		p->floor = p->settling = pass; /* both: settling would take it back before the next claim */
}

static void publish(struct lanes *l);

static void on_published(struct op *op, int rc)
{
	struct lanes *l = container_of(container_of(op, struct db_query, op), struct lanes, query);
	uint64_t now = loop_now_ms(l->worker->loop);
	for (int row = 0; rc == 0 && row < db_rows(&l->query); row++) {
		struct pair *p = pair_of(l, (int)db_get_int(&l->query, row, 0), (int)db_get_int(&l->query, row, 1));
		int64_t floor = db_get_int(&l->query, row, 2);
		p->published = MAX(p->published, floor);
		settle(p, now);
		if (floor > p->settling && p->settling <= p->floor) {
			p->settling = floor;
			p->settle_at_ms = now + FLOOR_SETTLE_MS;
		}
	}
	db_query_done(&l->query);
	l->publishing = false;
	if (l->dirty && l->worker->state != WORKER_STOPPED)
		timer_start(&l->publish_timer, FLOOR_PUBLISH_MS);
}

static void publish(struct lanes *l)
{
	struct db_array lane, priority, floor;
	db_array_init(&lane, DB_INT4, 1 << 20);
	db_array_init(&priority, DB_INT2, 1 << 20);
	db_array_init(&floor, DB_INT8, 1 << 20);
	for (size_t i = 0; i < l->n; i++) {
		const struct pair *p = &l->pairs[i];
		if (p->candidate <= p->published)
			continue;
		db_array_i32(&lane, p->lane);
		db_array_i16(&priority, (int16_t)p->priority);
		db_array_i64(&floor, p->candidate);
	}
	db_query_init(&l->query, &sql_worker_floor_raise);
	l->query.op.on_done = on_published;
	db_arg_array(&l->query.args, &lane);
	db_arg_array(&l->query.args, &priority);
	db_arg_array(&l->query.args, &floor);
	db_array_done(&lane);
	db_array_done(&priority);
	db_array_done(&floor);
	l->dirty = false;
	l->publishing = db_query_start(l->worker->db, &l->query, NULL) == 0;
	if (!l->publishing)
		db_query_done(&l->query);
}

static void on_publish_timer(struct timer *t)
{
	struct lanes *l = container_of(t, struct lanes, publish_timer);
	if (!l->publishing)
		publish(l);
}

bool lanes_are_idle(const struct lanes *l)
{
	return !l->publishing;
}

struct lanes *lanes_new(struct worker *w)
{
	struct lanes *l = calloc(1, sizeof *l);
	assert(l);
	l->worker = w;
	timer_init(&l->publish_timer, w->loop, on_publish_timer);
	timer_start(&l->publish_timer, 1); /* reads the floors that others published */
	return l;
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	assert(!l->publishing);
	timer_stop(&l->publish_timer);
	free(l->pairs);
	free(l);
}
