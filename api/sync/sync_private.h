/* SPDX-License-Identifier: Apache-2.0 */
/* What sync.c and sync_stream.c share. */
#ifndef MR_API_SYNC_SYNC_PRIVATE_H
#define MR_API_SYNC_SYNC_PRIVATE_H

#include "api/files/file_parts.h"
#include "api/jobs/job_cancel.h"
#include "api/jobs/job_object.h"
#include "api/jobs/submit.h"
#include "api/sync/sync.h"
#include "api/sync/sync_stream.h"
#include "api/jobs/waiters.h"

/* q->state of such a request. */
struct sync {
	const struct face *face;
	struct face_request asked;
	json_t *body; /* owned; the request's own, until the job is written */
	struct file_parts files;
	struct waiter waiter;
	struct sync_stream stream;
	struct job_cancel cancel;
};

/* The job of the view as a face's answer; *ret_result is owned. */
struct face_answer sync_facts(const struct request *q, const struct face *face, const json_t *echo, json_t **ret_result);
/* x-millrace-*, but the job's id: what is known of a job that has ended. */
void sync_headers(struct request *q);

#endif
