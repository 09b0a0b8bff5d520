/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Schemas in the dialects that providers take. What is sent is a relaxed form of what was asked for; whoever wants to be sure checks the answer
 * against the original.
 */
#ifndef MR_WORKER_PROVIDERS_SCHEMA_H
#define MR_WORKER_PROVIDERS_SCHEMA_H

#include "common/json.h"

/*
 * Anthropic's structured outputs: every object is closed, oneOf becomes anyOf, and a keyword that is not taken (minimum, pattern, …) is told in the
 * description. Never NULL; owned by the caller. schema is no deeper than JSON_DEPTH_MAX.
 */
json_t *schema_for_anthropic(const json_t *schema);

/*
 * Gemini's responseSchema, a subset of OpenAPI 3.0 (schema_gemini.c): references are replaced by what they name, null becomes `nullable`, const an enum
 * of one, and a keyword that is not known is left out. NULL: nothing is left to ask for. Owned by the caller.
 */
json_t *schema_for_gemini(const json_t *schema);

#endif
