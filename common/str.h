/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A borrowed run of bytes, passed by value; not NUL-terminated, never owned by the str itself.
 * Parsing of outside text happens here, with bounds; building text happens in buf.h or with arena_printf.
 */
#ifndef MR_COMMON_STR_H
#define MR_COMMON_STR_H

#include "common/base.h"

struct str {
	const char *p; /* borrowed; may be NULL only when n is 0 */
	size_t n;      /* bytes */
};

#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

struct str str_from(const char *z); /* NULL gives the empty str */
bool str_eq(struct str a, struct str b);
bool str_eq_z(struct str a, const char *z);
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
bool str_has_prefix(struct str s, struct str prefix);
bool str_has_prefix_nocase(struct str s, struct str prefix);
bool str_has_suffix(struct str s, struct str suffix);
ssize_t str_find(struct str s, struct str needle);        /* offset, or -1 */
ssize_t str_find_char(struct str s, char c);              /* offset, or -1 */
ssize_t str_find_nocase(struct str s, struct str needle); /* ASCII only; offset, or -1 */
struct str str_sub(struct str s, size_t from, size_t n);  /* clamped to s */
struct str str_trim(struct str s);                        /* spaces, tabs, CR, LF at both ends */

/* Takes what stands before the next `sep` off the front of *s. False when *s was used up (p is NULL then). */
bool str_split(struct str *s, char sep, struct str *ret_part);

/* Decimal digits only, no sign, no space. Returns 0, or -ERR_INVALID when not a number or outside min..max. */
int str_u64(struct str s, uint64_t min, uint64_t max, uint64_t *ret);
/* As above with an optional '-'. */
int str_i64(struct str s, int64_t min, int64_t max, int64_t *ret);

/* Bytes that are well-formed UTF-8 (no overlong form, no surrogate, at most U+10FFFF). */
bool str_is_utf8(struct str s);

/* Bytes of the well-formed UTF-8 character at the front of s; 0 when there is none. */
size_t str_utf8_len(struct str s);

/* The longest prefix of at most n bytes that does not cut a UTF-8 character. */
struct str str_utf8_prefix(struct str s, size_t n);

#endif
