/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a document: lines become blocks (a paragraph, a heading, an item of a list), blocks become sentences, sentences
 * become words. Hard-wrapped lines are joined; enumerators ("1.", "(a)", "-") are taken off; headings, lead-ins that
 * end in a colon, rules and fragments of fewer than four words are not sentences. An item that ends in "; and" is one.
 *
 * The title is the first heading-like line; a short second line with a digit ("Version 2.0") joins it. Without a
 * heading the first line is it.
 *
 * Nothing can go wrong: every text gives some document, an empty one at worst.
 */
#include "cli/simulator/document.h"

#include <string.h>

#define TITLE_MAX   120
#define HEADING_MAX 100

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ----- ***** ===== */
static bool is_rule(struct str line)
{
	for (size_t i = 0; i < line.n; i++) {
		if (!strchr("-=*_~#+ ", line.p[i]) || line.p[i] == '\0')
			return false;
	}
	return line.n > 0;
}

/* Bytes of "1.", "4.2", "(a)", "b)", "iv." at the start; 0: none. */
static size_t number_mark(struct str s)
{
	size_t i = 0, marks = 0, letters = 0;
	for (; i < s.n && i < 10; i++) {
		bool is_letter = is_lower(s.p[i]) || is_upper(s.p[i]);
		bool is_mark = s.p[i] == '.' || s.p[i] == '(' || s.p[i] == ')';
		if (!is_letter && !is_mark && !is_digit(s.p[i]))
			break;
		letters = is_letter ? letters + 1 : 0;
		marks += is_mark;
		if (letters > 1 && !strchr("ivxIVX", s.p[i]))
			return 0;
	}
	if (marks == 0)
		return 0;
	bool closed = s.p[i - 1] == '.' || s.p[i - 1] == ')';
	return closed || is_digit(s.p[0]) ? i : 0;
}

/* Bytes of an enumerator at the start and the space after it: "1. ", "4.2 ", "(a) ", "- ", "* ", "## ", "• ". 0: none.
 */
static size_t enumerator(struct str s)
{
	size_t i = 0;
	if (str_has_prefix(s, STR("\xe2\x80\xa2")))
		i = 3;
	else if (s.n > 0 && s.p[0] && strchr("-*#>", s.p[0]))
		while (i < s.n && i < 6 && s.p[i] == s.p[0])
			i++;
	else
		i = number_mark(s);
	return i > 0 && i < s.n && is_space(s.p[i]) ? i + 1 : 0;
}

/* The text on one line with single spaces, without enumerators in front. */
static struct str clean(struct arena *a, struct str s)
{
	s = str_trim(s);
	for (size_t n; (n = enumerator(s)) > 0;)
		s = str_trim(str_sub(s, n, s.n));
	char *out = (char *)arena_alloc(a, s.n + 4);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_space(s.p[i]))
			out[n++] = s.p[i];
		else if (n > 0 && out[n - 1] != ' ')
			out[n++] = ' ';
	}
	return (struct str){ out, n };
}

static struct str cut_at_word(struct arena *a, struct str s, size_t max)
{
	if (s.n <= max)
		return s;
	s = str_utf8_prefix(s, max);
	for (size_t i = s.n; i > s.n / 2; i--) {
		if (s.p[i - 1] == ' ') {
			s.n = i - 1;
			break;
		}
	}
	return arena_printf(a, STR_FMT "…", STR_ARG(s));
}

/* Short, no sentence's end, or every long word capitalised. */
static bool is_heading(struct str s)
{
	struct str rest = s, word;
	size_t words = 0, small = 0;
	if (s.n == 0 || s.n > HEADING_MAX)
		return false;
	while (word_next(&rest, &word)) {
		words++;
		small += word.n >= 4 && is_lower(word.p[0]);
	}
	char last = s.p[s.n - 1];
	if (words > 14)
		return false;
	if (last != '.' && last != '?' && last != '!' && last != ';' && last != ',')
		return true;
	return last == '.' && small == 0 && words <= 8;
}

