/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words and their counts. A word is a run of letters, digits and bytes above 127, with apostrophes and hyphens inside;
 * so text of any script is read without tables, at the price that scripts without spaces give long words.
 *
 * The dictionary is an open hash table that is sized once for the text; it never grows, and words beyond its size are
 * not counted. The hash is seeded per process (outsiders choose the words), and places are given in order of
 * appearance, so that results do not depend on the seed.
 */
#include "cli/simulator/words.h"

#include <string.h>

#include "common/hash.h"

/* Sorted bytewise: looked up by bisection. */
static const char *const stop_words[] = {
	/* clang-format off */
	"a", "about", "above", "after", "again", "all", "also", "although", "am", "an", "and", "any", "are", "as",
	"at", "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "could",
	"did", "do", "doe", "doing", "down", "during", "each", "either", "else", "etc", "every", "few", "for",
	"from", "had", "has", "have", "having", "he", "her", "here", "him", "his", "how", "however", "i", "if", "in",
	"into", "is", "it", "its", "itself", "just", "made", "make", "many", "may", "me", "might", "more", "most",
	"much", "must", "my", "no", "nor", "not", "now", "of", "off", "on", "once", "one", "only", "or", "other",
	"our", "out", "over", "own", "same", "shall", "she", "should", "so", "some", "such", "than", "that", "the",
	"their", "them", "then", "there", "thereof", "these", "they", "thi", "this", "those", "through", "thus",
	"to", "too", "under", "until", "up", "upon", "us", "use", "very", "was", "we", "were", "what", "when",
	"where", "whether", "which", "while", "who", "whom", "whose", "why", "will", "with", "within", "without",
	"would", "yet", "you", "your",
	/* clang-format on */
};

static bool is_word_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

bool word_next(struct str *rest, struct str *ret_word)
{
	size_t from = 0, to;
	while (from < rest->n && !is_word_byte((unsigned char)rest->p[from]))
		from++;
	if (from == rest->n) {
		*rest = (struct str){ NULL, 0 };
		return false;
	}
	for (to = from; to < rest->n; to++) {
		unsigned char c = (unsigned char)rest->p[to];
		if (is_word_byte(c))
			continue;
		if ((c == '\'' || c == '-') && to + 1 < rest->n && is_word_byte((unsigned char)rest->p[to + 1]))
			continue;
		break;
	}
	*ret_word = (struct str){ rest->p + from, to - from };
	*rest = (struct str){ rest->p + to, rest->n - to };
	return true;
}

struct str word_stem(struct str word, char out[WORD_MAX])
{
	size_t n = MIN(word.n, (size_t)WORD_MAX);
	for (size_t i = 0; i < n; i++) {
		char c = word.p[i];
		out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
	}
	if (n > 3 && out[n - 2] == '\'' && out[n - 1] == 's')
		n -= 2;
	if (n > 4 && memcmp(out + n - 3, "ies", 3) == 0) {
		out[n - 3] = 'y';
		n -= 2;
	} else if (n > 3 && out[n - 1] == 's' && out[n - 2] != 's' && out[n - 2] != 'u' && out[n - 2] != 'i') {
		n--;
	}
	return (struct str){ out, n };
}

static int compare(struct str a, const char *b)
{
	size_t bn = strlen(b);
	int c = memcmp(a.p, b, MIN(a.n, bn));
	return c != 0 ? c : a.n < bn ? -1 : a.n > bn;
}

bool word_is_stop(struct str stem)
{
	size_t lo = 0, hi = ARRAY_LEN(stop_words);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = compare(stem, stop_words[mid]);
		if (c == 0)
			return true;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return stem.n <= 1;
}

void words_init(struct words *w, struct arena *a, size_t text_bytes)
{
	size_t cap = 64;
	while (cap < text_bytes)
		cap *= 2; /* a quarter full at most */
	*w = (struct words){ .arena = a, .mask = cap - 1, .max = cap / 8 + 64 };
	w->table = arena_array(a, uint32_t, cap);
	w->all = arena_array(a, struct word, w->max);
}

/* The slot of the table where the stem is, or would be put. */
static size_t slot_of(const struct words *w, struct str stem)
{
	size_t at = (size_t)hash_bytes(stem) & w->mask;
	while (w->table[at] && !str_eq(w->all[w->table[at] - 1].stem, stem))
		at = (at + 1) & w->mask;
	return at;
}

size_t words_add(struct words *w, struct str word)
{
	char text[WORD_MAX];
	struct str stem = word_stem(word, text);
	size_t slot = slot_of(w, stem);
	if (!w->table[slot]) {
		if (w->n == w->max)
			return SIZE_MAX;
		w->all[w->n] =
		    (struct word){ .text = word, .stem = arena_str(w->arena, stem), .is_stop = word_is_stop(stem) };
		w->table[slot] = (uint32_t)++w->n;
	}
	struct word *found = &w->all[w->table[slot] - 1];
	found->count++;
	w->total += !found->is_stop;
	return w->table[slot] - 1;
}

size_t words_find(const struct words *w, struct str word)
{
	char text[WORD_MAX];
	size_t slot = slot_of(w, word_stem(word, text));
	return w->table[slot] ? w->table[slot] - 1 : SIZE_MAX;
}

size_t word_count(struct str text)
{
	struct str word;
	size_t n = 0;
	while (word_next(&text, &word))
		n++;
	return n;
}

bool text_has_word(struct str text, const char *const *starts)
{
	struct str word;
	while (word_next(&text, &word)) {
		char first = (char)(word.p[0] | 0x20); /* most words differ in the first letter already */
		for (const char *const *s = starts; *s; s++) {
			if (**s == first && str_has_prefix_nocase(word, str_from(*s)))
				return true;
		}
	}
	return false;
}
