/* SPDX-License-Identifier: Apache-2.0 */
/* Filled schemas: each value validates (a small checker stands below), and holds what its name promises. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/simulator/patterns.h"
#include "cli/simulator/schema_fill.h"
#include "common/file.h"

static const char contract[] =
    "Supply Agreement\n\nThis agreement was signed on 12 March 2021 between Northwind Ltd. and Harbour Foods. "
    "Northwind must deliver fresh bread every morning. Harbour Foods shall pay EUR 1,250.50 each month. "
    "Harbour Foods may cancel the agreement with a notice of 30 days. The goods are sold with a warranty of quality. "
    "Neither party may not assign the agreement without consent. Questions go to office@northwind.example. "
    "The bakery stands in the old harbour of the town.\n";

struct fixture {
	struct arena arena;
	struct document doc;
};

static void fixture_init(struct fixture *x, struct str text)
{
	arena_init(&x->arena, 1u << 26);
	document_read(&x->doc, &x->arena, text);
}

static json_t *fill(struct fixture *x, const char *schema_text, const char *prompt)
{
	struct err err;
	json_t *schema = json_parse(str_from(schema_text), &err);
	if (!schema)
		fail_msg("%s", err.text);
	json_t *v = schema_fill(&x->doc, str_from(prompt), schema);
	json_decref(schema);
	return v;
}

static bool has_type(const json_t *v, struct str type)
{
	return (str_eq_z(type, "object") && json_is_object(v)) || (str_eq_z(type, "array") && json_is_array(v)) ||
	       (str_eq_z(type, "string") && json_is_string(v)) || (str_eq_z(type, "integer") && json_is_integer(v)) ||
	       (str_eq_z(type, "number") && json_is_number(v)) || (str_eq_z(type, "boolean") && json_is_boolean(v)) ||
	       (str_eq_z(type, "null") && json_is_null(v));
}

/* The part of JSON Schema that the tests use, without references. */
static void check(const json_t *schema, const json_t *v)
{
	const json_t *type = json_get(schema, "type"), *one;
	size_t i;
	if (json_is_string(type))
		assert_true(has_type(v, json_str_of(type)));
	if (json_is_array(json_get(schema, "enum"))) {
		bool found = false;
		json_array_foreach(json_get(schema, "enum"), i, one) found |= json_equal(one, v);
		assert_true(found);
	}
	if (json_is_object(v)) {
		const char *name;
		json_t *property;
		json_array_foreach(json_get(schema, "required"), i, one)
		    assert_non_null(json_get(v, json_string_value(one)));
		json_object_foreach(json_get(schema, "properties"), name, property)
		{
			if (json_get(v, name))
				check(property, json_get(v, name));
		}
		if (json_get(schema, "additionalProperties") && !json_bool(schema, "additionalProperties", true))
			assert_true(json_object_size(v) <= json_object_size(json_get(schema, "properties")));
	}
	if (json_is_array(v)) {
		assert_true((int64_t)json_array_size(v) >= json_i64(schema, "minItems", 0));
		assert_true((int64_t)json_array_size(v) <= json_i64(schema, "maxItems", 1000));
		json_array_foreach(v, i, one) check(json_get(schema, "items"), one);
	}
	if (json_is_string(v)) {
		assert_true((int64_t)json_string_length(v) <= json_i64(schema, "maxLength", INT64_MAX));
		assert_true((int64_t)json_string_length(v) >= json_i64(schema, "minLength", 0));
	}
	if (json_is_number(v)) {
		int64_t min = json_i64(schema, "minimum", INT64_MIN), max = json_i64(schema, "maximum", INT64_MAX);
		assert_true(json_number_value(v) >= (double)min && json_number_value(v) <= (double)max);
	}
}

static json_t *fill_checked(struct fixture *x, const char *schema_text)
{
	struct err err;
	json_t *schema = json_parse(str_from(schema_text), &err);
	json_t *v = fill(x, schema_text, "");
	check(schema, v);
	json_decref(schema);
	return v;
}

static void assert_text(const json_t *object, const char *name, const char *wanted)
{
	struct str got = json_str(object, name);
	if (!str_eq_z(got, wanted))
		fail_msg("%s is \"" STR_FMT "\", wanted \"%s\"", name, STR_ARG(got), wanted);
}

