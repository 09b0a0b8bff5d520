/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Amazon Bedrock: Converse and ConverseStream (Amazon Bedrock: API Reference), and InvokeModel for the embeddings of Titan and Cohere. The model is in
 * the path; a stream is binary frames. Requests are checked by the rules that a translation may break: turns alternate and begin with the user's,
 * texts are not blank, a document's name has few characters, calls of tools in the history need a toolConfig.
 *
 * A tool that must be called (toolChoice) is called: its input is its schema, filled as a structured answer is.
 */
#include <string.h>

#include "cli/simulator/sim.h"
#include "worker/providers/eventstream.h"

#define INPUTS_MAX 96
#define PAYLOAD_MAX (96u << 20)

/* --- the request --- */

static const struct {
	const char *format, *media;
} formats[] = {
	{ "png", "image/png" },          { "jpeg", "image/jpeg" },       { "gif", "image/gif" }, { "webp", "image/webp" },
	{ "pdf", "application/pdf" },    { "txt", "text/plain" },        { "csv", "text/csv" },  { "html", "text/html" },
	{ "md", "text/markdown" },       { "doc", "application/msword" },
	{ "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
	{ "xls", "application/vnd.ms-excel" },
	{ "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
};

static int read_bytes(struct chat *c, const json_t *block, const char *at, struct err *err)
{
	struct str format = json_str(block, "format");
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (str_eq_z(format, formats[i].format))
			return chat_file(c, str_from(formats[i].media), json_str(json_get(block, "source"), "bytes"), at, err);
	return err_set_at(err, ERR_INVALID, at, "The format of %s is not one that is known", at);
}

static bool is_name(struct str s)
{
	static const char known[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -()[]";
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr(known, s.p[i]) || (i && s.p[i] == ' ' && s.p[i - 1] == ' '))
			return false;
	return s.n > 0 && s.n <= 200;
}

/* True when the block calls a tool or answers a call. */
static bool is_of_tools(const json_t *block)
{
	return json_get(block, "toolUse") || json_get(block, "toolResult");
}

static int read_block(struct chat *c, const json_t *block, struct err *err)
{
	const json_t *text = json_get(block, "text"), *image = json_get(block, "image"), *document = json_get(block, "document"), *part;
	const json_t *result = json_get(json_get(block, "toolResult"), "content");
	size_t i;
	if (text && str_trim(json_str_of(text)).n == 0)
		return err_set_at(err, ERR_INVALID, "messages", "The text field in the ContentBlock object is blank. Add text to the text field, and try again.");
	chat_text(c, json_str_of(text));
	json_array_foreach(result, i, part) chat_text(c, json_str(part, "text"));
	if (image)
		return read_bytes(c, image, "image", err);
	if (document && !is_name(json_str(document, "name")))
		return err_set_at(err, ERR_INVALID, "document.name", "The document file name can only contain alphanumeric characters, whitespace characters, "
		                                                      "hyphens, parentheses, and square brackets.");
	return document ? read_bytes(c, document, "document", err) : 0;
}

static int read_message(struct chat *c, const json_t *message, bool user, bool has_tools, struct err *err)
{
	const json_t *content = json_get(message, "content"), *block;
	size_t i;
	if (!str_eq_z(json_str(message, "role"), user ? "user" : "assistant"))
		return err_set_at(err, ERR_INVALID, "messages.role", "A conversation must alternate between user and assistant roles, and start with a user message.");
	if (json_array_size(content) == 0)
		return err_set_at(err, ERR_INVALID, "messages.content", "The content field in the Message object is empty. Add a ContentBlock object.");
	json_array_foreach(content, i, block)
	{
		if (is_of_tools(block) && !has_tools)
			return err_set_at(err, ERR_INVALID, "toolConfig", "The toolConfig field must be defined when using toolUse and toolResult content blocks.");
		int rc = read_block(c, block, err);
		if (rc < 0)
			return rc;
	}
	chat_message_end(c, user ? CHAT_USER : CHAT_OTHER);
	return 0;
}

static const json_t *tool_at(const json_t *tools, size_t i)
{
	return json_get(json_array_get(tools, i), "toolSpec");
}

/* The first tool is offered; one that must be called is filled as the answer's schema. */
static int read_tools(struct chat *c, const json_t *config, struct err *err)
{
	const json_t *tools = json_get(config, "tools"), *choice = json_get(config, "toolChoice"), *forced = NULL;
	struct str name = json_str(json_get(choice, "tool"), "name");
	if (!config)
		return 0;
	if (!tool_at(tools, 0))
		return err_set_at(err, ERR_INVALID, "toolConfig.tools", "The toolConfig.tools list must hold a toolSpec.");
	for (size_t i = 0; i < json_array_size(tools); i++) {
		const json_t *spec = tool_at(tools, i);
		if (spec && (json_get(choice, "any") || (name.n && str_eq(json_str(spec, "name"), name))))
			forced = spec;
	}
	if (name.n && !forced)
		return err_set_at(err, ERR_INVALID, "toolConfig.toolChoice", "The tool of toolChoice is not in the tools list.");
	const json_t *spec = forced ? forced : tool_at(tools, 0);
	c->tool = json_str(spec, "name");
	c->tool_schema = json_get(json_get(spec, "inputSchema"), "json");
	c->schema = forced ? c->tool_schema : NULL;
	return 0;
}

static int bedrock_read(struct chat *c, const json_t *body, struct err *err)
{
	const json_t *messages = json_get(body, "messages"), *config = json_get(body, "toolConfig"), *block;
	size_t i;
	json_array_foreach(json_get(body, "system"), i, block) chat_text(c, json_str(block, "text"));
	if (c->text.n > 0)
		chat_message_end(c, CHAT_SYSTEM);
	if (json_array_size(messages) == 0)
		return err_set_at(err, ERR_INVALID, "messages", "The messages field is empty.");
	for (i = 0; i < json_array_size(messages); i++) {
		int rc = read_message(c, json_array_get(messages, i), i % 2 == 0, config != NULL, err);
		if (rc < 0)
			return rc;
	}
	int rc = chat_read_limit(json_get(body, "inferenceConfig"), "maxTokens", "inferenceConfig.maxTokens", &c->max_tokens, err);
	c->tag = answer_tag((struct str){ NULL, 0 }, c->last_user);
	return rc == 0 ? read_tools(c, config, err) : rc;
}

/* --- the answer --- */

/* The input of the tool that is called; p NULL: the answer is text. */
static struct str tool_input(const struct chat *c, const struct answer *an)
{
	if (an->calls_tool)
		return an->tool_args;
	return c->schema && !an->cut && str_has_prefix(an->text, STR("{")) ? an->text : (struct str){ NULL, 0 };
}

static const char *finish_of(const struct chat *c, const struct rule *r, const struct answer *an)
{
	return answer_finish(an, r, tool_input(c, an).p ? "tool_use" : "end_turn", "max_tokens", "tool_use");
}

static void write_usage(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	struct buf u;
	if (r->no_usage)
		return;
	buf_init(&u, 4096);
	buf_printf(&u, "{\"inputTokens\":%lld,\"outputTokens\":%lld,\"totalTokens\":%lld", (long long)(c->prompt_tokens - an->cached_tokens),
	           (long long)an->output_tokens, (long long)(c->prompt_tokens + an->output_tokens));
	if (an->cached_tokens > 0)
		buf_printf(&u, ",\"cacheReadInputTokens\":%lld,\"cacheWriteInputTokens\":0", (long long)an->cached_tokens);
	buf_add_char(&u, '}');
	buf_add_z(b, "\"usage\":");
	answer_add_usage(b, r, buf_str(&u));
	buf_add_char(b, ',');
	buf_done(&u);
}

static void write_tool_head(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_printf(b, "{\"toolUse\":{\"toolUseId\":\"%s\",\"name\":", an->tool_id);
	buf_add_json_str(b, c->tool);
}

static int bedrock_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	struct str input = tool_input(c, an);
	buf_add_z(b, "{\"metrics\":{\"latencyMs\":1},\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[");
	if (an->thinking.n > 0) {
		buf_add_z(b, "{\"reasoningContent\":{\"reasoningText\":{\"text\":");
		buf_add_json_str(b, an->thinking);
		buf_add_z(b, ",\"signature\":\"c2ltdWxhdGVk\"}}},");
	}
	if (input.p) {
		write_tool_head(b, c, an);
		buf_add_z(b, ",\"input\":");
		buf_add_str(b, input);
		buf_add_z(b, "}}");
	} else {
		buf_add_z(b, "{\"text\":");
		buf_add_json_str(b, an->text);
		buf_add_char(b, '}');
	}
	buf_add_z(b, "]}},");
	write_usage(b, c, r, an);
	buf_add_z(b, "\"stopReason\":");
	buf_add_json_str(b, str_from(finish_of(c, r, an)));
	return buf_add_char(b, '}');
}

/* --- the stream --- */

/* A frame of the payload that is in `p`, which is empty again then. */
static void frame(struct buf *b, const char *event, struct buf *p)
{
	if (eventstream_write(b, STR("event"), str_from(event), buf_str(p)) < 0 || buf_failed(p))
		b->failed = true;
	buf_clear(p);
}

/* A block's deltas and its end: before and after stand around the text. */
static void write_block(struct buf *b, struct buf *p, int index, const char *before, struct str text, const char *after, const struct rule *r)
{
	while (text.n > 0) {
		buf_printf(p, "{\"contentBlockIndex\":%d,\"delta\":{%s", index, before);
		buf_add_json_str(p, answer_piece(&text, (size_t)r->chunk_bytes));
		buf_printf(p, "%s},\"p\":\"abcdefgh\"}", after);
		frame(b, "contentBlockDelta", p);
	}
}

static void end_block(struct buf *b, struct buf *p, int index)
{
	buf_printf(p, "{\"contentBlockIndex\":%d,\"p\":\"abcdef\"}", index);
	frame(b, "contentBlockStop", p);
}

static int bedrock_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an, struct stream_marks *ret)
{
	struct str input = tool_input(c, an);
	struct buf p;
	int index = 0;
	buf_init(&p, PAYLOAD_MAX);
	buf_add_z(&p, "{\"p\":\"abcdefghijkl\",\"role\":\"assistant\"}");
	frame(b, "messageStart", &p);
	ret->head = b->n;
	if (an->thinking.n > 0) {
		write_block(b, &p, index, "\"reasoningContent\":{\"text\":", an->thinking, "}", r);
		write_block(b, &p, index, "\"reasoningContent\":{\"signature\":", STR("c2ltdWxhdGVk"), "}", r);
		end_block(b, &p, index++);
	}
	if (input.p) {
		buf_printf(&p, "{\"contentBlockIndex\":%d,\"start\":", index);
		write_tool_head(&p, c, an);
		buf_add_z(&p, "}}}");
		frame(b, "contentBlockStart", &p);
		write_block(b, &p, index, "\"toolUse\":{\"input\":", input, "}", r);
	} else {
		write_block(b, &p, index, "\"text\":", an->text, "", r);
	}
	ret->tail = b->n;
	end_block(b, &p, index);
	buf_add_z(&p, "{\"p\":\"ab\",\"stopReason\":");
	buf_add_json_str(&p, str_from(finish_of(c, r, an)));
	buf_add_char(&p, '}');
	frame(b, "messageStop", &p);
	buf_add_char(&p, '{');
	write_usage(&p, c, r, an);
	buf_add_z(&p, "\"metrics\":{\"latencyMs\":1},\"p\":\"abcd\"}");
	frame(b, "metadata", &p);
	buf_done(&p);
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

static size_t frame_len(struct str rest)
{
	const unsigned char *u = (const unsigned char *)rest.p;
	if (rest.n < 4)
		return rest.n;
	size_t n = (size_t)u[0] << 24 | (size_t)u[1] << 16 | (size_t)u[2] << 8 | u[3];
	return n == 0 ? rest.n : MIN(n, rest.n);
}

/* --- errors --- */

static const struct error_row errors[ERROR_CLASSES] = {
	[ERROR_RATE_LIMIT] = { 429, "ThrottlingException", NULL, "Too many requests, please wait before trying again." },
	[ERROR_OVERLOADED] = { 503, "ServiceUnavailableException", NULL, "Bedrock is unable to process your request." },
	[ERROR_AUTH] = { 403, "UnrecognizedClientException", NULL, "The security token included in the request is invalid." },
	[ERROR_BILLING] = { 403, "AccessDeniedException", NULL,
	                    "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided." },
	[ERROR_PERMISSION] = { 403, "AccessDeniedException", NULL, "You don't have access to the model with the specified model ID." },
	[ERROR_NOT_FOUND] = { 404, "ResourceNotFoundException", NULL, "The model was not found." },
	[ERROR_CONTEXT_WINDOW] = { 400, "ValidationException", NULL, "Input is too long for requested model." },
	[ERROR_CONTENT_FILTER] = { 400, "ValidationException", NULL, "Output blocked by content filtering policy" },
	[ERROR_BAD_REQUEST] = { 400, "ValidationException", NULL, "The request is not valid." },
	[ERROR_TOO_LARGE] = { 413, "RequestEntityTooLargeException", NULL, "The request is too large." },
	[ERROR_SERVER_ERROR] = { 500, "InternalServerException", NULL, "The system encountered an unexpected error during processing. Try your request again." },
	[ERROR_QUOTA_DAY] = { 429, "ThrottlingException", NULL, "Too many tokens per day, please wait before trying again." },
	[ERROR_TOO_LARGE_FOR_LIMIT] = { 429, "ThrottlingException", NULL, "Too many tokens, request too large for the limit of tokens per minute." },
	[ERROR_TIMEOUT] = { 408, "ModelTimeoutException", NULL, "The request took too long to process." },
};

static void bedrock_write_error(struct buf *b, const struct failure *f)
{
	buf_add_z(b, "{\"message\":");
	buf_add_json_str(b, failure_message(failure_row(&format_bedrock, f), f));
	buf_add_char(b, '}');
}

/* In a stream an exception's name begins with a small letter. */
static void bedrock_write_stream_error(struct buf *b, const struct failure *f)
{
	const struct error_row *row = failure_row(&format_bedrock, f);
	struct buf name, p;
	buf_init(&name, 200);
	buf_init(&p, CHAT_TEXT_MAX);
	buf_add_char(&name, (char)(row->type[0] | 0x20));
	buf_add_z(&name, row->type + 1);
	bedrock_write_error(&p, f);
	eventstream_write(b, STR("exception"), buf_str(&name), buf_str(&p));
	buf_done(&name);
	buf_done(&p);
}

static int embed_build(struct call *c, const json_t *body, struct err *err);

static void bedrock_add_headers(struct call *c, const struct rate *requests, const struct rate *tokens)
{
	(void)requests;
	(void)tokens; /* Bedrock tells no limits */
	http_reply_header(c->req, "x-amzn-RequestId", str_from(sim_answer_id(c->sim, &c->req->arena, "")));
	if (c->failure.kind != ERROR_NONE)
		http_reply_header(c->req, "x-amzn-ErrorType",
		                  arena_printf(&c->req->arena, "%s:http://internal.amazon.com/coral/com.amazon.bedrock/", failure_row(&format_bedrock, &c->failure)->type));
	else if (c->endpoint->build == embed_build)
		http_reply_header(c->req, "X-Amzn-Bedrock-Input-Token-Count", arena_printf(&c->req->arena, "%lld", (long long)c->facts.input_tokens));
	call_add_retry_after(c);
}

/* A signature must name its time and sign the host; whether it is right needs the secret key. */
static int bedrock_check(const struct http_req *req, struct err *err)
{
	struct str a = http_req_header(req, "authorization");
	if (!str_has_prefix(a, STR("AWS4-")))
		return 0;
	if (http_req_header(req, "x-amz-date").n == 0 || str_find(a, STR("/bedrock/aws4_request")) < 0 || str_find(a, STR("SignedHeaders=")) < 0 ||
	    str_find(a, STR("host;x-amz-date")) < 0 || str_find(a, STR("Signature=")) < 0)
		return err_set(err, ERR_INVALID, "Authorization header requires a Credential of bedrock, SignedHeaders with host and x-amz-date, and a Signature.");
	return 0;
}

/* --- embeddings --- */

static int add_vector(struct call *c, const json_t *text, size_t dimensions, struct err *err)
{
	struct str s = json_str_of(text);
	if (s.n == 0)
		return err_set(err, ERR_INVALID, "Malformed input request: wanted a text that is not empty.");
	c->facts.input_tokens += count_tokens(s);
	embedding_write(&c->out, s, dimensions, /* base64= */ false);
	return 0;
}

/* Titan's body has inputText, Cohere's texts. */
static int embed_build(struct call *c, const json_t *body, struct err *err)
{
	const json_t *texts = json_get(body, "texts"), *one = json_get(body, "inputText");
	int64_t dimensions = json_i64(body, one ? "dimensions" : "output_dimension", 1024);
	struct str tag = answer_tag((struct str){ NULL, 0 }, json_str_of(one ? one : json_array_get(texts, 0)));
	int rc = 0;
	if (tag.p)
		c->facts.tag = arena_str(&c->req->arena, str_sub(tag, 0, STATS_NAME_MAX));
	if (dimensions < 1 || dimensions > DIMENSIONS_MAX || (!one && (json_array_size(texts) == 0 || json_array_size(texts) > INPUTS_MAX)))
		return err_set(err, ERR_INVALID, "Malformed input request: wanted inputText, or 1 to %d texts with their input_type.", INPUTS_MAX);
	buf_add_z(&c->out, one ? "{\"embedding\":" : "{\"embeddings\":[");
	if (one)
		rc = add_vector(c, one, (size_t)dimensions, err);
	for (size_t i = 0; !one && rc == 0 && i < json_array_size(texts); i++) {
		buf_add_z(&c->out, i ? "," : "");
		rc = add_vector(c, json_array_get(texts, i), (size_t)dimensions, err);
	}
	if (rc < 0)
		return rc;
	if (one)
		buf_printf(&c->out, ",\"inputTextTokenCount\":%lld}", (long long)c->facts.input_tokens);
	else
		buf_add_z(&c->out, "],\"response_type\":\"embeddings_floats\"}");
	return buf_failed(&c->out) ? err_set(err, ERR_TOO_LARGE, "The answer would be too large.") : 0;
}

static const struct endpoint endpoints[] = {
	{ "/model/", "/converse", false, chat_build },
	{ "/model/", "/converse-stream", true, chat_build },
	{ "/model/", "/invoke", false, embed_build },
};

const struct format format_bedrock = {
	.name = "bedrock",
	.endpoints = endpoints,
	.nendpoints = ARRAY_LEN(endpoints),
	.key_header = "authorization",
	.id_prefix = "",
	.tool_prefix = "tooluse_",
	.stream_type = "application/vnd.amazon.eventstream",
	.errors = errors,
	.quota_day_retry = -1, /* nothing says when */
	.read = bedrock_read,
	.write_answer = bedrock_write,
	.write_stream = bedrock_write_stream,
	.event_len = frame_len,
	.write_error = bedrock_write_error,
	.write_stream_error = bedrock_write_stream_error,
	.add_headers = bedrock_add_headers,
	.check = bedrock_check,
};
