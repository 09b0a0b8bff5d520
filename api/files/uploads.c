/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upload from its announcement to its end: the upload object, create and cancel. What it will be is judged when it is announced, so that nobody sends
 * parts for nothing. It lives for an hour; then the sweep deletes what came, and nothing can be added from that moment on.
 */
#include "api/files/uploads.h"

#include "api/files/file_lock.h"
#include "api/files/file_object.h"
#include "api/files/files.h"
#include "api/jobs/job_object.h"
#include "api/replay.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/json.h"
#include "sql_api.h"

#define FIRST_STATUS 200
#define MIME_MAX     255

/* --- the object --- */

enum flow_next uploads_load(struct request *q, struct id id)
{
	request_query_init(q, &sql_api_upload_get);
	db_arg_i32(&q->query.args, id_bucket(id));
	db_arg_id(&q->query.args, id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

enum upload_status uploads_status(const struct request *q)
{
	int64_t stored = db_get_int(&q->query, 0, UPLOAD_COL_STATUS);
	enum upload_status s = (enum upload_status)stored;
	return s == UPLOAD_PENDING && db_get_bool(&q->query, 0, UPLOAD_COL_LATE) ? UPLOAD_EXPIRED : s;
}

static const char *const status_names[] = { "pending", "completed", "cancelled", "expired" };

int uploads_want_pending(struct request *q)
{
	if (db_rows(&q->query) == 0)
		return err_set(&q->err, ERR_NOT_FOUND, "%s", "there is no such upload");
	enum upload_status s = uploads_status(q);
	return s == UPLOAD_PENDING ? 0 : err_set(&q->err, ERR_CONFLICT, "the upload is %s", status_names[s]);
}

enum flow_next uploads_answer(struct request *q)
{
	const struct db_query *query = &q->query;
	struct buf *b = &q->out;
	if (db_rows(query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such upload");
	buf_add_z(b, "{\"id\":");
	job_object_id(b, db_get_id(query, 0, UPLOAD_COL_ID), "upload_");
	buf_printf(b, ",\"object\":\"upload\",\"bytes\":%lld,\"created_at\":%lld,\"filename\":", (long long)db_get_int(query, 0, UPLOAD_COL_BYTES),
	           (long long)(db_get_time(query, 0, UPLOAD_COL_CREATED) / 1000000));
	buf_add_json_str(b, db_get_str(query, 0, UPLOAD_COL_FILENAME));
	buf_add_z(b, ",\"purpose\":");
	buf_add_json_str(b, db_get_str(query, 0, UPLOAD_COL_PURPOSE));
	buf_printf(b, ",\"status\":\"%s\",\"expires_at\":%lld,\"file\":", status_names[uploads_status(q)],
	           (long long)(db_get_time(query, 0, UPLOAD_COL_EXPIRES) / 1000000));
	if (db_is_null(query, 0, UPLOAD_COL_FILE)) {
		buf_add_z(b, "null");
	} else {
		const struct file_facts f = {
			.id = db_get_id(query, 0, UPLOAD_COL_FILE),
			.bytes = db_get_int(query, 0, UPLOAD_COL_FILE_BYTES),
			.created_us = db_get_time(query, 0, UPLOAD_COL_FILE_CREATED),
			.expires_us = db_get_time(query, 0, UPLOAD_COL_FILE_EXPIRES),
			.filename = db_get_str(query, 0, UPLOAD_COL_FILENAME),
			.purpose = db_get_str(query, 0, UPLOAD_COL_PURPOSE),
		};
		file_object_write(b, &f);
	}
	buf_add_char(b, '}');
	return request_answer(q, 200);
}

/* --- POST /v1/uploads --- */

enum { CREATE_READ, CREATE_WRITE, CREATE_WHOSE, CREATE_LOAD };

struct announcement {
	struct id id; /* of the upload that is answered */
	struct str key;
	struct str purpose, filename, mime_type;
	int64_t bytes, seconds; /* seconds 0: the default */
	uint8_t fingerprint[SHA256_LEN];
	struct file_lock lock;
};

static int read_text(struct request *q, const json_t *body, const char *name, const char *pointer, struct str *ret)
{
	json_t *v = json_get(body, name);
	if (!v)
		return err_set_at(&q->err, ERR_MISSING_FIELD, pointer, "an upload needs %s", name);
	if (!json_is_string(v))
		return err_set_at(&q->err, ERR_WRONG_TYPE, pointer, "wanted a string");
	*ret = arena_str(&q->http->arena, json_str_of(v));
	for (size_t i = 0; i < ret->n; i++)
		if ((unsigned char)ret->p[i] < 0x20 || ret->p[i] == 0x7f)
			return err_set_at(&q->err, ERR_INVALID, pointer, "it has a control character");
	return 0;
}

static int read_mime_type(struct request *q, const json_t *body, struct str *ret)
{
	if (read_text(q, body, "mime_type", "/mime_type", ret) < 0)
		return -(int)q->err.code;
	for (size_t i = 0; i < ret->n; i++)
		if (ret->p[i] > 0x7e || ret->p[i] < 0x20)
			return err_set_at(&q->err, ERR_INVALID, "/mime_type", "a media type is printable ASCII");
	if (ret->n == 0 || ret->n > MIME_MAX)
		return err_set_at(&q->err, ERR_INVALID, "/mime_type", "a media type has 1 to %d characters", MIME_MAX);
	return 0;
}

static int read_bytes(struct request *q, const json_t *body, int64_t *ret)
{
	json_t *v = json_get(body, "bytes");
	int64_t most = conf_now()->limits_upload_bytes;
	if (!v)
		return err_set_at(&q->err, ERR_MISSING_FIELD, "/bytes", "an upload needs bytes");
	if (!json_is_integer(v))
		return err_set_at(&q->err, ERR_WRONG_TYPE, "/bytes", "wanted an integer");
	*ret = json_integer_value(v);
	if (*ret < 1)
		return err_set_at(&q->err, ERR_OUT_OF_RANGE, "/bytes", "an upload has at least one byte");
	return *ret <= most ? 0 : err_set_at(&q->err, ERR_TOO_LARGE, "/bytes", "an upload has at most %lld bytes", (long long)most);
}

static int read_life(struct request *q, const json_t *body, int64_t *ret)
{
	json_t *v = json_get(body, "expires_after"), *seconds = json_get(v, "seconds");
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_object(v))
		return err_set_at(&q->err, ERR_WRONG_TYPE, "/expires_after", "wanted an object");
	if (file_check_anchor(json_str(v, "anchor"), "/expires_after/anchor", &q->err) < 0)
		return -(int)q->err.code;
	if (!json_is_integer(seconds))
		return err_set_at(&q->err, seconds ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, "/expires_after/seconds", "wanted a number of seconds");
	*ret = json_integer_value(seconds);
	return file_check_seconds(*ret, "/expires_after/seconds", &q->err);
}

static void release(struct request *q)
{
	file_lock_done(&((struct announcement *)q->state)->lock);
}

static enum flow_next create_read(struct flow *f)
{
	struct request *q = request_of(f);
	struct announcement *a = arena_new(&q->http->arena, struct announcement);
	q->state = a;
	q->release = release;
	if (request_key(q, &a->key) < 0)
		return request_refuse(q);
	request_fingerprint(q, q->http->body, a->fingerprint);
	_cleanup_(json_drop) json_t *body = json_parse(q->http->body, &q->err);
	if (!body)
		return request_refuse(q);
	if (!json_is_object(body))
		return request_fail(q, ERR_WRONG_TYPE, "wanted an object");
	if (read_text(q, body, "purpose", "/purpose", &a->purpose) < 0 || read_text(q, body, "filename", "/filename", &a->filename) < 0 ||
	    read_mime_type(q, body, &a->mime_type) < 0 || read_bytes(q, body, &a->bytes) < 0 || read_life(q, body, &a->seconds) < 0)
		return request_refuse(q);
	a->filename = file_name_of(a->filename);
	if (file_check(a->purpose, a->filename, a->bytes, &q->err) < 0)
		return request_refuse(q);
	a->id = id_make(a->key.p ? id_bucket_of_key(q->who.tenant_id, a->key) : -1);
	return FLOW_NEXT;
}

static enum flow_next create_write(struct flow *f)
{
	struct request *q = request_of(f);
	struct announcement *a = q->state;
	request_query_init(q, &sql_api_upload_new);
	struct db_args *args = &q->query.args;
	db_arg_i32(args, id_bucket(a->id));
	db_arg_id(args, a->id);
	db_arg_i64(args, q->who.tenant_id);
	db_arg_text(args, a->purpose);
	db_arg_text(args, a->filename);
	db_arg_text(args, a->mime_type);
	db_arg_i64(args, a->bytes);
	if (a->seconds)
		db_arg_i32(args, (int32_t)a->seconds);
	else
		db_arg_null(args);
	db_arg_i64(args, conf_now()->limits_tenant_files_bytes);
	db_arg_text_or_null(args, a->key);
	db_arg_bytea(args, (struct str){ (const char *)a->fingerprint, SHA256_LEN });
	db_arg_i64(args, conf_now()->idempotency_ttl_ms);
	db_arg_i16(args, FIRST_STATUS);
	file_lock_tenant(&a->lock, q->api, q->who.tenant_id, &q->query, f);
	return FLOW_WAIT;
}

static enum flow_next create_written(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the upload was made");
	if (!db_get_bool(&q->query, 0, FILE_NEW_ROOM)) {
		err_set_at(&q->err, ERR_TOO_LARGE, "/bytes", "all files of this tenant may have %lld bytes; with this one they would have more: delete some",
		           (long long)conf_now()->limits_tenant_files_bytes);
		return request_refuse(q);
	}
	return db_is_null(&q->query, 0, FILE_NEW_ID) ? FLOW_NEXT : flow_jump(f, CREATE_LOAD);
}

static enum flow_next create_whose(struct flow *f)
{
	struct request *q = request_of(f);
	struct announcement *a = q->state;
	int rc = replay_start(q, a->key);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next create_judge(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct announcement *a = q->state;
	if (rc < 0)
		return request_fail(q, rc, "it could not be found out whose the key is");
	if (replay_judge(q, a->fingerprint, REPLAY_UPLOAD, &a->id) < 0)
		return request_refuse(q);
	http_reply_header(q->http, "Idempotent-Replayed", STR("true"));
	return FLOW_NEXT;
}

static enum flow_next create_load(struct flow *f)
{
	struct request *q = request_of(f);
	return uploads_load(q, ((const struct announcement *)q->state)->id);
}

static enum flow_next loaded(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	return rc < 0 ? request_fail(q, rc, "the upload could not be read") : uploads_answer(q);
}

const struct flow_step uploads_create_steps[] = {
	[CREATE_READ] = { "read", create_read, NULL },
	[CREATE_WRITE] = { "write", create_write, create_written },
	[CREATE_WHOSE] = { "whose", create_whose, create_judge },
	[CREATE_LOAD] = { "load", create_load, loaded },
	{ .name = NULL },
};

/* --- POST /v1/uploads/{upload}/cancel --- */

static enum flow_next cancel_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_upload_cancel);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	return uploads_load(q, q->id);
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the upload could not be read");
	if (db_rows(&q->query) > 0 && uploads_status(q) == UPLOAD_CANCELLED) /* just now, or before */
		return uploads_answer(q);
	return uploads_want_pending(q) < 0 ? request_refuse(q) : request_fail(q, ERR_DB_CONFLICT, "it was not canceled: ask again");
}

const struct flow_step uploads_cancel_steps[] = {
	{ "cancel", cancel_start, NULL },
	{ "view", view_start, view_done },
	{ .name = NULL },
};
