/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four bytes a token and 10 % on top (request_facts_tokens), at the price of the first target that the route would ask; as many output tokens as the
 * request allows, for each of its choices.
 */
#include "api/jobs/estimate.h"

#define MILLION         1000000
#define BYTES_PER_TOKEN 4000 /* in thousandths */

int64_t estimate_cost(int64_t input, int64_t input_price, int64_t output, int64_t output_price)
{
	__int128 sum = (__int128)input * input_price + (__int128)output * output_price;
	sum = (sum + MILLION - 1) / MILLION;
	return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

struct estimate estimate_job(const struct conf_route *route, const struct request_facts *f, const json_t *request, bool embeddings)
{
	int64_t choices = MAX((int64_t)1, json_i64(request, "n", 1)), output = 0;
	struct estimate e = { .input_tokens = request_facts_tokens(f, BYTES_PER_TOKEN), .nanousd = -1 };
	if (route->main.ntargets == 0)
		return e;
	const struct conf_price *price = &route->main.targets[0]->price;
	if (!embeddings && __builtin_mul_overflow(f->max_output > 0 ? f->max_output : ESTIMATE_OUTPUT, choices, &output))
		output = INT64_MAX;
	if (price->input >= 0 && (output == 0 || price->output >= 0))
		e.nanousd = estimate_cost(e.input_tokens, price->input, output, MAX(price->output, (int64_t)0));
	return e;
}
