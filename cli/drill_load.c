/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a drill asks for. Beyond the operator's limits jobs wait for these, and a drill would show that instead of the outage: so each
 * route gets no more than its narrowest target, and all together no more than the tenant, may have in the time of the load. A fresh fleet's
 * limits start empty, so that a minute's limit gives a sixtieth of itself each second.
 */
#include "cli/drill.h"

#define SHARE_PERCENT 60  /* of a limit: retries and fallbacks need room, too */
#define JOB_TOKENS    620 /* of a mean job, its estimated answer included */
#define ANSWER_TOKENS 100
#define JOB_MS        250
#define TENANT        "default"
#define ROUTE_LEAST   4

/* How many jobs fit into a minute; INT64_MAX: any number. */
static int64_t jobs_per_minute(const struct conf_limits *l, int64_t permille)
{
	const struct {
		int64_t limit, per_job;
	} parts[] = { { l->requests, 1 }, { l->tokens, JOB_TOKENS }, { l->input_tokens, JOB_TOKENS }, { l->output_tokens, ANSWER_TOKENS } };
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (parts[i].limit)
			least = MIN(least, (int64_t)((__int128)parts[i].limit * permille / 1000 / parts[i].per_job));
	if (l->concurrency)
		least = MIN(least, MAX(l->concurrency * permille / 1000, (int64_t)1) * (60000 / JOB_MS));
	return least;
}

static int64_t share(int64_t per_minute, int64_t load_ms)
{
	return per_minute > INT64_MAX / 600000 ? INT64_MAX : per_minute * load_ms / 60000 * SHARE_PERCENT / 100;
}

static int64_t route_share(const struct conf_route *r, int64_t load_ms)
{
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < r->ntargets; i++)
		least = MIN(least, jobs_per_minute(&r->targets[i]->limits, r->targets[i]->headroom_permille));
	return MAX(share(least, load_ms), (int64_t)ROUTE_LEAST);
}

static int64_t tenant_share(const struct conf *c, int64_t load_ms)
{
	const struct conf_tier *tiers[] = { conf_tier_find(c, SCOPE_TENANT, STR(TENANT)), conf_tier_find(c, SCOPE_KEY, STR("*")),
		                            conf_tier_find(c, SCOPE_GLOBAL, STR("*")) };
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(tiers); i++) {
		if (!tiers[i])
			continue;
		least = MIN(least, share(jobs_per_minute(&tiers[i]->limits, 1000), load_ms));
		if (tiers[i]->submit)
			least = MIN(least, share(tiers[i]->submit, load_ms));
		if (tiers[i]->max_depth)
			least = MIN(least, tiers[i]->max_depth);
	}
	return least;
}

/* What one route cannot take goes to the others. */
void drill_load_plan(struct drill_load *l, const struct conf *c, struct arena *a)
{
	int64_t left = MIN((int64_t)l->jobs, tenant_share(c, l->load_ms));
	l->of_route = arena_array(a, size_t, c->nroutes + 1);
	l->n = 0;
	for (bool more = true; more && left > 0;) {
		more = false;
		for (size_t i = 0; i < c->nroutes && left > 0; i++) {
			if ((int64_t)l->of_route[i] >= route_share(&c->routes[i], l->load_ms))
				continue;
			l->of_route[i]++;
			left--;
			more = true;
		}
	}
	for (size_t i = 0; i < c->nroutes; i++) {
		l->of_route[i] = MAX(l->of_route[i], (size_t)ROUTE_LEAST);
		l->n += l->of_route[i];
	}
}
