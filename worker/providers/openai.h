/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAI's chat completions and embeddings, and all servers that are compatible with them (quirks: common/provider_record.h). */
#ifndef MR_WORKER_PROVIDERS_OPENAI_H
#define MR_WORKER_PROVIDERS_OPENAI_H

#include "common/http/sse.h"
#include "worker/providers/assembly.h"
#include "worker/providers/shape.h"

extern const struct provider provider_openai;

/* A streamed chat answer (openai_stream.c). */
struct openai_stream {
	struct sse sse;
	struct assembly assembly;
	size_t max_bytes;
	struct shape shape;       /* of the last chunk that held text only */
	int64_t calls;            /* one more than the index of the last tool call; 0: there was none */
	json_t *error;            /* owned: what holds the error that ended it */
};

void openai_stream_init(struct openai_stream *s, size_t max_bytes, struct provider_sink sink, struct arena *a);
void openai_stream_done(struct openai_stream *s);
/* 0; -ERR_STREAM_CUT after an error event; -ERR_BAD_OUTPUT; -ERR_TOO_LARGE. */
int openai_stream_feed(struct openai_stream *s, struct str piece);

/* For whole answers: the message (or delta), as openai_stream_feed; the choice's finish reason; what holds the error in an answer (or chunk), borrowed,
 * NULL when there is none. */
int openai_take_message(struct openai_stream *s, const json_t *message);
void openai_take_finish(struct openai_stream *s, const json_t *choice);
json_t *openai_error_in(json_t *answer);

/* OpenAI's usage object; false when nothing was counted (some servers send zeros). */
bool openai_read_usage(struct provider_usage *ret, const json_t *usage);

/* openai_request.c */
int openai_make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err);

#endif
