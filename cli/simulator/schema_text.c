/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a property of a schema gets from the document: the title, a summary, the sentences of a kind, a date, a number,
 * or the sentence that shares most words with its name and description. Rare words count more; a sentence that was
 * given to another property counts less, so that an object does not say the same thing five times.
 */
#include "cli/simulator/schema_fill.h"

#include <string.h>

#include "cli/simulator/patterns.h"
#include "cli/simulator/summary.h"

static const char *const of_title[] = { "title", "heading", "headline", "subject", "name", "document", NULL };
static const char *const of_summary[] = { "summar",   "abstract",    "overview", "tldr", "gist",
	                                  "synopsis", "description", "answer",   NULL };
static const char *const of_duties[] = { "dut",       "obligation", "part",     "requirement", "responsib", "restrict",
	                                 "condition", "must",       "prohibit", "task",        "action",    NULL };
static const char *const of_rights[] = { "right", "permission", "grant", "permit", "allow", "freedom", NULL };
static const char *const of_dates[] = {
	"date", "deadline", "effective", "expir", "published", "released", "when", NULL
};
static const char *const of_amounts[] = { "amount",  "price",  "fee",     "cost", "total",
	                                  "payment", "budget", "percent", NULL };
static const char *const of_whole[] = { "text",   "sentence", "description", "detail", "content", "quote",
	                                "clause", "summar",   "obligation",  "duty",   "item",    "statement",
	                                "point",  "fact",     "condition",   NULL };
static const char *const of_actor[] = {
	"party", "who", "actor", "owner", "by", "subject", "name", "title", "role", NULL
};
static const char *const of_version[] = { "version", NULL };

bool hint_is(const struct hint *h, const char *const *starts)
{
	return text_has_word(h->name, starts);
}

bool sentence_is_duty(const struct sentence *s)
{
	static const char *const words[] = { "must",     "shall",  "required",    "requires", "oblig",
		                             "prohibit", "agrees", "responsible", NULL };
	static const char *const strong[] = { "must", "may not", "shall not", "agrees to", NULL };
	for (const char *const *p = strong; *p; p++) {
		if (str_find_nocase(s->text, str_from(*p)) >= 0)
			return s->text.p[0] != '"';
	}
	return !sentence_is_definition(s) && text_has_word(s->text, words);
}

bool sentence_is_right(const struct sentence *s)
{
	static const char *const words[] = { "may", "grant", "permission", "permit", "free", "allow", NULL };
	return text_has_word(s->text, words) && str_find_nocase(s->text, STR("may not")) < 0;
}

enum kind_of_sentences fill_kind(const struct hint *h)
{
	if (hint_is(h, of_duties))
		return DUTY_SENTENCES;
	return hint_is(h, of_rights) ? RIGHT_SENTENCES : ANY_SENTENCE;
}

/* The hint's content words as weights over the dictionary: rare words weigh more. Returns how many are known. */
static size_t hint_weights(const struct fill *f, struct str text, double *weight)
{
	struct str word;
	size_t known = 0;
	text = str_sub(text, 0, 2000);
	while (word_next(&text, &word)) {
		size_t id = words_find(&f->doc->words, word);
		if (id == SIZE_MAX || f->doc->words.all[id].is_stop)
			continue;
		weight[id] = 1.0 / (1.0 + (double)f->doc->words.all[id].count);
		known++;
	}
	return known;
}

static size_t pick_by_overlap(struct fill *f, const struct hint *h, size_t n, size_t *ret_places)
{
	const struct document *d = f->doc;
	double *weight = arena_array(d->arena, double, d->words.n + 1);
	size_t taken = 0;
	if (hint_weights(f, h->text, weight) == 0)
		return 0;
	while (taken < n) {
		size_t best = SIZE_MAX;
		double best_worth = 0;
		for (size_t i = 0; i < d->nsentences; i++) {
			const struct sentence *s = &d->sentences[i];
			double w = 0;
			for (size_t k = 0; k < s->nwords; k++)
				w += weight[s->words[k]];
			w /= (double)(s->length + 12) * (f->used[i] ? 3.0 : 1.0);
			if (w > best_worth && f->used[i] < 2) {
				best = i;
				best_worth = w;
			}
		}
		if (best == SIZE_MAX)
			break;
		f->used[best] = 2;
		size_t at = taken++;
		for (; at > 0 && ret_places[at - 1] > best; at--)
			ret_places[at] = ret_places[at - 1];
		ret_places[at] = best;
	}
	for (size_t i = 0; i < taken; i++)
		f->used[ret_places[i]] = 1;
	return taken;
}

