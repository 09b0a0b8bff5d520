/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back from a stored request: its messages as input items (GET /v1/responses/{id}/input_items), and as the front of the response that goes on
 * from it (previous_response_id). The instructions of a response stand in its first message, which its echo tells; they belong to that response alone.
 *
 * The answer before goes on as the provider gave it, with its calls and the signed thoughts that some providers want back; what the model reasoned in
 * plain text is left out. Texts are shared, not copied.
 */
#include "api/faces/response.h"

static bool has_instructions(const json_t *echo)
{
	return json_is_string(json_get(echo, "instructions"));
}

/* --- going on --- */

/* The assistant's message as a request may hold it. Owned by the caller; NULL: the result has none. */
static json_t *answer_message(const struct response_before *before)
{
	struct response_message said;
	json_t *m = NULL;
	if (response_message_init(&said, before->result)) {
		json_t *thinking = json_get(json_get(json_array_get(json_get(before->result, "choices"), 0), "message"), "thinking_blocks");
		m = json_object();
		json_set_str(m, "role", STR("assistant"));
		if (said.text.n || (!said.calls && !said.refusal.n))
			json_set_str(m, "content", said.text);
		else
			json_object_set_new(m, "content", json_null());
		if (said.refusal.n)
			json_set_str(m, "refusal", said.refusal);
		if (thinking)
			json_object_set(m, "thinking_blocks", thinking);
		if (said.calls)
			json_object_set_new(m, "tool_calls", json_array());
		for (size_t i = 0; i < json_array_size(said.calls); i++) {
			struct response_call call;
			response_call_init(&call, before->id, i, json_array_get(said.calls, i));
			json_t *copy = json_deep_copy(json_array_get(said.calls, i)), *function = json_get(copy, "function");
			json_set_str(copy, "id", call.call_id);
			if (function)
				json_set_str(function, "arguments", call.arguments);
			json_array_append_new(json_get(m, "tool_calls"), copy);
			response_call_done(&call);
		}
	}
	response_message_done(&said);
	return m;
}

void response_chain(json_t *request, const json_t *echo, const struct response_before *before)
{
	json_t *own = json_get(request, "messages"), *all = json_array(), *earlier = json_get(before->request, "messages");
	size_t at = has_instructions(echo) && json_array_size(own) > 0 ? 1 : 0;
	if (at)
		json_array_append(all, json_array_get(own, 0));
	for (size_t i = has_instructions(before->echo) ? 1 : 0; i < json_array_size(earlier); i++)
		json_array_append(all, json_array_get(earlier, i));
	json_t *answer = answer_message(before);
	if (answer)
		json_array_append_new(all, answer);
	for (; at < json_array_size(own); at++)
		json_array_append(all, json_array_get(own, at));
	json_object_set_new(request, "messages", all);
}

/* --- items --- */

struct items {
	struct id id;
	json_t *all;
};

static json_t *add_item(struct items *s, const char *prefix, const char *type)
{
	struct buf b;
	json_t *item = json_object();
	buf_init(&b, 256);
	response_item_id(&b, prefix, s->id, json_array_size(s->all) + 1);
	json_set_str(item, "id", buf_str(&b));
	buf_done(&b);
	json_set_str(item, "type", str_from(type));
	json_set_str(item, "status", STR("completed"));
	json_array_append_new(s->all, item);
	return item;
}

static json_t *text_part(const char *type, json_t *text)
{
	json_t *part = json_object();
	json_set_str(part, "type", str_from(type));
	if (str_eq_z(STR("output_text"), type))
		json_object_set_new(part, "annotations", json_array());
	json_object_set(part, "text", text);
	return part;
}

static json_t *image_part(const json_t *image)
{
	json_t *part = json_object(), *url = json_is_string(image) ? (json_t *)(uintptr_t)image : json_get(image, "url");
	json_t *detail = json_get(image, "detail"), *id = json_get(image, "file_id");
	json_set_str(part, "type", STR("input_image"));
	json_object_set_new(part, "detail", detail ? json_incref(detail) : json_from_str(STR("auto")));
	json_object_set_new(part, "file_id", id ? json_incref(id) : json_null());
	json_object_set_new(part, "image_url", url ? json_incref(url) : json_null());
	return part;
}

static json_t *file_part(const json_t *file)
{
	static const char *const members[] = { "file_data", "file_id", "filename" };
	json_t *part = json_object();
	json_set_str(part, "type", STR("input_file"));
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (json_get(file, members[i]))
			json_object_set(part, members[i], json_get(file, members[i]));
	return part;
}

static json_t *part_of(const json_t *v, const char *text_type)
{
	struct str type = json_str(v, "type");
	if (str_eq_z(type, "text"))
		return text_part(text_type, json_get(v, "text"));
	if (str_eq_z(type, "image_url"))
		return image_part(json_get(v, "image_url"));
	if (str_eq_z(type, "file"))
		return file_part(json_get(v, "file"));
	return json_copy((json_t *)(uintptr_t)v); /* refusal, input_audio: the same in both */
}

static json_t *parts_of(json_t *content, const char *text_type)
{
	json_t *parts = json_array();
	if (json_is_string(content))
		json_array_append_new(parts, text_part(text_type, content));
	for (size_t i = 0; i < json_array_size(content); i++)
		json_array_append_new(parts, part_of(json_array_get(content, i), text_type));
	return parts;
}

static void add_calls(struct items *s, const json_t *calls)
{
	for (size_t i = 0; i < json_array_size(calls); i++) {
		const json_t *call = json_array_get(calls, i), *function = json_get(call, "function");
		json_t *item = add_item(s, "fc_", "function_call");
		json_set_str(item, "call_id", json_str(call, "id"));
		json_set_str(item, "name", json_str(function, "name"));
		json_set_str(item, "arguments", json_str(function, "arguments"));
	}
}

static void add_message(struct items *s, const json_t *m, struct str role)
{
	bool assistant = str_eq_z(role, "assistant");
	json_t *content = json_get(m, "content"), *refusal = json_get(m, "refusal");
	bool refused = json_is_string(refusal);
	if (assistant && !refused && (!content || json_is_null(content)))
		return;
	json_t *item = add_item(s, "msg_", "message"), *parts = parts_of(content, assistant ? "output_text" : "input_text");
	json_set_str(item, "role", role);
	if (refused) {
		json_t *part = json_object();
		json_set_str(part, "type", STR("refusal"));
		json_object_set(part, "refusal", refusal);
		json_array_append_new(parts, part);
	}
	json_object_set_new(item, "content", parts);
}

static void add_output(struct items *s, const json_t *m)
{
	json_t *item = add_item(s, "fco_", "function_call_output"), *content = json_get(m, "content");
	json_set_str(item, "call_id", json_str(m, "tool_call_id"));
	if (json_is_string(content))
		json_object_set(item, "output", content);
	else
		json_object_set_new(item, "output", parts_of(content, "input_text"));
}

json_t *response_items(struct id id, const json_t *request, const json_t *echo)
{
	struct items s = { id, json_array() };
	const json_t *messages = json_get(request, "messages");
	for (size_t i = has_instructions(echo) ? 1 : 0; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		struct str role = json_str(m, "role");
		if (str_eq_z(role, "tool"))
			add_output(&s, m);
		else
			add_message(&s, m, role);
		add_calls(&s, json_get(m, "tool_calls"));
	}
	return s.all;
}
