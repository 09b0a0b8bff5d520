/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines become statements, statements one transaction: `batch_accept`, then `batch_accept_jobs` for each 500 jobs. The
 * statements are built a few hundred lines per turn of the loop, so that a large batch does not hold up other requests,
 * and each line is freed when its bytes are in a statement.
 *
 * A lost connection: db.c sends the transaction again, with the same ids; what was written already is not written
 * twice. A key that belongs to another submission: the first statement writes nothing, the others find no batch and
 * write nothing, and idempotency_get tells whose it is.
 */
#include "api/batches/batch_draft.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/batches/batch_order.h"
#include "api/jobs/fair_sync.h"
#include "api/jobs/hints.h"
#include "api/jobs/lane_ids.h"
#include "common/conf.h"
#include "common/fault.h"
#include "common/hash.h"
#include "common/metrics.h"
#include "sql_api.h"

#define CHUNK_ROWS   500
#define CHUNK_BYTES  ((size_t)16 << 20)
#define ERRORS_SHOWN 100
#define COLUMNS      16
#define LANE_ASKS    100 /* each brings at most DRAFT_PAIRS of them */
#define LINE_COST    256 /* what a line takes beyond its text */

struct draft_line {
	struct link link;
	struct submission s; /* texts in the bytes that follow */
	size_t bytes;
	char text[];
};

enum { LANES, BUILD, SEND, KEY };

static struct batch_draft *draft_of(struct flow *f)
{
	return container_of(f, struct batch_draft, flow);
}

void batch_draft_init(struct batch_draft *d, struct api *api, const struct identity *who)
{
	*d = (struct batch_draft){
		.api = api, .tenant_id = who->tenant_id, .weight = who->weight, .key_prefix = str_from(who->key_prefix), .first_answer = 202
	};
	list_init(&d->lines);
	buf_init(&d->errors, (size_t)1 << 20);
}

static void line_free(struct batch_draft *d, struct draft_line *l)
{
	list_remove(&d->lines, &l->link);
	free(l);
}

void batch_draft_done(struct batch_draft *d)
{
	if (!d->api)
		return;
	assert(!d->op.active);
	LIST_EACH_SAFE(&d->lines, k, next)
	line_free(d, container_of(k, struct draft_line, link));
	for (size_t i = 0; i < d->nqueries; i++) {
		db_query_done(d->queries[i]);
		free(d->queries[i]);
	}
	free(d->queries);
	db_query_done(&d->query);
	buf_done(&d->errors);
	d->api->batch_bytes -= d->bytes;
	d->api = NULL;
}

static struct str put(char **at, struct str s)
{
	if (!s.p)
		return s;
	memcpy(*at, s.p, s.n);
	struct str copy = { *at, s.n };
	*at += s.n;
	return copy;
}

int batch_draft_add(struct batch_draft *d, const struct submission *s)
{
	const struct conf *conf = conf_now();
	if (d->total >= conf->limits_batch_jobs)
		return err_set(&d->err, ERR_TOO_LARGE, "a batch has at most %lld jobs",
		               (long long)conf->limits_batch_jobs);
	size_t n = s->body.n + s->route.n + s->lane.n + s->user.n + s->metadata.n + s->webhook_url.n + s->custom_id.n;
	uint64_t bytes = n + LINE_COST + sizeof(struct draft_line);
	if (d->api->batch_bytes + bytes > (uint64_t)conf->limits_batch_memory)
		return err_set(&d->err, ERR_OVERLOADED, "too many batches are arriving at once");
	struct draft_line *l = calloc(1, sizeof(*l) + n + 1);
	if (!l)
		return err_set(&d->err, ERR_OVERLOADED, "no memory is left for this batch");
	char *at = l->text;
	l->s = *s;
	l->bytes = n;
	l->s.body = put(&at, s->body);
	l->s.route = put(&at, s->route);
	l->s.lane = put(&at, s->lane);
	l->s.user = put(&at, s->user);
	l->s.metadata = put(&at, s->metadata);
	l->s.webhook_url = put(&at, s->webhook_url);
	l->s.custom_id = put(&at, s->custom_id);
	list_push(&d->lines, &l->link);
	d->total++;
	d->bytes += bytes;
	d->api->batch_bytes += bytes;
	return 0;
}

