/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of a batch that came as a file (batch_file, form 1): one line for each of its jobs that ended, in input order, those that succeeded in
 * the output file and the others in the error file, in OpenAI's form (OpenAI: Batch API reference).
 *
 *   page ──▶ lines ──▶ pieces of two blobs ──▶ … ──▶ finish: both files, their ids, stage 3 → 4, ended_at, the webhook's delivery, in one statement
 *
 * Memory is flat: a page of results and a piece of each file. Whoever dies in the middle leaves loose blobs, which are swept; the next keeper begins
 * anew. The last statement is fenced by the keeper and writes nothing for one who lost the batch.
 */
#ifndef MR_API_BATCHES_BATCH_OUTPUT_H
#define MR_API_BATCHES_BATCH_OUTPUT_H

#include "api/faces/face.h"
#include "common/db/db.h"
#include "common/flow.h"
#include "common/id.h"

struct api;

/* Filled by the caller, zeroed before; it stays until the op has completed. */
struct batch_output_of {
	struct id id;             /* of the batch, which is in stage 3 (finalizing) and whose jobs have all ended and are counted */
	struct id keeper;         /* as in batch_file.keeper */
	int64_t tenant_id;
	enum face_form form;      /* of its lines */
	int64_t output_expires_s; /* of the files; 0: batches' default of 30 days */
};

struct batch_output;

/*
 * Writes the files and ends the batch: output_file_id (NULL: no line succeeded), error_file_id (NULL: none failed), stage 4, ended_at, look_at NULL and,
 * where the keeper left it open, `ending`: cancelled when that was asked for, expired when lines were still open at the batch's deadline, else completed.
 * A batch with a webhook has its delivery written with it, batch.<ending>, once.
 *
 * One completion comes, to flow or (flow NULL) by op->on_done: 0; -ERR_LEASE_LOST when another keeper has the batch or it is not finalizing any more
 * (a retry opened it again); -ERR_DATABASE, -ERR_OVERLOADED, -ERR_DRAINING, -ERR_CANCELED: begin anew later. op_cancel is allowed.
 * The op is the caller's until batch_output_done.
 */
struct batch_output *batch_output_new(struct api *api, const struct batch_output_of *of);
struct op *batch_output_op(struct batch_output *o);
void batch_output_start(struct batch_output *o, struct flow *flow);
void batch_output_free(struct batch_output *o); /* NULL is fine; not while it runs */

#endif
