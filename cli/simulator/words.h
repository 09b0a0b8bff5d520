/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of a text: finding them, and a dictionary that counts them. Words are compared in lower case and without a
 * plural ending; the common words of English (stop words) are known, so that they do not count as content.
 */
#ifndef MR_CLI_SIMULATOR_WORDS_H
#define MR_CLI_SIMULATOR_WORDS_H

#include "common/arena.h"

#define WORD_MAX 32 /* longer words are cut for comparing */

struct word {
	struct str text; /* as it stands in the text where it was seen first */
	struct str stem; /* lower case, singular */
	uint32_t count;
	bool is_stop;
};

struct words {
	struct arena *arena;
	struct word *all;
	size_t n, max;
	uint32_t *table; /* place in `all` + 1 */
	size_t mask;
	uint64_t total; /* content words counted */
};

/* For a text of so many bytes; memory is the arena's. */
void words_init(struct words *w, struct arena *a, size_t text_bytes);
/* Counts the word; its place in `all`. SIZE_MAX when the dictionary is full. */
size_t words_add(struct words *w, struct str word);
/* SIZE_MAX when it was never counted. */
size_t words_find(const struct words *w, struct str word);

/* Takes the next word off *rest. False at the end. */
bool word_next(struct str *rest, struct str *ret_word);
/* The form in which words are compared, in `out`. */
struct str word_stem(struct str word, char out[WORD_MAX]);
bool word_is_stop(struct str stem);
size_t word_count(struct str text);
/* Whether one of the words (a list ended by NULL, lower case) starts a word of the text. */
bool text_has_word(struct str text, const char *const *starts);

#endif
