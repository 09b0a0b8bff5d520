/* SPDX-License-Identifier: Apache-2.0 */
/*
 * People put what they want before the document ("Summarise this contract in three sentences:"). Here the two are
 * parted, so that an answer is about the document and not about the question.
 *
 * Paragraphs at the start that begin with a word of asking, or that are a label ("Document:"), are instruction, as long
 * as text is left after them. Tags for counting calls ("tag:abc"), fences and markup lines are skipped. A message that
 * is nothing but a question is its own document. A wrong guess costs a sentence of the summary, nothing else.
 */
#include "cli/simulator/document.h"

#include <string.h>

#define ASK_MAX        2000 /* bytes of a paragraph that may be an instruction */
#define PARAGRAPHS_MAX 4    /* of instruction */
#define REST_MIN       20   /* bytes that must be left for the document */

static const char *const asking[] = {
	"analyse", "analyze",   "answer",    "below",  "can",      "classify",  "describe",  "explain",  "extract",
	"fill",    "find",      "following", "from",   "generate", "give",      "here",      "identify", "list",
	"please",  "provide",   "read",      "return", "review",   "summarise", "summarize", "summary",  "tell",
	"tl;dr",   "translate", "what",      "which",  "who",      "write",     "you",       "your",     NULL,
};

static bool starts_by_asking(struct str s)
{
	struct str word;
	if (!word_next(&s, &word))
		return false;
	/* "You" and "Here" also begin sentences of documents: they count only with what usually follows. */
	if (str_eq_nocase(word, STR("you")))
		return str_has_prefix_nocase(str_trim(s), STR("are a")) ||
		       str_has_prefix_nocase(str_trim(s), STR("will"));
	if (str_eq_nocase(word, STR("from")) || str_eq_nocase(word, STR("here")))
		return str_has_prefix_nocase(str_trim(s), STR("the")) || str_has_prefix_nocase(str_trim(s), STR("is"));
	for (const char *const *a = asking; *a; a++) {
		if (str_eq_nocase(word, str_from(*a)))
			return true;
	}
	return str_eq_nocase(word, STR("the")) && str_has_prefix_nocase(str_trim(s), STR("following"));
}

/* The text up to the first empty line, and what follows. */
static struct str first_paragraph(struct str text, struct str *ret_rest)
{
	for (size_t i = 0; i + 1 < text.n && i < ASK_MAX; i++) {
		if (text.p[i] != '\n')
			continue;
		size_t to = i + 1;
		while (to < text.n && (text.p[to] == ' ' || text.p[to] == '\t' || text.p[to] == '\r'))
			to++;
		if (to < text.n && text.p[to] == '\n') {
			*ret_rest = str_sub(text, to, text.n);
			return str_sub(text, 0, i);
		}
	}
	*ret_rest = (struct str){ text.p + text.n, 0 };
	return text;
}

/* Fences, quotes and markup lines that only wrap the document. */
static struct str skip_wrapping(struct str text)
{
	for (;;) {
		struct str rest = str_trim(text), line, after = rest;
		if (!str_split(&after, '\n', &line))
			return rest;
		line = str_trim(line);
		bool is_tag = line.n > 2 && line.n < 60 && line.p[0] == '<' && line.p[line.n - 1] == '>' &&
		              str_find_char(line, '/') < 0 && str_find_char(line, '@') < 0;
		bool is_fence =
		    str_has_prefix(line, STR("```")) || str_eq(line, STR("\"\"\"")) || str_eq(line, STR("---"));
		if ((!is_tag && !is_fence) || !after.p)
			return rest;
		text = after;
	}
}

static struct str skip_tag(struct str text)
{
	text = str_trim(text);
	if (!str_has_prefix(text, STR("tag:")))
		return text;
	size_t n = 0;
	while (n < text.n && text.p[n] != ' ' && text.p[n] != '\n')
		n++;
	struct str rest = str_trim(str_sub(text, n, text.n));
	return rest.n ? rest : text;
}

/* "Document:", "The text is:" on a line of its own. */
static size_t label_bytes(struct str paragraph)
{
	static const char *const labels[] = { "document", "text",    "input",      "contract", "article", "content",
		                              "source",   "message", "transcript", "context",  "email",   NULL };
	struct str rest = paragraph, line;
	if (!str_split(&rest, '\n', &line))
		return 0;
	line = str_trim(line);
	if (line.n == 0 || line.n > 80 || line.p[line.n - 1] != ':')
		return 0;
	/* A line that is all of its paragraph introduces what follows, whatever its words. */
	return !rest.p || text_has_word(line, labels) ? (size_t)(line.p + line.n - paragraph.p) : 0;
}

/* How many bytes of the paragraph are instruction: all of it, up to a colon ("Summarise: the text…"), or none. */
static size_t asked_bytes(struct str paragraph)
{
	size_t label = label_bytes(paragraph);
	if (label > 0)
		return label;
	if (!starts_by_asking(paragraph))
		return 0;
	struct str line = paragraph;
	ssize_t nl = str_find_char(paragraph, '\n');
	if (nl >= 0)
		line = str_sub(paragraph, 0, (size_t)nl);
	ssize_t colon = str_find(line, STR(": "));
	if (colon < 0 && line.n > 0 && line.p[line.n - 1] == ':')
		colon = (ssize_t)line.n - 1;
	if (colon >= 0 && colon < 400 && (size_t)colon + REST_MIN < paragraph.n)
		return (size_t)colon + 1;
	return paragraph.n <= ASK_MAX ? paragraph.n : 0;
}

void instruction_split(struct str text, struct str *ret_instruction, struct str *ret_body)
{
	struct str start = skip_tag(text), body = skip_wrapping(start);
	size_t asked = 0;
	for (int i = 0; i < PARAGRAPHS_MAX; i++) {
		struct str rest;
		struct str paragraph = str_trim(first_paragraph(body, &rest));
		size_t n = asked_bytes(paragraph);
		if (n == 0)
			break;
		struct str left = skip_wrapping(str_sub(body, (size_t)(paragraph.p - body.p) + n, body.n));
		if (left.n < REST_MIN)
			break;
		asked = (size_t)(paragraph.p + n - start.p);
		body = left;
	}
	*ret_instruction = str_sub(start, 0, asked);
	*ret_body = body;
}

size_t instruction_count(struct str text, const char *thing, size_t fallback)
{
	static const char *const numbers[] = { "one", "two",   "three", "four", "five",
		                               "six", "seven", "eight", "nine", "ten" };
	struct str word;
	size_t number = 0, distance = 0;
	text = str_sub(text, 0, DOCUMENT_MAX);
	while (word_next(&text, &word)) {
		uint64_t v;
		distance++;
		/* The number stands at most two words before the thing: "three short sentences". */
		if (number > 0 && distance <= 3 && str_has_prefix_nocase(word, str_from(thing)))
			return number;
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
			size_t n = strlen(numbers[i]);
			bool hyphened = word.n > n && word.p[n] == '-'; /* "three-sentence summary" */
			if (!str_has_prefix_nocase(word, str_from(numbers[i])) || (word.n > n && !hyphened))
				continue;
			if (hyphened && str_has_prefix_nocase(str_sub(word, n + 1, word.n), str_from(thing)))
				return i + 1;
			number = i + 1;
			distance = 0;
		}
		if (str_u64(word, 1, 50, &v) == 0) {
			number = (size_t)v;
			distance = 0;
		}
	}
	return fallback;
}
