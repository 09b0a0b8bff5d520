/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from OpenAI's form into Anthropic's. System and developer messages, wherever they stand, become blocks of `system`; what follows one
 * another in the same role becomes one turn; results of tools go to the front of the user's turn, where they must stand. Empty texts are left out:
 * they would be refused. Images, PDFs and other files become blocks with the same bytes.
 *
 * What cannot be said in Anthropic's form is refused with a pointer to it, never dropped.
 */
#include "common/crypto.h"
#include "common/request_facts.h"
#include "worker/providers/anthropic.h"

#define MARKS_MAX 4 /* "Prompt caching": more are refused */

int anthropic_refuse(struct anthropic_body *b, const char *pointer, const char *why)
{
	return err_set_at(b->err, ERR_UNSUPPORTED, pointer, "%s: %s", pointer[0] == '/' ? pointer + 1 : pointer, why);
}

/* The same for a member (or "", itself) of where we are: a message, or an item of a list in it. */
static int refuse_here(struct anthropic_body *b, const char *member, const char *why)
{
	struct str pointer = arena_printf(b->arena, "/messages/%zu", b->message);
	if (b->list)
		pointer = arena_printf(b->arena, "%s/%s/%zu", pointer.p, b->list, b->item);
	if (member[0])
		pointer = arena_printf(b->arena, "%s/%s", pointer.p, member);
	return anthropic_refuse(b, pointer.p, why);
}

static json_t *block_of(const char *type)
{
	json_t *block = json_object();
	json_set_str(block, "type", str_from(type));
	return block;
}

/* Anthropic refuses a text block that has nothing to read in it. */
static void add_text(json_t *blocks, struct str text)
{
	if (str_trim(text).n == 0)
		return;
	json_t *block = block_of("text");
	json_set_str(block, "text", text);
	json_array_append_new(blocks, block);
}

void anthropic_mark(struct anthropic_body *b, const json_t *from, const json_t *blocks, size_t before)
{
	json_t *mark = json_get(from, "cache_control");
	size_t n = json_array_size(blocks);
	json_t *last = json_array_get(blocks, n - 1);
	if (!b->marks || !json_is_object(mark) || n <= before || json_get(last, "cache_control") || b->marked >= MARKS_MAX)
		return;
	json_object_set(last, "cache_control", mark);
	b->marked++;
}

/* --- images and files --- */

static json_t *base64_source(const char *media, struct str data)
{
	json_t *source = block_of("base64");
	json_set_str(source, "media_type", str_from(media));
	json_set_str(source, "data", data);
	return source;
}

/* The type as Anthropic names it, or NULL: not one of the four that it takes. */
static const char *image_type(struct str media)
{
	static const char *const types[][2] = {
		{ "image/jpeg", "image/jpeg" }, { "image/jpg", "image/jpeg" }, { "image/png", "image/png" }, { "image/gif", "image/gif" }, { "image/webp", "image/webp" },
	};
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (str_eq_nocase(media, str_from(types[i][0])))
			return types[i][1];
	return NULL;
}

static int add_image(struct anthropic_body *b, json_t *blocks, const json_t *part)
{
	const json_t *image = json_get(part, "image_url");
	struct str url = json_is_string(image) ? json_str_of(image) : json_str(image, "url");
	struct request_data data;
	json_t *source;
	if (str_has_prefix_nocase(url, STR("https://")) || str_has_prefix_nocase(url, STR("http://"))) {
		source = block_of("url");
		json_set_str(source, "url", url);
	} else {
		const char *type = request_data_url(url, &data) && data.base64 ? image_type(data.type) : NULL;
		if (!type)
			return refuse_here(b, json_is_string(image) ? "image_url" : "image_url/url", "Anthropic takes images as http(s) URL, or as base64 data URL of a JPEG, PNG, GIF or WebP");
		source = base64_source(type, data.data);
	}
	json_t *block = block_of("image");
	json_object_set_new(block, "source", source);
	json_array_append_new(blocks, block);
	return 0;
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The other form of data in a URL (RFC 2397): %41 is A. A percent sign before anything else is one. */
static void add_percent_decoded(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		int high = s.p[i] == '%' && i + 2 < s.n ? digit_of(s.p[i + 1]) : -1, low = high >= 0 ? digit_of(s.p[i + 2]) : -1;
		buf_add_char(b, low >= 0 ? (char)(high * 16 + low) : s.p[i]);
		i += low >= 0 ? 2 : 0;
	}
}

