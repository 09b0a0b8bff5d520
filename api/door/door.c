/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   door_enter ─┬─ no limits ───────────────────────────────────────────────────▶ 1
 *               └─ asking ──door_take, all that ask together──▶ granted ─┐
 *                    ▲              └─ not enough: RATE_LIMITED          │
 *                    └── the row was not there yet, or the database failed (until intake.deadline)
 *   granted, door_more ─▶ is the count fresh? ─ no: counting ──door_depth──▶ yes ─┬─ room: reserved ─▶ 0
 *                                                                                 └─ full: is its Idempotency-Key known? ─▶ 0, or QUEUE_FULL
 *
 * One statement of each kind is out at a time, and door_take goes at most every TAKE_MS: all that come meanwhile go together, so that the rows are
 * written some hundred times a second at most, however many submit. Nothing is taken ahead. A visit that needs the limits of its key and of its tenant
 * and gets one of them gives that back with the next statement.
 *
 * What can go wrong: the database is away: the visit waits as long as the write would, then 503. A configuration that changes: the next visit has the
 * new limits.
 */
#include "api/door/door.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "common/conf.h"
#include "common/hash.h"
#include "sql_api.h"

#define TAKE_MS      5
#define AGAIN_MS     50
#define FRESH_MS     1000
#define REMEMBER_MAX 10000 /* counts, and depths, that nobody uses any more */
#define FULL_WAIT_MS 1000
#define COLUMN_MAX   ((size_t)16 << 20)

/* The requests of a key or tenant. */
struct door_count {
	struct link link;   /* in door.counts */
	struct link giving; /* in door.giving: it has something to give back */
	char *key;        /* owned: of limit_bucket */
	int64_t limit;
	int64_t want;     /* of the visits that are being sent */
	int64_t granted, left, reset_ms; /* of the last answer */
	int64_t back, back_second;
	int users;
	bool answered;
};

/* The waiting jobs of a tenant. */
struct door_depth {
	struct link link; /* in door.depths */
	int64_t tenant_id;
	int64_t counted;
	int64_t written;     /* by this process since it was counted */
	int64_t written_ask; /* … when the count was sent */
	int64_t flying;      /* let in, not written yet */
	uint64_t until_ms;   /* fresh so long */
	int users;
	bool asked;          /* it is being counted */
};

struct door {
	struct api *api;
	struct hash by_key, by_tenant;
	struct list counts, depths;
	struct list giving;             /* counts */
	struct list asking, sent;       /* visits, for door_take */
	struct list counting, counted;  /* visits, for door_depth */
	struct timer timer;
	struct db_query take, depth;
	struct door_count **in; /* owned array: what door_take carries */
	size_t nin;
	uint64_t taken_ms, depth_ms;
	bool again;             /* the last take failed */
	bool stopped;
};

static void take_soon(struct door *d);
static void judge_depth(struct door_visit *v);

static uint64_t now_of(const struct door *d)
{
	return loop_now_ms(&d->api->loop);
}

/* --- what is remembered --- */

static void count_free(struct door *d, struct door_count *c)
{
	hash_remove(&d->by_key, str_from(c->key));
	list_remove(&d->counts, &c->link);
	free(c->key);
	free(c);
}

static void depth_free(struct door *d, struct door_depth *c)
{
	hash_remove(&d->by_tenant, (struct str){ (const char *)&c->tenant_id, sizeof(c->tenant_id) });
	list_remove(&d->depths, &c->link);
	free(c);
}

/* The one that was met longest ago and that nobody uses; those in use go to the back. */
static void make_room(struct door *d)
{
	for (size_t i = 0; i < 8 && d->counts.n >= REMEMBER_MAX; i++) {
		struct door_count *c = container_of(list_first(&d->counts), struct door_count, link);
		if (c->users == 0 && !link_is_linked(&c->giving) && !d->take.op.active) {
			count_free(d, c);
			continue;
		}
		list_remove(&d->counts, &c->link);
		list_push(&d->counts, &c->link);
	}
	for (size_t i = 0; i < 8 && d->depths.n >= REMEMBER_MAX; i++) {
		struct door_depth *c = container_of(list_first(&d->depths), struct door_depth, link);
		if (c->users == 0) {
			depth_free(d, c);
			continue;
		}
		list_remove(&d->depths, &c->link);
		list_push(&d->depths, &c->link);
	}
}

