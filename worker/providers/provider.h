/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider's wire format: pure translation between a request in OpenAI's form and the provider's, both directions. No I/O, no
 * loop, no database. One struct provider per format; the state of one call lives in the caller's arena.
 *
 * A call goes: make (method, URL, headers, body) → answer_head with status and headers → answer_data for the pieces of the body →
 * answer_end, which says what the answer means: result, usage, finish reason, or the class of the failure with its message and any
 * hint when to come back. Text that arrives is put together in an assembly (assembly.h), which tells the sink of each delta.
 */
#ifndef MR_WORKER_PROVIDERS_PROVIDER_H
#define MR_WORKER_PROVIDERS_PROVIDER_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/http/http_types.h"
#include "common/json.h"

struct conf_target;
struct assembly;

#define PROVIDER_CHAT       0 /* kind: as enum job_kind */
#define PROVIDER_EMBEDDINGS 1

/* What is wanted. All borrowed. */
struct provider_ask {
	const struct conf_target *target;
	int kind;
	const json_t *request; /* the `request` object of the job */
	int64_t max_output;    /* > 0: tokens of output at most, in place of what the request says (it was shortened at a limit) */
};

struct provider_request {
	const char *method;
	const char *url;             /* in the arena */
	struct http_header *headers; /* in the arena; may hold the key: never logged */
	size_t nheaders;
	struct buf body;             /* the caller frees it, also after a failure */
	bool streamed;               /* an event stream was asked for */
	const char *aws_sigv4;       /* NULL: unsigned. Else "aws:amz:REGION:bedrock", as libcurl takes it; in the arena */
	const char *aws_user;        /* "ACCESS_KEY:SECRET_KEY"; in the arena, never logged */
};

#define PROVIDER_MESSAGE_MAX 500

/* Tokens, in the one form that all providers' counts are brought into. Never negative; parts are never more than their total. */
struct provider_usage {
	int64_t input;           /* all of it: text, cached parts, images, audio */
	int64_t cached_input;    /* part of input: read from the provider's cache */
	int64_t cache_write;     /* part of input: written into it */
	int64_t audio_input, image_input; /* parts of input, where they are told apart */
	int64_t output;          /* all of it, reasoning included */
	int64_t reasoning;       /* part of output */
	bool disagrees;          /* the provider's own total is another one */
};

/* What an answer came to. */
struct provider_result {
	enum err_code class;         /* ERR_OK, or the class of the failure: second part of err.def */
	struct str message;          /* of the provider, at most PROVIDER_MESSAGE_MAX bytes; p NULL: none */
	struct buf result;           /* the answer in OpenAI's form, JSON text; the caller frees it */
	bool has_partial;            /* result holds what had come before a cut */
	bool usage_known;
	struct provider_usage usage;
	int64_t output_bytes;        /* bytes of text that came, for estimates */
	struct str finish_reason;
	int64_t retry_after_ms;      /* -1: no hint */
	int should_retry;            /* x-should-retry: 1, 0, or -1 when absent */
};

/* A piece of an answer, as it arrives. Borrowed. */
enum delta_kind { DELTA_TEXT, DELTA_REFUSAL, DELTA_REASONING, DELTA_TOOL };
struct provider_delta {
	enum delta_kind kind;
	int index;             /* of a tool call, from 0 */
	struct str id, name;   /* of a tool call's first piece; else empty */
	struct str text;       /* text, or a piece of the call's arguments */
};

/* Who wants to know of them; fn NULL: nobody. */
struct provider_sink {
	void (*fn)(void *arg, const struct provider_delta *d);
	void *arg;
};

struct provider_call; /* the state of one answer; lives in the arena */

struct provider {
	const char *name; /* the adapter: "openai" */
	/* 0, or -ERR_x with err. */
	int (*make)(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err);
	/* streamed as make said; max_bytes bounds the answer's text. */
	struct provider_call *(*start)(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a);
	void (*answer_head)(struct provider_call *c, int status, const struct http_header *headers, size_t n);
	/* 0, or a negative code that ends the call (too large, broken stream, an error event). *ret_token: content has begun to arrive. */
	int (*answer_data)(struct provider_call *c, struct str piece, bool *ret_token);
	/* What has come so far of a streamed answer, or NULL: for those who begin to follow it late. */
	const struct assembly *(*so_far)(const struct provider_call *c);
	/* transport_rc: 0, or why the call ended early (-ERR_STREAM_CUT, -ERR_NETWORK, …, or what answer_data returned). */
	void (*answer_end)(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *ret);
};

/* What a failure is, with the provider's message where there is one: cut to its maximum, and copied into a. */
void provider_say(struct provider_result *r, enum err_code class, struct str message, struct arena *a);

/* The adapter's table, or NULL. name is that of a provider_record's adapter. */
const struct provider *provider_find(struct str name);

#endif
