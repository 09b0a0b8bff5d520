/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/json_read.h: it takes the usual texts as jansson does, and leaves the rest to jansson. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/json.h"
#include "common/json_read.h"

static const struct json_limits any = { SIZE_MAX, SIZE_MAX };

static void test_json_read_takes_usual_texts_as_jansson_does(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{}", "[]", " [ ] ", "\"\"", "\"x\"", "0", "-0", "-1", "9223372036854775807", "-9223372036854775808", "0.1", "-1.5e+10", "1E5",
		"5e-324", "true", " false\n", "null", "[1,2,[3,{\"a\":[{}]}]]", "{\"a\":1,\"b\":{\"a\":2}}", "{\"\":\"\"}",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"a long run of plain bytes \\u00e9\\u20AC\\u0041 and more after it\"",
		"{\"gr\xC3\xBC\xC3\x9F\" : \"\xF0\x9F\x98\x80\x7f\"}", "\t\r\n {\"a\" :\t1 , \"b\": [ 1 , 2 ] } \r\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		_cleanup_(json_drop) json_t *got = json_read(str_from(texts[i]), true, any);
		_cleanup_(json_drop) json_t *want = json_loads(texts[i], JSON_DECODE_ANY, NULL);
		assert_non_null(got);
		assert_true(json_equal(got, want));
	}
}

static void test_json_read_leaves_the_rest(void **state)
{
	(void)state;
	static const struct str texts[] = {
		STR(""), STR(" "), STR("{"), STR("["), STR("[1"), STR("[1,"), STR("[1,]"), STR("{\"a\""), STR("{\"a\":"), STR("{\"a\":1"), STR("{\"a\":1,"),
		STR("{\"a\":1,}"), STR("{a:1}"), STR("{\"a\" 1}"), STR("[1 2]"), STR("[1]]"), STR("1 2"), STR("tru"), STR("truex"), STR("nul"), STR("\""),
		STR("\"a"), STR("\"a\\"), STR("\"\\x\""), STR("\"\\u12\""), STR("\"\\u12g4\""), STR("\"\\u0000\""), STR("\"\\ud83d\\ude00\""),
		STR("\"\x01\""), STR("\"a\nb\""), STR("\"\xFF\""), STR("\"\\n\xE2\x82\""), STR("\"a\0\""), STR("[1]\0"), STR("\0"), STR("01"), STR("-"), STR("+1"),
		STR(".5"), STR("1."), STR("1e"), STR("1e+"), STR("-a"), STR("1e999"), STR("9223372036854775808"), STR("{\"\\u0061\":1}"),
		STR("{\"a\":1,\"a\":1}"), STR("{\"a\":1,\"b\":2,\"a\":3}"), STR("NaN"), STR("1.00000000000000000000000000000000000000000000000000000000000000000"),
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_null(json_read(texts[i], true, any));
}

static void test_json_read_lets_the_last_key_count_when_asked(void **state)
{
	(void)state;
	_cleanup_(json_drop) json_t *v = json_read(STR("{\"a\":1,\"b\":2,\"a\":3}"), false, any);
	assert_int_equal(json_i64(v, "a", 0), 3);
	assert_int_equal(json_object_size(v), 2);
}

static void test_json_read_bounds_the_depth(void **state)
{
	(void)state;
	char text[2 * (JSON_DEPTH_MAX + 1)];
	for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		_cleanup_(json_drop) json_t *v = json_read((struct str){ text, 2 * depth }, true, any);
		assert_int_equal(v != NULL, depth <= JSON_DEPTH_MAX);
	}
	_cleanup_(json_drop) json_t *wide = json_read(STR("[[],[],[[]],{},{\"a\":[]}]"), true, any); /* side by side is not deep */
	assert_int_equal(json_array_size(wide), 5);
}

static void test_json_read_bounds_what_a_text_holds(void **state)
{
	(void)state;
	static const struct str text = STR("[1,[2],{\"a\":3}]"); /* six values, three of them lists or objects */
	for (size_t values = 4; values <= 7; values++)
		for (size_t nests = 1; nests <= 4; nests++) {
			_cleanup_(json_drop) json_t *v = json_read(text, true, (struct json_limits){ values, nests });
			assert_int_equal(v != NULL, values >= 6 && nests >= 3);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_read_takes_usual_texts_as_jansson_does),
		cmocka_unit_test(test_json_read_leaves_the_rest),
		cmocka_unit_test(test_json_read_lets_the_last_key_count_when_asked),
		cmocka_unit_test(test_json_read_bounds_the_depth),
		cmocka_unit_test(test_json_read_bounds_what_a_text_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
