/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of Anthropic's form as native ones (Anthropic: API reference, Create a Message). `system` becomes the first message; results of tools, which
 * stand in a user's turn there, become messages of their own before the rest of that turn; calls of tools become `tool_calls`; what the model thought goes
 * into `thinking_blocks`, which targets that know them are sent back untouched. Images and documents keep their bytes.
 *
 * Marks of the prompt cache go along as `cache_control` of what became of the block: of a part, of a message whose content is that one text or result, of a
 * call. What has no native place and says nothing of the question (citations of earlier answers) is left out; what a server of Anthropic's would carry out
 * itself (its own tools, citations) is refused by name.
 */
#include "api/faces/message.h"
#include "common/crypto.h"

#define MARKS_MAX 4 /* Anthropic: Prompt caching */

/* Where the reader is. */
static struct str place_of(const struct message_reader *r)
{
	struct str at = arena_printf(r->a, "/%s", r->list);
	if (r->item != SIZE_MAX)
		at = arena_printf(r->a, "%s/%zu", at.p, r->item);
	if (r->block >= 0)
		at = arena_printf(r->a, "%s/content/%zd", at.p, r->block);
	return r->inner < 0 ? at : arena_printf(r->a, "%s/content/%zd", at.p, r->inner);
}

int message_refuse(struct message_reader *r, enum err_code code, const char *member, const char *what)
{
	struct str at = place_of(r);
	if (member[0])
		at = arena_printf(r->a, "%s/%s", at.p, member);
	return err_set_at(r->err, code, at.p, "%s", what);
}

int message_mark(struct arena *a, struct err *err, const char *pointer, const json_t *block, json_t *to, int *marks)
{
	json_t *mark = json_get(block, "cache_control"), *life = json_get(mark, "ttl");
	if (!mark || json_is_null(mark))
		return 0;
	const char *at = arena_printf(a, "%s/cache_control", pointer).p;
	if (!json_is_object(mark))
		return err_set_at(err, ERR_WRONG_TYPE, at, "wanted an object");
	if (!str_eq_z(json_str(mark, "type"), "ephemeral"))
		return err_set_at(err, ERR_OUT_OF_RANGE, arena_printf(a, "%s/type", at).p, "wanted ephemeral");
	if (life && !json_is_null(life) && !str_eq_z(json_str_of(life), "5m") && !str_eq_z(json_str_of(life), "1h"))
		return err_set_at(err, ERR_OUT_OF_RANGE, arena_printf(a, "%s/ttl", at).p, "wanted 5m or 1h");
	if (++*marks > MARKS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, at, "at most %d blocks have cache_control", MARKS_MAX);
	json_t *mine = json_object();
	json_set_str(mine, "type", STR("ephemeral"));
	if (json_is_string(life))
		json_object_set(mine, "ttl", life);
	json_object_set_new(to, "cache_control", mine);
	return 0;
}

static int mark_here(struct message_reader *r, const json_t *block, json_t *to)
{
	return json_get(block, "cache_control") ? message_mark(r->a, r->err, place_of(r).p, block, to, &r->marks) : 0;
}

static bool is_set(const json_t *v)
{
	return v && !json_is_null(v) && !json_is_false(v) && !(json_is_object(v) && json_object_size(v) == 0) && !(json_is_array(v) && json_array_size(v) == 0);
}

static json_t *typed(const char *type)
{
	json_t *v = json_object();
	json_set_str(v, "type", str_from(type));
	return v;
}

static void add_text(json_t *parts, struct str text)
{
	json_t *part = typed("text");
	json_set_str(part, "text", text);
	json_array_append_new(parts, part);
}

/* A string that must be there. */
static int want_text(struct message_reader *r, const json_t *object, const char *name, const char *member, struct str *ret)
{
	const json_t *v = json_get(object, name);
	if (!v)
		return message_refuse(r, ERR_MISSING_FIELD, member, "this is required");
	if (!json_is_string(v))
		return message_refuse(r, ERR_WRONG_TYPE, member, "wanted a string");
	*ret = json_str_of(v);
	return 0;
}

/* As above, and it must not be empty. */
static int want_name(struct message_reader *r, const json_t *object, const char *name, const char *member, struct str *ret)
{
	int rc = want_text(r, object, name, member, ret);
	return rc == 0 && ret->n == 0 ? message_refuse(r, ERR_OUT_OF_RANGE, member, "this is empty") : rc;
}

