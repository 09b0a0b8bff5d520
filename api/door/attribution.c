/* SPDX-License-Identifier: Apache-2.0 */
/* Labels are gathered in one JSON object, the body's first; a name that is there is not replaced. */
#include "api/door/attribution.h"

#include <ctype.h>

#define PAIRS_MAX  16
#define KEY_MAX    64
#define VALUE_MAX  512
#define USER_MAX   256
#define TEXT_MAX   65536 /* of one label, before it is cut */

static const char property[] = "helicone-property-";

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Its first max characters. */
static struct str cut(struct str s, size_t max)
{
	size_t n = 0, i = 0;
	for (; i < s.n; i++)
		if (((unsigned char)s.p[i] & 0xc0) != 0x80 && n++ == max)
			break;
	return str_sub(s, 0, i);
}

/* A value as a label: texts as they are, a list of texts joined by commas, anything else as JSON. In a. */
static struct str label_text(struct arena *a, const json_t *v)
{
	struct buf b;
	size_t i;
	json_t *item;
	bool all_texts = json_is_array(v);
	if (json_is_string(v))
		return json_str_of(v);
	json_array_foreach(v, i, item)
		all_texts = all_texts && json_is_string(item);
	buf_init(&b, TEXT_MAX);
	if (all_texts) {
		json_array_foreach(v, i, item)
		{
			if (i > 0)
				buf_add_char(&b, ',');
			buf_add_str(&b, json_str_of(item));
		}
	} else {
		json_write(&b, v);
	}
	struct str ret = arena_str(a, buf_str(&b));
	buf_done(&b);
	return ret;
}

/* --- the body --- */

static int take_body(json_t *labels, const struct face_request *r, struct arena *a, struct err *err)
{
	const char *key;
	json_t *value;
	if (!r->metadata || json_is_null(r->metadata))
		return 0;
	if (!json_is_object(r->metadata))
		return err_set_at(err, ERR_WRONG_TYPE, "/metadata", "wanted an object");
	if (json_object_size(r->metadata) > PAIRS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/metadata", "wanted at most %d pairs", PAIRS_MAX);
	json_object_foreach(r->metadata, key, value)
	{
		const char *at = submission_pointer(a, "/metadata", str_from(key));
		struct str text = label_text(a, value);
		size_t n = characters(str_from(key));
		if (n < 1 || n > KEY_MAX)
			return err_set_at(err, ERR_OUT_OF_RANGE, at, "a key has 1 to %d characters", KEY_MAX);
		if (characters(text) > VALUE_MAX)
			return err_set_at(err, ERR_OUT_OF_RANGE, at, "a value has at most %d characters", VALUE_MAX);
		if (!json_is_null(value))
			json_set_str(labels, key, text);
	}
	return 0;
}

/* --- headers --- */

static void add(json_t *labels, struct arena *a, struct str key, struct str value)
{
	const char *name = arena_strz(a, key);
	value = cut(str_trim(value), VALUE_MAX);
	if (key.n == 0 || characters(key) > KEY_MAX || value.n == 0 || json_object_size(labels) >= PAIRS_MAX || json_object_get(labels, name))
		return;
	json_t *text = json_from_str(value); /* of what is no UTF-8 a header says, as it can */
	json_object_set_new(labels, name, text);
}

static void add_tags(json_t *labels, struct arena *a, struct str tags)
{
	struct str part, had = json_str(labels, "tags");
	struct buf b;
	buf_init(&b, TEXT_MAX);
	buf_add_str(&b, had);
	while (str_split(&tags, ',', &part)) {
		part = str_trim(part);
		if (b.n && part.n)
			buf_add_char(&b, ',');
		buf_add_str(&b, part);
	}
	json_object_del(labels, "tags");
	add(labels, a, STR("tags"), buf_str(&b));
	buf_done(&b);
}

/* A header with a JSON object. One that is none says nothing. */
static void add_object(json_t *labels, struct arena *a, struct str text, struct str *user)
{
	const char *key;
	json_t *value, *object = json_parse(text, NULL);
	json_object_foreach(object, key, value)
	{
		struct str label = arena_str(a, label_text(a, value));
		if (str_eq_z(STR("_user"), key))
			*user = user->p ? *user : label;
		else
			add(labels, a, str_from(key), label);
	}
	json_decref(object);
}

static struct str lower(struct arena *a, struct str s)
{
	char *out = arena_strz(a, s);
	for (size_t i = 0; i < s.n; i++)
		out[i] = (char)tolower((unsigned char)out[i]);
	return (struct str){ out, s.n };
}

static void add_properties(json_t *labels, struct arena *a, const struct http_req *h)
{
	for (size_t i = 0; i < h->nheaders; i++) {
		struct str name = h->headers[i].name;
		if (str_has_prefix_nocase(name, str_from(property)))
			add(labels, a, lower(a, str_sub(name, sizeof property - 1, name.n)), h->headers[i].value);
	}
}

static void take_headers(json_t *labels, const struct http_req *h, struct arena *a, struct str *user)
{
	static const struct {
		const char *header, *label;
	} plain[] = {
		{ "x-litellm-trace-id", "trace_id" },
		{ "x-portkey-trace-id", "trace_id" },
		{ "helicone-request-id", "trace_id" },
		{ "traceparent", "traceparent" },
	};
	static const char *const users[] = { "x-litellm-end-user-id", "x-litellm-customer-id", "helicone-user-id" };
	static const char *const objects[] = { "x-litellm-spend-logs-metadata", "x-portkey-metadata" };
	struct str v;
	for (size_t i = 0; i < ARRAY_LEN(users); i++)
		if (!user->p && (v = http_req_header(h, users[i])).n)
			*user = v;
	if ((v = http_req_header(h, "x-litellm-tags")).n)
		add_tags(labels, a, v);
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if ((v = http_req_header(h, objects[i])).n)
			add_object(labels, a, v, user);
	add_properties(labels, a, h);
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		if ((v = http_req_header(h, plain[i].header)).n)
			add(labels, a, str_from(plain[i].label), v);
}

/* A header's bytes as well-formed text. */
static struct str clean(struct arena *a, struct str s)
{
	json_t *text = json_from_str(cut(str_trim(s), USER_MAX));
	struct str ret = arena_str(a, json_str_of(text));
	json_decref(text);
	return ret;
}

int attribution_read(const struct http_req *h, const struct face_request *r, struct arena *a, struct str *ret_metadata, struct str *ret_user,
                     struct err *err)
{
	json_t *labels = json_object();
	struct str user = { 0 };
	*ret_metadata = *ret_user = (struct str){ 0 };
	int rc = take_body(labels, r, a, err);
	if (rc == 0 && h)
		take_headers(labels, h, a, &user);
	if (rc == 0 && r->user.n > 0 && characters(r->user) > USER_MAX)
		rc = err_set_at(err, ERR_OUT_OF_RANGE, "/user", "wanted at most %d characters", USER_MAX);
	if (rc == 0) {
		*ret_user = r->user.n ? arena_str(a, r->user) : user.n ? clean(a, user) : (struct str){ 0 };
		struct buf b;
		buf_init(&b, (size_t)1 << 20);
		if (json_object_size(labels) > 0 && json_write(&b, labels) == 0)
			*ret_metadata = arena_str(a, buf_str(&b));
		buf_done(&b);
	}
	json_decref(labels);
	return rc;
}
