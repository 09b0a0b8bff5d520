/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP client against a scripted server on the same loop: the path of a request names what the server does with it. The
 * server counts connections and answers in flight, so that reuse and limits are seen from the other side.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/http_client.h"
#include "common/netguard.h"

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

static struct loop loop;
static uv_tcp_t server;
static int port;
static struct list held, conns;
static size_t hold_until, held_peak, accepted, requests;
static char last_request[8192];
static struct http_client *client;
static size_t done_calls;
static struct timer watchdog;

/* The server. */

static void on_conn_closed(uv_handle_t *h)
{
	free(container_of((uv_tcp_t *)h, struct conn, tcp));
}

static void conn_close(struct conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	list_remove(&held, &c->link);
	list_remove(&conns, &c->all);
	uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static void conn_reset(struct conn *c)
{
	c->closing = true;
	list_remove(&conns, &c->all);
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

	while ((k = list_pop(&held)))
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
		list_push(&held, &c->link);
		held_peak = MAX(held_peak, held.n);
		if (held.n >= hold_until)
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
	requests++;
	memcpy(last_request, c->in, n);
	last_request[n] = 0;
	rest = (struct str){ last_request, n };
	str_split(&rest, ' ', &path);
	str_split(&rest, ' ', &path);
	assert_int_equal(c->n, n);
	c->n = 0;
	run_script(c, path, (struct str){ last_request, n });
}

static void on_connection(uv_stream_t *s, int status)
{
	struct conn *c = calloc(1, sizeof(*c));

	assert_int_equal(status, 0);
	uv_tcp_init(&loop.uv, &c->tcp);
	assert_int_equal(uv_accept(s, (uv_stream_t *)&c->tcp), 0);
	accepted++;
	list_push(&conns, &c->all);
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* The calls. */

static void on_call_done(struct op *op, int rc)
{
	struct http_call *c = container_of(op, struct http_call, op);

	assert_int_equal(c->rc, rc);
	assert_null(c->user); /* completed once */
	c->user = c;
	done_calls++;
	loop_stop(&loop);
}

static void on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the test did not end: %zu calls done", done_calls);
}

static void wait_for(const size_t *n, size_t want)
{
	while (*n < want)
		loop_run(&loop);
}

static char url_text[128];

static const char *url_of(const char *host, const char *path)
{
	struct buf b;

	buf_init(&b, sizeof(url_text) - 1);
	buf_printf(&b, "http://%s:%d%s", host, port, path);
	memcpy(url_text, b.p, b.n);
	url_text[b.n] = 0;
	buf_done(&b);
	return url_text;
}

static void call_prepare(struct http_call *c, const char *path)
{
	http_call_init(c);
	c->method = "POST";
	c->url = url_of("127.0.0.1", path);
	c->body = STR("{\"a\":1}");
	c->op.on_done = on_call_done;
}

static int call_run(struct http_call *c)
{
	size_t before = done_calls;

	assert_int_equal(http_call_start(client, c, NULL), 0);
	wait_for(&done_calls, before + 1);
	return c->rc;
}

static int call_path(struct http_call *c, const char *path)
{
	call_prepare(c, path);
	return call_run(c);
}

static void assert_answer(const struct http_call *c, const char *want)
{
	assert_true(str_eq_z(buf_str(&c->answer), want));
}

static void make_client(const struct http_client_cfg *cfg)
{
	client = http_client_new(&loop, cfg);
}

static int set_up(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 10000, .per_host = 10000, .idle_ms = 5000, .user_agent = "test" };
	struct sockaddr_in in;
	int len = sizeof(in);

	(void)state;
	loop_init(&loop);
	list_init(&held);
	list_init(&conns);
	hold_until = SIZE_MAX;
	held_peak = accepted = requests = done_calls = 0;
	uv_tcp_init(&loop.uv, &server);
	uv_ip4_addr("127.0.0.1", 0, &in);
	assert_int_equal(uv_tcp_bind(&server, (struct sockaddr *)&in, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&server, 4096, on_connection), 0);
	uv_tcp_getsockname(&server, (struct sockaddr *)&in, &len);
	port = ntohs(in.sin_port);
	timer_init(&watchdog, &loop, on_watchdog);
	timer_start(&watchdog, 60000);
	make_client(&cfg);
	return 0;
}

