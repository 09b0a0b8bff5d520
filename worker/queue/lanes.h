/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits where. A lane-and-priority pair is known when a look at the queue, a notice or a promotion named it; the claimer asks
 * lanes_next for the best one to claim from, and tells what the claim found.
 *
 * Order between pairs: priority less the steps it has aged (one per queue.aging that its head has waited); then round robin.
 * Order inside a pair: virtual time, by the claim itself.
 *
 * Floors: claims start at the pair's floor, below which nothing waits, so that they need not step over the index entries of jobs that
 * were taken long ago (these stay while an old transaction holds the horizon). A floor is published to table lane_floor before it is used:
 * accepted and returned jobs are placed at or above the published one. It is used FLOOR_SETTLE_MS later, when every statement that had not seen it
 * has ended; a slow look from the beginning finds whatever slipped through.
 */
#ifndef MR_WORKER_QUEUE_LANES_H
#define MR_WORKER_QUEUE_LANES_H

#include "worker/worker.h"

#define FLOOR_PUBLISH_MS 50  /* at most so often */
#define FLOOR_SETTLE_MS  100

struct lane_pick {
	int lane, priority;
	int64_t from_pass;
};

struct lanes *lanes_new(struct worker *w);
void lanes_free(struct lanes *l);
bool lanes_are_idle(const struct lanes *l); /* no statement in flight */

/* Something may wait there (a notice, a promotion, a job given back). */
void lanes_hint(struct lanes *l, int lane, int priority);
/* The best pair to claim from now; false when none is known to hold anything. */
bool lanes_next(struct lanes *l, uint64_t now_ms, struct lane_pick *ret);
/* Nothing of the lane can begin before then: it is passed over. */
void lanes_close(struct lanes *l, int lane, uint64_t until_ms);
/* No lane is closed any more. */
void lanes_open(struct lanes *l);
/* What a claim from it found: n jobs of the wanted ones, the first of them at first_pass. */
void lanes_claimed(struct lanes *l, const struct lane_pick *pick, int wanted, int n, int64_t first_pass, uint64_t now_ms);
/* One row of the look at the queue: something waits there since age_ms, first at pass. */
void lanes_seen(struct lanes *l, int lane, int priority, int64_t pass, int64_t age_ms, uint64_t now_ms);

#endif
