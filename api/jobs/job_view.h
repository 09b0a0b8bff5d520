/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one job, as an operation of its own: look, hold until it has ended if that is wanted, look again, and count
 * what stands before it in the queue. Everything that answers with a job object uses it.
 */
#ifndef MR_API_JOBS_JOB_VIEW_H
#define MR_API_JOBS_JOB_VIEW_H

#include "api/jobs/job_object.h"
#include "api/jobs/waiters.h"
#include "common/db/db.h"
#include "common/flow.h"

struct api;

struct job_view {
	struct op op; /* completes with 0, -ERR_NOT_FOUND or the database's error */
	struct flow flow;
	struct api *api;
	struct db_query query, count_query;
	struct waiter waiter;
	struct id id;
	int64_t tenant_id;
	int64_t wait_ms; /* left to hold; 0: not at all */
	bool has_waited;
	struct job_facts facts; /* valid at completion with 0, until job_view_done */
	int64_t retry_after_s;  /* a good time to poll again */
};

/* v lives in the caller; one completion will come. */
void job_view_start(struct api *api, struct job_view *v, struct flow *flow, struct id id, int64_t tenant_id,
                    int64_t wait_ms);
void job_view_done(struct job_view *v); /* safe on a zeroed one */
/* Ends a hold early: the view completes with the job as it stands. */
void job_view_hurry(struct job_view *v);

#endif
