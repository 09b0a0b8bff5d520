/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/files: a form whose part `file` becomes a blob while it arrives, and then a file. What the form says of it is judged as soon as it is known,
 * and again when all is known, because the parts come in any order.
 *
 * With an Idempotency-Key the fingerprint covers name, purpose, life and content, so it is known at the end only; a repeat is taken in wholly, compared,
 * dropped, and answered with the file that is there.
 *
 * Whatever goes wrong after the first byte leads to the step `drop`: what was written goes, and the answer is the refusal. A process that dies leaves a
 * blob that nobody sees and that the sweep deletes.
 */
#include "api/files/file_lock.h"
#include "api/files/file_object.h"
#include "api/files/files.h"
#include "api/files/form.h"
#include "api/replay.h"
#include "common/conf.h"
#include "common/metrics.h"
#include "sql_api.h"

enum { BEGIN, RECEIVE, END, WRITE, WHOSE, DROP, LOAD };

struct creation {
	struct form form; /* first: form.h */
	struct id id;
	struct str key;
	struct str purpose; /* p NULL: not yet known */
	struct str anchor;
	int64_t seconds;    /* of expires_after; 0: none */
	uint8_t fingerprint[SHA256_LEN];
	struct id replayed; /* the key's file */
	struct file_lock lock;
};

/* --- the form's fields --- */

static int set_once(struct request *q, struct str *to, struct str name, struct str value)
{
	if (to->p)
		return err_set_at(&q->err, ERR_INVALID, arena_strz(&q->http->arena, name), "the field is there twice");
	*to = arena_str(&q->http->arena, value);
	return 0;
}

static int take_purpose(struct request *q, struct creation *c, struct str name, struct str value)
{
	int rc = set_once(q, &c->purpose, name, value);
	if (rc == 0 && str_eq(value, STR("batch")))
		c->form.most = MIN(c->form.most, FILES_BATCH_BYTES);
	/* Name and size are judged when both are known; a purpose that is none, at once. */
	return rc == 0 ? file_check(value, STR("any.jsonl"), 0, &q->err) : rc;
}

static int take_seconds(struct request *q, struct creation *c, struct str name, struct str value)
{
	uint64_t n;
	if (c->seconds)
		return err_set_at(&q->err, ERR_INVALID, arena_strz(&q->http->arena, name), "the field is there twice");
	if (str_u64(value, 0, INT32_MAX, &n) < 0)
		return err_set_at(&q->err, ERR_WRONG_TYPE, "expires_after[seconds]", "expires_after[seconds] is a number of seconds");
	c->seconds = (int64_t)n;
	return file_check_seconds(c->seconds, "expires_after[seconds]", &q->err);
}

static int on_field(struct request *q, struct str name, struct str value)
{
	struct creation *c = q->state;
	if (str_eq(name, STR("purpose")))
		return take_purpose(q, c, name, value);
	if (str_eq(name, STR("expires_after[seconds]")))
		return take_seconds(q, c, name, value);
	if (str_eq(name, STR("expires_after[anchor]"))) {
		int rc = set_once(q, &c->anchor, name, value);
		return rc < 0 ? rc : file_check_anchor(value, "expires_after[anchor]", &q->err);
	}
	name = str_utf8_prefix(name, ERR_PARAM_MAX - 1);
	return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name), "there is no such field; there are file, purpose and expires_after");
}

/* --- begin --- */

static void release(struct request *q)
{
	file_lock_done(&((struct creation *)q->state)->lock);
	form_done(q);
}

static enum flow_next begin_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct creation *c = arena_new(&q->http->arena, struct creation);
	q->state = c;
	q->release = release;
	if (form_begin(q) < 0 || request_key(q, &c->key) < 0)
		return request_refuse(q);
	c->id = id_make(c->key.p ? id_bucket_of_key(q->who.tenant_id, c->key) : -1);
	c->form.file = "file";
	c->form.needs_filename = true;
	c->form.wants_digest = c->key.p != NULL;
	c->form.most = conf_now()->limits_file_bytes;
	c->form.blob_id = id_make(id_bucket(c->id));
	c->form.on_field = on_field;
	if (conf_now()->limits_tenant_files_bytes == 0)
		return FLOW_NEXT;
	request_query_init(q, &sql_api_file_usage);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static int no_room(struct request *q)
{
	return err_set(&q->err, ERR_TOO_LARGE, "all files of this tenant may have %lld bytes; with this one they would have more: delete some",
	               (long long)conf_now()->limits_tenant_files_bytes);
}

/* The last word is said when the file is written; this only spares sending what cannot be kept. */
static enum flow_next begin_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the tenant's files could not be counted");
	int64_t least = MAX(q->http->content_length - (int64_t)FORM_FRAME_MAX, 0);
	if (db_get_int(&q->query, 0, 0) + least > conf_now()->limits_tenant_files_bytes) {
		no_room(q);
		return request_refuse(q);
	}
	return FLOW_NEXT;
}

/* --- receive, end --- */

/* Ends with q->err, but first what was written is dropped. */
static enum flow_next drop_and_refuse(struct request *q, int rc, const char *detail)
{
	if (q->err.code == ERR_OK)
		err_set(&q->err, (enum err_code)-rc, "%s", detail);
	return flow_jump(&q->flow, DROP);
}

