/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemini's generateContent and streamGenerateContent (Google: Gemini API reference), on any path that ends so, as
 * Vertex has them too. Fields that are not known are refused, as there. A stream is server-sent events with ?alt=sse,
 * ended by CRLF, without a last word: the last chunk has the finishReason. Without alt=sse it is one JSON array.
 *
 * Usage: thoughts are outside of candidatesTokenCount, cached tokens inside of promptTokenCount.
 */
#include "cli/simulator/gemini.h"

#include <string.h>

#include "cli/simulator/sim.h"

static int unknown_name(const json_t *object, const char *const *known, const char *at, struct err *err)
{
	const char *name = chat_unknown_field(object, known);
	if (!name)
		return 0;
	return err_set_at(err, ERR_UNKNOWN_FIELD, name,
	                  "Invalid JSON payload received. Unknown name \"%.100s\"%s: Cannot find field.", name, at);
}

static int read_part(struct chat *c, const json_t *part, struct err *err)
{
	static const char *const known[] = { "text",
		                             "inlineData",
		                             "fileData",
		                             "functionCall",
		                             "functionResponse",
		                             "thought",
		                             "thoughtSignature",
		                             "videoMetadata",
		                             "executableCode",
		                             "codeExecutionResult",
		                             "mediaResolution",
		                             NULL };
	const json_t *data = json_get(part, "inlineData"), *result = json_get(part, "functionResponse");
	int rc = unknown_name(part, known, " at 'contents.parts'", err);
	if (rc < 0)
		return rc;
	if (result && json_str(result, "name").n == 0)
		return err_set(err, ERR_INVALID,
		               "* GenerateContentRequest.contents.parts.function_response.name: Name cannot be empty.");
	if (result) {
		struct buf text;
		buf_init(&text, CHAT_TEXT_MAX);
		json_write(&text, json_get(result, "response"));
		chat_text(c, buf_str(&text));
		buf_done(&text);
	}
	chat_text(c, json_str(part, "text"));
	return data ? chat_file(c, json_str(data, "mimeType"), json_str(data, "data"),
	                        "contents.parts.inline_data.data", err)
	            : 0;
}

