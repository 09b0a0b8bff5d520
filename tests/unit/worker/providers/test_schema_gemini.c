/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Schemas as Gemini's responseSchema: keyword by keyword, references and their loops, and schemas made to grow without measure. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/providers/schema.h"

struct row {
	const char *schema, *wanted; /* NULL: nothing is left to ask for */
};

static json_t *converted(const char *text)
{
	json_t *schema = json_parse(str_from(text), NULL);
	assert_non_null(schema);
	json_t *out = schema_for_gemini(schema);
	json_decref(schema);
	return out;
}

static void test_schema_gemini_keywords(void **state)
{
	static const struct row rows[] = {
		{ "{}", NULL },
		{ "true", NULL },
		{ "{\"type\":\"object\"}", NULL },
		{ "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", NULL },
		{ "{\"$schema\":\"x\",\"not\":{},\"uniqueItems\":true,\"default\":1}", NULL },
		{ "{\"type\":\"string\",\"format\":\"date-time\",\"title\":\"t\",\"description\":\"d\",\"pattern\":\"^a\",\"minLength\":1,\"default\":\"x\"}",
		  "{\"title\":\"t\",\"description\":\"d\",\"format\":\"date-time\",\"pattern\":\"^a\",\"minLength\":1,\"type\":\"STRING\"}" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":0},\"b\":{}},\"required\":[\"a\",\"b\",\"a\",7],\"additionalProperties\":false}",
		  "{\"properties\":{\"a\":{\"minimum\":0,\"type\":\"INTEGER\"}},\"type\":\"OBJECT\",\"required\":[\"a\"]}" },
		{ "{\"type\":[\"string\",\"null\"]}", "{\"nullable\":true,\"type\":\"STRING\"}" },
		{ "{\"type\":[\"string\",\"integer\",\"null\"]}", "{\"nullable\":true,\"anyOf\":[{\"type\":\"STRING\"},{\"type\":\"INTEGER\"}]}" },
		{ "{\"type\":[\"null\"]}", "{\"nullable\":true,\"type\":\"NULL\"}" },
		{ "{\"const\":\"x\"}", "{\"enum\":[\"x\"],\"type\":\"STRING\"}" },
		{ "{\"enum\":[1,2,null,{}]}", "{\"nullable\":true,\"enum\":[\"1\",\"2\"],\"type\":\"INTEGER\"}" },
		{ "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"maxItems\":3}", "{\"maxItems\":3,\"type\":\"ARRAY\",\"items\":{\"type\":\"BOOLEAN\"}}" },
		{ "{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"null\"}],\"description\":\"d\"}", "{\"description\":\"d\",\"nullable\":true,\"type\":\"NUMBER\"}" },
		{ "{\"oneOf\":[{\"type\":\"number\"},{\"type\":\"string\"},{\"type\":\"null\"}]}",
		  "{\"nullable\":true,\"anyOf\":[{\"type\":\"NUMBER\"},{\"type\":\"STRING\"}]}" },
		{ "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"]},{\"properties\":{\"b\":{\"type\":\"string\"}},\"required\":[\"b\"]}]}",
		  "{\"type\":\"OBJECT\",\"properties\":{\"a\":{\"type\":\"STRING\"},\"b\":{\"type\":\"STRING\"}},\"required\":[\"a\",\"b\"]}" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *got = converted(rows[i].schema), *wanted = rows[i].wanted ? json_parse(str_from(rows[i].wanted), NULL) : NULL;
		if (rows[i].wanted ? !wanted || !json_equal(got, wanted) : got != NULL)
			fail_msg("%s became %s", rows[i].schema, got ? json_dumps(got, 0) : "nothing");
		json_decref(got);
		json_decref(wanted);
	}
}

static void test_schema_gemini_references_are_replaced(void **state)
{
	static const struct row rows[] = {
		{ "{\"$ref\":\"#/$defs/A\",\"description\":\"mine\",\"$defs\":{\"A\":{\"type\":\"string\",\"description\":\"its\"}}}",
		  "{\"description\":\"mine\",\"type\":\"STRING\"}" },
		{ "{\"properties\":{\"x\":{\"$ref\":\"#/definitions/a~1b~0c\"}},\"definitions\":{\"a/b~c\":{\"type\":\"integer\"}}}",
		  "{\"properties\":{\"x\":{\"type\":\"INTEGER\"}},\"type\":\"OBJECT\"}" },
		{ "{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"},\"v\":{\"type\":\"string\"}}}",
		  "{\"type\":\"OBJECT\",\"properties\":{\"next\":{\"type\":\"OBJECT\"},\"v\":{\"type\":\"STRING\"}}}" },
		{ "{\"properties\":{\"x\":{\"$ref\":\"#/$defs/none\"},\"y\":{\"$ref\":\"http://else\"}}}",
		  "{\"properties\":{\"x\":{\"type\":\"OBJECT\"},\"y\":{\"type\":\"OBJECT\"}},\"type\":\"OBJECT\"}" },
		{ "{\"$ref\":\"#/$defs/A\",\"$defs\":{\"A\":{\"$ref\":\"#/$defs/B\"},\"B\":{\"$ref\":\"#/$defs/A\"}}}", NULL },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *got = converted(rows[i].schema), *wanted = rows[i].wanted ? json_parse(str_from(rows[i].wanted), NULL) : NULL;
		if (rows[i].wanted ? !wanted || !json_equal(got, wanted) : got != NULL)
			fail_msg("%s became %s", rows[i].schema, got ? json_dumps(got, 0) : "nothing");
		json_decref(got);
		json_decref(wanted);
	}
}

/* Thirty definitions, each naming the next one twice, would be a thousand million schemas. */
static void test_schema_gemini_growth_ends(void **state)
{
	struct buf text, out;
	(void)state;
	buf_init(&text, 1 << 20);
	buf_init(&out, 1 << 24);
	buf_add_z(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{\"d30\":{\"type\":\"string\"}");
	for (int i = 0; i < 30; i++)
		buf_printf(&text, ",\"d%d\":{\"properties\":{\"a\":{\"$ref\":\"#/$defs/d%d\"},\"b\":{\"$ref\":\"#/$defs/d%d\"}}}", i, i + 1, i + 1);
	buf_add(&text, "}}", 3);
	json_t *got = converted(text.p);
	assert_non_null(got);
	assert_int_equal(json_write(&out, got), 0);
	assert_true(out.n < 1 << 20);
	json_decref(got);
	buf_done(&text);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schema_gemini_keywords),
		cmocka_unit_test(test_schema_gemini_references_are_replaced),
		cmocka_unit_test(test_schema_gemini_growth_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
