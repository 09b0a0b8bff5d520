/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Schema to the subset of OpenAPI 3.0 that the older form of Gemini's structured output takes ("Gemini API: Schema"). Nothing fails: what
 * cannot be said is left out, so the answer is checked against the original by whoever wants to be sure.
 *
 * References are replaced by what they name. One that leads back to itself ends as an object of any kind, and a schema that would grow without
 * measure (each definition naming the next one twice) stops growing at NODES_MAX.
 */
#include "worker/providers/schema.h"

#define NODES_MAX 5000
#define DEPTH_MAX 40 /* levels of the result: what holds it is counted by JSON_DEPTH_MAX, too */

/* References on the way down to here. */
struct trail {
	const struct trail *up;
	const json_t *target;
};

struct job {
	const json_t *root;
	int nodes;
};

static json_t *convert(struct job *j, const json_t *schema, const struct trail *trail, int depth);

/* --- references --- */

static bool unescape_step(struct str step, struct buf *b)
{
	buf_clear(b);
	for (size_t i = 0; i < step.n; i++) {
		bool tilde = step.p[i] == '~' && i + 1 < step.n;
		buf_add_char(b, tilde ? step.p[i + 1] == '1' ? '/' : '~' : step.p[i]);
		i += tilde;
	}
	return buf_add_char(b, '\0') == 0;
}

/* "#", "#/$defs/Name": a JSON pointer into the schema itself (RFC 6901). NULL: it leads nowhere. */
static const json_t *resolve(const struct job *j, struct str ref)
{
	const json_t *at = j->root;
	struct str step;
	struct buf name;
	if (!str_has_prefix(ref, STR("#")))
		return NULL;
	struct str path = str_sub(ref, 1, ref.n);
	buf_init(&name, 1000);
	str_split(&path, '/', &step); /* what stands before the first slash */
	while (at && str_split(&path, '/', &step))
		at = unescape_step(step, &name) ? json_get(at, name.p) : NULL;
	buf_done(&name);
	return at;
}

static json_t *any_object(void)
{
	json_t *v = json_object();
	json_set_str(v, "type", STR("OBJECT"));
	return v;
}

static json_t *convert_reference(struct job *j, struct str ref, const struct trail *trail, int depth)
{
	const json_t *target = resolve(j, ref);
	for (const struct trail *t = trail; t && target; t = t->up)
		if (t->target == target)
			target = NULL;
	return target ? convert(j, target, &(struct trail){ trail, target }, depth) : any_object();
}

/* --- types --- */

static bool set_type(json_t *out, struct str type)
{
	static const struct {
		struct str from, to;
	} types[] = { { STR("string"), STR("STRING") }, { STR("number"), STR("NUMBER") }, { STR("integer"), STR("INTEGER") },
		      { STR("boolean"), STR("BOOLEAN") }, { STR("array"), STR("ARRAY") }, { STR("object"), STR("OBJECT") }, { STR("null"), STR("NULL") } };
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (str_eq_nocase(type, types[i].from)) {
			json_set_str(out, "type", types[i].to);
			return true;
		}
	return false;
}

static void set_nullable(json_t *out)
{
	json_object_set_new(out, "nullable", json_true());
}

/* ["string", "null"] is a nullable string; more types are alternatives. */
static void set_types(json_t *out, const json_t *type)
{
	json_t *alternatives = json_array(), *first;
	const json_t *one;
	size_t i;
	if (json_is_string(type))
		set_type(out, json_str_of(type));
	json_array_foreach (type, i, one) {
		json_t *v = json_object();
		if (str_eq_z(json_str_of(one), "null"))
			set_nullable(out);
		else if (set_type(v, json_str_of(one)))
			json_array_append(alternatives, v);
		json_decref(v);
	}
	first = json_array_get(alternatives, 0);
	if (json_array_size(alternatives) == 1)
		json_object_set(out, "type", json_get(first, "type"));
	else if (first)
		json_object_set(out, "anyOf", alternatives);
	else if (json_is_array(type) && json_array_size(type) > 0)
		set_type(out, STR("null"));
	json_decref(alternatives);
}

/* Values of an enum are text in OpenAPI's subset, numbers too; null is `nullable`. */
static void set_enum(json_t *out, const json_t *values)
{
	json_t *list = json_array();
	const json_t *v;
	size_t i;
	json_array_foreach (values, i, v) {
		struct buf text;
		buf_init(&text, SIZE_MAX / 8);
		if (json_is_null(v))
			set_nullable(out);
		else if (json_is_string(v))
			json_array_append_new(list, json_from_str(json_str_of(v)));
		else if (!json_is_object(v) && !json_is_array(v) && json_write(&text, v) == 0)
			json_array_append_new(list, json_from_str(buf_str(&text)));
		buf_done(&text);
	}
	if (json_array_size(list) > 0) {
		const json_t *first = json_array_get(values, 0);
		json_object_set(out, "enum", list);
		if (!json_get(out, "type"))
			set_type(out, json_is_integer(first) ? STR("integer") : json_is_real(first) ? STR("number") : STR("string"));
	}
	json_decref(list);
}

/* --- what holds other schemas --- */

static void set_properties(struct job *j, json_t *out, const json_t *properties, const struct trail *trail, int depth)
{
	json_t *all = json_get(out, "properties") ? json_incref(json_get(out, "properties")) : json_object(), *v;
	const char *key;
	json_object_foreach ((json_t *)(uintptr_t)properties, key, v) {
		json_t *one = convert(j, v, trail, depth + 1);
		if (one)
			json_object_set_new_nocheck(all, key, one);
	}
	if (json_object_size(all) > 0)
		json_object_set(out, "properties", all);
	json_decref(all);
}

