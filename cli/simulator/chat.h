/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat request as the model sees it, whatever the format that it came in: the texts, the files, the tools, the wanted
 * shape. A format reads its request into it with the functions here; the answer is made from it (answer.h).
 *
 * Tokens are counted by a fixed rule: the bytes of a text divided by 4, rounded up; a prompt counts that plus 3 for
 * each message; a file that is no text counts CHAT_FILE_TOKENS.
 */
#ifndef MR_CLI_SIMULATOR_CHAT_H
#define MR_CLI_SIMULATOR_CHAT_H

#include "cli/simulator/stats.h"
#include "common/arena.h"
#include "common/json.h"

#define CHAT_TEXT_MAX    (96u << 20) /* bytes of one message's text, and of one decoded file */
#define CHAT_FILE_TOKENS 258
#define CHOICES_MAX      16

/* All borrowed from the parsed body and the arena. */
struct chat {
	struct arena *arena;
	/* Preset for the reader, who may find them in the body too. */
	struct str model;
	bool stream;
	struct str alt; /* of the query: "sse" */
	/* The reader's. */
	struct str last_user; /* text of the last user message */
	struct str prompt;    /* text of the first message that is not a user's: what the system asks */
	struct str tag;       /* p is NULL when there is none */
	const json_t *schema; /* what the answer must fit, or NULL */
	bool any_object;      /* the answer must be some JSON object */
	bool include_usage;   /* of a stream; where a format lets the client choose */
	bool as_array;        /* a stream is sent as one JSON array */
	int64_t max_tokens;   /* INT64_MAX: none */
	int64_t choices;
	struct str tool; /* the first tool offered; p is NULL when there is none */
	const json_t *tool_schema;
	int64_t prompt_tokens;
	struct stats_file files[STATS_FILES_MAX];
	size_t nfiles;
	/* private */
	struct buf text; /* owned; of the message that is being read */
	json_t *made;    /* owned; a schema that was converted, or NULL */
};

void chat_init(struct chat *c, struct arena *a);
void chat_done(struct chat *c);

int64_t count_tokens(struct str text);
/* `given`, else the text "tag:WORD" in the first 200 bytes of `text`; p is NULL when there is none. */
struct str answer_tag(struct str given, struct str text);

/* A message, piece by piece: texts are joined by line ends. */
void chat_text(struct chat *c, struct str text);
/* A file in base64; one of text/… is read as text. at names the field in err. */
int chat_file(struct chat *c, struct str media_type, struct str base64, const char *at, struct err *err);
/* The same, decoded already. */
void chat_file_bytes(struct chat *c, struct str media_type, struct str bytes);
/* A data: URL; one of http(s) is taken as it is, and not fetched. */
int chat_file_url(struct chat *c, struct str url, const char *at, struct err *err);
enum chat_role { CHAT_USER, CHAT_SYSTEM, CHAT_OTHER };
void chat_message_end(struct chat *c, enum chat_role role);

/* An integer of at least 1, when there. at names the field in err. */
int chat_read_limit(const json_t *object, const char *name, const char *at, int64_t *ret, struct err *err);
/* The first field of the object that is not in the list (ended by NULL); NULL when there is none. */
const char *chat_unknown_field(const json_t *object, const char *const *known);

#endif
