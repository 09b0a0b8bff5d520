/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the model answers, before it has a format: a text, perhaps with reasoning before it, or a tool call, and how
 * many tokens that took. Pure: no I/O, no clock.
 */
#ifndef MR_CLI_SIMULATOR_ANSWER_H
#define MR_CLI_SIMULATOR_ANSWER_H

#include "cli/simulator/chat.h"
#include "cli/simulator/script.h"

#define ANSWER_MAX (96u << 20) /* bytes of one answer */

struct answer {
	struct str text;      /* cut at max_tokens; "" with a tool call */
	struct str thinking;  /* "" when there is none */
	bool calls_tool;      /* chat's tool, with tool_args */
	struct str tool_args; /* a JSON object */
	bool cut;             /* the text ended at max_tokens */
	/* Of all choices. cached is inside of chat's prompt_tokens, thinking inside of output. */
	int64_t output_tokens, thinking_tokens, cached_tokens;
	const char *id, *tool_id; /* in the format's style */
	int64_t created;          /* seconds */
};

/* What the model says: the rule's fixed answer, an echo, a filled schema, or a summary. The arena's. */
struct str answer_text(struct arena *a, const struct chat *c, const struct rule *r);
/* All of an answer but its ids and time. */
void answer_make(struct answer *an, struct arena *a, const struct chat *c, const struct rule *r);

/* The rule's finish_reason, else the format's word for how the answer ended. */
const char *answer_finish(const struct answer *an, const struct rule *r, const char *stop, const char *length,
                          const char *tool);
/* The next piece of about n bytes, at least one character; n 0: all. */
struct str answer_piece(struct str *rest, size_t n);
/* A usage object as it is, or with the rule's `usage` laid over it. */
void answer_add_usage(struct buf *b, const struct rule *r, struct str usage);
int answer_write_garbage(struct buf *b, enum garbage kind, const char *id);

#endif
