/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's chat completions and embeddings (OpenAI: API reference). Requests are checked as far as an answer depends
 * on them, with the errors that OpenAI gives; fields that are not known are passed over, as compatible servers do.
 *
 * A stream is built as a whole: a first chunk with the role, chunks of reasoning (as compatible servers send it), of
 * text cut at characters' borders or of a tool call's arguments, one with the finish reason, one with the usage when
 * asked for, and [DONE]. Who sends it may cut or slow it.
 */
#include "cli/simulator/openai.h"

#include <string.h>

#include "cli/simulator/sim.h"

static int read_file_part(struct chat *c, const json_t *part, struct err *err)
{
	struct str kind = json_str(part, "type"), url = json_str(json_get(part, "image_url"), "url");
	struct str file = json_str(json_get(part, "file"), "file_data");
	const json_t *audio = json_get(part, "input_audio");
	struct str format = str_sub(json_str(audio, "format"), 0, 20);
	if (str_eq(kind, STR("image_url")) && url.n > 0)
		return chat_file_url(c, url, "messages.content.image_url.url", err);
	if (str_eq(kind, STR("file")) && file.n > 0)
		return chat_file_url(c, file, "messages.content.file.file_data", err);
	if (str_eq(kind, STR("input_audio")) && audio)
		return chat_file(c, arena_printf(c->arena, "audio/" STR_FMT, STR_ARG(format)), json_str(audio, "data"),
		                 "messages.content.input_audio.data", err);
	return 0;
}

