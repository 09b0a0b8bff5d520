/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Converse's answers, from one object or from ConverseStream's events (Amazon Bedrock API Reference: ConverseStream): messageStart, then for each block of
 * content its start, deltas and stop, then messageStop with the reason, then metadata with the usage. The end mark is messageStop.
 *
 * Where a JSON schema was asked for, the input of the tool made for it is the text of the answer. An exception in place of an event ends the stream; what
 * is not known is skipped. Nearly all events of a stream are pieces of text, and are not parsed (shape.h).
 */
#include "worker/providers/bedrock.h"

#include <ctype.h>

#include "common/err.h"

static int on_event(void *arg, const struct eventstream_event *e);

void bedrock_answer_init(struct bedrock_answer *s, struct str answer_tool, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	*s = (struct bedrock_answer){ .answer_tool = answer_tool, .answer_block = -1 };
	assembly_init(&s->out, max_bytes, sink, a);
	eventstream_init(&s->events, max_bytes, on_event, s);
	buf_init(&s->aside, max_bytes);
	buf_init(&s->thinking, max_bytes);
	buf_init(&s->signature, max_bytes);
	shape_init(&s->shape);
}

void bedrock_answer_done(struct bedrock_answer *s)
{
	assembly_done(&s->out);
	eventstream_done(&s->events);
	shape_done(&s->shape);
	buf_done(&s->aside);
	buf_done(&s->thinking);
	buf_done(&s->signature);
}

/* --- pieces --- */

static int take_text(struct bedrock_answer *s, struct str text)
{
	if (s->answer_tool.n == 0)
		return assembly_text(&s->out, DELTA_TEXT, text);
	s->out.token |= text.n > 0;
	return buf_add_str(&s->aside, text) < 0 ? -ERR_TOO_LARGE : 0;
}

/* In the form of Anthropic's own blocks, so that they can be sent back. */
static void end_thinking(struct bedrock_answer *s)
{
	if (s->signature.n) {
		json_t *block = json_object();
		json_set_str(block, "type", STR("thinking"));
		json_set_str(block, "thinking", buf_str(&s->thinking));
		json_set_str(block, "signature", buf_str(&s->signature));
		if (!s->out.thinking)
			s->out.thinking = json_array();
		json_array_append_new(s->out.thinking, block);
	}
	buf_clear(&s->thinking);
	buf_clear(&s->signature);
}

static int take_thinking(struct bedrock_answer *s, const json_t *piece)
{
	struct str text = json_str(piece, "text"), signature = json_str(piece, "signature"), hidden = json_str(piece, "redactedContent");
	if (hidden.n) {
		json_t *block = json_object();
		end_thinking(s);
		json_set_str(block, "type", STR("redacted_thinking"));
		json_set_str(block, "data", hidden);
		if (!s->out.thinking)
			s->out.thinking = json_array();
		json_array_append_new(s->out.thinking, block);
	}
	if (buf_add_str(&s->thinking, text) < 0 || buf_add_str(&s->signature, signature) < 0)
		return -ERR_TOO_LARGE;
	return text.n ? assembly_text(&s->out, DELTA_REASONING, text) : 0;
}

/* The start of a tool's block. */
static int start_tool(struct bedrock_answer *s, int64_t block, const json_t *use)
{
	if (s->answer_tool.n && str_eq(json_str(use, "name"), s->answer_tool) && s->answer_block < 0) {
		s->answer_block = block;
		return assembly_text(&s->out, DELTA_TEXT, STR(""));
	}
	if (s->ntools == ASSEMBLY_TOOLS_MAX)
		return -ERR_BAD_OUTPUT;
	s->blocks[s->ntools++] = block;
	return assembly_tool(&s->out, (int64_t)s->ntools - 1, json_str(use, "toolUseId"), json_str(use, "name"), STR(""));
}

static int take_input(struct bedrock_answer *s, int64_t block, struct str input)
{
	if (s->answer_block >= 0 && block == s->answer_block)
		return assembly_text(&s->out, DELTA_TEXT, input);
	for (size_t i = s->ntools; i-- > 0;)
		if (s->blocks[i] == block)
			return assembly_tool(&s->out, (int64_t)i, STR(""), STR(""), input);
	return -ERR_BAD_OUTPUT; /* a piece of a call that did not begin */
}

/* --- the end --- */

