/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON on jansson with the rules that outside text needs: no NUL byte, no duplicate keys (two values for `model` would let a
 * validator and a provider differ), at most JSON_DEPTH_MAX levels and JSON_VALUES_MAX values (a body of "[],[],…" takes fifty times
 * its size in memory), integers of 64 bits, well-formed UTF-8 only.
 */
#ifndef MR_COMMON_JSON_H
#define MR_COMMON_JSON_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"

#define JSON_DEPTH_MAX 64
#define JSON_VALUES_MAX 1000000
#define JSON_NESTS_FREE 10000
#define JSON_NEST_BYTES 8

/* NULL on failure with err (BAD_JSON; says line, column and what). The caller owns the value (json_decref). */
json_t *json_parse(struct str s, struct err *err);
/* For answers of providers once they are stored: as above, but the last of duplicate keys counts, and only their size is
 * limited: a few thousand embeddings are millions of numbers. */
json_t *json_parse_lenient(struct str s, struct err *err);
/* The same for them as they come: of lists and objects, which take the most memory, there may be JSON_NESTS_FREE, and one more for each JSON_NEST_BYTES. */
json_t *json_parse_answer(struct str s, struct err *err);

/* Compact text, object keys in their order of insertion. 0 or -ERR_TOO_LARGE. */
int json_write(struct buf *b, const json_t *v);
/* Canonical: keys sorted bytewise, compact. For hashing. */
int json_write_sorted(struct buf *b, const json_t *v);

/* Look-ups that tolerate NULL and wrong types: NULL, the empty str or the fallback then. Borrowed. */
struct str json_str(const json_t *object, const char *key);
int64_t json_i64(const json_t *object, const char *key, int64_t fallback);
bool json_bool(const json_t *object, const char *key, bool fallback);
json_t *json_get(const json_t *object, const char *key);
struct str json_str_of(const json_t *string); /* the empty str when not a string */

/* jansson's setters take NUL-terminated text; these take str. Invalid UTF-8 is replaced. */
json_t *json_from_str(struct str s);
void json_set_str(json_t *object, const char *key, struct str s);
void json_set_i64(json_t *object, const char *key, int64_t v);

void json_drop(json_t **v); /* for _cleanup_(json_drop) */

#endif
