/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See httpscript.h. Held requests are answered together when as many are there as the test wants; a connection stands in the list of all
 * until one side closes it, so that a test sees the client let go of it.
 */
#include "tests/lib/httpscript.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_OK "HTTP/1.1 200 OK\r\nX-Test: yes\r\n"

struct conn {
	uv_tcp_t tcp;
	uv_write_t write;
	uv_buf_t piece;
	char in[8192];
	size_t n;
	struct link link; /* in held, all */
	struct link all;
	bool closing, writing;
	const char *endless;
};

struct httpscript hs;

/* --- the server --- */

static void on_conn_closed(uv_handle_t *h)
{
	free(container_of((uv_tcp_t *)h, struct conn, tcp));
}

static void conn_close(struct conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	list_remove(&hs.held, &c->link);
	list_remove(&hs.conns, &c->all);
	uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static void conn_reset(struct conn *c)
{
	c->closing = true;
	list_remove(&hs.conns, &c->all);
	assert_int_equal(uv_tcp_close_reset(&c->tcp, on_conn_closed), 0);
}

static void conn_send(struct conn *c, const char *text, size_t n)
{
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)text, (unsigned)n);

	/* Small answers always fit the socket's buffer. */
	if (uv_try_write((uv_stream_t *)&c->tcp, &b, 1) != (int)n)
		conn_close(c);
}

static void conn_send_z(struct conn *c, const char *text)
{
	conn_send(c, text, strlen(text));
}

static void on_endless(uv_write_t *w, int status)
{
	struct conn *c = container_of(w, struct conn, write);

	c->writing = false;
	if (status < 0) {
		conn_close(c);
		return;
	}
	if (c->closing)
		return;
	c->writing = true;
	c->piece = uv_buf_init((char *)(uintptr_t)c->endless, (unsigned)strlen(c->endless));
	uv_write(&c->write, (uv_stream_t *)&c->tcp, &c->piece, 1, on_endless);
}

static void conn_flood(struct conn *c, const char *first, const char *text)
{
	conn_send_z(c, first);
	c->endless = text;
	on_endless(&c->write, 0);
}

static void conn_answer(struct conn *c, const char *status, struct str body)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_printf(&b, "HTTP/1.1 %s\r\nX-Test: yes\r\nX-Empty:\r\nContent-Length: %zu\r\n\r\n", status, body.n);
	buf_add_str(&b, body);
	conn_send(c, b.p, b.n);
	buf_done(&b);
}

static void release_held(void)
{
	struct link *k;

	while ((k = list_pop(&hs.held)))
		conn_answer(container_of(k, struct conn, link), "200 OK", STR("held"));
}

