/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a provider wants to be asked again, and what it says is left: from its headers, and where it has none for it (Google; Azure at times) from the body.
 * The most exact hint first, as the official SDKs read them; a reset counts only where nothing remains. The headers are a table of meters: one row per
 * provider and kind, so a new provider is a few rows. Negative, huge and garbled values are no hint and no limit. What follows from a hint is for the
 * limiter and the judge to say.
 */
#include "worker/providers/hints.h"

#include "common/clock.h"

#define YEAR_MS ((int64_t)365 * 24 * 3600 * 1000)

/* "12", "1.5", ".5": to thousandths, rounded up. -1: none. */
static int64_t decimal_thousandths(struct str s)
{
	struct str whole;
	uint64_t w = 0, thousandths = 0, unit = 100;
	s = str_trim(s);
	ssize_t dot = str_find_char(s, '.');
	whole = dot < 0 ? s : str_sub(s, 0, (size_t)dot);
	if (s.n == 0 || (whole.n && str_u64(whole, 0, (uint64_t)YEAR_MS / 1000, &w) < 0))
		return -1;
	struct str part = dot < 0 ? STR("") : str_sub(s, (size_t)dot + 1, s.n);
	if (whole.n == 0 && part.n == 0)
		return -1;
	for (size_t i = 0; i < part.n; i++) {
		if (part.p[i] < '0' || part.p[i] > '9')
			return -1;
		uint64_t digit = (uint64_t)(part.p[i] - '0');
		if (unit)
			thousandths += digit * unit;
		else if (digit)
			return (int64_t)(w * 1000 + thousandths + 1);
		unit /= 10;
	}
	return (int64_t)(w * 1000 + thousandths);
}

static int64_t clamp(int64_t ms)
{
	return ms < 0 ? -1 : MIN(ms, YEAR_MS);
}

int64_t reset_duration_ms(struct str s)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "d", 86400000 } };
	int64_t sum = 0;
	s = str_trim(s);
	if (s.n == 0)
		return -1;
	while (s.n) {
		size_t digits = 0;
		while (digits < s.n && ((s.p[digits] >= '0' && s.p[digits] <= '9') || s.p[digits] == '.'))
			digits++;
		int64_t thousandths = digits ? decimal_thousandths(str_sub(s, 0, digits)) : -1;
		struct str rest = str_sub(s, digits, s.n);
		size_t i;
		for (i = 0; i < ARRAY_LEN(units); i++)
			if (str_has_prefix(rest, str_from(units[i].unit)))
				break;
		if (thousandths < 0 || i == ARRAY_LEN(units))
			return -1;
		sum += MIN(thousandths, YEAR_MS) * units[i].ms / 1000;
		if (sum > YEAR_MS)
			return YEAR_MS;
		s = str_sub(rest, units[i].unit[1] ? 2 : 1, rest.n);
	}
	return sum;
}

/* Times are read against the answer's own Date: then it does not matter whose clock is wrong. */
static int64_t now_of_answer(const struct http_header *h, size_t n, int64_t now_wall_us)
{
	int64_t at;
	return clock_parse_http_date(http_find(h, n, "date"), &at) < 0 ? now_wall_us : at;
}

static int64_t retry_after(const struct http_header *h, size_t n, int64_t now_wall_us)
{
	struct str v = http_find(h, n, "retry-after");
	if (!v.p)
		return -1;
	int64_t ms = decimal_thousandths(v), at;
	if (ms >= 0)
		return clamp(ms);
	if (clock_parse_http_date(str_trim(v), &at) < 0)
		return -1;
	return clamp(MAX(at - now_of_answer(h, n, now_wall_us), 0) / 1000);
}

/* OTHER is a hint when used up, but no limit of ours. */
enum kind { REQUESTS, TOKENS, INPUT, OUTPUT, OTHER, KINDS };

/* What is left of one kind of limit, as the headers of one provider tell it. */
struct meter {
	const char *limit, *remaining, *reset;
	enum kind kind;
};

#define OPENAI(prefix, name, kind) { prefix "limit-" name, prefix "remaining-" name, prefix "reset-" name, kind }
#define ANTHROPIC(name, kind)      { "anthropic-ratelimit-" name "-limit", "anthropic-ratelimit-" name "-remaining", "anthropic-ratelimit-" name "-reset", kind }

/* The first that says something counts. Azure spells the reset x-rate-limit-reset-tokens, too, and sends it only with a refusal. */
static const struct meter meters[] = {
	OPENAI("x-ratelimit-", "requests", REQUESTS),
	OPENAI("x-ratelimit-", "tokens", TOKENS),
	OPENAI("x-ratelimit-", "project-tokens", OTHER),
	OPENAI("x-rate-limit-", "requests", REQUESTS),
	OPENAI("x-rate-limit-", "tokens", TOKENS),
	OPENAI("x-ms-ratelimit-", "requests", REQUESTS),
	OPENAI("x-ms-ratelimit-", "tokens", TOKENS),
	ANTHROPIC("requests", REQUESTS),
	ANTHROPIC("tokens", TOKENS),
	ANTHROPIC("input-tokens", INPUT),
	ANTHROPIC("output-tokens", OUTPUT),
};

struct reading {
	int64_t limit, remaining, reset_ms; /* -1: not said */
};

/* A duration, a time (RFC 3339), or seconds without a unit, as Azure writes them. */
static int64_t reset_ms(struct str s, int64_t now_us)
{
	int64_t at;
	s = str_trim(s);
	int64_t ms = reset_duration_ms(s);
	if (ms < 0)
		ms = decimal_thousandths(s);
	if (ms < 0 && clock_parse_rfc3339(s, &at) == 0)
		ms = at > now_us ? (at - now_us + 999) / 1000 : 0;
	return clamp(ms);
}

