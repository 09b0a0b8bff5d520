/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner's promises: steps run in the table's order, instant completion does not grow the stack, exactly one
 * completion, a cancel reaches the op in flight, and the first reason counts. Ops here are fake: they complete at once
 * or on command.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/flow.h"

struct work {
	struct flow flow;
	struct op op;
	int instant_rc; /* what an instant op completes with */
	int seen[8];
	int n;
	int loops;
	bool ended;
	int result;
	uintptr_t stack_low, stack_high;
};

static struct work *work_of(struct flow *f)
{
	return container_of(f, struct work, flow);
}

static void fake_cancel(struct op *op)
{
	op_done(op, -ERR_CANCELED);
}

static void note(struct flow *f, int what)
{
	struct work *w = work_of(f);
	assert_in_range(w->n, 0, 7);
	w->seen[w->n++] = what;
}

static void on_end(struct flow *f, int result)
{
	struct work *w = work_of(f);
	assert_false(w->ended);
	w->ended = true;
	w->result = result;
}

static enum flow_next start_plain(struct flow *f)
{
	note(f, 1);
	return FLOW_NEXT;
}

static enum flow_next start_wait(struct flow *f)
{
	op_start(&work_of(f)->op, f, "a fake", fake_cancel);
	return FLOW_WAIT;
}

static enum flow_next start_instant(struct flow *f)
{
	struct work *w = work_of(f);
	op_start(&w->op, f, "a fake", fake_cancel);
	op_done(&w->op, w->instant_rc);
	return FLOW_WAIT;
}

static enum flow_next done_note(struct flow *f, int rc)
{
	note(f, rc);
	return FLOW_NEXT;
}

static void test_steps_run_in_the_order_of_the_table(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "plain", start_plain, NULL },
		{ "wait", start_wait, done_note },
		{ "instant", start_instant, done_note },
		{ NULL, NULL, NULL },
	};
	struct work w = { .instant_rc = 7 };
	flow_start(&w.flow, "test", steps, on_end);
	assert_false(w.ended);
	assert_int_equal(flow_live()->n, 1);
	assert_ptr_equal(w.flow.waiting, &w.op);
	assert_string_equal(w.op.waiting_for, "a fake");
	op_done(&w.op, 5);
	assert_true(w.ended);
	assert_int_equal(w.result, 0);
	assert_int_equal(w.n, 3);
	assert_int_equal(w.seen[0], 1);
	assert_int_equal(w.seen[1], 5);
	assert_int_equal(w.seen[2], 7);
	assert_int_equal(flow_live()->n, 0);
	char trace[64];
	assert_string_equal(flow_trace(&w.flow, trace, sizeof(trace)), "plain>wait>instant");
	assert_string_equal(flow_trace(&w.flow, trace, 11), "plain>wait");
	assert_string_equal(flow_trace(&w.flow, trace, 10), "plain");
}

static void test_failure_without_done_ends_the_flow_with_it(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "instant", start_instant, NULL },
		{ "plain", start_plain, NULL },
		{ NULL, NULL, NULL },
	};
	struct work w = { .instant_rc = -ERR_DATABASE };
	flow_start(&w.flow, "test", steps, on_end);
	assert_true(w.ended);
	assert_int_equal(w.result, -ERR_DATABASE);
	assert_int_equal(w.n, 0);
}

static enum flow_next done_loop(struct flow *f, int rc)
{
	struct work *w = work_of(f);
	char here;
	uintptr_t at = (uintptr_t)&here;
	w->stack_low = MIN(w->stack_low, at);
	w->stack_high = MAX(w->stack_high, at);
	assert_int_equal(rc, 0);
	return ++w->loops < 100000 ? flow_jump(f, 0) : flow_over(f, 42);
}

