/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of a multipart body: preamble, boundaries, heads of parts, their data, epilogue. A head is gathered and read when it is whole; data is looked
 * through for CR, which can only be the first byte of a delimiter, and passed on where it lies.
 *
 * At the end of a piece up to a whole delimiter may be undecided. It is not kept: its bytes are those of the delimiter, so that when the next piece shows
 * that it was none, they are given from there.
 *
 * What can go wrong is all the sender's: each refusal says which part, and what was wanted.
 */
#include "common/http/multipart.h"

#include <string.h>

#include "common/http/http_types.h"

enum { PREAMBLE, AFTER, HEAD, DATA, EPILOGUE, BROKEN };

/* --- texts of headers --- */

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static void skip_spaces(struct str *s)
{
	while (s->n && is_space(s->p[0]))
		*s = str_sub(*s, 1, s->n);
}

static struct str take_while(struct str *s, bool (*is)(char c))
{
	size_t n = 0;
	while (n < s->n && is(s->p[n]))
		n++;
	struct str front = str_sub(*s, 0, n);
	*s = str_sub(*s, n, s->n);
	return front;
}

static bool is_value_char(char c)
{
	return c != ';' && c != '"' && !is_space(c);
}

/*
 * Takes `; name=value` off the front of *s. A quoted value loses its quotes, and \" and \\ become what they mean; any other backslash stands for itself, as
 * paths of Windows have them. Values are written to out, which has room for all of *s, and *out_n counts. 1: there was one; 0: the end; -ERR_INVALID.
 */
static int param_next(struct str *s, char *out, size_t *out_n, struct str *ret_name, struct str *ret_value)
{
	skip_spaces(s);
	if (s->n == 0)
		return 0;
	if (s->p[0] != ';')
		return -ERR_INVALID;
	*s = str_sub(*s, 1, s->n);
	skip_spaces(s);
	if (s->n == 0)
		return 0;
	*ret_name = take_while(s, is_token_char);
	if (ret_name->n == 0 || s->n == 0 || s->p[0] != '=')
		return -ERR_INVALID;
	*s = str_sub(*s, 1, s->n);
	char *from = out + *out_n;
	if (s->n == 0 || s->p[0] != '"') {
		struct str bare = take_while(s, is_value_char);
		if (bare.n == 0)
			return -ERR_INVALID;
		memcpy(from, bare.p, bare.n);
		*ret_value = (struct str){ from, bare.n };
		*out_n += bare.n;
		return 1;
	}
	size_t n = 0, i = 1;
	for (; i < s->n && s->p[i] != '"'; i++) {
		if (s->p[i] == '\\' && i + 1 < s->n && (s->p[i + 1] == '"' || s->p[i + 1] == '\\'))
			i++;
		from[n++] = s->p[i];
	}
	if (i >= s->n)
		return -ERR_INVALID; /* no closing quote */
	*ret_value = (struct str){ from, n };
	*out_n += n;
	*s = str_sub(*s, i + 1, s->n);
	return 1;
}

/* --- names --- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 8187: charset'language'text with %XX. ISO-8859-1 becomes UTF-8, which is never longer than %XX: so *v, which lies at p, is rewritten in place. */
static int extended_value(char *p, struct str *v)
{
	struct str s = *v, charset, language;
	if (!str_split(&s, '\'', &charset) || !str_split(&s, '\'', &language) || !s.p)
		return -ERR_INVALID;
	bool latin = str_eq_nocase(charset, STR("iso-8859-1"));
	if (!latin && !str_eq_nocase(charset, STR("utf-8")))
		return -ERR_INVALID;
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x80)
			return -ERR_INVALID;
		if (c == '%') {
			int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1, low = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -ERR_INVALID;
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		if (latin && c >= 0x80) {
			p[n++] = (char)(0xc0 | c >> 6);
			c = 0x80 | (c & 0x3f);
		}
		p[n++] = (char)c;
	}
	*v = (struct str){ p, n };
	return 0;
}

static bool has_control(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
	return false;
}

