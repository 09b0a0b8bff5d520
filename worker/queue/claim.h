/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes jobs from the queue when there are slots for them, in batches, and starts their executions. Claims only what can start
 * now. Wakes by notice, by a slot that became free, and by polling, which is the truth.
 */
#ifndef MR_WORKER_QUEUE_CLAIM_H
#define MR_WORKER_QUEUE_CLAIM_H

#include "worker/worker.h"

struct claimer *claimer_new(struct worker *w);
void claimer_free(struct claimer *c);

/* Looks for work in this turn of the loop. */
void claimer_wake(struct claimer *c);
/* The same, and looks at the whole queue: notices may have been missed. */
void claimer_look(struct claimer *c);
/* As claimer_wake, also where there was no room a moment ago: it may have come. */
void claimer_retry(struct claimer *c);
/* A claim is in flight: jobs may still arrive. */
bool claimer_is_busy(const struct claimer *c);

#endif
