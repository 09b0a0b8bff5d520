/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/batches: what each call does, as steps. */
#ifndef MR_API_BATCHES_BATCHES_H
#define MR_API_BATCHES_BATCHES_H

#include "common/flow.h"
#include "common/id.h"

extern const struct flow_step batches_submit_steps[]; /* batch_upload.c: {"jobs": […]} */
extern const struct flow_step batches_get_steps[];
extern const struct flow_step batches_list_steps[];
extern const struct flow_step batches_cancel_steps[];
extern const struct flow_step batches_retry_steps[];
extern const struct flow_step batch_results_steps[]; /* batch_results.c */

struct db_query;
struct request;

/* What other forms of a batch tell of it: a row of batch_get.sql. */
struct batch_facts {
	struct id id;
	int form, total, succeeded, failed, canceled, expired;
	int64_t created_us, finished_us, cancel_us; /* 0: not yet */
	int64_t input_tokens, cached_input_tokens, output_tokens, reasoning_tokens; /* of the jobs that have ended */
	int64_t cost_nanousd; /* as far as it is known … */
	int cost_unknown;     /* … which it is not of so many jobs */
};
void batches_facts(const struct db_query *q, int row, struct batch_facts *ret);

/* Inside a step: read a batch into q->query … */
enum flow_next batches_load(struct request *q, struct id id);
/* … and answer with it; status 0: 200. */
enum flow_next batches_answer(struct request *q, int status);

/* Steps of a cancel of q->id: it is marked, and what waits ends. */
enum flow_next batches_mark_start(struct flow *f);
enum flow_next batches_mark_done(struct flow *f, int rc);
enum flow_next batches_sweep_start(struct flow *f);
enum flow_next batches_sweep_done(struct flow *f, int rc);

#endif
