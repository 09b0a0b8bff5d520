/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An adapter feeds what arrives, piece by piece, and each piece goes on to the sink as it came. In the end assembly_conclude says what it
 * came to: an answer counts only with its terminal event and a finish reason, with something in it, and with tool calls that can be called.
 *
 * What the providers send is not trusted: texts end at their maximum, tool calls are few, counts are brought into order. How each provider names
 * its events, reasons and counts is the adapters' own business.
 */
#include "worker/providers/assembly.h"

#define ID_MAX      1000
#define RESULT_MAX  ((size_t)1 << 30)
#define USAGE_MAX   ((int64_t)1000000000000) /* tokens; more is no count */

void assembly_init(struct assembly *s, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	*s = (struct assembly){ .arena = a, .max_bytes = max_bytes, .sink = sink };
	buf_init(&s->content, max_bytes);
	buf_init(&s->refusal, max_bytes);
	buf_init(&s->reasoning, max_bytes);
}

void assembly_done(struct assembly *s)
{
	buf_done(&s->content);
	buf_done(&s->refusal);
	buf_done(&s->reasoning);
	for (size_t i = 0; s->tools && i < ASSEMBLY_TOOLS_MAX; i++) {
		buf_done(&s->tools[i].id);
		buf_done(&s->tools[i].name);
		buf_done(&s->tools[i].arguments);
	}
	s->tools = NULL;
	json_drop(&s->thinking);
	json_drop(&s->usage_raw);
}

/* --- pieces --- */

static void tell(const struct assembly *s, const struct provider_delta *d)
{
	if (s->sink.fn)
		s->sink.fn(s->sink.arg, d);
}

int assembly_text(struct assembly *s, enum delta_kind kind, struct str piece)
{
	assert(kind != DELTA_TOOL);
	struct buf *b = kind == DELTA_TEXT ? &s->content : kind == DELTA_REFUSAL ? &s->refusal : &s->reasoning;
	s->has_content |= kind == DELTA_TEXT;
	s->has_refusal |= kind == DELTA_REFUSAL;
	if (piece.n == 0)
		return 0;
	s->token = true;
	if (buf_add_str(b, piece) < 0)
		return -ERR_TOO_LARGE;
	tell(s, &(struct provider_delta){ .kind = kind, .text = piece });
	return 0;
}

static struct assembly_tool *tool_at(struct assembly *s, int64_t index)
{
	if (index < 0 || index >= ASSEMBLY_TOOLS_MAX)
		return NULL;
	if (!s->tools) {
		s->tools = arena_array(s->arena, struct assembly_tool, ASSEMBLY_TOOLS_MAX);
		for (size_t i = 0; i < ASSEMBLY_TOOLS_MAX; i++) {
			buf_init(&s->tools[i].id, ID_MAX);
			buf_init(&s->tools[i].name, ID_MAX);
			buf_init(&s->tools[i].arguments, s->max_bytes);
		}
	}
	s->tools[index].used = true;
	return &s->tools[index];
}

/* What of `value` is news: the whole of it the first time, later nothing. */
static struct str once(struct buf *b, struct str value)
{
	return b->n == 0 && buf_add_str(b, value) == 0 ? value : STR("");
}

int assembly_tool(struct assembly *s, int64_t index, struct str id, struct str name, struct str arguments)
{
	struct assembly_tool *t = tool_at(s, index);
	if (!t)
		return -ERR_BAD_OUTPUT;
	s->token = true;
	struct provider_delta d = { .kind = DELTA_TOOL, .index = (int)index, .text = arguments };
	d.id = once(&t->id, id);
	d.name = once(&t->name, name);
	if (buf_add_str(&t->arguments, arguments) < 0)
		return -ERR_TOO_LARGE;
	if (d.id.n || d.name.n || d.text.n)
		tell(s, &d);
	return 0;
}

void assembly_keep(struct assembly *s, struct str *field, struct str value)
{
	if (field->n == 0 && value.n > 0 && value.n <= ID_MAX)
		*field = arena_str(s->arena, value);
}

int64_t assembly_bytes(const struct assembly *s)
{
	size_t sum = s->content.n + s->refusal.n + s->reasoning.n;
	for (size_t i = 0; s->tools && i < ASSEMBLY_TOOLS_MAX; i++)
		sum += s->tools[i].arguments.n;
	return (int64_t)sum;
}

/* --- the answer --- */

