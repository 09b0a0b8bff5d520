/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch that is being gathered and then written in one transaction. Until batch_draft_commit nothing is in the
 * database; a draft that is freed before that leaves nothing. Lines are kept once: as they came until the commit, as
 * the statements' arguments from then on.
 */
#ifndef MR_API_BATCHES_BATCH_DRAFT_H
#define MR_API_BATCHES_BATCH_DRAFT_H

#include "api/door/auth.h"
#include "api/jobs/submission.h"
#include "common/crypto.h"
#include "common/db/db.h"
#include "common/flow.h"
#include "common/nap.h"

struct api;
struct batch_order;

#define DRAFT_PAIRS 64 /* lanes and priorities that are told to the workers */

struct batch_draft {
	struct op op; /* of batch_draft_commit */
	struct flow flow;
	struct api *api;
	int64_t tenant_id;
	int weight;
	struct str key_prefix; /* borrowed */
	struct str key; /* p NULL: none; borrowed */
	uint8_t fingerprint[SHA256_LEN];
	struct str webhook_url; /* p NULL: none; borrowed */
	const struct batch_order *order; /* its lines stand in a file (batch_order.h): there are none here; NULL; borrowed */
	int form;               /* enum face_form of all its jobs; 0: native */
	int first_answer;       /* HTTP status that a repeat of the key gets; preset to 202 */
	struct list lines;      /* the good ones */
	int total;              /* … and how many they are */
	uint64_t bytes;         /* held, counted in api.batch_bytes */
	struct buf errors;      /* the first 100 bad lines as JSON objects, joined by commas */
	int error_count;
	/* After a commit with 0: */
	struct id id;
	bool replayed, is_job; /* the key's first submission made it; that was a job */
	int first_status;
	struct err err; /* after a failure */
	/* private */
	struct nap nap;
	struct db_query query;
	struct db_tx tx;
	struct db_query **queries;
	size_t nqueries, cap;
	int written_index, lane_asks;
	struct draft_pair {
		int lane, priority;
	} pairs[DRAFT_PAIRS];
	size_t npairs;
};

/* who is borrowed until batch_draft_done. */
void batch_draft_init(struct batch_draft *d, struct api *api, const struct identity *who);
void batch_draft_done(struct batch_draft *d); /* safe on a zeroed one; no commit may be under way */
/* Takes in one job; 0, -ERR_TOO_LARGE (too many jobs), -ERR_OVERLOADED (no memory left for drafts). The texts are
 * copied. */
int batch_draft_add(struct batch_draft *d, const struct submission *s);
void batch_draft_add_error(struct batch_draft *d, int64_t line, const struct err *err);
/* One completion will come: 0, -ERR_KEY_REUSED, -ERR_DATABASE, … */
void batch_draft_commit(struct batch_draft *d, struct flow *flow);

#endif
