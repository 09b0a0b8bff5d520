/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client when it gets an answer, whole or as a stream, and when its caller cancels. */
#include "tests/lib/httpscript.h"

#include <stdlib.h>
#include <string.h>

/* Answers. */

static void test_http_client_gives_status_headers_and_body(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	assert_int_equal(c.status, 200);
	hs_assert_answer(&c, "ok");
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
	assert_int_equal(hs_call_path(&c, "/error"), 0);
	assert_int_equal(c.status, 429);
	hs_assert_answer(&c, "wait");
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
		hs_call_prepare(&c, "/echo");
		c.method = methods[i];
		c.headers = headers;
		c.nheaders = ARRAY_LEN(headers);
		assert_int_equal(hs_call_run(&c), 0);
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
		hs_call_prepare(&c, str_eq_z(method, "HEAD") ? "/big" : "/echo");
		c.method = methods[i];
		c.body = (struct str){ NULL, 0 };
		assert_int_equal(hs_call_run(&c), 0);
		assert_true(str_has_prefix(str_from(hs.last_request), method));
		assert_true(str_has_suffix(str_from(hs.last_request), STR("\r\n\r\n")));
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
		assert_int_equal(hs_call_path(&c, cases[i].path), 0);
		assert_int_equal(c.status, 200);
		hs_assert_answer(&c, cases[i].body);
		assert_true(str_eq_z(http_call_header(&c, "x-test"), "yes"));
		assert_null(http_call_header(&c, "x-trailer").p);
		http_call_done(&c);
	}
}

static void test_http_client_does_not_follow_redirects(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(hs_call_path(&c, "/redirect"), 0);
	assert_int_equal(c.status, 302);
	assert_int_equal(hs.requests, 1);
	http_call_done(&c);
}

static void test_http_client_reuses_a_connection(void **state)
{
	struct http_call c;

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(hs_call_path(&c, "/ok"), 0);
		http_call_done(&c);
	}
	assert_int_equal(hs.requests, 20);
	assert_int_equal(hs.accepted, 1);
}

static void test_http_client_replaces_a_kept_connection_that_died(void **state)
{
	struct http_call c;

	(void)state;
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	http_call_done(&c);
	hs_close_first_connection();
	assert_int_equal(hs_call_path(&c, "/ok"), 0);
	http_call_done(&c);
	assert_int_equal(hs.accepted, 2);
}

static void test_http_client_sends_a_large_body(void **state)
{
	static char body[6000];
	struct http_call c;

	(void)state;
	memset(body, 'x', sizeof(body));
	hs_call_prepare(&c, "/echo");
	c.body = (struct str){ body, sizeof(body) };
	assert_int_equal(hs_call_run(&c), 0);
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
	hs_call_prepare(&c, "/chunked");
	c.on_data = on_data;
	assert_int_equal(hs_call_run(&c), 0);
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
	hs_call_prepare(&c, "/cut-chunk");
	c.on_data = on_data;
	assert_int_equal(hs_call_run(&c), -ERR_STREAM_CUT);
	assert_int_equal(pieces_n, 5);
	http_call_done(&c);
}

static void test_http_client_collects_errors_also_when_streaming(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/error");
	c.on_data = on_data;
	assert_int_equal(hs_call_run(&c), 0);
	hs_assert_answer(&c, "wait");
	http_call_done(&c);
}

/* What is collected is held in memory for each call: it has a limit of its own, and the status is known all the same. */
static void test_http_client_bounds_what_it_collects_of_an_error(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/error");
	c.on_data = on_data;
	c.error_max = 3;
	assert_int_equal(hs_call_run(&c), -ERR_TOO_LARGE);
	assert_int_equal(c.status, 429);
	assert_true(c.answer.n <= 3);
	http_call_done(&c);
	hs_call_prepare(&c, "/error");
	c.on_data = on_data;
	c.error_max = 4;
	assert_int_equal(hs_call_run(&c), 0);
	hs_assert_answer(&c, "wait");
	http_call_done(&c);
}

