/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer of Anthropic's, from the events of a stream or from one object, into an assembly. A stream goes message_start (id, model, what the input
 * cost), then one content block after the other (start, deltas, stop), message_delta (stop reason, usage so far) and message_stop; ping and events
 * and blocks that are not known are skipped. Counts are cumulative: a later one replaces the earlier, unless it is smaller.
 *
 * Thinking is told as reasoning, and its blocks are kept with their signatures, as they must be sent back. An error event ends the stream, whatever
 * has come before; so does a delta for a block that is not open. Nearly all events of a stream are pieces of text of one block, and are not parsed (shape.h).
 */
#include "worker/providers/anthropic.h"

#define COUNT_MAX ((int64_t)1 << 53)

/* --- usage --- */

static int64_t count(const json_t *usage, const char *key, int64_t before)
{
	const json_t *v = json_get(usage, key);
	return json_is_integer(v) ? MAX(before, MIN(json_integer_value(v), COUNT_MAX)) : before;
}

/*
 * Where the provider goes round several times for one message (a compaction of the context, then the message), the counts at the top are those of the
 * last round, and all are billed ("Compaction: understanding usage"). Rounds of other models (an advisor's) have prices of their own and are left out.
 */
static int64_t count_rounds(const json_t *usage, const char *key, int64_t before)
{
	const json_t *round;
	int64_t sum = 0;
	size_t i;
	json_array_foreach (json_get(usage, "iterations"), i, round) {
		struct str type = json_str(round, "type");
		if (str_eq_z(type, "message") || str_eq_z(type, "compaction"))
			sum = MIN(sum + count(round, key, 0), COUNT_MAX);
	}
	return MAX(sum, count(usage, key, before));
}

/* Input, cache reads and cache writes are counted apart from each other here; the total is their sum. */
static void take_usage(struct anthropic_answer *s, const json_t *usage)
{
	struct provider_usage *u = &s->assembly.usage;
	const json_t *writes = json_get(usage, "cache_creation");
	if (!json_is_object(usage))
		return;
	s->plain_input = count_rounds(usage, "input_tokens", s->plain_input);
	s->cached_input = count_rounds(usage, "cache_read_input_tokens", s->cached_input);
	s->cache_write = count_rounds(usage, "cache_creation_input_tokens", s->cache_write);
	s->cache_write = MAX(s->cache_write, count(writes, "ephemeral_5m_input_tokens", 0) + count(writes, "ephemeral_1h_input_tokens", 0));
	u->input = s->plain_input + s->cached_input + s->cache_write;
	u->cached_input = s->cached_input;
	u->cache_write = s->cache_write;
	u->output = count_rounds(usage, "output_tokens", u->output);
	u->reasoning = count(json_get(usage, "output_tokens_details"), "thinking_tokens", u->reasoning);
	struct str tier = json_str(usage, "service_tier");
	assembly_keep(&s->assembly, &s->assembly.service_tier, str_eq_z(tier, "standard") ? STR("default") : tier);
}

/* What was counted by the end. Before, the output is not known. */
static void take_final_usage(struct anthropic_answer *s, const json_t *usage)
{
	take_usage(s, usage);
	if (json_is_integer(json_get(usage, "output_tokens")))
		s->assembly.usage_known = s->assembly.usage.input > 0 || s->assembly.usage.output > 0;
	assembly_usage_tidy(&s->assembly.usage);
}

/* --- the end --- */

static void take_stop_reason(struct anthropic_answer *s, const json_t *from)
{
	static const char *const reasons[][2] = {
		{ "end_turn", "stop" }, { "stop_sequence", "stop" }, { "pause_turn", "stop" }, { "max_tokens", "length" },
		{ "model_context_window_exceeded", "length" }, { "tool_use", "tool_calls" }, { "refusal", "content_filter" },
	};
	struct str reason = json_str(from, "stop_reason"), category = json_str(json_get(from, "stop_details"), "category");
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (str_eq_z(reason, reasons[i][0])) {
			assembly_keep(&s->assembly, &s->assembly.finish, str_from(reasons[i][1]));
			assembly_keep(&s->assembly, &s->refused, category);
			if (str_eq_z(reason, "stop_sequence"))
				assembly_keep(&s->assembly, &s->assembly.stopped_by, json_str(from, "stop_sequence"));
			return;
		}
	assembly_keep(&s->assembly, &s->assembly.finish, reason);
}

/* --- content blocks --- */

static int keep_thinking(struct anthropic_answer *s, json_t *block, size_t bytes)
{
	s->kept += bytes + 100;
	if (s->kept > s->max_bytes)
		return -ERR_TOO_LARGE;
	if (!s->assembly.thinking)
		s->assembly.thinking = json_array();
	json_array_append(s->assembly.thinking, block);
	return 0;
}

