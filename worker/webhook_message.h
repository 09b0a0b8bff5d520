/* SPDX-License-Identifier: Apache-2.0 */
/* The body and the signature of a webhook (Standard Webhooks 1.0): pure. */
#ifndef MR_WORKER_WEBHOOK_MESSAGE_H
#define MR_WORKER_WEBHOOK_MESSAGE_H

#include "common/buf.h"
#include "common/err.h"

struct db_query;

/* The body of the delivery in this row of webhook_take: {"type","timestamp","data"}. The same for every try. */
int webhook_body(struct buf *b, const struct db_query *q, int row);

/* "v1,BASE64" of HMAC-SHA256 over id.timestamp.body. secret is whsec_ and base64 of 24–64 bytes, else -ERR_INVALID. */
int webhook_sign(struct buf *b, struct str secret, struct str id, int64_t unix_s, struct str body);

/* The delay before try number `tries` + 1 from a schedule like "0,5s,5m", in ms; -1: there is none. */
int64_t webhook_delay_ms(struct str schedule, int tries);

#endif
