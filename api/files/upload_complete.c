/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/uploads/{upload}/complete: the parts that the client names, in its order, become one file. No byte is copied: a file is a list of blobs. With
 * md5 the bytes are read once more before, and compared.
 *
 * What can go wrong: a part that is not there or is named twice, a sum that is not what was announced, another digest: 400, and the upload stays pending.
 * Completing a completed upload with the same parts answers with it, as a repeat after a lost answer wants; with other parts it is 409.
 */
#include <stdlib.h>
#include <string.h>

#include "api/files/blob_read.h"
#include "api/files/file_object.h"
#include "api/request.h"
#include "api/files/uploads.h"
#include "common/crypto.h"
#include "common/json.h"
#include "sql_api.h"

enum { READ, LOAD, DIGEST, WRITE, VIEW };

struct completion {
	struct id *parts; /* in the arena */
	int64_t *sizes;
	size_t n;
	struct str md5;   /* p NULL: none; lower case */
	int64_t life_s;
	bool is_ours;     /* it is completed, by this request or one like it */
	struct crypto_digest digest;
	struct blob_read read;
};

static void release(struct request *q)
{
	struct completion *c = q->state;
	crypto_digest_done(&c->digest);
	blob_read_done(&c->read);
}

/* --- read --- */

static int read_parts(struct request *q, struct completion *c, const json_t *body)
{
	json_t *v = json_get(body, "part_ids");
	size_t n = json_array_size(v);
	if (!v)
		return err_set_at(&q->err, ERR_MISSING_FIELD, "/part_ids", "completing needs part_ids");
	if (!json_is_array(v) || n < 1 || n > UPLOAD_PARTS_MAX)
		return err_set_at(&q->err, ERR_INVALID, "/part_ids", "wanted an array of 1 to %d ids", UPLOAD_PARTS_MAX);
	c->parts = arena_array(&q->http->arena, struct id, n);
	c->sizes = arena_array(&q->http->arena, int64_t, n);
	for (; c->n < n; c->n++)
		if (id_parse(json_str_of(json_array_get(v, c->n)), "part_", &c->parts[c->n]) < 0)
			return err_set_at(&q->err, ERR_INVALID, arena_printf(&q->http->arena, "/part_ids/%zu", c->n).p, "there is no such part");
	return 0;
}

static int read_md5(struct request *q, struct completion *c, const json_t *body)
{
	json_t *v = json_get(body, "md5");
	if (!v || json_is_null(v))
		return 0;
	struct str s = json_str_of(v);
	if (s.n != 2 * (size_t)MD5_LEN)
		return err_set_at(&q->err, ERR_INVALID, "/md5", "md5 is 32 hexadecimal digits");
	char *hex = arena_strz(&q->http->arena, s);
	for (size_t i = 0; i < s.n; i++)
		hex[i] = (char)(hex[i] >= 'A' && hex[i] <= 'F' ? hex[i] | 0x20 : hex[i]);
	c->md5 = (struct str){ hex, s.n };
	return 0;
}

static enum flow_next read_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct completion *c = arena_new(&q->http->arena, struct completion);
	q->state = c;
	q->release = release;
	_cleanup_(json_drop) json_t *body = json_parse(q->http->body, &q->err);
	if (!body)
		return request_refuse(q);
	if (!json_is_object(body))
		return request_fail(q, ERR_WRONG_TYPE, "wanted an object");
	return read_parts(q, c, body) < 0 || read_md5(q, c, body) < 0 ? request_refuse(q) : FLOW_NEXT;
}

/* --- load --- */

static enum flow_next load_start(struct flow *f)
{
	struct request *q = request_of(f);
	return uploads_load(q, q->id);
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id));
}

struct known {
	struct id id; /* first: by_id */
	int64_t bytes;
	bool is_taken;
};

