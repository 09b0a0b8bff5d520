/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker does after an upstream call: pure. The table in judge.c has a row per class of failure, and the rules here turn it,
 * the hint of the provider and what is left to the job into one decision.
 */
#ifndef MR_WORKER_EXECUTION_JUDGE_H
#define MR_WORKER_EXECUTION_JUDGE_H

#include "common/err.h"

enum verdict {
	VERDICT_ACCEPT,      /* the answer is the result */
	VERDICT_AGAIN,       /* the same target, or the first of the route, after wait_ms */
	VERDICT_NEXT_TARGET, /* the next target of the route, at once */
	VERDICT_PARK,        /* wait wait_ms; the call did not count as an attempt */
	VERDICT_FAIL,        /* the job ends failed with this class */
};

struct judge_input {
	enum err_code class;
	int64_t retry_after_ms; /* the provider's hint; -1: none */
	int should_retry;       /* x-should-retry: 1, 0, -1: absent */
	int attempts;           /* upstream calls that counted so far, with this one */
	int max_attempts;
	int failures_in_row;    /* with this one and those of earlier leases: the exponent of the backoff */
	int bad_outputs;        /* of this lease, with this one */
	bool more_targets;      /* the route has another target after this one */
	int64_t left_ms;        /* until the job's deadline */
	uint64_t random;        /* any number: the jitter comes from it */
};

struct judge_times {
	int64_t base_ms, max_ms, overload_base_ms, overload_max_ms;
};

struct judgement {
	enum verdict verdict;
	bool counts;       /* the call counts as an attempt */
	int64_t wait_ms;   /* of AGAIN and PARK */
	const char *why;   /* static text for attempt.next */
};

struct judgement judge(const struct judge_input *in, const struct judge_times *t);

#endif
