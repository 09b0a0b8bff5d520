/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/id.h: UUIDv7 with a bucket, in order, never twice. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/id.h"

static void test_id_is_a_uuid_7_with_its_bucket(void **state)
{
	(void)state;
	static const int buckets[] = { 0, 1, 255, 256, 1023 };
	for (size_t i = 0; i < ARRAY_LEN(buckets); i++) {
		int64_t before_ms = clock_wall_us() / 1000;
		struct id id = id_make(buckets[i]);
		assert_int_equal(id.b[6] >> 4, 7);
		assert_int_equal(id.b[8] >> 6, 2);
		assert_int_equal(id_bucket(id), buckets[i]);
		assert_true(id_time_ms(id) >= before_ms);
		assert_false(id_is_zero(id));
	}
	assert_true(id_is_zero((struct id){ { 0 } }));
}

static void test_id_random_buckets_spread(void **state)
{
	(void)state;
	bool seen[ID_BUCKETS] = { false };
	size_t n = 0;
	for (int i = 0; i < 20000; i++) {
		int bucket = id_bucket(id_make(-1));
		n += !seen[bucket];
		seen[bucket] = true;
	}
	assert_int_equal(n, ID_BUCKETS);
}

static void test_id_order_is_the_order_of_making(void **state)
{
	(void)state;
	/* Far more than 4,096 in a millisecond, so that the counter overflows. */
	struct id last = id_make(1023);
	for (int i = 0; i < 200000; i++) {
		struct id id = id_make(0);
		assert_true(memcmp(last.b, id.b, sizeof(id.b)) < 0);
		last = id;
	}
}

static void test_id_differs_in_a_forked_child(void **state)
{
	(void)state;
	int fds[2];
	id_make(0); /* random bits are in the pool now */
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct id id = id_make(0);
		_exit(write(fds[1], &id, sizeof(id)) == (ssize_t)sizeof(id) ? 0 : 1);
	}
	struct id mine = id_make(0), childs;
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(read(fds[0], &childs, sizeof(childs)), sizeof(childs));
	assert_memory_not_equal(mine.b + 8, childs.b + 8, 8);
	close(fds[0]);
	close(fds[1]);
}

static void test_id_text_and_back(void **state)
{
	(void)state;
	struct id id = id_make(291), back;
	char out[ID_TEXT_MAX];
	struct str text = id_text(id, "job_", out);
	assert_int_equal(text.n, 4 + ID_HEX_LEN);
	assert_int_equal(strlen(out), text.n);
	assert_int_equal(id_parse(text, "job_", &back), 0);
	assert_true(id_eq(id, back));
	assert_int_equal(id_parse(text, "batch_", &back), -ERR_NOT_FOUND);
}

static void test_id_parse_refuses_other_forms(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"job_",
		"job_019A2b3c4d5e7f00a1b2c3d4e5f60123",
		"job_019a2b3c4d5e7f00a1b2c3d4e5f6012",
		"job_019a2b3c4d5e7f00a1b2c3d4e5f601234",
		"job_019a2b3c4d5e7f00a1b2c3d4e5f6012g",
		"019a2b3c4d5e7f00a1b2c3d4e5f60123",
		"jot_019a2b3c4d5e7f00a1b2c3d4e5f60123",
	};
	struct id id = { { 9 } };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(id_parse(str_from(bad[i]), "job_", &id), -ERR_NOT_FOUND);
	assert_int_equal(id.b[0], 9);
	assert_int_equal(id_parse(STR("job_019a2b3c4d5e7f00a1b2c3d4e5f60123"), "job_", &id), 0);
	assert_int_equal(id_bucket(id), 0x123);
	assert_true(id_time_ms(id) == 0x019a2b3c4d5e);
}

static void test_id_bucket_of_key_is_stable_over_releases(void **state)
{
	(void)state;
	/* SHA-256 of eight big-endian bytes of the tenant and the key; changing these numbers loses idempotency of stored keys. */
	assert_int_equal(id_bucket_of_key(1, STR("a")), 793);
	assert_int_equal(id_bucket_of_key(-1, STR("order-42")), 974);
	assert_int_not_equal(id_bucket_of_key(2, STR("a")), 793);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_is_a_uuid_7_with_its_bucket),
		cmocka_unit_test(test_id_random_buckets_spread),
		cmocka_unit_test(test_id_order_is_the_order_of_making),
		cmocka_unit_test(test_id_differs_in_a_forked_child),
		cmocka_unit_test(test_id_text_and_back),
		cmocka_unit_test(test_id_parse_refuses_other_forms),
		cmocka_unit_test(test_id_bucket_of_key_is_stable_over_releases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
