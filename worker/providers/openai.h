/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAI's chat completions and embeddings, and all servers that are compatible with them. */
#ifndef MR_WORKER_PROVIDERS_OPENAI_H
#define MR_WORKER_PROVIDERS_OPENAI_H

#include "common/sse.h"
#include "worker/providers/provider.h"

extern const struct provider provider_openai;

#define OPENAI_TOOLS_MAX 128

/* A streamed chat answer while it is put together (openai_stream.c). */
struct openai_tool {
	struct buf id, name, arguments;
	bool used;
};

struct openai_stream {
	struct sse sse;
	struct arena *arena;
	size_t max_bytes;
	struct buf content, refusal, reasoning;
	struct openai_tool *tools; /* OPENAI_TOOLS_MAX of them, made at the first tool call; in the arena */
	struct str id, model, fingerprint, service_tier, finish_reason;
	int64_t created;
	json_t *usage;             /* owned */
	json_t *error;             /* owned: the event that ended it */
	bool has_content, has_refusal, done, token;
};

void openai_stream_init(struct openai_stream *s, size_t max_bytes, struct arena *a);
void openai_stream_done(struct openai_stream *s);
/* 0; -ERR_STREAM_CUT after an error event; -ERR_BAD_OUTPUT; -ERR_TOO_LARGE. */
int openai_stream_feed(struct openai_stream *s, struct str piece);
/* The chat.completion object. Owned by the caller. */
json_t *openai_stream_answer(const struct openai_stream *s, bool partial);

#endif
