/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job's text on its way to one client: what the follower brings, in order and once, what is missing of it at the end, and how it goes into a streamed
 * answer. Used by GET /v1/jobs/{job}/events and by the streams of the other faces, which differ in how they write it (struct event_teller).
 */
#ifndef MR_API_EVENTS_EVENT_SOURCE_H
#define MR_API_EVENTS_EVENT_SOURCE_H

#include "api/events/event_deltas.h"
#include "api/events/followers.h"
#include "common/loop.h"

struct event_source;
struct job_facts;
struct request;

struct event_teller {
	void (*state)(struct event_source *s, const struct follow_state *now); /* it may be the same as before */
	void (*text)(struct event_source *s, struct str deltas);               /* a row of table chunk that goes on where the place is: moves the place's text */
	/* A later attempt begins, after text of another, to `told`, was told; the place is before its first text. */
	void (*restart)(struct event_source *s, const struct event_place *told);
	void (*before_head)(struct request *q);                                /* the head is about to go out, with the first bytes: add headers */
	void (*flushed)(struct event_source *s);                               /* a series of the above is over and was sent; may be NULL */
};

struct event_source {
	struct request *request;
	const struct event_teller *teller;
	struct follower follower; /* has the place */
	struct timer keep_alive;
	bool loaded;              /* the view is fresh */
};

void event_source_init(struct event_source *s, struct request *q, const struct event_teller *teller);
void event_source_done(struct event_source *s); /* safe on a zeroed one */
/* The client left, or has room again: for request.on_gone and on_drain. */
void event_source_gone(struct event_source *s);
void event_source_room(struct event_source *s);

/* What has gathered in q->out goes to the client, behind the head if that is not out. */
void event_source_flush(struct event_source *s);

/* Two steps: `follow` completes with 0 when the job has ended, -ERR_CANCELED (also when the client has left) or -ERR_DRAINING; `pieces` reads, after tool
 * calls were told, the pieces of the last attempt that were not told yet. */
int event_source_follow(struct event_source *s, struct flow *f);
enum flow_next event_source_pieces_start(struct event_source *s, struct flow *f);
void event_source_pieces_done(struct event_source *s, int rc);

/* What the job's result has beyond the place, as for event_deltas_rest; the place then stands at its end. EVENT_REST_NONE for a job without text. */
enum event_rest event_source_rest(struct event_source *s, const struct job_facts *j, struct buf *b);

#endif
