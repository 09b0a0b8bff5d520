/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a streamed chat answer into its assembly. Compatible servers leave out what they like; what is missing stays empty, what has a wrong type is
 * skipped. An event with an `error` ends the stream, whatever has come before, in any of the forms that servers have for it.
 *
 * Nearly all events of a stream differ in their text only, and are not parsed (shape.h).
 */
#include "worker/providers/openai.h"

#include <string.h>

/* --- chunks --- */

/* A call without an index (whole answers have none): one with an id or a name is a new one, any other belongs to the last. */
static int64_t index_of(struct openai_stream *s, const json_t *call)
{
	const json_t *index = json_get(call, "index");
	if (json_is_integer(index))
		s->calls = json_integer_value(index) < ASSEMBLY_TOOLS_MAX ? json_integer_value(index) + 1 : ASSEMBLY_TOOLS_MAX + 1;
	else if (s->calls <= ASSEMBLY_TOOLS_MAX && (s->calls <= 0 || json_str(call, "id").n || json_str(json_get(call, "function"), "name").n))
		s->calls++;
	return s->calls - 1;
}

static int take_tool_call(struct openai_stream *s, const json_t *call)
{
	const json_t *function = json_get(call, "function"), *arguments = json_get(function, "arguments");
	if (json_is_object(json_get(call, "custom"))) /* asked for whole, and passed on as it came: it is enough that it is there */
		return assembly_text(&s->assembly, DELTA_TEXT, STR(""));
	struct buf whole;
	buf_init(&whole, s->max_bytes);
	int rc = json_is_object(arguments) ? json_write(&whole, arguments) : 0; /* some servers send them as an object, whole */
	if (rc == 0)
		rc = assembly_tool(&s->assembly, index_of(s, call), json_str(call, "id"), json_str(function, "name"),
		                   json_is_object(arguments) ? buf_str(&whole) : json_str_of(arguments));
	buf_done(&whole);
	return rc;
}

/* Text, or (with some servers) a list of parts with text in them. */
static int take_content(struct openai_stream *s, const json_t *content)
{
	const json_t *part;
	size_t i;
	int rc = json_is_string(content) || json_array_size(content) > 0 ? assembly_text(&s->assembly, DELTA_TEXT, json_str_of(content)) : 0;
	json_array_foreach (content, i, part)
		if (rc == 0)
			rc = assembly_text(&s->assembly, DELTA_TEXT, json_str(part, "text"));
	return rc;
}

static int take_text(struct openai_stream *s, enum delta_kind kind, const json_t *v)
{
	return json_is_string(v) ? assembly_text(&s->assembly, kind, json_str_of(v)) : 0;
}

int openai_take_message(struct openai_stream *s, const json_t *delta)
{
	const json_t *calls = json_get(delta, "tool_calls"), *call, *reasoning = json_get(delta, "reasoning_content");
	size_t i;
	int rc = take_content(s, json_get(delta, "content"));
	if (rc == 0)
		rc = take_text(s, DELTA_REFUSAL, json_get(delta, "refusal"));
	if (rc == 0)
		rc = take_text(s, DELTA_REASONING, json_is_string(reasoning) ? reasoning : json_get(delta, "reasoning"));
	json_array_foreach (calls, i, call)
		if (rc == 0)
			rc = take_tool_call(s, call);
	return rc;
}

static void take_usage(struct assembly *a, const json_t *chunk)
{
	json_t *usage = json_get(chunk, "usage");
	if (!json_is_object(usage))
		usage = json_get(json_get(chunk, "x_groq"), "usage");
	if (!json_is_object(usage))
		return;
	json_decref(a->usage_raw);
	a->usage_raw = json_incref(usage);
	a->usage_known = openai_read_usage(&a->usage, usage);
}

void openai_take_finish(struct openai_stream *s, const json_t *choice)
{
	struct assembly *a = &s->assembly;
	struct str finish = json_str(choice, "finish_reason");
	if (str_eq_z(finish, "function_call"))
		finish = STR("tool_calls");
	assembly_keep(a, &a->finish, str_eq_z(finish, "model_length") ? STR("length") : finish); /* Mistral */
}

