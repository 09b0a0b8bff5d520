/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small hand-written finders. They walk the text once from left to right, look at a few words at a time, and give what
 * stands there; what they do not know they pass over. Numbers are at most 15 digits, so that a double holds them.
 */
#include "cli/simulator/patterns.h"

#include <string.h>

#include "cli/simulator/words.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void give(struct str *rest, size_t from, size_t to, struct found *ret)
{
	ret->text = str_sub(*rest, from, to - from);
	*rest = str_sub(*rest, to, rest->n);
}

static int month_of(struct str word)
{
	static const char *const months[] = { "january", "february", "march",     "april",   "may",      "june",
		                              "july",    "august",   "september", "october", "november", "december" };
	if (word.n < 3)
		return 0;
	for (int i = 0; i < 12; i++) {
		struct str full = str_from(months[i]);
		if (str_eq_nocase(word, full) || (word.n == 3 && i != 4 && str_eq_nocase(word, str_sub(full, 0, 3))))
			return i + 1;
	}
	return 0;
}

static int number_in(struct str word, int min, int max)
{
	uint64_t v;
	if (word.n > 2 && (str_has_suffix(word, STR("st")) || str_has_suffix(word, STR("nd")) ||
	                   str_has_suffix(word, STR("rd")) || str_has_suffix(word, STR("th"))))
		word.n -= 2;
	return str_u64(word, (uint64_t)min, (uint64_t)max, &v) == 0 ? (int)v : 0;
}

static bool iso_date(struct str word, struct found *ret)
{
	if (word.n != 10 || word.p[4] != '-' || word.p[7] != '-')
		return false;
	ret->year = number_in(str_sub(word, 0, 4), 1000, 2999);
	ret->month = number_in(str_sub(word, 5, 2), 1, 12);
	ret->day = number_in(str_sub(word, 8, 2), 1, 31);
	return ret->year && ret->month && ret->day;
}

static void settle_day(struct found *f)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = f->month == 2 && f->year % 4 == 0 && (f->year % 100 != 0 || f->year % 400 == 0);
	f->day = MAX(1, MIN(f->day, days[f->month - 1] + leap));
}

bool find_date(struct str *rest, struct found *ret)
{
	struct str at = *rest, word, before = { NULL, 0 };
	while (word_next(&at, &word)) {
		*ret = (struct found){ .value = 0 };
		if (iso_date(word, ret)) {
			settle_day(ret);
			give(rest, (size_t)(word.p - rest->p), (size_t)(word.p + word.n - rest->p), ret);
			return true;
		}
		ret->month = month_of(word);
		if (ret->month) {
			struct str look = str_sub(at, 0, 24), next = { NULL, 0 }, last = { NULL, 0 };
			const char *from = word.p;
			/* "29 June": the day stands right before. */
			if (before.p && word.p - (before.p + before.n) == 1 && number_in(before, 1, 31)) {
				ret->day = number_in(before, 1, 31);
				from = before.p;
			}
			word_next(&look, &next);
			if (next.p && !ret->day && number_in(next, 1, 31)) {
				ret->day = number_in(next, 1, 31);
				last = next;
				next = (struct str){ NULL, 0 };
				word_next(&look, &next);
			}
			if (next.p && number_in(next, 1000, 2999)) {
				ret->year = number_in(next, 1000, 2999);
				last = next;
				settle_day(ret);
				give(rest, (size_t)(from - rest->p), (size_t)(last.p + last.n - rest->p), ret);
				return true;
			}
		}
		before = word;
	}
	*rest = (struct str){ NULL, 0 };
	return false;
}

/* A number at the start: its length, its value. Thousands may be parted by commas. */
static size_t number_at(struct str s, double *ret)
{
	double v = 0, unit = 1;
	size_t i = 0, digits = 0;
	bool fraction = false;
	for (; i < s.n && digits < 15; i++) {
		if (is_digit(s.p[i])) {
			digits++;
			v = v * 10 + (s.p[i] - '0');
			unit *= fraction ? 10 : 1;
		} else if (s.p[i] == ',' && !fraction && i > 0 && i + 3 < s.n && is_digit(s.p[i + 1]) &&
		           is_digit(s.p[i + 2]) && is_digit(s.p[i + 3])) {
			continue;
		} else if (s.p[i] == '.' && !fraction && i > 0 && i + 1 < s.n && is_digit(s.p[i + 1])) {
			fraction = true;
		} else {
			break;
		}
	}
	*ret = v / unit;
	return digits > 0 ? i : 0;
}

