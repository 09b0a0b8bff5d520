/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Google's error bodies say about when to come back ("Gemini API: rate limits; google.rpc.RetryInfo, QuotaFailure"): there are no headers for it,
 * and where no time is told the quota that is used up tells it: a day's begins anew at a fixed hour, a minute's after a minute. What the failure is
 * stands in classify.c. A body may be wrapped in a list of one.
 */
#include "worker/providers/classify.h"
#include "worker/providers/gemini.h"
#include "worker/providers/hints.h"

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

/* Some violation's quotaId is of a minute. */
static bool violates_minute(const json_t *error)
{
	const json_t *one;
	size_t i;
	json_array_foreach (json_get(detail(error, STR("google.rpc.QuotaFailure")), "violations"), i, one)
		if (str_find(json_str(one, "quotaId"), STR("PerMinute")) >= 0)
			return true;
	return false;
}

/* Milliseconds until the next reset of the quotas of a day. */
static int64_t until_reset_ms(int64_t now_wall_us)
{
	int64_t of_day = (MAX(now_wall_us, 0) / 1000) % DAY_MS;
	return of_day < RESET_MS ? RESET_MS - of_day : DAY_MS + RESET_MS - of_day;
}

static int64_t hint_of(const json_t *body, enum err_code class, int64_t now_wall_us)
{
	int64_t ms = retry_hint_body_ms(body);
	if (class == ERR_QUOTA)
		return MAX(ms, until_reset_ms(now_wall_us));
	return ms < 0 && class == ERR_PROVIDER_RATE_LIMIT && violates_minute(error_of(body)) ? MINUTE_MS : ms;
}

void gemini_failure(struct provider_result *r, int status, const json_t *body, int64_t header_hint_ms, int64_t now_wall_us, struct arena *a)
{
	struct failure f = { .status = status };
	if (json_is_object(body) || json_is_array(body))
		failure_read(&f, body, a);
	r->class = classify(&f);
	if (f.message.n)
		r->message = arena_str(a, str_utf8_prefix(f.message, PROVIDER_MESSAGE_MAX));
	r->retry_after_ms = header_hint_ms >= 0 ? header_hint_ms : hint_of(body, r->class, now_wall_us);
}
