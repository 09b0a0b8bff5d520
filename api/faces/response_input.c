/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input items of the Responses API as messages of a chat. A message stays one; calls of functions join the assistant's turn that they stand in, as chat
 * has it, and their outputs become messages of role `tool`.
 *
 * Large texts (pictures and files in base64) are not copied: the messages share them with the body. What the model reasoned is left out: chat has no
 * place for it. Items that only OpenAI could look up (item_reference) or carry out (built-in tools) are refused with their place.
 */
#include "api/faces/response.h"

struct input {
	struct arena *a;
	json_t *messages; /* borrowed: what has been made */
	json_t *turn;     /* the assistant's message that calls may join; NULL: none is open */
	struct err *err;
};

struct item {
	const json_t *v;
	const char *pointer;
};

static const char *below(const struct input *in, const char *pointer, const char *name)
{
	return arena_printf(in->a, "%s/%s", pointer, name).p;
}

static const char *at_index(const struct input *in, const char *pointer, size_t i)
{
	return arena_printf(in->a, "%s/%zu", pointer, i).p;
}

/* A required text. NULL with err set: it is missing or none. */
static json_t *need_text(const struct input *in, const json_t *v, const char *pointer, const char *name)
{
	json_t *text = json_get(v, name);
	if (json_is_string(text))
		return text;
	if (text && !json_is_null(text))
		err_set_at(in->err, ERR_WRONG_TYPE, below(in, pointer, name), "wanted a string");
	else
		err_set_at(in->err, ERR_MISSING_FIELD, below(in, pointer, name), "%s is missing", name);
	return NULL;
}

static bool is_given(const json_t *v)
{
	return v && !json_is_null(v);
}

/* --- parts --- */

static json_t *text_part(json_t *text)
{
	json_t *part = json_object();
	json_set_str(part, "type", STR("text"));
	json_object_set(part, "text", text);
	return part;
}

static int take_text(const struct input *in, struct item part, json_t **ret)
{
	json_t *text = need_text(in, part.v, part.pointer, "text");
	if (!text)
		return -(int)in->err->code;
	*ret = text_part(text);
	return 0;
}

static int take_refusal(const struct input *in, struct item part, json_t **ret)
{
	json_t *text = need_text(in, part.v, part.pointer, "refusal");
	if (!text)
		return -(int)in->err->code;
	*ret = json_object();
	json_set_str(*ret, "type", STR("refusal"));
	json_object_set(*ret, "refusal", text);
	return 0;
}

/* {"type", of: inner} */
static json_t *wrapped(const char *type, json_t *inner)
{
	json_t *part = json_object();
	json_set_str(part, "type", str_from(type));
	json_object_set_new(part, type, inner);
	return part;
}

static int take_image(const struct input *in, struct item part, json_t **ret)
{
	json_t *url = json_get(part.v, "image_url"), *id = json_get(part.v, "file_id"), *detail = json_get(part.v, "detail");
	if (!is_given(url) && !is_given(id))
		return err_set_at(in->err, ERR_MISSING_FIELD, below(in, part.pointer, "image_url"), "an image needs image_url or file_id");
	if (is_given(url) && !json_is_string(url))
		return err_set_at(in->err, ERR_WRONG_TYPE, below(in, part.pointer, "image_url"), "wanted a string");
	if (is_given(id) && !json_is_string(id))
		return err_set_at(in->err, ERR_WRONG_TYPE, below(in, part.pointer, "file_id"), "wanted a string");
	if (is_given(detail) && !json_is_string(detail))
		return err_set_at(in->err, ERR_WRONG_TYPE, below(in, part.pointer, "detail"), "wanted low, high, auto or original");
	json_t *image = json_object();
	json_object_set(image, is_given(url) ? "url" : "file_id", is_given(url) ? url : id);
	/* Chat has no `original`: high is the finest that it knows. */
	if (is_given(detail))
		json_set_str(image, "detail", str_eq_z(json_str_of(detail), "original") ? STR("high") : json_str_of(detail));
	*ret = wrapped("image_url", image);
	return 0;
}

