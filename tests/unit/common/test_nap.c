/* SPDX-License-Identifier: Apache-2.0 */
/* A nap completes with 0 after its time, or with -ERR_CANCELED at once when canceled; then its timer is silent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/nap.h"

struct sleeper {
	struct flow flow;
	struct nap nap;
	struct loop *l;
	uint64_t ms;
	int result, ends;
};

static enum flow_next start_nap(struct flow *f)
{
	struct sleeper *s = container_of(f, struct sleeper, flow);
	nap_start(&s->nap, s->l, f, s->ms);
	return FLOW_WAIT;
}

static void on_end(struct flow *f, int result)
{
	struct sleeper *s = container_of(f, struct sleeper, flow);
	s->result = result;
	s->ends++;
}

static const struct flow_step steps[] = {
	{ "nap", start_nap, NULL },
	{ NULL, NULL, NULL },
};

static void test_nap_completes_after_its_time(void **state)
{
	(void)state;
	struct loop l;
	loop_init(&l);
	struct sleeper s = { .l = &l, .ms = 5, .result = -1 };
	uint64_t before = loop_now_ms(&l);
	flow_start(&s.flow, "test", steps, on_end);
	assert_int_equal(s.ends, 0);
	loop_run(&l);
	assert_int_equal(s.ends, 1);
	assert_int_equal(s.result, 0);
	assert_true(loop_now_ms(&l) >= before + 5);
	loop_done(&l);
}

static void test_nap_canceled_completes_at_once(void **state)
{
	(void)state;
	struct loop l;
	loop_init(&l);
	struct sleeper s = { .l = &l, .ms = 3600 * 1000 };
	flow_start(&s.flow, "test", steps, on_end);
	flow_cancel(&s.flow, -ERR_DRAINING);
	assert_int_equal(s.ends, 1);
	assert_int_equal(s.result, -ERR_DRAINING);
	loop_run(&l); /* returns: nothing is armed */
	assert_int_equal(s.ends, 1);
	loop_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nap_completes_after_its_time),
		cmocka_unit_test(test_nap_canceled_completes_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
