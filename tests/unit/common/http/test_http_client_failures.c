/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client when something goes wrong, at names and at the guard of addresses, and with many calls at once. */
#include "tests/lib/httpscript.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/http/netguard.h"

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
		assert_int_equal(hs_call_path(&c, cases[i].path), cases[i].rc);
		assert_int_equal(c.status, cases[i].status);
		assert_int_equal(c.timeout, HTTP_NO_TIMEOUT);
		assert_true(c.sent);
		assert_int_equal(c.err.code, -cases[i].rc);
		assert_true(str_has_prefix(str_from(c.err.text), STR("127.0.0.1:")));
		http_call_done(&c);
	}
}

/* curl would: nobody could tell then whether the server does the work twice. */
static void test_http_client_request_is_not_sent_again_when_its_kept_connection_breaks(void **state)
{
	static const char *const paths[] = { "/reset", "/close" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(hs_call_path(&c, "/ok"), 0);
		http_call_done(&c);
		size_t requests = hs.requests;
		assert_int_equal(hs_call_path(&c, paths[i]), -ERR_OUTCOME_UNKNOWN);
		assert_true(c.sent);
		assert_int_equal(hs.requests, requests + 1); /* not over a new connection, which curl made for it */
		http_call_done(&c);
	}
}

static void test_http_client_connection_refused_is_network(void **state)
{
	struct sockaddr_in in;
	int len = sizeof(in), real = hs.port;
	struct http_call c;
	static uv_tcp_t unheard;

	(void)state;
	uv_tcp_init(&hs.loop.uv, &unheard);
	uv_ip4_addr("127.0.0.1", 0, &in);
	uv_tcp_bind(&unheard, (struct sockaddr *)&in, 0);
	uv_tcp_getsockname(&unheard, (struct sockaddr *)&in, &len);
	hs.port = ntohs(in.sin_port);
	assert_int_equal(hs_call_path(&c, "/ok"), -ERR_NETWORK);
	assert_false(c.sent);
	http_call_done(&c);
	hs.port = real;
	uv_close((uv_handle_t *)&unheard, NULL);
}

static void test_http_client_tls_to_a_plain_port_is_network(void **state)
{
	struct http_call c;
	char url[128] = "https";

	(void)state;
	hs_call_prepare(&c, "/ok");
	memcpy(url + 5, c.url + 4, sizeof(url) - 5);
	c.url = url;
	c.connect_ms = 300; /* the server waits for the rest of a request */
	int rc = hs_call_run(&c);
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
		hs_call_prepare(&c, cases[i].path);
		c.idle_ms = cases[i].idle_ms;
		c.total_ms = cases[i].total_ms;
		assert_int_equal(hs_call_run(&c), cases[i].rc);
		assert_int_equal(c.timeout, cases[i].which);
		http_call_done(&c);
	}
}

/* A listener whose queue is full answers no SYN: the connect hangs. */
static void test_http_client_connect_timeout(void **state)
{
	struct sockaddr_in in;
	int len = sizeof(in), real = hs.port;
	struct http_call calls[4];
	size_t late = 0;
	static uv_tcp_t full;

	(void)state;
	uv_tcp_init(&hs.loop.uv, &full);
	uv_ip4_addr("127.0.0.1", 0, &in);
	assert_int_equal(uv_tcp_bind(&full, (struct sockaddr *)&in, 0), 0);
	uv_tcp_getsockname(&full, (struct sockaddr *)&in, &len);
	uv_os_fd_t fd;
	uv_fileno((uv_handle_t *)&full, &fd);
	assert_int_equal(listen(fd, 0), 0);
	hs.port = ntohs(in.sin_port);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		hs_call_prepare(&calls[i], "/ok");
		calls[i].connect_ms = 100;
		calls[i].total_ms = 400;
		assert_int_equal(http_call_start(hs.client, &calls[i], NULL), 0);
	}
	hs_wait_for(&hs.done_calls, ARRAY_LEN(calls));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i].timeout == HTTP_TIMEOUT_CONNECT) {
			assert_int_equal(calls[i].rc, -ERR_TIMEOUT);
			assert_false(calls[i].sent);
			late++;
		}
		http_call_done(&calls[i]);
	}
	assert_true(late > 0);
	hs.port = real;
	uv_close((uv_handle_t *)&full, NULL);
}

