/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the configuration's file that name things: `targets` (what can be called, with which key and price),
 * `models` (the target of every other model name) and `routes` (which targets serve a request, in order). Targets are
 * read first, because routes name them.
 *
 * Each object is read by a table of its members, so that an unknown member can be told from a known one and the nearest
 * name suggested. A value that is wrong leaves the default and a mistake; the reading goes on.
 */
#include <string.h>

#include "common/clock.h"
#include "common/conf_private.h"
#include "common/nearest.h"
#include "common/provider_record.h"

#define NAME_MAX_BYTES    200
#define PRICE_MAX_NANOUSD (INT64_C(1000000) * 1000000000)

/* A member of an object: its reader and where the value goes. */
struct member {
	const char *name;
	void (*read)(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target);
	size_t offset;
};

static void read_members(struct conf_reader *r, const struct conf_path *at, json_t *object,
                         const struct member *members, size_t n, void *base)
{
	if (!conf_is_type(r, at, object, JSON_OBJECT, "an object"))
		return;
	const char *key;
	json_t *v;
	json_object_foreach(object, key, v)
	{
		const struct conf_path down = { at, str_from(key) };
		struct nearest nearest;
		nearest_init(&nearest, down.key);
		size_t i = 0;
		while (i < n && strcmp(members[i].name, key) != 0)
			nearest_try(&nearest, str_from(members[i++].name));
		if (i < n)
			members[i].read(r, &down, v, (char *)base + members[i].offset);
		else
			conf_unknown_key(r, &down, &nearest);
	}
}

static void need(struct conf_reader *r, const struct conf_path *at, const char *name, bool given)
{
	const struct conf_path down = { at, str_from(name) };
	if (!given)
		conf_mistake_add(r, &down, "is missing");
}

/* --- values: target is the member of conf_target that the table names --- */

static void read_text(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str *ret = target;
	if (conf_is_type(r, at, v, JSON_STRING, "text"))
		*ret = arena_str(&r->c->arena, json_str_of(v));
}

static void read_flag(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	bool *ret = target;
	if (json_is_boolean(v))
		*ret = json_is_true(v);
	else
		conf_mistake_add(r, at, "wanted true or false, got %s", conf_type_name(v));
}

static void read_duration(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str text = json_str_of(v);
	if (json_is_integer(v))
		text = arena_printf(r->a, "%lld", (long long)json_integer_value(v));
	else if (!conf_is_type(r, at, v, JSON_STRING, "a duration (\"30s\")"))
		return;
	if (clock_parse_duration_ms(text, 1, 86400000, (int64_t *)target))
		conf_mistake_add(r, at, "wanted a duration of 1ms to 24h (\"30s\"), got \"" STR_FMT "\"",
		                 STR_ARG(text));
}

static void read_base_url(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str *ret = target;
	struct str url = json_str_of(v);
	if (!conf_is_type(r, at, v, JSON_STRING, "text"))
		return;
	while (url.n && url.p[url.n - 1] == '/')
		url.n--;
	bool http = str_has_prefix(url, STR("http://")) && url.n > 7;
	bool https = str_has_prefix(url, STR("https://")) && url.n > 8;
	for (size_t i = 0; i < url.n; i++)
		if (url.p[i] <= ' ' || url.p[i] > '~')
			http = https = false;
	if (!http && !https)
		conf_mistake_add(r, at, "wanted an http:// or https:// URL, got \"" STR_FMT "\"", STR_ARG(url));
	else
		*ret = arena_str(&r->c->arena, url);
}

