/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/json.h: what is refused, what reads back, canonical text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <string.h>

#include "common/json.h"

static void test_json_parse_refuses_what_outsiders_try(void **state)
{
	(void)state;
	static const struct {
		struct str text;
		bool strict, lenient;
	} rows[] = {
		{ STR("{}"), true, true },
		{ STR(" [1, 2.5, \"x\", null, true] "), true, true },
		{ STR("\"just a string\""), true, true },
		{ STR("{\"a\":1,\"a\":2}"), false, true },
		{ STR("{\"a\":{\"b\":1,\"b\":2}}"), false, true },
		{ STR("{\"a\":1,\"\\u0061\":2}"), false, true },
		{ STR(""), false, false },
		{ STR("   "), false, false },
		{ STR("{"), false, false },
		{ STR("[1,]"), false, false },
		{ STR("[1] x"), false, false },
		{ STR("{} {}"), false, false },
		{ STR("[01]"), false, false },
		{ STR("[NaN]"), false, false },
		{ STR("{'a':1}"), false, false },
		{ STR("[1]\0"), false, false },
		{ STR("[\"a\0b\"]"), false, false },
		{ STR("[\"1234567890123456\0b\"]"), false, false },
		{ STR("[\"\\u0000\"]"), false, false },
		{ STR("{\"\\u0000\":1}"), false, false },
		{ STR("[\"a\nb\"]"), false, false },
		{ STR("[\"\xFF\"]"), false, false },
		{ STR("[\"\\ud800\"]"), false, false },
		{ STR("[9223372036854775807, -9223372036854775808]"), true, true },
		{ STR("[9223372036854775808]"), false, false },
		{ STR("[1e999]"), false, false },
		{ STR("\"unterminated"), false, false },
		{ STR("\"unterminated\\"), false, false },
		{ STR("]]]]"), false, false },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { .code = ERR_OK };
		json_t *v = json_parse(rows[i].text, &err);
		assert_int_equal(v != NULL, rows[i].strict);
		assert_int_equal(err.code, v ? ERR_OK : ERR_BAD_JSON);
		json_drop(&v);
		v = json_parse_lenient(rows[i].text, NULL);
		assert_int_equal(v != NULL, rows[i].lenient);
		json_drop(&v);
	}
	assert_null(json_parse((struct str){ NULL, 0 }, NULL));
}

static void test_json_lenient_takes_the_last_duplicate(void **state)
{
	(void)state;
	_cleanup_(json_drop) json_t *v = json_parse_lenient(STR("{\"a\":1,\"a\":2}"), NULL);
	assert_int_equal(json_i64(v, "a", 0), 2);
}

static json_t *nested(int depth, const char *open, const char *close)
{
	struct buf b;
	buf_init(&b, 10000);
	for (int i = 0; i < depth; i++)
		buf_add_z(&b, open);
	for (int i = 0; i < depth; i++)
		buf_add_z(&b, close);
	json_t *v = json_parse(buf_str(&b), NULL);
	buf_done(&b);
	return v;
}

static void test_json_parse_bounds_the_depth(void **state)
{
	(void)state;
	json_t *v = nested(JSON_DEPTH_MAX, "[", "]");
	assert_non_null(v);
	json_drop(&v);
	assert_null(nested(JSON_DEPTH_MAX + 1, "[", "]"));
	assert_null(nested(2000, "[", "]"));
	assert_null(nested(2000, "[", ""));
	assert_null(nested(2000, "{\"a\":", ""));
	v = nested(2000, "[],", ""); /* not JSON, and not deep */
	assert_null(v);
	struct err err;
	v = json_parse(STR("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[\\\\\"]"), &err);
	assert_non_null(v); /* brackets in a string are no levels */
	json_drop(&v);
}

static void test_json_error_says_where(void **state)
{
	(void)state;
	struct err err;
	assert_null(json_parse(STR("{\"a\": 1,\n \"b\": x}"), &err));
	assert_int_equal(err.code, ERR_BAD_JSON);
	assert_true(str_has_prefix(str_from(err.text), STR("line 2, column ")));
	assert_null(json_parse(STR("[1,2,3,\0]"), &err));
	assert_string_equal(err.text, "a NUL byte at offset 7");
}

static void assert_writes(const char *in, const char *plain, const char *sorted)
{
	struct buf b;
	buf_init(&b, 10000);
	_cleanup_(json_drop) json_t *v = json_parse(str_from(in), NULL);
	assert_non_null(v);
	assert_int_equal(json_write(&b, v), 0);
	assert_true(str_eq_z(buf_str(&b), plain));
	buf_clear(&b);
	assert_int_equal(json_write_sorted(&b, v), 0);
	assert_true(str_eq_z(buf_str(&b), sorted));
	buf_done(&b);
}