/* Most long words begin with a capital. */
static bool is_capitalised(struct str s)
{
	struct str word;
	int balance = 0;
	while (word_next(&s, &word)) {
		if (word.n >= 4)
			balance += is_lower(word.p[0]) ? -1 : 1;
	}
	return balance > 0;
}

/* Whether the word before the full stop at `at` is an abbreviation or an initial. */
static bool is_abbreviation(struct str s, size_t at)
{
	static const char *const known[] = { "e.g", "i.e", "etc", "inc",    "ltd", "co",   "corp", "no",  "nos",
		                             "vs",  "mr",  "mrs", "ms",     "dr",  "prof", "st",   "fig", "sec",
		                             "art", "cf",  "al",  "approx", "pp",  "vol",  "u.s" };
	size_t from = at;
	while (from > 0 && !is_space(s.p[from - 1]) && !strchr("(\"'", s.p[from - 1]))
		from--;
	struct str word = str_sub(s, from, at - from);
	if (word.n == 1 && is_upper(word.p[0]) && word.p[0] != 'I')
		return true;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (str_eq_nocase(word, str_from(known[i])))
			return true;
	}
	return false;
}

static bool is_stop(char c)
{
	return c == '.' || c == '!' || c == '?';
}

static bool is_closing(char c)
{
	return c == '"' || c == '\'' || c == ')' || c == ']';
}

/* What a sentence may begin with. */
static bool is_opening(char c)
{
	return is_upper(c) || is_digit(c) || (unsigned char)c >= 0x80 || (c && strchr("\"'([`<", c));
}

/* The full stops of Chinese and Japanese need no space after them. */
static bool is_wide_stop(struct str s)
{
	return str_has_prefix(s, STR("。")) || str_has_prefix(s, STR("！")) || str_has_prefix(s, STR("？"));
}

/* The end of the sentence that begins at `from`: the offset after its last byte. */
static size_t sentence_end(struct str s, size_t from)
{
	for (size_t i = from; i < s.n; i++) {
		if ((unsigned char)s.p[i] >= 0xe3 && is_wide_stop(str_sub(s, i, 3)))
			return i + 3;
		if (!is_stop(s.p[i]))
			continue;
		size_t to = i + 1;
		while (to < s.n && is_closing(s.p[to]))
			to++;
		if (to >= s.n)
			return s.n;
		if (s.p[to] != ' ' || to + 1 >= s.n || !is_opening(s.p[to + 1]))
			continue;
		if (s.p[i] != '.' || !is_abbreviation(s, i))
			return to;
	}
	return s.n;
}

/* Items of lists end in ";", "; and", "; or", ",": a full stop makes sentences of them. */
static struct str close_item(struct arena *a, struct str s)
{
	size_t n = s.n;
	if (str_has_suffix(s, STR(" and")) || str_has_suffix(s, STR(" or")))
		n = str_trim(str_sub(s, 0, n - 3)).n;
	if (n == 0 || (s.p[n - 1] != ';' && s.p[n - 1] != ','))
		return s;
	return arena_printf(a, STR_FMT ".", STR_ARG(str_sub(s, 0, n - 1)));
}

static void add_sentence(struct document *d, struct str s)
{
	struct str rest, word;
	struct sentence one = { .words = d->ids + d->nids };
	s = close_item(d->arena, clean(d->arena, s));
	if (d->nsentences == d->max_sentences || s.n == 0 || s.p[s.n - 1] == ':' || is_heading(s))
		return;
	one.text = rest = cut_at_word(d->arena, s, SENTENCE_MAX);
	size_t before = d->nids;
	while (word_next(&rest, &word)) {
		size_t id = words_add(&d->words, word);
		one.length++;
		if (id != SIZE_MAX && !d->words.all[id].is_stop)
			d->ids[d->nids++] = (uint32_t)id;
	}
	one.nwords = d->nids - before;
	if (one.length >= 4)
		d->sentences[d->nsentences++] = one;
}

