/* SPDX-License-Identifier: Apache-2.0 */
/* Two runs of bytes, compared with each event: a few hundred bytes at memory's speed in place of a parse. */
#include "worker/providers/shape.h"

#include <string.h>

#define SHAPE_MAX 4096 /* bytes on either side of the text */
#define TEXT_MAX  ((size_t)1 << 16) /* of a text with escapes */

void shape_init(struct shape *s)
{
	buf_init(&s->before, SHAPE_MAX);
	buf_init(&s->after, SHAPE_MAX);
	buf_init(&s->text, TEXT_MAX);
}

void shape_done(struct shape *s)
{
	buf_done(&s->before);
	buf_done(&s->after);
	buf_done(&s->text);
}

void shape_forget(struct shape *s)
{
	buf_clear(&s->before);
	buf_clear(&s->after);
}

void shape_learn(struct shape *s, struct str event, struct str mark)
{
	ssize_t at = str_find(event, mark);
	shape_forget(s);
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

/* How many bytes at the front of both are the same, in steps of eight: where it stops the rest is compared one by one. */
static size_t same_eights(struct str a, struct str b)
{
	size_t n = 0, most = MIN(a.n, b.n);
	while (n + 8 <= most && memcmp(a.p + n, b.p + n, 8) == 0)
		n += 8;
	return n;
}

static bool same_but_digits(struct str a, struct str b)
{
	size_t i = same_eights(a, b), k;
	while (i > 0 && is_digit(a, i - 1)) /* to the front of a number, which may go on differently */
		i--;
	k = i;
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

/* What the character after a backslash stands for; NUL when that is not one of the short forms. */
static char short_escape(char c)
{
	static const char meant[128] = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t' };
	return (unsigned char)c < sizeof(meant) ? meant[(unsigned char)c] : '\0';
}

/* Takes the text off the front of *rest, up to what can be no part of it. False: it is too long. */
static bool take_text(struct shape *s, struct str *rest, struct str *ret)
{
	size_t n = buf_json_plain(*rest);
	*ret = str_sub(*rest, 0, n);
	*rest = str_sub(*rest, n, rest->n);
	if (rest->n < 2 || rest->p[0] != '\\')
		return true;
	buf_clear(&s->text);
	buf_add_str(&s->text, *ret);
	char c;
	while (rest->n >= 2 && rest->p[0] == '\\' && (c = short_escape(rest->p[1])) != '\0') {
		buf_add_char(&s->text, c);
		*rest = str_sub(*rest, 2, rest->n);
		n = buf_json_plain(*rest);
		buf_add_str(&s->text, str_sub(*rest, 0, n));
		*rest = str_sub(*rest, n, rest->n);
	}
	*ret = buf_str(&s->text);
	return !buf_failed(&s->text);
}

bool shape_read(struct shape *s, struct str event, bool digits_vary, struct str *ret)
{
	struct str before = buf_str(&s->before), after = buf_str(&s->after);
	if (before.n == 0 || !str_has_prefix(event, before))
		return false;
	struct str rest = str_sub(event, before.n, event.n);
	return take_text(s, &rest, ret) && (digits_vary ? same_but_digits(rest, after) : str_eq(rest, after));
}