static int fail(struct multipart *m, struct err *err, const char *what)
{
	m->state = BROKEN;
	return err_set(err, ERR_INVALID, "part %d of the form: %s", m->parts, what);
}

/* --- the head of a part --- */

struct part_params {
	struct str name, filename, extended;
};

static int take_param(struct multipart *m, struct part_params *p, struct str name, struct str value, struct err *err)
{
	struct str *to = str_eq_nocase(name, STR("name")) ? &p->name : str_eq_nocase(name, STR("filename")) ? &p->filename : NULL;
	if (str_eq_nocase(name, STR("filename*"))) {
		to = &p->extended;
		if (extended_value(m->names + (value.p - m->names), &value) < 0)
			return fail(m, err, "filename* is not of the form UTF-8''text with %XX");
	}
	if (!to)
		return 0;
	if (to->p)
		return fail(m, err, "a parameter of Content-Disposition is there twice");
	if (has_control(value))
		return fail(m, err, "a name has a control character, such as a line's end");
	if (!str_is_utf8(value))
		return fail(m, err, "a name is not UTF-8");
	*to = value;
	return 0;
}

static int read_disposition(struct multipart *m, struct str value, struct err *err)
{
	struct part_params p = { 0 };
	struct str param_name, param_value;
	int rc;
	if (m->part.name.p)
		return fail(m, err, "Content-Disposition is there twice");
	if (!str_eq_nocase(take_while(&value, is_token_char), STR("form-data")))
		return fail(m, err, "its Content-Disposition is not form-data");
	while ((rc = param_next(&value, m->names, &m->names_n, &param_name, &param_value)) > 0)
		if (take_param(m, &p, param_name, param_value, err) < 0)
			return -ERR_INVALID;
	if (rc < 0)
		return fail(m, err, "its Content-Disposition is not well-formed: a quote is open, or a line's end is in a name");
	if (!p.name.p)
		return fail(m, err, "it has no name");
	m->part.name = p.name;
	m->part.filename = p.extended.p ? p.extended : p.filename;
	return 0;
}

static int read_type(struct multipart *m, struct str value, struct err *err)
{
	if (m->part.content_type.p)
		return fail(m, err, "Content-Type is there twice");
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < 0x20 || value.p[i] > 0x7e)
			return fail(m, err, "its Content-Type is not printable ASCII");
	m->part.content_type = value;
	return 0;
}

static int read_header(struct multipart *m, struct str line, struct err *err)
{
	if (is_space(line.p[0]))
		return fail(m, err, "a header is folded");
	struct str name = take_while(&line, is_token_char);
	if (name.n == 0 || line.n == 0 || line.p[0] != ':')
		return fail(m, err, "a header is not of the form Name: value");
	struct str value = str_trim(str_sub(line, 1, line.n));
	for (size_t i = 0; i < value.n; i++)
		if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
			return fail(m, err, "a header has a control character");
	if (str_eq_nocase(name, STR("content-disposition")))
		return read_disposition(m, value, err);
	if (str_eq_nocase(name, STR("content-type")))
		return read_type(m, value, err);
	bool is_plain = str_eq_nocase(value, STR("binary")) || str_eq_nocase(value, STR("8bit")) || str_eq_nocase(value, STR("7bit"));
	if (str_eq_nocase(name, STR("content-transfer-encoding")) && !is_plain)
		return fail(m, err, "its content must come as it is: no Content-Transfer-Encoding");
	return 0;
}

/* head is there up to its empty line. */
static int read_head(struct multipart *m, struct err *err)
{
	struct str rest = { m->head, m->head_n - 2 };
	m->part = (struct multipart_part){ 0 };
	m->names_n = 0;
	while (rest.n) {
		ssize_t end = str_find(rest, STR("\r\n"));
		assert(end > 0);
		if (read_header(m, str_sub(rest, 0, (size_t)end), err) < 0)
			return -ERR_INVALID;
		rest = str_sub(rest, (size_t)end + 2, rest.n);
	}
	return m->part.name.p ? 0 : fail(m, err, "it has no Content-Disposition");
}