static const struct {
	const char *word, *canonical;
} reasons[] = {
	{ "end_turn", "stop" },          { "stop_sequence", "stop" },
	{ "max_tokens", "length" },      { "model_context_window_exceeded", "length" },
	{ "tool_use", "tool_calls" },    { "content_filtered", "content_filter" },
	{ "guardrail_intervened", "content_filter" },
};

static void take_stop(struct bedrock_answer *s, struct str reason)
{
	struct str finish = reason;
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (str_eq_z(reason, reasons[i].word))
			finish = str_from(reasons[i].canonical);
	/* The tool that is the answer is none to the caller. */
	if (str_eq_z(finish, "tool_calls") && s->answer_block >= 0 && s->ntools == 0)
		finish = STR("stop");
	assembly_keep(&s->out, &s->out.finish, finish);
	s->out.done = true;
}

static int64_t count_of(const json_t *usage, const char *key)
{
	return MIN(MAX(json_i64(usage, key, 0), 0), (int64_t)1 << 40);
}

/* What is read from the cache and written into it stands beside inputTokens; the total may hold it or not. */
static void take_usage(struct bedrock_answer *s, const json_t *usage)
{
	struct provider_usage *u = &s->out.usage;
	if (!json_is_integer(json_get(usage, "inputTokens")) && !json_is_integer(json_get(usage, "outputTokens")))
		return;
	int64_t plain = count_of(usage, "inputTokens"), total = count_of(usage, "totalTokens");
	*u = (struct provider_usage){ .cached_input = count_of(usage, "cacheReadInputTokens"), .cache_write = count_of(usage, "cacheWriteInputTokens") };
	u->input = plain + u->cached_input + u->cache_write;
	u->output = count_of(usage, "outputTokens");
	u->disagrees = json_get(usage, "totalTokens") && total != u->input + u->output && total != plain + u->output;
	s->out.usage_known = u->input > 0 || u->output > 0;
	assembly_usage_tidy(u);
}

int bedrock_answer_finish(struct bedrock_answer *s)
{
	if (s->answer_block >= 0 || s->aside.n == 0)
		return 0;
	int rc = assembly_text(&s->out, DELTA_TEXT, buf_str(&s->aside));
	buf_clear(&s->aside);
	return rc;
}

/* --- a whole answer --- */

static int take_block(struct bedrock_answer *s, int64_t at, const json_t *block)
{
	const json_t *use = json_get(block, "toolUse"), *reasoning = json_get(block, "reasoningContent"), *text = json_get(block, "text");
	if (json_is_string(text))
		return take_text(s, json_str_of(text));
	if (json_is_object(reasoning)) {
		const json_t *inner = json_get(reasoning, "reasoningText");
		int rc = take_thinking(s, inner ? inner : reasoning);
		end_thinking(s);
		return rc;
	}
	if (!json_is_object(use))
		return 0;
	struct buf input;
	buf_init(&input, s->out.max_bytes);
	int rc = start_tool(s, at, use);
	if (rc == 0 && json_is_object(json_get(use, "input")))
		rc = json_write(&input, json_get(use, "input")) < 0 ? -ERR_TOO_LARGE : 0;
	if (rc == 0)
		rc = take_input(s, at, buf_str(&input));
	buf_done(&input);
	return rc;
}

int bedrock_answer_take(struct bedrock_answer *s, const json_t *body)
{
	const json_t *content = json_get(json_get(json_get(body, "output"), "message"), "content"), *block;
	struct str reason = json_str(body, "stopReason");
	size_t i;
	int rc = 0;
	json_array_foreach (content, i, block)
		if (rc == 0)
			rc = take_block(s, (int64_t)i, block);
	take_usage(s, json_get(body, "usage"));
	assembly_keep(&s->out, &s->out.service_tier, json_str(json_get(body, "serviceTier"), "type"));
	if (rc == 0 && (!json_is_array(content) || reason.n == 0))
		return -ERR_BAD_OUTPUT;
	take_stop(s, reason);
	return rc;
}

/* --- a stream --- */

static int take_delta(struct bedrock_answer *s, const json_t *event)
{
	const json_t *delta = json_get(event, "delta"), *text = json_get(delta, "text"), *use = json_get(delta, "toolUse"), *reasoning = json_get(delta, "reasoningContent");
	if (json_is_string(text))
		return take_text(s, json_str_of(text));
	if (json_is_object(use))
		return take_input(s, json_i64(event, "contentBlockIndex", 0), json_str(use, "input"));
	return json_is_object(reasoning) ? take_thinking(s, reasoning) : 0;
}

