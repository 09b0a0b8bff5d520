/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs as Response objects: every member in every state, and what a result becomes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/response.h"
#include "api/jobs/job_object.h"

static const struct id job_id = { { 0x01, 0x9a, 0x2b, 0x3c, 0x4d, 0x5e, 0x7f, 0x00, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x01, 0x23 } };
#define JOB_HEX "019a2b3c4d5e7f00a1b2c3d4e5f60123"

static json_t *parsed(const char *text)
{
	struct err err = { 0 };
	json_t *v = json_parse(str_from(text), &err);
	if (!v)
		fail_msg("%s: %s", err.text, text);
	return v;
}

static void assert_json(const json_t *got, const char *wanted, const char *of)
{
	struct buf b;
	json_t *want = parsed(wanted);
	buf_init(&b, 1 << 20);
	json_write(&b, got);
	if (!json_equal(want, got))
		fail_msg("%s:\n  wanted %s\n  got    %.*s", of, wanted, (int)b.n, b.p);
	buf_done(&b);
	json_decref(want);
}

static struct face_answer answer(enum job_object_status status)
{
	return (struct face_answer){ .id = job_id, .form = FORM_RESPONSE, .created_us = 1767225600500000, .finished_us = 1767225607000000, .status = (int)status,
		                     .model = STR("m") };
}

static json_t *written(const struct face_answer *j)
{
	struct buf b;
	struct err err = { 0 };
	buf_init(&b, 1 << 20);
	assert_int_equal(face_response.write(&b, j), 0);
	json_t *v = json_parse(buf_str(&b), &err);
	if (!v)
		fail_msg("%s: %.*s", err.text, (int)b.n, b.p);
	buf_done(&b);
	return v;
}

static void test_response_has_every_member_of_the_official_type(void **state)
{
	(void)state;
	static const char *const members[] = {
		"id", "object", "created_at", "completed_at", "status", "background", "error", "incomplete_details", "instructions", "max_output_tokens",
		"max_tool_calls", "model", "output", "parallel_tool_calls", "previous_response_id", "prompt_cache_key", "prompt_cache_retention", "reasoning",
		"safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "usage",
		"metadata", "user",
	};
	for (int status = STATUS_SCHEDULED; status <= STATUS_EXPIRED; status++) {
		struct face_answer j = answer((enum job_object_status)status);
		json_t *result = parsed("{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}");
		j.result = status == STATUS_SUCCEEDED ? result : NULL;
		json_t *v = written(&j);
		for (size_t i = 0; i < ARRAY_LEN(members); i++)
			if (!json_get(v, members[i]))
				fail_msg("status %d: there is no %s", status, members[i]);
		assert_int_equal(json_object_size(v), ARRAY_LEN(members));
		assert_true(str_eq(json_str(v, "id"), STR("resp_" JOB_HEX)));
		assert_int_equal(json_i64(v, "created_at", 0), 1767225600);
		json_decref(v);
		json_decref(result);
	}
}

/* --- results --- */

#define MESSAGE(status, content) "{\"id\":\"msg_" JOB_HEX "\",\"type\":\"message\",\"status\":\"" status "\",\"role\":\"assistant\",\"content\":[" content "]}"
#define TEXT(text) "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"" text "\"}"

