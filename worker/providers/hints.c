/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a provider wants to be asked again, from its headers. The most exact one first, as the official SDKs read them; a
 * reset counts only where nothing remains. Negative, huge and garbled values are no hint.
 */
#include "common/clock.h"
#include "worker/providers/classify.h"
#include "worker/providers/hints.h"

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

static int64_t retry_after(const struct http_header *h, size_t n, int64_t now_wall_us)
{
	struct str v = http_find(h, n, "retry-after");
	if (!v.p)
		return -1;
	int64_t ms = decimal_thousandths(v), at, now;
	if (ms >= 0)
		return clamp(ms);
	if (clock_parse_http_date(str_trim(v), &at) < 0)
		return -1;
	if (clock_parse_http_date(http_find(h, n, "date"), &now) < 0)
		now = now_wall_us;
	return clamp(MAX(at - now, 0) / 1000);
}

static int64_t reset_of(const struct http_header *h, size_t n, const char *remaining, const char *reset)
{
	struct str left = http_find(h, n, remaining);
	return left.p && str_eq_z(str_trim(left), "0") ? reset_duration_ms(http_find(h, n, reset)) : -1;
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
	int64_t ms = retry_after(h, n, now_wall_us);
	if (ms >= 0)
		return ms;
	int64_t requests = reset_of(h, n, "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
	int64_t tokens = reset_of(h, n, "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
	return MAX(requests, tokens);
}