/* 1: the head is whole and read; 0: more must come. */
static int take_head(struct multipart *m, struct str *piece, struct err *err)
{
	while (piece->n) {
		if (m->head_n == sizeof(m->head)) {
			m->state = BROKEN;
			return err_set(err, ERR_TOO_LARGE, "part %d of the form: its headers have more than %d bytes", m->parts, MULTIPART_HEAD_MAX);
		}
		m->head[m->head_n++] = piece->p[0];
		*piece = str_sub(*piece, 1, piece->n);
		struct str head = { m->head, m->head_n };
		if (head.n == 2 ? str_eq(head, STR("\r\n")) : str_has_suffix(head, STR("\r\n\r\n")))
			return read_head(m, err) < 0 ? -ERR_INVALID : 1;
	}
	return 0;
}

/* --- boundaries --- */

/* So many bytes at the front are surely no part of the delimiter. */
static size_t plain_bytes(const struct multipart *m, struct str s)
{
	for (size_t at = 0;; at++) {
		const char *cr = memchr(s.p + at, '\r', s.n - at);
		if (!cr)
			return s.n;
		at = (size_t)(cr - s.p);
		if (memcmp(cr, m->delimiter, MIN(s.n - at, m->delimiter_n)) == 0)
			return at;
	}
}

/* Text that stands before the delimiter: true. False: the piece is used up, or m->matched is the whole delimiter. */
static bool scan(struct multipart *m, struct str *piece, struct str *ret_text)
{
	while (piece->n && m->matched < m->delimiter_n) {
		if (m->matched == 0) {
			*ret_text = str_sub(*piece, 0, plain_bytes(m, *piece));
			*piece = str_sub(*piece, ret_text->n, piece->n);
			if (ret_text->n)
				return true;
		}
		if (piece->p[0] == m->delimiter[m->matched]) {
			m->matched++;
			*piece = str_sub(*piece, 1, piece->n);
			continue;
		}
		*ret_text = str_sub((struct str){ m->delimiter, m->matched }, m->borrowed, m->matched);
		m->matched = m->borrowed = 0;
		if (ret_text->n)
			return true;
	}
	return false;
}

/* The line's end before the next delimiter is one that was already read: of an empty line, or none at the very beginning. */
static void scan_begin(struct multipart *m)
{
	m->matched = m->borrowed = 2;
}

static int count_frame(struct multipart *m, size_t n, const char *where, struct err *err)
{
	m->frame += n;
	if (m->frame <= MULTIPART_FRAME_MAX)
		return 0;
	m->state = BROKEN;
	return err_set(err, ERR_INVALID, "the form has more than %d bytes %s", MULTIPART_FRAME_MAX, where);
}

static int begin_part(struct multipart *m, struct err *err)
{
	if (m->parts == MULTIPART_PARTS_MAX) {
		m->state = BROKEN;
		return err_set(err, ERR_TOO_LARGE, "the form has more than %d parts", MULTIPART_PARTS_MAX);
	}
	m->parts++;
	m->state = HEAD;
	m->head_n = 0;
	return 0;
}

/* What follows a boundary: white space and a line's end, or two dashes. */
static int take_after(struct multipart *m, struct str *piece, struct err *err)
{
	while (piece->n && m->after_n < sizeof(m->after)) {
		char c = piece->p[0];
		*piece = str_sub(*piece, 1, piece->n);
		if (m->after_n > 0 || !is_space(c))
			m->after[m->after_n++] = c;
		else if (count_frame(m, 1, "of white space behind a boundary", err) < 0)
			return -ERR_INVALID;
	}
	if (m->after_n < sizeof(m->after))
		return MULTIPART_MORE;
	struct str after = { m->after, sizeof(m->after) };
	bool is_last = str_eq(after, STR("--")) && m->frame == 0;
	if (!is_last && !str_eq(after, STR("\r\n")))
		return fail(m, err, "its boundary is followed by something else than a line's end");
	m->frame = 0;
	if (!is_last)
		return begin_part(m, err);
	m->state = EPILOGUE;
	return MULTIPART_WHOLE;
}

