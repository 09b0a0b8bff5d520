/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider's wire format: pure translation between a request in OpenAI's form and the provider's, both directions. No I/O, no
 * loop, no database. One struct provider per format; the state of one call lives in the caller's arena.
 *
 * A call goes: make (method, URL, headers, body) → answer_head with status and headers → answer_data for the pieces of the body →
 * answer_end, which says what the answer means: result, usage, finish reason, or the class of the failure with its message and any
 * hint when to come back.
 */
#ifndef MR_WORKER_PROVIDERS_PROVIDER_H
#define MR_WORKER_PROVIDERS_PROVIDER_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/http_types.h"
#include "common/json.h"

struct conf_target;

struct provider_request {
	const char *method;
	const char *url;             /* in the arena */
	struct http_header *headers; /* in the arena; may hold the key: never logged */
	size_t nheaders;
	struct buf body;             /* the caller frees it, also after a failure */
	bool streamed;               /* an event stream was asked for */
};

/* What an answer came to. */
struct provider_result {
	enum err_code class;         /* ERR_OK, or the class of the failure: second part of err.def */
	struct str message;          /* of the provider, cut to 500 bytes; p NULL: none */
	struct buf result;           /* the answer in OpenAI's form, JSON text; the caller frees it */
	bool has_partial;            /* result holds what had come before a cut */
	bool usage_known;
	int64_t input, cached_input, output; /* tokens; cached is part of input */
	int64_t output_bytes;        /* bytes of text that came, for estimates */
	struct str finish_reason;
	int64_t retry_after_ms;      /* -1: no hint */
	int should_retry;            /* x-should-retry: 1, 0, or -1 when absent */
};

struct provider_call; /* the state of one answer; lives in the arena */

struct provider {
	const char *name; /* "openai" */
	/* request is the `request` object of the job (borrowed). 0, or -ERR_x with err. kind is an enum job_kind. */
	int (*make)(const struct conf_target *target, int kind, const json_t *request, struct arena *a, struct provider_request *ret,
	            struct err *err);
	struct provider_call *(*start)(const struct conf_target *target, int kind, bool streamed, size_t max_bytes, struct arena *a);
	void (*answer_head)(struct provider_call *c, int status, const struct http_header *headers, size_t n);
	/* 0, or a negative code that ends the call (too large, broken stream, an error event). *ret_token: content has begun to arrive. */
	int (*answer_data)(struct provider_call *c, struct str piece, bool *ret_token);
	/* transport_rc: 0, or why the call ended early (-ERR_STREAM_CUT, -ERR_NETWORK, …, or what answer_data returned). */
	void (*answer_end)(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *ret);
};

/* The format's table, or NULL. */
const struct provider *provider_find(struct str name);

#endif
