/* SPDX-License-Identifier: Apache-2.0 */
/* Who comes when: the virtual times that jobs get. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/jobs/fairness.h"

#define LANE 1
#define PRIO 4

static int64_t give(struct fairness *f, int64_t tenant, int weight)
{
	int64_t from;
	return fairness_pass(f, tenant, weight, LANE, PRIO, 0, &from);
}

static void test_fairness_a_flood_delays_only_itself(void **state)
{
	(void)state;
	struct fairness f;
	fairness_init(&f);
	for (int i = 0; i < 1000; i++)
		give(&f, 1, 1);
	int64_t flood = give(&f, 1, 1), other = give(&f, 2, 1);
	assert_int_equal(other, FAIR_COST);
	assert_int_equal(flood, 1001 * (int64_t)FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_an_idle_tenant_saves_nothing_up(void **state)
{
	(void)state;
	struct fairness f;
	int64_t from;
	fairness_init(&f);
	give(&f, 1, 1);
	fairness_floor(&f, LANE, PRIO, 50 * (int64_t)FAIR_COST);
	assert_int_equal(fairness_pass(&f, 1, 1, LANE, PRIO, 0, &from), 51 * (int64_t)FAIR_COST);
	assert_int_equal(from, 50 * (int64_t)FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_floors_never_fall(void **state)
{
	(void)state;
	struct fairness f;
	fairness_init(&f);
	fairness_floor(&f, LANE, PRIO, 9000000);
	fairness_floor(&f, LANE, PRIO, 5000000);
	assert_int_equal(give(&f, 1, 1), 9000000 + FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_weight_divides_the_cost(void **state)
{
	(void)state;
	struct fairness f;
	fairness_init(&f);
	for (int i = 0; i < 10; i++)
		give(&f, 1, 10);
	assert_int_equal(give(&f, 1, 10), 11 * (int64_t)FAIR_COST / 10);
	assert_int_equal(give(&f, 2, 1), FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_lanes_and_priorities_are_apart(void **state)
{
	(void)state;
	struct fairness f;
	int64_t from;
	fairness_init(&f);
	for (int i = 0; i < 5; i++)
		give(&f, 1, 1);
	assert_int_equal(fairness_pass(&f, 1, 1, LANE + 1, PRIO, 0, &from), FAIR_COST);
	assert_int_equal(fairness_pass(&f, 1, 1, LANE, PRIO + 1, 0, &from), FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_counts_what_other_processes_gave(void **state)
{
	(void)state;
	struct fairness f;
	struct id other = id_make(1), third = id_make(2);
	fairness_init(&f);
	give(&f, 1, 1);
	fairness_others(&f, other, 1, LANE, PRIO, 70 * (int64_t)FAIR_COST); /* first sight: only noted */
	assert_int_equal(give(&f, 1, 1), 2 * (int64_t)FAIR_COST);
	fairness_others(&f, other, 1, LANE, PRIO, 75 * (int64_t)FAIR_COST);
	fairness_others(&f, third, 1, LANE, PRIO, 3 * (int64_t)FAIR_COST);
	assert_int_equal(give(&f, 1, 1), 8 * (int64_t)FAIR_COST);
	fairness_others(&f, other, 2, LANE, PRIO, 99); /* a tenant that is not active here */
	assert_int_equal(give(&f, 2, 1), FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_forgets_the_unused(void **state)
{
	(void)state;
	struct fairness f;
	int64_t from;
	fairness_init(&f);
	for (int64_t tenant = 1; tenant <= 100; tenant++)
		fairness_pass(&f, tenant, 1, LANE, PRIO, (uint64_t)tenant, &from);
	fairness_pass(&f, 1, 1, LANE, PRIO, 200, &from);
	fairness_forget(&f, 51);
	assert_int_equal(f.shares.n, 51); /* 51 to 100, and 1 */
	assert_int_equal(give(&f, 1, 1), 3 * (int64_t)FAIR_COST);
	assert_int_equal(give(&f, 2, 1), FAIR_COST);
	fairness_done(&f);
}

static void test_fairness_a_backlog_is_not_forgotten(void **state)
{
	(void)state;
	struct fairness f;
	int64_t from;
	fairness_init(&f);
	for (int i = 0; i < 5000; i++)
		fairness_pass(&f, 1, 1, LANE, PRIO, 1, &from);
	fairness_forget(&f, 100000);
	assert_int_equal(fairness_pass(&f, 1, 1, LANE, PRIO, 2, &from), 5001 * (int64_t)FAIR_COST);
	fairness_floor(&f, LANE, PRIO, 4500 * (int64_t)FAIR_COST); /* nearly all of it was claimed */
	fairness_forget(&f, 100000);
	assert_int_equal(f.shares.n, 0);
	fairness_done(&f);
}

static void test_fairness_what_was_not_submitted_is_returned(void **state)
{
	(void)state;
	struct fairness f;
	int64_t from;
	fairness_init(&f);
	fairness_pass(&f, 1, 2, LANE, PRIO, 1, &from);
	for (int i = 0; i < 1000; i++)
		fairness_pass(&f, 1, 2, LANE, PRIO, 1, &from);
	fairness_return(&f, 1, 2, LANE, PRIO, 1000);
	fairness_return(&f, 2, 2, LANE, PRIO, 1000); /* nobody knows this one */
	assert_int_equal(fairness_pass(&f, 1, 2, LANE, PRIO, 1, &from), FAIR_COST);
	fairness_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fairness_a_flood_delays_only_itself),
		cmocka_unit_test(test_fairness_an_idle_tenant_saves_nothing_up),
		cmocka_unit_test(test_fairness_floors_never_fall),
		cmocka_unit_test(test_fairness_weight_divides_the_cost),
		cmocka_unit_test(test_fairness_lanes_and_priorities_are_apart),
		cmocka_unit_test(test_fairness_counts_what_other_processes_gave),
		cmocka_unit_test(test_fairness_forgets_the_unused),
		cmocka_unit_test(test_fairness_a_backlog_is_not_forgotten),
		cmocka_unit_test(test_fairness_what_was_not_submitted_is_returned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