static void use_count(struct door *d, struct door_visit *v, const char *name, struct str who, int64_t limit)
{
	struct buf b;
	buf_init(&b, 512);
	buf_printf(&b, "door:%s:" STR_FMT, name, STR_ARG(who));
	struct door_count *c = hash_get(&d->by_key, buf_str(&b));
	if (!c) {
		c = calloc(1, sizeof(*c));
		assert(c && !buf_failed(&b));
		c->key = strndup(b.p, b.n);
		assert(c->key);
		hash_set(&d->by_key, str_from(c->key), c);
		list_push(&d->counts, &c->link);
	}
	buf_done(&b);
	c->limit = limit;
	c->users++;
	v->shares[v->nshares++] = (struct door_share){ .count = c, .name = name, .limit = limit };
}

static void use_depth(struct door *d, struct door_visit *v)
{
	struct str name = { (const char *)&v->tenant_id, sizeof(v->tenant_id) };
	struct door_depth *c = hash_get(&d->by_tenant, name);
	if (!c) {
		c = calloc(1, sizeof(*c));
		assert(c);
		c->tenant_id = v->tenant_id;
		hash_set(&d->by_tenant, name, c);
		list_push(&d->depths, &c->link);
	}
	c->users++;
	v->depth = c;
}

/* --- the waiting jobs --- */

static void count_depths(struct door *d);

static void on_depths(struct op *op, int rc)
{
	struct door *d = container_of(container_of(op, struct db_query, op), struct door, depth);
	uint64_t now = now_of(d), fresh = MAX((uint64_t)FRESH_MS, 10 * (now - d->depth_ms));
	for (int row = 0; rc == 0 && row < db_rows(&d->depth); row++) {
		int64_t id = db_get_int(&d->depth, row, 0);
		struct door_depth *c = hash_get(&d->by_tenant, (struct str){ (const char *)&id, sizeof(id) });
		assert(c);
		c->counted = db_get_int(&d->depth, row, 1);
		c->written -= c->written_ask;
		c->until_ms = now + fresh;
	}
	db_query_done(&d->depth);
	struct list done;
	list_init(&done);
	for (struct link *k; (k = list_pop(&d->counted));) {
		container_of(k, struct door_visit, link)->depth->asked = false;
		list_push(&done, k);
	}
	for (struct link *k; rc == 0 && (k = list_pop(&d->counting));) /* they came meanwhile */
		list_push(&done, k);
	for (struct link *k; (k = list_pop(&done));) {
		struct door_visit *v = container_of(k, struct door_visit, link);
		if (rc < 0)
			op_done(&v->op, rc);
		else if (now < v->depth->until_ms)
			judge_depth(v);
		else
			list_push(&d->counting, k);
	}
	count_depths(d);
}

static void count_depths(struct door *d)
{
	if (d->depth.op.active || list_is_empty(&d->counting))
		return;
	struct db_array tenants;
	db_array_init(&tenants, DB_INT8, COLUMN_MAX);
	for (struct link *k; (k = list_pop(&d->counting));) {
		struct door_depth *c = container_of(k, struct door_visit, link)->depth;
		list_push(&d->counted, k);
		if (c->asked)
			continue;
		c->asked = true;
		c->written_ask = c->written;
		db_array_i64(&tenants, c->tenant_id);
	}
	db_query_init(&d->depth, &sql_api_door_depth);
	d->depth.op.on_done = on_depths;
	d->depth.retry_ms = conf_now()->intake_deadline_ms;
	d->depth_ms = now_of(d);
	db_arg_array(&d->depth.args, &tenants);
	db_array_done(&tenants);
	int rc = d->stopped ? -(int)ERR_DRAINING : api_query_start(d->api, &d->depth, NULL);
	if (rc < 0)
		on_depths(&d->depth.op, rc);
}

