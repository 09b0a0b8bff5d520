/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/crypto.h, against published test vectors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/err.h"

static void assert_hex(const uint8_t digest[SHA256_LEN], const char *want)
{
	struct buf b;
	buf_init(&b, 100);
	assert_int_equal(crypto_hex(&b, (struct str){ (const char *)digest, SHA256_LEN }), 0);
	assert_int_equal(b.n, strlen(want));
	assert_memory_equal(b.p, want, b.n);
	buf_done(&b);
}

#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_crypto_sha256_vectors(void **state)
{
	(void)state;
	uint8_t out[SHA256_LEN];
	crypto_sha256(STR("abc"), out);
	assert_hex(out, SHA_ABC);
	crypto_sha256((struct str){ NULL, 0 }, out);
	assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	struct str parts[] = { STR("a"), { NULL, 0 }, STR("bc") };
	crypto_sha256_parts(parts, ARRAY_LEN(parts), out);
	assert_hex(out, SHA_ABC);
}

static void *hash_in_thread(void *arg)
{
	for (int i = 0; i < 1000; i++)
		crypto_sha256(STR("abc"), arg);
	return NULL;
}

static void test_crypto_sha256_works_in_threads(void **state)
{
	(void)state;
	uint8_t out[2][SHA256_LEN];
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_in_thread, out[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_hex(out[i], SHA_ABC);
	}
}

static void test_crypto_hmac_vectors_of_rfc_4231(void **state)
{
	(void)state;
	uint8_t out[SHA256_LEN];
	struct str parts[] = { STR("what do ya want "), STR("for nothing?") };
	crypto_hmac_sha256(STR("Jefe"), parts, 2, out);
	assert_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	char key[131];
	memset(key, 0xaa, sizeof(key));
	struct str data = STR("Test Using Larger Than Block-Size Key - Hash Key First");
	crypto_hmac_sha256((struct str){ key, sizeof(key) }, &data, 1, out);
	assert_hex(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_crypto_base64_both_ways(void **state)
{
	(void)state;
	static const struct {
		struct str raw;
		const char *text;
	} rows[] = {
		{ STR(""), "" },	       { STR("f"), "Zg==" },	       { STR("fo"), "Zm8=" },
		{ STR("foo"), "Zm9v" },	       { STR("foob"), "Zm9vYg==" },    { STR("fooba"), "Zm9vYmE=" },
		{ STR("foobar"), "Zm9vYmFy" }, { STR("\xfb\xff\x00"), "+/8A" },
	};
	struct buf b;
	buf_init(&b, 8);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&b);
		assert_int_equal(crypto_base64(&b, rows[i].raw), 0);
		assert_true(str_eq_z(buf_str(&b), rows[i].text));
		buf_clear(&b);
		assert_int_equal(crypto_base64_decode(&b, str_from(rows[i].text)), 0);
		assert_true(str_eq(buf_str(&b), rows[i].raw));
	}
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg=a", "=g==", "Zh==", "Zm9=", "Z===", "====", "Zm9v\n", "Zm-_", "Zg==Zg==" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_clear(&b);
		assert_int_equal(crypto_base64_decode(&b, str_from(bad[i])), -ERR_INVALID);
		assert_int_equal(b.n, 0);
	}
	assert_int_equal(crypto_base64(&b, STR("more than fits")), -ERR_TOO_LARGE);
	assert_true(buf_failed(&b));
	buf_done(&b);
}

static void test_crypto_random_base62_uses_its_alphabet(void **state)
{
	(void)state;
	struct buf b;
	int seen[256] = { 0 };
	buf_init(&b, 20000);
	assert_int_equal(crypto_random_base62(&b, 20000), 0);
	assert_int_equal(b.n, 20000);
	for (size_t i = 0; i < b.n; i++)
		seen[(unsigned char)b.p[i]]++;
	size_t used = 0;
	for (int c = 0; c < 256; c++) {
		bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		assert_int_equal(seen[c] > 0, digit);
		used += seen[c] > 0;
	}
	assert_int_equal(used, 62);
	buf_done(&b);
}

static void test_crypto_digest_is_the_same_in_pieces(void **state)
{
	(void)state;
	struct crypto_digest d = { 0 };
	uint8_t out[SHA256_LEN], want[SHA256_LEN];
	crypto_sha256(STR("one two"), want);
	crypto_digest_begin_sha256(&d);
	crypto_digest_add(&d, STR("one"));
	crypto_digest_add(&d, STR(""));
	crypto_digest_add(&d, STR(" two"));
	crypto_digest_end(&d, out);
	assert_memory_equal(out, want, SHA256_LEN);
	crypto_digest_begin_md5(&d);
	crypto_digest_add(&d, STR("a"));
	crypto_digest_add(&d, STR("bc"));
	crypto_digest_end(&d, out);
	assert_memory_equal(out, "\x90\x01\x50\x98\x3c\xd2\x4f\xb0\xd6\x96\x3f\x7d\x28\xe1\x7f\x72", MD5_LEN); /* RFC 1321, A.5 */
	crypto_digest_begin_md5(&d);
	crypto_digest_done(&d);
	crypto_digest_done(&d);
}

static void test_crypto_equal_wipe_crc(void **state)
{
	(void)state;
	char a[] = "secret";
	assert_true(crypto_equal(a, "secret", 6));
	assert_false(crypto_equal(a, "secreT", 6));
	crypto_wipe(a, sizeof(a));
	assert_memory_equal(a, "\0\0\0\0\0\0\0", 7);
	assert_true(crypto_crc32(STR("123456789")) == 0xcbf43926);
	assert_true(crypto_crc32(STR("")) == 0);
}

/* The definition: bit by bit. */
static uint32_t crc32_by_bits(const char *p, size_t n)
{
	uint32_t crc = 0xffffffff;
	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static void test_crc32_is_that_of_its_definition_at_every_length_and_alignment(void **state)
{
	(void)state;
	char bytes[256 + 8];
	for (int i = 0; i < (int)sizeof(bytes); i++)
		bytes[i] = (char)(i * 151 + (i >> 3));
	for (size_t from = 0; from < 8; from++)
		for (size_t n = 0; n <= 256; n++)
			assert_int_equal(crypto_crc32((struct str){ bytes + from, n }), crc32_by_bits(bytes + from, n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crypto_sha256_vectors),
		cmocka_unit_test(test_crypto_sha256_works_in_threads),
		cmocka_unit_test(test_crypto_hmac_vectors_of_rfc_4231),
		cmocka_unit_test(test_crypto_base64_both_ways),
		cmocka_unit_test(test_crypto_random_base62_uses_its_alphabet),
		cmocka_unit_test(test_crypto_digest_is_the_same_in_pieces),
		cmocka_unit_test(test_crypto_equal_wipe_crc),
		cmocka_unit_test(test_crc32_is_that_of_its_definition_at_every_length_and_alignment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
