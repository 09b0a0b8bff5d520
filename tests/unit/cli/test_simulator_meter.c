/* SPDX-License-Identifier: Apache-2.0 */
/* The limits that a rule enforces: exact over every sliding minute, freed in time, not renewed by a new script. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/simulator/meter.h"

static struct rule rule_of(int64_t requests, int64_t tokens, int64_t in_flight)
{
	return (struct rule){
		.pattern = "m", .enforce_requests = requests, .enforce_tokens = tokens, .max_in_flight = in_flight
	};
}

static enum meter_limit enter(struct meter *m, const struct rule *r, int64_t tokens, uint64_t now_ms, uint64_t *wait_ms)
{
	*wait_ms = 0;
	enum meter_limit over = meter_enter(m, r, tokens, now_ms, wait_ms);
	if (over == METER_OK && r->max_in_flight < 0)
		meter_leave(m);
	return over;
}

static void test_meter_is_there_only_for_rules_that_enforce(void **state)
{
	struct meters meters;
	struct rule none = rule_of(-1, -1, -1), some = rule_of(0, -1, -1);
	uint64_t wait_ms;
	(void)state;
	meters_init(&meters);
	assert_null(meters_get(&meters, &none));
	struct meter *m = meters_get(&meters, &some);
	assert_non_null(m);
	assert_ptr_equal(meters_get(&meters, &some), m);
	assert_int_equal(enter(m, &some, 1, 5, &wait_ms), METER_REQUESTS); /* 0: nothing is let in */
	assert_int_equal(wait_ms, METER_WINDOW_MS);
	meters_done(&meters);
}

static void test_meter_slides(void **state)
{
	struct meters meters;
	struct rule r = rule_of(3, -1, -1);
	uint64_t wait_ms;
	(void)state;
	meters_init(&meters);
	struct meter *m = meters_get(&meters, &r);
	assert_int_equal(enter(m, &r, 0, 1000, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 0, 2000, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 0, 3000, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 0, 4000, &wait_ms), METER_REQUESTS);
	assert_int_equal(wait_ms, 57000);
	assert_int_equal(enter(m, &r, 0, 60999, &wait_ms), METER_REQUESTS);
	assert_int_equal(wait_ms, 1);
	assert_int_equal(enter(m, &r, 0, 61000, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 0, 61001, &wait_ms), METER_REQUESTS);
	assert_int_equal(wait_ms, 999);
	assert_int_equal(meter_reset_ms(m, 61001), 59999);
	assert_int_equal(meter_reset_ms(m, 200000), 0);
	meters_done(&meters);
}

static void test_meter_counts_tokens_with_the_call(void **state)
{
	struct meters meters;
	struct rule r = rule_of(-1, 100, -1);
	uint64_t wait_ms;
	(void)state;
	meters_init(&meters);
	struct meter *m = meters_get(&meters, &r);
	assert_int_equal(enter(m, &r, 40, 0, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 30, 10, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 30, 20, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 41, 30, &wait_ms), METER_TOKENS);
	assert_int_equal(wait_ms, METER_WINDOW_MS + 10 - 30); /* the first two must leave */
	assert_int_equal(enter(m, &r, 1, 30, &wait_ms), METER_TOKENS);
	assert_int_equal(wait_ms, METER_WINDOW_MS - 30);
	assert_int_equal(enter(m, &r, 101, 500000, &wait_ms), METER_TOKENS); /* never good */
	assert_int_equal(enter(m, &r, 100, 500000, &wait_ms), METER_OK);
	meters_done(&meters);
}

static void test_meter_in_flight_frees_its_place(void **state)
{
	struct meters meters;
	struct rule r = rule_of(10, 10, 2);
	uint64_t wait_ms;
	(void)state;
	meters_init(&meters);
	struct meter *m = meters_get(&meters, &r);
	assert_int_equal(enter(m, &r, 1, 0, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 1, 0, &wait_ms), METER_OK);
	assert_int_equal(enter(m, &r, 1, 0, &wait_ms), METER_IN_FLIGHT);
	meter_leave(m);
	assert_int_equal(enter(m, &r, 9, 0, &wait_ms), METER_TOKENS); /* a refused call takes no place */
	assert_int_equal(enter(m, &r, 1, 0, &wait_ms), METER_OK);
	assert_int_equal(m->in_flight, 2);
	assert_int_equal(m->n, 3);
	meters_done(&meters);
}

static void test_meter_holds_over_thousands_of_calls(void **state)
{
	struct meters meters;
	struct rule r = rule_of(5000, -1, -1);
	static uint64_t admitted[20000];
	uint64_t wait_ms;
	size_t n = 0;
	(void)state;
	meters_init(&meters);
	struct meter *m = meters_get(&meters, &r);
	for (uint64_t now = 0; now < 180000; now += 9) {
		if (enter(m, &r, 1, now, &wait_ms) == METER_OK)
			admitted[n++] = now;
		else
			assert_true(wait_ms >= 1 && wait_ms <= METER_WINDOW_MS);
	}
	assert_true(n >= 15000); /* three full minutes: nothing is lost */
	for (size_t i = 5000; i < n; i++)
		assert_true(admitted[i] - admitted[i - 5000] >= METER_WINDOW_MS);
	meters_done(&meters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meter_is_there_only_for_rules_that_enforce),
		cmocka_unit_test(test_meter_slides),
		cmocka_unit_test(test_meter_counts_tokens_with_the_call),
		cmocka_unit_test(test_meter_in_flight_frees_its_place),
		cmocka_unit_test(test_meter_holds_over_thousands_of_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
