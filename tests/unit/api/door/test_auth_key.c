/* SPDX-License-Identifier: Apache-2.0 */
/* API keys: made ones are well-formed and differ, any changed character is noticed, and other text is not taken for
 * one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/door/auth_key.h"

static void test_auth_key_made_ones_are_wellformed_and_differ(void **state UNUSED)
{
	struct auth_key a, b;
	auth_key_make(&a);
	auth_key_make(&b);
	struct str key = str_from(a.text);
	assert_int_equal(key.n, AUTH_KEY_LEN);
	assert_true(auth_key_is_wellformed(key));
	assert_true(auth_key_is_wellformed(str_from(b.text)));
	assert_string_not_equal(a.text, b.text);
	assert_true(str_has_prefix(key, auth_key_prefix(key)));
	assert_int_equal(auth_key_prefix(key).n, 13);
	assert_int_equal(key.p[13], '_');
}

static void test_auth_key_every_changed_character_is_noticed(void **state UNUSED)
{
	struct auth_key k;
	auth_key_make(&k);
	for (size_t i = 0; i < AUTH_KEY_LEN; i++) {
		char was = k.text[i];
		k.text[i] = was == 'a' ? 'b' : 'a';
		if (auth_key_is_wellformed(str_from(k.text)))
			fail_msg("a change at %zu was not noticed", i);
		k.text[i] = was;
	}
	assert_true(auth_key_is_wellformed(str_from(k.text)));
}

static void test_auth_key_other_text_is_not_one(void **state UNUSED)
{
	struct auth_key k;
	auth_key_make(&k);
	assert_false(auth_key_is_wellformed(STR("")));
	assert_false(auth_key_is_wellformed(STR("sk-1234")));
	assert_false(auth_key_is_wellformed((struct str){ k.text, AUTH_KEY_LEN - 1 }));
	assert_false(auth_key_is_wellformed((struct str){ k.text, AUTH_KEY_LEN + 1 })); /* with its NUL */
	k.text[20] = 0;
	assert_false(auth_key_is_wellformed((struct str){ k.text, AUTH_KEY_LEN }));
}

/* A fixed key: its checksum and hash must never change, or keys in use would stop to work. */
static void test_auth_key_form_is_stable(void **state UNUSED)
{
	static const char key[] = "mr_0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq4AmloL";
	uint8_t hash[SHA256_LEN];
	assert_int_equal(strlen(key), AUTH_KEY_LEN);
	assert_true(auth_key_is_wellformed(str_from(key)));
	auth_key_hash(str_from(key), hash);
	assert_int_equal(hash[0], 0x3a);
	assert_int_equal(hash[31], 0x86);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auth_key_made_ones_are_wellformed_and_differ),
		cmocka_unit_test(test_auth_key_every_changed_character_is_noticed),
		cmocka_unit_test(test_auth_key_other_text_is_not_one),
		cmocka_unit_test(test_auth_key_form_is_stable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
