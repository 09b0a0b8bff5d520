/* SPDX-License-Identifier: Apache-2.0 */
/* Several workers on one PostgreSQL: what one of them sees the others know, and one call of the whole fleet probes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/metrics.h"
#include "sql_worker.h"
#include "tests/lib/fleet.h"
#include "tests/lib/pg.h"

static void test_targets_failures_in_a_row_are_counted_over_the_fleet(void **state)
{
	struct fleet *f = *state;
	for (int i = 0; i < 4; i++)
		fleet_bad(f, i % 2, TARGET_A);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and fails_in_row = 4 and breaker = 0");
	fleet_bad(f, 2, TARGET_A);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	assert_int_equal(fleet_gate(f, 0, TARGET_B).gate, GATE_OPEN);
	UNTIL(f, fleet_number_is_one, "select generation from target_state where name = 'one/a' and breaker = 1");
	assert_string_equal(fleet_gate(f, 1, TARGET_A).why, "its breaker is open");
	assert_in_range(fleet_gate(f, 1, TARGET_A).wait_ms, FLEET_LONG_MS * 8 / 10, FLEET_LONG_MS * 11 / 10);
	assert_int_equal(pg_test_number("select count(*) from target_event where name = 'one/a' and kind = 'opened' and detail::json->>'class' = 'transient'"
	                                " and detail::json->>'message' = 'the backend is \"away\"' and detail::json->>'status' = '503'"
	                                " and detail::json->>'job' like 'job\\_%' and detail::json->>'worker' is not null"), 1);
	assert_int_equal(pg_test_number("select sum(failures) from target_tick where name = 'one/a'"), 5);
}

static void test_targets_a_success_of_any_worker_breaks_the_row(void **state)
{
	struct fleet *f = *state;
	for (int i = 0; i < 4; i++)
		fleet_bad(f, i % 2, TARGET_A);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and fails_in_row = 4");
	for (int i = 0; i < 20; i++)
		fleet_good(f, 2, TARGET_A); /* and the rates are well */
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and fails_in_row = 0");
	fleet_at(f, 0, TARGET_A)->row.fails_in_row = 4; /* one that has not heard of it yet is too strict until the fleet's word comes */
	fleet_bad(f, 0, TARGET_A);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_CLOSED);
	assert_int_equal(metric_get(METRIC_BREAKER_STATE, "one/a"), BREAKER_OPEN);
	fleet_bad(f, 1, TARGET_A);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and fails_in_row = 2 and breaker = 0");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_OPEN }));
	assert_int_equal(metric_get(METRIC_BREAKER_STATE, "one/a"), BREAKER_CLOSED);
}

static void test_targets_rates_of_the_fleet_open_it(void **state)
{
	struct fleet *f = *state;
	/* Never two in a row, and no worker sees five calls. */
	for (int i = 0; i < 3; i++) {
		fleet_bad(f, i, TARGET_A);
		fleet_good(f, i, TARGET_A);
		UNTIL(f, fleet_reports_are_written, NULL);
	}
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and breaker = 1 and generation = 1 and fails_in_row < 5");
	assert_int_equal(pg_test_number("select count(*) from target_event where kind = 'opened' and detail::json->>'class' = 'transient'"), 1);
}

static void test_targets_a_worker_is_strict_at_once(void **state)
{
	struct fleet *f = *state;
	for (int i = 0; i < 5; i++)
		fleet_bad(f, 0, TARGET_A);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_CLOSED); /* before the database was asked */
	f->conf->breaker_enabled = false;
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_OPEN);
	f->conf->breaker_enabled = true;
}

static void test_targets_without_breakers_nothing_opens(void **state)
{
	struct fleet *f = *state;
	f->conf->breaker_enabled = false;
	for (int i = 0; i < 20; i++)
		fleet_bad(f, i % FLEET_WORKERS, TARGET_A);
	UNTIL(f, fleet_reports_are_written, NULL);
	assert_int_equal(pg_test_number("select count(*) from target_state where name = 'one/a' and breaker = 0 and fails_in_row = 20"), 1);
	assert_int_equal(fleet_gate(f, 1, TARGET_A).gate, GATE_OPEN);
}

static void test_targets_a_report_that_comes_again_counts_once(void **state)
{
	struct fleet *f = *state;
	struct targets *t = f->workers[0].targets;
	fleet_bad(f, 0, TARGET_A);
	UNTIL(f, fleet_reports_are_written, NULL);
	t->report_no--; /* the next one has the number of the last */
	fleet_bad(f, 0, TARGET_A);
	UNTIL(f, fleet_reports_are_written, NULL);
	assert_int_equal(pg_test_number("select fails_in_row from target_state where name = 'one/a'"), 1);
	assert_int_equal(pg_test_number("select sum(calls) from target_tick where name = 'one/a'"), 1);
	fleet_bad(f, 0, TARGET_A);
	UNTIL(f, fleet_reports_are_written, NULL);
	assert_int_equal(pg_test_number("select fails_in_row from target_state where name = 'one/a'"), 2);
}