/* A list of parts; the end of the message is the caller's. */
int gemini_read_parts(struct chat *c, const json_t *content, struct err *err)
{
	const json_t *part;
	size_t i;
	json_array_foreach(json_get(content, "parts"), i, part)
	{
		int rc = read_part(c, part, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_contents(struct chat *c, const json_t *contents, struct err *err)
{
	const json_t *content;
	size_t i;
	if (json_array_size(contents) == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "contents",
		                  "* GenerateContentRequest.contents: contents is not specified\n");
	json_array_foreach(contents, i, content)
	{
		struct str role = json_str(content, "role");
		if (role.n > 0 && !str_eq(role, STR("user")) && !str_eq(role, STR("model")) &&
		    !str_eq(role, STR("function")))
			return err_set_at(err, ERR_INVALID, "contents.role", "Please use a valid role: user, model.");
		if (json_array_size(json_get(content, "parts")) == 0)
			return err_set_at(
			    err, ERR_INVALID, "contents.parts",
			    "* GenerateContentRequest.contents[%zu].parts: contents.parts must not be empty.", i);
		int rc = gemini_read_parts(c, content, err);
		if (rc < 0)
			return rc;
		chat_message_end(c, str_eq(role, STR("model")) ? CHAT_OTHER : CHAT_USER);
	}
	return 0;
}

/* OpenAPI writes types in capitals: in lower case they are those of JSON Schema. Depth is that of JSON_DEPTH_MAX. */
static void lower_types(json_t *schema)
{
	const char *name;
	json_t *v;
	size_t i;
	struct str type = json_str(schema, "type");
	if (type.n > 0 && type.n < 20) {
		char low[20];
		for (size_t k = 0; k < type.n; k++)
			low[k] = (char)(type.p[k] >= 'A' && type.p[k] <= 'Z' ? type.p[k] + 32 : type.p[k]);
		json_set_str(schema, "type", (struct str){ low, type.n });
	}
	json_object_foreach(schema, name, v) lower_types(v);
	json_array_foreach(schema, i, v) lower_types(v);
}

static int read_config(struct chat *c, const json_t *config, struct err *err)
{
	static const char *const known[] = { "temperature",
		                             "topP",
		                             "topK",
		                             "candidateCount",
		                             "maxOutputTokens",
		                             "stopSequences",
		                             "seed",
		                             "responseSchema",
		                             "responseJsonSchema",
		                             "responseMimeType",
		                             "presencePenalty",
		                             "logprobs",
		                             "speechConfig",
		                             "frequencyPenalty",
		                             "responseLogprobs",
		                             "thinkingConfig",
		                             "responseModalities",
		                             "mediaResolution",
		                             "imageConfig",
		                             NULL };
	struct str mime = json_str(config, "responseMimeType");
	bool json = str_eq(mime, STR("application/json"));
	const json_t *open = json_get(config, "responseSchema");
	int rc = unknown_name(config, known, " at 'generation_config'", err);
	if (rc == 0)
		rc =
		    chat_read_limit(config, "maxOutputTokens", "generationConfig.maxOutputTokens", &c->max_tokens, err);
	if (rc == 0)
		rc = chat_read_limit(config, "candidateCount", "generationConfig.candidateCount", &c->choices, err);
	if (rc < 0)
		return rc;
	if (c->choices > 8)
		return err_set_at(err, ERR_OUT_OF_RANGE, "generationConfig.candidateCount",
		                  "Only one to eight candidates can be specified");
	c->schema = json_get(config, "responseJsonSchema");
	if ((open || c->schema) && !json)
		return err_set_at(err, ERR_INVALID, "generationConfig.responseMimeType",
		                  "Function calling or a response schema needs responseMimeType 'application/json'");
	if (open) {
		c->made = json_deep_copy(open);
		lower_types(c->made);
		c->schema = c->made;
	}
	c->any_object = json && !c->schema;
	return 0;
}

static void read_tool(struct chat *c, const json_t *body)
{
	const json_t *tool =
	    json_array_get(json_get(json_array_get(json_get(body, "tools"), 0), "functionDeclarations"), 0);
	const json_t *calling = json_get(json_get(body, "toolConfig"), "functionCallingConfig");
	if (str_eq(json_str(calling, "mode"), STR("NONE")))
		return;
	c->tool = json_str(tool, "name");
	c->tool_schema = json_get(tool, "parametersJsonSchema");
	if (!c->tool_schema && json_is_object(json_get(tool, "parameters")) && !c->made) {
		c->made = json_deep_copy(json_get(tool, "parameters"));
		lower_types(c->made);
		c->tool_schema = c->made;
	}
}

static int gemini_read(struct chat *c, const json_t *body, struct err *err)
{
	static const char *const known[] = { "contents",
		                             "systemInstruction",
		                             "generationConfig",
		                             "safetySettings",
		                             "tools",
		                             "toolConfig",
		                             "cachedContent",
		                             "labels",
		                             "serviceTier",
		                             "model",
		                             "store",
		                             NULL };
	const json_t *system = json_get(body, "systemInstruction");
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "Invalid JSON payload received. Root element must be a message.");
	int rc = unknown_name(body, known, "", err);
	if (rc == 0 && system) {
		rc = gemini_read_parts(c, system, err);
		chat_message_end(c, CHAT_SYSTEM);
	}
	if (rc == 0)
		rc = read_contents(c, json_get(body, "contents"), err);
	if (rc == 0)
		rc = read_config(c, json_get(body, "generationConfig"), err);
	if (rc < 0)
		return rc;
	read_tool(c, body);
	c->as_array = c->stream && !str_eq(c->alt, STR("sse"));
	c->tag = answer_tag(json_str(json_get(body, "labels"), "tag"), c->last_user);
	return 0;
}

static void write_usage(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        int64_t output)
{
	struct buf u;
	buf_init(&u, 4096);
	buf_printf(&u, "{\"promptTokenCount\":%lld,\"candidatesTokenCount\":%lld,", (long long)c->prompt_tokens,
	           (long long)output);
	if (an->thinking_tokens > 0)
		buf_printf(&u, "\"thoughtsTokenCount\":%lld,", (long long)an->thinking_tokens);
	if (an->cached_tokens > 0)
		buf_printf(&u, "\"cachedContentTokenCount\":%lld,", (long long)an->cached_tokens);
	buf_printf(&u,
	           "\"totalTokenCount\":%lld,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":%lld}]}",
	           (long long)(c->prompt_tokens + output + an->thinking_tokens), (long long)c->prompt_tokens);
	buf_add_z(b, ",\"usageMetadata\":");
	answer_add_usage(b, r, buf_str(&u));
	buf_done(&u);
}

static void write_thought(struct buf *b, struct str text)
{
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, text);
	buf_add_z(b, ",\"thought\":true}");
}

static void write_text(struct buf *b, struct str text)
{
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, text);
	buf_add_char(b, '}');
}

static void write_call(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_add_z(b, "{\"functionCall\":{\"name\":");
	buf_add_json_str(b, c->tool);
	buf_add_z(b, ",\"args\":");
	buf_add_str(b, an->tool_args);
	buf_add_z(b, an->thinking.n > 0 ? "},\"thoughtSignature\":\"c2ltdWxhdGVk\"}" : "}}");
}

/* What follows the candidates. */
static void write_end(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                      int64_t output)
{
	buf_add_char(b, ']');
	if (!r->no_usage)
		write_usage(b, c, r, an, output);
	buf_add_z(b, ",\"modelVersion\":");
	buf_add_json_str(b, c->model);
	buf_printf(b, ",\"responseId\":\"%s\"}", an->id);
}

static void write_finish(struct buf *b, const struct rule *r, const struct answer *an)
{
	buf_add_z(b, ",\"finishReason\":");
	buf_add_json_str(b, str_from(answer_finish(an, r, "STOP", "MAX_TOKENS", "STOP")));
}

