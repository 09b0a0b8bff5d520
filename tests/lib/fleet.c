/* SPDX-License-Identifier: Apache-2.0 */
/* The workers are structs with what targets need of one: a loop, a database, a notifier, an id. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/migrate.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "tests/lib/fleet.h"
#include "tests/lib/pg.h"
#include "worker/queue/notify.h"

static void on_notice(void *arg, struct str channel, struct str payload)
{
	struct fleet *f = arg;
	assert_true(str_eq_z(channel, "millrace_targets"));
	assert_int_equal(payload.n, 0);
	for (int i = 0; i < FLEET_WORKERS; i++)
		if (f->workers[i].targets)
			targets_hint(f->workers[i].targets);
}

static void on_lost(void *arg)
{
	(void)arg;
}

int fleet_migrated(void **state)
{
	(void)state;
	struct err err = { 0 };
	metrics_init();
	if (migrate_run(pg_test_url(), NULL, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

int fleet_over(void **state)
{
	(void)state;
	metrics_done();
	return 0;
}

static void configure(struct fleet *f)
{
	static const char *const names[] = { "one/a", "one/b", "two/c" }, *const keys[] = { "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "cccccccccccccccc" };
	struct conf_mistake *mistakes;
	size_t n;
	arena_init(&f->arena, 1 << 20);
	assert_int_equal(conf_load(NULL, &f->arena, &f->conf, &mistakes, &n), 0);
	f->conf->breaker_open_ms = f->conf->breaker_open_max_ms = FLEET_LONG_MS;
	conf_set_now(f->conf);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		f->targets[i] = (struct conf_target){ .name = str_from(names[i]), .provider = STR("openai") };
		memcpy(f->targets[i].key_id, keys[i], sizeof f->targets[i].key_id);
	}
}

struct fleet *fleet_start(const struct db_cfg *cfg)
{
	struct fleet *f = calloc(1, sizeof *f);
	assert_non_null(f);
	configure(f);
	dbtest_open(&f->db, cfg);
	for (int i = 0; i < FLEET_WORKERS; i++) {
		struct worker *w = &f->workers[i];
		w->loop = &f->db.loop;
		w->db = f->db.db;
		w->id = id_make(-1);
		w->notifier = notifier_new(w);
		w->targets = targets_new(w);
	}
	return f;
}

static bool all_idle(struct fleet *f, const void *arg)
{
	(void)arg;
	for (int i = 0; i < FLEET_WORKERS; i++)
		if (!targets_are_idle(f->workers[i].targets) || !notifier_is_idle(f->workers[i].notifier))
			return false;
	return true;
}

void fleet_until(struct fleet *f, bool (*is)(struct fleet *f, const void *arg), const void *arg, const char *what)
{
	uint64_t end = clock_mono_ms() + FLEET_LIMIT_MS;
	while (!is(f, arg)) {
		if (clock_mono_ms() > end)
			fail_msg("it never came to %s", what);
		dbtest_turns(&f->db, 5);
	}
}

void fleet_stop(struct fleet *f)
{
	for (int i = 0; i < FLEET_WORKERS; i++)
		f->workers[i].state = WORKER_STOPPED;
	UNTIL(f, all_idle, NULL);
	for (int i = 0; i < FLEET_WORKERS; i++) {
		targets_free(f->workers[i].targets);
		notifier_free(f->workers[i].notifier);
	}
	if (f->listener)
		db_listener_free(f->listener);
	dbtest_close(&f->db);
	conf_set_now(NULL);
	arena_done(&f->arena);
	free(f);
}

struct target_live *fleet_at(struct fleet *f, int worker, int target)
{
	return targets_find(f->workers[worker].targets, &f->targets[target]);
}

static bool rows_are_known(struct fleet *f, const void *arg)
{
	(void)arg;
	for (int w = 0; w < FLEET_WORKERS; w++)
		for (int i = TARGET_A; i <= TARGET_C; i++)
			if (!fleet_at(f, w, i)->row.known || fleet_at(f, w, i)->to_register)
				return false;
	return true;
}

int fleet_setup(void **state)
{
	static const char *const channels[] = { "millrace_targets" };
	const struct db_cfg cfg = dbtest_cfg(pg_test_url_with("application_name=test"));
	pg_test_sql("truncate target_state, target_event, target_tick, target_report");
	struct fleet *f = fleet_start(&cfg);
	f->listener = db_listen(&f->db.loop, &cfg, channels, 1, on_notice, on_lost, f);
	UNTIL(f, rows_are_known, NULL);
	*state = f;
	return 0;
}

int fleet_teardown(void **state)
{
	fleet_stop(*state);
	return 0;
}

void fleet_call(struct fleet *f, int worker, int target, struct target_call call)
{
	struct target_live *l = fleet_at(f, worker, target);
	targets_call_begins(l);
	targets_called(f->workers[worker].targets, l, &call);
}

struct target_call fleet_call_of(enum err_code class, int status)
{
	return (struct target_call){ .class = class, .http_status = status, .retry_after_ms = -1, .first_token_ms = -1, .total_ms = -1 };
}

void fleet_good(struct fleet *f, int worker, int target)
{
	fleet_call(f, worker, target, fleet_call_of(ERR_OK, 200));
}

void fleet_bad(struct fleet *f, int worker, int target)
{
	struct target_call call = fleet_call_of(ERR_TRANSIENT, 503);
	call.message = STR("the backend is \"away\"");
	call.job = id_make(7);
	fleet_call(f, worker, target, call);
}

struct gate_state fleet_gate(struct fleet *f, int worker, int target)
{
	struct gate_state g;
	targets_gate(fleet_at(f, worker, target), loop_now_ms(&f->db.loop), false, &g);
	return g;
}

bool fleet_gates_are(struct fleet *f, const void *arg)
{
	const struct fleet_gates *want = arg;
	for (int w = 0; w < FLEET_WORKERS; w++)
		if (fleet_gate(f, w, want->target).gate != want->gate)
			return false;
	return true;
}

bool fleet_reports_are_written(struct fleet *f, const void *arg)
{
	(void)arg;
	for (int w = 0; w < FLEET_WORKERS; w++) {
		const struct targets *t = f->workers[w].targets;
		if (!list_is_empty(&t->dirty) || t->doing != DOING_NOTHING || t->asking)
			return false;
	}
	return true;
}

bool fleet_number_is_one(struct fleet *f, const void *sql)
{
	(void)f;
	return pg_test_number(sql) == 1;
}

static void on_answer(struct op *op, int rc)
{
	struct fleet_asker *a = container_of(container_of(op, struct probe_op, op), struct fleet_asker, op);
	a->completions++;
	a->rc = rc;
}

void fleet_ask(struct fleet *f, struct fleet_asker *a, int worker, int target)
{
	*a = (struct fleet_asker){ .op.op.on_done = on_answer };
	targets_probe(f->workers[worker].targets, &a->op, fleet_at(f, worker, target), NULL);
}

/* Asks for all; -1 or the index of the one that may. */
int fleet_winner(struct fleet *f, struct fleet_asker *askers, int n)
{
	int at_most_one = -1;
	for (int i = 0; i < n; i++)
		dbtest_until(&f->db, &askers[i].completions, 1);
	for (int i = 0; i < n; i++) {
		if (askers[i].rc == 0) {
			assert_int_equal(at_most_one, -1);
			at_most_one = i;
		} else {
			assert_int_equal(askers[i].rc, -ERR_OVERLOADED);
		}
	}
	return at_most_one;
}

