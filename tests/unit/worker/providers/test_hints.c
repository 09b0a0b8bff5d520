/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a provider wants to be asked again and what it says is left: every header of the providers' documentation, in its own way of writing,
 * and what Azure and proxies send in place of it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "worker/providers/hints.h"

#define NOW_US 10000000 /* 1970-01-01T00:00:10Z */

static void test_hints_in_their_order(void **state)
{
	static const struct {
		const char *names[4], *values[4];
		int64_t ms;
	} rows[] = {
		{ { NULL }, { NULL }, -1 },
		{ { "Retry-After" }, { "7" }, 7000 },
		{ { "retry-after" }, { " 1.5 " }, 1500 },
		{ { "retry-after" }, { ".0001" }, 1 },
		{ { "retry-after" }, { "0" }, 0 },
		{ { "retry-after" }, { "-3" }, -1 },
		{ { "retry-after" }, { "soon" }, -1 },
		{ { "retry-after" }, { "." }, -1 },
		{ { "retry-after" }, { "" }, -1 },
		{ { "retry-after" }, { "99999999999999999999" }, -1 },
		{ { "retry-after-ms", "retry-after" }, { "250", "9" }, 250 },
		{ { "retry-after-ms", "retry-after" }, { "junk", "9" }, 9000 },
		{ { "x-ms-retry-after-ms", "retry-after" }, { "300.2", "9" }, 301 },
		{ { "retry-after", "date" }, { "Wed, 21 Oct 2015 07:28:10 GMT", "Wed, 21 Oct 2015 07:28:00 GMT" }, 10000 },
		{ { "retry-after", "date" }, { "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:10 GMT" }, 0 },
		{ { "retry-after" }, { "Thu, 01 Jan 1970 00:01:40 GMT" }, 90000 }, /* by our clock, which says 10 s */
		{ { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" }, { "0", "1m2s" }, 62000 },
		{ { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" }, { "1", "1m2s" }, -1 },
		{ { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" },
		  { "0", "20ms", "0", "6s" }, 6000 },
		{ { "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" }, { "0", "17" }, 17000 },        /* Azure: bare seconds */
		{ { "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" }, { "-1", "0", "60" }, -1 },
		{ { "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" }, { "0", "0", "60" }, -1 },
		{ { "x-rate-limit-reset-tokens", "x-ratelimit-remaining-requests" }, { "55", "9" }, 55000 },      /* Azure, with its 429 */
		{ { "x-ratelimit-reset-tokens" }, { "55s" }, -1 },                                              /* nothing says that all is used up */
		{ { "x-ratelimit-remaining-project-tokens", "x-ratelimit-reset-project-tokens" }, { "0", "3s" }, 3000 },
		{ { "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset" }, { "0", "1970-01-01T00:00:12.5Z" }, 2500 },
		{ { "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset" }, { "0", "1970-01-01T01:00:40+01:00" }, 30000 },
		{ { "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset" }, { "0", "1970-01-01T00:00:09Z" }, 0 },
		{ { "date", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset" },
		  { "Thu, 01 Jan 1970 00:00:30 GMT", "0", "1970-01-01T00:00:40Z" }, 10000 },
		{ { "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset" }, { "1000", "1970-01-01T00:00:40Z" }, -1 },
		{ { "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset" }, { "0", "tomorrow" }, -1 },
		{ { "retry-after", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset" }, { "1", "0", "1970-01-01T00:00:40Z" }, 1000 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_header h[4];
		size_t n = 0;
		for (; n < 4 && rows[i].names[n]; n++)
			h[n] = (struct http_header){ str_from(rows[i].names[n]), str_from(rows[i].values[n]) };
		int64_t ms = retry_hint_ms(h, n, NOW_US);
		if (ms != rows[i].ms)
			fail_msg("row %zu: %lld", i, (long long)ms);
	}
}

static void test_hints_durations_of_resets(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "1s", 1000 }, { "6m0s", 360000 }, { "20ms", 20 }, { "1h2m3s", 3723000 }, { "1.5s", 1500 }, { "1d", 86400000 }, { "", -1 },
		{ "s", -1 }, { "5", -1 }, { "5x", -1 }, { "-1s", -1 }, { "1s junk", -1 }, { "1.2.3s", -1 }, { "400d", (int64_t)365 * 86400000 }, { "999999999d", -1 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (reset_duration_ms(str_from(rows[i].text)) != rows[i].ms)
			fail_msg("%s: %lld", rows[i].text, (long long)reset_duration_ms(str_from(rows[i].text)));
}

static void test_hints_limits_that_headers_tell(void **state)
{
	static const struct {
		const char *text; /* "name: value" lines */
		bool any;
		struct limit_headers l;
	} rows[] = {
		{ "content-type: text/plain\n", false, { 0 } },
		{ "x-ratelimit-limit-requests: 500\nx-ratelimit-remaining-requests: 499\nx-ratelimit-reset-requests: 120ms\n"
		  "x-ratelimit-limit-tokens: 30000\nx-ratelimit-remaining-tokens: 29000\nx-ratelimit-reset-tokens: 1m0s\n",
		  true, { 500, 499, 120, 30000, 29000, 60000, -1, -1, -1, -1, -1, -1 } },
		/* Azure: -1 and 0 are no limits, and what is left of none is nothing */
		{ "x-ratelimit-limit-tokens: -1\nx-ratelimit-remaining-tokens: -1\nx-ratelimit-reset-tokens: 0\n", false, { 0 } },
		{ "x-ratelimit-limit-requests: 0\nx-ratelimit-remaining-requests: 0\n", false, { 0 } },
		{ "x-ratelimit-remaining-requests: 79\nx-ratelimit-remaining-tokens: 61353\n", true, { -1, 79, -1, -1, 61353, -1, -1, -1, -1, -1, -1, -1 } },
		{ "X-Rate-Limit-Reset-Tokens: 55\n", true, { -1, -1, -1, -1, -1, 55000, -1, -1, -1, -1, -1, -1 } },
		{ "x-ratelimit-remaining-tokens: 0\nx-rate-limit-reset-tokens: 55\n", true, { -1, -1, -1, -1, 0, 55000, -1, -1, -1, -1, -1, -1 } },
		/* by the answer's own clock, which is an hour ahead of ours */
		{ "date: Thu, 01 Jan 1970 01:00:10 GMT\nanthropic-ratelimit-requests-reset: 1970-01-01T01:00:11Z\n", true,
		  { -1, -1, 1000, -1, -1, -1, -1, -1, -1, -1, -1, -1 } },
		{ "x-ms-ratelimit-limit-requests: 60\nx-ms-ratelimit-remaining-requests: 5\nx-ms-ratelimit-reset-requests: 10\n", true,
		  { 60, 5, 10000, -1, -1, -1, -1, -1, -1, -1, -1, -1 } },
		{ "x-ratelimit-limit-requests: 7\nx-ms-ratelimit-limit-requests: 60\n", true, { 7, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 } },
		/* one kind's nonsense does not spoil the other */
		{ "x-ratelimit-limit-requests: many\nx-ratelimit-limit-tokens: 9\n", true, { -1, -1, -1, 9, -1, -1, -1, -1, -1, -1, -1, -1 } },
		{ "x-ratelimit-limit-requests: 99999999999999999999\n", false, { 0 } },
		{ "x-ratelimit-limit-requests: 1e3\nx-ratelimit-remaining-requests: 5\n", false, { 0 } },
		{ "x-ratelimit-limit-requests: 10\nx-ratelimit-remaining-requests: \nx-ratelimit-reset-requests: 1735689600\n", true,
		  { 10, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 } },
		{ "x-ratelimit-remaining-project-tokens: 4\n", false, { 0 } },
		{ "anthropic-ratelimit-requests-limit: 50\nanthropic-ratelimit-requests-remaining: 49\nanthropic-ratelimit-requests-reset: 1970-01-01T00:00:11Z\n"
		  "anthropic-ratelimit-tokens-limit: 90\nanthropic-ratelimit-tokens-remaining: 80\nanthropic-ratelimit-tokens-reset: 1970-01-01T00:00:12Z\n"
		  "anthropic-ratelimit-input-tokens-limit: 60\nanthropic-ratelimit-input-tokens-remaining: 0\nanthropic-ratelimit-input-tokens-reset: 1970-01-01T00:00:13Z\n"
		  "anthropic-ratelimit-output-tokens-limit: 30\nanthropic-ratelimit-output-tokens-remaining: 2\nanthropic-ratelimit-output-tokens-reset: 1970-01-01T00:00:00Z\n",
		  true, { 50, 49, 1000, 90, 80, 2000, 60, 0, 3000, 30, 2, 0 } },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_header h[16];
		struct limit_headers l;
		struct str text = str_from(rows[i].text), line;
		size_t n = 0;
		while (str_split(&text, '\n', &line) && line.n) {
			ssize_t colon = str_find_char(line, ':');
			h[n++] = (struct http_header){ str_sub(line, 0, (size_t)colon), str_trim(str_sub(line, (size_t)colon + 1, line.n)) };
		}
		bool any = limit_headers_read(&l, h, n, NOW_US);
		if (any != rows[i].any || (any && memcmp(&l, &rows[i].l, sizeof l)))
			fail_msg("row %zu: %d requests %lld/%lld/%lld tokens %lld/%lld/%lld", i, any, (long long)l.requests_limit, (long long)l.requests_remaining,
			         (long long)l.requests_reset_ms, (long long)l.tokens_limit, (long long)l.tokens_remaining, (long long)l.tokens_reset_ms);
	}
}

#define MESSAGE(text)  "{\"error\":{\"message\":\"" text "\"}}"
#define DETAILS(parts) "{\"error\":{\"message\":\"m\",\"details\":[" parts "]}}"
#define RETRY(delay)   "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":" delay "}"

static void test_hints_in_bodies(void **state)
{
	static const struct {
		const char *body;
		int64_t ms;
	} rows[] = {
		{ DETAILS(RETRY("\"34.07s\"")), 34070 },
		{ DETAILS("{\"@type\":\"type.googleapis.com/google.rpc.Help\"}," RETRY("\"0s\"")), 0 },
		{ "[" DETAILS(RETRY("\"34.074824224s\"")) "]", 34075 },
		{ DETAILS(RETRY("34")), -1 },
		{ DETAILS(RETRY("\"-3s\"")), -1 },
		{ DETAILS(RETRY("\"soon\"")), -1 },
		{ DETAILS("1,[],null"), -1 },
		{ "{\"error\":{\"message\":\"Please retry in 2s.\",\"details\":[" RETRY("\"1s\"") "]}}", 1000 },
		{ MESSAGE("You exceeded your quota.\\nPlease retry in 12.3s."), 12300 },
		{ MESSAGE("Please retry in 530.5ms."), 530 },
		{ MESSAGE("please retry in 1m2s, or later"), 62000 },
		{ MESSAGE("Please retry in a while"), -1 },
		{ MESSAGE("Please retry in 12"), -1 },
		{ MESSAGE("Please retry in "), -1 },
		{ MESSAGE("Please retry in 99999999999999999999999999999s"), -1 },
		{ MESSAGE("Rate limit reached. Please try again in 6m0s. Visit our site."), 360000 },
		{ MESSAGE("Please try again in 20ms. Visit"), 20 },
		{ MESSAGE("Please try again in 17 seconds."), 17000 },
		{ MESSAGE("exceeded token rate limit. Please retry after 6 seconds. Contact"), 6000 },
		{ MESSAGE("Please retry after 1 second."), 1000 },
		{ MESSAGE("Please retry after lunch"), -1 },
		{ "{\"error\":\"Please retry in 3s\"}", 3000 },
		{ "{\"object\":\"error\",\"message\":\"Please retry in 3s\"}", 3000 },
		{ "{\"error\":7}", -1 },
		{ "[]", -1 },
		{ "[[]]", -1 },
		{ "\"Please retry in 3s\"", -1 },
	};
	(void)state;
	assert_int_equal(retry_hint_body_ms(NULL), -1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *body = json_loads(rows[i].body, JSON_DECODE_ANY, NULL);
		assert_non_null(body);
		int64_t ms = retry_hint_body_ms(body);
		json_decref(body);
		if (ms != rows[i].ms)
			fail_msg("%s: %lld", rows[i].body, (long long)ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hints_in_their_order),
		cmocka_unit_test(test_hints_durations_of_resets),
		cmocka_unit_test(test_hints_limits_that_headers_tell),
		cmocka_unit_test(test_hints_in_bodies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