static int end_thinking(struct anthropic_answer *s)
{
	json_t *block = json_copy(s->block);
	json_set_str(block, "thinking", buf_str(&s->thinking));
	json_set_str(block, "signature", buf_str(&s->signature));
	int rc = keep_thinking(s, block, s->thinking.n + s->signature.n);
	json_decref(block);
	return rc;
}

/* The arguments come as pieces of JSON text, or (in an answer that is no stream) as an object. */
static int end_call(struct anthropic_answer *s)
{
	const json_t *input = json_get(s->block, "input");
	struct buf text;
	if (s->assembly.tools[s->tools - 1].arguments.n || json_object_size(input) == 0)
		return 0;
	buf_init(&text, s->max_bytes);
	int rc = json_write(&text, input);
	if (rc == 0)
		rc = assembly_tool(&s->assembly, s->tools - 1, STR(""), STR(""), buf_str(&text));
	buf_done(&text);
	return rc;
}

static int end_block(struct anthropic_answer *s)
{
	int rc = 0;
	if (s->open == BLOCK_TOOL)
		rc = end_call(s);
	else if (s->open == BLOCK_THINKING)
		rc = end_thinking(s);
	s->open = BLOCK_NONE;
	json_decref(s->block);
	s->block = NULL;
	buf_clear(&s->thinking);
	buf_clear(&s->signature);
	return rc;
}

static int add_thinking(struct anthropic_answer *s, struct str text)
{
	if (buf_add_str(&s->thinking, text) < 0)
		return -ERR_TOO_LARGE;
	return text.n ? assembly_text(&s->assembly, DELTA_REASONING, text) : 0;
}

static int begin_block(struct anthropic_answer *s, json_t *block, int64_t index)
{
	struct str type = json_str(block, "type");
	int rc = s->open == BLOCK_NONE ? 0 : end_block(s); /* a server forgot the stop */
	if (rc < 0)
		return rc;
	shape_forget(&s->shape); /* it holds the block's index */
	s->open = BLOCK_OTHER;
	s->open_index = index;
	s->block = json_incref(block);
	if (str_eq_z(type, "text"))
		return assembly_text(&s->assembly, DELTA_TEXT, json_str(block, "text"));
	if (str_eq_z(type, "tool_use")) {
		s->open = BLOCK_TOOL;
		return assembly_tool(&s->assembly, s->tools++, json_str(block, "id"), json_str(block, "name"), STR(""));
	}
	if (str_eq_z(type, "thinking")) {
		s->open = BLOCK_THINKING;
		if (buf_add_str(&s->signature, json_str(block, "signature")) < 0)
			return -ERR_TOO_LARGE;
		return add_thinking(s, json_str(block, "thinking"));
	}
	return str_eq_z(type, "redacted_thinking") ? keep_thinking(s, block, json_str(block, "data").n) : 0;
}

static int take_delta(struct anthropic_answer *s, const json_t *delta)
{
	struct str type = json_str(delta, "type");
	if (str_eq_z(type, "text_delta"))
		return assembly_text(&s->assembly, DELTA_TEXT, json_str(delta, "text"));
	if (str_eq_z(type, "input_json_delta") && s->open == BLOCK_TOOL)
		return assembly_tool(&s->assembly, s->tools - 1, STR(""), STR(""), json_str(delta, "partial_json"));
	if (str_eq_z(type, "thinking_delta") && s->open == BLOCK_THINKING)
		return add_thinking(s, json_str(delta, "thinking"));
	if (str_eq_z(type, "signature_delta") && s->open == BLOCK_THINKING)
		return buf_add_str(&s->signature, json_str(delta, "signature")) < 0 ? -ERR_TOO_LARGE : 0;
	return 0;
}

/* --- events --- */

static void take_head(struct anthropic_answer *s, const json_t *message)
{
	assembly_keep(&s->assembly, &s->assembly.id, json_str(message, "id"));
	assembly_keep(&s->assembly, &s->assembly.model, json_str(message, "model"));
}

static int on_message_start(struct anthropic_answer *s, const json_t *e)
{
	const json_t *message = json_get(e, "message");
	take_head(s, message);
	take_usage(s, json_get(message, "usage"));
	assembly_usage_tidy(&s->assembly.usage);
	return 0;
}

static int on_block_start(struct anthropic_answer *s, const json_t *e)
{
	return begin_block(s, json_get(e, "content_block"), json_i64(e, "index", 0));
}

static int on_block_delta(struct anthropic_answer *s, const json_t *e)
{
	if (s->open == BLOCK_NONE || json_i64(e, "index", s->open_index) != s->open_index)
		return -ERR_BAD_OUTPUT;
	return take_delta(s, json_get(e, "delta"));
}

static int on_block_stop(struct anthropic_answer *s, const json_t *e)
{
	(void)e;
	return s->open == BLOCK_NONE ? 0 : end_block(s);
}

