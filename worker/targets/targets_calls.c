/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calls say of their targets. An answer costs a few additions; a failure also keeps a sample of itself for the event that it may cause. What is
 * decided here at once (a breaker of this process, a park, a disabled key) goes to the fleet with the next report.
 *
 *   breaker  failures in a row are counted on from the fleet's last known count; the rates are those of the fleet's last minute plus what happened
 *            here since, or this process's own while the fleet's are not to be had
 *   park     a rate limit stops the target until the provider's hint; without one for 1 s, doubling with each further refusal of a call that began
 *            after the last park: the many that were out together count once
 *   disable  a refused key or account stops all targets of the key at once; a refused or unknown model the one target, and only the third time in a row,
 *            so that one odd answer makes no outage
 *
 * A call that began before the breaker closed, or before the key was changed, says nothing of how things are now.
 */
#include <string.h>

#include "common/log.h"
#include "common/metrics.h"
#include "worker/targets/targets_priv.h"

#define PARK_BASE_MS     1000
#define PARK_MAX_MS     60000
#define PARK_HINT_MS    ((int64_t)24 * 3600 * 1000) /* no hint parks it longer: quotas of a day are the longest, and a garbled date would park it for ever */
#define REFUSALS_IN_ROW     3

bool target_is_key_class(enum err_code class)
{
	return class == ERR_PROVIDER_AUTH || class == ERR_BILLING;
}

/* --- counts --- */

static uint64_t slot_of(uint64_t now_ms)
{
	return now_ms / SLOT_MS + 1; /* never 0 */
}

static void count_slot(struct target_live *l, uint64_t now_ms, bool bad, bool is_retry)
{
	uint64_t slot = slot_of(now_ms);
	size_t at = slot % SLOTS;
	if (l->slots[at].slot != slot) {
		memset(&l->slots[at], 0, sizeof l->slots[at]);
		l->slots[at].slot = slot;
	}
	l->slots[at].calls++;
	l->slots[at].failures += bad;
	l->slots[at].retries += is_retry;
}

static void sum_slots(const struct target_live *l, struct breaker_window *ret, int64_t *ret_retries)
{
	uint64_t now = slot_of(loop_now_ms(l->targets->worker->loop)), errors_in = (uint64_t)conf_now()->breaker_errors_in_ms / SLOT_MS;
	*ret = (struct breaker_window){ 0 };
	*ret_retries = 0;
	for (size_t i = 0; i < SLOTS; i++) {
		if (l->slots[i].slot == 0 || l->slots[i].slot + SLOTS <= now)
			continue;
		ret->calls += l->slots[i].calls;
		ret->failures += l->slots[i].failures;
		ret->errors += l->slots[i].slot + errors_in >= now ? l->slots[i].failures : 0;
		*ret_retries += l->slots[i].retries;
	}
}

static struct breaker_window window_of(const struct target_live *l)
{
	struct breaker_window w;
	int64_t retries;
	if (!targets_are_fresh(l->targets)) {
		sum_slots(l, &w, &retries);
		return w;
	}
	w = l->row.window;
	int64_t failures = l->pending.failures + l->flying.failures;
	w.calls += l->pending.calls + l->flying.calls;
	w.failures += failures;
	w.errors += failures;
	return w;
}

bool targets_may_retry(const struct target_live *l)
{
	struct breaker_window w;
	int64_t calls, retries;
	if (targets_are_fresh(l->targets)) {
		calls = l->row.calls + l->pending.calls + l->flying.calls;
		retries = l->row.retries + l->pending.retries + l->flying.retries;
	} else {
		sum_slots(l, &w, &retries);
		calls = w.calls;
	}
	retries += l->busy_retries;
	calls += l->busy_retries;
	return retries < conf_now()->retry_budget_min || (retries + 1) * 100 <= calls * conf_now()->retry_budget;
}

/* --- the breaker --- */

static void open_here(struct target_live *l, const struct breaker_rules *rules)
{
	breaker_local_open(&l->local, rules, loop_now_ms(l->targets->worker->loop), worker_jitter(UINT64_MAX));
	if (l->row.breaker == BREAKER_CLOSED)
		metric_set(METRIC_BREAKER_STATE, l->name, BREAKER_OPEN);
	if (!targets_are_fresh(l->targets))
		log_event(LOG_WARN, "breaker_opened", "the target fails: this worker leaves it alone for a while, the database being away", LOG_Z("target", l->name),
		          LOG_STR("sample", buf_str(&l->failure)), LOG_END);
}

void target_look_at_rates(struct target_live *l)
{
	const struct breaker_rules rules = breaker_rules();
	if (l->row.breaker != BREAKER_CLOSED || l->local.state != BREAKER_CLOSED || l->pending.wants_open)
		return;
	const struct breaker_window w = window_of(l);
	if (!breaker_rates_say_open(&rules, &w))
		return;
	open_here(l, &rules);
	l->pending.wants_open = true;
	l->pending.wants_generation = l->row.generation;
	target_dirty(l, REPORT_SOON_MS);
}

