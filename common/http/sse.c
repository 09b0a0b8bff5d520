/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-Sent Events, read and written.
 *
 * Reading is the inner loop of every streamed call. A line that lies whole in the bytes at hand is taken where it lies; only one
 * cut by the end of a read is gathered in `line`. The next LF and the next CR are found by memchr and remembered while lines are
 * taken, so a text of CRs alone costs no search of the whole rest per line.
 *
 * What can go wrong: a line or the data of one event passes the maximum (-ERR_TOO_LARGE), or on_event says stop. The parser
 * keeps no promise after either; the call that feeds it is over. An event that the end of the stream cuts is dropped, as the
 * standard says; whether the stream was complete is for its reader to judge.
 */
#include "common/http/sse.h"

#include <string.h>

#include "common/err.h"

static const char bom[3] = { '\xEF', '\xBB', '\xBF' };

void sse_init(struct sse *s, size_t max_bytes, int (*on_event)(void *, const struct sse_event *), void *arg)
{
	*s = (struct sse){ .on_event = on_event, .arg = arg };
	buf_init(&s->line, max_bytes);
	buf_init(&s->data, max_bytes);
	buf_init(&s->event, max_bytes);
	buf_init(&s->id, max_bytes);
}

void sse_done(struct sse *s)
{
	buf_done(&s->line);
	buf_done(&s->data);
	buf_done(&s->event);
	buf_done(&s->id);
}

/* An empty line: the event is complete. The id stays, as the standard's last event id does. */
static int dispatch(struct sse *s)
{
	int rc = 0;
	if (s->has_data) {
		struct sse_event e = { buf_str(&s->event), buf_str(&s->data), buf_str(&s->id) };
		rc = s->on_event(s->arg, &e);
	}
	buf_clear(&s->event);
	buf_clear(&s->data);
	s->has_data = false;
	return MIN(rc, 0);
}

static int add_data(struct sse *s, struct str value)
{
	if (s->has_data)
		buf_add_char(&s->data, '\n');
	s->has_data = true;
	return buf_add_str(&s->data, value);
}

static int set_field(struct buf *b, struct str value)
{
	buf_clear(b);
	return buf_add_str(b, value);
}

static int take_field(struct sse *s, struct str name, struct str value)
{
	if (str_eq_z(name, "data"))
		return add_data(s, value);
	if (str_eq_z(name, "event"))
		return set_field(&s->event, value);
	if (str_eq_z(name, "id")) /* one with a NUL is ignored */
		return str_find_char(value, '\0') < 0 ? set_field(&s->id, value) : 0;
	if (str_eq_z(name, "error")) {
		int rc = set_field(&s->event, STR("error"));
		return rc < 0 ? rc : add_data(s, value);
	}
	return 0; /* retry is for browsers; other names are ignored */
}

static int take_line(struct sse *s, struct str line)
{
	if (line.n == 0)
		return dispatch(s);
	if (line.p[0] == '{') { /* no field is named so: Ollama and Gemini tell of an error like that in the middle of a stream */
		int rc = dispatch(s); /* what came before it is an event of its own */
		rc = rc < 0 ? rc : set_field(&s->event, STR("error"));
		rc = rc < 0 ? rc : add_data(s, line);
		return rc < 0 ? rc : dispatch(s);
	}
	ssize_t colon = str_find_char(line, ':');
	if (colon == 0)
		return 0; /* a comment */
	if (colon < 0)
		return take_field(s, line, STR(""));
	struct str value = str_sub(line, (size_t)colon + 1, line.n);
	if (value.n && value.p[0] == ' ')
		value = str_sub(value, 1, value.n);
	return take_field(s, str_sub(line, 0, (size_t)colon), value);
}

/* The end of a line is reached; what stands before it is in `rest`, and perhaps in s->line. */
static int end_line(struct sse *s, struct str rest)
{
	if (s->line.n == 0 && !s->line.failed)
		return rest.n > s->line.max ? -ERR_TOO_LARGE : take_line(s, rest);
	if (buf_add_str(&s->line, rest) < 0)
		return -ERR_TOO_LARGE;
	int rc = take_line(s, buf_str(&s->line));
	buf_clear(&s->line);
	return rc;
}

/* Drops a BOM at the very start, also when it comes in pieces; a beginning that was none is part of the first line. */
static int skip_bom(struct sse *s, struct str *bytes)
{
	while (!s->started && bytes->n) {
		if (bytes->p[0] == bom[s->bom]) {
			*bytes = str_sub(*bytes, 1, bytes->n);
			s->started = ++s->bom == (int)sizeof(bom);
		} else {
			s->started = true;
			return buf_add(&s->line, bom, (size_t)s->bom);
		}
	}
	return 0;
}

/* The first c in p..end, or end; `was` is the answer for an earlier p and still holds while it lies ahead. */
static const char *next_char(const char *was, const char *p, const char *end, char c)
{
	if (was && was >= p)
		return was;
	const char *at = memchr(p, c, (size_t)(end - p));
	return at ? at : end;
}

int sse_feed(struct sse *s, struct str bytes)
{
	int rc = skip_bom(s, &bytes);
	if (rc < 0 || bytes.n == 0)
		return rc;
	const char *p = bytes.p, *end = p + bytes.n, *lf = NULL, *cr = NULL;
	if (s->seen_cr && *p == '\n') /* the second half of a CRLF */
		p++;
	s->seen_cr = false;
	while (p < end) {
		lf = next_char(lf, p, end, '\n');
		cr = next_char(cr, p, end, '\r');
		const char *eol = MIN(lf, cr);
		struct str rest = { p, (size_t)(eol - p) };
		if (eol == end)
			return buf_add_str(&s->line, rest);
		rc = end_line(s, rest);
		if (rc < 0)
			return rc;
		p = eol + 1;
		if (*eol == '\r') {
			s->seen_cr = p == end;
			p += p < end && *p == '\n';
		}
	}
	return 0;
}

/* --- writing --- */

static void write_field(struct buf *b, const char *name, struct str value)
{
	if (value.n == 0)
		return;
	assert(str_find_char(value, '\n') < 0 && str_find_char(value, '\r') < 0);
	buf_add_z(b, name);
	buf_add_str(b, value);
	buf_add_char(b, '\n');
}

int sse_write(struct buf *b, struct str event, struct str id, struct str data)
{
	write_field(b, "event: ", event);
	write_field(b, "id: ", id);
	/* A CR ends a line for the reader as well; it arrives as LF. */
	for (;;) {
		size_t n = 0;
		while (n < data.n && data.p[n] != '\n' && data.p[n] != '\r')
			n++;
		buf_add(b, "data: ", 6);
		buf_add(b, data.p, n);
		buf_add_char(b, '\n');
		if (n == data.n)
			break;
		bool crlf = data.p[n] == '\r' && n + 1 < data.n && data.p[n + 1] == '\n';
		data = str_sub(data, n + (crlf ? 2 : 1), data.n);
	}
	return buf_add_char(b, '\n');
}
