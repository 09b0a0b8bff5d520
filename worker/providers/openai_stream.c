/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a streamed chat answer together: text, refusal and reasoning are appended, tool calls are gathered by index and their arguments
 * joined, the last usage counts. Compatible servers leave out what they like; what is missing stays empty, what has a wrong type is
 * skipped. An event with an `error` ends the stream, whatever has come before.
 */
#include "worker/providers/openai.h"

static void keep(struct str *to, const json_t *chunk, const char *key, struct arena *a)
{
	struct str v = json_str(chunk, key);
	if (to->n == 0 && v.n > 0 && v.n < 1000)
		*to = arena_str(a, v);
}

static int append(struct openai_stream *s, struct buf *b, struct str piece)
{
	if (piece.n == 0)
		return 0;
	s->token = true;
	return buf_add_str(b, piece) < 0 ? -ERR_TOO_LARGE : 0;
}

static struct openai_tool *tool_at(struct openai_stream *s, int64_t index)
{
	if (index < 0 || index >= OPENAI_TOOLS_MAX)
		return NULL;
	if (!s->tools) {
		s->tools = arena_array(s->arena, struct openai_tool, OPENAI_TOOLS_MAX);
		for (size_t i = 0; i < OPENAI_TOOLS_MAX; i++) {
			buf_init(&s->tools[i].id, 1000);
			buf_init(&s->tools[i].name, 1000);
			buf_init(&s->tools[i].arguments, s->max_bytes);
		}
	}
	s->tools[index].used = true;
	return &s->tools[index];
}

static int take_tool_call(struct openai_stream *s, const json_t *call)
{
	struct openai_tool *t = tool_at(s, json_i64(call, "index", 0));
	if (!t)
		return -ERR_BAD_OUTPUT;
	const json_t *function = json_get(call, "function"), *arguments = json_get(function, "arguments");
	s->token = true;
	if (t->id.n == 0)
		buf_add_str(&t->id, json_str(call, "id"));
	if (t->name.n == 0)
		buf_add_str(&t->name, json_str(function, "name"));
	if (json_is_object(arguments)) /* some servers send them as an object, whole */
		return json_write(&t->arguments, arguments) < 0 ? -ERR_TOO_LARGE : 0;
	return buf_add_str(&t->arguments, json_str_of(arguments)) < 0 ? -ERR_TOO_LARGE : 0;
}

/* Text, or (with some servers) a list of parts with text in them. */
static int take_content(struct openai_stream *s, const json_t *content)
{
	const json_t *part;
	size_t i;
	int rc = append(s, &s->content, json_str_of(content));
	s->has_content |= json_is_string(content) || json_array_size(content) > 0;
	json_array_foreach (content, i, part)
		if (rc == 0)
			rc = append(s, &s->content, json_str(part, "text"));
	return rc;
}

static int take_delta(struct openai_stream *s, const json_t *delta)
{
	const json_t *calls = json_get(delta, "tool_calls"), *call;
	size_t i;
	s->has_refusal |= json_is_string(json_get(delta, "refusal"));
	int rc = take_content(s, json_get(delta, "content"));
	if (rc == 0)
		rc = append(s, &s->refusal, json_str(delta, "refusal"));
	if (rc == 0)
		rc = append(s, &s->reasoning, json_str(delta, "reasoning_content"));
	json_array_foreach (calls, i, call)
		if (rc == 0)
			rc = take_tool_call(s, call);
	return rc;
}

static int take_chunk(struct openai_stream *s, const json_t *chunk)
{
	keep(&s->id, chunk, "id", s->arena);
	keep(&s->model, chunk, "model", s->arena);
	keep(&s->fingerprint, chunk, "system_fingerprint", s->arena);
	keep(&s->service_tier, chunk, "service_tier", s->arena);
	if (s->created == 0)
		s->created = json_i64(chunk, "created", 0);
	json_t *usage = json_get(chunk, "usage");
	if (json_is_object(usage)) {
		json_decref(s->usage);
		s->usage = json_incref(usage);
	}
	const json_t *choice = json_array_get(json_get(chunk, "choices"), 0);
	if (!choice || json_i64(choice, "index", 0) != 0)
		return 0;
	int rc = take_delta(s, json_get(choice, "delta"));
	keep(&s->finish_reason, choice, "finish_reason", s->arena);
	return rc;
}

