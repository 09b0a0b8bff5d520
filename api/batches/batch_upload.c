/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many jobs in one body: NDJSON, which is judged line by line while it arrives, or {"jobs": […]}. Bad lines are
 * reported and do not stop the good ones; a body without a good one is refused. Full groups of lines are written while
 * the body arrives, where nobody sees them (batch_draft.h): a client that vanishes leaves nothing.
 *
 * A body that names a file (batch_order.h) has no jobs yet: the batch is written, and batch_keeper.c does the rest.
 *
 * The fingerprint of a stream is a chain over its lines, so that it does not depend on the pieces in which the body
 * came.
 */
#include "api/batches/batch_upload.h"

#include <string.h>

#include "api/batches/batch_draft.h"
#include "api/batches/batch_keeper.h"
#include "api/batches/batch_order.h"
#include "api/batches/batches.h"
#include "api/request_private.h"
#include "common/clock.h"
#include "common/conf.h"
#include "sql_api.h"

#define SCRATCH_MAX ((size_t)256 << 20)

struct upload {
	struct op op; /* the arrival of the body */
	struct request *q;
	struct batch_draft *draft; /* owned */
	struct buf line; /* one that is not complete yet */
	int64_t line_no; /* of the last one, from 1 */
	bool is_cut;     /* the line is over its limit; what follows of it is dropped */
	bool is_over;    /* the arrival was answered */
	uint8_t chain[SHA256_LEN];
	struct batch_order order; /* when draft.order is set */
};

static void release(struct request *q)
{
	struct upload *u = q->state;
	batch_draft_free(u->draft);
	buf_done(&u->line);
}

static struct upload *upload_new(struct request *q)
{
	struct upload *u = arena_new(&q->http->arena, struct upload);
	q->state = u;
	q->release = release;
	buf_init(&u->line, (size_t)conf_now()->limits_body_bytes);
	u->q = q;
	u->draft = batch_draft_new(q->api, &q->who);
	u->draft->user = u;
	return u;
}

/* --- taking the body in --- */

static void arrival_over(struct upload *u, int rc)
{
	if (u->is_over)
		return;
	u->is_over = true;
	op_done(&u->op, rc);
}

static void on_client_gone(struct request *q)
{
	struct upload *u = q->state;
	if (u->op.active)
		arrival_over(u, -(int)ERR_CANCELED);
}

/* The rest of the body is read when there is room for its lines. */
static void on_room(struct batch_draft *d)
{
	struct upload *u = d->user;
	if (d->rc < 0)
		arrival_over(u, d->rc);
	else
		http_body_resume(u->q->http);
}

static enum flow_next receive_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct upload *u = upload_new(q);
	if (request_key(q, &u->draft->key) < 0)
		return request_refuse(q);
	if (q->api->batch_bytes >= (uint64_t)conf_now()->limits_batch_memory)
		return request_fail(q, ERR_OVERLOADED, "too many batches are arriving at once");
	q->on_gone = on_client_gone;
	u->draft->on_room = on_room;
	op_start(&u->op, f, "the body", NULL);
	if (q->whole)
		arrival_over(u, 0);
	return FLOW_WAIT;
}

static int take_line(struct upload *u, struct str line)
{
	struct batch_draft *d = u->draft;
	struct err err = { 0 };
	u->line_no++;
	if (d->key.p) {
		const struct str parts[] = { { (const char *)u->chain, sizeof(u->chain) }, line };
		crypto_sha256_parts(parts, ARRAY_LEN(parts), u->chain);
	}
	if (u->is_cut || line.n > (size_t)conf_now()->limits_body_bytes) {
		err_set(&err, ERR_TOO_LARGE, "a line has at most %lld bytes", (long long)conf_now()->limits_body_bytes);
		batch_draft_add_error(d, u->line_no, &err);
		return 0;
	}
	line = str_trim(line);
	if (line.n == 0)
		return 0;
	const struct submission_rules rules = { conf_now(), &d->of.api->guard, clock_wall_us() };
	struct submission s = { 0 };
	struct arena scratch;
	arena_init(&scratch, SCRATCH_MAX);
	int rc = submission_read(&scratch, &rules, line, &s, &err);
	if (rc < 0)
		batch_draft_add_error(d, u->line_no, &err);
	else
		rc = batch_draft_add(d, &s);
	arena_done(&scratch);
	return rc < 0 && d->err.code != ERR_OK ? rc : 0;
}

/* What is left over at the end of a piece waits for the next one; most lines are read where they lie. */
static void keep_rest(struct upload *u, struct str rest)
{
	if (!u->is_cut && buf_add_str(&u->line, rest) < 0)
		u->is_cut = true;
}

