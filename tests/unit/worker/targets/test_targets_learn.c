/* SPDX-License-Identifier: Apache-2.0 */
/* What calls teach: latency, bytes per token, lengths of answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/fleet.h"

static void test_targets_latency_rises_at_once_and_comes_down(void **state)
{
	struct fleet *f = *state;
	struct target_live *l = fleet_at(f, 0, TARGET_C);
	struct target_call call = fleet_call_of(ERR_OK, 200);
	assert_int_equal(target_latency_ms(l), 0);
	call.total_ms = 900;
	call.first_token_ms = 100;
	for (int i = 0; i < 10; i++)
		fleet_call(f, 0, TARGET_C, call);
	assert_int_equal(target_latency_ms(l), 100);
	call.first_token_ms = 5000;
	fleet_call(f, 0, TARGET_C, call);
	assert_in_range(target_latency_ms(l), 4900, 5000);
	l->learned.peak_at_ms -= 10000;
	assert_in_range(target_latency_ms(l), 1500, 2800);
	l->learned.peak_at_ms -= 50000;
	assert_in_range(target_latency_ms(l), 300, 600);
	/* One that has not called it has the fleet's average. */
	UNTIL(f, fleet_reports_are_written, NULL);
	while (target_latency_ms(fleet_at(f, 1, TARGET_C)) == 0)
		dbtest_turns(&f->db, 20);
	assert_int_equal(target_latency_ms(fleet_at(f, 1, TARGET_C)), 6000 / 11);
}

static void test_targets_ratios_are_learned_on_the_safe_side(void **state)
{
	struct fleet *f = *state;
	struct target_live *l = fleet_at(f, 0, TARGET_C);
	struct target_call call = fleet_call_of(ERR_OK, 200);
	assert_int_equal(target_millibytes(l), 4000);
	assert_int_equal(target_output_p95(l), 512);
	call.request_bytes = 2000;
	call.input_tokens = 1000;
	for (int i = 0; i < 20; i++)
		fleet_call(f, 0, TARGET_C, call);
	assert_in_range(target_millibytes(l), 2000, 2100);
	call.request_bytes = 900000; /* a picture */
	fleet_call(f, 0, TARGET_C, call);
	assert_in_range(target_millibytes(l), 2000, 2100);
	call.request_bytes = 5000;
	for (int i = 0; i < 3; i++)
		fleet_call(f, 0, TARGET_C, call);
	assert_in_range(target_millibytes(l), 2100, 2500);
	call.request_bytes = 0;
	for (int i = 1; i <= 100; i++) {
		call.output_tokens = i * 10;
		fleet_call(f, 0, TARGET_C, call);
	}
	assert_in_range(target_output_p95(l), 950, 1200);
	for (int i = 1; i <= 6000; i++) {
		call.output_tokens = 50;
		fleet_call(f, 0, TARGET_C, call);
	}
	assert_in_range(target_output_p95(l), 50, 60); /* it forgets */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FLEET(test_targets_latency_rises_at_once_and_comes_down),
		WITH_FLEET(test_targets_ratios_are_learned_on_the_safe_side),
	};
	return cmocka_run_group_tests(tests, fleet_migrated, fleet_over);
}
