/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a stated maximum. Overflow latches: after the first append that does not fit,
 * nothing is appended any more and buf_failed() says so; callers may therefore build freely and check once.
 * The bytes are owned by the buf (heap). buf.c, str.c, err.c and log.c are the only users of vsnprintf.
 */
#ifndef MR_COMMON_BUF_H
#define MR_COMMON_BUF_H

#include <stdarg.h>

#include "common/str.h"

struct buf {
	char *p;     /* owned */
	size_t n;    /* bytes in use */
	size_t cap;  /* bytes allocated */
	size_t max;  /* never more than this many bytes */
	bool failed; /* an append did not fit */
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees the bytes; the buf can be init'ed again */
void buf_clear(struct buf *b); /* forgets the content and the failure, keeps the memory */

/* All appends return 0 or -ERR_TOO_LARGE (latched). */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_add_str(struct buf *b, struct str s);
int buf_add_z(struct buf *b, const char *z);
int buf_add_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
int buf_add_u64(struct buf *b, uint64_t v); /* decimal */
int buf_add_i64(struct buf *b, int64_t v);
int buf_add_json_str(struct buf *b, struct str s); /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
/* How many bytes at the front of s go into a JSON string as they are: no quote, backslash or control byte, and UTF-8. */
size_t buf_json_plain(struct str s);
/* s as part of a URL: what is not unreserved (RFC 3986, 2.3) nor in also_plain becomes %XX. */
int buf_add_percent(struct buf *b, struct str s, const char *also_plain);
int buf_add_be16(struct buf *b, uint16_t v);
int buf_add_be32(struct buf *b, uint32_t v);
int buf_add_be64(struct buf *b, uint64_t v);

/* Room for n more bytes (and a spare one for a NUL), to be filled by the caller and announced with buf_grown; NULL when it would not fit. */
char *buf_room(struct buf *b, size_t n);
void buf_grown(struct buf *b, size_t n);

void buf_consume(struct buf *b, size_t n);  /* drops n bytes from the front */
void buf_truncate(struct buf *b, size_t n); /* keeps the first n bytes */
void buf_fit(struct buf *b); /* gives back the memory that the content does not need: for what is kept for long */
bool buf_failed(const struct buf *b);
struct str buf_str(const struct buf *b); /* borrowed until the next append */
char *buf_steal(struct buf *b, size_t *ret_n); /* NUL-terminated (not counted), caller frees; the buf is empty then */

#endif
