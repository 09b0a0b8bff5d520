/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `routes` of the configuration's file: which targets serve a request, how one of them is chosen, by which rules, and
 * what is served when none can. Targets and tiers are read before, because routes name them. Here is also how a route
 * is found by a job's `route`: by its own name, by the name of one target, or by a bare model name.
 *
 * A rung of the ladder without what it serves, or the other way round, is a mistake: what was meant would not happen.
 */
#include <string.h>

#include "common/conf_private.h"
#include "common/nearest.h"

#define MODEL_NAME_MAX 200
#define RULES_MAX      1000
#define ANSWERS_MAX    1000
#define WEIGHT_MAX     1000000
#define DAY_MS         INT64_C(86400000)
#define TTL_MS         INT64_C(3600000)
#define SHORTEN_FLOOR  64

static const struct conf_route defaults = { .cache_ttl_ms = TTL_MS, .shorten_floor = SHORTEN_FLOOR, .affinity = true };

/* --- choices --- */

static const struct conf_target *find_target(struct conf_reader *r, const struct conf_path *at, struct str name)
{
	struct nearest n;
	nearest_init(&n, name);
	for (size_t i = 0; i < r->c->ntargets; i++) {
		if (str_eq(r->c->targets[i].name, name))
			return &r->c->targets[i];
		nearest_try(&n, r->c->targets[i].name);
	}
	conf_unknown_word(r, at, "target", name, &n);
	return NULL;
}

static void read_target_name(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	const struct conf_target **ret = target;
	if (conf_is_type(r, at, v, JSON_STRING, "a target's name"))
		*ret = find_target(r, at, json_str_of(v));
}

static void read_weight(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	conf_read_int(r, at, v, 1, WEIGHT_MAX, target);
}

/* "name" or {"target": "name", "weight": 3}. */
static void add_target(struct conf_reader *r, const struct conf_path *at, json_t *v, struct conf_choice *choice)
{
	struct entry {
		const struct conf_target *target;
		int64_t weight;
	} e = { NULL, 1 };
	static const struct conf_member members[] = {
		{ "target", read_target_name, offsetof(struct entry, target) },
		{ "weight", read_weight, offsetof(struct entry, weight) },
	};
	if (json_is_object(v)) {
		conf_read_members(r, at, v, members, ARRAY_LEN(members), &e);
		conf_need(r, at, "target", json_get(v, "target") != NULL);
	} else {
		read_target_name(r, at, v, &e.target);
	}
	for (size_t i = 0; e.target && i < choice->ntargets; i++)
		if (choice->targets[i] == e.target)
			conf_mistake_add(r, at, "\"" STR_FMT "\" stands in the list twice", STR_ARG(e.target->name));
	if (!e.target)
		return;
	choice->targets[choice->ntargets] = e.target;
	choice->weights[choice->ntargets++] = e.weight;
}

static void read_targets(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_choice *choice = target;
	if (!conf_is_type(r, at, v, JSON_ARRAY, "a list of target names"))
		return;
	size_t n = json_array_size(v);
	if (n == 0)
		conf_mistake_add(r, at, "is empty: it needs at least one target");
	if (n > CONF_CHOICE_MAX) {
		conf_mistake_add(r, at, "has %zu targets: wanted at most %d", n, CONF_CHOICE_MAX);
		return;
	}
	choice->targets = arena_array(&r->c->arena, const struct conf_target *, n + 1);
	choice->weights = arena_array(&r->c->arena, int64_t, n + 1);
	for (size_t i = 0; i < n; i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		add_target(r, &down, json_array_get(v, i), choice);
	}
}

static void read_choose(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const char *const words[] = { [CHOOSE_ORDERED] = "ordered",
		                             [CHOOSE_WEIGHTED] = "weighted",
		                             [CHOOSE_LEAST_COST] = "least_cost",
		                             [CHOOSE_LEAST_LATENCY] = "least_latency",
		                             [CHOOSE_LEAST_BUSY] = "least_busy" };
	int i;
	if (conf_read_choice(r, at, v, words, ARRAY_LEN(words), &i))
		((struct conf_choice *)target)->choose = (enum conf_choose)i;
}

/* --- rules --- */

struct range {
	int64_t min, max;
};

/* Both ends belong to it; what is not given stays. */
static void read_range(struct conf_reader *r, const struct conf_path *at, json_t *v, int64_t max, struct range *ret)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object with min and max"))
		return;
	const char *key;
	json_t *end;
	json_object_foreach(v, key, end)
	{
		const struct conf_path down = { at, str_from(key) };
		struct nearest n;
		nearest_init(&n, down.key);
		nearest_try(&n, STR("min"));
		nearest_try(&n, STR("max"));
		if (strcmp(key, "min") == 0)
			conf_read_int(r, &down, end, 0, max, &ret->min);
		else if (strcmp(key, "max") == 0)
			conf_read_int(r, &down, end, 0, max, &ret->max);
		else
			conf_unknown_key(r, &down, &n);
	}
	if (ret->min > ret->max)
		conf_mistake_add(r, at, "min (%lld) is more than max (%lld)", (long long)ret->min,
		                 (long long)ret->max);
}

