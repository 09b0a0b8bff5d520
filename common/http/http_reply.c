/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers. The head is built in the server's scratch buffer and leaves with the body in one write: status, Date,
 * the handler's headers, Content-Type, Content-Length or chunked, x-request-id, Connection. HEAD, 204 and 304 have
 * no body. When the connection cannot be used again (asked so, HTTP/1.0, drain, a body that was not read to its
 * end) the head says so.
 *
 * A request whose client has gone takes answers too; they go into nothing, and are counted.
 */
#include "common/http/http_conn.h"

#include <string.h>

#include "common/clock.h"
#include "common/id.h"

static struct str date_now(struct http_server *s)
{
	int64_t us = clock_wall_us();
	if (us / 1000000 != s->date_second || !s->date[0]) {
		struct buf b;
		buf_init(&b, sizeof(s->date) - 1);
		clock_http_date(&b, us);
		memcpy(s->date, b.p, b.n);
		s->date[b.n] = '\0';
		s->date_second = us / 1000000;
		buf_done(&b);
	}
	return str_from(s->date);
}

static bool has_body(const struct http_req *r, int status)
{
	return r->method != HTTP_HEAD_ && status != 204 && status != 304 && status >= 200;
}

void http_reply_header(struct http_req *r, const char *name, struct str value)
{
	assert(!r->replied);
	for (size_t i = 0; i < value.n; i++)
		assert(value.p[i] != '\r' && value.p[i] != '\n' && value.p[i] != '\0');
	if (str_eq_nocase(str_from(name), STR("retry-after")))
		r->has_retry_after = true;
	buf_add_z(&r->head_out, name);
	buf_add_z(&r->head_out, ": ");
	buf_add_str(&r->head_out, value);
	buf_add_z(&r->head_out, "\r\n");
}

static void add_line(struct buf *b, const char *name, struct str value)
{
	buf_add_z(b, name);
	buf_add_str(b, value);
	buf_add_z(b, "\r\n");
}

/* length: of the whole answer, or -1 for a streamed one. Returned in the server's scratch buffer. */
static struct str make_head(struct http_req *r, int status, struct str content_type, int64_t length)
{
	struct http_server *s = r->server;
	struct buf *b = &s->scratch;
	char id[ID_TEXT_MAX];
	assert(!buf_failed(&r->head_out));
	buf_clear(b);
	buf_add_z(b, "HTTP/1.1 ");
	buf_add_u64(b, (uint64_t)status);
	add_line(b, " ", str_from(http_reason(status)));
	add_line(b, "Date: ", date_now(s));
	buf_add_str(b, buf_str(&r->head_out));
	if (content_type.n)
		add_line(b, "Content-Type: ", content_type);
	if (length >= 0 && status != 204 && status != 304) {
		buf_add_z(b, "Content-Length: ");
		buf_add_i64(b, length);
		buf_add_z(b, "\r\n");
	}
	if (r->out_chunked)
		buf_add_z(b, "Transfer-Encoding: chunked\r\n");
	add_line(b, "x-request-id: ", r->request_id.n ? r->request_id : id_text(id_make(-1), "req_", id));
	if (r->close_after)
		buf_add_z(b, "Connection: close\r\n");
	else if (r->http10)
		buf_add_z(b, "Connection: keep-alive\r\n");
	buf_add_z(b, "\r\n");
	return buf_str(b);
}

static void begin(struct http_req *r, int status)
{
	assert(!r->replied && !r->ended && status >= 200 && status <= 599);
	r->replied = true;
	r->status = status;
	r->close_after = r->close_after || !r->body_done || r->server->draining;
}

void http_reply(struct http_req *r, int status, struct str content_type, struct str body)
{
	begin(r, status);
	if (r->conn) {
		struct str parts[2] = { make_head(r, status, content_type, (int64_t)body.n) };
		if (has_body(r, status))
			parts[1] = body;
		r->sent_bytes = parts[0].n + parts[1].n;
		http_out(r->conn, parts, 2);
	}
	http_req_end(r);
}

