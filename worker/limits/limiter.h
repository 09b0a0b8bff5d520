/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that the whole fleet keeps: requests and tokens per minute and calls in flight, of targets and of whoever sends (tenant, key, user,
 * feature, all). A limit is a row in table limit_bucket; this process takes slices of it (one statement for all its limits at a time,
 * about every LIMIT_TICK_MS), spends them here, and returns what it did not use before the slice lapses. Calls in flight are
 * held per worker in limit_hold; what a silent worker held is counted until its calls can no longer run. A dead process's slices are lost for the
 * window, never spent twice.
 *
 * No sliding minute ever holds more than the limit: the row counts what was taken by seconds, and a grant is made only where all that was taken in
 * the 63 s before it (60 s, L = 1 s that a slice lives, D = 1 s from here to the provider, and the oldest second's rest) and the grant together are
 * within the limit. A bucket that fills at limit/63 s and holds limit/30 spreads this over the minute. Time is the database's; a call gets all it
 * needs or nothing.
 */
#ifndef MR_WORKER_LIMITS_LIMITER_H
#define MR_WORKER_LIMITS_LIMITER_H

#include "common/conf.h"
#include "common/flow.h"
#include "worker/targets/targets.h"
#include "worker/worker.h"

#define LIMIT_TICK_MS  100
#define LIMIT_NEEDS_MAX 30 /* five kinds of limits of the target, everybody, tenant, key, user and feature */

struct limit;
struct limiter;

struct limiter *limiter_new(struct worker *w);
void limiter_free(struct limiter *l); /* nothing may be held or wait */
bool limiter_is_idle(const struct limiter *l);
/* The process shuts down: returns what is unused. */
void limiter_drain(struct limiter *l);

/* What a call would use. Borrowed. */
struct limit_ask {
	const struct conf_target *target; /* NULL: only the sender's limits */
	int64_t tenant_id;
	struct str tenant, key_prefix, user, feature; /* names for conf_tier_find; p NULL: none. tenant p NULL: looked up by id */
	int64_t input_tokens, output_tokens;          /* estimates */
	int64_t call_ms;                              /* how long the call may last at the most: its total timeout */
	bool only_now;                                /* who gives up will not come back for all of it: no later time is promised */
};

/* What a job holds of limits. Zeroed: nothing. Filled by a take, emptied by settle or release, in its place. */
struct limit_need {
	struct limit *limit;
	int64_t amount;
	uint64_t slice_ms; /* when it was taken */
};
struct limit_ticket {
	struct limiter *limiter;
	int n;
	unsigned life;   /* the limiter's, in which it was filled */
	int64_t call_ms; /* of the ask */
	struct limit_need *needs; /* owned; NULL: none. Few calls need many, and ten thousand may be out */
};

/* How many calls to this target may begin now, by what this process has: for claims and choices. INT_MAX without limits. Asking makes the limiter get
 * more soon when there is little; wanted: how many would be used. *ret_wait_ms: when more is expected, when 0 is returned. */
int limiter_room(struct limiter *l, const struct conf_target *target, int wanted, int64_t *ret_wait_ms);

/* Takes all that ask needs, or waits for it (first come, first served) for max_wait_ms at most. Completes with 0 (ticket filled), -ERR_TIMEOUT (wait_ms
 * says when it might go; the ticket is empty), -ERR_TOO_LARGE (one need is larger than the whole limit: it will never go; `which` names it),
 * -ERR_CANCELED. shorten_to: with output shorter than asked for it would fit now (-1: output is not what is in the way; 0 also when none is left). */
struct limit_op {
	struct op op;
	struct link link;
	struct timer timer;
	struct limiter *limiter;
	struct limit_ask ask;
	struct limit_ticket *ticket;
	int64_t wait_ms, shorten_to;
	const char *which; /* static text: "the target's requests per minute" */
	bool is_target;    /* the limit in the way is the target's, not the sender's */
	/* private */
	struct limit *blocked; /* in whose queue it waits; NULL: its tenant's name is being read */
	uint64_t seq;          /* its place among all that came */
};
void limiter_take(struct limiter *l, struct limit_op *op, const struct limit_ask *ask, struct limit_ticket *ticket, int64_t max_wait_ms, struct flow *flow);

/* The call is over: gives back calls in flight, and settles token estimates with what was used (-1: unknown, the estimate stays). More than estimated
 * is owed by the bucket; less is returned where its slice still lives. Safe on an empty ticket. */
void limiter_settle(struct limit_ticket *t, int64_t input_tokens, int64_t output_tokens);
/* The call was never made: everything comes back. Safe on an empty ticket. */
void limiter_release(struct limit_ticket *t);

/* The provider says how much is left: buckets are lowered at once, never raised. */
void limiter_headers(struct limiter *l, const struct conf_target *target, const struct limit_headers *h);

#endif
