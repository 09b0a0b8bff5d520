/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's connection: what is read goes to the part that the state names, one request at a time.
 *
 *   HEAD ──whole──▶ on_head ─▶ BODY ──whole──▶ on_end ─▶ WAIT ──answered──▶ HEAD …
 *     └────── refused, or answered before the body's end, or the last ──────▶ LINGER ─▶ CLOSING
 *
 * Bytes that come too early (pipelining, a paused body) wait in `pending`; then reading stops. Bytes are parsed in
 * place from the server's one read buffer, so that an idle connection owns none. Handlers may answer inside their
 * callbacks: parsing goes on in the loop of conn_feed, never recursively, and from outside at the loop's next turn.
 *
 * What can go wrong: a deadline passes (each is a total: 408, or silence when idle), the client ends its side (what
 * it sent is still answered; on_gone tells the handler), the connection breaks (closed at once). After the last
 * answer the writing side is shut and what still comes in is read and dropped for a while, since closing over
 * unread data would destroy the answer on its way.
 */
#include "common/http/http_conn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/metrics.h"

static void on_alloc(uv_handle_t *h, size_t wanted UNUSED, uv_buf_t *ret)
{
	struct http_conn *c = h->data;
	ret->base = c->server->rbuf;
	ret->len = HTTP_READ_BYTES;
}

static void on_closed(uv_handle_t *h)
{
	struct http_conn *c = h->data;
	struct http_server *s = c->server;
	assert(!c->req && !c->sending);
	list_remove(&s->conns, &c->link);
	metric_set(METRIC_HTTP_CONNS, "", (int64_t)s->conns.n);
	buf_done(&c->head);
	buf_done(&c->pending);
	buf_done(&c->out);
	free(c);
	http_server_check(s);
}

void http_conn_close(struct http_conn *c, bool reset)
{
	if (c->state == CONN_CLOSING)
		return;
	c->state = CONN_CLOSING;
	timer_stop(&c->timer);
	timer_stop(&c->stall);
	loop_soon_cancel(c->server->loop, &c->soon);
	struct http_req *r = take(&c->req);
	if (r)
		r->conn = NULL;
	if (!reset || c->server->is_unix || uv_tcp_close_reset(&c->u.tcp, on_closed) < 0)
		uv_close(&c->u.handle, on_closed);
	if (r && r->announced)
		http_req_gone(r);
	else if (r)
		http_req_end(r);
}

bool http_conn_is_idle(const struct http_conn *c)
{
	return c->state == CONN_HEAD && !c->head.n && !c->pending.n && !http_out_queued(c);
}

static bool takes_input(const struct http_conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
		return http_out_queued(c) <= HTTP_OUT_HIGH;
	case CONN_BODY:
		return !c->req->paused;
	case CONN_LINGER:
		return true;
	case CONN_WAIT:
	case CONN_CLOSING:
		return false;
	}
	return false;
}

static size_t linger_drop(struct http_conn *c, size_t n)
{
	c->linger_left -= (uint32_t)MIN(n, c->linger_left);
	return n;
}

/* Returns how many bytes were used up. */
static size_t conn_feed(struct http_conn *c, const char *p, size_t n)
{
	size_t used = 0;
	assert(!c->running);
	c->running = true;
	while (used < n && takes_input(c)) {
		if (c->state == CONN_HEAD)
			used += http_head_take(c, p + used, n - used);
		else if (c->state == CONN_BODY)
			used += http_body_take(c, p + used, n - used);
		else
			used += linger_drop(c, n - used);
	}
	c->running = false;
	return used;
}

static void feed_pending(struct http_conn *c)
{
	size_t used = conn_feed(c, c->pending.p, c->pending.n);
	buf_consume(&c->pending, used);
	if (!c->pending.n)
		buf_done(&c->pending);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct http_conn *c = stream->data;
	if (n == 0 || c->state == CONN_CLOSING)
		return;
	if (n < 0 && n != UV_EOF) {
		http_conn_close(c, false);
		return;
	}
	if (n == UV_EOF) {
		c->eof = true;
	} else if (c->pending.n) {
		if (buf_add(&c->pending, b->base, (size_t)n) < 0)
			abort(); /* reading stops long before */
		feed_pending(c);
	} else {
		size_t used = conn_feed(c, b->base, (size_t)n);
		if (used < (size_t)n && buf_add(&c->pending, b->base + used, (size_t)n - used) < 0)
			abort();
	}
	http_conn_settle(c);
}