static void test_json_write_is_compact_and_canonical(void **state)
{
	(void)state;
	assert_writes("{ \"b\" : [ ] , \"a\" : { } }", "{\"b\":[],\"a\":{}}", "{\"a\":{},\"b\":[]}");
	assert_writes("[true,false,null,-1,\"\\u00e9\\/\\n\"]", "[true,false,null,-1,\"\xC3\xA9/\\n\"]",
		      "[true,false,null,-1,\"\xC3\xA9/\\n\"]");
	assert_writes("{\"aa\":1,\"a\":2,\"\":3,\"\xC3\xA9\":4,\"B\":5}", "{\"aa\":1,\"a\":2,\"\":3,\"\xC3\xA9\":4,\"B\":5}",
		      "{\"\":3,\"B\":5,\"a\":2,\"aa\":1,\"\xC3\xA9\":4}");
	assert_writes("[9223372036854775807,-9223372036854775808,0]", "[9223372036854775807,-9223372036854775808,0]",
		      "[9223372036854775807,-9223372036854775808,0]");
	assert_writes("[0.1,1.0,-0.0,1e300,2.5e-7,1e2]", "[0.1,1.0,-0.0,1e+300,2.5e-07,100.0]", "[0.1,1.0,-0.0,1e+300,2.5e-07,100.0]");
}

static void test_json_write_sorts_large_objects(void **state)
{
	(void)state;
	struct buf b, key;
	buf_init(&b, 100000);
	buf_init(&key, 100);
	_cleanup_(json_drop) json_t *v = json_object();
	for (int i = 999; i >= 0; i--) {
		buf_clear(&key);
		buf_printf(&key, "k%03d%c", i, '\0');
		json_set_i64(v, key.p, i);
	}
	assert_int_equal(json_write_sorted(&b, v), 0);
	assert_true(str_has_prefix(buf_str(&b), STR("{\"k000\":0,\"k001\":1,")));
	assert_true(str_has_suffix(buf_str(&b), STR(",\"k998\":998,\"k999\":999}")));
	buf_done(&key);
	buf_done(&b);
}

static void test_json_reals_read_back_as_the_same_number(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	double values[1000] = { 0.1, 1.0 / 3, DBL_MAX, DBL_MIN, DBL_TRUE_MIN, 123456789012345680.0, -2.5, 1e15, 1e16, 9007199254740993.0 };
	uint64_t bits = 0x3ff0000000000001;
	for (size_t i = 10; i < ARRAY_LEN(values); i++, bits = bits * 6364136223846793005u + 1442695040888963407u) {
		uint64_t finite = bits & 0xbfefffffffffffffu;
		memcpy(&values[i], &finite, sizeof(finite));
	}
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		_cleanup_(json_drop) json_t *v = json_real(values[i]);
		buf_clear(&b);
		assert_int_equal(json_write(&b, v), 0);
		_cleanup_(json_drop) json_t *back = json_parse(buf_str(&b), NULL);
		assert_true(json_is_real(back));
		double got = json_real_value(back);
		assert_memory_equal(&got, &values[i], sizeof(got));
	}
	buf_done(&b);
}

static void test_json_write_stops_at_the_buffers_maximum(void **state)
{
	(void)state;
	_cleanup_(json_drop) json_t *v = json_parse(STR("{\"a\":[1,2,3,0.25,\"xyz\"]}"), NULL);
	for (size_t max = 0; max < 25; max++) {
		struct buf b;
		buf_init(&b, max);
		assert_int_equal(json_write(&b, v), max < 24 ? -ERR_TOO_LARGE : 0);
		buf_done(&b);
	}
}

static void test_json_look_ups_tolerate_anything(void **state)
{
	(void)state;
	_cleanup_(json_drop) json_t *v = json_parse(STR("{\"s\":\"x\",\"i\":7,\"t\":true,\"f\":false,\"r\":1.5,\"n\":null}"), NULL);
	assert_true(str_eq_z(json_str(v, "s"), "x"));
	assert_int_equal(json_str(v, "i").n, 0);
	assert_int_equal(json_str(v, "none").n, 0);
	assert_int_equal(json_str(NULL, "s").n, 0);
	assert_int_equal(json_i64(v, "i", -1), 7);
	assert_int_equal(json_i64(v, "r", -1), -1);
	assert_int_equal(json_i64(v, "s", -1), -1);
	assert_int_equal(json_i64(NULL, "i", -1), -1);
	assert_true(json_bool(v, "t", false));
	assert_false(json_bool(v, "f", true));
	assert_true(json_bool(v, "n", true));
	assert_true(json_bool(json_get(v, "i"), "t", true)); /* not an object */
	assert_null(json_get(json_get(v, "s"), "x"));
	assert_null(json_get(NULL, "x"));
}

