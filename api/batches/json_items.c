/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine over the bytes between texts, and a count of brackets and quotes within them. An item that lies in one piece is handed on where it lies; of
 * one that does not, what came is kept until its end comes.
 */
#include "api/batches/json_items.h"

#define NAME_MAX_BYTES 1024

/* Where the next byte stands. */
enum { START, NAME_OR_END, NAME, IN_NAME, COLON, VALUE, ITEM_OR_END, ITEM, IN_TEXT, AFTER_ITEM, AFTER_MEMBER, END };

void json_items_init(struct json_items *p)
{
	buf_init(&p->kept, p->max);
	buf_init(&p->name, NAME_MAX_BYTES);
	p->at = START;
}

void json_items_done(struct json_items *p)
{
	buf_done(&p->kept);
	buf_done(&p->name);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int wrong(const struct json_items *p, size_t at, const char *wanted, struct err *err)
{
	return err_set(err, ERR_BAD_JSON, "at byte %zu: wanted %s", p->bytes + at, wanted);
}

/* Bytes of s that belong to the text; *ret_over: its end is behind them. */
static size_t scan_text(struct json_items *p, struct str s, bool *ret_over)
{
	size_t i = 0;
	*ret_over = false;
	for (; i < s.n; i++) {
		char c = s.p[i];
		if (p->in_string) {
			if (p->escaped)
				p->escaped = false;
			else if (c == '\\')
				p->escaped = true;
			else if (c == '"')
				p->in_string = false;
		} else if (c == '"') {
			p->in_string = true;
		} else if (c == '{' || c == '[') {
			p->depth++;
		} else if (p->depth == 0 && (c == ',' || c == '}' || c == ']')) {
			*ret_over = true;
			break;
		} else if (c == '}' || c == ']') {
			p->depth--;
		}
	}
	return i;
}

static int hand_on(struct json_items *p, struct str text)
{
	text = p->cut ? (struct str){ 0 } : str_trim(text);
	return p->in_list ? p->on_item(p->arg, text) : p->on_member(p->arg, buf_str(&p->name), text);
}

/* Takes what of s belongs to the text at hand; *ret_used bytes of it. */
static int take_text(struct json_items *p, struct str s, size_t *ret_used)
{
	bool over;
	size_t n = scan_text(p, s, &over);
	struct str part = str_sub(s, 0, n);
	*ret_used = n;
	p->cut |= p->kept.n + n > p->max;
	if (over && p->kept.n == 0) {
		p->at = p->in_list ? AFTER_ITEM : AFTER_MEMBER;
		return hand_on(p, part);
	}
	if (!p->cut)
		buf_add_str(&p->kept, part);
	if (!over)
		return 0;
	p->at = p->in_list ? AFTER_ITEM : AFTER_MEMBER;
	int rc = hand_on(p, buf_str(&p->kept));
	buf_clear(&p->kept);
	return rc;
}

static void begin_text(struct json_items *p, bool in_list)
{
	p->at = IN_TEXT;
	p->in_list = in_list;
	p->depth = 0;
	p->in_string = p->escaped = p->cut = false;
	buf_clear(&p->kept);
}

static int begin_value(struct json_items *p, char c, bool *ret_again, struct err *err)
{
	if (!str_eq_z(buf_str(&p->name), p->list)) {
		begin_text(p, false);
		*ret_again = true;
		return 0;
	}
	if (c != '[' || p->seen)
		return err_set(err, ERR_WRONG_TYPE, "%s: wanted one array", p->list);
	p->seen = true;
	p->at = ITEM_OR_END;
	return 0;
}

static void take_name_byte(struct json_items *p, char c)
{
	if (!p->escaped && c == '"') {
		p->at = COLON;
		return;
	}
	p->escaped = !p->escaped && c == '\\';
	buf_add_char(&p->name, c);
}

static int begin_name(struct json_items *p, size_t at, char c, struct err *err)
{
	if (c == '}' && p->at == NAME_OR_END) {
		p->at = END;
		return 0;
	}
	p->at = IN_NAME;
	p->escaped = false;
	buf_clear(&p->name);
	return c == '"' ? 0 : wrong(p, at, "a name", err);
}

static int take_separator(struct json_items *p, size_t at, char c, char closing, struct err *err)
{
	bool more = c == ',';
	if (!more && c != closing)
		return wrong(p, at, closing == ']' ? "a comma or ]" : "a comma or }", err);
	if (closing == ']')
		p->at = more ? ITEM : AFTER_MEMBER;
	else
		p->at = more ? NAME : END;
	return 0;
}

/* One byte between texts; *ret_again: it is the first of a text. */
static int step(struct json_items *p, size_t at, char c, bool *ret_again, struct err *err)
{
	switch (p->at) {
	case START:
		p->at = NAME_OR_END;
		return c == '{' ? 0 : err_set(err, ERR_WRONG_TYPE, "wanted an object");
	case NAME_OR_END:
	case NAME:
		return begin_name(p, at, c, err);
	case COLON:
		p->at = VALUE;
		return c == ':' ? 0 : wrong(p, at, "a colon", err);
	case VALUE:
		return begin_value(p, c, ret_again, err);
	case ITEM_OR_END:
	case ITEM:
		*ret_again = p->at == ITEM || c != ']';
		if (*ret_again)
			begin_text(p, true);
		else
			p->at = AFTER_MEMBER;
		return 0;
	case AFTER_ITEM:
		return take_separator(p, at, c, ']', err);
	case AFTER_MEMBER:
		return take_separator(p, at, c, '}', err);
	}
	return wrong(p, at, "the end", err);
}

int json_items_feed(struct json_items *p, struct str piece, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; rc >= 0 && i < piece.n;) {
		bool again = false;
		if (p->at == IN_TEXT) {
			size_t used;
			rc = take_text(p, str_sub(piece, i, piece.n), &used);
			i += used;
		} else if (p->at == IN_NAME) {
			take_name_byte(p, piece.p[i++]);
		} else if (is_space(piece.p[i])) {
			i++;
		} else {
			rc = step(p, i, piece.p[i], &again, err);
			i += again ? 0 : 1;
		}
	}
	p->bytes += piece.n;
	return MIN(rc, 0);
}

int json_items_end(struct json_items *p, struct err *err)
{
	if (p->at == START)
		return err_set(err, ERR_BAD_JSON, "there is no body");
	return p->at == END ? 0 : err_set(err, ERR_BAD_JSON, "it ends too early");
}
