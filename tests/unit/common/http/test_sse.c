/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/http/sse.h, each text fed whole and byte by byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/http/sse.h"

/* Writes events as "event|data|id;" so that a table can name them. */
static int on_event(void *arg, const struct sse_event *e)
{
	struct buf *b = arg;
	buf_printf(b, STR_FMT "|" STR_FMT "|" STR_FMT ";", STR_ARG(e->event), STR_ARG(e->data), STR_ARG(e->id));
	return str_eq_z(e->data, "stop") ? -ERR_CANCELED : 0;
}

static int feed(struct str in, size_t step, size_t max, struct buf *log)
{
	struct sse s;
	int rc = 0;
	buf_clear(log);
	sse_init(&s, max, on_event, log);
	for (; rc == 0 && in.n; in = str_sub(in, step, in.n))
		rc = sse_feed(&s, str_sub(in, 0, step));
	sse_done(&s);
	return rc;
}

static void test_sse_reads_what_the_standard_says(void **state)
{
	(void)state;
	static const struct {
		struct str in;
		const char *want;
	} rows[] = {
		{ STR("data: a\n\n"), "|a|;" },
		{ STR("data:a\r\n\r\ndata:b\r\rdata:c\n\n"), "|a|;|b|;|c|;" },
		{ STR("event: x\nid: 1\ndata: a\ndata: b\n\n"), "x|a\nb|1;" },
		{ STR("data: a\n"), "" },
		{ STR("event: x\n\ndata: a\n\n"), "|a|;" }, /* no data: no event, and its name is forgotten */
		{ STR("data\n\n"), "||;" },
		{ STR("data\ndata\n\n"), "|\n|;" },
		{ STR("data:  a\n\n"), "| a|;" },
		{ STR(": comment\n:\ndata: a\n\n"), "|a|;" },
		{ STR("foo: 1\nretry: 5\nDATA: x\n\n"), "" },
		{ STR("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n"), "|a|1;|b|1;|c|;" },
		{ STR("id: 1\nid: a\0b\ndata: a\n\n"), "|a|1;" },
		{ STR("\xEF\xBB\xBF"
		      "data: a\n\n"), "|a|;" },
		{ STR("data: a\n\n\xEF\xBB\xBF"
		      "data: b\n\n"), "|a|;" },
		{ STR("\xEF\xBB"
		      "data: a\n\ndata: b\n\n"), "|b|;" },
		{ STR("error: {\"code\":500}\n\n"), "error|{\"code\":500}|;" },
		{ STR("{\"error\":1}\n"), "error|{\"error\":1}|;" },
		{ STR("data: a\n{}\ndata: b\n\n"), "|a|;error|{}|;|b|;" },
		{ STR("data: a\n\n{\"error\":\"x: y\"}\ndata: b\n\n"), "|a|;error|{\"error\":\"x: y\"}|;|b|;" },
		{ STR("data: a:b: c\n\n"), "|a:b: c|;" },
		{ STR("\n\n\r\n\r\r\ndata: a\n\n"), "|a|;" },
		{ STR(""), "" },
	};
	struct buf log;
	buf_init(&log, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step < 12; step++) {
			assert_int_equal(feed(rows[i].in, step, 100, &log), 0);
			assert_true(str_eq_z(buf_str(&log), rows[i].want));
		}
		assert_int_equal(feed(rows[i].in, SIZE_MAX, 100, &log), 0);
		assert_true(str_eq_z(buf_str(&log), rows[i].want));
	}
	buf_done(&log);
}

static void test_sse_bounds_lines_and_events(void **state)
{
	(void)state;
	static const struct {
		struct str in;
		int rc;
	} rows[] = {
		{ STR("data: 4567890123\n\n"), 0 }, /* sixteen bytes, the maximum */
		{ STR("data: 45678901234\n\n"), -ERR_TOO_LARGE },
		{ STR("data: 45678901234"), -ERR_TOO_LARGE }, /* before its end is seen */
		{ STR(": 234567890123456\n"), -ERR_TOO_LARGE },
		{ STR("data: 12345678\ndata: 1234567\n\n"), 0 },
		{ STR("data: 12345678\ndata: 12345678\n\n"), -ERR_TOO_LARGE },
		{ STR("data: 1234567890\n\ndata: 1234567890\n\n"), 0 }, /* two events are not one */
	};
	struct buf log;
	buf_init(&log, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(feed(rows[i].in, SIZE_MAX, 16, &log), rows[i].rc);
		assert_int_equal(feed(rows[i].in, 1, 16, &log), rows[i].rc);
		assert_int_equal(feed(rows[i].in, 5, 16, &log), rows[i].rc);
	}
	buf_done(&log);
}

static void test_sse_stops_when_on_event_says_so(void **state)
{
	(void)state;
	struct buf log;
	buf_init(&log, 1000);
	assert_int_equal(feed(STR("data: a\n\ndata: stop\n\ndata: b\n\n"), SIZE_MAX, 100, &log), -ERR_CANCELED);
	assert_true(str_eq_z(buf_str(&log), "|a|;|stop|;"));
	buf_done(&log);
}

static void test_sse_write_reads_back(void **state)
{
	(void)state;
	static const struct {
		struct str event, id, data;
		const char *want;
	} rows[] = {
		{ STR("status"), STR("7"), STR("{}"), "event: status\nid: 7\ndata: {}\n\n" },
		{ STR(""), STR(""), STR("a\nb\n"), "data: a\ndata: b\ndata: \n\n" },
		{ STR(""), STR("1"), STR(""), "id: 1\ndata: \n\n" },
		{ STR(""), STR(""), STR("a\r\nb\rc"), "data: a\ndata: b\ndata: c\n\n" },
	};
	struct buf b, log;
	buf_init(&b, 1000);
	buf_init(&log, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&b);
		assert_int_equal(sse_write(&b, rows[i].event, rows[i].id, rows[i].data), 0);
		assert_true(str_eq_z(buf_str(&b), rows[i].want));
	}
	assert_int_equal(feed(STR("event: status\nid: 7\ndata: {}\n\n"), SIZE_MAX, 100, &log), 0);
	assert_true(str_eq_z(buf_str(&log), "status|{}|7;"));
	buf_done(&b);
	buf_init(&b, 10);
	assert_int_equal(sse_write(&b, STR("status"), STR("7"), STR("{}")), -ERR_TOO_LARGE);
	buf_done(&b);
	buf_done(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sse_reads_what_the_standard_says),
		cmocka_unit_test(test_sse_bounds_lines_and_events),
		cmocka_unit_test(test_sse_stops_when_on_event_says_so),
		cmocka_unit_test(test_sse_write_reads_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
