/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a valid batch become jobs, group by group; they run while later lines are still in the file. */
#ifndef MR_API_BATCHES_BATCH_LOAD_H
#define MR_API_BATCHES_BATCH_LOAD_H

#include "common/flow.h"

struct batch_work;
struct batch_load;

/*
 * Goes on at w->loaded_at. One completion comes to flow: 0: every line is a job, or never will be one, and the batch is in stage 2 (w->stage);
 * -ERR_RATE_LIMITED: the cost cap has no room until jobs have ended: come again; -ERR_LEASE_LOST, or another that says that it is to be gone on with
 * again. w is borrowed; its loaded and loaded_at follow what was committed.
 */
struct batch_load *batch_load_new(struct batch_work *w);
void batch_load_start(struct batch_load *l, struct flow *flow);
void batch_load_free(struct batch_load *l); /* NULL is fine; not while it runs */

#endif