static void on_client_gone(void *arg)
{
	*(bool *)arg = true;
	loop_stop(&loop);
}

static void drop_client(void)
{
	bool gone = false;

	http_client_free(client, on_client_gone, &gone);
	while (!gone)
		loop_run(&loop);
}

static int tear_down(void **state)
{
	(void)state;
	drop_client();
	while (conns.n)
		conn_close(container_of(list_first(&conns), struct conn, all));
	uv_close((uv_handle_t *)&server, NULL);
	timer_stop(&watchdog);
	loop_run(&loop);
	loop_done(&loop);
	return 0;
}

/* Answers. */

static void test_http_client_gives_status_headers_and_body(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(call_path(&c, "/ok"), 0);
	assert_int_equal(c.status, 200);
	assert_answer(&c, "ok");
	assert_true(str_eq_z(http_call_header(&c, "x-test"), "yes"));
	assert_non_null(http_call_header(&c, "X-Empty").p);
	assert_null(http_call_header(&c, "absent").p);
	assert_true(c.sent && c.first_byte_ns >= c.start_ns && c.end_ns >= c.first_byte_ns);
	http_call_done(&c);
}

static void test_http_client_any_status_is_success(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(call_path(&c, "/error"), 0);
	assert_int_equal(c.status, 429);
	assert_answer(&c, "wait");
	assert_true(str_eq_z(http_call_header(&c, "Retry-After"), "7"));
	http_call_done(&c);
}

static void test_http_client_sends_what_it_was_given(void **state)
{
	static const struct http_header headers[] = {
		{ { "Authorization", 13 }, { "Bearer x", 8 } },
		{ { "X-Nothing", 9 }, { "", 0 } },
		{ { "content-type", 12 }, { "application/json", 16 } },
	};
	static const char *const methods[] = { "POST", "PUT", "PATCH", "DELETE" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		call_prepare(&c, "/echo");
		c.method = methods[i];
		c.headers = headers;
		c.nheaders = ARRAY_LEN(headers);
		assert_int_equal(call_run(&c), 0);
		struct str got = buf_str(&c.answer);
		assert_true(str_has_prefix(got, str_from(methods[i])));
		assert_true(str_find(got, STR(" /echo HTTP/1.1\r\n")) > 0);
		assert_true(str_find(got, STR("\r\nAuthorization: Bearer x\r\n")) > 0);
		assert_true(str_find(got, STR("\r\nX-Nothing:\r\n")) > 0);
		assert_true(str_find(got, STR("\r\ncontent-type: application/json\r\n")) > 0);
		assert_true(str_find(got, STR("\r\nUser-Agent: test\r\n")) > 0);
		assert_true(str_find(got, STR("\r\nContent-Length: 7\r\n")) > 0);
		assert_true(str_has_suffix(got, STR("\r\n\r\n{\"a\":1}")));
		assert_true(str_find_nocase(got, STR("expect:")) < 0);
		assert_true(str_find_nocase(got, STR("accept-encoding:")) < 0);
		assert_true(str_find_nocase(got, STR("urlencoded")) < 0);
		http_call_done(&c);
	}
}

static void test_http_client_calls_without_a_body(void **state)
{
	static const char *const methods[] = { "GET", "POST", "DELETE", "PUT", "HEAD", "GET", "OPTIONS" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct str method = str_from(methods[i]);
		call_prepare(&c, str_eq_z(method, "HEAD") ? "/big" : "/echo");
		c.method = methods[i];
		c.body = (struct str){ NULL, 0 };
		assert_int_equal(call_run(&c), 0);
		assert_true(str_has_prefix(str_from(last_request), method));
		assert_true(str_has_suffix(str_from(last_request), STR("\r\n\r\n")));
		http_call_done(&c);
	}
}

