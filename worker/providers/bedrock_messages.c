/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages in OpenAI's form to Converse's turns (Amazon Bedrock API Reference: Message, ContentBlock). System and developer messages, wherever they
 * stand, become `system`; messages of one role in a row become one turn, since turns must alternate; what a tool said goes first into a user
 * turn. Files keep their bytes: the base64 text of a data URL is passed on as it came.
 *
 * What Converse cannot take (a picture by its address, audio, a file by its id, a format that it does not know) is refused, naming the field. Blank
 * texts, which it does not take either, are left out.
 */
#include "worker/providers/bedrock.h"

#include "common/crypto.h"
#include "common/request_facts.h"

#define DOCUMENT_NAME_MAX 200
#define POINTS_MAX    4 /* Amazon Bedrock User Guide: Prompt caching */
#define TOOL_ID_MAX   64

static const char words[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* Media types and file name endings of documents, in Converse's words. */
static const struct {
	const char *media, *ending, *format;
} documents[] = {
	{ "application/pdf", "pdf", "pdf" },
	{ "text/plain", "txt", "txt" },
	{ "text/csv", "csv", "csv" },
	{ "text/html", "html", "html" },
	{ "text/html", "htm", "html" },
	{ "text/markdown", "md", "md" },
	{ "application/msword", "doc", "doc" },
	{ "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", "docx" },
	{ "application/vnd.ms-excel", "xls", "xls" },
	{ "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", "xlsx" },
};

static const char *const images[][2] = { { "image/png", "png" }, { "image/jpeg", "jpeg" }, { "image/jpg", "jpeg" }, { "image/gif", "gif" }, { "image/webp", "webp" } };

/* The turn that is being written, and where in the request we are. */
struct writer {
	struct bedrock_messages *m;
	struct arena *a;
	struct err *err;
	json_t *turn, *content; /* borrowed from m->messages */
	const char *role;
	json_t *results;   /* owned: tool results, for the front of the turn; NULL: none */
	json_t *names;     /* owned: of documents; how often each was wanted */
	size_t message, part;
	bool cache;        /* marks of the prompt cache are passed on */
};

static int refuse(struct writer *w, enum err_code code, const char *field, const char *why)
{
	return err_set_at(w->err, code, arena_printf(w->a, "/messages/%zu%s", w->message, field).p, "%s", why);
}

static int refuse_part(struct writer *w, const char *field, const char *why)
{
	return refuse(w, ERR_UNSUPPORTED, arena_printf(w->a, "/content/%zu%s", w->part, field).p, why);
}

static json_t *object_of(const char *key, json_t *value)
{
	json_t *o = json_object();
	json_object_set_new(o, key, value);
	return o;
}

json_t *bedrock_cache_point(void)
{
	json_t *type = json_object();
	json_set_str(type, "type", STR("default"));
	return object_of("cachePoint", type);
}

void bedrock_mark(struct bedrock_messages *m, const json_t *from, json_t *blocks)
{
	const json_t *mark = json_get(from, "cache_control"), *last = json_array_get(blocks, json_array_size(blocks) - 1);
	struct str life = json_str(mark, "ttl");
	if (!json_is_object(mark) || !last || json_get(last, "cachePoint") || m->marked >= POINTS_MAX)
		return;
	json_t *point = bedrock_cache_point();
	if (str_eq_z(life, "5m") || str_eq_z(life, "1h"))
		json_set_str(json_get(point, "cachePoint"), "ttl", life);
	json_array_append_new(blocks, point);
	m->marked++;
}

static void mark(struct writer *w, const json_t *from, json_t *blocks)
{
	if (w->cache)
		bedrock_mark(w->m, from, blocks);
}

static bool is_blank(struct str s)
{
	return str_trim(s).n == 0;
}

static void close_turn(struct writer *w)
{
	if (!w->results)
		return;
	json_array_extend(w->results, w->content);
	json_object_set_new(w->turn, "content", take(&w->results));
}

/* Has the turn of that role open. */
static void open_turn(struct writer *w, const char *role)
{
	if (w->content && str_eq_z(str_from(w->role), role))
		return;
	close_turn(w);
	w->turn = json_object();
	w->role = role;
	w->content = json_array();
	json_set_str(w->turn, "role", str_from(role));
	json_object_set_new(w->turn, "content", w->content);
	json_array_append_new(w->m->messages, w->turn);
}

static void add_text(json_t *to, struct str text)
{
	if (!is_blank(text))
		json_array_append_new(to, object_of("text", json_from_str(text)));
}

/* --- pictures and documents --- */

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The other form of data in a URL (RFC 2397), %41 for A, as base64. */
static json_t *escaped_as_base64(struct str s)
{
	struct buf raw, text;
	buf_init(&raw, s.n);
	buf_init(&text, s.n * 2 + 4);
	for (size_t i = 0; i < s.n; i++) {
		int high = s.p[i] == '%' && i + 2 < s.n ? digit_of(s.p[i + 1]) : -1, low = high >= 0 ? digit_of(s.p[i + 2]) : -1;
		buf_add_char(&raw, low >= 0 ? (char)(high * 16 + low) : s.p[i]);
		i += low >= 0 ? 2 : 0;
	}
	crypto_base64(&text, buf_str(&raw));
	json_t *v = json_from_str(buf_str(&text));
	buf_done(&raw);
	buf_done(&text);
	return v;
}

static json_t *with_bytes(const char *format, const struct request_data *d)
{
	json_t *block = json_object(), *source = json_object();
	json_set_str(block, "format", str_from(format));
	json_object_set_new(source, "bytes", d->base64 ? json_from_str(d->data) : escaped_as_base64(d->data));
	json_object_set_new(block, "source", source);
	return block;
}

static int add_image(struct writer *w, const json_t *part)
{
	const json_t *image = json_get(part, "image_url");
	struct str url = json_is_string(image) ? json_str_of(image) : json_str(image, "url");
	struct request_data d;
	if (!request_data_url(url, &d) || !d.base64 || d.data.n == 0)
		return refuse_part(w, "/image_url/url", "Bedrock takes images as data: URLs with base64 only");
	for (size_t i = 0; i < ARRAY_LEN(images); i++) {
		if (!str_eq_nocase(d.type, str_from(images[i][0])))
			continue;
		json_array_append_new(w->content, object_of("image", with_bytes(images[i][1], &d)));
		return 0;
	}
	return refuse_part(w, "/image_url/url", "Bedrock takes images of type png, jpeg, gif and webp");
}

static const char *document_format(struct str media, struct str filename)
{
	struct str ending = filename;
	for (ssize_t dot; (dot = str_find_char(ending, '.')) >= 0;)
		ending = str_sub(ending, (size_t)dot + 1, ending.n);
	for (size_t i = 0; i < ARRAY_LEN(documents); i++)
		if (str_eq_nocase(media, str_from(documents[i].media)))
			return documents[i].format;
	for (size_t i = 0; i < ARRAY_LEN(documents) && ending.n < filename.n; i++)
		if (str_eq_nocase(ending, str_from(documents[i].ending)))
			return documents[i].format;
	return request_file_need(media, filename) == NEED_TEXT_FILES ? "txt" : NULL;
}

/* Letters, digits, single spaces, hyphens and brackets, unlike all others of the request. */
static struct str document_name(struct writer *w, struct str filename)
{
	struct buf b;
	ssize_t dot = -1;
	for (size_t i = 0; i < filename.n; i++)
		dot = filename.p[i] == '.' ? (ssize_t)i : dot;
	buf_init(&b, DOCUMENT_NAME_MAX);
	struct str stem = dot > 0 ? str_sub(filename, 0, (size_t)dot) : filename;
	for (size_t i = 0; i < stem.n && b.n < DOCUMENT_NAME_MAX - 24; i++) {
		bool kept = stem.p[i] && (str_find_char(str_from(words), stem.p[i]) >= 0 || str_find_char(STR("-()[]"), stem.p[i]) >= 0);
		if (kept)
			buf_add_char(&b, stem.p[i]);
		else if (b.n && b.p[b.n - 1] != ' ')
			buf_add_char(&b, ' ');
	}
	struct str name = arena_str(w->a, str_trim(buf_str(&b)));
	buf_done(&b);
	if (name.n == 0)
		name = STR("document");
	int64_t times = json_i64(w->names, name.p, 0);
	struct str one = name;
	while (json_get(w->names, one.p))
		one = arena_printf(w->a, STR_FMT " %lld", STR_ARG(name), (long long)++times);
	json_set_i64(w->names, one.p, 1);
	json_set_i64(w->names, name.p, MAX(times, 1));
	return one;
}

static int add_file(struct writer *w, const json_t *part)
{
	const json_t *file = json_get(part, "file");
	struct str data = json_str(file, "file_data"), filename = json_str(file, "filename");
	struct request_data d;
	if (!request_data_url(data, &d)) /* base64 alone, as some clients send it */
		d = (struct request_data){ .type = STR(""), .data = data, .base64 = true };
	if (d.data.n == 0)
		return refuse_part(w, json_str(file, "file_id").n ? "/file/file_id" : "/file/file_data", "Bedrock takes files with their data only");
	const char *format = document_format(d.type, filename);
	if (!format)
		return refuse_part(w, "/file/file_data", "Bedrock takes documents of type pdf, csv, doc, docx, xls, xlsx, html, txt and md");
	json_t *block = with_bytes(format, &d);
	json_set_str(block, "name", document_name(w, filename));
	json_array_append_new(w->content, object_of("document", block));
	return 0;
}

/* --- messages --- */

static int add_part(struct writer *w, const json_t *part)
{
	struct str type = json_str(part, "type");
	if (str_eq_z(type, "text"))
		add_text(w->content, json_str(part, "text"));
	else if (str_eq_z(type, "refusal"))
		add_text(w->content, json_str(part, "refusal"));
	else if (str_eq_z(type, "image_url"))
		return add_image(w, part);
	else if (str_eq_z(type, "file"))
		return add_file(w, part);
	else
		return refuse_part(w, "/type", "Bedrock takes parts of type text, image_url and file");
	return 0;
}

static int add_content(struct writer *w, const json_t *message)
{
	const json_t *content = json_get(message, "content"), *part;
	add_text(w->content, json_str_of(content));
	json_array_foreach (content, w->part, part) {
		int rc = add_part(w, part);
		if (rc < 0)
			return rc;
		mark(w, part, w->content);
	}
	mark(w, message, w->content);
	return 0;
}

static void add_system(struct writer *w, const json_t *message)
{
	const json_t *content = json_get(message, "content"), *part;
	size_t i;
	add_text(w->m->system, json_str_of(content));
	json_array_foreach (content, i, part) {
		add_text(w->m->system, json_str(part, "text"));
		mark(w, part, w->m->system);
	}
	mark(w, message, w->m->system);
}

/* Converse takes fewer characters in an id than others do; the same id becomes the same text wherever it stands. */
static json_t *tool_id(struct str id)
{
	struct buf b;
	buf_init(&b, TOOL_ID_MAX);
	for (size_t i = 0; i < MIN(id.n, (size_t)TOOL_ID_MAX); i++)
		buf_add_char(&b, id.p[i] && (str_find_char(str_from(words), id.p[i]) >= 0 || str_find_char(STR("_.:-"), id.p[i]) >= 0) ? id.p[i] : '_');
	json_t *v = json_from_str(id.n ? buf_str(&b) : STR("call"));
	buf_done(&b);
	return v;
}

static int add_call(struct writer *w, const json_t *call, size_t at)
{
	const json_t *function = json_get(call, "function");
	struct str arguments = json_str(function, "arguments"), name = json_str(function, "name");
	if (name.n == 0)
		return refuse(w, ERR_UNSUPPORTED, arena_printf(w->a, "/tool_calls/%zu", at).p, "Bedrock takes calls of functions only");
	json_t *input = is_blank(arguments) ? json_object() : json_parse_answer(arguments, NULL), *use = json_object();
	if (!json_is_object(input)) {
		json_decref(input);
		json_decref(use);
		return refuse(w, ERR_INVALID, arena_printf(w->a, "/tool_calls/%zu/function/arguments", at).p, "the arguments are not a JSON object");
	}
	json_object_set_new(use, "toolUseId", tool_id(json_str(call, "id")));
	json_set_str(use, "name", name);
	json_object_set_new(use, "input", input);
	json_array_append_new(w->content, object_of("toolUse", use));
	json_object_set_new(w->m->called, arena_strz(w->a, name), json_true());
	return 0;
}

/* Anthropic's thinking blocks go back as they came: without them a signed answer cannot be continued. */
static size_t add_thinking(struct writer *w, const json_t *blocks)
{
	const json_t *block;
	size_t i, n = 0;
	json_array_foreach (blocks, i, block) {
		struct str data = json_str(block, "data"), text = json_str(block, "thinking"), signature = json_str(block, "signature");
		json_t *reasoning = NULL;
		if (data.n) {
			reasoning = object_of("redactedContent", json_from_str(data));
		} else if (signature.n) {
			json_t *inner = object_of("text", json_from_str(text));
			json_set_str(inner, "signature", signature);
			reasoning = object_of("reasoningText", inner);
		}
		if (!reasoning)
			continue;
		json_array_append_new(w->content, object_of("reasoningContent", reasoning));
		n++;
	}
	return n;
}

static int add_assistant(struct writer *w, const json_t *message)
{
	const json_t *calls = json_get(message, "tool_calls"), *call;
	size_t i;
	open_turn(w, "assistant");
	size_t thought = add_thinking(w, json_get(message, "thinking_blocks"));
	int rc = add_content(w, message);
	json_array_foreach (calls, i, call) {
		if (rc == 0)
			rc = add_call(w, call, i);
		if (rc == 0)
			mark(w, call, w->content);
	}
	w->m->bare_call = json_array_size(calls) > 0 && thought == 0;
	return rc;
}

static void add_result(struct writer *w, const json_t *message)
{
	const json_t *content = json_get(message, "content"), *part;
	json_t *result = json_object(), *inner = json_array();
	size_t i;
	open_turn(w, "user");
	add_text(inner, json_str_of(content));
	json_array_foreach (content, i, part)
		add_text(inner, json_str(part, "text"));
	if (json_array_size(inner) == 0)
		json_array_append_new(inner, object_of("text", json_from_str(STR("(empty)"))));
	json_object_set_new(result, "toolUseId", tool_id(json_str(message, "tool_call_id")));
	json_object_set_new(result, "content", inner);
	if (json_is_true(json_get(message, "is_error")))
		json_object_set_new(result, "status", json_string("error"));
	if (!w->results)
		w->results = json_array();
	json_array_append_new(w->results, object_of("toolResult", result));
	json_array_foreach (content, i, part)
		mark(w, part, w->results);
	mark(w, message, w->results);
}

static int add_message(struct writer *w, const json_t *message)
{
	struct str role = json_str(message, "role");
	if (str_eq_z(role, "system") || str_eq_z(role, "developer")) {
		add_system(w, message);
	} else if (str_eq_z(role, "user")) {
		open_turn(w, "user");
		return add_content(w, message);
	} else if (str_eq_z(role, "assistant")) {
		return add_assistant(w, message);
	} else if (str_eq_z(role, "tool")) {
		add_result(w, message);
	} else {
		return refuse(w, ERR_UNSUPPORTED, "/role", "Bedrock takes the roles system, developer, user, assistant and tool");
	}
	return 0;
}

/* --- after all of them --- */

static bool has_block(const json_t *content, const char *kind)
{
	const json_t *block;
	size_t i;
	json_array_foreach (content, i, block)
		if (json_get(block, kind))
			return true;
	return false;
}

/* Turns that came out empty are left out, and their neighbours become one; beside a document there must be a text. */
static json_t *tidy_turns(const json_t *messages)
{
	json_t *tidy = json_array(), *turn, *last = NULL;
	size_t i;
	json_array_foreach (messages, i, turn) {
		json_t *content = json_get(turn, "content");
		if (json_array_size(content) == 0)
			continue;
		if (last && str_eq(json_str(last, "role"), json_str(turn, "role"))) {
			json_array_extend(json_get(last, "content"), content);
			continue;
		}
		json_array_append(tidy, turn);
		last = turn;
	}
	json_array_foreach (tidy, i, turn) {
		json_t *content = json_get(turn, "content");
		if (has_block(content, "document") && !has_block(content, "text"))
			json_array_append_new(content, object_of("text", json_from_str(STR("(see the document)"))));
	}
	return tidy;
}

static bool has_marks(const json_t *tools)
{
	const json_t *tool;
	size_t i;
	json_array_foreach (tools, i, tool)
		if (json_is_object(json_get(tool, "cache_control")))
			return true;
	return false;
}

/* The front that stays the same from request to request: the system messages, and the documents that the first turn begins with. */
static void mark_front(struct bedrock_messages *m)
{
	json_t *content = json_get(json_array_get(m->messages, 0), "content");
	size_t n = 0;
	if (json_array_size(m->system))
		json_array_append_new(m->system, bedrock_cache_point());
	while (json_get(json_array_get(content, n), "document") || json_get(json_array_get(content, n), "image"))
		n++;
	if (n)
		json_array_insert_new(content, n, bedrock_cache_point());
}

int bedrock_messages_read(struct bedrock_messages *m, const json_t *request, bool cache, struct arena *a, struct err *err)
{
	const json_t *messages = json_get(request, "messages"), *message;
	struct writer w = { .m = m, .a = a, .err = err, .names = json_object(), .cache = cache };
	int rc = 0;
	*m = (struct bedrock_messages){ .system = json_array(), .messages = json_array(), .called = json_object() };
	json_array_foreach (messages, w.message, message) {
		rc = add_message(&w, message);
		if (rc < 0)
			break;
	}
	close_turn(&w);
	json_decref(w.names);
	if (rc < 0)
		return rc;
	json_t *all = m->messages;
	m->messages = tidy_turns(all);
	json_decref(all);
	if (json_array_size(m->messages) == 0)
		return err_set_at(err, ERR_UNSUPPORTED, "/messages", "Bedrock needs a message of the user");
	const json_t *end = json_array_get(m->messages, json_array_size(m->messages) - 1);
	if (cache)
		bedrock_mark(m, request, json_get(end, "content"));
	if (cache && !m->marked && !has_marks(json_get(request, "tools")))
		mark_front(m);
	return 0;
}

void bedrock_messages_done(struct bedrock_messages *m)
{
	json_drop(&m->system);
	json_drop(&m->messages);
	json_drop(&m->called);
}
