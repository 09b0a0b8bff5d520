/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 (AWS: "Create a signed AWS API request") for a call of the HTTP client; services other than s3. libcurl has it too, but its 7.88
 * signs a path without encoding it once more (Bedrock's model ids have colons) and signs header lines that are not sent.
 */
#ifndef MR_COMMON_HTTP_HTTP_SIGV4_H
#define MR_COMMON_HTTP_HTTP_SIGV4_H

#include "common/http/http_client.h"

#define HTTP_SIGV4_HEADERS 3

/* 0, or -ERR_INVALID: the keys or the scope have another form, or the URL has a query. */
int http_sigv4_check(const struct http_call *c, struct err *err);

/* The headers to send besides the call's own: Host, X-Amz-Date, Authorization. The call was checked. Their values live in text (the caller inits and frees it). */
void http_sigv4_sign(const struct http_call *c, int64_t now_wall_us, struct buf *text, struct http_header ret[HTTP_SIGV4_HEADERS]);

#endif