/* data:TYPE;base64,DATA */
static json_t *data_url(const char *type, struct str data, bool encode)
{
	struct buf b;
	buf_init(&b, data.n * 2 + 200);
	buf_printf(&b, "data:%s;base64,", type);
	if (encode)
		crypto_base64(&b, data);
	else
		buf_add_str(&b, data);
	json_t *v = json_from_str(buf_str(&b));
	buf_done(&b);
	return v;
}

static int check_base64(struct message_reader *r, struct str data)
{
	for (size_t i = 0; i < data.n; i++) {
		char c = data.p[i];
		bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || (c == '=' && i + 2 >= data.n);
		if (!good)
			return message_refuse(r, ERR_OUT_OF_RANGE, "source/data", "this is not base64");
	}
	return data.n ? 0 : message_refuse(r, ERR_OUT_OF_RANGE, "source/data", "there is no data");
}

/* --- images --- */

static int add_image(struct message_reader *r, json_t *parts, const json_t *block)
{
	static const char *const types[] = { "image/jpeg", "image/png", "image/gif", "image/webp" };
	const json_t *source = json_get(block, "source");
	struct str type = json_str(source, "type"), text = { 0 };
	json_t *image = json_object();
	int rc;
	if (str_eq_z(type, "base64")) {
		struct str media = json_str(source, "media_type");
		const char *known = NULL;
		for (size_t i = 0; i < ARRAY_LEN(types); i++)
			known = str_eq_z(media, types[i]) ? types[i] : known;
		rc = want_text(r, source, "data", "source/data", &text);
		if (rc == 0 && !known)
			rc = message_refuse(r, ERR_OUT_OF_RANGE, "source/media_type", "wanted image/jpeg, image/png, image/gif or image/webp");
		if (rc == 0)
			rc = check_base64(r, text);
		if (rc == 0)
			json_object_set_new(image, "url", data_url(known, text, false));
	} else if (str_eq_z(type, "url")) {
		rc = want_name(r, source, "url", "source/url", &text);
		json_set_str(image, "url", text);
	} else if (str_eq_z(type, "file")) {
		rc = want_name(r, source, "file_id", "source/file_id", &text);
		json_set_str(image, "file_id", text);
	} else {
		rc = message_refuse(r, ERR_OUT_OF_RANGE, "source/type", "wanted base64, url or file");
	}
	json_t *part = typed("image_url");
	json_object_set_new(part, "image_url", image);
	json_array_append_new(parts, part);
	return rc;
}

/* --- documents --- */

static int add_block(struct message_reader *r, json_t *parts, const json_t *block);

