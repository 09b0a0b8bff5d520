/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/files/{file}/content: the bytes, or one range of them (RFC 9110, 14). The next piece is read from the database when the client has taken the one
 * before, so memory does not depend on the file's size and a slow client holds nobody up.
 *
 * A file never changes, so its id is its ETag. It is sent as an attachment of the type that its owner gave it, and browsers are told not to guess another.
 * A file that is deleted, or a database that fails, in the middle cuts the answer short of its Content-Length.
 */
#include "api/files/blob_read.h"
#include "api/files/files.h"
#include "api/request.h"
#include "common/metrics.h"

enum { OPEN, PIECE, ROOM };

struct content {
	struct blob_read read;
	struct op room; /* the client takes more */
};

/* --- the head of the answer --- */

enum range { RANGE_ALL, RANGE_PART, RANGE_NONE };

/* `bytes=from-to`, `from-` or `-last` of a file of that size. What is not understood, and several ranges, mean the whole (RFC 9110, 14.2). */
static enum range read_range(struct str s, int64_t size, int64_t *ret_from, int64_t *ret_n)
{
	struct str first, last;
	uint64_t from = 0, to = INT64_MAX;
	if (!str_has_prefix_nocase(s, STR("bytes=")))
		return RANGE_ALL;
	s = str_trim(str_sub(s, 6, s.n));
	ssize_t dash = str_find_char(s, '-');
	if (dash < 0)
		return RANGE_ALL;
	first = str_sub(s, 0, (size_t)dash);
	last = str_sub(s, (size_t)dash + 1, s.n);
	if (first.n && str_u64(first, 0, INT64_MAX, &from) < 0)
		return RANGE_ALL;
	if (last.n ? str_u64(last, 0, INT64_MAX, &to) < 0 : first.n == 0)
		return RANGE_ALL;
	if (first.n && to < from)
		return RANGE_ALL;
	if (first.n == 0) { /* the last so many bytes */
		if (to == 0 || size == 0)
			return RANGE_NONE;
		from = (uint64_t)size - MIN(to, (uint64_t)size);
		to = INT64_MAX;
	}
	if (from >= (uint64_t)size)
		return RANGE_NONE;
	*ret_from = (int64_t)from;
	*ret_n = (int64_t)MIN(to, (uint64_t)size - 1) - (int64_t)from + 1;
	return RANGE_PART;
}

/* RFC 6266: a name in ASCII for old clients, and the name itself. */
static struct str disposition(struct request *q, struct str filename)
{
	struct buf b;
	buf_init(&b, 8192);
	buf_add_z(&b, "attachment; filename=\"");
	for (size_t i = 0; i < filename.n; i++) {
		char c = filename.p[i];
		buf_add_char(&b, c < ' ' || c > '~' || c == '"' || c == '\\' || c == '%' ? '_' : c);
	}
	buf_add_z(&b, "\"; filename*=UTF-8''");
	buf_add_percent(&b, filename, "");
	struct str text = arena_str(&q->http->arena, buf_str(&b));
	buf_done(&b);
	return text;
}

static struct str etag_of(struct request *q)
{
	char text[ID_TEXT_MAX];
	struct str id = id_text(q->id, "file-", text);
	return arena_printf(&q->http->arena, "\"" STR_FMT "\"", STR_ARG(id));
}

/* Range counts only for the file as the client knows it. */
static bool range_applies(const struct request *q, struct str etag)
{
	struct str condition = http_req_header(q->http, "if-range");
	return !condition.p || str_eq(str_trim(condition), etag);
}

static enum flow_next refuse_range(struct request *q, int64_t size)
{
	http_reply_header(q->http, "Content-Range", arena_printf(&q->http->arena, "bytes */%lld", (long long)size));
	err_set_at(&q->err, ERR_RANGE, "Range", "the file has %lld bytes", (long long)size);
	return request_refuse(q);
}

static enum flow_next begin(struct request *q, struct content *c)
{
	struct blob_read *r = &c->read;
	struct arena *a = &q->http->arena;
	struct str etag = etag_of(q), range = http_req_header(q->http, "range");
	int64_t from = 0, n = r->bytes;
	http_reply_header(q->http, "Accept-Ranges", STR("bytes"));
	if (request_is_cached(q, etag))
		return request_answer(q, 304);
	enum range kind = range.p && range_applies(q, etag) ? read_range(range, r->bytes, &from, &n) : RANGE_ALL;
	if (kind == RANGE_NONE)
		return refuse_range(q, r->bytes);
	if (kind == RANGE_PART)
		http_reply_header(q->http, "Content-Range",
		                  arena_printf(a, "bytes %lld-%lld/%lld", (long long)from, (long long)(from + n - 1), (long long)r->bytes));
	http_reply_header(q->http, "Content-Disposition", disposition(q, r->filename));
	http_reply_header(q->http, "X-Content-Type-Options", STR("nosniff"));
	blob_read_range(r, from, n);
	q->streaming = true;
	http_reply_start_sized(q->http, kind == RANGE_PART ? 206 : 200, r->mime_type.p ? r->mime_type : STR("application/octet-stream"), n);
	return q->http->method == HTTP_HEAD_ ? flow_over(&q->flow, 0) : FLOW_NEXT;
}

/* --- steps --- */

static void release(struct request *q)
{
	struct content *c = q->state;
	blob_read_done(&c->read);
}

static enum flow_next open_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct content *c = arena_new(&q->http->arena, struct content);
	q->state = c;
	q->release = release;
	int rc = blob_read_open(&c->read, q->api, q->id, q->who.tenant_id, f);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next open_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, rc == -(int)ERR_NOT_FOUND ? "there is no such file" : "the file could not be read");
	return begin(q, q->state);
}

static enum flow_next piece_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct content *c = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	int rc = blob_read_next(&c->read, f);
	return rc < 0 ? flow_over(f, rc) : FLOW_WAIT;
}

static enum flow_next piece_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct content *c = q->state;
	if (rc <= 0)
		return flow_over(f, rc);
	metric_add(METRIC_FILE_BYTES, "out", (int64_t)c->read.piece.n);
	return http_reply_write(q->http, c->read.piece) ? flow_jump(f, PIECE) : FLOW_NEXT;
}

static void on_room(struct request *q)
{
	struct content *c = q->state;
	if (c->room.active)
		op_done(&c->room, q->gone ? -(int)ERR_CANCELED : 0);
}

static enum flow_next room_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct content *c = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	q->on_gone = on_room;
	q->on_drain = on_room;
	op_start(&c->room, f, "a client that reads", NULL);
	return FLOW_WAIT;
}

static enum flow_next room_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_over(f, rc) : flow_jump(f, PIECE);
}

const struct flow_step file_content_steps[] = {
	[OPEN] = { "open", open_start, open_done },
	[PIECE] = { "piece", piece_start, piece_done },
	[ROOM] = { "room", room_start, room_done },
	{ .name = NULL },
};
