/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live records, the gates and the right to probe.
 *
 * When all is well a record follows its row (targets_report.c reads all rows each second and at a notice) and the gate is open. The gate is the
 * stricter of what the fleet's row says and what this process has seen itself and not yet reported (targets_calls.c).
 *
 *   none ──targets_probe──▶ asked ──granted──▶ held ──targets_called, _release──▶ returning ──reported──▶ none
 *     └── only this process's breaker is open ──▶ local ──────────────────────────────────────────────────▶ none
 *
 * A process asks for one probe of a target at a time, and not again before the end of the last one is in the database: so that the same worker may
 * be given the right twice by a statement that is sent again. A call that never says how it ended loses the right when the database says so.
 */
#include "worker/targets/targets.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/metrics.h"
#include "worker/targets/targets_priv.h"

#define LOOK_AGAIN_MS 1000 /* somebody probes: its end comes by notice, or so */

static struct target_live *make_record(struct targets *t, struct str name)
{
	struct target_live *l = calloc(1, sizeof *l);
	assert(l);
	l->targets = t;
	l->name = strndup(name.n ? name.p : "", name.n);
	assert(l->name);
	buf_init(&l->failure, DETAIL_MAX);
	buf_init(&l->park_detail, DETAIL_MAX);
	buf_init(&l->disable_detail, DETAIL_MAX);
	buf_init(&l->disable_why, DETAIL_MAX);
	hash_set(&t->by_name, name, l);
	list_push(&t->all, &l->link);
	return l;
}

static void free_record(struct target_live *l)
{
	assert(l->probe != PROBE_ASKED || !l->asker);
	buf_done(&l->failure);
	buf_done(&l->park_detail);
	buf_done(&l->disable_detail);
	buf_done(&l->disable_why);
	free(l->name);
	free(l);
}

struct target_live *targets_record(struct targets *t, struct str name)
{
	struct target_live *l = hash_get(&t->by_name, name);
	if (l || t->all.n >= TARGETS_MAX)
		return l;
	return make_record(t, name);
}

/* Too many names: clients ask for bare models without end. They share a record per provider. */
static struct target_live *shared_record(struct targets *t, const struct conf_target *target)
{
	struct buf b;
	buf_init(&b, 256);
	buf_printf(&b, STR_FMT "/*", STR_ARG(target->provider));
	struct target_live *l = hash_get(&t->by_name, buf_str(&b));
	if (!l)
		l = make_record(t, buf_str(&b));
	buf_done(&b);
	return l;
}

/* It is new here, or its key is another one than before. */
static void take_key(struct target_live *l, const struct conf_target *target)
{
	struct targets *t = l->targets;
	bool first = !l->met;
	l->met = true;
	memcpy(l->key_id, target->key_id, sizeof l->key_id);
	l->key_since_ms = loop_now_ms(t->worker->loop);
	if (first && l->row.known && strcmp(l->row_key_id, l->key_id) == 0)
		return; /* the row is there and says all */
	if (l->disabled)
		log_event(LOG_INFO, "target_enabled", "the configuration has another key", LOG_Z("target", l->name), LOG_END);
	l->disabled = ERR_OK;
	l->refused_in_row = 0;
	LIST_EACH(&t->all, k) {
		const struct target_live *other = container_of(k, struct target_live, link);
		if (target_is_key_class(other->disabled) && strcmp(other->key_id, l->key_id) == 0)
			l->disabled = other->disabled;
	}
	l->to_register = true;
	target_dirty(l, REPORT_SOON_MS);
}

struct target_live *targets_find(struct targets *t, const struct conf_target *target)
{
	struct target_live *l = targets_record(t, target->name);
	if (!l)
		l = shared_record(t, target);
	l->total_ms = target->timeouts.total_ms;
	if (!l->met || memcmp(l->key_id, target->key_id, sizeof l->key_id) != 0)
		take_key(l, target);
	return l;
}

void target_dirty(struct target_live *l, uint64_t within_ms)
{
	struct targets *t = l->targets;
	uint64_t due = loop_now_ms(t->worker->loop) + within_ms;
	if (!link_is_linked(&l->dirty))
		list_push(&t->dirty, &l->dirty);
	t->urgent |= within_ms <= REPORT_SOON_MS;
	if (t->report_due_ms && t->report_due_ms <= due)
		return;
	t->report_due_ms = due;
	targets_arm(t);
}

/* --- gates --- */

static const char *disabled_text(enum err_code class)
{
	switch ((int)class) {
	case ERR_PROVIDER_AUTH:
		return "the provider refuses its key";
	case ERR_BILLING:
		return "its account has no credit";
	case ERR_PROVIDER_PERMISSION:
		return "its key may not use the model";
	case ERR_PROVIDER_NOT_FOUND:
		return "the provider does not know the model";
	}
	return "it was disabled";
}

/* Nobody of this process is at a probe. */
static bool is_free_to_probe(const struct target_live *l, uint64_t now_ms)
{
	return l->probe == PROBE_NONE || ((l->probe == PROBE_HELD || l->probe == PROBE_LOCAL) && now_ms >= l->probe_lapses_ms);
}

