/* SPDX-License-Identifier: Apache-2.0 */
/* How much a model is to think, however a native request says so. */
#ifndef MR_WORKER_PROVIDERS_THINKING_H
#define MR_WORKER_PROVIDERS_THINKING_H

#include "common/json.h"

/* `reasoning_effort`; without it what `thinking` (Anthropic's field) comes to: enabled is low, medium or high by its budget, disabled is none. Empty: nothing is
 * said, or it is left to the model. Borrowed. */
struct str thinking_effort(const json_t *request);

#endif