static void test_http_client_reads_all_framings(void **state)
{
	static const struct {
		const char *path, *body;
	} cases[] = {
		{ "/chunked", "hello world" }, { "/until-close", "hello" }, { "/early", "ok" }, { "/ok-close", "ok" },
		{ "/gzip", "\x1f\x8b\x08\x01" },
	};
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(call_path(&c, cases[i].path), 0);
		assert_int_equal(c.status, 200);
		assert_answer(&c, cases[i].body);
		assert_true(str_eq_z(http_call_header(&c, "x-test"), "yes"));
		assert_null(http_call_header(&c, "x-trailer").p);
		http_call_done(&c);
	}
}

static void test_http_client_does_not_follow_redirects(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(call_path(&c, "/redirect"), 0);
	assert_int_equal(c.status, 302);
	assert_int_equal(requests, 1);
	http_call_done(&c);
}

static void test_http_client_reuses_a_connection(void **state)
{
	struct http_call c;

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(call_path(&c, "/ok"), 0);
		http_call_done(&c);
	}
	assert_int_equal(requests, 20);
	assert_int_equal(accepted, 1);
}

static void test_http_client_replaces_a_kept_connection_that_died(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(call_path(&c, "/ok"), 0);
	http_call_done(&c);
	conn_close(container_of(list_first(&conns), struct conn, all));
	assert_int_equal(call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(accepted, 2);
}

static void test_http_client_sends_a_large_body(void **state)
{
	static char body[6000];
	struct http_call c;

	(void)state;
	memset(body, 'x', sizeof(body));
	call_prepare(&c, "/echo");
	c.body = (struct str){ body, sizeof(body) };
	assert_int_equal(call_run(&c), 0);
	assert_true(str_has_suffix(buf_str(&c.answer), c.body));
	http_call_done(&c);
}

/* Streaming. */

static size_t pieces_n;
static char pieces[64];
static int data_rc;

static int on_data(struct http_call *c, struct str piece)
{
	assert_int_equal(c->status, 200);
	assert_true(pieces_n + piece.n < sizeof(pieces));
	memcpy(pieces + pieces_n, piece.p, piece.n);
	pieces_n += piece.n;
	return data_rc;
}

static int on_data_cancel(struct http_call *c, struct str piece)
{
	(void)piece;
	pieces_n++;
	op_cancel(&c->op);
	return 0;
}

static void test_http_client_streams_to_on_data(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	data_rc = 0;
	call_prepare(&c, "/chunked");
	c.on_data = on_data;
	assert_int_equal(call_run(&c), 0);
	assert_int_equal(pieces_n, 11);
	assert_memory_equal(pieces, "hello world", 11);
	assert_int_equal(c.answer.n, 0);
	http_call_done(&c);
}

static void test_http_client_delivers_pieces_before_a_cut(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	data_rc = 0;
	call_prepare(&c, "/cut-chunk");
	c.on_data = on_data;
	assert_int_equal(call_run(&c), -ERR_STREAM_CUT);
	assert_int_equal(pieces_n, 5);
	http_call_done(&c);
}

static void test_http_client_collects_errors_also_when_streaming(void **state)
{
	struct http_call c;

	(void)state;
	call_prepare(&c, "/error");
	c.on_data = on_data;
	assert_int_equal(call_run(&c), 0);
	assert_answer(&c, "wait");
	http_call_done(&c);
}

static void test_http_client_on_data_can_end_the_call(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	data_rc = -ERR_BAD_OUTPUT;
	call_prepare(&c, "/stall");
	c.on_data = on_data;
	assert_int_equal(call_run(&c), -ERR_BAD_OUTPUT);
	assert_int_equal(pieces_n, 5);
	http_call_done(&c);
}

static void test_http_client_on_data_can_cancel(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	call_prepare(&c, "/stall");
	c.on_data = on_data_cancel;
	assert_int_equal(call_run(&c), -ERR_CANCELED);
	assert_int_equal(pieces_n, 1);
	http_call_done(&c);
}

/* Cancel. */

static void test_http_client_cancel_before_the_connection(void **state)
{
	struct http_call c;

	(void)state;
	call_prepare(&c, "/ok");
	assert_int_equal(http_call_start(client, &c, NULL), 0);
	op_cancel(&c.op);
	op_cancel(&c.op);
	assert_int_equal(done_calls, 0);
	wait_for(&done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	assert_false(c.sent);
	http_call_done(&c);
}

static void test_http_client_cancel_while_the_server_thinks(void **state)
{
	struct http_call c;

	(void)state;
	call_prepare(&c, "/hang");
	assert_int_equal(http_call_start(client, &c, NULL), 0);
	while (requests == 0)
		uv_run(&loop.uv, UV_RUN_ONCE);
	op_cancel(&c.op);
	wait_for(&done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	assert_true(c.sent);
	assert_int_equal(c.status, 0);
	http_call_done(&c);
}

static void test_http_client_cancel_in_the_body(void **state)
{
	struct http_call c;

	(void)state;
	call_prepare(&c, "/stall");
	assert_int_equal(http_call_start(client, &c, NULL), 0);
	while (c.answer.n == 0)
		uv_run(&loop.uv, UV_RUN_ONCE);
	op_cancel(&c.op);
	wait_for(&done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	assert_answer(&c, "hello");
	http_call_done(&c);
}

static void test_http_client_cancel_while_resolving_and_waiting(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 10, .per_host = 1 };
	struct http_call a, b;
	char url[128];

	(void)state;
	drop_client();
	make_client(&cfg);
	call_prepare(&a, "/ok");
	memcpy(url, url_of("localhost", "/ok"), sizeof(url));
	a.url = url;
	call_prepare(&b, "/ok");
	b.url = url;
	assert_int_equal(http_call_start(client, &a, NULL), 0);
	assert_int_equal(http_call_start(client, &b, NULL), 0);
	op_cancel(&b.op);
	op_cancel(&a.op);
	wait_for(&done_calls, 2);
	assert_int_equal(a.rc, -ERR_CANCELED);
	assert_int_equal(b.rc, -ERR_CANCELED);
	assert_int_equal(requests, 0);
	http_call_done(&a);
	http_call_done(&b);
}

/* Failures. */

static void test_http_client_failure_says_how_far_it_came(void **state)
{
	static const struct {
		const char *path;
		int rc, status;
	} cases[] = {
		{ "/close", -ERR_OUTCOME_UNKNOWN, 0 },     { "/reset", -ERR_OUTCOME_UNKNOWN, 0 },
		{ "/cut-head", -ERR_OUTCOME_UNKNOWN, 0 },  { "/garbage", -ERR_OUTCOME_UNKNOWN, 0 },
		{ "/cut-length", -ERR_STREAM_CUT, 200 },   { "/cut-chunk", -ERR_STREAM_CUT, 200 },
		{ "/bad-chunk", -ERR_STREAM_CUT, 200 },
	};
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(call_path(&c, cases[i].path), cases[i].rc);
		assert_int_equal(c.status, cases[i].status);
		assert_int_equal(c.timeout, HTTP_NO_TIMEOUT);
		assert_true(c.sent);
		assert_int_equal(c.err.code, -cases[i].rc);
		assert_true(str_has_prefix(str_from(c.err.text), STR("127.0.0.1:")));
		http_call_done(&c);
	}
}

static void test_http_client_connection_refused_is_network(void **state)
{
	struct sockaddr_in in;
	int len = sizeof(in), real = port;
	struct http_call c;
	static uv_tcp_t unheard;

	(void)state;
	uv_tcp_init(&loop.uv, &unheard);
	uv_ip4_addr("127.0.0.1", 0, &in);
	uv_tcp_bind(&unheard, (struct sockaddr *)&in, 0);
	uv_tcp_getsockname(&unheard, (struct sockaddr *)&in, &len);
	port = ntohs(in.sin_port);
	assert_int_equal(call_path(&c, "/ok"), -ERR_NETWORK);
	assert_false(c.sent);
	http_call_done(&c);
	port = real;
	uv_close((uv_handle_t *)&unheard, NULL);
}

static void test_http_client_tls_to_a_plain_port_is_network(void **state)
{
	struct http_call c;
	char url[128] = "https";

	(void)state;
	call_prepare(&c, "/ok");
	memcpy(url + 5, c.url + 4, sizeof(url) - 5);
	c.url = url;
	c.connect_ms = 300; /* the server waits for the rest of a request */
	int rc = call_run(&c);
	assert_true(rc == -ERR_NETWORK || rc == -ERR_TIMEOUT);
	assert_false(c.sent);
	http_call_done(&c);
}

static void test_http_client_timeouts(void **state)
{
	static const struct {
		const char *path;
		uint32_t idle_ms, total_ms;
		int rc;
		enum http_timeout which;
	} cases[] = {
		{ "/hang", 10, 50, -ERR_OUTCOME_UNKNOWN, HTTP_TIMEOUT_TOTAL },
		{ "/stall", 30, 0, -ERR_STREAM_CUT, HTTP_TIMEOUT_IDLE },
		{ "/stall", 0, 50, -ERR_STREAM_CUT, HTTP_TIMEOUT_TOTAL },
		{ "/line", 30, 0, -ERR_OUTCOME_UNKNOWN, HTTP_TIMEOUT_IDLE },
	};
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_prepare(&c, cases[i].path);
		c.idle_ms = cases[i].idle_ms;
		c.total_ms = cases[i].total_ms;
		assert_int_equal(call_run(&c), cases[i].rc);
		assert_int_equal(c.timeout, cases[i].which);
		http_call_done(&c);
	}
}

/* A listener whose queue is full answers no SYN: the connect hangs. */
static void test_http_client_connect_timeout(void **state)
{
	struct sockaddr_in in;
	int len = sizeof(in), real = port;
	struct http_call calls[4];
	size_t late = 0;
	static uv_tcp_t full;

	(void)state;
	uv_tcp_init(&loop.uv, &full);
	uv_ip4_addr("127.0.0.1", 0, &in);
	assert_int_equal(uv_tcp_bind(&full, (struct sockaddr *)&in, 0), 0);
	uv_tcp_getsockname(&full, (struct sockaddr *)&in, &len);
	uv_os_fd_t fd;
	uv_fileno((uv_handle_t *)&full, &fd);
	assert_int_equal(listen(fd, 0), 0);
	port = ntohs(in.sin_port);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		call_prepare(&calls[i], "/ok");
		calls[i].connect_ms = 100;
		calls[i].total_ms = 400;
		assert_int_equal(http_call_start(client, &calls[i], NULL), 0);
	}
	wait_for(&done_calls, ARRAY_LEN(calls));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i].timeout == HTTP_TIMEOUT_CONNECT) {
			assert_int_equal(calls[i].rc, -ERR_TIMEOUT);
			assert_false(calls[i].sent);
			late++;
		}
		http_call_done(&calls[i]);
	}
	assert_true(late > 0);
	port = real;
	uv_close((uv_handle_t *)&full, NULL);
}

