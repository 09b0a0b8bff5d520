/* SPDX-License-Identifier: Apache-2.0 */
/* The wire formats by name. */
#include "worker/providers/provider.h"

#include "worker/providers/anthropic.h"
#include "worker/providers/bedrock.h"
#include "worker/providers/gemini.h"
#include "worker/providers/openai.h"

static const struct provider *const all[] = { &provider_openai, &provider_anthropic, &provider_bedrock, &provider_gemini };

void provider_say(struct provider_result *r, enum err_code class, struct str message, struct arena *a)
{
	r->class = class;
	if (message.n)
		r->message = arena_str(a, str_utf8_prefix(message, PROVIDER_MESSAGE_MAX));
}

const struct provider *provider_find(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (str_eq_z(name, all[i]->name))
			return all[i];
	return NULL;
}
