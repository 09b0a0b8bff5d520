/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits, keys, operators and the budget of retries: what stops a target, and for whom. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/fleet.h"
#include "tests/lib/pg.h"

static void test_targets_a_park_is_known_to_all(void **state)
{
	struct fleet *f = *state;
	struct target_call call = fleet_call_of(ERR_PROVIDER_RATE_LIMIT, 429);
	call.retry_after_ms = 40000;
	fleet_call(f, 0, TARGET_A, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_CLOSED);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	struct gate_state g = fleet_gate(f, 2, TARGET_A);
	assert_true(g.rate_limited);
	assert_false(g.needs_person);
	assert_in_range(g.wait_ms, 30000, 44000);
	assert_int_equal(fleet_gate(f, 2, TARGET_B).gate, GATE_OPEN);
	call.retry_after_ms = 50000;
	fleet_call(f, 1, TARGET_A, call);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and parked_until > now() + interval '45 s' and parked_why = 'rate limit'");
	assert_int_equal(pg_test_number("select count(*) from target_event where kind = 'parked'"), 1); /* one row of parks */
	assert_int_equal(pg_test_number("select breaker + fails_in_row from target_state where name = 'one/a'"), 0);
}

static void test_targets_rate_limits_without_a_hint_double(void **state)
{
	struct fleet *f = *state;
	struct target_live *l = fleet_at(f, 0, TARGET_C);
	struct target_call call = fleet_call_of(ERR_PROVIDER_RATE_LIMIT, 429);
	static const int64_t want[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		l->parked_until_ms = 0; /* it is over */
		fleet_call(f, 0, TARGET_C, call);
		assert_int_equal(fleet_gate(f, 0, TARGET_C).wait_ms, want[i]);
	}
	/* Those that were out at the last park count once. */
	fleet_good(f, 0, TARGET_C);
	l->parked_until_ms = 0;
	fleet_call(f, 0, TARGET_C, call);
	call.total_ms = 5000;
	fleet_call(f, 0, TARGET_C, call);
	fleet_call(f, 0, TARGET_C, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_C).wait_ms, 1000);
}

static void test_targets_a_late_refusal_parks_again_where_the_park_is_over(void **state)
{
	struct fleet *f = *state;
	struct target_call call = fleet_call_of(ERR_PROVIDER_RATE_LIMIT, 429);
	call.retry_after_ms = 1;
	fleet_call(f, 0, TARGET_C, call);
	UNTIL(f, fleet_reports_are_written, NULL);
	uint64_t began = fleet_at(f, 0, TARGET_C)->park_began_ms;
	while (f->workers[0].targets->last_read_ms < began + 500)
		dbtest_turns(&f->db, 20);
	assert_int_equal(fleet_at(f, 0, TARGET_C)->park_began_ms, began); /* a read of what is over is no new park */
	call.retry_after_ms = -1;
	call.total_ms = 20000; /* it began before the park */
	fleet_call(f, 0, TARGET_C, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_C).wait_ms, 1000);
}

static void test_targets_headers_park_until_the_reset(void **state)
{
	struct fleet *f = *state;
	struct limit_headers h = { 500, 7, 1000, 20000, 0, 30000, -1, -1, -1, -1, -1, -1 };
	targets_headers(f->workers[0].targets, fleet_at(f, 0, TARGET_C), &h);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_C, GATE_CLOSED }));
	assert_in_range(fleet_gate(f, 1, TARGET_C).wait_ms, 20000, 30000);
	assert_int_equal(pg_test_number("select (limits_learned::json->'requests'->>'remaining')::int * 100000 + (limits_learned::json->'tokens'->>'limit')::int"
	                                " from target_state where name = 'two/c'"), 720000);
	assert_int_equal(pg_test_number("select count(*) from target_state where name = 'two/c' and limits_learned like '%output%'"), 0);
}

/* A garbled date is in the year 9999; a quota of a day turns within one. */
static void test_targets_no_hint_parks_for_more_than_a_day(void **state)
{
	const int64_t day_ms = 24 * 3600 * 1000;
	struct fleet *f = *state;
	struct target_call call = fleet_call_of(ERR_QUOTA, 429);
	struct limit_headers h = { 500, 0, 365 * day_ms, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
	call.retry_after_ms = 365 * day_ms;
	fleet_call(f, 0, TARGET_A, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).wait_ms, day_ms);
	targets_headers(f->workers[0].targets, fleet_at(f, 0, TARGET_C), &h);
	assert_int_equal(fleet_gate(f, 0, TARGET_C).wait_ms, day_ms);
}

