/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event, one line, one write(2) on standard error, so that lines of several processes never mix.
 *
 *   text  12:34:56.789 info  worker lease_lost aborting the call job=job_… token=3
 *   JSON  {"time":"…","level":"info","process":"worker","event":"lease_lost","msg":"aborting the call","job":"job_…","token":3}
 *
 * What came from outside cannot forge lines or steer a terminal: in JSON strings are escaped; in text a value that holds
 * anything but plain characters is quoted and escaped as well, with DEL and the C1 controls. Invalid UTF-8 becomes U+FFFD. A
 * value is cut at FIELD_MAX bytes and a line has at most FIELDS_MAX fields, so no line can outgrow its buffer.
 *
 * A line that cannot be written (full pipe, closed descriptor) is lost: logging never stops work.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

#define FIELD_MAX 2048
#define FIELDS_MAX 32
#define LINE_MAX_BYTES ((size_t)512 * 1024) /* (fields + message) × longest value, each byte escaped to six */

static enum log_level current_level = LOG_INFO;
static enum log_format current_format = LOG_TEXT;
static const char *process_name = "";

static const char *const level_names[] = { "debug", "info", "warn", "error", "none" };

void log_init(enum log_level level, enum log_format format, const char *process)
{
	current_level = level;
	current_format = format;
	process_name = process ? process : "";
}

void log_set_level(enum log_level level)
{
	current_level = level;
}

bool log_is_on(enum log_level level)
{
	return level >= current_level && level < LOG_NONE;
}

int log_parse_level(struct str s, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (str_eq_z(s, level_names[i])) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -ERR_INVALID;
}

/* --- text --- */

/* Bytes that stand for themselves in a text line; a space only within the message. */
static bool is_plain(struct str s, bool with_space)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool c1 = c == 0xC2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xA0;
		if (c < 0x20 || c == 0x7F || c1 || (!with_space && (c == ' ' || c == '"' || c == '=' || c == '\\')))
			return false;
	}
	return str_is_utf8(s);
}

/* As a JSON string, and besides DEL and the C1 controls as \u00xx: a terminal would obey them. */
static void add_quoted(struct buf *b, struct str s)
{
	struct buf quoted;
	buf_init(&quoted, LINE_MAX_BYTES);
	buf_add_json_str(&quoted, s);
	for (size_t i = 0; i < quoted.n; i++) {
		unsigned char c = (unsigned char)quoted.p[i];
		unsigned char next = i + 1 < quoted.n ? (unsigned char)quoted.p[i + 1] : 0;
		if (c == 0x7F)
			buf_add_z(b, "\\u007f");
		else if (c == 0xC2 && next < 0xA0)
			buf_printf(b, "\\u%04x", (unsigned)(unsigned char)quoted.p[++i]);
		else
			buf_add_char(b, (char)c);
	}
	buf_done(&quoted);
}

static void add_text_value(struct buf *b, struct str s, bool with_space)
{
	s = str_utf8_prefix(s, FIELD_MAX);
	if (is_plain(s, with_space) && (s.n || with_space))
		buf_add_str(b, s);
	else
		add_quoted(b, s);
}

static void text_head(struct buf *b, int level, const char *event, const char *msg)
{
	struct buf now;
	buf_init(&now, CLOCK_RFC3339_LEN);
	clock_rfc3339(&now, clock_wall_us());
	buf_add_str(b, str_sub(buf_str(&now), 11, 12)); /* the time of day; a terminal's reader knows the date */
	buf_done(&now);
	buf_printf(b, " %-5s ", level_names[level]);
	if (*process_name)
		buf_printf(b, "%s ", process_name);
	buf_add_z(b, event);
	if (msg && *msg) {
		buf_add_char(b, ' ');
		add_text_value(b, str_from(msg), /* with_space= */ true);
	}
}

static void text_field(struct buf *b, const struct log_field *f)
{
	buf_printf(b, " %s=", f->name);
	if (f->kind == LOG_FIELD_I64)
		buf_add_i64(b, f->i);
	else
		add_text_value(b, f->s, /* with_space= */ false);
}

/* --- JSON --- */

static void json_pair(struct buf *b, const char *name, struct str value)
{
	buf_add_char(b, ',');
	buf_add_json_str(b, str_from(name));
	buf_add_char(b, ':');
	buf_add_json_str(b, str_utf8_prefix(value, FIELD_MAX));
}

static void json_head(struct buf *b, int level, const char *event, const char *msg)
{
	buf_add_z(b, "{\"time\":\"");
	clock_rfc3339(b, clock_wall_us());
	buf_add_char(b, '"');
	json_pair(b, "level", str_from(level_names[level]));
	if (*process_name)
		json_pair(b, "process", str_from(process_name));
	json_pair(b, "event", str_from(event));
	json_pair(b, "msg", str_from(msg));
}

static void json_field(struct buf *b, const struct log_field *f)
{
	if (f->kind == LOG_FIELD_STR) {
		json_pair(b, f->name, f->s);
		return;
	}
	buf_add_char(b, ',');
	buf_add_json_str(b, str_from(f->name));
	buf_add_char(b, ':');
	buf_add_i64(b, f->i);
}

/* --- both --- */

static void write_line(struct str line)
{
	while (write(STDERR_FILENO, line.p, line.n) < 0 && errno == EINTR)
		;
}

void log_event(int level, const char *event, const char *msg, ...)
{
	if (level < LOG_DEBUG || level >= LOG_NONE || !log_is_on((enum log_level)level))
		return;
	bool json = current_format == LOG_JSON;
	int saved_errno = errno;
	struct buf b;
	buf_init(&b, LINE_MAX_BYTES);
	(json ? json_head : text_head)(&b, level, event, msg);
	va_list ap;
	va_start(ap, msg);
	for (int i = 0; i < FIELDS_MAX; i++) {
		struct log_field f = va_arg(ap, struct log_field);
		if (!f.name)
			break;
		(json ? json_field : text_field)(&b, &f);
	}
	va_end(ap);
	buf_add_z(&b, json ? "}\n" : "\n");
	assert(!buf_failed(&b));
	write_line(buf_str(&b));
	buf_done(&b);
	errno = saved_errno;
}
