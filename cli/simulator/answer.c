/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a chat request to the bytes of its answer. Requests are checked as far as an answer depends on them, with the
 * errors that OpenAI gives; fields that are not known are passed over, as there.
 *
 * A stream is built as a whole: a first chunk with the role, chunks of text cut at characters' borders, one with the
 * finish reason, one with the usage when asked for, and [DONE]. Who sends it may cut or slow it.
 */
#include "cli/simulator/answer.h"

#include <string.h>

#include "cli/simulator/schema_fill.h"
#include "cli/simulator/summary.h"

int64_t count_tokens(struct str text)
{
	return (int64_t)((text.n + 3) / 4);
}

/* The text of a message: a string, or the text parts of a list. */
static struct str content_text(struct arena *a, const json_t *content)
{
	const json_t *part;
	size_t i, n = 0, at = 0;
	if (json_is_string(content))
		return json_str_of(content);
	json_array_foreach(content, i, part) n += json_str(part, "text").n + 1;
	if (n == 0)
		return STR("");
	char *out = (char *)arena_alloc(a, n);
	json_array_foreach(content, i, part)
	{
		struct str s = json_str(part, "text");
		if (s.n == 0)
			continue;
		if (at > 0)
			out[at++] = '\n';
		memcpy(out + at, s.p, s.n);
		at += s.n;
	}
	return (struct str){ out, at };
}

struct str answer_tag(const json_t *body, struct str text)
{
	struct str tag = json_str(json_get(body, "metadata"), "tag");
	if (!tag.p)
		tag = json_str(body, "user");
	if (tag.p)
		return tag;
	text = str_sub(text, 0, 200);
	ssize_t at = str_find(text, STR("tag:"));
	if (at < 0)
		return (struct str){ NULL, 0 };
	size_t from = (size_t)at + 4, to = from;
	while (to < text.n && (unsigned char)text.p[to] > ' ')
		to++;
	return to > from ? str_sub(text, from, to - from) : (struct str){ NULL, 0 };
}

static int read_messages(struct chat *c, struct arena *a, const json_t *messages, struct err *err)
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
		struct str text = content_text(a, json_get(message, "content"));
		c->prompt_tokens += count_tokens(text) + 3;
		if (str_eq(role, STR("user")))
			c->last_user = text;
		else if (c->prompt.n == 0)
			c->prompt = text;
	}
	return 0;
}

static int read_limit(const json_t *body, const char *name, int64_t *ret, struct err *err)
{
	const json_t *v = json_get(body, name);
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 1)
		return err_set_at(err, ERR_OUT_OF_RANGE, name, "Invalid '%s': expected an integer of at least 1.",
		                  name);
	*ret = json_integer_value(v);
	return 0;
}

int chat_read(struct chat *c, struct arena *a, const json_t *body, struct err *err)
{
	*c = (struct chat){ .max_tokens = INT64_MAX, .choices = 1, .last_user = STR("") };
	if (!json_is_object(body))
		return err_set(err, ERR_WRONG_TYPE, "The body must be a JSON object.");
	c->model = json_str(body, "model");
	if (c->model.n == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "model", "you must provide a model parameter");
	int rc = read_messages(c, a, json_get(body, "messages"), err);
	if (rc == 0)
		rc = read_limit(body, "max_tokens", &c->max_tokens, err);
	if (rc == 0)
		rc = read_limit(body, "max_completion_tokens", &c->max_tokens, err);
	if (rc == 0)
		rc = read_limit(body, "n", &c->choices, err);
	if (rc < 0)
		return rc;
	if (c->choices > CHOICES_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "n", "Invalid 'n': at most %d choices.", CHOICES_MAX);
	c->tag = answer_tag(body, c->last_user);
	c->stream = json_bool(body, "stream", false);
	c->include_usage = json_bool(json_get(body, "stream_options"), "include_usage", false);
	c->format = json_get(body, "response_format");
	const json_t *wrapper = json_get(c->format, "json_schema");
	if (str_eq(json_str(c->format, "type"), STR("json_schema")) && !json_is_object(json_get(wrapper, "schema")))
		return err_set_at(err, ERR_MISSING_FIELD, "response_format.json_schema.schema",
		                  "Missing required parameter: 'response_format.json_schema.schema'.");
	return 0;
}

