/* SPDX-License-Identifier: Apache-2.0 */
/* The records of common/provider_record.def: which wire format a provider speaks, what it can take, and where it differs. */
#ifndef MR_COMMON_PROVIDER_RECORD_H
#define MR_COMMON_PROVIDER_RECORD_H

#include "common/str.h"

enum provider_quirk {
	QUIRK_NONE = 0,
	QUIRK_AZURE = 1 << 0,             /* {base}/openai/deployments/{model}/…?api-version=, api-key header (provider-side documentation: Azure OpenAI REST) */
	QUIRK_MAX_TOKENS = 1 << 1,        /* knows max_tokens, not max_completion_tokens */
	QUIRK_NO_STREAM_OPTIONS = 1 << 2, /* sends usage in the last chunk by itself and refuses stream_options */
	QUIRK_ANY_FOR_REQUIRED = 1 << 3,  /* tool_choice "any" where OpenAI says "required" */
	QUIRK_NO_DEVELOPER = 1 << 4,      /* role system in place of developer */
	QUIRK_RANDOM_SEED = 1 << 5,       /* random_seed in place of seed */
	QUIRK_PROMPT_MARKS = 1 << 6,      /* the prompt cache needs marks */
	QUIRK_TRUNCATES = 1 << 7,         /* cuts a long prompt silently: compare prompt_tokens with the estimate */
};

struct provider_record {
	const char *name, *adapter, *base_url, *doc;
	uint32_t can, quirks;
};

extern const struct provider_record provider_records[];
extern const size_t provider_records_n;

/* NULL: no such name. */
const struct provider_record *provider_record_find(struct str name);

#endif
