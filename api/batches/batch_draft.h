/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch that is being gathered and then made in one transaction. Lines gather to groups; when one is full it is written where nobody sees it
 * (batch_stage), so that memory is some groups, however large the body. The commit makes the batch of them, all at once.
 *
 *   new ─▶ add, add, … (while there is room; else wait for on_room) ─▶ commit ─▶ free
 *                                                              └─▶ or just free: nothing is left of it
 *
 * A draft that ends within one group is written by the commit alone.
 */
#ifndef MR_API_BATCHES_BATCH_DRAFT_H
#define MR_API_BATCHES_BATCH_DRAFT_H

#include "api/batches/batch_columns.h"
#include "api/door/auth.h"
#include "common/crypto.h"
#include "common/flow.h"
#include "common/nap.h"

struct batch_order;

struct batch_draft {
	struct op op; /* of batch_draft_commit */
	/* Set by the owner before the first line. */
	struct str key;                  /* p NULL: none; borrowed */
	int form;                        /* enum face_form of all its jobs; 0: native */
	/* A full group was written, or could not be (rc). May add; may not free. NULL: the owner does not wait. */
	void (*on_room)(struct batch_draft *d);
	void *user;                      /* the owner's */
	/* … before the commit. */
	uint8_t fingerprint[SHA256_LEN];
	struct str webhook_url;          /* p NULL: none; borrowed */
	const struct batch_order *order; /* its lines stand in a file (batch_order.h): there are none here; NULL; borrowed */
	int first_answer;                /* HTTP status that a repeat of the key gets; preset to 202 */
	/* What it holds. */
	int total;         /* good lines */
	struct buf errors; /* the first 100 bad lines as JSON objects, joined by commas */
	int error_count;
	int rc;            /* negative: a group could not be written; the commit will fail with it */
	/* After a commit with 0: */
	struct id id;
	bool replayed, is_job; /* the key's first submission made it; that was a job */
	int first_status;
	struct err err; /* after a failure */
	/* private */
	struct batch_lines_of of;
	struct str key_prefix; /* borrowed */
	struct list lines;     /* in no group yet */
	int nlines;
	size_t line_bytes;
	uint64_t held;         /* counted in api.batch_bytes */
	struct flow stage, commit;
	struct op staged;      /* the commit waits for the group on its way */
	struct db_query stage_query, query;
	struct nap nap;
	struct db_tx tx;
	struct batch_columns group;
	struct batch_pairs pairs;
	struct db_query **queries;
	size_t nqueries, cap;
	int indexed, groups, lane_asks;
	bool is_staging, told_full, is_made, is_orphan;
};

/* who is borrowed until the commit has completed. */
struct batch_draft *batch_draft_new(struct api *api, const struct identity *who);
/* What is not committed leaves nothing, by and by. No commit may be under way. NULL is fine. */
void batch_draft_free(struct batch_draft *d);
/* Takes in one job; 0, -ERR_TOO_LARGE (too many jobs), -ERR_OVERLOADED (no memory left for drafts). The texts are
 * copied. */
int batch_draft_add(struct batch_draft *d, const struct submission *s);
/* False: add nothing more until on_room, so that memory stays flat. */
bool batch_draft_has_room(struct batch_draft *d);
void batch_draft_add_error(struct batch_draft *d, int64_t line, const struct err *err);
/* One completion will come: 0, -ERR_KEY_REUSED, -ERR_DATABASE, … */
void batch_draft_commit(struct batch_draft *d, struct flow *flow);

#endif
