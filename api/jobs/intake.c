/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group commit of single jobs.
 *
 *     intake_start → queue ─┬─ flush: one `accept` ─▶ each id that it returns: written
 *                           │                      └▶ the others: `idempotency_get` ─▶ mine after all, a replay, or
 *                           │                                                         a reused key
 *                           └─ the same key is under way here: wait for that one, then as above
 *
 * When it goes: fewer than two flushes in flight: at the next turn of the loop; else when one returns or a full one
 * waits. So a lone job waits for nothing, and under load the groups grow by themselves.
 *
 * What can go wrong: a lost connection: db.c sends the same statement with the same ids again; when the first had been
 * committed it violates a unique index, and accept_again, which looks before it writes, recognises what is there. The
 * time is over: 503, and the job may exist (a repeat with its key finds out). One job that the database refuses: its
 * group is written one by one, so that it fails alone. Two processes with the same keys: rows are sorted by bucket and
 * key, so they wait for each other in one order. Two statements of this process in flight at once never hold the same
 * key.
 */
#include "api/jobs/intake.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "common/conf.h"
#include "common/fault.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_api.h"

#define FLUSHES_MAX  8
#define FLUSHES_EASY 2
#define ROWS_MAX     2000
#define TRIES_MAX    3
#define COLUMNS      22
#define UNIQUE_VIOLATION "23505" /* SQLSTATE */

enum { MARK_FOLLOWED = 1, MARK_AWAITED = 2, MARK_UNSTORED = 4 }; /* as in accept.sql: one column costs less than three */

struct flush {
	struct link link; /* in intake.idle or intake.busy */
	struct intake *in;
	struct db_query query;
	struct db_array columns[COLUMNS];
	struct intake_job *jobs[ROWS_MAX];
	size_t n;
	bool again;                 /* it may have been committed before: accept_again */
	uint64_t started_ns;
};

struct intake {
	struct api *api;
	struct list queue;
	size_t queue_bytes;
	struct hash keys;       /* tenant and key → the intake_job that is queued or in flight */
	struct list idle, busy; /* of flush */
	struct soon soon;
	bool stopped;
};

static const enum db_type column_types[COLUMNS] = {
	DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_INT2, DB_INT4,  DB_TEXT, DB_TEXT, DB_TEXT,
	DB_TIME, DB_TIME, DB_TEXT, DB_TEXT, DB_TEXT, DB_BYTEA, DB_INT8, DB_INT8, DB_INT2, DB_TEXT,
	DB_INT2, DB_INT2, DB_INT8,
};

static struct str key_name(const struct intake_job *j, char out[sizeof(int64_t) + 255])
{
	assert(j->key.n <= 255);
	memcpy(out, &j->tenant_id, sizeof(j->tenant_id));
	memcpy(out + sizeof(j->tenant_id), j->key.p, j->key.n);
	return (struct str){ out, sizeof(j->tenant_id) + j->key.n };
}

static void settle(struct intake *in, struct intake_job *j)
{
	if (!j->key.p)
		return;
	char room[sizeof(int64_t) + 255];
	struct str name = key_name(j, room);
	if (hash_get(&in->keys, name) == j)
		hash_remove(&in->keys, name);
}

/* j and those that waited for it, which submitted the same key: now whose key it is is known. */
static void answer_group(struct intake *in, struct intake_job *j, const uint8_t *fingerprint, struct id id,
                         bool is_batch, int status)
{
	settle(in, j);
	struct list group = { 0 };
	list_init(&group);
	for (struct link *k; (k = list_pop(&j->followers));)
		list_push(&group, k);
	bool mine = !is_batch && id_eq(id, j->id);
	int rc = mine || memcmp(fingerprint, j->fingerprint, 32) == 0 ? 0 : -(int)ERR_KEY_REUSED;
	uint8_t kept[32];
	memcpy(kept, fingerprint, sizeof(kept));
	j->replayed = !mine;
	j->is_new = mine && j->written;
	j->id = id;
	j->is_batch = is_batch;
	j->first_status = status;
	op_done(&j->op, rc);
	for (struct link *k; (k = list_pop(&group));) {
		struct intake_job *other = container_of(k, struct intake_job, link);
		other->replayed = true;
		other->id = id;
		other->is_batch = is_batch;
		other->first_status = status;
		op_done(&other->op, memcmp(kept, other->fingerprint, 32) == 0 ? 0 : -(int)ERR_KEY_REUSED);
	}
}

