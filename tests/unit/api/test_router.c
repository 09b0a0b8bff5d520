/* SPDX-License-Identifier: Apache-2.0 */
/* Which route a method and a path lead to. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/admin/admin_targets.h"
#include "api/jobs/jobs.h"
#include "api/router.h"
#include "common/buf.h"

#define HEX "0123456789abcdef0123456789abcdef"

static struct route_match find(enum http_method method, const char *path)
{
	struct route_match m;
	router_find(method, str_from(path), &m);
	return m;
}

/* What a path may have where the pattern has this part. */
static struct str example_of(struct str part)
{
	static const struct {
		const char *part, *example;
	} rows[] = {
		{ "{job}", "job_" HEX },       { "{batch}", "batch_" HEX },           { "{file}", "file-" HEX },         { "{upload}", "upload_" HEX },
		{ "{response}", "resp_" HEX }, { "{completion}", "chatcmpl-" HEX }, { "{msgbatch}", "msgbatch_" HEX }, { "{key}", HEX HEX },
		{ "{name}", "openai/gpt-4o" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (str_eq_z(part, rows[i].part))
			return str_from(rows[i].example);
	return part;
}

static void test_router_finds_each_of_its_routes(void **state)
{
	(void)state;
	for (const struct route *r = router_routes; r->pattern; r++) {
		struct buf b;
		struct str rest = str_from(r->pattern), part;
		buf_init(&b, 1024);
		for (bool first = true; str_split(&rest, '/', &part); first = false) {
			if (!first)
				buf_add_char(&b, '/');
			buf_add_str(&b, example_of(part));
		}
		struct route_match m;
		router_find(r->method, buf_str(&b), &m);
		assert_ptr_equal(m.route, r);
		buf_done(&b);
	}
}

static void test_router_reads_the_id(void **state)
{
	(void)state;
	struct route_match m = find(HTTP_POST, "/v1/jobs/job_" HEX "/cancel");
	char text[ID_TEXT_MAX];
	assert_non_null(m.route);
	assert_ptr_equal(m.route->steps, jobs_cancel_steps);
	assert_true(m.has_id);
	assert_true(str_eq(id_text(m.id, "job_", text), STR("job_" HEX)));
	assert_false(find(HTTP_GET, "/v1/jobs").has_id);
}

static void assert_name(struct route_match m, const struct flow_step *steps, const char *name)
{
	assert_non_null(m.route);
	assert_ptr_equal(m.route->steps, steps);
	if (!str_eq_z(m.name, name))
		fail_msg("%.*s, wanted %s", STR_ARG(m.name), name);
}

static void test_router_takes_names_with_slashes(void **state)
{
	(void)state;
	assert_name(find(HTTP_GET, "/admin/v1/targets/a/b/c"), admin_targets_get_steps, "a/b/c");
	assert_name(find(HTTP_POST, "/admin/v1/targets/a/b/pause"), admin_targets_pause_steps, "a/b");
	assert_name(find(HTTP_POST, "/admin/v1/targets/a/pause/pause"), admin_targets_pause_steps, "a/pause");
	assert_name(find(HTTP_GET, "/admin/v1/targets/a/pause"), admin_targets_get_steps, "a/pause");
	assert_null(find(HTTP_POST, "/admin/v1/targets/pause").route);
	assert_false(find(HTTP_GET, "/admin/v1/targets/").path_known);
	struct route_match m = find(HTTP_PUT, "/admin/v1/targets/a/drain");
	assert_null(m.route);
	assert_string_equal(m.allow, "GET, HEAD, POST");
}

static void test_router_head_is_get(void **state)
{
	(void)state;
	assert_ptr_equal(find(HTTP_HEAD_, "/healthz").route, find(HTTP_GET, "/healthz").route);
	assert_non_null(find(HTTP_HEAD_, "/healthz").route);
}

static void test_router_names_the_methods_of_a_path(void **state)
{
	(void)state;
	struct route_match m = find(HTTP_PUT, "/v1/jobs/job_" HEX);
	assert_null(m.route);
	assert_true(m.path_known);
	assert_string_equal(m.allow, "GET, HEAD, DELETE");
	m = find(HTTP_DELETE, "/v1/jobs");
	assert_null(m.route);
	assert_string_equal(m.allow, "POST, GET, HEAD");
}

static void test_router_unknown_paths(void **state)
{
	(void)state;
	static const char *const paths[] = {
		"",
		"/",
		"/v1",
		"/v1/",
		"/v1/jobs/",
		"/v1/job",
		"/v1/jobs/job_",
		"/v1/jobs/job_123",
		"/v1/jobs/batch_" HEX,
		"/v1/jobs/job_" HEX "/",
		"/v1/jobs/job_" HEX "/nothing",
		"/v1/jobs/job_" HEX "0",
		"//v1/jobs",
		"/V1/jobs",
		"/v1/batches/job_" HEX,
		"/admin/v1/cache/entries/" HEX,
		"/admin/v1/cache/entries/" HEX HEX "0",
		"/admin/v1/cache/entries/" HEX "0123456789ABCDEF0123456789abcdef",
		"/v1/jobs/job_0123456789ABCDEF0123456789ABCDEF",
	};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct route_match m = find(HTTP_GET, paths[i]);
		if (m.route || m.path_known)
			fail_msg("%s is known", paths[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_router_finds_each_of_its_routes),
		cmocka_unit_test(test_router_reads_the_id),
		cmocka_unit_test(test_router_takes_names_with_slashes),
		cmocka_unit_test(test_router_head_is_get),
		cmocka_unit_test(test_router_names_the_methods_of_a_path),
		cmocka_unit_test(test_router_unknown_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
