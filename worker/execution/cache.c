/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs that ask for the same key stand in one group; a group is asked for once, by its first job.
 *
 *   FRESH ──cache_lead──▶ an answer: HIT for all of the group
 *                         leads: once more cache_get (what was committed meanwhile), then LEAD for the job that asked; the others WAIT
 *                         neither: another job of the fleet leads: WAIT
 *   WAIT  ──a notice, or CACHE_LOOK_MS──▶ FRESH      until each job's own time is over
 *
 * All fresh groups of a turn go in one statement; one of each kind is out at a time. A database that fails sends the jobs on without a cache: an
 * answer that is paid twice is better than a job that stands still.
 */
#include "worker/execution/cache.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/queue/notify.h"

#define ASK_SOME   500 /* groups of one statement */
#define HITS_MS    5000
#define HITS_MAX   10000
#define COLUMN_MAX ((size_t)1 << 26)

enum group_state { GROUP_FRESH, GROUP_ASKED, GROUP_CHECKED, GROUP_WAITS };

struct cache_group {
	struct link link; /* in cache.groups */
	uint8_t key[33];  /* its last byte: 1 for those that take stale answers */
	enum group_state state;
	struct list ops;
	struct job *asker; /* who leads if anybody of the group does; NULL when it left meanwhile */
	int asker_bucket;
	struct id asker_id;
	int64_t asker_token;
};

struct flight_end {
	struct link link;
	uint8_t key[32];
	struct id job;
	int64_t token;
};

struct hits {
	uint8_t key[32];
	int64_t n;
};

struct cache {
	struct worker *worker;
	struct hash by_key;
	struct list groups;
	struct list ends;   /* flight_end: to be written */
	struct hits *hits;  /* HITS_MAX of them */
	size_t nhits;
	struct db_query lead, check, end, hit;
	struct cache_group *led[ASK_SOME], *checked[ASK_SOME];
	size_t nled, nchecked;
	bool leading, checking, ending, hitting;
	struct soon soon;
	struct timer look, hits_timer;
};

static struct str key_str(const uint8_t *key)
{
	return (struct str){ (const char *)key, 32 };
}

static int key_bucket(const uint8_t *key)
{
	return key[0] * 4 + key[1] / 64;
}

static void wake(struct cache *c)
{
	loop_soon(c->worker->loop, &c->soon);
}

/* --- groups --- */

static struct cache_group *group_of(struct cache *c, const uint8_t key[32], bool stale)
{
	uint8_t full[33];
	memcpy(full, key, 32);
	full[32] = stale;
	struct str name = { (const char *)full, sizeof full };
	struct cache_group *g = hash_get(&c->by_key, name);
	if (g)
		return g;
	g = calloc(1, sizeof *g);
	assert(g);
	memcpy(g->key, full, sizeof full);
	list_init(&g->ops);
	list_push(&c->groups, &g->link);
	hash_set(&c->by_key, name, g);
	return g;
}

static bool is_out(const struct cache_group *g)
{
	return g->state == GROUP_ASKED || g->state == GROUP_CHECKED;
}

/* Gone when nobody is in it and no statement names it. */
static void drop_if_empty(struct cache *c, struct cache_group *g)
{
	if (!list_is_empty(&g->ops) || is_out(g))
		return;
	hash_remove(&c->by_key, (struct str){ (const char *)g->key, sizeof g->key });
	list_remove(&c->groups, &g->link);
	free(g);
}

static void complete(struct cache_op *op, enum cache_answer answer, int rc)
{
	list_remove(&op->group->ops, &op->link);
	op->group = NULL;
	op->answer = answer;
	op_done(&op->op, rc);
}

static void fail_all(struct cache_group *g, int rc)
{
	struct link *k;
	while ((k = list_first(&g->ops)))
		complete(container_of(k, struct cache_op, link), CACHE_WAIT_OVER, rc);
}

