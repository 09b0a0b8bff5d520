/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several workers' targets on one database, turned by one loop, for the tests of worker/targets*.c. Notices go to all of them.
 */
#ifndef MR_TESTS_LIB_FLEET_H
#define MR_TESTS_LIB_FLEET_H

#include "tests/lib/dbtest.h"
#include "worker/targets/targets_priv.h"

#define FLEET_WORKERS  3
#define FLEET_LIMIT_MS 20000
#define FLEET_LONG_MS  3600000 /* breaker.open, unless a test says otherwise */

enum { TARGET_A, TARGET_B, TARGET_C }; /* one/a and one/b have the same key, two/c another */

struct fleet {
	struct dbtest db;
	struct db_listener *listener;
	struct worker workers[FLEET_WORKERS];
	struct conf_target targets[3];
	struct conf *conf;
	struct arena arena;
};

/* Turns the loop until fn(f, arg); the test fails after FLEET_LIMIT_MS. */
void fleet_until(struct fleet *f, bool (*is)(struct fleet *f, const void *arg), const void *arg, const char *what);
#define UNTIL(f, fn, arg) fleet_until(f, fn, arg, #fn)

/* Of the group: the schema, and metrics. */
int fleet_migrated(void **state);
int fleet_over(void **state);
/* Of each test: empty tables, all rows known to all workers. */
int fleet_setup(void **state);
int fleet_teardown(void **state);
#define WITH_FLEET(test) cmocka_unit_test_setup_teardown(test, fleet_setup, fleet_teardown)

/* Without the rest, for a database of one's own. */
struct fleet *fleet_start(const struct db_cfg *cfg);
void fleet_stop(struct fleet *f);

struct target_live *fleet_at(struct fleet *f, int worker, int target);

/* Calls, begun and ended. */
struct target_call fleet_call_of(enum err_code class, int status);
void fleet_call(struct fleet *f, int worker, int target, struct target_call call);
void fleet_good(struct fleet *f, int worker, int target);
void fleet_bad(struct fleet *f, int worker, int target);

struct gate_state fleet_gate(struct fleet *f, int worker, int target);

/* For UNTIL. */
struct fleet_gates {
	int target;
	enum gate gate;
};

bool fleet_gates_are(struct fleet *f, const void *arg); /* of all workers: a struct fleet_gates */
bool fleet_reports_are_written(struct fleet *f, const void *arg);
bool fleet_number_is_one(struct fleet *f, const void *sql); /* the SQL's */

struct fleet_asker {
	struct probe_op op;
	int completions, rc;
};

void fleet_ask(struct fleet *f, struct fleet_asker *a, int worker, int target);
/* Waits for all answers: the index of the one that may, -1: none may. The test fails when two may. */
int fleet_winner(struct fleet *f, struct fleet_asker *askers, int n);
/* Opens one/a's breaker in the whole fleet, due for a probe. */
void fleet_open_and_due(struct fleet *f);
/* Asks until it is given. */
void fleet_take_probe(struct fleet *f, int worker);
/* The probe ends, and the database knows. */
void fleet_probe_ends(struct fleet *f, int worker, int target, enum err_code class, int status);

#endif