static int take_piece(struct upload *u, struct str piece)
{
	for (;;) {
		const char *end = piece.n ? memchr(piece.p, '\n', piece.n) : NULL;
		if (!end) {
			keep_rest(u, piece);
			return 0;
		}
		struct str line = { piece.p, (size_t)(end - piece.p) };
		piece = str_sub(piece, line.n + 1, piece.n);
		if (u->line.n > 0 || u->is_cut) {
			keep_rest(u, line);
			line = buf_str(&u->line);
		}
		int rc = take_line(u, line);
		buf_clear(&u->line);
		u->is_cut = false;
		if (rc < 0)
			return rc;
	}
}

static void on_piece(struct request *q, struct str piece)
{
	struct upload *u = q->state;
	if (u->is_over)
		return;
	int rc = take_piece(u, piece);
	if (rc < 0)
		arrival_over(u, rc);
	else if (!batch_draft_has_room(u->draft))
		http_body_pause(q->http);
}

static void on_whole(struct request *q)
{
	struct upload *u = q->state;
	if (u->is_over)
		return;
	int rc = u->line.n > 0 || u->is_cut ? take_line(u, buf_str(&u->line)) : 0;
	arrival_over(u, rc);
}

static enum flow_next receive_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct upload *u = q->state;
	q->on_gone = NULL;
	if (u->draft->err.code != ERR_OK)
		q->err = u->draft->err;
	if (rc < 0)
		return q->err.code ? request_refuse(q) : request_fail(q, rc, "the client left");
	request_fingerprint(q, (struct str){ (const char *)u->chain, sizeof(u->chain) }, u->draft->fingerprint);
	return FLOW_NEXT;
}

/* --- {"jobs": […]} --- */

static int take_job(struct request *q, struct upload *u, json_t *job, size_t i)
{
	struct batch_draft *d = u->draft;
	const struct submission_rules rules = { conf_now(), &q->api->guard, clock_wall_us() };
	struct submission s = { 0 };
	struct err err = { 0 };
	struct arena scratch;
	struct buf body;
	arena_init(&scratch, SCRATCH_MAX);
	buf_init(&body, (size_t)conf_now()->limits_body_bytes * 2);
	const char *base = arena_printf(&scratch, "/jobs/%zu", i).p;
	int rc = submission_read_value(&scratch, &rules, job, base, &s, &err);
	if (rc == 0 && json_write(&body, job) < 0)
		rc = err_set_at(&err, ERR_TOO_LARGE, base, "the job is too large");
	if (rc < 0) {
		batch_draft_add_error(d, (int64_t)i + 1, &err);
	} else {
		s.body = buf_str(&body);
		rc = batch_draft_add(d, &s);
	}
	buf_done(&body);
	arena_done(&scratch);
	return rc < 0 && d->err.code != ERR_OK ? rc : 0;
}

static int read_members(struct request *q, struct upload *u, json_t *v, json_t **ret_jobs)
{
	const char *name;
	json_t *value;
	struct arena *a = &q->http->arena;
	if (!json_is_object(v))
		return err_set(&q->err, ERR_WRONG_TYPE, "wanted an object");
	json_object_foreach(v, name, value)
	{
		struct str s = str_from(name);
		const char *pointer = submission_pointer(a, "", s);
		if (str_eq(s, STR("jobs"))) {
			*ret_jobs = value;
		} else if (str_eq(s, STR("webhook"))) {
			if (submission_read_webhook(a, &q->api->guard, pointer, value, &u->draft->webhook_url, &q->err) <
			    0)
				return -(int)q->err.code;
		} else {
			return err_set_at(&q->err, ERR_UNKNOWN_FIELD, pointer, "there is no such field");
		}
	}
	if (!*ret_jobs)
		return err_set_at(&q->err, ERR_MISSING_FIELD, "/jobs", "a batch needs jobs");
	if (!json_is_array(*ret_jobs))
		return err_set_at(&q->err, ERR_WRONG_TYPE, "/jobs", "wanted an array");
	return 0;
}

enum { READ, ORDER_FILE, ROOM, WRITE, VIEW };

static enum flow_next read_order(struct request *q, struct upload *u, json_t *body)
{
	const struct submission_rules rules = { conf_now(), &q->api->guard, clock_wall_us() };
	if (batch_order_read(&q->http->arena, &rules, body, &u->order, &q->err) < 0)
		return request_refuse(q);
	u->draft->order = &u->order;
	u->draft->webhook_url = u->order.webhook_url;
	u->draft->form = 1;
	u->draft->first_answer = 200;
	return FLOW_NEXT;
}

static enum flow_next read_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct upload *u = upload_new(q);
	if (request_key(q, &u->draft->key) < 0)
		return request_refuse(q);
	request_fingerprint(q, q->http->body, u->draft->fingerprint);
	_cleanup_(json_drop) json_t *v = json_parse(q->http->body, &q->err);
	json_t *jobs = NULL, *job;
	if (v && batch_order_is(v))
		return read_order(q, u, v);
	if (!v || read_members(q, u, v, &jobs) < 0)
		return request_refuse(q);
	size_t i;
	json_array_foreach(jobs, i, job)
	{
		if (take_job(q, u, job, i) < 0) {
			q->err = u->draft->err;
			return request_refuse(q);
		}
	}
	return flow_jump(f, ROOM);
}

