/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers in OpenAI's wire format: reading a chat request, what the model says, the completion object or the
 * stream, and errors. Pure: no I/O, no clock.
 *
 * Tokens are counted by a fixed rule: the bytes of a text divided by 4, rounded up; a prompt counts that plus 3 for
 * each message.
 */
#ifndef MR_CLI_SIMULATOR_ANSWER_H
#define MR_CLI_SIMULATOR_ANSWER_H

#include "cli/simulator/script.h"
#include "common/arena.h"
#include "common/json.h"

#define ANSWER_MAX  (96u << 20) /* bytes of one answer */
#define CHOICES_MAX 16

/* A chat request, read. All borrowed from the parsed body and the arena. */
struct chat {
	struct str model;
	struct str last_user; /* text of the last user message */
	struct str prompt;    /* text of the first message that is not a user's: what the system asks */
	struct str tag;
	const json_t *format; /* response_format, or NULL */
	bool stream, include_usage;
	int64_t max_tokens; /* INT64_MAX: none */
	int64_t choices;
	int64_t prompt_tokens;
};

/* 0, or -ERR_…: err's text is for the message and err's param is the field's name as OpenAI writes it. */
int chat_read(struct chat *c, struct arena *a, const json_t *body, struct err *err);
int64_t count_tokens(struct str text);
/* metadata.tag, else user, else the text "tag:WORD" in the first 200 bytes of `text`; p is NULL when there is none. */
struct str answer_tag(const json_t *body, struct str text);

/* What the model says: the rule's fixed answer, an echo, a filled schema, or a summary. The arena's. */
struct str answer_text(struct arena *a, const struct chat *c, const struct rule *r);

struct answer {
	struct str text; /* cut at max_tokens */
	const char *finish_reason;
	int64_t completion_tokens;
	const char *id; /* "chatcmpl-…" */
	int64_t created;
};
void answer_make(struct answer *an, const struct chat *c, const struct rule *r, struct str text);

int answer_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an);
/* All events of the stream; *ret_head and *ret_tail are the offsets where the text begins and ends. */
int answer_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        size_t *ret_head, size_t *ret_tail);
int answer_write_garbage(struct buf *b, enum garbage kind, const struct answer *an);

/* {"error": {"message", "type", "param", "code"}}; param and code may be NULL. */
int answer_write_error(struct buf *b, const char *type, const char *param, const char *code, struct str message);
/* The failure of a rule: its error_body in its shape; returns the content type. */
struct str answer_write_failure(struct buf *b, const struct rule *r, int status);

#endif