void fleet_probe_ends(struct fleet *f, int worker, int target, enum err_code class, int status)
{
	struct target_call call = fleet_call_of(class, status);
	call.is_probe = true;
	fleet_call(f, worker, target, call);
	UNTIL(f, fleet_reports_are_written, NULL);
}

/* Opens a's breaker in the whole fleet, due for a probe at once. */
void fleet_open_and_due(struct fleet *f)
{
	for (int i = 0; i < 5; i++)
		fleet_bad(f, 0, TARGET_A);
	UNTIL(f, fleet_number_is_one, "select count(*) from target_state where name = 'one/a' and breaker = 1");
	pg_test_sql("update target_state set reopen_at = now() - interval '1 second' where name = 'one/a'; notify millrace_targets");
	UNTIL(f, fleet_gates_are, (&(struct fleet_gates){ TARGET_A, GATE_PROBE }));
}

/* A worker that asks by what it knew before the last change is refused, and looks again. */
static bool is_given(struct fleet *f, const void *arg)
{
	struct fleet_asker a;
	fleet_ask(f, &a, *(const int *)arg, TARGET_A);
	return fleet_winner(f, &a, 1) == 0;
}

void fleet_take_probe(struct fleet *f, int worker)
{
	UNTIL(f, is_given, &worker);
}
