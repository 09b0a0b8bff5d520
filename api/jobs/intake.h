/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes single jobs, many in one transaction. A submission embeds a struct intake_job, which completes when its job is
 * safely in the database, or surely is not, or when the time for finding out is over.
 */
#ifndef MR_API_JOBS_INTAKE_H
#define MR_API_JOBS_INTAKE_H

#include "api/jobs/submission.h"
#include "common/flow.h"
#include "common/id.h"

struct api;
struct intake;

struct intake_job {
	struct op op; /* completes with 0, -ERR_KEY_REUSED, -ERR_OVERLOADED, -ERR_DATABASE, -ERR_DRAINING, … */
	/* Set by the caller; borrowed until the completion. */
	const struct submission *submission;
	int64_t tenant_id;
	int lane;
	int64_t pass, counted_from;
	struct str key_prefix; /* of the API key; p NULL: none */
	struct str key; /* p NULL: none */
	uint8_t fingerprint[32];
	/* Set at the completion with 0. */
	struct id id;     /* of the job that the answer is about; made by intake_start */
	bool is_batch;    /* the key belongs to a batch: id names that */
	bool replayed;    /* an earlier submission with the same key made it */
	bool is_new;      /* written just now: the times below are set; else read the job */
	int first_status; /* of the first answer */
	int64_t created_us, expires_us;
	/* private */
	struct link link;
	struct list followers; /* others with the same key, waiting for this one */
	size_t bytes;
	int tries;
	bool alone; /* write it in a statement of its own */
	bool written;
};

struct intake *intake_new(struct api *api);
/* Fails all that waits; flushes in flight end with the database. */
void intake_stop(struct intake *in);
void intake_free(struct intake *in);
/* 0: one completion will come. Negative: refused at once (-ERR_OVERLOADED, -ERR_DRAINING). */
int intake_start(struct intake *in, struct intake_job *j, struct flow *flow);

#endif
