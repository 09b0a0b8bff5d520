/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error table of err.def as C arrays, and the texts of struct err.
 *
 * err_set formats into a scratch buffer first, so that the arguments may point into the very err that is being set (wrapping
 * one message in another is ordinary). What does not fit is cut at a character's border: texts reach clients as JSON and
 * must stay UTF-8. A code that the table does not have reads as ERR_INTERNAL; that is a bug elsewhere, and no reason to crash
 * while reporting one.
 *
 * Choosing the code is left to the caller; logging it to whoever makes the decision.
 */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

struct err_row {
	const char *code;
	const char *title;
	int status;
	bool retryable;
	int level;
};

static const struct err_row rows[ERR_COUNT] = {
	[ERR_OK] = { "ok", "It worked", 200, false, LOG_DEBUG },
#define ERR(name, code, status, retryable, level, title) [ERR_##name] = { code, title, status, retryable, level },
#include "common/err.def"
#undef ERR
};

static const struct err_row *row_of(int rc)
{
	if (rc <= -ERR_COUNT || rc >= ERR_COUNT)
		return &rows[ERR_INTERNAL];
	return &rows[rc < 0 ? -rc : rc];
}

/* Copies as much of s as fits with its NUL, whole characters only. */
static void copy_text(char *out, size_t size, struct str s)
{
	s = str_utf8_prefix(s, size - 1);
	if (s.n)
		memmove(out, s.p, s.n);
	out[s.n] = '\0';
}

/* Formats and cuts at a character's border. */
static void PRINTF_LIKE(3, 0) format_text(char *out, size_t size, const char *fmt, va_list ap)
{
	char scratch[ERR_TEXT_MAX + 4]; /* room to see a whole character at the border */
	int n = vsnprintf(scratch, sizeof(scratch), fmt, ap);
	scratch[n < 0 ? 0 : sizeof(scratch) - 1] = '\0';
	copy_text(out, size, str_from(scratch));
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	assert(code > ERR_OK && code < ERR_COUNT);
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		format_text(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		err->code = code;
		err->param[0] = '\0';
	}
	return -(int)code;
}

int err_set_at(struct err *err, enum err_code code, const char *pointer, const char *fmt, ...)
{
	assert(code > ERR_OK && code < ERR_COUNT);
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		format_text(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		err->code = code;
		copy_text(err->param, sizeof(err->param), str_from(pointer));
	}
	return -(int)code;
}

void err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return;
	char prefix[ERR_TEXT_MAX], old[ERR_TEXT_MAX], both[2 * ERR_TEXT_MAX + 4];
	va_list ap;
	va_start(ap, fmt);
	format_text(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	copy_text(old, sizeof(old), str_from(err->text));
	snprintf(both, sizeof(both), "%s: %s", prefix, old);
	copy_text(err->text, sizeof(err->text), str_from(both));
}

const char *err_code_name(int rc)
{
	return row_of(rc)->code;
}

const char *err_title(int rc)
{
	return row_of(rc)->title;
}

int err_http_status(int rc)
{
	return row_of(rc)->status;
}

bool err_is_retryable(int rc)
{
	return row_of(rc)->retryable;
}

int err_level(int rc)
{
	return row_of(rc)->level;
}

enum err_code err_by_code_name(struct str name)
{
	for (int i = ERR_OK + 1; i < ERR_COUNT; i++)
		if (str_eq_z(name, rows[i].code))
			return (enum err_code)i;
	return ERR_OK;
}