static void test_targets_reports_at_once_lose_nothing(void **state)
{
	struct fleet *f = *state;
	f->conf->breaker_failures = f->conf->breaker_calls = 1000000;
	for (int round = 0; round < 30; round++) {
		for (int w = 0; w < FLEET_WORKERS; w++)
			for (int i = TARGET_A; i <= TARGET_C; i++)
				fleet_bad(f, w, round % 2 ? i : TARGET_C - i);
		UNTIL(f, fleet_reports_are_written, NULL);
	}
	assert_int_equal(pg_test_number("select count(*) from target_state where fails_in_row = 90 and breaker = 0"), 3);
	assert_int_equal(pg_test_number("select count(*) from (select name from target_tick group by name having sum(calls) = 90 and sum(failures) = 90) s"), 3);
}

static void test_targets_reports_survive_lost_connections(void **state)
{
	struct fleet *f = *state;
	for (int i = 0; i < 4; i++) {
		fleet_bad(f, 0, TARGET_A);
		fleet_good(f, 0, TARGET_A);
		dbtest_turns(&f->db, 21);
		pg_test_terminate();
		fleet_bad(f, 1, TARGET_B);
	}
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/b' and fails_in_row = 4");
	UNTIL(f, fleet_number_is_one, "select count(*) from (select sum(calls) as n from target_tick where name = 'one/a') s where n = 8");
}

static void test_targets_one_of_many_askers_probes(void **state)
{
	struct fleet *f = *state;
	struct fleet_asker askers[FLEET_WORKERS * 4];
	fleet_open_and_due(f);
	for (int i = 0; i < FLEET_WORKERS * 4; i++)
		fleet_ask(f, &askers[i], i % FLEET_WORKERS, TARGET_A);
	int who = fleet_winner(f, askers, FLEET_WORKERS * 4);
	assert_true(who >= 0);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	assert_int_equal(pg_test_number("select breaker * 10 + generation from target_state where name = 'one/a'"), 22);
	assert_int_equal(pg_test_number("select count(*) from target_event where kind = 'half_open'"), 1);
	/* It was not made after all: somebody else may. */
	targets_probe_release(f->workers[who % FLEET_WORKERS].targets, fleet_at(f, who % FLEET_WORKERS, TARGET_A));
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
	fleet_take_probe(f, (who + 1) % FLEET_WORKERS);
}

static void test_targets_a_canceled_asker_gives_the_right_back(void **state)
{
	struct fleet *f = *state;
	struct fleet_asker a;
	fleet_open_and_due(f);
	fleet_ask(f, &a, 0, TARGET_A);
	op_cancel(&a.op.op);
	assert_int_equal(a.completions, 1);
	assert_int_equal(a.rc, -ERR_CANCELED);
	UNTIL(f, fleet_reports_are_written, NULL);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
	assert_int_equal(pg_test_number("select count(*) from target_state where name = 'one/a' and breaker = 2 and probe_by is null"), 1);
}

static void test_targets_a_dead_probers_right_lapses(void **state)
{
	struct fleet *f = *state;
	fleet_open_and_due(f);
	fleet_take_probe(f, 0);
	assert_int_equal(pg_test_number("select (round(extract(epoch from probe_until - now())) between 60 and 70)::int from target_state where name = 'one/a'"), 1);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
	pg_test_sql("update target_state set probe_until = now() - interval '1 second' where name = 'one/a'; notify millrace_targets");
	fleet_take_probe(f, 1);
	/* The dead one was only slow: what it says now is nobody's probe. */
	fleet_probe_ends(f, 0, TARGET_A, ERR_NETWORK, 0);
	assert_int_equal(pg_test_number("select breaker * 10 + successes from target_state where name = 'one/a' and probe_by is not null"), 20);
	fleet_probe_ends(f, 1, TARGET_A, ERR_OK, 200);
	assert_int_equal(pg_test_number("select breaker * 10 + successes from target_state where name = 'one/a' and probe_by is null"), 21);
}

