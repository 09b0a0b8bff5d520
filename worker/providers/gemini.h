/* SPDX-License-Identifier: Apache-2.0 */
/* Google's Gemini API (generateContent, batchEmbedContents), at Google AI and at Vertex AI. */
#ifndef MR_WORKER_PROVIDERS_GEMINI_H
#define MR_WORKER_PROVIDERS_GEMINI_H

#include "common/http/sse.h"
#include "worker/providers/assembly.h"
#include "worker/providers/shape.h"
#include "worker/providers/provider.h"

extern const struct provider provider_gemini;

#define GEMINI_EMBEDDINGS_MAX 100 /* inputs of one request ("Gemini API: batchEmbedContents") */
#define GEMINI_CHOICES_MAX    8   /* candidates of one answer that are looked at */

struct failure;

/* --- the request (gemini_request.c, gemini_contents.c) --- */

/* A body while it is made. */
struct gemini_body {
	const struct provider_ask *ask;
	struct arena *arena;
	struct err *err;
	bool vertex;    /* Vertex AI: calls have no ids, and the tier is no field */
	bool plain_api; /* api_version "v1": schemas in OpenAPI's form, calls have no ids */
	bool signs;     /* Gemini 3 and later refuse a call without its thought signature */
	json_t *system; /* owned: parts of all system and developer messages */
	json_t *contents; /* owned: turns, no two of the same role in a row */
	json_t *names;  /* owned: id of each call so far → name of its function */
};

/* The body of generateContent, or NULL with err: -ERR_UNSUPPORTED and a pointer to the field. Owned by the caller. */
json_t *gemini_chat_request(const struct provider_ask *ask, struct arena *a, struct err *err);

/* Turns OpenAI's messages into system parts and turns. 0 or what gemini_refuse returned. */
int gemini_contents(struct gemini_body *b, const json_t *messages);

/* Sets err to ERR_UNSUPPORTED at pointer (below the request) and returns -ERR_UNSUPPORTED. */
int gemini_refuse(struct gemini_body *b, struct str pointer, const char *why);

/* The target's headers bring their own Authorization. */
bool gemini_is_vertex(const struct conf_target *t);

/* Adds the name of the model as Google writes it: "models/NAME", everything unusual escaped; a name that says its collection keeps it. */
void gemini_add_model(struct buf *b, struct str model);

/* --- the answer (gemini_answer.c) --- */

struct gemini_answer {
	struct assembly assembly;
	struct str finish;         /* Google's word, as it came; in the arena */
	struct str finish_message, blocked, blocked_message; /* in the arena; p NULL: none */
	json_t *error;             /* owned: the chunk that ended it */
	json_t *logprobs;          /* owned: logprobsResult of a whole answer */
	int64_t tools;             /* calls so far */
	size_t signatures;         /* bytes of the calls' signatures so far */
	int64_t left_out;          /* parts of kinds that a chat answer has no place for: inline data, executed code */
	bool has_candidate;
};

void gemini_answer_init(struct gemini_answer *g, size_t max_bytes, struct provider_sink sink, struct arena *a);
void gemini_answer_done(struct gemini_answer *g);

/* A chunk of a stream, or a whole answer (or a list of these). Looks at one candidate: that with this index. 0; -ERR_STREAM_CUT after an error
 * object; -ERR_BAD_OUTPUT; -ERR_TOO_LARGE. */
int gemini_answer_take(struct gemini_answer *g, const json_t *chunk, int64_t index);

/* Only what a chunk counts: its text has been taken already. */
void gemini_answer_count(struct gemini_answer *g, const json_t *chunk);

/* The verdict into r (see assembly_conclude), once all has come. rc: 0, or why it ended early; whole: one object came, not a stream. */
void gemini_answer_conclude(struct gemini_answer *g, int rc, bool schema, bool whole, struct provider_result *r);

/* usageMetadata as Google counts into ours. False: it says nothing. */
bool gemini_read_usage(struct provider_usage *ret, const json_t *metadata);

/* --- failures (gemini_error.c) --- */

/* Class, message (cut to 500 bytes, in a) and hint of an error body, into r. body may be NULL. status: HTTP; 0: inside an answer that had begun well. */
void gemini_failure(struct provider_result *r, int status, const json_t *body, int64_t header_hint_ms, int64_t now_wall_us, struct arena *a);

/* --- embeddings (gemini_embed.c) --- */

json_t *gemini_embed_request(const struct provider_ask *ask, struct arena *a, struct err *err);
/* How many inputs a request has; 0: none that can be counted. */
size_t gemini_embed_inputs(const json_t *request);
/* OpenAI's form of an answer to `inputs` (0: any number) inputs, or NULL: it is none. Owned by the caller. */
json_t *gemini_embed_answer(const json_t *body, size_t inputs, bool base64, struct str model);

#endif
