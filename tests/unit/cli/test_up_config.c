/* SPDX-License-Identifier: Apache-2.0 */
/* Which configuration `up` writes for which environment, and that every one of them is read without a mistake. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/up_config.h"
#include "common/conf.h"
#include "common/file.h"

struct fixture {
	struct arena arena;
	char dir[40];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static const char *const variables[] = { "MILLRACE_BASE_URL", "MILLRACE_API_KEY_UPSTREAM", "MILLRACE_MODEL",
		                                 "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MILLRACE_SIMULATOR_URL" };
	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		unsetenv(variables[i]);
	arena_init(&f->arena, 1 << 22);
	memcpy(f->dir, "/tmp/test-config-XXXXXX", 24);
	assert_non_null(mkdtemp(f->dir));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unlink(arena_printf(&f->arena, "%s/config.json", f->dir).p);
	unlink(arena_printf(&f->arena, "%s/config.written", f->dir).p);
	int rc = rmdir(f->dir);
	arena_done(&f->arena);
	free(f);
	return rc;
}

static void test_up_config_choice(void **state)
{
	(void)state;
	const struct {
		struct up_environment e;
		bool force;
		enum up_provider wanted;
	} rows[] = {
		{ { 0 }, false, UP_PROVIDER_SIMULATOR },
		{ { .openai_key = "" }, false, UP_PROVIDER_SIMULATOR },
		{ { .openai_key = "sk" }, false, UP_PROVIDER_OPENAI },
		{ { .openai_key = "sk" }, true, UP_PROVIDER_SIMULATOR },
		{ { .openai_key = "sk", .anthropic_key = "sk", .gemini_key = "k" }, false, UP_PROVIDER_OPENAI },
		{ { .anthropic_key = "sk", .gemini_key = "k" }, false, UP_PROVIDER_ANTHROPIC },
		{ { .anthropic_key = "", .gemini_key = "k" }, false, UP_PROVIDER_GEMINI },
		{ { .base_url = "http://h/v1" }, false, UP_PROVIDER_SERVER },
		{ { .base_url = "http://h/v1", .openai_key = "sk" }, false, UP_PROVIDER_SERVER },
		{ { .base_url = "", .openai_key = "sk" }, false, UP_PROVIDER_OPENAI },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(up_config_choose(&rows[i].e, rows[i].force), rows[i].wanted);
}

/* Prepares, loads what was written, and returns the target of the route `default`. */
static const struct conf_target *loaded(struct fixture *f, struct up_config *config, struct conf **ret)
{
	struct err err = { 0 };
	struct conf_mistake *mistakes = NULL;
	size_t n = 0;
	assert_int_equal(up_config_prepare(f->dir, NULL, false, &f->arena, config, &err), 0);
	if (conf_load(config->path, &f->arena, ret, &mistakes, &n) < 0)
		fail_msg("%s: " STR_FMT ": " STR_FMT, config->path, STR_ARG(mistakes[0].path),
		         STR_ARG(mistakes[0].text));
	const struct conf_route *route = conf_route_find(*ret, &f->arena, STR("default"));
	assert_non_null(route);
	assert_int_equal(route->ntargets, 1);
	assert_non_null((*ret)->any_model);
	return route->targets[0];
}

static void test_up_config_simulator_is_read(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct conf *conf = NULL;
	setenv("MILLRACE_SIMULATOR_URL", "http://127.0.0.1:9", 1);
	const struct conf_target *t = loaded(f, &config, &conf);
	assert_true(config.simulator);
	assert_true(str_eq_z(t->base_url, "http://127.0.0.1:9/v1"));
	assert_true(str_eq_z(t->model, "sim-extract"));
	assert_int_equal(t->price.input, 150000000);
	conf_unref(conf);
}

/* check-config, outside `up`, knows no simulator. */
static void test_up_config_is_good_without_up(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct conf *conf = NULL;
	assert_true(str_has_prefix(loaded(f, &config, &conf)->base_url, STR("http://")));
	assert_true(config.simulator);
	conf_unref(conf);
}

static void test_up_config_tells_the_graces_or_every_mistake(void **state)
{
	struct fixture *f = *state;
	const char *path = arena_printf(&f->arena, "%s/config.json", f->dir).p;
	struct up_config config = { .path = path };
	struct up_graces graces = { 1, 2 };
	struct conf_mistake *mistakes = NULL;
	size_t n = 0;
	struct str bad = STR("{\"worker\": {\"slotz\": 3, \"grace\": true}}");
	assert_int_equal(file_write(path, 0600, bad, NULL), 0);
	assert_int_equal(up_config_read(&config, &f->arena, &graces, &mistakes, &n), -ERR_CONFIG);
	assert_int_equal(n, 2);
	assert_int_equal(graces.worker_ms, 2);
	struct str good = STR("{\"worker\": {\"grace\": \"7s\"}, \"server\": {\"grace\": \"5s\"}}");
	assert_int_equal(file_write(path, 0600, good, NULL), 0);
	assert_int_equal(up_config_read(&config, &f->arena, &graces, &mistakes, &n), 0);
	assert_int_equal(graces.worker_ms, 7000);
	assert_int_equal(graces.server_ms, 5000);
}

