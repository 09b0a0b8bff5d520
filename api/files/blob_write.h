/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a stream of bytes as a blob: its row, and rows of blob_chunk of at most BLOB_CHUNK_BYTES each, BLOB_WRITE_FLIGHT of them on their way at once.
 * Memory is that, one chunk more, and the piece that is being added, whatever the blob's size.
 *
 *   begin ─▶ add, add, … (while there is room; else wait for on_room) ─▶ end ─▶ the statement that makes it a file (files.h) ─▶ done
 *                                                                   └─▶ or drop ─▶ done
 *
 * Until a file or a part of an upload is made of it nobody can see the blob. One to which nothing was added for an hour belongs to a process that died:
 * the sweep (file_sweep.h) deletes it, and making a file of it fails then.
 */
#ifndef MR_API_FILES_BLOB_WRITE_H
#define MR_API_FILES_BLOB_WRITE_H

#include "common/db/db.h"

struct api;

#define BLOB_CHUNK_BYTES  ((size_t)512 << 10)
#define BLOB_WRITE_FLIGHT 2

struct blob_write {
	struct op op;    /* of blob_write_end and blob_write_drop */
	struct id id;    /* of the blob */
	int64_t bytes;   /* that were added */
	int rc;          /* negative: it failed; what is added then is thrown away, and blob_write_end completes with it */
	/* There is room again after blob_write_has_room said no, or it failed. May add, end and drop. NULL: the caller does not wait. Set after begin. */
	void (*on_room)(struct blob_write *w);
	void *user;      /* the caller's */
	/* private */
	struct api *api;
	struct buf pending; /* bytes that no statement has yet */
	int64_t at;         /* place of the first of them */
	struct blob_write_slot {
		struct db_query query;
		struct blob_write *w;
		bool busy;
	} slots[BLOB_WRITE_FLIGHT];
	int in_flight;
	int64_t tenant_id;
	bool is_open;   /* its row is there */
	bool is_ending, is_dropping, drop_sent, told_full;
};

/* w is the caller's memory, zeroed or done. id: new, in the bucket of the file that it will be content of. */
void blob_write_begin(struct blob_write *w, struct api *api, struct id id, int64_t tenant_id);
/* Copies the piece, of any size: whether there is room or not. */
void blob_write_add(struct blob_write *w, struct str piece);
/* False: add nothing more until on_room, so that memory stays flat. */
bool blob_write_has_room(struct blob_write *w);
/* Nothing more comes. Completes, perhaps at once, with 0 when all is in the database, else with the failure. flow NULL: to op.on_done, set after begin. */
void blob_write_end(struct blob_write *w, struct flow *flow);
/* Instead of end, or after it: the blob is not wanted. Completes with 0, perhaps at once; what could not be dropped is the sweep's. */
void blob_write_drop(struct blob_write *w, struct flow *flow);
/* Frees what it holds; end or drop has completed. Safe on a zeroed one, and twice. */
void blob_write_done(struct blob_write *w);

#endif
