/* SPDX-License-Identifier: Apache-2.0 */
/* Each promise of a drill breaks when what was left says so, and only then. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "cli/drill.h"

#define NJOBS 4

/* A run in which all is well: four jobs, one call each, on one target with limits. */
struct world {
	struct conf_target targets[1];
	struct conf_route routes[1];
	const struct conf_target *of_route[1];
	struct conf conf;
	struct drill d;
	struct drill_run r;
	struct drill_job jobs[NJOBS];
	struct drill_call calls[64];
	struct drill_event events[4];
	struct drill_window windows[1];
	struct arena arena;
	struct drill_promise promises[DRILL_PROMISES_MAX];
};

static void build(struct world *w, const char *scenario)
{
	*w = (struct world){ .targets = { { .name = STR("t"), .limits = { .requests = 60, .concurrency = 4 } } },
		             .routes = { { .name = STR("r"), .ntargets = 1 } },
		             .conf = { .ntargets = 1, .nroutes = 1, .breaker_failures = 5 } };
	w->of_route[0] = &w->targets[0];
	w->routes[0].targets = w->of_route;
	w->conf.targets = w->targets;
	w->conf.routes = w->routes;
	w->d.twins.conf = &w->conf;
	w->r = (struct drill_run){ .scenario = drill_scenario_find(scenario),
		                   .jobs = w->jobs,
		                   .njobs = NJOBS,
		                   .accepted = NJOBS,
		                   .fault_on_ms = 1000,
		                   .fault_off_ms = 9000,
		                   .calls = w->calls,
		                   .ncalls = NJOBS,
		                   .events = w->events,
		                   .windows = w->windows };
	for (size_t i = 0; i < NJOBS; i++) {
		w->jobs[i] = (struct drill_job){ .id = "job_x", .same_as = i, .accepted_ms = 2000, .outcomes = 1, .status = 3, .max_attempts = 5,
			                         .attempts = 1, .calls = 1 };
		w->calls[i] = (struct drill_call){ .at_ms = 100 * (int64_t)i, .end_ms = 100 * (int64_t)i + 50, .job = (int)i, .status = 200 };
	}
	arena_init(&w->arena, 1 << 20);
}

/* The one that broke; "" when all held. */
static const char *broken(struct world *w)
{
	const char *found = "";
	size_t n = drill_promises(&w->d, &w->r, &w->arena, w->promises);
	for (size_t i = 0; i < n; i++)
		if (w->promises[i].broken) {
			assert_string_equal(found, "");
			found = w->promises[i].name;
		}
	arena_done(&w->arena);
	return found;
}

static void test_all_is_well(void **state)
{
	(void)state;
	struct world w;
	for (size_t i = 0; i < drill_scenarios_n; i++) {
		build(&w, drill_scenarios[i].name);
		assert_string_equal(broken(&w), "");
	}
}

static void test_a_lost_job_and_one_that_ended_twice(void **state)
{
	(void)state;
	struct world w;
	build(&w, "fleet_halved");
	w.jobs[2].outcomes = 2;
	assert_string_equal(broken(&w), "accepted is kept");
	build(&w, "fleet_halved");
	w.jobs[2].outcomes = 0;
	w.jobs[2].calls = w.jobs[2].max_attempts = 0; /* no such row */
	assert_string_equal(broken(&w), "accepted is kept");
}

static void test_a_job_that_never_ends(void **state)
{
	(void)state;
	struct world w;
	build(&w, "fleet_halved");
	w.jobs[0].outcomes = 0;
	assert_string_equal(broken(&w), "nothing stalls");
	build(&w, "fleet_halved");
	w.r.recovery_jobs = 2;
	w.r.recovery_ended = 1;
	assert_string_equal(broken(&w), "nothing stalls");
}

static void test_calls_beyond_the_cap(void **state)
{
	(void)state;
	struct world w;
	build(&w, "fleet_halved");
	w.jobs[1].calls = 6;
	assert_string_equal(broken(&w), "one cap on calls");
	build(&w, "fleet_halved");
	w.jobs[1].calls = 6;
	w.jobs[1].interruptions = 1;
	assert_string_equal(broken(&w), "");
	build(&w, "fleet_halved");
	w.jobs[1].calls = 6;
	w.jobs[1].refused = 1; /* a rate limit spends no attempt */
	assert_string_equal(broken(&w), "");
	build(&w, "fleet_halved");
	w.jobs[1].calls = 10;
	w.jobs[3].same_as = 1; /* two jobs with one text */
	assert_string_equal(broken(&w), "");
}

static void test_limits_that_were_exceeded(void **state)
{
	(void)state;
	struct world w;
	build(&w, "fleet_halved");
	w.windows[0].requests = 60;
	w.windows[0].in_flight = 4;
	w.windows[0].tokens = 1000000; /* there is no such limit */
	assert_string_equal(broken(&w), "");
	build(&w, "fleet_halved");
	w.windows[0].in_flight = 5;
	assert_string_equal(broken(&w), "limits are kept");
}

static void test_money_that_does_not_add_up(void **state)
{
	(void)state;
	struct world w;
	build(&w, "fleet_halved");
	w.jobs[1].bad_prices = 1;
	assert_string_equal(broken(&w), "money is exact");
	build(&w, "fleet_halved");
	w.jobs[1].sum_is_wrong = true;
	assert_string_equal(broken(&w), "money is exact");
}

