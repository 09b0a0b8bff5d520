/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks a schema and makes a value of its shape; schema_text.c says what the leaves hold. An array is filled with the
 * sentences (dates, amounts, key words) that its name asks for; an array of objects gets one object per sentence, whose
 * properties then look at that sentence only (the focus).
 *
 * Schemas come from outside: depth and number of values are bounded, references may go in circles. What cannot be
 * satisfied (a required property that contains itself) ends as null.
 */
#include "cli/simulator/schema_fill.h"

#include <ctype.h>
#include <string.h>

#include "cli/simulator/patterns.h"
#include "cli/simulator/summary.h"

#define ITEMS_DEFAULT 5
#define ITEMS_MAX     1000
#define STRING_MAX    16384
#define ENUM_MAX      64 /* values looked for in the text */

static json_t *fill_value(struct fill *f, const json_t *schema, const struct hint *h, int depth);

/* "#/$defs/Party" → the schema there; NULL when there is none. */
static const json_t *resolve(const json_t *root, struct str ref)
{
	struct str part;
	if (!str_has_prefix(ref, STR("#")))
		return NULL;
	ref = str_sub(ref, 1, ref.n);
	if (ref.n == 0)
		return root;
	ref = str_sub(ref, 1, ref.n);
	while (root && str_split(&ref, '/', &part))
		root = json_object_getn(root, part.p, part.n);
	return root;
}

/* allOf as one object: later parts add to properties and required. The caller owns it. */
static json_t *merge_all(const struct fill *f, const json_t *schema)
{
	json_t *out = json_deep_copy(schema), *part;
	size_t i;
	json_object_del(out, "allOf");
	json_array_foreach(json_object_get(schema, "allOf"), i, part)
	{
		struct str ref = json_str(part, "$ref");
		const json_t *one = ref.p ? resolve(f->root, ref) : part;
		const char *key;
		json_t *value;
		if (!json_is_object(one) || i > 16)
			continue;
		json_t *copy = json_deep_copy(one);
		json_object_foreach(copy, key, value)
		{
			json_t *there = json_object_get(out, key);
			if (json_is_object(there) && json_is_object(value))
				json_object_update(there, value);
			else if (json_is_array(there) && json_is_array(value))
				json_array_extend(there, value);
			else
				json_object_set(out, key, value);
		}
		json_decref(copy);
	}
	return out;
}

static struct str type_of(const json_t *schema)
{
	const json_t *type = json_object_get(schema, "type"), *one;
	size_t i;
	if (json_is_string(type))
		return json_str_of(type);
	json_array_foreach(type, i, one)
	{
		if (!str_eq(json_str_of(one), STR("null")))
			return json_str_of(one);
	}
	if (json_array_size(type) > 0)
		return STR("null");
	if (json_object_get(schema, "properties"))
		return STR("object");
	return json_object_get(schema, "items") ? STR("array") : STR("string");
}

/* How often the text holds want as whole words; at most 100. */
static size_t occurrences(struct str text, struct str want)
{
	size_t n = 0;
	want = str_sub(want, 0, 64);
	while (want.n > 0 && n < 100) {
		ssize_t at = str_find_nocase(text, want);
		if (at < 0)
			break;
		char before = at > 0 ? text.p[at - 1] : ' ';
		size_t end = (size_t)at + want.n;
		char after = end < text.n ? text.p[end] : ' ';
		n += !isalnum((unsigned char)before) && !isalnum((unsigned char)after);
		text = str_sub(text, end, text.n);
	}
	return n;
}

/* The value that the text speaks of most; the first when it speaks of none. */
static json_t *choose(struct fill *f, const json_t *values)
{
	struct str text = f->focus.p ? f->focus : f->doc->body;
	json_t *best = json_array_get(values, 0), *one;
	size_t i, most = 0;
	json_array_foreach(values, i, one)
	{
		size_t n = i < ENUM_MAX ? occurrences(text, json_str_of(one)) : 0;
		if (n > most) {
			most = n;
			best = one;
		}
	}
	return json_deep_copy(best);
}

