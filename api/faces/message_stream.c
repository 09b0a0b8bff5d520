/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer as Anthropic's stream of events (Anthropic: Streaming Messages): message_start, a ping, one content block after the other (start, deltas,
 * stop), message_delta with why it stopped and what it used, message_stop.
 *
 * Native deltas have no blocks: a block is open as long as pieces of its kind come. A call begins when its name is known. Blocks cannot be opened
 * again: should a call go on after another one began, which no provider does, the stream ends with an error, and the answer can be had without `stream`.
 * Signatures of thoughts are known at the end only, and are told then.
 */
#include "api/faces/message.h"

#define THOUGHTS_MAX 64
#define EARLY_MAX    65536 /* bytes of arguments before the call's name */

enum block { BLOCK_NONE, BLOCK_THINKING, BLOCK_TEXT, BLOCK_CALL };

struct state {
	enum block open;
	size_t blocks;             /* begun so far; the open one is the last */
	int64_t call;              /* native index of the last call; -1: none yet */
	bool waiting;              /* that call has no name yet: its block is not begun */
	struct str id, early;      /* its id, and what came of its arguments before the name */
	bool broken;
	size_t thoughts[THOUGHTS_MAX], nthoughts; /* indices of the blocks of thoughts */
};

static void begin_event(struct face_stream *s, const char *type)
{
	buf_printf(s->out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct face_stream *s)
{
	buf_add_z(s->out, "}\n\n");
}

/* --- blocks --- */

static void close_block(struct face_stream *s)
{
	struct state *st = s->state;
	if (st->open == BLOCK_NONE)
		return;
	st->open = BLOCK_NONE;
	begin_event(s, "content_block_stop");
	buf_printf(s->out, ",\"index\":%zu", st->blocks - 1);
	end_event(s);
}

/* Up to and without what is in the block. */
static void begin_block(struct face_stream *s, enum block kind)
{
	struct state *st = s->state;
	close_block(s);
	st->open = kind;
	begin_event(s, "content_block_start");
	buf_printf(s->out, ",\"index\":%zu,\"content_block\":", st->blocks++);
}

static void write_delta(struct face_stream *s, size_t index, const char *type, const char *member, struct str text)
{
	begin_event(s, "content_block_delta");
	buf_printf(s->out, ",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":", index, type, member);
	buf_add_json_str(s->out, text);
	buf_add_char(s->out, '}');
	end_event(s);
}

static void begin_call(struct face_stream *s, struct str name)
{
	struct state *st = s->state;
	st->waiting = false;
	begin_block(s, BLOCK_CALL);
	buf_add_z(s->out, "{\"type\":\"tool_use\",\"id\":");
	buf_add_json_str(s->out, message_call_id(s->a, s->id, st->id, (size_t)st->call));
	buf_add_z(s->out, ",\"name\":");
	buf_add_json_str(s->out, name);
	buf_add_z(s->out, ",\"input\":{},\"caller\":{\"type\":\"direct\"}}");
	end_event(s);
	if (st->early.n)
		write_delta(s, st->blocks - 1, "input_json_delta", "partial_json", st->early);
}

/* What is open ends here, whatever is missing of it. */
static void settle(struct face_stream *s)
{
	struct state *st = s->state;
	if (st->waiting)
		begin_call(s, STR(""));
	close_block(s);
}

static void add_text(struct face_stream *s, enum block kind, struct str text)
{
	struct state *st = s->state;
	bool thought = kind == BLOCK_THINKING;
	if (text.n == 0)
		return;
	if (st->open != kind) {
		settle(s);
		begin_block(s, kind);
		buf_add_z(s->out, thought ? "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}" : "{\"type\":\"text\",\"text\":\"\",\"citations\":null}");
		end_event(s);
		if (thought && st->nthoughts < THOUGHTS_MAX)
			st->thoughts[st->nthoughts++] = st->blocks - 1;
	}
	write_delta(s, st->blocks - 1, thought ? "thinking_delta" : "text_delta", thought ? "thinking" : "text", text);
}

static void add_call(struct face_stream *s, const json_t *call)
{
	struct state *st = s->state;
	const json_t *function = json_get(call, "function");
	struct str id = json_str(call, "id"), name = json_str(function, "name"), arguments = json_str(function, "arguments");
	int64_t index = json_i64(call, "index", MAX(st->call, INT64_C(0)));
	if (index > st->call) {
		settle(s);
		st->call = index;
		st->waiting = true;
		st->id = st->early = (struct str){ 0 };
	} else if (index < st->call || (!st->waiting && st->open != BLOCK_CALL)) {
		st->broken = st->broken || arguments.n > 0;
		return;
	}
	if (st->waiting && id.n)
		st->id = arena_str(s->a, id);
	if (st->waiting && name.n)
		begin_call(s, name);
	st->broken |= st->waiting && st->early.n + arguments.n > EARLY_MAX;
	if (st->waiting && !st->broken)
		st->early = arena_printf(s->a, STR_FMT STR_FMT, STR_ARG(st->early), STR_ARG(arguments));
	else if (!st->waiting && arguments.n)
		write_delta(s, st->blocks - 1, "input_json_delta", "partial_json", arguments);
}

/* --- the stream --- */

void message_stream_begin(struct face_stream *s)
{
	struct state *st = arena_new(s->a, struct state);
	st->call = -1;
	s->state = st;
	s->began = true;
	begin_event(s, "message_start");
	buf_add_z(s->out, ",\"message\":");
	message_write_head(s->out, s->id, s->model);
	buf_add_z(s->out, "[],\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"usage\":");
	message_write_usage(s->out, NULL);
	buf_add_char(s->out, '}');
	end_event(s);
	begin_event(s, "ping");
	end_event(s);
}

void message_stream_delta(struct face_stream *s, const json_t *delta)
{
	const json_t *call;
	size_t i;
	add_text(s, BLOCK_THINKING, json_str(delta, "reasoning_content"));
	add_text(s, BLOCK_TEXT, json_str(delta, "content"));
	add_text(s, BLOCK_TEXT, json_str(delta, "refusal"));
	json_array_foreach(json_get(delta, "tool_calls"), i, call) add_call(s, call);
}

/* What was signed is told at its block, when there are as many as were told; what is hidden is a block of its own. */
static void tell_signatures(struct face_stream *s, const json_t *result)
{
	const struct state *st = s->state;
	const json_t *blocks = json_get(json_get(json_array_get(json_get(result, "choices"), 0), "message"), "thinking_blocks"), *block;
	size_t i, signed_n = 0;
	json_array_foreach(blocks, i, block) signed_n += str_eq_z(json_str(block, "type"), "thinking");
	bool same = signed_n == st->nthoughts;
	signed_n = 0;
	json_array_foreach(blocks, i, block)
	{
		struct str type = json_str(block, "type"), signature = json_str(block, "signature");
		if (str_eq_z(type, "thinking") && same) {
			if (signature.n)
				write_delta(s, st->thoughts[signed_n], "signature_delta", "signature", signature);
			signed_n++;
		} else if (str_eq_z(type, "redacted_thinking")) {
			begin_block(s, BLOCK_THINKING);
			json_write(s->out, block);
			end_event(s);
			close_block(s);
		}
	}
}

void message_stream_end(struct face_stream *s, const struct face_answer *j)
{
	const struct state *st = s->state;
	struct message_end end;
	settle(s);
	if (st->broken) {
		struct err err = { 0 };
		err_set(&err, ERR_BAD_OUTPUT, "the calls of tools came mixed with each other: ask again without stream");
		message_stream_fail(s, &err);
		return;
	}
	tell_signatures(s, j->result);
	message_end_of(j->result, j->partial, &end);
	begin_event(s, "message_delta");
	buf_add_z(s->out, ",\"delta\":{\"container\":null,");
	message_write_end(s->out, &end);
	buf_add_z(s->out, "},\"usage\":");
	message_write_usage(s->out, json_get(j->result, "usage"));
	end_event(s);
	begin_event(s, "message_stop");
	end_event(s);
}

void message_stream_fail(struct face_stream *s, const struct err *err)
{
	struct face_error e = face_error_of(str_from(err_code_name((int)err->code)));
	buf_add_z(s->out, "event: error\ndata: ");
	face_error_write_anthropic(s->out, &e, err, (struct str){ 0 });
	buf_add_z(s->out, "\n\n");
}