static int on_event(void *arg, const struct sse_event *e)
{
	struct openai_stream *s = arg;
	if (s->done)
		return 0;
	if (str_eq_z(str_trim(e->data), "[DONE]")) {
		s->done = true;
		return 0;
	}
	if (e->data.n == 0)
		return 0;
	json_t *chunk = json_parse_lenient(e->data, NULL);
	if (!chunk)
		return -ERR_BAD_OUTPUT;
	const json_t *error = json_get(chunk, "error");
	int rc = 0;
	if ((error && !json_is_null(error)) || str_eq_z(e->event, "error")) {
		s->error = json_incref(chunk);
		rc = -ERR_STREAM_CUT;
	} else {
		rc = take_chunk(s, chunk);
	}
	json_decref(chunk);
	return rc;
}

void openai_stream_init(struct openai_stream *s, size_t max_bytes, struct arena *a)
{
	*s = (struct openai_stream){ .arena = a, .max_bytes = max_bytes };
	buf_init(&s->content, max_bytes);
	buf_init(&s->refusal, max_bytes);
	buf_init(&s->reasoning, max_bytes);
	sse_init(&s->sse, max_bytes, on_event, s);
}

void openai_stream_done(struct openai_stream *s)
{
	sse_done(&s->sse);
	buf_done(&s->content);
	buf_done(&s->refusal);
	buf_done(&s->reasoning);
	for (size_t i = 0; s->tools && i < OPENAI_TOOLS_MAX; i++) {
		buf_done(&s->tools[i].id);
		buf_done(&s->tools[i].name);
		buf_done(&s->tools[i].arguments);
	}
	json_decref(s->usage);
	json_decref(s->error);
	s->usage = s->error = NULL;
}

int openai_stream_feed(struct openai_stream *s, struct str piece)
{
	return sse_feed(&s->sse, piece);
}

static json_t *tool_calls(const struct openai_stream *s)
{
	json_t *all = json_array();
	for (size_t i = 0; s->tools && i < OPENAI_TOOLS_MAX; i++) {
		const struct openai_tool *t = &s->tools[i];
		if (!t->used)
			continue;
		json_t *call = json_object(), *function = json_object();
		json_set_str(call, "id", buf_str(&t->id));
		json_set_str(call, "type", STR("function"));
		json_set_str(function, "name", buf_str(&t->name));
		json_set_str(function, "arguments", buf_str(&t->arguments));
		json_object_set_new(call, "function", function);
		json_array_append_new(all, call);
	}
	return all;
}

static json_t *message(const struct openai_stream *s)
{
	json_t *m = json_object();
	json_set_str(m, "role", STR("assistant"));
	if (s->has_content)
		json_set_str(m, "content", buf_str(&s->content));
	else
		json_object_set_new(m, "content", json_null());
	if (s->has_refusal)
		json_set_str(m, "refusal", buf_str(&s->refusal));
	else
		json_object_set_new(m, "refusal", json_null());
	if (s->reasoning.n)
		json_set_str(m, "reasoning_content", buf_str(&s->reasoning));
	if (s->tools)
		json_object_set_new(m, "tool_calls", tool_calls(s));
	return m;
}

json_t *openai_stream_answer(const struct openai_stream *s, bool partial)
{
	json_t *answer = json_object(), *choice = json_object(), *choices = json_array();
	json_set_str(answer, "id", s->id);
	json_set_str(answer, "object", STR("chat.completion"));
	json_set_i64(answer, "created", s->created);
	json_set_str(answer, "model", s->model);
	json_set_i64(choice, "index", 0);
	json_object_set_new(choice, "message", message(s));
	json_object_set_new(choice, "logprobs", json_null());
	if (s->finish_reason.n)
		json_set_str(choice, "finish_reason", s->finish_reason);
	else
		json_object_set_new(choice, "finish_reason", json_null());
	json_array_append_new(choices, choice);
	json_object_set_new(answer, "choices", choices);
	if (s->usage)
		json_object_set(answer, "usage", s->usage);
	if (s->fingerprint.n)
		json_set_str(answer, "system_fingerprint", s->fingerprint);
	if (s->service_tier.n)
		json_set_str(answer, "service_tier", s->service_tier);
	if (partial)
		json_object_set_new(answer, "partial", json_true());
	return answer;
}