static void test_fill_names_say_what_they_get(void **state)
{
	struct fixture x;
	(void)state;
	fixture_init(&x, str_from(contract));
	json_t *v = fill_checked(
	    &x,
	    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\"},\"signed_date\":{\"type\":\"string\"}"
	    ","
	    "\"effectiveDate\":{\"type\":\"string\",\"format\":\"date\"},\"monthly_fee\":{\"type\":\"number\"},"
	    "\"price\":{\"type\":\"string\"},\"contact_email\":{\"type\":\"string\"},\"year\":{\"type\":\"integer\"},"
	    "\"notice\":{\"type\":\"integer\",\"description\":\"days of notice to cancel\"},"
	    "\"location\":{\"type\":\"string\",\"description\":\"where the bakery stands in the town\"},"
	    "\"has_warranty\":{\"type\":\"boolean\"},\"has_arbitration\":{\"type\":\"boolean\"}},"
	    "\"required\":[\"title\",\"year\"],\"additionalProperties\":false}");
	assert_text(v, "title", "Supply Agreement");
	assert_text(v, "signed_date", "12 March 2021");
	assert_text(v, "effectiveDate", "2021-03-12");
	assert_text(v, "price", "EUR 1,250.50");
	assert_text(v, "contact_email", "office@northwind.example");
	assert_text(v, "location", "The bakery stands in the old harbour of the town.");
	assert_true(json_number_value(json_get(v, "monthly_fee")) > 1250.49);
	assert_int_equal(json_i64(v, "year", 0), 2021);
	assert_int_equal(json_i64(v, "notice", 0), 30);
	assert_true(json_bool(v, "has_warranty", false));
	assert_false(json_bool(v, "has_arbitration", true));
	json_decref(v);
	arena_done(&x.arena);
}

static void test_fill_duties_are_sentences_of_duty(void **state)
{
	struct fixture x;
	(void)state;
	fixture_init(&x, str_from(contract));
	json_t *v = fill_checked(
	    &x,
	    "{\"type\":\"object\",\"properties\":{\"duties\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
	    "\"maxItems\":2},\"parties_duties\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
	    "\"party\":{\"type\":\"string\"},\"duty\":{\"type\":\"string\"}},\"required\":[\"party\",\"duty\"]}}}}");
	assert_int_equal(json_array_size(json_get(v, "duties")), 2);
	json_t *duty = json_array_get(json_get(v, "parties_duties"), 0);
	assert_text(duty, "party", "Northwind");
	assert_text(duty, "duty", "Northwind must deliver fresh bread every morning.");
	json_decref(v);
	arena_done(&x.arena);
}

static void test_fill_summary_has_the_number_asked_for(void **state)
{
	struct fixture x;
	(void)state;
	fixture_init(&x, str_from(contract));
	json_t *v = fill(&x, "{\"type\":\"object\",\"properties\":{\"summary\":{\"type\":\"string\"}}}",
	                 "in one sentence, please");
	struct str s = json_str(v, "summary");
	assert_int_equal(str_find(s, STR(". ")), -1);
	json_decref(v);
	v = fill(&x,
	         "{\"type\":\"object\",\"properties\":{\"summary\":{\"type\":\"string\",\"description\":\"a summary in "
	         "two sentences\"}}}",
	         "");
	s = json_str(v, "summary");
	assert_true(str_find(s, STR(". ")) > 0);
	json_decref(v);
	arena_done(&x.arena);
}

static void test_fill_bounds_hold(void **state)
{
	static const char *const schemas[] = {
		"{\"type\":\"string\",\"maxLength\":5}",
		"{\"type\":\"string\",\"minLength\":900}",
		"{\"type\":\"integer\",\"minimum\":5000}",
		"{\"type\":\"integer\",\"maximum\":-3}",
		"{\"type\":\"number\",\"minimum\":2,\"maximum\":3}",
		"{\"type\":\"array\",\"minItems\":60,\"items\":{\"type\":\"string\"}}",
		"{\"type\":\"array\",\"minItems\":3,\"maxItems\":3,\"items\":{\"type\":\"integer\"}}",
		"{\"type\":\"array\",\"maxItems\":0,\"items\":{\"type\":\"string\"}}",
		"{\"type\":\"array\",\"minItems\":2,\"items\":{\"enum\":[\"x\",\"y\"]}}",
		"{\"enum\":[\"pear\",\"bread\",7]}",
		"{\"enum\":[null,1]}",
		"{\"type\":\"object\",\"required\":[\"a\",\"b\"]}",
		"{\"type\":\"array\",\"items\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"boolean\"}}}",
		"{\"type\":\"array\"}",
		"{}",
		"{\"type\":\"null\"}",
	};
	static const char *const texts[] = { contract, "", "x", "One. Two. Three.",
		                             "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9" };
	(void)state;
	for (size_t t = 0; t < ARRAY_LEN(texts); t++) {
		for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
			struct fixture x;
			fixture_init(&x, str_from(texts[t]));
			json_decref(fill_checked(&x, schemas[i]));
			arena_done(&x.arena);
		}
	}
}