static void test_a_call_before_retry_after_is_over(void **state)
{
	(void)state;
	struct world w;
	build(&w, "rate_limit_storm");
	w.calls[0].status = 429;
	w.calls[0].end_ms = 50;
	assert_string_equal(broken(&w), ""); /* the others came before all knew */
	build(&w, "rate_limit_storm");
	w.calls[0].status = 429;
	w.calls[3].at_ms = 50 + 2000;
	assert_string_equal(broken(&w), "Retry-After is kept");
	build(&w, "rate_limit_storm");
	w.calls[0].status = 429;
	w.calls[3].at_ms = 50 + DRILL_RETRY_AFTER_MS;
	assert_string_equal(broken(&w), "");
}

static void fail_calls(struct world *w, size_t n)
{
	w->r.ncalls = n;
	for (size_t i = 0; i < n; i++)
		w->calls[i] = (struct drill_call){ .at_ms = 2000 + 10 * (int64_t)i, .end_ms = 2005 + 10 * (int64_t)i, .job = -1, .status = 500 };
}

static void test_a_breaker_that_stays_closed(void **state)
{
	(void)state;
	struct world w;
	build(&w, "primary_down");
	fail_calls(&w, 10);
	assert_string_equal(broken(&w), "");
	build(&w, "primary_down");
	fail_calls(&w, 11);
	assert_string_equal(broken(&w), "breakers open");
	build(&w, "primary_down");
	fail_calls(&w, 11);
	w.events[0] = (struct drill_event){ "t", "opened", 2050 };
	w.r.nevents = 1;
	assert_string_equal(broken(&w), "");
}

static void test_calls_through_an_open_breaker(void **state)
{
	(void)state;
	struct world w;
	build(&w, "primary_down");
	fail_calls(&w, 8);
	for (size_t i = 5; i < 8; i++)
		w.calls[i].at_ms = 5000;
	w.events[0] = (struct drill_event){ "t", "opened", 2050 };
	w.r.nevents = 1;
	assert_string_equal(broken(&w), "breakers open");
	build(&w, "primary_down");
	fail_calls(&w, 7);
	w.calls[5].at_ms = w.calls[6].at_ms = 5000; /* probes */
	w.events[0] = (struct drill_event){ "t", "opened", 2050 };
	w.r.nevents = 1;
	assert_string_equal(broken(&w), "");
}

static void test_a_route_that_does_not_recover(void **state)
{
	(void)state;
	struct world w;
	build(&w, "primary_down");
	w.r.recovered_ms = -1;
	w.r.not_recovered = "r";
	assert_string_equal(broken(&w), "recovers by itself");
}

static void test_a_job_that_fails_when_all_is_down(void **state)
{
	(void)state;
	struct world w;
	build(&w, "all_down");
	w.jobs[3].status = 4;
	assert_string_equal(broken(&w), "a ladder or a wait");
	build(&w, "primary_down");
	w.jobs[3].status = 4; /* a provider's failure may fail a job; it is shown, and no promise */
	assert_string_equal(broken(&w), "");
}

/* Job 3 calls n times, 100 ms apart from at_ms on, and fails. */
static void fail_after_calls(struct world *w, size_t n, int64_t at_ms)
{
	build(w, "all_down");
	w->jobs[3].status = 4;
	w->jobs[3].calls = (int64_t)n;
	w->r.ncalls = NJOBS - 1;
	for (size_t i = 0; i < n; i++) {
		int64_t at = at_ms + 100 * (int64_t)i;
		w->calls[w->r.ncalls++] = (struct drill_call){ .at_ms = at, .end_ms = at + 50, .job = 3, .status = 500 };
	}
	w->events[0] = (struct drill_event){ "t", "opened", 3000 };
	w->r.nevents = 1;
}

static void test_a_job_that_spent_its_attempts_before_anyone_knew(void **state)
{
	(void)state;
	struct world w;
	fail_after_calls(&w, 5, 2500);
	assert_string_equal(broken(&w), "");
	fail_after_calls(&w, 4, 2500);
	assert_string_equal(broken(&w), "a ladder or a wait");
	fail_after_calls(&w, 5, 4200); /* the last ones when all workers knew */
	assert_string_equal(broken(&w), "a ladder or a wait");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_is_well),
		cmocka_unit_test(test_a_lost_job_and_one_that_ended_twice),
		cmocka_unit_test(test_a_job_that_never_ends),
		cmocka_unit_test(test_calls_beyond_the_cap),
		cmocka_unit_test(test_limits_that_were_exceeded),
		cmocka_unit_test(test_money_that_does_not_add_up),
		cmocka_unit_test(test_a_call_before_retry_after_is_over),
		cmocka_unit_test(test_a_breaker_that_stays_closed),
		cmocka_unit_test(test_calls_through_an_open_breaker),
		cmocka_unit_test(test_a_route_that_does_not_recover),
		cmocka_unit_test(test_a_job_that_fails_when_all_is_down),
		cmocka_unit_test(test_a_job_that_spent_its_attempts_before_anyone_knew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
