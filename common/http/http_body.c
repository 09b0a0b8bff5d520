/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request. With Content-Length it is counted off here; chunked framing is llhttp's, which is paused
 * at each piece of data and at the end, so that no handler runs inside the parser. A piece goes to on_body as it
 * stands in the read buffer, or is gathered in body_buf.
 *
 * Refused: more than body_max (by Content-Length before anything is read, by a chunk's size as soon as it is told),
 * framing that is broken, extensions and trailers over their bounds, and framing of more than ten times the data (a
 * client that sends single bytes as chunks). Extensions and trailers are dropped unseen.
 */
#include "common/http/http_conn.h"

#define RESERVE_MAX 65536 /* taken at once for a body of known size */

static struct http_conn *conn_of(llhttp_t *p)
{
	return p->data;
}

static int chunk_fail(struct http_conn *c, enum err_code code, const char *reason)
{
	c->chunk.fail = code;
	llhttp_set_error_reason(&c->parser, reason);
	return HPE_USER;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	struct str *t = &conn_of(p)->req->target;
	if (!t->p)
		t->p = at;
	t->n = (size_t)(at + n - t->p);
	return 0;
}

static int trailer(struct http_conn *c, size_t n)
{
	c->chunk.trailer += (uint32_t)n;
	return c->chunk.trailer > HTTP_TRAILER_BYTES ? chunk_fail(c, ERR_HEAD_TOO_LARGE, "the trailers are too large")
	                                             : 0;
}

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
	struct http_conn *c = conn_of(p);
	return c->state == CONN_BODY ? trailer(c, n + 2) : http_head_field(c, at, n);
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
	struct http_conn *c = conn_of(p);
	return c->state == CONN_BODY ? trailer(c, n) : http_head_value(c, at, n);
}

static int on_header_value_complete(llhttp_t *p)
{
	struct http_conn *c = conn_of(p);
	return c->state == CONN_BODY ? 0 : http_head_value_end(c);
}

static int on_headers_complete(llhttp_t *p)
{
	p->upgrade = 0; /* what follows is a body or the next request, whatever the headers offer */
	return HPE_PAUSED;
}

static int on_extension(llhttp_t *p, const char *at UNUSED, size_t n)
{
	struct http_conn *c = conn_of(p);
	c->chunk.chunk_ext += (uint32_t)n;
	c->chunk.body_ext += (uint32_t)n;
	if (c->chunk.chunk_ext > HTTP_CHUNK_EXT_BYTES || c->chunk.body_ext > HTTP_BODY_EXT_BYTES)
		return chunk_fail(c, ERR_BAD_HTTP, "the chunk extensions are too large");
	return 0;
}

static int on_chunk_header(llhttp_t *p)
{
	struct http_conn *c = conn_of(p);
	const struct http_req *r = c->req;
	c->chunk.chunk_ext = 0;
	if (p->content_length > r->body_max - MIN(r->body_max, r->body_seen))
		return chunk_fail(c, ERR_TOO_LARGE, "the chunk passes the limit of the body");
	return 0;
}

static int on_data(llhttp_t *p, const char *at, size_t n)
{
	conn_of(p)->chunk.piece = (struct str){ at, n };
	return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *p)
{
	conn_of(p)->chunk.done = true;
	return HPE_PAUSED;
}

const llhttp_settings_t http_parser_settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_chunk_extension_name = on_extension,
	.on_chunk_extension_value = on_extension,
	.on_chunk_header = on_chunk_header,
	.on_body = on_data,
	.on_message_complete = on_message_complete,
};

static void body_piece(struct http_conn *c, struct str piece)
{
	struct http_req *r = c->req;
	r->body_seen += piece.n;
	if (!r->body_streamed) {
		if (buf_add_str(&r->body_buf, piece) < 0) {
			struct err err;
			err_set(&err, ERR_TOO_LARGE, "the body has more than %llu bytes",
			        (unsigned long long)r->body_max);
			http_conn_refuse(c, &err);
		}
	} else if (c->server->handler.on_body) {
		c->server->handler.on_body(r, piece);
	}
}

