/* SPDX-License-Identifier: Apache-2.0 */
/* What all requests that make one job have in common: its lane is found, and it is written with the next group commit. */
#ifndef MR_API_JOBS_SUBMIT_H
#define MR_API_JOBS_SUBMIT_H

#include "api/jobs/intake.h"

struct request;

/* q->submit, in the request's arena. */
struct submit {
	struct submission submission; /* filled by the request's own steps, before lane */
	struct intake_job intake;
	int lane_asks;
};

/* Makes q->submit and reads the Idempotency-Key, with the fingerprint of this request. 0, or an error in q->err. */
int submit_begin(struct request *q);

/* Two steps of a table, each next to the other. After `write` the job is there: q->submit->intake says which; the workers are told of a new one. A key that was
 * used for something else, and a job that could not be written, end the request. */
enum flow_next submit_lane_start(struct flow *f);
enum flow_next submit_lane_done(struct flow *f, int rc);
enum flow_next submit_write_start(struct flow *f);
enum flow_next submit_write_done(struct flow *f, int rc);

#endif