static int take_file(const struct input *in, struct item part, json_t **ret)
{
	static const char *const members[] = { "file_data", "file_id", "filename" };
	if (is_given(json_get(part.v, "file_url")))
		return err_set_at(in->err, ERR_UNSUPPORTED, below(in, part.pointer, "file_url"),
		                  "Millrace fetches no files: upload it and give its file_id, or send file_data");
	if (!is_given(json_get(part.v, "file_data")) && !is_given(json_get(part.v, "file_id")))
		return err_set_at(in->err, ERR_MISSING_FIELD, below(in, part.pointer, "file_data"), "a file needs file_data or file_id");
	_cleanup_(json_drop) json_t *file = json_object();
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_get(part.v, members[i]);
		if (!is_given(v))
			continue;
		if (!json_is_string(v))
			return err_set_at(in->err, ERR_WRONG_TYPE, below(in, part.pointer, members[i]), "wanted a string");
		json_object_set(file, members[i], v);
	}
	*ret = wrapped("file", json_incref(file));
	return 0;
}

static int take_audio(const struct input *in, struct item part, json_t **ret)
{
	json_t *audio = json_get(part.v, "input_audio");
	if (!json_is_object(audio))
		return err_set_at(in->err, ERR_WRONG_TYPE, below(in, part.pointer, "input_audio"), "wanted an object with data and format");
	*ret = wrapped("input_audio", json_incref(audio));
	return 0;
}

static const struct {
	const char *type;
	int (*read)(const struct input *in, struct item part, json_t **ret);
	bool text;
} part_types[] = {
	{ "input_text", take_text, true },    { "output_text", take_text, true },  { "text", take_text, true },          { "refusal", take_refusal, true },
	{ "input_image", take_image, false }, { "input_file", take_file, false }, { "input_audio", take_audio, false },
};

static int take_part(const struct input *in, struct item part, bool text_only, json_t *parts)
{
	if (!json_is_object(part.v))
		return err_set_at(in->err, ERR_WRONG_TYPE, part.pointer, "wanted an object");
	json_t *type = need_text(in, part.v, part.pointer, "type"), *made = NULL;
	if (!type)
		return -(int)in->err->code;
	for (size_t i = 0; i < ARRAY_LEN(part_types); i++) {
		if (!str_eq_z(json_str_of(type), part_types[i].type))
			continue;
		if (text_only && !part_types[i].text)
			return err_set_at(in->err, ERR_UNSUPPORTED, below(in, part.pointer, "type"), "only text can stand here");
		int rc = part_types[i].read(in, part, &made);
		if (rc == 0)
			json_array_append_new(parts, made);
		return rc;
	}
	return err_set_at(in->err, ERR_UNSUPPORTED, below(in, part.pointer, "type"), "wanted input_text, input_image, input_file, output_text or refusal");
}

/* A text, or parts: one that is alone and a text becomes one, which all servers understand. *ret is owned by the caller. */
static int take_content(const struct input *in, const json_t *content, const char *pointer, bool text_only, json_t **ret)
{
	if (json_is_string(content)) {
		*ret = json_incref((json_t *)(uintptr_t)content);
		return 0;
	}
	if (!json_is_array(content))
		return is_given(content) ? err_set_at(in->err, ERR_WRONG_TYPE, pointer, "wanted a string or an array of parts")
		                         : err_set_at(in->err, ERR_MISSING_FIELD, pointer, "content is missing");
	_cleanup_(json_drop) json_t *parts = json_array();
	for (size_t i = 0; i < json_array_size(content); i++) {
		struct item part = { json_array_get(content, i), at_index(in, pointer, i) };
		int rc = take_part(in, part, text_only, parts);
		if (rc < 0)
			return rc;
	}
	json_t *only = json_get(json_array_get(parts, 0), "text");
	if (json_array_size(parts) == 1 && only)
		*ret = json_incref(only);
	else if (json_array_size(parts) == 0)
		*ret = json_from_str(STR(""));
	else
		*ret = json_incref(parts);
	return 0;
}

/* --- items --- */

static json_t *add_message(struct input *in, struct str role, json_t *content)
{
	json_t *m = json_object();
	json_set_str(m, "role", role);
	json_object_set_new(m, "content", content);
	json_array_append_new(in->messages, m);
	in->turn = NULL;
	return m;
}

static json_t *as_parts(json_t *content)
{
	if (json_is_array(content))
		return json_copy(content);
	json_t *parts = json_array();
	if (json_is_string(content))
		json_array_append_new(parts, text_part(content));
	return parts;
}

/* The assistant spoke after it had called, in the same turn: the results must still follow the calls. Takes content. */
static void join_turn(struct input *in, json_t *content)
{
	json_t *had = json_get(in->turn, "content");
	if (is_given(had)) {
		json_t *all = as_parts(had), *more = as_parts(content);
		json_array_extend(all, more);
		json_decref(more);
		json_decref(content);
		content = all;
	}
	json_object_set_new(in->turn, "content", content);
}

