/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two flows, never at the same time:
 *
 *   stage   lanes ─▶ write          a full group of lines, while the body arrives: one statement, batch_stage_add
 *   commit  staged ─▶ lanes ─▶ build ─▶ send ─▶ key
 *
 * The commit is one transaction: batch_accept, then a batch_accept_jobs for each group, which brings the group's lines or takes them from where they were
 * staged. Statements are built a group per turn of the loop, so that a large batch does not hold up other requests.
 *
 * A lost connection: db.c sends the transaction again, with the same ids; what was written already is not written
 * twice. A key that belongs to another submission: the first statement writes nothing, the others find no batch and
 * write nothing, and idempotency_get tells whose it is.
 *
 * The owner may go while a group is on its way: then the draft goes on without it until the statement is back, and drops the groups.
 */
#include "api/batches/batch_draft.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/batches/batch_order.h"
#include "api/jobs/fair_sync.h"
#include "api/jobs/lane_ids.h"
#include "common/conf.h"
#include "common/fault.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_api.h"

#define GROUP_ROWS   500
#define GROUP_BYTES  ((size_t)1 << 20)
#define ERRORS_SHOWN 100
#define LANES_ASKED  64
#define LANE_ASKS    100 /* each brings at most LANES_ASKED of them */
#define LINE_COST    256 /* what a line takes beyond its text */
#define RETRY_MS     30000

struct draft_line {
	struct link link;
	struct submission s; /* texts in the bytes that follow */
	size_t bytes;
	char text[];
};

static void stage_start(struct batch_draft *d);

/* --- its life --- */

struct batch_draft *batch_draft_new(struct api *api, const struct identity *who)
{
	struct batch_draft *d = calloc(1, sizeof(*d));
	assert(d);
	d->of = (struct batch_lines_of){ .api = api, .tenant_id = who->tenant_id, .weight = who->weight };
	d->key_prefix = str_from(who->key_prefix);
	d->first_answer = 202;
	list_init(&d->lines);
	buf_init(&d->errors, (size_t)1 << 20);
	batch_columns_init(&d->group);
	return d;
}

static void line_free(struct batch_draft *d, struct draft_line *l)
{
	uint64_t bytes = l->bytes + LINE_COST + sizeof(*l);
	list_remove(&d->lines, &l->link);
	d->nlines--;
	d->line_bytes -= l->bytes;
	d->held -= bytes;
	d->of.api->batch_bytes -= bytes;
	free(l);
}

static void release(struct batch_draft *d)
{
	LIST_EACH_SAFE(&d->lines, k, next)
	line_free(d, container_of(k, struct draft_line, link));
	for (size_t i = 0; i < d->nqueries; i++) {
		db_query_done(d->queries[i]);
		free(d->queries[i]);
	}
	free(d->queries);
	db_query_done(&d->query);
	db_query_done(&d->stage_query);
	batch_columns_done(&d->group);
	buf_done(&d->errors);
	free(d);
}

static void on_dropped(struct op *op, int rc)
{
	(void)rc; /* what could not be dropped is the sweep's */
	release(container_of(op, struct batch_draft, query.op));
}

/* Nobody wants it any more, and nothing of it is on its way. */
static void abandon(struct batch_draft *d)
{
	if (!d->is_made)
		batch_pairs_return(&d->pairs, &d->of);
	if (d->groups == 0 || d->is_made) {
		release(d);
		return;
	}
	db_query_done(&d->query);
	db_query_init(&d->query, &sql_api_batch_stage_drop);
	d->query.retry_ms = RETRY_MS;
	d->query.op.on_done = on_dropped;
	db_arg_i32(&d->query.args, id_bucket(d->of.batch));
	db_arg_id(&d->query.args, d->of.batch);
	db_arg_i64(&d->query.args, d->of.tenant_id);
	if (api_query_start(d->of.api, &d->query, NULL) < 0)
		release(d);
}

void batch_draft_free(struct batch_draft *d)
{
	if (!d)
		return;
	assert(!d->op.active);
	d->is_orphan = true;
	d->on_room = NULL;
	if (!d->is_staging)
		abandon(d);
}

/* --- lines --- */