static void refuse_full(struct door_visit *v)
{
	bool never = v->need + v->reserved > v->max_depth;
	v->retry_ms = never ? 0 : FULL_WAIT_MS;
	op_done(&v->op, never ? -(int)ERR_TOO_LARGE : -(int)ERR_QUEUE_FULL);
}

static void on_key(struct op *op, int rc)
{
	struct door_visit *v = container_of(container_of(op, struct db_query, op), struct door_visit, query);
	v->is_known = rc == 0 && db_rows(&v->query) > 0;
	db_query_done(&v->query);
	if (v->is_known || rc < 0)
		op_done(&v->op, rc);
	else
		refuse_full(v);
}

/* It is full for new jobs: is this one a repeat? */
static void ask_key(struct door_visit *v)
{
	struct db_array bucket, tenant, key;
	db_array_init(&bucket, DB_INT4, COLUMN_MAX);
	db_array_init(&tenant, DB_INT8, COLUMN_MAX);
	db_array_init(&key, DB_TEXT, COLUMN_MAX);
	db_array_i32(&bucket, id_bucket_of_key(v->tenant_id, v->key));
	db_array_i64(&tenant, v->tenant_id);
	db_array_text(&key, v->key);
	db_query_init(&v->query, &sql_api_idempotency_get);
	db_arg_array(&v->query.args, &bucket);
	db_arg_array(&v->query.args, &tenant);
	db_arg_array(&v->query.args, &key);
	db_array_done(&bucket);
	db_array_done(&tenant);
	db_array_done(&key);
	v->query.op.on_done = on_key;
	v->query.retry_ms = conf_now()->intake_deadline_ms;
	int rc = api_query_start(v->door->api, &v->query, NULL);
	if (rc < 0)
		on_key(&v->query.op, rc);
}

static bool has_room(const struct door_visit *v)
{
	const struct door_depth *c = v->depth;
	return c->counted + c->written + c->flying + v->need <= v->max_depth;
}

static void reserve(struct door_visit *v)
{
	v->depth->flying += v->need;
	v->reserved += v->need;
}

/* The count is fresh. */
static void judge_depth(struct door_visit *v)
{
	if (has_room(v)) {
		reserve(v);
		op_done(&v->op, 0);
	} else if (v->key.p) {
		ask_key(v);
	} else {
		refuse_full(v);
	}
}

static void look_at_depth(struct door_visit *v)
{
	struct door *d = v->door;
	if (now_of(d) < v->depth->until_ms) {
		judge_depth(v);
		return;
	}
	list_push(&d->counting, &v->link);
	count_depths(d);
}

/* --- requests per minute --- */

/* Grants what was answered to the visit, or refuses it; false: one of its rows was not there yet. */
static bool judge_visit(struct door *d, struct door_visit *v)
{
	bool granted = true;
	for (int i = 0; i < v->nshares; i++) {
		const struct door_count *c = v->shares[i].count;
		if (!c->answered && now_of(d) < v->deadline_ms)
			return false;
		granted = granted && c->granted > 0;
	}
	v->retry_ms = 0;
	for (int i = 0; i < v->nshares; i++) {
		struct door_share *s = &v->shares[i];
		if (!granted && s->count->granted <= 0)
			v->retry_ms = MAX(v->retry_ms, MAX(INT64_C(1), s->count->reset_ms));
		if (granted)
			s->count->granted--;
		s->left = s->count->left + s->count->granted;
		s->reset_ms = s->count->reset_ms;
	}
	if (!granted)
		op_done(&v->op, -(int)ERR_RATE_LIMITED);
	else if (v->max_depth > 0)
		look_at_depth(v);
	else
		op_done(&v->op, 0);
	return true;
}

static void take_answers(struct door *d, int rc)
{
	for (size_t i = 0; i < d->nin; i++) {
		d->in[i]->answered = false;
		d->in[i]->granted = 0;
		d->in[i]->back = 0; /* it was given back, or is lost */
	}
	for (int row = 0; rc == 0 && row < db_rows(&d->take); row++) {
		struct door_count *c = d->in[db_get_int(&d->take, row, 0) - 1];
		c->answered = true;
		c->granted = db_get_int(&d->take, row, 1);
		c->back_second = db_get_int(&d->take, row, 2);
		c->left = db_get_int(&d->take, row, 3);
		c->reset_ms = db_get_int(&d->take, row, 4);
	}
}

