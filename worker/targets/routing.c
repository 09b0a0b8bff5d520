/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: the first rule that holds names the choice (else the route's own), what cannot take the request is unfit from the start, each look
 * leaves out what cannot be called now, and the way of choosing picks one of the rest.
 *
 *   unfit      for good: what the request needs, its size against the context
 *   left out   for now: operator, disabled key, Retry-After, breaker, retry budget, asked already, a limit where the route goes elsewhere then
 *
 * A context that is too small by our estimate leaves a target out only while another one has more room: an estimate is no proof.
 */
#include "worker/targets/routing.h"

#include <string.h>

#include "worker/execution/cost.h"
#include "worker/limits/limiter.h"

#define UNKNOWN_COST   INT64_MAX

/* --- rules --- */

static bool value_matches(struct str pattern, struct str value)
{
	if (pattern.n && pattern.p[pattern.n - 1] == '*')
		return str_has_prefix(value, str_sub(pattern, 0, pattern.n - 1));
	return str_eq(pattern, value);
}

static bool metadata_holds(const struct conf_rule *rule, const json_t *metadata)
{
	for (size_t i = 0; i < rule->nmetadata; i++) {
		const json_t *v = json_object_getn(metadata, rule->metadata[i].name.p, rule->metadata[i].name.n);
		if (!json_is_string(v) || !value_matches(rule->metadata[i].value, json_str_of(v)))
			return false;
	}
	return true;
}

static bool is_one_of(const struct str *list, size_t n, struct str value)
{
	for (size_t i = 0; i < n; i++)
		if (value.p && str_eq(list[i], value))
			return true;
	return n == 0;
}

static bool rule_holds(const struct conf_rule *rule, const struct job *j, const struct request_facts *f, const json_t *metadata, struct str tier)
{
	int64_t tokens = request_facts_tokens(f, 4000);
	int latency = !id_is_zero(j->batch_id) || j->priority > 5;
	return tokens >= rule->input_min && tokens <= rule->input_max && f->complexity >= rule->complexity_min && f->complexity <= rule->complexity_max &&
	       (f->needs & rule->needs) == rule->needs && (f->needs & rule->needs_not) == 0 && (rule->latency < 0 || rule->latency == latency) &&
	       is_one_of(rule->users, rule->nusers, j->user) && is_one_of(rule->tiers, rule->ntiers, tier) && metadata_holds(rule, metadata);
}

static const struct conf_rule *find_rule(const struct conf_route *route, const struct job *j, const struct request_facts *f, struct str tier)
{
	const struct conf_rule *found = NULL;
	json_t *metadata = route->nrules && j->metadata.p ? json_parse(j->metadata, NULL) : NULL;
	for (size_t i = 0; i < route->nrules && !found; i++)
		if (rule_holds(&route->rules[i], j, f, metadata, tier))
			found = &route->rules[i];
	json_decref(metadata);
	return found;
}

/* --- who can take it at all --- */

static const char *missing(const struct conf_target *t, const struct request_facts *f, struct arena *a)
{
	uint32_t lacks = f->needs & ~t->can;
	return lacks ? arena_printf(a, "does not take %s", request_need_name(lacks & -lacks)).p : NULL;
}

static bool fits_context(const struct candidate *c, const struct request_facts *f)
{
	int64_t room = c->target->context_tokens;
	return room == 0 || request_facts_tokens(f, target_millibytes(c->live)) + f->max_output <= room;
}

static void leave_out_small(struct routing *r, const struct request_facts *f)
{
	bool any = false;
	for (size_t i = 0; i < r->n; i++)
		any |= !r->list[i].unfit && fits_context(&r->list[i], f);
	int64_t most = 0;
	for (size_t i = 0; i < r->n && !any; i++)
		if (!r->list[i].unfit)
			most = MAX(most, r->list[i].target->context_tokens);
	for (size_t i = 0; i < r->n; i++) {
		struct candidate *c = &r->list[i];
		if (!c->unfit && !fits_context(c, f) && (any || c->target->context_tokens < most))
			c->unfit = "its context is too small";
	}
}

void routing_use(struct routing *r, struct job *j, const struct request_facts *f, const struct conf_choice *choice, const char *why)
{
	r->choice = choice;
	r->why = why;
	r->n = choice->ntargets;
	r->list = arena_array(&j->arena, struct candidate, r->n + 1);
	for (size_t i = 0; i < r->n; i++) {
		struct candidate *c = &r->list[i];
		c->target = choice->targets[i];
		c->live = targets_find(j->worker->targets, c->target);
		c->unfit = conf_rule_allows(r->rule, c->target) ? missing(c->target, f, &j->arena) : "it is in another place";
	}
	leave_out_small(r, f);
}

void routing_start(struct routing *r, const struct conf_route *route, struct job *j, const struct request_facts *f, struct str tier)
{
	const struct conf_rule *rule = find_rule(route, j, f, tier);
	r->route = route;
	r->rule = rule;
	if (!rule)
		routing_use(r, j, f, &route->main, "the route");
	else
		routing_use(r, j, f, &rule->use, rule->name.n ? arena_printf(&j->arena, "rule " STR_FMT, STR_ARG(rule->name)).p : "a rule");
}

/* --- who can take it now --- */

static void leave_out(struct candidate *c, const char *why, int64_t wait_ms)
{
	c->left_out = why;
	c->wait_ms = wait_ms;
}

static void look(struct routing *r, struct job *j)
{
	uint64_t now = loop_now_ms(j->worker->loop);
	bool in_series = j->number > 0 || j->attempts > 0;
	for (size_t i = 0; i < r->n; i++) {
		struct candidate *c = &r->list[i];
		struct gate_state g;
		c->left_out = c->unfit;
		c->wait_ms = -1;
		c->probe = c->rate_limited = false;
		c->score = (int64_t)i;
		if (c->unfit)
			continue;
		targets_gate(c->live, now, in_series, &g);
		c->probe = g.gate == GATE_PROBE;
		c->rate_limited = g.rate_limited;
		if (g.gate == GATE_CLOSED)
			leave_out(c, g.why, g.needs_person ? ROUTING_PERSON_MS : MAX(g.wait_ms, 1));
		else if (!c->probe && routing_is_retry(r, j, i) && !targets_may_retry(c->live))
			leave_out(c, "its retry budget is spent", conf_now()->retry_max_ms / 4 + (int64_t)worker_jitter(1000));
		else if (c->tried)
			leave_out(c, "asked already", conf_now()->retry_base_ms);
	}
}

/* Where the route does not insist on its order, those at their limit stand back while another one has room. Of whom the table has not said that
 * there is none, some is asked for: they do not stand back. */
static void prefer_room(struct routing *r, struct job *j)
{
	bool insists = r->choice->choose == CHOOSE_ORDERED && r->route->on_limit != ON_LIMIT_FALLBACK;
	bool any = false;
	int64_t wait[64];
	if (insists || r->n > ARRAY_LEN(wait) || r->n < 2)
		return;
	for (size_t i = 0; i < r->n; i++) {
		wait[i] = -1;
		if (r->list[i].left_out)
			continue;
		int64_t ms = 0;
		if (limiter_room(j->worker->limiter, r->list[i].target, 1, &ms) > 0 || ms <= ROUTING_PATIENCE_MS)
			any = true;
		else
			wait[i] = MAX(ms, 1);
	}
	for (size_t i = 0; i < r->n && any; i++) {
		if (wait[i] < 0)
			continue;
		leave_out(&r->list[i], "at its limit", wait[i]);
		r->list[i].rate_limited = true;
	}
}

/* --- the way of choosing --- */

static int64_t weight_of(const struct routing *r, size_t i)
{
	return r->choice->weights ? MAX(r->choice->weights[i], 1) : 1;
}

/* The same in every process (FNV-1a, and a finish that spreads it). */
static uint64_t place_hash(struct str name, uint64_t seed)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;
	for (size_t i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ (h >> 32);
}

/*
 * Requests with the same static front meet at the same target, whatever worker has them, and few move when one is left out: rendezvous hashing, by
 * weight as many draws as its share of sixteen.
 */
static size_t by_prefix(const struct routing *r, uint64_t prefix)
{
	uint64_t best = 0;
	size_t at = r->n;
	int64_t sum = 0;
	for (size_t i = 0; i < r->n; i++)
		sum += weight_of(r, i);
	for (size_t i = 0; i < r->n; i++) {
		const struct candidate *c = &r->list[i];
		int64_t draws = MAX(weight_of(r, i) * 16 / MAX(sum, 1), 1);
		for (int64_t k = 0; k < draws && !c->left_out; k++) {
			uint64_t h = place_hash(c->target->name, prefix + (uint64_t)k);
			if (at == r->n || h > best) {
				best = h;
				at = i;
			}
		}
	}
	return at;
}

static size_t by_weight(const struct routing *r)
{
	int64_t sum = 0;
	size_t last = r->n;
	for (size_t i = 0; i < r->n; i++)
		if (!r->list[i].left_out)
			sum += weight_of(r, i);
	int64_t draw = (int64_t)worker_jitter((uint64_t)MAX(sum, 1));
	for (size_t i = 0; i < r->n; i++) {
		if (r->list[i].left_out)
			continue;
		last = i;
		draw -= weight_of(r, i);
		if (draw < 0)
			break;
	}
	return last;
}

static size_t least(const struct routing *r)
{
	size_t at = r->n;
	for (size_t i = 0; i < r->n; i++)
		if (!r->list[i].left_out && (at == r->n || r->list[i].score < r->list[at].score))
			at = i;
	return at;
}

/* The better of two that are drawn: the best one of all would be hit by everybody at once. */
static size_t better_of_two(const struct routing *r)
{
	size_t first = by_weight(r), second = by_weight(r);
	if (first == second)
		second = by_weight(r);
	return r->list[second].score < r->list[first].score ? second : first;
}

static int64_t expected_cost(const struct candidate *c, const struct request_facts *f)
{
	struct usage u = { .input = request_facts_tokens(f, target_millibytes(c->live)),
		           .output = f->max_output > 0 ? f->max_output : target_output_p95(c->live) };
	int64_t cost = cost_of(&u, &c->target->price);
	return cost < 0 ? UNKNOWN_COST : cost;
}

static bool by_affinity(const struct routing *r, const struct request_facts *f)
{
	return r->route->affinity && f->prefix && r->choice->choose != CHOOSE_ORDERED && r->choice->choose != CHOOSE_LEAST_COST;
}

static size_t pick(struct routing *r, const struct request_facts *f)
{
	enum conf_choose choose = r->choice->choose;
	for (size_t i = 0; i < r->n; i++) {
		struct candidate *c = &r->list[i];
		if (choose == CHOOSE_LEAST_COST)
			c->score = expected_cost(c, f);
		else if (choose == CHOOSE_LEAST_LATENCY)
			c->score = target_latency_ms(c->live);
		else if (choose == CHOOSE_LEAST_BUSY)
			c->score = (int64_t)target_busy(c->live) * 1000 / weight_of(r, i);
	}
	if (by_affinity(r, f))
		return by_prefix(r, f->prefix);
	switch (choose) {
	case CHOOSE_WEIGHTED:
		return by_weight(r);
	case CHOOSE_LEAST_LATENCY:
		return by_weight(r) == r->n ? r->n : better_of_two(r);
	case CHOOSE_ORDERED:
	case CHOOSE_LEAST_COST:
	case CHOOSE_LEAST_BUSY:
		break;
	}
	return least(r);
}

static const char *choose_name(enum conf_choose c)
{
	static const char *const names[] = {
		[CHOOSE_ORDERED] = "ordered",         [CHOOSE_WEIGHTED] = "weighted",     [CHOOSE_LEAST_COST] = "least_cost",
		[CHOOSE_LEAST_LATENCY] = "least_latency", [CHOOSE_LEAST_BUSY] = "least_busy",
	};
	return names[c];
}

/* Why this one, for the attempt. */
static struct str describe(const struct routing *r, struct job *j, const struct request_facts *f)
{
	struct buf b;
	json_t *o = json_object(), *list = json_array();
	json_set_str(o, "reason", arena_printf(&j->arena, "%s: %s%s", r->why, choose_name(r->choice->choose), by_affinity(r, f) ? ", affinity" : ""));
	for (size_t i = 0; i < r->n; i++) {
		const struct candidate *c = &r->list[i];
		json_t *one = json_object();
		json_set_str(one, "target", c->target->name);
		if (r->choice->choose == CHOOSE_WEIGHTED)
			json_set_i64(one, "weight", weight_of(r, i));
		else if (r->choice->choose != CHOOSE_ORDERED && c->score != UNKNOWN_COST)
			json_set_i64(one, "score", c->score);
		if (c->left_out)
			json_set_str(one, "left_out", str_from(c->left_out));
		json_array_append_new(list, one);
	}
	json_object_set_new(o, "candidates", list);
	if (f->complexity > 0) {
		json_set_i64(o, "complexity", f->complexity);
		json_set_str(o, "complexity_why", f->complexity_why);
	}
	buf_init(&b, (size_t)1 << 20);
	struct str text = { NULL, 0 };
	if (json_write(&b, o) == 0)
		text = arena_str(&j->arena, buf_str(&b));
	buf_done(&b);
	json_decref(o);
	return text;
}

/* None can be called now: the soonest of those that will be. */
static enum routing_answer none_now(const struct routing *r, struct routing_pick *ret)
{
	const struct candidate *soonest = NULL, *unfit = NULL;
	for (size_t i = 0; i < r->n; i++) {
		const struct candidate *c = &r->list[i];
		if (c->unfit)
			unfit = c;
		else if (!soonest || c->wait_ms < soonest->wait_ms)
			soonest = c;
	}
	ret->why = soonest ? soonest->left_out : unfit ? unfit->unfit : "the route has no target";
	if (!soonest)
		return ROUTING_NONE;
	ret->wait_ms = soonest->wait_ms;
	ret->reason = soonest->rate_limited ? PARK_RATE_LIMIT : PARK_UNAVAILABLE;
	return ROUTING_WAIT;
}

enum routing_answer routing_next(struct routing *r, struct job *j, const struct request_facts *f, struct routing_pick *ret)
{
	*ret = (struct routing_pick){ .reason = PARK_UNAVAILABLE };
	look(r, j);
	prefer_room(r, j);
	ret->at = pick(r, f);
	if (ret->at == r->n)
		return none_now(r, ret);
	if (r->n > 1 || r->choice != &r->route->main)
		ret->choice = describe(r, j, f);
	return ROUTING_CHOSEN;
}

bool routing_has_other(struct routing *r, struct job *j, size_t at)
{
	bool any = false;
	look(r, j);
	for (size_t i = 0; i < r->n; i++)
		any |= i != at && !r->list[i].left_out;
	return any;
}

bool routing_fits_other(const struct routing *r, size_t at)
{
	for (size_t i = 0; i < r->n; i++)
		if (i != at && !r->list[i].unfit && !r->list[i].tried)
			return true;
	return false;
}

/* What earlier leases called is not known: the first of an ordered choice, most likely. A fallback's first call is no retry. */
bool routing_is_retry(const struct routing *r, const struct job *j, size_t at)
{
	bool came_back = j->number == 0 && j->attempts > 0;
	return r->list[at].called || (came_back && at == 0 && r->choice->choose == CHOOSE_ORDERED);
}

void routing_called(struct routing *r, size_t at)
{
	r->list[at].called = true;
}

void routing_tried(struct routing *r, size_t at)
{
	r->list[at].tried = true;
}

void routing_drop(struct routing *r, size_t at, const char *why)
{
	r->list[at].unfit = why;
}

void routing_forget_tries(struct routing *r)
{
	for (size_t i = 0; i < r->n; i++)
		r->list[i].tried = false;
}

/* --- claims --- */

struct room {
	struct worker *worker;
	int wanted, open;
	bool insists;
	int64_t wait_ms;
	enum park_reason reason;
};

static void not_before(struct room *m, int64_t wait_ms, enum park_reason reason)
{
	if (wait_ms >= 0 && (m->wait_ms < 0 || wait_ms < m->wait_ms)) {
		m->wait_ms = wait_ms;
		m->reason = reason;
	}
}

static void add_room(struct room *m, const struct conf_target *target, uint64_t now)
{
	const struct target_live *live = targets_find(m->worker->targets, target);
	struct gate_state g, in_series;
	int64_t wait = 0;
	targets_gate(live, now, false, &g);
	if (g.gate == GATE_CLOSED) {
		/* A draining one takes those that it has called before: they stand at the front, so one at a time is enough to find them. */
		targets_gate(live, now, true, &in_series);
		if (in_series.gate == GATE_OPEN) {
			m->open++;
			return;
		}
		not_before(m, g.needs_person ? ROUTING_PERSON_MS : g.wait_ms, g.rate_limited ? PARK_RATE_LIMIT : PARK_UNAVAILABLE);
		return;
	}
	int room = g.gate == GATE_PROBE ? 1 : limiter_room(m->worker->limiter, target, m->wanted, &wait);
	if (room == 0)
		not_before(m, wait, PARK_RATE_LIMIT);
	m->open = (int)MIN((int64_t)m->open + room, INT32_MAX);
}

static void add_choice(struct room *m, const struct conf_choice *choice, uint64_t now)
{
	for (size_t i = 0; i < choice->ntargets && m->open < m->wanted; i++)
		add_room(m, choice->targets[i], now);
}

int routing_room(struct worker *w, const struct conf_route *route, int wanted, int64_t *ret_wait_ms, enum park_reason *ret_reason)
{
	struct room m = { .worker = w, .wanted = wanted, .wait_ms = -1, .reason = PARK_UNAVAILABLE };
	uint64_t now = loop_now_ms(w->loop);
	add_choice(&m, &route->main, now);
	for (size_t i = 0; i < route->nrules && m.open < wanted; i++)
		add_choice(&m, &route->rules[i].use, now);
	/* The ladder serves those for whom there is no target. */
	if (m.open == 0 && route->nladder > 0 && m.reason == PARK_UNAVAILABLE)
		m.open = wanted;
	*ret_wait_ms = m.wait_ms;
	*ret_reason = m.reason;
	return MIN(m.open, wanted);
}
