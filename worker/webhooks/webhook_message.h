/* SPDX-License-Identifier: Apache-2.0 */
/* The body and the signature of a webhook (Standard Webhooks 1.0): pure. */
#ifndef MR_WORKER_WEBHOOKS_WEBHOOK_MESSAGE_H
#define MR_WORKER_WEBHOOKS_WEBHOOK_MESSAGE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"

struct db_query;

/* The body of the delivery in this row of webhook_take: {"type","timestamp","data"}, or OpenAI's. The same for every try. */
int webhook_body(struct buf *b, const struct db_query *q, int row);

/* What an event of a response (event is job.…) is called: response.…; incomplete is an answer that ended before it was done. */
const char *webhook_response_event(struct str event, int flags, struct str error_code);
/* OpenAI's body (its Webhooks guide): {"id":"evt_…","object":"event","created_at","type","data":{"id"}}. prefix is that of object. */
int webhook_openai_body(struct buf *b, struct id delivery, struct str type, int64_t created_us, const char *prefix, struct id object);

/* "v1,BASE64" of HMAC-SHA256 over id.timestamp.body. secret is whsec_ and base64 of 24–64 bytes, else -ERR_INVALID. */
int webhook_sign(struct buf *b, struct str secret, struct str id, int64_t unix_s, struct str body);

/* The delay before try number `tries` + 1 from a schedule like "0,5s,5m", in ms; -1: there is none. */
int64_t webhook_delay_ms(struct str schedule, int tries);

#endif
