/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log of the admitted calls of the last minute, with the running sum of their tokens. Entries are dropped from the
 * front when they are a whole minute old; a call is admitted when the sums with it stay within the limits. A call that
 * is larger than the limit by itself is refused for ever, as at the providers.
 */
#include "cli/simulator/meter.h"

#include <stdlib.h>

void meters_init(struct meters *m)
{
	hash_init(&m->by_pattern);
}

void meters_done(struct meters *m)
{
	struct str pattern;
	void *value;
	for (size_t at = 0; hash_next(&m->by_pattern, &at, &pattern, &value);) {
		struct meter *meter = value;
		free(meter->log);
		free(meter);
	}
	hash_done(&m->by_pattern);
}

struct meter *meters_get(struct meters *m, const struct rule *r)
{
	struct str pattern = str_from(r->pattern);
	if (r->enforce_requests < 0 && r->enforce_tokens < 0 && r->max_in_flight < 0)
		return NULL;
	struct meter *meter = hash_get(&m->by_pattern, pattern);
	/* Beyond METERS_MAX patterns share one; a test has a handful. */
	if (!meter && m->by_pattern.n >= METERS_MAX) {
		pattern = STR("other");
		meter = hash_get(&m->by_pattern, pattern);
	}
	if (!meter) {
		meter = calloc(1, sizeof(*meter));
		assert(meter);
		hash_set(&m->by_pattern, pattern, meter);
	}
	return meter;
}

static const struct meter_entry *entry(const struct meter *m, size_t i)
{
	return &m->log[(m->from + i) % m->max];
}

static void drop_old(struct meter *m, uint64_t now_ms)
{
	while (m->n > 0 && now_ms - entry(m, 0)->ms >= METER_WINDOW_MS) {
		m->tokens -= entry(m, 0)->tokens;
		m->from = (m->from + 1) % m->max;
		m->n--;
	}
}

static void grow(struct meter *m)
{
	size_t max = m->max ? MIN(m->max * 2, (size_t)METER_LOG_MAX) : 64;
	struct meter_entry *log = calloc(max, sizeof(*log));
	assert(log);
	for (size_t i = 0; i < m->n; i++)
		log[i] = *entry(m, i);
	free(m->log);
	m->log = log;
	m->from = 0;
	m->max = max;
}

/* When so many of the oldest have left that the rest is within the limit. */
static uint64_t wait_for(const struct meter *m, int64_t requests, int64_t tokens, uint64_t now_ms)
{
	size_t i = 0;
	while (i < m->n && (requests > 0 || tokens > 0)) {
		requests--;
		tokens -= entry(m, i++)->tokens;
	}
	return i == 0 ? METER_WINDOW_MS : MAX((uint64_t)1, entry(m, i - 1)->ms + METER_WINDOW_MS - now_ms);
}

enum meter_limit meter_enter(struct meter *m, const struct rule *r, int64_t tokens, uint64_t now_ms,
                             uint64_t *ret_wait_ms)
{
	drop_old(m, now_ms);
	if (r->max_in_flight >= 0 && m->in_flight >= (uint64_t)r->max_in_flight) {
		*ret_wait_ms = 1000;
		return METER_IN_FLIGHT;
	}
	m->in_flight++;
	if (r->enforce_requests < 0 && r->enforce_tokens < 0)
		return METER_OK;
	int64_t limit = r->enforce_requests >= 0 ? r->enforce_requests : METER_LOG_MAX;
	int64_t over = (int64_t)m->n + 1 - MIN(limit, (int64_t)METER_LOG_MAX);
	if (over > 0) {
		m->in_flight--;
		*ret_wait_ms = wait_for(m, over, 0, now_ms);
		return METER_REQUESTS;
	}
	over = r->enforce_tokens >= 0 ? m->tokens + tokens - r->enforce_tokens : 0;
	if (over > 0) {
		m->in_flight--;
		*ret_wait_ms = wait_for(m, 0, over, now_ms);
		return METER_TOKENS;
	}
	if (m->n == m->max)
		grow(m);
	m->log[(m->from + m->n++) % m->max] = (struct meter_entry){ now_ms, tokens };
	m->tokens += tokens;
	return METER_OK;
}

void meter_leave(struct meter *m)
{
	assert(m->in_flight > 0);
	m->in_flight--;
}

uint64_t meter_reset_ms(struct meter *m, uint64_t now_ms)
{
	drop_old(m, now_ms);
	return m->n ? entry(m, m->n - 1)->ms + METER_WINDOW_MS - now_ms : 0;
}
