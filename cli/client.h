/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service as the client commands see it: one call at a time, blocking, over the HTTP client. Base URL and key come
 * from the options, else the environment (MILLRACE_URL, MILLRACE_API_KEY), else .millrace/ready.json of `millrace up`
 * (in the working directory). 429 and 503 are tried again as Retry-After says, and a network failure too, when the call
 * is safe to repeat (GET, or with an idempotency key) and the time allows. The key of the ready file goes to the
 * service of the ready file only. The operators' commands send an admin key instead: --admin-key, MILLRACE_ADMIN_KEY, or
 * the ready file's.
 */
#ifndef MR_CLI_CLIENT_H
#define MR_CLI_CLIENT_H

#include "cli/options.h"
#include "common/json.h"

struct client;

struct client_cfg {
	const char *url;    /* NULL: as above */
	const char *key;    /* NULL: as above */
	int64_t timeout_ms; /* of one call with its repeats; 0: 60 s */
	bool is_admin;      /* key is an admin key */
};

/* The rows of an option table that fill a struct client_cfg. */
#define CLIENT_OPTIONS(cfg)                                                                               \
	{ .name = "url",                                                                                  \
	  .arg = "URL",                                                                                   \
	  .kind = CLI_STR,                                                                                \
	  .target = &(cfg)->url,                                                                          \
	  .help = "The service (MILLRACE_URL; else the one that `millrace up` runs)" },                   \
	    { .name = "key",                                                                              \
	      .arg = "KEY",                                                                               \
	      .kind = CLI_STR,                                                                            \
	      .target = &(cfg)->key,                                                                      \
	      .help = "The API key (MILLRACE_API_KEY; else the one of `millrace up`)" },                  \
	{                                                                                                 \
		.name = "timeout", .arg = "TIME", .kind = CLI_MS, .target = &(cfg)->timeout_ms, .min = 1, \
		.max = 30 * 24 * 3600 * INT64_C(1000), .help = "Give up after so long (exit status 5)"    \
	}

/* The same for a command that needs the admin key: is_admin is set by the caller. */
#define CLIENT_ADMIN_OPTIONS(cfg)                                                                         \
	{ .name = "url",                                                                                  \
	  .arg = "URL",                                                                                   \
	  .kind = CLI_STR,                                                                                \
	  .target = &(cfg)->url,                                                                          \
	  .help = "The service (MILLRACE_URL; else the one that `millrace up` runs)" },                   \
	    { .name = "admin-key",                                                                        \
	      .arg = "KEY",                                                                               \
	      .kind = CLI_STR,                                                                            \
	      .target = &(cfg)->key,                                                                      \
	      .help = "An admin key (MILLRACE_ADMIN_KEY; else the one of `millrace up`)" },               \
	{                                                                                                 \
		.name = "timeout", .arg = "TIME", .kind = CLI_MS, .target = &(cfg)->timeout_ms, .min = 1, \
		.max = 30 * 24 * 3600 * INT64_C(1000), .help = "Give up after so long (exit status 5)"    \
	}

/* Appends text with %XX for all but what a path or a query may hold anywhere. */
void client_escape(struct buf *b, const char *text);

/*
 * The id that a user gave, as the paths of the native API have it. A job is also known by the ids of other APIs' forms (chatcmpl-X, resp_X, msg_X are
 * job_X), a batch by msgbatch_X.
 */
enum client_kind { CLIENT_JOB, CLIENT_BATCH, CLIENT_FILE };
#define CLIENT_ID_MAX 128
/* False when text is no id of this kind: nothing that would change a path passes. */
bool client_id(const char *text, enum client_kind kind, char ret_id[CLIENT_ID_MAX]);
/* As client_id, with a complaint on standard error that says what the text is: 0, or an exit status. */
int client_id_for(const char *text, enum client_kind kind, const char *command, char ret_id[CLIENT_ID_MAX]);

/* As client_open, with the complaint on standard error: 0, or an exit status. */
int client_open_for(const struct client_cfg *cfg, const char *command, struct client **ret);

/* 0, or -ERR_CONFIG when no URL is known. */
int client_open(const struct client_cfg *cfg, struct client **ret, struct err *err);
void client_close(struct client *c); /* accepts NULL */
const char *client_url(const struct client *c);

struct client_request {
	const char *method;
	struct str path; /* "/v1/jobs/job_…?wait=10" */
	struct str body;
	const char *content_type;    /* NULL: application/json when there is a body */
	const char *idempotency_key; /* or NULL */
	int64_t timeout_ms;          /* 0: the client's */
	bool repeat;                 /* safe to send twice though it is a POST without a key (cancel) */
	int (*on_data)(void *arg,
	               struct str piece); /* a streamed answer (2xx only); then never repeated after the first piece */
	void *arg;
};

struct client_answer {
	int status;      /* 0: no answer came */
	json_t *body;    /* owned; NULL when the answer is not JSON */
	struct buf text; /* owned: the answer's bytes */
	char request_id[132];
	int64_t retry_after_ms; /* of the answer; -1: none */
	struct err err;         /* when the call failed */
	bool sent;              /* a try of it may have reached the service */
};

/* 0: the answer has a 2xx or 304 status. Else negative, and a->err says why (a->status is set when an answer came). */
int client_call(struct client *c, const struct client_request *r, struct client_answer *a);
void client_answer_done(struct client_answer *a); /* safe on a zeroed answer */

/* Prints why a call failed on standard error ("millrace submit: title: detail (at /request/…) [code, request id]");
 * returns the exit status. */
int client_complain(struct client *c, const char *command, const struct client_answer *a);

/* Ctrl-C: client_call and client_sleep return -ERR_CANCELED from then on. */
bool client_is_interrupted(const struct client *c);
/* Waits; returns early (-ERR_CANCELED) when interrupted. */
int client_sleep(struct client *c, uint64_t ms);

#endif
