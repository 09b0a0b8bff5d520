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

#endif
