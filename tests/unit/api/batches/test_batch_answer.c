/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a batch's files: which file, and that each is one line of JSON in OpenAI's form. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/batches/batch_answer.h"
#include "common/json.h"

#define CHAT   "{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"," \
	       "\"content\":\"a\\nb\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}"
#define VECTOR "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-1.0]}],\"model\":\"e\",\"usage\":{\"prompt_tokens\":3," \
	       "\"total_tokens\":3}}"

struct files {
	struct buf output, errors;
};

static struct files *files(void)
{
	static struct files f;
	buf_init(&f.output, 1 << 20);
	buf_init(&f.errors, 1 << 20);
	return &f;
}

static void close_files(struct files *f)
{
	buf_done(&f->output);
	buf_done(&f->errors);
}

static struct job_facts facts(enum job_object_status status)
{
	return (struct job_facts){ .id = id_make(7), .route = STR("gpt-4o"), .custom_id = STR("line-1"), .created_us = 1767225600000000, .status = status,
		                   .batch_index = 0, .cost_nanousd = -1 };
}

/* The one line that b holds. */
static json_t *line_of(const struct buf *b)
{
	struct err err = { 0 };
	assert_true(b->n > 1);
	assert_ptr_equal(memchr(b->p, '\n', b->n), b->p + b->n - 1);
	json_t *v = json_parse((struct str){ b->p, b->n - 1 }, &err);
	if (!v)
		fail_msg("%s: %.*s", err.text, (int)b->n, b->p);
	assert_int_equal(json_object_size(v), 4);
	assert_true(str_has_prefix(json_str(v, "id"), STR("batch_req_")));
	return v;
}

