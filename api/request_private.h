/* SPDX-License-Identifier: Apache-2.0 */
/* What request.c and request_head.c share. */
#ifndef MR_API_REQUEST_PRIVATE_H
#define MR_API_REQUEST_PRIVATE_H

#include "api/request.h"

/* Adds the headers that let a browser's page read the answer; true when the request was a preflight and is answered. */
bool request_cors(struct request *q);

#endif