static void breaker_gate(const struct target_live *l, uint64_t now_ms, struct gate_state *ret)
{
	int64_t fleet = breaker_wait_ms(l->row.breaker, l->row.reopen_ms, now_ms);
	int64_t own = breaker_wait_ms(l->local.state, l->local.until_ms, now_ms);
	int64_t wait = MAX(fleet, own);
	if (wait < 0)
		return;
	if (wait == 0 && !is_free_to_probe(l, now_ms))
		wait = LOOK_AGAIN_MS;
	if (wait == 0 && l->row.breaker == BREAKER_HALF_OPEN && l->row.probe_until_ms > now_ms)
		wait = MIN((int64_t)(l->row.probe_until_ms - now_ms), LOOK_AGAIN_MS);
	bool probing = l->row.breaker == BREAKER_HALF_OPEN || l->local.state == BREAKER_HALF_OPEN;
	ret->gate = wait == 0 ? GATE_PROBE : GATE_CLOSED;
	ret->wait_ms = wait;
	ret->why = probing ? "its breaker is half-open: another call tries it" : "its breaker is open";
}

void targets_gate(const struct target_live *l, uint64_t now_ms, bool in_series, struct gate_state *ret)
{
	*ret = (struct gate_state){ .gate = GATE_OPEN };
	if (l->row.admin == ADMIN_PAUSED || (l->row.admin == ADMIN_DRAINING && !in_series))
		*ret = (struct gate_state){ .gate = GATE_CLOSED, .wait_ms = -1, .needs_person = true,
			                    .why = l->row.admin == ADMIN_PAUSED ? "paused by an operator" : "an operator lets it drain" };
	else if (l->disabled)
		*ret = (struct gate_state){ .gate = GATE_CLOSED, .wait_ms = -1, .needs_person = true, .why = disabled_text(l->disabled) };
	else if (l->parked_until_ms > now_ms)
		*ret = (struct gate_state){ .gate = GATE_CLOSED, .wait_ms = (int64_t)(l->parked_until_ms - now_ms), .rate_limited = true,
			                    .why = "its rate limit is reached" };
	else if (conf_now()->breaker_enabled)
		breaker_gate(l, now_ms, ret);
}

void target_heed_fleet(struct target_live *l, enum breaker_state was)
{
	const struct breaker_rules rules = breaker_rules();
	if (l->row.breaker == BREAKER_CLOSED && was != BREAKER_CLOSED)
		memset(l->slots, 0, sizeof l->slots);
	bool shown = !l->row.known || l->row.breaker != was || l->local.state != BREAKER_CLOSED;
	bool more = l->pending.wants_open || (l->pending.run.tail > 0 && breaker_run_row(l->row.fails_in_row, &l->pending.run) >= rules.failures);
	if (l->row.breaker != BREAKER_CLOSED || (!more && l->probe != PROBE_LOCAL))
		l->local = (struct breaker_local){ .state = BREAKER_CLOSED };
	if (shown)
		metric_set(METRIC_BREAKER_STATE, l->name, (int64_t)(l->row.breaker != BREAKER_CLOSED ? l->row.breaker : l->local.state));
}

/* --- probes --- */

static void on_cancel_ask(struct op *op)
{
	struct probe_op *p = container_of(op, struct probe_op, op);
	p->target->asker = NULL; /* what comes of it is given back */
	op_done(op, -ERR_CANCELED);
}

static void hold(struct target_live *l, enum probe_state state, uint64_t for_ms)
{
	l->probe = state;
	l->probe_lapses_ms = loop_now_ms(l->targets->worker->loop) + for_ms;
}

void targets_probe(struct targets *t, struct probe_op *op, struct target_live *l, struct flow *flow)
{
	uint64_t now = loop_now_ms(t->worker->loop);
	uint64_t lapse = (uint64_t)MAX(l->total_ms, conf_now()->timeout_total_ms) + PROBE_SPARE_MS;
	struct gate_state gate;
	op->target = l;
	op_start(&op->op, flow, "the right to probe", on_cancel_ask);
	targets_gate(l, now, /* in_series= */ true, &gate);
	if (gate.gate != GATE_PROBE) {
		op_done(&op->op, -ERR_OVERLOADED);
		return;
	}
	if (l->row.breaker == BREAKER_CLOSED) {
		breaker_local_probe(&l->local);
		hold(l, PROBE_LOCAL, lapse);
		op_done(&op->op, 0);
		return;
	}
	hold(l, PROBE_ASKED, lapse);
	l->asker = op;
	target_ask_probe(l);
}

void targets_probe_release(struct targets *t, struct target_live *l)
{
	(void)t;
	target_probe_over(l, BREAKER_SAYS_NOTHING);
}

/* --- life --- */

bool targets_are_idle(const struct targets *t)
{
	bool can_wait = list_is_empty(&t->dirty) || !t->urgent || !db_is_up(t->worker->db);
	return t->doing == DOING_NOTHING && t->asking == 0 && can_wait;
}

void targets_hint(struct targets *t)
{
	t->read_due_ms = MAX(loop_now_ms(t->worker->loop), t->last_read_ms ? t->last_read_ms + READ_APART_MS : 0);
	targets_arm(t);
}

struct targets *targets_new(struct worker *w)
{
	struct targets *t = calloc(1, sizeof *t);
	assert(t);
	t->worker = w;
	hash_init(&t->by_name);
	list_init(&t->all);
	list_init(&t->dirty);
	t->flight = calloc(TARGETS_REPORT_MAX, sizeof(struct target_live *));
	assert(t->flight);
	timer_init(&t->timer, w->loop, on_targets_timer);
	targets_hint(t);
	return t;
}

void targets_free(struct targets *t)
{
	if (!t)
		return;
	assert(t->doing == DOING_NOTHING && t->asking == 0);
	timer_stop(&t->timer);
	LIST_EACH_SAFE(&t->all, k, tmp)
		free_record(container_of(k, struct target_live, link));
	hash_done(&t->by_name);
	free(t->flight);
	free(t);
}

const char *target_name(const struct target_live *l)
{
	return l->name;
}

int target_busy(const struct target_live *l)
{
	return l->busy;
}
