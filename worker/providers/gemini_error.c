/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Google's error bodies say beyond code, status and message ("Gemini API: rate limits; google.rpc.RetryInfo, QuotaFailure, ErrorInfo"): when to
 * come back, and whether a day's or a minute's quota is used up. There are no headers for it. A body may be wrapped in a list of one.
 */
#include "worker/providers/classify.h"
#include "worker/providers/gemini.h"
#include "worker/providers/hints.h"

#define MESSAGE_MAX 500
#define MINUTE_MS   60000
#define DAY_MS      ((int64_t)24 * 3600 * 1000)
#define RESET_MS    ((int64_t)8 * 3600 * 1000) /* quotas of a day begin anew at midnight Pacific time: 7 or 8 o'clock UTC */

static const json_t *error_of(const json_t *body)
{
	if (json_is_array(body))
		body = json_array_get(body, 0);
	return json_get(body, "error");
}

/* The first detail of that type ("google.rpc.RetryInfo"), or NULL. */
static const json_t *detail(const json_t *error, struct str type)
{
	const json_t *one;
	size_t i;
	json_array_foreach (json_get(error, "details"), i, one)
		if (str_has_suffix(json_str(one, "@type"), type))
			return one;
	return NULL;
}

static bool is_per_day(struct str id)
{
	return str_find(id, STR("PerDay")) >= 0 || str_find(id, STR("Daily")) >= 0;
}

/* Some violation's quotaId is of a day (or of a minute, with day false). */
static bool violates(const json_t *error, bool day)
{
	const json_t *one;
	size_t i;
	json_array_foreach (json_get(detail(error, STR("google.rpc.QuotaFailure")), "violations"), i, one) {
		struct str id = json_str(one, "quotaId");
		if (day ? is_per_day(id) : str_find(id, STR("PerMinute")) >= 0)
			return true;
	}
	return false;
}

/* Milliseconds until the next reset of the quotas of a day. */
static int64_t until_reset_ms(int64_t now_wall_us)
{
	int64_t of_day = (MAX(now_wall_us, 0) / 1000) % DAY_MS;
	return of_day < RESET_MS ? RESET_MS - of_day : DAY_MS + RESET_MS - of_day;
}

/* "Please retry in 12.3s." */
static int64_t hint_in_text(struct str message)
{
	struct str mark = STR("Please retry in ");
	ssize_t at = str_find(message, mark);
	if (at < 0)
		return -1;
	struct str rest = str_sub(message, (size_t)at + mark.n, 24);
	size_t n = 0;
	while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != ',')
		n++;
	while (n > 0 && rest.p[n - 1] == '.')
		n--;
	return reset_duration_ms(str_sub(rest, 0, n));
}

static int64_t hint_of(const json_t *error, enum err_code class, int64_t now_wall_us)
{
	int64_t ms = reset_duration_ms(json_str(detail(error, STR("google.rpc.RetryInfo")), "retryDelay"));
	if (ms < 0)
		ms = hint_in_text(json_str(error, "message"));
	if (class == ERR_QUOTA)
		return MAX(ms, until_reset_ms(now_wall_us));
	return ms < 0 && class == ERR_PROVIDER_RATE_LIMIT && violates(error, /* day= */ false) ? MINUTE_MS : ms;
}

/* What Google's own words add to the common rules. */
static enum err_code refine(enum err_code class, const json_t *error)
{
	struct str status = json_str(error, "status");
	if (class == ERR_PROVIDER_RATE_LIMIT && violates(error, /* day= */ true))
		return ERR_QUOTA;
	if (str_eq_z(json_str(detail(error, STR("google.rpc.ErrorInfo")), "reason"), "API_KEY_INVALID"))
		return ERR_PROVIDER_AUTH;
	if (str_eq_z(status, "CANCELLED") && class == ERR_BAD_REQUEST) /* 499: Google gave up */
		return ERR_TRANSIENT;
	return class;
}

void gemini_failure(struct provider_result *r, int status, const json_t *body, int64_t header_hint_ms, int64_t now_wall_us, struct arena *a)
{
	struct failure f = { .status = status };
	const json_t *error = error_of(body);
	if (json_is_object(body) || json_is_array(body))
		failure_read(&f, body, a);
	r->class = refine(classify(&f), error);
	if (f.message.n)
		r->message = arena_str(a, str_utf8_prefix(f.message, MESSAGE_MAX));
	r->retry_after_ms = header_hint_ms >= 0 ? header_hint_ms : hint_of(error, r->class, now_wall_us);
}