/* Each part that was named is one of the upload's, once, and together they have the bytes that were announced. */
static int judge(struct request *q, struct completion *c)
{
	const struct db_query *query = &q->query;
	int rows = db_rows(query);
	struct known *all = arena_array(&q->http->arena, struct known, (size_t)rows);
	for (int row = 0; row < rows; row++)
		all[row] = (struct known){ .id = db_get_id(query, row, UPLOAD_COL_PART), .bytes = db_get_int(query, row, UPLOAD_COL_PART_BYTES) };
	qsort(all, (size_t)rows, sizeof(*all), by_id);
	int64_t sum = 0;
	for (size_t i = 0; i < c->n; i++) {
		struct known *k = bsearch(&c->parts[i], all, (size_t)rows, sizeof(*all), by_id);
		if (!k || k->is_taken)
			return err_set_at(&q->err, ERR_INVALID, arena_printf(&q->http->arena, "/part_ids/%zu", i).p, "%s",
			                  k ? "the part is named twice" : "there is no such part");
		k->is_taken = true;
		c->sizes[i] = k->bytes;
		sum += k->bytes;
	}
	int64_t wanted = db_get_int(query, 0, UPLOAD_COL_BYTES);
	if (sum != wanted)
		return err_set_at(&q->err, ERR_INVALID, "/part_ids", "these parts have %lld bytes; the upload announced %lld", (long long)sum,
		                  (long long)wanted);
	c->life_s = file_life_s(db_get_str(query, 0, UPLOAD_COL_PURPOSE), db_get_int(query, 0, UPLOAD_COL_LIFE));
	return 0;
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct completion *c = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the upload could not be read");
	if (db_rows(&q->query) > 0 && uploads_status(q) == UPLOAD_COMPLETED)
		return flow_jump(f, WRITE); /* which knows whether with these parts */
	if (uploads_want_pending(q) < 0 || judge(q, c) < 0)
		return request_refuse(q);
	if (!c->md5.p)
		return flow_jump(f, WRITE);
	crypto_digest_begin_md5(&c->digest);
	blob_read_blobs(&c->read, q->api, id_bucket(q->id), c->parts, c->sizes, c->n);
	return FLOW_NEXT;
}

/* --- digest --- */

static enum flow_next digest_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct completion *c = q->state;
	if (q->gone)
		return request_fail(q, ERR_CANCELED, "the client left");
	int rc = blob_read_next(&c->read, f);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next digest_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct completion *c = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the parts could not be read");
	if (rc > 0) {
		crypto_digest_add(&c->digest, c->read.piece);
		return flow_jump(f, DIGEST);
	}
	uint8_t digest[MD5_LEN];
	struct buf hex;
	buf_init(&hex, 64);
	crypto_digest_end(&c->digest, digest);
	crypto_hex(&hex, (struct str){ (const char *)digest, sizeof(digest) });
	bool same = str_eq(buf_str(&hex), c->md5);
	if (!same)
		err_set_at(&q->err, ERR_INVALID, "/md5", "the parts' md5 is " STR_FMT, STR_ARG(buf_str(&hex)));
	buf_done(&hex);
	return same ? FLOW_NEXT : request_refuse(q);
}

/* --- write, view --- */

static enum flow_next write_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct completion *c = q->state;
	struct db_array parts;
	db_array_init(&parts, DB_UUID, 1 << 16);
	for (size_t i = 0; i < c->n; i++)
		db_array_id(&parts, c->parts[i]);
	request_query_init(q, &sql_api_upload_complete);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_array(&q->query.args, &parts);
	db_arg_id(&q->query.args, id_make(id_bucket(q->id)));
	if (c->life_s)
		db_arg_i64(&q->query.args, c->life_s);
	else
		db_arg_null(&q->query.args);
	db_array_done(&parts);
	return request_query(q);
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the upload was completed: ask again");
	((struct completion *)q->state)->is_ours = db_rows(&q->query) > 0;
	return FLOW_NEXT;
}

/* Completed by this request, or by another at the same time. */
static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct completion *c = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the upload was completed, but could not be read");
	if (c->is_ours && db_rows(&q->query) > 0)
		return uploads_answer(q);
	return uploads_want_pending(q) < 0 ? request_refuse(q) : request_fail(q, ERR_DB_CONFLICT, "the upload was not completed: ask again");
}

const struct flow_step uploads_complete_steps[] = {
	[READ] = { "read", read_start, NULL },
	[LOAD] = { "load", load_start, load_done },
	[DIGEST] = { "digest", digest_start, digest_done },
	[WRITE] = { "write", write_start, write_done },
	[VIEW] = { "view", load_start, view_done },
	{ .name = NULL },
};