static void test_http_client_limits(void **state)
{
	static const char *const paths[] = { "/endless-head", "/endless-line", "/endless-1xx", "/endless-body" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		call_prepare(&c, paths[i]);
		c.head_max = 200000; /* above curl's own limit of a line */
		c.body_max = 100000;
		assert_int_equal(call_run(&c), -ERR_TOO_LARGE);
		assert_true(c.answer.n <= c.body_max && c.head.n <= c.head_max);
		http_call_done(&c);
	}
	call_prepare(&c, "/ok");
	c.body_max = 2;
	assert_int_equal(call_run(&c), 0);
	http_call_done(&c);
	call_prepare(&c, "/ok");
	c.body_max = 1;
	assert_int_equal(call_run(&c), -ERR_TOO_LARGE);
	http_call_done(&c);
}

static void test_http_client_refuses_bad_requests_at_the_start(void **state)
{
	static const struct http_header bad[] = {
		{ { "X-A\r\nX-B", 8 }, { "x", 1 } },      { { "X-A", 3 }, { "x\r\nX-B: y", 9 } },
		{ { "", 0 }, { "x", 1 } },                { { "X A", 3 }, { "x", 1 } },
		{ { "Content-Length", 14 }, { "1", 1 } }, { { "Transfer-Encoding", 17 }, { "chunked", 7 } },
	};
	static const char *const urls[] = { "", "ftp://x/", "http://", "http://user@127.0.0.1/", "http://127.0.0.1:0/" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		call_prepare(&c, "/ok");
		c.headers = &bad[i];
		c.nheaders = 1;
		assert_int_equal(http_call_start(client, &c, NULL), -ERR_INVALID);
		assert_int_equal(c.err.code, ERR_INVALID);
		http_call_done(&c);
	}
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		call_prepare(&c, "/ok");
		c.url = urls[i];
		assert_int_equal(http_call_start(client, &c, NULL), -ERR_INVALID);
		http_call_done(&c);
	}
	call_prepare(&c, "/ok");
	c.method = "GET /x HTTP/1.1\r\nX: y";
	assert_int_equal(http_call_start(client, &c, NULL), -ERR_INVALID);
	http_call_done(&c);
	assert_int_equal(done_calls, 0);
}

