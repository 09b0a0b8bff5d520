/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `targets` of the configuration's file (what can be called, with which key, price and limits) and `models` (the target
 * of every other model name). What a provider is like comes from its record (provider_record.def): where it is, what it
 * can take; the target's own members go over it.
 *
 * A member that says nothing to the target's provider (a region for OpenAI) is a mistake: it would be dropped silently.
 */
#include <string.h>

#include "common/conf_private.h"
#include "common/crypto.h"
#include "common/nearest.h"
#include "common/provider_record.h"

#define HEADROOM_PERMILLE 800
#define PRICE_MAX_NANOUSD (INT64_C(1000000) * 1000000000)

/* A target while it is read. */
struct reading {
	struct conf_target t;
	uint32_t can, cannot; /* beyond and against its provider's record */
};

/* --- values: target is the member that the table names --- */

static void read_timeout(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	conf_read_duration(r, at, v, 1, 86400000, "1ms to 24h", target);
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

/* A key goes into a header; one from a file often has a line end behind it. */
static void read_key(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str key = json_str_of(v);
	if (json_is_string(v) && (!is_header_value(key) || str_trim(key).n != key.n))
		conf_mistake_add(r, at, "holds control characters, or spaces at an end");
	else
		conf_read_text(r, at, v, target);
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
	static const struct conf_member members[] = {
		{ "input", read_usd, offsetof(struct conf_price, input) },
		{ "cached_input", read_usd, offsetof(struct conf_price, cached_input) },
		{ "cache_write", read_usd, offsetof(struct conf_price, cache_write) },
		{ "output", read_usd, offsetof(struct conf_price, output) },
	};
	conf_read_members(r, at, v, members, ARRAY_LEN(members), target);
	if (!json_is_object(v))
		return;
	conf_need(r, at, "input", json_get(v, "input") != NULL);
	conf_need(r, at, "output", json_get(v, "output") != NULL);
}

static void read_timeouts(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "connect", read_timeout, offsetof(struct conf_timeouts, connect_ms) },
		{ "first_token", read_timeout, offsetof(struct conf_timeouts, first_ms) },
		{ "between_tokens", read_timeout, offsetof(struct conf_timeouts, between_ms) },
		{ "total", read_timeout, offsetof(struct conf_timeouts, total_ms) },
	};
	conf_read_members(r, at, v, members, ARRAY_LEN(members), target);
}

/* Thousandths, so that what is left of a limit is exact. */
static void read_headroom(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	if (!json_is_number(v)) {
		conf_mistake_add(r, at, "wanted a number above 0 and at most 1, got %s", conf_type_name(v));
		return;
	}
	double h = json_number_value(v);
	int64_t permille = h > 0 && h <= 1 ? (int64_t)(h * 1000 + 0.5) : 0;
	if (permille < 1)
		conf_mistake_add(r, at, "wanted a number above 0 (at least 0.001) and at most 1, got %.9g", h);
	else
		*(int64_t *)target = permille;
}

static void read_limits(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	static const struct conf_member members[] = {
		{ "requests", conf_read_count, offsetof(struct conf_target, limits.requests) },
		{ "tokens", conf_read_count, offsetof(struct conf_target, limits.tokens) },
		{ "input_tokens", conf_read_count, offsetof(struct conf_target, limits.input_tokens) },
		{ "output_tokens", conf_read_count, offsetof(struct conf_target, limits.output_tokens) },
		{ "concurrency", conf_read_count, offsetof(struct conf_target, limits.concurrency) },
		{ "headroom", read_headroom, offsetof(struct conf_target, headroom_permille) },
	};
	conf_read_members(r, at, v, members, ARRAY_LEN(members), target);
}

/* Region and API version become part of a URL. */
static void read_url_word(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str *ret = target, word = json_str_of(v);
	if (!conf_is_type(r, at, v, JSON_STRING, "text"))
		return;
	bool ok = word.n > 0 && word.n <= 64;
	for (size_t i = 0; i < word.n; i++) {
		char c = word.p[i];
		ok = ok && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-');
	}
	if (ok)
		*ret = arena_str(&r->c->arena, word);
	else
		conf_mistake_add(r, at, "wanted 1 to 64 letters, digits and hyphens, got \"" STR_FMT "\"",
		                 STR_ARG(word));
}

/* --- what the members mean together --- */

static const struct provider_record *find_provider(struct conf_reader *r, const struct conf_path *at, struct str name)
{
	const struct provider_record *record = provider_record_find(name);
	if (record || name.n == 0)
		return record;
	const struct conf_path down = { at, STR("provider") };
	struct nearest n;
	nearest_init(&n, name);
	for (size_t i = 0; i < provider_records_n; i++)
		nearest_try(&n, str_from(provider_records[i].name));
	conf_unknown_word(r, &down, "provider", name, &n);
	return NULL;
}

/* A member that only one provider knows, given to another, would be dropped silently. */
static void check_belongs(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *provider,
                          const struct conf_target *t)
{
	static const struct {
		const char *name, *provider;
	} only[] = {
		{ "api_version", "azure" },  { "region", "bedrock" },        { "access_key", "bedrock" },
		{ "secret_key", "bedrock" }, { "session_token", "bedrock" },
	};
	for (size_t i = 0; i < ARRAY_LEN(only); i++) {
		const struct conf_path down = { at, str_from(only[i].name) };
		if (json_get(v, only[i].name) && strcmp(only[i].provider, provider) != 0)
			conf_mistake_add(r, &down, "is for provider %s, not for " STR_FMT, only[i].provider,
			                 STR_ARG(t->provider));
	}
}