static void test_targets_a_right_whose_answer_was_lost_is_asked_for_again(void **state)
{
	struct fleet *f = *state;
	char id[ID_TEXT_MAX];
	struct buf b;
	fleet_open_and_due(f);
	buf_init(&b, 512);
	buf_printf(&b, "update target_state set breaker = 2, generation = 2, probe_by = '" STR_FMT "', probe_until = now() + interval '1 minute'"
	               " where name = 'one/a'; notify millrace_targets", STR_ARG(id_text(f->workers[0].id, "", id)));
	buf_add(&b, "", 1);
	pg_test_sql(b.p);
	buf_done(&b);
	while (fleet_gate(f, 1, TARGET_A).gate == GATE_PROBE)
		dbtest_turns(&f->db, 5);
	assert_int_equal(fleet_gate(f, 1, TARGET_A).gate, GATE_CLOSED);
	fleet_take_probe(f, 0);
	fleet_probe_ends(f, 0, TARGET_A, ERR_OK, 200);
	assert_int_equal(pg_test_number("select breaker * 10 + successes from target_state where name = 'one/a' and probe_by is null"), 21);
}

static void test_targets_each_failed_probe_doubles_the_wait(void **state)
{
	struct fleet *f = *state;
	static const int64_t want[] = { 20000, 40000, 60000, 60000 };
	f->conf->breaker_open_ms = 10000;
	f->conf->breaker_open_max_ms = 60000;
	fleet_open_and_due(f);
	assert_int_equal(pg_test_number("select open_ms from target_state where name = 'one/a'"), 10000);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		fleet_take_probe(f, (int)i % FLEET_WORKERS);
		fleet_probe_ends(f, (int)i % FLEET_WORKERS, TARGET_A, ERR_PROVIDER_OVERLOADED, 529);
		UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_CLOSED }));
		assert_int_equal(pg_test_number("select open_ms from target_state where name = 'one/a' and breaker = 1"), want[i]);
		assert_in_range(fleet_gate(f, 2, TARGET_A).wait_ms, want[i] * 9 / 10 - 5000, want[i] * 11 / 10);
		pg_test_sql("update target_state set reopen_at = now() where name = 'one/a'; notify millrace_targets");
		UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
	}
}

static void test_targets_three_good_probes_close_it(void **state)
{
	struct fleet *f = *state;
	fleet_open_and_due(f);
	for (int i = 0; i < 3; i++) {
		UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
		fleet_take_probe(f, i);
		fleet_probe_ends(f, i, TARGET_A, ERR_OK, 200);
	}
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_OPEN }));
	assert_int_equal(pg_test_number("select generation * 10 + fails_in_row + open_ms from target_state where name = 'one/a' and breaker = 0"), 30);
	assert_int_equal(pg_test_number("select count(*) from target_event where kind = 'closed'"), 1);
	/* What was before says nothing any more: the rates are those since. A call that began before does not count. */
	struct target_call late = fleet_call_of(ERR_OUTCOME_UNKNOWN, 0);
	late.total_ms = 3600000;
	fleet_call(f, 0, TARGET_A, late);
	fleet_bad(f, 0, TARGET_A);
	UNTIL(f, fleet_reports_are_written, NULL);
	dbtest_turns(&f->db, 1500); /* a read or two, with the sums of the minute */
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_OPEN);
	assert_int_equal(pg_test_number("select fails_in_row from target_state where name = 'one/a'"), 1);
}

static void test_targets_an_answer_that_says_nothing_returns_the_probe(void **state)
{
	struct fleet *f = *state;
	fleet_open_and_due(f);
	fleet_take_probe(f, 0);
	fleet_probe_ends(f, 0, TARGET_A, ERR_BAD_REQUEST, 400);
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
	assert_int_equal(pg_test_number("select breaker * 10 + successes from target_state where name = 'one/a' and probe_by is null"), 20);
}

static void test_targets_cost_few_statements_at_speed(void **state)
{
	struct fleet *f = *state;
	for (int i = 0; i < 5000; i++) {
		fleet_good(f, i % FLEET_WORKERS, i % 3);
		if (i % 100 == 0)
			dbtest_turns(&f->db, 1);
	}
	UNTIL(f, fleet_reports_are_written, NULL);
	assert_int_equal(pg_test_number("select sum(calls) from target_tick"), 5000);
	int64_t reports = 0;
	for (int w = 0; w < FLEET_WORKERS; w++)
		reports += f->workers[w].targets->report_no;
	assert_in_range(reports, 1, 99);
}

static void test_targets_names_without_end_share_a_record(void **state)
{
	struct fleet *f = *state;
	struct targets *t = f->workers[0].targets;
	struct conf_target bare = f->targets[TARGET_C];
	struct target_live *first = NULL;
	char name[32];
	f->workers[0].state = WORKER_STOPPED; /* the names need not be in the database */
	for (int i = 0; i < TARGETS_MAX + 10; i++) {
		struct buf b;
		buf_init(&b, sizeof name);
		buf_printf(&b, "openai/%d", i);
		bare.name = buf_str(&b);
		struct target_live *l = targets_find(t, &bare);
		if (!first)
			first = l;
		assert_ptr_equal(targets_find(t, &bare), l);
		buf_done(&b);
	}
	assert_string_equal(target_name(first), "openai/0");
	assert_in_range(t->all.n, TARGETS_MAX, TARGETS_MAX + 1);
	LIST_EACH_SAFE(&t->dirty, k, tmp)
		list_remove(&t->dirty, k);
}

