/* SPDX-License-Identifier: Apache-2.0 */
/* Prices are nano-dollars per million tokens, so a product needs up to 128 bits before it is divided. */
#include "worker/execution/cost.h"

#define MILLION 1000000

static bool add(__int128 *sum, int64_t tokens, int64_t price)
{
	if (tokens <= 0)
		return true;
	if (price < 0)
		return false;
	*sum += (__int128)tokens * price;
	return true;
}

int64_t cost_of(const struct usage *u, const struct conf_price *p)
{
	int64_t input = MAX(u->input, 0), cached = MIN(MAX(u->cached_input, 0), input), written = MIN(MAX(u->cache_write, 0), input - cached);
	__int128 sum = 0;
	if (!add(&sum, input - cached - written, p->input) || !add(&sum, cached, p->cached_input >= 0 ? p->cached_input : p->input) ||
	    !add(&sum, written, p->cache_write >= 0 ? p->cache_write : p->input) || !add(&sum, u->output, p->output))
		return -1;
	sum = (sum + MILLION / 2) / MILLION;
	return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

int64_t cost_add(int64_t a, int64_t b)
{
	int64_t sum;
	if (a < 0 || b < 0)
		return -1;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

int64_t cost_tokens_of_bytes(int64_t bytes)
{
	if (bytes <= 0)
		return 0;
	if (bytes > INT64_MAX / 11 - 40)
		bytes = INT64_MAX / 11 - 40;
	return (bytes * 11 + 39) / 40;
}
