/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP client share; nobody else includes it. http_client.c moves calls between states and keeps limits and deadlines;
 * http_client_host.c resolves names; http_client_shard.c ties curl's multi handles to the loop; http_client_slot.c fills in
 * a request and reads its answer.
 *
 *   start ─▶ WAITING (for its host's limit) ─▶ READY (for the client's) ─▶ RESOLVING ─▶ RUNNING ─▶ ENDED ─▶ op_done
 */
#ifndef MR_COMMON_HTTP_HTTP_CLIENT_PRIV_H
#define MR_COMMON_HTTP_HTTP_CLIENT_PRIV_H

#include <curl/curl.h>

#include "common/hash.h"
#include "common/http/http_client.h"
#include "common/http/url.h"

#define SHARD_CALLS 128       /* curl looks through a multi's connections one by one */
#define HOSTS_MAX 1024        /* hosts remembered that have no call */
#define SLOTS_FREE_MAX 256    /* curl handles kept for reuse */
#define HOST_NAME_SIZE (URL_HOST_MAX + 10) /* "[" host "]" ":" port NUL */

enum call_state { CALL_IDLE, CALL_WAITING, CALL_READY, CALL_RESOLVING, CALL_RUNNING, CALL_ENDED };

/* The addresses of a host, as curl wants them; shared by the calls that were started with them. */
struct http_addrs {
	unsigned refs;
	struct curl_slist node; /* data points to text */
	char text[];
};

/* A host and port: its limit, and its addresses. */
struct http_host {
	struct http_client *client;
	struct link link;      /* in client->idle_hosts while it has no call */
	struct list waiting;   /* calls over the limit, first come first served */
	struct list resolving; /* calls that wait for the addresses */
	size_t calls;          /* all that point here */
	size_t admitted;       /* those that count against the limit */
	bool literal, busy;    /* busy: getaddrinfo runs */
	struct http_addrs *addrs; /* NULL when the last try failed, or none was made */
	int rc;                /* of the last try */
	uint64_t until_ms;     /* how long its result holds */
	char why[128];         /* the text of a failure */
	size_t name_len;
	uv_getaddrinfo_t req;
	char name[HOST_NAME_SIZE]; /* "host:port", lower case; the key */
};

/* A multi handle and its calls. */
struct http_shard {
	struct http_client *client;
	size_t at;           /* place in client->shards */
	CURLM *multi;        /* NULL while unused */
	size_t calls;
	struct timer timer;  /* curl's */
	struct timer idle;   /* closes the connections of an unused shard */
	struct soon kick;    /* curl wants to run at once */
};

/* A socket of curl's: watched from its first use to its close, so that keep-alive costs no system calls for watching. */
struct http_sock {
	uv_poll_t poll;
	struct http_shard *shard;
	int events;
	bool idle; /* no call uses it */
};

/* A curl handle with all that is the same for every call set once; lent to one call at a time. */
struct http_slot {
	struct http_client *client;
	struct http_call *call;   /* NULL while free */
	struct http_shard *shard;
	struct link link;         /* in client->slots while free, in client->dirty while pieces wait for on_data */
	CURL *easy;
	struct http_addrs *addrs;
	void *headers;            /* curl_slist nodes and their text in one block */
	size_t headers_cap;
	uint32_t connect_ms;      /* as set on easy */
	bool https, custom;       /* as set on easy */
	bool refused;             /* the guard refused an address */
	char error_text[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	struct http_client_cfg cfg; /* its strings are owned */
	struct hash hosts;
	struct list idle_hosts;     /* least recently used first */
	struct list ready;          /* calls that wait for the client's limit */
	size_t running;             /* calls that count against it */
	size_t live;                /* calls started and not completed */
	struct soon pump;
	struct http_shard **shards; /* owned */
	size_t nshards, first_room; /* no shard before first_room has room */
	struct http_sock **socks;   /* owned; by descriptor */
	size_t nsocks;
	struct list slots, dirty;
	CURLSH *share;              /* TLS sessions */
	struct x509_store_st *ca;   /* one parsed copy for all connections; made at the first TLS connection */
	size_t pending;             /* uv callbacks that will still come */
	bool closing;
	void (*on_closed)(void *arg);
	void *on_closed_arg;
	struct soon closed;
};

/* http_client.c */
void http_call_finish(struct http_call *c, int rc); /* ends it now; op_done comes with the next turn */
void http_call_arm(struct http_call *c);            /* after a deadline moved */
void http_call_launch(struct http_call *c);         /* the addresses are known */
void http_client_unpend(struct http_client *client); /* one uv callback less to wait for */
void http_host_put(struct http_host *h);             /* one call less there */

/* http_client_host.c */
struct http_host *http_host_get(struct http_client *client, const struct url *u);
/* 0: known (host->rc says how well); 1: resolving, http_call_launch or _finish comes for every call in host->resolving. */
int http_host_resolve(struct http_host *h);
void http_hosts_done(struct http_client *client);
void http_addrs_unref(struct http_addrs *a);

/* http_client_shard.c */
int http_shard_add(struct http_client *client, struct http_slot *s);
void http_shard_remove(struct http_slot *s);
void http_shards_done(struct http_client *client);
curl_socket_t http_sock_on_open(void *slot, curlsocktype purpose, struct curl_sockaddr *addr);
int http_sock_on_close(void *client, curl_socket_t fd);

/* http_client_slot.c */
struct http_slot *http_slot_take(struct http_client *client); /* NULL when memory is out */
void http_slot_give(struct http_slot *s);
void http_slot_fill(struct http_slot *s, struct http_call *c);
int http_slot_check(const struct http_call *c, struct err *err); /* method and headers */
bool http_slot_sent(const struct http_slot *s);
int http_slot_judge(struct http_slot *s, CURLcode code); /* sets call->err; the call's result */
void http_slots_deliver(struct http_client *client);     /* on_data for all pieces that came */
void http_slots_done(struct http_client *client);

#endif