static struct str put(char **at, struct str s)
{
	if (!s.p)
		return s;
	memcpy(*at, s.p, s.n);
	struct str copy = { *at, s.n };
	*at += s.n;
	return copy;
}

static bool is_full(const struct batch_draft *d)
{
	return d->nlines >= GROUP_ROWS || d->line_bytes >= GROUP_BYTES;
}

int batch_draft_add(struct batch_draft *d, const struct submission *s)
{
	const struct conf *conf = conf_now();
	if (d->total >= conf->limits_batch_jobs)
		return err_set(&d->err, ERR_TOO_LARGE, "a batch has at most %lld jobs",
		               (long long)conf->limits_batch_jobs);
	size_t n = s->body.n + s->route.n + s->lane.n + s->user.n + s->metadata.n + s->webhook_url.n + s->custom_id.n;
	uint64_t bytes = n + LINE_COST + sizeof(struct draft_line);
	if (d->of.api->batch_bytes + bytes > (uint64_t)conf->limits_batch_memory)
		return err_set(&d->err, ERR_OVERLOADED, "too many batches are arriving at once");
	struct draft_line *l = calloc(1, sizeof(*l) + n + 1);
	if (!l)
		return err_set(&d->err, ERR_OVERLOADED, "no memory is left for this batch");
	char *at = l->text;
	l->s = *s;
	l->s.facts = NULL; /* they are the judge's */
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
	d->nlines++;
	d->line_bytes += n;
	d->held += bytes;
	d->of.api->batch_bytes += bytes;
	if (is_full(d) && !d->is_staging && d->rc == 0)
		stage_start(d);
	return 0;
}

