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

#endif