static bool is_header_name(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (!alnum && !(c && strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return s.n > 0;
}

static bool is_header_value(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return false;
	return true;
}

static void read_headers(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_target *t = target;
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of header names and values"))
		return;
	t->headers = arena_array(&r->c->arena, struct conf_header, json_object_size(v) + 1);
	const char *key;
	json_t *value;
	json_object_foreach(v, key, value)
	{
		const struct conf_path down = { at, str_from(key) };
		struct conf_header *h = &t->headers[t->nheaders];
		if (!is_header_name(down.key))
			conf_mistake_add(r, &down, "is not a header name");
		else if (!conf_is_type(r, &down, value, JSON_STRING, "text"))
			continue;
		else if (!is_header_value(json_str_of(value)))
			conf_mistake_add(r, &down, "a header's value cannot hold control characters");
		else {
			h->name = arena_str(&r->c->arena, down.key);
			h->value = arena_str(&r->c->arena, json_str_of(value));
			t->nheaders++;
		}
	}
}

static void read_usd(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	int64_t nano;
	struct str text = json_str_of(v);
	if (json_is_integer(v))
		text = arena_printf(r->a, "%lld", (long long)json_integer_value(v));
	if (json_is_real(v)) {
		conf_mistake_add(r, at, "write it in quotes (\"%.9g\"): a JSON fraction is not exact",
		                 json_real_value(v));
	} else if (!json_is_integer(v) && !json_is_string(v)) {
		conf_mistake_add(r, at, "wanted a decimal number of US dollars per million tokens (\"0.15\"), got %s",
		                 conf_type_name(v));
	} else if (conf_parse_usd(text, &nano) || nano > PRICE_MAX_NANOUSD) {
		conf_mistake_add(
		    r, at,
		    "wanted US dollars per million tokens (\"0.15\"; at most 9 decimals and 1000000), got \"" STR_FMT
		    "\"",
		    STR_ARG(text));
	} else {
		*(int64_t *)target = nano;
	}
}

static void read_price(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct member members[] = {
		{ "input", read_usd, offsetof(struct conf_price, input) },
		{ "cached_input", read_usd, offsetof(struct conf_price, cached_input) },
		{ "cache_write", read_usd, offsetof(struct conf_price, cache_write) },
		{ "output", read_usd, offsetof(struct conf_price, output) },
	};
	read_members(r, at, v, members, ARRAY_LEN(members), target);
	if (!json_is_object(v))
		return;
	need(r, at, "input", json_get(v, "input") != NULL);
	need(r, at, "output", json_get(v, "output") != NULL);
}

static void read_timeouts(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct member members[] = {
		{ "connect", read_duration, offsetof(struct conf_timeouts, connect_ms) },
		{ "first_token", read_duration, offsetof(struct conf_timeouts, first_ms) },
		{ "between_tokens", read_duration, offsetof(struct conf_timeouts, between_ms) },
		{ "total", read_duration, offsetof(struct conf_timeouts, total_ms) },
	};
	read_members(r, at, v, members, ARRAY_LEN(members), target);
}

/* --- targets --- */

static void read_target(struct conf_reader *r, const struct conf_path *at, json_t *v, bool any_model,
                        struct conf_target *t)
{
	static const struct member members[] = {
		{ "provider", read_text, offsetof(struct conf_target, provider) },
		{ "model", read_text, offsetof(struct conf_target, model) },
		{ "base_url", read_base_url, offsetof(struct conf_target, base_url) },
		{ "api_key", read_text, offsetof(struct conf_target, api_key) },
		{ "headers", read_headers, 0 },
		{ "price", read_price, offsetof(struct conf_target, price) },
		{ "timeout", read_timeouts, offsetof(struct conf_target, timeouts) },
		{ "stream", read_flag, offsetof(struct conf_target, stream) },
	};
	*t = (struct conf_target){ .price = { -1, -1, -1, -1 }, .stream = true, .record = &provider_records[0] };
	t->name = arena_str(&r->c->arena, at->key);
	read_members(r, at, v, members, ARRAY_LEN(members), t);
	if (!json_is_object(v))
		return;
	need(r, at, "provider", t->provider.n > 0);
	const struct provider_record *record = provider_record_find(t->provider);
	if (record)
		t->record = record;
	need(r, at, "base_url", t->base_url.n > 0);
	if (!any_model)
		need(r, at, "model", t->model.n > 0);
}

static bool is_name(struct conf_reader *r, const struct conf_path *at)
{
	bool ok = at->key.n > 0 && at->key.n <= NAME_MAX_BYTES;
	for (size_t i = 0; i < at->key.n; i++)
		ok = ok && (unsigned char)at->key.p[i] > ' ' && at->key.p[i] != 127;
	if (!ok)
		conf_mistake_add(r, at, "a name has 1 to %d characters and no spaces", NAME_MAX_BYTES);
	return ok;
}

void conf_read_targets(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object of targets by name"))
		return;
	r->c->targets = arena_array(&r->c->arena, struct conf_target, json_object_size(v) + 1);
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		if (is_name(r, &down))
			read_target(r, &down, member, /* any_model= */ false, &r->c->targets[r->c->ntargets++]);
	}
}

void conf_read_models(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	if (!conf_is_type(r, at, v, JSON_OBJECT, "an object with the member \"*\""))
		return;
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		if (!str_eq_z(down.key, "*")) {
			conf_mistake_add(r, &down,
			                 "is not known: only \"*\" (every model that no route or target names) is; "
			                 "name single models in \"targets\"");
			continue;
		}
		struct conf_target *t = arena_new(&r->c->arena, struct conf_target);
		read_target(r, &down, member, /* any_model= */ true, t);
		r->c->any_model = t;
	}
}

