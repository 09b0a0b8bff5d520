/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a streamed Response (OpenAI: API reference, streaming events), made anew from its first piece each time: what a client had already is
 * counted and left out.
 *
 * sequence_number is reckoned from what came before, never from how the text was cut into pieces: response.created is 0, response.queued 1 (of those in
 * the background), response.in_progress 2; after that each event has the next number, but that a delta moves by the bytes of its text and has the
 * number of its last byte. A text of n bytes takes n numbers in however many pieces it comes. So any api process, from the pieces of the running call or from the
 * result, gives each byte the same number: after N it sends what has a number above N, and of a delta that reaches over N only the rest of it.
 *
 * For that, items come in one order: what was reasoned, text, refusal, then calls. What comes against it (text behind a call, arguments of two calls in turns)
 * waits for the end and is taken from the result, as an item of its own where its place is past; the numbers behind it then hold for this stream alone.
 *
 * An `error` says that this stream cannot go on, though the response may: the text of a later attempt is another one, say. Its number is not kept.
 * The end is always told: where it had no number above N (a job that failed after some text was told has no result to count), it gets N + 1.
 */
#include "api/faces/response.h"

#include "api/jobs/job_object.h"

#define TEXT_MAX ((size_t)1 << 30)

enum kind { REASONING, TEXT, REFUSAL, CALL, KINDS, NONE = KINDS };

struct stream {
	struct face_stream *s;
	int64_t next;            /* number of the event to come */
	size_t index;            /* of the item that is open, or of the next: output_index */
	enum kind part;          /* that is open */
	size_t parts;            /* that are closed in the open message */
	size_t messages, thoughts, calls; /* items that were begun */
	struct buf said[CALL];   /* all text of a kind that was told or left out as known */
	size_t from[CALL];       /* where in it the open item begins */
	struct buf call_id, name, arguments; /* of the call that is open, or was last */
	int64_t call_index;      /* its index in the deltas */
	bool waits;              /* calls come out of order: the rest from the result */
	bool runs;               /* in_progress was told */
	const json_t *logprobs;  /* of the text, once the result is there */
};

static struct stream *stream_of(const struct face_stream *s)
{
	return s->state;
}

/* --- events --- */

