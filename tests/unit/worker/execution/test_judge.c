/* SPDX-License-Identifier: Apache-2.0 */
/* The judge, row by row: what each class leads to, what counts, how long it waits and that no wait passes the deadline. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/execution/judge.h"

static const struct judge_times times = { .base_ms = 500, .max_ms = 60000, .overload_base_ms = 5000, .overload_max_ms = 300000 };

static struct judge_input first_failure(enum err_code class)
{
	return (struct judge_input){ .class = class, .retry_after_ms = -1, .should_retry = -1, .attempts = 1, .max_attempts = 5,
		                     .failures_in_row = 1, .bad_outputs = class == ERR_BAD_OUTPUT, .left_ms = 86400000, .random = UINT64_MAX };
}

static void test_judge_each_class_has_its_verdict(void **state)
{
	static const struct {
		enum err_code class;
		enum verdict alone, with_others; /* with another target in the route */
		bool counts;
	} rows[] = {
		{ ERR_OK, VERDICT_ACCEPT, VERDICT_ACCEPT, true },
		{ ERR_NETWORK, VERDICT_AGAIN, VERDICT_NEXT_TARGET, true },
		{ ERR_STREAM_CUT, VERDICT_AGAIN, VERDICT_NEXT_TARGET, true },
		{ ERR_OUTCOME_UNKNOWN, VERDICT_AGAIN, VERDICT_NEXT_TARGET, true },
		{ ERR_TRANSIENT, VERDICT_AGAIN, VERDICT_NEXT_TARGET, true },
		{ ERR_PROVIDER_OVERLOADED, VERDICT_AGAIN, VERDICT_NEXT_TARGET, true },
		{ ERR_PROVIDER_RATE_LIMIT, VERDICT_PARK, VERDICT_NEXT_TARGET, false },
		{ ERR_QUOTA, VERDICT_PARK, VERDICT_NEXT_TARGET, false },
		{ ERR_BILLING, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_LIMIT_TOO_SMALL, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_CONTEXT_WINDOW, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_CONTENT_FILTER, VERDICT_FAIL, VERDICT_FAIL, true },
		{ ERR_PROVIDER_AUTH, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_PROVIDER_PERMISSION, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_PROVIDER_NOT_FOUND, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_BAD_REQUEST, VERDICT_FAIL, VERDICT_FAIL, true },
		{ ERR_PROVIDER_TOO_LARGE, VERDICT_FAIL, VERDICT_NEXT_TARGET, true },
		{ ERR_BAD_OUTPUT, VERDICT_AGAIN, VERDICT_AGAIN, true },
		{ ERR_OUTPUT_TRUNCATED, VERDICT_FAIL, VERDICT_FAIL, true },
		{ ERR_INTERNAL, VERDICT_FAIL, VERDICT_FAIL, true },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct judge_input in = first_failure(rows[i].class);
		struct judgement alone = judge(&in, &times);
		in.more_targets = true;
		struct judgement others = judge(&in, &times);
		if (alone.verdict != rows[i].alone || others.verdict != rows[i].with_others || alone.counts != rows[i].counts)
			fail_msg("%s: %d %d", err_code_name((int)rows[i].class), (int)alone.verdict, (int)others.verdict);
		assert_int_equal(others.counts, rows[i].counts);
		assert_non_null(alone.why);
	}
}

static void test_judge_the_cap_of_attempts_holds_whatever_the_class(void **state)
{
	(void)state;
	for (int class = ERR_NETWORK; class <= (int)ERR_OUTPUT_TRUNCATED; class++) {
		struct judge_input in = first_failure((enum err_code)class);
		in.attempts = in.max_attempts;
		in.more_targets = true;
		struct judgement v = judge(&in, &times);
		if (v.counts)
			assert_int_equal(v.verdict, VERDICT_FAIL);
		else
			assert_int_equal(v.verdict, VERDICT_NEXT_TARGET);
	}
}

