/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivers webhooks (Standard Webhooks 1.0): takes due rows of webhook_delivery under a token, signs, posts, keeps each try, and sets the next
 * time by the schedule, or marks the row dead at its end.
 */
#ifndef MR_WORKER_WEBHOOKS_WEBHOOK_H
#define MR_WORKER_WEBHOOKS_WEBHOOK_H

#include "worker/worker.h"

struct webhooks *webhooks_new(struct worker *w);
void webhooks_free(struct webhooks *h);

/* Deliveries may have been written: look soon. */
void webhooks_wake(struct webhooks *h);
/* Takes no more; those in flight go on. */
void webhooks_drain(struct webhooks *h);
/* Ends those in flight without a record: each comes due again by itself, with the same id and body. */
void webhooks_abort(struct webhooks *h);
bool webhooks_are_idle(const struct webhooks *h);

#endif
