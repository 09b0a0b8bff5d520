/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anthropic's Messages API (Anthropic: API reference, Messages, streaming, errors). Requests are checked as strictly as
 * there, since an adapter is to be found out here: max_tokens is required, fields that are not known are refused, so
 * are roles other than user and assistant, empty texts, and a missing anthropic-version.
 *
 * Usage: input_tokens is without what was read from the cache; a stream tells the input in message_start and all of it
 * again in message_delta, cumulative.
 */
#include <string.h>

#include "cli/simulator/sim.h"
#include "common/clock.h"

static const char *const known_fields[] = {
	"model",         "messages",      "system",        "max_tokens", "metadata",    "stop_sequences",
	"stream",        "temperature",   "top_p",         "top_k",      "tools",       "tool_choice",
	"thinking",      "service_tier",  "output_config", "container",  "mcp_servers", "context_management",
	"cache_control", "inference_geo", "speed",         NULL
};

static int read_source(struct chat *c, const json_t *source, const char *at, struct err *err)
{
	struct str type = json_str(source, "type");
	const json_t *block;
	size_t i;
	if (str_eq(type, STR("base64")))
		return chat_file(c, json_str(source, "media_type"), json_str(source, "data"), at, err);
	if (str_eq(type, STR("text")))
		chat_file_bytes(c, STR("text/plain"), json_str(source, "data"));
	else if (str_eq(type, STR("content")))
		json_array_foreach(json_get(source, "content"), i, block) chat_text(c, json_str(block, "text"));
	else if (!str_eq(type, STR("url")) && !str_eq(type, STR("file")))
		return err_set_at(err, ERR_INVALID, at,
		                  "%s: Input tag '" STR_FMT
		                  "' found using 'type' does not match any of the expected tags: "
		                  "'base64', 'content', 'file', 'text', 'url'",
		                  at, STR_ARG(str_sub(type, 0, 50)));
	return 0;
}

static int read_block(struct chat *c, const json_t *block, size_t message, struct err *err)
{
	static const char *const passed[] = { "tool_use",      "thinking",        "redacted_thinking",
		                              "search_result", "server_tool_use", "web_search_tool_result" };
	struct str type = json_str(block, "type");
	const json_t *content = json_get(block, "content"), *part;
	const char *at = arena_printf(c->arena, "messages.%zu.content", message).p;
	size_t i;
	if (str_eq(type, STR("text"))) {
		if (json_str(block, "text").n == 0)
			return err_set_at(err, ERR_INVALID, at, "messages: text content blocks must be non-empty");
		chat_text(c, json_str(block, "text"));
		return 0;
	}
	if (str_eq(type, STR("image")) || str_eq(type, STR("document")))
		return read_source(c, json_get(block, "source"), at, err);
	if (str_eq(type, STR("tool_result"))) {
		chat_text(c, json_str_of(content));
		json_array_foreach(content, i, part)
		{
			/* Results hold texts and files, no further results. */
			int rc = str_eq(json_str(part, "type"), STR("text"))
			             ? 0
			             : read_source(c, json_get(part, "source"), at, err);
			if (rc < 0)
				return rc;
			chat_text(c, json_str(part, "text"));
		}
		return json_str(block, "tool_use_id").n > 0
		           ? 0
		           : err_set_at(err, ERR_INVALID, at, "%s.tool_result.tool_use_id: Field required", at);
	}
	for (i = 0; i < ARRAY_LEN(passed); i++) {
		if (str_eq_z(type, passed[i]))
			return 0;
	}
	return err_set_at(err, ERR_INVALID, at, "%s: Input tag '" STR_FMT "' does not match any of the expected tags",
	                  at, STR_ARG(str_sub(type, 0, 50)));
}

static int read_message(struct chat *c, const json_t *message, size_t i, struct err *err)
{
	static const char *const known[] = { "role", "content", NULL };
	struct str role = json_str(message, "role");
	const json_t *content = json_get(message, "content"), *block;
	const char *unknown = chat_unknown_field(message, known);
	size_t k;
	bool user = str_eq(role, STR("user"));
	if (unknown)
		return err_set(err, ERR_UNKNOWN_FIELD, "messages.%zu.%.100s: Extra inputs are not permitted", i,
		               unknown);
	if (!user && !str_eq(role, STR("assistant")))
		return err_set(err, ERR_INVALID, "messages.%zu.role: Input should be 'user' or 'assistant'", i);
	if (json_str_of(content).n == 0 && json_array_size(content) == 0)
		return err_set(err, ERR_INVALID,
		               "messages.%zu: all messages must have non-empty content except for the optional final "
		               "assistant message",
		               i);
	chat_text(c, json_str_of(content));
	json_array_foreach(content, k, block)
	{
		int rc = read_block(c, block, i, err);
		if (rc < 0)
			return rc;
	}
	chat_message_end(c, user ? CHAT_USER : CHAT_OTHER);
	return 0;
}