static void on_taken(struct op *op, int rc)
{
	struct door *d = container_of(container_of(op, struct db_query, op), struct door, take);
	take_answers(d, rc);
	db_query_done(&d->take);
	d->again = rc == -(int)ERR_DATABASE || rc == -(int)ERR_OVERLOADED;
	struct list done, back;
	list_init(&done);
	list_init(&back);
	for (struct link *k; (k = list_pop(&d->sent));)
		list_push(&done, k);
	/* A visit that ends may let its request go, and others come: they find nothing half done here. */
	for (struct link *k; (k = list_pop(&done));) {
		struct door_visit *v = container_of(k, struct door_visit, link);
		if (rc < 0 && !(d->again && !d->stopped && now_of(d) < v->deadline_ms))
			op_done(&v->op, rc);
		else if (rc < 0 || !judge_visit(d, v))
			list_push(&back, k);
	}
	for (struct link *k; (k = list_pop(&d->asking));)
		list_push(&back, k);
	for (struct link *k; (k = list_pop(&back));)
		list_push(&d->asking, k);
	for (size_t i = 0; i < d->nin; i++) {
		struct door_count *c = d->in[i];
		c->back = c->granted;
		c->granted = 0;
		if (c->back > 0)
			list_push(&d->giving, &c->giving);
	}
	d->nin = 0;
	take_soon(d);
}

static void want_one(struct door *d, struct door_count *c)
{
	if (c->want++ == 0)
		d->in[d->nin++] = c;
}

/* What door_take is to carry: what the visits want, and what is to be given back. */
static void gather(struct door *d)
{
	free(d->in);
	d->in = calloc(d->asking.n * 2 + d->giving.n + 1, sizeof(struct door_count *));
	assert(d->in);
	d->nin = 0;
	for (struct link *k; (k = list_pop(&d->asking));) {
		struct door_visit *v = container_of(k, struct door_visit, link);
		list_push(&d->sent, k);
		for (int i = 0; i < v->nshares; i++)
			want_one(d, v->shares[i].count);
	}
	for (struct link *k; (k = list_pop(&d->giving));) {
		struct door_count *c = container_of(k, struct door_count, giving);
		if (c->want == 0)
			d->in[d->nin++] = c;
	}
}

static void send_take(struct door *d)
{
	struct db_array key, limit, wanted, back, second;
	gather(d);
	db_array_init(&key, DB_TEXT, COLUMN_MAX);
	db_array_init(&limit, DB_INT8, COLUMN_MAX);
	db_array_init(&wanted, DB_INT8, COLUMN_MAX);
	db_array_init(&back, DB_INT8, COLUMN_MAX);
	db_array_init(&second, DB_INT8, COLUMN_MAX);
	for (size_t i = 0; i < d->nin; i++) {
		struct door_count *c = d->in[i];
		db_array_text(&key, str_from(c->key));
		db_array_i64(&limit, c->limit);
		db_array_i64(&wanted, c->want);
		db_array_i64(&back, c->back);
		db_array_i64(&second, c->back_second);
		c->want = 0;
	}
	db_query_init(&d->take, &sql_api_door_take);
	db_arg_array(&d->take.args, &key);
	db_arg_array(&d->take.args, &limit);
	db_arg_array(&d->take.args, &wanted);
	db_arg_array(&d->take.args, &back);
	db_arg_array(&d->take.args, &second);
	db_array_done(&key);
	db_array_done(&limit);
	db_array_done(&wanted);
	db_array_done(&back);
	db_array_done(&second);
	d->take.op.on_done = on_taken;
	d->take.retry_ms = 0;
	d->taken_ms = now_of(d);
	int rc = api_query_start(d->api, &d->take, NULL);
	if (rc < 0)
		on_taken(&d->take.op, rc);
}

static void take_soon(struct door *d)
{
	if (d->take.op.active || d->stopped || timer_is_armed(&d->timer) || (list_is_empty(&d->asking) && list_is_empty(&d->giving)))
		return;
	uint64_t now = now_of(d), next = d->taken_ms + (d->again ? AGAIN_MS : TAKE_MS);
	timer_start(&d->timer, now >= next ? 0 : next - now);
}