/* --- a file --- */

static enum flow_next file_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct batch_order *o = &((struct upload *)q->state)->order;
	request_query_init(q, &sql_api_batch_file_input);
	db_arg_i32(&q->query.args, id_bucket(o->file));
	db_arg_id(&q->query.args, o->file);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static enum flow_next file_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	char id[ID_TEXT_MAX];
	if (rc < 0)
		return request_fail(q, rc, "the input file could not be looked for");
	if (db_rows(&q->query) == 0) {
		struct str text = id_text(((struct upload *)q->state)->order.file, "file-", id);
		err_set_at(&q->err, ERR_NOT_FOUND, "/input_file_id", "No such File object: " STR_FMT, STR_ARG(text));
		return request_refuse(q);
	}
	if (!str_eq(db_get_str(&q->query, 0, 0), STR("batch"))) {
		err_set_at(&q->err, ERR_INVALID, "/input_file_id", "the file has not the purpose batch");
		return request_refuse(q);
	}
	return flow_jump(f, WRITE);
}

/* --- all --- */

/* As the server's own problem, and the bad lines. */
static enum flow_next refuse_all(struct request *q, const struct batch_draft *d)
{
	struct buf *b = &q->out;
	buf_printf(b, "{\"type\":\"/problems/%s\",\"title\":", err_code_name(ERR_INVALID));
	buf_add_json_str(b, str_from(err_title(ERR_INVALID)));
	buf_printf(b, ",\"status\":400,\"detail\":\"%s\",\"code\":\"%s\",\"request_id\":",
	           d->error_count ? "no line is a valid job" : "there is no job in the body",
	           err_code_name(ERR_INVALID));
	buf_add_json_str(b, q->http->request_id);
	buf_printf(b, ",\"retryable\":false,\"error_count\":%d,\"errors\":[", d->error_count);
	buf_add_str(b, buf_str(&d->errors));
	buf_add_z(b, "]}");
	q->content_type = STR("application/problem+json");
	return request_answer(q, 400);
}

/* Its first job has its place since the door. */
static enum flow_next room_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct upload *u = q->state;
	int rc = door_more(&q->visit, u->draft->total - 1, f);
	return rc > 0 ? FLOW_NEXT : FLOW_WAIT;
}

enum flow_next batch_upload_room_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0) {
		request_refused_at_door(q, rc);
		return request_refuse(q);
	}
	return FLOW_NEXT;
}

static enum flow_next write_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct upload *u = q->state;
	if (u->draft->total == 0 && !u->draft->order)
		return refuse_all(q, u->draft);
	batch_draft_commit(u->draft, f);
	return FLOW_WAIT;
}

enum flow_next batch_upload_written(struct request *q, const struct batch_draft *d, const char *path, const char *prefix, int rc)
{
	if (rc < 0) {
		q->err = d->err;
		return q->err.code ? request_refuse(q) : request_fail(q, rc, "the batch was not written");
	}
	if (d->is_job)
		return request_fail(q, ERR_KEY_REUSED, "this key belongs to a job");
	q->written = d->replayed ? 0 : d->total;
	char text[ID_TEXT_MAX];
	struct str id = id_text(d->id, prefix, text);
	http_reply_header(q->http, "Location", arena_printf(&q->http->arena, "%s" STR_FMT, path, STR_ARG(id)));
	if (d->replayed)
		http_reply_header(q->http, "Idempotent-Replayed", STR("true"));
	return FLOW_NEXT;
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	return batch_upload_written(q, ((struct upload *)q->state)->draft, "/v1/batches/", "batch_", rc);
}

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	return batches_load(q, ((struct upload *)q->state)->draft->id);
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct batch_draft *d = ((struct upload *)q->state)->draft;
	if (d->order)
		batch_keeper_hint(q->api->batch_keeper); /* not before it was read: the first answer says that it is validating */
	if (rc < 0)
		return request_fail(q, rc, "the batch was written, but could not be read");
	return batches_answer(q, d->replayed ? d->first_status : d->first_answer);
}

static const struct flow_step steps[] = {
	{ "receive", receive_start, receive_done },
	{ "room", room_start, batch_upload_room_done },
	{ "write", write_start, write_done },
	{ "view", view_start, view_done },
	{ .name = NULL },
};

const struct flow_step batches_submit_steps[] = {
	[READ] = { "read", read_start, NULL },
	[ORDER_FILE] = { "file", file_start, file_done },
	[ROOM] = { "room", room_start, batch_upload_room_done },
	[WRITE] = { "write", write_start, write_done },
	[VIEW] = { "view", view_start, view_done },
	{ .name = NULL },
};

const struct body_stream batch_upload_stream = { steps, on_piece, on_whole };
