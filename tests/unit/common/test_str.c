/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/str.h: bounds, refusals, UTF-8. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/err.h"
#include "common/str.h"

#define NONE ((struct str){ NULL, 0 })

static void test_str_equality_knows_length_and_case(void **state)
{
	(void)state;
	assert_true(str_eq(STR("abc"), STR("abc")));
	assert_false(str_eq(STR("abc"), STR("abcd")));
	assert_false(str_eq(STR("abc"), STR("ABC")));
	assert_true(str_eq(NONE, STR("")));
	assert_true(str_eq_z(STR("abc"), "abc"));
	assert_true(str_eq_z(NONE, NULL));
	assert_true(str_eq_nocase(STR("Content-Type"), STR("content-tYPE")));
	assert_false(str_eq_nocase(STR("a["), STR("a{"))); /* differ by 0x20, but are no letters */
	assert_false(str_eq_nocase(STR("a"), STR("ab")));
}

static void test_str_prefix_and_suffix(void **state)
{
	(void)state;
	assert_true(str_has_prefix(STR("job_12"), STR("job_")));
	assert_true(str_has_prefix(STR("job_"), NONE));
	assert_false(str_has_prefix(STR("job"), STR("job_")));
	assert_true(str_has_prefix_nocase(STR("BEARER x"), STR("Bearer ")));
	assert_true(str_has_suffix(STR("a.sql"), STR(".sql")));
	assert_false(str_has_suffix(STR("sql"), STR(".sql")));
	assert_true(str_has_suffix(NONE, NONE));
}

static void test_str_find_gives_the_first_place_or_minus_one(void **state)
{
	(void)state;
	assert_int_equal(str_find(STR("abcabc"), STR("ca")), 2);
	assert_int_equal(str_find(STR("abc"), STR("abcd")), -1);
	assert_int_equal(str_find(NONE, STR("a")), -1);
	assert_int_equal(str_find(NONE, NONE), 0);
	assert_int_equal(str_find_char(STR("a,b,c"), ','), 1);
	assert_int_equal(str_find_char(NONE, 'a'), -1);
	assert_int_equal(str_find_nocase(STR("no STORE"), STR("store")), 3);
	assert_int_equal(str_find_nocase(STR("sto"), STR("store")), -1);
}

static void test_str_sub_is_clamped(void **state)
{
	(void)state;
	assert_true(str_eq_z(str_sub(STR("abcdef"), 2, 3), "cde"));
	assert_true(str_eq_z(str_sub(STR("abcdef"), 4, SIZE_MAX), "ef"));
	assert_int_equal(str_sub(STR("abc"), 9, 9).n, 0);
	assert_int_equal(str_sub(NONE, 1, 1).n, 0);
}

static void test_str_trim_takes_both_ends(void **state)
{
	(void)state;
	assert_true(str_eq_z(str_trim(STR(" \t\r\n a b \n")), "a b"));
	assert_int_equal(str_trim(STR("  ")).n, 0);
	assert_int_equal(str_trim(NONE).n, 0);
}

static void test_str_split_gives_every_part_then_ends(void **state)
{
	(void)state;
	struct str s = STR("a,,b,"), part;
	static const char *const want[] = { "a", "", "b", "" };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(str_split(&s, ',', &part));
		assert_true(str_eq_z(part, want[i]));
	}
	assert_false(str_split(&s, ',', &part));
	assert_null(s.p);
	s = STR("");
	assert_true(str_split(&s, ',', &part));
	assert_int_equal(part.n, 0);
	assert_false(str_split(&s, ',', &part));
}