static const struct {
	const char *message, *finish, *output, *status, *details;
} results[] = {
	{ "{\"content\":\"hi\",\"refusal\":null}", "stop", "[" MESSAGE("completed", TEXT("hi")) "]", "completed", "null" },
	{ "{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}", "stop", "[" MESSAGE("completed", TEXT("ab")) "]", "completed", "null" },
	{ "{\"content\":\"hi\"}", "length", "[" MESSAGE("incomplete", TEXT("hi")) "]", "incomplete", "{\"reason\":\"max_output_tokens\"}" },
	{ "{\"content\":\"hi\"}", "content_filter", "[" MESSAGE("incomplete", TEXT("hi")) "]", "incomplete", "{\"reason\":\"content_filter\"}" },
	{ "{\"content\":\"\"}", "stop", "[" MESSAGE("completed", TEXT("")) "]", "completed", "null" },
	{ "{\"content\":null,\"refusal\":\"no\"}", "stop", "[" MESSAGE("completed", "{\"type\":\"refusal\",\"refusal\":\"no\"}") "]", "completed", "null" },
	{ "{\"content\":\"a\",\"refusal\":\"no\"}", "stop", "[" MESSAGE("completed", TEXT("a") ",{\"type\":\"refusal\",\"refusal\":\"no\"}") "]", "completed", "null" },
	{ "{\"content\":\"hi\",\"reasoning_content\":\"hm\"}", "stop",
	  "[{\"id\":\"rs_" JOB_HEX "\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]},"
	  MESSAGE("completed", TEXT("hi")) "]", "completed", "null" },
	{ "{\"content\":null,\"reasoning\":\"hm\"}", "length",
	  "[{\"id\":\"rs_" JOB_HEX "\",\"type\":\"reasoning\",\"status\":\"incomplete\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]}]",
	  "incomplete", "{\"reason\":\"max_output_tokens\"}" },
	{ "{\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"\",\"function\":{\"name\":\"g\","
	  "\"arguments\":\"\"}}]}", "tool_calls",
	  "[{\"id\":\"fc_" JOB_HEX "\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"},"
	  "{\"id\":\"fc_" JOB_HEX "_1\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"call_" JOB_HEX "_1\",\"name\":\"g\",\"arguments\":\"{}\"}]",
	  "completed", "null" },
	{ "{\"content\":\"hi\",\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]}", "tool_calls",
	  "[" MESSAGE("completed", TEXT("hi")) ",{\"id\":\"fc_" JOB_HEX "\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c1\",\"name\":\"f\","
	  "\"arguments\":\"{\\\"a\\\":1}\"}]", "completed", "null" },
};

static void test_response_output_is_what_the_result_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		struct arena a;
		arena_init(&a, 1 << 20);
		json_t *result = parsed(arena_printf(&a, "{\"choices\":[{\"message\":%s,\"finish_reason\":\"%s\"}]}", results[i].message, results[i].finish).p);
		struct face_answer j = answer(STATUS_SUCCEEDED);
		j.result = result;
		json_t *v = written(&j);
		assert_json(json_get(v, "output"), results[i].output, results[i].message);
		assert_json(json_get(v, "incomplete_details"), results[i].details, results[i].message);
		assert_true(str_eq_z(json_str(v, "status"), results[i].status));
		bool completed = strcmp(results[i].status, "completed") == 0;
		assert_int_equal(json_i64(v, "completed_at", 0), completed ? 1767225607 : 0);
		json_decref(v);
		json_decref(result);
		arena_done(&a);
	}
}

static void test_response_counts_tokens_as_openai_does(void **state)
{
	(void)state;
	json_t *result = parsed("{\"choices\":[{\"message\":{\"content\":\"hi\"},\"logprobs\":{\"content\":[{\"token\":\"hi\",\"logprob\":-0.5}]}}],\"service_tier\":\"flex\","
	                        "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7,\"total_tokens\":17,\"prompt_tokens_details\":{\"cached_tokens\":4,"
	                        "\"cache_write_tokens\":2},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}");
	struct face_answer j = answer(STATUS_SUCCEEDED);
	j.result = result;
	json_t *v = written(&j);
	assert_json(json_get(v, "usage"),
	            "{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":4,\"cache_write_tokens\":2},\"output_tokens\":7,"
	            "\"output_tokens_details\":{\"reasoning_tokens\":3},\"total_tokens\":17}",
	            "usage");
	assert_true(str_eq_z(json_str(v, "service_tier"), "flex"));
	const json_t *part = json_array_get(json_get(json_array_get(json_get(v, "output"), 0), "content"), 0);
	assert_json(json_get(part, "logprobs"), "[{\"token\":\"hi\",\"logprob\":-0.5}]", "logprobs");
	json_decref(v);
	json_decref(result);
}

/* --- states --- */

