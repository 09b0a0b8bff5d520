/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Damerau–Levenshtein distance (optimal string alignment) over bytes, ASCII letters compared without case, three
 * rows at a time. Words over WORD_MAX bytes are never suggested: they are not typing mistakes of ours. Used by the
 * configuration's and the command line's complaints; nothing can fail here.
 */
#include "common/nearest.h"

#define WORD_MAX 64

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t distance(struct str a, struct str b)
{
	size_t rows[3][WORD_MAX + 1];
	assert(a.n <= WORD_MAX && b.n <= WORD_MAX);
	for (size_t j = 0; j <= b.n; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		now[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			char x = lower(a.p[i - 1]), y = lower(b.p[j - 1]);
			size_t d = last[j - 1] + (x == y ? 0 : 1);
			d = MIN(d, last[j] + 1);
			d = MIN(d, now[j - 1] + 1);
			if (i > 1 && j > 1 && x == lower(b.p[j - 2]) && y == lower(a.p[i - 2]))
				d = MIN(d, before[j - 2] + 1);
			now[j] = d;
		}
	}
	return rows[a.n % 3][b.n];
}

void nearest_init(struct nearest *n, struct str word)
{
	*n = (struct nearest){ .word = word, .best_distance = SIZE_MAX };
}

void nearest_try(struct nearest *n, struct str candidate)
{
	if (n->word.n > WORD_MAX || candidate.n > WORD_MAX)
		return;
	size_t d = distance(n->word, candidate);
	if (d < n->best_distance) {
		n->best_distance = d;
		n->best = candidate;
	}
}

struct str nearest_get(const struct nearest *n)
{
	size_t allowed = MAX(n->word.n / 3, (size_t)1);
	if (n->best_distance > allowed || n->best_distance >= n->word.n)
		return (struct str){ NULL, 0 };
	return n->best;
}