static int on_message_delta(struct anthropic_answer *s, const json_t *e)
{
	take_stop_reason(s, json_get(e, "delta"));
	take_final_usage(s, json_get(e, "usage"));
	return 0;
}

static int on_message_stop(struct anthropic_answer *s, const json_t *e)
{
	int rc = on_block_stop(s, e);
	s->assembly.done = s->assembly.over = rc == 0;
	return rc;
}

static int take_event(struct anthropic_answer *s, struct str type, const json_t *e)
{
	static const struct {
		const char *type;
		int (*read)(struct anthropic_answer *s, const json_t *e);
	} events[] = {
		{ "message_start", on_message_start },       { "content_block_start", on_block_start }, { "content_block_delta", on_block_delta },
		{ "content_block_stop", on_block_stop },     { "message_delta", on_message_delta },     { "message_stop", on_message_stop },
	};
	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		if (str_eq_z(type, events[i].type))
			return events[i].read(s, e);
	return 0;
}

static bool is_error(const json_t *v, struct str type)
{
	return str_eq_z(type, "error") || json_is_object(json_get(v, "error"));
}

/* Anthropic pads events with spaces before their last brace, so that their length does not tell the text's. */
static struct str without_padding(struct str data)
{
	if (data.n == 0 || data.p[data.n - 1] != '}')
		return data;
	do
		data.n--;
	while (data.n && data.p[data.n - 1] == ' ');
	return data;
}

/* {"type": "content_block_delta", "index": N, "delta": {"type": "text_delta", "text": "…"}} and nothing else. */
static bool is_text_alone(const json_t *e)
{
	const json_t *delta = json_get(e, "delta");
	return json_object_size(e) == 3 && json_is_integer(json_get(e, "index")) && json_object_size(delta) == 2 &&
	       str_eq_z(json_str(delta, "type"), "text_delta") && json_is_string(json_get(delta, "text"));
}

/* The next events of this block are of this form, nearly all of them. */
static void learn_shape(struct anthropic_answer *s, const struct sse_event *event, struct str type, const json_t *e)
{
	if (s->open == BLOCK_OTHER && str_eq_z(type, "content_block_delta") && is_text_alone(e))
		shape_learn(&s->shape, without_padding(event->data), STR("\"text\":\""));
}

static int on_event(void *arg, const struct sse_event *event)
{
	struct anthropic_answer *s = arg;
	struct str text;
	if (s->assembly.done || event->data.n == 0)
		return 0;
	if (s->open == BLOCK_OTHER && !str_eq_z(event->event, "error") && shape_read(&s->shape, without_padding(event->data), /* digits_vary= */ false, &text))
		return assembly_text(&s->assembly, DELTA_TEXT, text);
	json_t *e = json_parse_answer(event->data, NULL);
	if (!e)
		return -ERR_BAD_OUTPUT;
	struct str type = json_str(e, "type");
	int rc;
	if (is_error(e, type) || str_eq_z(event->event, "error")) {
		s->error = json_incref(e);
		rc = -ERR_STREAM_CUT;
	} else {
		rc = take_event(s, type.n ? type : event->event, e);
		if (rc == 0)
			learn_shape(s, event, type, e);
	}
	json_decref(e);
	return rc;
}

/* --- */

void anthropic_answer_init(struct anthropic_answer *s, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	*s = (struct anthropic_answer){ .max_bytes = max_bytes };
	assembly_init(&s->assembly, max_bytes, sink, a);
	sse_init(&s->sse, max_bytes, on_event, s);
	buf_init(&s->thinking, max_bytes);
	buf_init(&s->signature, max_bytes);
	shape_init(&s->shape);
}

void anthropic_answer_done(struct anthropic_answer *s)
{
	assembly_done(&s->assembly);
	sse_done(&s->sse);
	shape_done(&s->shape);
	buf_done(&s->thinking);
	buf_done(&s->signature);
	json_decref(s->block);
	json_decref(s->error);
	s->block = s->error = NULL;
}

int anthropic_answer_feed(struct anthropic_answer *s, struct str piece)
{
	return sse_feed(&s->sse, piece);
}

int anthropic_answer_whole(struct anthropic_answer *s, json_t *message)
{
	json_t *content = json_get(message, "content"), *block;
	size_t i;
	int rc = 0;
	if (is_error(message, json_str(message, "type"))) {
		s->error = json_incref(message);
		return -ERR_BAD_OUTPUT;
	}
	take_head(s, message);
	take_final_usage(s, json_get(message, "usage"));
	json_array_foreach (content, i, block) {
		rc = begin_block(s, block, (int64_t)i);
		if (rc == 0)
			rc = end_block(s);
		if (rc < 0)
			return rc;
	}
	take_stop_reason(s, message);
	s->assembly.done = true;
	return 0;
}