/* --- routes: after the targets, which they name --- */

static const struct conf_target *find_target(struct conf_reader *r, const struct conf_path *at, struct str name)
{
	struct nearest n;
	nearest_init(&n, name);
	for (size_t i = 0; i < r->c->ntargets; i++) {
		if (str_eq(r->c->targets[i].name, name))
			return &r->c->targets[i];
		nearest_try(&n, r->c->targets[i].name);
	}
	struct str best = nearest_get(&n);
	if (best.p)
		conf_mistake_add(r, at, "there is no target \"" STR_FMT "\"; did you mean \"" STR_FMT "\"?",
		                 STR_ARG(name), STR_ARG(best));
	else
		conf_mistake_add(r, at, "there is no target \"" STR_FMT "\"", STR_ARG(name));
	return NULL;
}

static void read_route_targets(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct conf_route *route = target;
	if (!conf_is_type(r, at, v, JSON_ARRAY, "a list of target names"))
		return;
	if (json_array_size(v) == 0)
		conf_mistake_add(r, at, "is empty: a route needs at least one target");
	route->targets = arena_array(&r->c->arena, const struct conf_target *, json_array_size(v) + 1);
	size_t i;
	json_t *name;
	json_array_foreach(v, i, name)
	{
		const struct conf_path down = { at, arena_printf(r->a, "[%zu]", i) };
		if (!conf_is_type(r, &down, name, JSON_STRING, "a target's name"))
			continue;
		const struct conf_target *t = find_target(r, &down, json_str_of(name));
		for (size_t j = 0; t && j < route->ntargets; j++)
			if (route->targets[j] == t)
				conf_mistake_add(r, &down, "\"" STR_FMT "\" stands in the list twice",
				                 STR_ARG(t->name));
		if (t)
			route->targets[route->ntargets++] = t;
	}
}

static void read_route(struct conf_reader *r, const struct conf_path *at, json_t *v, struct conf_route *route)
{
	static const struct member members[] = { { "targets", read_route_targets, 0 } };
	route->name = arena_str(&r->c->arena, at->key);
	read_members(r, at, v, members, ARRAY_LEN(members), route);
	if (json_is_object(v))
		need(r, at, "targets", json_get(v, "targets") != NULL);
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
		if (is_name(r, &down))
			read_route(r, &down, member, &r->c->routes[r->c->nroutes++]);
	}
}