static void fail_group(struct intake_job *j, int rc)
{
	struct list group;
	list_init(&group);
	list_push(&group, &j->link);
	for (struct link *k; (k = list_pop(&j->followers));)
		list_push(&group, k);
	for (struct link *k; (k = list_pop(&group));)
		op_done(&container_of(k, struct intake_job, link)->op, rc);
}

static void flush_over(struct flush *f)
{
	struct intake *in = f->in;
	db_query_done(&f->query);
	f->n = 0;
	f->again = false;
	list_remove(&in->busy, &f->link);
	list_push_front(&in->idle, &f->link);
	if (!in->stopped)
		loop_soon(&in->api->loop, &in->soon); /* not from here: a refusal could recurse */
}

/* --- the second question: whose keys are these? --- */

static void put_back(struct intake *in, struct intake_job *j)
{
	if (++j->tries >= TRIES_MAX || in->stopped) {
		settle(in, j);
		fail_group(j, in->stopped ? -(int)ERR_DRAINING : -(int)ERR_DB_CONFLICT);
		return;
	}
	list_push_front(&in->queue, &j->link);
	in->queue_bytes += j->bytes;
}

static int row_of(const struct db_query *q, const struct intake_job *j)
{
	for (int i = 0; i < db_rows(q); i++)
		if (db_get_int(q, i, 1) == j->tenant_id && str_eq(db_get_str(q, i, 2), j->key))
			return i;
	return -1;
}

static void on_keys(struct op *op, int rc)
{
	struct flush *f = container_of(op, struct flush, query.op);
	struct intake *in = f->in;
	for (size_t i = 0; i < f->n; i++) {
		struct intake_job *j = f->jobs[i];
		if (rc < 0) {
			settle(in, j);
			fail_group(j, rc);
			continue;
		}
		int row = row_of(&f->query, j);
		if (row < 0) {
			put_back(in, j); /* the key lapsed between the two statements */
			continue;
		}
		struct str fingerprint = db_get_str(&f->query, row, 3);
		assert(fingerprint.n == 32);
		answer_group(in, j, (const uint8_t *)fingerprint.p, db_get_id(&f->query, row, 5),
		             db_get_int(&f->query, row, 4) == 1, (int)db_get_int(&f->query, row, 6));
	}
	flush_over(f);
}

static void ask_keys(struct flush *f)
{
	struct db_array bucket, tenant, key;
	db_array_init(&bucket, DB_INT4, 1 << 20);
	db_array_init(&tenant, DB_INT8, 1 << 20);
	db_array_init(&key, DB_TEXT, 1 << 20);
	for (size_t i = 0; i < f->n; i++) {
		db_array_i32(&bucket, id_bucket(f->jobs[i]->id));
		db_array_i64(&tenant, f->jobs[i]->tenant_id);
		db_array_text(&key, f->jobs[i]->key);
	}
	db_query_done(&f->query);
	db_query_init(&f->query, &sql_api_idempotency_get);
	db_arg_array(&f->query.args, &bucket);
	db_arg_array(&f->query.args, &tenant);
	db_arg_array(&f->query.args, &key);
	db_array_done(&bucket);
	db_array_done(&tenant);
	db_array_done(&key);
	f->query.op.on_done = on_keys;
	f->query.retry_ms = conf_now()->intake_deadline_ms;
	int rc = api_query_start(f->in->api, &f->query, NULL);
	if (rc < 0)
		on_keys(&f->query.op, rc);
}

/* --- the flush --- */

/* The rows come in the order of no promise, but nearly always in the order of the jobs: look from where the last was
 * found. */
static void mark_written(struct flush *f)
{
	size_t at = 0;
	for (int row = 0; row < db_rows(&f->query); row++) {
		struct id id = db_get_id(&f->query, row, 0);
		for (size_t tried = 0; tried < f->n; tried++, at = (at + 1) % f->n) {
			struct intake_job *j = f->jobs[at];
			if (!id_eq(j->id, id))
				continue;
			j->written = true;
			j->created_us = db_get_time(&f->query, row, 1);
			j->expires_us = db_get_time(&f->query, row, 2);
			break;
		}
	}
}

static void flush_send(struct flush *f);

static void flush_failed(struct flush *f, int rc)
{
	struct intake *in = f->in;
	bool split = rc == -(int)ERR_DB_QUERY && f->n > 1;
	log_event(split ? LOG_WARN : err_level(rc), "accept_failed", "jobs could not be written", LOG_I64("jobs", f->n),
	          LOG_Z("code", err_code_name(rc)), LOG_Z("sqlstate", f->query.sqlstate),
	          LOG_Z("error", f->query.err.text), LOG_END);
	for (size_t i = f->n; i-- > 0;) {
		struct intake_job *j = f->jobs[i];
		if (split && !in->stopped) {
			j->alone = true;
			list_push_front(&in->queue, &j->link);
			in->queue_bytes += j->bytes;
			continue;
		}
		settle(in, j);
		fail_group(j, rc);
	}
}

