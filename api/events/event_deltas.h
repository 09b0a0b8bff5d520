/* SPDX-License-Identifier: Apache-2.0 */
/* The data of `text` events: pieces of running calls, and what a client has not had yet of a result. */
#ifndef MR_API_EVENTS_EVENT_DELTAS_H
#define MR_API_EVENTS_EVENT_DELTAS_H

#include "api/events/event_place.h"
#include "common/json.h"

/* A row of table chunk as an array of deltas; p moves by it. The caller owns it; NULL with nothing changed: it is none. */
json_t *event_deltas_take(struct event_place *p, struct str deltas);
/* A row of table chunk, as {"text","deltas"} into b; p moves by it. 0, or -ERR_BAD_JSON with nothing changed. */
int event_deltas_piece(struct event_place *p, struct str deltas, struct buf *b);

/* What is missing at p of a chat answer (JSON), as {"text","deltas"} into b; p moves to its end, but for its token, number and seq. */
enum event_rest {
	EVENT_REST_NONE,    /* nothing is missing, or it is no chat answer */
	EVENT_REST_GOES_ON, /* b follows what was told */
	EVENT_REST_ANEW,    /* what was told is not the answer's beginning: b is the whole answer */
};
enum event_rest event_deltas_rest(struct event_place *p, struct str result, struct buf *b);

#endif