static void test_judge_backoff_doubles_with_full_jitter_up_to_its_end(void **state)
{
	static const int64_t spans[] = { 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		struct judge_input in = first_failure(ERR_TRANSIENT);
		in.failures_in_row = (int)i + 1;
		in.max_attempts = 100;
		in.random = (uint64_t)spans[i];
		assert_int_equal(judge(&in, &times).wait_ms, spans[i]);
		in.random = 0;
		assert_int_equal(judge(&in, &times).wait_ms, 0);
		in.random = (uint64_t)spans[i] + 1;
		assert_int_equal(judge(&in, &times).wait_ms, 0);
		in.class = ERR_PROVIDER_OVERLOADED;
		in.random = 0;
		assert_int_equal(judge(&in, &times).wait_ms, 2500);
	}
	struct judge_input in = first_failure(ERR_TRANSIENT);
	in.failures_in_row = INT32_MAX;
	in.random = 60000;
	assert_int_equal(judge(&in, &times).wait_ms, 60000);
}

static void test_judge_a_hint_is_obeyed_with_a_little_jitter(void **state)
{
	(void)state;
	struct judge_input in = first_failure(ERR_PROVIDER_RATE_LIMIT);
	in.retry_after_ms = 20000;
	in.random = 0;
	assert_int_equal(judge(&in, &times).wait_ms, 20000);
	in.random = 2000;
	assert_int_equal(judge(&in, &times).wait_ms, 22000);
	in.retry_after_ms = 0;
	assert_int_equal(judge(&in, &times).wait_ms, 0);
	in.retry_after_ms = -1;
	assert_int_equal(judge(&in, &times).wait_ms, 1000);
	in.failures_in_row = 30;
	assert_int_equal(judge(&in, &times).wait_ms, 60000);
	/* A hint lengthens a backoff and never shortens it. */
	in = first_failure(ERR_TRANSIENT);
	in.random = 400;
	in.retry_after_ms = 100;
	assert_int_equal(judge(&in, &times).wait_ms, 400);
	in.retry_after_ms = 9000;
	assert_in_range(judge(&in, &times).wait_ms, 9000, 9900);
}

static void test_judge_no_wait_passes_the_deadline(void **state)
{
	(void)state;
	struct judge_input in = first_failure(ERR_PROVIDER_RATE_LIMIT);
	in.retry_after_ms = 20000;
	in.random = 0;
	in.left_ms = 20001;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_PARK);
	in.left_ms = 20000;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_FAIL);
	in.left_ms = 0;
	in.class = ERR_TRANSIENT;
	in.retry_after_ms = -1;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_FAIL);
	in.retry_after_ms = INT64_MAX / 2;
	in.left_ms = 1000;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_FAIL);
}

static void test_judge_a_provider_may_forbid_retries(void **state)
{
	(void)state;
	struct judge_input in = first_failure(ERR_TRANSIENT);
	in.should_retry = 0;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_FAIL);
	in.more_targets = true;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_NEXT_TARGET);
	in = first_failure(ERR_PROVIDER_RATE_LIMIT);
	in.should_retry = 0;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_PARK);
}

static void test_judge_an_unusable_answer_is_asked_for_once_more(void **state)
{
	(void)state;
	struct judge_input in = first_failure(ERR_BAD_OUTPUT);
	assert_int_equal(judge(&in, &times).verdict, VERDICT_AGAIN);
	assert_int_equal(judge(&in, &times).wait_ms, 0);
	in.bad_outputs = 2;
	in.attempts = 2;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_FAIL);
	in.more_targets = true;
	assert_int_equal(judge(&in, &times).verdict, VERDICT_NEXT_TARGET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge_each_class_has_its_verdict),
		cmocka_unit_test(test_judge_the_cap_of_attempts_holds_whatever_the_class),
		cmocka_unit_test(test_judge_backoff_doubles_with_full_jitter_up_to_its_end),
		cmocka_unit_test(test_judge_a_hint_is_obeyed_with_a_little_jitter),
		cmocka_unit_test(test_judge_no_wait_passes_the_deadline),
		cmocka_unit_test(test_judge_a_provider_may_forbid_retries),
		cmocka_unit_test(test_judge_an_unusable_answer_is_asked_for_once_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