static int64_t candidate_tokens(const struct answer *an)
{
	return an->output_tokens - an->thinking_tokens;
}

static int gemini_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	buf_add_z(b, "{\"candidates\":[");
	for (int64_t i = 0; i < c->choices; i++) {
		buf_add_z(b, i ? ",{\"content\":{\"parts\":[" : "{\"content\":{\"parts\":[");
		if (an->thinking.n > 0) {
			write_thought(b, an->thinking);
			buf_add_char(b, ',');
		}
		if (an->calls_tool)
			write_call(b, c, an);
		else
			write_text(b, an->text);
		buf_add_z(b, "],\"role\":\"model\"}");
		write_finish(b, r, an);
		buf_printf(b, ",\"index\":%lld}", (long long)i);
	}
	write_end(b, c, r, an, candidate_tokens(an));
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

/* One stream, as it goes: where it stands, and what is to be told with each chunk. */
struct chunks {
	struct buf *b;
	const struct chat *c;
	const struct rule *r;
	const struct answer *an;
	size_t n;
};

enum part_kind { PART_TEXT, PART_THOUGHT, PART_CALL };

static void write_chunk(struct chunks *s, enum part_kind kind, struct str text, bool last)
{
	struct buf *b = s->b;
	buf_add_z(b, !s->c->as_array ? "data: " : s->n > 0 ? ",\r\n" : "[");
	s->n++;
	buf_add_z(b, "{\"candidates\":[");
	for (int64_t i = 0; i < s->c->choices; i++) {
		buf_add_z(b, i ? ",{\"content\":{\"parts\":[" : "{\"content\":{\"parts\":[");
		if (kind == PART_THOUGHT)
			write_thought(b, text);
		else if (kind == PART_CALL)
			write_call(b, s->c, s->an);
		else
			write_text(b, text);
		buf_add_z(b, "],\"role\":\"model\"}");
		if (last)
			write_finish(b, s->r, s->an);
		buf_printf(b, ",\"index\":%lld}", (long long)i);
	}
	write_end(b, s->c, s->r, s->an, last ? candidate_tokens(s->an) : (int64_t)s->n);
	if (!s->c->as_array)
		buf_add_z(b, "\r\n\r\n");
}

static int gemini_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                               struct stream_marks *ret)
{
	struct chunks s = { b, c, r, an, 0 };
	size_t piece = (size_t)r->chunk_bytes;
	*ret = (struct stream_marks){ 0, 0 };
	for (struct str rest = an->thinking; rest.n > 0;)
		write_chunk(&s, PART_THOUGHT, answer_piece(&rest, piece), false);
	for (struct str rest = an->text; rest.n > 0;)
		write_chunk(&s, PART_TEXT, answer_piece(&rest, piece), false);
	if (an->calls_tool)
		write_chunk(&s, PART_CALL, STR(""), false);
	ret->tail = b->n;
	write_chunk(&s, PART_TEXT, STR(""), true);
	if (c->as_array)
		buf_add_char(b, ']');
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

static size_t gemini_event_len(struct str rest)
{
	ssize_t end = str_find(rest, STR("\r\n\r\n"));
	return end < 0 ? rest.n : (size_t)end + 4;
}

static int gemini_check(const struct http_req *req, struct err *err)
{
	/* Keys in the query land in logs: no adapter is to send them there. */
	if (str_has_prefix(req->query, STR("key=")) || str_find(req->query, STR("&key=")) >= 0)
		return err_set(err, ERR_INVALID, "The key belongs into the header x-goog-api-key.");
	return 0;
}

/* Gemini tells its limits in the bodies of errors only. */
static void gemini_add_headers(struct call *c, const struct rate *requests, const struct rate *tokens)
{
	(void)requests;
	(void)tokens;
	http_reply_header(c->req, "server-timing",
	                  arena_printf(&c->req->arena, "gfet4t7; dur=%lld", (long long)call_age_ms(c)));
}

static const struct endpoint endpoints[] = {
	{ "/models/", ":generateContent", false, chat_build },
	{ "/models/", ":streamGenerateContent", true, chat_build },
	{ "/models/", ":embedContent", false, gemini_embed_build },
	{ "/models/", ":batchEmbedContents", false, gemini_embed_build },
};

const struct format format_gemini = {
	.name = "gemini",
	.endpoints = endpoints,
	.nendpoints = ARRAY_LEN(endpoints),
	.key_header = "x-goog-api-key",
	.id_prefix = "",
	.tool_prefix = "",
	.stream_type = "text/event-stream",
	.errors = gemini_errors,
	.quota_day_retry = 34,
	.read = gemini_read,
	.write_answer = gemini_write,
	.write_stream = gemini_write_stream,
	.event_len = gemini_event_len,
	.write_error = gemini_write_error,
	.write_stream_error = gemini_write_stream_error,
	.add_headers = gemini_add_headers,
	.check = gemini_check,
};
