/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on its way: the route's step table runs when the key is known and the body is whole; the steps set up an
 * answer or fail, and the end of the flow sends it. It lives in the HTTP request's arena.
 */
#ifndef MR_API_REQUEST_H
#define MR_API_REQUEST_H

#include "api/api.h"
#include "api/door/auth.h"
#include "api/door/door.h"
#include "common/flow.h"

struct job_view;
struct request;
struct route;
struct submit;

/* A body that is taken in as it arrives: the steps start as soon as the key is known. */
struct body_stream {
	const struct flow_step *steps; /* NULL: the route's */
	void (*on_piece)(struct request *q, struct str piece); /* may pause: http_body_pause */
	void (*on_whole)(struct request *q); /* nothing more comes; an empty body may be whole (q->whole) before the steps start, and this is not called then */
};

struct request {
	struct flow flow;
	struct api *api;
	struct http_req *http;
	const struct route *route;
	const struct body_stream *stream;    /* NULL: the body is waited for */
	struct identity who;
	struct auth_lookup lookup;
	struct door_visit visit;             /* of a submission */
	struct str key_prefix;               /* the public part of the API key; borrowed from the head */
	int64_t written;                     /* so many jobs of it are new in the queue */
	struct id id;                        /* of the path; zero when it names none */
	struct str name;                     /* of the path; p NULL: it has none */
	struct db_query query;               /* for whichever step runs */
	struct job_view *view;               /* see jobs_view */
	struct submit *submit;               /* of a request that makes one job; see submit_begin */
	void *state;                         /* the handler's own; in the arena */
	void (*on_through)(struct request *q, int rc); /* of request_enter */
	void (*release)(struct request *q);  /* frees what the arena does not; may be NULL */
	void (*on_gone)(struct request *q);  /* the client left while the steps ran; may be NULL */
	void (*on_drain)(struct request *q); /* a streamed answer may go on; may be NULL */
	struct err err;                      /* why it fails */
	int status;                          /* of the answer */
	struct str content_type;             /* of the answer; preset to application/json */
	struct buf out;                      /* its body */
	bool has_id;
	bool known;     /* the key was looked up */
	bool whole;     /* the body is there */
	bool started;   /* the steps run */
	bool streaming; /* the head of the answer is out */
	bool gone;      /* the client left */
	bool is_final;  /* an error that a repeat does not mend, whatever its class */
};

extern const struct http_handler request_handler;

struct request *request_of(struct flow *f);
/* Inside a step: end with an error that names the problem. */
enum flow_next request_fail(struct request *q, int rc, const char *detail);
/* Inside a step: end with q->err, which is set. */
enum flow_next request_refuse(struct request *q);
/* Inside a step: end with q->out as the answer. */
enum flow_next request_answer(struct request *q, int status);
/* Starts q->query (its arguments are there) as this step's operation. */
enum flow_next request_query(struct request *q);
/* Begins a new query in q->query. */
void request_query_init(struct request *q, const struct db_stmt *stmt);

/*
 * How long the answer may be held, in ms: `Prefer: wait=N` or `?wait=N`, at most limits.wait; 0: not at all. Says
 * Preference-Applied. A negative return is -ERR_INVALID with q->err.
 */
int64_t request_wait_ms(struct request *q);
/* limit, after and order of a page. prefix NULL: after is no such id, and is not read. 0 or -ERR_INVALID with q->err. */
struct page {
	int limit;
	struct id after; /* zero: from the start */
	bool descending;
};
int request_page(struct request *q, const char *prefix, struct page *ret);
int request_page_of(struct request *q, const char *prefix, int most, int preset, struct page *ret); /* other limits than 100 and 20 */
/* The Idempotency-Key: *ret has p NULL when there is none. 0 or an error in q->err. */
int request_key(struct request *q, struct str *ret);
/* SHA-256 over method, path and body. */
void request_fingerprint(const struct request *q, struct str body, uint8_t out[32]);
/* Adds an ETag; true when the client has that one already: answer 304. */
bool request_is_cached(struct request *q, struct str etag);

#endif
