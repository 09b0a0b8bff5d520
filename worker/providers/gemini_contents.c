/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's messages as Gemini's contents ("Gemini API: Content, Part"). All system and developer messages, wherever they stand, become parts of the
 * system instruction. The others become turns of user and model; messages of the same role in a row are one turn, and the results of
 * calls are the user's.
 *
 * Gemini ties a result to its call by the function's name, which OpenAI's message does not say: it is found through the call's id. A result
 * of a call that was never made is refused, as is a part of a kind that Gemini cannot take. Data goes out as it came: nothing is decoded that
 * is base64 already.
 */
#include "common/conf.h"
#include "worker/providers/gemini.h"

/* Where in the request we are, for errors. */
struct place {
	struct gemini_body *b;
	size_t message;
	ssize_t part; /* -1: the content is one text */
};

static int refuse(const struct place *at, const char *field, const char *why)
{
	struct arena *a = at->b->arena;
	if (at->part < 0)
		return gemini_refuse(at->b, arena_printf(a, "/messages/%zu%s", at->message, field), why);
	return gemini_refuse(at->b, arena_printf(a, "/messages/%zu/content/%zd%s", at->message, at->part, field), why);
}

/* --- parts --- */

static void add_text(json_t *parts, struct str text)
{
	json_t *part = json_object();
	json_set_str(part, "text", text);
	json_array_append_new(parts, part);
}

/* type p NULL: Gemini is to find out. */
static void add_data(json_t *parts, const char *kind, struct str type, const char *key, struct str value)
{
	json_t *part = json_object(), *data = json_object();
	if (type.p)
		json_set_str(data, "mimeType", type);
	json_set_str(data, key, value);
	json_object_set_new(part, kind, data);
	json_array_append_new(parts, part);
}

static struct str by_extension(struct str name)
{
	static const struct {
		struct str end, type;
	} known[] = {
		{ STR(".pdf"), STR("application/pdf") }, { STR(".txt"), STR("text/plain") },  { STR(".md"), STR("text/markdown") }, { STR(".csv"), STR("text/csv") },
		{ STR(".html"), STR("text/html") },      { STR(".htm"), STR("text/html") },   { STR(".xml"), STR("text/xml") },     { STR(".json"), STR("application/json") },
		{ STR(".png"), STR("image/png") },       { STR(".jpg"), STR("image/jpeg") },  { STR(".jpeg"), STR("image/jpeg") },  { STR(".webp"), STR("image/webp") },
		{ STR(".gif"), STR("image/gif") },       { STR(".heic"), STR("image/heic") }, { STR(".heif"), STR("image/heif") },
	};
	char end[6];
	struct str tail = str_sub(name, name.n > sizeof(end) ? name.n - sizeof(end) : 0, sizeof(end));
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		struct str last = str_sub(tail, tail.n > known[i].end.n ? tail.n - known[i].end.n : 0, known[i].end.n);
		if (str_eq_nocase(last, known[i].end))
			return known[i].type;
	}
	return (struct str){ NULL, 0 };
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The text of a data URL that is not base64: %XX are bytes. */
static void add_escaped_text(json_t *parts, struct str text)
{
	struct buf b;
	buf_init(&b, SIZE_MAX / 8);
	for (size_t i = 0; i < text.n; i++) {
		int high = text.p[i] == '%' && i + 2 < text.n ? hex(text.p[i + 1]) : -1, low = high >= 0 ? hex(text.p[i + 2]) : -1;
		char c = low >= 0 ? (char)(high * 16 + low) : text.p[i];
		buf_add_char(&b, c ? c : ' ');
		i += low >= 0 ? 2 : 0;
	}
	add_text(parts, buf_str(&b));
	buf_done(&b);
}

/* data:TYPE[;…][;base64],DATA. False: it is none. */
static bool split_data_url(struct str url, struct str *ret_type, bool *ret_base64, struct str *ret_data)
{
	ssize_t comma = str_has_prefix_nocase(url, STR("data:")) ? str_find_char(url, ',') : -1;
	struct str head, part;
	if (comma < 0)
		return false;
	head = str_sub(url, 5, (size_t)comma - 5);
	*ret_data = str_sub(url, (size_t)comma + 1, url.n);
	*ret_base64 = false;
	*ret_type = (struct str){ NULL, 0 };
	for (bool first = true; str_split(&head, ';', &part); first = false) {
		if (first && part.n)
			*ret_type = str_trim(part);
		*ret_base64 |= str_eq_nocase(str_trim(part), STR("base64"));
	}
	return true;
}

/* A data URL as a part. type: what it is when the URL does not say. */
static int add_data_url(const struct place *at, json_t *parts, struct str url, struct str type, const char *field)
{
	struct str said, data;
	bool base64;
	if (!split_data_url(url, &said, &base64, &data))
		return refuse(at, field, "not a data URL");
	said = said.p ? said : type.p ? type : STR("text/plain");
	if (base64)
		add_data(parts, "inlineData", said, "data", data);
	else if (str_has_prefix_nocase(said, STR("text/")))
		add_escaped_text(parts, data);
	else
		return refuse(at, field, "wanted base64");
	return 0;
}

