/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat completion as Anthropic's Message (Anthropic: API reference, Messages): what the model thought, its text, its calls of tools, each a block. Why it
 * stopped and what it used are said in Anthropic's terms: input_tokens are those that were neither read from the provider's cache nor written to it.
 *
 * A result is what some provider's server made of an answer, so each member may be missing or of another type: such a one counts as absent. Only a result
 * without a choice is no answer.
 */
#include "api/faces/message.h"

#include <string.h>

#define ANSWER_ARENA ((size_t)64 << 20)

static const json_t *choice_of(const json_t *result)
{
	return json_array_get(json_get(result, "choices"), 0);
}

/* --- how it ended --- */

void message_end_of(const json_t *result, bool partial, struct message_end *ret)
{
	static const char *const reasons[][2] = {
		{ "stop", "end_turn" },       { "length", "max_tokens" },      { "tool_calls", "tool_use" },
		{ "function_call", "tool_use" }, { "content_filter", "refusal" },
	};
	const json_t *choice = choice_of(result), *message = json_get(choice, "message");
	struct str finish = json_str(choice, "finish_reason"), refusal = json_str(message, "refusal"), stop = json_str(choice, "stop_reason");
	*ret = (struct message_end){ .stop_reason = "end_turn" };
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (str_eq_z(finish, reasons[i][0]))
			ret->stop_reason = reasons[i][1];
	bool ended = strcmp(ret->stop_reason, "end_turn") == 0;
	if (refusal.n || strcmp(ret->stop_reason, "refusal") == 0) {
		ret->stop_reason = "refusal";
		ret->refusal = refusal.n ? refusal : STR("the provider's content filter stopped the answer");
	} else if (partial) { /* the whole time was over: as if it had been too long */
		ret->stop_reason = "max_tokens";
	} else if (ended && json_array_size(json_get(message, "tool_calls"))) {
		ret->stop_reason = "tool_use"; /* some servers say `stop` all the same */
	} else if (ended && stop.n) { /* which of the request's it was: some servers tell it there */
		ret->stop_reason = "stop_sequence";
		ret->stop_sequence = stop;
	}
}

void message_write_end(struct buf *b, const struct message_end *end)
{
	buf_printf(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", end->stop_reason);
	if (end->stop_sequence.p)
		buf_add_json_str(b, end->stop_sequence);
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\"stop_details\":");
	if (end->refusal.p) {
		buf_add_z(b, "{\"type\":\"refusal\",\"category\":null,\"explanation\":");
		buf_add_json_str(b, end->refusal);
		buf_add_char(b, '}');
	} else {
		buf_add_z(b, "null");
	}
}

static int64_t count(const json_t *of, const char *name)
{
	return MAX(json_i64(of, name, 0), INT64_C(0));
}

void message_write_usage(struct buf *b, const json_t *usage)
{
	const json_t *input = json_get(usage, "prompt_tokens_details"), *output = json_get(usage, "completion_tokens_details");
	int64_t all = count(usage, "prompt_tokens"), read = MIN(count(input, "cached_tokens"), all),
		written = MIN(count(input, "cache_write_tokens"), all - read);
	buf_printf(b,
	           "{\"input_tokens\":%lld,\"cache_creation_input_tokens\":%lld,\"cache_read_input_tokens\":%lld,\"output_tokens\":%lld,"
	           "\"output_tokens_details\":",
	           (long long)(all - read - written), (long long)written, (long long)read, (long long)count(usage, "completion_tokens"));
	if (json_is_object(output))
		buf_printf(b, "{\"thinking_tokens\":%lld}", (long long)count(output, "reasoning_tokens"));
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\"server_tool_use\":null}");
}

/* --- the message --- */

void message_write_head(struct buf *b, struct id id, struct str model)
{
	char text[ID_TEXT_MAX];
	struct str name = id_text(id, "msg_", text);
	buf_printf(b, "{\"id\":\"" STR_FMT "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", STR_ARG(name));
	buf_add_json_str(b, model);
	buf_add_z(b, ",\"container\":null,\"diagnostics\":null,\"content\":");
}

