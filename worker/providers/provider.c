/* SPDX-License-Identifier: Apache-2.0 */
/* The wire formats by name. */
#include "worker/providers/provider.h"

#include "worker/providers/anthropic.h"
#include "worker/providers/bedrock.h"
#include "worker/providers/gemini.h"
#include "worker/providers/openai.h"

static const struct provider *const all[] = { &provider_openai, &provider_anthropic, &provider_bedrock, &provider_gemini };

const struct provider *provider_find(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (str_eq_z(name, all[i]->name))
			return all[i];
	return NULL;
}
