/* SPDX-License-Identifier: Apache-2.0 */
/* The number of each lane by its name. Numbers never change, so what was found once is kept for good; names come from
 * the configuration. */
#ifndef MR_API_JOBS_LANE_IDS_H
#define MR_API_JOBS_LANE_IDS_H

#include "common/db/db.h"

struct api;
struct lane_ids;

struct lane_ids *lane_ids_new(struct api *api);
void lane_ids_free(struct lane_ids *l);
int lane_ids_get(const struct lane_ids *l, struct str name); /* -1: not known yet */
/* Asks for all of the names, in q: init'ed here, started for flow. When it has completed with 0, lane_ids_learn. */
int lane_ids_ask(struct lane_ids *l, struct db_query *q, const struct str *names, size_t n, struct flow *flow);
void lane_ids_learn(struct lane_ids *l, const struct db_query *q);

#endif