void batch_draft_add_error(struct batch_draft *d, int64_t line, const struct err *err)
{
	if (++d->error_count > ERRORS_SHOWN)
		return;
	struct buf *b = &d->errors;
	buf_printf(b, "%s{\"line\":%lld,\"code\":\"%s\",\"message\":", d->error_count > 1 ? "," : "", (long long)line,
	           err_code_name((int)err->code));
	buf_add_json_str(b, str_from(err->text));
	buf_add_z(b, ",\"param\":");
	if (err->param[0])
		buf_add_json_str(b, str_from(err->param));
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}

static enum flow_next fail(struct batch_draft *d, int rc, const char *detail)
{
	err_set(&d->err, (enum err_code) - rc, "%s", detail);
	return flow_fail(&d->flow, rc);
}

/* --- the numbers of all lanes that are named --- */

static enum flow_next lanes_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	struct str missing[DRAFT_PAIRS];
	size_t n = 0;
	struct hash seen;
	hash_init(&seen);
	LIST_EACH(&d->lines, k)
	{
		struct str name = container_of(k, struct draft_line, link)->s.lane;
		if (n == ARRAY_LEN(missing) || lane_ids_get(d->api->lane_ids, name) > 0 || hash_get(&seen, name))
			continue;
		hash_set(&seen, name, d);
		missing[n++] = name;
	}
	hash_done(&seen);
	if (n == 0)
		return FLOW_NEXT;
	int rc = lane_ids_ask(d->api->lane_ids, &d->query, missing, n, f);
	return rc < 0 ? fail(d, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next lanes_done(struct flow *f, int rc)
{
	struct batch_draft *d = draft_of(f);
	if (rc < 0)
		return fail(d, rc, "the lanes of the routes could not be found");
	lane_ids_learn(d->api->lane_ids, &d->query);
	/* A lane that another process makes at the same time is only seen by the next look. */
	return ++d->lane_asks < LANE_ASKS ? flow_jump(f, LANES)
	                                  : fail(d, -(int)ERR_DB_CONFLICT, "the lanes of the routes were not made");
}

/* --- statements --- */

static struct db_query *add_query(struct batch_draft *d, const struct db_stmt *stmt)
{
	if (d->nqueries == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 16;
		d->queries = realloc(d->queries, d->cap * sizeof(struct db_query *));
		assert(d->queries);
	}
	struct db_query *q = calloc(1, sizeof(*q));
	assert(q);
	db_query_init(q, stmt);
	d->queries[d->nqueries++] = q;
	return q;
}

static void begin(struct batch_draft *d)
{
	d->id = id_make(d->key.p ? id_bucket_of_key(d->tenant_id, d->key) : -1);
	struct db_args *a = &add_query(d, &sql_api_batch_accept)->args;
	struct buf errors;
	buf_init(&errors, (size_t)2 << 20);
	buf_printf(&errors, "[%.*s]", (int)d->errors.n, d->errors.n ? d->errors.p : "");
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->tenant_id);
	db_arg_i32(a, d->total);
	db_arg_text_or_null(a, d->error_count > 0 ? buf_str(&errors) : (struct str){ 0 });
	db_arg_i32(a, d->error_count);
	db_arg_text_or_null(a, d->webhook_url);
	db_arg_text_or_null(a, d->key);
	if (d->key.p)
		db_arg_bytea(a, (struct str){ (const char *)d->fingerprint, sizeof(d->fingerprint) });
	else
		db_arg_null(a);
	db_arg_i64(a, MAX(conf_now()->idempotency_ttl_ms,
	                  conf_now()->retention_payload_ms)); /* never shorter than its jobs live */
	db_arg_i16(a, (int16_t)d->first_answer);
	db_arg_i16(a, (int16_t)d->form);
	buf_done(&errors);
}