static void look_at_row(struct target_live *l)
{
	const struct breaker_rules rules = breaker_rules();
	int row = breaker_run_row(breaker_run_row(l->row.fails_in_row, &l->flying.run), &l->pending.run);
	if (rules.enabled && l->row.breaker == BREAKER_CLOSED && l->local.state == BREAKER_CLOSED && row >= rules.failures)
		open_here(l, &rules);
}

/* This process's own probe, while the fleet knows of no open breaker. */
static void local_probe_over(struct target_live *l, enum breaker_word word)
{
	const struct breaker_rules rules = breaker_rules();
	l->probe = PROBE_NONE;
	if (l->local.state != BREAKER_HALF_OPEN)
		return; /* the fleet's word came meanwhile */
	if (word == BREAKER_SAYS_BAD) {
		open_here(l, &rules);
	} else if (word == BREAKER_SAYS_GOOD && breaker_local_good(&l->local, &rules)) {
		/* What made it open is over, and need not open the fleet's when the database is back. */
		l->pending.run = (struct breaker_run){ .has_success = true };
		l->pending.wants_open = false;
		memset(l->slots, 0, sizeof l->slots);
		metric_set(METRIC_BREAKER_STATE, l->name, BREAKER_CLOSED);
	}
}

void target_probe_over(struct target_live *l, enum breaker_word word)
{
	static const enum probe_word words[] = { [BREAKER_SAYS_NOTHING] = PROBE_NOT_MADE, [BREAKER_SAYS_GOOD] = PROBE_GOOD, [BREAKER_SAYS_BAD] = PROBE_BAD };
	if (l->probe == PROBE_LOCAL) {
		local_probe_over(l, word);
	} else if (l->probe == PROBE_HELD) {
		l->probe = PROBE_RETURNING;
		l->pending.probe = (int)words[word];
		l->pending.probe_generation = l->probe_generation;
		target_dirty(l, 0);
	}
}

/* --- samples --- */

/* Text that came from outside, as it may stand in a column. */
static struct str clean(struct str message)
{
	return str_utf8_prefix(message, MESSAGE_MAX);
}

static void write_sample(const struct target_live *l, struct buf *b, const struct target_call *call, int64_t park_ms)
{
	char job[ID_TEXT_MAX], worker[ID_TEXT_MAX];
	buf_clear(b);
	buf_printf(b, "{\"class\":\"%s\",\"status\":%d,\"message\":", err_code_name((int)call->class), call->http_status);
	buf_add_json_str(b, clean(call->message));
	if (!id_is_zero(call->job))
		buf_printf(b, ",\"job\":\"" STR_FMT "\"", STR_ARG(id_text(call->job, "job_", job)));
	if (park_ms >= 0)
		buf_printf(b, ",\"for_ms\":%lld", (long long)park_ms);
	buf_printf(b, ",\"worker\":\"" STR_FMT "\"}", STR_ARG(id_text(l->targets->worker->id, "worker_", worker)));
}

/* --- parks --- */

static void park(struct target_live *l, int64_t ms, const char *why, const struct target_call *call)
{
	uint64_t now = loop_now_ms(l->targets->worker->loop), until = now + (uint64_t)MIN(ms, PARK_HINT_MS);
	l->park_began_ms = now;
	if (until <= l->parked_until_ms)
		return;
	l->parked_until_ms = until;
	l->pending.park_until_ms = until;
	l->park_why = why;
	write_sample(l, &l->park_detail, call, ms);
	target_dirty(l, REPORT_SOON_MS);
}

static void rate_limited(struct target_live *l, const struct target_call *call, uint64_t began_ms)
{
	bool fresh = l->park_began_ms == 0 || began_ms >= l->park_began_ms;
	int64_t ms = call->retry_after_ms > 0 ? call->retry_after_ms + (int64_t)worker_jitter((uint64_t)call->retry_after_ms / 10 + 1) : -1;
	if (fresh && l->limited_in_row < 16)
		l->limited_in_row++;
	if (ms < 0 && call->class == ERR_QUOTA)
		ms = PARK_MAX_MS;
	else if (ms < 0 && (fresh || l->parked_until_ms <= loop_now_ms(l->targets->worker->loop)))
		ms = MIN((int64_t)PARK_BASE_MS << MAX(l->limited_in_row - 1, 0), PARK_MAX_MS);
	if (ms >= 0)
		park(l, ms, call->class == ERR_QUOTA ? "quota" : "rate limit", call);
}

static int64_t reset_of(int64_t remaining, int64_t reset_ms, int64_t longest_ms)
{
	return remaining == 0 && reset_ms > longest_ms ? reset_ms : longest_ms;
}

void targets_headers(struct targets *t, struct target_live *l, const struct limit_headers *h)
{
	(void)t;
	int64_t ms = reset_of(h->requests_remaining, h->requests_reset_ms, 0);
	ms = reset_of(h->tokens_remaining, h->tokens_reset_ms, ms);
	ms = reset_of(h->input_remaining, h->input_reset_ms, ms);
	ms = reset_of(h->output_remaining, h->output_reset_ms, ms);
	l->limits = *h;
	l->pending.limits = true;
	target_dirty(l, REPORT_MS);
	const struct target_call call = { .class = ERR_PROVIDER_RATE_LIMIT, .message = STR("by the headers of an answer nothing remains until the reset") };
	if (ms > 0)
		park(l, ms, "rate limit", &call);
}