/* Begins an event with this number. False: the client has it. */
static bool event_open(struct stream *t, const char *type, int64_t number)
{
	if (number <= t->s->starting_after)
		return false;
	buf_printf(t->s->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%lld", type, type, (long long)number);
	return true;
}

static void event_close(struct stream *t)
{
	buf_add_z(t->s->out, "}\n\n");
}

/* An event of the item that is open. */
static bool item_event(struct stream *t, const char *type, int64_t number)
{
	if (!event_open(t, type, number))
		return false;
	buf_printf(t->s->out, ",\"output_index\":%zu", t->index);
	return true;
}

static void add_item_id(struct stream *t)
{
	static const char *const prefixes[] = { [REASONING] = "rs_", [TEXT] = "msg_", [REFUSAL] = "msg_", [CALL] = "fc_" };
	size_t n = (t->part == REASONING ? t->thoughts : t->part == CALL ? t->calls : t->messages) - 1;
	buf_add_z(t->s->out, ",\"item_id\":\"");
	response_item_id(t->s->out, prefixes[t->part], t->s->id, n);
	buf_add_char(t->s->out, '"');
}

/* An event of the part that is open. */
static bool part_event(struct stream *t, const char *type, int64_t number)
{
	if (!item_event(t, type, number))
		return false;
	add_item_id(t);
	if (t->part != CALL)
		buf_printf(t->s->out, ",\"content_index\":%zu", t->parts);
	return true;
}

static void add_text(struct stream *t, const char *member, struct str text)
{
	buf_printf(t->s->out, ",\"%s\":", member);
	buf_add_json_str(t->s->out, text);
}

static void response_event(struct stream *t, const char *type, int64_t number, const struct face_answer *j)
{
	if (!event_open(t, type, number))
		return;
	buf_add_z(t->s->out, ",\"response\":");
	response_write(t->s->out, j);
	event_close(t);
}

static struct face_answer answer_of(const struct face_stream *s, enum job_object_status status)
{
	return (struct face_answer){ .id = s->id, .form = FORM_RESPONSE, .created_us = s->created_us, .status = (int)status, .model = s->model,
		                     .echo = s->echo, .user = s->user, .metadata = s->metadata, .background = s->background };
}

/* --- items and parts --- */

static struct str said_here(const struct stream *t, enum kind kind)
{
	return str_sub(buf_str(&t->said[kind]), t->from[kind], SIZE_MAX);
}

/* The open item as it stands. */
static void write_item(struct stream *t, enum kind kind, const char *status)
{
	struct buf *b = t->s->out;
	bool text = t->parts > 0 || kind == TEXT;
	buf_add_z(b, ",\"item\":");
	if (kind == CALL)
		response_write_call_item(b, t->s->id, t->calls - 1, status, buf_str(&t->call_id), buf_str(&t->name), buf_str(&t->arguments));
	else if (kind == REASONING)
		response_write_reasoning_item(b, t->s->id, t->thoughts - 1, status, said_here(t, REASONING));
	else
		response_write_message_item(b, t->s->id, t->messages - 1, status, said_here(t, TEXT), text, said_here(t, REFUSAL), t->logprobs);
}

static void write_part(struct stream *t)
{
	struct buf *b = t->s->out;
	struct str text = said_here(t, t->part);
	buf_add_z(b, ",\"part\":");
	if (t->part == TEXT) {
		response_write_text_part(b, text, t->logprobs);
	} else if (t->part == REFUSAL) {
		response_write_refusal_part(b, text);
	} else {
		buf_add_z(b, "{\"type\":\"reasoning_text\"");
		add_text(t, "text", text);
		buf_add_char(b, '}');
	}
}

static const struct {
	const char *delta, *done, *member; /* member: of the event that ends it, with the whole */
} events[] = {
	[REASONING] = { "response.reasoning_text.delta", "response.reasoning_text.done", "text" },
	[TEXT] = { "response.output_text.delta", "response.output_text.done", "text" },
	[REFUSAL] = { "response.refusal.delta", "response.refusal.done", "refusal" },
	[CALL] = { "response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments" },
};

static void add_logprobs(struct stream *t, const json_t *logprobs)
{
	buf_add_z(t->s->out, ",\"logprobs\":");
	if (logprobs)
		json_write(t->s->out, logprobs);
	else
		buf_add_z(t->s->out, "[]");
}

/* A piece of the open part: what the client had of it is left out. */
static void tell_delta(struct stream *t, struct str piece)
{
	int64_t first = t->next;
	t->next += (int64_t)piece.n;
	if (piece.n == 0 || !part_event(t, events[t->part].delta, t->next - 1))
		return;
	if (t->s->starting_after >= first) {
		size_t had = str_utf8_prefix(piece, (size_t)(t->s->starting_after - first) + 1).n;
		piece = str_sub(piece, had, piece.n);
	}
	add_text(t, "delta", piece);
	if (t->part == TEXT)
		add_logprobs(t, NULL);
	event_close(t);
}

static void item_open(struct stream *t, enum kind kind)
{
	t->part = kind;
	t->parts = 0;
	for (enum kind k = REASONING; k < CALL; k++)
		t->from[k] = t->said[k].n;
	*(kind == REASONING ? &t->thoughts : kind == CALL ? &t->calls : &t->messages) += 1;
	if (item_event(t, "response.output_item.added", t->next++)) {
		/* With nothing in it yet. */
		write_item(t, kind == TEXT ? REFUSAL : kind, "in_progress");
		event_close(t);
	}
}

static void part_open(struct stream *t, enum kind kind)
{
	t->part = kind;
	if (part_event(t, "response.content_part.added", t->next++)) {
		write_part(t);
		event_close(t);
	}
}

static void part_close(struct stream *t)
{
	enum kind kind = t->part;
	if (part_event(t, events[kind].done, t->next++)) {
		add_text(t, events[kind].member, kind == CALL ? buf_str(&t->arguments) : said_here(t, kind));
		if (kind == TEXT)
			add_logprobs(t, t->logprobs);
		if (kind == CALL)
			add_text(t, "name", buf_str(&t->name));
		event_close(t);
	}
	if (kind != CALL && part_event(t, "response.content_part.done", t->next++)) {
		write_part(t);
		event_close(t);
	}
}

static void item_close(struct stream *t, const char *status)
{
	if (t->part == NONE)
		return;
	/* A call without arguments has none of them: clients parse the text. */
	if (t->part == CALL && t->arguments.n == 0) {
		buf_add_z(&t->arguments, "{}");
		tell_delta(t, STR("{}"));
	}
	part_close(t);
	if (item_event(t, "response.output_item.done", t->next++)) {
		write_item(t, t->part, status);
		event_close(t);
	}
	t->index++;
	t->part = NONE;
}

static void tell_running(struct stream *t)
{
	if (t->runs)
		return;
	t->runs = true;
	struct face_answer j = answer_of(t->s, STATUS_RUNNING);
	response_event(t, "response.in_progress", 2, &j);
}

/* --- pieces --- */

static void take_text(struct stream *t, enum kind kind, struct str piece)
{
	bool in_message = t->part == TEXT && kind == REFUSAL;
	if (t->part != kind && in_message) {
		part_close(t);
		t->parts++;
		part_open(t, kind);
	} else if (t->part != kind) {
		item_close(t, "completed");
		item_open(t, kind);
		part_open(t, kind);
	}
	buf_add_str(&t->said[kind], piece);
	tell_delta(t, piece);
}

static void open_call(struct stream *t, struct str id, struct str name)
{
	item_close(t, "completed");
	buf_clear(&t->call_id);
	buf_clear(&t->name);
	buf_clear(&t->arguments);
	buf_add_str(&t->call_id, id);
	buf_add_str(&t->name, name);
	item_open(t, CALL);
}

static void take_arguments(struct stream *t, struct str piece)
{
	buf_add_str(&t->arguments, piece);
	tell_delta(t, piece);
}

static bool arguments_are_whole(const struct stream *t)
{
	_cleanup_(json_drop) json_t *v = json_parse_lenient(buf_str(&t->arguments), NULL);
	return v != NULL;
}

static void take_call(struct stream *t, const json_t *call)
{
	const json_t *function = json_get(call, "function");
	struct str id = json_str(call, "id"), name = json_str(function, "name"), arguments = json_str(function, "arguments");
	int64_t index = json_i64(call, "index", 0);
	if (t->waits)
		return;
	if (t->part != CALL || index != t->call_index) {
		/* Only a call that is known by name, and that nothing of the last one can follow, is begun. */
		t->waits = t->part == CALL && (index < t->call_index || !arguments_are_whole(t));
		t->waits |= id.n == 0 || name.n == 0;
		if (t->waits)
			return;
		t->call_index = index;
		open_call(t, id, name);
	}
	take_arguments(t, arguments);
}

/* --- the end --- */

/* The text of a kind that was not told; nothing where what was told is not its beginning: another attempt's. */
static struct str rest_of(const struct stream *t, enum kind kind, struct str whole)
{
	struct str said = buf_str(&t->said[kind]);
	return str_has_prefix(whole, said) ? str_sub(whole, said.n, SIZE_MAX) : STR("");
}

static void tell_calls(struct stream *t, const json_t *calls)
{
	/* The one that is open is told to its end first. */
	for (size_t i = t->part == CALL ? t->calls - 1 : t->calls; i < json_array_size(calls); i++) {
		struct response_call c;
		response_call_init(&c, t->s->id, i, json_array_get(calls, i));
		if (t->part != CALL || i >= t->calls)
			open_call(t, c.call_id, c.name);
		if (str_has_prefix(c.arguments, buf_str(&t->arguments)))
			take_arguments(t, str_sub(c.arguments, t->arguments.n, SIZE_MAX));
		response_call_done(&c);
	}
}

/* What the result has beyond what was told: first what is in order, then the calls, then what came too late for its place. */
static void tell_rest(struct stream *t, const json_t *result)
{
	struct response_message m;
	if (response_message_init(&m, result)) {
		const struct str whole[] = { [REASONING] = m.reasoning, [TEXT] = m.text, [REFUSAL] = m.refusal };
		/* They are of the text as a whole. */
		t->logprobs = t->messages == 0 || t->part == TEXT ? m.logprobs : NULL;
		for (int round = 0; round < 2; round++) {
			for (enum kind k = REASONING; k < CALL; k++) {
				struct str rest = rest_of(t, k, whole[k]);
				bool in_order = t->calls == 0 && (t->part == NONE || k >= t->part);
				if (rest.n == 0 || (round == 0 && !in_order))
					continue;
				if (round > 0 && k == TEXT)
					t->logprobs = NULL;
				take_text(t, k, rest);
			}
			if (round == 0)
				tell_calls(t, m.calls);
		}
		if (t->part == NONE && t->index == 0)
			take_text(t, TEXT, STR(""));
	}
	response_message_done(&m);
}

static void tell_end(struct stream *t, const struct face_answer *j)
{
	const char *status = response_status(j);
	bool completed = str_eq_z(STR("completed"), status), failed = str_eq_z(STR("failed"), status);
	const char *type = completed ? "response.completed" : failed ? "response.failed" : "response.incomplete";
	/* One that had the end does not get it again; one that is past it stands in another text. */
	bool had = j->status == STATUS_SUCCEEDED && t->s->starting_after == t->next;
	if (!had)
		response_event(t, type, MAX(t->next, t->s->starting_after + 1), j);
}

/* --- the face --- */

static void drop_stream(void *ptr)
{
	struct stream *t = ptr;
	for (enum kind k = REASONING; k < CALL; k++)
		buf_done(&t->said[k]);
	buf_done(&t->call_id);
	buf_done(&t->name);
	buf_done(&t->arguments);
}

void response_stream_begin(struct face_stream *s)
{
	struct stream *t = arena_new(s->a, struct stream);
	*t = (struct stream){ .s = s, .part = NONE, .next = 3 };
	for (enum kind k = REASONING; k < CALL; k++)
		buf_init(&t->said[k], TEXT_MAX);
	buf_init(&t->call_id, TEXT_MAX);
	buf_init(&t->name, TEXT_MAX);
	buf_init(&t->arguments, TEXT_MAX);
	arena_defer(s->a, drop_stream, t);
	s->state = t;
	s->began = true;
	struct face_answer j = answer_of(s, STATUS_QUEUED);
	response_event(t, "response.created", 0, &j);
	if (s->background)
		response_event(t, "response.queued", 1, &j);
	else
		tell_running(t);
}

void response_stream_delta(struct face_stream *s, const json_t *delta)
{
	static const char *const members[] = { [REASONING] = "reasoning_content", [TEXT] = "content", [REFUSAL] = "refusal" };
	struct stream *t = stream_of(s);
	const json_t *calls = json_get(delta, "tool_calls");
	tell_running(t);
	for (enum kind k = REASONING; k < CALL; k++) {
		struct str piece = json_str(delta, members[k]);
		bool in_order = t->calls == 0 && (t->part == NONE || k >= t->part);
		if (piece.n && in_order)
			take_text(t, k, piece);
	}
	for (size_t i = 0; i < json_array_size(calls); i++)
		take_call(t, json_array_get(calls, i));
}

void response_stream_end(struct face_stream *s, const struct face_answer *j)
{
	struct stream *t = stream_of(s);
	tell_running(t);
	if (j->status == STATUS_SUCCEEDED)
		tell_rest(t, j->result);
	item_close(t, str_eq_z(STR("completed"), response_status(j)) ? "completed" : "incomplete");
	tell_end(t, j);
}

/* The response may well go on, or has: only this stream cannot. */
static bool is_of_the_stream(enum err_code code)
{
	static const enum err_code codes[] = { ERR_STREAM_RESTARTED, ERR_DRAINING, ERR_OVERLOADED, ERR_NOT_FOUND, ERR_DATABASE, ERR_DB_CONFLICT, ERR_DB_QUERY };
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i] == code)
			return true;
	return false;
}

void response_stream_fail(struct face_stream *s, const struct err *err)
{
	struct stream *t = stream_of(s);
	struct face_answer j = answer_of(s, err->code == ERR_CANCELED ? STATUS_CANCELED : err->code == ERR_EXPIRED ? STATUS_EXPIRED : STATUS_FAILED);
	j.error_code = str_from(err_code_name((int)err->code));
	j.error_message = str_from(err->text);
	if (!is_of_the_stream(err->code)) {
		response_stream_end(s, &j);
		return;
	}
	event_open(t, "error", MAX(t->next, s->starting_after + 1));
	buf_printf(s->out, ",\"code\":\"%s\",\"message\":", err_code_name((int)err->code));
	buf_add_json_str(s->out, j.error_message.n ? j.error_message : str_from(err_title((int)err->code)));
	buf_add_z(s->out, ",\"param\":null");
	event_close(t);
}
