/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Amazon Bedrock: Converse and ConverseStream for chat, InvokeModel for embeddings (Titan and Cohere). What its files share; others use
 * provider_bedrock only.
 */
#ifndef MR_WORKER_PROVIDERS_BEDROCK_H
#define MR_WORKER_PROVIDERS_BEDROCK_H

#include "worker/providers/assembly.h"
#include "worker/providers/eventstream.h"
#include "worker/providers/shape.h"

extern const struct provider provider_bedrock;

enum bedrock_embeddings { BEDROCK_NO_EMBEDDINGS, BEDROCK_TITAN, BEDROCK_COHERE };

/* --- bedrock_request.c, bedrock_messages.c: the request --- */

struct bedrock_messages {
	json_t *system, *messages; /* owned */
	json_t *called;            /* owned: names of the tools that the history calls, as keys */
	int marked;                /* cache points that the request's own marks became */
	bool bare_call;            /* the last assistant turn calls tools and has no thinking blocks */
};

int bedrock_make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err);

/* 0; or -ERR_UNSUPPORTED, -ERR_INVALID naming the field. cache: pass on the request's own marks, and mark the static front where there is none (nor in its
 * tools). bedrock_messages_done in any case. */
int bedrock_messages_read(struct bedrock_messages *m, const json_t *request, bool cache, struct arena *a, struct err *err);
void bedrock_messages_done(struct bedrock_messages *m);
/* {"cachePoint":{"type":"default"}}. Owned by the caller. */
json_t *bedrock_cache_point(void);
/* Puts a cache point behind the last of `blocks` where `from` has a mark of the prompt cache (`cache_control`), up to as many as Bedrock takes. */
void bedrock_mark(struct bedrock_messages *m, const json_t *from, json_t *blocks);

/* The name of the tool whose input is the answer, where a JSON schema is asked for; else the empty str. In the arena. */
struct str bedrock_answer_tool(const json_t *request, struct arena *a);

/* --- bedrock_embeddings.c --- */

enum bedrock_embeddings bedrock_embeddings_of(struct str model);
/* The body of the request: 0, or -ERR_UNSUPPORTED naming the field. */
int bedrock_embeddings_write(const struct provider_ask *ask, struct buf *b, struct err *err);
/* How many vectors are asked for. */
size_t bedrock_embeddings_wanted(const json_t *request);
/* OpenAI's object out of the answer; NULL when it is none or has not `wanted` vectors. r->usage is read. Owned by the caller. */
json_t *bedrock_embeddings_answer(const json_t *body, size_t wanted, bool base64, struct str model, struct provider_result *r);

/* --- bedrock_answer.c: content blocks and events into an assembly --- */

struct bedrock_answer {
	struct assembly out;
	struct eventstream events;
	struct shape shape;        /* of the last piece of text */
	struct str answer_tool;    /* its input is the text of the answer; n 0: none */
	struct buf aside;          /* text beside that tool's: counts when the tool is not called after all */
	struct buf thinking, signature; /* of the reasoning block that is being received */
	int64_t blocks[ASSEMBLY_TOOLS_MAX]; /* the content block of each tool call */
	int64_t answer_block;      /* that of the answer tool; -1: none */
	size_t ntools;
	bool failed;               /* an exception came */
	struct str error_type, error_message; /* in the arena */
};

void bedrock_answer_init(struct bedrock_answer *s, struct str answer_tool, size_t max_bytes, struct provider_sink sink, struct arena *a);
void bedrock_answer_done(struct bedrock_answer *s);
/* 0; -ERR_STREAM_CUT after an exception; -ERR_BAD_OUTPUT; -ERR_TOO_LARGE. */
int bedrock_answer_feed(struct bedrock_answer *s, struct str piece);
/* A whole answer (not a stream). The same codes. */
int bedrock_answer_take(struct bedrock_answer *s, const json_t *body);
/* All has come: text that stood aside moves into the answer where there is no other. */
int bedrock_answer_finish(struct bedrock_answer *s);

/* --- bedrock_error.c --- */

/* "ThrottlingException:http://…", "com.amazon…#ThrottlingException" to the name. */
struct str bedrock_error_name(struct str type);
/* status: 0 when it came inside a stream. */
enum err_code bedrock_error_class(int status, struct str name, struct str message);

#endif