static void count_hit(struct cache *c, const struct cache_group *g, int64_t n)
{
	metric_add(METRIC_CACHE_HITS, g->key[32] ? "stale" : "exact", n);
	if (c->nhits == HITS_MAX)
		return;
	memcpy(c->hits[c->nhits].key, g->key, 32);
	c->hits[c->nhits++].n = n;
	if (!timer_is_armed(&c->hits_timer))
		timer_start(&c->hits_timer, HITS_MS);
}

static void hit_all(struct cache *c, struct cache_group *g, struct str body, struct str target)
{
	struct link *k;
	count_hit(c, g, (int64_t)g->ops.n);
	while ((k = list_first(&g->ops))) {
		struct cache_op *op = container_of(k, struct cache_op, link);
		op->body = arena_str(&op->job->arena, body);
		op->target = arena_str(&op->job->arena, target);
		op->shared = op->waited;
		complete(op, CACHE_HIT, 0);
	}
}

static void wait_all(struct cache *c, struct cache_group *g)
{
	g->state = GROUP_WAITS;
	LIST_EACH(&g->ops, k)
		container_of(k, struct cache_op, link)->waited = true;
	if (!timer_is_armed(&c->look))
		timer_start(&c->look, CACHE_LOOK_MS);
}

/* --- flights that end without an answer --- */

static void on_ended(struct op *op, int rc)
{
	struct cache *c = container_of(container_of(op, struct db_query, op), struct cache, end);
	(void)rc;
	db_query_done(&c->end);
	c->ending = false;
	notify_cache(c->worker->notifier);
	wake(c);
}

static void send_ends(struct cache *c)
{
	struct db_array bucket, key, job, token;
	db_array_init(&bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&key, DB_BYTEA, COLUMN_MAX);
	db_array_init(&job, DB_UUID, COLUMN_MAX);
	db_array_init(&token, DB_INT8, COLUMN_MAX);
	struct link *k;
	for (int n = 0; n < ASK_SOME && (k = list_first(&c->ends)); n++) {
		struct flight_end *e = container_of(k, struct flight_end, link);
		db_array_i32(&bucket, key_bucket(e->key));
		db_array_text(&key, key_str(e->key));
		db_array_id(&job, e->job);
		db_array_i64(&token, e->token);
		list_remove(&c->ends, k);
		free(e);
	}
	db_query_init(&c->end, &sql_worker_cache_give_up);
	c->end.op.on_done = on_ended;
	db_arg_array(&c->end.args, &bucket);
	db_arg_array(&c->end.args, &key);
	db_arg_array(&c->end.args, &job);
	db_arg_array(&c->end.args, &token);
	db_array_done(&bucket);
	db_array_done(&key);
	db_array_done(&job);
	db_array_done(&token);
	/* A flight that stays is taken over when its job's lease is gone. */
	c->ending = db_query_start(c->worker->db, &c->end, NULL) == 0;
	if (!c->ending)
		db_query_done(&c->end);
}

static void end_flight(struct cache *c, const uint8_t *key, struct id job, int64_t token)
{
	struct flight_end *e = calloc(1, sizeof *e);
	assert(e);
	memcpy(e->key, key, sizeof e->key);
	e->job = job;
	e->token = token;
	list_push(&c->ends, &e->link);
	wake(c);
}

void cache_give_up(struct cache *c, struct job *j, const uint8_t key[32])
{
	end_flight(c, key, j->id, j->token);
}

/* --- the second look of those who lead --- */

static struct cache_op *asker_of(const struct cache_group *g)
{
	LIST_EACH(&g->ops, k)
		if (container_of(k, struct cache_op, link)->job == g->asker)
			return container_of(k, struct cache_op, link);
	return NULL;
}

static void lead(struct cache *c, struct cache_group *g)
{
	struct cache_op *op = g->asker ? asker_of(g) : NULL;
	wait_all(c, g);
	if (!op)
		end_flight(c, g->key, g->asker_id, g->asker_token); /* who asked is gone: the next one asks */
	else
		complete(op, CACHE_LEAD, 0);
}

