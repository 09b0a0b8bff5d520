/* SPDX-License-Identifier: Apache-2.0 */
/* No receiver of webhooks takes all slots; one that fails has one, and those together a quarter. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/webhooks/receivers.h"

#define SLOTS 16

static struct str numbered(struct buf *b, int i)
{
	buf_clear(b);
	buf_printf(b, "host-%d:443", i);
	return buf_str(b);
}

static void fail_often(struct receivers *r, struct str name)
{
	for (int i = 0; i < RECEIVER_FAILURES; i++)
		receivers_end(r, receivers_begin(r, name), RECEIVER_FAILED, 0);
}

static void test_one_receiver_leaves_a_quarter_to_others(void **state)
{
	(void)state;
	struct receivers r;
	struct receiver *all[SLOTS];
	int n = 0;
	receivers_init(&r, SLOTS);
	while (receivers_room(&r, STR("a")) > 0)
		all[n++] = receivers_begin(&r, STR("a"));
	assert_int_equal(n, SLOTS * 3 / 4);
	assert_true(receivers_are_uneven(&r));
	assert_int_equal(receivers_room(&r, STR("b")), SLOTS * 3 / 4);
	receivers_end(&r, all[--n], RECEIVER_TOOK, 0);
	assert_false(receivers_are_uneven(&r));
	assert_int_equal(receivers_room(&r, STR("a")), 1);
	while (n > 0)
		receivers_end(&r, all[--n], RECEIVER_TOOK, 0);
	assert_int_equal(r.by_name.n, 0);
	receivers_done(&r);
}

static void test_one_that_fails_has_one_slot_until_it_takes_something(void **state)
{
	(void)state;
	struct receivers r;
	receivers_init(&r, SLOTS);
	fail_often(&r, STR("a"));
	assert_int_equal(receivers_room(&r, STR("a")), 1);
	assert_true(receivers_are_uneven(&r));
	struct receiver *probe = receivers_begin(&r, STR("a"));
	assert_int_equal(receivers_room(&r, STR("a")), 0);
	receivers_end(&r, probe, RECEIVER_UNKNOWN, 0); /* says nothing */
	assert_int_equal(receivers_room(&r, STR("a")), 1);
	receivers_end(&r, receivers_begin(&r, STR("a")), RECEIVER_TOOK, 0);
	assert_int_equal(receivers_room(&r, STR("a")), SLOTS * 3 / 4);
	assert_false(receivers_are_uneven(&r));
	receivers_done(&r);
}

static void test_those_that_fail_have_a_quarter_together(void **state)
{
	(void)state;
	struct receivers r;
	struct receiver *probes[SLOTS];
	struct buf name;
	int begun = 0;
	receivers_init(&r, SLOTS);
	buf_init(&name, 64);
	for (int i = 0; i < SLOTS; i++)
		fail_often(&r, numbered(&name, i));
	for (int i = 0; i < SLOTS; i++)
		if (receivers_room(&r, numbered(&name, i)) > 0)
			probes[begun++] = receivers_begin(&r, buf_str(&name));
	assert_int_equal(begun, SLOTS / 4);
	receivers_end(&r, probes[--begun], RECEIVER_FAILED, 0);
	assert_int_equal(receivers_room(&r, numbered(&name, SLOTS - 1)), 1);
	while (begun > 0)
		receivers_end(&r, probes[--begun], RECEIVER_FAILED, 0);
	assert_int_equal(r.failing, 0);
	receivers_done(&r);
	buf_done(&name);
}

/* What was in flight when it began to fail counts as failing; what is in flight when it takes something, no more. */
static void test_what_is_in_flight_changes_sides(void **state)
{
	(void)state;
	struct receivers r;
	struct receiver *all[5];
	receivers_init(&r, SLOTS);
	for (int i = 0; i < 5; i++)
		all[i] = receivers_begin(&r, STR("a"));
	for (int i = 0; i < 3; i++)
		receivers_end(&r, all[i], RECEIVER_FAILED, 0);
	assert_int_equal(r.failing, 2);
	receivers_end(&r, all[3], RECEIVER_TOOK, 0);
	assert_int_equal(r.failing, 0);
	receivers_end(&r, all[4], RECEIVER_TOOK, 0);
	receivers_done(&r);
}

static void test_it_is_forgotten_some_time_after_its_last_failure(void **state)
{
	(void)state;
	struct receivers r;
	struct buf name;
	receivers_init(&r, SLOTS);
	fail_often(&r, STR("a"));
	receivers_forget(&r, RECEIVER_IDLE_MS - 1);
	assert_int_equal(r.by_name.n, 1);
	receivers_forget(&r, RECEIVER_IDLE_MS);
	assert_int_equal(r.by_name.n, 0);
	buf_init(&name, 64);
	for (int i = 0; i < RECEIVERS_MAX + 10; i++)
		fail_often(&r, numbered(&name, i));
	assert_true(r.by_name.n <= RECEIVERS_MAX);
	buf_done(&name);
	receivers_done(&r);
}

static void test_those_with_less_room_than_usual_are_listed(void **state)
{
	(void)state;
	struct receivers r;
	struct db_array names, rooms;
	receivers_init(&r, SLOTS);
	db_array_init(&names, DB_TEXT, 4096);
	db_array_init(&rooms, DB_INT4, 4096);
	fail_often(&r, STR("dead"));
	struct receiver *one = receivers_begin(&r, STR("well"));
	receivers_list(&r, 4, &names, &rooms);
	assert_int_equal(names.n, 1);
	assert_int_equal(rooms.n, 1);
	assert_true(str_find(buf_str(&names.b), STR("dead")) >= 0);
	receivers_end(&r, one, RECEIVER_TOOK, 0);
	db_array_done(&names);
	db_array_done(&rooms);
	receivers_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_receiver_leaves_a_quarter_to_others),
		cmocka_unit_test(test_one_that_fails_has_one_slot_until_it_takes_something),
		cmocka_unit_test(test_those_that_fail_have_a_quarter_together),
		cmocka_unit_test(test_what_is_in_flight_changes_sides),
		cmocka_unit_test(test_it_is_forgotten_some_time_after_its_last_failure),
		cmocka_unit_test(test_those_with_less_room_than_usual_are_listed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
