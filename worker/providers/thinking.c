/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that came in Anthropic's form keep its field `thinking`; to the other providers it is told in their terms. */
#include "worker/providers/thinking.h"

#define MEDIUM_TOKENS 4096
#define HIGH_TOKENS   16384

struct str thinking_effort(const json_t *request)
{
	const json_t *thinking = json_get(request, "thinking");
	struct str effort = json_str(request, "reasoning_effort"), type = json_str(thinking, "type");
	int64_t budget = json_i64(thinking, "budget_tokens", 0);
	if (effort.n)
		return effort;
	if (str_eq_z(type, "disabled"))
		return STR("none");
	if (!str_eq_z(type, "enabled"))
		return STR("");
	return budget < MEDIUM_TOKENS ? STR("low") : budget < HIGH_TOKENS ? STR("medium") : STR("high");
}
