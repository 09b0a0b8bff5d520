/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a breaker, without a clock or a database. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/targets/breaker.h"

static const struct breaker_rules rules = { .enabled = true, .failures = 5, .percent = 50, .calls = 5, .open_ms = 1000, .open_max_ms = 3000, .successes = 3 };

static void test_breaker_failures_of_the_target_count_and_no_others(void **state)
{
	(void)state;
	static const struct {
		enum err_code class;
		int status;
		enum breaker_word word;
	} rows[] = {
		{ ERR_OK, 200, BREAKER_SAYS_GOOD },
		{ ERR_BAD_OUTPUT, 200, BREAKER_SAYS_GOOD },
		{ ERR_OUTPUT_TRUNCATED, 200, BREAKER_SAYS_GOOD },
		{ ERR_CONTENT_FILTER, 200, BREAKER_SAYS_GOOD },
		{ ERR_CONTENT_FILTER, 400, BREAKER_SAYS_NOTHING },
		{ ERR_NETWORK, 0, BREAKER_SAYS_BAD },
		{ ERR_STREAM_CUT, 200, BREAKER_SAYS_BAD },
		{ ERR_OUTCOME_UNKNOWN, 0, BREAKER_SAYS_BAD },
		{ ERR_TRANSIENT, 500, BREAKER_SAYS_BAD },
		{ ERR_TRANSIENT, 504, BREAKER_SAYS_BAD },
		{ ERR_TRANSIENT, 408, BREAKER_SAYS_NOTHING },
		{ ERR_TRANSIENT, 409, BREAKER_SAYS_NOTHING },
		{ ERR_PROVIDER_OVERLOADED, 529, BREAKER_SAYS_BAD },
		{ ERR_PROVIDER_OVERLOADED, 200, BREAKER_SAYS_BAD },
		{ ERR_PROVIDER_RATE_LIMIT, 429, BREAKER_SAYS_NOTHING },
		{ ERR_QUOTA, 429, BREAKER_SAYS_NOTHING },
		{ ERR_BILLING, 402, BREAKER_SAYS_NOTHING },
		{ ERR_PROVIDER_AUTH, 401, BREAKER_SAYS_NOTHING },
		{ ERR_PROVIDER_PERMISSION, 403, BREAKER_SAYS_NOTHING },
		{ ERR_PROVIDER_NOT_FOUND, 404, BREAKER_SAYS_NOTHING },
		{ ERR_BAD_REQUEST, 400, BREAKER_SAYS_NOTHING },
		{ ERR_CONTEXT_WINDOW, 400, BREAKER_SAYS_NOTHING },
		{ ERR_LIMIT_TOO_SMALL, 429, BREAKER_SAYS_NOTHING },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (breaker_word(rows[i].class, rows[i].status, false) != rows[i].word)
			fail_msg("%s %d", err_code_name((int)rows[i].class), rows[i].status);
		assert_int_equal(breaker_word(rows[i].class, rows[i].status, true), BREAKER_SAYS_NOTHING);
	}
}

static struct breaker_run run_of(const char *calls)
{
	struct breaker_run r = { 0 };
	for (; *calls; calls++)
		breaker_run_add(&r, *calls == '.');
	return r;
}

static void assert_runs_equal(struct breaker_run a, struct breaker_run b)
{
	assert_int_equal(a.head, b.head);
	assert_int_equal(a.has_success, b.has_success);
	assert_int_equal(a.peak, b.peak);
	assert_int_equal(a.tail, b.tail);
}

static void test_breaker_a_run_tells_its_rows(void **state)
{
	(void)state;
	assert_runs_equal(run_of(""), (struct breaker_run){ 0 });
	assert_runs_equal(run_of("xxx"), (struct breaker_run){ .head = 3, .tail = 3 });
	assert_runs_equal(run_of("xx.xxx.x"), (struct breaker_run){ .head = 2, .has_success = true, .peak = 3, .tail = 1 });
	struct breaker_run failures = run_of("xx"), mixed = run_of("x.x");
	assert_int_equal(breaker_run_row(3, &failures), 5);
	assert_int_equal(breaker_run_row(3, &mixed), 1);
}

static void test_breaker_rates_open_it(void **state)
{
	(void)state;
	struct breaker_rules with_errors = rules, off = rules;
	with_errors.errors = 3;
	off.enabled = false;
	assert_false(breaker_rates_say_open(&rules, &(struct breaker_window){ .calls = 4, .failures = 4, .errors = 4 }));
	assert_true(breaker_rates_say_open(&rules, &(struct breaker_window){ .calls = 5, .failures = 3 }));
	assert_true(breaker_rates_say_open(&rules, &(struct breaker_window){ .calls = 100, .failures = 50 }));
	assert_false(breaker_rates_say_open(&rules, &(struct breaker_window){ .calls = 100, .failures = 49, .errors = 49 }));
	assert_true(breaker_rates_say_open(&with_errors, &(struct breaker_window){ .calls = 1000, .failures = 9, .errors = 3 }));
	assert_false(breaker_rates_say_open(&with_errors, &(struct breaker_window){ .calls = 1000, .failures = 9, .errors = 2 }));
	assert_false(breaker_rates_say_open(&off, &(struct breaker_window){ .calls = 5, .failures = 5, .errors = 5 }));
	assert_false(breaker_rates_say_open(&rules, &(struct breaker_window){ 0 }));
}

static void test_breaker_waits_longer_after_each_failed_probe(void **state)
{
	(void)state;
	struct breaker_local l = { 0 };
	assert_int_equal(breaker_wait_ms(l.state, l.until_ms, 5), -1);
	static const int64_t want[] = { 1000, 2000, 3000, 3000 };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		for (uint64_t random = 0; random < 1000; random += 7) {
			struct breaker_local copy = l;
			breaker_local_open(&copy, &rules, 10000, random);
			assert_in_range(breaker_wait_ms(copy.state, copy.until_ms, 10000), want[i] * 9 / 10, want[i] * 11 / 10);
		}
		breaker_local_open(&l, &rules, 10000, 0);
		assert_int_equal(l.open_ms, want[i]);
		assert_int_equal(breaker_wait_ms(l.state, l.until_ms, l.until_ms), 0);
		breaker_local_probe(&l);
	}
}

static void test_breaker_successes_in_a_row_close_it(void **state)
{
	(void)state;
	struct breaker_local l = { 0 };
	breaker_local_open(&l, &rules, 1, 0);
	breaker_local_probe(&l);
	assert_false(breaker_local_good(&l, &rules));
	assert_false(breaker_local_good(&l, &rules));
	breaker_local_open(&l, &rules, 1, 0);
	assert_false(breaker_local_good(&l, &rules)); /* of a call from before: it is open */
	breaker_local_probe(&l);
	assert_false(breaker_local_good(&l, &rules));
	assert_false(breaker_local_good(&l, &rules));
	assert_true(breaker_local_good(&l, &rules));
	assert_int_equal(l.state, BREAKER_CLOSED);
	breaker_local_open(&l, &rules, 1, 0);
	assert_int_equal(l.open_ms, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_breaker_failures_of_the_target_count_and_no_others),
		cmocka_unit_test(test_breaker_a_run_tells_its_rows),
		cmocka_unit_test(test_breaker_rates_open_it),
		cmocka_unit_test(test_breaker_waits_longer_after_each_failed_probe),
		cmocka_unit_test(test_breaker_successes_in_a_row_close_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
