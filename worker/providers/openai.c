/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's wire format, which is also ours: the request goes out as it came, with the target's model, and as a stream where that loses
 * nothing (a stream shows the first token and a cut; n > 1, logprobs and audio are asked for whole). The answer comes back in the same form.
 *
 * An answer counts as good only with a terminal event and a finish reason (or as one whole, well-formed object). A 200 that holds no
 * choices, an error object, or a cut stream is a failure, whatever its status says.
 */
#include "worker/providers/openai.h"

#include "common/conf.h"
#include "worker/providers/classify.h"
#include "worker/providers/hints.h"

#define MESSAGE_MAX 500

struct provider_call {
	struct arena *arena;
	bool embeddings, streamed, schema;
	int status;
	int64_t retry_after_ms;
	int should_retry;
	bool is_sse;               /* what came is an event stream */
	struct buf whole;          /* what came, when it is not */
	struct openai_stream stream;
	const struct http_header *headers;
	size_t nheaders;
};

/* --- the request --- */

static bool can_stream(const struct conf_target *t, int kind, const json_t *request)
{
	return t->stream && kind != PROVIDER_EMBEDDINGS && json_i64(request, "n", 1) <= 1 && !json_is_true(json_get(request, "logprobs")) &&
	       !json_get(request, "modalities") && !json_get(request, "audio");
}

static int write_body(const struct conf_target *t, const json_t *request, bool streamed, struct buf *b)
{
	json_t *body = json_copy((json_t *)(uintptr_t)request);
	json_set_str(body, "model", t->model);
	json_object_del(body, "stream");
	json_object_del(body, "stream_options");
	if (streamed) {
		json_t *options = json_object();
		json_object_set_new(options, "include_usage", json_true());
		json_object_set_new(body, "stream", json_true());
		json_object_set_new(body, "stream_options", options);
	}
	/* Once more, in memory of just its size: it is held as long as the call lasts. */
	struct buf wide;
	buf_init(&wide, b->max);
	int rc = json_write(&wide, body);
	if (rc == 0)
		rc = buf_add_str(b, buf_str(&wide));
	buf_done(&wide);
	json_decref(body);
	return rc;
}

static int make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err)
{
	const struct conf_target *t = ask->target;
	const json_t *request = ask->request;
	int kind = ask->kind;
	bool has_key = t->api_key.n > 0;
	size_t n = 0;
	ret->streamed = can_stream(t, kind, request);
	ret->method = "POST";
	ret->url = arena_printf(a, STR_FMT "%s", STR_ARG(t->base_url), kind == PROVIDER_EMBEDDINGS ? "/embeddings" : "/chat/completions").p;
	ret->headers = arena_array(a, struct http_header, t->nheaders + 3);
	ret->headers[n++] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	ret->headers[n++] = (struct http_header){ STR("Accept"), ret->streamed ? STR("text/event-stream") : STR("application/json") };
	if (has_key)
		ret->headers[n++] = (struct http_header){ STR("Authorization"), arena_printf(a, "Bearer " STR_FMT, STR_ARG(t->api_key)) };
	for (size_t i = 0; i < t->nheaders; i++)
		ret->headers[n++] = (struct http_header){ t->headers[i].name, t->headers[i].value };
	ret->nheaders = n;
	buf_init(&ret->body, (size_t)1 << 30);
	if (write_body(t, request, ret->streamed, &ret->body) < 0)
		return err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB");
	return 0;
}

/* --- the answer --- */

static void drop_call(void *ptr)
{
	struct provider_call *c = ptr;
	buf_done(&c->whole);
	openai_stream_done(&c->stream);
}

static struct provider_call *start(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	struct provider_call *c = arena_new(a, struct provider_call);
	(void)sink;
	c->arena = a;
	c->embeddings = ask->kind == PROVIDER_EMBEDDINGS;
	c->streamed = streamed;
	c->retry_after_ms = c->should_retry = -1;
	buf_init(&c->whole, max_bytes);
	openai_stream_init(&c->stream, max_bytes, a);
	arena_defer(a, drop_call, c);
	return c;
}

