/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes, random bytes and their texts, on OpenSSL 3's EVP.
 *
 * SHA-256 stands on the path of every request (keys, bodies, cache keys), and OpenSSL 3 spends more time on finding an algorithm
 * by name than on hashing 2 KB. So each thread fetches it once and keeps one context, which EVP_DigestInit_ex resets. HMAC is
 * written on top of it (RFC 2104): two more blocks, no second machinery.
 *
 * Everything that fails here is a broken library or kernel: the process ends, as there is no safe way on.
 */
#include "common/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"

#define BLOCK_LEN 64 /* of SHA-256 */

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- SHA-256 and HMAC --- */

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static pthread_key_t context_key;
static EVP_MD *sha256;

static void free_context(void *ctx)
{
	EVP_MD_CTX_free(ctx);
}

/* At exit OpenSSL frees its own; what the main thread cached must go before. */
static void drop_cached(void)
{
	free_context(pthread_getspecific(context_key));
	pthread_setspecific(context_key, NULL);
	EVP_MD_free(sha256);
	sha256 = NULL;
}

static void fetch(void)
{
	must(OPENSSL_init_crypto(0, NULL) == 1);
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	must(sha256 && pthread_key_create(&context_key, free_context) == 0 && atexit(drop_cached) == 0);
}

/* This thread's context, ready for a new hash. */
static EVP_MD_CTX *sha256_begin(void)
{
	pthread_once(&fetch_once, fetch);
	EVP_MD_CTX *ctx = pthread_getspecific(context_key);
	if (!ctx) {
		ctx = EVP_MD_CTX_new();
		must(ctx && pthread_setspecific(context_key, ctx) == 0);
	}
	must(EVP_DigestInit_ex(ctx, sha256, NULL) == 1);
	return ctx;
}

static void sha256_end(EVP_MD_CTX *ctx, uint8_t out[SHA256_LEN])
{
	must(EVP_DigestFinal_ex(ctx, out, NULL) == 1);
}

static void sha256_add(EVP_MD_CTX *ctx, const void *p, size_t n)
{
	must(n == 0 || EVP_DigestUpdate(ctx, p, n) == 1);
}

void crypto_sha256_parts(const struct str *parts, size_t n, uint8_t out[SHA256_LEN])
{
	EVP_MD_CTX *ctx = sha256_begin();
	for (size_t i = 0; i < n; i++)
		sha256_add(ctx, parts[i].p, parts[i].n);
	sha256_end(ctx, out);
}

void crypto_sha256(struct str s, uint8_t out[SHA256_LEN])
{
	crypto_sha256_parts(&s, 1, out);
}

void crypto_hmac_sha256(struct str key, const struct str *parts, size_t n, uint8_t out[SHA256_LEN])
{
	uint8_t inner_pad[BLOCK_LEN] = { 0 }, outer_pad[BLOCK_LEN];
	if (key.n > BLOCK_LEN)
		crypto_sha256(key, inner_pad);
	else if (key.n)
		memcpy(inner_pad, key.p, key.n);
	for (size_t i = 0; i < BLOCK_LEN; i++) {
		outer_pad[i] = inner_pad[i] ^ 0x5c;
		inner_pad[i] ^= 0x36;
	}
	EVP_MD_CTX *ctx = sha256_begin();
	sha256_add(ctx, inner_pad, BLOCK_LEN);
	for (size_t i = 0; i < n; i++)
		sha256_add(ctx, parts[i].p, parts[i].n);
	uint8_t inner[SHA256_LEN];
	sha256_end(ctx, inner);
	ctx = sha256_begin();
	sha256_add(ctx, outer_pad, BLOCK_LEN);
	sha256_add(ctx, inner, SHA256_LEN);
	sha256_end(ctx, out);
	crypto_wipe(inner_pad, sizeof(inner_pad));
	crypto_wipe(outer_pad, sizeof(outer_pad));
}

/* --- digests piece by piece --- */

