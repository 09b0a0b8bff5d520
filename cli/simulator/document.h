/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message taken apart: what the user asks (instruction), and the document that stands in the message: its title, its
 * sentences in order, its words and their counts. Only the first DOCUMENT_MAX bytes are read, so that the work for one
 * call is bounded; the time is linear.
 */
#ifndef MR_CLI_SIMULATOR_DOCUMENT_H
#define MR_CLI_SIMULATOR_DOCUMENT_H

#include "cli/simulator/words.h"

#define DOCUMENT_MAX (64u << 10)
#define SENTENCE_MAX 1200 /* bytes; a longer one is cut */

struct sentence {
	struct str text;       /* one line, single spaces; the arena's */
	const uint32_t *words; /* places of its content words in the dictionary */
	size_t nwords;         /* content words */
	size_t length;         /* all words */
};

struct document {
	struct arena *arena;
	struct str instruction; /* "" when the message is all document */
	struct str body;        /* what was read as the document */
	struct str title;       /* "" when there is no text */
	struct sentence *sentences;
	size_t nsentences, max_sentences;
	struct words words;
	uint32_t *ids; /* the sentences' words, one after the other */
	size_t nids;
};

/* text is borrowed for the document's life. Any bytes are good. */
void document_read(struct document *d, struct arena *a, struct str text);

/* instruction.c: parts the message into what is asked and the document. Both are borrowed from text. */
void instruction_split(struct str text, struct str *ret_instruction, struct str *ret_body);
/* "in three sentences" → 3; fallback when the text names no number of the things (a stem: "sentence"). At most 50. */
size_t instruction_count(struct str text, const char *thing, size_t fallback);

#endif
