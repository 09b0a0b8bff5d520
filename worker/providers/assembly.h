/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat answer while it is put together, from a stream or from one object, whatever the provider: text, refusal and reasoning are
 * appended, tool calls are gathered by index and their arguments joined. In the end it is written in OpenAI's form (chat.completion), and
 * judged by rules that are the same for all formats.
 */
#ifndef MR_WORKER_PROVIDERS_ASSEMBLY_H
#define MR_WORKER_PROVIDERS_ASSEMBLY_H

#include "worker/providers/provider.h"

#define ASSEMBLY_TOOLS_MAX 128

struct assembly_tool {
	struct buf id, name, arguments;
	struct str signature; /* Gemini's thoughtSignature, to be sent back untouched; p NULL: none */
	bool used;
};

struct assembly {
	struct arena *arena;
	size_t max_bytes;            /* of each text */
	struct provider_sink sink;
	struct buf content, refusal, reasoning;
	struct assembly_tool *tools; /* ASSEMBLY_TOOLS_MAX of them, made at the first tool call; in the arena */
	json_t *thinking;            /* owned: Anthropic's thinking blocks with their signatures (`thinking_blocks` of the message); or NULL */
	struct str id, model, fingerprint, service_tier; /* in the arena; p NULL: unknown */
	struct str finish;           /* canonical: stop, length, tool_calls, content_filter; or the provider's own word where it is none of these */
	struct str stopped_by;       /* which of the stop sequences ended it; p NULL: none, or the provider does not tell */
	int64_t created;             /* Unix seconds; 0: unknown */
	json_t *usage_raw;           /* owned: OpenAI's own usage object, passed on as it came; NULL: made from `usage` */
	struct provider_usage usage;
	bool usage_known;
	bool has_content, has_refusal; /* a string came, even an empty one */
	bool token;                  /* some content has come */
	bool done;                   /* the terminal event has come */
	bool over;                   /* so has all that may follow it: what becomes of the connection is of no account any more */
};

void assembly_init(struct assembly *s, size_t max_bytes, struct provider_sink sink, struct arena *a);
void assembly_done(struct assembly *s);

/* Adds a piece (kind: not DELTA_TOOL). 0 or -ERR_TOO_LARGE. An empty piece marks that the field is there. */
int assembly_text(struct assembly *s, enum delta_kind kind, struct str piece);
/* Adds to a tool call; id and name count the first time. 0, -ERR_BAD_OUTPUT for an index out of range, -ERR_TOO_LARGE. */
int assembly_tool(struct assembly *s, int64_t index, struct str id, struct str name, struct str arguments);
/* Remembers a short text of the answer (id, model, …) the first time; longer than 1,000 bytes is dropped. */
void assembly_keep(struct assembly *s, struct str *field, struct str value);

/* Bytes of text, refusal, reasoning and arguments so far. */
int64_t assembly_bytes(const struct assembly *s);

/* The chat.completion object with one choice. Owned by the caller. */
json_t *assembly_answer(const struct assembly *s, bool partial);

/*
 * What the answer means, into r (class, message, result, usage, finish_reason, output_bytes, has_partial), once it is over; r->result is made
 * here and must be empty or not yet made; the usage has been tidied by the adapter:
 * rc < 0: it ended early with that class, unless the answer was over by then; not done or no finish reason: ERR_STREAM_CUT; content_filter, length without output, error reasons, nothing
 * in it: as provider-side rules have it. schema: a JSON schema was asked for, so that a cut at the token limit is no answer. r->class that is
 * already set (an error event was classified) stays.
 */
void assembly_conclude(const struct assembly *s, int rc, bool schema, struct provider_result *r);

/* {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}. Owned by the caller. */
json_t *assembly_usage_object(const struct provider_usage *u);

/* Makes what a provider counted keep the rules of struct provider_usage: no negatives, no part above its total. */
void assembly_usage_tidy(struct provider_usage *u);

#endif
