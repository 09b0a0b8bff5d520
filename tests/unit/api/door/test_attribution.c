/* SPDX-License-Identifier: Apache-2.0 */
/* Whose work a job is, as clients of other gateways say it: a table of what comes in and which labels come out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/door/attribution.h"

struct row {
	const char *metadata, *user; /* of the body; NULL: none */
	struct http_header headers[4];
	const char *want, *want_user; /* NULL: none */
};

static const struct row rows[] = {
	{ NULL, NULL, { { STR("accept"), STR("*/*") } }, NULL, NULL },
	{ "{\"customer\":\"acme\"}", "ann", { { { 0 }, { 0 } } }, "{\"customer\":\"acme\"}", "ann" },
	{ "{\"tags\":[\"a\",\"b\"],\"n\":7,\"o\":{\"x\":true},\"none\":null}", NULL, { { { 0 }, { 0 } } },
	  "{\"tags\":\"a,b\",\"n\":\"7\",\"o\":\"{\\\"x\\\":true}\"}", NULL },
	{ "{\"tags\":[\"a\"]}", NULL, { { STR("X-LiteLLM-Tags"), STR(" b , c ") } }, "{\"tags\":\"a,b,c\"}", NULL },
	{ "{\"feature\":\"body\"}", NULL, { { STR("Helicone-Property-Feature"), STR("header") }, { STR("Helicone-Property-App"), STR("web") } },
	  "{\"feature\":\"body\",\"app\":\"web\"}", NULL },
	{ NULL, NULL, { { STR("x-portkey-metadata"), STR("{\"_user\":\"bob\",\"env\":\"prod\",\"n\":3}") } }, "{\"env\":\"prod\",\"n\":\"3\"}", "bob" },
	{ NULL, NULL, { { STR("x-portkey-metadata"), STR("no JSON") }, { STR("x-litellm-end-user-id"), STR("eve") } }, NULL, "eve" },
	{ NULL, "ann", { { STR("Helicone-User-Id"), STR("eve") } }, NULL, "ann" },
	{ NULL, NULL, { { STR("traceparent"), STR("00-4bf9-00f0-01") }, { STR("x-portkey-trace-id"), STR("t1") }, { STR("helicone-request-id"), STR("t2") } },
	  "{\"trace_id\":\"t1\",\"traceparent\":\"00-4bf9-00f0-01\"}", NULL },
	{ NULL, NULL, { { STR("helicone-property-bad"), STR("a\xff" "b") } }, "{\"bad\":\"a\xEF\xBF\xBD" "b\"}", NULL },
};

static struct http_req request_with(const struct http_header *headers, size_t n)
{
	struct http_req h = { .nheaders = 0 };
	h.headers = (struct http_header *)(uintptr_t)headers;
	while (h.nheaders < n && headers[h.nheaders].name.p)
		h.nheaders++;
	return h;
}

static void assert_text(struct str got, const char *want)
{
	if (!want) {
		assert_null(got.p);
		return;
	}
	assert_int_equal(got.n, strlen(want));
	assert_memory_equal(got.p, want, got.n);
}

static void test_every_alias_becomes_a_label(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct str metadata, user;
		struct err err = { 0 };
		arena_init(&a, 1 << 20);
		struct http_req h = request_with(rows[i].headers, ARRAY_LEN(rows[i].headers));
		json_t *body = rows[i].metadata ? json_parse(str_from(rows[i].metadata), NULL) : NULL;
		struct face_request r = { .metadata = body, .user = rows[i].user ? str_from(rows[i].user) : (struct str){ 0 } };
		assert_int_equal(attribution_read(&h, &r, &a, &metadata, &user, &err), 0);
		assert_text(metadata, rows[i].want);
		assert_text(user, rows[i].want_user);
		assert_int_equal(attribution_read(NULL, &r, &a, &metadata, &user, &err), 0);
		assert_text(user, rows[i].user);
		json_decref(body);
		arena_done(&a);
	}
}

static json_t *pairs(int n)
{
	json_t *o = json_object();
	struct arena a;
	arena_init(&a, 1 << 20);
	for (int i = 0; i < n; i++)
		json_object_set_new(o, arena_printf(&a, "k%d", i).p, json_string("v"));
	arena_done(&a);
	return o;
}

static void refuse(json_t *metadata, enum err_code code, const char *param)
{
	struct arena a;
	struct str labels, user;
	struct err err = { 0 };
	arena_init(&a, 1 << 20);
	struct face_request r = { .metadata = metadata };
	assert_int_equal(attribution_read(NULL, &r, &a, &labels, &user, &err), -(int)code);
	assert_string_equal(err.param, param);
	arena_done(&a);
	json_decref(metadata);
}

static void test_the_body_is_held_to_its_limits(void **state)
{
	(void)state;
	char wide[514] = { 0 }, key[66] = { 0 };
	memset(wide, 'v', 513);
	memset(key, 'k', 65);
	refuse(pairs(17), ERR_OUT_OF_RANGE, "/metadata");
	refuse(json_string("x"), ERR_WRONG_TYPE, "/metadata");
	refuse(json_pack("{s:s}", "a", wide), ERR_OUT_OF_RANGE, "/metadata/a");
	refuse(json_pack("{s:s}", "", "v"), ERR_OUT_OF_RANGE, "/metadata/");
	json_t *long_key = json_object();
	json_object_set_new(long_key, key, json_string("v"));
	struct arena a;
	arena_init(&a, 1 << 20);
	refuse(long_key, ERR_OUT_OF_RANGE, arena_printf(&a, "/metadata/%s", key).p);
	arena_done(&a);
}

static void test_headers_are_cut_or_left_out_never_refused(void **state)
{
	(void)state;
	char wide[601] = { 0 };
	memset(wide, 'v', 600);
	struct arena a;
	struct str labels, user;
	struct err err = { 0 };
	arena_init(&a, 1 << 20);
	const struct http_header headers[] = { { STR("helicone-property-long"), str_from(wide) }, { STR("helicone-user-id"), str_from(wide) } };
	struct http_req h = request_with(headers, 2);
	struct face_request r = { 0 };
	assert_int_equal(attribution_read(&h, &r, &a, &labels, &user, &err), 0);
	assert_int_equal(labels.n, strlen("{\"long\":\"\"}") + 512);
	assert_int_equal(user.n, 256);
	r.metadata = pairs(16);
	assert_int_equal(attribution_read(&h, &r, &a, &labels, &user, &err), 0);
	assert_int_equal(str_find(labels, STR("long")), -1);
	json_decref(r.metadata);
	arena_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_alias_becomes_a_label),
		cmocka_unit_test(test_the_body_is_held_to_its_limits),
		cmocka_unit_test(test_headers_are_cut_or_left_out_never_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
