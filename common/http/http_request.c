/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request object: made when its head is whole (or refused), ended by its answer, freed with its arena. It may
 * outlive its connection: then conn is NULL, and answers go into nothing. Each end is counted in the metrics, and
 * lets the server go when the server waits for its last request.
 *
 * Also what a handler asks of a request: headers by name, and the query, decoded as forms are ('+' is a space). The
 * head was refused unless all escapes of the query are good, so that decoding cannot fail here.
 */
#include "common/http/http_conn.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/metrics.h"

#define REQ_ARENA_EXTRA (8u << 20) /* for what handlers build, beside the body */

struct http_req *http_req_new(struct http_conn *c)
{
	struct http_server *s = c->server;
	struct http_req *r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	arena_init(&r->arena, REQ_ARENA_EXTRA + s->limits.body_bytes);
	buf_init(&r->body_buf, s->limits.body_bytes);
	buf_init(&r->head_out, HTTP_HEAD_MAX);
	r->method = HTTP_OTHER;
	r->content_length = -1;
	r->server = s;
	r->conn = c;
	r->route = "other";
	r->body_max = s->limits.body_bytes;
	r->started_ns = clock_mono_ns();
	memcpy(r->peer, c->peer, sizeof(c->peer));
	s->requests++;
	assert(!c->req);
	c->req = r;
	return r;
}

static const char *method_label(enum http_method m)
{
	switch (m) {
	case HTTP_GET:
		return "GET";
	case HTTP_HEAD_:
		return "HEAD";
	case HTTP_POST:
		return "POST";
	case HTTP_PUT:
		return "PUT";
	case HTTP_PATCH:
		return "PATCH";
	case HTTP_DELETE:
		return "DELETE";
	case HTTP_OPTIONS:
		return "OPTIONS";
	case HTTP_OTHER:
		return "OTHER";
	}
	return "OTHER";
}

static void count(struct http_req *r)
{
	struct buf *b = &r->server->label;
	buf_clear(b);
	buf_add_z(b, r->route);
	buf_add_char(b, '\x1f');
	buf_add_z(b, method_label(r->method));
	buf_add_char(b, '\x1f');
	buf_add_u64(b, (uint64_t)r->status);
	buf_add_char(b, '\0');
	metric_add(METRIC_HTTP_REQUESTS, b->p, 1);
	metric_observe_ns(METRIC_HTTP_SECONDS, r->route, clock_mono_ns() - r->started_ns);
}

void http_req_end(struct http_req *r)
{
	struct http_server *s = r->server;
	struct http_conn *c = r->conn;
	assert(!r->ended);
	r->ended = true;
	if (r->status)
		count(r);
	bool last = r->close_after || !r->body_done;
	bool cut = r->aborted;
	bool reset = r->http10 || r->reset;
	if (c) {
		assert(c->req == r);
		c->req = NULL;
		r->conn = NULL;
	}
	arena_done(&r->arena);
	buf_done(&r->body_buf);
	buf_done(&r->head_out);
	free(r);
	assert(s->requests > 0);
	s->requests--;
	if (c && cut && reset)
		http_conn_close(c, true);
	else if (c)
		http_conn_answered(c, last);
	http_server_check(s);
}

void http_req_gone(struct http_req *r)
{
	if (r->gone || r->ended || !r->announced)
		return;
	r->gone = true;
	if (r->server->handler.on_gone)
		r->server->handler.on_gone(r);
	else if (!r->body_done && !r->conn)
		http_req_end(r);
}

struct str http_req_header(const struct http_req *r, const char *name)
{
	return http_find(r->headers, r->nheaders, name);
}

static int hex_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return -1;
}

static struct str form_decode(struct arena *a, struct str s)
{
	if (str_find_char(s, '%') < 0 && str_find_char(s, '+') < 0)
		return s;
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n) {
			out[n++] = (char)(hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]));
			i += 2;
		} else {
			out[n++] = s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	return (struct str){ out, n };
}

bool http_req_query_next(struct http_req *r, size_t *at, struct str *ret_name, struct str *ret_value)
{
	while (*at < r->query.n) {
		struct str rest = str_sub(r->query, *at, r->query.n), pair;
		str_split(&rest, '&', &pair);
		*at += pair.n + 1;
		if (!pair.n)
			continue;
		ssize_t eq = str_find_char(pair, '=');
		struct str name = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
		struct str value = eq < 0 ? str_sub(pair, pair.n, 0) : str_sub(pair, (size_t)eq + 1, pair.n);
		*ret_name = form_decode(&r->arena, name);
		*ret_value = form_decode(&r->arena, value);
		return true;
	}
	return false;
}

bool http_req_query(struct http_req *r, const char *name, struct str *ret)
{
	size_t at = 0;
	struct str k, v;
	while (http_req_query_next(r, &at, &k, &v)) {
		if (str_eq_z(k, name)) {
			*ret = v;
			return true;
		}
	}
	return false;
}
