/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors are values. A function that can fail returns int: 0 or positive is success, negative is -ERR_x of err.def. Where a
 * human needs detail, the last parameter is a struct err (may be NULL).
 */
#ifndef MR_COMMON_ERR_H
#define MR_COMMON_ERR_H

#include "common/str.h"

enum err_code {
	ERR_OK = 0,
#define ERR(name, code, status, retryable, level, title) ERR_##name,
#include "common/err.def"
#undef ERR
	ERR_COUNT,
};

#define ERR_TEXT_MAX 240
#define ERR_PARAM_MAX 160

struct err {
	enum err_code code;
	char text[ERR_TEXT_MAX];   /* detail for a human; NUL-terminated, cut at a character's border */
	char param[ERR_PARAM_MAX]; /* JSON pointer (RFC 6901) to the offending field, or "" */
};

/* Sets code and text; returns -code, so that a failure is one line. err may be NULL. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As above, naming the field. */
int err_set_at(struct err *err, enum err_code code, const char *pointer, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Puts "prefix: " before the text that stands there. */
void err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The table's columns; rc may be given as ERR_x or -ERR_x. */
const char *err_code_name(int rc); /* "invalid_json" */
const char *err_title(int rc);
int err_http_status(int rc);
bool err_is_retryable(int rc);
int err_level(int rc);
enum err_code err_by_code_name(struct str name); /* ERR_OK when unknown */

#endif
