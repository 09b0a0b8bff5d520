/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/buf.h: growth, the maximum, latching, JSON strings. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"

static void test_buf_keeps_what_is_appended(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&b, "%03d,", i), 0);
	assert_int_equal(b.n, 4000);
	assert_memory_equal(b.p, "000,001,", 8);
	assert_memory_equal(b.p + 3992, "998,999,", 8);
	assert_int_equal(buf_add(&b, NULL, 0), 0);
	assert_int_equal(buf_add_str(&b, (struct str){ NULL, 0 }), 0);
	assert_int_equal(buf_add_z(&b, "end"), 0);
	assert_true(str_has_suffix(buf_str(&b), STR("999,end")));
	buf_done(&b);
	buf_done(&b);
}

static void test_buf_overflow_latches(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10);
	assert_int_equal(buf_add_z(&b, "12345678"), 0);
	assert_int_equal(buf_add_z(&b, "abc"), -ERR_TOO_LARGE);
	assert_int_equal(buf_add_char(&b, 'x'), -ERR_TOO_LARGE); /* would fit, but the content would lie */
	assert_int_equal(buf_printf(&b, "x"), -ERR_TOO_LARGE);
	assert_null(buf_room(&b, 1));
	assert_true(buf_failed(&b));
	assert_true(str_eq_z(buf_str(&b), "12345678"));
	buf_clear(&b);
	assert_false(buf_failed(&b));
	assert_int_equal(buf_printf(&b, "%s", "1234567890"), 0); /* exactly the maximum */
	assert_int_equal(buf_printf(&b, "%s", "1"), -ERR_TOO_LARGE);
	assert_int_equal(b.n, 10);
	buf_done(&b);
	buf_init(&b, SIZE_MAX);
	assert_int_equal(buf_add_char(&b, 'a'), 0);
	assert_null(buf_room(&b, SIZE_MAX)); /* no wrap-around */
	buf_done(&b);
	buf_init(&b, 0);
	assert_int_equal(buf_add_char(&b, 'a'), -ERR_TOO_LARGE);
	buf_done(&b);
}

static void test_buf_numbers(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	static const uint64_t values[] = { 0, 9, 10, 99, 100, 12345, UINT64_MAX };
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		buf_add_u64(&b, values[i]);
		buf_add_char(&b, ' ');
	}
	buf_add_i64(&b, INT64_MIN);
	buf_add_i64(&b, -7);
	assert_true(str_eq_z(buf_str(&b), "0 9 10 99 100 12345 18446744073709551615 -9223372036854775808-7"));
	buf_clear(&b);
	buf_add_be16(&b, 0x0102);
	buf_add_be32(&b, 0x03040506);
	buf_add_be64(&b, 0x0708090A0B0C0D0E);
	assert_int_equal(b.n, 14);
	for (size_t i = 0; i < b.n; i++)
		assert_int_equal(b.p[i], i + 1);
	buf_done(&b);
}

