/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a failed answer means, for every provider: from the provider's code, then the status, then (only where these do not decide) the text. The text of
 * an answer may echo the prompt, so words in it never overrule a code or a status that is clear. Pure; the result is never ERR_OK.
 */
#ifndef MR_WORKER_PROVIDERS_CLASSIFY_H
#define MR_WORKER_PROVIDERS_CLASSIFY_H

#include "common/arena.h"
#include "common/err.h"
#include "common/http/http_types.h"
#include "common/json.h"

struct failure {
	int status;         /* HTTP; 0 or 200: it came inside an answer that had begun well */
	struct str code;    /* error.code as text */
	struct str type;    /* error.type or error.status; the name of Bedrock's exception */
	struct str reason;  /* a further code: Azure's innererror, Google's ErrorInfo, Anthropic's details */
	struct str message;
	struct str param;
	bool of_a_day;      /* the quota that is used up is one of a day */
};

enum err_code classify(const struct failure *f);

/* Finds all but the status in the forms that providers and compatible servers use, also in a list of one. Any JSON will do. Borrowed from body, except a
 * numeric code: made in a. */
void failure_read(struct failure *f, const json_t *body, struct arena *a);

#endif
