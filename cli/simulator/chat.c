/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading chat requests, the part that all formats share: texts and files of messages, tags, numbers. The text of a
 * message grows in a buffer and moves to the arena when the message ends; files are decoded, hashed and let go.
 */
#include "cli/simulator/chat.h"

#include <string.h>

void chat_init(struct chat *c, struct arena *a)
{
	*c = (struct chat){ .arena = a, .max_tokens = INT64_MAX, .choices = 1, .last_user = STR("") };
	buf_init(&c->text, CHAT_TEXT_MAX);
}

void chat_done(struct chat *c)
{
	buf_done(&c->text);
	json_decref(take(&c->made));
}

int64_t count_tokens(struct str text)
{
	return (int64_t)((text.n + 3) / 4);
}

struct str answer_tag(struct str given, struct str text)
{
	if (given.p)
		return given;
	text = str_sub(text, 0, 200);
	ssize_t at = str_find(text, STR("tag:"));
	if (at < 0)
		return (struct str){ NULL, 0 };
	size_t from = (size_t)at + 4, to = from;
	while (to < text.n && (unsigned char)text.p[to] > ' ')
		to++;
	return to > from ? str_sub(text, from, to - from) : (struct str){ NULL, 0 };
}

void chat_text(struct chat *c, struct str text)
{
	if (text.n == 0)
		return;
	if (c->text.n > 0)
		buf_add_char(&c->text, '\n');
	buf_add_str(&c->text, text);
}

void chat_file_bytes(struct chat *c, struct str media_type, struct str bytes)
{
	if (c->nfiles < STATS_FILES_MAX) {
		struct stats_file *f = &c->files[c->nfiles++];
		struct str shown = str_utf8_prefix(media_type, STATS_NAME_MAX - 1);
		if (shown.n > 0)
			memcpy(f->type, shown.p, shown.n);
		f->bytes = bytes.n;
		crypto_sha256(bytes, f->sha256);
	}
	if (str_has_prefix_nocase(media_type, STR("text/")))
		chat_text(c, bytes);
	else
		c->prompt_tokens += CHAT_FILE_TOKENS;
}

int chat_file(struct chat *c, struct str media_type, struct str base64, const char *at, struct err *err)
{
	struct buf bytes;
	buf_init(&bytes, CHAT_TEXT_MAX);
	bool good = base64.n > 0 && crypto_base64_decode(&bytes, base64) == 0;
	if (good)
		chat_file_bytes(c, media_type, buf_str(&bytes));
	buf_done(&bytes);
	return good ? 0 : err_set_at(err, ERR_INVALID, at, "%s: invalid base64 data", at);
}

int chat_file_url(struct chat *c, struct str url, const char *at, struct err *err)
{
	struct str head;
	if (str_has_prefix_nocase(url, STR("http://")) || str_has_prefix_nocase(url, STR("https://")))
		return 0;
	ssize_t comma = str_find_char(str_sub(url, 0, 300), ',');
	if (!str_has_prefix_nocase(url, STR("data:")) || comma < 0)
		return err_set_at(err, ERR_INVALID, at, "%s: wanted a data: URL with base64", at);
	head = str_sub(url, 5, (size_t)comma - 5);
	if (!str_has_suffix(head, STR(";base64")))
		return err_set_at(err, ERR_INVALID, at, "%s: wanted a data: URL with base64", at);
	head.n -= strlen(";base64");
	ssize_t parameters = str_find_char(head, ';');
	if (parameters >= 0)
		head.n = (size_t)parameters;
	return chat_file(c, head, str_sub(url, (size_t)comma + 1, url.n), at, err);
}

void chat_message_end(struct chat *c, enum chat_role role)
{
	struct str text = arena_str(c->arena, buf_str(&c->text));
	buf_clear(&c->text);
	c->prompt_tokens += count_tokens(text) + 3;
	if (role == CHAT_USER)
		c->last_user = text;
	else if (c->prompt.n == 0)
		c->prompt = text;
}

int chat_read_limit(const json_t *object, const char *name, const char *at, int64_t *ret, struct err *err)
{
	const json_t *v = json_get(object, name);
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 1)
		return err_set_at(err, ERR_OUT_OF_RANGE, at, "Invalid '%s': expected an integer of at least 1.", at);
	*ret = json_integer_value(v);
	return 0;
}

const char *chat_unknown_field(const json_t *object, const char *const *known)
{
	void *at = json_object_iter((json_t *)(uintptr_t)object);
	for (; at; at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
		const char *name = json_object_iter_key(at);
		size_t i = 0;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (!known[i])
			return name;
	}
	return NULL;
}
