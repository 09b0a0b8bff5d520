/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: what a good file gives, that each kind of mistake is named with its path and all of them at once,
 * substitution, the environment's overrides, reload, look-up of routes, and the pages made from the table.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/json.h"
#include "tests/lib/confs.h"

#define TARGET              "\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://h/v1\""

static void test_conf_defaults_without_a_file(void **state UNUSED)
{
	struct conf *c = confs_good(NULL);
	assert_int_equal(c->worker_slots, 256);
	assert_int_equal(c->limits_body_bytes, 10 << 20);
	assert_int_equal(c->queue_lease_ms, 30000);
	assert_true(c->queue_notify);
	assert_string_equal(c->server_listen, "127.0.0.1:8080");
	assert_null(c->any_model);
	assert_int_equal(c->file.n, 0);
	conf_unref(c);
}

static void test_conf_reads_settings_targets_and_routes(void **state UNUSED)
{
	struct conf *c = confs_good("{\"$schema\":\"x\",\"worker\":{\"slots\":7,\"grace\":\"1500ms\"},\"limits\":{"
	                           "\"body_bytes\":\"2MiB\"},\"queue\":{\"notify\":false},"
	                           "\"server\":{\"grace\":3},"
	                           "\"routes\":{\"default\":{\"targets\":[\"b\",\"a/x.1\"]}},"
	                           "\"targets\":{\"a/x.1\":{" TARGET ",\"api_key\":\"k\",\"headers\":{\"X-Org\":\"o\"},"
	                           "\"price\":{\"input\":\"0.15\",\"output\":2},\"timeout\":{\"total\":\"2m\"},"
	                           "\"stream\":false},"
	                           "\"b\":{\"provider\":\"openai\",\"model\":\"n\",\"base_url\":\"https://h/v1//\"}},"
	                           "\"models\":{\"*\":{\"provider\":\"openai\",\"base_url\":\"http://any\"}}}");
	assert_int_equal(c->worker_slots, 7);
	assert_int_equal(c->worker_grace_ms, 1500);
	assert_int_equal(c->server_grace_ms, 3000);
	assert_int_equal(c->limits_body_bytes, 2 << 20);
	assert_false(c->queue_notify);
	assert_int_equal(c->ntargets, 2);
	const struct conf_target *a = &c->targets[0];
	assert_true(str_eq_z(a->name, "a/x.1") && str_eq_z(a->api_key, "k") && str_eq_z(a->model, "m"));
	assert_int_equal(a->nheaders, 1);
	assert_true(str_eq_z(a->headers[0].name, "X-Org"));
	assert_int_equal(a->price.input, 150000000);
	assert_int_equal(a->price.cached_input, -1);
	assert_int_equal(a->price.output, 2000000000);
	assert_int_equal(a->timeouts.total_ms, 120000);
	assert_int_equal(a->timeouts.first_ms, 0);
	assert_false(a->stream);
	assert_true(c->targets[1].stream);
	assert_int_equal(c->targets[1].price.input, -1);
	assert_true(str_eq_z(c->targets[1].base_url, "https://h/v1"));
	assert_int_equal(c->nroutes, 1);
	assert_ptr_equal(c->routes[0].targets[0], &c->targets[1]);
	assert_ptr_equal(c->routes[0].targets[1], a);
	conf_unref(c);
}

