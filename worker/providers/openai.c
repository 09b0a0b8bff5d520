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
#include "common/provider_record.h"
#include "common/request_facts.h"
#include "worker/providers/classify.h"
#include "worker/providers/hints.h"

#define TRUNCATION_MIN   4096 /* bytes of text below which nothing is said */
#define TRUNCATION_BYTES 12
#define COUNT_MAX        ((int64_t)1 << 53)

struct provider_call {
	struct arena *arena;
	bool embeddings, streamed, schema, truncates;
	size_t inputs;             /* of embeddings; 0: unknown */
	int64_t text_bytes;        /* of the request; 0: not counted */
	int status;
	int64_t retry_after_ms;
	int should_retry;
	bool is_sse;               /* what came is an event stream */
	struct buf whole;          /* what came, when it is not */
	struct openai_stream stream;
	const struct http_header *headers;
	size_t nheaders;
};

/* --- the answer --- */

static void drop_call(void *ptr)
{
	struct provider_call *c = ptr;
	buf_done(&c->whole);
	openai_stream_done(&c->stream);
}

/* What the judgement needs of the request: it is gone when the answer comes. */
static void read_ask(struct provider_call *c, const struct provider_ask *ask)
{
	const json_t *input = json_get(ask->request, "input");
	const struct provider_record *record = ask->target->record;
	c->schema = str_eq_z(json_str(json_get(ask->request, "response_format"), "type"), "json_schema");
	c->inputs = json_is_string(input) ? 1 : json_is_integer(json_array_get(input, 0)) ? 1 : json_array_size(input);
	c->truncates = record && (record->quirks & QUIRK_TRUNCATES);
	if (c->truncates && ask->request) {
		struct request_facts f;
		request_facts_read(&f, ask->request, c->embeddings, c->arena);
		c->text_bytes = f.text_bytes;
	}
}

static struct provider_call *start(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	struct provider_call *c = arena_new(a, struct provider_call);
	c->arena = a;
	c->embeddings = ask->kind == PROVIDER_EMBEDDINGS;
	c->streamed = streamed;
	read_ask(c, ask);
	c->retry_after_ms = c->should_retry = -1;
	buf_init(&c->whole, max_bytes);
	openai_stream_init(&c->stream, max_bytes, sink, a);
	arena_defer(a, drop_call, c);
	return c;
}

static void answer_head(struct provider_call *c, int status, const struct http_header *h, size_t n)
{
	char type[64];
	c->status = status;
	c->headers = h;
	c->nheaders = n;
	c->should_retry = should_retry_read(h, n);
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
	*ret_token = c->stream.assembly.token;
	return rc;
}

static void say(struct provider_call *c, struct provider_result *r, enum err_code class, struct str message)
{
	provider_say(r, class, message, c->arena);
}

/* Small enough to be added up. */
static int64_t count_of(const json_t *usage, const char *key)
{
	return MIN(MAX(json_i64(usage, key, 0), 0), COUNT_MAX);
}

bool openai_read_usage(struct provider_usage *ret, const json_t *usage)
{
	const json_t *in = json_get(usage, "prompt_tokens_details"), *out = json_get(usage, "completion_tokens_details");
	*ret = (struct provider_usage){ 0 };
	if (!json_is_object(usage) || !json_is_integer(json_get(usage, "prompt_tokens")))
		return false;
	ret->input = count_of(usage, "prompt_tokens");
	ret->output = count_of(usage, "completion_tokens");
	ret->cached_input = count_of(in, "cached_tokens");
	if (ret->cached_input == 0)
		ret->cached_input = count_of(usage, "prompt_cache_hit_tokens"); /* DeepSeek */
	ret->cache_write = count_of(in, "cache_write_tokens");
	ret->audio_input = count_of(in, "audio_tokens");
	ret->reasoning = count_of(out, "reasoning_tokens");
	int64_t total = json_i64(usage, "total_tokens", -1);
	if (ret->reasoning > 0 && total == ret->input + ret->output + ret->reasoning)
		ret->output += ret->reasoning; /* xAI counts it apart */
	ret->disagrees = total >= 0 && total != ret->input + ret->output;
	assembly_usage_tidy(ret);
	/* Some servers send zeros when they did not count. */
	return ret->input > 0 || ret->output > 0;
}

static void read_usage(struct provider_result *r, const json_t *usage)
{
	r->usage_known = openai_read_usage(&r->usage, usage);
}

static void say_error(struct provider_call *c, struct provider_result *r, const json_t *body, int status)
{
	struct failure f = { .status = status };
	failure_read(&f, body, c->arena);
	if (r->retry_after_ms < 0)
		r->retry_after_ms = retry_hint_body_ms(body);
	say(c, r, classify(&f), f.message);
}

