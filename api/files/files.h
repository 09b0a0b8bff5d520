/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/files: what each call does, as steps; and how a blob that was written becomes a file. */
#ifndef MR_API_FILES_FILES_H
#define MR_API_FILES_FILES_H

#include "common/db/db.h"

extern const struct flow_step files_create_steps[]; /* files_create.c */
extern const struct flow_step files_list_steps[];
extern const struct flow_step files_get_steps[];
extern const struct flow_step files_delete_steps[];
extern const struct flow_step file_content_steps[]; /* file_content.c */

#define FILES_BATCH_BYTES      ((int64_t)200 << 20) /* OpenAI: input files of batches */
#define FILES_BATCH_EXPIRES_S  ((int64_t)30 * 86400) /* purposes batch and batch_output, where nothing else was said */
#define FILES_EXPIRES_MIN_S    ((int64_t)3600)
#define FILES_EXPIRES_MAX_S    ((int64_t)30 * 86400)

struct request;

/* Inside a step: read a file into q->query … */
enum flow_next files_load(struct request *q, struct id id);
/* … and answer with it. */
enum flow_next files_answer(struct request *q);

struct file_new {
	struct id id;             /* of the file; in the bucket of the blob */
	struct id blob;           /* blob_write_end has completed for it */
	int64_t bytes;            /* of the blob */
	int64_t tenant_id;
	struct str purpose, filename;
	struct str mime_type;     /* p NULL: unknown */
	int64_t expires_after_s;  /* 0: never */
	int64_t tenant_bytes;     /* limits.tenant_files_bytes where it applies; 0: no limit */
	/* Of a request with an Idempotency-Key; p NULL: none. */
	struct str key;
	const uint8_t *fingerprint;
};

/* The statement that makes the file, inited and with its arguments, for db_query_start or in a db_tx. May be sent again. Its one row, always: */
void file_new_query(struct db_query *q, const struct file_new *f);
enum {
	FILE_NEW_ROOM,    /* bool: false: the tenant's files would be over tenant_bytes, nothing was made */
	FILE_NEW_ID,      /* NULL: no file was made: no room, or the key belongs to another request, or the blob is no longer there */
	FILE_NEW_CREATED,
	FILE_NEW_EXPIRES, /* NULL: never */
};

#endif
