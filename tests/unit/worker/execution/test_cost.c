/* SPDX-License-Identifier: Apache-2.0 */
/* Money: exact, rounded once, unknown stays unknown, and no number from outside overflows it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/execution/cost.h"

#define UNKNOWN (-1)

static void test_cost_is_exact_and_rounded_once(void **state)
{
	static const struct {
		struct usage usage;
		struct conf_price price;
		int64_t cost;
	} rows[] = {
		{ { .input = 0, .cached_input = 0, .output = 0 }, { 150000000, 75000000, 600000000, UNKNOWN }, 0 },
		{ { .input = 5, .cached_input = 0, .output = 2 }, { 150000000, 75000000, 600000000, UNKNOWN }, 1950 },
		{ { .input = 1000, .cached_input = 400, .output = 0 }, { 150000000, 75000000, 600000000, UNKNOWN }, 600 * 150 + 400 * 75 },
		{ { .input = 1000, .cached_input = 400, .output = 0 }, { 150000000, UNKNOWN, UNKNOWN, UNKNOWN }, 150000 }, /* cached costs as input, output was not used */
		{ { .input = 1, .cached_input = 0, .output = 0 }, { 499999, 0, 0, UNKNOWN }, 0 },
		{ { .input = 1, .cached_input = 0, .output = 0 }, { 500000, 0, 0, UNKNOWN }, 1 },
		{ { .input = 1, .cached_input = 0, .output = 1 }, { 250000, 0, 250000, UNKNOWN }, 1 }, /* one rounding, not two */
		{ { .input = 1, .cached_input = 0, .output = 1 }, { UNKNOWN, UNKNOWN, 1, UNKNOWN }, UNKNOWN },
		{ { .input = 1, .cached_input = 0, .output = 1 }, { 1, 1, UNKNOWN, UNKNOWN }, UNKNOWN },
		{ { .input = 0, .cached_input = 0, .output = 7 }, { UNKNOWN, UNKNOWN, 1000000, UNKNOWN }, 7 },
		{ { .input = 10, .cached_input = 99, .output = 0 }, { 2000000, 1000000, 0, UNKNOWN }, 10 }, /* more cached than there was */
		{ { .input = -5, .cached_input = -7, .output = -9 }, { 1000000, 1000000, 1000000, UNKNOWN }, 0 },
		{ { .input = 100, .cached_input = 20, .cache_write = 30 }, { 1000000, 100000, 0, 1250000 }, 50 + 2 + 38 }, /* 37.5 rounded up */
		{ { .input = 10, .cache_write = 10 }, { 1000000, 0, 0, UNKNOWN }, 10 }, /* without a price of its own as input */
		{ { .input = INT64_MAX, .cached_input = 0, .output = INT64_MAX }, { INT64_MAX, 0, INT64_MAX, UNKNOWN }, INT64_MAX },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (cost_of(&rows[i].usage, &rows[i].price) != rows[i].cost)
			fail_msg("row %zu: %lld", i, (long long)cost_of(&rows[i].usage, &rows[i].price));
}

static void test_cost_of_several_is_unknown_when_one_is(void **state)
{
	(void)state;
	assert_int_equal(cost_add(1, 2), 3);
	assert_int_equal(cost_add(0, UNKNOWN), UNKNOWN);
	assert_int_equal(cost_add(UNKNOWN, 5), UNKNOWN);
	assert_int_equal(cost_add(INT64_MAX, 1), INT64_MAX);
}

static void test_cost_estimate_is_a_quarter_token_a_byte_and_a_tenth_more(void **state)
{
	(void)state;
	assert_int_equal(cost_tokens_of_bytes(0), 0);
	assert_int_equal(cost_tokens_of_bytes(-1), 0);
	assert_int_equal(cost_tokens_of_bytes(1), 1);
	assert_int_equal(cost_tokens_of_bytes(40), 11);
	assert_int_equal(cost_tokens_of_bytes(4000), 1100);
	assert_true(cost_tokens_of_bytes(INT64_MAX) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cost_is_exact_and_rounded_once),
		cmocka_unit_test(test_cost_of_several_is_unknown_when_one_is),
		cmocka_unit_test(test_cost_estimate_is_a_quarter_token_a_byte_and_a_tenth_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