static void test_targets_old_rows_are_pruned(void **state)
{
	struct fleet *f = *state;
	pg_test_sql("insert into target_event (name, kind) select 'one/a', 'parked' from generate_series(1, 1500);"
	            "insert into target_tick (name, slot) values ('one/a', 1), ('one/a', floor(extract(epoch from now()) / 10));"
	            "insert into target_report values (gen_random_uuid(), 1, now() - interval '2 days');"
	            "insert into target_state (name, updated_at) values ('old', now() - interval '8 days');"
	            "insert into target_state (name, updated_at, admin) values ('old/paused', now() - interval '8 days', 1)");
	assert_int_equal(dbtest_exec(&f->db, &sql_worker_target_prune), 0);
	assert_int_equal(pg_test_number("select count(*) from target_event"), 1000);
	assert_int_equal(pg_test_number("select count(*) from target_tick"), 1);
	assert_int_equal(pg_test_number("select count(*) from target_report"), 0);
	assert_int_equal(pg_test_number("select count(*) from target_state where name like 'old%'"), 1);
}

/* --- the database is away --- */

static int setup_away(void **state)
{
	const struct db_cfg cfg = dbtest_cfg("host=/nonexistent dbname=none");
	*state = fleet_start(&cfg);
	return 0;
}

static void test_targets_without_the_database_a_worker_goes_on_alone(void **state)
{
	struct fleet *f = *state;
	f->conf->breaker_open_ms = f->conf->breaker_open_max_ms = 50;
	for (int i = 0; i < 4; i++)
		fleet_bad(f, 0, TARGET_A);
	fleet_good(f, 0, TARGET_A);
	for (int i = 0; i < 20; i++)
		fleet_good(f, 0, TARGET_A);
	for (int i = 0; i < 5; i++)
		fleet_bad(f, 0, TARGET_A);
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_CLOSED);
	assert_int_equal(fleet_gate(f, 1, TARGET_A).gate, GATE_OPEN);
	for (int i = 0; i < 4; i++) {
		struct fleet_asker askers[2];
		while (fleet_gate(f, 0, TARGET_A).gate != GATE_PROBE)
			dbtest_turns(&f->db, 5);
		fleet_ask(f, &askers[0], 0, TARGET_A);
		fleet_ask(f, &askers[1], 0, TARGET_A);
		assert_int_equal(fleet_winner(f, askers, 2), 0);
		struct target_call call = fleet_call_of(i == 0 ? ERR_NETWORK : ERR_OK, i == 0 ? 0 : 200);
		call.is_probe = true;
		fleet_call(f, 0, TARGET_A, call);
		if (i == 0)
			assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_CLOSED);
	}
	assert_int_equal(fleet_gate(f, 0, TARGET_A).gate, GATE_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FLEET(test_targets_failures_in_a_row_are_counted_over_the_fleet),
		WITH_FLEET(test_targets_a_success_of_any_worker_breaks_the_row),
		WITH_FLEET(test_targets_rates_of_the_fleet_open_it),
		WITH_FLEET(test_targets_a_worker_is_strict_at_once),
		WITH_FLEET(test_targets_without_breakers_nothing_opens),
		WITH_FLEET(test_targets_a_report_that_comes_again_counts_once),
		WITH_FLEET(test_targets_reports_at_once_lose_nothing),
		WITH_FLEET(test_targets_reports_survive_lost_connections),
		WITH_FLEET(test_targets_one_of_many_askers_probes),
		WITH_FLEET(test_targets_a_canceled_asker_gives_the_right_back),
		WITH_FLEET(test_targets_a_dead_probers_right_lapses),
		WITH_FLEET(test_targets_a_right_whose_answer_was_lost_is_asked_for_again),
		WITH_FLEET(test_targets_each_failed_probe_doubles_the_wait),
		WITH_FLEET(test_targets_three_good_probes_close_it),
		WITH_FLEET(test_targets_an_answer_that_says_nothing_returns_the_probe),
		WITH_FLEET(test_targets_cost_few_statements_at_speed),
		WITH_FLEET(test_targets_names_without_end_share_a_record),
		WITH_FLEET(test_targets_old_rows_are_pruned),
		cmocka_unit_test_setup_teardown(test_targets_without_the_database_a_worker_goes_on_alone, setup_away, fleet_teardown),
	};
	return cmocka_run_group_tests(tests, fleet_migrated, fleet_over);
}