static int64_t count(struct str s, int64_t min)
{
	int64_t v;
	return str_i64(str_trim(s), min, INT64_C(1000000000000000), &v) == 0 ? v : -1;
}

/* Where a limit is told that is none, what is left of it means nothing. */
static struct reading meter_read(const struct meter *m, const struct http_header *h, size_t n, int64_t now_wall_us)
{
	struct str limit = http_find(h, n, m->limit);
	struct reading r = { count(limit, 1), -1, -1 };
	if (limit.p && r.limit < 0)
		return r;
	r.remaining = count(http_find(h, n, m->remaining), 0);
	r.reset_ms = reset_ms(http_find(h, n, m->reset), now_of_answer(h, n, now_wall_us));
	return r;
}

/* The first value that was said stays. */
static bool keep(int64_t *into, int64_t v)
{
	if (v >= 0 && *into < 0)
		*into = v;
	return v >= 0;
}

bool limit_headers_read(struct limit_headers *ret, const struct http_header *h, size_t n, int64_t now_wall_us)
{
	struct reading k[KINDS] = { { -1, -1, -1 }, { -1, -1, -1 }, { -1, -1, -1 }, { -1, -1, -1 }, { -1, -1, -1 } };
	bool any = false;
	for (size_t i = 0; i < ARRAY_LEN(meters); i++) {
		struct reading r = meter_read(&meters[i], h, n, now_wall_us), *into = &k[meters[i].kind];
		bool said = keep(&into->limit, r.limit) | keep(&into->remaining, r.remaining) | keep(&into->reset_ms, r.reset_ms);
		any = any || (said && meters[i].kind != OTHER);
	}
	if (any)
		*ret = (struct limit_headers){
			k[REQUESTS].limit, k[REQUESTS].remaining, k[REQUESTS].reset_ms, k[TOKENS].limit, k[TOKENS].remaining, k[TOKENS].reset_ms,
			k[INPUT].limit,    k[INPUT].remaining,    k[INPUT].reset_ms,    k[OUTPUT].limit, k[OUTPUT].remaining, k[OUTPUT].reset_ms,
		};
	return any;
}

int64_t retry_hint_ms(const struct http_header *h, size_t n, int64_t now_wall_us)
{
	static const char *const exact[] = { "retry-after-ms", "x-ms-retry-after-ms" };
	for (size_t i = 0; i < ARRAY_LEN(exact); i++) {
		struct str v = http_find(h, n, exact[i]);
		int64_t thousandths = v.p ? decimal_thousandths(v) : -1;
		if (thousandths >= 0)
			return clamp((thousandths + 999) / 1000);
	}
	int64_t ms = retry_after(h, n, now_wall_us), used_up = -1;
	for (size_t i = 0; i < ARRAY_LEN(meters) && ms < 0; i++) {
		struct reading r = meter_read(&meters[i], h, n, now_wall_us);
		if (r.remaining == 0 || (r.remaining < 0 && r.limit < 0 && str_has_prefix(str_from(meters[i].reset), STR("x-rate-limit-"))))
			used_up = MAX(used_up, r.reset_ms);
	}
	return ms >= 0 ? ms : used_up;
}

/* "12.3s." at the front, or with unit given a bare number of those: the time, or -1. */
static int64_t leading_duration(struct str s, const char *unit)
{
	size_t n = 0;
	s = str_sub(s, 0, 24);
	while (n < s.n && s.p[n] != ' ' && s.p[n] != ',' && s.p[n] != '\n')
		n++;
	struct str rest = str_trim(str_sub(s, n, s.n));
	while (n > 0 && s.p[n - 1] == '.')
		n--;
	s = str_sub(s, 0, n);
	return unit && str_has_prefix(rest, str_from(unit)) ? clamp(decimal_thousandths(s)) : reset_duration_ms(s);
}

/* As Google, OpenAI and Azure write it. */
static int64_t hint_in_text(struct str message)
{
	static const struct {
		struct str mark;
		const char *unit;
	} marks[] = {
		{ STR("please retry in "), NULL }, { STR("please try again in "), "second" }, { STR("please retry after "), "second" },
	};
	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		ssize_t at = str_find_nocase(message, marks[i].mark);
		int64_t ms = at < 0 ? -1 : leading_duration(str_sub(message, (size_t)at + marks[i].mark.n, message.n), marks[i].unit);
		if (ms >= 0)
			return ms;
	}
	return -1;
}

int64_t retry_hint_body_ms(const json_t *body)
{
	const json_t *one;
	size_t i;
	if (json_is_array(body))
		body = json_array_get(body, 0);
	const json_t *error = json_get(body, "error");
	struct str message = json_str_of(error);
	if (!json_is_object(error))
		error = body;
	json_array_foreach (json_get(error, "details"), i, one) {
		bool is_info = str_has_suffix(json_str(one, "@type"), STR("google.rpc.RetryInfo"));
		int64_t ms = is_info ? reset_duration_ms(json_str(one, "retryDelay")) : -1;
		if (ms >= 0)
			return ms;
	}
	return hint_in_text(message.n ? message : json_str(error, "message"));
}

int should_retry_read(const struct http_header *h, size_t n)
{
	struct str v = str_trim(http_find(h, n, "x-should-retry"));
	return str_eq_nocase(v, STR("true")) ? 1 : str_eq_nocase(v, STR("false")) ? 0 : -1;
}