static void read_system(struct chat *c, const json_t *system)
{
	const json_t *block;
	size_t i;
	chat_text(c, json_str_of(system));
	json_array_foreach(system, i, block) chat_text(c, json_str(block, "text"));
	if (c->text.n > 0)
		chat_message_end(c, CHAT_SYSTEM);
}

static int read_wanted(struct chat *c, const json_t *body, struct err *err)
{
	const json_t *format = json_get(json_get(body, "output_config"), "format"), *tool;
	size_t i;
	if (format) {
		c->schema = json_get(format, "schema");
		if (!str_eq(json_str(format, "type"), STR("json_schema")) || !json_is_object(c->schema))
			return err_set(err, ERR_INVALID, "output_config.format.schema: Field required");
	}
	json_array_foreach(json_get(body, "tools"), i, tool)
	{
		if (json_str(tool, "name").n == 0)
			return err_set(err, ERR_INVALID, "tools.%zu.name: Field required", i);
		if (!json_get(tool, "type") && !json_is_object(json_get(tool, "input_schema")))
			return err_set(err, ERR_INVALID, "tools.%zu.input_schema: Field required", i);
	}
	tool = json_array_get(json_get(body, "tools"), 0);
	if (!str_eq(json_str(json_get(body, "tool_choice"), "type"), STR("none"))) {
		c->tool = json_str(tool, "name");
		c->tool_schema = json_get(tool, "input_schema");
	}
	return 0;
}

static int read_numbers(struct chat *c, const json_t *body, struct err *err)
{
	const json_t *limit = json_get(body, "max_tokens"), *temperature = json_get(body, "temperature");
	if (!limit)
		return err_set(err, ERR_INVALID, "max_tokens: Field required");
	if (!json_is_integer(limit) || json_integer_value(limit) < 1)
		return err_set(err, ERR_INVALID, "max_tokens: Input should be greater than or equal to 1");
	c->max_tokens = json_integer_value(limit);
	if (temperature &&
	    (!json_is_number(temperature) || json_number_value(temperature) < 0 || json_number_value(temperature) > 1))
		return err_set(err, ERR_INVALID, "temperature: range: 0..1");
	return 0;
}

static int anthropic_read(struct chat *c, const json_t *body, struct err *err)
{
	const json_t *messages = json_get(body, "messages"), *message;
	const char *unknown;
	size_t i;
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "Input should be a valid dictionary");
	if (c->model.n == 0)
		return err_set(err, ERR_INVALID, "model: Field required");
	unknown = chat_unknown_field(body, known_fields);
	if (unknown)
		return err_set(err, ERR_UNKNOWN_FIELD, "%.100s: Extra inputs are not permitted", unknown);
	if (json_array_size(messages) == 0)
		return err_set(err, ERR_INVALID,
		               messages ? "messages: at least one message is required" : "messages: Field required");
	int rc = read_numbers(c, body, err);
	read_system(c, json_get(body, "system"));
	for (i = 0; rc == 0 && i < json_array_size(messages); i++) {
		message = json_array_get(messages, i);
		rc = read_message(c, message, i, err);
	}
	if (rc < 0)
		return rc;
	c->stream = json_bool(body, "stream", false);
	c->tag = answer_tag(json_str(json_get(body, "metadata"), "user_id"), c->last_user);
	return read_wanted(c, body, err);
}

static void write_usage(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        int64_t output)
{
	struct buf u;
	buf_init(&u, 4096);
	buf_printf(&u,
	           "{\"input_tokens\":%lld,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%lld,"
	           "\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},"
	           "\"output_tokens\":%lld,",
	           (long long)(c->prompt_tokens - an->cached_tokens), (long long)an->cached_tokens, (long long)output);
	if (an->thinking_tokens > 0)
		buf_printf(&u, "\"output_tokens_details\":{\"thinking_tokens\":%lld},", (long long)an->thinking_tokens);
	buf_add_z(&u, "\"service_tier\":\"standard\"}");
	buf_add_z(b, ",\"usage\":");
	answer_add_usage(b, r, buf_str(&u));
	buf_done(&u);
}

static const char *finish_of(const struct answer *an, const struct rule *r)
{
	return answer_finish(an, r, "end_turn", "max_tokens", "tool_use");
}

