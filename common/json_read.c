/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A quick JSON reader that builds jansson's values. jansson reads byte by byte through a callback, three to four times slower.
 *
 * It takes only what it is sure of, and gives up (NULL) on everything else: mistakes, levels beyond JSON_DEPTH_MAX, integers
 * beyond 64 bits, surrogates, escapes in keys, bytes that are not UTF-8. json.c then lets jansson decide, which reads the
 * unusual and names the mistakes. So the rules stand in one place, and a text costs a second look only when it is rare.
 *
 * That both agree on what is taken here is checked by tests/fuzz/fuzz_json.c.
 */
#include "common/json_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"

#define NUMBER_MAX 64 /* bytes; a longer one is unusual */

struct reader {
	struct str rest;    /* not read yet */
	struct buf scratch; /* a string without its escapes */
	bool unique_keys;
	int depth;
	struct json_limits left;
};

static json_t *read_value(struct reader *r);

static inline void advance(struct reader *r, size_t n)
{
	r->rest.p += n;
	r->rest.n -= n;
}

/* The next byte that is no white space, or NUL at the end; not taken. */
static inline char peek(struct reader *r)
{
	while (r->rest.n) {
		char c = r->rest.p[0];
		if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
			return c;
		advance(r, 1);
	}
	return '\0';
}

static inline bool take_char(struct reader *r, char c)
{
	if (peek(r) != c)
		return false;
	advance(r, 1);
	return true;
}

/* \uXXXX, without the surrogates and NUL. */
static bool take_unicode(struct reader *r)
{
	uint32_t c = 0;
	if (r->rest.n < 6)
		return false;
	for (size_t i = 2; i < 6; i++) {
		char h = r->rest.p[i];
		if (h >= '0' && h <= '9')
			c = c << 4 | (uint32_t)(h - '0');
		else if ((h | 0x20) >= 'a' && (h | 0x20) <= 'f')
			c = c << 4 | (uint32_t)((h | 0x20) - 'a' + 10);
		else
			return false;
	}
	if (c == 0 || (c >= 0xD800 && c <= 0xDFFF))
		return false;
	if (c >= 0x800)
		buf_add(&r->scratch, (char[]){ (char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3F)), (char)(0x80 | (c & 0x3F)) }, 3);
	else if (c >= 0x80)
		buf_add(&r->scratch, (char[]){ (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)) }, 2);
	else
		buf_add_char(&r->scratch, (char)c);
	advance(r, 6);
	return true;
}

static bool take_escape(struct reader *r)
{
	static const char meaning[128] = { ['"'] = '"',	 ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
					   ['f'] = '\f', ['n'] = '\n',	['r'] = '\r', ['t'] = '\t' };
	if (r->rest.n < 2)
		return false;
	unsigned char c = (unsigned char)r->rest.p[1];
	if (c == 'u')
		return take_unicode(r);
	if (c >= sizeof(meaning) || !meaning[c])
		return false;
	buf_add_char(&r->scratch, meaning[c]);
	advance(r, 2);
	return true;
}

/* After the opening quote: runs of plain bytes and escapes, until the closing quote. */
static bool take_string(struct reader *r, bool escapes, struct str *ret)
{
	size_t n = buf_json_plain(r->rest);
	if (n < r->rest.n && r->rest.p[n] == '"') {
		*ret = (struct str){ r->rest.p, n };
		advance(r, n + 1);
		return true;
	}
	buf_clear(&r->scratch);
	while (escapes && n < r->rest.n) {
		buf_add(&r->scratch, r->rest.p, n);
		advance(r, n);
		if (r->rest.p[0] == '"') {
			advance(r, 1);
			*ret = buf_str(&r->scratch);
			return !buf_failed(&r->scratch);
		}
		if (r->rest.p[0] != '\\' || !take_escape(r))
			return false;
		n = buf_json_plain(r->rest);
	}
	return false;
}

static size_t count_digits(struct str s, size_t at)
{
	size_t n = 0;
	while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
		n++;
	return n;
}

