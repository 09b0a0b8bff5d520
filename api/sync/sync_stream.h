/* SPDX-License-Identifier: Apache-2.0 */
/* One job told to a client as a face streams, as an operation. */
#ifndef MR_API_SYNC_SYNC_STREAM_H
#define MR_API_SYNC_SYNC_STREAM_H

#include "api/events/event_source.h"
#include "api/faces/face.h"
#include "common/flow.h"

struct sync_stream {
	struct op op;
	/* Set before the start. */
	const struct face *face;
	const json_t *echo;         /* borrowed; NULL: none */
	struct str user, metadata;  /* as in struct face_stream */
	bool include_usage, at_once; /* at_once: the stream begins before there is text */
	bool whole;                 /* as in struct face_stream */
	bool followed;              /* the job was accepted so */
	int64_t starting_after;     /* -1: none */
	/* private */
	struct flow flow;
	struct event_source source;
	struct face_stream out;
	struct timer stop;
	bool joins;                 /* the job runs already, under `token`, and the client has had nothing of it */
	int64_t token;
	bool catching, broken;      /* a later attempt's text is not yet as long as what was told; it is not the same */
	struct event_place told;    /* while catching */
	struct buf again[EVENT_TOOLS]; /* the later attempt's texts */
};

/*
 * q->id is the job. With view_is_fresh q->view holds it, else it is new. Completes with
 *   0                     all was told, also if the job did not succeed
 *   -ERR_STREAM_RESTARTED the text broke, as was told
 *   -ERR_CANCELED, -ERR_DRAINING   the client has left; the process ends: nothing was told of it (sync_stream_fail)
 *   another               the job could not be followed, or it ended without success: q->err says it. The head is not out (q->streaming)
 */
void sync_stream_start(struct sync_stream *s, struct request *q, struct flow *flow, bool view_is_fresh);
void sync_stream_done(struct sync_stream *s); /* safe on a zeroed one */
/* For request.on_gone and on_drain. */
void sync_stream_gone(struct sync_stream *s);
void sync_stream_room(struct sync_stream *s);
/* Tells an error as the last event; the head is out. */
void sync_stream_fail(struct sync_stream *s, const struct err *err);

#endif