static const struct script {
	const char *path, *text;
	enum { STAY, CLOSE } after;
} scripts[] = {
	{ "/hang", "", STAY },
	{ "/close", "", CLOSE },
	{ "/cut-head", "HTTP/1.1 200 OK\r\nContent-", CLOSE },
	{ "/cut-length", HEAD_OK "Content-Length: 100\r\n\r\n0123456789", CLOSE },
	{ "/cut-chunk", HEAD_OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE },
	{ "/until-close", HEAD_OK "\r\nhello", CLOSE },
	{ "/chunked", HEAD_OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n", STAY },
	{ "/bad-chunk", HEAD_OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzzz\r\n", STAY },
	{ "/stall", HEAD_OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", STAY },
	{ "/garbage", "\x01\x02garbage garbage garbage\r\n\r\n", CLOSE },
	{ "/gzip", HEAD_OK "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x01", STAY },
	{ "/redirect", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", STAY },
	{ "/early", "HTTP/1.1 103 Early Hints\r\nX-Test: no\r\n\r\n" HEAD_OK "Content-Length: 2\r\n\r\nok", STAY },
	{ "/error", "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait", STAY },
	{ "/ok-close", HEAD_OK "Connection: close\r\nContent-Length: 2\r\n\r\nok", CLOSE },
	{ "/big", HEAD_OK "Content-Length: 1000000000\r\n\r\n", STAY },
	{ "/line", "HTTP/1.1 200 OK\r\nX: ", STAY },
};

static void run_script(struct conn *c, struct str path, struct str request)
{
	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		if (!str_eq_z(path, scripts[i].path))
			continue;
		if (scripts[i].text[0])
			conn_send_z(c, scripts[i].text);
		if (scripts[i].after == CLOSE)
			conn_close(c);
		return;
	}
	if (str_eq_z(path, "/reset")) {
		conn_reset(c);
	} else if (str_eq_z(path, "/hold")) {
		list_push(&hs.held, &c->link);
		hs.held_peak = MAX(hs.held_peak, hs.held.n);
		if (hs.held.n >= hs.hold_until)
			release_held();
	} else if (str_eq_z(path, "/endless-head")) {
		conn_flood(c, "HTTP/1.1 200 OK\r\n", "X-More: 0123456789012345678901234567890123456789\r\n");
	} else if (str_eq_z(path, "/endless-line")) {
		conn_flood(c, "HTTP/1.1 200 OK\r\nX-More: ", "0123456789012345678901234567890123456789");
	} else if (str_eq_z(path, "/endless-body")) {
		conn_flood(c, HEAD_OK "\r\n", "0123456789012345678901234567890123456789");
	} else if (str_eq_z(path, "/endless-1xx")) {
		conn_flood(c, "", "HTTP/1.1 100 Continue\r\n\r\n");
	} else if (str_eq_z(path, "/echo")) {
		conn_answer(c, "200 OK", request);
	} else {
		conn_answer(c, "200 OK", STR("ok"));
	}
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
	struct conn *c = container_of((uv_tcp_t *)h, struct conn, tcp);

	(void)size;
	*ret = uv_buf_init(c->in + c->n, (unsigned)(sizeof(c->in) - c->n - 1));
}

/* Length of the whole request, or 0 when more must come. */
static size_t request_length(struct conn *c)
{
	struct str in = { c->in, c->n };
	ssize_t end = str_find(in, STR("\r\n\r\n")), at = str_find_nocase(in, STR("content-length: "));
	uint64_t body = 0;

	if (end < 0)
		return 0;
	if (at >= 0 && at < end) {
		struct str rest = str_sub(in, (size_t)at + 16, in.n), digits;
		str_split(&rest, '\r', &digits);
		assert_int_equal(str_u64(digits, 0, sizeof(c->in), &body), 0);
	}
	return c->n >= (size_t)end + 4 + body ? (size_t)end + 4 + (size_t)body : 0;
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *b)
{
	struct conn *c = container_of((uv_tcp_t *)stream, struct conn, tcp);
	struct str rest, path;
	size_t n;

	(void)b;
	if (got < 0) {
		conn_close(c);
		return;
	}
	c->n += (size_t)got;
	n = request_length(c);
	if (n == 0)
		return;
	hs.requests++;
	memcpy(hs.last_request, c->in, n);
	hs.last_request[n] = 0;
	rest = (struct str){ hs.last_request, n };
	str_split(&rest, ' ', &path);
	str_split(&rest, ' ', &path);
	assert_int_equal(c->n, n);
	c->n = 0;
	run_script(c, path, (struct str){ hs.last_request, n });
}

static void on_connection(uv_stream_t *s, int status)
{
	struct conn *c = calloc(1, sizeof(*c));

	assert_int_equal(status, 0);
	uv_tcp_init(&hs.loop.uv, &c->tcp);
	assert_int_equal(uv_accept(s, (uv_stream_t *)&c->tcp), 0);
	hs.accepted++;
	list_push(&hs.conns, &c->all);
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* --- the calls --- */

void hs_on_call_done(struct op *op, int rc)
{
	struct http_call *c = container_of(op, struct http_call, op);

	assert_int_equal(c->rc, rc);
	assert_null(c->user); /* completed once */
	c->user = c;
	hs.done_calls++;
	loop_stop(&hs.loop);
}

static void on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the test did not end: %zu calls done", hs.done_calls);
}

void hs_wait_for(const size_t *n, size_t want)
{
	while (*n < want)
		loop_run(&hs.loop);
}

static char url_text[128];

const char *hs_url_of(const char *host, const char *path)
{
	struct buf b;

	buf_init(&b, sizeof(url_text) - 1);
	buf_printf(&b, "http://%s:%d%s", host, hs.port, path);
	memcpy(url_text, b.p, b.n);
	url_text[b.n] = 0;
	buf_done(&b);
	return url_text;
}

void hs_call_prepare(struct http_call *c, const char *path)
{
	http_call_init(c);
	c->method = "POST";
	c->url = hs_url_of("127.0.0.1", path);
	c->body = STR("{\"a\":1}");
	c->op.on_done = hs_on_call_done;
}

int hs_call_run(struct http_call *c)
{
	size_t before = hs.done_calls;

	assert_int_equal(http_call_start(hs.client, c, NULL), 0);
	hs_wait_for(&hs.done_calls, before + 1);
	return c->rc;
}

int hs_call_path(struct http_call *c, const char *path)
{
	hs_call_prepare(c, path);
	return hs_call_run(c);
}

void hs_assert_answer(const struct http_call *c, const char *want)
{
	assert_true(str_eq_z(buf_str(&c->answer), want));
}

void hs_make_client(const struct http_client_cfg *cfg)
{
	hs.client = http_client_new(&hs.loop, cfg);
}

int hs_set_up(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 10000, .per_host = 10000, .idle_ms = 5000, .user_agent = "test" };
	struct sockaddr_in in;
	int len = sizeof(in);

	(void)state;
	loop_init(&hs.loop);
	list_init(&hs.held);
	list_init(&hs.conns);
	hs.hold_until = SIZE_MAX;
	hs.held_peak = hs.accepted = hs.requests = hs.done_calls = 0;
	uv_tcp_init(&hs.loop.uv, &hs.server);
	uv_ip4_addr("127.0.0.1", 0, &in);
	assert_int_equal(uv_tcp_bind(&hs.server, (struct sockaddr *)&in, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&hs.server, 4096, on_connection), 0);
	uv_tcp_getsockname(&hs.server, (struct sockaddr *)&in, &len);
	hs.port = ntohs(in.sin_port);
	timer_init(&hs.watchdog, &hs.loop, on_watchdog);
	timer_start(&hs.watchdog, 60000);
	hs_make_client(&cfg);
	return 0;
}

static void on_client_gone(void *arg)
{
	*(bool *)arg = true;
	loop_stop(&hs.loop);
}

void hs_drop_client(void)
{
	bool gone = false;

	http_client_free(hs.client, on_client_gone, &gone);
	while (!gone)
		loop_run(&hs.loop);
}

int hs_tear_down(void **state)
{
	(void)state;
	hs_drop_client();
	while (hs.conns.n)
		conn_close(container_of(list_first(&hs.conns), struct conn, all));
	uv_close((uv_handle_t *)&hs.server, NULL);
	timer_stop(&hs.watchdog);
	loop_run(&hs.loop);
	loop_done(&hs.loop);
	return 0;
}

void hs_close_first_connection(void)
{
	conn_close(container_of(list_first(&hs.conns), struct conn, all));
}
