/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/clock.h: texts of time, read and written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

static void test_clock_runs(void **state)
{
	(void)state;
	uint64_t ns = clock_mono_ns();
	assert_true(clock_mono_ns() >= ns);
	assert_true(clock_mono_ms() >= ns / 1000000);
	assert_true(clock_wall_us() > 1600000000000000);
}

static void test_clock_rfc3339_agrees_with_gmtime(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	/* Steps of a bit over 33 days reach every month, leap years, and the turn of each century up to 9999. */
	for (int64_t s = 0; s < 253402300800; s += 2888777) {
		time_t t = (time_t)s;
		struct tm tm;
		char want[80];
		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.007Z", &tm);
		buf_clear(&b);
		assert_int_equal(clock_rfc3339(&b, s * 1000000 + 7999), 0);
		assert_int_equal(b.n, CLOCK_RFC3339_LEN);
		assert_true(str_eq_z(buf_str(&b), want));
		int64_t back;
		assert_int_equal(clock_parse_rfc3339(buf_str(&b), &back), 0);
		assert_true(back == s * 1000000 + 7000);
		buf_clear(&b);
		clock_http_date(&b, s * 1000000);
		strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		assert_true(str_eq_z(buf_str(&b), want));
		assert_int_equal(clock_parse_http_date(buf_str(&b), &back), 0);
		assert_true(back == s * 1000000);
	}
	buf_done(&b);
}

static void test_clock_rfc3339_clamps_what_has_no_form(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	clock_rfc3339(&b, INT64_MIN);
	clock_rfc3339(&b, INT64_MAX);
	assert_true(str_eq_z(buf_str(&b), "1970-01-01T00:00:00.000Z9999-12-31T23:59:59.999Z"));
	buf_done(&b);
}

static void test_clock_parse_rfc3339(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t want; /* -1: refused */
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-01-01T00:00:00Z", 1767225600000000 },
		{ "2026-01-01T01:30:00+01:30", 1767225600000000 },
		{ "2025-12-31T16:00:00-08:00", 1767225600000000 },
		{ "2026-01-01t00:00:00.5z", 1767225600500000 },
		{ "2026-01-01T00:00:00.123456789Z", 1767225600123456 },
		{ "2024-02-29T00:00:00Z", 1709164800000000 },
		{ "2016-12-31T23:59:60Z", 1483228800000000 },
		{ "2026-01-01T00:00:00.1234567890Z", -1 },
		{ "2026-01-01T00:00:00.Z", -1 },
		{ "2025-02-29T00:00:00Z", -1 },
		{ "2100-02-29T00:00:00Z", -1 },
		{ "2026-13-01T00:00:00Z", -1 },
		{ "2026-04-31T00:00:00Z", -1 },
		{ "2026-01-01T24:00:00Z", -1 },
		{ "2026-01-01T00:60:00Z", -1 },
		{ "2026-01-01T00:00:61Z", -1 },
		{ "2026-01-01T00:00:00", -1 },
		{ "2026-01-01T00:00:00+0100", -1 },
		{ "2026-01-01T00:00:00+24:00", -1 },
		{ "2026-01-01T00:00:00Zx", -1 },
		{ "2026-01-01 00:00:00Z", -1 },
		{ "1969-12-31T23:59:59Z", -1 },
		{ "1970-01-01T00:00:00+00:01", -1 },
		{ "9999-12-31T23:59:59-00:01", -1 },
		{ "26-01-01T00:00:00Z", -1 },
		{ "", -1 },
		{ "2026", -1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t v = -1;
		assert_int_equal(clock_parse_rfc3339(str_from(rows[i].text), &v), rows[i].want < 0 ? -ERR_INVALID : 0);
		assert_true(v == rows[i].want);
	}
}

static void test_clock_parse_http_date_takes_imf_fixdate_only(void **state)
{
	(void)state;
	int64_t v = 7;
	assert_int_equal(clock_parse_http_date(STR("Sun, 06 Nov 1994 08:49:37 GMT"), &v), 0);
	assert_true(v == 784111777000000);
	static const char *const bad[] = { "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "", "Sun, 31 Feb 1994 08:49:37 GMT",
					   "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 GMTx", "120" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(clock_parse_http_date(str_from(bad[i]), &v), -ERR_INVALID);
	assert_true(v == 784111777000000);
}

static void test_clock_parse_duration(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t want; /* -1: refused; the bounds are 0 and 30 days */
	} rows[] = {
		{ "250ms", 250 },   { "10s", 10000 }, { "5m", 300000 },	 { "2h", 7200000 }, { "30d", 2592000000 },
		{ "7", 7000 },	    { "0", 0 },	      { "31d", -1 },	 { "-1s", -1 },	    { "s", -1 },
		{ "1.5s", -1 },	    { "1 s", -1 },    { "1sec", -1 },	 { "", -1 },	    { "99999999999999999999d", -1 },
		{ "999999999999999d", -1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t v = -1;
		int rc = clock_parse_duration_ms(str_from(rows[i].text), 0, 2592000000, &v);
		assert_int_equal(rc, rows[i].want < 0 ? -ERR_INVALID : 0);
		assert_true(v == rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_runs),
		cmocka_unit_test(test_clock_rfc3339_agrees_with_gmtime),
		cmocka_unit_test(test_clock_rfc3339_clamps_what_has_no_form),
		cmocka_unit_test(test_clock_parse_rfc3339),
		cmocka_unit_test(test_clock_parse_http_date_takes_imf_fixdate_only),
		cmocka_unit_test(test_clock_parse_duration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
