/* SPDX-License-Identifier: Apache-2.0 */
/* A long list taken apart as it arrives: the same items whatever the pieces, and nothing but JSON around them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/batches/json_items.h"

struct taken {
	struct buf out; /* items and members, a line each */
	int stop_at;    /* the item that ends it; 0: none */
	int items;
};

static int on_item(void *arg, struct str text)
{
	struct taken *t = arg;
	buf_printf(&t->out, STR_FMT "\n", STR_ARG(text.p ? text : STR("(too large)")));
	return ++t->items == t->stop_at ? -ERR_OVERLOADED : 0;
}

static int on_member(void *arg, struct str name, struct str text)
{
	struct taken *t = arg;
	buf_printf(&t->out, STR_FMT "=" STR_FMT "\n", STR_ARG(name), STR_ARG(text));
	return 0;
}

/* Feeds the body cut at two places; the code, and what was taken. */
static int feed(struct str body, size_t a, size_t b, struct taken *t, size_t max)
{
	struct json_items p = { .list = "requests", .max = max, .on_item = on_item, .on_member = on_member, .arg = t };
	struct err err = { 0 };
	buf_init(&t->out, 1 << 16);
	t->items = 0;
	json_items_init(&p);
	int rc = json_items_feed(&p, str_sub(body, 0, a), &err);
	if (rc == 0)
		rc = json_items_feed(&p, str_sub(body, a, b - a), &err);
	if (rc == 0)
		rc = json_items_feed(&p, str_sub(body, b, body.n), &err);
	if (rc == 0)
		rc = json_items_end(&p, &err);
	json_items_done(&p);
	return rc;
}

static void test_json_items_are_the_same_in_all_cuts(void **state)
{
	(void)state;
	static const struct {
		const char *body, *wanted;
	} rows[] = {
		{ "{\"requests\":[]}", "" },
		{ " { \"requests\" : [ {\"a\":[1,2]} , \"]}\\\"\" ,7 ] , \"x\":{\"y\":\"}\"} } \n", "{\"a\":[1,2]}\n\"]}\\\"\"\n7\nx={\"y\":\"}\"}\n" },
		{ "{\"a\\\"b\":null,\"requests\":[{}]}", "a\\\"b=null\n{}\n" },
		{ "{}", "" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str body = str_from(rows[i].body);
		for (size_t a = 0; a <= body.n; a++)
			for (size_t b = a; b <= body.n; b++) {
				struct taken t = { 0 };
				assert_int_equal(feed(body, a, b, &t, 100), 0);
				if (!str_eq_z(buf_str(&t.out), rows[i].wanted))
					fail_msg("%s cut at %zu and %zu: " STR_FMT, rows[i].body, a, b, STR_ARG(buf_str(&t.out)));
				buf_done(&t.out);
			}
	}
}

static void test_json_items_around_is_json(void **state)
{
	(void)state;
	static const char *const bad[] = { "", " ", "[]", "{", "{\"requests\"", "{\"requests\":", "{\"requests\":[", "{\"requests\":[1", "{\"requests\":[1,", "{\"requests\":[1]",
		"{\"requests\":{}}", "{\"requests\":[],\"requests\":[]}", "{\"requests\":[]}x", "{,}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"requests\":[1]]}", "{\"requests\":[1}}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct str body = str_from(bad[i]);
		for (size_t a = 0; a <= body.n; a++) {
			struct taken t = { 0 };
			int rc = feed(body, a, body.n, &t, 100);
			if (rc != -ERR_BAD_JSON && rc != -ERR_WRONG_TYPE)
				fail_msg("%s cut at %zu: %d", bad[i], a, rc);
			buf_done(&t.out);
		}
	}
}

static void test_json_items_too_large_ones_are_told_and_dropped(void **state)
{
	(void)state;
	struct str body = STR("{\"requests\":[1,\"0123456789012345\",2]}");
	for (size_t a = 0; a <= body.n; a++) {
		struct taken t = { 0 };
		assert_int_equal(feed(body, a, body.n, &t, 10), 0);
		assert_true(str_eq_z(buf_str(&t.out), "1\n(too large)\n2\n"));
		buf_done(&t.out);
	}
}

static void test_json_items_receivers_may_end_it(void **state)
{
	(void)state;
	struct str body = STR("{\"requests\":[1,2,3]}");
	for (size_t a = 0; a <= body.n; a++) {
		struct taken t = { .stop_at = 2 };
		assert_int_equal(feed(body, a, body.n, &t, 10), -ERR_OVERLOADED);
		assert_int_equal(t.items, 2);
		buf_done(&t.out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_items_are_the_same_in_all_cuts),
		cmocka_unit_test(test_json_items_around_is_json),
		cmocka_unit_test(test_json_items_too_large_ones_are_told_and_dropped),
		cmocka_unit_test(test_json_items_receivers_may_end_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