size_t fill_pick(struct fill *f, const struct hint *h, size_t n, size_t *ret_places)
{
	enum kind_of_sentences kind = fill_kind(h);
	size_t taken = 0;
	n = MIN(n, (size_t)SUMMARY_MAX);
	if (kind == ANY_SENTENCE)
		taken = pick_by_overlap(f, h, n, ret_places);
	else
		taken =
		    summary_pick(f->doc, n, kind == DUTY_SENTENCES ? sentence_is_duty : sentence_is_right, ret_places);
	if (taken == 0)
		taken = summary_pick(f->doc, n, NULL, ret_places);
	for (size_t i = 0; i < taken; i++)
		f->used[ret_places[i]] = 1;
	return taken;
}

static struct str joined(struct fill *f, const size_t *places, size_t n)
{
	struct str out = { NULL, 0 };
	for (size_t i = 0; i < n; i++) {
		struct str s = f->doc->sentences[places[i]].text;
		out = i ? arena_printf(f->doc->arena, STR_FMT " " STR_FMT, STR_ARG(out), STR_ARG(s)) : s;
	}
	return out;
}

/* Who must do it: what stands before the verb of duty. */
static struct str actor_of(struct str sentence)
{
	static const char *const verbs[] = { " must ", " shall ", " may ", " agrees ", " is required ", " will " };
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		ssize_t at = str_find(sentence, str_from(verbs[i]));
		if (at > 0 && at < 60)
			return str_sub(sentence, 0, (size_t)at);
	}
	return STR("not stated");
}

static struct str date_text(struct fill *f, struct str text, bool iso)
{
	struct found found;
	if (!find_date(&text, &found))
		return iso ? STR("1970-01-01") : STR("not stated");
	return iso ? arena_printf(f->doc->arena, "%04d-%02d-%02d", found.year, found.month, found.day) : found.text;
}

static bool by_format(struct fill *f, struct str format, struct str text, struct str *ret)
{
	struct found found;
	if (str_eq(format, STR("date")))
		*ret = date_text(f, text, true);
	else if (str_eq(format, STR("date-time")))
		*ret = arena_printf(f->doc->arena, STR_FMT "T00:00:00Z", STR_ARG(date_text(f, text, true)));
	else if (str_eq(format, STR("time")))
		*ret = STR("00:00:00Z");
	else if (str_eq(format, STR("email")))
		*ret = find_email(&text, &found) ? found.text : STR("unknown@example.com");
	else if (str_eq(format, STR("uri")))
		*ret = find_url(&text, &found) ? found.text : STR("https://example.com/");
	else if (str_eq(format, STR("uuid")))
		*ret = STR("00000000-0000-4000-8000-000000000000");
	else if (str_eq(format, STR("hostname")))
		*ret = STR("example.com");
	else if (str_eq(format, STR("ipv4")))
		*ret = STR("127.0.0.1");
	else if (str_eq(format, STR("ipv6")))
		*ret = STR("::1");
	else if (str_eq(format, STR("duration")))
		*ret = STR("P1D");
	else
		return false;
	return true;
}

/* The number after the word "version", or the whole of what the title says. */
static struct str version_of(struct fill *f, struct str text)
{
	ssize_t at = str_find_nocase(text, STR("version "));
	struct found found;
	struct str rest = at < 0 ? text : str_sub(text, (size_t)at + 8, 16);
	if (at >= 0 && find_number(&rest, &found) && found.text.p == text.p + at + 8)
		return found.text;
	return f->doc->title;
}