static void on_timer(struct timer *t)
{
	send_take(container_of(t, struct door, timer));
}

/* --- life --- */

struct door *door_new(struct api *api)
{
	struct door *d = calloc(1, sizeof(*d));
	assert(d);
	d->api = api;
	hash_init(&d->by_key);
	hash_init(&d->by_tenant);
	struct list *lists[] = { &d->counts, &d->depths, &d->giving, &d->asking, &d->sent, &d->counting, &d->counted };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		list_init(lists[i]);
	timer_init(&d->timer, &api->loop, on_timer);
	return d;
}

void door_stop(struct door *d)
{
	d->stopped = true;
	timer_stop(&d->timer);
	for (struct link *k; (k = list_pop(&d->asking));)
		op_done(&container_of(k, struct door_visit, link)->op, -(int)ERR_DRAINING);
	for (struct link *k; (k = list_pop(&d->counting));)
		op_done(&container_of(k, struct door_visit, link)->op, -(int)ERR_DRAINING);
}

void door_free(struct door *d)
{
	if (!d)
		return;
	assert(!d->take.op.active && !d->depth.op.active);
	assert(list_is_empty(&d->asking) && list_is_empty(&d->sent) && list_is_empty(&d->counting) && list_is_empty(&d->counted));
	while (list_pop(&d->giving))
		;
	LIST_EACH_SAFE(&d->counts, k, next)
	count_free(d, container_of(k, struct door_count, link));
	LIST_EACH_SAFE(&d->depths, k, next)
	depth_free(d, container_of(k, struct door_depth, link));
	hash_done(&d->by_key);
	hash_done(&d->by_tenant);
	free(d->in);
	free(d);
}

/* --- a visit --- */

int door_enter(struct door *d, struct door_visit *v)
{
	const struct conf *conf = conf_now();
	const struct conf_tier *key = v->key_prefix.n ? conf_tier_find(conf, SCOPE_KEY, v->key_prefix) : NULL;
	const struct conf_tier *tenant = conf_tier_find(conf, SCOPE_TENANT, v->tenant);
	char room[24];
	struct buf b;
	v->door = d;
	if (d->stopped)
		return -(int)ERR_DRAINING;
	make_room(d);
	if (key && key->submit > 0)
		use_count(d, v, "key", v->key_prefix, key->submit);
	if (tenant && tenant->submit > 0) {
		buf_init(&b, sizeof(room));
		buf_add_i64(&b, v->tenant_id);
		use_count(d, v, "tenant", buf_str(&b), tenant->submit);
		buf_done(&b);
	}
	if (tenant && tenant->max_depth > 0) {
		v->max_depth = tenant->max_depth;
		use_depth(d, v);
	}
	if (v->nshares == 0 && !v->depth)
		return 1;
	v->need = 1;
	v->deadline_ms = now_of(d) + (uint64_t)conf->intake_deadline_ms;
	if (v->nshares > 0) {
		op_start(&v->op, NULL, "the limit on submissions", NULL);
		list_push(&d->asking, &v->link);
		take_soon(d);
		return 0;
	}
	return door_more(v, 1, NULL);
}

int door_more(struct door_visit *v, int64_t jobs, struct flow *flow)
{
	if (!v->depth || v->is_known || jobs <= 0)
		return 1;
	v->need = jobs;
	if (now_of(v->door) < v->depth->until_ms && has_room(v)) {
		reserve(v);
		return 1;
	}
	op_start(&v->op, flow, "the limit on waiting jobs", NULL);
	look_at_depth(v);
	return 0;
}

void door_leave(struct door_visit *v, int64_t written)
{
	for (int i = 0; i < v->nshares; i++)
		v->shares[i].count->users--;
	v->nshares = 0;
	if (!v->depth)
		return;
	v->depth->flying -= v->reserved;
	v->depth->written += MIN(written, v->reserved);
	v->depth->users--;
	v->depth = NULL;
	v->reserved = 0;
}
