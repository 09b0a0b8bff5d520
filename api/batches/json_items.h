/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON object with one long list in it, taken apart while it arrives: {"requests": [item, item, …], "other": value}. Each item of the list, and each
 * other member, is handed on as text when its end has come, so that never more than one is held. Pure. What is inside of a text is for its receiver to
 * judge; what is around them is judged here.
 */
#ifndef MR_API_BATCHES_JSON_ITEMS_H
#define MR_API_BATCHES_JSON_ITEMS_H

#include "common/buf.h"
#include "common/err.h"

struct json_items {
	/* Set by the caller, zeroed else: */
	const char *list;  /* name of the list */
	size_t max;        /* bytes of an item, and of each other member */
	/* Each gets its text, without white space around it; p NULL: it is over the maximum. Negative: it ends here, with that code. */
	int (*on_item)(void *arg, struct str text);
	int (*on_member)(void *arg, struct str name, struct str text); /* name is as it was written: escapes are not undone */
	void *arg;
	/* private */
	struct buf kept, name;
	int at, depth;
	bool in_string, escaped, in_list, seen, cut;
	size_t bytes;      /* seen so far */
};

void json_items_init(struct json_items *p);
void json_items_done(struct json_items *p);
/* 0, -ERR_BAD_JSON or -ERR_WRONG_TYPE with err set, or what a receiver returned. Not to be called again after that. */
int json_items_feed(struct json_items *p, struct str piece, struct err *err);
/* Nothing more comes. */
int json_items_end(struct json_items *p, struct err *err);

#endif
