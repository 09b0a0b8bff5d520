/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of each target while the worker runs: may it be called now (operator, disabled key, parked by Retry-After, breaker), how fast
 * it is, what its answers cost, how many calls are out. The state is the fleet's and lies in table target_state; this process reads it every second (and
 * at a notice) and may be stricter by what it has just seen itself, never laxer. While the database is away, what was seen here goes on.
 *
 *   gate     routing and claims ask targets_gate: open, closed until a time, or open for a probe
 *   probe    a half-open target may be called by one call in the fleet: targets_probe takes that right in the database
 *   called   attempt's end reports here; counts go to the database together: within 20 ms after a failure, else once a second
 */
#ifndef MR_WORKER_TARGETS_TARGETS_H
#define MR_WORKER_TARGETS_TARGETS_H

#include "common/conf.h"
#include "common/flow.h"
#include "common/id.h"
#include "worker/providers/hints.h"
#include "worker/worker.h"

struct targets;
struct target_live;

struct targets *targets_new(struct worker *w);
void targets_free(struct targets *t);
bool targets_are_idle(const struct targets *t);
/* Reads the state again soon: a notice came (channel millrace_targets). */
void targets_hint(struct targets *t);

/* The live record of a target, made at first sight; lives as long as the process. Also for targets of any_model: by name. */
struct target_live *targets_find(struct targets *t, const struct conf_target *target);

enum gate { GATE_OPEN, GATE_PROBE, GATE_CLOSED };
struct gate_state {
	enum gate gate;
	int64_t wait_ms;  /* of GATE_CLOSED: until it may be another one; -1: nobody knows (paused, disabled) */
	const char *why;  /* static text: "its breaker is open", "paused by an operator", … */
	bool needs_person; /* disabled or paused: no use to wait */
	bool rate_limited; /* parked by the provider's Retry-After */
};
/* in_series: the job has called before in this series of attempts (a draining target still takes those). */
void targets_gate(const struct target_live *t, uint64_t now_ms, bool in_series, struct gate_state *ret);

/* Takes the right to the fleet's one probe of a half-open (or due) breaker. Completes with 0 (this call is the probe: it must be followed by
 * targets_called or targets_probe_release), or -ERR_OVERLOADED (another one has it, or it closed again: look at the gate again). */
struct probe_op {
	struct op op;
	struct link link;
	struct target_live *target;
};
void targets_probe(struct targets *t, struct probe_op *op, struct target_live *target, struct flow *flow);
/* The probe was not made after all. */
void targets_probe_release(struct targets *t, struct target_live *target);

/* One call, as it ended. */
struct target_call {
	enum err_code class;
	int http_status;
	struct str message;       /* the provider's; p NULL: none; copied */
	struct id job;
	int64_t retry_after_ms;   /* -1: no hint */
	int64_t first_token_ms, total_ms; /* -1: none */
	bool is_retry;            /* not the first call of its job */
	bool is_probe;
	bool canceled;            /* by us: says nothing about the target */
	int64_t request_bytes, input_tokens, output_tokens; /* as the provider counted; 0: unknown */
};
void targets_call_begins(struct target_live *t); /* targets_called follows, also where it could not be made (canceled) */
/* Besides: it is a retry. So those that are out count for targets_may_retry; without this they count when they have ended. */
void targets_retry_begins(struct target_live *t);
/* Counts, opens and closes the breaker, parks on rate limits (retry_after, else 1 s × 2ⁿ up to 60 s), disables key or target on auth, billing,
 * permission and not-found classes (with an event row), learns ratios. */
void targets_called(struct targets *t, struct target_live *target, const struct target_call *call);

/* Keeps them for /admin/v1/targets; where nothing remains the target is parked until the reset. The limiter is told by the caller. */
void targets_headers(struct targets *t, struct target_live *target, const struct limit_headers *h);

/* Whether the fleet's retry budget of this target lets another retry go now (retry.budget of the calls of the last minute, over retry.budget_min). */
bool targets_may_retry(const struct target_live *t);

/* For routing and estimates. */
int64_t target_latency_ms(const struct target_live *t);   /* peak-sensitive moving average of the time to the first token (or of the whole, unstreamed); 0: none yet */
int target_busy(const struct target_live *t);             /* calls of this process that are out */
int64_t target_millibytes(const struct target_live *t);   /* learned bytes per input token × 1000; 4,000 to begin with */
int64_t target_output_p95(const struct target_live *t);   /* learned output tokens; 512 to begin with */
const char *target_name(const struct target_live *t);

#endif