static void test_targets_a_refused_key_stops_all_its_targets(void **state)
{
	struct fleet *f = *state;
	struct target_call call = fleet_call_of(ERR_PROVIDER_AUTH, 401);
	call.message = STR("bad \xff key\n");
	fleet_call(f, 0, TARGET_A, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_B).gate, GATE_CLOSED);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_B, GATE_CLOSED }));
	assert_true(fleet_gate(f, 1, TARGET_B).needs_person);
	assert_int_equal(fleet_gate(f, 1, TARGET_B).wait_ms, -1);
	assert_string_equal(fleet_gate(f, 1, TARGET_B).why, "the provider refuses its key");
	assert_int_equal(fleet_gate(f, 1, TARGET_C).gate, GATE_OPEN);
	assert_int_equal(pg_test_number("select count(*) from target_event where kind = 'disabled' and detail::json->>'class' = 'provider_auth'"), 2);

	/* A target of the same key that nobody has met yet. */
	struct conf_target later = f->targets[TARGET_A];
	later.name = STR("one/later");
	struct target_live *l = targets_find(f->workers[1].targets, &later);
	struct gate_state g;
	targets_gate(l, loop_now_ms(&f->db.loop), false, &g);
	assert_int_equal(g.gate, GATE_CLOSED);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/later' and disabled_why like 'provider_auth: %'");

	/* The configuration has another key. */
	memcpy(f->targets[TARGET_A].key_id, "bbbbbbbbbbbbbbbb", 16);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_OPEN);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_event where name = 'one/a' and kind = 'enabled'");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_OPEN }));
	assert_int_equal(fleet_gate(f, 2, TARGET_B).gate, GATE_CLOSED);

	/* An operator enables the other. */
	pg_test_sql("update target_state set disabled_at = null, disabled_why = null where name = 'one/b'; notify millrace_targets");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_B, GATE_OPEN }));
}

static void test_targets_one_odd_answer_disables_no_model(void **state)
{
	struct fleet *f = *state;
	const struct target_call call = fleet_call_of(ERR_PROVIDER_NOT_FOUND, 404);
	fleet_call(f, 0, TARGET_A, call);
	fleet_call(f, 0, TARGET_A, call);
	fleet_good(f, 0, TARGET_A);
	fleet_call(f, 0, TARGET_A, call);
	fleet_call(f, 0, TARGET_A, call);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_OPEN);
	fleet_call(f, 0, TARGET_A, call);
	assert_string_equal(fleet_gate(f, 0, TARGET_A).why, "the provider does not know the model");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	assert_int_equal(fleet_gate(f, 0, TARGET_B).gate, GATE_OPEN);
	assert_int_equal(pg_test_number("select count(*) from target_state where disabled_at is not null"), 1);
}

static void test_targets_operators_pause_and_drain(void **state)
{
	struct fleet *f = *state;
	struct gate_state g;
	pg_test_sql("update target_state set admin = 1 where name = 'one/a'; update target_state set admin = 2 where name = 'two/c'; notify millrace_targets");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_C, GATE_CLOSED }));
	assert_string_equal(fleet_gate(f, 0, TARGET_A).why, "paused by an operator");
	targets_gate(fleet_at(f, 0, TARGET_A), 0, /* in_series= */ true, &g);
	assert_int_equal(g.gate, GATE_CLOSED);
	targets_gate(fleet_at(f, 0, TARGET_C), 0, /* in_series= */ true, &g);
	assert_int_equal(g.gate, GATE_OPEN);
}

static void test_targets_retries_have_a_budget_of_the_fleet(void **state)
{
	struct fleet *f = *state;
	struct target_call again = fleet_call_of(ERR_OK, 200);
	again.is_retry = true;
	f->conf->retry_budget_min = 4;
	f->conf->retry_budget = 20;
	for (int i = 0; i < 4; i++) {
		assert_true(targets_may_retry(fleet_at(f, 0, TARGET_A)));
		fleet_call(f, 0, TARGET_A, again);
	}
	assert_false(targets_may_retry(fleet_at(f, 0, TARGET_A)));
	UNTIL(f, fleet_reports_are_written, NULL);
	while (targets_may_retry(fleet_at(f, 1, TARGET_A)))
		dbtest_turns(&f->db, 20); /* the others know by their next look */
	for (int i = 0; i < 21; i++)
		fleet_good(f, 1, TARGET_A);
	assert_true(targets_may_retry(fleet_at(f, 1, TARGET_A))); /* 5 of 25 */
	targets_call_begins(fleet_at(f, 1, TARGET_A));
	targets_retry_begins(fleet_at(f, 1, TARGET_A));
	assert_false(targets_may_retry(fleet_at(f, 1, TARGET_A)));
	targets_called(f->workers[1].targets, fleet_at(f, 1, TARGET_A), &again);
	assert_int_equal(target_busy(fleet_at(f, 1, TARGET_A)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FLEET(test_targets_a_park_is_known_to_all),
		WITH_FLEET(test_targets_rate_limits_without_a_hint_double),
		WITH_FLEET(test_targets_a_late_refusal_parks_again_where_the_park_is_over),
		WITH_FLEET(test_targets_headers_park_until_the_reset),
		WITH_FLEET(test_targets_no_hint_parks_for_more_than_a_day),
		WITH_FLEET(test_targets_a_refused_key_stops_all_its_targets),
		WITH_FLEET(test_targets_one_odd_answer_disables_no_model),
		WITH_FLEET(test_targets_operators_pause_and_drain),
		WITH_FLEET(test_targets_retries_have_a_budget_of_the_fleet),
	};
	return cmocka_run_group_tests(tests, fleet_migrated, fleet_over);
}
