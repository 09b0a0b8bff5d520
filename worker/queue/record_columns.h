/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of the recorder's statements, column by column. */
#ifndef MR_WORKER_QUEUE_RECORD_COLUMNS_H
#define MR_WORKER_QUEUE_RECORD_COLUMNS_H

#include "common/db/db.h"
#include "worker/queue/record.h"

#define ATTEMPT_COLUMNS 24
#define JOB_COLUMNS     26

struct columns {
	struct db_array job[JOB_COLUMNS];         /* reused from statement to statement */
	struct db_array attempt[ATTEMPT_COLUMNS];
};

void columns_init(struct columns *c);
void columns_done(struct columns *c);

/* Puts the parameters of the kind's statement for these entries into args. */
void columns_fill(struct columns *c, struct db_args *args, enum record_kind kind, struct record_op *const *entries, size_t n, struct id worker);

#endif
