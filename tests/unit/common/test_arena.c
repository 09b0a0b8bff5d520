/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/arena.h: zeroed and aligned memory, the cap for outsiders' sizes, releases in reverse order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/arena.h"

static void test_arena_memory_is_zeroed_aligned_and_its_own(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 200, 300, 1000, 5000, 70000, 3 };
	struct arena a;
	arena_init(&a, SIZE_MAX);
	unsigned char *got[200];
	for (size_t i = 0; i < ARRAY_LEN(got); i++) {
		size_t n = sizes[i % ARRAY_LEN(sizes)];
		got[i] = arena_alloc(&a, n);
		assert_int_equal((uintptr_t)got[i] % 16, 0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(got[i][k], 0);
		memset(got[i], (int)i, n);
	}
	for (size_t i = 0; i < ARRAY_LEN(got); i++) /* nobody wrote into another's */
		for (size_t k = 0; k < sizes[i % ARRAY_LEN(sizes)]; k++)
			assert_int_equal(got[i][k], i);
	arena_done(&a);
	assert_int_equal(a.used, 0);
	arena_done(&a);
}

static void test_arena_try_stops_at_the_cap(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 1024);
	assert_non_null(arena_try(&a, 1000));
	assert_null(arena_try(&a, 100));
	assert_null(arena_try(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 5000)); /* our own sizes always work */
	assert_null(arena_try(&a, 1));
	arena_done(&a);
	assert_non_null(arena_try(&a, 1000)); /* usable again, with the same cap */
	arena_done(&a);
}

static void test_arena_copies_end_with_nul(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, SIZE_MAX);
	struct str s = arena_str(&a, (struct str){ "abcdef", 3 });
	assert_string_equal(s.p, "abc");
	assert_int_equal(s.n, 3);
	assert_string_equal(arena_strz(&a, (struct str){ NULL, 0 }), "");
	s = arena_printf(&a, "%s-%0500d", "x", 7);
	assert_int_equal(s.n, 502);
	assert_int_equal(strlen(s.p), 502);
	assert_int_equal(arena_printf(&a, "%s", "").n, 0);
	arena_done(&a);
}

struct note {
	struct arena *a;
	char *log;
	char mark;
};

static void release(void *ptr)
{
	struct note *n = ptr;
	n->log[strlen(n->log)] = n->mark;
	if (n->mark == '2') { /* a release may itself allocate and defer */
		struct note *late = arena_new(n->a, struct note);
		*late = (struct note){ n->a, n->log, 'L' };
		arena_defer(n->a, release, late);
	}
}

static void test_arena_releases_run_newest_first(void **state)
{
	(void)state;
	struct arena a;
	char log[8] = "";
	arena_init(&a, SIZE_MAX);
	for (char mark = '1'; mark <= '3'; mark++) {
		struct note *n = arena_new(&a, struct note);
		*n = (struct note){ &a, log, mark };
		arena_defer(&a, release, n);
	}
	arena_done(&a);
	assert_string_equal(log, "32L1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_memory_is_zeroed_aligned_and_its_own),
		cmocka_unit_test(test_arena_try_stops_at_the_cap),
		cmocka_unit_test(test_arena_copies_end_with_nul),
		cmocka_unit_test(test_arena_releases_run_newest_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
