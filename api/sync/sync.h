/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request by another face whose answer is the job's end: accepted and committed as any job, then waited for. With `stream` the text goes out as it comes.
 * The wait is the job's: it has no time limit of its own. A client that leaves cancels its job, unless that has an Idempotency-Key or is in the background.
 *
 *   read      the face's read, attribution (attribution.h), the native fields of `millrace`; refusals name the field
 *   gather    files that parts name by file_id, and the previous response, become part of the request
 *   lane, write   as for POST /v1/jobs (submit.h)
 *   view      a job that is there already, by its key
 *   wait or stream   (sync_stream.c)
 *
 * Headers of every answer: x-millrace-job-id; and when it has ended x-millrace-level, -target, -cost-usd, -attempts.
 */
#ifndef MR_API_SYNC_SYNC_H
#define MR_API_SYNC_SYNC_H

#include "api/faces/face.h"
#include "common/flow.h"

struct request;

extern const struct flow_step sync_chat_steps[];       /* POST /v1/chat/completions */
extern const struct flow_step sync_completion_steps[]; /* POST /v1/completions */
extern const struct flow_step sync_embeddings_steps[]; /* POST /v1/embeddings */
extern const struct flow_step sync_response_steps[];   /* POST /v1/responses; with background the answer is the queued response */
extern const struct flow_step sync_message_steps[];    /* POST /v1/messages */

/* One step of a table, in two halves: follows a job that is there already, as q->id, which q->view holds, streaming in the form of `face`; events up to
 * starting_after are left out (-1: none): GET /v1/responses/{id}?stream=true. echo is taken over; NULL: none. It puts its own into q->state, q->release,
 * q->on_gone and q->on_drain. The job goes on when the client leaves. */
enum flow_next sync_follow_start(struct flow *f, const struct face *face, json_t *echo, int64_t starting_after);
enum flow_next sync_follow_done(struct flow *f, int rc);

/* The answer of a face for the job that q->view holds, however it stands (echo: the stored body's member; NULL: none): status, headers and q->out.
 * Used by sync, and by responses.c to retrieve. */
enum flow_next sync_answer(struct request *q, const struct face *face, const json_t *echo);

#endif