static void begin_file(struct batch_draft *d)
{
	struct db_args *a = &add_query(d, &sql_api_batch_file_accept)->args;
	const struct batch_order *o = d->order;
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->tenant_id);
	db_arg_i16(a, (int16_t)o->form);
	db_arg_i16(a, (int16_t)o->priority);
	db_arg_text(a, o->endpoint);
	db_arg_id(a, o->file);
	db_arg_i64(a, o->window_ms);
	db_arg_text(a, o->completion_window);
	db_arg_text_or_null(a, o->metadata);
	db_arg_text_or_null(a, d->key_prefix);
	if (o->output_expires_s)
		db_arg_i32(a, o->output_expires_s);
	else
		db_arg_null(a);
	db_arg_bool(a, o->dry_run);
	if (o->max_cost_nanousd >= 0)
		db_arg_i64(a, o->max_cost_nanousd);
	else
		db_arg_null(a);
}

static void note_pair(struct batch_draft *d, int lane, int priority)
{
	for (size_t i = 0; i < d->npairs; i++)
		if (d->pairs[i].lane == lane && d->pairs[i].priority == priority)
			return;
	if (d->npairs < DRAFT_PAIRS)
		d->pairs[d->npairs++] = (struct draft_pair){ lane, priority };
}

static void add_line(struct batch_draft *d, struct db_array *c, const struct submission *s)
{
	int lane = lane_ids_get(d->api->lane_ids, s->lane);
	assert(lane > 0);
	int64_t floor, pass = fairness_pass(d->api->fairness, d->tenant_id, d->weight, lane, s->priority,
	                                    loop_now_ms(&d->api->loop), &floor);
	note_pair(d, lane, s->priority);
	db_array_id(&c[0], id_make(id_bucket(d->id)));
	db_array_i32(&c[1], d->written_index++);
	db_array_i16(&c[2], (int16_t)s->kind);
	db_array_i16(&c[3], (int16_t)s->priority);
	db_array_i32(&c[4], lane);
	db_array_text(&c[5], s->route);
	db_array_text_or_null(&c[6], s->user);
	db_array_text_or_null(&c[7], s->metadata);
	db_array_time_or_null(&c[8], s->run_at_us);
	db_array_time_or_null(&c[9], s->expires_at_us);
	db_array_text_or_null(&c[10], s->webhook_url);
	db_array_text(&c[11], s->body);
	db_array_i64(&c[12], pass);
	db_array_i64(&c[13], floor);
	db_array_i16(&c[14], (int16_t)s->max_attempts);
	db_array_text_or_null(&c[15], s->custom_id);
}

static void build_chunk(struct batch_draft *d)
{
	static const enum db_type types[COLUMNS] = { DB_UUID, DB_INT4, DB_INT2, DB_INT2, DB_INT4,
		                                     DB_TEXT, DB_TEXT, DB_TEXT, DB_TIME, DB_TIME,
		                                     DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_INT2, DB_TEXT };
	struct db_array columns[COLUMNS];
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_init(&columns[i], types[i], (size_t)1 << 30);
	size_t bytes = 0;
	for (int rows = 0; rows < CHUNK_ROWS && bytes < CHUNK_BYTES && !list_is_empty(&d->lines); rows++) {
		struct draft_line *l = container_of(list_first(&d->lines), struct draft_line, link);
		bytes += l->bytes;
		add_line(d, columns, &l->s);
		line_free(d, l);
	}
	struct db_args *a = &add_query(d, &sql_api_batch_accept_jobs)->args;
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->tenant_id);
	for (size_t i = 0; i < COLUMNS; i++) {
		db_arg_array(a, &columns[i]);
		db_array_done(&columns[i]);
	}
	db_arg_i16(a, (int16_t)d->form);
	db_arg_i64(a, conf_now()->job_expires_ms);
	db_arg_text_or_null(a, d->key_prefix);
}

