/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/http/multipart.h. Each body is read whole, byte by byte, and cut in two at every offset: what comes out is always the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/http/multipart.h"

#define TYPE "multipart/form-data; boundary=XyZ"
#define PART(head, data) "--XyZ\r\n" head "\r\n\r\n" data "\r\n"
#define FIELD(name, data) PART("Content-Disposition: form-data; name=\"" name "\"", data)
#define END "--XyZ--\r\n"

static void note(struct buf *log, const char *name, struct str s)
{
	buf_printf(log, "%s", name);
	if (s.p)
		buf_printf(log, "<" STR_FMT ">", STR_ARG(s));
}

/* Events of one piece, from memory of exactly its size: "part<name>file<…>type<…>=data." */
static int take_one(struct multipart *m, struct str piece, struct buf *log, struct err *err)
{
	struct str data;
	int rc;
	char *copy = malloc(MAX(piece.n, (size_t)1));
	assert_non_null(copy);
	memcpy(copy, piece.p, piece.n);
	struct str rest = { copy, piece.n };
	while ((rc = multipart_next(m, &rest, &data, err)) > 0) {
		if (rc == MULTIPART_PART) {
			note(log, "part", m->part.name);
			note(log, "file", m->part.filename);
			note(log, "type", m->part.content_type);
			buf_add_char(log, '=');
		} else if (rc == MULTIPART_DATA) {
			assert_true(data.n > 0);
			buf_add_str(log, data);
		} else {
			buf_add_z(log, rc == MULTIPART_WHOLE ? "whole" : ".");
		}
	}
	assert_true(rc < 0 || rest.n == 0);
	free(copy);
	return rc;
}

/* Reads body in pieces: the first of `first` bytes, then of `step`. The result of multipart_end, or of what failed before. */
static int read_cut(const char *type, struct str body, size_t first, size_t step, struct buf *log, struct err *err)
{
	struct multipart *m = malloc(sizeof(*m));
	assert_non_null(m);
	buf_clear(log);
	*err = (struct err){ 0 };
	int rc = multipart_init(m, str_from(type), err);
	size_t n = first;
	while (rc == 0 && body.n) {
		struct str piece = str_sub(body, 0, n);
		body = str_sub(body, piece.n, body.n);
		n = step;
		rc = take_one(m, piece, log, err);
	}
	if (rc == 0)
		rc = multipart_end(m, err);
	free(m);
	return rc;
}

/* However it is cut: these events and this end. want_error: a part of what is said, or NULL. */
static void check(const char *type, struct str body, const char *want, const char *want_error)
{
	struct buf log;
	struct err err;
	buf_init(&log, SIZE_MAX / 8);
	for (size_t cut = 0; cut <= body.n + 1; cut++) { /* at last byte by byte */
		int rc = cut > body.n ? read_cut(type, body, 1, 1, &log, &err) : read_cut(type, body, MAX(cut, (size_t)1), body.n + 1, &log, &err);
		if (want_error && (rc >= 0 || !strstr(err.text, want_error)))
			fail_msg("cut at %zu: %d, \"%s\"; wanted \"%s\"", cut, rc, err.text, want_error);
		if (!want_error && rc != 0)
			fail_msg("cut at %zu: %s", cut, err.text);
		if (want && !str_eq_z(buf_str(&log), want))
			fail_msg("cut at %zu: " STR_FMT "; wanted %s", cut, STR_ARG(buf_str(&log)), want);
	}
	buf_done(&log);
}

static void test_multipart_reads_parts_in_order(void **state)
{
	(void)state;
	check(TYPE, STR(FIELD("purpose", "batch") PART("content-disposition:form-data; name=file; filename=\"a.jsonl\"\r\nContent-Type: text/plain", "line\r\n") END),
	      "part<purpose>filetype=batch.part<file>file<a.jsonl>type<text/plain>=line\r\n.whole", NULL);
	check(TYPE, STR("--XyZ--"), "whole", NULL);
	check(TYPE, STR("preamble\r\n\r\n" FIELD("a", "") "--XyZ-- \r\nepilogue"), "part<a>filetype=.whole", NULL);
	check(TYPE, STR("\r\n--XyZ \t\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--XyZ--"), "part<a>filetype=x.whole", NULL);
	check(TYPE, STR("--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\n--XyZ--"), "part<a>filetype=.whole", NULL); /* no line's end of its own */
}

static void test_multipart_data_may_look_like_a_boundary(void **state)
{
	(void)state;
	check(TYPE, STR(FIELD("a", "\r\n--XyA\r\n--Xy\r\n-\r\r\n\r\n--\n--XyZ\r--XyZ") END),
	      "part<a>filetype=\r\n--XyA\r\n--Xy\r\n-\r\r\n\r\n--\n--XyZ\r--XyZ.whole", NULL);
	check(TYPE, STR(FIELD("a", "\r\n") FIELD("b", "\r") FIELD("c", "-") END), "part<a>filetype=\r\n.part<b>filetype=\r.part<c>filetype=-.whole", NULL);
	check(TYPE, STR(FIELD("a", "\0\xff\x80") END), NULL, NULL);
}

