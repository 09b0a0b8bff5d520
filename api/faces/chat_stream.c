/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks of a chat completion (OpenAI: The chat completion chunk object): the role, the deltas as they come, the reason why it ended, the usage where it was
 * asked for (in a chunk without choices; all others say null then), and [DONE]. The model's own name is not known while it runs, so chunks name what was
 * asked for.
 *
 * A stream of an answer that is had whole (several choices, log probabilities, sound) tells one choice after the other, each as if it had come alone. Log
 * probabilities go with their tokens, a chunk each, where the tokens are the text; where they are not, with the text as one.
 */
#include "api/faces/chat.h"

#include "common/http/sse.h"

#define CHUNK_MAX ((size_t)1 << 30)

/* A chunk: `choices` is its JSON, usage NULL: null. Members that are not known yet are absent. */
static void add_chunk(struct face_stream *s, struct str choices, const json_t *usage, const json_t *result)
{
	char id[ID_TEXT_MAX];
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	buf_add_z(&b, "{\"id\":");
	buf_add_json_str(&b, id_text(s->id, face_chat.id_prefix, id));
	buf_printf(&b, ",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":", (long long)(s->created_us / 1000000));
	buf_add_json_str(&b, s->model);
	static const char *const passed[] = { "service_tier", "system_fingerprint" };
	for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
		struct str text = json_str(result, passed[i]);
		if (text.n == 0)
			continue;
		buf_printf(&b, ",\"%s\":", passed[i]);
		buf_add_json_str(&b, text);
	}
	buf_add_z(&b, ",\"choices\":");
	buf_add_str(&b, choices);
	if (s->include_usage) {
		buf_add_z(&b, ",\"usage\":");
		if (usage)
			json_write(&b, usage);
		else
			buf_add_z(&b, "null");
	}
	buf_add_char(&b, '}');
	sse_write(s->out, STR(""), STR(""), buf_str(&b));
	buf_done(&b);
}

/* A piece of a choice. */
struct piece {
	int64_t index;
	struct str delta;       /* JSON */
	const json_t *logprobs; /* NULL: null */
	struct str finish;      /* p NULL: null */
	const json_t *result;   /* NULL: not known yet */
};

static void add_piece(struct face_stream *s, const struct piece *p)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	buf_printf(&b, "[{\"index\":%lld,\"delta\":", (long long)p->index);
	buf_add_str(&b, p->delta);
	buf_add_z(&b, ",\"logprobs\":");
	if (p->logprobs)
		json_write(&b, p->logprobs);
	else
		buf_add_z(&b, "null");
	buf_add_z(&b, ",\"finish_reason\":");
	if (p->finish.p)
		buf_add_json_str(&b, p->finish);
	else
		buf_add_z(&b, "null");
	buf_add_z(&b, "}]");
	add_chunk(s, buf_str(&b), NULL, p->result);
	buf_done(&b);
}

static void add_delta(struct face_stream *s, int64_t index, const json_t *delta, const json_t *logprobs, const json_t *result)
{
	struct buf b;
	_cleanup_(json_drop) json_t *old = chat_functions_wanted(s->echo) ? chat_functions_delta(delta) : json_incref((json_t *)(uintptr_t)delta);
	if (!old)
		return;
	buf_init(&b, CHUNK_MAX);
	json_write(&b, old);
	add_piece(s, &(struct piece){ .index = index, .delta = buf_str(&b), .logprobs = logprobs, .result = result });
	buf_done(&b);
}

static void add_role(struct face_stream *s, int64_t index, const json_t *result)
{
	add_piece(s, &(struct piece){ .index = index, .delta = STR("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"), .result = result });
}

static void add_finish(struct face_stream *s, int64_t index, struct str finish, const json_t *result)
{
	if (finish.n == 0)
		finish = STR("stop");
	if (chat_functions_wanted(s->echo) && str_eq_z(finish, "tool_calls"))
		finish = STR("function_call");
	add_piece(s, &(struct piece){ .index = index, .delta = STR("{}"), .finish = finish, .result = result });
}

void chat_stream_begin(struct face_stream *s)
{
	add_role(s, 0, NULL);
}

void chat_stream_delta(struct face_stream *s, const json_t *delta)
{
	add_delta(s, 0, delta, NULL, NULL);
}

/* --- what is told whole --- */

