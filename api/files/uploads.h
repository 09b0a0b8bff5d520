/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/uploads: a file that comes in parts, in any order and at the same time. What each call does, as steps. OpenAI: Uploads API reference. */
#ifndef MR_API_FILES_UPLOADS_H
#define MR_API_FILES_UPLOADS_H

#include "common/flow.h"
#include "common/id.h"

extern const struct flow_step uploads_create_steps[];
extern const struct flow_step uploads_cancel_steps[];
extern const struct flow_step uploads_part_steps[];     /* upload_parts.c */
extern const struct flow_step uploads_complete_steps[]; /* upload_complete.c */

#define UPLOAD_PART_BYTES ((int64_t)64 << 20) /* of one part at most */
#define UPLOAD_PARTS_MAX  1000

struct request;

enum upload_status { UPLOAD_PENDING, UPLOAD_COMPLETED, UPLOAD_CANCELLED, UPLOAD_EXPIRED };

/* The columns of upload_get.sql. */
enum {
	UPLOAD_COL_ID,
	UPLOAD_COL_STATUS,
	UPLOAD_COL_LATE,
	UPLOAD_COL_BYTES,
	UPLOAD_COL_CREATED,
	UPLOAD_COL_EXPIRES,
	UPLOAD_COL_PURPOSE,
	UPLOAD_COL_FILENAME,
	UPLOAD_COL_LIFE,
	UPLOAD_COL_FILE,
	UPLOAD_COL_FILE_BYTES,
	UPLOAD_COL_FILE_CREATED,
	UPLOAD_COL_FILE_EXPIRES,
	UPLOAD_COL_PART,
	UPLOAD_COL_PART_BYTES,
};

/* Inside a step: reads an upload into q->query … */
enum flow_next uploads_load(struct request *q, struct id id);
/* … how it stands; -ERR_NOT_FOUND, or -ERR_CONFLICT when it is not pending, with q->err … */
enum upload_status uploads_status(const struct request *q);
int uploads_want_pending(struct request *q);
/* … and answers with it. */
enum flow_next uploads_answer(struct request *q);

#endif
