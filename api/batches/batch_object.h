/* SPDX-License-Identifier: Apache-2.0 */
/* A batch as clients see it: natively, or in OpenAI's form where it came as a file. */
#ifndef MR_API_BATCHES_BATCH_OBJECT_H
#define MR_API_BATCHES_BATCH_OBJECT_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/db/db.h"

/* The columns of the view batch_now (migrations/0005_mends.sql); those from STAGE on are NULL where there is no file. */
enum batch_column {
	BATCH_COL_ID,
	BATCH_COL_TOTAL,
	BATCH_COL_ERRORS,
	BATCH_COL_ERROR_COUNT,
	BATCH_COL_CREATED,
	BATCH_COL_FINISHED,
	BATCH_COL_CANCEL,
	BATCH_COL_WEBHOOK,
	BATCH_COL_SUCCEEDED,
	BATCH_COL_FAILED,
	BATCH_COL_CANCELED,
	BATCH_COL_EXPIRED,
	BATCH_COL_NOW,
	BATCH_COL_RUNNING,
	BATCH_COL_FORM,
	BATCH_COL_INPUT,
	BATCH_COL_CACHED,
	BATCH_COL_OUTPUT,
	BATCH_COL_REASONING,
	BATCH_COL_COST,
	BATCH_COL_COST_UNKNOWN,
	BATCH_COL_STAGE,
	BATCH_COL_ENDPOINT,
	BATCH_COL_FILE,
	BATCH_COL_WINDOW,
	BATCH_COL_METADATA,
	BATCH_COL_MODEL,
	BATCH_COL_PRIORITY,
	BATCH_COL_DRY_RUN,
	BATCH_COL_CAP,
	BATCH_COL_ESTIMATE,
	BATCH_COL_ESTIMATE_INPUT,
	BATCH_COL_CAPPED,
	BATCH_COL_LOADED,
	BATCH_COL_STARTED,
	BATCH_COL_FINALIZING,
	BATCH_COL_ENDED,
	BATCH_COL_ENDING,
	BATCH_COL_EXPIRES,
	BATCH_COL_OUTPUT_FILE,
	BATCH_COL_ERROR_FILE,
};

void batch_object_write(struct buf *b, const struct db_query *q, int row);
/* Nothing happens to it any more: its jobs have ended, and the output of one from a file is there. */
bool batch_object_is_over(const struct db_query *q, int row);
/* `W/"…"`: changes when the object does. In a. */
struct str batch_object_etag(struct arena *a, const struct db_query *q, int row);

/* batch_file_object.c: in OpenAI's form; its parts that are the same natively come from here. */
void batch_file_object_write(struct buf *b, const struct db_query *q, int row);
const char *batch_file_object_status(const struct db_query *q, int row);
void batch_object_counts(struct buf *b, const struct db_query *q, int row);   /* ,"counts":{…} */
void batch_object_progress(struct buf *b, const struct db_query *q, int row); /* ,"progress":{…} */

#endif