static void test_http_client_limits(void **state)
{
	static const char *const paths[] = { "/endless-head", "/endless-line", "/endless-1xx", "/endless-body" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		hs_call_prepare(&c, paths[i]);
		c.head_max = 200000; /* above curl's own limit of a line */
		c.body_max = 100000;
		assert_int_equal(hs_call_run(&c), -ERR_TOO_LARGE);
		assert_true(c.answer.n <= c.body_max && c.head.n <= c.head_max);
		http_call_done(&c);
	}
	hs_call_prepare(&c, "/ok");
	c.body_max = 2;
	assert_int_equal(hs_call_run(&c), 0);
	http_call_done(&c);
	hs_call_prepare(&c, "/ok");
	c.body_max = 1;
	assert_int_equal(hs_call_run(&c), -ERR_TOO_LARGE);
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
		hs_call_prepare(&c, "/ok");
		c.headers = &bad[i];
		c.nheaders = 1;
		assert_int_equal(http_call_start(hs.client, &c, NULL), -ERR_INVALID);
		assert_int_equal(c.err.code, ERR_INVALID);
		http_call_done(&c);
	}
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		hs_call_prepare(&c, "/ok");
		c.url = urls[i];
		assert_int_equal(http_call_start(hs.client, &c, NULL), -ERR_INVALID);
		http_call_done(&c);
	}
	hs_call_prepare(&c, "/ok");
	c.method = "GET /x HTTP/1.1\r\nX: y";
	assert_int_equal(http_call_start(hs.client, &c, NULL), -ERR_INVALID);
	http_call_done(&c);
	assert_int_equal(hs.done_calls, 0);
}

/* Names and the guard. */

static void test_http_client_resolves_names(void **state)
{
	struct http_call c;

	(void)state;
	for (int i = 0; i < 3; i++) {
		hs_call_prepare(&c, "/echo");
		c.url = hs_url_of("LOCALHOST", "/echo");
		assert_int_equal(hs_call_run(&c), 0);
		http_call_done(&c);
	}
	assert_int_equal(hs.accepted, 1);
}

static void test_http_client_name_that_does_not_exist_is_network(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/ok");
	c.url = hs_url_of("does-not-exist.invalid", "/ok");
	c.connect_ms = 30000;
	assert_int_equal(hs_call_run(&c), -ERR_NETWORK);
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
	hs_drop_client();
	hs_make_client(&cfg);
	hs_call_prepare(&c, "/ok");
	assert_int_equal(http_call_start(hs.client, &c, NULL), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	hs_call_prepare(&c, "/ok");
	c.url = hs_url_of("localhost", "/ok");
	assert_int_equal(hs_call_run(&c), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	assert_int_equal(hs.accepted, 0);

	hs_drop_client();
	assert_int_equal(netguard_allow(&guard, STR("127.0.0.0/8"), NULL), 0);
	hs_make_client(&cfg);
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	http_call_done(&c);
	hs_call_prepare(&c, "/ok");
	c.url = hs_url_of("localhost", "/ok");
	assert_int_equal(hs_call_run(&c), 0);
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
	hs_drop_client();
	hs_make_client(&cfg);
	hs_call_prepare(&c, "/ok-close");
	c.url = hs_url_of("localhost", "/ok-close");
	assert_int_equal(hs_call_run(&c), 0);
	http_call_done(&c);
	guard.nallow = 0;
	hs_call_prepare(&c, "/ok");
	c.url = hs_url_of("localhost", "/ok");
	assert_int_equal(hs_call_run(&c), -ERR_ADDRESS_REFUSED);
	http_call_done(&c);
	assert_int_equal(hs.accepted, 1);
}

/* Many. */

static void run_many(struct http_call *calls, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		hs_call_prepare(&calls[i], path);
		assert_int_equal(http_call_start(hs.client, &calls[i], NULL), 0);
	}
	hs_wait_for(&hs.done_calls, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(calls[i].rc, 0);
		hs_assert_answer(&calls[i], "held");
		http_call_done(&calls[i]);
	}
}

static void test_http_client_per_host_limit_queues(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 100, .per_host = 2 };
	struct http_call calls[10];

	(void)state;
	hs_drop_client();
	hs_make_client(&cfg);
	hs.hold_until = 2;
	run_many(calls, ARRAY_LEN(calls), "/hold");
	assert_int_equal(hs.held_peak, 2);
	assert_int_equal(hs.accepted, 2);
}

