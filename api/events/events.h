/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/jobs/{job}/events, as steps. */
#ifndef MR_API_EVENTS_EVENTS_H
#define MR_API_EVENTS_EVENTS_H

#include "common/flow.h"

extern const struct flow_step events_steps[];

#endif
