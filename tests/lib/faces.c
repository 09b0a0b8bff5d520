/* SPDX-License-Identifier: Apache-2.0 */
/* A body through a face's read, a result through its write; what is not as wanted fails the test with the text of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/faces.h"

static struct arena arena;

json_t *faces_parsed(const char *text)
{
	struct err err = { 0 };
	json_t *v = json_parse(str_from(text), &err);
	if (!v)
		fail_msg("%s: %s", err.text, text);
	return v;
}

struct arena *faces_arena(void)
{
	return &arena;
}

int faces_open(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20);
	return 0;
}

int faces_close(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

void faces_becomes(const struct face *face, const char *body, const char *wanted)
{
	struct face_request r = { 0 };
	struct err err = { 0 };
	json_t *b = faces_parsed(body), *want = faces_parsed(wanted);
	if (face->read(&arena, b, &r, &err) < 0)
		fail_msg("%s: %s\n%s", err.param, err.text, body);
	if (!json_equal(r.request, want))
		fail_msg("%s did not become %s", body, wanted);
	face_request_done(&r);
	json_decref(b);
	json_decref(want);
}

void faces_refused(const struct face *face, const char *body, enum err_code code, const char *param)
{
	struct face_request r = { 0 };
	struct err err = { 0 };
	json_t *b = faces_parsed(body);
	int rc = face->read(&arena, b, &r, &err);
	if (rc != -(int)code || err.code != code || strcmp(err.param, param) != 0)
		fail_msg("%s: %d, %s at %s", body, rc, err.text, err.param);
	face_request_done(&r);
	json_decref(b);
}

struct str faces_written(const struct face *face, const char *result, const char *echo, bool partial)
{
	struct buf b;
	json_t *v = faces_parsed(result), *e = echo ? faces_parsed(echo) : NULL;
	const struct face_answer j = { .form = face->form, .created_us = 1700000000123456, .model = STR("asked"), .result = v, .echo = e, .partial = partial };
	buf_init(&b, 1 << 20);
	int rc = face->write(&b, &j);
	struct str ret = rc < 0 ? (struct str){ 0 } : arena_str(&arena, buf_str(&b));
	assert_true(rc >= 0 || rc == -(int)ERR_BAD_OUTPUT);
	buf_done(&b);
	json_decref(v);
	json_decref(e);
	return ret;
}