static void test_instant_completion_does_not_grow_the_stack(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "instant", start_instant, done_loop },
		{ NULL, NULL, NULL },
	};
	struct work w = { .stack_low = UINTPTR_MAX };
	flow_start(&w.flow, "test", steps, on_end);
	assert_int_equal(w.loops, 100000);
	assert_int_equal(w.result, 42);
	assert_int_equal(w.stack_low, w.stack_high);
	char trace[FLOW_HISTORY * 8];
	flow_trace(&w.flow, trace, sizeof(trace));
	assert_int_equal(strlen(trace), FLOW_HISTORY * 8 - 1); /* only the last 16 are kept */
}

static void test_cancel_reaches_the_op_in_flight(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "wait", start_wait, NULL },
		{ "plain", start_plain, NULL },
		{ NULL, NULL, NULL },
	};
	struct work w = { 0 };
	flow_start(&w.flow, "test", steps, on_end);
	flow_cancel(&w.flow, -ERR_LEASE_LOST);
	assert_true(w.ended);
	assert_int_equal(w.result, -ERR_LEASE_LOST);
	assert_int_equal(w.n, 0);
}

static enum flow_next start_cancel_self(struct flow *f)
{
	flow_cancel(f, -ERR_EXPIRED);
	flow_cancel(f, -ERR_DRAINING); /* too late to count */
	assert_true(f->canceled);
	return FLOW_NEXT;
}

static enum flow_next start_wait_and_cancel(struct flow *f)
{
	op_start(&work_of(f)->op, f, "a fake", fake_cancel);
	op_cancel(&work_of(f)->op);
	return FLOW_WAIT;
}

static void test_cancel_while_running_is_a_flag(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "cancel", start_cancel_self, NULL },
		{ "wait", start_wait_and_cancel, done_note },
		{ NULL, NULL, NULL },
	};
	struct work w = { 0 };
	flow_start(&w.flow, "test", steps, on_end);
	assert_true(w.ended);
	assert_int_equal(w.result, 0); /* the steps decided to go on */
	assert_int_equal(w.flow.cancel_rc, -ERR_EXPIRED);
	assert_int_equal(w.seen[0], -ERR_CANCELED);
}

static int alone_rc;

static void on_alone(struct op *op, int rc)
{
	assert_false(op->active);
	alone_rc = rc;
}

static void test_op_without_a_flow_calls_on_done(void **state)
{
	(void)state;
	struct op op = { .on_done = on_alone };
	op_cancel(&op); /* nothing: not active */
	op_start(&op, NULL, "a fake", fake_cancel);
	op_cancel(&op);
	assert_int_equal(alone_rc, -ERR_CANCELED);
	op_start(&op, NULL, "a fake", NULL);
	op_cancel(&op); /* cannot be canceled */
	assert_true(op.active);
	op_done(&op, 3);
	assert_int_equal(alone_rc, 3);
}

static void end_and_free(struct flow *f, int result)
{
	alone_rc = result;
	free(work_of(f));
}

static void test_end_may_free_the_flow(void **state)
{
	(void)state;
	static const struct flow_step steps[] = {
		{ "wait", start_wait, NULL },
		{ NULL, NULL, NULL },
	};
	struct work *w = calloc(1, sizeof(*w));
	flow_start(&w->flow, "test", steps, end_and_free);
	op_done(&w->op, 0); /* the op lies in what is freed */
	assert_int_equal(alone_rc, 0);
	w = calloc(1, sizeof(*w));
	flow_start(&w->flow, "test", steps, end_and_free);
	flow_cancel(&w->flow, -ERR_EXPIRED);
	assert_int_equal(alone_rc, -ERR_EXPIRED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_run_in_the_order_of_the_table),
		cmocka_unit_test(test_failure_without_done_ends_the_flow_with_it),
		cmocka_unit_test(test_instant_completion_does_not_grow_the_stack),
		cmocka_unit_test(test_cancel_reaches_the_op_in_flight),
		cmocka_unit_test(test_cancel_while_running_is_a_flag),
		cmocka_unit_test(test_op_without_a_flow_calls_on_done),
		cmocka_unit_test(test_end_may_free_the_flow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
