/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound: every byte a token, the dearest kind of input
 * token, the longest answer (the request's limit, else the target's), and the dearest of all targets that the route can come to: its rules', its fallbacks'
 * and its simple model, too. Where a price or a longest answer is not known there is no bound, and the reason says which.
 */
#include "api/batches/batch_cost.h"

#define BYTES_AT_LEAST 1000 /* in thousandths: byte-level vocabularies have no shorter token */

struct bounds {
	int64_t input, output; /* tokens; output 0: the request has no limit */
	int64_t choices;
	bool has_output;
	struct batch_cost *ret;
};

static void add_target(struct bounds *b, const struct conf_target *t)
{
	const struct conf_price *p = &t->price;
	int64_t output = b->output ? b->output : t->max_output_tokens;
	if (b->ret->unknown)
		return;
	if (p->input < 0 || (b->has_output && p->output < 0))
		b->ret->unknown = "a target of the route has no price: a batch with a cost cap needs all prices";
	else if (b->has_output && output == 0)
		b->ret->unknown = "the answer has no limit: set max_completion_tokens, or max_output_tokens of the target, in a batch with a cost cap";
	if (b->ret->unknown)
		return;
	int64_t dearest = MAX(p->input, MAX(p->cached_input, p->cache_write)), all = 0;
	if (b->has_output && __builtin_mul_overflow(output, b->choices, &all))
		all = INT64_MAX;
	b->ret->call_nanousd = MAX(b->ret->call_nanousd, estimate_cost(b->input, dearest, all, MAX(p->output, (int64_t)0)));
}

static void add_choice(struct bounds *b, const struct conf_choice *c)
{
	for (size_t i = 0; i < c->ntargets; i++)
		add_target(b, c->targets[i]);
}

static void add_route(struct bounds *b, const struct conf_route *route)
{
	add_choice(b, &route->main);
	for (size_t i = 0; i < route->nrules; i++)
		add_choice(b, &route->rules[i].use);
	add_choice(b, &route->context_window);
	add_choice(b, &route->content_policy);
	if (route->simple_model)
		add_target(b, route->simple_model);
}

void batch_cost_reckon(const struct conf_route *route, const struct request_facts *f, const json_t *request, bool embeddings, struct batch_cost *ret)
{
	int64_t choices = MAX((int64_t)1, json_i64(request, "n", 1));
	const struct estimate likely = estimate_job(route, f, request, embeddings);
	*ret = (struct batch_cost){ .input_tokens = likely.input_tokens, .estimate_nanousd = likely.nanousd };
	struct bounds b = {
		.input = request_facts_tokens(f, BYTES_AT_LEAST), .output = f->max_output, .choices = choices, .has_output = !embeddings, .ret = ret
	};
	add_route(&b, route);
	if (ret->unknown)
		ret->call_nanousd = -1;
}
