/* SPDX-License-Identifier: Apache-2.0 */
/* A request with an Idempotency-Key made nothing, because the key was taken: whose is it? For files and uploads; jobs and batches ask in their own way. */
#ifndef MR_API_REPLAY_H
#define MR_API_REPLAY_H

#include "api/request.h"

/* idempotency.object_kind */
enum replay_kind { REPLAY_JOB, REPLAY_BATCH, REPLAY_FILE, REPLAY_UPLOAD };

/* Asks in q->query, for the flow. 0, or negative: no completion comes. */
int replay_start(struct request *q, struct str key);
/* The answer is there: 0: a repeat of the request that made *ret_id. -ERR_KEY_REUSED: another request's, -ERR_DB_CONFLICT: nobody's any more; in q->err. */
int replay_judge(struct request *q, const uint8_t fingerprint[32], enum replay_kind kind, struct id *ret_id);

#endif
