/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Schemas on their way to a provider: each keyword as it is taken there, and nothing lost that words can say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/providers/schema.h"

struct row {
	const char *in, *out;
};

static void check(const struct row *rows, size_t n, json_t *(*convert)(const json_t *))
{
	for (size_t i = 0; i < n; i++) {
		json_t *in = json_parse(str_from(rows[i].in), NULL), *wanted = json_parse(str_from(rows[i].out), NULL);
		assert_non_null(in);
		assert_non_null(wanted);
		json_t *got = convert(in);
		struct buf text;
		buf_init(&text, 1 << 16);
		json_write(&text, got);
		if (!json_equal(got, wanted))
			fail_msg("%s: wanted %s, got " STR_FMT, rows[i].in, rows[i].out, STR_ARG(buf_str(&text)));
		buf_done(&text);
		json_decref(in);
		json_decref(wanted);
		json_decref(got);
	}
}

static void test_schema_for_anthropic(void **state)
{
	static const struct row rows[] = {
		{ "{}", "{}" },
		{ "true", "{}" },
		{ "{\"type\":\"object\"}", "{\"type\":\"object\",\"additionalProperties\":false}" },
		{ "{\"type\":[\"object\",\"null\"],\"additionalProperties\":{\"type\":\"string\"}}", "{\"type\":[\"object\",\"null\"],\"additionalProperties\":false}" },
		{ "{\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{}}},\"required\":[\"a\"]}",
		  "{\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}},\"required\":[\"a\"],\"additionalProperties\":false}" },
		{ "{\"$schema\":\"x\",\"title\":\"t\",\"type\":\"string\",\"const\":\"c\",\"default\":\"d\",\"enum\":[\"c\"]}",
		  "{\"title\":\"t\",\"type\":\"string\",\"const\":\"c\",\"default\":\"d\",\"enum\":[\"c\"]}" },
		{ "{\"type\":\"integer\",\"minimum\":0,\"maximum\":5,\"description\":\"How many.\"}",
		  "{\"type\":\"integer\",\"description\":\"How many.\\n\\n{minimum: 0, maximum: 5}\"}" },
		{ "{\"type\":\"string\",\"pattern\":\"^a\",\"format\":\"iban\"}", "{\"type\":\"string\",\"description\":\"{pattern: \\\"^a\\\", format: \\\"iban\\\"}\"}" },
		{ "{\"type\":\"string\",\"format\":\"date-time\"}", "{\"type\":\"string\",\"format\":\"date-time\"}" },
		{ "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"multipleOf\":2},\"minItems\":1}",
		  "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"description\":\"{multipleOf: 2}\"},\"minItems\":1}" },
		{ "{\"type\":\"array\",\"minItems\":2,\"uniqueItems\":true}", "{\"type\":\"array\",\"description\":\"{minItems: 2, uniqueItems: true}\"}" },
		{ "{\"not\":{\"type\":\"null\"}}", "{\"description\":\"{not: {\\\"type\\\":\\\"null\\\"}}\"}" },
		{ "{\"oneOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"null\"}]}",
		  "{\"anyOf\":[{\"type\":\"string\",\"description\":\"{minLength: 1}\"},{\"type\":\"null\"}]}" },
		{ "{\"anyOf\":[{\"type\":\"null\"}],\"oneOf\":[{\"type\":\"string\"}]}",
		  "{\"anyOf\":[{\"type\":\"null\"}],\"description\":\"{oneOf: [{\\\"type\\\":\\\"string\\\"}]}\"}" },
		{ "{\"$ref\":\"#/$defs/x\",\"description\":\"gone\",\"$defs\":{\"x\":{\"type\":\"object\"}}}",
		  "{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"type\":\"object\",\"additionalProperties\":false}}}" },
		/* A property may have any name, also that of a keyword. */
		{ "{\"properties\":{\"minimum\":{\"type\":\"string\"},\"$ref\":{\"type\":\"string\"}}}",
		  "{\"properties\":{\"minimum\":{\"type\":\"string\"},\"$ref\":{\"type\":\"string\"}},\"additionalProperties\":false}" },
		/* Keywords of wrong types. */
		{ "{\"properties\":7,\"anyOf\":{},\"items\":[1],\"$ref\":null}",
		  "{\"description\":\"{properties: 7, anyOf: {}, items: [1], $ref: null}\"}" },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), schema_for_anthropic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schema_for_anthropic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
