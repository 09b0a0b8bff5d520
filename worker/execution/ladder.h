/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a route serves when no target can: a stale answer from the cache, a prepared answer. (The simple model is a call like any other: execution.c
 * makes it.) A prepared answer is found by PostgreSQL's full-text match between the last user message and the answers' `match` words.
 */
#ifndef MR_WORKER_EXECUTION_LADDER_H
#define MR_WORKER_EXECUTION_LADDER_H

#include "common/conf.h"
#include "common/db/db.h"
#include "worker/execution/cache.h"
#include "worker/job.h"

struct ladder_op {
	struct op op;
	struct db_query query;
	struct job *job;
	const struct conf_route *route;
	struct str result; /* the answer in OpenAI's form, in the job's arena; p NULL: nothing fits */
};

/* Completes with 0; result says whether something was found. question: the last user message. */
void ladder_static(struct worker *w, struct ladder_op *op, struct job *j, const struct conf_route *route, struct str question, struct flow *flow);


#endif