/* A document that is given as blocks of its own stays text and images. */
static int add_document_content(struct message_reader *r, json_t *parts, const json_t *block, const json_t *content)
{
	const json_t *one;
	struct str title = json_str(block, "title");
	size_t i;
	if (title.n)
		add_text(parts, title);
	if (json_is_string(content))
		add_text(parts, json_str_of(content));
	else if (!json_is_array(content))
		return message_refuse(r, ERR_WRONG_TYPE, "source/content", "wanted a string or an array of blocks");
	else if (json_array_size(content) == 0)
		return message_refuse(r, ERR_OUT_OF_RANGE, "source/content", "wanted at least one block");
	json_array_foreach(content, i, one)
	{
		struct str type = json_str(one, "type");
		int rc = str_eq_z(type, "text") || str_eq_z(type, "image") ? add_block(r, parts, one)
		                                                           : message_refuse(r, ERR_OUT_OF_RANGE, "source/content", "wanted text and images");
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int document_file(struct message_reader *r, json_t *file, const json_t *source, struct str title)
{
	struct str type = json_str(source, "type"), text = { 0 };
	int rc;
	if (str_eq_z(type, "base64")) {
		rc = want_text(r, source, "data", "source/data", &text);
		if (rc == 0 && !str_eq_z(json_str(source, "media_type"), "application/pdf"))
			rc = message_refuse(r, ERR_OUT_OF_RANGE, "source/media_type", "wanted application/pdf");
		if (rc == 0)
			rc = check_base64(r, text);
		json_set_str(file, "filename", title.n ? title : STR("document.pdf"));
		if (rc == 0)
			json_object_set_new(file, "file_data", data_url("application/pdf", text, false));
	} else if (str_eq_z(type, "text")) {
		rc = want_name(r, source, "data", "source/data", &text);
		json_set_str(file, "filename", title.n ? title : STR("document.txt"));
		if (rc == 0)
			json_object_set_new(file, "file_data", data_url("text/plain", text, true));
	} else if (str_eq_z(type, "file")) {
		rc = want_name(r, source, "file_id", "source/file_id", &text);
		json_set_str(file, "file_id", text);
		if (title.n)
			json_set_str(file, "filename", title);
	} else if (str_eq_z(type, "url")) {
		rc = message_refuse(r, ERR_UNSUPPORTED, "source/type", "documents are not fetched: send the bytes, or a file's id");
	} else {
		rc = message_refuse(r, ERR_OUT_OF_RANGE, "source/type", "wanted base64, text, content or file");
	}
	return rc;
}

static int add_document(struct message_reader *r, json_t *parts, const json_t *block)
{
	const json_t *source = json_get(block, "source");
	struct str context = json_str(block, "context");
	if (json_is_true(json_get(json_get(block, "citations"), "enabled")))
		return message_refuse(r, ERR_UNSUPPORTED, "citations", "answers have no citations here");
	if (context.n)
		add_text(parts, context);
	if (str_eq_z(json_str(source, "type"), "content"))
		return add_document_content(r, parts, block, json_get(source, "content"));
	json_t *part = typed("file"), *file = json_object();
	int rc = document_file(r, file, source, json_str(block, "title"));
	json_object_set_new(part, "file", file);
	json_array_append_new(parts, part);
	return rc;
}

/* --- blocks that become content parts --- */

static int add_plain_block(struct message_reader *r, json_t *parts, const json_t *block)
{
	struct str type = json_str(block, "type"), text;
	if (!json_is_object(block))
		return message_refuse(r, ERR_WRONG_TYPE, "", "wanted an object");
	if (!json_is_string(json_get(block, "type")))
		return message_refuse(r, ERR_MISSING_FIELD, "type", "a block has a type");
	if (str_eq_z(type, "image"))
		return add_image(r, parts, block);
	if (str_eq_z(type, "document"))
		return add_document(r, parts, block);
	if (!str_eq_z(type, "text"))
		return message_refuse(r, ERR_UNSUPPORTED, "type", "text, image, document, tool_use, tool_result and thinking are taken");
	int rc = want_text(r, block, "text", "text", &text);
	if (rc == 0)
		add_text(parts, text);
	return rc;
}

static int add_block(struct message_reader *r, json_t *parts, const json_t *block)
{
	int rc = add_plain_block(r, parts, block);
	while (json_array_size(r->places) < json_array_size(parts))
		json_array_append_new(r->places, json_from_str(place_of(r)));
	return rc < 0 ? rc : mark_here(r, block, json_array_get(parts, json_array_size(parts) - 1));
}

/* One text is a string, as most clients write it, and its mark is the message's. Takes parts. */
static void set_content(json_t *message, json_t *parts)
{
	const json_t *first = json_array_get(parts, 0);
	if (json_array_size(parts) == 0) {
		json_object_set_new(message, "content", json_null());
	} else if (json_array_size(parts) == 1 && str_eq_z(json_str(first, "type"), "text")) {
		json_object_set(message, "content", json_get(first, "text"));
		if (json_get(first, "cache_control"))
			json_object_set(message, "cache_control", json_get(first, "cache_control"));
	} else {
		json_object_set(message, "content", parts);
	}
	json_decref(parts);
}

/* It comes from where the reader is. */
static json_t *add_message(struct message_reader *r, const char *role)
{
	json_t *m = json_object(), *place = json_array();
	json_set_str(m, "role", str_from(role));
	json_array_append_new(r->messages, m);
	json_array_append_new(place, json_from_str(place_of(r)));
	json_array_append_new(r->origin, place);
	return m;
}

/* The places of the parts of the last message. Takes places. */
static void end_places(struct message_reader *r, json_t *places)
{
	json_array_extend(json_array_get(r->origin, json_array_size(r->origin) - 1), places);
	json_decref(places);
}

/* --- a turn --- */

/* What a turn came to so far. */
struct turn {
	json_t *parts, *calls, *thinking; /* owned; the latter two NULL: none */
	json_t *places; /* owned: of the parts */
	bool user;
};

static int result_content(struct message_reader *r, json_t *parts, const json_t *content)
{
	const json_t *block;
	size_t i;
	int rc = 0;
	if (json_is_string(content))
		add_text(parts, json_str_of(content));
	else if (content && !json_is_null(content) && !json_is_array(content))
		return message_refuse(r, ERR_WRONG_TYPE, "content", "wanted a string or an array of blocks");
	json_array_foreach(content, i, block)
	{
		r->inner = (ssize_t)i;
		rc = add_block(r, parts, block);
		if (rc < 0)
			return rc;
	}
	r->inner = -1;
	return 0;
}

static int add_result(struct message_reader *r, struct turn *t, const json_t *block)
{
	struct str id;
	if (!t->user)
		return message_refuse(r, ERR_OUT_OF_RANGE, "type", "results of tools stand in messages of the user");
	int rc = want_name(r, block, "tool_use_id", "tool_use_id", &id);
	if (rc < 0)
		return rc;
	json_t *m = add_message(r, "tool"), *parts = json_array();
	json_set_str(m, "tool_call_id", id);
	r->places = json_array();
	rc = result_content(r, parts, json_get(block, "content"));
	end_places(r, r->places);
	r->places = t->places;
	if (json_array_size(parts) == 0)
		add_text(parts, STR(""));
	set_content(m, parts);
	if (json_is_true(json_get(block, "is_error")))
		json_object_set_new(m, "is_error", json_true());
	return rc < 0 ? rc : mark_here(r, block, m);
}

static int add_call(struct message_reader *r, struct turn *t, const json_t *block)
{
	struct str id, name;
	json_t *input = json_get(block, "input");
	if (t->user)
		return message_refuse(r, ERR_OUT_OF_RANGE, "type", "calls of tools stand in messages of the assistant");
	int rc = want_name(r, block, "id", "id", &id);
	if (rc == 0)
		rc = want_name(r, block, "name", "name", &name);
	if (rc < 0)
		return rc;
	if (!json_is_object(input))
		return message_refuse(r, input ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, "input", "wanted an object");
	struct buf text;
	buf_init(&text, (size_t)1 << 30);
	if (json_write(&text, input) < 0)
		rc = message_refuse(r, ERR_TOO_LARGE, "input", "this is too large");
	json_t *call = json_object(), *function = json_object();
	json_set_str(call, "id", id);
	json_set_str(call, "type", STR("function"));
	json_set_str(function, "name", name);
	json_set_str(function, "arguments", buf_str(&text));
	json_object_set_new(call, "function", function);
	if (!t->calls)
		t->calls = json_array();
	json_array_append_new(t->calls, call);
	buf_done(&text);
	return rc < 0 ? rc : mark_here(r, block, call);
}

/* Without its signature nobody takes a thought back: one that another provider's model had is left out. */
static int add_thought(struct message_reader *r, struct turn *t, const json_t *block, const char *content, const char *proof)
{
	struct str text = { 0 }, signature = { 0 };
	if (t->user)
		return message_refuse(r, ERR_OUT_OF_RANGE, "type", "thoughts stand in messages of the assistant");
	int rc = want_text(r, block, content, content, &text);
	if (rc == 0)
		rc = want_text(r, block, proof, proof, &signature);
	if (rc < 0 || signature.n == 0)
		return rc;
	json_t *kept = typed(json_string_value(json_get(block, "type")));
	json_set_str(kept, content, text);
	json_set_str(kept, proof, signature);
	if (!t->thinking)
		t->thinking = json_array();
	json_array_append_new(t->thinking, kept);
	return 0;
}

static int add_turn_block(struct message_reader *r, struct turn *t, const json_t *block)
{
	struct str type = json_str(block, "type");
	if (str_eq_z(type, "tool_result"))
		return add_result(r, t, block);
	if (str_eq_z(type, "tool_use"))
		return add_call(r, t, block);
	if (str_eq_z(type, "thinking"))
		return add_thought(r, t, block, "thinking", "signature");
	if (str_eq_z(type, "redacted_thinking"))
		return add_thought(r, t, block, "data", "data");
	return add_block(r, t->parts, block);
}

static int read_blocks(struct message_reader *r, struct turn *t, const json_t *content)
{
	const json_t *block;
	size_t i;
	json_array_foreach(content, i, block)
	{
		r->block = (ssize_t)i;
		int rc = add_turn_block(r, t, block);
		if (rc < 0)
			return rc;
	}
	r->block = -1;
	return 0;
}

/* The turn as a message; one that held results of tools alone is told by them. Takes what t holds. */
static void end_turn(struct message_reader *r, struct turn *t, const char *role)
{
	bool empty = json_array_size(t->parts) == 0 && !t->calls && !t->thinking;
	if (!t->user || !empty) {
		json_t *m = add_message(r, role);
		set_content(m, t->parts);
		end_places(r, t->places);
		t->parts = t->places = NULL;
		if (t->calls)
			json_object_set(m, "tool_calls", t->calls);
		if (t->thinking)
			json_object_set(m, "thinking_blocks", t->thinking);
	}
	json_decref(t->parts);
	json_decref(t->places);
	json_decref(t->calls);
	json_decref(t->thinking);
}

static int read_message(struct message_reader *r, const json_t *message)
{
	static const char *const roles[] = { "user", "assistant", "system" };
	const json_t *content = json_get(message, "content");
	const char *role = NULL;
	if (!json_is_object(message))
		return message_refuse(r, ERR_WRONG_TYPE, "", "wanted an object");
	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		role = str_eq_z(json_str(message, "role"), roles[i]) ? roles[i] : role;
	if (!role)
		return message_refuse(r, json_get(message, "role") ? ERR_OUT_OF_RANGE : ERR_MISSING_FIELD, "role", "wanted user, assistant or system");
	if (!content)
		return message_refuse(r, ERR_MISSING_FIELD, "content", "a message has content");
	if (!json_is_string(content) && !json_is_array(content))
		return message_refuse(r, ERR_WRONG_TYPE, "content", "wanted a string or an array of blocks");
	if (json_is_array(content) && json_array_size(content) == 0)
		return message_refuse(r, ERR_OUT_OF_RANGE, "content", "wanted at least one block");
	struct turn t = { .parts = json_array(), .places = json_array(), .user = !str_eq_z(str_from(role), "assistant") };
	if (json_is_string(content))
		add_text(t.parts, json_str_of(content));
	r->places = t.places;
	int rc = read_blocks(r, &t, content);
	r->block = r->inner = -1;
	end_turn(r, &t, role);
	return rc;
}

int message_read_messages(struct message_reader *r, const json_t *messages)
{
	const json_t *message;
	size_t i;
	r->list = "messages";
	r->item = SIZE_MAX;
	r->block = r->inner = -1;
	if (!messages)
		return message_refuse(r, ERR_MISSING_FIELD, "", "this is required");
	if (!json_is_array(messages))
		return message_refuse(r, ERR_WRONG_TYPE, "", "wanted an array");
	if (json_array_size(messages) == 0)
		return message_refuse(r, ERR_OUT_OF_RANGE, "", "wanted at least one message");
	json_array_foreach(messages, i, message)
	{
		r->item = i;
		int rc = read_message(r, message);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int message_read_system(struct message_reader *r, const json_t *system)
{
	const json_t *block;
	size_t i;
	r->list = "system";
	r->item = SIZE_MAX;
	r->block = r->inner = -1;
	if (!is_set(system))
		return 0;
	if (!json_is_string(system) && !json_is_array(system))
		return message_refuse(r, ERR_WRONG_TYPE, "", "wanted a string or an array of text blocks");
	json_t *m = add_message(r, "system"), *parts = json_array();
	int rc = 0;
	r->places = json_array();
	if (json_is_string(system))
		add_text(parts, json_str_of(system));
	json_array_foreach(system, i, block)
	{
		r->item = i;
		if (rc == 0)
			rc = str_eq_z(json_str(block, "type"), "text") ? add_block(r, parts, block) : message_refuse(r, ERR_OUT_OF_RANGE, "type", "wanted text");
	}
	set_content(m, parts);
	end_places(r, r->places);
	return rc;
}
