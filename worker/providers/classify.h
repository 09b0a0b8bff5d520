/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a failed answer means: from the provider's code, then the status, then (only where these do not decide) the text. The text of
 * an answer may echo the prompt, so words in it never overrule a code or a status that is clear.
 */
#ifndef MR_WORKER_PROVIDERS_CLASSIFY_H
#define MR_WORKER_PROVIDERS_CLASSIFY_H

#include "common/arena.h"
#include "common/err.h"
#include "common/http_types.h"
#include "common/json.h"

struct failure {
	int status;         /* HTTP; 0 or 200: it came inside an answer that had begun well */
	struct str code;    /* error.code as text */
	struct str type;    /* error.type or error.status */
	struct str message;
	struct str param;
};

enum err_code classify(const struct failure *f);

/* Finds code, type, message and param in the forms that compatible servers use. Borrowed from body, except a numeric code: made in a. */
void failure_read(struct failure *f, const json_t *body, struct arena *a);

/* Milliseconds until the provider wants to be asked again, or -1: retry-after-ms, x-ms-retry-after-ms, retry-after (seconds or a date, by the answer's
 * own Date), x-ratelimit-reset-* where nothing remains. At most a year. */
int64_t retry_hint_ms(const struct http_header *h, size_t n, int64_t now_wall_us);

/* A duration as OpenAI writes it: 1s, 6m0s, 20ms, 1h2m3s. -1 when it is none. */
int64_t reset_duration_ms(struct str s);

#endif
