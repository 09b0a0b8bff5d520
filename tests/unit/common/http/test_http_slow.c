/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that are slow, silent, gone, or never read: deadlines are totals, on_gone comes once, answers wait for
 * their reader within bounds, and nothing stays behind. Limits are small here; each wait has a limit of its own and
 * none measures time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/metrics.h"
#include "tests/lib/httpapp.h"
#include "tests/lib/rawhttp.h"

#define GET(path) STR("GET " path " HTTP/1.1\r\nHost: a\r\n\r\n")
#define HOUR_MS   3600000u

static struct http_limits patient(void)
{
	struct http_limits l = app_default_limits;
	l.head_ms = l.body_ms = l.idle_ms = l.write_stall_ms = HOUR_MS;
	return l;
}

static void expect_status(struct raw *c, int status)
{
	struct raw_answer ans;
	assert_true(raw_answer(c, false, &ans));
	assert_int_equal(ans.status, status);
	assert_false(ans.cut);
	raw_answer_done(&ans);
}

/* A byte each turn, for as long as nothing is answered. */
static void drip(struct raw *c, const char *start, char byte)
{
	uint64_t end = clock_mono_ms() + 10000;
	raw_send(c, str_from(start));
	while (!c->in.n && clock_mono_ms() < end) {
		send(c->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		raw_turn(c);
	}
}

static void test_http_server_deadline_of_the_head_is_a_total(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	l.head_ms = 60;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	drip(&c, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 'x');
	expect_status(&c, 408);
	assert_int_equal(a.heads, 0);
	assert_true(raw_wait_eof(&c));
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_deadline_of_the_body_is_a_total(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	l.body_ms = 60;
	l.body_min_rate = 1u << 20;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	drip(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n", 'x');
	expect_status(&c, 408);
	assert_int_equal(a.heads, 1);
	assert_int_equal(a.ends, 0);
	assert_int_equal(a.gone, 1);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_closes_idle_connections_silently(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c, silent;
	l.idle_ms = 60;
	app_start(&a, &l);
	raw_open(&silent, &a.loop, a.port);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, GET("/"));
	expect_status(&c, 200);
	assert_true(raw_wait_eof(&c));
	assert_true(raw_wait_eof(&silent));
	raw_done(&c);
	raw_done(&silent);
	app_stop(&a);
}

static void test_http_server_waits_for_handlers_without_a_deadline(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	l.head_ms = l.body_ms = l.idle_ms = 20;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, GET("/hold"));
	uint64_t end = clock_mono_ms() + 100;
	while (clock_mono_ms() < end)
		raw_turn(&c);
	app_release(&a, 200);
	expect_status(&c, 200);
	raw_done(&c);
	app_stop(&a);
}

static void turn_until(struct raw *c, const size_t *counter, size_t value)
{
	uint64_t end = clock_mono_ms() + 10000;
	while (*counter < value && clock_mono_ms() < end)
		raw_turn(c);
	assert_int_equal(*counter, value);
}

static void test_http_server_tells_once_that_the_client_has_gone(void **state UNUSED)
{
	struct linger hard = { .l_onoff = 1 };
	struct http_limits l = patient();
	struct app a;
	struct raw c, other;
	app_start(&a, &l);
	raw_open(&other, &a.loop, a.port);
	for (int reset = 0; reset <= 1; reset++) {
		raw_open(&c, &a.loop, a.port);
		raw_send(&c, GET("/hold"));
		while (!a.held)
			raw_turn(&c);
		if (reset)
			setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		raw_done(&c);
		turn_until(&other, &a.gone, (size_t)reset + 1);
		app_release(&a, 200); /* into nothing */
		while (http_server_connections(a.server) > 1)
			raw_turn(&other);
		assert_int_equal(a.gone, reset + 1);
	}
	raw_done(&other);
	app_stop(&a);
}

static void test_http_server_answers_a_client_that_only_shut_its_side(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, STR("GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"));
	raw_shutdown(&c);
	while (!a.held)
		raw_turn(&c);
	app_release(&a, 200);
	expect_status(&c, 200);
	expect_status(&c, 200);
	assert_true(raw_wait_eof(&c));
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_drops_a_body_whose_client_left(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c, other;
	app_start(&a, &l);
	raw_open(&other, &a.loop, a.port);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, STR("POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello"));
	turn_until(&c, &a.pieces, 1);
	raw_done(&c);
	turn_until(&other, &a.gone, 1);
	assert_int_equal(a.ends, 0);
	raw_done(&other);
	app_stop(&a);
}

static void test_http_server_waits_for_a_slow_reader(void **state UNUSED)
{
	static const char *const requests[] = { "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
		                                "GET /bigstream HTTP/1.1\r\nHost: a\r\n\r\n" };
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	struct raw_answer ans;
	app_start(&a, &l);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		raw_open(&c, &a.loop, a.port);
		c.deaf = true;
		raw_send(&c, str_from(requests[i]));
		for (int k = 0; k < 20; k++)
			raw_turn(&c);
		assert_true(i == 0 || a.stream_left > 0); /* the handler was told to stop */
		c.deaf = false;
		assert_true(raw_answer(&c, false, &ans));
		assert_int_equal(ans.status, 200);
		assert_int_equal(ans.body.n, APP_BIG);
		raw_answer_done(&ans);
		raw_send(&c, GET("/next"));
		expect_status(&c, 200);
		raw_done(&c);
	}
	assert_true(a.drains >= 1);
	app_stop(&a);
}

