/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a claimed job, in order: the step table of execution.c. */
#ifndef MR_WORKER_EXECUTION_EXECUTION_H
#define MR_WORKER_EXECUTION_EXECUTION_H

#include "worker/job.h"

/* Runs the job to the end of its lease; frees it then, and tells claim.c that a slot is free. */
void execution_start(struct job *j);

/* Ends a running one early: -ERR_CANCELED (asked by its owner: ends canceled), -ERR_EXPIRED (its deadline: ends expired),
 * -ERR_LEASE_LOST (aborts its call and forgets it, writes nothing), -ERR_DRAINING (aborts its call and gives it back without
 * counting an attempt or an interruption). While its end is already being written nothing changes. */
void execution_cancel(struct job *j, int reason_rc);

#endif