static void test_json_from_str_replaces_broken_utf8(void **state)
{
	(void)state;
	_cleanup_(json_drop) json_t *v = json_object();
	json_set_str(v, "ok", STR("gr\xC3\xBC"
				  "n"));
	json_set_str(v, "broken", STR("a\xFF\xE2\x82"
				      "b"));
	json_set_str(v, "empty", (struct str){ NULL, 0 });
	json_set_i64(v, "i", INT64_MIN);
	assert_true(str_eq_z(json_str(v, "ok"), "gr\xC3\xBCn"));
	assert_true(str_eq_z(json_str(v, "broken"), "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
						    "b"));
	assert_true(json_is_string(json_get(v, "empty")));
	assert_true(json_i64(v, "i", 0) == INT64_MIN);
}

static void test_json_counts_the_values_of_outsiders(void **state)
{
	(void)state;
	static const char *const pieces[] = { "0", "[]", "{}" };
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct buf b;
		struct err err = { .code = ERR_OK };
		buf_init(&b, SIZE_MAX / 8);
		buf_add_char(&b, '[');
		for (size_t k = 0; k < JSON_VALUES_MAX; k++)
			buf_printf(&b, "%s%s", k ? "," : "", pieces[i]);
		buf_add_char(&b, ']');
		assert_null(json_parse(buf_str(&b), &err));
		assert_int_equal(err.code, ERR_BAD_JSON);
		assert_string_equal(err.text, "more than 1000000 values");
		json_t *v = json_parse_lenient(buf_str(&b), NULL); /* a provider's answer is limited by its size */
		assert_int_equal(json_array_size(v), JSON_VALUES_MAX);
		json_decref(v);
		buf_done(&b);
	}
	json_t *v = json_parse(STR("[[],{},0]"), NULL);
	assert_int_equal(json_array_size(v), 3);
	json_decref(v);
}

/* "[]," is three bytes of text and a hundred and fifty of memory. */
static void test_json_of_answers_has_no_more_lists_and_objects_than_its_size_allows(void **state)
{
	static const struct {
		const char *piece;
		bool taken; /* fifty thousand of them */
	} rows[] = { { "[]", false }, { "{}", false }, { "[0]", false }, { "0", true }, { "[0.123456789]", true }, { "{\"token\":\"a\",\"bytes\":[97]}", true } };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b;
		struct err err = { .code = ERR_OK };
		buf_init(&b, SIZE_MAX / 8);
		buf_add_char(&b, '[');
		for (size_t k = 0; k < 50000; k++)
			buf_printf(&b, "%s%s", k ? "," : "", rows[i].piece);
		buf_add_char(&b, ']');
		json_t *v = json_parse_answer(buf_str(&b), &err);
		if ((v != NULL) != rows[i].taken)
			fail_msg("%s: %s", rows[i].piece, err.text);
		assert_true(v || str_find(str_from(err.text), STR("lists and objects")) > 0);
		json_decref(v);
		json_decref(json_parse_answer((struct str){ b.p, b.n / 2 }, NULL)); /* and what is no JSON is refused without a leak */
		buf_done(&b);
	}
	json_t *v = json_parse_answer(STR("[[],{},0,[[],[]]]"), NULL);
	assert_int_equal(json_array_size(v), 4);
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_parse_refuses_what_outsiders_try),
		cmocka_unit_test(test_json_lenient_takes_the_last_duplicate),
		cmocka_unit_test(test_json_parse_bounds_the_depth),
		cmocka_unit_test(test_json_error_says_where),
		cmocka_unit_test(test_json_write_is_compact_and_canonical),
		cmocka_unit_test(test_json_write_sorts_large_objects),
		cmocka_unit_test(test_json_reals_read_back_as_the_same_number),
		cmocka_unit_test(test_json_write_stops_at_the_buffers_maximum),
		cmocka_unit_test(test_json_look_ups_tolerate_anything),
		cmocka_unit_test(test_json_from_str_replaces_broken_utf8),
		cmocka_unit_test(test_json_counts_the_values_of_outsiders),
		cmocka_unit_test(test_json_of_answers_has_no_more_lists_and_objects_than_its_size_allows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
