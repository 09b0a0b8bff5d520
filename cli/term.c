/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal's basics: what it can do, its styles, the width of text in columns, and readable numbers. Tables are in
 * term_table.c, the progress line in term_bar.c.
 *
 * Widths come from a short table of the wide and the combining ranges of Unicode, so that nothing depends on the
 * locale. Text from outside is made safe first: a control character in a job's metadata must not move the cursor.
 */
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"

void term_init(struct term *t, FILE *out)
{
	const char *kind = getenv("TERM"), *no_color = getenv("NO_COLOR");
	struct winsize size;
	*t = (struct term){ .out = out };
	if (!isatty(fileno(out)))
		return;
	t->tty = kind && *kind && strcmp(kind, "dumb") != 0;
	t->color = t->tty && !(no_color && *no_color);
	t->columns = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

const char *term_glyph(const char *utf8, const char *ascii)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct str v = str_from(getenv(names[i]));
		if (v.n)
			return str_find_nocase(v, STR("utf-8")) >= 0 || str_find_nocase(v, STR("utf8")) >= 0 ? utf8 : ascii;
	}
	return utf8;
}

const char *term_style(const struct term *t, enum term_style style)
{
	static const char *const codes[] = {
		[TERM_PLAIN] = "",        [TERM_BOLD] = "\033[1m",   [TERM_DIM] = "\033[2m",
		[TERM_RED] = "\033[31m",  [TERM_GREEN] = "\033[32m", [TERM_YELLOW] = "\033[33m",
		[TERM_BLUE] = "\033[34m",
	};
	return t->color ? codes[style] : "";
}

const char *term_reset(const struct term *t)
{
	return t->color ? "\033[0m" : "";
}

enum term_style term_status_style(struct str status)
{
	static const struct {
		const char *status;
		enum term_style style;
	} styles[] = {
		{ "succeeded", TERM_GREEN }, { "completed", TERM_GREEN },  { "failed", TERM_RED },
		{ "expired", TERM_RED },     { "canceled", TERM_YELLOW },  { "cancelled", TERM_YELLOW },
		{ "running", TERM_BLUE },    { "in_progress", TERM_BLUE }, { "revoked", TERM_RED },
		{ "paused", TERM_YELLOW },   { "draining", TERM_YELLOW },  { "disabled", TERM_RED },
		{ "parked", TERM_YELLOW },   { "open", TERM_RED },         { "half-open", TERM_YELLOW },
	};
	for (size_t i = 0; i < ARRAY_LEN(styles); i++)
		if (str_eq_z(status, styles[i].status))
			return styles[i].style;
	return TERM_PLAIN;
}

/* --- text --- */

struct range {
	uint32_t from, to;
};

static bool is_in(const struct range *ranges, size_t n, uint32_t c)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].from && c <= ranges[i].to)
			return true;
	return false;
}