static void body_end(struct http_conn *c)
{
	struct http_req *r = c->req;
	r->body_done = true;
	c->state = CONN_WAIT;
	r->body = buf_str(&r->body_buf);
	c->server->handler.on_end(r);
}

/* One step of the chunked framing; returns the bytes used. The parser stops at each piece and at the end. */
static size_t chunked_take(struct http_conn *c, const char *p, size_t n)
{
	struct http_req *r = c->req;
	struct err err;
	size_t used = n;
	c->chunk.piece = (struct str){ NULL, 0 };
	llhttp_errno_t rc = llhttp_execute(&c->parser, p, n);
	if (rc == HPE_PAUSED) {
		used = (size_t)(llhttp_get_error_pos(&c->parser) - p);
		llhttp_resume(&c->parser);
	} else if (rc != HPE_OK) {
		err_set(&err, c->chunk.fail ? c->chunk.fail : ERR_BAD_HTTP, "%s", llhttp_get_error_reason(&c->parser));
		http_conn_refuse(c, &err);
		return n;
	}
	assert(used <= n);
	c->chunk.wire_bytes += used;
	if (c->chunk.piece.n)
		body_piece(c, c->chunk.piece);
	if (c->req != r || c->state != CONN_BODY)
		return used;
	uint64_t framing = c->chunk.wire_bytes - r->body_seen;
	if (framing > HTTP_FRAMING_FREE && framing / 10 > r->body_seen) {
		err_set(&err, ERR_BAD_HTTP, "the body is nearly all framing");
		http_conn_refuse(c, &err);
	} else if (c->chunk.done) {
		body_end(c);
	}
	return used;
}

size_t http_body_take(struct http_conn *c, const char *p, size_t n)
{
	struct http_req *r = c->req;
	if (r->chunked)
		return chunked_take(c, p, n);
	uint64_t left = (uint64_t)r->content_length - r->body_seen;
	size_t piece = (size_t)MIN((uint64_t)n, left);
	body_piece(c, (struct str){ p, piece });
	if (c->req == r && c->state == CONN_BODY && r->body_seen == (uint64_t)r->content_length)
		body_end(c);
	return piece;
}

void http_body_begin(struct http_conn *c, const char *rest, size_t n)
{
	struct http_req *r = c->req;
	struct err err;
	if (r->body_done) {
		body_end(c);
		return;
	}
	if (!r->chunked && (uint64_t)r->content_length > r->body_max) {
		err_set(&err, ERR_TOO_LARGE, "the body has %lld bytes; %llu are allowed", (long long)r->content_length,
		        (unsigned long long)r->body_max);
		http_conn_refuse(c, &err);
		return;
	}
	r->body_buf.max = (size_t)MIN(r->body_max, SIZE_MAX);
	if (r->content_length > 0 && !r->body_streamed)
		buf_room(&r->body_buf, (size_t)MIN(r->content_length, RESERVE_MAX));
	if (r->expect_continue && !r->replied)
		http_out(c, &STR("HTTP/1.1 100 Continue\r\n\r\n"), 1);
	if (!r->chunked)
		return;
	c->chunk = (struct chunk_state){ 0 };
	llhttp_resume(&c->parser);
	if (n)
		chunked_take(c, rest, n);
}

void http_body_pause(struct http_req *r)
{
	if (r->paused || r->ended)
		return;
	r->paused = true;
	if (r->conn)
		r->conn->paused_ms = loop_now_ms(r->server->loop);
	if (r->conn && !r->conn->running)
		http_conn_kick(r->conn);
}

void http_body_resume(struct http_req *r)
{
	struct http_conn *c = r->conn;
	if (!r->paused)
		return;
	r->paused = false;
	if (c && c->state == CONN_BODY) {
		c->since_ms += loop_now_ms(c->server->loop) - c->paused_ms; /* that time was not the client's */
		http_conn_kick(c);
	}
}