static int take_event(struct bedrock_answer *s, struct str type, const json_t *event)
{
	if (str_eq_z(type, "metadata")) {
		take_usage(s, json_get(event, "usage"));
		assembly_keep(&s->out, &s->out.service_tier, json_str(json_get(event, "serviceTier"), "type"));
		s->out.over = s->out.done;
	}
	if (s->out.done)
		return 0;
	if (str_eq_z(type, "contentBlockDelta"))
		return take_delta(s, event);
	const json_t *use = json_get(json_get(event, "start"), "toolUse");
	if (str_eq_z(type, "contentBlockStart") && json_is_object(use))
		return start_tool(s, json_i64(event, "contentBlockIndex", 0), use);
	if (str_eq_z(type, "contentBlockStop"))
		end_thinking(s);
	if (str_eq_z(type, "messageStop")) {
		end_thinking(s);
		take_stop(s, json_str(event, "stopReason"));
		return bedrock_answer_finish(s);
	}
	return 0;
}

/* Texts out of a frame's headers may be any bytes. */
static int fail(struct bedrock_answer *s, struct str type, struct str message)
{
	message = str_is_utf8(message) ? message : STR("");
	s->failed = true;
	s->error_type = arena_str(s->out.arena, bedrock_error_name(str_utf8_prefix(type, 200)));
	s->error_message = arena_str(s->out.arena, str_utf8_prefix(message, 500));
	return -ERR_STREAM_CUT;
}

/* The payload without its last brace, nor the random letters that Bedrock puts before it, so that its length does not tell the text's. */
static struct str without_padding(struct str payload)
{
	static const struct str before = STR(",\"p\":\"");
	if (payload.n == 0 || payload.p[payload.n - 1] != '}')
		return payload;
	payload.n--;
	if (payload.n == 0 || payload.p[payload.n - 1] != '"')
		return payload;
	size_t n = payload.n - 1;
	while (n > 0 && isalnum((unsigned char)payload.p[n - 1]))
		n--;
	struct str front = str_sub(payload, 0, n);
	return str_has_suffix(front, before) ? str_sub(front, 0, n - before.n) : payload;
}

/* {"contentBlockIndex": N, "delta": {"text": "…"}, "p": "…"} and nothing else. */
static bool is_text_alone(const json_t *payload)
{
	const json_t *delta = json_get(payload, "delta");
	size_t known = json_get(payload, "contentBlockIndex") ? 2 : 1;
	known += json_get(payload, "p") ? 1 : 0;
	return json_object_size(payload) == known && json_object_size(delta) == 1 && json_is_string(json_get(delta, "text"));
}

static int take_payload(struct bedrock_answer *s, const struct eventstream_event *e, const json_t *payload)
{
	if (!json_is_object(payload))
		return -ERR_BAD_OUTPUT;
	int rc = take_event(s, e->event_type, payload);
	if (rc == 0 && str_eq_z(e->event_type, "contentBlockDelta") && is_text_alone(payload))
		shape_learn(&s->shape, without_padding(e->payload), STR("\"text\":\""));
	return rc;
}

static int on_event(void *arg, const struct eventstream_event *e)
{
	struct bedrock_answer *s = arg;
	struct str text;
	if (str_eq_z(e->message_type, "event") && !s->out.done && str_eq_z(e->event_type, "contentBlockDelta") &&
	    shape_read(&s->shape, without_padding(e->payload), /* digits_vary= */ false, &text))
		return take_text(s, text);
	if (str_eq_z(e->message_type, "error"))
		return s->out.done ? 0 : fail(s, e->error_code, e->error_message);
	json_t *payload = e->payload.n ? json_parse_answer(e->payload, NULL) : json_object();
	int rc = 0;
	if (str_eq_z(e->message_type, "exception"))
		rc = s->out.done ? 0 : fail(s, e->exception_type, json_str(payload, "message"));
	else
		rc = take_payload(s, e, payload);
	json_decref(payload);
	return rc;
}

int bedrock_answer_feed(struct bedrock_answer *s, struct str piece)
{
	return eventstream_feed(&s->events, piece);
}