static void write_head(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_printf(b, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", an->id);
	buf_add_json_str(b, c->model);
	buf_add_z(b, ",\"content\":[");
}

/* A tool's call up to its input. */
static void write_tool_use(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_printf(b, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", an->tool_id);
	buf_add_json_str(b, c->tool);
	buf_add_z(b, ",\"input\":");
}

static int anthropic_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	write_head(b, c, an);
	if (an->thinking.n > 0) {
		buf_add_z(b, "{\"type\":\"thinking\",\"thinking\":");
		buf_add_json_str(b, an->thinking);
		buf_add_z(b, ",\"signature\":\"c2ltdWxhdGVk\"},");
	}
	if (an->calls_tool) {
		write_tool_use(b, c, an);
		buf_add_str(b, an->tool_args);
	} else {
		buf_add_z(b, "{\"type\":\"text\",\"text\":");
		buf_add_json_str(b, an->text);
	}
	buf_add_z(b, "}],\"stop_reason\":");
	buf_add_json_str(b, str_from(finish_of(an, r)));
	buf_add_z(b, ",\"stop_sequence\":null");
	if (!r->no_usage)
		write_usage(b, c, r, an, an->output_tokens);
	return buf_add_char(b, '}');
}

static void write_deltas(struct buf *b, int index, const char *type, const char *field, struct str text, int64_t piece)
{
	while (text.n > 0) {
		sse_event(b, "content_block_delta");
		buf_printf(b,
		           "{\"type\":\"content_block_delta\",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":", index,
		           type, field);
		buf_add_json_str(b, answer_piece(&text, (size_t)piece));
		buf_add_z(b, "}}\n\n");
	}
}

static void start_block(struct buf *b, int index)
{
	sse_event(b, "content_block_start");
	buf_printf(b, "{\"type\":\"content_block_start\",\"index\":%d,\"content_block\":", index);
}

static void stop_block(struct buf *b, int index)
{
	sse_event(b, "content_block_stop");
	buf_printf(b, "{\"type\":\"content_block_stop\",\"index\":%d}\n\n", index);
}

static void ping(struct buf *b)
{
	sse_event(b, "ping");
	buf_add_z(b, "{\"type\":\"ping\"}\n\n");
}

static void write_blocks(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                         struct stream_marks *ret)
{
	int index = 0;
	if (an->thinking.n > 0) {
		start_block(b, index);
		buf_add_z(b, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n");
		ping(b);
		ret->head = b->n;
		write_deltas(b, index, "thinking_delta", "thinking", an->thinking, r->chunk_bytes);
		write_deltas(b, index, "signature_delta", "signature", STR("c2ltdWxhdGVk"), 0);
		stop_block(b, index++);
	}
	start_block(b, index);
	if (an->calls_tool) {
		write_tool_use(b, c, an);
		buf_add_z(b, "{}}}\n\n");
	} else {
		buf_add_z(b, "{\"type\":\"text\",\"text\":\"\"}}\n\n");
	}
	if (index == 0) {
		ping(b);
		ret->head = b->n;
	}
	write_deltas(b, index, an->calls_tool ? "input_json_delta" : "text_delta",
	             an->calls_tool ? "partial_json" : "text", an->calls_tool ? an->tool_args : an->text,
	             r->chunk_bytes);
	ret->tail = b->n;
	stop_block(b, index);
}

static int anthropic_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                                  struct stream_marks *ret)
{
	sse_event(b, "message_start");
	buf_add_z(b, "{\"type\":\"message_start\",\"message\":");
	write_head(b, c, an);
	buf_add_z(b, "],\"stop_reason\":null,\"stop_sequence\":null");
	if (!r->no_usage)
		write_usage(b, c, r, an, 1);
	buf_add_z(b, "}}\n\n");
	write_blocks(b, c, r, an, ret);
	sse_event(b, "message_delta");
	buf_add_z(b, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
	buf_add_json_str(b, str_from(finish_of(an, r)));
	buf_add_z(b, ",\"stop_sequence\":null}");
	if (!r->no_usage)
		write_usage(b, c, r, an, an->output_tokens);
	buf_add_z(b, "}\n\n");
	sse_event(b, "message_stop");
	return buf_add_z(b, "{\"type\":\"message_stop\"}\n\n");
}

static const struct error_row errors[ERROR_CLASSES] = {
	[ERROR_RATE_LIMIT] = { 429, "rate_limit_error", NULL,
	                       "This request would exceed your organization's rate limit. Please try again later." },
	[ERROR_OVERLOADED] = { 529, "overloaded_error", NULL, "Overloaded" },
	[ERROR_AUTH] = { 401, "authentication_error", NULL, "invalid x-api-key" },
	[ERROR_BILLING] = { 402, "billing_error", NULL,
	                    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
	                    "to "
	                    "upgrade or purchase credits." },
	[ERROR_PERMISSION] = { 403, "permission_error", NULL,
	                       "Your API key does not have permission to use the specified resource." },
	[ERROR_NOT_FOUND] = { 404, "not_found_error", NULL, "The requested resource could not be found." },
	[ERROR_CONTEXT_WINDOW] = { 400, "invalid_request_error", NULL,
	                           "prompt is too long: 210000 tokens > 200000 maximum" },
	[ERROR_CONTENT_FILTER] = { 400, "invalid_request_error", NULL, "Output blocked by content filtering policy" },
	[ERROR_BAD_REQUEST] = { 400, "invalid_request_error", NULL, "The request is not valid." },
	[ERROR_TOO_LARGE] = { 413, "request_too_large", NULL, "Request exceeds the maximum size" },
	[ERROR_SERVER_ERROR] = { 500, "api_error", NULL, "Internal server error" },
	[ERROR_QUOTA_DAY] = { 429, "rate_limit_error", NULL,
	                      "This request would exceed your organization's daily rate limit. Please try again "
	                      "later." },
	[ERROR_TOO_LARGE_FOR_LIMIT] = { 429, "rate_limit_error", NULL,
	                                "This request would exceed your organization's rate limit of 30,000 input "
	                                "tokens per minute. Request too large: please reduce the prompt length." },
	[ERROR_TIMEOUT] = { 504, "timeout_error", NULL, "The request timed out while processing." },
};

static void anthropic_write_error(struct buf *b, const struct failure *f)
{
	const struct error_row *row = failure_row(&format_anthropic, f);
	struct buf words;
	buf_init(&words, CHAT_TEXT_MAX);
	if (f->kind == ERROR_NOT_FOUND && f->message.n == 0)
		buf_printf(&words, "model: " STR_FMT, STR_ARG(f->model));
	else
		buf_add_str(&words, failure_message(row, f));
	buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
	           f->status == 409 ? "conflict_error" : row->type);
	buf_add_json_str(b, buf_str(&words));
	buf_add_z(b, "},\"request_id\":");
	buf_add_json_str(b, f->request_id);
	buf_add_char(b, '}');
	buf_done(&words);
}

static void anthropic_write_stream_error(struct buf *b, const struct failure *f)
{
	sse_event(b, "error");
	anthropic_write_error(b, f);
	buf_add_z(b, "\n\n");
}

static void add_limit(struct http_req *req, const char *what, const struct rate *rate)
{
	struct arena *a = &req->arena;
	struct buf reset;
	buf_init(&reset, 64);
	clock_rfc3339(&reset, clock_wall_us() + (int64_t)rate->reset_ms * 1000);
	http_reply_header(req, arena_printf(a, "anthropic-ratelimit-%s-limit", what).p,
	                  arena_printf(a, "%lld", (long long)rate->limit));
	http_reply_header(req, arena_printf(a, "anthropic-ratelimit-%s-remaining", what).p,
	                  arena_printf(a, "%lld", (long long)rate->remaining));
	http_reply_header(req, arena_printf(a, "anthropic-ratelimit-%s-reset", what).p, buf_str(&reset));
	buf_done(&reset);
}

static void anthropic_add_headers(struct call *c, const struct rate *requests, const struct rate *tokens)
{
	add_limit(c->req, "requests", requests);
	add_limit(c->req, "tokens", tokens);
	add_limit(c->req, "input-tokens", tokens);
	add_limit(c->req, "output-tokens", tokens);
	http_reply_header(c->req, "request-id", c->req->request_id);
	http_reply_header(c->req, "anthropic-organization-id", STR("simulated"));
	call_add_retry_after(c);
}

static int anthropic_check(const struct http_req *req, struct err *err)
{
	if (http_req_header(req, "anthropic-version").n == 0)
		return err_set(err, ERR_INVALID, "anthropic-version: header is required");
	return 0;
}

static const struct endpoint endpoints[] = {
	{ NULL, "/v1/messages", false, chat_build },
};

const struct format format_anthropic = {
	.name = "anthropic",
	.endpoints = endpoints,
	.nendpoints = ARRAY_LEN(endpoints),
	.key_header = "x-api-key",
	.id_prefix = "msg_",
	.tool_prefix = "toolu_",
	.stream_type = "text/event-stream; charset=utf-8",
	.errors = errors,
	.quota_day_retry = 43200,
	.read = anthropic_read,
	.write_answer = anthropic_write,
	.write_stream = anthropic_write_stream,
	.event_len = sse_event_len,
	.write_error = anthropic_write_error,
	.write_stream_error = anthropic_write_stream_error,
	.add_headers = anthropic_add_headers,
	.check = anthropic_check,
};