static void test_conf_names_every_mistake_at_once(void **state UNUSED)
{
	CONFS_MISTAKES("{\"targets\":{\"a.b\":{\"provider\":\"openai\",\"modle\":\"m\",\"base_url\":\"ftp://h\",\"stream\":1,"
	         "\"price\":{\"input\":true,\"output\":0.5}}},"
	         "\"routes\":{\"r\":{\"targets\":[\"a.c\",7]},\"s\":{},\"t\":{\"targets\":[]}},"
	         "\"worker\":{\"slots\":0,\"slot\":1},\"queue\":7,\"wroker\":{},\"log\":{\"level\":\"loud\"}}",
	         "targets.\"a.b\".modle", "did you mean \"model\"?", "targets.\"a.b\".base_url", "http:// or https://",
	         "targets.\"a.b\".stream", "true or false, got a number", "targets.\"a.b\".price.input", "got true",
	         "targets.\"a.b\".price.output", "in quotes (\"0.5\")", "targets.\"a.b\".model", "missing",
	         "routes.r.targets[0]", "did you mean \"a.b\"?", "routes.r.targets[1]", "got a number",
	         "routes.s.targets", "missing", "routes.t.targets", "empty", "worker.slots",
	         "0 is out of range: wanted 1 to 50000", "worker.slot", "did you mean \"slots\"?", "queue",
	         "wanted an object, got a number", "wroker", "did you mean \"worker\"?", "log.level",
	         "debug|info|warn|error|none");
}

static void test_conf_values_of_the_wrong_form(void **state UNUSED)
{
	CONFS_MISTAKES("{\"worker\":{\"slots\":\"many\"}}", "worker.slots", "whole number, got \"many\"");
	CONFS_MISTAKES("{\"worker\":{\"slots\":1.5}}", "worker.slots", "got a number");
	CONFS_MISTAKES("{\"worker\":{\"slots\":null}}", "worker.slots", "got null");
	CONFS_MISTAKES("{\"limits\":{\"body_bytes\":\"10MB\"}}", "limits.body_bytes", "a size");
	CONFS_MISTAKES("{\"limits\":{\"body_bytes\":\"99999999999999999999GiB\"}}", "limits.body_bytes", "a size");
	CONFS_MISTAKES("{\"worker\":{\"grace\":\"soon\"}}", "worker.grace", "a duration");
	CONFS_MISTAKES("{\"queue\":{\"notify\":\"maybe\"}}", "queue.notify", "true or false");
	CONFS_MISTAKES("{\"webhook\":{\"schedule\":\"0,later\"}}", "webhook.schedule", "\"later\"");
	CONFS_MISTAKES("{\"queue\":{\"heartbeat\":\"11s\"}}", "queue.heartbeat", "a third of queue.lease");
	CONFS_MISTAKES("{\"worker.slots\":3}", "\"worker.slots\"", "not known");
	CONFS_MISTAKES("{\"targets\":{\"a b\":{}}}", "targets.\"a b\"", "no spaces");
	CONFS_MISTAKES("{\"targets\":{\"a\":{" TARGET ",\"headers\":{\"a:b\":\"x\",\"C\":\"1\\r\\n2\"}}}}",
	         "targets.a.headers.a:b", "not a header name", "targets.a.headers.C", "control characters");
	CONFS_MISTAKES("{\"targets\":{\"a\":{" TARGET "}},\"routes\":{\"r\":{\"targets\":[\"a\",\"a\"]}}}",
	         "routes.r.targets[1]", "twice");
	CONFS_MISTAKES("{\"models\":{\"gpt\":{}}}", "models.gpt", "only \"*\"");
}

static void test_conf_files_that_are_no_json(void **state UNUSED)
{
	CONFS_MISTAKES("{", confs_path(), "not valid JSON");
	CONFS_MISTAKES("[]", confs_path(), "wanted an object, got a list");
	CONFS_MISTAKES("{\"worker\":{\"slots\":1,\"slots\":2}}", confs_path(), "not valid JSON");
	struct conf *c;
	struct conf_mistake *m;
	size_t n;
	assert_int_equal(conf_load("/nonexistent/x.json", confs_arena(), &c, &m, &n), -ERR_CONFIG);
	assert_int_equal(n, 1);
	assert_true(str_eq_z(m[0].path, "/nonexistent/x.json"));
}

