/* SPDX-License-Identifier: Apache-2.0 */
/* The job object: its members in every state, as JSON that can be read back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/jobs/job_object.h"
#include "common/json.h"

static const struct job_object_how whole = { .with_result = true, .index = -1 };

static struct job_facts facts(enum job_object_status status)
{
	return (struct job_facts){ .id = id_make(7),
		                   .route = STR("default"),
		                   .created_us = 1767225600000000,
		                   .expires_us = 1767312000000000,
		                   .status = status,
		                   .batch_index = -1,
		                   .park_reason = -1,
		                   .ahead = -1,
		                   .cost_nanousd = -1,
		                   .estimate_nanousd = -1,
		                   .priority = 4 };
}

static json_t *written(const struct job_facts *j, struct job_object_how how)
{
	struct buf b;
	struct err err = { 0 };
	buf_init(&b, 1 << 20);
	assert_int_equal(job_object_write(&b, NULL, j, how), 0);
	json_t *v = json_parse(buf_str(&b), &err);
	if (!v)
		fail_msg("%s: %.*s", err.text, (int)b.n, b.p);
	buf_done(&b);
	return v;
}

static void test_job_object_of_a_new_job(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_QUEUED);
	json_t *v = written(&j, whole);
	static const char *const members[] = {
		"id",       "object",           "status",        "kind",       "route",
		"batch_id", "priority",         "metadata",      "user",       "created_at",
		"run_at",   "started_at",       "finished_at",   "expires_at", "queue",
		"attempts", "served_by",        "result",        "error",      "usage",
		"cost",     "cancel_requested", "interruptions",
	};
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (!json_get(v, members[i]))
			fail_msg("there is no %s", members[i]);
	assert_true(str_eq(json_str(v, "status"), STR("queued")));
	assert_true(str_eq(json_str(v, "created_at"), STR("2026-01-01T00:00:00.000Z")));
	assert_true(json_is_null(json_get(v, "batch_id")));
	assert_true(json_is_null(json_get(json_get(v, "queue"), "ahead")));
	assert_true(str_eq(json_str(json_get(v, "cost"), "usd"), STR("0.000000")));
	json_decref(v);
}

static void test_job_object_of_a_success(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_SUCCEEDED);
	j.result = STR("{\"choices\":[]}");
	j.target = STR("openai/\"x\"");
	j.metadata = STR("{\"a\":\"b\"}");
	j.cost_nanousd = 342;
	j.level = 1;
	j.attempts = 2;
	j.custom_id = STR("line \"1\"");
	json_t *v = written(&j, whole);
	assert_true(str_eq(json_str(v, "custom_id"), j.custom_id));
	assert_true(json_is_array(json_get(json_get(v, "result"), "choices")));
	assert_null(json_get(json_get(v, "result"), "partial"));
	assert_true(str_eq(json_str(json_get(v, "served_by"), "level"), STR("fallback")));
	assert_true(str_eq(json_str(json_get(v, "served_by"), "target"), STR("openai/\"x\"")));
	assert_true(str_eq(json_str(json_get(v, "metadata"), "a"), STR("b")));
	assert_true(str_eq(json_str(json_get(v, "cost"), "usd"), STR("0.000000342")));
	assert_true(json_is_null(json_get(v, "queue")));
	json_decref(v);
}

static void test_job_object_says_when_the_answer_was_cut(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_SUCCEEDED);
	j.result = STR("{\"choices\":[]}");
	j.flags = 3;
	json_t *v = written(&j, whole);
	assert_true(json_bool(json_get(v, "result"), "partial", false));
	assert_true(json_bool(json_get(v, "usage"), "estimated", false));
	json_decref(v);
}

static void test_job_object_an_unknown_cost_is_not_zero(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_FAILED);
	j.attempts = 3;
	j.error_code = STR("transient");
	j.error_message = STR("the provider\nsaid \"no\"");
	j.error_status = 503;
	json_t *v = written(&j, whole), *e = json_get(v, "error");
	assert_true(json_is_null(json_get(json_get(v, "cost"), "usd")));
	assert_true(str_eq(json_str(e, "type"), STR("provider_error")));
	assert_true(str_eq(json_str(e, "code"), STR("transient")));
	assert_true(json_bool(e, "retryable", false));
	assert_int_equal(json_i64(e, "http_status", 0), 503);
	json_decref(v);
}

static void test_job_object_says_what_it_waits_for(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_QUEUED);
	j.park_reason = 2;
	j.parked_until_us = 1767225660000000;
	json_t *v = written(&j, whole), *queue = json_get(v, "queue");
	assert_true(str_eq(json_str(queue, "waiting_for"), STR("rate_limit")));
	assert_true(str_eq(json_str(queue, "estimated_start_at"), STR("2026-01-01T00:01:00.000Z")));
	json_decref(v);
	j = facts(STATUS_SCHEDULED);
	j.run_at_us = 1767225660000000;
	v = written(&j, whole);
	assert_true(str_eq(json_str(json_get(v, "queue"), "waiting_for"), STR("run_at")));
	json_decref(v);
}

static void test_job_object_in_lists_and_results(void **state)
{
	(void)state;
	struct job_facts j = facts(STATUS_SUCCEEDED);
	j.result = STR("{}");
	json_t *v = written(&j, (struct job_object_how){ .with_result = false, .index = 12 });
	assert_null(json_get(v, "result"));
	assert_int_equal(json_i64(v, "index", -1), 12);
	json_decref(v);
}

static void test_job_object_money(void **state)
{
	(void)state;
	static const struct {
		int64_t nano;
		const char *text;
	} rows[] = {
		{ 0, "\"0.000000\"" },         { 1, "\"0.000000001\"" },       { 342000, "\"0.000342\"" },
		{ 342010, "\"0.00034201\"" },  { 1000000000, "\"1.000000\"" }, { 12345678901, "\"12.345678901\"" },
		{ 900000000, "\"0.900000\"" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b;
		buf_init(&b, 64);
		job_object_usd(&b, rows[i].nano);
		assert_true(str_eq(buf_str(&b), str_from(rows[i].text)));
		buf_done(&b);
	}
}

static void test_job_object_etag_changes_with_the_state(void **state)
{
	(void)state;
	char one[64], two[64];
	struct job_facts j = facts(STATUS_QUEUED);
	struct str before = job_object_etag(&j, one);
	assert_true(str_eq(job_object_etag(&j, two), before));
	j.status = STATUS_RUNNING;
	assert_false(str_eq(job_object_etag(&j, two), before));
	j = facts(STATUS_QUEUED);
	j.version = 1;
	assert_false(str_eq(job_object_etag(&j, two), before));
	assert_true(str_has_prefix(before, STR("W/\"")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_job_object_of_a_new_job),
		cmocka_unit_test(test_job_object_of_a_success),
		cmocka_unit_test(test_job_object_says_when_the_answer_was_cut),
		cmocka_unit_test(test_job_object_an_unknown_cost_is_not_zero),
		cmocka_unit_test(test_job_object_says_what_it_waits_for),
		cmocka_unit_test(test_job_object_in_lists_and_results),
		cmocka_unit_test(test_job_object_money),
		cmocka_unit_test(test_job_object_etag_changes_with_the_state),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