static size_t code_points(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static json_t *fit_string(struct fill *f, const json_t *schema, struct str s)
{
	int64_t min = json_i64(schema, "minLength", 0), max = json_i64(schema, "maxLength", INT64_MAX);
	s = str_utf8_prefix(s, (size_t)MAX((int64_t)0, MIN(max, (int64_t)STRING_MAX)));
	size_t have = code_points(s), want = (size_t)MAX((int64_t)0, MIN(min, (int64_t)STRING_MAX));
	if (have < want) {
		char *padded = (char *)arena_alloc(f->doc->arena, s.n + want - have);
		if (s.n > 0)
			memcpy(padded, s.p, s.n);
		memset(padded + s.n, '.', want - have);
		s = (struct str){ padded, s.n + want - have };
	}
	return json_from_str(s);
}

static double number_at(const json_t *schema, const char *key, double fallback)
{
	const json_t *v = json_object_get(schema, key);
	return json_is_number(v) ? json_number_value(v) : fallback;
}

static json_t *fit_number(const json_t *schema, double v, bool whole)
{
	double step = number_at(schema, "multipleOf", whole ? 1 : 0), unit = whole ? 1 : 0.001;
	double min = number_at(schema, "minimum", -9e15), max = number_at(schema, "maximum", 9e15);
	min = MAX(min, number_at(schema, "exclusiveMinimum", -9.1e15) + unit);
	max = MIN(max, number_at(schema, "exclusiveMaximum", 9.1e15) - unit);
	v = MIN(MAX(v, min), max);
	if (step > 0) {
		double times = v / step;
		int64_t k = times > 9e15 || times < -9e15 ? 0 : (int64_t)times;
		v = (double)k * step;
		if (v < min)
			v += step;
	}
	return whole ? json_integer((json_int_t)MIN(MAX(v, -9e15), 9e15)) : json_real(v);
}

/* The words of a property's name: "effectiveDate", "effective_date" → "effective Date". */
static struct hint hint_of(struct fill *f, struct str name, const json_t *schema)
{
	struct str description = str_sub(json_str(schema, "description"), 0, 1000);
	char *out = (char *)arena_alloc(f->doc->arena, 2 * MIN(name.n, (size_t)200) + 1);
	size_t n = 0;
	for (size_t i = 0; i < name.n && i < 200; i++) {
		bool upper = name.p[i] >= 'A' && name.p[i] <= 'Z';
		if (upper && i > 0 && name.p[i - 1] >= 'a' && name.p[i - 1] <= 'z')
			out[n++] = ' ';
		out[n++] = name.p[i];
	}
	struct hint h = { .name = { out, n } };
	h.text = arena_printf(f->doc->arena, STR_FMT " " STR_FMT, STR_ARG(h.name), STR_ARG(description));
	return h;
}

static json_t *fill_object(struct fill *f, const json_t *schema, int depth)
{
	const json_t *required = json_object_get(schema, "required"), *one;
	json_t *out = json_object(), *property;
	const char *name;
	size_t i;
	json_object_foreach(json_object_get(schema, "properties"), name, property)
	{
		bool needed = false;
		if (f->nodes > FILL_NODES_MAX)
			break;
		json_array_foreach(required, i, one) needed |= i < FILL_NODES_MAX && str_eq_z(json_str_of(one), name);
		if (!needed && (depth > FILL_DEPTH_MAX / 2 || f->nodes > FILL_NODES_MAX / 2))
			continue;
		struct hint h = hint_of(f, str_from(name), property);
		json_object_set_new(out, name, fill_value(f, property, &h, depth + 1));
	}
	/* Required, but not described: any value is good. */
	json_array_foreach(required, i, one)
	{
		if (i < FILL_NODES_MAX && json_is_string(one) && !json_object_get(out, json_string_value(one)))
			json_set_str(out, json_string_value(one), f->doc->title);
	}
	return out;
}

static void add_found(struct fill *f, json_t *out, const json_t *items, size_t n,
                      bool (*find)(struct str *, struct found *))
{
	struct str rest = f->doc->body;
	struct found found;
	while (json_array_size(out) < n && find(&rest, &found)) {
		json_t *v = fit_string(f, items, found.text), *seen;
		size_t i;
		bool twice = false;
		json_array_foreach(out, i, seen) twice |= json_equal(seen, v);
		if (twice)
			json_decref(v);
		else
			json_array_append_new(out, v);
	}
}

static void add_keywords(struct fill *f, json_t *out, const json_t *items, size_t n)
{
	const struct words *w = &f->doc->words;
	uint8_t *taken = arena_array(f->doc->arena, uint8_t, w->n + 1);
	while (json_array_size(out) < n) {
		size_t best = SIZE_MAX;
		for (size_t i = 0; i < w->n; i++) {
			if (!taken[i] && !w->all[i].is_stop && w->all[i].stem.n > 2 &&
			    (best == SIZE_MAX || w->all[i].count > w->all[best].count))
				best = i;
		}
		if (best == SIZE_MAX)
			return;
		taken[best] = 1;
		json_array_append_new(out, fit_string(f, items, w->all[best].stem));
	}
}

/* The values of an enum that the text speaks of. */
static void add_chosen(struct fill *f, json_t *out, const json_t *values, size_t n)
{
	json_t *one;
	size_t i;
	json_array_foreach(values, i, one)
	{
		if (json_array_size(out) < n && i < ENUM_MAX && occurrences(f->doc->body, json_str_of(one)) > 0)
			json_array_append(out, one);
	}
}

static void add_sentences(struct fill *f, json_t *out, const json_t *items, const struct hint *h, size_t n, int depth)
{
	size_t places[SUMMARY_MAX];
	size_t got = fill_pick(f, h, n, places);
	struct str outer = f->focus;
	for (size_t i = 0; i < got; i++) {
		f->focus = f->doc->sentences[places[i]].text;
		json_array_append_new(out, fill_value(f, items, h, depth + 1));
	}
	f->focus = outer;
}

/* Fewer than minItems were found: more of the same kind, made different from one another where it must be. */
static void pad_items(struct fill *f, json_t *out, const json_t *items, const struct hint *h, size_t min, int depth)
{
	for (size_t n = json_array_size(out); n < min; n++) {
		json_t *v = fill_value(f, items, h, depth + 1);
		json_t *values = json_object_get(items, "enum");
		if (values) {
			json_decref(v);
			v = json_deep_copy(json_array_get(values, n % MAX((size_t)1, json_array_size(values))));
		} else if (json_is_string(v)) {
			struct str s = arena_printf(f->doc->arena, "%zu. " STR_FMT, n + 1, STR_ARG(json_str_of(v)));
			json_decref(v);
			v = fit_string(f, items, s);
		} else if (json_is_integer(v)) {
			json_integer_set(v, json_integer_value(v) + (json_int_t)n);
		}
		json_array_append_new(out, v);
	}
}

static json_t *fill_array(struct fill *f, const json_t *schema, const struct hint *h, int depth)
{
	static const char *const of_dates[] = { "date", "deadline", NULL }, *const of_amounts[] = { "amount", "price",
		                                                                                    "fee", "cost",
		                                                                                    NULL };
	static const char *const of_keywords[] = { "keyword", "topic", "tag", "term", NULL }, *const of_urls[] = {
		"url", "link", NULL
	};
	json_t *out = json_array();
	const json_t *items = json_object_get(schema, "items"), *values;
	size_t min = (size_t)MAX((int64_t)0, MIN(json_i64(schema, "minItems", 0), (int64_t)ITEMS_MAX));
	size_t max = (size_t)MAX((int64_t)0, MIN(json_i64(schema, "maxItems", ITEMS_MAX), (int64_t)ITEMS_MAX));
	size_t n = MIN(MAX(instruction_count(json_str(schema, "description"), "", ITEMS_DEFAULT), min), max);
	struct str ref = json_str(items, "$ref");
	if (ref.p && resolve(f->root, ref))
		items = resolve(f->root, ref);
	bool strings = str_eq(type_of(items), STR("string")) && !json_object_get(items, "format");
	values = json_object_get(items, "enum");
	if (depth > FILL_DEPTH_MAX / 2 || f->nodes > FILL_NODES_MAX / 2)
		n = min;
	if (values)
		add_chosen(f, out, values, n);
	else if (strings && hint_is(h, of_dates))
		add_found(f, out, items, n, find_date);
	else if (strings && hint_is(h, of_amounts))
		add_found(f, out, items, n, find_amount);
	else if (strings && hint_is(h, of_urls))
		add_found(f, out, items, n, find_url);
	else if (strings && hint_is(h, of_keywords))
		add_keywords(f, out, items, n);
	else
		add_sentences(f, out, items, h, n, depth);
	pad_items(f, out, items, h, min, depth);
	return out;
}

static json_t *fill_typed(struct fill *f, const json_t *schema, const struct hint *h, int depth)
{
	struct str type = type_of(schema);
	if (str_eq(type, STR("object")))
		return fill_object(f, schema, depth);
	if (str_eq(type, STR("array")))
		return fill_array(f, schema, h, depth);
	if (str_eq(type, STR("integer")) || str_eq(type, STR("number")))
		return fit_number(schema, fill_number(f, h), str_eq(type, STR("integer")));
	if (str_eq(type, STR("boolean")))
		return json_boolean(fill_boolean(f, h));
	if (str_eq(type, STR("null")))
		return json_null();
	return fit_string(f, schema, fill_string(f, schema, h));
}

static json_t *fill_value(struct fill *f, const json_t *schema, const struct hint *h, int depth)
{
	static const char *const unions[] = { "anyOf", "oneOf" };
	if (++f->nodes > FILL_NODES_MAX || depth > 2 * FILL_DEPTH_MAX)
		return json_null();
	struct str ref = json_str(schema, "$ref");
	if (ref.p)
		return fill_value(f, resolve(f->root, ref), h, depth + 1);
	if (json_object_get(schema, "const"))
		return json_deep_copy(json_object_get(schema, "const"));
	if (json_array_size(json_object_get(schema, "enum")) > 0)
		return choose(f, json_object_get(schema, "enum"));
	if (json_array_size(json_object_get(schema, "allOf")) > 0) {
		json_t *merged = merge_all(f, schema);
		f->nodes += 20; /* copies are dear */
		json_t *v = fill_value(f, merged, h, depth + 1);
		json_decref(merged);
		return v;
	}
	for (size_t u = 0; u < ARRAY_LEN(unions); u++) {
		const json_t *parts = json_object_get(schema, unions[u]), *part;
		size_t i;
		json_array_foreach(parts, i, part)
		{
			if (!str_eq(json_str(part, "type"), STR("null")))
				return fill_value(f, part, h, depth + 1);
		}
	}
	return fill_typed(f, schema, h, depth);
}

json_t *schema_fill(const struct document *d, struct str prompt, const json_t *schema)
{
	struct fill f = { .doc = d, .root = schema, .prompt = prompt };
	f.used = arena_array(d->arena, uint8_t, d->nsentences + 1);
	struct hint h = hint_of(&f, json_str(schema, "title"), schema);
	return fill_value(&f, schema, &h, 0);
}

json_t *schema_fill_free(const struct document *d, struct str prompt)
{
	static const char *const lists[] = { "duties", "obligations", "parties", "dates",       "amounts",   "keywords",
		                             "rights", "risks",       "topics",  "permissions", "conditions" };
	json_t *schema = json_pack("{s:s, s:{s:{s:s}, s:{s:s}}}", "type", "object", "properties", "title", "type",
	                           "string", "summary", "type", "string");
	json_t *properties = json_object_get(schema, "properties");
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		if (str_find_nocase(str_sub(prompt, 0, 4000), str_from(lists[i])) >= 0)
			json_object_set_new(properties, lists[i],
			                    json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string"));
	}
	json_t *out = schema_fill(d, prompt, schema);
	json_decref(schema);
	return out;
}