/* Bedrock takes a bearer key, or a pair of keys with a signature, which names the region. */
static void check_bedrock_keys(struct conf_reader *r, const struct conf_path *at, const struct conf_target *t)
{
	bool pair = t->access_key.n || t->secret_key.n || t->session_token.n;
	const struct conf_path bearer = { at, STR("api_key") };
	if (t->api_key.n && pair) {
		conf_mistake_add(r, &bearer, "wanted either api_key or access_key and secret_key, got both");
	} else if (!t->api_key.n && !pair) {
		conf_mistake_add(r, &bearer, "is missing: bedrock needs api_key, or region, access_key and secret_key");
	} else if (pair) {
		conf_need(r, at, "region", t->region.n > 0);
		conf_need(r, at, "access_key", t->access_key.n > 0);
		conf_need(r, at, "secret_key", t->secret_key.n > 0);
	}
}

/* The record's address where the target gives none. */
static void complete_base_url(struct conf_reader *r, const struct conf_path *at, const json_t *v,
                              struct conf_target *t)
{
	if (json_get(v, "base_url"))
		return;
	if (t->record->base_url[0])
		t->base_url = str_from(t->record->base_url);
	else if (t->region.n)
		t->base_url = arena_printf(&r->c->arena, "https://bedrock-runtime." STR_FMT ".amazonaws.com",
		                           STR_ARG(t->region));
	else
		conf_need(r, at, strcmp(t->record->adapter, "bedrock") == 0 ? "region" : "base_url", false);
}

/* Targets with the same endpoint and key share the provider's limits on that key. */
static void name_key(struct conf_target *t)
{
	const struct str parts[] = { t->base_url, STR("\n"), t->access_key.n ? t->access_key : t->api_key };
	uint8_t hash[SHA256_LEN];
	_cleanup_(buf_done) struct buf hex;
	buf_init(&hex, sizeof(t->key_id));
	crypto_sha256_parts(parts, ARRAY_LEN(parts), hash);
	crypto_hex(&hex, (struct str){ (const char *)hash, (sizeof(t->key_id) - 1) / 2 });
	memcpy(t->key_id, hex.p, hex.n);
	t->key_id[hex.n] = 0;
}

static void complete(struct conf_reader *r, const struct conf_path *at, const json_t *v, struct reading *reading)
{
	struct conf_target *t = &reading->t;
	conf_need(r, at, "provider", t->provider.n > 0);
	const struct provider_record *record = find_provider(r, at, t->provider);
	if (!record)
		return;
	t->record = record;
	const struct conf_path cannot = { at, STR("cannot") };
	if (reading->can & reading->cannot)
		conf_mistake_add(r, &cannot, "names what \"can\" names, too");
	t->can = (record->can | reading->can) & ~reading->cannot;
	check_belongs(r, at, v, record->name, t);
	if (strcmp(record->adapter, "bedrock") == 0)
		check_bedrock_keys(r, at, t);
	complete_base_url(r, at, v, t);
	name_key(t);
}

static void read_target(struct conf_reader *r, const struct conf_path *at, json_t *v, bool any_model,
                        struct conf_target *ret)
{
	static const struct conf_member members[] = {
		{ "provider", conf_read_text, offsetof(struct reading, t.provider) },
		{ "model", conf_read_text, offsetof(struct reading, t.model) },
		{ "base_url", read_base_url, offsetof(struct reading, t.base_url) },
		{ "api_key", read_key, offsetof(struct reading, t.api_key) },
		{ "api_version", read_url_word, offsetof(struct reading, t.api_version) },
		{ "region", read_url_word, offsetof(struct reading, t.region) },
		{ "access_key", read_key, offsetof(struct reading, t.access_key) },
		{ "secret_key", read_key, offsetof(struct reading, t.secret_key) },
		{ "session_token", read_key, offsetof(struct reading, t.session_token) },
		{ "headers", read_headers, offsetof(struct reading, t) },
		{ "price", read_price, offsetof(struct reading, t.price) },
		{ "timeout", read_timeouts, offsetof(struct reading, t.timeouts) },
		{ "limits", read_limits, offsetof(struct reading, t) },
		{ "context_tokens", conf_read_count, offsetof(struct reading, t.context_tokens) },
		{ "max_output_tokens", conf_read_count, offsetof(struct reading, t.max_output_tokens) },
		{ "can", conf_read_needs, offsetof(struct reading, can) },
		{ "cannot", conf_read_needs, offsetof(struct reading, cannot) },
		{ "place", conf_read_text, offsetof(struct reading, t.place) },
		{ "prompt_cache", conf_read_flag, offsetof(struct reading, t.prompt_cache) },
		{ "stream", conf_read_flag, offsetof(struct reading, t.stream) },
	};
	struct reading reading = { .t = { .price = { -1, -1, -1, -1 },
		                          .stream = true,
		                          .prompt_cache = true,
		                          .headroom_permille = HEADROOM_PERMILLE,
		                          .record = &provider_records[0] } };
	reading.t.name = arena_str(&r->c->arena, at->key);
	conf_read_members(r, at, v, members, ARRAY_LEN(members), &reading);
	if (json_is_object(v)) {
		complete(r, at, v, &reading);
		if (!any_model)
			conf_need(r, at, "model", reading.t.model.n > 0);
	}
	*ret = reading.t;
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
		if (conf_is_name(r, &down))
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
