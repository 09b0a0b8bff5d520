/* SPDX-License-Identifier: Apache-2.0 */
/* What a line of a batch will cost: a likely figure for people, and a bound that it cannot pass, for the batch's cost cap. Pure. */
#ifndef MR_API_BATCHES_BATCH_COST_H
#define MR_API_BATCHES_BATCH_COST_H

#include "api/jobs/estimate.h"

struct batch_cost {
	int64_t input_tokens;     /* these two: api/jobs/estimate.h */
	int64_t estimate_nanousd;
	int64_t call_nanousd;     /* one call at most, to whatever target of the route; -1: that is not known */
	const char *unknown;      /* why call_nanousd is -1, for people; else NULL */
};

void batch_cost_reckon(const struct conf_route *route, const struct request_facts *f, const json_t *request, bool embeddings, struct batch_cost *ret);

#endif
