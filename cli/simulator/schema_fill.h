/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a JSON schema from a document, as a model does with structured outputs: what each property gets follows from
 * its name, its description and its type. The value validates against the schema (known: $ref, $defs, const, enum,
 * anyOf, oneOf, allOf, type, properties, required, items, bounds of lengths, items and numbers, multipleOf, common
 * formats; `pattern` is not looked at).
 */
#ifndef MR_CLI_SIMULATOR_SCHEMA_FILL_H
#define MR_CLI_SIMULATOR_SCHEMA_FILL_H

#include "cli/simulator/document.h"
#include "common/json.h"

#define FILL_DEPTH_MAX 12 /* deeper: only what is required */
#define FILL_NODES_MAX 1000

/* prompt: what the user and the system message ask ("in three sentences"). The caller owns the value; never NULL. */
json_t *schema_fill(const struct document *d, struct str prompt, const json_t *schema);
/* For response_format json_object: title, summary, and what else the prompt names (duties, dates, …). */
json_t *schema_fill_free(const struct document *d, struct str prompt);

/* The inside, shared by schema_fill.c (shapes) and schema_text.c (texts and numbers). */
struct fill {
	const struct document *doc;
	const json_t *root;
	struct str prompt;
	struct str focus; /* the sentence that an item of an array is about; p is NULL outside of arrays */
	uint8_t *used;    /* per sentence: given to a property already */
	size_t nodes;
};

/* What a property is called and says of itself. */
struct hint {
	struct str name; /* words of the name, parted by spaces */
	struct str text; /* name and description */
};

enum kind_of_sentences { ANY_SENTENCE, DUTY_SENTENCES, RIGHT_SENTENCES };
enum kind_of_sentences fill_kind(const struct hint *h);
bool sentence_is_duty(const struct sentence *s);
bool sentence_is_right(const struct sentence *s);
/* Places of the sentences that fit the hint best, ascending; n at most SUMMARY_MAX. */
size_t fill_pick(struct fill *f, const struct hint *h, size_t n, size_t *ret_places);
struct str fill_string(struct fill *f, const json_t *schema, const struct hint *h);
double fill_number(struct fill *f, const struct hint *h);
bool fill_boolean(struct fill *f, const struct hint *h);
/* Whether the name (or, when it says nothing known, the description) holds a word that starts so. */
bool hint_is(const struct hint *h, const char *const *starts);

#endif
