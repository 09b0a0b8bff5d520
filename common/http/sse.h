/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-Sent Events, both directions (WHATWG HTML 9.2). The parser takes bytes as they arrive and calls back once per event:
 * LF, CR and CRLF end lines (also when split between two reads), several data lines join by LF, comments are skipped, a BOM at the start is dropped.
 * Beyond the standard it knows the field name `error`, which older llama.cpp builds send (reported as event "error").
 */
#ifndef MR_COMMON_HTTP_SSE_H
#define MR_COMMON_HTTP_SSE_H

#include "common/buf.h"

struct sse_event {
	struct str event; /* "" when not given */
	struct str data;  /* lines joined by LF */
	struct str id;
};

struct sse {
	struct buf line;  /* a line that is not complete yet */
	struct buf data;
	struct buf event;
	struct buf id;
	bool seen_cr, started, has_data;
	int bom; /* bytes of a BOM seen at the start */
	int (*on_event)(void *arg, const struct sse_event *e); /* a negative return stops the parser with that error */
	void *arg;
};

/* max_bytes bounds a line and the data of one event. */
void sse_init(struct sse *s, size_t max_bytes, int (*on_event)(void *, const struct sse_event *), void *arg);
void sse_done(struct sse *s);
/* 0, -ERR_TOO_LARGE, or what on_event returned. */
int sse_feed(struct sse *s, struct str bytes);

/* Writes one event: "event: …\nid: …\ndata: …\n\n"; empty event and id are left out; data may hold LF. */
int sse_write(struct buf *b, struct str event, struct str id, struct str data);

#endif
