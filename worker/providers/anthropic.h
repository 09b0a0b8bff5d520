/* SPDX-License-Identifier: Apache-2.0 */
/* Anthropic's Messages. */
#ifndef MR_WORKER_PROVIDERS_ANTHROPIC_H
#define MR_WORKER_PROVIDERS_ANTHROPIC_H

#include "common/http/sse.h"
#include "worker/providers/assembly.h"
#include "worker/providers/provider.h"
#include "worker/providers/shape.h"

extern const struct provider provider_anthropic;

/* --- the request (anthropic_request.c, anthropic_messages.c) --- */

/* A body while it is made. */
struct anthropic_body {
	struct arena *arena;
	struct err *err;
	json_t *system;   /* owned; blocks of all system and developer messages */
	json_t *messages; /* owned; turns, no two of the same role in a row */
	const char *role; /* of the turn that is open; NULL: none is */
	json_t *results, *rest; /* owned; its blocks: tool results stand before all else */
	size_t message;   /* where we are, for refusals: the message, */
	const char *list; /* NULL: itself; else the list in it, */
	size_t item;      /* and the item of that */
	bool marks;       /* the request's own marks of the prompt cache are passed on, */
	int marked;       /* so many up to now */
	bool files;       /* a file of the provider's own is named: the header of that beta is needed */
};

/* The body of POST /messages; *ret_files: the Files API is used. Owned by the caller; NULL with err: -ERR_UNSUPPORTED and a pointer to the field. */
json_t *anthropic_request(const struct provider_ask *ask, struct arena *a, bool *ret_files, struct err *err);

/* Turns OpenAI's messages into system blocks and turns. 0 or what anthropic_refuse returned. */
int anthropic_messages(struct anthropic_body *b, const json_t *messages);

/* Passes on the mark that `from` has, if it may be: to the last of blocks when there are more than `before`. */
void anthropic_mark(struct anthropic_body *b, const json_t *from, const json_t *blocks, size_t before);

/* Sets err to ERR_UNSUPPORTED at pointer (below the request) and returns -ERR_UNSUPPORTED. */
int anthropic_refuse(struct anthropic_body *b, const char *pointer, const char *why);

/* --- the answer (anthropic_stream.c) --- */

enum anthropic_block { BLOCK_NONE, BLOCK_TOOL, BLOCK_THINKING, BLOCK_OTHER };

struct anthropic_answer {
	struct assembly assembly;
	struct sse sse;
	struct shape shape;           /* of the open block's pieces of text */
	size_t max_bytes;
	enum anthropic_block open;    /* the content block that is being sent; they come one after the other */
	int64_t open_index;
	json_t *block;                /* owned: as that block began */
	struct buf thinking, signature; /* of the open thinking block */
	int64_t tools;                /* calls begun so far */
	size_t kept;                  /* bytes of the thinking blocks that are kept */
	int64_t plain_input, cache_write, cached_input; /* as the provider counts them: apart from each other */
	struct str refused;           /* why the model refused, in the arena */
	json_t *error;                /* owned: the event that ended it */
};

void anthropic_answer_init(struct anthropic_answer *s, size_t max_bytes, struct provider_sink sink, struct arena *a);
void anthropic_answer_done(struct anthropic_answer *s);
/* 0; -ERR_STREAM_CUT after an error event; -ERR_BAD_OUTPUT; -ERR_TOO_LARGE. */
int anthropic_answer_feed(struct anthropic_answer *s, struct str piece);
/* A whole message at once. As above. */
int anthropic_answer_whole(struct anthropic_answer *s, json_t *message);

#endif
