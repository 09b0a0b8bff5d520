/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a line of a batch names and is not in it becomes part of its request: files by their ids (file_parts.h), and the response that it goes on from
 * (previous_response_id, which OpenAI's batches of /v1/responses take as any other parameter of that call).
 */
#ifndef MR_API_BATCHES_BATCH_GATHER_H
#define MR_API_BATCHES_BATCH_GATHER_H

#include "api/batches/batch_line.h"
#include "api/files/file_parts.h"

struct batch_gather {
	struct op op; /* completes with 0, or negative: as the database failed, or with fault.code when the line is to blame */
	struct batch_fault fault;
	/* private */
	struct flow flow;
	struct api *api;
	int64_t tenant_id;
	struct face_request *r; /* borrowed */
	struct file_parts parts;
	struct db_query query;
};

/* Whether there is anything to do: cheap. */
bool batch_gather_has(const struct face_request *r);
/* g is the caller's memory, zeroed or done; r stays until the completion, and is changed. Exactly one completion comes: return FLOW_WAIT after it. */
void batch_gather_start(struct batch_gather *g, struct api *api, int64_t tenant_id, struct face_request *r, struct flow *flow);
void batch_gather_done(struct batch_gather *g); /* it has completed; safe on a zeroed one, and twice */

#endif
