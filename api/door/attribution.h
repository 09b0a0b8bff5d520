/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose work a job is, from wherever clients of OpenAI, LiteLLM, Portkey and Helicone say it: the body's `metadata`, `user` and `safety_identifier`, and
 * headers. All become the job's metadata and user, so that code which is attributed already stays so. Pure.
 *
 *   x-litellm-tags: a, b                       tags (joined to those of metadata.tags)
 *   x-litellm-spend-logs-metadata, x-portkey-metadata: {"k": "v"}   k; Portkey's _user is the user
 *   helicone-property-NAME: v                  name, in lower case
 *   x-litellm-trace-id, x-portkey-trace-id, helicone-request-id     trace_id
 *   traceparent                                traceparent (W3C Trace Context)
 *   x-litellm-end-user-id, x-litellm-customer-id, helicone-user-id  the user
 *
 * What the body says counts before headers, and headers in the order above. The body is held to OpenAI's limits (16 pairs, keys of 64 and values of 512
 * characters) and refused beyond; of headers what does not fit is cut or left out, since a proxy may have added them.
 */
#ifndef MR_API_DOOR_ATTRIBUTION_H
#define MR_API_DOOR_ATTRIBUTION_H

#include "api/faces/face.h"
#include "common/http/http_server.h"

/* h may be NULL (a line of a batch has no headers). Texts are in a, with p NULL where there is nothing. 0, or -ERR_WRONG_TYPE or -ERR_OUT_OF_RANGE with the
 * pointer into the body. */
int attribution_read(const struct http_req *h, const struct face_request *r, struct arena *a, struct str *ret_metadata, struct str *ret_user,
                     struct err *err);

#endif
