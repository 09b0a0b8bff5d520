/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Most lines are given where they lie in the piece; only one that is cut by the end of a piece is copied. `at` moves over a line when that is given, so
 * that whoever stops there can begin again at that byte.
 */
#include "api/batches/batch_lines.h"

#include <string.h>

static const char mark[] = "\xef\xbb\xbf";

void batch_lines_init(struct batch_lines *l, int64_t at, size_t max)
{
	*l = (struct batch_lines){ .at = at };
	buf_init(&l->rest, max);
}

void batch_lines_done(struct batch_lines *l)
{
	buf_done(&l->rest);
}

void batch_lines_feed(struct batch_lines *l, struct str piece)
{
	assert(l->piece.n == 0);
	l->piece = piece;
}

static void drop_given(struct batch_lines *l)
{
	if (!l->given)
		return;
	buf_clear(&l->rest);
	l->given = l->is_cut = false;
}

static void keep(struct batch_lines *l, struct str part)
{
	l->at += (int64_t)part.n;
	if (!l->is_cut && buf_add_str(&l->rest, part) < 0)
		l->is_cut = true;
}

/* One line with its end, blank or not. */
static bool one_line(struct batch_lines *l, bool is_end, struct str *ret)
{
	const char *end = l->piece.n ? memchr(l->piece.p, '\n', l->piece.n) : NULL;
	drop_given(l);
	if (!end) {
		keep(l, l->piece);
		l->piece = (struct str){ 0 };
		if (!is_end || (l->rest.n == 0 && !l->is_cut))
			return false;
		*ret = buf_str(&l->rest);
		l->given = true;
		return true;
	}
	struct str part = str_sub(l->piece, 0, (size_t)(end - l->piece.p));
	l->piece = str_sub(l->piece, part.n + 1, l->piece.n);
	if (l->rest.n > 0 || l->is_cut) {
		keep(l, part);
		l->at++;
		*ret = buf_str(&l->rest);
		l->given = true;
	} else {
		l->at += (int64_t)part.n + 1;
		l->is_cut = part.n > l->rest.max;
		l->given = l->is_cut;
		*ret = part;
	}
	return true;
}

bool batch_lines_next(struct batch_lines *l, bool is_end, struct str *ret, bool *ret_long)
{
	struct str line;
	while (one_line(l, is_end, &line)) {
		l->number++;
		*ret_long = l->is_cut;
		*ret = (struct str){ "", 0 };
		if (l->is_cut)
			return true;
		if (l->number == 1 && str_has_prefix(line, str_from(mark)))
			line = str_sub(line, sizeof(mark) - 1, line.n);
		*ret = str_trim(line);
		if (ret->n > 0)
			return true;
	}
	return false;
}
