/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's content, read chunk by chunk. The file's row tells its blobs and their sizes, once; each piece is then the rest of one chunk, by the key.
 *
 * What can go wrong: a chunk is not there, because the file was deleted or expired in the meantime and the sweep is at it: -ERR_NOT_FOUND. A database that
 * is away: the statements are sent again for a while, then the read fails.
 */
#include "api/files/blob_read.h"

#include <stdlib.h>

#include "api/api.h"
#include "sql_api.h"

#define RETRY_MS 10000

/* The columns of blob_open.sql. */
enum { COL_BYTES, COL_CREATED, COL_EXPIRES, COL_FILENAME, COL_PURPOSE, COL_MIME, COL_BLOB, COL_BLOB_BYTES };

static void spans_alloc(struct blob_read *r, size_t n)
{
	r->spans = calloc(MAX(n, (size_t)1), sizeof(*r->spans));
	assert(r->spans);
	r->nspans = n;
}

static void span_set(struct blob_read *r, size_t i, struct id id, int64_t bytes)
{
	r->spans[i] = (struct blob_span){ id, r->bytes, bytes };
	r->bytes += bytes;
}

static void take_facts(struct blob_read *r)
{
	const struct db_query *q = &r->facts;
	r->created_us = db_get_time(q, 0, COL_CREATED);
	r->expires_us = db_get_time(q, 0, COL_EXPIRES);
	r->filename = db_get_str(q, 0, COL_FILENAME);
	r->purpose = db_get_str(q, 0, COL_PURPOSE);
	if (!db_is_null(q, 0, COL_MIME))
		r->mime_type = db_get_str(q, 0, COL_MIME);
	spans_alloc(r, (size_t)db_rows(q));
	for (int row = 0; row < db_rows(q); row++)
		span_set(r, (size_t)row, db_get_id(q, row, COL_BLOB), db_get_int(q, row, COL_BLOB_BYTES));
	r->until = r->bytes;
}

static void on_opened(struct op *op, int rc)
{
	struct blob_read *r = container_of(op, struct blob_read, facts.op);
	if (rc == 0 && (db_rows(&r->facts) == 0 || db_rows(&r->facts) > INT32_MAX / 2))
		rc = -(int)ERR_NOT_FOUND;
	if (rc == 0)
		take_facts(r);
	op_done(&r->op, rc);
}

static void on_cancel_open(struct op *op)
{
	op_cancel(&container_of(op, struct blob_read, op)->facts.op);
}

int blob_read_open(struct blob_read *r, struct api *api, struct id file, int64_t tenant_id, struct flow *flow)
{
	void (*on_done)(struct op *, int) = r->op.on_done;
	*r = (struct blob_read){ .api = api, .file = file, .tenant_id = tenant_id, .bucket = id_bucket(file) };
	r->op.on_done = on_done;
	db_query_init(&r->facts, &sql_api_blob_open);
	r->facts.retry_ms = RETRY_MS;
	r->facts.op.on_done = on_opened;
	db_arg_i32(&r->facts.args, r->bucket);
	db_arg_id(&r->facts.args, file);
	db_arg_i64(&r->facts.args, tenant_id);
	int rc = api_query_start(api, &r->facts, NULL);
	if (rc == 0)
		op_start(&r->op, flow, "a file", on_cancel_open);
	return rc;
}

void blob_read_blobs(struct blob_read *r, struct api *api, int bucket, const struct id *ids, const int64_t *sizes, size_t n)
{
	void (*on_done)(struct op *, int) = r->op.on_done;
	*r = (struct blob_read){ .api = api, .bucket = bucket };
	r->op.on_done = on_done;
	spans_alloc(r, n);
	for (size_t i = 0; i < n; i++)
		span_set(r, i, ids[i], sizes[i]);
	r->until = r->bytes;
}

void blob_read_range(struct blob_read *r, int64_t from, int64_t n)
{
	assert(from >= 0 && n >= 0);
	r->at = MIN(from, r->bytes);
	r->until = n > r->bytes - r->at ? r->bytes : r->at + n;
}

/* The last span that begins at or before the place at hand, and is not empty. */
static const struct blob_span *span_at(const struct blob_read *r)
{
	size_t low = 0, high = r->nspans;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (r->spans[mid].start <= r->at)
			low = mid;
		else
			high = mid;
	}
	return &r->spans[low];
}

static void on_piece(struct op *op, int rc)
{
	struct blob_read *r = container_of(op, struct blob_read, query.op);
	if (rc == 0 && db_rows(&r->query) == 1)
		r->piece = db_get_str(&r->query, 0, 0);
	if (rc == 0 && r->piece.n == 0)
		rc = -(int)ERR_NOT_FOUND;
	r->at += (int64_t)r->piece.n;
	op_done(&r->op, rc < 0 ? rc : 1);
}

static void on_cancel_next(struct op *op)
{
	op_cancel(&container_of(op, struct blob_read, op)->query.op);
}

int blob_read_next(struct blob_read *r, struct flow *flow)
{
	assert(r->spans && !r->op.active);
	db_query_done(&r->query);
	r->piece = (struct str){ 0 };
	if (r->at >= r->until) {
		op_start(&r->op, flow, "a piece of a file", NULL);
		op_done(&r->op, 0);
		return 0;
	}
	const struct blob_span *s = span_at(r);
	int64_t n = MIN(MIN(r->until, s->start + s->bytes) - r->at, (int64_t)BLOB_READ_BYTES);
	assert(n > 0);
	db_query_init(&r->query, &sql_api_blob_read);
	r->query.retry_ms = RETRY_MS;
	r->query.op.on_done = on_piece;
	db_arg_i32(&r->query.args, r->bucket);
	db_arg_id(&r->query.args, s->id);
	db_arg_i64(&r->query.args, r->at - s->start);
	db_arg_i32(&r->query.args, (int32_t)n);
	int rc = api_query_start(r->api, &r->query, NULL);
	if (rc == 0)
		op_start(&r->op, flow, "a piece of a file", on_cancel_next);
	return rc;
}

void blob_read_done(struct blob_read *r)
{
	assert(!r->op.active);
	db_query_done(&r->query);
	db_query_done(&r->facts);
	free(r->spans);
	r->spans = NULL;
}
