/* SPDX-License-Identifier: Apache-2.0 */
/* Two runs of bytes, compared with each event: a few hundred bytes at memory's speed in place of a parse. */
#include "worker/providers/shape.h"

#define SHAPE_MAX 4096 /* bytes on either side of the text */

void shape_init(struct shape *s)
{
	buf_init(&s->before, SHAPE_MAX);
	buf_init(&s->after, SHAPE_MAX);
}

void shape_done(struct shape *s)
{
	buf_done(&s->before);
	buf_done(&s->after);
}

void shape_learn(struct shape *s, struct str event, struct str mark)
{
	ssize_t at = str_find(event, mark);
	buf_clear(&s->before);
	buf_clear(&s->after);
	if (at < 0 || str_find(str_sub(event, (size_t)at + 1, event.n), mark) >= 0) /* which one would be the text? */
		return;
	size_t from = (size_t)at + mark.n;
	struct str rest = str_sub(event, from, event.n), after = str_sub(rest, buf_json_plain(rest), rest.n);
	if (after.n == 0 || after.p[0] != '"' || from > SHAPE_MAX || after.n > SHAPE_MAX)
		return;
	buf_add_str(&s->before, str_sub(event, 0, from));
	buf_add_str(&s->after, after);
}

static bool is_digit(struct str s, size_t i)
{
	return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

static bool same_but_digits(struct str a, struct str b)
{
	size_t i = 0, k = 0;
	while (i < a.n && k < b.n) {
		bool digit = is_digit(a, i);
		if (digit != is_digit(b, k) || (!digit && a.p[i] != b.p[k]))
			return false;
		while (digit && is_digit(a, i + 1))
			i++;
		while (digit && is_digit(b, k + 1))
			k++;
		i++;
		k++;
	}
	return i == a.n && k == b.n;
}

bool shape_read(const struct shape *s, struct str event, bool digits_vary, struct str *ret)
{
	struct str before = buf_str(&s->before), after = buf_str(&s->after);
	if (before.n == 0 || !str_has_prefix(event, before))
		return false;
	struct str rest = str_sub(event, before.n, event.n);
	*ret = str_sub(rest, 0, buf_json_plain(rest));
	rest = str_sub(rest, ret->n, rest.n);
	return digits_vary ? same_but_digits(rest, after) : str_eq(rest, after);
}