static void on_checked(struct op *op, int rc)
{
	struct cache *c = container_of(container_of(op, struct db_query, op), struct cache, check);
	for (int row = 0; rc == 0 && row < db_rows(&c->check); row++) {
		struct cache_group *g = c->checked[db_get_int(&c->check, row, 0) - 1];
		if (!g->key[32])
			end_flight(c, g->key, g->asker_id, g->asker_token);
		hit_all(c, g, db_get_str(&c->check, row, 1), db_get_str(&c->check, row, 2));
	}
	db_query_done(&c->check);
	c->checking = false;
	for (size_t i = 0; i < c->nchecked; i++) {
		struct cache_group *g = c->checked[i];
		g->state = GROUP_FRESH;
		if (!list_is_empty(&g->ops) && rc < 0)
			fail_all(g, rc);
		else if (g->key[32])
			fail_all(g, 0); /* nothing stale either */
		else if (!list_is_empty(&g->ops) || !g->asker)
			lead(c, g);
		drop_if_empty(c, g);
	}
	wake(c);
}

static void send_check(struct cache *c)
{
	struct db_array bucket, key, stale;
	db_array_init(&bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&key, DB_BYTEA, COLUMN_MAX);
	db_array_init(&stale, DB_BOOL, COLUMN_MAX);
	for (size_t i = 0; i < c->nchecked; i++) {
		db_array_i32(&bucket, key_bucket(c->checked[i]->key));
		db_array_text(&key, key_str(c->checked[i]->key));
		db_array_bool(&stale, c->checked[i]->key[32]);
	}
	db_query_init(&c->check, &sql_worker_cache_get);
	c->check.op.on_done = on_checked;
	db_arg_array(&c->check.args, &bucket);
	db_arg_array(&c->check.args, &key);
	db_arg_array(&c->check.args, &stale);
	db_array_done(&bucket);
	db_array_done(&key);
	db_array_done(&stale);
	c->checking = db_query_start(c->worker->db, &c->check, NULL) == 0;
}

/* --- the question --- */

static void on_led(struct op *op, int rc)
{
	struct cache *c = container_of(container_of(op, struct db_query, op), struct cache, lead);
	c->leading = false;
	for (size_t i = 0; i < c->nled; i++)
		c->led[i]->state = GROUP_WAITS;
	for (int row = 0; rc == 0 && row < db_rows(&c->lead); row++) {
		struct cache_group *g = c->led[db_get_int(&c->lead, row, 0) - 1];
		if (!db_is_null(&c->lead, row, 1))
			hit_all(c, g, db_get_str(&c->lead, row, 1), db_get_str(&c->lead, row, 2));
		else if (db_get_bool(&c->lead, row, 3))
			g->state = GROUP_CHECKED; /* picked up by the next flush */
		else
			wait_all(c, g);
	}
	db_query_done(&c->lead);
	for (size_t i = 0; i < c->nled; i++) {
		if (rc < 0)
			fail_all(c->led[i], rc);
		drop_if_empty(c, c->led[i]);
	}
	wake(c);
}

static void ask_for(struct cache *c, struct cache_group *g)
{
	struct job *j = container_of(list_first(&g->ops), struct cache_op, link)->job;
	g->state = GROUP_ASKED;
	g->asker = j;
	g->asker_bucket = j->bucket;
	g->asker_id = j->id;
	g->asker_token = j->token;
	c->led[c->nled++] = g;
}