/* A call without arguments is one with none of them: clients parse the text. */
static json_t *tool_call(const struct assembly_tool *t)
{
	json_t *call = json_object(), *function = json_object();
	json_set_str(call, "id", buf_str(&t->id));
	json_set_str(call, "type", STR("function"));
	json_set_str(function, "name", buf_str(&t->name));
	json_set_str(function, "arguments", t->arguments.n ? buf_str(&t->arguments) : STR("{}"));
	json_object_set_new(call, "function", function);
	if (t->signature.n) { /* the place that Google gives it in its own OpenAI-compatible answers */
		json_t *extra = json_object(), *google = json_object();
		json_set_str(google, "thought_signature", t->signature);
		json_object_set_new(extra, "google", google);
		json_object_set_new(call, "extra_content", extra);
	}
	return call;
}

static json_t *tool_calls(const struct assembly *s)
{
	json_t *all = json_array();
	for (size_t i = 0; i < ASSEMBLY_TOOLS_MAX; i++)
		if (s->tools[i].used)
			json_array_append_new(all, tool_call(&s->tools[i]));
	return all;
}

static void set_text(json_t *m, const char *key, bool there, const struct buf *text)
{
	if (there)
		json_set_str(m, key, buf_str(text));
	else
		json_object_set_new(m, key, json_null());
}

static json_t *message(const struct assembly *s)
{
	json_t *m = json_object();
	json_set_str(m, "role", STR("assistant"));
	set_text(m, "content", s->has_content, &s->content);
	set_text(m, "refusal", s->has_refusal, &s->refusal);
	if (s->reasoning.n)
		json_set_str(m, "reasoning_content", buf_str(&s->reasoning));
	if (s->thinking)
		json_object_set(m, "thinking_blocks", s->thinking);
	if (s->tools)
		json_object_set_new(m, "tool_calls", tool_calls(s));
	return m;
}

json_t *assembly_answer(const struct assembly *s, bool partial)
{
	json_t *answer = json_object(), *choice = json_object(), *choices = json_array();
	json_set_str(answer, "id", s->id);
	json_set_str(answer, "object", STR("chat.completion"));
	json_set_i64(answer, "created", s->created);
	json_set_str(answer, "model", s->model);
	json_set_i64(choice, "index", 0);
	json_object_set_new(choice, "message", message(s));
	json_object_set_new(choice, "logprobs", json_null());
	if (s->finish.n)
		json_set_str(choice, "finish_reason", s->finish);
	else
		json_object_set_new(choice, "finish_reason", json_null());
	if (s->stopped_by.n) /* the place that vLLM gives it */
		json_set_str(choice, "stop_reason", s->stopped_by);
	json_array_append_new(choices, choice);
	json_object_set_new(answer, "choices", choices);
	if (s->usage_raw)
		json_object_set(answer, "usage", s->usage_raw);
	else if (s->usage_known)
		json_object_set_new(answer, "usage", assembly_usage_object(&s->usage));
	if (s->fingerprint.n)
		json_set_str(answer, "system_fingerprint", s->fingerprint);
	if (s->service_tier.n)
		json_set_str(answer, "service_tier", s->service_tier);
	if (partial)
		json_object_set_new(answer, "partial", json_true());
	return answer;
}

/* --- what it means --- */

static void say(struct provider_result *r, enum err_code class, struct str message)
{
	r->class = class;
	r->message = message;
}

/* Finish reasons that are failures, in the words of the providers that have no canonical one for them. */
static const struct {
	struct str word;
	enum err_code class;
	struct str message;
} failures[] = {
	{ STR("content_filter"), ERR_CONTENT_FILTER, STR("the provider's content filter stopped the answer") },
	{ STR("insufficient_system_resource"), ERR_TRANSIENT, STR("the provider ran out of resources") },                  /* DeepSeek */
	{ STR("error"), ERR_TRANSIENT, STR("the provider failed in the middle of the answer") },                            /* OpenRouter, Mistral */
	{ STR("malformed_function_call"), ERR_BAD_OUTPUT, STR("the model made a malformed tool call") },                    /* Gemini */
	{ STR("unexpected_tool_call"), ERR_BAD_OUTPUT, STR("the model called a tool that it was not given") },              /* Gemini */
	{ STR("too_many_tool_calls"), ERR_BAD_OUTPUT, STR("the model made too many tool calls") },                          /* Gemini */
	{ STR("other"), ERR_BAD_OUTPUT, STR("the provider stopped the answer for a reason that it does not tell") },        /* Gemini */
	{ STR("malformed_model_output"), ERR_BAD_OUTPUT, STR("the model's output was malformed") },                         /* Bedrock */
	{ STR("malformed_tool_use"), ERR_BAD_OUTPUT, STR("the model made a malformed tool call") },                         /* Bedrock */
};