static int read_content(struct chat *c, const json_t *content, struct err *err)
{
	const json_t *part;
	size_t i;
	if (json_is_string(content))
		chat_text(c, json_str_of(content));
	json_array_foreach(content, i, part)
	{
		chat_text(c, json_str(part, "text"));
		int rc = read_file_part(c, part, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_messages(struct chat *c, const json_t *messages, struct err *err)
{
	const json_t *message;
	size_t i;
	if (!messages)
		return err_set_at(err, ERR_MISSING_FIELD, "messages", "Missing required parameter: 'messages'.");
	if (!json_is_array(messages) || json_array_size(messages) == 0)
		return err_set_at(err, ERR_WRONG_TYPE, "messages",
		                  "Invalid 'messages': expected an array with at least one message.");
	json_array_foreach(messages, i, message)
	{
		struct str role = json_str(message, "role");
		if (!role.p)
			return err_set_at(err, ERR_MISSING_FIELD, "messages",
			                  "Missing required parameter: 'messages[%zu].role'.", i);
		int rc = read_content(c, json_get(message, "content"), err);
		if (rc < 0)
			return rc;
		chat_message_end(c, str_eq(role, STR("user")) ? CHAT_USER : CHAT_SYSTEM);
	}
	return 0;
}

static int read_wanted(struct chat *c, const json_t *body, struct err *err)
{
	const json_t *format = json_get(body, "response_format");
	const json_t *tool = json_get(json_array_get(json_get(body, "tools"), 0), "function");
	struct str type = json_str(format, "type");
	c->any_object = str_eq(type, STR("json_object"));
	if (str_eq(type, STR("json_schema"))) {
		c->schema = json_get(json_get(format, "json_schema"), "schema");
		if (!json_is_object(c->schema))
			return err_set_at(err, ERR_MISSING_FIELD, "response_format.json_schema.schema",
			                  "Missing required parameter: 'response_format.json_schema.schema'.");
	}
	if (!str_eq(json_str(body, "tool_choice"), STR("none"))) {
		c->tool = json_str(tool, "name");
		c->tool_schema = json_get(tool, "parameters");
	}
	return 0;
}

int openai_read(struct chat *c, const json_t *body, struct err *err)
{
	if (!json_is_object(body))
		return err_set(err, ERR_WRONG_TYPE, "The body must be a JSON object.");
	if (c->model.n == 0)
		c->model = json_str(body, "model");
	if (c->model.n == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "model", "you must provide a model parameter");
	int rc = read_messages(c, json_get(body, "messages"), err);
	if (rc == 0)
		rc = chat_read_limit(body, "max_tokens", "max_tokens", &c->max_tokens, err);
	if (rc == 0)
		rc = chat_read_limit(body, "max_completion_tokens", "max_completion_tokens", &c->max_tokens, err);
	if (rc == 0)
		rc = chat_read_limit(body, "n", "n", &c->choices, err);
	if (rc < 0)
		return rc;
	if (c->choices > CHOICES_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "n", "Invalid 'n': at most %d choices.", CHOICES_MAX);
	c->tag = answer_tag(openai_tag(body), c->last_user);
	c->stream = json_bool(body, "stream", false);
	c->include_usage = json_bool(json_get(body, "stream_options"), "include_usage", false);
	return read_wanted(c, body, err);
}

struct str openai_tag(const json_t *body)
{
	struct str tag = json_str(json_get(body, "metadata"), "tag");
	return tag.p ? tag : json_str(body, "user");
}

static void write_usage(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	struct buf u;
	buf_init(&u, 4096);
	buf_printf(&u,
	           "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
	           "\"prompt_tokens_details\":{\"cached_tokens\":%lld,\"audio_tokens\":0},"
	           "\"completion_tokens_details\":{\"reasoning_tokens\":%lld,\"audio_tokens\":0,"
	           "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
	           (long long)c->prompt_tokens, (long long)an->output_tokens,
	           (long long)(c->prompt_tokens + an->output_tokens), (long long)an->cached_tokens,
	           (long long)an->thinking_tokens);
	buf_add_z(b, "\"usage\":");
	answer_add_usage(b, r, buf_str(&u));
	buf_done(&u);
}

static void write_head(struct buf *b, const char *object, const struct chat *c, const struct answer *an)
{
	buf_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", an->id, object,
	           (long long)an->created);
	buf_add_json_str(b, c->model);
	buf_add_z(b, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulator\",\"choices\":[");
}

static void write_message(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_add_z(b, "{\"role\":\"assistant\",\"content\":");
	if (an->calls_tool)
		buf_add_z(b, "null");
	else
		buf_add_json_str(b, an->text);
	if (an->thinking.n > 0) {
		buf_add_z(b, ",\"reasoning_content\":");
		buf_add_json_str(b, an->thinking);
	}
	if (an->calls_tool) {
		buf_printf(
		    b, ",\"tool_calls\":[{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", an->tool_id);
		buf_add_json_str(b, c->tool);
		buf_add_z(b, ",\"arguments\":");
		buf_add_json_str(b, an->tool_args);
		buf_add_z(b, "}}]");
	}
	buf_add_z(b, ",\"refusal\":null,\"annotations\":[]}");
}

static const char *finish_of(const struct answer *an, const struct rule *r)
{
	return answer_finish(an, r, "stop", "length", "tool_calls");
}

int openai_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	write_head(b, "chat.completion", c, an);
	for (int64_t i = 0; i < c->choices; i++) {
		buf_printf(b, "%s{\"index\":%lld,\"message\":", i ? "," : "", (long long)i);
		write_message(b, c, an);
		buf_add_z(b, ",\"logprobs\":null,\"finish_reason\":");
		buf_add_json_str(b, str_from(finish_of(an, r)));
		buf_add_char(b, '}');
	}
	buf_add_char(b, ']');
	if (!r->no_usage) {
		buf_add_char(b, ',');
		write_usage(b, c, r, an);
	}
	return buf_add_char(b, '}');
}

/* What all chunks of a stream share: up to the choices, and after them. */
struct frame {
	struct str before, after;
	int64_t choices;
};

/* What a chunk adds: a piece of text within JSON. */
struct delta {
	const char *before;
	struct str text; /* p NULL: none */
	const char *after, *finish;
};

static void write_delta(struct buf *b, const struct frame *f, struct delta d)
{
	for (int64_t i = 0; i < f->choices; i++) {
		buf_add_str(b, f->before);
		buf_add_z(b, "{\"index\":");
		buf_add_i64(b, i);
		buf_add_z(b, ",\"delta\":{");
		buf_add_z(b, d.before);
		if (d.text.p)
			buf_add_json_str(b, d.text);
		buf_add_z(b, d.after);
		buf_add_z(b, "},\"logprobs\":null,\"finish_reason\":");
		if (d.finish)
			buf_add_json_str(b, str_from(d.finish));
		else
			buf_add_z(b, "null");
		buf_add_char(b, '}');
		buf_add_str(b, f->after);
	}
}

static void write_pieces(struct buf *b, const struct frame *f, const char *before, struct str text, const char *after,
                         const struct rule *r)
{
	while (text.n > 0)
		write_delta(b, f, (struct delta){ before, answer_piece(&text, (size_t)r->chunk_bytes), after, NULL });
}

static void write_tool_head(struct buf *b, const struct frame *f, const struct chat *c, const struct answer *an)
{
	struct buf head;
	buf_init(&head, CHAT_TEXT_MAX);
	buf_printf(&head, "\"tool_calls\":[{\"index\":0,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
	           an->tool_id);
	buf_add_json_str(&head, c->tool);
	buf_add_z(&head, ",\"arguments\":\"\"}}]");
	buf_add_char(&head, '\0');
	write_delta(b, f, (struct delta){ buf_failed(&head) ? "" : head.p, { NULL, 0 }, "", NULL });
	buf_done(&head);
}

int openai_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        struct stream_marks *ret)
{
	struct buf before;
	const struct str none = { NULL, 0 };
	bool usage = c->include_usage && !r->no_usage;
	buf_init(&before, 1u << 20);
	buf_add_z(&before, "data: ");
	write_head(&before, "chat.completion.chunk", c, an);
	struct frame f = { buf_str(&before), usage ? STR("],\"usage\":null}\n\n") : STR("]}\n\n"), c->choices };
	write_delta(b, &f,
	            (struct delta){ "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", none, "", NULL });
	ret->head = b->n;
	write_pieces(b, &f, "\"reasoning_content\":", an->thinking, "", r);
	write_pieces(b, &f, "\"content\":", an->text, "", r);
	if (an->calls_tool) {
		write_tool_head(b, &f, c, an);
		write_pieces(b, &f, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":", an->tool_args, "}}]",
		             r);
	}
	ret->tail = b->n;
	write_delta(b, &f, (struct delta){ "", none, "", finish_of(an, r) });
	if (usage) {
		buf_add_str(b, f.before);
		buf_add_z(b, "],");
		write_usage(b, c, r, an);
		buf_add_z(b, "}\n\n");
	}
	buf_add_z(b, "data: [DONE]\n\n");
	bool failed = buf_failed(&before) || buf_failed(b);
	buf_done(&before);
	return failed ? -ERR_TOO_LARGE : 0;
}

