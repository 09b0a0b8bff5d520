/* SPDX-License-Identifier: Apache-2.0 */
/* Money: exact, rounded once, unknown stays unknown, and no number from outside overflows it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/cost.h"

#define UNKNOWN (-1)

static void test_cost_is_exact_and_rounded_once(void **state)
{
	static const struct {
		struct usage usage;
		struct conf_price price;
		int64_t cost;
	} rows[] = {
		{ { 0, 0, 0 }, { 150000000, 75000000, 600000000 }, 0 },
		{ { 5, 0, 2 }, { 150000000, 75000000, 600000000 }, 1950 },
		{ { 1000, 400, 0 }, { 150000000, 75000000, 600000000 }, 600 * 150 + 400 * 75 },
		{ { 1000, 400, 0 }, { 150000000, UNKNOWN, UNKNOWN }, 150000 }, /* cached costs as input, output was not used */
		{ { 1, 0, 0 }, { 499999, 0, 0 }, 0 },
		{ { 1, 0, 0 }, { 500000, 0, 0 }, 1 },
		{ { 1, 0, 1 }, { 250000, 0, 250000 }, 1 }, /* one rounding, not two */
		{ { 1, 0, 1 }, { UNKNOWN, UNKNOWN, 1 }, UNKNOWN },
		{ { 1, 0, 1 }, { 1, 1, UNKNOWN }, UNKNOWN },
		{ { 0, 0, 7 }, { UNKNOWN, UNKNOWN, 1000000 }, 7 },
		{ { 10, 99, 0 }, { 2000000, 1000000, 0 }, 10 }, /* more cached than there was */
		{ { -5, -7, -9 }, { 1000000, 1000000, 1000000 }, 0 },
		{ { INT64_MAX, 0, INT64_MAX }, { INT64_MAX, 0, INT64_MAX }, INT64_MAX },
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
