/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group-commit writer of the worker: outcomes, jobs given back, and attempts of jobs that go on. What arrives together is written by one
 * statement; the first goes at once when nothing is in flight. Nothing is dropped: while the database is away the entries wait
 * (the worker claims nothing meanwhile), and after a lost answer the same statement is sent again.
 */
#ifndef MR_WORKER_QUEUE_RECORD_H
#define MR_WORKER_QUEUE_RECORD_H

#include "common/flow.h"
#include "worker/job.h"

struct recorder;

enum record_kind { RECORD_END, RECORD_GIVE_BACK, RECORD_ATTEMPT };

/* An entry that waits to be written; embedded in the job's execution. Completes with 0 when it is committed, with
 * -ERR_LEASE_LOST when the lease carried another token, so that nothing was written. It cannot be canceled. */
struct record_op {
	struct op op;
	struct link link;
	struct job *job;
	enum record_kind kind;
	int64_t delay_ms;        /* of RECORD_GIVE_BACK: -1: at once */
	enum park_reason reason;
	bool interrupted;        /* of RECORD_GIVE_BACK: counts as an interruption */
};

struct recorder *recorder_new(struct worker *w);
void recorder_free(struct recorder *r);

/* Ends the job as job->end says, with its unwritten attempts. */
void record_end(struct record_op *op, struct job *j, struct flow *flow);
/* Back to the queue, after delay_ms (-1: at once), with its unwritten attempts. */
void record_give_back(struct record_op *op, struct job *j, int64_t delay_ms, enum park_reason reason, bool interrupted, struct flow *flow);
/* Its unwritten attempts only; the lease goes on. */
void record_attempt(struct record_op *op, struct job *j, struct flow *flow);

/* Entries not yet committed. */
size_t recorder_waiting(const struct recorder *r);

#endif
