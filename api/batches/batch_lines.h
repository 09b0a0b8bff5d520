/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines of a file that comes in pieces: fed with a piece, it gives the lines that are whole; what is left over waits for the next piece. Blank lines
 * and a byte order mark at the file's start are skipped. Pure.
 */
#ifndef MR_API_BATCHES_BATCH_LINES_H
#define MR_API_BATCHES_BATCH_LINES_H

#include "common/buf.h"

struct batch_lines {
	struct buf rest;  /* a line whose end has not come; at most the maximum */
	struct str piece; /* what of the piece was not looked at yet; borrowed from the feeder */
	int64_t at;       /* place in the file of the first byte after the line that was given last */
	int64_t number;   /* of that line, from 1, blank ones counted; right when the file was read from its start */
	bool is_cut;      /* the line under way is over its maximum: what follows of it is dropped */
	bool given;       /* rest was given out as a line */
};

/* at: where in the file the first piece begins. A line has max bytes at most. */
void batch_lines_init(struct batch_lines *l, int64_t at, size_t max);
void batch_lines_done(struct batch_lines *l); /* safe on a zeroed one */
/* The piece before was used up: batch_lines_next returned false. It stays in place until this one is. */
void batch_lines_feed(struct batch_lines *l, struct str piece);
/* The next line, trimmed; valid until the next call. *ret_long: it is over the maximum, and *ret is empty. False: another piece is needed, or, with
 * is_end, nothing is left. */
bool batch_lines_next(struct batch_lines *l, bool is_end, struct str *ret, bool *ret_long);

#endif
