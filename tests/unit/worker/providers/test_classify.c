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

/* Every phrase, in the form in which its provider sends it. */
static void test_classify_context_window_by_text(void **state)
{
	static const struct row rows[] = {
		{ 400, INVALID("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "BadRequestError", "400"),
		  ERR_CONTEXT_WINDOW },
		{ 400, "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens.\",\"type\":\"BadRequestError\",\"code\":400}",
		  ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576, but got 1048577"),
		  ERR_CONTEXT_WINDOW },
		{ 400, INVALID("The prompt is over the model's maximum context limit"), ERR_CONTEXT_WINDOW },
		{ 400, "{\"object\":\"error\",\"message\":\"The input (9000 tokens) is longer than the model's context length (8192 tokens).\",\"code\":400}",
		  ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Requested token count exceeds the model's maximum context length of 8192 tokens."), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Your input exceeds the context window of this model. Please adjust your input and try again."), ERR_CONTEXT_WINDOW },
		{ 422, "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000\",\"error_type\":\"validation\"}",
		  ERR_CONTEXT_WINDOW },
		{ 400, INVALID("the request exceeds the available context size (4096 tokens)"), ERR_CONTEXT_WINDOW },
		{ 500, ERROR("the request exceeds the available context size. try increasing it", "server_error", "500"), ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"message\":\"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).\",\"status\":\"INVALID_ARGUMENT\"}}",
		  ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"code\":400,\"message\":\"Request payload size exceeds the limit: 20971520 bytes.\",\"status\":\"INVALID_ARGUMENT\"}}", ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Current length is unknown"), ERR_BAD_REQUEST },
		{ 400, INVALID("maximum input length is 8192 tokens"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("prompt tokens (9000) exceed model maximum (8192)"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("prompt is too long: 210000 tokens > 200000 maximum"), ERR_CONTEXT_WINDOW },
		{ 413, ERROR("Prompt is too long", "request_too_large", "null"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("prompt: length: 1..200000"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Input is too long for requested model."), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Too many input tokens: 9000"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("too many tokens: total number of tokens in the prompt cannot exceed 4081"), ERR_CONTEXT_WINDOW },
		{ 400, "{\"message\":\"Malformed input request: expected maxLength: 300000, actual: 315000, please reformat your input and try again.\"}", ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":\"the input length exceeds the context length\"}", ERR_CONTEXT_WINDOW },
		{ 400, "{\"error\":{\"message\":\"the input length exceeds the context length\",\"type\":\"api_error\"}}", ERR_CONTEXT_WINDOW },
		{ 500, "{\"error\":\"the input length exceeds the context length\"}", ERR_CONTEXT_WINDOW },
		{ 400, INVALID("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"), ERR_CONTEXT_WINDOW },
		{ 400, INVALID("This model's maximum prompt length is 131072 but the request contains 537812 tokens."), ERR_CONTEXT_WINDOW },
		/* vLLM: max_tokens above what the prompt leaves */
		{ 400, ERROR("'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 12 input "
		             "tokens (5000 > 4096 - 12).", "BadRequestError", "400"), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", "BadRequestError", "400"), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("You passed 4001 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens", "BadRequestError", "400"),
		  ERR_CONTEXT_WINDOW },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void test_classify_content_filters_and_keys_by_text(void **state)
{
	static const struct row rows[] = {
		{ 400, INVALID("content_policy_violation"), ERR_CONTENT_FILTER },
		{ 400, INVALID("blocked: ResponsibleAIPolicyViolation"), ERR_CONTENT_FILTER },
		{ 400, INVALID("The response was filtered due to the prompt triggering Azure OpenAI's content management policy."), ERR_CONTENT_FILTER },
		{ 400, INVALID("Your request was rejected as a result of our safety system."), ERR_CONTENT_FILTER },
		{ 400, INVALID("content_filter_policy"), ERR_CONTENT_FILTER },
		{ 500, ERROR("The model produced invalid content. Consider modifying your prompt", "server_error", "null"), ERR_CONTENT_FILTER },
		{ 400, INVALID("Invalid prompt: we've limited access to this content as potentially violating our usage policy."), ERR_CONTENT_FILTER },
		{ 400, INVALID("violating our usage policy is what the prompt is about"), ERR_BAD_REQUEST },
		{ 400, INVALID("Output blocked by content filtering policy"), ERR_CONTENT_FILTER },
		{ 400, INVALID("The response was blocked."), ERR_CONTENT_FILTER },
		{ 400, INVALID("Invalid API Key"), ERR_PROVIDER_AUTH },
		{ 400, "{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\",\"status\":\"INVALID_ARGUMENT\"}}", ERR_PROVIDER_AUTH },
		{ 400, INVALID("Incorrect API key provided: xa***"), ERR_PROVIDER_AUTH },
		{ 400, INVALID("Unable to locate credentials"), ERR_PROVIDER_AUTH },
		{ 400, INVALID("The security token included in the request is invalid"), ERR_PROVIDER_AUTH },
		{ 403, "{\"message\":\"The security token included in the request is expired\"}", ERR_PROVIDER_AUTH },
		{ 403, "{\"error\":{\"code\":403,\"message\":\"Your API key was reported as leaked. Please use another API key.\",\"status\":\"PERMISSION_DENIED\"}}",
		  ERR_PROVIDER_AUTH },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

#define ANTHROPIC(type, message) "{\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\"" message "\"},\"request_id\":\"req_1\"}"

static void test_classify_anthropics_errors(void **state)
{
	static const struct row rows[] = {
		{ 400, ANTHROPIC("invalid_request_error", "max_tokens: Field required"), ERR_BAD_REQUEST },
		{ 401, ANTHROPIC("authentication_error", "invalid x-api-key"), ERR_PROVIDER_AUTH },
		{ 402, ANTHROPIC("billing_error", "x"), ERR_BILLING },
		{ 400, ANTHROPIC("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), ERR_BILLING },
		{ 400, ANTHROPIC("invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-02-01"), ERR_BILLING },
		{ 400, ANTHROPIC("enforced_spend_limit_reached", "x"), ERR_BILLING },
		{ 400, ANTHROPIC("invalid_request_error", "enforced_spend_limit_reached"), ERR_BILLING },
		{ 429, ANTHROPIC("rate_limit_error", "enforced_spend_limit_reached: wait for the month"), ERR_BILLING },
		{ 400, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"x\",\"details\":{\"error_code\":\"enforced_spend_limit_reached\"}}}", ERR_BILLING },
		{ 403, ANTHROPIC("permission_error", "x"), ERR_PROVIDER_PERMISSION },
		{ 404, ANTHROPIC("not_found_error", "model: claude-x"), ERR_PROVIDER_NOT_FOUND },
		{ 409, ANTHROPIC("conflict_error", "x"), ERR_TRANSIENT },
		{ 413, ANTHROPIC("request_too_large", "Request exceeds the maximum size"), ERR_PROVIDER_TOO_LARGE },
		{ 413, NULL, ERR_PROVIDER_TOO_LARGE }, /* HTML */
		{ 429, ANTHROPIC("rate_limit_error", "This request would exceed your organization's rate limit of 30,000 input tokens per minute"), ERR_PROVIDER_RATE_LIMIT },
		{ 429, ANTHROPIC("rate_limit_error", "This request would exceed your organization's daily rate limit."), ERR_QUOTA },
		{ 500, ANTHROPIC("api_error", "Internal server error"), ERR_TRANSIENT },
		{ 504, ANTHROPIC("timeout_error", "x"), ERR_TRANSIENT },
		{ 529, ANTHROPIC("overloaded_error", "Overloaded"), ERR_PROVIDER_OVERLOADED },
		{ 529, ANTHROPIC("api_error", "x"), ERR_PROVIDER_OVERLOADED },
		{ 529, NULL, ERR_PROVIDER_OVERLOADED },
		{ 0, ANTHROPIC("overloaded_error", "Overloaded"), ERR_PROVIDER_OVERLOADED },
		{ 0, ANTHROPIC("api_error", "Internal server error"), ERR_TRANSIENT },
		{ 0, ANTHROPIC("rate_limit_error", "x"), ERR_PROVIDER_RATE_LIMIT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

#define GOOGLE(code, status, message, details) \
	"{\"error\":{\"code\":" code ",\"message\":\"" message "\",\"status\":\"" status "\",\"details\":[" details "]}}"
#define REASON(word) "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"" word "\"}"
#define QUOTA(id)    "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\",\"violations\":[{},{\"quotaId\":\"" id "\"}]}"

static void test_classify_googles_errors(void **state)
{
	static const struct row rows[] = {
		{ 400, GOOGLE("400", "INVALID_ARGUMENT", "Request contains an invalid argument.", ""), ERR_BAD_REQUEST },
		{ 400, GOOGLE("400", "FAILED_PRECONDITION", "User location is not supported for the API use.", ""), ERR_BAD_REQUEST },
		{ 400, GOOGLE("400", "INVALID_ARGUMENT", "m", REASON("API_KEY_INVALID")), ERR_PROVIDER_AUTH },
		{ 401, GOOGLE("401", "UNAUTHENTICATED", "m", ""), ERR_PROVIDER_AUTH },
		{ 403, GOOGLE("403", "PERMISSION_DENIED", "m", REASON("SERVICE_DISABLED")), ERR_PROVIDER_PERMISSION },
		{ 403, GOOGLE("403", "PERMISSION_DENIED", "m", REASON("BILLING_DISABLED")), ERR_BILLING },
		{ 403, GOOGLE("403", "PERMISSION_DENIED", "This API method requires billing to be enabled.", ""), ERR_BILLING },
		{ 404, GOOGLE("404", "NOT_FOUND", "m", ""), ERR_PROVIDER_NOT_FOUND },
		{ 429, GOOGLE("429", "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.",
		              QUOTA("GenerateRequestsPerMinutePerProjectPerModel")), ERR_PROVIDER_RATE_LIMIT },
		{ 429, "[" GOOGLE("429", "RESOURCE_EXHAUSTED", "m", QUOTA("GenerateRequestsPerDayPerProjectPerModel-FreeTier")) "]", ERR_QUOTA },
		{ 429, GOOGLE("429", "RESOURCE_EXHAUSTED", "m", QUOTA("DailyTokens")), ERR_QUOTA },
		{ 503, GOOGLE("429", "RESOURCE_EXHAUSTED", "m", QUOTA("RequestsPerDay")), ERR_QUOTA },
		{ 500, GOOGLE("429", "", "m", ""), ERR_PROVIDER_RATE_LIMIT },
		{ 499, GOOGLE("499", "CANCELLED", "m", ""), ERR_TRANSIENT },
		{ 500, GOOGLE("500", "INTERNAL", "m", ""), ERR_TRANSIENT },
		{ 503, GOOGLE("503", "UNAVAILABLE", "m", ""), ERR_TRANSIENT },
		{ 503, GOOGLE("503", "UNAVAILABLE", "The model is overloaded. Please try again later.", ""), ERR_PROVIDER_OVERLOADED },
		{ 504, GOOGLE("504", "DEADLINE_EXCEEDED", "m", ""), ERR_TRANSIENT },
		{ 0, GOOGLE("503", "UNAVAILABLE", "The model is overloaded.", ""), ERR_PROVIDER_OVERLOADED },
		{ 0, GOOGLE("429", "RESOURCE_EXHAUSTED", "m", ""), ERR_PROVIDER_RATE_LIMIT },
		{ 0, GOOGLE("400", "INVALID_ARGUMENT", "m", ""), ERR_BAD_REQUEST },
		{ 0, GOOGLE("499", "CANCELLED", "m", ""), ERR_TRANSIENT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows));
}

/* The exception's name comes as type; status 0: in a frame of the stream. */
static void test_classify_bedrocks_exceptions(void **state)
{
	static const struct {
		int status;
		const char *name, *message;
		enum err_code class;
	} rows[] = {
		{ 429, "ThrottlingException", "Too many tokens, please wait before trying again.", ERR_PROVIDER_RATE_LIMIT },
		{ 400, "throttlingException", "slow", ERR_PROVIDER_RATE_LIMIT },
		{ 429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", ERR_QUOTA },
		{ 0, "throttlingException", "Too many requests", ERR_PROVIDER_RATE_LIMIT },
		{ 429, "ModelNotReadyException", "m", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "modelNotReadyException", "m", ERR_PROVIDER_RATE_LIMIT },
		{ 400, "ServiceQuotaExceededException", "m", ERR_QUOTA },
		{ 403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", ERR_PROVIDER_PERMISSION },
		{ 0, "accessDeniedException", "m", ERR_PROVIDER_PERMISSION },
		{ 403, "AccessDeniedException", "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.", ERR_BILLING },
		{ 403, "UnrecognizedClientException", "m", ERR_PROVIDER_AUTH },
		{ 403, "ExpiredTokenException", "m", ERR_PROVIDER_AUTH },
		{ 404, "ResourceNotFoundException", "m", ERR_PROVIDER_NOT_FOUND },
		{ 400, "ValidationException", "The provided model identifier is invalid.", ERR_PROVIDER_NOT_FOUND },
		{ 400, "ValidationException", "Invocation of model ID x with on-demand throughput isn't supported.", ERR_PROVIDER_NOT_FOUND },
		{ 400, "ValidationException", "Input is too long for requested model.", ERR_CONTEXT_WINDOW },
		{ 400, "ValidationException", "expected maxLength: 50000, actual: 99999", ERR_CONTEXT_WINDOW },
		{ 0, "validationException", "too many tokens", ERR_CONTEXT_WINDOW },
		{ 0, "validationException", "rate limit 429 is no content", ERR_BAD_REQUEST },
		{ 400, "ValidationException", "m", ERR_BAD_REQUEST },
		{ 408, "ModelTimeoutException", "m", ERR_TRANSIENT },
		{ 0, "modelTimeoutException", "m", ERR_TRANSIENT },
		{ 424, "ModelErrorException", "m", ERR_TRANSIENT },
		{ 0, "modelStreamErrorException", "m", ERR_TRANSIENT },
		{ 424, "ModelErrorException", "Could not process image", ERR_BAD_REQUEST },
		{ 500, "InternalServerException", "Could not process image", ERR_BAD_REQUEST },
		{ 503, "ServiceUnavailableException", "m", ERR_TRANSIENT },
		{ 0, "internalServerException", "m", ERR_TRANSIENT },
		{ 413, "RequestEntityTooLargeException", "m", ERR_PROVIDER_TOO_LARGE },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct failure f = { .status = rows[i].status, .type = str_from(rows[i].name), .message = str_from(rows[i].message) };
		enum err_code class = classify(&f);
		if (class != rows[i].class)
			fail_msg("%d %s %s: got %s", rows[i].status, rows[i].name, rows[i].message, err_code_name((int)class));
	}
}

static void test_classify_compatible_servers(void **state)
{
	static const struct row rows[] = {
		/* Azure */
		{ 429, "{\"error\":{\"code\":\"429\",\"message\":\"Requests have exceeded call rate limit. Please retry after 6 seconds.\"}}", ERR_PROVIDER_RATE_LIMIT },
		{ 401, "{\"error\":{\"code\":\"401\",\"message\":\"Access denied due to invalid subscription key\"}}", ERR_PROVIDER_AUTH },
		{ 403, "{\"error\":{\"code\":\"QuotaExceeded\",\"message\":\"Out of call volume quota.\"}}", ERR_QUOTA },
		{ 404, "{\"error\":{\"code\":\"404\",\"message\":\"Resource not found\"}}", ERR_PROVIDER_NOT_FOUND },
		{ 400, "{\"error\":{\"message\":\"x\",\"inner_error\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}", ERR_CONTENT_FILTER },
		/* OpenAI */
		{ 429, ERROR("Rate limit reached on requests per day (RPD): Limit 200", "requests", "\"rate_limit_exceeded\""), ERR_QUOTA },
		{ 429, ERROR("The engine is currently overloaded, please try again later", "x", "null"), ERR_PROVIDER_OVERLOADED },
		{ 503, ERROR("The engine is currently overloaded, please try again later", "server_error", "null"), ERR_PROVIDER_OVERLOADED },
		{ 503, ERROR("Slow down", "x", "\"slow_down\""), ERR_PROVIDER_OVERLOADED },
		{ 413, ERROR("Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000", "tokens", "\"rate_limit_exceeded\""),
		  ERR_LIMIT_TOO_SMALL }, /* Groq */
		{ 413, ERROR("The request is too large.", "invalid_request_error", "null"), ERR_PROVIDER_TOO_LARGE },
		/* vLLM: code is a number, nested or not */
		{ 404, ERROR("The model `x` does not exist.", "NotFoundError", "404"), ERR_PROVIDER_NOT_FOUND },
		{ 500, ERROR("x", "InternalServerError", "500"), ERR_TRANSIENT },
		{ 400, "{\"object\":\"error\",\"message\":\"temperature must be non-negative\",\"type\":\"BadRequestError\",\"code\":400}", ERR_BAD_REQUEST },
		{ 0, "{\"object\":\"error\",\"message\":\"x\",\"type\":\"BadRequestError\",\"code\":400}", ERR_BAD_REQUEST },
		{ 0, "{\"object\":\"error\",\"message\":\"rate limit 429\",\"type\":\"BadRequestError\"}", ERR_BAD_REQUEST },
		/* llama.cpp */
		{ 400, ERROR("x", "exceed_context_size_error", "400"), ERR_CONTEXT_WINDOW },
		{ 400, ERROR("x", "invalid_request_error", "400"), ERR_BAD_REQUEST },
		{ 401, ERROR("Invalid API Key", "authentication_error", "401"), ERR_PROVIDER_AUTH },
		{ 404, ERROR("File Not Found", "not_found_error", "404"), ERR_PROVIDER_NOT_FOUND },
		{ 503, ERROR("Loading model", "unavailable_error", "503"), ERR_TRANSIENT },
		{ 0, ERROR("x", "server_error", "500"), ERR_TRANSIENT },
		/* Ollama, TGI, FastAPI */
		{ 404, "{\"error\":\"model 'x' not found\"}", ERR_PROVIDER_NOT_FOUND },
		{ 503, "{\"error\":\"server busy, please try again\"}", ERR_TRANSIENT },
		{ 0, "{\"error\":\"unexpected EOF\"}", ERR_TRANSIENT },
		{ 429, "{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}", ERR_PROVIDER_OVERLOADED },
		{ 424, "{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}", ERR_TRANSIENT },
		{ 422, "{\"error\":\"x\",\"error_type\":\"validation\"}", ERR_BAD_REQUEST },
		{ 400, "{\"detail\":\"prompt is too long\"}", ERR_CONTEXT_WINDOW },
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
		{ 400, INVALID("got a 429: rate limit, context length, daily; insufficient_quota"), ERR_BAD_REQUEST },
		{ 503, ERROR("quota exceeded, 429, rate limit", "x", "null"), ERR_TRANSIENT },
		{ 429, ERROR("invalid api key, prompt is too long", "x", "null"), ERR_PROVIDER_RATE_LIMIT },
		{ 404, ERROR("prompt is too long: rate limit", "x", "null"), ERR_PROVIDER_NOT_FOUND },
		{ 400, "{\"error\":{\"message\":\"Invalid `user`: string too long. Expected a string with maximum length 64\"}}", ERR_BAD_REQUEST },
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
		{ 0, "{\"error\":\"RateLimit\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"rate _-limited\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"accelerate; limit of rates\"}", ERR_TRANSIENT },
		{ 0, "{\"error\":\"service tier capacity exceeded for this model\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"Quota exceeded\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"Resource exhausted\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"(ThrottlingException) slow\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"upstream said 429.\"}", ERR_PROVIDER_RATE_LIMIT },
		{ 0, "{\"error\":\"id 14290, a429\"}", ERR_TRANSIENT },
		{ 0, "{\"error\":\"The model is overloaded\"}", ERR_PROVIDER_OVERLOADED },
		{ 0, "{\"error\":{\"code\":\"insufficient_system_resource\"}}", ERR_TRANSIENT },
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
		cmocka_unit_test(test_classify_content_filters_and_keys_by_text),
		cmocka_unit_test(test_classify_anthropics_errors),
		cmocka_unit_test(test_classify_googles_errors),
		cmocka_unit_test(test_classify_bedrocks_exceptions),
		cmocka_unit_test(test_classify_compatible_servers),
		cmocka_unit_test(test_classify_an_echoed_prompt_decides_nothing),
		cmocka_unit_test(test_classify_errors_inside_a_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
