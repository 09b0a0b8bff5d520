/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What failed answers mean: the bodies of OpenAI and of the servers that are compatible with it, with their statuses; words of the
 * user that an error echoes decide nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "worker/providers/classify.h"

static enum err_code classify_body(int status, const char *text)
{
	struct arena a;
	struct err err = { .code = ERR_OK };
	struct failure f = { .status = status };
	arena_init(&a, 1 << 20);
	json_t *body = text ? json_parse_lenient(str_from(text), &err) : NULL;
	if (text && !body)
		fail_msg("%s: %s", err.text, text);
	if (body)
		failure_read(&f, body, &a);
	enum err_code class = classify(&f);
	json_decref(body);
	arena_done(&a);
	return class;
}

#define ERROR(message, type, code) "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"param\":null,\"code\":" code "}}"
#define INVALID(message)           ERROR(message, "invalid_request_error", "null")

struct row {
	int status; /* 0: inside an answer that had begun */
	const char *body;
	enum err_code class;
};

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		enum err_code class = classify_body(rows[i].status, rows[i].body);
		if (class != rows[i].class)
			fail_msg("%d %s: wanted %s, got %s", rows[i].status, rows[i].body ? rows[i].body : "(no JSON)",
			         err_code_name((int)rows[i].class), err_code_name((int)class));
	}
}

