/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What any worker does for all: promotes parked jobs when their time comes, rescues the jobs of vanished workers, expires what waited
 * too long, folds batch counts, goes on with batches that are being canceled, keeps the partitions. Each is one statement that several workers may run at the same time.
 */
#ifndef MR_WORKER_UPKEEP_H
#define MR_WORKER_UPKEEP_H

#include "worker/worker.h"

struct upkeep *upkeep_new(struct worker *w);
void upkeep_free(struct upkeep *u);

/* A job was parked by this worker and is due in ms. */
void upkeep_parked(struct upkeep *u, int64_t ms);
/* Outcomes of a batch were written: fold soon. */
void upkeep_fold(struct upkeep *u);
/* No statement is in flight. */
bool upkeep_is_idle(const struct upkeep *u);

#endif
