/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of an answer, gathered into the JSON array of OpenAI `delta` objects that one row of table chunk holds: [{"content":"…"},
 * {"tool_calls":[{"index":0,…}]}]. Adjacent pieces of one kind (and of one tool call) are one object.
 */
#ifndef MR_WORKER_EXECUTION_DELTAS_H
#define MR_WORKER_EXECUTION_DELTAS_H

#include "worker/providers/assembly.h"

struct deltas {
	struct buf json;      /* the array so far, without its end */
	struct buf text;      /* of the piece that still grows */
	enum delta_kind kind; /* of it */
	int index;
	struct buf id, name;
	bool open;            /* there is such a piece */
};

/* max_bytes: of the array. */
void deltas_init(struct deltas *d, size_t max_bytes);
void deltas_done(struct deltas *d);
void deltas_clear(struct deltas *d); /* keeps the memory */
bool deltas_are_empty(const struct deltas *d);
void deltas_add(struct deltas *d, const struct provider_delta *piece);
/* All that an answer has so far, reasoning first. */
void deltas_add_answer(struct deltas *d, const struct assembly *s);
/* The whole array, borrowed until the next change; it may be added to afterwards. p NULL: it did not fit. */
struct str deltas_text(struct deltas *d);

#endif
