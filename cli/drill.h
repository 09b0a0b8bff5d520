/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace drill`: the operator's routes on simulated twins of their targets, through outages. What the parts share;
 * drill.c tells the order.
 */
#ifndef MR_CLI_DRILL_H
#define MR_CLI_DRILL_H

#include "cli/client.h"
#include "cli/drill_fleet.h"
#include "cli/term.h"
#include "common/conf.h"

#define DRILL_RETRY_AFTER_MS 3000 /* what the rate limit storm asks for */
#define DRILL_RUNGS          7    /* primary, fallback, cache, semantic_cache, stale_cache, simple_model, static: as outcome.level */

/* --- drill_twin.c: the configuration with every provider replaced --- */

struct drill_twins {
	json_t *file;      /* owned: what the fleet is started with, but for the database */
	struct conf *conf; /* owned: the same, read */
	int64_t factor;    /* times are shorter by it */
	int64_t first_ms;  /* the longest time to the first token that any target gets */
};
/*
 * The operator's file with its targets leading to the simulator at url. -ERR_CONFIG: *ret_mistakes as conf_load gives
 * them. Settings that the environment lays over the file are in the result, and no longer in the environment.
 */
int drill_twins_make(struct drill_twins *t, const char *file, const char *url, const char *scratch_file, struct arena *a,
                     struct conf_mistake **ret_mistakes, size_t *ret_n, struct err *err);
void drill_twins_done(struct drill_twins *t);
/* The simulator's pattern for the models of conf->targets[i], in a; and back: the index, or -1. */
const char *drill_twin_pattern(struct arena *a, size_t i);
int drill_twin_find(struct str model);

/* --- drill_scenario.c: the outages --- */

enum drill_hit { DRILL_NONE, DRILL_FIRST, DRILL_ALL }; /* no target, the first of each route, every one */

struct drill_scenario {
	const char *name, *summary;
	enum drill_hit targets; /* whose twins fail */
	const char *fault[2];   /* members of a simulator rule, without braces: at the begin, and from the middle on; NULL: none */
	bool fleet;             /* a worker is killed, another one is frozen */
	bool opens;             /* the breakers of those targets must open */
};
extern const struct drill_scenario drill_calm;
extern const struct drill_scenario drill_scenarios[];
extern const size_t drill_scenarios_n;
/* NULL: no such name. */
const struct drill_scenario *drill_scenario_find(const char *name);
/* Whether the twin of conf->targets[i] fails in it. */
bool drill_scenario_hits(const struct drill_scenario *s, const struct conf *c, size_t i);
/* What the simulator is told. part: 0 and 1 as in fault; -1: all is well. */
struct str drill_scenario_script(const struct drill_scenario *s, const struct drill_twins *t, int part, struct arena *a);

/* --- drill_run.c: one scenario, from the first job to the recovery --- */

/* A job of the load, and all that is known of it at the end. */
struct drill_job {
	size_t route;
	const char *id;      /* "job_…"; NULL: it was not accepted */
	size_t same_as;      /* the job whose text it repeats; itself mostly */
	int64_t accepted_ms; /* wall clock */
	/* from the database */
	int outcomes, status, level; /* status as outcome.status; 0: it has not ended */
	int64_t total_ms, wait_ms, first_ms, ended_ms; /* first_ms -1: unknown; ended_ms wall clock */
	int64_t interruptions, max_attempts;
	int64_t cost_nanousd;         /* -1: unknown */
	int64_t attempts, unknown, bad_prices; /* those without a known cost; those whose cost is not tokens × pinned price */
	bool sum_is_wrong;            /* the job's cost is not the sum of its attempts' */
	/* from the simulator */
	int64_t calls, refused; /* of all jobs with this text; those answered 429 */
};

struct drill_call {
	int64_t at_ms, end_ms; /* wall clock */
	int target;            /* index, -1: none of the twins */
	int job;               /* index, -1: of the recovery */
	int status;
	bool canceled;
};

struct drill_event {
	const char *target, *kind;
	int64_t at_ms;
};

/* The most that a target's twin was used within any minute, and at once. */
struct drill_window {
	int64_t requests, tokens, input_tokens, output_tokens, in_flight;
};

struct drill_run {
	const struct drill_scenario *scenario;
	struct drill_job *jobs;
	size_t njobs, accepted;
	int64_t fault_on_ms, fault_off_ms; /* wall clock; 0: never */
	int64_t recovered_ms;              /* after the fault's end; -1: not */
	const char *not_recovered;         /* a route; NULL: all are */
	bool timed_out;                    /* not all had ended at the limit */
	size_t recovery_jobs, recovery_ended;
	struct drill_call *calls;
	size_t ncalls;
	struct drill_event *events;
	size_t nevents;
	struct drill_window *windows; /* per target of the configuration */
};

struct drill_load {
	size_t jobs;      /* wanted */
	int64_t load_ms;  /* how long they are submitted */
	size_t *of_route; /* how many of a run go to each route */
	size_t n;         /* all of them */
};

struct drill {
	struct arena arena;
	struct term term;
	bool json, quiet;
	struct drill_fleet fleet;
	struct drill_twins twins;
	struct drill_load load;
	struct drill_run *runs; /* the calm one first */
	size_t nruns;
	size_t broken; /* promises */
};

/* How many jobs each route gets: what is wanted, or what the limits of its targets and of the tenant let through in that time. */
void drill_load_plan(struct drill_load *l, const struct conf *c, struct arena *a);

/* Runs it on a fleet of its own. 0, -ERR_CANCELED when interrupted, or what kept it from running. */
int drill_run(struct drill *d, struct drill_run *r, struct err *err);

/* --- drill_facts.c --- */
int drill_facts_read(struct drill *d, struct drill_run *r, struct err *err);

/* --- drill_promises.c --- */
struct drill_promise {
	const char *name;
	bool broken;
	struct str text;
	const char *job; /* an example, or NULL */
};
#define DRILL_PROMISES_MAX 16
/* Judges a run; returns how many promises there are. */
size_t drill_promises(const struct drill *d, const struct drill_run *r, struct arena *a, struct drill_promise *ret);

/* --- drill_report.c --- */
struct drill_row {
	struct str route;
	int64_t jobs, rungs[DRILL_RUNGS], failed, open; /* open: not ended */
	int64_t total_ms[3], wait_ms[3], first_ms[2];   /* p50, p95, p99; -1: none */
	int64_t calls, extra_calls;                     /* extra: beyond one for each job that a target served */
	int64_t cost_nanousd;                           /* -1: unknown */
	int64_t extra_nanousd;                          /* against the calm run */
};
/* Prints a run (text), and counts its broken promises. */
void drill_report_run(struct drill *d, const struct drill_run *r);
json_t *drill_report_json(struct drill *d);

#endif