static void test_str_u64_refuses_what_is_no_number_in_bounds(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t min, max;
		int rc;
		uint64_t want;
	} rows[] = {
		{ "0", 0, 10, 0, 0 },
		{ "007", 0, 10, 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", 0, UINT64_MAX, -ERR_INVALID, 0 },
		{ "99999999999999999999999", 0, UINT64_MAX, -ERR_INVALID, 0 },
		{ "11", 0, 10, -ERR_INVALID, 0 },
		{ "4", 5, 10, -ERR_INVALID, 0 },
		{ "", 0, 10, -ERR_INVALID, 0 },
		{ "-1", 0, 10, -ERR_INVALID, 0 },
		{ "+1", 0, 10, -ERR_INVALID, 0 },
		{ " 1", 0, 10, -ERR_INVALID, 0 },
		{ "1x", 0, 10, -ERR_INVALID, 0 },
		{ "/", 0, 10, -ERR_INVALID, 0 },
		{ ":", 0, 10, -ERR_INVALID, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = 77;
		assert_int_equal(str_u64(str_from(rows[i].text), rows[i].min, rows[i].max, &v), rows[i].rc);
		assert_int_equal(v, rows[i].rc ? 77 : rows[i].want); /* untouched on failure */
	}
}

static void test_str_i64_reaches_both_ends(void **state)
{
	(void)state;
	int64_t v = 77;
	assert_int_equal(str_i64(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &v), 0);
	assert_true(v == INT64_MIN);
	assert_int_equal(str_i64(STR("9223372036854775807"), INT64_MIN, INT64_MAX, &v), 0);
	assert_true(v == INT64_MAX);
	assert_int_equal(str_i64(STR("9223372036854775808"), INT64_MIN, INT64_MAX, &v), -ERR_INVALID);
	assert_int_equal(str_i64(STR("-9223372036854775809"), INT64_MIN, INT64_MAX, &v), -ERR_INVALID);
	assert_int_equal(str_i64(STR("-"), INT64_MIN, INT64_MAX, &v), -ERR_INVALID);
	assert_int_equal(str_i64(STR("--1"), INT64_MIN, INT64_MAX, &v), -ERR_INVALID);
	assert_int_equal(str_i64(STR("-6"), -5, 5, &v), -ERR_INVALID);
	assert_int_equal(str_i64(STR("-5"), -5, 5, &v), 0);
	assert_int_equal(v, -5);
}

static void test_str_utf8_follows_table_3_7(void **state)
{
	(void)state;
	static const struct {
		struct str s;
		bool ok;
	} rows[] = {
		{ STR(""), true },
		{ STR("plain ASCII, longer than eight"), true },
		{ STR("gr\xC3\xBC\xC3\x9F"
		      "e \xE2\x82\xAC \xF0\x9F\x98\x80"), true },
		{ STR("\xF4\x8F\xBF\xBF"), true },
		{ STR("\x7F\0x"), true },
		{ STR("\x80"), false },
		{ STR("\xC0\xAF"), false },
		{ STR("\xC1\xBF"), false },
		{ STR("\xE0\x9F\xBF"), false },
		{ STR("\xED\xA0\x80"), false },
		{ STR("\xF0\x8F\xBF\xBF"), false },
		{ STR("\xF4\x90\x80\x80"), false },
		{ STR("\xF5\x80\x80\x80"), false },
		{ STR("\xE2\x82"), false },
		{ STR("\xE2\x28\xA1"), false },
		{ STR("\xF0\x9F\x98\x28"), false },
		{ STR("12345678\xFF"), false },
		{ STR("1234567\xC3\xBC"), true },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(str_is_utf8(rows[i].s), rows[i].ok);
}

static void test_str_utf8_prefix_cuts_no_character(void **state)
{
	(void)state;
	struct str s = STR("a\xE2\x82\xAC"
			   "b"); /* a, the euro sign, b */
	static const size_t want[] = { 0, 1, 1, 1, 4, 5, 5 };
	for (size_t n = 0; n < ARRAY_LEN(want); n++)
		assert_int_equal(str_utf8_prefix(s, n).n, want[n]);
	assert_int_equal(str_utf8_prefix(STR("\x80\x80\x80\x80\x80\x80"), 5).n, 5); /* no UTF-8: cut anywhere */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_str_equality_knows_length_and_case),
		cmocka_unit_test(test_str_prefix_and_suffix),
		cmocka_unit_test(test_str_find_gives_the_first_place_or_minus_one),
		cmocka_unit_test(test_str_sub_is_clamped),
		cmocka_unit_test(test_str_trim_takes_both_ends),
		cmocka_unit_test(test_str_split_gives_every_part_then_ends),
		cmocka_unit_test(test_str_u64_refuses_what_is_no_number_in_bounds),
		cmocka_unit_test(test_str_i64_reaches_both_ends),
		cmocka_unit_test(test_str_utf8_follows_table_3_7),
		cmocka_unit_test(test_str_utf8_prefix_cuts_no_character),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