static void read_input_tokens(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	struct range range = { rule->input_min, rule->input_max };
	read_range(r, at, v, CONF_COUNT_MAX, &range);
	rule->input_min = range.min;
	rule->input_max = range.max;
}

static void read_complexity(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	struct range range = { rule->complexity_min, rule->complexity_max };
	read_range(r, at, v, 100, &range);
	rule->complexity_min = (int)range.min;
	rule->complexity_max = (int)range.max;
}

static void read_metadata(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of names and values"))
		return;
	rule->metadata = arena_array(&r->c->arena, struct conf_header, json_object_size(v) + 1);
	const char *key;
	json_t *value;
	json_object_foreach(v, key, value)
	{
		const struct conf_path down = { at, str_from(key) };
		struct conf_header *h = &rule->metadata[rule->nmetadata];
		if (!conf_is_type(r, &down, value, JSON_STRING, "text"))
			continue;
		h->name = arena_str(&r->c->arena, down.key);
		h->value = arena_str(&r->c->arena, json_str_of(value));
		rule->nmetadata++;
	}
}

static void read_users(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	if (conf_read_list(r, at, v, "a user", &rule->users, &rule->nusers) && json_array_size(v) == 0)
		conf_mistake_add(r, at, "is empty: the rule would never hold; leave it out to ask for no user");
}

static void read_tiers(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	if (!conf_read_list(r, at, v, "a tier's name", &rule->tiers, &rule->ntiers))
		return;
	if (json_array_size(v) == 0)
		conf_mistake_add(r, at, "is empty: the rule would never hold; leave it out to ask for no tier");
	for (size_t i = 0; i < json_array_size(v); i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		if (json_is_string(json_array_get(v, i)))
			conf_tier_named(r, &down, json_str_of(json_array_get(v, i)));
	}
}

static void read_places(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_rule *rule = target;
	if (conf_read_list(r, at, v, "a target's place", &rule->places, &rule->nplaces) && json_array_size(v) == 0)
		conf_mistake_add(r, at, "is empty: no target would serve; leave it out to allow any place");
}

bool conf_rule_allows(const struct conf_rule *rule, const struct conf_target *t)
{
	for (size_t i = 0; rule && i < rule->nplaces; i++)
		if (str_eq(rule->places[i], t->place))
			return true;
	return !rule || rule->nplaces == 0;
}

/* The route's targets serve a rule that says only where; and one of them at least is there. */
static void check_places(struct conf_reader *r, const struct conf_path *at, const struct conf_route *route)
{
	const struct conf_path rules = { at, STR("rules") };
	for (size_t i = 0; i < route->nrules; i++) {
		struct conf_rule *rule = &route->rules[i];
		const struct conf_path one = conf_path_at(r, &rules, i), places = { &one, STR("places") };
		bool any = false;
		if (rule->use.ntargets == 0 && rule->nplaces > 0) {
			enum conf_choose choose = rule->chooses ? rule->use.choose : route->main.choose;
			rule->use = route->main;
			rule->use.choose = choose;
		}
		for (size_t k = 0; k < rule->use.ntargets; k++)
			any |= conf_rule_allows(rule, rule->use.targets[k]);
		if (rule->use.ntargets > 0 && !any)
			conf_mistake_add(r, &places, "holds the place of no target of the rule");
	}
}

static void read_latency(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const char *const words[] = { "interactive", "batch" };
	conf_read_choice(r, at, v, words, ARRAY_LEN(words), target);
}

static void read_when(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "metadata", read_metadata, 0 },
		{ "users", read_users, 0 },
		{ "tiers", read_tiers, 0 },
		{ "input_tokens", read_input_tokens, 0 },
		{ "complexity", read_complexity, 0 },
		{ "needs", conf_read_needs, offsetof(struct conf_rule, needs) },
		{ "needs_not", conf_read_needs, offsetof(struct conf_rule, needs_not) },
		{ "latency", read_latency, offsetof(struct conf_rule, latency) },
	};
	struct conf_rule *rule = target;
	conf_read_members(r, at, v, members, ARRAY_LEN(members), rule);
	const struct conf_path not = { at, STR("needs_not") };
	if (rule->needs & rule->needs_not)
		conf_mistake_add(r, &not, "names what \"needs\" names, too");
}

