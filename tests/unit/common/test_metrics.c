/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/metrics.h: counting, the bound on label sets, the Prometheus text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/err.h"
#include "common/metrics.h"

static int setup(void **state)
{
	(void)state;
	metrics_init();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	metrics_done();
	return 0;
}

static void assert_text_has(const char *line)
{
	struct buf b;
	buf_init(&b, 10 << 20);
	assert_int_equal(metrics_write(&b), 0);
	struct str rest = buf_str(&b), got;
	bool found = false;
	while (!found && str_split(&rest, '\n', &got))
		found = str_eq_z(got, line);
	buf_done(&b);
	if (!found)
		fail_msg("no line: %s", line);
}

static void test_metric_counts_per_label_set(void **state)
{
	(void)state;
	assert_int_equal(metric_get(METRIC_ACCEPTED, ""), 0);
	metric_add(METRIC_ACCEPTED, "", 2);
	metric_add(METRIC_ACCEPTED, "", 3);
	assert_int_equal(metric_get(METRIC_ACCEPTED, ""), 5);
	metric_add(METRIC_ATTEMPTS, "a\x1fok", 1);
	metric_add(METRIC_ATTEMPTS, "a\x1fnetwork", 7);
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "a\x1fok"), 1);
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "a\x1fnetwork"), 7);
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "b\x1fok"), 0);
	metric_set(METRIC_HTTP_CONNS, "", 9);
	metric_add(METRIC_HTTP_CONNS, "", -10);
	assert_int_equal(metric_get(METRIC_HTTP_CONNS, ""), -1);
	assert_text_has("millrace_jobs_accepted_total 5");
	assert_text_has("millrace_attempts_total{target=\"a\",code=\"network\"} 7");
	assert_text_has("millrace_http_connections -1");
	metrics_done();
	assert_int_equal(metric_get(METRIC_ACCEPTED, ""), 0);
}

static void test_metric_text_declares_every_metric(void **state)
{
	(void)state;
	assert_text_has("# TYPE millrace_jobs_accepted_total counter");
	assert_text_has("# HELP millrace_jobs_accepted_total Jobs accepted");
	assert_text_has("millrace_jobs_accepted_total 0"); /* shown from the start */
	assert_text_has("# TYPE millrace_http_connections gauge");
	assert_text_has("# TYPE millrace_accept_flush_seconds histogram");
	assert_text_has("millrace_accept_flush_seconds_count 0");
}

static void test_metric_label_values_are_escaped(void **state)
{
	(void)state;
	metric_add(METRIC_COST, "a\"b\\c\nd", 1);
	metric_add(METRIC_ATTEMPTS, "alone", 1);
	assert_text_has("millrace_cost_nanousd_total{target=\"a\\\"b\\\\c\\nd\"} 1");
	assert_text_has("millrace_attempts_total{target=\"alone\",code=\"\"} 1");
}

static void test_metric_histogram_is_cumulative(void **state)
{
	(void)state;
	static const uint64_t values[] = { 0, 500000, 500001, 70000000, 2500000000, 300000000001 };
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		metric_observe_ns(METRIC_CALL_SECONDS, "t", values[i]);
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"0.0005\"} 2");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"0.001\"} 3");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"0.05\"} 3");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"0.1\"} 4");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"2.5\"} 5");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"300\"} 5");
	assert_text_has("gen_ai_server_request_duration_seconds_bucket{target=\"t\",le=\"+Inf\"} 6");
	assert_text_has("gen_ai_server_request_duration_seconds_count{target=\"t\"} 6");
	assert_text_has("gen_ai_server_request_duration_seconds_sum{target=\"t\"} 302.571000002");
}

static void test_metric_label_sets_are_bounded(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	for (int i = 0; i < 2000; i++) {
		buf_clear(&b);
		buf_printf(&b, "target-%d\x1fok%c", i, '\0');
		metric_add(METRIC_ATTEMPTS, b.p, 1);
	}
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "target-511\x1fok"), 1);
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "target-512\x1fok"), 0);
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "other\x1fother"), 2000 - 512);
	metric_add(METRIC_ATTEMPTS, "target-3\x1fok", 1); /* the known ones go on */
	assert_int_equal(metric_get(METRIC_ATTEMPTS, "target-3\x1fok"), 2);
	buf_done(&b);
}

static void test_metrics_write_says_when_it_does_not_fit(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	assert_int_equal(metrics_write(&b), -ERR_TOO_LARGE);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_metric_counts_per_label_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metric_text_declares_every_metric, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metric_label_values_are_escaped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metric_histogram_is_cumulative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metric_label_sets_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics_write_says_when_it_does_not_fit, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
