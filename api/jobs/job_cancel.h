/* SPDX-License-Identifier: Apache-2.0 */
/* Canceling one job, as an operation: a waiting one ends, the worker of a running one is told to let go. Nobody waits until it has. */
#ifndef MR_API_JOBS_JOB_CANCEL_H
#define MR_API_JOBS_JOB_CANCEL_H

#include "common/db/db.h"
#include "common/flow.h"
#include "common/id.h"
#include "common/nap.h"

struct api;

struct job_cancel {
	struct op op; /* completes with 0: it has ended, or will; or with the database's error: it is not known */
	struct flow flow;
	struct api *api;
	struct db_query query;
	struct nap nap;
	struct id id;
	int64_t tenant_id;
	int asks;
};

/* c lives in the caller; one completion will come. */
void job_cancel_start(struct api *api, struct job_cancel *c, struct flow *flow, struct id id, int64_t tenant_id);
void job_cancel_done(struct job_cancel *c); /* safe on a zeroed one */

#endif