/* Names and the guard. */

static void test_http_client_resolves_names(void **state)
{
	struct http_call c;

	(void)state;
	for (int i = 0; i < 3; i++) {
		call_prepare(&c, "/echo");
		c.url = url_of("LOCALHOST", "/echo");
		assert_int_equal(call_run(&c), 0);
		http_call_done(&c);
	}
	assert_int_equal(accepted, 1);
}

static void test_http_client_name_that_does_not_exist_is_network(void **state)
{
	struct http_call c;

	(void)state;
	call_prepare(&c, "/ok");
	c.url = url_of("does-not-exist.invalid", "/ok");
	c.connect_ms = 30000;
	assert_int_equal(call_run(&c), -ERR_NETWORK);
	assert_true(str_has_prefix(str_from(c.err.text), STR("does-not-exist.invalid:")));
	http_call_done(&c);
}

static void test_http_client_guard_refuses_and_allows(void **state)
{
	struct http_client_cfg cfg = { .connections = 10, .per_host = 10 };
	struct netguard guard;
	struct http_call c;

	(void)state;
	netguard_init(&guard);
	cfg.guard = &guard;
	drop_client();
	make_client(&cfg);
	call_prepare(&c, "/ok");
	assert_int_equal(http_call_start(client, &c, NULL), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	call_prepare(&c, "/ok");
	c.url = url_of("localhost", "/ok");
	assert_int_equal(call_run(&c), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	assert_int_equal(accepted, 0);

	drop_client();
	assert_int_equal(netguard_allow(&guard, STR("127.0.0.0/8"), NULL), 0);
	make_client(&cfg);
	assert_int_equal(call_path(&c, "/ok"), 0);
	http_call_done(&c);
	call_prepare(&c, "/ok");
	c.url = url_of("localhost", "/ok");
	assert_int_equal(call_run(&c), 0);
	http_call_done(&c);
}

/* The last line of defence: the address was good when it was resolved, and is not when the socket is opened. */
static void test_http_client_guard_judges_the_address_really_used(void **state)
{
	struct http_client_cfg cfg = { .connections = 10, .per_host = 10 };
	struct netguard guard;
	struct http_call c;

	(void)state;
	netguard_init(&guard);
	assert_int_equal(netguard_allow(&guard, STR("127.0.0.0/8"), NULL), 0);
	cfg.guard = &guard;
	drop_client();
	make_client(&cfg);
	call_prepare(&c, "/ok-close");
	c.url = url_of("localhost", "/ok-close");
	assert_int_equal(call_run(&c), 0);
	http_call_done(&c);
	guard.nallow = 0;
	call_prepare(&c, "/ok");
	c.url = url_of("localhost", "/ok");
	assert_int_equal(call_run(&c), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	assert_int_equal(accepted, 1);
}

/* Many. */

static void run_many(struct http_call *calls, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		call_prepare(&calls[i], path);
		assert_int_equal(http_call_start(client, &calls[i], NULL), 0);
	}
	wait_for(&done_calls, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(calls[i].rc, 0);
		assert_answer(&calls[i], "held");
		http_call_done(&calls[i]);
	}
}

static void test_http_client_per_host_limit_queues(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 100, .per_host = 2 };
	struct http_call calls[10];

	(void)state;
	drop_client();
	make_client(&cfg);
	hold_until = 2;
	run_many(calls, ARRAY_LEN(calls), "/hold");
	assert_int_equal(held_peak, 2);
	assert_int_equal(accepted, 2);
}

static void test_http_client_total_limit_queues(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 100 };
	static struct http_call calls[20];

	(void)state;
	drop_client();
	make_client(&cfg);
	hold_until = 5;
	run_many(calls, ARRAY_LEN(calls), "/hold");
	assert_int_equal(held_peak, 5);
}

