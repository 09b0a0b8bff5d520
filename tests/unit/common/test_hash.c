/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/hash.h: a map that copies keys, survives many removals, and iterates while being emptied. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/buf.h"
#include "common/hash.h"

static int values[2000];

static struct str key_of(struct buf *b, size_t i)
{
	buf_clear(b);
	buf_printf(b, "key-%zu", i);
	return buf_str(b);
}

static void test_hash_finds_what_was_set(void **state)
{
	(void)state;
	struct hash h;
	struct buf b;
	hash_init(&h);
	buf_init(&b, 100);
	assert_null(hash_get(&h, STR("x")));
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		hash_set(&h, key_of(&b, i), &values[i]); /* the key's bytes are overwritten by the next */
	assert_int_equal(h.n, ARRAY_LEN(values));
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		assert_ptr_equal(hash_get(&h, key_of(&b, i)), &values[i]);
	assert_null(hash_get(&h, STR("key-")));
	hash_set(&h, STR("key-7"), &values[0]); /* replaces */
	assert_ptr_equal(hash_get(&h, STR("key-7")), &values[0]);
	assert_int_equal(h.n, ARRAY_LEN(values));
	hash_set(&h, (struct str){ NULL, 0 }, &values[1]); /* the empty key is a key */
	assert_ptr_equal(hash_get(&h, STR("")), &values[1]);
	hash_set(&h, STR("a\0b"), &values[2]);
	assert_null(hash_get(&h, STR("a")));
	assert_ptr_equal(hash_get(&h, STR("a\0b")), &values[2]);
	buf_done(&b);
	hash_done(&h);
}

static void test_hash_stays_small_under_coming_and_going(void **state)
{
	(void)state;
	struct hash h;
	struct buf b;
	hash_init(&h);
	buf_init(&b, 100);
	for (size_t i = 0; i < 100000; i++) {
		hash_set(&h, key_of(&b, i), &values[i % 2000]);
		if (i >= 10) {
			assert_ptr_equal(hash_remove(&h, key_of(&b, i - 10)), &values[(i - 10) % 2000]);
			assert_null(hash_remove(&h, key_of(&b, i - 10)));
		}
	}
	assert_int_equal(h.n, 10);
	assert_in_range(h.cap, 16, 64);
	buf_done(&b);
	hash_done(&h);
}

static void test_hash_iteration_may_remove_what_it_returns(void **state)
{
	(void)state;
	struct hash h;
	struct buf b;
	hash_init(&h);
	buf_init(&b, 100);
	for (size_t i = 0; i < 500; i++) {
		values[i] = 0;
		hash_set(&h, key_of(&b, i), &values[i]);
	}
	size_t at = 0, seen = 0;
	struct str key;
	void *value;
	while (hash_next(&h, &at, &key, &value)) {
		++*(int *)value;
		seen++;
		if (seen % 2)
			assert_ptr_equal(hash_remove(&h, key), value);
	}
	assert_int_equal(seen, 500);
	assert_int_equal(h.n, 250);
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(values[i], 1); /* each exactly once */
	buf_done(&b);
	hash_done(&h);
	at = 0;
	assert_false(hash_next(&h, &at, &key, &value));
}

static void test_hash_bytes_depends_on_every_byte(void **state)
{
	(void)state;
	char text[40];
	memset(text, 'a', sizeof(text));
	for (size_t n = 0; n < sizeof(text); n++) {
		uint64_t was = hash_bytes((struct str){ text, n });
		assert_true(was == hash_bytes((struct str){ text, n }));
		assert_true(was != hash_bytes((struct str){ text, n + 1 }));
		for (size_t i = 0; i < n; i++) {
			text[i] = 'b';
			assert_true(was != hash_bytes((struct str){ text, n }));
			text[i] = 'a';
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_finds_what_was_set),
		cmocka_unit_test(test_hash_stays_small_under_coming_and_going),
		cmocka_unit_test(test_hash_iteration_may_remove_what_it_returns),
		cmocka_unit_test(test_hash_bytes_depends_on_every_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