static void test_multipart_reads_names(void **state)
{
	(void)state;
#define NAMED(params) STR(PART("Content-Disposition: form-data; " params, "x") END)
	check(TYPE, NAMED("name=\"a\\\"b\\\\c\"; filename=\"C:\\dir\\a.txt\""), "part<a\"b\\c>file<C:\\dir\\a.txt>type=x.whole", NULL);
	check(TYPE, NAMED("filename=\"\"; name=\"\""), "part<>file<>type=x.whole", NULL);
	check(TYPE, NAMED("name=f; filename=\"x\"; filename*=UTF-8'en'%e2%82%ac%20rates"), "part<f>file<\xe2\x82\xac rates>type=x.whole", NULL);
	check(TYPE, NAMED("name=f; filename*=iso-8859-1''%a3x"), "part<f>file<\xc2\xa3x>type=x.whole", NULL);
	check(TYPE, NAMED("name=f; filename=\"\xc3\xa9; name=g\"; size=5;"), "part<f>file<\xc3\xa9; name=g>type=x.whole", NULL);
	check(TYPE, NAMED("name=f; filename=\"a%0d%0ab\""), "part<f>file<a%0d%0ab>type=x.whole", NULL); /* no escape of this place: it stays as it is */
}

static void test_multipart_refuses_what_is_ambiguous(void **state)
{
	(void)state;
	static const struct {
		struct str params;
		const char *error;
	} rows[] = {
#define D "Content-Disposition: form-data; "
		{ STR(PART(D "name=\"a\r\nb\"", "x") END), "not well-formed" },
		{ STR(PART(D "name=\"a\rb\"", "x") END), "control character" },
		{ STR(PART(D "name=\"a\nb\"", "x") END), "control character" },
		{ STR(PART(D "name=f; filename*=UTF-8''a%0d%0ab", "x") END), "control character" },
		{ STR(PART(D "name=f; filename*=UTF-8''a%zz", "x") END), "filename*" },
		{ STR(PART(D "name=f; filename*=UTF-8''a%4", "x") END), "filename*" },
		{ STR(PART(D "name=f; filename*=koi8''a", "x") END), "filename*" },
		{ STR(PART(D "name=f; filename*=a", "x") END), "filename*" },
		{ STR(PART(D "name=\"\xff\"", "x") END), "UTF-8" },
		{ STR(PART(D "name=a; name=b", "x") END), "twice" },
		{ STR(PART(D "name=a; filename=b; filename=c", "x") END), "twice" },
		{ STR(PART(D "filename=b", "x") END), "no name" },
		{ STR(PART(D "name=a b", "x") END), "not well-formed" },
		{ STR(PART(D "name=", "x") END), "not well-formed" },
		{ STR(PART(D "name", "x") END), "not well-formed" },
		{ STR(PART("Content-Disposition: attachment; name=a", "x") END), "not form-data" },
		{ STR(PART(D "name=a\r\n" D "name=b", "x") END), "twice" },
		{ STR(PART(D "name=a\r\nContent-Type: a/b\r\nContent-Type: c/d", "x") END), "twice" },
		{ STR(PART(D "name=a\r\nContent-Type: a/\xc3\xa9", "x") END), "ASCII" },
		{ STR(PART(D "name=a\r\n folded", "x") END), "folded" },
		{ STR(PART(D "name=a\r\nno colon", "x") END), "Name: value" },
		{ STR(PART(D "name=a\r\n: x", "x") END), "Name: value" },
		{ STR(PART(D "name=a\r\nContent-Transfer-Encoding: base64", "x") END), "Content-Transfer-Encoding" },
		{ STR(PART("Content-Type: a/b", "x") END), "no Content-Disposition" },
		{ STR("--XyZ\r\n\r\nx\r\n--XyZ--"), "no Content-Disposition" },
		{ STR(FIELD("a", "x") "--XyZQ\r\n"), "followed by something else" },
		{ STR(FIELD("a", "x\r\n--XyZ-x") END), "followed by something else" },
		{ STR(FIELD("a", "x") "--XyZ --\r\n"), "followed by something else" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(TYPE, rows[i].params, NULL, rows[i].error);
	check(TYPE, STR(PART("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: Binary\r\nX: \ty", "x") END), "part<a>filetype=x.whole", NULL);
}

static void test_multipart_says_what_is_missing(void **state)
{
	(void)state;
	check(TYPE, STR(""), "", "before its first boundary");
	check(TYPE, STR("--Xy"), "", "before its first boundary");
	check(TYPE, STR("--XyZ"), "", "two dashes");
	check(TYPE, STR("--XyZ\r\nContent-Disposition: form-"), "", "within the headers of part 1");
	check(TYPE, STR(FIELD("a", "x") "--XyZ\r\n\r"), "part<a>filetype=x.", "within the headers of part 2");
	check(TYPE, STR("--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--Xy"), NULL, "within the data of part 1: the last boundary is missing");
	check(TYPE, STR(FIELD("a", "x") "--XyZ-"), "part<a>filetype=x.", "two dashes");
}

static void add_parts(struct buf *b, int n)
{
	for (int i = 0; i < n; i++)
		buf_add_z(b, FIELD("a", "x"));
	buf_add_z(b, END);
}

static void test_multipart_limits_are_kept(void **state)
{
	(void)state;
	struct buf b, log;
	struct err err;
	buf_init(&b, 1 << 20);
	buf_init(&log, 1 << 20);
	add_parts(&b, MULTIPART_PARTS_MAX);
	assert_int_equal(read_cut(TYPE, buf_str(&b), 100, 100, &log, &err), 0);
	buf_clear(&b);
	add_parts(&b, 10000);
	assert_int_equal(read_cut(TYPE, buf_str(&b), 4096, 4096, &log, &err), -ERR_TOO_LARGE);

	static const struct {
		const char *before, *behind;
		size_t most; /* of the x between them */
		int over;
	} rows[] = {
		{ "--XyZ\r\nContent-Disposition: form-data; name=\"", "\"\r\n\r\nx\r\n" END, MULTIPART_HEAD_MAX - 43, -ERR_TOO_LARGE },
		{ "", "\r\n" FIELD("a", "x") END, MULTIPART_FRAME_MAX, -ERR_INVALID },
		{ FIELD("a", "x") END, "", MULTIPART_FRAME_MAX - 2, -ERR_INVALID },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t more = 0; more < 2; more++) {
			buf_clear(&b);
			buf_add_z(&b, rows[i].before);
			for (size_t k = 0; k < rows[i].most + more; k++)
				buf_add_char(&b, 'x');
			buf_add_z(&b, rows[i].behind);
			assert_int_equal(read_cut(TYPE, buf_str(&b), 7, 7, &log, &err), more ? rows[i].over : 0);
			assert_int_equal(read_cut(TYPE, buf_str(&b), b.n, 1, &log, &err), more ? rows[i].over : 0);
		}
	}
	buf_done(&b);
	buf_done(&log);
}

static void test_multipart_wants_a_boundary(void **state)
{
	(void)state;
	static const struct {
		const char *type;
		int rc;
	} rows[] = {
		{ "multipart/form-data; boundary=a", 0 },
		{ "Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b:c\"", 0 },
		{ "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", 0 },
		{ "multipart/form-data; boundary=1234567890123456789012345678901234567890123456789012345678901234567890", 0 },
		{ "multipart/form-data; boundary=12345678901234567890123456789012345678901234567890123456789012345678901", -ERR_INVALID },
		{ "multipart/form-data", -ERR_INVALID },
		{ "multipart/form-data;", -ERR_INVALID },
		{ "multipart/form-data; boundary=", -ERR_INVALID },
		{ "multipart/form-data; boundary=\"\"", -ERR_INVALID },
		{ "multipart/form-data; boundary=\"a ", -ERR_INVALID },
		{ "multipart/form-data; boundary=\"a \"", -ERR_INVALID },
		{ "multipart/form-data; boundary=a\xc3\xa9", -ERR_INVALID },
		{ "multipart/form-data; boundary=a@b", -ERR_INVALID },
		{ "multipart/form-data; boundary=a; boundary=b", -ERR_INVALID },
		{ "multipart/form-data boundary=a", -ERR_MEDIA_TYPE },
		{ "multipart/mixed; boundary=a", -ERR_MEDIA_TYPE },
		{ "application/json", -ERR_MEDIA_TYPE },
		{ "", -ERR_MEDIA_TYPE },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct multipart m;
		struct err err = { 0 };
		if (multipart_init(&m, str_from(rows[i].type), &err) != rows[i].rc)
			fail_msg("%s: %s", rows[i].type, err.text);
	}
	check("multipart/form-data; boundary=\"a b\"", STR("--a b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--a b--"), "part<a>filetype=x.whole", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_multipart_reads_parts_in_order),
		cmocka_unit_test(test_multipart_data_may_look_like_a_boundary),
		cmocka_unit_test(test_multipart_reads_names),
		cmocka_unit_test(test_multipart_refuses_what_is_ambiguous),
		cmocka_unit_test(test_multipart_says_what_is_missing),
		cmocka_unit_test(test_multipart_limits_are_kept),
		cmocka_unit_test(test_multipart_wants_a_boundary),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