/* 1: the first boundary was read; 0: more must come. */
static int take_preamble(struct multipart *m, struct str *piece, struct err *err)
{
	struct str text;
	while (scan(m, piece, &text))
		if (count_frame(m, text.n, "before the first boundary: is it the one that Content-Type names?", err) < 0)
			return -ERR_INVALID;
	return m->matched == m->delimiter_n;
}

static void boundary_read(struct multipart *m)
{
	m->state = AFTER;
	m->after_n = 0;
	m->frame = 0;
}

int multipart_next(struct multipart *m, struct str *piece, struct str *ret_data, struct err *err)
{
	while (piece->n) {
		int rc = 0;
		switch (m->state) {
		case PREAMBLE:
			if ((rc = take_preamble(m, piece, err)) > 0)
				boundary_read(m);
			break;
		case AFTER:
			if ((rc = take_after(m, piece, err)) == MULTIPART_WHOLE)
				return rc;
			break;
		case HEAD:
			if ((rc = take_head(m, piece, err)) > 0) {
				m->state = DATA;
				scan_begin(m);
				return MULTIPART_PART;
			}
			break;
		case DATA:
			if (scan(m, piece, ret_data))
				return MULTIPART_DATA;
			if (m->matched == m->delimiter_n) {
				boundary_read(m);
				return MULTIPART_PART_END;
			}
			break;
		case EPILOGUE:
			rc = count_frame(m, piece->n, "behind the last boundary", err);
			*piece = (struct str){ 0 };
			break;
		default:
			return err_set(err, ERR_INVALID, "%s", "the form is broken");
		}
		if (rc < 0)
			return rc;
	}
	return MULTIPART_MORE;
}

int multipart_end(const struct multipart *m, struct err *err)
{
	switch (m->state) {
	case EPILOGUE:
		return 0;
	case PREAMBLE:
		return err_set(err, ERR_INVALID, "%s", "the form ends before its first boundary");
	case HEAD:
		return err_set(err, ERR_INVALID, "the form ends within the headers of part %d", m->parts);
	case DATA:
		return err_set(err, ERR_INVALID, "the form ends within the data of part %d: the last boundary is missing", m->parts);
	}
	return err_set(err, ERR_INVALID, "the form ends behind a boundary, after %d parts: its two dashes are missing, or the next part", m->parts);
}

/* --- the beginning --- */

/* RFC 2046: bcharsnospace and space. */
static bool is_boundary(struct str s)
{
	if (s.n < 1 || s.n > MULTIPART_BOUNDARY_MAX || s.p[s.n - 1] == ' ')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (!is_alnum && str_find_char(STR("'()+_,-./:=? "), c) < 0)
			return false;
	}
	return true;
}

int multipart_init(struct multipart *m, struct str content_type, struct err *err)
{
	char room[64];
	struct str boundary = { 0 }, name, value;
	*m = (struct multipart){ .state = PREAMBLE };
	if (!str_eq(http_media_type(content_type, room, sizeof(room)), STR("multipart/form-data")))
		return err_set(err, ERR_MEDIA_TYPE, "%s", "the body must be multipart/form-data");
	ssize_t semicolon = str_find_char(content_type, ';');
	struct str rest = semicolon < 0 ? STR("") : str_sub(content_type, (size_t)semicolon, content_type.n);
	int rc = rest.n > sizeof(m->names) ? -(int)ERR_INVALID : 1;
	while (rc > 0 && (rc = param_next(&rest, m->names, &m->names_n, &name, &value)) > 0) {
		if (!str_eq_nocase(name, STR("boundary")))
			continue;
		rc = boundary.p ? -(int)ERR_INVALID : 1;
		boundary = value;
	}
	if (rc < 0)
		return err_set(err, ERR_INVALID, "%s", "Content-Type: its parameters are not well-formed");
	if (!is_boundary(boundary))
		return err_set(err, ERR_INVALID, "Content-Type: wanted a boundary of 1 to %d characters", MULTIPART_BOUNDARY_MAX);
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.p, boundary.n);
	m->delimiter_n = 4 + boundary.n;
	m->names_n = 0;
	scan_begin(m);
	return 0;
}
