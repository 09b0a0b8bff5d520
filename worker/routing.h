/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which target a job's next call goes to: rules, then what cannot take the request is left out, then what cannot be called now, then the route's way
 * of choosing. Pure but for what it asks targets.c and limiter.c.
 */
#ifndef MR_WORKER_ROUTING_H
#define MR_WORKER_ROUTING_H

#include "common/conf.h"
#include "common/request_facts.h"
#include "worker/job.h"
#include "worker/targets.h"

#define ROUTING_MAX 64 /* targets of one choice that are looked at */

/* Why a candidate was left out; static text. */
struct candidate {
	const struct conf_target *target;
	struct target_live *live;
	const char *left_out;   /* NULL: it can be chosen */
	int64_t wait_ms;        /* where it is left out for now only; -1: for good, or nobody knows */
	double score;           /* smaller is better; cost, latency, busy, or its place */
	bool probe;             /* its breaker lets one probe through */
	bool tried;             /* called in this series already */
};

struct routing {
	const struct conf_route *route;
	const struct conf_choice *choice; /* of the rule that holds, or main, or a special one */
	const char *why;                  /* "rule big: least_cost" … in the job's arena */
	struct candidate list[ROUTING_MAX];
	size_t n;
};

/* Finds the rule that holds; tier is the tenant's, p NULL: none. */
void routing_start(struct routing *r, const struct conf_route *route, const struct job *j, const struct request_facts *facts, struct str tier);
/* context_window, content_policy or the simple model, in place of the choice. */
void routing_use(struct routing *r, const struct conf_choice *choice, const char *why);

enum routing_answer { ROUTING_CHOSEN, ROUTING_WAIT, ROUTING_NONE };
/*
 * Chooses one: CHOSEN (*ret_at); WAIT: none now, one in *ret_wait_ms (why in *ret_why); NONE: none can ever take it, or all that can need a person.
 * The choice as JSON for the attempt in *ret_choice (the job's arena; p NULL where there is only one target).
 */
enum routing_answer routing_next(struct routing *r, struct job *j, const struct request_facts *facts, size_t *ret_at, int64_t *ret_wait_ms,
                                 const char **ret_why, struct str *ret_choice);
/* This one was called and is not to be asked again before the others. */
void routing_tried(struct routing *r, size_t at);
/* All may be asked again: a wait is over. */
void routing_forget_tries(struct routing *r);

/* For claims: how many jobs of this route could begin a call now, at most `wanted`; 0: *ret_wait_ms (-1: unknown) and *ret_reason say why not. */
int routing_room(struct worker *w, const struct conf_route *route, int wanted, int64_t *ret_wait_ms, enum park_reason *ret_reason);

#endif