static const struct {
	enum job_object_status job;
	bool background;
	const char *code, *status, *error;
} states[] = {
	{ STATUS_QUEUED, true, NULL, "queued", NULL },
	{ STATUS_SCHEDULED, true, NULL, "queued", NULL },
	{ STATUS_QUEUED, false, NULL, "in_progress", NULL },
	{ STATUS_RUNNING, true, NULL, "in_progress", NULL },
	{ STATUS_CANCELED, true, "canceled", "cancelled", NULL },
	{ STATUS_EXPIRED, true, "expired", "failed", "server_error" },
	{ STATUS_FAILED, true, "provider_rate_limit", "failed", "rate_limit_exceeded" },
	{ STATUS_FAILED, true, "quota_exhausted", "failed", "rate_limit_exceeded" },
	{ STATUS_FAILED, true, "bad_request", "failed", "invalid_prompt" },
	{ STATUS_FAILED, true, "context_window_exceeded", "failed", "invalid_prompt" },
	{ STATUS_FAILED, true, "provider_auth", "failed", "server_error" },
	{ STATUS_FAILED, true, "transient", "failed", "server_error" },
	{ STATUS_FAILED, true, "output_truncated", "incomplete", NULL },
	{ STATUS_FAILED, true, "content_filter", "incomplete", NULL },
};

static void test_response_states_are_those_of_openai(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		struct face_answer j = answer(states[i].job);
		j.background = states[i].background;
		j.error_code = str_from(states[i].code);
		json_t *v = written(&j);
		assert_true(str_eq_z(json_str(v, "status"), states[i].status));
		assert_true(json_is_boolean(json_get(v, "background")) && json_is_true(json_get(v, "background")) == states[i].background);
		assert_json(json_get(v, "output"), "[]", states[i].status);
		assert_true(json_is_null(json_get(v, "usage")));
		if (states[i].error) {
			assert_true(str_eq_z(json_str(json_get(v, "error"), "code"), states[i].error));
			assert_true(json_str(json_get(v, "error"), "message").n > 0);
		} else {
			assert_true(json_is_null(json_get(v, "error")));
		}
		json_decref(v);
	}
}

static void test_response_that_ran_out_of_time_is_incomplete(void **state)
{
	(void)state;
	json_t *result = parsed("{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":null}]}");
	struct face_answer j = answer(STATUS_SUCCEEDED);
	j.result = result;
	j.partial = true;
	json_t *v = written(&j);
	assert_true(str_eq_z(json_str(v, "status"), "incomplete"));
	assert_json(json_get(v, "incomplete_details"), "{}", "details");
	json_decref(v);
	json_decref(result);
}

static void test_response_repeats_what_was_asked(void **state)
{
	(void)state;
	json_t *echo = parsed("{\"instructions\":\"i\",\"temperature\":0.5,\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":\"required\","
	                      "\"metadata\":{\"a\":\"b\"},\"user\":\"u\",\"store\":false,\"service_tier\":\"priority\"}");
	struct face_answer j = answer(STATUS_RUNNING);
	j.echo = echo;
	j.metadata = STR("{\"from\":\"elsewhere\"}");
	json_t *v = written(&j);
	const char *name;
	json_t *wanted;
	json_object_foreach(echo, name, wanted) assert_true(json_equal(json_get(v, name), wanted));
	json_decref(v);
	/* Without an echo, what the job knows; other parameters as if they had not been given. */
	j.echo = NULL;
	j.user = STR("u2");
	v = written(&j);
	assert_json(json_get(v, "metadata"), "{\"from\":\"elsewhere\"}", "metadata");
	assert_json(json_get(v, "text"), "{\"format\":{\"type\":\"text\"}}", "text");
	assert_true(str_eq_z(json_str(v, "user"), "u2") && json_is_true(json_get(v, "store")) && json_is_null(json_get(v, "temperature")));
	json_decref(v);
	json_decref(echo);
}

static void test_response_of_a_result_without_a_message_is_refused(void **state)
{
	(void)state;
	struct buf b;
	json_t *result = parsed("{\"data\":[]}");
	struct face_answer j = answer(STATUS_SUCCEEDED);
	buf_init(&b, 1 << 20);
	assert_int_equal(face_response.write(&b, &j), -(int)ERR_BAD_OUTPUT);
	j.result = result;
	assert_int_equal(face_response.write(&b, &j), -(int)ERR_BAD_OUTPUT);
	assert_int_equal(b.n, 0);
	buf_done(&b);
	json_decref(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response_has_every_member_of_the_official_type),
		cmocka_unit_test(test_response_output_is_what_the_result_says),
		cmocka_unit_test(test_response_counts_tokens_as_openai_does),
		cmocka_unit_test(test_response_states_are_those_of_openai),
		cmocka_unit_test(test_response_that_ran_out_of_time_is_incomplete),
		cmocka_unit_test(test_response_repeats_what_was_asked),
		cmocka_unit_test(test_response_of_a_result_without_a_message_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