static int take_message(struct input *in, struct item item)
{
	static const char *const roles[] = { "user", "assistant", "system", "developer" };
	json_t *role = need_text(in, item.v, item.pointer, "role"), *content = NULL;
	if (!role)
		return -(int)in->err->code;
	struct str name = json_str_of(role);
	bool known = false;
	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		known |= str_eq_z(name, roles[i]);
	if (!known)
		return err_set_at(in->err, ERR_OUT_OF_RANGE, below(in, item.pointer, "role"), "wanted user, assistant, system or developer");
	bool assistant = str_eq_z(name, "assistant");
	int rc = take_content(in, json_get(item.v, "content"), below(in, item.pointer, "content"), assistant, &content);
	if (rc < 0)
		return rc;
	if (assistant && json_get(in->turn, "tool_calls")) {
		join_turn(in, content);
		return 0;
	}
	json_t *m = add_message(in, name, content);
	if (assistant)
		in->turn = m;
	return 0;
}

static int take_call(struct input *in, struct item item)
{
	json_t *id = need_text(in, item.v, item.pointer, "call_id"), *name = id ? need_text(in, item.v, item.pointer, "name") : NULL;
	json_t *arguments = name ? need_text(in, item.v, item.pointer, "arguments") : NULL;
	if (!arguments)
		return -(int)in->err->code;
	json_t *call = json_object(), *function = json_object();
	json_object_set(call, "id", id);
	json_set_str(call, "type", STR("function"));
	json_object_set(function, "name", name);
	json_object_set(function, "arguments", arguments);
	json_object_set_new(call, "function", function);
	if (!in->turn)
		in->turn = add_message(in, STR("assistant"), json_null());
	if (!json_get(in->turn, "tool_calls"))
		json_object_set_new(in->turn, "tool_calls", json_array());
	json_array_append_new(json_get(in->turn, "tool_calls"), call);
	return 0;
}

static int take_output(struct input *in, struct item item)
{
	json_t *id = need_text(in, item.v, item.pointer, "call_id"), *content = NULL;
	if (!id)
		return -(int)in->err->code;
	int rc = take_content(in, json_get(item.v, "output"), below(in, item.pointer, "output"), /* text_only= */ true, &content);
	if (rc < 0)
		return rc;
	json_object_set(add_message(in, STR("tool"), content), "tool_call_id", id);
	return 0;
}

static int leave_out(struct input *in, struct item item)
{
	(void)in;
	(void)item;
	return 0;
}

static int refuse_reference(struct input *in, struct item item)
{
	return err_set_at(in->err, ERR_UNSUPPORTED, below(in, item.pointer, "type"),
	                  "Millrace keeps no single items: send the item itself, or previous_response_id");
}

static const struct {
	const char *type;
	int (*read)(struct input *in, struct item item);
} item_types[] = {
	{ "message", take_message }, { "function_call", take_call },            { "function_call_output", take_output },
	{ "reasoning", leave_out },  { "item_reference", refuse_reference },
};

static int take_item(struct input *in, struct item item)
{
	if (!json_is_object(item.v))
		return err_set_at(in->err, ERR_WRONG_TYPE, item.pointer, "wanted an object");
	const json_t *type = json_get(item.v, "type");
	/* Messages and references may leave their type out. */
	struct str name = is_given(type) ? json_str_of(type) : json_get(item.v, "role") ? STR("message") : STR("item_reference");
	if (is_given(type) && !json_is_string(type))
		return err_set_at(in->err, ERR_WRONG_TYPE, below(in, item.pointer, "type"), "wanted a string");
	for (size_t i = 0; i < ARRAY_LEN(item_types); i++)
		if (str_eq_z(name, item_types[i].type))
			return item_types[i].read(in, item);
	return err_set_at(in->err, ERR_UNSUPPORTED, below(in, item.pointer, "type"),
	                  "wanted message, function_call, function_call_output or reasoning: items of built-in tools are not carried out");
}

int response_input_read(struct arena *a, const json_t *input, const char *pointer, json_t *messages, struct err *err)
{
	struct input in = { .a = a, .messages = messages, .err = err };
	if (json_is_string(input)) {
		add_message(&in, STR("user"), json_incref((json_t *)(uintptr_t)input));
		return 0;
	}
	if (!json_is_array(input))
		return err_set_at(err, ERR_WRONG_TYPE, pointer, "wanted a string or an array of items");
	for (size_t i = 0; i < json_array_size(input); i++) {
		int rc = take_item(&in, (struct item){ json_array_get(input, i), at_index(&in, pointer, i) });
		if (rc < 0)
			return rc;
	}
	return 0;
}