/* --- what needs a person --- */

static void disable(struct target_live *l, const struct target_call *call)
{
	bool whole_key = target_is_key_class(call->class) && l->key_id[0];
	if (l->disabled)
		return;
	l->disabled = call->class;
	LIST_EACH(&l->targets->all, k) {
		struct target_live *other = container_of(k, struct target_live, link);
		if (whole_key && !other->disabled && strcmp(other->key_id, l->key_id) == 0)
			other->disabled = call->class;
	}
	l->pending.disable = true;
	l->pending.whole_key = whole_key;
	write_sample(l, &l->disable_detail, call, -1);
	/* One line of clean text: what is not goes as in JSON. */
	buf_clear(&l->disable_why);
	buf_printf(&l->disable_why, "%s: ", err_code_name((int)call->class));
	struct str message = clean(call->message);
	if (message.n && buf_json_plain(message) == message.n)
		buf_add_str(&l->disable_why, message);
	else
		buf_add_json_str(&l->disable_why, message);
	target_dirty(l, REPORT_SOON_MS);
	log_event(LOG_ERROR, whole_key ? "key_disabled" : "target_disabled", "a person is needed: it is called no more until then", LOG_Z("target", l->name),
	          LOG_Z("class", err_code_name((int)call->class)), LOG_STR("message", message), LOG_Z("key_id", l->key_id), LOG_END);
}

static void refused(struct target_live *l, const struct target_call *call, uint64_t began_ms)
{
	if (began_ms < l->key_since_ms)
		return;
	if (target_is_key_class(call->class) || ++l->refused_in_row >= REFUSALS_IN_ROW)
		disable(l, call);
}

/* --- a call --- */

void targets_call_begins(struct target_live *l)
{
	l->busy++;
}

void targets_retry_begins(struct target_live *l)
{
	l->busy_retries++;
}

static void mark(struct target_live *l, const struct target_call *call, enum breaker_word word, uint64_t began_ms)
{
	if (word == BREAKER_SAYS_GOOD)
		l->limited_in_row = l->refused_in_row = 0;
	switch ((int)call->class) {
	case ERR_PROVIDER_RATE_LIMIT:
	case ERR_QUOTA:
		rate_limited(l, call, began_ms);
		break;
	case ERR_PROVIDER_AUTH:
	case ERR_BILLING:
	case ERR_PROVIDER_PERMISSION:
	case ERR_PROVIDER_NOT_FOUND:
		refused(l, call, began_ms);
		break;
	}
}

static void count(struct target_live *l, const struct target_call *call, enum breaker_word word, uint64_t now_ms)
{
	struct target_delta *p = &l->pending;
	p->calls++;
	p->retries += call->is_retry;
	p->failures += word == BREAKER_SAYS_BAD;
	if (word != BREAKER_SAYS_NOTHING)
		breaker_run_add(&p->run, word == BREAKER_SAYS_GOOD);
	if (word == BREAKER_SAYS_GOOD && call->total_ms >= 0) {
		p->answered++;
		p->latency_ms += call->total_ms;
		p->first_token_ms += call->first_token_ms >= 0 ? call->first_token_ms : call->total_ms;
	}
	count_slot(l, now_ms, word == BREAKER_SAYS_BAD, call->is_retry);
}

void targets_called(struct targets *t, struct target_live *l, const struct target_call *call)
{
	uint64_t now = loop_now_ms(t->worker->loop);
	uint64_t began = call->total_ms > 0 && (uint64_t)call->total_ms < now ? now - (uint64_t)call->total_ms : now;
	enum breaker_word word = breaker_word(call->class, call->http_status, call->canceled);
	assert(l->busy > 0);
	l->busy--;
	if (l->busy_retries > 0 && (call->is_retry || l->busy == 0))
		l->busy_retries = l->busy ? l->busy_retries - 1 : 0;
	if (call->canceled) {
		if (call->is_probe)
			target_probe_over(l, BREAKER_SAYS_NOTHING);
		return;
	}
	if (word == BREAKER_SAYS_BAD && began < l->row.closed_ms)
		word = BREAKER_SAYS_NOTHING;
	count(l, call, word, now);
	bool near = l->row.fails_in_row * 2 >= conf_now()->breaker_failures; /* of opening: a success is news */
	target_dirty(l, word == BREAKER_SAYS_BAD || near ? REPORT_SOON_MS : REPORT_MS);
	if (word == BREAKER_SAYS_BAD)
		write_sample(l, &l->failure, call, -1);
	if (call->is_probe)
		target_probe_over(l, word);
	if (word == BREAKER_SAYS_BAD) {
		look_at_row(l);
		target_look_at_rates(l);
	}
	mark(l, call, word, began);
	target_learn(l, call, now);
}
