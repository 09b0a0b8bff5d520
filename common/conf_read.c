/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's file: strict JSON into a struct conf. First ${ENV} is substituted in every string, then each
 * top-level member goes to its reader: the simple settings to the rows of conf.def, `targets` and `models` to
 * conf_targets.c, `tiers` and `rates` to conf_rates.c, `routes` to conf_routes.c.
 *
 * Everything may be wrong, and all of it is said at once: each reader notes a mistake with its path and goes on with
 * the next member. A path that has a mistake gets no second one, so that a variable that is not set does not also count
 * as a wrong type.
 *
 * Substitution: ${NAME} is the environment's value and must be set; ${NAME:-text} falls back when it is unset or empty;
 * $${ is a literal ${. Substituted text is not substituted again.
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf_private.h"
#include "common/nearest.h"

const char *conf_type_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "text";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		return "null";
	}
	return "nothing";
}

bool conf_is_type(struct conf_reader *r, const struct conf_path *at, const json_t *v, json_type type,
                  const char *wanted)
{
	if (json_typeof(v) == type)
		return true;
	conf_mistake_add(r, at, "wanted %s, got %s", wanted, conf_type_name(v));
	return false;
}

void conf_unknown_key(struct conf_reader *r, const struct conf_path *at, const struct nearest *n)
{
	struct str best = nearest_get(n);
	if (best.p)
		conf_mistake_add(r, at, "is not known; did you mean \"" STR_FMT "\"?", STR_ARG(best));
	else
		conf_mistake_add(r, at, "is not known");
}

/* --- ${ENV} --- */

static bool is_env_char(char c, bool first)
{
	return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

/* One ${…}, given what stands between the braces. False after a mistake. */
static bool substitute_one(struct conf_reader *r, const struct conf_path *at, struct buf *b, struct str inside)
{
	ssize_t split = str_find(inside, STR(":-"));
	struct str name = split < 0 ? inside : str_sub(inside, 0, (size_t)split);
	bool ok = name.n > 0;
	for (size_t i = 0; i < name.n; i++)
		ok = ok && is_env_char(name.p[i], i == 0);
	if (!ok) {
		conf_mistake_add(
		    r, at, "\"${" STR_FMT "}\" does not name an environment variable (write $${ for a literal ${)",
		    STR_ARG(inside));
		return false;
	}
	const char *value = getenv(arena_strz(r->a, name));
	if (split >= 0 && (!value || !*value)) {
		buf_add_str(b, str_sub(inside, (size_t)split + 2, inside.n));
		return true;
	}
	if (!value) {
		conf_mistake_add(r, at, "the environment variable " STR_FMT " is not set", STR_ARG(name));
		return false;
	}
	buf_add_z(b, value);
	return true;
}

static bool substitute(struct conf_reader *r, const struct conf_path *at, struct buf *b, struct str s)
{
	for (;;) {
		ssize_t open = str_find(s, STR("${"));
		if (open < 0)
			return buf_add_str(b, s) == 0;
		bool escaped = open > 0 && s.p[open - 1] == '$';
		buf_add_str(b, str_sub(s, 0, (size_t)open - (escaped ? 1 : 0)));
		s = str_sub(s, (size_t)open + 2, s.n);
		if (escaped) {
			buf_add_z(b, "${");
			continue;
		}
		ssize_t close = str_find_char(s, '}');
		if (close < 0) {
			conf_mistake_add(r, at, "\"${\" has no closing brace (write $${ for a literal ${)");
			return false;
		}
		if (!substitute_one(r, at, b, str_sub(s, 0, (size_t)close)))
			return false;
		s = str_sub(s, (size_t)close + 1, s.n);
	}
}

static void substitute_string(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	struct str s = json_str_of(v);
	if (str_find(s, STR("${")) < 0)
		return;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 1 << 20);
	if (!substitute(r, at, &b, s))
		return;
	if (buf_failed(&b) || !str_is_utf8(buf_str(&b)) || json_string_setn(v, b.p ? b.p : "", b.n))
		conf_mistake_add(r, at, "becomes longer than 1 MiB or is not UTF-8 after substitution");
}

/* The depth is bounded by json_parse. */
static void substitute_all(struct conf_reader *r, const struct conf_path *at, json_t *v)
{
	if (json_is_string(v))
		substitute_string(r, at, v);
	const char *key;
	json_t *member;
	json_object_foreach(v, key, member)
	{
		const struct conf_path down = { at, str_from(key) };
		substitute_all(r, &down, member);
	}
	size_t i;
	json_array_foreach(v, i, member)
	{
		const struct conf_path down = { at, arena_printf(r->a, "[%zu]", i) };
		substitute_all(r, &down, member);
	}
}