static void answer_head(struct provider_call *c, int status, const struct http_header *h, size_t n)
{
	char type[64];
	c->status = status;
	c->headers = h;
	c->nheaders = n;
	struct str should = http_find(h, n, "x-should-retry");
	if (should.p)
		c->should_retry = str_eq_nocase(str_trim(should), STR("true")) ? 1 : str_eq_nocase(str_trim(should), STR("false")) ? 0 : -1;
	struct str media = http_media_type(http_find(h, n, "content-type"), type, sizeof type);
	/* A server that ignores `stream` answers with one object and says so in its content type. */
	c->is_sse = status < 400 && c->streamed && !str_eq_z(media, "application/json");
}

static int answer_data(struct provider_call *c, struct str piece, bool *ret_token)
{
	if (!c->is_sse) {
		*ret_token = c->status < 400 && piece.n > 0;
		return buf_add_str(&c->whole, piece) < 0 ? -ERR_TOO_LARGE : 0;
	}
	int rc = openai_stream_feed(&c->stream, piece);
	*ret_token = c->stream.token;
	return rc;
}

static void say(struct provider_call *c, struct provider_result *r, enum err_code class, struct str message)
{
	r->class = class;
	if (message.n)
		r->message = arena_str(c->arena, str_utf8_prefix(message, MESSAGE_MAX));
}

static int64_t count_of(const json_t *usage, const char *key)
{
	return MAX(json_i64(usage, key, 0), 0);
}

static void read_usage(struct provider_result *r, const json_t *usage)
{
	if (!json_is_object(usage) || !json_is_integer(json_get(usage, "prompt_tokens")))
		return;
	r->usage.input = count_of(usage, "prompt_tokens");
	r->usage.output = count_of(usage, "completion_tokens");
	r->usage.cached_input = MIN(count_of(json_get(usage, "prompt_tokens_details"), "cached_tokens"), r->usage.input);
	/* Some servers send zeros when they did not count. */
	r->usage_known = r->usage.input > 0 || r->usage.output > 0;
}

static void say_error(struct provider_call *c, struct provider_result *r, const json_t *body, int status)
{
	struct failure f = { .status = status };
	failure_read(&f, body, c->arena);
	say(c, r, classify(&f), f.message);
}

/* A finish reason of a well-formed answer. */
static void judge_finish(struct provider_call *c, struct provider_result *r, struct str finish, bool has_output)
{
	r->finish_reason = arena_str(c->arena, finish);
	if (str_eq_z(finish, "content_filter"))
		say(c, r, ERR_CONTENT_FILTER, STR("the provider's content filter stopped the answer"));
	else if (str_eq_z(finish, "insufficient_system_resource"))
		say(c, r, ERR_TRANSIENT, STR("the provider ran out of resources"));
	else if (str_eq_z(finish, "length") && !has_output)
		say(c, r, ERR_OUTPUT_TRUNCATED, STR("the token limit was reached before any output"));
	else if (!has_output)
		say(c, r, ERR_BAD_OUTPUT, STR("the answer holds no content"));
}

static bool message_has_output(const json_t *m)
{
	const json_t *content = json_get(m, "content");
	return json_is_string(content) || json_array_size(content) > 0 || json_is_string(json_get(m, "refusal")) ||
	       json_array_size(json_get(m, "tool_calls")) > 0 || json_is_object(json_get(m, "function_call")) || json_is_object(json_get(m, "audio"));
}

static void judge_chat(struct provider_call *c, struct provider_result *r, const json_t *body)
{
	const json_t *choice = json_array_get(json_get(body, "choices"), 0), *m = json_get(choice, "message");
	struct str finish = json_str(choice, "finish_reason"), content = json_str(m, "content");
	if (!json_is_object(m)) {
		say(c, r, ERR_BAD_OUTPUT, STR("the answer holds no choices"));
		return;
	}
	r->output_bytes = (int64_t)content.n;
	bool empty = str_eq_z(finish, "length") && content.n == 0 && json_array_size(json_get(m, "tool_calls")) == 0;
	judge_finish(c, r, finish, message_has_output(m) && !empty);
}