static bool is_notice(struct str line)
{
	return str_has_prefix_nocase(line, STR("copyright")) || str_find(line, STR("://")) >= 0 ||
	       str_has_prefix_nocase(line, STR("all rights reserved")) || str_has_prefix(line, STR("<!"));
}

/* Called for each line at the head of the document until the title is complete. */
static void title_line(struct document *d, struct str line, size_t at, bool *done)
{
	if (d->title.n == 0) {
		if (is_notice(line) && at < 200)
			return;
		/* A hard-wrapped paragraph has no title line: its first sentence serves. */
		*done = !is_heading(line);
		if (*done)
			line.n = sentence_end(line, 0);
		d->title = cut_at_word(d->arena, line, TITLE_MAX);
		return;
	}
	*done = true;
	bool has_digit = false;
	for (size_t i = 0; i < line.n; i++)
		has_digit |= is_digit(line.p[i]);
	if (has_digit && is_heading(line) && !is_notice(line) && d->title.n + line.n <= HEADING_MAX &&
	    !is_digit(line.p[0]) && line.p[0] != '(')
		d->title = arena_printf(d->arena, STR_FMT ", " STR_FMT, STR_ARG(d->title), STR_ARG(line));
}

static void find_title(struct document *d)
{
	struct str rest = str_sub(d->body, 0, 4096), line, first = { NULL, 0 };
	bool done = false;
	while (!done && str_split(&rest, '\n', &line)) {
		struct str trimmed = str_trim(line);
		if (trimmed.n == 0 || is_rule(trimmed))
			continue;
		size_t at = (size_t)(trimmed.p - d->body.p);
		bool numbered = enumerator(trimmed) > 0 && trimmed.p[0] != '#';
		if (d->title.n > 0 && numbered)
			break;
		trimmed = clean(d->arena, trimmed);
		if (str_has_prefix_nocase(trimmed, STR("title:")))
			trimmed = str_trim(str_sub(trimmed, 6, trimmed.n));
		if (!first.p)
			first = trimmed;
		if (trimmed.n > 0)
			title_line(d, trimmed, at, &done);
	}
	/* The notice at the top is the title when only running text follows it. */
	if (first.p && is_notice(first) && !is_capitalised(d->title))
		d->title = cut_at_word(d->arena, first, TITLE_MAX);
	while (d->title.n > 1 && strchr(":.#", d->title.p[d->title.n - 1]))
		d->title.n--;
}

static void read_block(struct document *d, struct str block)
{
	block = clean(d->arena, block);
	if (block.n == 0 || is_heading(block))
		return;
	for (size_t at = 0; at < block.n;) {
		size_t end = sentence_end(block, at);
		add_sentence(d, str_sub(block, at, end - at));
		at = end;
	}
}

void document_read(struct document *d, struct arena *a, struct str text)
{
	struct str rest, line;
	*d = (struct document){ .arena = a };
	instruction_split(text, &d->instruction, &d->body);
	d->body = str_utf8_prefix(d->body, DOCUMENT_MAX);
	words_init(&d->words, a, d->body.n);
	d->ids = arena_array(a, uint32_t, d->body.n / 2 + 1);
	d->max_sentences = d->body.n / 8 + 1;
	d->sentences = arena_array(a, struct sentence, d->max_sentences);
	find_title(d);

	/* A block ends at an empty line, at a rule, and where an item of a list begins. */
	rest = d->body;
	struct str block = { rest.p, 0 };
	while (str_split(&rest, '\n', &line)) {
		struct str trimmed = str_trim(line);
		bool breaks = trimmed.n == 0 || is_rule(trimmed) || str_has_prefix(trimmed, STR("```"));
		if (breaks || enumerator(trimmed) > 0) {
			read_block(d, block);
			block = (struct str){ line.p, 0 };
			if (breaks) {
				block.p = rest.p;
				continue;
			}
		}
		block.n = (size_t)(line.p + line.n - block.p);
	}
	read_block(d, block);
}