static size_t char_columns(uint32_t c)
{
	static const struct range combining[] = {
		{ 0x300, 0x36f },   { 0x483, 0x489 },   { 0x591, 0x5bd },     { 0x610, 0x61a },   { 0x64b, 0x65f },
		{ 0x900, 0x902 },   { 0x93c, 0x93c },   { 0x941, 0x948 },     { 0xe31, 0xe31 },   { 0xe34, 0xe3a },
		{ 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff }, { 0x200b, 0x200f },   { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f },
		{ 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff }, { 0xe0100, 0xe01ef },
	};
	static const struct range wide[] = {
		{ 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0x33ff },   { 0x3400, 0x4dbf },
		{ 0x4e00, 0x9fff },   { 0xa000, 0xa4cf },   { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },
		{ 0xfe30, 0xfe4f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },   { 0x1f300, 0x1f64f },
		{ 0x1f680, 0x1f6ff }, { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
	};
	if (c < 0x300)
		return 1;
	return is_in(combining, ARRAY_LEN(combining), c) ? 0 : is_in(wide, ARRAY_LEN(wide), c) ? 2 : 1;
}

/* The character at p[*at] of well-formed UTF-8; moves *at past it. A byte that fits nowhere counts as one character. */
static uint32_t next_char(struct str s, size_t *at)
{
	unsigned char c = (unsigned char)s.p[*at];
	size_t n = c < 0x80 ? 1 : c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	uint32_t v = n == 1 ? c : c & (0xffu >> (n + 1));
	if (*at + n > s.n)
		n = 1;
	for (size_t i = 1; i < n; i++)
		v = (v << 6) | ((unsigned char)s.p[*at + i] & 0x3f);
	*at += n;
	return v;
}

size_t term_columns(struct str s)
{
	size_t columns = 0;
	for (size_t at = 0; at < s.n;)
		columns += char_columns(next_char(s, &at));
	return columns;
}

struct str term_safe(struct arena *a, struct str s)
{
	if (!str_is_utf8(s))
		return STR("(not UTF-8)");
	char *p = arena_strz(a, s);
	for (size_t at = 0, from = 0; at < s.n; from = at) {
		uint32_t c = next_char(s, &at);
		bool control =
		    c < ' ' || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
		if (control)
			memset(p + from, ' ', at - from);
	}
	return (struct str){ p, s.n };
}

struct str term_fit(struct arena *a, struct str s, size_t columns)
{
	if (term_columns(s) <= columns)
		return s;
	if (columns == 0)
		return (struct str){ "", 0 };
	size_t used = 0, end = 0;
	for (size_t at = 0; at < s.n; end = at) {
		used += char_columns(next_char(s, &at));
		if (used > columns - 1)
			break;
	}
	return arena_printf(a, STR_FMT "%s", STR_ARG(str_sub(s, 0, end)), term_glyph("…", "~"));
}

/* --- numbers --- */

void term_duration(struct buf *b, int64_t ms)
{
	int64_t s = ms / 1000;
	if (ms < 0)
		buf_add_char(b, '-');
	else if (ms < 1000)
		buf_printf(b, "%lldms", (long long)ms);
	else if (ms < 10000)
		buf_printf(b, "%lld.%llds", (long long)s, (long long)(ms % 1000 / 100));
	else if (s < 60)
		buf_printf(b, "%llds", (long long)s);
	else if (s < 3600)
		buf_printf(b, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
	else if (s < 86400)
		buf_printf(b, "%lldh%02lldm", (long long)(s / 3600), (long long)(s % 3600 / 60));
	else
		buf_printf(b, "%lldd%02lldh", (long long)(s / 86400), (long long)(s % 86400 / 3600));
}

/* Two decimals at least; more only as far as they say something. */
void term_money(struct buf *b, int64_t nanousd)
{
	if (nanousd < 0) {
		buf_add_z(b, "unknown");
		return;
	}
	int64_t dollars = nanousd / 1000000000, rest = nanousd % 1000000000;
	int decimals = 9;
	if (dollars > 0) { /* a bill, to the cent */
		rest = (rest + 5000000) / 10000000;
		decimals = 2;
		if (rest == 100) {
			dollars++;
			rest = 0;
		}
	}
	while (decimals > 2 && rest % 10 == 0) {
		rest /= 10;
		decimals--;
	}
	buf_printf(b, "$%lld.%0*lld", (long long)dollars, decimals, (long long)rest);
}

void term_count(struct buf *b, int64_t n)
{
	_cleanup_(buf_done) struct buf digits;
	buf_init(&digits, 32);
	buf_add_i64(&digits, n);
	for (size_t i = 0; i < digits.n; i++) {
		size_t left = digits.n - i;
		if (i > 0 && left % 3 == 0 && digits.p[i - 1] != '-')
			buf_add_char(b, ',');
		buf_add_char(b, digits.p[i]);
	}
}

/* Tenths would be noise in an age or an estimate. */
void term_seconds(struct buf *b, int64_t ms)
{
	if (ms >= 0 && ms < 10000)
		buf_printf(b, "%llds", (long long)(ms / 1000));
	else
		term_duration(b, ms);
}

void term_size(struct buf *b, int64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t unit = 0;
	int64_t tenths = MIN(MAX(bytes, (int64_t)0), INT64_MAX / 10) * 10;
	for (; tenths >= 10240 && unit + 1 < ARRAY_LEN(units); unit++)
		tenths /= 1024;
	buf_printf(b, "%lld", (long long)(tenths / 10));
	if (unit > 0)
		buf_printf(b, ".%lld", (long long)(tenths % 10));
	buf_printf(b, " %s", units[unit]);
}

void term_ago(struct buf *b, struct str rfc3339, int64_t now_wall_us)
{
	int64_t at;
	if (rfc3339.n == 0 || clock_parse_rfc3339(rfc3339, &at)) {
		buf_add_char(b, '-');
		return;
	}
	int64_t ms = (now_wall_us - at) / 1000;
	if (ms < 0) {
		buf_add_z(b, "in ");
		term_seconds(b, -ms);
		return;
	}
	if (ms < 1000)
		buf_add_z(b, "now");
	else {
		term_seconds(b, ms);
		buf_add_z(b, " ago");
	}
}