static void test_conf_substitutes_the_environment(void **state UNUSED)
{
	setenv("TEST_KEY", "sk-1${TEST_MODEL}", 1);
	setenv("TEST_SLOTS", "12", 1);
	setenv("TEST_EMPTY", "", 1);
	unsetenv("TEST_UNSET");
	struct conf *c =
	    confs_good("{\"worker\":{\"slots\":\"${TEST_SLOTS}\"},\"targets\":{\"a\":{\"provider\":\"openai\","
	              "\"model\":\"<${TEST_EMPTY:-dflt}|${TEST_UNSET:-}>\",\"base_url\":\"http://h\","
	              "\"api_key\":\"a${TEST_KEY}b$${TEST_KEY}\"}}}");
	assert_int_equal(c->worker_slots, 12);
	assert_true(str_eq_z(c->targets[0].api_key, "ask-1${TEST_MODEL}b${TEST_KEY}"));
	assert_true(str_eq_z(c->targets[0].model, "<dflt|>"));
	conf_unref(c);
	CONFS_MISTAKES("{\"worker\":{\"slots\":\"${TEST_UNSET}\"},\"targets\":{\"a\":{" TARGET
	         ",\"api_key\":\"${TEST UNSET}\","
	         "\"headers\":{\"x\":\"${OPEN\"}}}}",
	         "worker.slots", "environment variable TEST_UNSET is not set", "targets.a.api_key", "does not name",
	         "targets.a.headers.x", "no closing brace");
}

static void test_conf_environment_overrides_the_file(void **state UNUSED)
{
	setenv("MILLRACE_WORKER_SLOTS", "33", 1);
	setenv("MILLRACE_DATABASE_URL", "postgresql://h/db", 1);
	struct conf *c = confs_good("{\"worker\":{\"slots\":7}}");
	assert_int_equal(c->worker_slots, 33);
	assert_string_equal(c->database_url, "postgresql://h/db");
	conf_unref(c);
	setenv("MILLRACE_WORKER_SLOTS", "lots", 1);
	CONFS_MISTAKES("{\"worker\":{\"slots\":7}}", "MILLRACE_WORKER_SLOTS", "got \"lots\"");
	unsetenv("MILLRACE_WORKER_SLOTS");
	unsetenv("MILLRACE_DATABASE_URL");
}

static void test_conf_reload_keeps_what_needs_a_restart(void **state UNUSED)
{
	struct conf *old = confs_good(
	    "{\"worker\":{\"slots\":7},\"server\":{\"listen\":\"127.0.0.1:1\"},\"queue\":{\"notify\":false},"
	    "\"targets\":{\"b\":{" TARGET "}},\"routes\":{\"r\":{\"targets\":[\"b\"]}}}");
	const struct conf_route *held = conf_route_find(old, confs_arena(), STR("r"));
	conf_set_now(conf_ref(old));
	struct str ignored;
	struct conf_mistake *m;
	size_t n;
	confs_write("{\"worker\":{\"slots\":8},\"server\":{\"listen\":\"127.0.0.1:2\"},\"targets\":{\"a\":{" TARGET
	           "}}}");
	assert_int_equal(conf_reload(confs_arena(), &ignored, &m, &n), 0);
	assert_int_equal(conf_now()->worker_slots, 8);
	assert_int_equal(conf_now()->ntargets, 1);
	assert_string_equal(conf_now()->server_listen, "127.0.0.1:1");
	assert_false(conf_now()->queue_notify);
	assert_true(str_eq_z(ignored, "server.listen, queue.notify"));
	assert_null(conf_route_find(conf_now(), confs_arena(), STR("r")));
	/* What holds the old snapshot goes on with its routes. */
	assert_int_equal(old->worker_slots, 7);
	assert_true(str_eq_z(held->targets[0]->name, "b"));
	conf_unref(old);

	const struct conf *before = conf_now();
	confs_write("{\"worker\":{\"slots\":0}}");
	assert_int_equal(conf_reload(confs_arena(), &ignored, &m, &n), -ERR_CONFIG);
	assert_int_equal(n, 1);
	assert_ptr_equal(conf_now(), before);
	conf_set_now(NULL);
}

