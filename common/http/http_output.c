/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to a client. The usual answer is small: one uv_try_write of head and body, and nothing is kept. What the
 * socket does not take is copied to `out` and goes by uv_write, one block at a time; when all has gone, a handler
 * that was told to stop gets on_drain, and reading, which rests above HTTP_OUT_HIGH, goes on.
 *
 * What can go wrong: the client does not read (each write_stall_ms it must take 1 KiB a second, or what there is:
 * else the connection is reset), or has gone (the connection is closed at the next turn, never inside a handler's
 * call).
 */
#include "common/http/http_conn.h"

#include <stdlib.h>

#define STALL_BYTES_PER_S 1024u
#define OUT_PARTS_MAX     4

size_t http_out_queued(const struct http_conn *c)
{
	return c->out.n + (c->sending ? uv_stream_get_write_queue_size(&c->u.stream) : 0);
}

static void out_failed(struct http_conn *c)
{
	c->failed = true;
	http_conn_kick(c);
}

static void out_drained(struct http_conn *c)
{
	timer_stop(&c->stall);
	if (c->state == CONN_LINGER)
		http_out_shutdown(c);
	struct http_req *r = c->req;
	if (c->wants_drain && r) {
		c->wants_drain = false;
		if (c->server->handler.on_drain)
			c->server->handler.on_drain(r);
	}
	if (c->state != CONN_CLOSING)
		http_conn_kick(c); /* reading rested */
}

static void on_written(uv_write_t *w, int rc);

static void out_start(struct http_conn *c)
{
	size_t n;
	assert(!c->sending && c->out.n);
	size_t queued = c->out.n;
	c->sending = buf_steal(&c->out, &n);
	uv_buf_t b = { .base = c->sending, .len = n };
	if (!timer_is_armed(&c->stall)) {
		c->stall_queued = queued;
		c->stall_added = 0;
		timer_start(&c->stall, c->server->limits.write_stall_ms);
	}
	c->write.data = c;
	if (uv_write(&c->write, &c->u.stream, &b, 1, on_written) < 0) {
		free(take(&c->sending));
		out_failed(c);
	}
}

static void on_written(uv_write_t *w, int rc)
{
	struct http_conn *c = w->data;
	free(take(&c->sending));
	if (c->state == CONN_CLOSING)
		return;
	if (rc < 0)
		out_failed(c);
	else if (c->out.n)
		out_start(c);
	else
		out_drained(c);
}

void http_out(struct http_conn *c, const struct str *parts, size_t n)
{
	uv_buf_t b[OUT_PARTS_MAX];
	unsigned nb = 0;
	size_t sent = 0;
	assert(n <= OUT_PARTS_MAX);
	if (c->state == CONN_CLOSING || c->failed)
		return;
	if (!c->sending) {
		for (size_t i = 0; i < n; i++)
			if (parts[i].n)
				b[nb++] = (uv_buf_t){ .base = (char *)(uintptr_t)parts[i].p, .len = parts[i].n };
		int rc = nb ? uv_try_write(&c->u.stream, b, nb) : 0;
		if (rc < 0 && rc != UV_EAGAIN) {
			out_failed(c);
			return;
		}
		sent = rc > 0 ? (size_t)rc : 0;
	}
	for (size_t i = 0; i < n; i++) {
		size_t skip = MIN(sent, parts[i].n);
		sent -= skip;
		c->stall_added += parts[i].n - skip;
		if (skip < parts[i].n && buf_add_str(&c->out, str_sub(parts[i], skip, parts[i].n)) < 0) {
			out_failed(c);
			return;
		}
	}
	if (c->out.n && !c->sending)
		out_start(c);
}

static void on_shutdown(uv_shutdown_t *q, int rc)
{
	struct http_conn *c = q->data;
	if (c->state == CONN_CLOSING)
		return;
	if (rc < 0)
		out_failed(c);
	else
		http_conn_linger_start(c);
}

void http_out_shutdown(struct http_conn *c)
{
	if (c->shut || c->sending || c->out.n || c->state == CONN_CLOSING)
		return;
	c->shut = true;
	c->shutdown.data = c;
	if (uv_shutdown(&c->shutdown, &c->u.stream, on_shutdown) < 0)
		out_failed(c);
}

void http_out_stalled(struct timer *t)
{
	struct http_conn *c = container_of(t, struct http_conn, stall);
	uint64_t ms = c->server->limits.write_stall_ms;
	uint64_t queued = http_out_queued(c);
	uint64_t taken = c->stall_queued + c->stall_added - queued;
	uint64_t wanted = MAX(ms * STALL_BYTES_PER_S / 1000, 1u);
	if (taken < MIN(wanted, c->stall_queued)) {
		http_conn_close(c, true);
		return;
	}
	c->stall_queued = queued;
	c->stall_added = 0;
	timer_start(&c->stall, ms);
}