/* A text document holds its text as it is, not base64. */
static int text_source(struct anthropic_body *b, const struct request_data *data, json_t **ret)
{
	struct buf text;
	int rc = 0;
	buf_init(&text, data->data.n + 3);
	if (!data->base64)
		add_percent_decoded(&text, data->data);
	else if (crypto_base64_decode(&text, data->data) < 0)
		rc = refuse_here(b, "file/file_data", "this is not base64");
	if (rc == 0 && (!str_is_utf8(buf_str(&text)) || str_find_char(buf_str(&text), '\0') >= 0))
		rc = refuse_here(b, "file/file_data", "Anthropic takes text files in UTF-8 only, without NUL bytes");
	if (rc == 0) {
		*ret = block_of("text");
		json_set_str(*ret, "media_type", STR("text/plain"));
		json_set_str(*ret, "data", buf_str(&text));
	}
	buf_done(&text);
	return rc;
}

static int file_source(struct anthropic_body *b, const json_t *file, json_t **ret)
{
	struct str id = json_str(file, "file_id"), whole = json_str(file, "file_data");
	struct request_data data;
	if (whole.n == 0 && id.n) {
		b->files = true;
		*ret = block_of("file");
		json_set_str(*ret, "file_id", id);
		return 0;
	}
	if (!request_data_url(whole, &data)) /* base64 alone, as some clients send it */
		data = (struct request_data){ .type = STR(""), .data = whole, .base64 = true };
	uint32_t kind = request_file_need(data.type, json_str(file, "filename"));
	if (kind == NEED_TEXT_FILES && whole.n)
		return text_source(b, &data, ret);
	if (kind != NEED_PDF || !data.base64)
		return refuse_here(b, "file/file_data", "Anthropic takes PDF (in base64) and plain text files");
	*ret = base64_source("application/pdf", data.data);
	return 0;
}

static int add_file(struct anthropic_body *b, json_t *blocks, const json_t *part)
{
	const json_t *file = json_get(part, "file");
	struct str name = json_str(file, "filename");
	json_t *source = NULL;
	int rc = file_source(b, file, &source);
	if (rc < 0)
		return rc;
	json_t *block = block_of("document");
	json_object_set_new(block, "source", source);
	if (name.n)
		json_set_str(block, "title", str_utf8_prefix(name, 500));
	json_array_append_new(blocks, block);
	return 0;
}

/* --- content --- */

static int add_part(struct anthropic_body *b, json_t *blocks, const json_t *part, bool text_only)
{
	struct str type = json_str(part, "type");
	if (str_eq_z(type, "text") || str_eq_z(type, "refusal")) {
		const json_t *text = json_get(part, str_eq_z(type, "text") ? "text" : "refusal");
		if (!json_is_string(text))
			return refuse_here(b, "", "wanted a text");
		add_text(blocks, json_str_of(text));
		return 0;
	}
	if (text_only)
		return refuse_here(b, "type", "Anthropic takes text alone here");
	if (str_eq_z(type, "image_url"))
		return add_image(b, blocks, part);
	if (str_eq_z(type, "file"))
		return add_file(b, blocks, part);
	return refuse_here(b, "type", str_eq_z(type, "input_audio") ? "Anthropic takes no audio" : "Anthropic has no such content part");
}