static void test_conf_finds_routes_targets_and_models(void **state UNUSED)
{
	struct conf *c = confs_good("{\"targets\":{\"a\":{" TARGET "}},\"routes\":{\"r\":{\"targets\":[\"a\"]}},"
	                           "\"models\":{\"*\":{\"provider\":\"openai\",\"base_url\":\"http://any\"}}}");
	assert_ptr_equal(conf_route_find(c, confs_arena(), STR("r")), &c->routes[0]);
	const struct conf_route *one = conf_route_find(c, confs_arena(), STR("a"));
	assert_int_equal(one->ntargets, 1);
	assert_ptr_equal(one->targets[0], &c->targets[0]);
	const struct conf_route *model = conf_route_find(c, confs_arena(), STR("gpt-9"));
	assert_true(str_eq_z(model->targets[0]->model, "gpt-9"));
	assert_true(str_eq_z(model->targets[0]->name, "openai/gpt-9"));
	assert_null(conf_route_find(c, confs_arena(), STR("no good")));
	assert_null(conf_route_find(c, confs_arena(), STR("")));
	c->any_model = NULL;
	assert_null(conf_route_find(c, confs_arena(), STR("gpt-9")));
	conf_unref(c);
}

static void test_conf_money_is_exact(void **state UNUSED)
{
	static const struct {
		const char *text;
		int64_t want; /* -1: refused */
	} rows[] = { { "0.15", 150000000 },
		     { "0", 0 },
		     { "1", 1000000000 },
		     { "0.000000001", 1 },
		     { "12.5", 12500000000 },
		     { "9223372036.854775807", INT64_MAX },
		     { "9223372036.854775808", -1 },
		     { "0.0000000001", -1 },
		     { "", -1 },
		     { ".5", -1 },
		     { "1.", -1 },
		     { "-1", -1 },
		     { "1e3", -1 },
		     { "1,5", -1 },
		     { " 1", -1 } };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t v = -1;
		int rc = conf_parse_usd(str_from(rows[i].text), &v);
		if ((rc == 0) != (rows[i].want >= 0) || v != rows[i].want)
			fail_msg("%s gave %d, %lld", rows[i].text, rc, (long long)v);
	}
}

static void test_conf_pages_hold_every_setting(void **state UNUSED)
{
	static const char *const paths[] = {
#define CONF(field, path_, type, def, min, max, when, help) path_,
#include "common/conf.def"
#undef CONF
	};
	struct buf md, schema;
	buf_init(&md, 1 << 20);
	buf_init(&schema, 1 << 20);
	assert_int_equal(conf_write_markdown(&md), 0);
	assert_int_equal(conf_write_schema(&schema), 0);
	_cleanup_(json_drop) json_t *v = json_parse(buf_str(&schema), NULL);
	assert_non_null(v);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct str row = arena_printf(confs_arena(), "| `%s` |", paths[i]);
		assert_true(str_find(buf_str(&md), row) >= 0);
		const json_t *at = v;
		struct str rest = str_from(paths[i]), word;
		while (str_split(&rest, '.', &word)) {
			at = json_get(json_get(at, "properties"), arena_strz(confs_arena(), word));
			if (!at)
				fail_msg("%s is not in the schema", paths[i]);
		}
	}
	buf_done(&md);
	buf_done(&schema);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, confs_open, confs_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_conf_defaults_without_a_file),         TEST(test_conf_reads_settings_targets_and_routes),
		TEST(test_conf_names_every_mistake_at_once),     TEST(test_conf_values_of_the_wrong_form),
		TEST(test_conf_files_that_are_no_json),          TEST(test_conf_substitutes_the_environment),
		TEST(test_conf_environment_overrides_the_file),  TEST(test_conf_reload_keeps_what_needs_a_restart),
		TEST(test_conf_finds_routes_targets_and_models), TEST(test_conf_money_is_exact),
		TEST(test_conf_pages_hold_every_setting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
