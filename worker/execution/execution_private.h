/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an execution: for execution.c (the table), execution_call.c (calls) and execution_serve.c (what serves without a call). */
#ifndef MR_WORKER_EXECUTION_EXECUTION_PRIVATE_H
#define MR_WORKER_EXECUTION_EXECUTION_PRIVATE_H

#include "common/nap.h"
#include "common/request_facts.h"
#include "worker/execution/attempt.h"
#include "worker/execution/cache.h"
#include "worker/execution/execution.h"
#include "worker/execution/judge.h"
#include "worker/execution/ladder.h"
#include "worker/limits/limiter.h"
#include "worker/queue/record.h"
#include "worker/targets/routing.h"
#include "worker/targets/targets.h"
#include "worker/worker.h"

enum { LOAD, CACHED, CHOOSE, ADMIT, CALL, JUDGE, KEEP, NAP, RUNG, END, GIVE_BACK, HOLD };

/* Where a job goes when the ladder has nothing for it. */
enum after_ladder { AFTER_FAIL, AFTER_WAIT };

struct execution {
	json_t *body;                   /* owned: the whole submission; NULL while a call is out: it is parsed again for the next */
	struct conf *conf;              /* ref'ed: routes and targets stay as they were at the start */
	const struct conf_route *route;
	struct request_facts facts;
	struct routing routing;
	struct routing_pick pick;       /* the target that is called next */
	enum served_level level;        /* of what is called */
	bool moved;                     /* since the last wait another target was called */
	uint8_t key[32];                /* for identical requests */
	int64_t cache_ttl_ms;           /* 0: the cache is off */
	bool leading;                   /* this job gets the answer that identical ones wait for */
	bool used_context, used_content; /* the special choices of the route */
	bool is_retry;                  /* the call that is out repeats one of this job */
	bool probing;                   /* holds the fleet's probe of the target */
	bool asking_probe;              /* ADMIT waits for the probe, not for limits */
	bool accept_partial;
	struct str feature, tenant, tier; /* p NULL: none */
	enum conf_on_limit on_limit;
	int64_t max_output;             /* > 0: shortened at a limit */
	const enum conf_rung *ladder;   /* rungs that are left */
	size_t nladder;
	enum after_ladder after_ladder;
	struct conf_choice simple;      /* the simple model, as a choice of one */
	const struct conf_target *simple_target;
	struct limit_ticket ticket;
	struct attempt attempt;
	struct judgement judgement;
	int64_t wait_ms;                /* of NAP and GIVE_BACK */
	enum park_reason wait_reason;
	int failures_in_row, bad_outputs;
	int attempts_before;            /* by earlier leases */
	int held_step;                  /* that the database refused, to be done again after HOLD */
	union {                         /* one operation is out at a time */
		struct nap nap;
		struct record_op record;
		struct cache_op cache;
		struct ladder_op *rung; /* in the arena: it is large, and few jobs come to need it */
		struct probe_op probe;
		struct limit_op limit;
	};
};

static inline struct job *job_of(struct flow *f)
{
	return container_of(f, struct job, flow);
}

/* Ends of flows: each returns what the step returns. */
enum flow_next execution_fail_job(struct job *j, const char *code, struct str message);
enum flow_next execution_stopped(struct job *j);
/* Waits here when it is short, else in the queue. */
enum flow_next execution_wait(struct job *j, int64_t wait_ms, enum park_reason reason);

/* It has waited long enough for a target, and there is a ladder. */
bool execution_may_go_down(const struct job *j);
void execution_drop_body(struct execution *x);

/* execution_call.c: the steps ADMIT, CALL and JUDGE. */
enum flow_next execution_admit(struct flow *f);
enum flow_next execution_admitted(struct flow *f, int rc);
enum flow_next execution_call(struct flow *f);
enum flow_next execution_called(struct flow *f, int rc);
enum flow_next execution_weigh(struct flow *f);

/* execution_serve.c: the steps CACHED and RUNG. */
void execution_plan_cache(struct job *j, const json_t *submission);
enum flow_next execution_ask_cache(struct flow *f);
enum flow_next execution_cache_answered(struct flow *f, int rc);
enum flow_next execution_rung(struct flow *f);
enum flow_next execution_rung_done(struct flow *f, int rc);
/* Calls that the route's targets may be: one is kept for the simple model, where the ladder has it still before it. One cap holds for all. */
int execution_attempts_for_targets(const struct job *j);
/* Down the ladder, where one is left; else what `after` says. For AFTER_FAIL code and message are in j->end already; for AFTER_WAIT wait_ms and reason in x. */
enum flow_next execution_down(struct job *j, enum after_ladder after);
/* The outcome is made: what becomes of the flight that others wait for. */
void execution_settle_cache(struct job *j);

#endif