static void end_whole(struct provider_call *c, struct provider_result *r)
{
	struct err err = { 0 };
	json_t *body = json_parse_lenient(buf_str(&c->whole), &err);
	if (!json_is_object(body)) {
		say(c, r, ERR_BAD_OUTPUT, body ? STR("the answer is not a JSON object") : str_from(err.text));
		json_decref(body);
		return;
	}
	read_usage(r, json_get(body, "usage"));
	const json_t *error = json_get(body, "error");
	if (error && !json_is_null(error))
		say_error(c, r, body, 0);
	else if (!c->embeddings)
		judge_chat(c, r, body);
	else if (json_array_size(json_get(body, "data")) == 0)
		say(c, r, ERR_BAD_OUTPUT, STR("the answer holds no embeddings"));
	if (r->class == ERR_OK && json_write(&r->result, body) < 0)
		say(c, r, ERR_TOO_LARGE, STR("the answer is too large"));
	json_decref(body);
}

static void end_stream(struct provider_call *c, struct provider_result *r, int rc)
{
	struct openai_stream *s = &c->stream;
	r->output_bytes = (int64_t)(s->content.n + s->reasoning.n + s->refusal.n);
	for (size_t i = 0; s->tools && i < OPENAI_TOOLS_MAX; i++)
		r->output_bytes += (int64_t)s->tools[i].arguments.n;
	read_usage(r, s->usage);
	if (s->error)
		say_error(c, r, s->error, 0);
	else if (rc < 0)
		r->class = (enum err_code)-rc;
	else if (!s->done || s->finish_reason.n == 0)
		say(c, r, ERR_STREAM_CUT, s->done ? STR("the stream ended without a finish reason") : STR("the stream ended without its end mark"));
	else
		judge_finish(c, r, s->finish_reason, s->has_content || s->has_refusal || s->tools || s->reasoning.n);
	if (r->class == ERR_OK && str_eq_z(s->finish_reason, "length") && s->content.n == 0 && !s->tools)
		say(c, r, ERR_OUTPUT_TRUNCATED, STR("the token limit was reached before any output"));
	r->has_partial = r->class != ERR_OK && s->content.n > 0;
	if (r->class != ERR_OK && !r->has_partial)
		return;
	json_t *answer = openai_stream_answer(s, r->class != ERR_OK);
	if (json_write(&r->result, answer) < 0)
		say(c, r, ERR_BAD_OUTPUT, STR("the answer is too large"));
	json_decref(answer);
}

static void conclude(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	*r = (struct provider_result){ .retry_after_ms = -1, .should_retry = c->should_retry };
	buf_init(&r->result, (size_t)1 << 30);
	if (c->status >= 300) {
		json_t *body = json_parse_lenient(buf_str(&c->whole), NULL);
		r->retry_after_ms = retry_hint_ms(c->headers, c->nheaders, now_wall_us);
		if (r->retry_after_ms < 0)
			r->retry_after_ms = retry_hint_body_ms(body);
		if (json_is_object(body) || json_is_array(body))
			say_error(c, r, body, c->status);
		else
			say(c, r, classify(&(struct failure){ .status = c->status }), STR(""));
		json_decref(body);
		return;
	}
	if (c->is_sse)
		end_stream(c, r, transport_rc);
	else if (transport_rc < 0)
		r->class = (enum err_code)-transport_rc;
	else
		end_whole(c, r);
}

static void answer_end(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	conclude(c, transport_rc, now_wall_us, r);
	drop_call(c); /* the arena may live through many more calls */
}

static const struct assembly *so_far(const struct provider_call *c)
{
	(void)c;
	return NULL;
}

const struct provider provider_openai = {
	.name = "openai",
	.make = make,
	.start = start,
	.answer_head = answer_head,
	.answer_data = answer_data,
	.so_far = so_far,
	.answer_end = answer_end,
};
