/* SPDX-License-Identifier: Apache-2.0 */
/* What providers say about when to come back and how much is left, in headers and bodies. Pure; negative, huge and garbled values are no hint. */
#ifndef MR_WORKER_PROVIDERS_HINTS_H
#define MR_WORKER_PROVIDERS_HINTS_H

#include "common/http/http_types.h"
#include "common/json.h"

/* Milliseconds until the provider wants to be asked again, or -1: retry-after-ms, x-ms-retry-after-ms, retry-after (seconds or a date),
 * x-ratelimit-reset-* and anthropic-ratelimit-*-reset where nothing remains. Times count from the answer's own Date. At most a year. */
int64_t retry_hint_ms(const struct http_header *h, size_t n, int64_t now_wall_us);

/* What the body of a failure says of it, or -1: google.rpc.RetryInfo, then "Please retry in 12.3s" and its like in the message; also in a list of one. */
int64_t retry_hint_body_ms(const json_t *body);

/* A duration as OpenAI writes it: 1s, 6m0s, 20ms, 1h2m3s; Google's "34.07s". -1 when it is none. */
int64_t reset_duration_ms(struct str s);

/* x-should-retry, which OpenAI and Anthropic send: 1, 0, or -1 when absent or neither. */
int should_retry_read(const struct http_header *h, size_t n);

/* What the rate-limit headers said, -1 where nothing. A limit of 0 or less is none (Azure sends -1 and 0). */
struct limit_headers {
	int64_t requests_limit, requests_remaining, requests_reset_ms;
	int64_t tokens_limit, tokens_remaining, tokens_reset_ms;
	int64_t input_limit, input_remaining, input_reset_ms;   /* Anthropic counts input and output tokens apart, too */
	int64_t output_limit, output_remaining, output_reset_ms;
};
/* False when there was none. */
bool limit_headers_read(struct limit_headers *ret, const struct http_header *h, size_t n, int64_t now_wall_us);

#endif
