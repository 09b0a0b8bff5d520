/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the HTTP server promises to handlers and to clients that behave: keep-alive, pipelining, bodies both ways,
 * HEAD, limits at the limit, errors, drain. Bad requests are test_http_corpus.c, slow and vanishing clients
 * test_http_slow.c. Client and server share the loop (tests/lib/rawhttp.h); the paths are those of
 * tests/lib/httpapp.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/metrics.h"
#include "tests/lib/httpapp.h"
#include "tests/lib/rawhttp.h"

#define GET(path) STR("GET " path " HTTP/1.1\r\nHost: a\r\n\r\n")

/* Sends and reads one answer; its body must hold the text. */
static void expect(struct raw *c, struct str request, int status, const char *text)
{
	struct raw_answer a;
	raw_send(c, request);
	assert_true(raw_answer(c, false, &a));
	assert_int_equal(a.status, status);
	assert_false(a.cut);
	if (str_find(buf_str(&a.body), str_from(text)) < 0)
		fail_msg("no %s in %.*s", text, (int)a.body.n, a.body.p);
	raw_answer_done(&a);
}

static void expect_closed(struct raw *c)
{
	assert_true(raw_wait_eof(c));
	raw_done(c);
}

static void test_http_server_keeps_a_connection(void **state UNUSED)
{
	struct app a;
	struct raw c;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	for (int i = 0; i < 50; i++)
		expect(&c, GET("/x?a=1&b=%20+c&&d"), 200, "GET /x\na=1\nb=  c\nd=\nHost: a\n");
	assert_int_equal(http_server_connections(a.server), 1);
	assert_int_equal(metric_get(METRIC_HTTP_CONNS, ""), 1);
	assert_true(metric_get(METRIC_HTTP_REQUESTS, "test\x1fGET\x1f"
	                                             "200") >= 50);
	raw_done(&c);
	app_stop(&a);
	assert_int_equal(metric_get(METRIC_HTTP_CONNS, ""), 0);
}