static void test_fill_references_and_unions(void **state)
{
	struct fixture x;
	(void)state;
	fixture_init(&x, str_from(contract));
	json_t *v =
	    fill(&x,
	         "{\"$defs\":{\"Fee\":{\"type\":\"object\",\"properties\":{\"amount\":{\"type\":\"number\"}},"
	         "\"required\":[\"amount\"]}},"
	         "\"type\":\"object\",\"properties\":{\"fee\":{\"$ref\":\"#/$defs/Fee\"},"
	         "\"note\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"string\"}]},\"kind\":{\"const\":\"contract\"},"
	         "\"both\":{\"allOf\":[{\"$ref\":\"#/$defs/Fee\"},{\"properties\":{\"title\":{\"type\":\"string\"}}}]},"
	         "\"maybe\":{\"type\":[\"null\",\"integer\"]}}}",
	         "");
	assert_true(json_number_value(json_get(json_get(v, "fee"), "amount")) > 1250);
	assert_true(json_is_string(json_get(v, "note")));
	assert_text(v, "kind", "contract");
	assert_text(json_get(v, "both"), "title", "Supply Agreement");
	assert_true(json_is_number(json_get(json_get(v, "both"), "amount")));
	assert_true(json_is_integer(json_get(v, "maybe")));
	json_decref(v);
	arena_done(&x.arena);
}

static void test_fill_circles_end(void **state)
{
	static const char *const schemas[] = {
		"{\"$ref\":\"#\"}",
		"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"},\"b\":{\"$ref\":\"#\"}},\"required\":["
		"\"a\",\"b\"]}",
		"{\"type\":\"array\",\"minItems\":1000,\"items\":{\"$ref\":\"#\"}}",
		"{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}",
		"{\"anyOf\":[{\"$ref\":\"#/anyOf/0\"}]}",
		"{\"$ref\":\"#/nowhere\"}",
		"{\"$ref\":\"other.json\"}",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
		struct fixture x;
		fixture_init(&x, str_from(contract));
		json_t *v = fill(&x, schemas[i], "");
		assert_non_null(v);
		json_decref(v);
		arena_done(&x.arena);
	}
}

static void test_fill_licence(void **state)
{
	struct fixture x;
	struct arena a;
	struct str text;
	struct err err;
	(void)state;
	arena_init(&a, 1u << 22);
	assert_int_equal(file_read("/usr/share/common-licenses/Apache-2.0", 1u << 20, &a, &text, &err), 0);
	fixture_init(&x, text);
	json_t *v = fill_checked(
	    &x,
	    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},"
	    "\"summary\":{\"type\":\"string\"},\"duties\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
	    "\"minItems\":3},\"license_type\":{\"type\":\"string\",\"enum\":[\"GPL\",\"Apache\",\"MIT\"]}},"
	    "\"required\":[\"title\",\"summary\",\"duties\"]}");
	assert_text(v, "title", "Apache License, Version 2.0, January 2004");
	assert_text(v, "version", "2.0");
	assert_text(v, "license_type", "Apache");
	const json_t *duty;
	size_t i;
	json_array_foreach(json_get(v, "duties"), i, duty)
	{
		struct sentence s = { .text = json_str_of(duty) };
		assert_true(sentence_is_duty(&s));
	}
	json_decref(v);
	v = schema_fill_free(&x.doc, STR("Return JSON with a title, a summary and the duties."));
	assert_int_equal(json_object_size(v), 3);
	assert_true(json_array_size(json_get(v, "duties")) > 0);
	json_decref(v);
	arena_done(&x.arena);
	arena_done(&a);
}

static void test_find_dates_amounts_addresses(void **state)
{
	struct str text =
	    STR("On 2020-02-30, 1st May 1999, June 5, 2001 and July 2004 it cost $1,200.50, then 40% and 12 euros. See "
	        "https://example.com/a, or mail a.b@example.org.");
	struct found f;
	(void)state;
	struct str rest = text;
	assert_true(find_date(&rest, &f) && f.year == 2020 && f.month == 2 && f.day == 29);
	assert_true(find_date(&rest, &f) && f.year == 1999 && f.month == 5 && f.day == 1 &&
	            str_eq(f.text, STR("1st May 1999")));
	assert_true(find_date(&rest, &f) && str_eq(f.text, STR("June 5, 2001")));
	assert_true(find_date(&rest, &f) && str_eq(f.text, STR("July 2004")) && f.day == 1);
	assert_false(find_date(&rest, &f));
	rest = text;
	assert_true(find_amount(&rest, &f) && str_eq(f.text, STR("$1,200.50")) && f.value > 1200.4);
	assert_true(find_amount(&rest, &f) && str_eq(f.text, STR("40%")));
	assert_true(find_amount(&rest, &f) && str_eq(f.text, STR("12 euros")));
	assert_false(find_amount(&rest, &f));
	rest = text;
	assert_true(find_url(&rest, &f) && str_eq(f.text, STR("https://example.com/a")));
	assert_true(find_email(&rest, &f) && str_eq(f.text, STR("a.b@example.org")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fill_names_say_what_they_get),
		cmocka_unit_test(test_fill_duties_are_sentences_of_duty),
		cmocka_unit_test(test_fill_summary_has_the_number_asked_for),
		cmocka_unit_test(test_fill_bounds_hold),
		cmocka_unit_test(test_fill_references_and_unions),
		cmocka_unit_test(test_fill_circles_end),
		cmocka_unit_test(test_fill_licence),
		cmocka_unit_test(test_find_dates_amounts_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