static void test_http_client_total_timeout_covers_the_queue(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 1 };
	struct http_call a, b;

	(void)state;
	drop_client();
	make_client(&cfg);
	call_prepare(&a, "/hang");
	assert_int_equal(http_call_start(client, &a, NULL), 0);
	call_prepare(&b, "/hang");
	b.total_ms = 20;
	assert_int_equal(call_run(&b), -ERR_TIMEOUT);
	assert_int_equal(b.timeout, HTTP_TIMEOUT_TOTAL);
	op_cancel(&a.op);
	wait_for(&done_calls, 2);
	http_call_done(&a);
	http_call_done(&b);
}

static void test_http_client_two_thousand_in_flight(void **state)
{
	struct rlimit lim;
	struct http_call *calls;
	size_t n = 2000;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	assert_true(lim.rlim_cur > 2 * n + 200);
	calls = calloc(n, sizeof(*calls));
	hold_until = n; /* nobody is answered before all are there */
	run_many(calls, n, "/hold");
	assert_int_equal(held_peak, n);
	assert_int_equal(accepted, n);
	free(calls);
}

static void test_http_client_closes_unused_connections(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 5, .idle_ms = 30 };
	struct http_call c;

	(void)state;
	drop_client();
	make_client(&cfg);
	assert_int_equal(call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(conns.n, 1);
	while (conns.n)
		uv_run(&loop.uv, UV_RUN_ONCE);
	assert_int_equal(call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(accepted, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(test_http_client_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(gives_status_headers_and_body),
		T(any_status_is_success),
		T(sends_what_it_was_given),
		T(calls_without_a_body),
		T(reads_all_framings),
		T(does_not_follow_redirects),
		T(reuses_a_connection),
		T(replaces_a_kept_connection_that_died),
		T(sends_a_large_body),
		T(streams_to_on_data),
		T(delivers_pieces_before_a_cut),
		T(collects_errors_also_when_streaming),
		T(on_data_can_end_the_call),
		T(on_data_can_cancel),
		T(cancel_before_the_connection),
		T(cancel_while_the_server_thinks),
		T(cancel_in_the_body),
		T(cancel_while_resolving_and_waiting),
		T(failure_says_how_far_it_came),
		T(connection_refused_is_network),
		T(tls_to_a_plain_port_is_network),
		T(timeouts),
		T(connect_timeout),
		T(limits),
		T(refuses_bad_requests_at_the_start),
		T(resolves_names),
		T(name_that_does_not_exist_is_network),
		T(guard_refuses_and_allows),
		T(guard_judges_the_address_really_used),
		T(per_host_limit_queues),
		T(total_limit_queues),
		T(total_timeout_covers_the_queue),
		T(two_thousand_in_flight),
		T(closes_unused_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