bool batch_draft_has_room(struct batch_draft *d)
{
	bool has = d->rc < 0 || !is_full(d);
	d->told_full = !has;
	return has;
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

/* --- the numbers of all lanes that are named --- */

/* Names of lanes of its lines that have no number yet. */
static size_t missing_lanes(struct batch_draft *d, struct str *ret, size_t max)
{
	size_t n = 0;
	struct hash seen;
	hash_init(&seen);
	LIST_EACH(&d->lines, k)
	{
		struct str name = container_of(k, struct draft_line, link)->s.lane;
		if (n == max || lane_ids_get(d->of.api->lane_ids, name) > 0 || hash_get(&seen, name))
			continue;
		hash_set(&seen, name, d);
		ret[n++] = name;
	}
	hash_done(&seen);
	return n;
}

static enum flow_next ask_lanes(struct batch_draft *d, struct flow *f, struct db_query *q)
{
	struct str missing[LANES_ASKED];
	size_t n = missing_lanes(d, missing, LANES_ASKED);
	if (n == 0)
		return FLOW_NEXT;
	/* A lane that another process makes at the same time is only seen by the next look. */
	if (++d->lane_asks > LANE_ASKS)
		return flow_fail(f, err_set(&d->err, ERR_DB_CONFLICT, "the lanes of the routes were not made"));
	int rc = lane_ids_ask(d->of.api->lane_ids, q, missing, n, f);
	return rc < 0 ? flow_fail(f, err_set(&d->err, (enum err_code)-rc, "the database has too much to do")) : FLOW_WAIT;
}

static enum flow_next learn_lanes(struct batch_draft *d, struct flow *f, const struct db_query *q, int rc)
{
	if (rc < 0)
		return flow_fail(f, err_set(&d->err, (enum err_code)-rc, "the lanes of the routes could not be found"));
	lane_ids_learn(d->of.api->lane_ids, q);
	return flow_jump(f, f->at);
}

/* --- groups --- */

static void ensure_id(struct batch_draft *d)
{
	if (id_is_zero(d->of.batch))
		d->of.batch = d->id = id_make(d->key.p ? id_bucket_of_key(d->of.tenant_id, d->key) : -1);
}

/* Moves lines, whose lanes are known, into the columns of the group. */
static void fill_group(struct batch_draft *d)
{
	batch_columns_clear(&d->group);
	while (d->group.rows < GROUP_ROWS && d->group.bytes < GROUP_BYTES && !list_is_empty(&d->lines)) {
		struct draft_line *l = container_of(list_first(&d->lines), struct draft_line, link);
		int lane = lane_ids_get(d->of.api->lane_ids, l->s.lane);
		assert(lane > 0);
		batch_columns_add(&d->group, &d->of, &d->pairs, d->indexed++, lane, &l->s);
		line_free(d, l);
	}
}

enum { STAGE_LANES, STAGE_WRITE };

static struct batch_draft *staging(struct flow *f)
{
	return container_of(f, struct batch_draft, stage);
}

static enum flow_next stage_lanes_start(struct flow *f)
{
	return ask_lanes(staging(f), f, &staging(f)->stage_query);
}

static enum flow_next stage_lanes_done(struct flow *f, int rc)
{
	return learn_lanes(staging(f), f, &staging(f)->stage_query, rc);
}

static enum flow_next stage_write_start(struct flow *f)
{
	struct batch_draft *d = staging(f);
	struct db_query *q = &d->stage_query;
	if (d->is_orphan)
		return flow_over(f, -(int)ERR_CANCELED);
	fill_group(d);
	fair_sync_touch(d->of.api->fair_sync);
	db_query_done(q);
	db_query_init(q, &sql_api_batch_stage_add);
	q->retry_ms = RETRY_MS;
	db_arg_i32(&q->args, id_bucket(d->of.batch));
	db_arg_id(&q->args, d->of.batch);
	db_arg_i64(&q->args, d->of.tenant_id);
	db_arg_i32(&q->args, d->groups++);
	batch_columns_arg(&d->group, &q->args);
	int rc = api_query_start(d->of.api, q, f);
	return rc < 0 ? flow_fail(f, err_set(&d->err, (enum err_code)-rc, "the database has too much to do")) : FLOW_WAIT;
}

static enum flow_next stage_write_done(struct flow *f, int rc)
{
	struct batch_draft *d = staging(f);
	if (rc < 0)
		return flow_fail(f, err_set(&d->err, (enum err_code)-rc, "the batch could not be written: send it again"));
	(void)FAULT("batch.after_stage");
	db_query_done(&d->stage_query);
	return is_full(d) && !d->is_orphan ? flow_jump(f, STAGE_LANES) : flow_over(f, 0);
}

static const struct flow_step stage_steps[] = {
	[STAGE_LANES] = { "lanes", stage_lanes_start, stage_lanes_done },
	[STAGE_WRITE] = { "write", stage_write_start, stage_write_done },
	{ .name = NULL },
};

static void on_staged(struct flow *f, int rc)
{
	struct batch_draft *d = staging(f);
	d->is_staging = false;
	d->rc = rc;
	if (d->is_orphan) {
		abandon(d);
	} else if (d->staged.active) {
		op_done(&d->staged, rc);
	} else if (d->on_room && d->told_full && (rc < 0 || !is_full(d))) {
		d->told_full = false;
		d->on_room(d);
	}
}

static void stage_start(struct batch_draft *d)
{
	ensure_id(d);
	d->is_staging = true;
	flow_start(&d->stage, "batch_stage", stage_steps, on_staged);
}

/* --- the commit's statements --- */

enum { STAGED, LANES, BUILD, SEND, KEY };

static struct batch_draft *draft_of(struct flow *f)
{
	return container_of(f, struct batch_draft, commit);
}

static enum flow_next fail(struct batch_draft *d, int rc, const char *detail)
{
	err_set(&d->err, (enum err_code)-rc, "%s", detail);
	return flow_fail(&d->commit, rc);
}

static enum flow_next staged_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	if (d->rc < 0)
		return flow_fail(f, d->rc);
	if (!d->is_staging)
		return FLOW_NEXT;
	op_start(&d->staged, f, "a group of the batch", NULL);
	return FLOW_WAIT;
}

static enum flow_next lanes_start(struct flow *f)
{
	return ask_lanes(draft_of(f), f, &draft_of(f)->query);
}

static enum flow_next lanes_done(struct flow *f, int rc)
{
	return learn_lanes(draft_of(f), f, &draft_of(f)->query, rc);
}

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
	ensure_id(d);
	struct db_args *a = &add_query(d, &sql_api_batch_accept)->args;
	struct buf errors;
	buf_init(&errors, (size_t)2 << 20);
	buf_printf(&errors, "[%.*s]", (int)d->errors.n, d->errors.n ? d->errors.p : "");
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->of.tenant_id);
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
	db_arg_i32(a, d->groups);
	buf_done(&errors);
}

