/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a file's content, or a range of it, piece by piece: a piece is at most BLOB_READ_BYTES, and only one is in memory.
 *
 *   open ─▶ (range) ─▶ next, next, … until it completes with 0 ─▶ done
 *
 * A file that is deleted or expires under the reader ends it with -ERR_NOT_FOUND.
 */
#ifndef MR_API_FILES_BLOB_READ_H
#define MR_API_FILES_BLOB_READ_H

#include "common/db/db.h"

struct api;

#define BLOB_READ_BYTES ((size_t)512 << 10)

struct blob_span {
	struct id id;
	int64_t start, bytes; /* place in the whole */
};

struct blob_read {
	struct op op;                   /* of blob_read_open and blob_read_next */
	/* Since blob_read_open; borrowed from it until done. */
	struct id file;
	int64_t bytes;                  /* of the whole file */
	int64_t created_us, expires_us; /* expires_us 0: never */
	struct str filename, purpose;
	struct str mime_type;           /* p NULL: unknown */
	/* Since blob_read_next. */
	struct str piece;               /* until the next call */
	int64_t at;                     /* place in the file of the next piece */
	/* private */
	struct api *api;
	struct db_query facts, query;
	struct blob_span *spans;        /* owned */
	size_t nspans;
	int bucket;
	int64_t tenant_id, until;
};

/* r is the caller's memory, zeroed or done. Completes with 0, -ERR_NOT_FOUND (no such file of that tenant, or it has expired), or as a query. A negative
 * return: none comes. flow NULL: to op.on_done, which was set before. */
int blob_read_open(struct blob_read *r, struct api *api, struct id file, int64_t tenant_id, struct flow *flow);
/* Instead of open: these blobs of one bucket, in order, as they are; borrows nothing. Nobody asks whose they are. */
void blob_read_blobs(struct blob_read *r, struct api *api, int bucket, const struct id *ids, const int64_t *sizes, size_t n);
/* After open: from this byte on, n of them; both are cut to the file. Without it: everything. */
void blob_read_range(struct blob_read *r, int64_t from, int64_t n);
/* Completes with 1: piece is there, at the place r->at - r->piece.n; 0: the range is over; or negative, as open. A negative return: none comes. */
int blob_read_next(struct blob_read *r, struct flow *flow);
/* Frees what it holds; nothing of it is active. Safe on a zeroed one, and twice. */
void blob_read_done(struct blob_read *r);

#endif
