/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/batches: what each call does, as steps. */
#ifndef MR_API_BATCHES_H
#define MR_API_BATCHES_H

#include "common/flow.h"

extern const struct flow_step batches_submit_steps[]; /* batch_upload.c: {"jobs": […]} */
extern const struct flow_step batches_get_steps[];
extern const struct flow_step batches_list_steps[];
extern const struct flow_step batches_cancel_steps[];
extern const struct flow_step batches_retry_steps[];
extern const struct flow_step batch_results_steps[]; /* batch_results.c */

struct id;
struct request;

/* Inside a step: read a batch into q->query … */
enum flow_next batches_load(struct request *q, struct id id);
/* … and answer with it; status 0: 200. */
enum flow_next batches_answer(struct request *q, int status);

#endif