void http_reply_problem(struct http_req *r, const struct err *err)
{
	http_reply_problem_with(r, err, (struct str){ 0 });
}

void http_reply_problem_with(struct http_req *r, const struct err *err, struct str members)
{
	struct buf b;
	char id[ID_TEXT_MAX];
	int status = err_http_status((int)err->code);
	if (!r->request_id.n)
		r->request_id = arena_str(&r->arena, id_text(id_make(-1), "req_", id));
	buf_init(&b, 8192 + members.n);
	buf_printf(&b, "{\"type\":\"/problems/%s\",\"title\":", err_code_name((int)err->code));
	buf_add_json_str(&b, str_from(err_title((int)err->code)));
	buf_printf(&b, ",\"status\":%d,\"detail\":", status);
	buf_add_json_str(&b, str_from(err->text));
	buf_printf(&b, ",\"code\":\"%s\"", err_code_name((int)err->code));
	if (err->param[0]) {
		buf_add_z(&b, ",\"param\":");
		buf_add_json_str(&b, str_from(err->param));
	}
	buf_add_z(&b, ",\"request_id\":");
	buf_add_json_str(&b, r->request_id);
	buf_printf(&b, ",\"retryable\":%s", err_is_retryable((int)err->code) ? "true" : "false");
	if (members.n)
		buf_add_char(&b, ',');
	buf_add_str(&b, members);
	buf_add_char(&b, '}');
	assert(!buf_failed(&b));
	if ((status == 429 || status == 503) && !r->has_retry_after)
		http_reply_header(r, "Retry-After", STR("1"));
	http_reply(r, status, STR("application/problem+json"), buf_str(&b));
	buf_done(&b);
}

static void start(struct http_req *r, int status, struct str content_type, int64_t length)
{
	if (!r->conn)
		return;
	struct str head = make_head(r, status, content_type, length);
	r->sent_bytes = head.n;
	http_out(r->conn, &head, 1);
}

void http_reply_start(struct http_req *r, int status, struct str content_type)
{
	bool body = has_body(r, status);
	begin(r, status);
	if (r->http10 && body)
		r->close_after = true;
	r->out_chunked = body && !r->http10;
	start(r, status, content_type, -1);
}

void http_reply_start_sized(struct http_req *r, int status, struct str content_type, int64_t length)
{
	assert(length >= 0);
	begin(r, status);
	start(r, status, content_type, length);
}

bool http_reply_write(struct http_req *r, struct str piece)
{
	static const char digits[] = "0123456789abcdef";
	struct http_conn *c = r->conn;
	char size[20];
	size_t at = sizeof(size);
	assert(r->replied && !r->ended);
	if (!c || !piece.n || !has_body(r, r->status))
		return true;
	size[--at] = '\n';
	size[--at] = '\r';
	for (size_t n = piece.n; n; n >>= 4)
		size[--at] = digits[n & 15];
	struct str parts[3] = { { size + at, sizeof(size) - at }, piece, STR("\r\n") };
	r->sent_bytes += piece.n;
	if (r->out_chunked)
		http_out(c, parts, 3);
	else
		http_out(c, &piece, 1);
	if (c->failed || http_out_queued(c) <= HTTP_OUT_HIGH)
		return true;
	c->wants_drain = true;
	return false;
}

void http_reply_end(struct http_req *r)
{
	assert(r->replied && !r->ended);
	if (r->conn && r->out_chunked)
		http_out(r->conn, &STR("0\r\n\r\n"), 1);
	http_req_end(r);
}

void http_reply_abort(struct http_req *r)
{
	assert(!r->ended);
	r->aborted = true;
	r->close_after = true;
	http_req_end(r);
}

void http_reply_reset(struct http_req *r)
{
	r->reset = true;
	http_reply_abort(r);
}