static void write_or_null(struct buf *b, const char *z)
{
	if (z)
		buf_add_json_str(b, str_from(z));
	else
		buf_add_z(b, "null");
}

static const struct error_row errors[ERROR_CLASSES] = {
	[ERROR_RATE_LIMIT] = { 429, "requests", "rate_limit_exceeded", "Rate limit reached for requests." },
	[ERROR_OVERLOADED] = { 503, "server_error", NULL,
	                       "The engine is currently overloaded, please try again later" },
	[ERROR_AUTH] = { 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided." },
	[ERROR_BILLING] = { 429, "insufficient_quota", "insufficient_quota",
	                    "You exceeded your current quota, please check your plan and billing details." },
	[ERROR_PERMISSION] = { 403, "invalid_request_error", "unsupported_country_region_territory",
	                       "Country, region, or territory not supported" },
	[ERROR_NOT_FOUND] = { 404, "invalid_request_error", "model_not_found",
	                      "The model does not exist or you do not have access to it." },
	[ERROR_CONTEXT_WINDOW] = { 400, "invalid_request_error", "context_length_exceeded",
	                           "This model's maximum context length is 128000 tokens. However, your messages "
	                           "resulted "
	                           "in 130000 tokens. Please reduce the length of the messages." },
	[ERROR_CONTENT_FILTER] = { 400, "invalid_request_error", "content_policy_violation",
	                           "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "
	                           "Please try again with a different prompt." },
	[ERROR_BAD_REQUEST] = { 400, "invalid_request_error", NULL, "The request is not valid." },
	[ERROR_TOO_LARGE] = { 413, "invalid_request_error", NULL, "The request is too large." },
	[ERROR_SERVER_ERROR] = { 500, "server_error", NULL,
	                         "The server had an error while processing your request. Sorry about that!" },
	[ERROR_QUOTA_DAY] = { 429, "requests", "rate_limit_exceeded",
	                      "Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1." },
	[ERROR_TOO_LARGE_FOR_LIMIT] = { 429, "tokens", "rate_limit_exceeded",
	                                "Request too large for the model on tokens per min (TPM): Limit 30000, "
	                                "Requested 40000. The input or output tokens must be reduced in order to run "
	                                "successfully." },
	[ERROR_TIMEOUT] = { 408, "server_error", NULL, "Request timed out." },
};

/* As OpenAI writes durations: 20ms, 1.5s, 6m0s, 1h2m3s. */
static void add_duration(struct buf *b, uint64_t ms)
{
	uint64_t s = ms / 1000;
	if (ms < 1000)
		buf_printf(b, "%llums", (unsigned long long)ms);
	else if (s < 60 && ms % 1000 > 0)
		buf_printf(b, "%llu.%03llus", (unsigned long long)s, (unsigned long long)(ms % 1000));
	else if (s < 60)
		buf_printf(b, "%llus", (unsigned long long)s);
	else if (s < 3600)
		buf_printf(b, "%llum%llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
	else
		buf_printf(b, "%lluh%llum%llus", (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60),
		           (unsigned long long)(s % 60));
}

static void write_words(struct buf *b, const struct error_row *row, const struct failure *f)
{
	struct buf words;
	buf_init(&words, CHAT_TEXT_MAX);
	if (f->kind == ERROR_NOT_FOUND && f->model.n > 0 && f->message.n == 0)
		buf_printf(&words, "The model `" STR_FMT "` does not exist or you do not have access to it.",
		           STR_ARG(f->model));
	else
		buf_add_str(&words, failure_message(row, f));
	if (row->status == 429 && f->retry_after >= 0) {
		buf_add_z(&words, " Please try again in ");
		add_duration(&words, (uint64_t)f->retry_after * 1000);
		buf_add_char(&words, '.');
	}
	buf_add_json_str(b, buf_str(&words));
	buf_done(&words);
}

void openai_write_error(struct buf *b, const struct failure *f)
{
	const struct error_row *row = failure_row(&format_openai, f);
	buf_add_z(b, "{\"error\":{\"message\":");
	write_words(b, row, f);
	buf_printf(b, ",\"type\":\"%s\",\"param\":", row->type);
	write_or_null(b, f->kind == ERROR_CONTEXT_WINDOW ? "messages" : f->param);
	buf_add_z(b, ",\"code\":");
	write_or_null(b, f->code ? f->code : row->code);
	buf_add_z(b, "}}");
}

void openai_write_stream_error(struct buf *b, const struct failure *f)
{
	sse_event(b, NULL);
	openai_write_error(b, f);
	buf_add_z(b, "\n\n");
}

static void add_limit(struct http_req *req, const char *const names[3], const struct rate *rate)
{
	struct buf b;
	http_reply_header(req, names[0], arena_printf(&req->arena, "%lld", (long long)rate->limit));
	http_reply_header(req, names[1], arena_printf(&req->arena, "%lld", (long long)rate->remaining));
	buf_init(&b, 64);
	add_duration(&b, rate->reset_ms);
	http_reply_header(req, names[2], buf_str(&b));
	buf_done(&b);
}

void openai_add_limits(struct http_req *req, const struct rate *requests, const struct rate *tokens)
{
	static const char *const of_requests[] = { "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
		                                   "x-ratelimit-reset-requests" };
	static const char *const of_tokens[] = { "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens",
		                                 "x-ratelimit-reset-tokens" };
	add_limit(req, of_requests, requests);
	add_limit(req, of_tokens, tokens);
}

static void openai_add_headers(struct call *c, const struct rate *requests, const struct rate *tokens)
{
	struct str ms = arena_printf(&c->req->arena, "%lld", (long long)call_age_ms(c));
	openai_add_limits(c->req, requests, tokens);
	http_reply_header(c->req, "openai-processing-ms", ms);
	http_reply_header(c->req, "openai-version", STR("2020-10-01"));
	call_add_retry_after(c);
}

static const struct endpoint endpoints[] = {
	{ NULL, "/v1/chat/completions", false, chat_build },
	{ NULL, "/v1/embeddings", false, embeddings_build },
};

const struct format format_openai = {
	.name = "openai",
	.endpoints = endpoints,
	.nendpoints = ARRAY_LEN(endpoints),
	.key_header = "authorization",
	.id_prefix = "chatcmpl-",
	.tool_prefix = "call_",
	.stream_type = "text/event-stream",
	.errors = errors,
	.quota_day_retry = 43200,
	.read = openai_read,
	.write_answer = openai_write,
	.write_stream = openai_write_stream,
	.event_len = sse_event_len,
	.write_error = openai_write_error,
	.write_stream_error = openai_write_stream_error,
	.add_headers = openai_add_headers,
};