struct str fill_string(struct fill *f, const json_t *schema, const struct hint *h)
{
	static const char *const of_mail[] = { "email", "mail", NULL }, *const of_url[] = { "url", "uri", "link",
		                                                                            "website", NULL };
	struct str text = f->focus.p ? f->focus : f->doc->body, out = { NULL, 0 };
	struct found found;
	size_t places[SUMMARY_MAX], n;
	if (by_format(f, json_str(schema, "format"), text, &out))
		return out;
	if (hint_is(h, of_dates))
		return date_text(f, text, false);
	if (hint_is(h, of_amounts))
		return find_amount(&text, &found) ? found.text : STR("not stated");
	if (hint_is(h, of_mail) && find_email(&text, &found))
		return found.text;
	if (hint_is(h, of_url) && find_url(&text, &found))
		return found.text;
	if (f->focus.p)
		return hint_is(h, of_actor) && !hint_is(h, of_whole) ? actor_of(f->focus) : f->focus;
	if (hint_is(h, of_version))
		return version_of(f, f->doc->body);
	if (hint_is(h, of_summary)) {
		size_t wanted = instruction_count(f->prompt, "sentence", 3);
		return summary_text(f->doc, instruction_count(json_str(schema, "description"), "sentence", wanted));
	}
	if (hint_is(h, of_title))
		return f->doc->title;
	n = fill_kind(h) == ANY_SENTENCE ? 1 : 3;
	n = instruction_count(json_str(schema, "description"), "sentence", n);
	n = fill_pick(f, h, n, places);
	return n ? joined(f, places, n) : str_utf8_prefix(str_trim(f->doc->body), 300);
}

double fill_number(struct fill *f, const struct hint *h)
{
	static const char *const of_year[] = { "year", NULL }, *const of_words[] = { "word", NULL };
	static const char *const of_sentences[] = { "sentence", NULL }, *const of_share[] = { "confidence", "score",
		                                                                              "probab", NULL };
	struct str text = f->focus.p ? f->focus : f->doc->body;
	struct found found;
	size_t place;
	if (hint_is(h, of_year) || hint_is(h, of_dates))
		return find_date(&text, &found) ? found.year : 0;
	if (hint_is(h, of_words)) {
		size_t words = word_count(text);
		return (double)words;
	}
	if (hint_is(h, of_sentences))
		return (double)f->doc->nsentences;
	if (hint_is(h, of_share))
		return 0.5;
	if (hint_is(h, of_version)) {
		struct str version = version_of(f, f->doc->body);
		return find_number(&version, &found) ? found.value : 0;
	}
	if (hint_is(h, of_amounts))
		return find_amount(&text, &found) ? found.value : 0;
	if (!f->focus.p && pick_by_overlap(f, h, 1, &place) == 1)
		text = f->doc->sentences[place].text;
	return find_number(&text, &found) ? found.value : 0;
}

/* True when one sentence holds all content words of the name, and no word of denial. */
bool fill_boolean(struct fill *f, const struct hint *h)
{
	static const char *const filler[] = { "is",      "has",     "have",    "can",    "allow", "require",
		                              "contain", "include", "mention", "permit", NULL };
	static const char *const denial[] = { "not", "no", "without", "never", "neither", "nor", NULL };
	for (size_t i = 0; i < f->doc->nsentences; i++) {
		struct str rest = h->name, word, sentence = f->doc->sentences[i].text;
		size_t wanted = 0, there = 0;
		while (word_next(&rest, &word)) {
			struct str one = word;
			if (text_has_word(one, filler))
				continue;
			wanted++;
			there += str_find_nocase(
			             sentence, str_sub(word, 0, MAX((size_t)3, word.n - MIN(word.n, (size_t)2)))) >= 0;
		}
		if (wanted > 0 && there == wanted && !text_has_word(sentence, denial))
			return true;
	}
	return false;
}
