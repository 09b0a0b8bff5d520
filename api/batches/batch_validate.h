/* SPDX-License-Identifier: Apache-2.0 */
/* Is the file of a batch one that can be run? One pass over it, with all faults by line. Memory is flat: a piece, a line, 32 bytes for each custom_id. */
#ifndef MR_API_BATCHES_BATCH_VALIDATE_H
#define MR_API_BATCHES_BATCH_VALIDATE_H

#include "common/flow.h"

struct batch_work;
struct batch_validate;

/* Works until the verdict is written: the batch is in stage 1 then (w->stage, w->total), or it has ended (failed, cancelled, a dry run: completed).
 * One completion comes to flow: 0, -ERR_LEASE_LOST, or another that says that it is to be begun again. w is borrowed. */
struct batch_validate *batch_validate_new(struct batch_work *w);
void batch_validate_start(struct batch_validate *v, struct flow *flow);
void batch_validate_free(struct batch_validate *v); /* NULL is fine; not while it runs */

#endif
