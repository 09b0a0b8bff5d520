/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An extractive summary in the manner of SumBasic: a sentence is worth the mean frequency of its content words; the
 * words of a sentence that was taken lose weight, so that the next one says something else. Worth is then corrected for
 * what the eye sees at once: sentences that lean on the one before ("However, this…"), shout, are very short or very
 * long, or only state a copyright.
 *
 * All text of a summary stands in the document word for word; that makes it true.
 */
#include "cli/simulator/summary.h"

#include <string.h>

static bool is_shouting(struct str s)
{
	size_t upper = 0, lower = 0;
	for (size_t i = 0; i < s.n; i++) {
		upper += s.p[i] >= 'A' && s.p[i] <= 'Z';
		lower += s.p[i] >= 'a' && s.p[i] <= 'z';
	}
	return upper > lower;
}

static bool leans_on_another(struct str s)
{
	static const char *const starts[] = {
		"accordingly", "also",      "and",         "as such",      "because of this",
		"both",        "but",       "for example", "he",           "however",
		"if so",       "in this",   "it",          "nevertheless", "or",
		"otherwise",   "she",       "similarly",   "so",           "such",
		"that",        "the above", "the former",  "the latter",   "them",
		"then",        "therefore", "these",       "they",         "this",
		"those",       "thus",      "finally",     "in addition"
	};
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		struct str start = str_from(starts[i]);
		if (str_has_prefix_nocase(s, start) && (s.n == start.n || s.p[start.n] == ' ' || s.p[start.n] == ','))
			return true;
	}
	return false;
}

/* Words of sentences that grant, forbid, decide or conclude. */
static const char *const says_something[] = { "grant",   "must",   "permit",   "require",   "prohibit", "agrees",
	                                      "warrant", "liab",   "purpose",  "intended",  "conclu",   "decid",
	                                      "propos",  "result", "terminat", "important", NULL };

bool sentence_is_definition(const struct sentence *s)
{
	return s->text.p[0] == '"' || str_find(s->text, STR(" shall mean ")) >= 0 ||
	       str_find(str_sub(s->text, 0, 80), STR("\" means")) >= 0 ||
	       str_has_prefix_nocase(s->text, STR("for the purpose of")) ||
	       str_has_prefix_nocase(s->text, STR("for the purposes of"));
}

/* Neither a fragment nor a page. */
static double length_factor(size_t words)
{
	static const struct {
		size_t below;
		double factor;
	} rows[] = { { 7, 0.3 }, { 11, 0.7 }, { 46, 1.0 }, { 61, 0.85 }, { 81, 0.6 } };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (words < rows[i].below)
			return rows[i].factor;
	}
	return 0.25;
}

/* A copyright, an address, a blank to fill in. */
static bool is_boilerplate(struct str s)
{
	return str_find_nocase(s, STR("copyright (c)")) >= 0 || str_find(s, STR("://")) >= 0 ||
	       str_find(s, STR("``AS IS''")) >= 0 || str_find(s, STR("<name of")) >= 0;
}

/* Begins in the middle, or in brackets; or does not end. */
static double border_factor(struct str s)
{
	char first = s.p[0], last = s.p[s.n - 1];
	double f = 1.0;
	if ((first >= 'a' && first <= 'z') || first == '[' || first == '<' || first == '(')
		f *= 0.4;
	if (last != '.' && last != '!' && last != '?' && last != '"' && (unsigned char)last < 0x80)
		f *= 0.6;
	return f;
}

/* How good a sentence looks, apart from its words: 1 is plain. */
static double appearance(const struct document *d, size_t at)
{
	const struct sentence *s = &d->sentences[at];
	double f = length_factor(s->length) * border_factor(s->text);
	if (at * 10 <= d->nsentences)
		f *= 1.2;
	if (is_shouting(s->text))
		f *= 0.4;
	if (leans_on_another(s->text))
		f *= 0.5;
	if (sentence_is_definition(s))
		f *= 0.4;
	if (text_has_word(s->text, says_something))
		f *= 1.3;
	if (is_boilerplate(s->text))
		f *= 0.2;
	return f;
}

static double worth(const struct sentence *s, const double *weight)
{
	double sum = 0;
	for (size_t i = 0; i < s->nwords; i++)
		sum += weight[s->words[i]];
	return sum / ((double)s->length + 14.0);
}

static double *word_weights(const struct document *d)
{
	double *weight = arena_array(d->arena, double, d->words.n + 1);
	struct str rest = d->title, word;
	for (size_t i = 0; i < d->words.n; i++) {
		if (!d->words.all[i].is_stop)
			weight[i] = (double)d->words.all[i].count / (double)MAX(d->words.total, 1u);
	}
	while (word_next(&rest, &word)) {
		size_t id = words_find(&d->words, word);
		if (id != SIZE_MAX)
			weight[id] *= 1.5;
	}
	return weight;
}

size_t summary_pick(const struct document *d, size_t n, bool (*wanted)(const struct sentence *s), size_t *ret_places)
{
	double *weight = word_weights(d), *look = arena_array(d->arena, double, d->nsentences + 1);
	size_t taken = 0;
	assert(n <= SUMMARY_MAX);
	for (size_t i = 0; i < d->nsentences; i++)
		look[i] = !wanted || wanted(&d->sentences[i]) ? appearance(d, i) : -1;
	while (taken < n) {
		size_t best = SIZE_MAX;
		double best_worth = -1;
		for (size_t i = 0; i < d->nsentences; i++) {
			double w = look[i] < 0 ? -1 : look[i] * worth(&d->sentences[i], weight);
			if (look[i] >= 0 && w > best_worth) {
				best = i;
				best_worth = w;
			}
		}
		if (best == SIZE_MAX)
			break;
		look[best] = -1;
		for (size_t i = 0; i < d->sentences[best].nwords; i++)
			weight[d->sentences[best].words[i]] *= 0.5;
		/* Keep the places in order. */
		size_t at = taken++;
		for (; at > 0 && ret_places[at - 1] > best; at--)
			ret_places[at] = ret_places[at - 1];
		ret_places[at] = best;
	}
	return taken;
}

struct str summary_text(const struct document *d, size_t n)
{
	size_t places[SUMMARY_MAX], total = 0;
	size_t taken = summary_pick(d, MIN(n, (size_t)SUMMARY_MAX), NULL, places);
	if (taken == 0)
		return str_trim(str_utf8_prefix(d->body, 600));
	for (size_t i = 0; i < taken; i++)
		total += d->sentences[places[i]].text.n + 1;
	char *out = (char *)arena_alloc(d->arena, total);
	size_t at = 0;
	for (size_t i = 0; i < taken; i++) {
		struct str s = d->sentences[places[i]].text;
		memcpy(out + at, s.p, s.n);
		at += s.n;
		out[at++] = ' ';
	}
	return (struct str){ out, at - 1 };
}

struct str summary_answer(const struct document *d, size_t n)
{
	struct str text = summary_text(d, n);
	struct str bare = d->title;
	if (text.n == 0)
		return STR("The message holds no text.");
	if (str_has_suffix(bare, STR("…")))
		bare.n -= 3;
	/* Without a heading the title is the start of the text: said once is enough. */
	if (d->title.n == 0 || str_find(text, bare) >= 0)
		return text;
	return arena_printf(d->arena, STR_FMT "\n\n" STR_FMT, STR_ARG(d->title), STR_ARG(text));
}