static void test_buf_json_str_escapes_and_replaces(void **state)
{
	(void)state;
	static const struct {
		struct str in;
		const char *want;
	} rows[] = {
		{ STR(""), "\"\"" },
		{ STR("plain text of more than eight bytes"), "\"plain text of more than eight bytes\"" },
		{ STR("a\"b\\c/"), "\"a\\\"b\\\\c/\"" },
		{ STR("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"" },
		{ STR("1234567\x01"
		      "\x1f"
		      "x\0y"), "\"1234567\\u0001\\u001fx\\u0000y\"" },
		{ STR("\x7f"), "\"\x7f\"" },
		{ STR("12345\xE2\x82\xAC 12345678 \xF0\x9F\x98\x80"), "\"12345\xE2\x82\xAC 12345678 \xF0\x9F\x98\x80\"" },
		{ STR("a\xFF"
		      "b\xE2\x82"), "\"a\xEF\xBF\xBD"
				    "b\xEF\xBF\xBD\xEF\xBF\xBD\"" },
		{ STR("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
	};
	struct buf b;
	buf_init(&b, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&b);
		assert_int_equal(buf_add_json_str(&b, rows[i].in), 0);
		assert_int_equal(b.n, strlen(rows[i].want));
		assert_memory_equal(b.p, rows[i].want, b.n);
	}
	buf_done(&b);
}

static void test_buf_percent_encodes_what_is_not_unreserved(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	assert_int_equal(buf_add_percent(&b, STR("aZ09-._~ /@%\xC3\xBC\0!"), ""), 0);
	assert_true(str_eq(buf_str(&b), STR("aZ09-._~%20%2F%40%25%C3%BC%00%21")));
	buf_clear(&b);
	assert_int_equal(buf_add_percent(&b, STR("a/b c"), "/"), 0);
	assert_true(str_eq(buf_str(&b), STR("a/b%20c")));
	buf_done(&b);
	buf_init(&b, 4);
	assert_int_equal(buf_add_percent(&b, STR("    "), ""), -ERR_TOO_LARGE);
	buf_done(&b);
}

static void test_buf_json_str_finds_each_special_byte_at_each_place(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	for (unsigned c = 0; c < 256; c++) {
		bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
		for (size_t at = 0; at < 17; at++) {
			char text[17];
			memset(text, 'a', sizeof(text));
			text[at] = (char)c;
			buf_clear(&b);
			assert_int_equal(buf_add_json_str(&b, (struct str){ text, sizeof(text) }), 0);
			assert_int_equal(b.n == sizeof(text) + 2 && memcmp(b.p + 1, text, sizeof(text)) == 0, plain);
		}
	}
	buf_done(&b);
}

static void test_buf_json_str_latches_too(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 5);
	assert_int_equal(buf_add_json_str(&b, STR("a\nb")), -ERR_TOO_LARGE);
	assert_true(buf_failed(&b));
	buf_done(&b);
}

static void test_buf_room_consume_truncate(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	char *room = buf_room(&b, 6);
	assert_non_null(room);
	memcpy(room, "abcdef", 6);
	buf_grown(&b, 6);
	buf_consume(&b, 2);
	assert_true(str_eq_z(buf_str(&b), "cdef"));
	buf_truncate(&b, 3);
	buf_truncate(&b, 50);
	assert_true(str_eq_z(buf_str(&b), "cde"));
	buf_consume(&b, 3);
	assert_int_equal(b.n, 0);
	buf_done(&b);
}

static void test_buf_fit_keeps_the_content_and_goes_on(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 4096);
	buf_fit(&b);
	assert_null(b.p);
	for (int i = 0; i < 300; i++)
		buf_add_char(&b, 'x');
	assert_true(b.cap > 300);
	buf_fit(&b);
	assert_int_equal(b.cap, 300);
	buf_add_z(&b, "yz");
	assert_int_equal(b.n, 302);
	assert_memory_equal(b.p + 298, "xxyz", 4);
	buf_truncate(&b, 0);
	buf_fit(&b);
	assert_int_equal(b.cap, 0);
	buf_add_char(&b, 'a');
	assert_true(str_eq_z(buf_str(&b), "a"));
	buf_done(&b);
}

static void test_buf_steal_hands_over_a_terminated_text(void **state)
{
	(void)state;
	struct buf b;
	size_t n;
	buf_init(&b, 4);
	buf_add_z(&b, "full");
	char *p = buf_steal(&b, &n);
	assert_int_equal(n, 4);
	assert_string_equal(p, "full");
	free(p);
	assert_int_equal(b.n, 0);
	p = buf_steal(&b, NULL);
	assert_string_equal(p, "");
	free(p);
	assert_int_equal(buf_add_z(&b, "next"), 0); /* the maximum stays */
	assert_int_equal(buf_add_z(&b, "x"), -ERR_TOO_LARGE);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_keeps_what_is_appended),
		cmocka_unit_test(test_buf_overflow_latches),
		cmocka_unit_test(test_buf_numbers),
		cmocka_unit_test(test_buf_json_str_escapes_and_replaces),
		cmocka_unit_test(test_buf_percent_encodes_what_is_not_unreserved),
		cmocka_unit_test(test_buf_json_str_finds_each_special_byte_at_each_place),
		cmocka_unit_test(test_buf_json_str_latches_too),
		cmocka_unit_test(test_buf_room_consume_truncate),
		cmocka_unit_test(test_buf_fit_keeps_the_content_and_goes_on),
		cmocka_unit_test(test_buf_steal_hands_over_a_terminated_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