static void on_accepted(struct op *op, int rc)
{
	struct flush *f = container_of(op, struct flush, query.op);
	struct intake *in = f->in;
	metric_observe_ns(METRIC_ACCEPT_FLUSH, "", uv_hrtime() - f->started_ns);
	if (rc < 0 && !f->again && strcmp(f->query.sqlstate, UNIQUE_VIOLATION) == 0) {
		f->again = true;
		db_query_done(&f->query);
		flush_send(f);
		return;
	}
	if (rc < 0) {
		flush_failed(f, rc);
		flush_over(f);
		return;
	}
	(void)FAULT("accept.after_commit");
	metric_add(METRIC_ACCEPT_ROWS, "", db_rows(&f->query));
	metric_add(METRIC_ACCEPTED, "", db_rows(&f->query));
	mark_written(f);
	size_t unknown = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct intake_job *j = f->jobs[i];
		/* Without a key, an id that is not returned was written by an earlier sending. */
		if (j->written || !j->key.p)
			answer_group(in, j, j->fingerprint, j->id, false, 202);
		else
			f->jobs[unknown++] = j;
	}
	f->n = unknown;
	if (unknown > 0)
		ask_keys(f);
	else
		flush_over(f);
}

static int by_bucket_and_key(const void *a, const void *b)
{
	const struct intake_job *x = *(struct intake_job *const *)a, *y = *(struct intake_job *const *)b;
	int bx = id_bucket(x->id), by = id_bucket(y->id);
	if (bx != by)
		return bx < by ? -1 : 1;
	if (x->key.p && y->key.p) {
		if (x->tenant_id != y->tenant_id)
			return x->tenant_id < y->tenant_id ? -1 : 1;
		int c = memcmp(x->key.p, y->key.p, MIN(x->key.n, y->key.n));
		return c ? c : x->key.n < y->key.n ? -1 : x->key.n > y->key.n;
	}
	return memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

static void add_row(struct db_array *c, const struct intake_job *j)
{
	const struct submission *s = j->submission;
	db_array_i32(&c[0], id_bucket(j->id));
	db_array_id(&c[1], j->id);
	db_array_i64(&c[2], j->tenant_id);
	db_array_i16(&c[3], (int16_t)s->kind);
	db_array_i16(&c[4], (int16_t)s->priority);
	db_array_i32(&c[5], j->lane);
	db_array_text(&c[6], s->route);
	db_array_text_or_null(&c[7], s->user);
	db_array_text_or_null(&c[8], s->metadata);
	db_array_time_or_null(&c[9], s->run_at_us);
	db_array_time_or_null(&c[10], s->expires_at_us);
	db_array_text_or_null(&c[11], s->webhook_url);
	db_array_text(&c[12], s->body);
	db_array_text_or_null(&c[13], j->key);
	if (j->key.p)
		db_array_text(&c[14], (struct str){ (const char *)j->fingerprint, sizeof(j->fingerprint) });
	else
		db_array_null(&c[14]);
	db_array_i64(&c[15], j->pass);
	db_array_i64(&c[16], j->counted_from);
	db_array_i16(&c[17], (int16_t)s->max_attempts);
	db_array_text_or_null(&c[18], j->key_prefix);
	db_array_i16(&c[19], (int16_t)s->form);
	db_array_i16(&c[20], (int16_t)((s->followed ? MARK_FOLLOWED : 0) | (s->awaited ? MARK_AWAITED : 0) | (s->unstored ? MARK_UNSTORED : 0)));
	db_array_i64_or_null(&c[21], s->estimate_nanousd);
}

static void flush_send(struct flush *f)
{
	struct intake *in = f->in;
	const struct conf *conf = conf_now();
	qsort(f->jobs, f->n, sizeof(f->jobs[0]), by_bucket_and_key);
	db_query_init(&f->query, f->again ? &sql_api_accept_again : &sql_api_accept);
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_clear(&f->columns[i]);
	for (size_t i = 0; i < f->n; i++)
		add_row(f->columns, f->jobs[i]);
	for (size_t i = 0; i < COLUMNS; i++)
		db_arg_array(&f->query.args, &f->columns[i]);
	db_arg_i64(&f->query.args, conf->job_expires_ms);
	db_arg_i64(&f->query.args, conf->idempotency_ttl_ms);
	db_arg_i16(&f->query.args, 202);
	db_arg_id(&f->query.args, in->api->id);
	f->query.op.on_done = on_accepted;
	f->query.retry_ms = conf->intake_deadline_ms;
	f->started_ns = uv_hrtime();
	int rc = api_query_start(in->api, &f->query, NULL);
	if (rc < 0)
		on_accepted(&f->query.op, rc);
}

static struct flush *flush_get(struct intake *in)
{
	struct link *k = list_pop(&in->idle);
	if (k)
		return container_of(k, struct flush, link);
	struct flush *f = calloc(1, sizeof(*f));
	assert(f);
	f->in = in;
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_init(&f->columns[i], column_types[i], (size_t)1 << 30);
	return f;
}

/* The statement's own limit: a parameter may have 1 GiB, and a large one holds up the others. */
#define FLUSH_BYTES ((size_t)32 << 20)

static void flush_start(struct intake *in)
{
	const size_t rows = MIN((size_t)conf_now()->intake_rows, (size_t)ROWS_MAX);
	while (!list_is_empty(&in->queue) && !in->stopped) {
		size_t limit = in->queue.n >= rows ? FLUSHES_MAX : FLUSHES_EASY;
		if (in->busy.n >= limit)
			break;
		struct flush *f = flush_get(in);
		list_push(&in->busy, &f->link);
		size_t bytes = 0;
		for (struct link *k; f->n < rows && bytes < FLUSH_BYTES && (k = list_first(&in->queue));) {
			struct intake_job *j = container_of(k, struct intake_job, link);
			if (j->alone && f->n > 0)
				break;
			list_remove(&in->queue, k);
			in->queue_bytes -= j->bytes;
			bytes += j->bytes;
			f->jobs[f->n++] = j;
			if (j->alone)
				break;
		}
		flush_send(f);
	}
	metric_set(METRIC_ACCEPT_QUEUE, "", (int64_t)in->queue.n);
}

static void on_soon(struct soon *s)
{
	flush_start(container_of(s, struct intake, soon));
}

struct intake *intake_new(struct api *api)
{
	struct intake *in = calloc(1, sizeof(*in));
	assert(in);
	in->api = api;
	in->soon.fn = on_soon;
	list_init(&in->queue);
	list_init(&in->idle);
	list_init(&in->busy);
	hash_init(&in->keys);
	return in;
}

void intake_stop(struct intake *in)
{
	in->stopped = true;
	loop_soon_cancel(&in->api->loop, &in->soon);
	for (struct link *k; (k = list_pop(&in->queue));) {
		struct intake_job *j = container_of(k, struct intake_job, link);
		settle(in, j);
		fail_group(j, -(int)ERR_DRAINING);
	}
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	assert(list_is_empty(&in->queue) && list_is_empty(&in->busy));
	for (struct link *k; (k = list_pop(&in->idle));) {
		struct flush *f = container_of(k, struct flush, link);
		for (size_t i = 0; i < COLUMNS; i++)
			db_array_done(&f->columns[i]);
		free(f);
	}
	hash_done(&in->keys);
	free(in);
}

int intake_start(struct intake *in, struct intake_job *j, struct flow *flow)
{
	const struct conf *conf = conf_now();
	if (in->stopped)
		return -(int)ERR_DRAINING;
	if (in->queue.n >= (size_t)conf->intake_queue || in->queue_bytes >= (size_t)conf->intake_queue_bytes)
		return -(int)ERR_OVERLOADED;
	assert(j->submission && j->lane > 0);
	j->id = id_make(j->key.p ? id_bucket_of_key(j->tenant_id, j->key) : -1);
	j->bytes = j->submission->body.n + 512;
	list_init(&j->followers);
	op_start(&j->op, flow, "the group commit", NULL);
	if (j->key.p) {
		char room[sizeof(int64_t) + 255];
		struct str name = key_name(j, room);
		struct intake_job *first = hash_get(&in->keys, name);
		if (first) {
			list_push(&first->followers, &j->link);
			return 0;
		}
		hash_set(&in->keys, name, j);
	}
	list_push(&in->queue, &j->link);
	in->queue_bytes += j->bytes;
	if (in->busy.n < FLUSHES_EASY || in->queue.n >= (size_t)conf->intake_rows)
		loop_soon(&in->api->loop, &in->soon);
	return 0;
}
