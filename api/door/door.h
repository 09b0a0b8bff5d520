/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits at the door: `submit` requests per minute of an API key (and of a tenant, where its tier has one), and `max_depth` waiting jobs of a
 * tenant, as the configuration's tiers say. Over all api processes.
 *
 * Requests are counted in the database, in the row of table limit_bucket that the key or tenant has: no 60 seconds ever hold more than the limit.
 * Depth is a count of the queue that is up to a second old (ten times what counting takes, if that is more), and what this process has let in since: one
 * process keeps the limit; with others it may be passed by what they let in within that time.
 */
#ifndef MR_API_DOOR_DOOR_H
#define MR_API_DOOR_DOOR_H

#include "common/db/db.h"
#include "common/flow.h"

struct api;
struct door;
struct door_count;
struct door_depth;

struct door_share { /* of one limit on requests */
	struct door_count *count;
	const char *name; /* "key" or "tenant" */
	int64_t limit, left, reset_ms; /* as it stands after this visit */
};

struct door_visit {
	struct op op; /* completes with 0, -ERR_RATE_LIMITED, -ERR_QUEUE_FULL, -ERR_TOO_LARGE (more jobs than may ever wait), -ERR_DATABASE, -ERR_DRAINING */
	/* Set by the caller; borrowed until door_leave. */
	int64_t tenant_id;
	struct str tenant, key_prefix;
	struct str key; /* its Idempotency-Key; p NULL: none. A known one is never refused for depth */
	/* What came. */
	struct door_share shares[2];
	int nshares;
	int64_t retry_ms; /* when it was refused: a good time to come again */
	int64_t max_depth; /* 0: no limit */
	/* private */
	struct link link;
	struct door *door;
	struct door_depth *depth;
	struct db_query query;
	int64_t need, reserved;
	uint64_t deadline_ms;
	bool is_known; /* its key is: nothing new comes of it */
};

struct door *door_new(struct api *api);
void door_stop(struct door *d);
void door_free(struct door *d); /* nobody may be at it */

/* A request with a submission. 1: it may pass, no completion comes. 0: one will come, to v->op.on_done. Negative: refused. Followed by door_leave. */
int door_enter(struct door *d, struct door_visit *v);
/* Room for so many more jobs than the one that door_enter saw to. As door_enter, with the completion to flow. */
int door_more(struct door_visit *v, int64_t jobs, struct flow *flow);
/* The request ends; written: so many jobs of it are new in the queue. Safe on a zeroed visit, and twice. */
void door_leave(struct door_visit *v, int64_t written);

#endif
