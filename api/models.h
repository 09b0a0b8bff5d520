/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/models: what a key may name as `model`: the routes and targets of the configuration. */
#ifndef MR_API_MODELS_H
#define MR_API_MODELS_H

#include "common/flow.h"

extern const struct flow_step models_list_steps[];
extern const struct flow_step models_get_steps[]; /* also a bare model name, where models."*" is configured */

#endif