/* By the rules for streams, from its first choice. Not all servers give a finish reason here, and sound is something without text. */
static void judge_chat(struct provider_call *c, struct provider_result *r, const json_t *body)
{
	struct openai_stream *s = &c->stream;
	struct assembly *a = &s->assembly;
	const json_t *choice = json_array_get(json_get(body, "choices"), 0), *m = json_get(choice, "message"), *function = json_get(m, "function_call");
	if (!json_is_object(m)) {
		say(c, r, ERR_BAD_OUTPUT, STR("the answer holds no choices"));
		return;
	}
	a->sink = (struct provider_sink){ NULL, NULL }; /* what is whole is told by its result */
	int rc = openai_take_message(s, m);
	if (rc == 0 && json_is_object(function))
		rc = assembly_tool(a, 0, STR(""), json_str(function, "name"), json_str(function, "arguments"));
	a->has_content |= json_is_object(json_get(m, "audio"));
	a->usage = r->usage;
	a->usage_known = r->usage_known;
	openai_take_finish(s, choice);
	a->finish = a->finish.n ? a->finish : STR("stop");
	a->done = true;
	assembly_conclude(a, rc, c->schema, r);
	r->finish_reason = arena_str(c->arena, json_str(choice, "finish_reason"));
}

static bool embeddings_are_whole(const struct provider_call *c, const json_t *data)
{
	const json_t *one;
	size_t i;
	if (json_array_size(data) == 0 || (c->inputs > 0 && json_array_size(data) != c->inputs))
		return false;
	json_array_foreach (data, i, one) {
		const json_t *v = json_get(one, "embedding");
		if (json_array_size(v) == 0 && json_str_of(v).n == 0)
			return false;
	}
	return true;
}

/*
 * A server that cuts a long prompt silently answers about half a document (Ollama). A token is hardly ever more than twelve bytes of text, so far fewer
 * tokens than that say that the rest was never read.
 */
static void judge_truncation(struct provider_call *c, struct provider_result *r)
{
	if (r->class != ERR_OK || !c->truncates || !r->usage_known || c->text_bytes < TRUNCATION_MIN || r->usage.input * TRUNCATION_BYTES >= c->text_bytes)
		return;
	say(c, r, ERR_CONTEXT_WINDOW, STR("the server read only the front of the prompt: its context is too small"));
	buf_clear(&r->result);
	r->has_partial = false;
}

static void end_whole(struct provider_call *c, struct provider_result *r)
{
	struct err err = { 0 };
	json_t *body = json_parse_answer(buf_str(&c->whole), &err);
	if (!json_is_object(body)) {
		say(c, r, ERR_BAD_OUTPUT, body ? STR("the answer is not a JSON object") : str_from(err.text));
		json_decref(body);
		return;
	}
	read_usage(r, json_get(body, "usage"));
	const json_t *error = openai_error_in(body);
	if (error)
		say_error(c, r, error, 0);
	else if (!c->embeddings)
		judge_chat(c, r, body);
	else if (!embeddings_are_whole(c, json_get(body, "data")))
		say(c, r, ERR_BAD_OUTPUT, STR("the answer does not hold an embedding for each input"));
	if (r->class == ERR_OK) {
		buf_clear(&r->result);
		if (json_write(&r->result, body) < 0)
			say(c, r, ERR_TOO_LARGE, STR("the answer is too large"));
	}
	json_decref(body);
}

static void end_stream(struct provider_call *c, struct provider_result *r, int rc)
{
	struct openai_stream *s = &c->stream;
	if (s->error)
		say_error(c, r, s->error, 0);
	assembly_conclude(&s->assembly, rc, c->schema, r);
}

static void conclude(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	*r = (struct provider_result){ .retry_after_ms = -1, .should_retry = c->should_retry };
	buf_init(&r->result, (size_t)1 << 30);
	if (c->status >= 300) {
		json_t *body = json_parse_answer(buf_str(&c->whole), NULL);
		r->retry_after_ms = retry_hint_ms(c->headers, c->nheaders, now_wall_us);
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
	judge_truncation(c, r);
}

static void answer_end(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	conclude(c, transport_rc, now_wall_us, r);
	drop_call(c); /* the arena may live through many more calls */
}

static const struct assembly *so_far(const struct provider_call *c)
{
	return c->is_sse ? &c->stream.assembly : NULL;
}

const struct provider provider_openai = {
	.name = "openai",
	.make = openai_make,
	.start = start,
	.answer_head = answer_head,
	.answer_data = answer_data,
	.so_far = so_far,
	.answer_end = answer_end,
};
