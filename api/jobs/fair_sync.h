/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps struct fairness in step with the database while there is traffic: floors every 250 ms, the other processes'
 * counts every 500 ms. */
#ifndef MR_API_JOBS_FAIR_SYNC_H
#define MR_API_JOBS_FAIR_SYNC_H

#include "api/jobs/fairness.h"

struct api;
struct fair_sync;

struct fair_sync *fair_sync_new(struct api *api, struct fairness *f);
/* Stops asking. The queries in flight end with the database; fair_sync_free after that. */
void fair_sync_stop(struct fair_sync *s);
void fair_sync_free(struct fair_sync *s);
/* There is traffic. */
void fair_sync_touch(struct fair_sync *s);

#endif
