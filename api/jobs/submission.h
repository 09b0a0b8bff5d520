/* SPDX-License-Identifier: Apache-2.0 */
/* One job as a client describes it: read, judged, and reduced to what the queue needs to know. Pure: no database, no
 * loop. */
#ifndef MR_API_JOBS_SUBMISSION_H
#define MR_API_JOBS_SUBMISSION_H

#include "common/conf.h"
#include "common/json.h"
#include "common/request_facts.h"
#include "common/http/netguard.h"

enum submission_kind { SUBMISSION_CHAT, SUBMISSION_EMBEDDINGS }; /* as in job.kind */

struct submission {
	enum submission_kind kind;
	int priority, max_attempts;
	struct str route;
	struct str lane;        /* what it queues up in: the route's name, or "*" for a bare model name */
	struct str user;        /* p NULL: none */
	struct str metadata;    /* JSON object as text; p NULL: none */
	struct str webhook_url; /* p NULL: none */
	struct str body;        /* what is stored: the text as it was sent, or what a face made of it; borrowed */
	struct str custom_id;   /* of a line of a batch; p NULL: none */
	int form;               /* enum face_form: the API that it came by; 0: the native one */
	bool followed;          /* somebody will read its text from the start */
	bool awaited;           /* only a client of this api process can have its answer: it ends with the process */
	bool unstored;          /* its request and answer may not be kept */
	int64_t run_at_us;      /* 0: now */
	int64_t expires_at_us;  /* 0: the default deadline */
	int64_t estimate_nanousd; /* -1: unknown (api/jobs/estimate.h) */
	const struct request_facts *facts; /* what the request is made of; in a, for whoever had it judged */
};

struct submission_rules {
	const struct conf *conf;
	const struct netguard *guard;
	int64_t now_us;
};

/* Texts live in a or in body. 0, or an error whose param is the JSON pointer to the field. */
int submission_read(struct arena *a, const struct submission_rules *rules, struct str body, struct submission *ret,
                    struct err *err);
/* As above from a value that is parsed already; base is the pointer to it ("" or "/jobs/3"). */
int submission_read_value(struct arena *a, const struct submission_rules *rules, json_t *v, const char *base,
                          struct submission *ret, struct err *err);

/* {"url": "…"} at pointer. */
int submission_read_webhook(struct arena *a, const struct netguard *guard, const char *pointer, json_t *v,
                            struct str *ret_url, struct err *err);

/* A JSON pointer one level deeper, with the key escaped (RFC 6901). Made in a. */
const char *submission_pointer(struct arena *a, const char *base, struct str key);

/* submission_request.c: the chat or embeddings request itself. */
int submission_check_request(struct arena *a, enum submission_kind kind, json_t *request, const char *base,
                             struct err *err);

#endif