static void test_http_client_on_data_can_end_the_call(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	data_rc = -ERR_BAD_OUTPUT;
	hs_call_prepare(&c, "/stall");
	c.on_data = on_data;
	assert_int_equal(hs_call_run(&c), -ERR_BAD_OUTPUT);
	assert_int_equal(pieces_n, 5);
	http_call_done(&c);
}

static void test_http_client_on_data_can_cancel(void **state)
{
	struct http_call c;

	(void)state;
	pieces_n = 0;
	hs_call_prepare(&c, "/stall");
	c.on_data = on_data_cancel;
	assert_int_equal(hs_call_run(&c), -ERR_CANCELED);
	assert_int_equal(pieces_n, 1);
	http_call_done(&c);
}

/* Cancel. */

static void test_http_client_cancel_before_the_connection(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/ok");
	assert_int_equal(http_call_start(hs.client, &c, NULL), 0);
	op_cancel(&c.op);
	op_cancel(&c.op);
	assert_int_equal(hs.done_calls, 0);
	hs_wait_for(&hs.done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	assert_false(c.sent);
	http_call_done(&c);
}

static void test_http_client_cancel_while_the_server_thinks(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/hang");
	assert_int_equal(http_call_start(hs.client, &c, NULL), 0);
	while (hs.requests == 0)
		uv_run(&hs.loop.uv, UV_RUN_ONCE);
	op_cancel(&c.op);
	hs_wait_for(&hs.done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	assert_true(c.sent);
	assert_int_equal(c.status, 0);
	http_call_done(&c);
}

static void test_http_client_cancel_in_the_body(void **state)
{
	struct http_call c;

	(void)state;
	hs_call_prepare(&c, "/stall");
	assert_int_equal(http_call_start(hs.client, &c, NULL), 0);
	while (c.answer.n == 0)
		uv_run(&hs.loop.uv, UV_RUN_ONCE);
	op_cancel(&c.op);
	hs_wait_for(&hs.done_calls, 1);
	assert_int_equal(c.rc, -ERR_CANCELED);
	hs_assert_answer(&c, "hello");
	http_call_done(&c);
}

static void test_http_client_cancel_while_resolving_and_waiting(void **state)
{
	static const struct http_client_cfg cfg = { .connections = 10, .per_host = 1 };
	struct http_call a, b;
	char url[128];

	(void)state;
	hs_drop_client();
	hs_make_client(&cfg);
	hs_call_prepare(&a, "/ok");
	memcpy(url, hs_url_of("localhost", "/ok"), sizeof(url));
	a.url = url;
	hs_call_prepare(&b, "/ok");
	b.url = url;
	assert_int_equal(http_call_start(hs.client, &a, NULL), 0);
	assert_int_equal(http_call_start(hs.client, &b, NULL), 0);
	op_cancel(&b.op);
	op_cancel(&a.op);
	hs_wait_for(&hs.done_calls, 2);
	assert_int_equal(a.rc, -ERR_CANCELED);
	assert_int_equal(b.rc, -ERR_CANCELED);
	assert_int_equal(hs.requests, 0);
	http_call_done(&a);
	http_call_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HS_TEST(gives_status_headers_and_body),
		HS_TEST(any_status_is_success),
		HS_TEST(sends_what_it_was_given),
		HS_TEST(calls_without_a_body),
		HS_TEST(reads_all_framings),
		HS_TEST(does_not_follow_redirects),
		HS_TEST(reuses_a_connection),
		HS_TEST(replaces_a_kept_connection_that_died),
		HS_TEST(sends_a_large_body),
		HS_TEST(streams_to_on_data),
		HS_TEST(delivers_pieces_before_a_cut),
		HS_TEST(collects_errors_also_when_streaming),
		HS_TEST(bounds_what_it_collects_of_an_error),
		HS_TEST(on_data_can_end_the_call),
		HS_TEST(on_data_can_cancel),
		HS_TEST(cancel_before_the_connection),
		HS_TEST(cancel_while_the_server_thinks),
		HS_TEST(cancel_in_the_body),
		HS_TEST(cancel_while_resolving_and_waiting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