static enum flow_next build_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	if (d->nqueries == 0)
		begin(d);
	if (d->order)
		begin_file(d);
	else
		build_chunk(d);
	if (list_is_empty(&d->lines))
		return FLOW_NEXT;
	nap_start(&d->nap, &d->api->loop, f, 0);
	return FLOW_WAIT;
}

static enum flow_next build_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_fail(f, rc) : flow_jump(f, BUILD);
}

static enum flow_next send_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	fair_sync_touch(d->api->fair_sync);
	d->tx = (struct db_tx){ .queries = d->queries, .n = d->nqueries, .retry_ms = conf_now()->intake_deadline_ms };
	int rc = api_tx_start(d->api, &d->tx, f);
	return rc < 0 ? fail(d, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next send_done(struct flow *f, int rc)
{
	struct batch_draft *d = draft_of(f);
	if (rc < 0)
		return fail(d, rc, "the batch may or may not have been written: repeat it with its Idempotency-Key");
	(void)FAULT("accept.after_commit");
	if (db_rows(d->queries[0]) == 0 && d->key.p)
		return FLOW_NEXT;
	metric_add(METRIC_ACCEPTED, "", d->total);
	for (size_t i = 0; i < d->npairs; i++)
		hints_ready(d->api->hints, d->pairs[i].lane, d->pairs[i].priority);
	return flow_over(f, 0);
}

static enum flow_next key_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	struct db_array bucket, tenant, key;
	db_array_init(&bucket, DB_INT4, 1024);
	db_array_init(&tenant, DB_INT8, 1024);
	db_array_init(&key, DB_TEXT, 1024);
	db_array_i32(&bucket, id_bucket(d->id));
	db_array_i64(&tenant, d->tenant_id);
	db_array_text(&key, d->key);
	db_query_done(&d->query);
	db_query_init(&d->query, &sql_api_idempotency_get);
	db_arg_array(&d->query.args, &bucket);
	db_arg_array(&d->query.args, &tenant);
	db_arg_array(&d->query.args, &key);
	db_array_done(&bucket);
	db_array_done(&tenant);
	db_array_done(&key);
	int rc = api_query_start(d->api, &d->query, f);
	return rc < 0 ? fail(d, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next key_done(struct flow *f, int rc)
{
	struct batch_draft *d = draft_of(f);
	const struct db_query *q = &d->query;
	if (rc < 0)
		return fail(d, rc, "it is not known whose the Idempotency-Key is: send it again");
	if (db_rows(q) != 1)
		return fail(d, -(int)ERR_DB_CONFLICT, "the Idempotency-Key lapsed just now: send it again");
	struct id owner = db_get_id(q, 0, 5);
	if (id_eq(owner, d->id))
		return flow_over(f, 0);
	struct str fingerprint = db_get_str(q, 0, 3);
	if (fingerprint.n != sizeof(d->fingerprint) || memcmp(fingerprint.p, d->fingerprint, fingerprint.n) != 0)
		return fail(d, -(int)ERR_KEY_REUSED,
		            "the first request with this key had another method, path or body");
	d->id = owner;
	d->is_job = db_get_int(q, 0, 4) == 0;
	d->first_status = (int)db_get_int(q, 0, 6);
	d->replayed = true;
	return flow_over(f, 0);
}

static const struct flow_step commit_steps[] = {
	[LANES] = { "lanes", lanes_start, lanes_done },
	[BUILD] = { "build", build_start, build_done },
	[SEND] = { "send", send_start, send_done },
	[KEY] = { "key", key_start, key_done },
	{ .name = NULL },
};

static void on_commit_end(struct flow *f, int result)
{
	op_done(&draft_of(f)->op, result);
}

void batch_draft_commit(struct batch_draft *d, struct flow *flow)
{
	assert((d->total > 0 || d->order) && d->nqueries == 0);
	op_start(&d->op, flow, "the batch's transaction", NULL);
	flow_start(&d->flow, "batch_commit", commit_steps, on_commit_end);
}
