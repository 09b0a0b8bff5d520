/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and recognising API keys. Making cannot fail (crypto aborts without chance); recognising answers false for
 * whatever is not exactly the form, so that everything behind it may index into the key. Nothing here compares secrets:
 * the hash is looked up and compared by auth.
 */
#include "api/door/auth_key.h"

#include <string.h>

#include "common/buf.h"

#define PUBLIC_LEN 10
#define SECRET_LEN 43
#define CHECK_LEN  6

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* 62⁶ is more than 2³², so that six digits always do. */
static void write_checksum(char out[CHECK_LEN], struct str before)
{
	uint32_t crc = crypto_crc32(before);
	for (size_t i = CHECK_LEN; i > 0; i--) {
		out[i - 1] = base62[crc % 62];
		crc /= 62;
	}
}

void auth_key_make(struct auth_key *ret)
{
	struct buf b;
	buf_init(&b, AUTH_KEY_LEN);
	buf_add_z(&b, "mr_");
	crypto_random_base62(&b, PUBLIC_LEN);
	buf_add_char(&b, '_');
	crypto_random_base62(&b, SECRET_LEN);
	assert(!buf_failed(&b) && b.n == AUTH_KEY_LEN - CHECK_LEN);
	memcpy(ret->text, b.p, b.n);
	write_checksum(ret->text + b.n, (struct str){ ret->text, b.n });
	ret->text[AUTH_KEY_LEN] = 0;
	crypto_wipe(b.p, b.n);
	buf_done(&b);
}

static bool is_base62(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !memchr(base62, s.p[i], 62))
			return false;
	return true;
}

bool auth_key_is_wellformed(struct str key)
{
	char check[CHECK_LEN];
	if (key.n != AUTH_KEY_LEN || !str_has_prefix(key, STR("mr_")) || key.p[AUTH_KEY_PREFIX_LEN] != '_')
		return false;
	if (!is_base62(str_sub(key, 3, PUBLIC_LEN)) ||
	    !is_base62(str_sub(key, AUTH_KEY_PREFIX_LEN + 1, SECRET_LEN + CHECK_LEN)))
		return false;
	write_checksum(check, str_sub(key, 0, AUTH_KEY_LEN - CHECK_LEN));
	return memcmp(check, key.p + AUTH_KEY_LEN - CHECK_LEN, CHECK_LEN) == 0;
}

struct str auth_key_prefix(struct str key)
{
	assert(key.n == AUTH_KEY_LEN);
	return str_sub(key, 0, AUTH_KEY_PREFIX_LEN);
}

void auth_key_hash(struct str key, uint8_t ret_hash[SHA256_LEN])
{
	crypto_sha256(key, ret_hash);
}
