/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result goes on from what was told if each of its texts is at least as long and the sum over those beginnings is the one of the place. Tool calls are
 * all told, or none is (then they are added), or the answer is told anew: their pieces are not cut again.
 */
#include "api/events/event_deltas.h"

static const char *const members[] = { [EVENT_CONTENT] = "content", [EVENT_REFUSAL] = "refusal", [EVENT_REASONING] = "reasoning_content" };

/* What counts of a tool call: id, name and arguments. */
static struct str tool_part(const json_t *call, int i)
{
	const json_t *function = json_get(call, "function");
	return i == 0 ? json_str(call, "id") : i == 1 ? json_str(function, "name") : json_str(function, "arguments");
}

static void add_tools(struct event_place *p, const json_t *calls)
{
	for (size_t i = 0; i < json_array_size(calls); i++)
		for (int part = 0; part < 3; part++)
			event_place_add(p, EVENT_TOOLS, tool_part(json_array_get(calls, i), part));
}

json_t *event_deltas_take(struct event_place *p, struct str deltas)
{
	json_t *all = json_parse_lenient(deltas, NULL);
	if (!json_is_array(all)) {
		json_decref(all);
		return NULL;
	}
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *delta = json_array_get(all, i);
		for (int kind = 0; kind < EVENT_TOOLS; kind++)
			event_place_add(p, (enum event_text)kind, json_str(delta, members[kind]));
		add_tools(p, json_get(delta, "tool_calls"));
	}
	return all;
}

int event_deltas_piece(struct event_place *p, struct str deltas, struct buf *b)
{
	_cleanup_(json_drop) json_t *all = event_deltas_take(p, deltas);
	struct buf text;
	if (!all)
		return -(int)ERR_BAD_JSON;
	buf_init(&text, deltas.n);
	for (size_t i = 0; i < json_array_size(all); i++)
		buf_add_str(&text, json_str(json_array_get(all, i), "content"));
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, buf_str(&text));
	buf_add_z(b, ",\"deltas\":");
	buf_add_str(b, deltas);
	buf_add_char(b, '}');
	buf_done(&text);
	return 0;
}

/* Are these texts the ones that were told, as far as they were? */
static bool has_begun_so(const struct event_place *p, const json_t *message)
{
	struct event_place told = { 0 };
	for (int kind = 0; kind < EVENT_TOOLS; kind++) {
		struct str text = json_str(message, members[kind]);
		if (p->bytes[kind] > (int64_t)text.n)
			return false;
		event_place_add(&told, (enum event_text)kind, str_sub(text, 0, (size_t)p->bytes[kind]));
	}
	return told.sum == p->sum;
}

/* Calls without arguments have {} in the result, whatever came. */
static int64_t empty_arguments(const json_t *calls)
{
	int64_t n = 0;
	for (size_t i = 0; i < json_array_size(calls); i++)
		if (str_eq(tool_part(json_array_get(calls, i), 2), STR("{}")))
			n += 2;
	return n;
}

static void write_tools(const json_t *calls, bool any, struct buf *b)
{
	for (size_t i = 0; i < json_array_size(calls); i++) {
		const json_t *call = json_array_get(calls, i);
		buf_add_z(b, any || i > 0 ? "," : "");
		buf_printf(b, "{\"tool_calls\":[{\"index\":%zu,\"id\":", i);
		buf_add_json_str(b, tool_part(call, 0));
		buf_add_z(b, ",\"type\":\"function\",\"function\":{\"name\":");
		buf_add_json_str(b, tool_part(call, 1));
		buf_add_z(b, ",\"arguments\":");
		buf_add_json_str(b, tool_part(call, 2));
		buf_add_z(b, "}}]}");
	}
}

enum event_rest event_deltas_rest(struct event_place *p, struct str result, struct buf *b)
{
	_cleanup_(json_drop) json_t *answer = json_parse_lenient(result, NULL);
	const json_t *message = json_get(json_array_get(json_get(answer, "choices"), 0), "message");
	if (!json_is_object(message))
		return EVENT_REST_NONE;
	const json_t *calls = json_get(message, "tool_calls");
	struct event_place tools = { 0 };
	add_tools(&tools, calls);
	int64_t all = tools.bytes[EVENT_TOOLS], told = p->bytes[EVENT_TOOLS];
	bool tools_told = told > 0 && told <= all && told >= all - empty_arguments(calls);
	bool anew = !has_begun_so(p, message) || (told > 0 && !tools_told);
	if (anew)
		event_place_restart(p, p->token, p->number, p->seq);

	static const enum event_text order[] = { EVENT_REASONING, EVENT_CONTENT, EVENT_REFUSAL };
	struct str text = str_sub(json_str(message, "content"), (size_t)p->bytes[EVENT_CONTENT], SIZE_MAX);
	size_t from = b->n;
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, text);
	buf_add_z(b, ",\"deltas\":[");
	bool any = false;
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct str rest = str_sub(json_str(message, members[order[i]]), (size_t)p->bytes[order[i]], SIZE_MAX);
		if (rest.n == 0)
			continue;
		buf_printf(b, "%s{\"%s\":", any ? "," : "", members[order[i]]);
		buf_add_json_str(b, rest);
		buf_add_char(b, '}');
		event_place_add(p, order[i], rest);
		any = true;
	}
	if (all > 0 && p->bytes[EVENT_TOOLS] == 0) {
		write_tools(calls, any, b);
		p->bytes[EVENT_TOOLS] = all;
		any = true;
	}
	buf_add_z(b, "]}");
	if (any)
		return anew ? EVENT_REST_ANEW : EVENT_REST_GOES_ON;
	buf_truncate(b, from);
	return anew ? EVENT_REST_ANEW : EVENT_REST_NONE;
}