static void test_http_server_drops_a_client_that_never_reads(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	l.write_stall_ms = 50;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	c.deaf = true;
	raw_send(&c, GET("/bigstream"));
	turn_until(&c, &a.gone, 1);
	while (http_server_connections(a.server))
		raw_turn(&c);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_stops_reading_while_answers_wait(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	struct buf b;
	app_start(&a, &l);
	buf_init(&b, 1u << 20);
	for (int i = 0; i < 200; i++)
		buf_add_str(&b, GET("/big"));
	raw_open(&c, &a.loop, a.port);
	c.deaf = true;
	raw_send(&c, buf_str(&b));
	for (int i = 0; i < 50; i++)
		raw_turn(&c);
	assert_in_range(a.heads, 1, 3); /* not 200 answers of 5 MiB in memory */
	buf_done(&b);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_lingers_no_longer_than_it_must(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, STR("POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"));
	expect_status(&c, 401);
	while (http_server_connections(a.server)) /* the client never closes */
		raw_turn(&c);
	raw_done(&c);
	app_stop(&a);
}

static void test_http_server_rests_without_descriptors(void **state UNUSED)
{
	struct rlimit old, tight;
	struct http_limits l = patient();
	struct app a;
	struct raw c, extra;
	app_start(&a, &l);
	raw_open(&c, &a.loop, a.port);
	raw_send(&c, GET("/"));
	expect_status(&c, 200);
	raw_open(&extra, &a.loop, a.port);
	getrlimit(RLIMIT_NOFILE, &old);
	tight = old;
	tight.rlim_cur = (rlim_t)extra.fd + 1;
	setrlimit(RLIMIT_NOFILE, &tight);
	raw_send(&extra, GET("/"));
	for (int i = 0; i < 10; i++)
		raw_turn(&c);
	assert_int_equal(http_server_connections(a.server), 1);
	setrlimit(RLIMIT_NOFILE, &old);
	expect_status(&extra, 200);
	raw_done(&c);
	raw_done(&extra);
	app_stop(&a);
}

static void test_http_server_frees_all_while_busy(void **state UNUSED)
{
	struct http_limits l = patient();
	struct app a;
	struct raw c[4];
	app_start(&a, &l);
	for (int i = 0; i < 4; i++) {
		raw_open(&c[i], &a.loop, a.port);
		c[i].deaf = true;
	}
	raw_send(&c[0], GET("/bigstream"));
	raw_send(&c[1], STR("POST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello"));
	raw_send(&c[2], STR("GET / HT"));
	while (http_server_connections(a.server) < 4 || !a.pieces || a.heads < 2)
		raw_turn(&c[3]);
	app_stop(&a);
	assert_int_equal(a.gone, 2);
	for (int i = 0; i < 4; i++)
		raw_done(&c[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_server_deadline_of_the_head_is_a_total),
		cmocka_unit_test(test_http_server_deadline_of_the_body_is_a_total),
		cmocka_unit_test(test_http_server_closes_idle_connections_silently),
		cmocka_unit_test(test_http_server_waits_for_handlers_without_a_deadline),
		cmocka_unit_test(test_http_server_tells_once_that_the_client_has_gone),
		cmocka_unit_test(test_http_server_answers_a_client_that_only_shut_its_side),
		cmocka_unit_test(test_http_server_drops_a_body_whose_client_left),
		cmocka_unit_test(test_http_server_waits_for_a_slow_reader),
		cmocka_unit_test(test_http_server_drops_a_client_that_never_reads),
		cmocka_unit_test(test_http_server_stops_reading_while_answers_wait),
		cmocka_unit_test(test_http_server_lingers_no_longer_than_it_must),
		cmocka_unit_test(test_http_server_rests_without_descriptors),
		cmocka_unit_test(test_http_server_frees_all_while_busy),
	};
	metrics_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	metrics_done();
	return failed;
}