static void read_rules(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "name", conf_read_text, offsetof(struct conf_rule, name) },
		{ "when", read_when, 0 },
		{ "targets", read_targets, offsetof(struct conf_rule, use) },
		{ "choose", read_choose, offsetof(struct conf_rule, use) },
		{ "places", read_places, 0 },
	};
	struct conf_route *route = target;
	if (!conf_is_type(r, at, v, JSON_ARRAY, "a list of rules"))
		return;
	if (json_array_size(v) > RULES_MAX) {
		conf_mistake_add(r, at, "has %zu rules: wanted at most %d", json_array_size(v), RULES_MAX);
		return;
	}
	route->rules = arena_array(&r->c->arena, struct conf_rule, json_array_size(v) + 1);
	for (size_t i = 0; i < json_array_size(v); i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		json_t *member = json_array_get(v, i);
		struct conf_rule *rule = &route->rules[route->nrules++];
		*rule = (struct conf_rule){ .input_max = INT64_MAX, .complexity_max = 100, .latency = -1 };
		conf_read_members(r, &down, member, members, ARRAY_LEN(members), rule);
		if (!json_is_object(member))
			continue;
		conf_need(r, &down, "when", json_get(member, "when") != NULL);
		conf_need(r, &down, "targets", json_get(member, "targets") || json_get(member, "places"));
		rule->chooses = json_get(member, "choose") != NULL;
	}
}

/* --- caches, limits, the ladder --- */

const char *const conf_rung_words[RUNG_COUNT] = {
	[RUNG_STALE_CACHE] = "stale_cache",
	[RUNG_SIMPLE_MODEL] = "simple_model",
	[RUNG_STATIC] = "static",
};
const char *const conf_on_limit_words[3] = {
	[ON_LIMIT_QUEUE] = "queue",
	[ON_LIMIT_SHORTEN] = "shorten",
	[ON_LIMIT_FALLBACK] = "fallback",
};
const char *const conf_cache_mode_words[2] = { [CACHE_OFF] = "off", [CACHE_EXACT] = "exact" };

static void read_cache_mode(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	int i;
	if (conf_read_choice(r, at, v, conf_cache_mode_words, ARRAY_LEN(conf_cache_mode_words), &i))
		*(enum conf_cache_mode *)target = (enum conf_cache_mode)i;
}

static void read_ttl(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	conf_read_duration(r, at, v, 1000, 30 * DAY_MS, "1s to 30d", target);
}

static void read_cache(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "mode", read_cache_mode, offsetof(struct conf_route, cache_mode) },
		{ "ttl", read_ttl, offsetof(struct conf_route, cache_ttl_ms) },
		{ "namespace", conf_read_text, offsetof(struct conf_route, cache_namespace) },
	};
	conf_read_members(r, at, v, members, ARRAY_LEN(members), target);
}

static void read_on_limit(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	int i;
	if (conf_read_choice(r, at, v, conf_on_limit_words, ARRAY_LEN(conf_on_limit_words), &i))
		*(enum conf_on_limit *)target = (enum conf_on_limit)i;
}

static void read_ladder_after(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	conf_read_duration(r, at, v, 0, 30 * DAY_MS, "0s to 30d", target);
}

static void read_ladder(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_route *route = target;
	if (!conf_is_type(r, at, v, JSON_ARRAY, "a list of rungs"))
		return;
	bool seen[RUNG_COUNT] = { false };
	for (size_t i = 0; i < json_array_size(v); i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		int rung;
		if (!conf_read_choice(r, &down, json_array_get(v, i), conf_rung_words, ARRAY_LEN(conf_rung_words), &rung))
			continue;
		if (seen[rung])
			conf_mistake_add(r, &down, "\"%s\" stands in the list twice", conf_rung_words[rung]);
		else
			route->ladder[route->nladder++] = (enum conf_rung)rung;
		seen[rung] = true;
	}
}

static void read_static(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "match", conf_read_text, offsetof(struct conf_static, match) },
		{ "text", conf_read_text, offsetof(struct conf_static, text) },
	};
	struct conf_route *route = target;
	size_t n = json_is_array(v) ? json_array_size(v) : 1;
	if (!json_is_array(v) && !conf_is_type(r, at, v, JSON_STRING, "text, or a list of answers"))
		return;
	if (n == 0 || n > ANSWERS_MAX || (json_is_string(v) && json_str_of(v).n == 0)) {
		conf_mistake_add(r, at, "wanted text that is not empty, or 1 to %d answers", ANSWERS_MAX);
		return;
	}
	route->answers = arena_array(&r->c->arena, struct conf_static, n);
	if (json_is_string(v))
		conf_read_text(r, at, v, &route->answers[route->nanswers++].text);
	bool other = false;
	for (size_t i = 0; json_is_array(v) && i < n; i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		struct conf_static *answer = &route->answers[route->nanswers++];
		conf_read_members(r, &down, json_array_get(v, i), members, ARRAY_LEN(members), answer);
		if (!json_is_object(json_array_get(v, i)))
			continue;
		conf_need(r, &down, "text", answer->text.n > 0);
		if (answer->match.n == 0 && other)
			conf_mistake_add(r, &down, "only one answer can be without words to match");
		other = other || answer->match.n == 0;
	}
}

