/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/jobs: what each call does, as steps. */
#ifndef MR_API_JOBS_JOBS_H
#define MR_API_JOBS_JOBS_H

#include "common/flow.h"

extern const struct flow_step jobs_submit_steps[]; /* jobs_submit.c */
extern const struct flow_step jobs_get_steps[];
extern const struct flow_step jobs_cancel_steps[];
extern const struct flow_step jobs_retry_steps[];
extern const struct flow_step jobs_erase_steps[];
extern const struct flow_step jobs_attempts_steps[]; /* jobs_list.c */
extern const struct flow_step jobs_list_steps[];

struct request;
struct job_view;

/* The view that a request on one job works with, made at the first call; freed with the request. */
struct job_view *jobs_view(struct request *q);
/* Inside a step: answer with the job of the view; status 0: 200. */
enum flow_next jobs_answer(struct request *q, int status);

#endif