/* --- simple settings --- */

static void read_setting(struct conf_reader *r, const struct conf_path *at, const struct conf_setting *s, json_t *v)
{
	static const char *const wanted[] = { "a whole number", "a size", "a duration", "true or false", "text" };
	bool number = s->type == CONF_INT || s->type == CONF_BYTES || s->type == CONF_MS;
	if (json_is_string(v))
		conf_setting_set(r, at, s, json_str_of(v));
	else if (json_is_integer(v) && number)
		conf_setting_set(r, at, s, arena_printf(r->a, "%lld", (long long)json_integer_value(v)));
	else if (json_is_boolean(v) && s->type == CONF_BOOL)
		conf_setting_set(r, at, s, json_is_true(v) ? STR("true") : STR("false"));
	else
		conf_mistake_add(r, at, "wanted %s, got %s", wanted[s->type], conf_type_name(v));
}

/* The setting with that path, or whether the path leads to some ("worker" to worker.slots). */
static const struct conf_setting *find_setting(struct str path, bool *ret_is_group)
{
	*ret_is_group = false;
	for (size_t i = 0; i < conf_settings_n; i++) {
		struct str have = str_from(conf_settings[i].path);
		if (str_eq(have, path))
			return &conf_settings[i];
		if (str_has_prefix(have, path) && have.n > path.n && have.p[path.n] == '.')
			*ret_is_group = true;
	}
	return NULL;
}

/* The parts with readers of their own, in the order of reading: who is named goes before who names. */
static const struct {
	const char *key;
	void (*read)(struct conf_reader *r, const struct conf_path *at, json_t *v);
} parts[] = { { "targets", conf_read_targets },
	      { "models", conf_read_models },
	      { "tiers", conf_read_tiers },
	      { "rates", conf_read_rates },
	      { "routes", conf_read_routes } };

/* What could have been meant under `group` ("" at the top). */
static void suggest_setting(struct nearest *n, struct str group)
{
	for (size_t i = 0; i < conf_settings_n; i++) {
		struct str path = str_from(conf_settings[i].path);
		if (!str_has_prefix(path, group))
			continue;
		struct str rest = str_sub(path, group.n ? group.n + 1 : 0, path.n), word;
		if (str_split(&rest, '.', &word))
			nearest_try(n, word);
	}
	if (group.n)
		return;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		nearest_try(n, str_from(parts[i].key));
}

static void read_group(struct conf_reader *r, const struct conf_path *at, struct str group, json_t *object);

static void read_member(struct conf_reader *r, const struct conf_path *at, struct str group, json_t *v)
{
	struct str path = at->key;
	if (group.n)
		path = arena_printf(r->a, STR_FMT "." STR_FMT, STR_ARG(group), STR_ARG(at->key));
	bool is_group;
	const struct conf_setting *s =
	    str_find_char(at->key, '.') < 0 ? find_setting(path, &is_group) : (is_group = false, NULL);
	if (s) {
		read_setting(r, at, s, v);
	} else if (is_group) {
		if (conf_is_type(r, at, v, JSON_OBJECT, "an object"))
			read_group(r, at, path, v);
	} else {
		struct nearest n;
		nearest_init(&n, at->key);
		suggest_setting(&n, group);
		conf_unknown_key(r, at, &n);
	}
}

static void read_group(struct conf_reader *r, const struct conf_path *at, struct str group, json_t *object)
{
	const char *key;
	json_t *v;
	json_object_foreach(object, key, v)
	{
		const struct conf_path down = { at, str_from(key) };
		read_member(r, &down, group, v);
	}
}

/* --- the whole --- */

void conf_read_file_text(struct conf_reader *r, struct str text)
{
	const struct conf_path top = { NULL, { "", 0 } }, file = { NULL, r->c->file };
	struct err err = { 0 };
	_cleanup_(json_drop) json_t *v = json_parse(text, &err);
	if (!v) {
		conf_mistake_add(r, &file, "is not valid JSON: %s", err.text);
		return;
	}
	if (!conf_is_type(r, &file, v, JSON_OBJECT, "an object"))
		return;
	substitute_all(r, &top, v);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const struct conf_path at = { &top, str_from(parts[i].key) };
		json_t *part = json_get(v, parts[i].key);
		if (part)
			parts[i].read(r, &at, part);
		json_object_del(v, parts[i].key);
	}
	json_object_del(v, "$schema"); /* for editors */
	read_group(r, &top, (struct str){ "", 0 }, v);
}
