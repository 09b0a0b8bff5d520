/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules are few: what a class of failure says of its target, rows of failures that are summed up so that a worker need not report each call, and
 * the rates. The fleet's transitions are made by sql/target_report.sql with the same rules; the local breaker goes through them alone while the
 * database is away.
 */
#include "worker/targets/breaker.h"

#include "common/conf.h"

struct breaker_rules breaker_rules(void)
{
	const struct conf *c = conf_now();
	return (struct breaker_rules){ .enabled = c->breaker_enabled, .failures = c->breaker_failures, .percent = c->breaker_percent,
		                       .calls = c->breaker_calls, .errors = c->breaker_errors, .open_ms = c->breaker_open_ms,
		                       .open_max_ms = MAX(c->breaker_open_max_ms, c->breaker_open_ms), .successes = c->breaker_successes };
}

enum breaker_word breaker_word(enum err_code class, int http_status, bool canceled)
{
	if (canceled)
		return BREAKER_SAYS_NOTHING;
	switch ((int)class) {
	case ERR_OK:
	case ERR_BAD_OUTPUT:
	case ERR_OUTPUT_TRUNCATED:
		return BREAKER_SAYS_GOOD; /* it answered */
	case ERR_NETWORK:
	case ERR_STREAM_CUT:
	case ERR_OUTCOME_UNKNOWN:
	case ERR_PROVIDER_OVERLOADED:
		return BREAKER_SAYS_BAD;
	case ERR_TRANSIENT:
		return http_status == 408 || http_status == 409 ? BREAKER_SAYS_NOTHING : BREAKER_SAYS_BAD;
	case ERR_CONTENT_FILTER: /* with 200 it is an answer like others */
		return http_status == 200 ? BREAKER_SAYS_GOOD : BREAKER_SAYS_NOTHING;
	}
	return BREAKER_SAYS_NOTHING;
}

void breaker_run_add(struct breaker_run *r, bool good)
{
	if (good) {
		r->has_success = true;
		r->tail = 0;
		return;
	}
	r->tail++;
	if (r->has_success)
		r->peak = MAX(r->peak, r->tail);
	else
		r->head = r->tail;
}

int breaker_run_row(int before, const struct breaker_run *r)
{
	return r->has_success ? r->tail : before + r->tail;
}

bool breaker_rates_say_open(const struct breaker_rules *rules, const struct breaker_window *w)
{
	if (!rules->enabled || w->failures <= 0)
		return false;
	return (w->calls >= rules->calls && w->failures * 100 >= w->calls * rules->percent) || (rules->errors > 0 && w->errors >= rules->errors);
}

void breaker_local_open(struct breaker_local *l, const struct breaker_rules *rules, uint64_t now_ms, uint64_t random)
{
	l->open_ms = l->state == BREAKER_CLOSED ? rules->open_ms : MIN(MAX(l->open_ms, rules->open_ms) * 2, rules->open_max_ms);
	l->state = BREAKER_OPEN;
	l->successes = 0;
	l->until_ms = now_ms + (uint64_t)l->open_ms * 9 / 10 + random % ((uint64_t)l->open_ms / 5 + 1);
}

void breaker_local_probe(struct breaker_local *l)
{
	assert(l->state != BREAKER_CLOSED);
	l->state = BREAKER_HALF_OPEN;
}

bool breaker_local_good(struct breaker_local *l, const struct breaker_rules *rules)
{
	if (l->state != BREAKER_HALF_OPEN || ++l->successes < rules->successes)
		return false;
	*l = (struct breaker_local){ .state = BREAKER_CLOSED };
	return true;
}

int64_t breaker_wait_ms(enum breaker_state state, uint64_t until_ms, uint64_t now_ms)
{
	switch (state) {
	case BREAKER_CLOSED:
		return -1;
	case BREAKER_OPEN:
		return until_ms > now_ms ? (int64_t)(until_ms - now_ms) : 0;
	case BREAKER_HALF_OPEN:
		break;
	}
	return 0;
}