static struct str filled(struct arena *a, const struct chat *c, const struct document *d, const json_t *schema)
{
	struct buf b;
	struct str asked =
	    arena_printf(a, STR_FMT "\n" STR_FMT, STR_ARG(str_sub(c->prompt, 0, 16384)), STR_ARG(d->instruction));
	json_t *v = schema ? schema_fill(d, asked, schema) : schema_fill_free(d, asked);
	buf_init(&b, ANSWER_MAX / 4);
	json_write(&b, v);
	struct str out = buf_failed(&b) ? STR("{}") : arena_str(a, buf_str(&b));
	buf_done(&b);
	json_decref(v);
	return out;
}

struct str answer_text(struct arena *a, const struct chat *c, const struct rule *r)
{
	struct document d;
	struct str type = json_str(c->format, "type");
	if (r->answer)
		return str_from(r->answer);
	if (r->echo)
		return c->last_user;
	document_read(&d, a, c->last_user);
	if (str_eq(type, STR("json_schema")))
		return filled(a, c, &d, json_get(json_get(c->format, "json_schema"), "schema"));
	if (str_eq(type, STR("json_object")))
		return filled(a, c, &d, NULL);
	return summary_answer(
	    &d, instruction_count(d.instruction, "sentence", instruction_count(c->prompt, "sentence", 4)));
}

void answer_make(struct answer *an, const struct chat *c, const struct rule *r, struct str text)
{
	an->text = text;
	an->finish_reason = "stop";
	if (count_tokens(text) > c->max_tokens) {
		an->text = str_utf8_prefix(text, (size_t)c->max_tokens * 4);
		an->finish_reason = "length";
	}
	if (r->finish_reason)
		an->finish_reason = r->finish_reason;
	an->completion_tokens = count_tokens(an->text) * c->choices;
}

static void write_usage(struct buf *b, const struct chat *c, const struct answer *an)
{
	buf_printf(b,
	           "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
	           "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
	           "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
	           "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
	           (long long)c->prompt_tokens, (long long)an->completion_tokens,
	           (long long)(c->prompt_tokens + an->completion_tokens));
}

static void write_head(struct buf *b, const char *object, const struct chat *c, const struct answer *an)
{
	buf_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", an->id, object,
	           (long long)an->created);
	buf_add_json_str(b, c->model);
	buf_add_z(b, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulator\",\"choices\":[");
}

