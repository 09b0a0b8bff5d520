/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the multipart parser: the first line is the Content-Type, the rest the body. However it is cut into reads, parts, data and result are the
 * same; events come in their order; names are UTF-8 without control characters; no more parts than allowed.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_multipart.c common/http/multipart.c common/http/http_types.c common/err.c common/buf.c
 *       common/str.c -o fuzz_multipart
 *   ./fuzz_multipart tests/fuzz/corpus/multipart
 */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_multipart_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_multipart_name(struct buf *log, struct str s)
{
	fuzz_multipart_check(str_is_utf8(s));
	for (size_t i = 0; i < s.n; i++)
		fuzz_multipart_check((unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7f);
	buf_add_char(log, s.p ? '+' : '-');
	buf_add_str(log, s);
	buf_add_char(log, '\0');
}

/* One event into the log; whether the parser is in a part. */
static bool fuzz_multipart_note(const struct multipart *m, int event, struct str data, bool in_part, struct buf *log)
{
	switch (event) {
	case MULTIPART_PART:
		fuzz_multipart_check(!in_part && m->parts <= MULTIPART_PARTS_MAX);
		buf_add_char(log, 'P');
		fuzz_multipart_name(log, m->part.name);
		fuzz_multipart_name(log, m->part.filename);
		fuzz_multipart_name(log, m->part.content_type);
		return true;
	case MULTIPART_DATA:
		fuzz_multipart_check(in_part && data.n > 0);
		buf_add_str(log, data);
		return true;
	case MULTIPART_PART_END:
		fuzz_multipart_check(in_part);
		buf_add_char(log, 'E');
		return false;
	}
	fuzz_multipart_check(event == MULTIPART_WHOLE && !in_part);
	buf_add_char(log, 'W');
	return false;
}

static int fuzz_multipart_read(struct str type, struct str body, size_t step, struct buf *log)
{
	struct multipart m;
	struct err err = { 0 };
	bool in_part = false;
	int rc = multipart_init(&m, type, &err);
	while (rc == 0 && body.n) {
		size_t n = step ? MIN(step, body.n) : body.n;
		char *copy = malloc(n);
		fuzz_multipart_check(copy != NULL);
		memcpy(copy, body.p, n);
		struct str piece = { copy, n }, data = { 0 };
		while ((rc = multipart_next(&m, &piece, &data, &err)) > 0)
			in_part = fuzz_multipart_note(&m, rc, data, in_part, log);
		free(copy);
		body = str_sub(body, n, body.n);
	}
	if (rc == 0)
		rc = multipart_end(&m, &err);
	fuzz_multipart_check(rc == 0 || (err.code == (enum err_code)-rc && err.text[0]));
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const size_t steps[] = { 1, 2, 3, 7, 64 };
	struct str body = { (const char *)data, n }, type;
	struct buf whole, pieces;
	if (!str_split(&body, '\n', &type))
		return 0;
	if (!body.p)
		body = STR("");
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	int rc = fuzz_multipart_read(type, body, 0, &whole);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		buf_clear(&pieces);
		fuzz_multipart_check(fuzz_multipart_read(type, body, steps[i], &pieces) == rc);
		fuzz_multipart_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	}
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
