/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: a quick reader (json_read.c) takes the usual texts, jansson the rest and all that is wrong; an own serializer writes.
 *
 * Before jansson sees a text, one pass over it counts levels and looks for NUL bytes, since jansson's parser recurses by
 * level and would take 160 KB of stack for its own limit of 2,048. It refuses by itself: invalid UTF-8, "\u0000", control
 * bytes in strings, integers beyond 64 bits, and (in strict mode) duplicate keys.
 *
 * The serializer exists for speed: answers and hashes of requests are written on the hot path, and jansson's writer takes its
 * output piece by piece through a callback. Strings go through buf_add_json_str; reals are written with 15 digits when those read
 * back as the same number, else with 17, and always look like reals ("1.0", not "1").
 */
#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#include "common/json_read.h"

#define WRITE_DEPTH_MAX 256 /* values that Millrace builds itself around parsed ones */

/* --- reading --- */

/* The rest of a string after its opening quote: the offset behind its closing quote, or n. */
static size_t skip_string(struct str s, size_t at)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	for (;;) {
		uint64_t v;
		while (s.n - at >= sizeof(v)) {
			memcpy(&v, s.p + at, sizeof(v));
			uint64_t quote = v ^ (ones * '"'), backslash = v ^ (ones * '\\');
			/* Exact zero-byte tests; text that is not ASCII passes at full speed too. */
			uint64_t found = ((v - ones) & ~v) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
			if (found & tops)
				break;
			at += sizeof(v);
		}
		for (size_t end = MIN(s.n, at + sizeof(v)); at < end; at++) {
			if (s.p[at] == '"')
				return at + 1;
			if (s.p[at] == '\0')
				return at;
			if (s.p[at] == '\\')
				at++;
		}
		if (at >= s.n)
			return s.n;
	}
}

/* Levels, NUL bytes, lists and objects, and values (not more than brackets and commas), in one pass. What is not JSON at all is left to jansson to name. */
static int scan(struct str s, struct json_limits most, struct err *err)
{
	int depth = 0;
	size_t values = 1, nests = 0;
	for (size_t at = 0; at < s.n;) {
		char c = s.p[at++];
		if (c == '"') {
			at = skip_string(s, at);
		} else if (c == '{' || c == '[') {
			values++;
			nests++;
			if (++depth > JSON_DEPTH_MAX)
				return err_set(err, ERR_BAD_JSON, "nested deeper than %d levels", JSON_DEPTH_MAX);
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',') {
			values++;
		} else if (c == '\0') {
			return err_set(err, ERR_BAD_JSON, "a NUL byte at offset %zu", at - 1);
		}
		if (values > most.values)
			return err_set(err, ERR_BAD_JSON, "more than %zu values", most.values);
		if (nests > most.nests)
			return err_set(err, ERR_BAD_JSON, "more than %zu lists and objects", most.nests);
	}
	return 0;
}

static json_t *parse(struct str s, size_t flags, struct json_limits most, struct err *err)
{
	json_error_t where;
	json_t *quick = json_read(s, flags & JSON_REJECT_DUPLICATES, most);
	if (quick)
		return quick;
	if (scan(s, most, err) < 0)
		return NULL;
	json_t *v = json_loadb(s.p ? s.p : "", s.n, flags | JSON_DECODE_ANY, &where);
	if (!v) {
		/* Without "near '…'": an excerpt of the payload, cut anywhere. */
		struct str text = str_from(where.text);
		ssize_t near = str_find(text, STR(" near '"));
		text = near < 0 ? text : str_sub(text, 0, (size_t)near);
		if (str_find(text, STR("JSON_ALLOW_NUL")) >= 0)
			text = STR("\\u0000 is not allowed");
		if (str_trim(s).n == 0)
			err_set(err, ERR_BAD_JSON, "there is nothing: wanted JSON");
		else
			err_set(err, ERR_BAD_JSON, "line %d, column %d: " STR_FMT, where.line, where.column, STR_ARG(text));
	}
	return v;
}

json_t *json_parse(struct str s, struct err *err)
{
	return parse(s, JSON_REJECT_DUPLICATES, (struct json_limits){ JSON_VALUES_MAX, JSON_VALUES_MAX }, err);
}

json_t *json_parse_lenient(struct str s, struct err *err)
{
	return parse(s, 0, (struct json_limits){ SIZE_MAX, SIZE_MAX }, err);
}

json_t *json_parse_answer(struct str s, struct err *err)
{
	return parse(s, 0, (struct json_limits){ SIZE_MAX, JSON_NESTS_FREE + s.n / JSON_NEST_BYTES }, err);
}

/* --- writing --- */

static void write_value(struct buf *b, const json_t *v, bool sorted, int depth);

static void write_real(struct buf *b, double value)
{
	size_t start = b->n;
	if (buf_printf(b, "%.15g", value) < 0)
		return;
	char *end = buf_room(b, 0);
	if (!end)
		return;
	*end = '\0'; /* the spare byte */
	double back = strtod(b->p + start, NULL);
	if (memcmp(&back, &value, sizeof(back)) != 0) {
		buf_truncate(b, start);
		if (buf_printf(b, "%.17g", value) < 0)
			return;
	}
	struct str text = str_sub(buf_str(b), start, b->n);
	if (str_find_char(text, '.') < 0 && str_find_char(text, 'e') < 0)
		buf_add_z(b, ".0");
}