int answer_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an)
{
	write_head(b, "chat.completion", c, an);
	for (int64_t i = 0; i < c->choices; i++) {
		buf_printf(b, "%s{\"index\":%lld,\"message\":{\"role\":\"assistant\",\"content\":", i ? "," : "",
		           (long long)i);
		buf_add_json_str(b, an->text);
		buf_add_z(b, ",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":");
		buf_add_json_str(b, str_from(an->finish_reason));
		buf_add_char(b, '}');
	}
	buf_add_char(b, ']');
	if (!r->no_usage) {
		buf_add_char(b, ',');
		write_usage(b, c, an);
	}
	return buf_add_char(b, '}');
}

/* What all chunks of a stream share: up to the choices, and after them. */
struct frame {
	struct str before, after;
};

static void write_delta(struct buf *b, struct frame f, int64_t index, const char *delta, struct str text,
                        const char *finish)
{
	buf_add_str(b, f.before);
	buf_add_z(b, "{\"index\":");
	buf_add_i64(b, index);
	buf_add_z(b, ",\"delta\":{");
	buf_add_z(b, delta);
	if (text.p)
		buf_add_json_str(b, text);
	buf_add_z(b, "},\"logprobs\":null,\"finish_reason\":");
	if (finish)
		buf_add_json_str(b, str_from(finish));
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
	buf_add_str(b, f.after);
}

/* The next piece of about n bytes, at least one character. */
static struct str next_piece(struct str *rest, size_t n)
{
	struct str piece = n == 0 ? *rest : str_utf8_prefix(*rest, n);
	for (size_t more = n + 1; piece.n == 0 && more <= n + 4; more++)
		piece = str_utf8_prefix(*rest, more);
	if (piece.n == 0)
		piece = *rest;
	*rest = str_sub(*rest, piece.n, rest->n);
	return piece;
}

int answer_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        size_t *ret_head, size_t *ret_tail)
{
	struct buf before;
	const struct str none = { NULL, 0 };
	bool usage = c->include_usage && !r->no_usage;
	buf_init(&before, 1u << 20);
	buf_add_z(&before, "data: ");
	write_head(&before, "chat.completion.chunk", c, an);
	struct frame f = { buf_str(&before), usage ? STR("],\"usage\":null}\n\n") : STR("]}\n\n") };
	for (int64_t i = 0; i < c->choices; i++)
		write_delta(b, f, i, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", none, NULL);
	*ret_head = b->n;
	for (struct str rest = an->text; rest.n > 0;) {
		struct str piece = next_piece(&rest, (size_t)r->chunk_bytes);
		for (int64_t i = 0; i < c->choices; i++)
			write_delta(b, f, i, "\"content\":", piece, NULL);
	}
	*ret_tail = b->n;
	for (int64_t i = 0; i < c->choices; i++)
		write_delta(b, f, i, "", none, an->finish_reason);
	if (usage) {
		buf_add_str(b, f.before);
		buf_add_z(b, "],");
		write_usage(b, c, an);
		buf_add_z(b, "}\n\n");
	}
	buf_add_z(b, "data: [DONE]\n\n");
	bool failed = buf_failed(&before) || buf_failed(b);
	buf_done(&before);
	return failed ? -ERR_TOO_LARGE : 0;
}

int answer_write_garbage(struct buf *b, enum garbage kind, const struct answer *an)
{
	if (kind == GARBAGE_SSE)
		return buf_printf(
		    b,
		    "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"conte\n\n"
		    ":::\n\nthis is no event\ndata data data\n\ndata: {]\n\n",
		    an->id);
	return buf_printf(
	    b,
	    "{\"id\":\"%s\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":", an->id);
}

static void write_or_null(struct buf *b, const char *z)
{
	if (z)
		buf_add_json_str(b, str_from(z));
	else
		buf_add_z(b, "null");
}

int answer_write_error(struct buf *b, const char *type, const char *param, const char *code, struct str message)
{
	buf_add_z(b, "{\"error\":{\"message\":");
	buf_add_json_str(b, message);
	buf_printf(b, ",\"type\":\"%s\",\"param\":", type);
	write_or_null(b, param);
	buf_add_z(b, ",\"code\":");
	write_or_null(b, code);
	return buf_add_z(b, "}}");
}

static void write_openai_failure(struct buf *b, int status)
{
	static const struct {
		int status;
		const char *type, *code, *message;
	} known[] = {
		{ 400, "invalid_request_error", NULL, "The request is not valid." },
		{ 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided." },
		{ 402, "insufficient_quota", "insufficient_quota", "You have no credit left." },
		{ 403, "invalid_request_error", "unsupported_country_region_territory",
		  "Country, region, or territory not supported" },
		{ 404, "invalid_request_error", "model_not_found",
		  "The model does not exist or you do not have access to it." },
		{ 408, "server_error", NULL, "Request timed out." },
		{ 413, "invalid_request_error", NULL, "The request is too large." },
		{ 429, "requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later." },
		{ 503, "server_error", NULL, "The engine is currently overloaded, please try again later" },
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (known[i].status == status) {
			answer_write_error(b, known[i].type, NULL, known[i].code, str_from(known[i].message));
			return;
		}
	}
	answer_write_error(b, status < 500 ? "invalid_request_error" : "server_error", NULL, NULL,
	                   STR("The server had an error while processing your request. Sorry about that!"));
}

struct str answer_write_failure(struct buf *b, const struct rule *r, int status)
{
	struct str shape = json_str_of(r->error_body);
	if (r->error_body && !json_is_string(r->error_body)) {
		json_write(b, r->error_body);
		return STR("application/json");
	}
	if (str_eq(shape, STR("html"))) {
		buf_printf(b,
		           "<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n</"
		           "body>\r\n</html>\r\n",
		           status, status);
		return STR("text/html");
	}
	if (str_eq(shape, STR("empty")))
		return STR("");
	if (shape.n > 0 && !str_eq(shape, STR("openai"))) {
		buf_add_str(b, shape);
		return STR("text/plain; charset=utf-8");
	}
	write_openai_failure(b, status);
	return STR("application/json");
}