static int add_content(struct anthropic_body *b, json_t *blocks, const json_t *message, bool text_only)
{
	const json_t *content = json_get(message, "content"), *part;
	size_t i, had = json_array_size(blocks);
	if (json_is_string(content))
		add_text(blocks, json_str_of(content));
	else if (content && !json_is_null(content) && !json_is_array(content))
		return refuse_here(b, "content", "wanted text or content parts");
	json_array_foreach (content, i, part) {
		b->list = "content";
		b->item = i;
		size_t before = json_array_size(blocks);
		int rc = add_part(b, blocks, part, text_only);
		if (rc < 0)
			return rc;
		anthropic_mark(b, part, blocks, before);
	}
	b->list = NULL;
	if (!str_eq_z(json_str(message, "role"), "tool")) /* there it is the whole result's */
		anthropic_mark(b, message, blocks, had);
	return 0;
}

/* --- tool calls --- */

/* Ids of calls that other providers made may have characters that Anthropic refuses; call and result are changed alike. */
static void set_call_id(json_t *block, const char *key, struct str id)
{
	struct buf out;
	buf_init(&out, id.n);
	for (size_t i = 0; i < id.n; i++) {
		char c = id.p[i];
		bool taken = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
		buf_add_char(&out, taken ? c : '_');
	}
	json_set_str(block, key, buf_str(&out));
	buf_done(&out);
}

/* The arguments, an object in a string, as an object; some servers write them as one already, or as nothing when there are none. */
static json_t *arguments_of(const json_t *function)
{
	json_t *arguments = json_get(function, "arguments");
	if (json_is_object(arguments))
		return json_incref(arguments);
	if (!json_is_string(arguments) || str_trim(json_str_of(arguments)).n == 0)
		return arguments && !json_is_string(arguments) ? NULL : json_object();
	json_t *parsed = json_parse_answer(json_str_of(arguments), NULL);
	if (json_is_object(parsed))
		return parsed;
	json_decref(parsed);
	return NULL;
}

static int add_call(struct anthropic_body *b, json_t *blocks, const json_t *call)
{
	const json_t *function = json_get(call, "function");
	struct str id = json_str(call, "id"), name = json_str(function, "name");
	if (!json_is_object(function) || name.n == 0)
		return refuse_here(b, "function", "Anthropic takes calls of functions with a name only");
	if (id.n == 0)
		return refuse_here(b, "id", "a tool call has an id");
	json_t *input = arguments_of(function);
	if (!input)
		return refuse_here(b, "function/arguments", "wanted a JSON object in a string");
	json_t *block = block_of("tool_use");
	set_call_id(block, "id", id);
	json_set_str(block, "name", name);
	json_object_set_new(block, "input", input);
	json_array_append_new(blocks, block);
	anthropic_mark(b, call, blocks, 0);
	return 0;
}

/* --- messages --- */

static void end_turn(struct anthropic_body *b)
{
	json_t *turn = json_object();
	json_array_extend(b->results, b->rest);
	json_set_str(turn, "role", str_from(b->role));
	json_object_set_new(turn, "content", b->results);
	json_array_append_new(b->messages, turn);
	json_decref(b->rest);
	b->results = b->rest = NULL;
	b->role = NULL;
}

/* Hands the blocks to the open turn, when it is of that role, or to a new one. */
static void add_turn(struct anthropic_body *b, const char *role, json_t *blocks, bool results)
{
	if (json_array_size(blocks) == 0)
		return;
	if (b->role && !str_eq_z(str_from(role), b->role))
		end_turn(b);
	if (!b->role) {
		b->role = role;
		b->results = json_array();
		b->rest = json_array();
	}
	json_array_extend(results ? b->results : b->rest, blocks);
}

static int add_system(struct anthropic_body *b, json_t *blocks, const json_t *message)
{
	int rc = add_content(b, blocks, message, /* text_only= */ true);
	if (rc == 0)
		json_array_extend(b->system, blocks);
	return rc;
}

