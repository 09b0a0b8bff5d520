/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.json: what this program answers to, by OpenAPI 3.1. */
#ifndef MR_API_OPENAPI_H
#define MR_API_OPENAPI_H

#include "common/buf.h"
#include "common/flow.h"

extern const struct flow_step openapi_steps[];

/* The whole description as JSON. 0 or -ERR_TOO_LARGE. */
int openapi_write(struct buf *b);

#endif