/* --- routes --- */

static bool has_rung(const struct conf_route *route, enum conf_rung rung)
{
	for (size_t i = 0; i < route->nladder; i++)
		if (route->ladder[i] == rung)
			return true;
	return false;
}

static void check_rung(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *name, bool rung)
{
	const struct conf_path down = { at, str_from(name) };
	if (rung && !json_get(v, name))
		conf_mistake_add(r, &down, "is missing: the ladder has the rung \"%s\"", name);
	if (!rung && json_get(v, name))
		conf_mistake_add(r, &down, "is never served: the ladder has no rung \"%s\"", name);
}

static void read_route(struct conf_reader *r, const struct conf_path *at, json_t *v, struct conf_route *route)
{
	static const struct conf_member members[] = {
		{ "targets", read_targets, offsetof(struct conf_route, main) },
		{ "choose", read_choose, offsetof(struct conf_route, main) },
		{ "rules", read_rules, 0 },
		{ "context_window", read_targets, offsetof(struct conf_route, context_window) },
		{ "content_policy", read_targets, offsetof(struct conf_route, content_policy) },
		{ "fallback_on_bad_request", conf_read_flag, offsetof(struct conf_route, fallback_on_bad_request) },
		{ "cache", read_cache, 0 },
		{ "affinity", conf_read_flag, offsetof(struct conf_route, affinity) },
		{ "on_limit", read_on_limit, offsetof(struct conf_route, on_limit) },
		{ "shorten_floor", conf_read_count, offsetof(struct conf_route, shorten_floor) },
		{ "accept_partial", conf_read_flag, offsetof(struct conf_route, accept_partial) },
		{ "ladder", read_ladder, 0 },
		{ "ladder_after", read_ladder_after, offsetof(struct conf_route, ladder_after_ms) },
		{ "simple_model", read_target_name, offsetof(struct conf_route, simple_model) },
		{ "static", read_static, 0 },
	};
	*route = defaults;
	route->name = arena_str(&r->c->arena, at->key);
	conf_read_members(r, at, v, members, ARRAY_LEN(members), route);
	route->targets = route->main.targets;
	route->ntargets = route->main.ntargets;
	if (!json_is_object(v))
		return;
	conf_need(r, at, "targets", json_get(v, "targets") != NULL);
	check_places(r, at, route);
	check_rung(r, at, v, "simple_model", has_rung(route, RUNG_SIMPLE_MODEL));
	check_rung(r, at, v, "static", has_rung(route, RUNG_STATIC));
	/* One front on all requests would send them all to one target, whatever the weights. */
	if (route->main.choose == CHOOSE_WEIGHTED && !json_get(v, "affinity"))
		route->affinity = false;
}

void conf_read_routes(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of routes by name"))
		return;
	r->c->routes = arena_array(&r->c->arena, struct conf_route, json_object_size(v) + 1);
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		if (conf_is_name(r, &down))
			read_route(r, &down, member, &r->c->routes[r->c->nroutes++]);
	}
}

/* --- by name --- */

static const struct conf_route *route_of_one(struct arena *a, struct str name, const struct conf_target *target)
{
	struct conf_route *route = arena_new(a, struct conf_route);
	*route = defaults;
	route->name = arena_str(a, name);
	route->main.targets = arena_array(a, const struct conf_target *, 1);
	route->main.targets[0] = target;
	route->main.weights = arena_array(a, int64_t, 1);
	route->main.weights[0] = 1;
	route->main.ntargets = 1;
	route->targets = route->main.targets;
	route->ntargets = route->main.ntargets;
	return route;
}

static bool is_model_name(struct str name)
{
	if (name.n == 0 || name.n > MODEL_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~')
			return false;
	return true;
}

const struct conf_route *conf_route_find(const struct conf *c, struct arena *a, struct str name)
{
	for (size_t i = 0; i < c->nroutes; i++)
		if (str_eq(c->routes[i].name, name))
			return &c->routes[i];
	for (size_t i = 0; i < c->ntargets; i++)
		if (str_eq(c->targets[i].name, name))
			return route_of_one(a, name, &c->targets[i]);
	if (!c->any_model || !is_model_name(name))
		return NULL;
	struct conf_target *target = arena_new(a, struct conf_target);
	*target = *c->any_model;
	target->model = arena_str(a, name);
	target->name = arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(target->provider), STR_ARG(name));
	return route_of_one(a, name, target);
}