static void test_http_server_closes_when_asked(void **state UNUSED)
{
	struct app a;
	struct raw c;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	expect(&c,
	       STR("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n"),
	       200, "");
	expect_closed(&c);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("GET / HTTP/1.0\r\n\r\n"), 200, "GET /");
	expect_closed(&c);
	assert_int_equal(a.heads, 2);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200, "GET /");
	expect(&c, STR("GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200, "one two");
	expect_closed(&c);
	app_stop(&a);
}

static void test_http_server_answers_pipelined_requests_in_order(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct buf b;
	char text[32];
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	buf_init(&b, 1u << 20);
	buf_add_str(&b, GET("/hold"));
	for (int i = 0; i < 3000; i++)
		buf_printf(&b, "POST /n%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", i);
	raw_send(&c, buf_str(&b));
	while (!a.held)
		raw_turn(&c);
	for (int i = 0; i < 20; i++)
		raw_turn(&c);
	assert_int_equal(a.heads, 1); /* the next is parsed after the answer */
	app_release(&a, 200);
	expect(&c, STR(""), 200, "released");
	for (int i = 0; i < 3000; i++) {
		b.n = 0;
		buf_printf(&b, "POST /n%d\n", i);
		buf_add_char(&b, '\0');
		memcpy(text, b.p, b.n);
		expect(&c, STR(""), 200, text);
	}
	buf_done(&b);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_takes_bodies(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct buf b;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), 200, "\n\nhello");
	expect(&c,
	       STR("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
	       200, "\n\nhello");
	buf_init(&b, 8u << 20);
	buf_add_z(&b, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
	memset(buf_room(&b, 3000000), 'z', 3000000);
	buf_grown(&b, 3000000);
	expect(&c, buf_str(&b), 200, "3000000");
	assert_true(a.pieces > 10);
	memcpy(b.p, "POST /whole ", 12);
	expect(&c, buf_str(&b), 200, "zzzz");
	buf_done(&b);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_rests_while_a_body_is_paused(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct buf b;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	buf_init(&b, 8u << 20);
	buf_add_z(&b, "POST /pause HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 50; i++)
		buf_printf(&b, "a\r\n0123456789\r\n");
	buf_add_z(&b, "0\r\n\r\n");
	buf_add_str(&b, GET("/after"));
	expect(&c, buf_str(&b), 200, "500");
	assert_int_equal(a.pieces, 50);
	expect(&c, STR(""), 200, "GET /after");
	buf_done(&b);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_streams_answers(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct raw_answer ans;
	char v[64];
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, GET("/chunks"));
	assert_true(raw_answer(&c, false, &ans));
	assert_string_equal(raw_header(&ans, "transfer-encoding", v, sizeof(v)), "chunked");
	assert_string_equal(raw_header(&ans, "x-extra", v, sizeof(v)), "1");
	assert_null(raw_header(&ans, "content-length", v, sizeof(v)));
	assert_true(str_eq(buf_str(&ans.body), STR("one two")));
	raw_answer_done(&ans);
	raw_send(&c, GET("/abort"));
	assert_true(raw_answer(&c, false, &ans));
	assert_true(ans.cut);
	raw_answer_done(&ans);
	raw_done(&c);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, STR("GET /abort HTTP/1.0\r\n\r\n"));
	while (raw_turn(&c))
		continue;
	assert_true(c.reset); /* no other way to tell an HTTP/1.0 client */
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_head_has_no_body(void **state UNUSED)
{
	static const char *const paths[] = { "/", "/chunks", "/empty", "/same", "/problem" };
	struct app a;
	struct raw c;
	struct raw_answer ans;
	struct buf b;
	char v[64];
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	buf_init(&b, 4096);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		buf_clear(&b);
		buf_printf(&b, "HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n", paths[i]);
		raw_send(&c, buf_str(&b));
		assert_true(raw_answer(&c, true, &ans));
		if (i == 0)
			assert_string_equal(raw_header(&ans, "content-length", v, sizeof(v)), "16");
		expect(&c, GET("/next"), 200, "GET /next");
	}
	raw_send(&c, GET("/empty"));
	assert_true(raw_answer(&c, false, &ans));
	assert_int_equal(ans.status, 204);
	assert_null(raw_header(&ans, "content-length", v, sizeof(v)));
	expect(&c, GET("/next"), 200, "GET /next");
	buf_done(&b);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_continues_only_when_the_body_is_wanted(void **state UNUSED)
{
	struct app a;
	struct raw c;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"), 100, "");
	expect(&c, STR("hello"), 200, "\n\nhello");
	expect(&c, STR("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"), 200,
	       "POST /");
	expect(&c, STR("POST /tiny HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"), 413,
	       "too_large");
	expect_closed(&c);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("POST /deny HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"), 401,
	       "no");
	expect_closed(&c);
	app_stop(&a);
}

static void test_http_server_lets_an_early_refusal_arrive(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct buf b;
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	expect(&c, GET("/deny"), 401, "no"); /* nothing left to read: stays open */
	expect(&c, GET("/next"), 200, "GET /next");
	buf_init(&b, 1u << 20);
	buf_add_z(&b, "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
	memset(buf_room(&b, 50000), 'z', 50000);
	buf_grown(&b, 50000);
	expect(&c, buf_str(&b), 401, "no");
	assert_true(raw_wait_eof(&c));
	assert_false(c.reset);
	raw_done(&c);
	assert_int_equal(a.gone, 0);
	buf_done(&b);
	app_stop(&a);
}

static void test_http_server_limits_are_exact(void **state UNUSED)
{
	struct http_limits l = app_default_limits;
	struct app a;
	struct raw c;
	struct buf b;
	l.head_bytes = 1000;
	l.target_bytes = 100;
	l.body_bytes = 10;
	app_start(&a, &l);
	buf_init(&b, 4096);
	for (int over = 0; over <= 1; over++) {
		raw_open(&c, &a.loop, a.port);
		buf_clear(&b);
		buf_printf(&b, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", 99 + over, 0);
		expect(&c, buf_str(&b), over ? 414 : 200, over ? "uri_too_long" : "GET");
		raw_done(&c);
		raw_open(&c, &a.loop, a.port);
		buf_clear(&b);
		buf_printf(&b, "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n", 1000 - 32 + over, 0);
		assert_int_equal(b.n, 1000 + over);
		expect(&c, buf_str(&b), over ? 431 : 200, over ? "head_too_large" : "GET");
		raw_done(&c);
		raw_open(&c, &a.loop, a.port);
		buf_clear(&b);
		buf_printf(&b, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%0*d", 10 + over, 10 + over, 0);
		expect(&c, buf_str(&b), over ? 413 : 200, over ? "too_large" : "0000000000");
		raw_done(&c);
		raw_open(&c, &a.loop, a.port);
		buf_clear(&b);
		buf_printf(&b,
		           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		           "chunked\r\n\r\n4\r\n0000\r\n%x\r\n%0*d\r\n0\r\n\r\n",
		           6 + over, 6 + over, 0);
		expect(&c, buf_str(&b), over ? 413 : 200, over ? "too_large" : "0000000000");
		raw_done(&c);
	}
	buf_done(&b);
	app_stop(&a);
}

static void test_http_server_problem_tells_all(void **state UNUSED)
{
	struct app a;
	struct raw c;
	struct raw_answer ans;
	char v[64];
	app_start(&a, NULL);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, STR("GET /problem HTTP/1.1\r\nHost: a\r\nx-request-id: my \"id\"\r\n\r\n"));
	assert_true(raw_answer(&c, false, &ans));
	assert_string_equal(raw_header(&ans, "content-type", v, sizeof(v)), "application/problem+json");
	assert_string_equal(raw_header(&ans, "x-request-id", v, sizeof(v)), "my \"id\"");
	assert_null(raw_header(&ans, "retry-after", v, sizeof(v)));
	buf_add_char(&ans.body, '\0');
	assert_string_equal(
	    ans.body.p, "{\"type\":\"/problems/wrong_type\",\"title\":\"A field has the wrong type\",\"status\":400,"
	                "\"detail\":\"wanted a \\\"string\\\"\",\"code\":\"wrong_type\",\"param\":\"/a/b\","
	                "\"request_id\":\"my \\\"id\\\"\",\"retryable\":false}");
	raw_answer_done(&ans);
	raw_send(&c, GET("/busy"));
	assert_true(raw_answer(&c, false, &ans));
	assert_int_equal(ans.status, 503);
	assert_string_equal(raw_header(&ans, "retry-after", v, sizeof(v)), "1");
	raw_answer_done(&ans);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_limits_connections(void **state UNUSED)
{
	struct http_limits l = app_default_limits;
	struct app a;
	struct raw c[3];
	struct raw_answer ans;
	char v[64];
	l.connections = 2;
	app_start(&a, &l);
	for (int i = 0; i < 3; i++)
		raw_open(&c[i], &a.loop, a.port);
	expect(&c[0], GET("/"), 200, "GET /");
	expect(&c[1], GET("/"), 200, "GET /");
	raw_send(&c[2], GET("/"));
	assert_true(raw_answer(&c[2], false, &ans));
	assert_int_equal(ans.status, 503);
	assert_string_equal(raw_header(&ans, "retry-after", v, sizeof(v)), "1");
	raw_answer_done(&ans);
	assert_true(raw_wait_eof(&c[2]));
	for (int i = 1; i < 3; i++)
		raw_done(&c[i]);
	while (http_server_connections(a.server) > 1)
		raw_turn(&c[0]);
	raw_open(&c[2], &a.loop, a.port);
	expect(&c[2], GET("/"), 200, "GET /");
	raw_done(&c[0]);
	raw_done(&c[2]);
	app_stop(&a);
}

static void on_drained(void *arg)
{
	struct app *a = arg;
	a->drained = true;
}

static void test_http_server_drains(void **state UNUSED)
{
	struct app a;
	struct raw idle, busy;
	struct raw_answer ans;
	char v[16];
	app_start(&a, NULL);
	raw_open(&idle, &a.loop, a.port);
	raw_open(&busy, &a.loop, a.port);
	expect(&idle, GET("/"), 200, "GET /");
	raw_send(&busy, GET("/hold"));
	while (!a.held)
		raw_turn(&busy);
	http_server_drain(a.server, on_drained, &a);
	assert_true(raw_wait_eof(&idle));
	assert_false(a.drained);
	app_release(&a, 200);
	assert_true(raw_answer(&busy, false, &ans));
	assert_string_equal(raw_header(&ans, "connection", v, sizeof(v)), "close");
	raw_answer_done(&ans);
	assert_true(raw_wait_eof(&busy));
	raw_done(&busy);
	while (!a.drained)
		raw_turn(&idle);
	raw_done(&idle);
	app_stop(&a);
}

static void refuse(struct http_req *r, const struct err *err)
{
	http_reply_header(r, "x-path", r->path);
	http_reply(r, err_http_status((int)err->code), STR("application/json"), STR("{\"error\":1}"));
}

static void test_http_server_lets_the_handler_word_refusals(void **state UNUSED)
{
	struct http_handler h = app_handler;
	struct app a;
	struct raw c;
	struct raw_answer ans;
	struct err err;
	char v[64];
	h.on_refuse = refuse;
	h.on_gone = NULL; /* then the server ends by itself what had not come to on_end */
	app_start(&a, NULL);
	http_server_free(a.server, NULL, NULL);
	assert_int_equal(http_server_start(&a.loop, "127.0.0.1:0", false, &a.limits, &h, &a, &a.server, &err), 0);
	a.port = http_server_port(a.server);
	raw_open(&c, &a.loop, a.port);
	expect(&c, STR("GET / HTTP/1.1\r\n\r\n"), 400, "{\"error\":1}");
	expect_closed(&c);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c,
	         STR("POST /p%41th HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nTransfer-Encoding: chunked\r\n\r\n"));
	raw_send(&c, STR("5\r\nhello\r\nfffffff\r\n"));
	assert_true(raw_answer(&c, false, &ans));
	assert_int_equal(ans.status, 413);
	assert_string_equal(raw_header(&ans, "x-path", v, sizeof(v)), "/pAth");
	assert_string_equal(raw_header(&ans, "x-request-id", v, sizeof(v)), "mine");
	raw_answer_done(&ans);
	expect_closed(&c);
	assert_int_equal(a.heads, 1); /* the first never had a good head */
	assert_int_equal(a.ends, 0);
	app_stop(&a);
}

static void test_http_server_listens_on_unix_and_says_what_is_wrong(void **state UNUSED)
{
	static const char *const wrong[] = { "", "nope", "127.0.0.1:99999", "127.0.0.1:x", "unix:", "999.1.1.1:1" };
	struct app a;
	struct err err;
	struct http_server *s, *other;
	char path[64] = "unix:/tmp/test_http_XXXXXX";
	app_start(&a, NULL);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_true(http_server_start(&a.loop, wrong[i], false, &a.limits, &app_handler, &a, &s, &err) < 0);
	int fd = mkstemp(path + 5);
	assert_true(fd >= 0);
	close(fd);
	assert_true(http_server_start(&a.loop, path, false, &a.limits, &app_handler, &a, &s, &err) <
	            0); /* not a socket */
	unlink(path + 5);
	assert_int_equal(http_server_start(&a.loop, path, false, &a.limits, &app_handler, &a, &s, &err), 0);
	assert_true(http_server_start(&a.loop, path, false, &a.limits, &app_handler, &a, &other, &err) < 0); /* alive */
	http_server_free(s, NULL, NULL);
	assert_int_not_equal(access(path + 5, F_OK), 0);
	assert_int_equal(http_server_start(&a.loop, "[::1]:0", true, &a.limits, &app_handler, &a, &s, &err), 0);
	assert_true(http_server_port(s) > 0);
	http_server_free(s, NULL, NULL);
	app_stop(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_server_keeps_a_connection),
		cmocka_unit_test(test_http_server_closes_when_asked),
		cmocka_unit_test(test_http_server_answers_pipelined_requests_in_order),
		cmocka_unit_test(test_http_server_takes_bodies),
		cmocka_unit_test(test_http_server_rests_while_a_body_is_paused),
		cmocka_unit_test(test_http_server_streams_answers),
		cmocka_unit_test(test_http_server_head_has_no_body),
		cmocka_unit_test(test_http_server_continues_only_when_the_body_is_wanted),
		cmocka_unit_test(test_http_server_lets_an_early_refusal_arrive),
		cmocka_unit_test(test_http_server_limits_are_exact),
		cmocka_unit_test(test_http_server_problem_tells_all),
		cmocka_unit_test(test_http_server_limits_connections),
		cmocka_unit_test(test_http_server_drains),
		cmocka_unit_test(test_http_server_lets_the_handler_word_refusals),
		cmocka_unit_test(test_http_server_listens_on_unix_and_says_what_is_wrong),
	};
	metrics_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	metrics_done();
	return failed;
}
