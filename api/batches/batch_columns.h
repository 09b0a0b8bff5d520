/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of a batch's lines as the columns of one statement: what batch_accept_jobs, batch_stage_add and batch_file_load take of each line, in their order.
 * Each line gets its place in the fair order when it is added.
 */
#ifndef MR_API_BATCHES_BATCH_COLUMNS_H
#define MR_API_BATCHES_BATCH_COLUMNS_H

#include "api/jobs/submission.h"
#include "common/db/db.h"

struct api;

#define BATCH_COLUMNS 17
#define BATCH_PAIRS   64 /* lanes with priorities that are remembered */

/* Whose lines they are. */
struct batch_lines_of {
	struct api *api;
	struct id batch;
	int64_t tenant_id;
	int weight;
};

/* The lanes and priorities of lines: those beyond BATCH_PAIRS are left out. Zeroed: none. */
struct batch_pairs {
	struct batch_pair {
		int lane, priority, lines;
	} all[BATCH_PAIRS];
	size_t n;
};

struct batch_columns {
	struct db_array c[BATCH_COLUMNS];
	int rows;
	size_t bytes; /* of the bodies */
};

void batch_columns_init(struct batch_columns *g);
void batch_columns_clear(struct batch_columns *g); /* keeps the memory */
void batch_columns_done(struct batch_columns *g);  /* safe on a zeroed one, and twice */
/* s as the batch's line number `index`, in a lane that is known. */
void batch_columns_add(struct batch_columns *g, const struct batch_lines_of *of, struct batch_pairs *pairs, int index, int lane, const struct submission *s);
/* BATCH_COLUMNS arrays. */
void batch_columns_arg(const struct batch_columns *g, struct db_args *args);

/* The lines are in the queue: workers are told. */
void batch_pairs_ready(const struct batch_pairs *p, struct api *api);
/* The lines will never be: the tenant gets their places back. */
void batch_pairs_return(const struct batch_pairs *p, const struct batch_lines_of *of);

#endif
