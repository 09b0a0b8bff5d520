/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop's promises: timers fire once, in order, and can be moved and stopped from anywhere; soons run in order, and
 * one that is put off by a soon waits; signals arrive; nothing but work keeps the loop going.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>

#include "common/loop.h"

#define MANY 20000

struct tick {
	struct timer t;
	size_t fired;
	uint64_t due_ms;
};

static uint64_t last_due_ms;
static size_t fired_total;

static void on_tick(struct timer *t)
{
	struct tick *k = container_of(t, struct tick, t);
	assert_false(timer_is_armed(t));
	assert_true(k->due_ms >= last_due_ms);
	assert_true(loop_now_ms(t->loop) >= k->due_ms);
	last_due_ms = k->due_ms;
	k->fired++;
	fired_total++;
}

static void tick_start(struct tick *k, uint64_t ms)
{
	timer_start(&k->t, ms);
	k->due_ms = k->t.due_ms;
}

static void test_timers_fire_once_in_order_of_time(void **state)
{
	(void)state;
	struct loop l;
	loop_init(&l);
	struct tick *ticks = calloc(MANY, sizeof(*ticks));
	uint32_t x = 1;
	last_due_ms = 0;
	fired_total = 0;
	for (size_t i = 0; i < MANY; i++) {
		x = x * 1664525 + 1013904223;
		timer_init(&ticks[i].t, &l, on_tick);
		tick_start(&ticks[i], x >> 26);
	}
	/* Every third is stopped, every fourth moved. */
	size_t stopped = 0;
	for (size_t i = 0; i < MANY; i++) {
		if (i % 3 == 0) {
			timer_stop(&ticks[i].t);
			timer_stop(&ticks[i].t);
			stopped++;
		} else if (i % 4 == 0) {
			tick_start(&ticks[i], (i * 7) % 90);
		}
	}
	assert_int_equal(l.heap_n, MANY - stopped);
	loop_run(&l);
	assert_int_equal(fired_total, MANY - stopped);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(ticks[i].fired, i % 3 ? 1 : 0);
	free(ticks);
	loop_done(&l);
}

static int again_left;

static void on_again(struct timer *t)
{
	if (--again_left)
		timer_start(t, 0);
}

static void test_timer_may_restart_itself(void **state)
{
	(void)state;
	struct loop l;
	struct timer t;
	loop_init(&l);
	timer_init(&t, &l, on_again);
	again_left = 50;
	timer_start(&t, 0);
	uint64_t turns = l.turns;
	loop_run(&l);
	assert_int_equal(again_left, 0);
	assert_true(l.turns > turns + 45); /* sockets had their turn in between */
	loop_done(&l);
}

static struct timer *victim;

static void on_stop_other(struct timer *t)
{
	(void)t;
	timer_stop(victim);
}

static void on_never(struct timer *t)
{
	(void)t;
	fail_msg("a stopped timer fired");
}

static void test_timer_stopped_by_one_due_at_the_same_time_is_silent(void **state)
{
	(void)state;
	struct loop l;
	struct timer a, b;
	loop_init(&l);
	timer_init(&a, &l, on_stop_other);
	timer_init(&b, &l, on_never);
	victim = &b;
	timer_start(&a, 1);
	timer_start(&b, 2);
	/* Both are due when the loop looks. */
	while (uv_hrtime() / 1000000 < b.due_ms)
		;
	loop_run(&l);
	assert_false(timer_is_armed(&b));
	loop_done(&l);
}

struct note {
	struct soon s;
	struct loop *l;
	int order;
	uint64_t turn;
};

static int next_order;
static struct note notes[5];

static void on_note(struct soon *s)
{
	struct note *n = container_of(s, struct note, s);
	n->order = ++next_order;
	n->turn = n->l->turns;
	if (n == &notes[0])
		loop_soon(n->l, &notes[4].s);
	if (n == &notes[1])
		loop_soon_cancel(n->l, &notes[2].s);
}

static void test_soons_run_in_order_and_can_be_canceled(void **state)
{
	(void)state;
	struct loop l;
	loop_init(&l);
	next_order = 0;
	for (size_t i = 0; i < ARRAY_LEN(notes); i++)
		notes[i] = (struct note){ .s = { .fn = on_note }, .l = &l };
	for (size_t i = 0; i < 4; i++)
		loop_soon(&l, &notes[i].s);
	loop_soon(&l, &notes[0].s); /* queued already */
	loop_run(&l);
	assert_int_equal(notes[0].order, 1);
	assert_int_equal(notes[1].order, 2);
	assert_int_equal(notes[2].order, 0);
	assert_int_equal(notes[3].order, 3);
	assert_int_equal(notes[4].order, 4); /* put off by a soon: after all that were queued */
	loop_done(&l);
}

static struct loop *signal_loop;
static int signal_seen;

static void on_usr1(void *arg, int signum)
{
	assert_ptr_equal(arg, &signal_seen);
	signal_seen = signum;
	loop_stop(signal_loop);
}

static void on_too_late(struct timer *t)
{
	(void)t;
	fail_msg("no signal came");
}

static void test_signal_is_called_on_the_loop(void **state)
{
	(void)state;
	struct loop l;
	struct timer limit;
	loop_init(&l);
	signal_loop = &l;
	signal_seen = 0;
	assert_int_equal(loop_on_signal(&l, SIGUSR1, on_usr1, &signal_seen), 0);
	timer_init(&limit, &l, on_too_late);
	timer_start(&limit, 10000);
	raise(SIGUSR1);
	loop_run(&l);
	assert_int_equal(signal_seen, SIGUSR1);
	timer_stop(&limit);
	loop_signals_done(&l);
	loop_done(&l);
}

static void test_signals_alone_do_not_keep_the_loop_going(void **state)
{
	(void)state;
	struct loop l;
	loop_init(&l);
	assert_int_equal(loop_on_signal(&l, SIGUSR2, on_usr1, NULL), 0);
	loop_run(&l); /* returns at once */
	loop_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_fire_once_in_order_of_time),
		cmocka_unit_test(test_timer_may_restart_itself),
		cmocka_unit_test(test_timer_stopped_by_one_due_at_the_same_time_is_silent),
		cmocka_unit_test(test_soons_run_in_order_and_can_be_canceled),
		cmocka_unit_test(test_signal_is_called_on_the_loop),
		cmocka_unit_test(test_signals_alone_do_not_keep_the_loop_going),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