static void test_http_client_total_limit_queues(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 100 };
	static struct http_call calls[20];

	(void)state;
	hs_drop_client();
	hs_make_client(&cfg);
	hs.hold_until = 5;
	run_many(calls, ARRAY_LEN(calls), "/hold");
	assert_int_equal(hs.held_peak, 5);
}

static void test_http_client_total_timeout_covers_the_queue(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 1 };
	struct http_call a, b;

	(void)state;
	hs_drop_client();
	hs_make_client(&cfg);
	hs_call_prepare(&a, "/hang");
	assert_int_equal(http_call_start(hs.client, &a, NULL), 0);
	hs_call_prepare(&b, "/hang");
	b.total_ms = 20;
	assert_int_equal(hs_call_run(&b), -ERR_TIMEOUT);
	assert_int_equal(b.timeout, HTTP_TIMEOUT_TOTAL);
	op_cancel(&a.op);
	hs_wait_for(&hs.done_calls, 2);
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
	hs.hold_until = n; /* nobody is answered before all are there */
	run_many(calls, n, "/hold");
	assert_int_equal(hs.held_peak, n);
	assert_int_equal(hs.accepted, n);
	free(calls);
}

static void test_http_client_closes_unused_connections(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 5, .per_host = 5, .idle_ms = 30 };
	struct http_call c;

	(void)state;
	hs_drop_client();
	hs_make_client(&cfg);
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(hs.conns.n, 1);
	while (hs.conns.n)
		uv_run(&hs.loop.uv, UV_RUN_ONCE);
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(hs.accepted, 2);
}

static bool says_no(struct http_call *c)
{
	(void)c;
	return false;
}

/* On a new connection and on one that stands. */
static void test_http_client_sends_nothing_when_it_may_not(void **state)
{
	struct http_call c;
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		hs_call_prepare(&c, "/ok");
		c.may_send = says_no;
		assert_int_equal(hs_call_run(&c), -ERR_NETWORK);
		assert_false(c.sent);
		assert_int_equal(c.status, 0);
		http_call_done(&c);
		assert_int_equal(hs.requests, i);
		assert_int_equal(hs_call_path(&c, "/ok"), 0);
		http_call_done(&c);
		assert_int_equal(hs.requests, i + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HS_TEST(failure_says_how_far_it_came),
		HS_TEST(request_is_not_sent_again_when_its_kept_connection_breaks),
		HS_TEST(connection_refused_is_network),
		HS_TEST(tls_to_a_plain_port_is_network),
		HS_TEST(sends_nothing_when_it_may_not),
		HS_TEST(timeouts),
		HS_TEST(connect_timeout),
		HS_TEST(limits),
		HS_TEST(refuses_bad_requests_at_the_start),
		HS_TEST(resolves_names),
		HS_TEST(name_that_does_not_exist_is_network),
		HS_TEST(guard_refuses_and_allows),
		HS_TEST(guard_judges_the_address_really_used),
		HS_TEST(per_host_limit_queues),
		HS_TEST(total_limit_queues),
		HS_TEST(total_timeout_covers_the_queue),
		HS_TEST(two_thousand_in_flight),
		HS_TEST(closes_unused_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