static void begin_file(struct batch_draft *d)
{
	struct db_args *a = &add_query(d, &sql_api_batch_file_accept)->args;
	const struct batch_order *o = d->order;
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->of.tenant_id);
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

static struct db_args *begin_jobs(struct batch_draft *d)
{
	struct db_args *a = &add_query(d, &sql_api_batch_accept_jobs)->args;
	db_arg_i32(a, id_bucket(d->id));
	db_arg_id(a, d->id);
	db_arg_i64(a, d->of.tenant_id);
	return a;
}

static void end_jobs(const struct batch_draft *d, struct db_args *a)
{
	db_arg_i16(a, (int16_t)d->form);
	db_arg_i64(a, conf_now()->job_expires_ms);
	db_arg_text_or_null(a, d->key_prefix);
}

/* The lines that are here. */
static void add_group(struct batch_draft *d)
{
	fill_group(d);
	struct db_args *a = begin_jobs(d);
	batch_columns_arg(&d->group, a);
	end_jobs(d, a);
	db_arg_null(a);
}

static void add_staged(struct batch_draft *d)
{
	for (int number = 0; number < d->groups; number++) {
		struct db_args *a = begin_jobs(d);
		for (int i = 0; i < BATCH_COLUMNS; i++)
			db_arg_null(a);
		end_jobs(d, a);
		db_arg_i32(a, number);
	}
}

static enum flow_next build_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	if (d->nqueries == 0) {
		begin(d);
		add_staged(d);
	}
	if (d->order)
		begin_file(d);
	else if (!list_is_empty(&d->lines))
		add_group(d);
	if (list_is_empty(&d->lines))
		return FLOW_NEXT;
	nap_start(&d->nap, &d->of.api->loop, f, 0);
	return FLOW_WAIT;
}

static enum flow_next build_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_fail(f, rc) : flow_jump(f, BUILD);
}

static enum flow_next send_start(struct flow *f)
{
	struct batch_draft *d = draft_of(f);
	fair_sync_touch(d->of.api->fair_sync);
	d->tx = (struct db_tx){ .queries = d->queries, .n = d->nqueries, .retry_ms = conf_now()->intake_deadline_ms };
	int rc = api_tx_start(d->of.api, &d->tx, f);
	return rc < 0 ? fail(d, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next send_done(struct flow *f, int rc)
{
	struct batch_draft *d = draft_of(f);
	if (rc < 0)
		return fail(d, rc, "the batch may or may not have been written: repeat it with its Idempotency-Key");
	(void)FAULT("accept.after_commit");
	if (db_rows(d->queries[0]) == 0)
		return d->key.p ? FLOW_NEXT : fail(d, -(int)ERR_DATABASE, "lines of the batch were lost by the database: send it again");
	metric_add(METRIC_ACCEPTED, "", d->total);
	d->is_made = true;
	batch_pairs_ready(&d->pairs, d->of.api);
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
	db_array_i64(&tenant, d->of.tenant_id);
	db_array_text(&key, d->key);
	db_query_done(&d->query);
	db_query_init(&d->query, &sql_api_idempotency_get);
	db_arg_array(&d->query.args, &bucket);
	db_arg_array(&d->query.args, &tenant);
	db_arg_array(&d->query.args, &key);
	db_array_done(&bucket);
	db_array_done(&tenant);
	db_array_done(&key);
	int rc = api_query_start(d->of.api, &d->query, f);
	return rc < 0 ? fail(d, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next key_done(struct flow *f, int rc)
{
	struct batch_draft *d = draft_of(f);
	const struct db_query *q = &d->query;
	if (rc < 0)
		return fail(d, rc, "it is not known whose the Idempotency-Key is: send it again");
	if (db_rows(q) != 1)
		return fail(d, -(int)ERR_DATABASE, "the Idempotency-Key lapsed just now, or lines of the batch were lost by the database: send it again");
	struct id owner = db_get_id(q, 0, 5);
	if (id_eq(owner, d->id)) {
		d->is_made = true;
		return flow_over(f, 0);
	}
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
	[STAGED] = { "staged", staged_start, NULL },
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
	flow_start(&d->commit, "batch_commit", commit_steps, on_commit_end);
}