static void write_array(struct buf *b, const json_t *v, bool sorted, int depth)
{
	size_t n = json_array_size(v);
	buf_add_char(b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(b, ',');
		write_value(b, json_array_get(v, i), sorted, depth + 1);
	}
	buf_add_char(b, ']');
}

struct member {
	struct str key;
	const json_t *value;
};

static void write_member(struct buf *b, const struct member *m, bool first, bool sorted, int depth)
{
	if (!first)
		buf_add_char(b, ',');
	buf_add_json_str(b, m->key);
	buf_add_char(b, ':');
	write_value(b, m->value, sorted, depth + 1);
}

static struct member member_at(void *iter)
{
	return (struct member){ { json_object_iter_key(iter), json_object_iter_key_len(iter) }, json_object_iter_value(iter) };
}

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	size_t n = MIN(x->key.n, y->key.n);
	int order = n ? memcmp(x->key.p, y->key.p, n) : 0;
	return order ? order : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

static void write_object_sorted(struct buf *b, json_t *v, int depth)
{
	size_t n = json_object_size(v), i = 0;
	struct member few[16], *members = few;
	if (n > ARRAY_LEN(few)) {
		members = calloc(n, sizeof(*members));
		if (!members)
			abort();
	}
	for (void *iter = json_object_iter(v); iter && i < n; iter = json_object_iter_next(v, iter))
		members[i++] = member_at(iter);
	qsort(members, n, sizeof(*members), compare_members);
	for (i = 0; i < n; i++)
		write_member(b, &members[i], i == 0, true, depth);
	if (members != few)
		free(members);
}

static void write_object(struct buf *b, const json_t *v, bool sorted, int depth)
{
	json_t *object = (json_t *)(uintptr_t)v; /* jansson iterates over non-const values only; nothing is changed */
	buf_add_char(b, '{');
	if (sorted) {
		write_object_sorted(b, object, depth);
	} else {
		bool first = true;
		for (void *iter = json_object_iter(object); iter; iter = json_object_iter_next(object, iter), first = false) {
			struct member m = member_at(iter);
			write_member(b, &m, first, false, depth);
		}
	}
	buf_add_char(b, '}');
}

static void write_value(struct buf *b, const json_t *v, bool sorted, int depth)
{
	assert(depth < WRITE_DEPTH_MAX);
	if (b->failed)
		return;
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		write_object(b, v, sorted, depth);
		break;
	case JSON_ARRAY:
		write_array(b, v, sorted, depth);
		break;
	case JSON_STRING:
		buf_add_json_str(b, json_str_of(v));
		break;
	case JSON_INTEGER:
		buf_add_i64(b, json_integer_value(v));
		break;
	case JSON_REAL:
		write_real(b, json_real_value(v));
		break;
	case JSON_TRUE:
		buf_add(b, "true", 4);
		break;
	case JSON_FALSE:
		buf_add(b, "false", 5);
		break;
	case JSON_NULL:
		buf_add(b, "null", 4);
		break;
	}
}

int json_write(struct buf *b, const json_t *v)
{
	write_value(b, v, false, 0);
	return b->failed ? -ERR_TOO_LARGE : 0;
}

int json_write_sorted(struct buf *b, const json_t *v)
{
	write_value(b, v, true, 0);
	return b->failed ? -ERR_TOO_LARGE : 0;
}

/* --- looking up --- */

json_t *json_get(const json_t *object, const char *key)
{
	return json_object_get(object, key);
}

struct str json_str_of(const json_t *string)
{
	return (struct str){ json_string_value(string), json_string_length(string) };
}

struct str json_str(const json_t *object, const char *key)
{
	return json_str_of(json_get(object, key));
}

int64_t json_i64(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *v = json_get(object, key);
	return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool json_bool(const json_t *object, const char *key, bool fallback)
{
	const json_t *v = json_get(object, key);
	return json_is_boolean(v) ? json_is_true(v) : fallback;
}

/* --- building --- */

/* The rare way: text that is not UTF-8. */
static json_t *from_broken_str(struct str s)
{
	struct buf b;
	buf_init(&b, SIZE_MAX / 8);
	while (s.n) {
		size_t n = str_utf8_len(str_sub(s, 0, 4));
		if (n)
			buf_add(&b, s.p, n);
		else
			buf_add(&b, "\xEF\xBF\xBD", 3);
		s = str_sub(s, MAX(n, (size_t)1), s.n);
	}
	json_t *v = buf_failed(&b) ? NULL : json_stringn(b.p, b.n);
	buf_done(&b);
	return v;
}

json_t *json_from_str(struct str s)
{
	json_t *v = str_is_utf8(s) ? json_stringn_nocheck(s.p ? s.p : "", s.n) : from_broken_str(s);
	if (!v)
		abort();
	return v;
}

void json_set_str(json_t *object, const char *key, struct str s)
{
	int rc = json_object_set_new(object, key, json_from_str(s));
	assert(rc == 0);
}

void json_set_i64(json_t *object, const char *key, int64_t v)
{
	int rc = json_object_set_new(object, key, json_integer(v));
	assert(rc == 0);
}

void json_drop(json_t **v)
{
	json_decref(*v);
	*v = NULL;
}