static void test_classify_bare_statuses(void **state)
{
	static const struct row rows[] = {
		{ 301, NULL, ERR_BAD_REQUEST },           { 400, NULL, ERR_BAD_REQUEST },           { 401, NULL, ERR_PROVIDER_AUTH },
		{ 402, NULL, ERR_BILLING },               { 403, NULL, ERR_PROVIDER_PERMISSION },   { 404, NULL, ERR_PROVIDER_NOT_FOUND },
		{ 405, NULL, ERR_BAD_REQUEST },           { 408, NULL, ERR_TRANSIENT },             { 409, NULL, ERR_TRANSIENT },
		{ 413, NULL, ERR_PROVIDER_TOO_LARGE },    { 415, NULL, ERR_BAD_REQUEST },           { 422, NULL, ERR_BAD_REQUEST },
		{ 425, NULL, ERR_TRANSIENT },             { 429, NULL, ERR_PROVIDER_RATE_LIMIT },   { 500, NULL, ERR_TRANSIENT },
		{ 502, NULL, ERR_TRANSIENT },             { 503, NULL, ERR_TRANSIENT },             { 504, NULL, ERR_TRANSIENT },
		{ 529, NULL, ERR_PROVIDER_OVERLOADED },   { 599, NULL, ERR_TRANSIENT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void test_classify_the_words_of_providers(void **state)
{
	static const struct row rows[] = {
		{ 429, ERROR("You exceeded your current quota", "insufficient_quota", "\"insufficient_quota\""), ERR_BILLING },
		{ 429, ERROR("Rate limit reached for gpt-4o", "tokens", "\"rate_limit_exceeded\""), ERR_PROVIDER_RATE_LIMIT },
		{ 429, ERROR("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000", "tokens", "\"rate_limit_exceeded\""),
		  ERR_LIMIT_TOO_SMALL },
		{ 400, ERROR("Billing hard limit has been reached", "invalid_request_error", "\"billing_hard_limit_reached\""), ERR_BILLING },
		{ 400, INVALID("You have reached your spend limit"), ERR_BILLING },
		{ 400, ERROR("x", "invalid_request_error", "\"context_length_exceeded\""), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("x", "exceed_context_size_error", "400"), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("x", "invalid_request_error", "\"content_policy_violation\""), ERR_CONTENT_FILTER },
		{ 400, "{\"error\":{\"code\":\"content_filter\",\"message\":\"The response was filtered\",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}",
		  ERR_CONTENT_FILTER },
		{ 400, "{\"error\":{\"message\":\"no\",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}", ERR_CONTENT_FILTER },
		{ 400, INVALID("Invalid prompt: your prompt was flagged as potentially violating our usage policy."), ERR_CONTENT_FILTER },
		{ 400, INVALID("Your request was rejected by the safety system"), ERR_CONTENT_FILTER },
		{ 400, "[{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\",\"status\":\"INVALID_ARGUMENT\"}}]",
		  ERR_PROVIDER_AUTH },
		{ 401, ERROR("Incorrect API key", "invalid_request_error", "\"invalid_api_key\""), ERR_PROVIDER_AUTH },
		{ 404, ERROR("The model does not exist", "invalid_request_error", "\"model_not_found\""), ERR_PROVIDER_NOT_FOUND },
		{ 404, "{\"error\":{\"code\":\"DeploymentNotFound\",\"message\":\"x\"}}", ERR_PROVIDER_NOT_FOUND },
		{ 500, ERROR("The server had an error", "server_error", "null"), ERR_TRANSIENT },
		{ 503, ERROR("Loading model", "unavailable_error", "503"), ERR_TRANSIENT },
		{ 503, "{\"error\":{\"code\":503,\"message\":\"The model is overloaded. Please try again later.\",\"status\":\"UNAVAILABLE\"}}",
		  ERR_PROVIDER_OVERLOADED },
		{ 529, ERROR("Overloaded", "server_error", "null"), ERR_PROVIDER_OVERLOADED },
		{ 500, ERROR("x", "overloaded_error", "null"), ERR_PROVIDER_OVERLOADED },
		{ 500, "{\"error\":{\"code\":429,\"message\":\"Resource has been exhausted\",\"status\":\"RESOURCE_EXHAUSTED\"}}", ERR_PROVIDER_RATE_LIMIT },
		{ 400, INVALID("Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576, but got 1048577"),
		  ERR_CONTEXT_WINDOW },
		{ 400, ERROR("Invalid 'user': string too long. Expected a string with maximum length 64", "invalid_request_error", "\"string_above_max_length\""),
		  ERR_BAD_REQUEST },
		{ 400, "{\"error\":{\"message\":\"string too long. Expected a string with maximum length 64\",\"param\":\"user\"}}", ERR_BAD_REQUEST },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void test_classify_context_window_by_text(void **state)
{
	static const struct row rows[] = {
		{ 400, ERROR("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "BadRequestError", "400"),
		  ERR_CONTEXT_WINDOW },
		{ 400, "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens.\",\"type\":\"BadRequestError\",\"code\":400}",
		  ERR_CONTEXT_WINDOW },
		{ 400, INVALID("the request exceeds the available context size (4096 tokens)"), ERR_CONTEXT_WINDOW },
		{ 422, "{\"error\":\"`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000\"}", ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Prompt is too long: 210000 tokens > 200000 maximum"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Input is too long for requested model."), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Too many input tokens: 9000"), ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"message\":\"the input length exceeds the context length\",\"type\":\"api_error\"}}", ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"message\":\"the input length exceeds the context length\"}}", ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"message\":\"The input exceeds the maximum number of tokens allowed (1048576).\",\"status\":\"INVALID_ARGUMENT\"}}",
		  ERR_CONTEXT_WINDOW },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void test_classify_an_echoed_prompt_decides_nothing(void **state)
{
	static const struct row rows[] = {
		{ 400, INVALID("Invalid value: 'we got a 429, rate limit exceeded, and then: prompt is too long'."), ERR_BAD_REQUEST },
		{ 400, INVALID("Could not parse \\\"this model's maximum context length is 5\\\" as a number"), ERR_BAD_REQUEST },
		{ 400, INVALID("[{'type': 'missing', 'input': {'text': 'invalid api key, spend limit, content management policy'"), ERR_BAD_REQUEST },
		{ 400, INVALID("Unknown role: \\\"prompt is too long"), ERR_BAD_REQUEST },
		{ 400, INVALID("rate limit 429 quota exceeded"), ERR_BAD_REQUEST },
		{ 422, "{\"detail\":[{\"msg\":\"rate limit\"}]}", ERR_BAD_REQUEST },
		{ 401, ERROR("rate limit 429", "x", "null"), ERR_PROVIDER_AUTH },
		{ 500, INVALID("prompt is too long"), ERR_TRANSIENT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
	/* What stands far behind the front is an echo, too. */
	struct buf b;
	buf_init(&b, 4096);
	for (int i = 0; i < 400; i++)
		buf_add_char(&b, 'x');
	buf_add_z(&b, " prompt is too long");
	assert_int_equal(classify(&(struct failure){ .status = 400, .message = buf_str(&b) }), ERR_BAD_REQUEST);
	buf_done(&b);
}

static void test_classify_errors_inside_a_stream(void **state)
{
	static const struct row rows[] = {
		{ 0, ERROR("The server had an error", "server_error", "null"), ERR_TRANSIENT },
		{ 0, ERROR("Overloaded", "overloaded_error", "null"), ERR_PROVIDER_OVERLOADED },
		{ 0, ERROR("Rate limit reached", "x", "null"), ERR_PROVIDER_RATE_LIMIT },
		{ 0, ERROR("x", "x", "\"rate_limit_exceeded\""), ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":{\"message\":\"x\",\"code\":429}}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":{\"message\":\"x\",\"code\":503}}", ERR_TRANSIENT },
		{ 0, "{\"error\":{\"message\":\"x\",\"code\":\"400\"}}", ERR_BAD_REQUEST },
		{ 0, INVALID("This model's maximum context length is 4096 tokens"), ERR_CONTEXT_WINDOW },
		{ 0, INVALID("what?"), ERR_BAD_REQUEST },
		{ 0, "{\"error\":\"something broke\"}", ERR_TRANSIENT },
		{ 0, "{\"error\":{}}", ERR_TRANSIENT },
		{ 0, "{\"error\":[1,2]}", ERR_TRANSIENT },
		{ 0, "{\"error\":{\"message\":7,\"code\":{},\"type\":[]}}", ERR_TRANSIENT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classify_bare_statuses),
		cmocka_unit_test(test_classify_the_words_of_providers),
		cmocka_unit_test(test_classify_context_window_by_text),
		cmocka_unit_test(test_classify_an_echoed_prompt_decides_nothing),
		cmocka_unit_test(test_classify_errors_inside_a_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
