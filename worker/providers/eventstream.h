/* SPDX-License-Identifier: Apache-2.0 */
/*
 * application/vnd.amazon.eventstream, both directions (AWS: "Event stream encoding"): frames of a prelude (length, length of the headers, their
 * checksum), typed headers, a payload and a checksum of it all, in network order.
 */
#ifndef MR_WORKER_PROVIDERS_EVENTSTREAM_H
#define MR_WORKER_PROVIDERS_EVENTSTREAM_H

#include "common/buf.h"

#define EVENTSTREAM_FRAME_MAX ((size_t)16 << 20)
#define EVENTSTREAM_HEADERS_MAX ((size_t)128 << 10)

/* What is asked about of a frame; empty where the header is missing or not a string. Borrowed. */
struct eventstream_event {
	struct str message_type;   /* "event", "exception", "error" */
	struct str event_type;     /* of an event */
	struct str exception_type; /* of an exception */
	struct str error_code, error_message; /* of an error */
	struct str content_type;
	struct str payload;
};

struct eventstream {
	struct buf frame; /* one that is not complete yet */
	size_t max;       /* bytes of one frame */
	int rc;           /* the failure that ended it, or 0 */
	int (*on_event)(void *arg, const struct eventstream_event *e); /* a negative return stops the parser with that error */
	void *arg;
};

/* max_bytes bounds one frame; EVENTSTREAM_FRAME_MAX does in any case. */
void eventstream_init(struct eventstream *s, size_t max_bytes, int (*on_event)(void *, const struct eventstream_event *), void *arg);
void eventstream_done(struct eventstream *s);
/* 0; -ERR_BAD_OUTPUT: not such a stream, or damaged; -ERR_TOO_LARGE; or what on_event returned. After a failure it stays at that. */
int eventstream_feed(struct eventstream *s, struct str bytes);
/* Whole frames have come, and nothing of another one. */
bool eventstream_is_whole(const struct eventstream *s);

/* Writes a frame. type: "event" or "exception"; name: of the event or exception. 0 or -ERR_TOO_LARGE. */
int eventstream_write(struct buf *b, struct str type, struct str name, struct str payload);

#endif
