/* SPDX-License-Identifier: Apache-2.0 */
/* What request.c and request_head.c share. */
#ifndef MR_API_REQUEST_PRIVATE_H
#define MR_API_REQUEST_PRIVATE_H

#include "api/request.h"

/* Adds the headers that let a browser's page read the answer; true when the request was a preflight and is answered. */
bool request_cors(struct request *q);

/* A submission at the door: on_through is called with 0, or with the code of the refusal, which is in q->err then. It may be called at once. */
void request_enter(struct request *q, void (*on_through)(struct request *q, int rc));
/* Says in q->err why a visit was refused with rc, and adds what a 429 has to say. Returns rc. */
int request_refused_at_door(struct request *q, int rc);

/* request_error.c: answers with an error as the path's face writes them. Ends the request. */
void request_error_send(struct http_req *h, const struct err *err);
/* As above; is_final: a repeat does not mend it, whatever its class. */
void request_error_send_as(struct http_req *h, const struct err *err, bool is_final);

#endif