static int add_user(struct anthropic_body *b, json_t *blocks, const json_t *message)
{
	int rc = add_content(b, blocks, message, false);
	if (rc == 0)
		add_turn(b, "user", blocks, false);
	return rc;
}

/* What the model thought goes back untouched, before all else: its signatures are checked ("Preserving thinking blocks"). */
static int add_assistant(struct anthropic_body *b, json_t *blocks, const json_t *message)
{
	const json_t *calls = json_get(message, "tool_calls"), *call;
	json_t *thinking = json_get(message, "thinking_blocks"), *thought;
	size_t i;
	json_array_foreach (thinking, i, thought)
		if (str_eq_z(json_str(thought, "type"), "thinking") || str_eq_z(json_str(thought, "type"), "redacted_thinking"))
			json_array_append(blocks, thought);
	if (json_is_object(json_get(message, "function_call")))
		return refuse_here(b, "function_call", "wanted tool_calls in place of function_call");
	int rc = add_content(b, blocks, message, /* text_only= */ true);
	add_text(blocks, json_str(message, "refusal"));
	json_array_foreach (calls, i, call) {
		if (rc < 0)
			return rc;
		b->list = "tool_calls";
		b->item = i;
		rc = add_call(b, blocks, call);
	}
	if (rc == 0)
		add_turn(b, "assistant", blocks, false);
	return rc;
}

static int add_tool(struct anthropic_body *b, json_t *blocks, const json_t *message)
{
	struct str id = json_str(message, "tool_call_id");
	if (id.n == 0)
		return refuse_here(b, "tool_call_id", "a tool's result names its call");
	json_t *content = json_array(), *block = block_of("tool_result");
	set_call_id(block, "tool_use_id", id);
	int rc = add_content(b, content, message, false);
	if (json_array_size(content))
		json_object_set(block, "content", content);
	if (json_is_true(json_get(message, "is_error")))
		json_object_set_new(block, "is_error", json_true());
	json_array_append_new(blocks, block);
	json_decref(content);
	anthropic_mark(b, message, blocks, 0);
	if (rc == 0)
		add_turn(b, "user", blocks, true);
	return rc;
}

/* White space at the end of a last turn of the assistant's would be refused. */
static void trim_last(const json_t *messages)
{
	const json_t *turn = json_array_get(messages, json_array_size(messages) - 1), *content = json_get(turn, "content");
	json_t *block = json_array_get(content, json_array_size(content) - 1);
	struct str text = json_str(block, "text");
	if (!str_eq_z(json_str(turn, "role"), "assistant") || !str_eq_z(json_str(block, "type"), "text"))
		return;
	while (text.n && str_trim(str_sub(text, text.n - 1, 1)).n == 0)
		text.n--;
	json_object_set_new(block, "text", json_from_str(text));
}

int anthropic_messages(struct anthropic_body *b, const json_t *messages)
{
	static const struct {
		const char *role;
		int (*add)(struct anthropic_body *b, json_t *blocks, const json_t *message);
	} roles[] = { { "system", add_system }, { "developer", add_system }, { "user", add_user }, { "assistant", add_assistant }, { "tool", add_tool } };
	const json_t *message;
	size_t i, k;
	json_array_foreach (messages, i, message) {
		b->message = i;
		b->list = NULL;
		for (k = 0; k < ARRAY_LEN(roles); k++)
			if (str_eq_z(json_str(message, "role"), roles[k].role))
				break;
		if (k == ARRAY_LEN(roles))
			return refuse_here(b, "role", "Anthropic takes system, developer, user, assistant and tool");
		json_t *blocks = json_array();
		int rc = roles[k].add(b, blocks, message);
		json_decref(blocks);
		if (rc < 0)
			return rc;
	}
	if (b->role)
		end_turn(b);
	if (json_array_size(b->messages) == 0)
		return anthropic_refuse(b, "/messages", "Anthropic wants a message with content besides the system's");
	trim_last(b->messages);
	return 0;
}