static bool wants_read(const struct http_conn *c)
{
	if (c->eof || c->failed)
		return false;
	switch (c->state) {
	case CONN_HEAD:
		return http_out_queued(c) <= HTTP_OUT_HIGH;
	case CONN_BODY:
		return !c->req->paused;
	case CONN_WAIT:
		return c->pending.n <= HTTP_PENDING_HIGH && http_out_queued(c) <= HTTP_OUT_HIGH;
	case CONN_LINGER:
		return c->linger_left > 0;
	case CONN_CLOSING:
		return false;
	}
	return false;
}

/* When the state's patience ends; 0: never. */
static uint64_t deadline(const struct http_conn *c)
{
	const struct http_limits *l = &c->server->limits;
	const struct http_req *r = c->req;
	switch (c->state) {
	case CONN_HEAD:
		if (c->head.n || c->blanks)
			return c->since_ms + l->head_ms;
		return http_out_queued(c) ? 0 : c->since_ms + l->idle_ms;
	case CONN_BODY: {
		uint64_t size = r->chunked ? r->body_seen : (uint64_t)r->content_length;
		return r->paused ? 0 : c->since_ms + l->body_ms + size * 1000 / MAX(l->body_min_rate, 1u);
	}
	case CONN_LINGER:
		return c->shut && c->since_ms ? c->since_ms + HTTP_LINGER_MS : 0;
	case CONN_WAIT:
	case CONN_CLOSING:
		return 0;
	}
	return 0;
}

/* The timer is moved only when it would fire too late; firing early it just looks again. So a busy connection hardly
 * touches it. */
static void arm(struct http_conn *c)
{
	uint64_t at = deadline(c), now = loop_now_ms(c->server->loop);
	if (at && (!timer_is_armed(&c->timer) || c->timer.due_ms > at))
		timer_start(&c->timer, at > now ? at - now : 0);
}

static void on_deadline(struct timer *t)
{
	struct http_conn *c = container_of(t, struct http_conn, timer);
	uint64_t at = deadline(c);
	struct err err;
	if (!at)
		return;
	if (at > loop_now_ms(c->server->loop)) {
		arm(c);
		return;
	}
	if (c->state == CONN_LINGER || (c->state == CONN_HEAD && !c->head.n && !c->blanks)) {
		http_conn_close(c, false);
		return;
	}
	err_set(&err, ERR_REQUEST_TIMEOUT, "%s took too long to arrive",
	        c->state == CONN_HEAD ? "the head" : "the body");
	http_conn_refuse(c, &err);
	http_conn_settle(c);
}

/* The client has sent its last byte, and all of it has been looked at. */
static void at_eof(struct http_conn *c)
{
	struct err err;
	if (c->state == CONN_HEAD && !c->head.n) {
		http_conn_answered(c, true);
	} else if (c->state == CONN_HEAD || c->state == CONN_BODY) {
		err_set(&err, ERR_BAD_HTTP, "the request ends in the middle of its %s",
		        c->state == CONN_HEAD ? "head" : "body");
		http_conn_refuse(c, &err);
	} else if (c->state == CONN_WAIT) {
		http_req_gone(c->req);
	}
	if (c->state == CONN_LINGER && c->shut && c->since_ms)
		http_conn_close(c, false);
}

void http_conn_settle(struct http_conn *c)
{
	assert(!c->running);
	if (c->state == CONN_CLOSING)
		return;
	if (c->eof && !c->pending.n)
		at_eof(c);
	bool want = wants_read(c);
	if (c->state == CONN_CLOSING)
		return;
	if (want != c->reading) {
		c->reading = want;
		if (!want)
			uv_read_stop(&c->u.stream);
		else if (uv_read_start(&c->u.stream, on_alloc, on_read) < 0)
			http_conn_close(c, false);
	}
	arm(c);
}