static void test_batch_answer_of_a_success_is_what_a_call_would_have_got(void **state)
{
	static const struct {
		enum face_form form;
		const char *result, *echo, *object, *id_prefix;
	} rows[] = {
		{ FORM_CHAT, CHAT, NULL, "chat.completion", "chatcmpl-" },
		{ FORM_COMPLETION, CHAT, NULL, "text_completion", "cmpl-" },
		{ FORM_RESPONSE, CHAT, "{\"instructions\":\"be brief\"}", "response", "resp_" },
		{ FORM_EMBEDDINGS, VECTOR, NULL, "list", "" },
		{ FORM_EMBEDDINGS, VECTOR, "{\"encoding_format\":\"base64\"}", "list", "" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct files *f = files();
		struct job_facts j = facts(STATUS_SUCCEEDED);
		char id[ID_TEXT_MAX];
		j.result = str_from(rows[i].result);
		assert_int_equal(batch_answer_write(&f->output, &f->errors, rows[i].form, &j, rows[i].echo ? str_from(rows[i].echo) : (struct str){ 0 }),
		                 ANSWER_OUTPUT);
		assert_int_equal(f->errors.n, 0);
		json_t *v = line_of(&f->output);
		const json_t *response = json_get(v, "response"), *body = json_get(response, "body");
		assert_true(str_eq(json_str(v, "custom_id"), STR("line-1")));
		assert_true(json_is_null(json_get(v, "error")));
		assert_int_equal(json_i64(response, "status_code", 0), 200);
		assert_true(str_eq(json_str(response, "request_id"), id_text(j.id, "job_", id)));
		assert_true(str_eq_z(json_str(body, "object"), rows[i].object));
		if (rows[i].id_prefix[0])
			assert_true(str_eq(json_str(body, "id"), id_text(j.id, rows[i].id_prefix, id)));
		else
			assert_int_equal(json_is_string(json_get(json_array_get(json_get(body, "data"), 0), "embedding")), rows[i].echo != NULL);
		json_decref(v);
		close_files(f);
	}
}

static void test_batch_answer_of_a_failure_is_the_error_that_a_call_would_have_got(void **state)
{
	static const struct {
		const char *class;
		int status;
		const char *code;
	} rows[] = {
		{ "provider_rate_limit", 429, "rate_limit_exceeded" },
		{ "context_window_exceeded", 400, "context_length_exceeded" },
		{ "provider_auth", 502, "provider_auth" },
		{ "poison", 500, "poison" },
		{ "a class of a later version", 500, "internal_error" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct files *f = files();
		struct job_facts j = facts(STATUS_FAILED);
		j.error_code = str_from(rows[i].class);
		j.error_message = STR("it said \"no\"");
		assert_int_equal(batch_answer_write(&f->output, &f->errors, FORM_CHAT, &j, (struct str){ 0 }), ANSWER_ERROR);
		assert_int_equal(f->output.n, 0);
		json_t *v = line_of(&f->errors);
		const json_t *response = json_get(v, "response"), *error = json_get(json_get(response, "body"), "error");
		assert_true(json_is_null(json_get(v, "error")));
		if (json_i64(response, "status_code", 0) != rows[i].status || !str_eq_z(json_str(error, "code"), rows[i].code))
			fail_msg("%s: %.*s", rows[i].class, (int)f->errors.n, f->errors.p);
		assert_true(str_eq(json_str(error, "message"), j.error_message));
		json_decref(v);
		close_files(f);
	}
}

static void test_batch_answer_of_what_is_no_answer_is_an_error_without_a_response(void **state)
{
	static const struct {
		enum job_object_status status;
		const char *error_code, *result, *code;
	} rows[] = {
		{ STATUS_EXPIRED, "expired", NULL, "batch_expired" },
		{ STATUS_CANCELED, "batch_cost_cap", NULL, "batch_cost_cap" },
		{ STATUS_SUCCEEDED, NULL, NULL, "not_found" },
		{ STATUS_SUCCEEDED, NULL, "{\"choices\":[]}", "bad_output" },
		{ STATUS_SUCCEEDED, NULL, "[]", "bad_output" },
		{ STATUS_SUCCEEDED, NULL, "{\"choices\":[{", "bad_output" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct files *f = files();
		struct job_facts j = facts(rows[i].status);
		buf_add_z(&f->output, "before\n");
		if (rows[i].result)
			j.result = str_from(rows[i].result);
		if (rows[i].error_code)
			j.error_code = str_from(rows[i].error_code);
		j.error_message = STR("why");
		assert_int_equal(batch_answer_write(&f->output, &f->errors, FORM_CHAT, &j, (struct str){ 0 }), ANSWER_ERROR);
		assert_true(str_eq(buf_str(&f->output), STR("before\n")));
		json_t *v = line_of(&f->errors);
		assert_true(json_is_null(json_get(v, "response")));
		assert_true(str_eq_z(json_str(json_get(v, "error"), "code"), rows[i].code));
		assert_true(json_str(json_get(v, "error"), "message").n > 0);
		json_decref(v);
		close_files(f);
	}
}

static void test_batch_answer_of_a_canceled_job_is_in_no_file(void **state)
{
	(void)state;
	struct files *f = files();
	struct job_facts j = facts(STATUS_CANCELED);
	j.error_code = STR("canceled");
	assert_int_equal(batch_answer_write(&f->output, &f->errors, FORM_CHAT, &j, (struct str){ 0 }), ANSWER_NONE);
	assert_int_equal(f->output.n + f->errors.n, 0);
	close_files(f);
}

static void test_batch_answer_keeps_any_custom_id(void **state)
{
	static const char *const ids[] = { "\"},{\"", "two\nlines", "\\u0000", "é€𝄞", "" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct files *f = files();
		struct job_facts j = facts(STATUS_EXPIRED);
		j.custom_id = str_from(ids[i]);
		batch_answer_write(&f->output, &f->errors, FORM_CHAT, &j, (struct str){ 0 });
		json_t *v = line_of(&f->errors);
		assert_true(str_eq_z(json_str(v, "custom_id"), ids[i]));
		json_decref(v);
		close_files(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch_answer_of_a_success_is_what_a_call_would_have_got),
		cmocka_unit_test(test_batch_answer_of_a_failure_is_the_error_that_a_call_would_have_got),
		cmocka_unit_test(test_batch_answer_of_what_is_no_answer_is_an_error_without_a_response),
		cmocka_unit_test(test_batch_answer_of_a_canceled_job_is_in_no_file),
		cmocka_unit_test(test_batch_answer_keeps_any_custom_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
