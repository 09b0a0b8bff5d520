/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Azure OpenAI (Microsoft: Azure OpenAI REST API reference): OpenAI's requests and answers under a deployment's path,
 * with the key in api-key, an api-version in the query, content filter results in a stream's first chunk, and errors
 * and headers of its own.
 */
#include "cli/simulator/openai.h"
#include "cli/simulator/sim.h"

static int azure_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                              struct stream_marks *ret)
{
	buf_add_z(b, "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\","
	             "\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{"
	             "\"hate\":{\"filtered\":false,\"severity\":\"safe\"},"
	             "\"self_harm\":{\"filtered\":false,\"severity\":\"safe\"},"
	             "\"sexual\":{\"filtered\":false,\"severity\":\"safe\"},"
	             "\"violence\":{\"filtered\":false,\"severity\":\"safe\"}}}]}\n\n");
	return openai_write_stream(b, c, r, an, ret);
}

static const struct error_row errors[ERROR_CLASSES] = {
	[ERROR_RATE_LIMIT] = { 429, NULL, "429",
	                       "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded "
	                       "call rate limit of your current OpenAI S0 pricing tier." },
	[ERROR_OVERLOADED] = { 503, NULL, "ServiceUnavailable",
	                       "The service is temporarily unable to process your "
	                       "request. Please try again later." },
	[ERROR_AUTH] = { 401, NULL, "401",
	                 "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
	                 "valid key for an active subscription and use a correct regional API endpoint for your "
	                 "resource." },
	[ERROR_BILLING] = { 403, NULL, "QuotaExceeded", "Out of call volume quota. Quota will be replenished later." },
	[ERROR_PERMISSION] = { 403, NULL, "AuthenticationTypeDisabled",
	                       "Key based authentication is disabled for this "
	                       "resource." },
	[ERROR_NOT_FOUND] = { 404, NULL, "DeploymentNotFound",
	                      "The API deployment for this resource does not exist. If you created the deployment "
	                      "within "
	                      "the last 5 minutes, please wait a moment and try again." },
	[ERROR_CONTEXT_WINDOW] = { 400, "invalid_request_error", "context_length_exceeded",
	                           "This model's maximum context length is 128000 tokens. However, your messages "
	                           "resulted "
	                           "in 130000 tokens. Please reduce the length of the messages." },
	[ERROR_CONTENT_FILTER] = { 400, NULL, "content_filter",
	                           "The response was filtered due to the prompt triggering Azure OpenAI's content "
	                           "management policy. Please modify your prompt and retry." },
	[ERROR_BAD_REQUEST] = { 400, "invalid_request_error", NULL, "The request is not valid." },
	[ERROR_TOO_LARGE] = { 413, NULL, "RequestEntityTooLarge", "The request entity is too large." },
	[ERROR_SERVER_ERROR] = { 500, "server_error", "InternalServerError", "Internal server error" },
	[ERROR_QUOTA_DAY] = { 429, NULL, "429",
	                      "Requests have exceeded the requests per day limit of your current tier." },
	[ERROR_TOO_LARGE_FOR_LIMIT] = { 429, NULL, "429",
	                                "Request too large for the model on tokens per min (TPM): Limit 30000, "
	                                "Requested 40000. The input or output tokens must be reduced in order to run "
	                                "successfully." },
	[ERROR_TIMEOUT] = { 408, NULL, "Timeout", "The operation was timeout." },
};

static void add_text(struct buf *b, const char *name, const char *z)
{
	buf_printf(b, ",\"%s\":", name);
	if (z)
		buf_add_json_str(b, str_from(z));
	else
		buf_add_z(b, "null");
}

static void azure_write_error(struct buf *b, const struct failure *f)
{
	const struct error_row *row = failure_row(&format_azure, f);
	struct buf words;
	buf_init(&words, CHAT_TEXT_MAX);
	buf_add_str(&words, failure_message(row, f));
	if (row->status == 429 && f->retry_after >= 0)
		buf_printf(&words, " Please retry after %lld seconds.", (long long)f->retry_after);
	buf_add_z(b, "{\"error\":{\"message\":");
	buf_add_json_str(b, buf_str(&words));
	buf_done(&words);
	add_text(b, "code", f->code ? f->code : row->code);
	if (row->type || f->param) {
		add_text(b, "type", row->type);
		add_text(b, "param", f->kind == ERROR_CONTEXT_WINDOW ? "messages" : f->param);
	}
	if (f->kind == ERROR_CONTENT_FILTER)
		buf_add_z(b, ",\"type\":null,\"param\":\"prompt\",\"status\":400,\"innererror\":{"
		             "\"code\":\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{"
		             "\"hate\":{\"filtered\":false,\"severity\":\"safe\"},"
		             "\"jailbreak\":{\"filtered\":false,\"detected\":false},"
		             "\"self_harm\":{\"filtered\":false,\"severity\":\"safe\"},"
		             "\"sexual\":{\"filtered\":false,\"severity\":\"safe\"},"
		             "\"violence\":{\"filtered\":true,\"severity\":\"high\"}}}");
	buf_add_z(b, "}}");
}

static void azure_write_stream_error(struct buf *b, const struct failure *f)
{
	sse_event(b, NULL);
	azure_write_error(b, f);
	buf_add_z(b, "\n\n");
}

static void azure_add_headers(struct call *c, const struct rate *requests, const struct rate *tokens)
{
	openai_add_limits(c->req, requests, tokens);
	http_reply_header(c->req, "apim-request-id", c->req->request_id);
	http_reply_header(c->req, "x-ms-region", STR("Simulated"));
	call_add_retry_after(c);
	if (c->status >= 400 && c->failure.retry_after >= 0) {
		struct str ms = arena_printf(&c->req->arena, "%lld000", (long long)c->failure.retry_after);
		http_reply_header(c->req, "retry-after-ms", ms);
		http_reply_header(c->req, "x-ms-retry-after-ms", ms);
	}
}

static int azure_check(const struct http_req *req, struct err *err)
{
	bool versioned =
	    str_find(req->path, STR("/openai/deployments/")) < 0 || str_find(req->query, STR("api-version=")) >= 0;
	return versioned ? 0 : err_set(err, ERR_NOT_FOUND, "Resource not found");
}

static const struct endpoint endpoints[] = {
	{ "/openai/deployments/", "/chat/completions", false, chat_build },
	{ "/openai/deployments/", "/embeddings", false, embeddings_build },
	{ NULL, "/openai/v1/chat/completions", false, chat_build },
	{ NULL, "/openai/v1/embeddings", false, embeddings_build },
};

const struct format format_azure = {
	.name = "azure",
	.endpoints = endpoints,
	.nendpoints = ARRAY_LEN(endpoints),
	.key_header = "api-key",
	.id_prefix = "chatcmpl-",
	.tool_prefix = "call_",
	.stream_type = "text/event-stream",
	.errors = errors,
	.quota_day_retry = 43200,
	.read = openai_read,
	.write_answer = openai_write,
	.write_stream = azure_write_stream,
	.event_len = sse_event_len,
	.write_error = azure_write_error,
	.write_stream_error = azure_write_stream_error,
	.add_headers = azure_add_headers,
	.check = azure_check,
};