static int image(const struct place *at, json_t *parts, const json_t *part)
{
	const json_t *v = json_get(part, "image_url");
	struct str url = json_is_string(v) ? json_str_of(v) : json_str(v, "url");
	if (str_has_prefix_nocase(url, STR("data:")))
		return add_data_url(at, parts, url, STR("image/jpeg"), "/image_url/url");
	bool known = str_has_prefix_nocase(url, STR("https://")) || str_has_prefix_nocase(url, STR("http://")) || str_has_prefix(url, STR("gs://"));
	if (!known)
		return refuse(at, "/image_url/url", "wanted a data, http, https or gs URL");
	ssize_t query = str_find_char(url, '?');
	add_data(parts, "fileData", by_extension(query < 0 ? url : str_sub(url, 0, (size_t)query)), "fileUri", url);
	return 0;
}

/* Files of the Files API are named by their address; "files/abc" is one below the API's own. */
static void add_file_id(const struct place *at, json_t *parts, struct str id, struct str name)
{
	struct str uri = id;
	if (str_has_prefix(id, STR("files/")))
		uri = arena_printf(at->b->arena, STR_FMT "/" STR_FMT, STR_ARG(at->b->ask->target->base_url), STR_ARG(id));
	add_data(parts, "fileData", by_extension(name), "fileUri", uri);
}

static int file(const struct place *at, json_t *parts, const json_t *part)
{
	const json_t *f = json_get(part, "file");
	struct str data = json_str(f, "file_data"), id = json_str(f, "file_id"), type = by_extension(json_str(f, "filename"));
	if (str_has_prefix_nocase(data, STR("data:")))
		return add_data_url(at, parts, data, type, "/file/file_data");
	if (data.n)
		add_data(parts, "inlineData", type.p ? type : STR("application/pdf"), "data", data);
	else if (id.n)
		add_file_id(at, parts, id, json_str(f, "filename"));
	else
		return refuse(at, "/file", "wanted file_data or file_id");
	return 0;
}

static int audio(const struct place *at, json_t *parts, const json_t *part)
{
	const json_t *sound = json_get(part, "input_audio");
	struct str data = json_str(sound, "data"), format = json_str(sound, "format");
	if (data.n == 0)
		return refuse(at, "/input_audio/data", "wanted base64");
	for (size_t i = 0; i < format.n; i++)
		if (!((format.p[i] >= 'a' && format.p[i] <= 'z') || (format.p[i] >= '0' && format.p[i] <= '9')))
			return refuse(at, "/input_audio/format", "wanted a word such as wav or mp3");
	add_data(parts, "inlineData", arena_printf(at->b->arena, "audio/" STR_FMT, STR_ARG(format.n ? format : STR("wav"))), "data", data);
	return 0;
}

static int add_part(const struct place *at, json_t *parts, const json_t *part)
{
	struct str type = json_str(part, "type");
	if (str_eq_z(type, "text") || str_eq_z(type, "refusal"))
		add_text(parts, json_str(part, str_eq_z(type, "text") ? "text" : "refusal"));
	else if (str_eq_z(type, "image_url"))
		return image(at, parts, part);
	else if (str_eq_z(type, "file"))
		return file(at, parts, part);
	else if (str_eq_z(type, "input_audio"))
		return audio(at, parts, part);
	else
		return refuse(at, "/type", "Gemini takes text, image_url, file and input_audio");
	return 0;
}

/* The content of a message: a text, or a list of parts. Empty texts of the model are left out: Gemini refuses them there. */
static int add_content(struct place *at, json_t *parts, const json_t *content, bool model)
{
	const json_t *part;
	size_t i;
	int rc = 0;
	at->part = -1;
	if (json_is_string(content) && (json_string_length(content) > 0 || !model))
		add_text(parts, json_str_of(content));
	json_array_foreach (content, i, part) {
		at->part = (ssize_t)i;
		rc = add_part(at, parts, part);
		if (rc < 0)
			return rc;
	}
	at->part = -1;
	return 0;
}

/* --- turns --- */

/* Appends parts to the turn that is open, or opens one. Takes the reference. */
static void add_turn(struct gemini_body *b, struct str role, json_t *parts)
{
	json_t *last = json_array_get(b->contents, json_array_size(b->contents) - 1); /* NULL when there is none */
	if (json_array_size(parts) > 0 && last && str_eq(json_str(last, "role"), role)) {
		json_array_extend(json_get(last, "parts"), parts);
	} else if (json_array_size(parts) > 0) {
		json_t *turn = json_object();
		json_set_str(turn, "role", role);
		json_object_set(turn, "parts", parts);
		json_array_append_new(b->contents, turn);
	}
	json_decref(parts);
}

