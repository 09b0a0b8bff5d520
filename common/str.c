/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Borrowed runs of bytes: comparing, searching, cutting, and the reading of numbers that outsiders wrote.
 *
 * Nothing here allocates and nothing keeps a pointer. Every function takes the empty str with p NULL; the C library's memory
 * functions are therefore called only when there are bytes. Numbers are refused rather than clamped, and out-parameters stay
 * untouched on failure.
 *
 * UTF-8 is judged by Unicode's table 3-7: overlong forms, surrogates and what lies above U+10FFFF are not characters. What
 * to do with such bytes (refuse or replace) is left to the callers.
 */
#define _GNU_SOURCE /* memmem */
#include "common/str.h"

#include <string.h>

#include "common/err.h"

struct str str_from(const char *z)
{
	return (struct str){ z, z ? strlen(z) : 0 };
}

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_z(struct str a, const char *z)
{
	return str_eq(a, str_from(z));
}

static unsigned char ascii_lower(char c)
{
	unsigned char u = (unsigned char)c;
	return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

bool str_has_prefix(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_sub(s, 0, prefix.n), prefix);
}

bool str_has_prefix_nocase(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq_nocase(str_sub(s, 0, prefix.n), prefix);
}

bool str_has_suffix(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq(str_sub(s, s.n - suffix.n, suffix.n), suffix);
}

ssize_t str_find(struct str s, struct str needle)
{
	if (needle.n == 0)
		return 0;
	if (needle.n > s.n)
		return -1;
	const char *at = memmem(s.p, s.n, needle.p, needle.n);
	return at ? at - s.p : -1;
}

ssize_t str_find_char(struct str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
	return at ? at - s.p : -1;
}

ssize_t str_find_nocase(struct str s, struct str needle)
{
	for (size_t i = 0; i + needle.n <= s.n; i++)
		if (str_eq_nocase(str_sub(s, i, needle.n), needle))
			return (ssize_t)i;
	return -1;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
	from = MIN(from, s.n);
	return (struct str){ s.p ? s.p + from : NULL, MIN(n, s.n - from) };
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.n && is_space(s.p[0]))
		s = str_sub(s, 1, s.n);
	while (s.n && is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool str_split(struct str *s, char sep, struct str *ret_part)
{
	if (!s->p)
		return false;
	ssize_t at = str_find_char(*s, sep);
	if (at < 0) {
		*ret_part = *s;
		*s = (struct str){ NULL, 0 };
		return true;
	}
	*ret_part = str_sub(*s, 0, (size_t)at);
	*s = str_sub(*s, (size_t)at + 1, s->n);
	return true;
}

/* Digits into a number of at most `max`; false when there are none, other bytes, or too large a value. */
static bool parse_digits(struct str s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
		if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
			return false;
	}
	*ret = v;
	return v <= max;
}

int str_u64(struct str s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v;
	if (!parse_digits(s, max, &v) || v < min)
		return -ERR_INVALID;
	*ret = v;
	return 0;
}

int str_i64(struct str s, int64_t min, int64_t max, int64_t *ret)
{
	bool negative = s.n && s.p[0] == '-';
	uint64_t magnitude;
	if (!parse_digits(negative ? str_sub(s, 1, s.n) : s, (uint64_t)INT64_MAX + negative, &magnitude))
		return -ERR_INVALID;
	/* In unsigned arithmetic, so that INT64_MIN needs no case of its own. */
	int64_t v = (int64_t)(negative ? 0 - magnitude : magnitude);
	if (v < min || v > max)
		return -ERR_INVALID;
	*ret = v;
	return 0;
}

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xC0) == 0x80;
}

size_t str_utf8_len(struct str s)
{
	if (s.n == 0)
		return 0;
	unsigned char lead = (unsigned char)s.p[0];
	if (lead < 0x80)
		return 1;
	size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
	if (lead < 0xC2 || lead > 0xF4 || s.n < n)
		return 0;
	/* The second byte carries what forbids overlong forms, surrogates and too large values. */
	unsigned char second = (unsigned char)s.p[1];
	unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
	unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
	if (second < low || second > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (!is_continuation(s.p[i]))
			return 0;
	return n;
}

bool str_is_utf8(struct str s)
{
	size_t at = 0;
	while (at < s.n) {
		/* Eight ASCII bytes at a time: most text is. */
		uint64_t eight;
		while (s.n - at >= sizeof(eight)) {
			memcpy(&eight, s.p + at, sizeof(eight));
			if (eight & 0x8080808080808080u)
				break;
			at += sizeof(eight);
		}
		if (at == s.n)
			break;
		size_t n = str_utf8_len(str_sub(s, at, 4));
		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

struct str str_utf8_prefix(struct str s, size_t n)
{
	if (n >= s.n)
		return s;
	/* Four continuation bytes in a row are not UTF-8; going back further would only lose more of it. */
	for (size_t back = 0; back < 4 && back <= n; back++)
		if (!is_continuation(s.p[n - back]))
			return str_sub(s, 0, n - back);
	return str_sub(s, 0, n);
}
