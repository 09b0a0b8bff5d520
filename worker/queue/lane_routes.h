/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes by number and what can be begun of them now. A lane is claimed from only as far as its route's targets and limits let calls begin; what stands in
 * the way is written to table lane_wait, so that waiting jobs can say why they wait.
 */
#ifndef MR_WORKER_QUEUE_LANE_ROUTES_H
#define MR_WORKER_QUEUE_LANE_ROUTES_H

#include "worker/worker.h"

struct lane_routes;

struct lane_routes *lane_routes_new(struct worker *w);
void lane_routes_free(struct lane_routes *r);
bool lane_routes_are_idle(const struct lane_routes *r);

/* A row of the look at the queue named the lane. */
void lane_routes_named(struct lane_routes *r, int lane, struct str name);
bool lane_routes_knows(const struct lane_routes *r, int lane);

/* How many jobs of the lane could begin now, at most `wanted`; 0: not before *ret_wait_ms, which is at most a second. */
int lane_routes_room(struct lane_routes *r, int lane, int wanted, int64_t *ret_wait_ms);

#endif