/* The arguments are the text of an object; no text is an empty one. */
static json_t *arguments_of(const json_t *function)
{
	struct str text = json_str(function, "arguments");
	return str_trim(text).n == 0 ? json_object() : json_parse_answer(text, NULL);
}

static void sign(const struct place *at, json_t *part, const json_t *call, bool first)
{
	struct str signature = json_str(json_get(json_get(call, "extra_content"), "google"), "thought_signature");
	if (signature.n)
		json_set_str(part, "thoughtSignature", signature);
	else if (first && at->b->signs)
		/* A call of another provider's model: Google's word for histories without signatures ("Gemini API: thought signatures"). */
		json_set_str(part, "thoughtSignature", STR("skip_thought_signature_validator"));
}

static int add_call(const struct place *at, json_t *parts, const json_t *call, size_t i)
{
	struct gemini_body *b = at->b;
	json_t *function = json_get(call, "function"), *name = json_get(function, "name"), *id = json_get(call, "id"), *arguments = arguments_of(function);
	if (json_str_of(name).n == 0 || !json_is_object(arguments)) {
		bool nameless = json_str_of(name).n == 0;
		json_decref(arguments);
		return refuse(at, arena_printf(b->arena, "/tool_calls/%zu/function/%s", i, nameless ? "name" : "arguments").p,
		              nameless ? "wanted a name" : "wanted the text of a JSON object");
	}
	if (json_is_string(id))
		json_object_set_nocheck(b->names, json_string_value(id), name);
	json_t *part = json_object(), *out = json_object();
	if (json_is_string(id) && !b->vertex && !b->plain_api)
		json_object_set(out, "id", id);
	json_object_set(out, "name", name);
	json_object_set_new(out, "args", arguments);
	json_object_set_new(part, "functionCall", out);
	sign(at, part, call, i == 0);
	json_array_append_new(parts, part);
	return 0;
}

static int add_assistant(struct place *at, const json_t *message)
{
	json_t *parts = json_array();
	const json_t *call;
	size_t i;
	int rc = add_content(at, parts, json_get(message, "content"), /* model= */ true);
	if (rc == 0 && json_str(message, "refusal").n)
		add_text(parts, json_str(message, "refusal"));
	json_array_foreach (json_get(message, "tool_calls"), i, call)
		if (rc == 0)
			rc = add_call(at, parts, call, i);
	if (rc < 0)
		json_decref(parts);
	else
		add_turn(at->b, STR("model"), parts);
	return rc;
}

static void join_text(struct buf *b, const json_t *content)
{
	const json_t *part;
	size_t i;
	buf_add_str(b, json_str_of(content));
	json_array_foreach (content, i, part)
		buf_add_str(b, json_str(part, "text"));
}

/* An object as it is, everything else under "result". */
static json_t *response_of(const json_t *content)
{
	struct buf text;
	buf_init(&text, SIZE_MAX / 8);
	join_text(&text, content);
	json_t *v = json_parse(buf_str(&text), NULL);
	if (!json_is_object(v)) {
		json_decref(v);
		v = json_object();
		json_set_str(v, "result", buf_str(&text));
	}
	buf_done(&text);
	return v;
}

static int add_tool_result(struct place *at, const json_t *message)
{
	struct gemini_body *b = at->b;
	json_t *id = json_get(message, "tool_call_id");
	json_t *name = json_is_string(id) ? json_get(b->names, json_string_value(id)) : NULL;
	if (!name)
		return refuse(at, "/tool_call_id", "no call before this message has that id, so that the function's name is not known");
	json_t *part = json_object(), *out = json_object(), *parts = json_array();
	if (!b->vertex && !b->plain_api)
		json_object_set(out, "id", id);
	json_object_set(out, "name", name);
	json_object_set_new(out, "response", response_of(json_get(message, "content")));
	json_object_set_new(part, "functionResponse", out);
	json_array_append_new(parts, part);
	add_turn(b, STR("user"), parts);
	return 0;
}

static int add_user(struct place *at, const json_t *message)
{
	json_t *parts = json_array();
	int rc = add_content(at, parts, json_get(message, "content"), /* model= */ false);
	if (rc < 0)
		json_decref(parts);
	else
		add_turn(at->b, STR("user"), parts);
	return rc;
}

int gemini_contents(struct gemini_body *b, const json_t *messages)
{
	struct place at = { b, 0, -1 };
	const json_t *message;
	json_array_foreach (messages, at.message, message) {
		struct str role = json_str(message, "role");
		int rc;
		if (str_eq_z(role, "system") || str_eq_z(role, "developer"))
			rc = add_content(&at, b->system, json_get(message, "content"), /* model= */ true);
		else if (str_eq_z(role, "user"))
			rc = add_user(&at, message);
		else if (str_eq_z(role, "assistant"))
			rc = add_assistant(&at, message);
		else if (str_eq_z(role, "tool"))
			rc = add_tool_result(&at, message);
		else
			rc = refuse(&at, "/role", "wanted system, developer, user, assistant or tool");
		if (rc < 0)
			return rc;
	}
	return 0;
}