static void test_up_config_openai_is_read_and_holds_no_key(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct conf *conf = NULL;
	struct str text;
	setenv("OPENAI_API_KEY", "sk-very-secret", 1);
	const struct conf_target *t = loaded(f, &config, &conf);
	assert_false(config.simulator);
	assert_true(str_eq_z(t->api_key, "sk-very-secret"));
	assert_true(str_eq_z(t->model, "gpt-4o-mini"));
	assert_int_equal(t->price.output, 600000000);
	assert_int_equal(file_read(config.path, 1 << 16, &f->arena, &text, NULL), 0);
	assert_true(str_find(text, STR("very-secret")) < 0);
	conf_unref(conf);
}

static void test_up_config_other_providers_are_read(void **state)
{
	static const struct {
		const char *variable, *provider, *base_url;
	} rows[] = { { "GEMINI_API_KEY", "gemini", "https://generativelanguage.googleapis.com/v1beta" },
		     { "ANTHROPIC_API_KEY", "anthropic", "https://api.anthropic.com/v1" } };
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct up_config config;
		struct conf *conf = NULL;
		setenv(rows[i].variable, "k-secret", 1);
		const struct conf_target *t = loaded(f, &config, &conf);
		assert_true(str_eq_z(t->provider, rows[i].provider) && str_eq_z(t->base_url, rows[i].base_url));
		assert_true(str_eq_z(t->api_key, "k-secret") && t->price.output > 0);
		assert_true(str_eq_z(conf->any_model->api_key, "k-secret"));
		assert_true(str_find(str_from(config.provider), str_from(rows[i].variable)) >= 0);
		conf_unref(conf);
	}
}

static void test_up_config_server_with_and_without_key_and_model(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct conf *conf = NULL;
	setenv("MILLRACE_BASE_URL", "http://10.0.0.1:8000/v1", 1);
	const struct conf_target *t = loaded(f, &config, &conf);
	assert_false(config.simulator);
	assert_true(str_eq_z(t->base_url, "http://10.0.0.1:8000/v1"));
	assert_true(str_eq_z(t->model, "default"));
	assert_int_equal(t->api_key.n, 0);
	conf_unref(conf);
	setenv("MILLRACE_API_KEY_UPSTREAM", "k", 1);
	setenv("MILLRACE_MODEL", "llama", 1);
	t = loaded(f, &config, &conf);
	assert_true(str_eq_z(t->model, "llama"));
	assert_true(str_eq_z(t->api_key, "k"));
	conf_unref(conf);
}

static void test_up_config_edited_file_is_kept(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct str text, mine = STR("{\"log\": {\"level\": \"warn\"}}");
	assert_int_equal(up_config_prepare(f->dir, NULL, false, &f->arena, &config, NULL), 0);
	assert_true(config.simulator);
	assert_int_equal(file_write(config.path, 0600, mine, NULL), 0);
	assert_int_equal(up_config_prepare(f->dir, NULL, false, &f->arena, &config, NULL), 0);
	assert_false(config.simulator); /* it does not speak of one */
	assert_int_equal(file_read(config.path, 1 << 16, &f->arena, &text, NULL), 0);
	assert_true(str_eq(text, mine));
}

static void test_up_config_given_file(void **state)
{
	struct fixture *f = *state;
	struct up_config config;
	struct err err = { 0 };
	const char *path = arena_printf(&f->arena, "%s/config.json", f->dir).p;
	assert_int_equal(up_config_prepare(f->dir, path, false, &f->arena, &config, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(file_write(path, 0600, STR("{\"x\": \"${MILLRACE_SIMULATOR_URL}\"}"), NULL), 0);
	assert_int_equal(up_config_prepare(f->dir, path, false, &f->arena, &config, &err), 0);
	assert_true(config.simulator);
	assert_string_equal(config.path, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up_config_choice),
		cmocka_unit_test_setup_teardown(test_up_config_simulator_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_is_good_without_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_tells_the_graces_or_every_mistake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_openai_is_read_and_holds_no_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_other_providers_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_server_with_and_without_key_and_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_edited_file_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_config_given_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