static enum flow_next receive_start(struct flow *f)
{
	return form_receive(request_of(f));
}

static int judge(struct request *q, struct creation *c)
{
	if (!c->purpose.p)
		return err_set_at(&q->err, ERR_MISSING_FIELD, "purpose", "the form has no field purpose");
	if (!c->anchor.p != !c->seconds)
		return err_set_at(&q->err, ERR_MISSING_FIELD, c->seconds ? "expires_after[anchor]" : "expires_after[seconds]",
		                  "expires_after needs both anchor and seconds");
	c->form.filename = file_name_of(c->form.filename);
	return file_check(c->purpose, c->form.filename, c->form.blob.bytes, &q->err);
}

static enum flow_next receive_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	q->on_gone = NULL;
	if (rc == 0)
		rc = judge(q, q->state);
	return rc < 0 ? drop_and_refuse(q, rc, rc == -(int)ERR_CANCELED ? "the client left" : "the file could not be written") : FLOW_NEXT;
}

static enum flow_next end_start(struct flow *f)
{
	struct creation *c = request_of(f)->state;
	blob_write_end(&c->form.blob, f);
	return FLOW_WAIT;
}

static enum flow_next end_done(struct flow *f, int rc)
{
	return rc < 0 ? drop_and_refuse(request_of(f), rc, "the file could not be written") : FLOW_NEXT;
}

/* --- write, whose --- */

static void fingerprint(const struct request *q, struct creation *c)
{
	struct buf b;
	buf_init(&b, 8192);
	buf_add_json_str(&b, c->form.filename);
	buf_add_json_str(&b, c->purpose);
	buf_add_i64(&b, c->seconds);
	buf_add_char(&b, ' ');
	buf_add(&b, c->form.digest, sizeof(c->form.digest));
	request_fingerprint(q, buf_str(&b), c->fingerprint);
	buf_done(&b);
}

static enum flow_next write_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct creation *c = q->state;
	if (c->key.p)
		fingerprint(q, c);
	const struct file_new file = {
		.id = c->id,
		.blob = c->form.blob_id,
		.bytes = c->form.blob.bytes,
		.tenant_id = q->who.tenant_id,
		.purpose = c->purpose,
		.filename = c->form.filename,
		.mime_type = c->form.mime_type,
		.expires_after_s = file_life_s(c->purpose, c->seconds),
		.tenant_bytes = conf_now()->limits_tenant_files_bytes,
		.key = c->key,
		.fingerprint = c->fingerprint,
	};
	db_query_done(&q->query);
	file_new_query(&q->query, &file);
	file_lock_tenant(&c->lock, q->api, q->who.tenant_id, &q->query, f);
	return FLOW_WAIT;
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct creation *c = q->state;
	const struct db_query *query = &q->query;
	if (rc == -(int)ERR_OVERLOADED) /* it was not sent */
		return drop_and_refuse(q, rc, "the database has too much to do");
	if (rc < 0) /* it may be there or not: nothing is dropped */
		return request_fail(q, rc, "it is not known whether the file was made");
	if (!db_get_bool(query, 0, FILE_NEW_ROOM))
		return drop_and_refuse(q, no_room(q), "");
	if (db_is_null(query, 0, FILE_NEW_ID))
		return c->key.p ? FLOW_NEXT : drop_and_refuse(q, -(int)ERR_TIMEOUT, "the file took too long to arrive");
	const struct file_facts facts = {
		.id = c->id,
		.bytes = c->form.blob.bytes,
		.created_us = db_get_time(query, 0, FILE_NEW_CREATED),
		.expires_us = db_get_time(query, 0, FILE_NEW_EXPIRES),
		.filename = c->form.filename,
		.purpose = c->purpose,
	};
	file_object_write(&q->out, &facts);
	metric_add(METRIC_FILE_BYTES, "in", facts.bytes);
	return request_answer(q, 200);
}

static enum flow_next whose_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct creation *c = q->state;
	int rc = replay_start(q, c->key);
	return rc < 0 ? drop_and_refuse(q, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next whose_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct creation *c = q->state;
	if (rc == 0)
		rc = replay_judge(q, c->fingerprint, REPLAY_FILE, &c->replayed);
	return rc < 0 ? drop_and_refuse(q, rc, "it could not be found out whose the key is") : FLOW_NEXT;
}

/* --- drop, load --- */

static enum flow_next drop_start(struct flow *f)
{
	struct creation *c = request_of(f)->state;
	if (!c->form.has_file)
		return FLOW_NEXT;
	blob_write_drop(&c->form.blob, f);
	return FLOW_WAIT;
}

static enum flow_next load_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct creation *c = q->state;
	return q->err.code ? request_refuse(q) : files_load(q, c->replayed);
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the file is there, but could not be read");
	http_reply_header(q->http, "Idempotent-Replayed", STR("true"));
	return files_answer(q);
}

const struct flow_step files_create_steps[] = {
	[BEGIN] = { "begin", begin_start, begin_done },
	[RECEIVE] = { "receive", receive_start, receive_done },
	[END] = { "end", end_start, end_done },
	[WRITE] = { "write", write_start, write_done },
	[WHOSE] = { "whose", whose_start, whose_done },
	[DROP] = { "drop", drop_start, NULL },
	[LOAD] = { "load", load_start, load_done },
	{ .name = NULL },
};
