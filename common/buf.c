/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing byte buffers with a maximum.
 *
 * An append first asks `reserve` for room: the usual case is one comparison; else the memory doubles, never beyond the
 * maximum. One byte more than `cap` is allocated always, so that buf_steal can end the text with a NUL without growing.
 *
 * What can go wrong: the maximum is passed, or memory is out for a size that an outsider chose. Both latch `failed`, and the
 * caller that checks once at the end finds out. Appending part of something is never done.
 *
 * The bytes appended must not lie in the buf itself (growing moves them).
 */
#include "common/buf.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define FIRST_CAP 64

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ .max = b->max };
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

void buf_fit(struct buf *b)
{
	char *p = b->p ? realloc(b->p, b->n + 1) : NULL;
	if (!p)
		return;
	b->p = p;
	b->cap = b->n;
}

static int fail(struct buf *b)
{
	b->failed = true;
	return -ERR_TOO_LARGE;
}

static int grow(struct buf *b, size_t n)
{
	if (b->failed || n > b->max || b->n > b->max - n)
		return fail(b);
	size_t cap = MAX(b->cap * 2, (size_t)FIRST_CAP);
	cap = MIN(MAX(cap, b->n + n), b->max);
	char *p = realloc(b->p, cap + 1);
	if (!p)
		return fail(b);
	b->p = p;
	b->cap = cap;
	return 0;
}

/* Room for n more bytes at b->p + b->n. */
static inline int reserve(struct buf *b, size_t n)
{
	if (__builtin_expect(b->failed || n > b->cap - b->n || !b->p, 0))
		return grow(b, n);
	return 0;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	if (reserve(b, n) < 0)
		return -ERR_TOO_LARGE;
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

int buf_add_str(struct buf *b, struct str s)
{
	return buf_add(b, s.p, s.n);
}

int buf_add_z(struct buf *b, const char *z)
{
	return buf_add_str(b, str_from(z));
}

int buf_add_char(struct buf *b, char c)
{
	if (reserve(b, 1) < 0)
		return -ERR_TOO_LARGE;
	b->p[b->n++] = c;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return rc;
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	/* The first try goes into whatever room there is (and its spare byte for the NUL); the second knows the size. */
	if (reserve(b, 0) < 0)
		return -ERR_TOO_LARGE;
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(b->p + b->n, b->cap - b->n + 1, fmt, ap);
	int rc = n < 0 ? fail(b) : 0;
	if (n > 0 && (size_t)n > b->cap - b->n) {
		rc = reserve(b, (size_t)n);
		if (rc == 0)
			vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	if (rc == 0)
		b->n += (size_t)n;
	return rc;
}

int buf_add_u64(struct buf *b, uint64_t v)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
				    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
				    "8081828384858687888990919293949596979899";
	char digits[20];
	size_t at = sizeof(digits);
	while (v >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * (v % 100), 2);
		v /= 100;
	}
	if (v >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * v, 2);
	} else {
		digits[--at] = (char)('0' + v);
	}
	return buf_add(b, digits + at, sizeof(digits) - at);
}

int buf_add_i64(struct buf *b, int64_t v)
{
	if (v >= 0)
		return buf_add_u64(b, (uint64_t)v);
	int rc = buf_add_char(b, '-');
	return rc < 0 ? rc : buf_add_u64(b, 0 - (uint64_t)v);
}

/* Non-zero when one of the eight bytes needs a look: a control byte, a quote, a backslash, or not ASCII. */
static inline uint64_t eight_not_plain(const char *p)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	uint64_t quote = v ^ (ones * '"'), backslash = v ^ (ones * '\\');
	return (v | (v - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops;
}

size_t buf_json_plain(struct str s)
{
	size_t at = 0;
	for (;;) {
		while (s.n - at >= 8 && !eight_not_plain(s.p + at))
			at += 8;
		/* What made the eight stop, or the tail: character by character, at least as far as the eight reach. */
		size_t end = MIN(s.n, at + 8);
		while (at < end) {
			unsigned char c = (unsigned char)s.p[at];
			size_t n = c < 0x80 ? c >= 0x20 && c != '"' && c != '\\' : str_utf8_len(str_sub(s, at, 4));
			if (n == 0)
				return at;
			at += n;
		}
		if (at == s.n)
			return at;
	}
}

static int add_escaped(struct buf *b, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char short_form[0x20] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	if (c >= 0x80)
		return buf_add(b, "\xEF\xBF\xBD", 3);
	if (c == '"' || c == '\\')
		return buf_add(b, (char[]){ '\\', (char)c }, 2);
	if (c < 0x20 && short_form[c])
		return buf_add(b, (char[]){ '\\', short_form[c] }, 2);
	return buf_add(b, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
}

int buf_add_json_str(struct buf *b, struct str s)
{
	buf_add_char(b, '"');
	while (s.n && !b->failed) {
		size_t n = buf_json_plain(s);
		buf_add(b, s.p, n);
		if (n < s.n)
			add_escaped(b, (unsigned char)s.p[n++]);
		s = str_sub(s, n, s.n);
	}
	return buf_add_char(b, '"');
}

int buf_add_percent(struct buf *b, struct str s, const char *also_plain)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	int rc = b->failed ? -ERR_TOO_LARGE : 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool plain = c && (strchr(unreserved, c) || strchr(also_plain, c));
		rc = plain ? buf_add_char(b, c) : buf_printf(b, "%%%02X", (unsigned)(unsigned char)c);
	}
	return rc;
}

int buf_add_be16(struct buf *b, uint16_t v)
{
	v = htobe16(v);
	return buf_add(b, &v, sizeof(v));
}

int buf_add_be32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	return buf_add(b, &v, sizeof(v));
}

int buf_add_be64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	return buf_add(b, &v, sizeof(v));
}

char *buf_room(struct buf *b, size_t n)
{
	return reserve(b, n) < 0 ? NULL : b->p + b->n;
}

void buf_grown(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->n);
	b->n += n;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->n);
	b->n -= n;
	if (b->n && n)
		memmove(b->p, b->p + n, b->n);
}

void buf_truncate(struct buf *b, size_t n)
{
	b->n = MIN(b->n, n);
}

bool buf_failed(const struct buf *b)
{
	return b->failed;
}

struct str buf_str(const struct buf *b)
{
	return (struct str){ b->p, b->n };
}

char *buf_steal(struct buf *b, size_t *ret_n)
{
	char *p = b->p ? b->p : malloc(1);
	if (!p)
		abort();
	p[b->n] = '\0';
	if (ret_n)
		*ret_n = b->n;
	*b = (struct buf){ .max = b->max };
	return p;
}