static json_t *read_real(struct str text)
{
	char z[NUMBER_MAX + 1];
	if (text.n > NUMBER_MAX)
		return NULL;
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	double v = strtod(z, NULL);
	return isfinite(v) ? json_real(v) : NULL;
}

static json_t *read_number(struct reader *r)
{
	struct str s = r->rest;
	size_t at = s.p[0] == '-';
	size_t digits = count_digits(s, at);
	if (digits == 0 || (digits > 1 && s.p[at] == '0'))
		return NULL;
	at += digits;
	bool real = false;
	if (at < s.n && s.p[at] == '.') {
		digits = count_digits(s, at + 1);
		if (digits == 0)
			return NULL;
		at += 1 + digits;
		real = true;
	}
	if (at < s.n && (s.p[at] | 0x20) == 'e') {
		at++;
		at += at < s.n && (s.p[at] == '+' || s.p[at] == '-');
		digits = count_digits(s, at);
		if (digits == 0)
			return NULL;
		at += digits;
		real = true;
	}
	advance(r, at);
	int64_t v;
	if (real)
		return read_real(str_sub(s, 0, at));
	return str_i64(str_sub(s, 0, at), INT64_MIN, INT64_MAX, &v) < 0 ? NULL : json_integer(v);
}

static json_t *read_word(struct reader *r, struct str word, json_t *v)
{
	if (!str_has_prefix(r->rest, word))
		return NULL;
	advance(r, word.n);
	return v;
}

static json_t *read_array(struct reader *r)
{
	_cleanup_(json_drop) json_t *array = json_array();
	if (take_char(r, ']'))
		return take(&array);
	do {
		json_t *v = read_value(r);
		if (!v || json_array_append_new(array, v) < 0)
			return NULL;
	} while (take_char(r, ','));
	return take_char(r, ']') ? take(&array) : NULL;
}

static json_t *read_object(struct reader *r)
{
	_cleanup_(json_drop) json_t *object = json_object();
	if (take_char(r, '}'))
		return take(&object);
	size_t n = 0;
	do {
		struct str key;
		if (!take_char(r, '"') || !take_string(r, /* escapes= */ false, &key) || !take_char(r, ':'))
			return NULL;
		json_t *v = read_value(r);
		if (!v || json_object_setn_new_nocheck(object, key.p, key.n, v) < 0)
			return NULL;
		if (r->unique_keys && json_object_size(object) != ++n)
			return NULL;
	} while (take_char(r, ','));
	return take_char(r, '}') ? take(&object) : NULL;
}

static json_t *read_nested(struct reader *r, json_t *(*read)(struct reader *r))
{
	if (++r->depth > JSON_DEPTH_MAX || r->left.nests == 0)
		return NULL;
	r->left.nests--;
	advance(r, 1);
	json_t *v = read(r);
	r->depth--;
	return v;
}

static json_t *read_value(struct reader *r)
{
	struct str s;
	if (r->left.values == 0)
		return NULL;
	r->left.values--;
	switch (peek(r)) {
	case '{':
		return read_nested(r, read_object);
	case '[':
		return read_nested(r, read_array);
	case '"':
		advance(r, 1);
		return take_string(r, /* escapes= */ true, &s) ? json_stringn_nocheck(s.p ? s.p : "", s.n) : NULL;
	case 't':
		return read_word(r, STR("true"), json_true());
	case 'f':
		return read_word(r, STR("false"), json_false());
	case 'n':
		return read_word(r, STR("null"), json_null());
	case '\0':
		return NULL;
	default:
		return read_number(r);
	}
}

json_t *json_read(struct str s, bool unique_keys, struct json_limits most)
{
	struct reader r = { .rest = s, .unique_keys = unique_keys, .left = most };
	buf_init(&r.scratch, s.n);
	_cleanup_(json_drop) json_t *v = s.n ? read_value(&r) : NULL;
	peek(&r); /* over the white space at the end */
	buf_done(&r.scratch);
	return r.rest.n == 0 ? take(&v) : NULL;
}
