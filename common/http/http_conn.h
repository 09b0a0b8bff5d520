/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the files of the HTTP server: http_server.c (listener and life), http_conn.c (reading, states,
 * deadlines), http_output.c (writing), http_head.c and http_target.c (the head), http_body.c (the body),
 * http_request.c (the request and its query), http_reply.c (answers). llhttp.h is seen by these only.
 */
#ifndef MR_COMMON_HTTP_HTTP_CONN_H
#define MR_COMMON_HTTP_HTTP_CONN_H

#include <uv.h>

#include "common/http/http_server.h"

/* llhttp names its methods as http_types.h does; ours win. */
#define HTTP_GET     LLHTTP_METHOD_GET
#define HTTP_POST    LLHTTP_METHOD_POST
#define HTTP_PUT     LLHTTP_METHOD_PUT
#define HTTP_PATCH   LLHTTP_METHOD_PATCH
#define HTTP_DELETE  LLHTTP_METHOD_DELETE
#define HTTP_OPTIONS LLHTTP_METHOD_OPTIONS
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_PATCH
#undef HTTP_DELETE
#undef HTTP_OPTIONS

#define HTTP_READ_BYTES      65536u     /* the read buffer, one per server */
#define HTTP_OUT_HIGH        65536u     /* above it nothing is read or parsed, and http_reply_write says stop */
#define HTTP_OUT_MAX         (1u << 30) /* an answer that waits for its reader */
#define HTTP_PENDING_HIGH    16384u     /* bytes kept of requests that came too early; then reading stops */
#define HTTP_PENDING_MAX     (HTTP_PENDING_HIGH + 2 * HTTP_READ_BYTES)
#define HTTP_HEAD_MAX        (2u << 20)
#define HTTP_LINGER_BYTES    65536u
#define HTTP_LINGER_MS       2000u
#define HTTP_CHUNK_EXT_BYTES 256u   /* one chunk's extensions */
#define HTTP_BODY_EXT_BYTES  16384u /* all of a body's */
#define HTTP_TRAILER_BYTES   4096u
#define HTTP_FRAMING_FREE    65536u /* framing up to here is not judged; above, at most ten times the data */
#define HTTP_ACCEPT_PAUSE_MS 100u
#define HTTP_EXTRA_CONNS     256u /* over the limit so many are still told 503; more are just closed */

struct http_server {
	struct loop *loop;
	struct http_handler handler;
	void *user;
	struct http_limits limits;
	int fd; /* the listening socket; -1 once closed */
	int port;
	bool is_unix, poll_open, draining, freeing;
	char unix_path[108];
	uv_poll_t poll;
	struct timer accept_again;
	struct list conns;
	size_t requests; /* begun and not ended; may outlive their connections */
	char *rbuf;      /* owned; HTTP_READ_BYTES */
	struct buf scratch, label;
	int64_t date_second;
	char date[32];
	void (*on_drained)(void *arg);
	void *drained_arg;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

enum conn_state {
	CONN_HEAD,   /* idle, or a head is gathered */
	CONN_BODY,   /* the handler has the head; the body is read */
	CONN_WAIT,   /* the request is whole; its answer is awaited */
	CONN_LINGER, /* the last answer is on its way; what comes in is dropped */
	CONN_CLOSING,
};

/* Where the search for the end of a head stands. */
struct head_scan {
	uint32_t at, line_at, lines;
	bool cr;
};

/* Chunked framing of the body that is being read. */
struct chunk_state {
	uint64_t wire_bytes;
	uint32_t chunk_ext, body_ext, trailer;
	struct str piece; /* handed out by the parser's pause */
	bool done;
	enum err_code fail;
};

struct http_conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} u;
	struct http_server *server;
	struct link link;
	struct http_req *req; /* the one in hand */
	enum conn_state state;
	bool running;     /* inside conn_feed: no second one is begun */
	bool reading;     /* uv_read_start */
	bool eof;         /* the client sends no more */
	bool failed;      /* a write failed; conn_on_soon closes */
	bool shut;        /* the writing side is shut */
	bool wants_drain; /* http_reply_write has said stop */
	uint8_t blanks;   /* CR and LF skipped before a request line */
	uint32_t linger_left;
	uint64_t since_ms;  /* when the state's deadline began */
	uint64_t paused_ms; /* when the handler paused the body */
	struct timer timer, stall;
	uint64_t stall_queued; /* bytes that waited when the stall timer was set */
	uint64_t stall_added;  /* and came since */
	struct soon soon;
	struct head_scan scan;
	struct buf head;    /* owned; the beginning of a head */
	struct buf pending; /* owned; read and not yet parsed */
	struct buf out;     /* owned; waits behind `sending` */
	char *sending;      /* owned; the uv_write in flight, or NULL */
	uv_write_t write;
	uv_shutdown_t shutdown;
	llhttp_t parser;
	struct chunk_state chunk;
	char peer[48];
};

/* http_server.c */
/* Takes a connected socket (nonblocking); the fuzzer's and the tests' way in too. NULL (and fd closed) when it does not
 * work. */
struct http_conn *http_server_adopt(struct http_server *s, int fd, const char *peer);
void http_server_check(struct http_server *s); /* after a connection or request has ended; may free s: call last */
int http_listen(const char *listen, bool reuse_port, int *ret_port, char unix_path[108], struct err *err);

/* http_conn.c */
struct http_conn *http_conn_new(struct http_server *s, int fd, const char *peer);
void http_conn_close(struct http_conn *c, bool reset); /* now; the client sees a cut if an answer is unfinished */
/* The request in hand has ended (already unlinked). last: no further request is taken. */
void http_conn_answered(struct http_conn *c, bool last);
void http_conn_refuse(struct http_conn *c, const struct err *err); /* answers err, then closes */
void http_conn_settle(
    struct http_conn *c); /* reading, deadlines and end of input follow the state; outside of parsing only */
void http_conn_kick(struct http_conn *c);         /* goes on at the loop's next turn */
void http_conn_linger_start(struct http_conn *c); /* the writing side is shut: the last wait begins */
bool http_conn_is_idle(const struct http_conn *c);

/* http_output.c */
void http_out(struct http_conn *c, const struct str *parts, size_t n);
size_t http_out_queued(const struct http_conn *c);
void http_out_shutdown(struct http_conn *c); /* once everything is sent */
void http_out_stalled(struct timer *t);

/* http_head.c: takes bytes of a head; the request is made, and on_head called, when it is whole. */
size_t http_head_take(struct http_conn *c, const char *p, size_t n);
/* http_target.c: sets path and query. */
int http_target_parse(struct http_req *r, struct err *err);
bool http_host_is_valid(struct str host);
/* http_body.c */
void http_body_begin(struct http_conn *c, const char *rest,
                     size_t n); /* rest: what the parser has not seen of the head */
size_t http_body_take(struct http_conn *c, const char *p, size_t n);
extern const llhttp_settings_t http_parser_settings;
int http_head_field(struct http_conn *c, const char *at, size_t n);
int http_head_value(struct http_conn *c, const char *at, size_t n);
int http_head_value_end(struct http_conn *c);

/* http_request.c */
struct http_req *http_req_new(struct http_conn *c);
void http_req_gone(struct http_req *r); /* tells the handler, once; r may be freed by it */
void http_req_end(struct http_req *r);  /* counts it, hands the connection on, frees it */

#endif