/* Every call has a name, and arguments that are JSON. */
static bool tools_are_whole(const struct assembly *s)
{
	for (size_t i = 0; s->tools && i < ASSEMBLY_TOOLS_MAX; i++) {
		const struct assembly_tool *t = &s->tools[i];
		if (!t->used)
			continue;
		json_t *arguments = t->arguments.n ? json_parse_answer(buf_str(&t->arguments), NULL) : json_object();
		bool good = arguments && t->name.n;
		json_decref(arguments);
		if (!good)
			return false;
	}
	return true;
}

/* At the token limit: text that was cut is an answer, unless it had to be JSON or the limit was used up before it began. */
static void judge_length(const struct assembly *s, bool schema, struct provider_result *r)
{
	if (s->content.n == 0 && s->refusal.n == 0 && !s->tools)
		say(r, ERR_OUTPUT_TRUNCATED, STR("the token limit was reached before any output"));
	else if (schema)
		say(r, ERR_OUTPUT_TRUNCATED, STR("the token limit was reached within the JSON that was asked for"));
	else if (!tools_are_whole(s))
		say(r, ERR_OUTPUT_TRUNCATED, STR("the token limit was reached within a tool call"));
}

static void judge(const struct assembly *s, bool schema, struct provider_result *r)
{
	for (size_t i = 0; i < ARRAY_LEN(failures); i++)
		if (str_eq_nocase(s->finish, failures[i].word)) {
			say(r, failures[i].class, failures[i].message);
			return;
		}
	if (str_eq_z(s->finish, "length"))
		judge_length(s, schema, r);
	else if (!s->has_content && !s->has_refusal && !s->tools && !s->reasoning.n)
		say(r, ERR_BAD_OUTPUT, STR("the answer holds no content"));
	else if (!tools_are_whole(s))
		say(r, ERR_BAD_OUTPUT, STR("a tool call has no name, or arguments that are not JSON"));
}

void assembly_conclude(const struct assembly *s, int rc, bool schema, struct provider_result *r)
{
	assert(!r->result.p);
	buf_init(&r->result, RESULT_MAX);
	r->output_bytes = assembly_bytes(s);
	r->usage = s->usage;
	r->usage_known = s->usage_known;
	r->finish_reason = s->finish;
	if (s->over && s->finish.n)
		rc = 0;
	if (r->class == ERR_OK && rc < 0)
		r->class = (enum err_code)-rc;
	else if (r->class == ERR_OK && (!s->done || s->finish.n == 0))
		say(r, ERR_STREAM_CUT, s->done ? STR("the stream ended without a finish reason") : STR("the stream ended without its end mark"));
	else if (r->class == ERR_OK)
		judge(s, schema, r);
	r->has_partial = r->class != ERR_OK && s->content.n > 0;
	if (r->class != ERR_OK && !r->has_partial)
		return;
	json_t *answer = assembly_answer(s, r->class != ERR_OK);
	if (json_write(&r->result, answer) < 0) {
		buf_clear(&r->result);
		r->has_partial = false;
		say(r, ERR_TOO_LARGE, STR("the answer is too large"));
	}
	json_decref(answer);
}

/* --- usage --- */

json_t *assembly_usage_object(const struct provider_usage *u)
{
	json_t *usage = json_object(), *input = json_object(), *output = json_object();
	json_set_i64(usage, "prompt_tokens", u->input);
	json_set_i64(usage, "completion_tokens", u->output);
	json_set_i64(usage, "total_tokens", u->input + u->output);
	json_set_i64(input, "cached_tokens", u->cached_input);
	json_set_i64(input, "cache_write_tokens", u->cache_write);
	json_set_i64(input, "audio_tokens", u->audio_input);
	json_set_i64(output, "reasoning_tokens", u->reasoning);
	json_object_set_new(usage, "prompt_tokens_details", input);
	json_object_set_new(usage, "completion_tokens_details", output);
	return usage;
}

static int64_t within(int64_t n, int64_t max)
{
	return n < 0 ? 0 : MIN(n, max);
}

void assembly_usage_tidy(struct provider_usage *u)
{
	u->input = within(u->input, USAGE_MAX);
	u->output = within(u->output, USAGE_MAX);
	u->cached_input = within(u->cached_input, u->input);
	u->cache_write = within(u->cache_write, u->input - u->cached_input); /* a token is read from the cache or written into it */
	u->audio_input = within(u->audio_input, u->input);
	u->image_input = within(u->image_input, u->input);
	u->reasoning = within(u->reasoning, u->output);
}