static int take_chunk(struct openai_stream *s, const json_t *chunk, const json_t *choice)
{
	struct assembly *a = &s->assembly;
	assembly_keep(a, &a->id, json_str(chunk, "id"));
	assembly_keep(a, &a->model, json_str(chunk, "model"));
	assembly_keep(a, &a->fingerprint, json_str(chunk, "system_fingerprint"));
	assembly_keep(a, &a->service_tier, json_str(chunk, "service_tier"));
	if (a->created == 0)
		a->created = json_i64(chunk, "created", 0);
	take_usage(a, chunk);
	if (!choice || json_i64(choice, "index", 0) != 0)
		return 0;
	int rc = openai_take_message(s, json_get(choice, "delta"));
	openai_take_finish(s, choice);
	return rc;
}

static bool is_there(const json_t *v)
{
	return v && !json_is_null(v);
}

/* {"error": …}; vLLM's {"object": "error", …}; OpenRouter's error inside the choice. */
json_t *openai_error_in(json_t *answer)
{
	json_t *choice = json_array_get(json_get(answer, "choices"), 0);
	if (is_there(json_get(choice, "error")))
		return choice;
	return is_there(json_get(answer, "error")) || str_eq_z(json_str(answer, "object"), "error") ? answer : NULL;
}

/* An event "error" need not hold JSON. */
static int end_with_error(struct openai_stream *s, json_t *holder, struct str text)
{
	s->error = holder ? json_incref(holder) : json_object();
	if (!holder)
		json_set_str(s->error, "message", text);
	return -ERR_STREAM_CUT;
}

/* Nothing but a text: servers that put a role, or nulls, beside it put them into each chunk. */
static bool is_text_alone(const json_t *delta)
{
	const char *key;
	json_t *v;
	json_object_foreach ((json_t *)(uintptr_t)delta, key, v)
		if (!json_is_null(v) && strcmp(key, "content") != 0 && strcmp(key, "role") != 0)
			return false;
	return json_is_string(json_get(delta, "content"));
}

static int take_json(struct openai_stream *s, const struct sse_event *e)
{
	_cleanup_(json_drop) json_t *chunk = json_parse_answer(e->data, NULL);
	json_t *choice = json_array_get(json_get(chunk, "choices"), 0), *error = openai_error_in(chunk);
	if (error || str_eq_z(e->event, "error"))
		return end_with_error(s, error ? error : chunk, e->data);
	if (!chunk)
		return -ERR_BAD_OUTPUT;
	int rc = take_chunk(s, chunk, choice);
	const json_t *delta = json_get(choice, "delta"), *finish = json_get(choice, "finish_reason");
	bool plain = rc == 0 && is_text_alone(delta) && !is_there(finish) &&
	             !is_there(json_get(chunk, "usage")) && !json_get(chunk, "x_groq") && json_i64(choice, "index", 0) == 0 &&
	             json_array_size(json_get(chunk, "choices")) == 1;
	if (plain && e->event.n == 0)
		shape_learn(&s->shape, e->data, STR("\"content\":\""));
	return rc;
}

static int on_event(void *arg, const struct sse_event *e)
{
	struct openai_stream *s = arg;
	struct str text;
	if (s->assembly.done || e->data.n == 0)
		return 0;
	if (e->event.n == 0 && shape_read(&s->shape, e->data, /* digits_vary= */ false, &text))
		return assembly_text(&s->assembly, DELTA_TEXT, text);
	if (str_eq_z(str_trim(e->data), "[DONE]")) {
		s->assembly.done = s->assembly.over = true;
		return 0;
	}
	return take_json(s, e);
}

void openai_stream_init(struct openai_stream *s, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	*s = (struct openai_stream){ .max_bytes = max_bytes };
	assembly_init(&s->assembly, max_bytes, sink, a);
	shape_init(&s->shape);
	sse_init(&s->sse, max_bytes, on_event, s);
}

void openai_stream_done(struct openai_stream *s)
{
	sse_done(&s->sse);
	assembly_done(&s->assembly);
	shape_done(&s->shape);
	json_drop(&s->error);
}

int openai_stream_feed(struct openai_stream *s, struct str piece)
{
	return sse_feed(&s->sse, piece);
}
