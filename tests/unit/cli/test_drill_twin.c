/* SPDX-License-Identifier: Apache-2.0 */
/* The twins of a drill: nothing of the operator's providers is left in their configuration, and everything else is. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/drill.h"
#include "common/file.h"

#define URL "http://127.0.0.1:7"

struct made {
	struct arena arena;
	struct drill_twins twins;
	struct conf_mistake *mistakes;
	size_t n;
	int rc;
};

static void make(struct made *m, const char *text)
{
	char file[] = "/tmp/millrace-test-XXXXXX", scratch[] = "/tmp/millrace-test-XXXXXX";
	struct err err = { 0 };
	*m = (struct made){ 0 };
	arena_init(&m->arena, 64 << 20);
	close(mkstemp(file));
	close(mkstemp(scratch));
	assert_int_equal(file_write(file, 0600, str_from(text), NULL), 0);
	m->rc = drill_twins_make(&m->twins, file, URL, scratch, &m->arena, &m->mistakes, &m->n, &err);
	unlink(file);
	unlink(scratch);
}

static void done(struct made *m)
{
	drill_twins_done(&m->twins);
	arena_done(&m->arena);
}

#define assert_str(s, z) assert_string_equal(arena_strz(&m.arena, s), z)

static void test_keys_addresses_and_models_are_replaced(void **state)
{
	(void)state;
	struct made m;
	unsetenv("DRILL_MISSING");
	make(&m, "{\"database\":{\"url\":\"${DRILL_MISSING}\"},\"targets\":{"
	         "\"o\":{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"api_key\":\"${DRILL_MISSING}\",\"headers\":{\"X-A\":\"${DRILL_MISSING}\"}},"
	         "\"z\":{\"provider\":\"azure\",\"model\":\"d\",\"base_url\":\"https://x.openai.azure.com\",\"api_version\":\"2024-10-21\",\"api_key\":\"s\"},"
	         "\"n\":{\"provider\":\"azure\",\"model\":\"d\",\"base_url\":\"https://x.openai.azure.com/openai/v1\",\"api_key\":\"s\"},"
	         "\"a\":{\"provider\":\"anthropic\",\"model\":\"claude\",\"api_key\":\"real\"},"
	         "\"g\":{\"provider\":\"gemini\",\"model\":\"models/gemini-2.5-flash\",\"api_key\":\"real\"},"
	         "\"b\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"${DRILL_MISSING}\",\"access_key\":\"${DRILL_MISSING}\",\"secret_key\":\"real\"}},"
	         "\"models\":{\"*\":{\"provider\":\"openai\",\"api_key\":\"real\"}}}");
	assert_int_equal(m.rc, 0);
	const struct conf *c = m.twins.conf;
	static const char *const urls[] = { URL "/v1", URL, URL "/openai/v1", URL "/v1", URL "/v1beta", URL };
	static const char *const models[] = { "twin-1-gpt-4o", "twin-2-d", "twin-3-d", "twin-4-claude", "models/twin-5-gemini-2.5-flash", "twin-6-m" };
	assert_int_equal(c->ntargets, 6);
	for (size_t i = 0; i < c->ntargets; i++) {
		assert_str(c->targets[i].base_url, urls[i]);
		assert_str(c->targets[i].model, models[i]);
		assert_true(str_find(c->targets[i].api_key, STR("real")) < 0 && str_find(c->targets[i].secret_key, STR("real")) < 0);
		assert_int_equal(drill_twin_find(c->targets[i].model), i);
	}
	assert_int_equal(c->targets[0].nheaders, 0);
	assert_str(c->any_model->base_url, URL "/v1");
	assert_true(str_find(c->any_model->api_key, STR("real")) < 0);
	done(&m);
}

static void test_times_are_shorter_and_the_rest_is_the_operators(void **state)
{
	(void)state;
	struct made m;
	setenv("MILLRACE_BREAKER_FAILURES", "7", 1);
	make(&m, "{\"breaker\":{\"open\":\"60s\",\"percent\":40},\"targets\":{\"o\":{\"provider\":\"openai\",\"model\":\"m\",\"price\":{\"input\":\"1\",\"output\":\"2\"},"
	         "\"limits\":{\"requests\":60,\"headroom\":0.5},\"timeout\":{\"first_token\":\"90s\",\"connect\":\"3s\"}}},"
	         "\"routes\":{\"r\":{\"targets\":[\"o\"],\"ladder\":[\"static\"],\"static\":\"later\",\"ladder_after\":\"30s\"}}}");
	assert_int_equal(m.rc, 0);
	const struct conf *c = m.twins.conf;
	assert_int_equal(m.twins.factor, 30); /* so that it is open for two seconds */
	assert_int_equal(c->breaker_open_ms, 2000);
	assert_int_equal(c->breaker_percent, 40);
	assert_int_equal(c->breaker_failures, 7);
	assert_null(getenv("MILLRACE_BREAKER_FAILURES")); /* it is in the file now */
	assert_int_equal(c->targets[0].timeouts.first_ms, 3000);
	assert_int_equal(c->targets[0].timeouts.connect_ms, 3000);
	assert_int_equal(m.twins.first_ms, 3000);
	assert_int_equal(c->routes[0].ladder_after_ms, 1000);
	assert_int_equal(c->targets[0].limits.requests, 60);
	assert_int_equal(c->targets[0].headroom_permille, 500);
	assert_int_equal(c->targets[0].price.output, INT64_C(2000000000));
	assert_true(c->queue_heartbeat_ms * 3 <= c->queue_lease_ms);
	done(&m);
}

static void test_mistakes_are_found_where_the_operator_made_them(void **state)
{
	(void)state;
	struct made m;
	make(&m, "{\"targets\":{\"o\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"no-url\"}},\"routes\":{\"r\":{\"targets\":[\"p\"]}}}");
	assert_int_equal(m.rc, -ERR_CONFIG);
	assert_int_equal(m.n, 2);
	assert_str(m.mistakes[0].path, "targets.o.base_url");
	done(&m);
	make(&m, "{\"targets\":");
	assert_int_equal(m.rc, -ERR_CONFIG);
	assert_int_equal(m.n, 1);
	done(&m);
}

static void test_models_that_are_no_twins_are_nobodys(void **state)
{
	(void)state;
	assert_int_equal(drill_twin_find(STR("twin-3-gpt")), 2);
	assert_int_equal(drill_twin_find(STR("meta/twin-12-x")), 11);
	assert_int_equal(drill_twin_find(STR("gpt-4o")), -1);
	assert_int_equal(drill_twin_find(STR("twin-0-x")), -1);
	assert_int_equal(drill_twin_find(STR("twin-")), -1);
	assert_int_equal(drill_twin_find(STR("twin-99999999999-x")), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_addresses_and_models_are_replaced),
		cmocka_unit_test(test_times_are_shorter_and_the_rest_is_the_operators),
		cmocka_unit_test(test_mistakes_are_found_where_the_operator_made_them),
		cmocka_unit_test(test_models_that_are_no_twins_are_nobodys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