static void on_soon(struct soon *k)
{
	struct http_conn *c = container_of(k, struct http_conn, soon);
	if (c->failed) {
		http_conn_close(c, false);
		return;
	}
	if (c->pending.n)
		feed_pending(c);
	http_conn_settle(c);
}

void http_conn_kick(struct http_conn *c)
{
	if (c->state != CONN_CLOSING)
		loop_soon(c->server->loop, &c->soon);
}

static void linger(struct http_conn *c)
{
	c->state = CONN_LINGER;
	c->since_ms = 0;
	c->linger_left = HTTP_LINGER_BYTES;
	buf_done(&c->head);
	http_out_shutdown(c);
}

void http_conn_linger_start(struct http_conn *c)
{
	c->since_ms = MAX(loop_now_ms(c->server->loop), 1u);
	http_conn_settle(c);
}

void http_conn_answered(struct http_conn *c, bool last)
{
	if (c->state == CONN_CLOSING)
		return;
	assert(!c->req);
	c->wants_drain = false;
	c->blanks = 0;
	if (last || c->server->draining) {
		linger(c);
	} else {
		c->state = CONN_HEAD;
		c->since_ms = loop_now_ms(c->server->loop);
	}
	if (!c->running)
		http_conn_kick(c);
}

/* A request that stands in for the handler's own, to be answered in its place. */
static void stand_in(struct http_conn *c, const struct http_req *old)
{
	c->req = NULL;
	struct http_req *r = http_req_new(c);
	r->method = old->method;
	r->method_text = arena_str(&r->arena, old->method_text);
	r->target = arena_str(&r->arena, old->target);
	r->path = arena_str(&r->arena, old->path);
	r->query = arena_str(&r->arena, old->query);
	r->request_id = arena_str(&r->arena, old->request_id);
	r->started_ns = old->started_ns;
	r->route = old->route;
	r->http10 = old->http10;
}

void http_conn_refuse(struct http_conn *c, const struct err *err)
{
	struct http_req *old = c->req && c->req->announced ? c->req : NULL;
	if (c->state == CONN_CLOSING || (old && old->replied)) {
		http_conn_close(c, false);
		return;
	}
	if (old) {
		stand_in(c, old);
		old->conn = NULL;
	} else if (!c->req) {
		http_req_new(c);
	}
	struct http_req *r = c->req;
	r->close_after = true;
	if (c->server->handler.on_refuse)
		c->server->handler.on_refuse(r, err);
	if (c->req == r)
		http_reply_problem(r, err);
	if (old)
		http_req_gone(old);
}

static int conn_open(struct http_conn *c, int fd)
{
	uv_loop_t *uv = &c->server->loop->uv;
	if (c->server->is_unix) {
		int rc = uv_pipe_init(uv, &c->u.pipe, 0);
		return rc < 0 ? rc : uv_pipe_open(&c->u.pipe, fd);
	}
	int rc = uv_tcp_init(uv, &c->u.tcp);
	return rc < 0 ? rc : uv_tcp_open(&c->u.tcp, fd);
}

struct http_conn *http_conn_new(struct http_server *s, int fd, const char *peer)
{
	struct http_conn *c = calloc(1, sizeof(*c));
	static_assert(sizeof(*c) <= 2048, "an idle connection must stay small");
	if (!c)
		abort();
	c->server = s;
	c->state = CONN_HEAD;
	c->since_ms = loop_now_ms(s->loop);
	c->linger_left = HTTP_LINGER_BYTES;
	timer_init(&c->timer, s->loop, on_deadline);
	timer_init(&c->stall, s->loop, http_out_stalled);
	c->soon.fn = on_soon;
	buf_init(&c->head, HTTP_HEAD_MAX);
	buf_init(&c->pending, HTTP_PENDING_MAX);
	buf_init(&c->out, HTTP_OUT_MAX);
	memcpy(c->peer, peer, MIN(strlen(peer), sizeof(c->peer) - 1));
	list_push(&s->conns, &c->link);
	metric_set(METRIC_HTTP_CONNS, "", (int64_t)s->conns.n);
	bool opened = conn_open(c, fd) == 0;
	c->u.handle.data = c;
	if (!opened) {
		close(fd);
		uv_close(&c->u.handle, on_closed);
		c->state = CONN_CLOSING;
		return NULL;
	}
	return c;
}
