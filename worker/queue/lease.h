/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process's right to its jobs: a row in table worker, a heartbeat, and the news that come back with it: jobs that someone wants canceled,
 * or that this process was declared dead. Then all its jobs are aborted and it starts again under a new id.
 */
#ifndef MR_WORKER_QUEUE_LEASE_H
#define MR_WORKER_QUEUE_LEASE_H

#include "worker/worker.h"

struct leases *leases_new(struct worker *w);
void leases_free(struct leases *l);
void leases_stop(struct leases *l); /* no more heartbeats by themselves */
bool leases_are_idle(const struct leases *l);

/* Registered, and the last heartbeat was answered within the lease time. */
bool leases_are_good(const struct leases *l);
/* For how long (ms) heartbeats have been answered without a gap. */
uint64_t leases_good_for_ms(const struct leases *l);
/* A hint that jobs of this worker are to be canceled: looks now. */
void leases_look_for_cancels(struct leases *l);
/* Heartbeats at once, e.g. after a change of worker.state. */
void leases_beat_now(struct leases *l);

#endif
