/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenAPI description is JSON whose parts fit together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/openapi.h"
#include "common/json.h"
#include "openapi_parts.h"

static void test_openapi_parts_are_objects_that_share_no_path_and_no_component(void **state)
{
	(void)state;
	size_t paths = 0, schemas = 0;
	for (const struct embedded_text *part = openapi_parts; part->name; part++) {
		struct err err = { 0 };
		json_t *v = json_parse(str_from(part->text), &err);
		if (!v)
			fail_msg("%s: %s", part->name, err.text);
		paths += json_object_size(json_get(v, "paths"));
		schemas += json_object_size(json_get(json_get(v, "components"), "schemas"));
		json_decref(v);
	}
	struct buf b;
	buf_init(&b, (size_t)4 << 20);
	assert_int_equal(openapi_write(&b), 0);
	json_t *whole = json_parse(buf_str(&b), NULL);
	assert_int_equal(json_object_size(json_get(whole, "paths")), paths);
	assert_int_equal(json_object_size(json_get(json_get(whole, "components"), "schemas")), schemas);
	json_decref(whole);
	buf_done(&b);
}

static void test_openapi_says_the_version_of_the_program(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, (size_t)4 << 20);
	assert_int_equal(openapi_write(&b), 0);
	json_t *whole = json_parse(buf_str(&b), NULL);
	assert_true(str_eq(json_str(whole, "openapi"), STR("3.1.0")));
	assert_true(str_eq(json_str(json_get(whole, "info"), "version"), STR(MR_VERSION)));
	json_decref(whole);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openapi_parts_are_objects_that_share_no_path_and_no_component),
		cmocka_unit_test(test_openapi_says_the_version_of_the_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