static void digest_begin(struct crypto_digest *d, const EVP_MD *kind)
{
	d->ctx = EVP_MD_CTX_new();
	must(d->ctx && EVP_DigestInit_ex(d->ctx, kind, NULL) == 1);
}

void crypto_digest_begin_sha256(struct crypto_digest *d)
{
	pthread_once(&fetch_once, fetch);
	digest_begin(d, sha256);
}

void crypto_digest_begin_md5(struct crypto_digest *d)
{
	digest_begin(d, EVP_md5());
}

void crypto_digest_add(struct crypto_digest *d, struct str s)
{
	must(s.n == 0 || EVP_DigestUpdate(d->ctx, s.p, s.n) == 1);
}

void crypto_digest_end(struct crypto_digest *d, uint8_t *out)
{
	must(EVP_DigestFinal_ex(d->ctx, out, NULL) == 1);
	crypto_digest_done(d);
}

void crypto_digest_done(struct crypto_digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	d->ctx = NULL;
}

/* --- random bytes, comparing, wiping --- */

void crypto_random(void *p, size_t n)
{
	assert(n <= INT32_MAX);
	must(RAND_bytes(p, (int)n) == 1);
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

void crypto_wipe(void *p, size_t n)
{
	if (n)
		OPENSSL_cleanse(p, n);
}

int crypto_random_base62(struct buf *b, size_t n)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	char *out = buf_room(b, n);
	if (!out)
		return -ERR_TOO_LARGE;
	uint8_t random[64];
	for (size_t done = 0; done < n;) {
		crypto_random(random, sizeof(random));
		/* 248 is the largest multiple of 62 in a byte; what lies above would favour the first digits. */
		for (size_t i = 0; i < sizeof(random) && done < n; i++)
			if (random[i] < 248)
				out[done++] = digits[random[i] % 62];
	}
	crypto_wipe(random, sizeof(random));
	buf_grown(b, n);
	return 0;
}

/* --- texts --- */

int crypto_base64(struct buf *b, struct str s)
{
	size_t n = s.n / 3 * 4 + (s.n % 3 ? 4 : 0);
	char *out = s.n > INT32_MAX / 2 ? NULL : buf_room(b, n); /* OpenSSL's NUL goes into the spare byte */
	if (!out) {
		b->failed = true;
		return -ERR_TOO_LARGE;
	}
	if (s.n)
		EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)s.p, (int)s.n);
	buf_grown(b, n);
	return 0;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int crypto_base64_decode(struct buf *b, struct str s)
{
	if (s.n % 4)
		return -ERR_INVALID;
	size_t pad = s.n && s.p[s.n - 1] == '=' ? (s.p[s.n - 2] == '=' ? 2 : 1) : 0;
	size_t n = s.n / 4 * 3 - pad;
	char *out = buf_room(b, n);
	if (!out)
		return -ERR_TOO_LARGE;
	uint32_t bits = 0;
	size_t at = 0;
	for (size_t i = 0; i < s.n; i++) {
		int v = i >= s.n - pad ? 0 : base64_value(s.p[i]);
		if (v < 0)
			return -ERR_INVALID;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 != 3)
			continue;
		for (int shift = 16; shift >= 0 && at < n; shift -= 8)
			out[at++] = (char)(bits >> shift & 0xff);
		/* Bits that no byte carries must be zero: one value, one text. */
		if (i == s.n - 1 && pad && (bits & (pad == 2 ? 0xffffu : 0xffu)))
			return -ERR_INVALID;
		bits = 0;
	}
	buf_grown(b, n);
	return 0;
}

int crypto_hex(struct buf *b, struct str s)
{
	static const char digits[] = "0123456789abcdef";
	char *out = s.n > SIZE_MAX / 2 ? NULL : buf_room(b, 2 * s.n);
	if (!out) {
		b->failed = true;
		return -ERR_TOO_LARGE;
	}
	for (size_t i = 0; i < s.n; i++) {
		*out++ = digits[(unsigned char)s.p[i] >> 4];
		*out++ = digits[(unsigned char)s.p[i] & 15];
	}
	buf_grown(b, 2 * s.n);
	return 0;
}