static void send_lead(struct cache *c)
{
	struct db_array bucket, key, job_bucket, job, token;
	db_array_init(&bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&key, DB_BYTEA, COLUMN_MAX);
	db_array_init(&job_bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&job, DB_UUID, COLUMN_MAX);
	db_array_init(&token, DB_INT8, COLUMN_MAX);
	for (size_t i = 0; i < c->nled; i++) {
		const struct cache_group *g = c->led[i];
		db_array_i32(&bucket, key_bucket(g->key));
		db_array_text(&key, key_str(g->key));
		db_array_i32(&job_bucket, g->asker_bucket);
		db_array_id(&job, g->asker_id);
		db_array_i64(&token, g->asker_token);
	}
	db_query_init(&c->lead, &sql_worker_cache_lead);
	c->lead.op.on_done = on_led;
	db_arg_array(&c->lead.args, &bucket);
	db_arg_array(&c->lead.args, &key);
	db_arg_array(&c->lead.args, &job_bucket);
	db_arg_array(&c->lead.args, &job);
	db_arg_array(&c->lead.args, &token);
	db_arg_i64(&c->lead.args, CACHE_FLIGHT_MS);
	db_array_done(&bucket);
	db_array_done(&key);
	db_array_done(&job_bucket);
	db_array_done(&job);
	db_array_done(&token);
	c->leading = db_query_start(c->worker->db, &c->lead, NULL) == 0;
}

/* The database's own queue is full: as if it had failed. */
static void not_sent(struct cache *c, struct db_query *q, struct cache_group **groups, size_t n)
{
	db_query_done(q);
	for (size_t i = 0; i < n; i++) {
		groups[i]->state = GROUP_WAITS;
		fail_all(groups[i], -ERR_OVERLOADED);
		drop_if_empty(c, groups[i]);
	}
}

static void gather(struct cache *c)
{
	bool lead_free = !c->leading, check_free = !c->checking;
	if (lead_free)
		c->nled = 0;
	if (check_free)
		c->nchecked = 0;
	LIST_EACH_SAFE(&c->groups, k, tmp) {
		struct cache_group *g = container_of(k, struct cache_group, link);
		if (g->state == GROUP_FRESH && g->key[32] && check_free && c->nchecked < ASK_SOME && !list_is_empty(&g->ops)) {
			g->asker = container_of(list_first(&g->ops), struct cache_op, link)->job;
			g->state = GROUP_CHECKED;
			c->checked[c->nchecked++] = g;
		} else if (g->state == GROUP_CHECKED && check_free && c->nchecked < ASK_SOME) {
			c->checked[c->nchecked++] = g;
		} else if (g->state == GROUP_FRESH && !g->key[32] && lead_free && c->nled < ASK_SOME && !list_is_empty(&g->ops)) {
			ask_for(c, g);
		}
	}
}

static void on_soon(struct soon *s)
{
	struct cache *c = container_of(s, struct cache, soon);
	bool lead_free = !c->leading, check_free = !c->checking;
	gather(c);
	if (lead_free && c->nled > 0) {
		send_lead(c);
		if (!c->leading)
			not_sent(c, &c->lead, c->led, c->nled);
	}
	if (check_free && c->nchecked > 0) {
		send_check(c);
		if (!c->checking)
			not_sent(c, &c->check, c->checked, c->nchecked);
	}
	if (!c->ending && !list_is_empty(&c->ends))
		send_ends(c);
}

/* --- those who wait --- */

/* Ends the waits that are over, and asks again for the others. */
static void look_again(struct cache *c)
{
	uint64_t now = loop_now_ms(c->worker->loop);
	bool any = false;
	LIST_EACH_SAFE(&c->groups, k, tmp) {
		struct cache_group *g = container_of(k, struct cache_group, link);
		if (g->state != GROUP_WAITS)
			continue;
		LIST_EACH_SAFE(&g->ops, o, next)
			if (container_of(o, struct cache_op, link)->until_ms <= now)
				complete(container_of(o, struct cache_op, link), CACHE_WAIT_OVER, 0);
		if (!list_is_empty(&g->ops)) {
			g->state = GROUP_FRESH;
			any = true;
		}
		drop_if_empty(c, g);
	}
	if (any)
		wake(c);
}

static void on_look(struct timer *t)
{
	look_again(container_of(t, struct cache, look));
}

void cache_hint(struct cache *c)
{
	look_again(c);
}

