/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may use how much: `tiers` are named sets of limits, `rates` says which tier a tenant, key, user, feature or the
 * whole installation is of. Tiers are read first, because rates (and the rules of routes) name them.
 *
 * There may be many thousand names, asked for with each job: each scope's are sorted here and found by halving.
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf_private.h"
#include "common/nearest.h"

static void read_tier(struct conf_reader *r, const struct conf_path *at, json_t *v, struct conf_tier *tier)
{
	static const struct conf_member members[] = {
		{ "requests", conf_read_count, offsetof(struct conf_tier, limits.requests) },
		{ "tokens", conf_read_count, offsetof(struct conf_tier, limits.tokens) },
		{ "input_tokens", conf_read_count, offsetof(struct conf_tier, limits.input_tokens) },
		{ "output_tokens", conf_read_count, offsetof(struct conf_tier, limits.output_tokens) },
		{ "concurrency", conf_read_count, offsetof(struct conf_tier, limits.concurrency) },
		{ "submit", conf_read_count, offsetof(struct conf_tier, submit) },
		{ "max_depth", conf_read_count, offsetof(struct conf_tier, max_depth) },
	};
	tier->name = arena_str(&r->c->arena, at->key);
	conf_read_members(r, at, v, members, ARRAY_LEN(members), tier);
}

void conf_read_tiers(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of tiers by name"))
		return;
	r->c->tiers = arena_array(&r->c->arena, struct conf_tier, json_object_size(v) + 1);
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		if (conf_is_name(r, &down))
			read_tier(r, &down, member, &r->c->tiers[r->c->ntiers++]);
	}
}

const struct conf_tier *conf_tier_named(struct conf_reader *r, const struct conf_path *at, struct str name)
{
	struct nearest n;
	nearest_init(&n, name);
	for (size_t i = 0; i < r->c->ntiers; i++) {
		if (str_eq(r->c->tiers[i].name, name))
			return &r->c->tiers[i];
		nearest_try(&n, r->c->tiers[i].name);
	}
	conf_unknown_word(r, at, "tier", name, &n);
	return NULL;
}

/* --- rates --- */

static int compare(const void *a, const void *b)
{
	struct str x = ((const struct conf_tier_of *)a)->name, y = ((const struct conf_tier_of *)b)->name;
	int d = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
	return d ? d : (x.n > y.n) - (x.n < y.n);
}

static void add(struct conf_reader *r, const struct conf_path *at, enum conf_scope scope, struct str name,
                const json_t *v)
{
	if (!conf_is_type(r, at, v, JSON_STRING, "a tier's name"))
		return;
	const struct conf_tier *tier = conf_tier_named(r, at, json_str_of(v));
	if (tier)
		r->c->tier_of[scope][r->c->ntier_of[scope]++] =
		    (struct conf_tier_of){ arena_str(&r->c->arena, name), tier };
}

static void read_scope(struct conf_reader *r, const struct conf_path *at, json_t *v, enum conf_scope scope)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of tiers by name (\"*\" for all others)"))
		return;
	r->c->tier_of[scope] = arena_array(&r->c->arena, struct conf_tier_of, json_object_size(v) + 1);
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		if (down.key.n == 0)
			conf_mistake_add(r, &down, "a name is empty");
		else
			add(r, &down, scope, down.key, member);
	}
	qsort(r->c->tier_of[scope], r->c->ntier_of[scope], sizeof(struct conf_tier_of), compare);
}

static void read_tenants(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target UNUSED)
{
	read_scope(r, at, v, SCOPE_TENANT);
}

static void read_keys(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target UNUSED)
{
	read_scope(r, at, v, SCOPE_KEY);
}

static void read_users(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target UNUSED)
{
	read_scope(r, at, v, SCOPE_USER);
}

static void read_features(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target UNUSED)
{
	read_scope(r, at, v, SCOPE_FEATURE);
}

static void read_global(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target UNUSED)
{
	r->c->tier_of[SCOPE_GLOBAL] = arena_array(&r->c->arena, struct conf_tier_of, 1);
	add(r, at, SCOPE_GLOBAL, STR("*"), v);
}

void conf_read_rates(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	static const struct conf_member members[] = {
		{ "global", read_global, 0 }, { "tenants", read_tenants, 0 },   { "keys", read_keys, 0 },
		{ "users", read_users, 0 },   { "features", read_features, 0 },
	};
	conf_read_members(r, at, v, members, ARRAY_LEN(members), r->c);
}

static const struct conf_tier *find(const struct conf *c, enum conf_scope scope, struct str name)
{
	const struct conf_tier_of key = { .name = { name.p ? name.p : "", name.n } };
	if (c->ntier_of[scope] == 0)
		return NULL;
	const struct conf_tier_of *found =
	    bsearch(&key, c->tier_of[scope], c->ntier_of[scope], sizeof(key), compare);
	return found ? found->tier : NULL;
}

const struct conf_tier *conf_tier_find(const struct conf *c, enum conf_scope scope, struct str name)
{
	const struct conf_tier *tier = find(c, scope, name);
	return tier ? tier : find(c, scope, STR("*"));
}
