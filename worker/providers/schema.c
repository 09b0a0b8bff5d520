/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversion of schemas, keyword by keyword, as the official SDKs do it ("How SDK transformation works" in Anthropic: Structured
 * outputs). Nothing can fail: what is not understood is left out of the schema and told in words, and a schema that is no object asks for nothing.
 */
#include "worker/providers/schema.h"

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq_z(str_from(word), words[i]))
			return true;
	return false;
}
#define IS_ONE_OF(word, words) is_one_of((word), (words), ARRAY_LEN(words))

static json_t *each_member(const json_t *object)
{
	json_t *all = json_object(), *v;
	const char *key;
	json_object_foreach ((json_t *)(uintptr_t)object, key, v)
		json_object_set_new_nocheck(all, key, schema_for_anthropic(v));
	return all;
}

static json_t *each_item(const json_t *array)
{
	json_t *all = json_array();
	const json_t *v;
	size_t i;
	json_array_foreach (array, i, v)
		json_array_append_new(all, schema_for_anthropic(v));
	return all;
}

static bool format_is_taken(const json_t *v)
{
	static const char *const formats[] = { "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid" };
	return json_is_string(v) && IS_ONE_OF(json_string_value(v), formats);
}

/* Keyword and value as Anthropic takes them, or NULL: it does not. */
static json_t *taken(const char *key, const json_t *v, const char **ret_key)
{
	static const char *const as_they_are[] = { "type", "enum", "const", "required", "title", "description", "default" };
	static const char *const members[] = { "properties", "$defs", "definitions" };
	static const char *const lists[] = { "anyOf", "allOf" };
	*ret_key = key;
	if (IS_ONE_OF(key, as_they_are))
		return json_deep_copy(v);
	if (IS_ONE_OF(key, members) && json_is_object(v))
		return each_member(v);
	if (IS_ONE_OF(key, lists) && json_is_array(v))
		return each_item(v);
	if (str_eq_z(str_from(key), "oneOf") && json_is_array(v)) {
		*ret_key = "anyOf";
		return each_item(v);
	}
	if (str_eq_z(str_from(key), "items") && json_is_object(v))
		return schema_for_anthropic(v);
	bool few = json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= 1;
	if ((str_eq_z(str_from(key), "minItems") && few) || (str_eq_z(str_from(key), "format") && format_is_taken(v)))
		return json_deep_copy(v);
	return NULL;
}

/* "minimum: 0, pattern: \"^a\"" */
static void tell(struct buf *words, const char *key, const json_t *v)
{
	if (words->n)
		buf_add_z(words, ", ");
	buf_add_z(words, key);
	buf_add_z(words, ": ");
	json_write(words, v);
}

static void describe(json_t *out, const struct buf *words)
{
	struct str before = json_str(out, "description");
	struct buf text;
	buf_init(&text, SIZE_MAX / 8);
	buf_add_str(&text, before);
	buf_add_z(&text, before.n ? "\n\n{" : "{");
	buf_add_str(&text, buf_str(words));
	buf_add_char(&text, '}');
	json_set_str(out, "description", buf_str(&text));
	buf_done(&text);
}

static bool is_object_schema(const json_t *schema)
{
	const json_t *type = json_get(schema, "type"), *one;
	size_t i;
	bool found = str_eq_z(json_str_of(type), "object") || json_is_object(json_get(schema, "properties"));
	json_array_foreach (type, i, one)
		found |= str_eq_z(json_str_of(one), "object");
	return found;
}

/* Names and places of the schema itself; additionalProperties is set below. */
static bool says_nothing(const char *key)
{
	static const char *const keys[] = { "$schema", "$id", "$anchor", "$comment", "additionalProperties", "strict" };
	return IS_ONE_OF(key, keys);
}

/* A reference stands alone: what is beside it would be refused. */
static json_t *reference(const json_t *schema)
{
	static const char *const definitions[] = { "$defs", "definitions" };
	json_t *out = json_object();
	json_object_set(out, "$ref", json_get(schema, "$ref"));
	for (size_t i = 0; i < ARRAY_LEN(definitions); i++)
		if (json_is_object(json_get(schema, definitions[i])))
			json_object_set_new(out, definitions[i], each_member(json_get(schema, definitions[i])));
	return out;
}

json_t *schema_for_anthropic(const json_t *schema)
{
	if (json_is_string(json_get(schema, "$ref")))
		return reference(schema);
	json_t *out = json_object(), *v;
	const char *key, *as;
	struct buf words;
	buf_init(&words, SIZE_MAX / 8);
	json_object_foreach ((json_t *)(uintptr_t)schema, key, v) {
		json_t *mine = says_nothing(key) ? NULL : taken(key, v, &as);
		if (mine && !json_get(out, as))
			json_object_set(out, as, mine);
		else if (!says_nothing(key))
			tell(&words, key, v);
		json_decref(mine);
	}
	if (is_object_schema(schema))
		json_object_set_new(out, "additionalProperties", json_false());
	if (words.n)
		describe(out, &words);
	buf_done(&words);
	return out;
}