struct str message_call_id(struct arena *a, struct id job, struct str given, size_t index)
{
	char text[ID_TEXT_MAX];
	if (given.n)
		return given;
	struct str name = id_text(job, "toolu_", text);
	return arena_printf(a, STR_FMT "_%zu", STR_ARG(name), index);
}

static void next(struct buf *b)
{
	if (b->n && b->p[b->n - 1] != '[')
		buf_add_char(b, ',');
}

/* Thoughts with their signatures, where the provider signs them; else their text. */
static void write_thoughts(struct buf *b, const json_t *message)
{
	const json_t *blocks = json_get(message, "thinking_blocks"), *block;
	struct str text = json_str(message, "reasoning_content");
	size_t i;
	json_array_foreach(blocks, i, block)
	{
		struct str type = json_str(block, "type");
		if (!str_eq_z(type, "thinking") && !str_eq_z(type, "redacted_thinking"))
			continue;
		next(b);
		json_write(b, block);
	}
	if (json_array_size(blocks) || text.n == 0)
		return;
	next(b);
	buf_add_z(b, "{\"type\":\"thinking\",\"thinking\":");
	buf_add_json_str(b, text);
	buf_add_z(b, ",\"signature\":\"\"}");
}

static void write_text(struct buf *b, struct str text)
{
	next(b);
	buf_add_z(b, "{\"type\":\"text\",\"text\":");
	buf_add_json_str(b, text);
	buf_add_z(b, ",\"citations\":null}");
}

static void write_texts(struct buf *b, const json_t *message)
{
	const json_t *content = json_get(message, "content"), *part;
	struct str text = json_str_of(content);
	size_t i;
	if (text.n)
		write_text(b, text);
	json_array_foreach(content, i, part) if (json_str(part, "text").n) write_text(b, json_str(part, "text"));
	text = json_str(message, "refusal");
	if (text.n)
		write_text(b, text);
}

/* Arguments that are no object could not be an input. */
static void write_input(struct buf *b, const json_t *function)
{
	struct err err = { 0 };
	json_t *arguments = json_get(function, "arguments");
	json_t *input = json_is_object(arguments) ? json_incref(arguments) : json_parse_lenient(json_str_of(arguments), &err);
	if (json_is_object(input))
		json_write(b, input);
	else
		buf_add_z(b, "{}");
	json_decref(input);
}

static void write_calls(struct buf *b, struct arena *a, struct id job, const json_t *message)
{
	const json_t *call;
	size_t i;
	json_array_foreach(json_get(message, "tool_calls"), i, call)
	{
		const json_t *function = json_get(call, "function");
		next(b);
		buf_add_z(b, "{\"type\":\"tool_use\",\"id\":");
		buf_add_json_str(b, message_call_id(a, job, json_str(call, "id"), i));
		buf_add_z(b, ",\"name\":");
		buf_add_json_str(b, json_str(function, "name"));
		buf_add_z(b, ",\"input\":");
		write_input(b, function);
		buf_add_z(b, ",\"caller\":{\"type\":\"direct\"}}");
	}
}

int message_write(struct buf *b, const struct face_answer *j)
{
	const json_t *message = json_get(choice_of(j->result), "message");
	struct message_end end;
	struct arena a;
	if (!json_is_object(message))
		return -ERR_BAD_OUTPUT;
	arena_init(&a, ANSWER_ARENA);
	message_write_head(b, j->id, j->model);
	buf_add_char(b, '[');
	write_thoughts(b, message);
	write_texts(b, message);
	write_calls(b, &a, j->id, message);
	buf_add_z(b, "],");
	message_end_of(j->result, j->partial, &end);
	message_write_end(b, &end);
	buf_add_z(b, ",\"usage\":");
	message_write_usage(b, json_get(j->result, "usage"));
	buf_add_char(b, '}');
	arena_done(&a);
	return 0;
}

const struct face face_message = {
	.form = FORM_MESSAGE,
	.name = "message",
	.id_prefix = "msg_",
	.kind = SUBMISSION_CHAT,
	.read = message_read,
	.pointer = message_pointer,
	.write = message_write,
	.stream_begin = message_stream_begin,
	.stream_delta = message_stream_delta,
	.stream_end = message_stream_end,
	.stream_fail = message_stream_fail,
};