/* anyOf and oneOf. Null among them is `nullable`; what is left alone is inlined. */
static void set_alternatives(struct job *j, json_t *out, const json_t *list, const struct trail *trail, int depth)
{
	json_t *all = json_array();
	const json_t *v;
	size_t i;
	json_array_foreach (list, i, v) {
		json_t *one = convert(j, v, trail, depth + 1);
		if (str_eq_z(json_str(one, "type"), "NULL"))
			set_nullable(out);
		else if (one)
			json_array_append(all, one);
		json_decref(one);
	}
	if (json_array_size(all) == 1)
		json_object_update_missing(out, json_array_get(all, 0));
	else if (json_array_size(all) > 1)
		json_object_set(out, "anyOf", all);
	json_decref(all);
}

static void add_required(json_t *out, const json_t *names)
{
	json_t *all = json_get(out, "required") ? json_incref(json_get(out, "required")) : json_array();
	json_t *name;
	size_t i;
	json_array_foreach (names, i, name)
		if (json_is_string(name))
			json_array_append(all, name);
	if (json_array_size(all) > 0)
		json_object_set(out, "required", all);
	json_decref(all);
}

/* allOf has no counterpart: the parts are laid over each other. */
static void merge_all(struct job *j, json_t *out, const json_t *list, const struct trail *trail, int depth)
{
	const json_t *v;
	size_t i;
	json_array_foreach (list, i, v) {
		json_t *one = convert(j, v, trail, depth + 1);
		if (json_is_object(json_get(out, "properties")))
			json_object_update_missing(json_get(out, "properties"), json_get(one, "properties"));
		add_required(out, json_get(one, "required"));
		if (one)
			json_object_update_missing(out, one);
		json_decref(one);
	}
}

/* Only names that are properties may be required, each once. */
static void tidy_required(json_t *out)
{
	json_t *kept = json_array(), *seen = json_object(), *name;
	size_t i;
	json_array_foreach (json_get(out, "required"), i, name) {
		const char *key = json_string_value(name);
		if (json_get(json_get(out, "properties"), key) && !json_get(seen, key)) {
			json_object_set_nocheck(seen, key, name);
			json_array_append(kept, name);
		}
	}
	json_object_del(out, "required");
	if (json_array_size(kept) > 0)
		json_object_set(out, "required", kept);
	json_decref(kept);
	json_decref(seen);
}

static void copy_simple(json_t *out, const json_t *schema)
{
	static const char *const texts[] = { "title", "description", "format", "pattern" };
	static const char *const numbers[] = { "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (json_is_string(json_get(schema, texts[i])))
			json_object_set(out, texts[i], json_get(schema, texts[i]));
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (json_is_number(json_get(schema, numbers[i])))
			json_object_set(out, numbers[i], json_get(schema, numbers[i]));
	if (json_is_true(json_get(schema, "nullable")))
		set_nullable(out);
}

static void set_constant(json_t *out, const json_t *value)
{
	json_t *one = json_array();
	json_array_append(one, (json_t *)(uintptr_t)value);
	set_enum(out, one);
	json_decref(one);
}

static json_t *convert_members(struct job *j, const json_t *schema, const struct trail *trail, int depth)
{
	json_t *out = json_object();
	copy_simple(out, schema);
	set_types(out, json_get(schema, "type"));
	if (json_get(schema, "const"))
		set_constant(out, json_get(schema, "const"));
	set_enum(out, json_get(schema, "enum"));
	set_properties(j, out, json_get(schema, "properties"), trail, depth);
	add_required(out, json_get(schema, "required"));
	json_t *items = json_is_object(json_get(schema, "items")) ? convert(j, json_get(schema, "items"), trail, depth + 1) : NULL;
	if (items)
		json_object_set_new(out, "items", items);
	set_alternatives(j, out, json_get(schema, "anyOf"), trail, depth);
	set_alternatives(j, out, json_get(schema, "oneOf"), trail, depth);
	merge_all(j, out, json_get(schema, "allOf"), trail, depth);
	if (!json_get(out, "type") && (json_get(out, "properties") || json_object_size(json_get(schema, "properties")) > 0))
		set_type(out, STR("object"));
	tidy_required(out);
	return out;
}

/* A schema, or NULL where there is nothing to say: `true`, `{}`, or too much has been said. */
static json_t *convert(struct job *j, const json_t *schema, const struct trail *trail, int depth)
{
	if (!json_is_object(schema) || json_object_size(schema) == 0 || depth > DEPTH_MAX || ++j->nodes > NODES_MAX)
		return NULL;
	j->nodes += (int)MIN(json_array_size(json_get(schema, "required")) + json_array_size(json_get(schema, "enum")), (size_t)NODES_MAX);
	struct str ref = json_str(schema, "$ref");
	json_t *out = convert_members(j, schema, trail, depth), *target = ref.n ? convert_reference(j, ref, trail, depth + 1) : NULL;
	if (target)
		json_object_update_missing(out, target); /* what stands beside the reference counts more */
	json_decref(target);
	if (json_object_size(out) > 0)
		return out;
	json_decref(out);
	return NULL;
}

json_t *schema_for_gemini(const json_t *schema)
{
	struct job j = { schema, 0 };
	json_t *out = convert(&j, schema, &(struct trail){ NULL, schema }, 0);
	bool empty_object = json_object_size(out) == 1 && str_eq_z(json_str(out, "type"), "OBJECT");
	if (!empty_object)
		return out;
	json_decref(out);
	return NULL;
}
