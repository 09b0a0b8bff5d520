/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls over HTTP(S): libcurl's multi interface on libuv; HTTP/2 where offered, keep-alive, one resolver path. Built to hold 10,000
 * calls in flight: connections are spread over several multi handles, since libcurl searches a handle's connections one by one.
 *
 * All is well: http_call_start → the answer's head → pieces of body (on_data, or collected) → op completes with 0, whatever the
 * HTTP status is. The failure says how far the call came: -ERR_NETWORK (the request had not left: name, connect, TLS, reset), -ERR_TIMEOUT (the
 * same, by a timer), -ERR_OUTCOME_UNKNOWN (the request had left, no head came), -ERR_STREAM_CUT (cut in the body); `timeout` says which
 * timer ended it, if one did. Else -ERR_TOO_LARGE, -ERR_ADDRESS_REFUSED, -ERR_CANCELED, or what on_data returned. No callback of ours
 * runs inside curl's: completion and on_data come from the loop.
 */
#ifndef MR_COMMON_HTTP_HTTP_CLIENT_H
#define MR_COMMON_HTTP_HTTP_CLIENT_H

#include "common/buf.h"
#include "common/err.h"
#include "common/flow.h"
#include "common/http/http_types.h"
#include "common/loop.h"

struct http_client;
struct http_host;
struct http_slot;

/* Which addresses may be reached (common/http/netguard.h). NULL: all. */
struct netguard;

struct http_client_cfg {
	uint32_t connections;      /* in all; more calls wait */
	uint32_t per_host;         /* per host; more calls wait */
	uint32_t idle_ms;          /* an unused connection is closed after so long */
	const char *ca_file;       /* NULL: the system's */
	const char *user_agent;
	const struct netguard *guard; /* borrowed */
};

struct http_client *http_client_new(struct loop *l, const struct http_client_cfg *cfg);
void http_client_free(struct http_client *c, void (*on_closed)(void *arg), void *arg); /* no call may be in flight */

enum http_timeout { HTTP_NO_TIMEOUT, HTTP_TIMEOUT_CONNECT, HTTP_TIMEOUT_IDLE, HTTP_TIMEOUT_TOTAL };

struct http_call {
	struct op op;
	/* The request; set before the start, borrowed until completion. */
	const char *method;               /* "POST" */
	const char *url;                  /* http:// or https:// */
	const struct http_header *headers;
	size_t nheaders;
	struct str body;
	const char *aws_sigv4;            /* NULL: unsigned. Else "aws:amz:REGION:SERVICE": signed with AWS Signature Version 4 */
	const char *aws_user;             /* "ACCESS_KEY:SECRET_KEY", with aws_sigv4; a session token is a header, x-amz-security-token */
	uint32_t connect_ms;              /* name, connect, TLS; 0: 5,000 */
	uint32_t idle_ms;                 /* between bytes of the answer, from the first one on; 0: none */
	uint32_t total_ms;                /* from the start, waiting for a free connection included; 0: none */
	size_t head_max, body_max;        /* of the answer, bytes; 0: 64 KiB and 16 MiB */
	size_t error_max;                 /* of the body of a status ≥ 400 where on_data is set, since that is collected; 0: body_max */
	int (*on_data)(struct http_call *c, struct str piece); /* NULL: collected in `answer`. May cancel; a negative return ends the call with it */
	/* Asked when the connection stands and the request is about to be sent: false: it is not, and the call ends with -ERR_NETWORK. Must change nothing.
	 * NULL: it may. */
	bool (*may_send)(struct http_call *c);
	void *user;
	/* The answer. */
	int status;                       /* 0: no head came */
	struct buf answer;                /* owned; with on_data only for statuses ≥ 400 */
	struct http_header *answer_headers; /* owned; point into head */
	size_t answer_nheaders;
	struct buf head;
	enum http_timeout timeout;
	bool sent;                        /* the whole request had left */
	uint64_t start_ns, first_byte_ns, end_ns; /* steady clock */
	struct err err;
	/* private */
	struct http_client *client;
	struct http_host *host; /* where to; counted there until the end */
	struct http_slot *slot; /* the curl handle, while running */
	struct link link;       /* in the list of its state, if it has one */
	struct timer timer;     /* the next of the deadlines below */
	struct soon soon;       /* completion */
	uint64_t connect_due_ms, total_due_ms, last_byte_ms;
	size_t head_seen, body_seen;
	int state, rc, abort_rc;
	bool https, connected, head_done;
	bool sent_once; /* … and on a kept connection that died: it is not sent again */
};

void http_call_init(struct http_call *c);
/* 0: started; one completion comes. Negative (bad URL, refused address literal): none. */
int http_call_start(struct http_client *client, struct http_call *c, struct flow *flow);
void http_call_done(struct http_call *c); /* after completion: frees the answer. Safe on a zeroed call */
struct str http_call_header(const struct http_call *c, const char *name); /* p NULL when absent */

#endif