/* The next place where a number begins that is not part of a word. */
static bool next_number(struct str s, size_t *at, size_t *ret_n, double *ret_value)
{
	for (size_t i = *at; i < s.n; i++) {
		if (!is_digit(s.p[i]))
			continue;
		char before = i > 0 ? s.p[i - 1] : ' ';
		*ret_n = number_at(str_sub(s, i, s.n), ret_value);
		if (strchr(" \t\n($-\"", before) || (unsigned char)before >= 0x80) {
			*at = i;
			return true;
		}
		i += *ret_n;
	}
	return false;
}

bool find_number(struct str *rest, struct found *ret)
{
	size_t at = 0, n;
	*ret = (struct found){ .value = 0 };
	if (!next_number(*rest, &at, &n, &ret->value)) {
		*rest = (struct str){ NULL, 0 };
		return false;
	}
	give(rest, at, at + n, ret);
	return true;
}

/* Bytes of a currency sign or code that ends right before `at`. */
static size_t currency_before(struct str s, size_t at)
{
	static const char *const signs[] = { "$", "€", "£", "¥", "USD ", "EUR ", "GBP ", "US$", "CHF " };
	for (size_t i = ARRAY_LEN(signs); i-- > 0;) {
		size_t n = strlen(signs[i]);
		if (at >= n && memcmp(s.p + at - n, signs[i], n) == 0)
			return n;
	}
	return 0;
}

static size_t currency_after(struct str s)
{
	static const char *const units[] = { "%",    " %",   " percent", " dollars", " euros",
		                             " USD", " EUR", " GBP",     "€",        " €" };
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (str_has_prefix(s, str_from(units[i])))
			return strlen(units[i]);
	}
	return 0;
}

bool find_amount(struct str *rest, struct found *ret)
{
	size_t at = 0, n;
	*ret = (struct found){ .value = 0 };
	while (next_number(*rest, &at, &n, &ret->value)) {
		size_t before = currency_before(*rest, at), after = currency_after(str_sub(*rest, at + n, rest->n));
		if (before || after) {
			give(rest, at - before, at + n + (before ? 0 : after), ret);
			return true;
		}
		at += n;
	}
	*rest = (struct str){ NULL, 0 };
	return false;
}

static bool is_address_byte(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != '\0' && strchr(".-_+", c));
}

bool find_email(struct str *rest, struct found *ret)
{
	*ret = (struct found){ .value = 0 };
	for (size_t i = 1; i + 1 < rest->n; i++) {
		if (rest->p[i] != '@')
			continue;
		size_t from = i, to = i + 1;
		while (from > 0 && i - from < 64 && is_address_byte(rest->p[from - 1]))
			from--;
		while (to < rest->n && to - i < 200 && is_address_byte(rest->p[to]))
			to++;
		while (to > i + 1 && strchr(".-_+", rest->p[to - 1]))
			to--;
		if (from < i && str_find_char(str_sub(*rest, i, to - i), '.') > 1) {
			give(rest, from, to, ret);
			return true;
		}
	}
	*rest = (struct str){ NULL, 0 };
	return false;
}

bool find_url(struct str *rest, struct found *ret)
{
	*ret = (struct found){ .value = 0 };
	for (size_t i = 0; i + 10 < rest->n; i++) {
		struct str here = str_sub(*rest, i, 8);
		size_t to = i;
		if (!str_has_prefix(here, STR("http://")) && !str_eq(here, STR("https://")))
			continue;
		while (to < rest->n && to - i < 2000 && rest->p[to] > ' ' && rest->p[to] < 0x7f &&
		       !strchr("<>\"')]}", rest->p[to]))
			to++;
		while (to > i && strchr(".,;:", rest->p[to - 1]))
			to--;
		give(rest, i, to, ret);
		return true;
	}
	*rest = (struct str){ NULL, 0 };
	return false;
}