/* {NAME: value}, told. Takes value. */
static void tell_member(struct face_stream *s, int64_t index, const char *name, json_t *value, const json_t *logprobs, const json_t *result)
{
	_cleanup_(json_drop) json_t *delta = json_object();
	json_object_set_new(delta, name, value);
	add_delta(s, index, delta, logprobs, result);
}

/* Do the tokens, one behind the other, make up the text? Those that end amid a character do not. */
static bool are_the_text(const json_t *tokens, struct str text)
{
	const json_t *token;
	size_t i, at = 0;
	json_array_foreach(tokens, i, token)
	{
		struct str piece = json_str(token, "token");
		if (!str_eq(str_sub(text, at, piece.n), piece))
			return false;
		at += piece.n;
	}
	return at == text.n && i > 0;
}

/* content or refusal, with the list of that name in the choice's log probabilities. */
static void tell_text(struct face_stream *s, int64_t index, const char *name, const json_t *choice, const json_t *result)
{
	json_t *all = json_get(json_get(choice, "logprobs"), name), *token;
	struct str text = json_str(json_get(choice, "message"), name);
	size_t i;
	if (text.n == 0 && json_array_size(all) == 0)
		return;
	if (!are_the_text(all, text)) {
		_cleanup_(json_drop) json_t *logprobs = json_object();
		json_object_set(logprobs, "content", json_null());
		json_object_set(logprobs, "refusal", json_null());
		json_object_set(logprobs, name, all);
		tell_member(s, index, name, json_from_str(text), json_array_size(all) ? logprobs : NULL, result);
		return;
	}
	json_array_foreach(all, i, token)
	{
		_cleanup_(json_drop) json_t *logprobs = json_object();
		json_t *one = json_array();
		json_array_append(one, token);
		json_object_set(logprobs, "content", json_null());
		json_object_set(logprobs, "refusal", json_null());
		json_object_set_new(logprobs, name, one);
		tell_member(s, index, name, json_from_str(json_str(token, "token")), logprobs, result);
	}
}

static void tell_calls(struct face_stream *s, int64_t index, const json_t *message, const json_t *result)
{
	const json_t *call;
	size_t i;
	json_array_foreach(json_get(message, "tool_calls"), i, call)
	{
		if (!json_is_object(call))
			continue;
		json_t *mine = json_copy((json_t *)(uintptr_t)call), *calls = json_array();
		json_set_i64(mine, "index", (int64_t)i);
		json_array_append_new(calls, mine);
		tell_member(s, index, "tool_calls", calls, NULL, result);
	}
}

static void tell_choice(struct face_stream *s, int64_t index, const json_t *choice, const json_t *result)
{
	const json_t *message = json_get(choice, "message");
	json_t *sound = json_get(message, "audio");
	struct str thought = json_str(message, "reasoning_content");
	if (thought.n)
		tell_member(s, index, "reasoning_content", json_from_str(thought), NULL, result);
	tell_text(s, index, "content", choice, result);
	tell_text(s, index, "refusal", choice, result);
	tell_calls(s, index, message, result);
	if (json_is_object(sound))
		tell_member(s, index, "audio", json_incref(sound), NULL, result);
}

/* --- the end --- */

void chat_stream_end(struct face_stream *s, const struct face_answer *j)
{
	const json_t *choices = json_get(j->result, "choices"), *usage = json_get(j->result, "usage"), *choice;
	size_t i;
	if (!s->whole || json_array_size(choices) == 0)
		add_finish(s, 0, j->partial ? STR("length") : json_str(json_array_get(choices, 0), "finish_reason"), j->result);
	json_array_foreach(choices, i, choice)
	{
		if (!s->whole)
			break;
		if (i > 0)
			add_role(s, (int64_t)i, j->result);
		tell_choice(s, (int64_t)i, choice, j->result);
		add_finish(s, (int64_t)i, j->partial && i == 0 ? STR("length") : json_str(choice, "finish_reason"), j->result);
	}
	if (s->include_usage)
		add_chunk(s, STR("[]"), json_is_object(usage) ? usage : NULL, j->result);
	sse_write(s->out, STR(""), STR(""), STR("[DONE]"));
}

void chat_stream_fail(struct face_stream *s, const struct err *err)
{
	struct face_error e = face_error_of(str_from(err_code_name((int)err->code)));
	struct buf b;
	buf_init(&b, 16384);
	face_error_write_openai(&b, &e, err);
	sse_write(s->out, STR(""), STR(""), buf_str(&b));
	buf_done(&b);
}
