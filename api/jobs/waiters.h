/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for a job or a batch to end: one query for all of a kind, run at once when a notice says that
 * outcomes were written, else at 50 to 250 ms. A waiter embeds in its owner and completes as an op: 0 it has ended,
 * -ERR_TIMEOUT the time is over, -ERR_CANCELED (also when the process shuts down).
 */
#ifndef MR_API_JOBS_WAITERS_H
#define MR_API_JOBS_WAITERS_H

#include "common/flow.h"
#include "common/id.h"
#include "common/loop.h"

struct api;
struct job_facts;
struct waiters;

struct waiter {
	struct op op;
	struct link link;
	struct timer timer;
	struct waiters *all;
	struct id id;
	int64_t tenant_id;
	bool is_batch;
	const struct job_facts *facts; /* of a job, where they are wanted, at the completion with 0: gone when that returns */
	int row;          /* private: of the answer */
	bool wants_facts; /* set before the start: the job's end is read with the wait */
	bool patient; /* set before the start: goes on while the process drains, until waiters_stop */
};

struct waiters *waiters_new(struct api *api);
void waiters_free(struct waiters *w); /* nothing may wait */
void waiter_start(struct waiters *all, struct waiter *w, struct flow *flow, struct id id, int64_t tenant_id,
                  bool is_batch, int64_t ms);
/* Outcomes were written (a hint). */
void waiters_hint(struct waiters *w);
/* Ends all waits now but the patient ones, and each that comes later at once: the process shuts down. */
void waiters_drain(struct waiters *w);
/* Ends all. */
void waiters_stop(struct waiters *w);

#endif
