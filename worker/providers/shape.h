/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Most events of a stream differ in their text only. What stands around the text of one that was read as JSON is its shape: an event of the same shape,
 * with text in that place whose escapes are of the short form (RFC 8259, 7: \n, \", …), says that text and need not be parsed. Anything else is JSON's
 * business.
 */
#ifndef MR_WORKER_PROVIDERS_SHAPE_H
#define MR_WORKER_PROVIDERS_SHAPE_H

#include "common/buf.h"

struct shape {
	struct buf before, after; /* empty: none is known */
	struct buf text;          /* the last one that had escapes */
};

void shape_init(struct shape *s);
void shape_done(struct shape *s);

/* Remembers what stands around the text that follows mark (up to and with its opening quote); nothing where the mark is not there just once, or what would
 * be remembered is long. The caller knows that the event holds this text and nothing else. */
void shape_learn(struct shape *s, struct str event, struct str mark);

void shape_forget(struct shape *s);

/* The text of an event of the known shape, borrowed from it or, until the next call, from s. digits_vary: numbers after the text may be others (counts). */
bool shape_read(struct shape *s, struct str event, bool digits_vary, struct str *ret);

#endif
