/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A statement that makes a file, an upload or a part, in a transaction that first takes the lock of what bounds it: the tenant (limits.tenant_files_bytes) or
 * the upload (what it announced). One statement alone would judge by what was there when it began, and those that begin at the same moment would all pass.
 *
 * Of one tenant, or upload, a process has one such transaction on its way and keeps the others back, so that they wait here and not on the connections that
 * all tenants share.
 */
#ifndef MR_API_FILES_FILE_LOCK_H
#define MR_API_FILES_FILE_LOCK_H

#include "common/db/db.h"

struct api;

struct file_lock {
	struct op op; /* completes as db_tx does */
	/* private */
	struct api *api;
	struct link link; /* in api.file_locks */
	struct id upload; /* zero: the tenant's lock */
	int64_t tenant_id;
	struct db_query lock;
	struct db_query *both[2];
	struct db_tx tx;
	bool is_sent;
};

/* l is the caller's memory, zeroed or done, and stays until the completion; q has its arguments, is borrowed until then and has the result afterwards.
 * Exactly one completion comes, perhaps at once: return FLOW_WAIT after it. */
void file_lock_tenant(struct file_lock *l, struct api *api, int64_t tenant_id, struct db_query *q, struct flow *flow);
void file_lock_upload(struct file_lock *l, struct api *api, struct id upload, int64_t tenant_id, struct db_query *q, struct flow *flow);
void file_lock_done(struct file_lock *l); /* it has completed; safe on a zeroed one, and twice */

#endif
