/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/messages/…: batches in Anthropic's form, and the count of tokens. */
#ifndef MR_API_BATCHES_MESSAGE_BATCHES_H
#define MR_API_BATCHES_MESSAGE_BATCHES_H

#include "api/request.h"

extern const struct body_stream message_batch_stream; /* message_batch_intake.c: POST */
extern const struct flow_step message_batches_get_steps[];
extern const struct flow_step message_batches_list_steps[];
extern const struct flow_step message_batches_cancel_steps[];
extern const struct flow_step message_batches_delete_steps[];
extern const struct flow_step message_batch_results_steps[]; /* batch_results.c */
extern const struct flow_step message_count_steps[];         /* message_count.c: POST /v1/messages/count_tokens */

/* Ends a step that loaded a batch (batches_load) with it; one of another form is none. */
enum flow_next message_batches_view_done(struct flow *f, int rc);

/* A line of the results: how the job of this row of batch_results.sql ended. */
struct job_facts;
void message_batches_write_line(struct buf *b, const struct job_facts *j);

#endif
