/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the readers of targets, tiers, rates and routes have in common. Each object is read by a table of its members,
 * so that an unknown member can be told from a known one and the nearest name suggested. A value that is wrong leaves
 * what is there (the default) and a mistake with its path; the reading goes on, so that all mistakes are said at once.
 */
#include <string.h>

#include "common/clock.h"
#include "common/conf_private.h"
#include "common/nearest.h"
#include "common/request_facts.h"

#define NAME_MAX_BYTES 200
#define NEEDS_MAX      32

void conf_read_members(struct conf_reader *r, const struct conf_path *at, json_t *object,
                       const struct conf_member *members, size_t n, void *base)
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

void conf_need(struct conf_reader *r, const struct conf_path *at, const char *name, bool given)
{
	const struct conf_path down = { at, str_from(name) };
	if (!given)
		conf_mistake_add(r, &down, "is missing");
}

bool conf_is_name(struct conf_reader *r, const struct conf_path *at)
{
	bool ok = at->key.n > 0 && at->key.n <= NAME_MAX_BYTES;
	for (size_t i = 0; i < at->key.n; i++)
		ok = ok && (unsigned char)at->key.p[i] > ' ' && at->key.p[i] != 127;
	if (!ok)
		conf_mistake_add(r, at, "a name has 1 to %d characters and no spaces", NAME_MAX_BYTES);
	return ok;
}

void conf_unknown_word(struct conf_reader *r, const struct conf_path *at, const char *what, struct str word,
                       const struct nearest *n)
{
	struct str best = nearest_get(n);
	if (best.p)
		conf_mistake_add(r, at, "there is no %s \"" STR_FMT "\"; did you mean \"" STR_FMT "\"?", what,
		                 STR_ARG(word), STR_ARG(best));
	else
		conf_mistake_add(r, at, "there is no %s \"" STR_FMT "\"", what, STR_ARG(word));
}

struct conf_path conf_path_at(struct conf_reader *r, const struct conf_path *up, size_t i)
{
	return (struct conf_path){ up, arena_printf(r->a, "[%zu]", i) };
}

/* --- values --- */

void conf_read_text(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	struct str *ret = target;
	if (conf_is_type(r, at, v, JSON_STRING, "text"))
		*ret = arena_str(&r->c->arena, json_str_of(v));
}

void conf_read_flag(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	bool *ret = target;
	if (json_is_boolean(v))
		*ret = json_is_true(v);
	else
		conf_mistake_add(r, at, "wanted true or false, got %s", conf_type_name(v));
}

bool conf_read_int(struct conf_reader *r, const struct conf_path *at, const json_t *v, int64_t min, int64_t max,
                   int64_t *ret)
{
	struct str text = json_str_of(v);
	if (json_is_integer(v))
		text = arena_printf(r->a, "%lld", (long long)json_integer_value(v));
	else if (!json_is_string(v)) {
		conf_mistake_add(r, at, "wanted a whole number, got %s",
		                 json_is_real(v) ? "a fraction" : conf_type_name(v));
		return false;
	}
	int64_t n;
	if (str_i64(text, INT64_MIN, INT64_MAX, &n))
		conf_mistake_add(r, at, "wanted a whole number, got \"" STR_FMT "\"", STR_ARG(text));
	else if (n < min || n > max)
		conf_mistake_add(r, at, "%lld is out of range: wanted %lld to %lld", (long long)n, (long long)min,
		                 (long long)max);
	else {
		*ret = n;
		return true;
	}
	return false;
}

void conf_read_count(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	conf_read_int(r, at, v, 1, CONF_COUNT_MAX, target);
}

bool conf_read_duration(struct conf_reader *r, const struct conf_path *at, const json_t *v, int64_t min_ms,
                        int64_t max_ms, const char *range, int64_t *ret_ms)
{
	struct str text = json_str_of(v);
	if (json_is_integer(v))
		text = arena_printf(r->a, "%lld", (long long)json_integer_value(v));
	else if (!conf_is_type(r, at, v, JSON_STRING, "a duration (\"30s\")"))
		return false;
	if (clock_parse_duration_ms(text, min_ms, max_ms, ret_ms) == 0)
		return true;
	conf_mistake_add(r, at, "wanted a duration of %s (\"30s\"), got \"" STR_FMT "\"", range, STR_ARG(text));
	return false;
}

bool conf_read_choice(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *const *words,
                      size_t n, int *ret)
{
	if (!conf_is_type(r, at, v, JSON_STRING, "text"))
		return false;
	_cleanup_(buf_done) struct buf all;
	buf_init(&all, 1024);
	for (size_t i = 0; i < n; i++) {
		if (str_eq_z(json_str_of(v), words[i])) {
			*ret = (int)i;
			return true;
		}
		buf_printf(&all, "%s%s", i ? ", " : "", words[i]);
	}
	conf_mistake_add(r, at, "wanted one of " STR_FMT ", got \"" STR_FMT "\"", STR_ARG(buf_str(&all)),
	                 STR_ARG(json_str_of(v)));
	return false;
}

bool conf_read_list(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *what,
                    struct str **ret, size_t *ret_n)
{
	if (!json_is_array(v)) {
		conf_mistake_add(r, at, "wanted a list, each %s, got %s", what, conf_type_name(v));
		return false;
	}
	struct str *list = arena_array(&r->c->arena, struct str, json_array_size(v) + 1);
	size_t n = 0;
	for (size_t i = 0; i < json_array_size(v); i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		const json_t *word = json_array_get(v, i);
		if (!json_is_string(word))
			conf_mistake_add(r, &down, "wanted %s, got %s", what, conf_type_name(word));
		else if (json_str_of(word).n == 0)
			conf_mistake_add(r, &down, "wanted %s, got empty text", what);
		else
			list[n++] = arena_str(&r->c->arena, json_str_of(word));
	}
	*ret = list;
	*ret_n = n;
	return true;
}

void conf_read_needs(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target)
{
	if (!conf_is_type(r, at, v, JSON_ARRAY, "a list of words (\"images\", \"pdf\", \"tools\")"))
		return;
	uint32_t bits = 0;
	for (size_t i = 0; i < json_array_size(v); i++) {
		const struct conf_path down = conf_path_at(r, at, i);
		const json_t *word = json_array_get(v, i);
		if (!conf_is_type(r, &down, word, JSON_STRING, "text"))
			continue;
		uint32_t bit = request_need_parse(json_str_of(word));
		if (bit) {
			bits |= bit;
			continue;
		}
		struct nearest n;
		nearest_init(&n, json_str_of(word));
		for (int b = 0; b < NEEDS_MAX; b++)
			if (request_need_word(UINT32_C(1) << b))
				nearest_try(&n, str_from(request_need_word(UINT32_C(1) << b)));
		conf_unknown_word(r, &down, "ability", json_str_of(word), &n);
	}
	*(uint32_t *)target = bits;
}
