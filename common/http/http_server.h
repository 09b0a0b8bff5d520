/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 server on libuv and llhttp (RFC 9110, 9112): keep-alive, pipelining (one request at a time is
 * handled, the next is parsed after the answer), chunked bodies, Expect: 100-continue, HEAD, limits and total
 * deadlines on every part, lingering close. It refuses by itself what is malformed or over a limit, with a
 * problem+json answer; the handler sees good requests only.
 *
 * The life of a request: on_head (path, query and headers are there; choose how the body is wanted, or answer at
 * once) → on_body for each piece (only when streamed) → on_end. The handler answers exactly once, at any of these
 * moments or later: http_reply, or http_reply_start … http_reply_end. When the client leaves first, on_gone is
 * called once; the handler may then stop its work, and still ends the request exactly once (into nothing). After
 * the end the request must not be touched.
 *
 * on_gone comes whenever nobody will read the handler's answer: the client closed its side, the connection broke,
 * or the server itself refused the rest of the body (413, 400, 408: it has answered already). It may come before
 * on_end, which then never comes: the handler ends the request there and then if it has nothing running. Without
 * on_gone in the handler the server ends by itself those requests whose on_end has not come.
 */
#ifndef MR_COMMON_HTTP_HTTP_SERVER_H
#define MR_COMMON_HTTP_HTTP_SERVER_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/http/http_types.h"
#include "common/loop.h"

/* All enforced; the defaults are those of conf.def. */
struct http_limits {
	uint32_t connections;      /* more: 503 and close */
	uint32_t head_bytes;       /* request line and headers; 431 (414 for the target) */
	uint32_t target_bytes;
	uint32_t header_count;
	uint64_t body_bytes;       /* default for buffered bodies; 413 */
	uint32_t head_ms;          /* from the first byte of a request to the end of its head: 408 and close */
	uint32_t body_ms;          /* for the body, plus its size ÷ body_min_rate: 408 */
	uint32_t body_min_rate;    /* bytes per second */
	uint32_t idle_ms;          /* keep-alive */
	uint32_t write_stall_ms;   /* a client that does not read */
};

struct http_server;
struct http_conn;

struct http_req {
	struct arena arena;
	enum http_method method;
	struct str method_text;
	struct str target;     /* as sent */
	struct str path;       /* percent-decoded once; well-formed UTF-8 without NUL */
	struct str query;      /* as sent, without '?' */
	struct http_header *headers;
	size_t nheaders;
	int64_t content_length; /* -1: chunked or none */
	struct str body;        /* buffered: whole, from on_end on */
	struct str request_id;  /* the caller's x-request-id when it is 1–128 printable ASCII, else made here; on every answer */
	char peer[64];          /* address of the client */
	uint64_t started_ns;    /* steady clock, at the end of the head */
	const char *route;      /* the handler may set it (static text): the metric label; default "other" */
	void *user;             /* the handler's */
	struct http_server *server;
	/* What the handler may choose in on_head: */
	uint64_t body_max;      /* preset to limits.body_bytes */
	bool body_streamed;     /* on_body gets it in pieces instead of body */
	/* private */
	struct http_conn *conn; /* NULL once the connection is closed */
	struct buf body_buf, head_out;
	int status;
	bool replied, ended, chunked, close_after, paused, expect_continue, body_done;
	bool http10, announced, gone, has_retry_after, out_chunked, aborted, reset;
	uint64_t sent_bytes, body_seen;
};

struct http_handler {
	void (*on_head)(struct http_req *r);
	void (*on_body)(struct http_req *r, struct str piece); /* may be NULL */
	void (*on_end)(struct http_req *r);
	void (*on_gone)(struct http_req *r);                   /* may be NULL */
	void (*on_drain)(struct http_req *r);                  /* the output of a streamed answer has room again; may be NULL */
	/* The server's own refusal: answer err with http_reply at once (headers, path may be missing). NULL: problem+json. */
	void (*on_refuse)(struct http_req *r, const struct err *err);
};

/* listen is "host:port" (port 0: any; see http_server_port) or "unix:/path". reuse_port lets several processes share it. */
int http_server_start(struct loop *l, const char *listen, bool reuse_port, const struct http_limits *limits,
                      const struct http_handler *handler, void *user, struct http_server **ret, struct err *err);
int http_server_port(const struct http_server *s);
/* Where a client of this machine reaches it, from the text it was started with: http://host:port, or unix:/path. In a. */
struct str http_server_url(const struct http_server *s, const char *listen, struct arena *a);
void *http_server_user(const struct http_server *s);
void http_server_limits(struct http_server *s, const struct http_limits *limits); /* for reload */
size_t http_server_connections(const struct http_server *s);
/* Stops accepting; idle connections close now, busy ones after their answer (Connection: close). on_drained may come at once. */
void http_server_drain(struct http_server *s, void (*on_drained)(void *arg), void *arg);
/* Closes everything that is left, then frees the server. */
void http_server_free(struct http_server *s, void (*on_closed)(void *arg), void *arg);

struct str http_req_header(const struct http_req *r, const char *name); /* p is NULL when absent */
/* A query parameter, percent-decoded ('+' is a space) into the request's arena. False when absent. */
bool http_req_query(struct http_req *r, const char *name, struct str *ret);
/* Walks the query: start with *at = 0. */
bool http_req_query_next(struct http_req *r, size_t *at, struct str *ret_name, struct str *ret_value);

/* Adds a header to the answer; before http_reply/_start. Values with CR, LF or NUL abort. */
void http_reply_header(struct http_req *r, const char *name, struct str value);
/* The whole answer; body is copied. content_type may be empty. Ends the request. */
void http_reply(struct http_req *r, int status, struct str content_type, struct str body);
/* problem+json (RFC 9457) from an error: type, title, status, detail, code, param, request_id, retryable. Ends the request. */
void http_reply_problem(struct http_req *r, const struct err *err);
/* As above with more members behind those: JSON as `"name":value,…`, without a comma around it; empty: none. */
void http_reply_problem_with(struct http_req *r, const struct err *err, struct str members);
/* A streamed answer (chunked in HTTP/1.1, until close in 1.0). */
void http_reply_start(struct http_req *r, int status, struct str content_type);
/* The same with a length that is known before: what is written must come to exactly that, or the answer is aborted. */
void http_reply_start_sized(struct http_req *r, int status, struct str content_type, int64_t length);
/* False: more than 64 KiB wait to be sent; stop until on_drain. */
bool http_reply_write(struct http_req *r, struct str piece);
void http_reply_end(struct http_req *r);
/* Ends without the last chunk, so that the client sees a cut (an upstream failed in the middle). */
void http_reply_abort(struct http_req *r);
/* As http_reply_abort, but the connection is reset (RST) at once; what was not sent yet is lost. For simulated faults. */
void http_reply_reset(struct http_req *r);

/* Flow control of a streamed request body. */
void http_body_pause(struct http_req *r);
void http_body_resume(struct http_req *r);

#endif
