/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few cryptographic operations that Millrace needs, on OpenSSL's libcrypto. All abort when the library fails: there
 * is no safe way on.
 */
#ifndef MR_COMMON_CRYPTO_H
#define MR_COMMON_CRYPTO_H

#include "common/str.h"

struct buf;

#define SHA256_LEN 32

void crypto_sha256(struct str s, uint8_t out[SHA256_LEN]);
/* Over several runs, in order, with no separator. */
void crypto_sha256_parts(const struct str *parts, size_t n, uint8_t out[SHA256_LEN]);
void crypto_hmac_sha256(struct str key, const struct str *parts, size_t n, uint8_t out[SHA256_LEN]);

/* A digest of what comes piece by piece. */
struct crypto_digest {
	void *ctx; /* owned; NULL: not begun */
};
#define MD5_LEN 16
void crypto_digest_begin_sha256(struct crypto_digest *d);
void crypto_digest_begin_md5(struct crypto_digest *d); /* no security: only to compare with what others reckoned */
void crypto_digest_add(struct crypto_digest *d, struct str s);
/* SHA256_LEN or MD5_LEN bytes; the digest is done. */
void crypto_digest_end(struct crypto_digest *d, uint8_t *out);
void crypto_digest_done(struct crypto_digest *d); /* safe on a zeroed one, and twice */

void crypto_random(void *p, size_t n);
bool crypto_equal(const void *a, const void *b, size_t n); /* constant time */
void crypto_wipe(void *p, size_t n);

int crypto_base64(struct buf *b, struct str s);
/* Standard alphabet, padding required. 0 or -ERR_INVALID. */
int crypto_base64_decode(struct buf *b, struct str s);
int crypto_hex(struct buf *b, struct str s);
/* n random characters of 0-9A-Za-z, unbiased. */
int crypto_random_base62(struct buf *b, size_t n);
uint32_t crypto_crc32(struct str s); /* of zlib and AWS's event streams; for checksums, not for security */

#endif
