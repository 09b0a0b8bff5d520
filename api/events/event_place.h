/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place in the events of one job: what a client has had, so exactly that any api process can go on from there. Its text is the `id` of each event
 * and comes back as Last-Event-ID.
 */
#ifndef MR_API_EVENTS_EVENT_PLACE_H
#define MR_API_EVENTS_EVENT_PLACE_H

#include "common/buf.h"
#include "common/id.h"

#define EVENT_SEQ_ALL  INT32_MAX /* no more pieces of this attempt: the rest comes from the result */
#define EVENT_ID_MAX   256

enum event_text { EVENT_CONTENT, EVENT_REFUSAL, EVENT_REASONING, EVENT_TOOLS, EVENT_TEXTS };

struct event_place {
	int64_t token;              /* of the lease whose pieces are told */
	int number, seq;            /* the attempt in it, and its last piece; -1: none yet */
	int64_t bytes[EVENT_TEXTS]; /* told since the last restart */
	uint64_t sum;               /* over the texts, but not the tools */
	int status, attempts, reason; /* as last told; status -1: not yet; one that is terminal: the end was told */
};

/* Nothing has been told; pieces count that are of leases after `token`. */
void event_place_init(struct event_place *p, int64_t token);
/* Forgets the text: a new attempt begins. */
void event_place_restart(struct event_place *p, int64_t token, int number, int seq);
bool event_place_has_text(const struct event_place *p);
/* The client gets this. For EVENT_TOOLS only the length counts. */
void event_place_add(struct event_place *p, enum event_text kind, struct str text);

/* What a piece is to someone who stands at p. */
enum event_step {
	EVENT_OLD,  /* it was told, or belongs to what is over */
	EVENT_NEXT, /* it follows */
	EVENT_NEW,  /* the first of a later attempt */
	EVENT_GAP,  /* of a later place, with pieces missing before it that will not come */
};
enum event_step event_place_step(const struct event_place *p, int64_t token, int number, int seq);

/* The id of an event of this job. */
void event_place_write(const struct event_place *p, struct id job, struct buf *b);
/* 0 or -ERR_INVALID: it is none of this job. */
int event_place_read(struct str text, struct id job, struct event_place *ret);

#endif
