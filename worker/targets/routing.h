/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which target a job's next call goes to: rules, then what cannot take the request is left out, then what cannot be called now, then the route's way
 * of choosing. Pure but for what it asks targets.c and limiter.c.
 */
#ifndef MR_WORKER_TARGETS_ROUTING_H
#define MR_WORKER_TARGETS_ROUTING_H

#include "common/conf.h"
#include "common/request_facts.h"
#include "worker/job.h"
#include "worker/targets/targets.h"

#define ROUTING_PERSON_MS   30000 /* a target that waits for a person is looked at so often */
#define ROUTING_PATIENCE_MS 250   /* a slice of a limit that is fetched within that is no limit reached */

struct candidate {
	const struct conf_target *target;
	struct target_live *live;
	const char *unfit;    /* why it can never take this request; NULL: it can */
	const char *left_out; /* why it cannot now, as of the last look; NULL: it can be chosen */
	int64_t wait_ms;      /* of left_out: until it may be otherwise; -1: nobody knows */
	int64_t score;        /* smaller is better: cost, latency or calls out; or its place */
	bool rate_limited;    /* of left_out */
	bool probe;           /* its breaker lets one probe through */
	bool tried;           /* called since the last wait */
	bool called;          /* by this job, in this lease */
};

struct routing {
	const struct conf_route *route;
	const struct conf_rule *rule;     /* that holds; or NULL */
	const struct conf_choice *choice; /* of the rule that holds, or main, or a special one */
	const char *why;                  /* "rule big", "the route", "context_window" */
	struct candidate *list;           /* choice->ntargets of them, in the job's arena */
	size_t n;
};

/* Finds the rule that holds; tier is the tenant's, p NULL: none. */
void routing_start(struct routing *r, const struct conf_route *route, struct job *j, const struct request_facts *facts, struct str tier);
/* context_window, content_policy or the simple model, in place of the choice. why: static text. */
void routing_use(struct routing *r, struct job *j, const struct request_facts *facts, const struct conf_choice *choice, const char *why);

enum routing_answer { ROUTING_CHOSEN, ROUTING_WAIT, ROUTING_NONE };

/* What routing_next says. */
struct routing_pick {
	size_t at;           /* of CHOSEN */
	int64_t wait_ms;     /* of WAIT: until one may be had */
	const char *why;     /* of WAIT and NONE */
	enum park_reason reason; /* of WAIT */
	struct str choice;   /* of CHOSEN: JSON for the attempt, in the job's arena; p NULL where there is one target only */
};
/*
 * Chooses one. WAIT: none can be called now, but one that fits will be. NONE: none fits the request.
 */
enum routing_answer routing_next(struct routing *r, struct job *j, const struct request_facts *facts, struct routing_pick *ret);
/* Whether another one than `at` could be called at once. */
bool routing_has_other(struct routing *r, struct job *j, size_t at);
/* Whether another one than `at` fits the request, be it that it cannot be called now. */
bool routing_fits_other(const struct routing *r, size_t at);
/* Whether a call to it now repeats one of this job: what the retry budget counts. */
bool routing_is_retry(const struct routing *r, const struct job *j, size_t at);
/* A call to it begins. */
void routing_called(struct routing *r, size_t at);
/* This one was called and is not to be asked again before the others, or a wait. */
void routing_tried(struct routing *r, size_t at);
/* This one cannot take this request, as it turned out. why: static, or in the job's arena. */
void routing_drop(struct routing *r, size_t at, const char *why);
/* All may be asked again: a wait is over. */
void routing_forget_tries(struct routing *r);

/* For claims: how many jobs of this route could begin a call now, at most `wanted`; 0: *ret_wait_ms (-1: unknown) and *ret_reason say why not. */
int routing_room(struct worker *w, const struct conf_route *route, int wanted, int64_t *ret_wait_ms, enum park_reason *ret_reason);

#endif