void cache_written(struct cache *c)
{
	notify_cache(c->worker->notifier);
	look_again(c);
}

static void cancel(struct op *op)
{
	struct cache_op *o = container_of(op, struct cache_op, op);
	struct cache_group *g = o->group;
	struct cache *c = o->job->worker->cache;
	if (g->asker == o->job)
		g->asker = NULL;
	complete(o, CACHE_WAIT_OVER, -ERR_CANCELED);
	drop_if_empty(c, g);
}

static void join(struct cache *c, struct cache_op *op, struct job *j, const uint8_t key[32], bool stale, int64_t max_wait_ms, struct flow *flow)
{
	*op = (struct cache_op){ .job = j, .until_ms = loop_now_ms(c->worker->loop) + (uint64_t)MAX(max_wait_ms, 0) };
	op->group = group_of(c, key, stale);
	op->waited = op->group->state == GROUP_WAITS;
	list_push(&op->group->ops, &op->link);
	op_start(&op->op, flow, "an identical job", cancel);
	wake(c);
}

void cache_ask(struct cache *c, struct cache_op *op, struct job *j, const uint8_t key[32], int64_t max_wait_ms, struct flow *flow)
{
	join(c, op, j, key, false, max_wait_ms, flow);
}

void cache_ask_stale(struct cache *c, struct cache_op *op, struct job *j, const uint8_t key[32], struct flow *flow)
{
	join(c, op, j, key, true, 0, flow);
}

/* --- hits are counted now and then --- */

static void on_hits_written(struct op *op, int rc)
{
	struct cache *c = container_of(container_of(op, struct db_query, op), struct cache, hit);
	(void)rc;
	db_query_done(&c->hit);
	c->hitting = false;
}

static void on_hits_timer(struct timer *t)
{
	struct cache *c = container_of(t, struct cache, hits_timer);
	struct db_array bucket, key, n;
	if (c->hitting || c->nhits == 0)
		return;
	db_array_init(&bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&key, DB_BYTEA, COLUMN_MAX);
	db_array_init(&n, DB_INT8, COLUMN_MAX);
	for (size_t i = 0; i < c->nhits; i++) {
		db_array_i32(&bucket, key_bucket(c->hits[i].key));
		db_array_text(&key, key_str(c->hits[i].key));
		db_array_i64(&n, c->hits[i].n);
	}
	c->nhits = 0;
	db_query_init(&c->hit, &sql_worker_cache_hits);
	c->hit.op.on_done = on_hits_written;
	c->hit.retry_ms = 0;
	db_arg_array(&c->hit.args, &bucket);
	db_arg_array(&c->hit.args, &key);
	db_arg_array(&c->hit.args, &n);
	db_array_done(&bucket);
	db_array_done(&key);
	db_array_done(&n);
	c->hitting = db_query_start(c->worker->db, &c->hit, NULL) == 0;
	if (!c->hitting)
		db_query_done(&c->hit);
}

/* --- life --- */

bool cache_is_idle(const struct cache *c)
{
	return !c->leading && !c->checking && !c->ending && !c->hitting && list_is_empty(&c->ends);
}

struct cache *cache_new(struct worker *w)
{
	struct cache *c = calloc(1, sizeof *c);
	assert(c);
	c->worker = w;
	c->hits = calloc(HITS_MAX, sizeof *c->hits);
	assert(c->hits);
	hash_init(&c->by_key);
	list_init(&c->groups);
	list_init(&c->ends);
	c->soon.fn = on_soon;
	timer_init(&c->look, w->loop, on_look);
	timer_init(&c->hits_timer, w->loop, on_hits_timer);
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	assert(list_is_empty(&c->groups) && cache_is_idle(c));
	loop_soon_cancel(c->worker->loop, &c->soon);
	timer_stop(&c->look);
	timer_stop(&c->hits_timer);
	hash_done(&c->by_key);
	free(c->hits);
	free(c);
}
