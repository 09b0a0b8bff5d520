/* SPDX-License-Identifier: Apache-2.0 */
/* The most informative sentences of a document, in their original order. Pure; linear in the document for each sentence
 * wanted. */
#ifndef MR_CLI_SIMULATOR_SUMMARY_H
#define MR_CLI_SIMULATOR_SUMMARY_H

#include "cli/simulator/document.h"
#include "common/buf.h"

#define SUMMARY_MAX 50

/* The places of at most n (≤ SUMMARY_MAX) sentences, ascending. `wanted` (may be NULL) says which sentences may be
 * taken. */
size_t summary_pick(const struct document *d, size_t n, bool (*wanted)(const struct sentence *s), size_t *ret_places);
/* n sentences joined by spaces; for a text without sentences what there is of it. The arena's. */
struct str summary_text(const struct document *d, size_t n);
/* What a model answers when nothing else is asked: the title, an empty line, the summary. */
struct str summary_answer(const struct document *d, size_t n);

/* Whether it says what a term means, rather than what holds. */
bool sentence_is_definition(const struct sentence *s);

#endif
