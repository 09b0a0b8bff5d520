/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who does the next thing for batches that came as files: validates the file, makes its lines jobs, and writes the output when these have ended. Any api
 * process keeps any batch, one at a time (batch_file.keeper, a lease); when it dies another goes on within BATCH_LEASE_MS.
 */
#ifndef MR_API_BATCHES_BATCH_KEEPER_H
#define MR_API_BATCHES_BATCH_KEEPER_H

struct api;
struct batch_keeper;

struct batch_keeper *batch_keeper_new(struct api *api);
/* There is something to do: look at once. */
void batch_keeper_hint(struct batch_keeper *k);
/* Takes no batch any more; what it keeps is given to others at the next step. */
void batch_keeper_drain(struct batch_keeper *k);
/* What is under way ends with the database; this comes after that. */
void batch_keeper_free(struct batch_keeper *k);

#endif
