/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is promised, held against what a run left. One function for each promise; drill_promises is the list. A broken one says numbers and,
 * where it can, one job.
 *
 * Processes learn from each other: a worker acts on what another one saw within the second in which it reads the targets' states, and calls
 * that are out cannot be called back. NEWS_MS is that time with some room for a busy machine; what comes later has no excuse.
 */
#include <string.h>

#include "cli/drill.h"

#define NEWS_MS  1500
#define EXACT_MS 50 /* the clocks are one, but a call needs its time to the simulator */

struct judging {
	const struct drill *d;
	const struct drill_run *r;
	struct arena *a;
	struct drill_promise *ret;
	size_t n;
};

static const struct conf *conf_of(const struct judging *x)
{
	return x->d->twins.conf;
}

static const char *target_name(const struct judging *x, size_t i)
{
	return arena_strz(x->a, conf_of(x)->targets[i].name);
}

static void verdict(struct judging *x, const char *name, bool broken, const struct drill_job *example, struct str text)
{
	assert(x->n < DRILL_PROMISES_MAX);
	x->ret[x->n++] = (struct drill_promise){ .name = name, .broken = broken, .text = text, .job = broken && example ? example->id : NULL };
}

/* --- accepted means kept, one outcome --- */

static void judge_kept(struct judging *x)
{
	const struct drill_job *example = NULL;
	size_t once = 0, lost = 0, twice = 0;
	for (size_t i = 0; i < x->r->njobs; i++) {
		const struct drill_job *j = &x->r->jobs[i];
		if (!j->id)
			continue;
		lost += j->max_attempts == 0;
		twice += j->outcomes > 1;
		once += j->outcomes == 1;
		if (j->max_attempts == 0 || j->outcomes > 1)
			example = j;
	}
	if (lost || twice)
		verdict(x, "accepted is kept", true, example, arena_printf(x->a, "%zu lost, %zu ended twice, of %zu", lost, twice, x->r->accepted));
	else
		verdict(x, "accepted is kept", false, NULL,
		        arena_printf(x->a, "%zu of %zu ended exactly once, none is lost", once, x->r->accepted));
}

static void judge_ended(struct judging *x)
{
	const struct drill_job *example = NULL;
	size_t waiting = 0;
	for (size_t i = 0; i < x->r->njobs; i++)
		if (x->r->jobs[i].id && x->r->jobs[i].max_attempts && x->r->jobs[i].outcomes == 0) {
			waiting++;
			example = &x->r->jobs[i];
		}
	size_t late = x->r->recovery_jobs - MIN(x->r->recovery_ended, x->r->recovery_jobs);
	if (waiting || late)
		verdict(x, "nothing stalls", true, example, arena_printf(x->a, "%zu jobs had not ended 60 s after the load", waiting + late));
	else
		verdict(x, "nothing stalls", false, NULL, STR("every job ended"));
}

/* --- one owner of retries --- */

static void judge_cap(struct judging *x)
{
	const struct drill_job *example = NULL;
	int64_t most = 0;
	size_t over = 0;
	for (size_t i = 0; i < x->r->njobs; i++) {
		const struct drill_job *j = &x->r->jobs[i];
		int64_t allowed = 0, sharing = 0;
		if (j->same_as != i)
			continue;
		for (size_t k = i; k < x->r->njobs; k++)
			if (x->r->jobs[k].same_as == i) {
				sharing++;
				allowed += x->r->jobs[k].max_attempts + x->r->jobs[k].interruptions;
			}
		if (sharing == 1)
			most = MAX(most, j->calls - j->refused);
		if (j->calls - j->refused > allowed) {
			over++;
			example = j;
		}
	}
	if (over)
		verdict(x, "one cap on calls", true, example,
		        arena_printf(x->a, "%zu jobs were called for more often than max_attempts; the most: %lld calls", over, (long long)most));
	else
		verdict(x, "one cap on calls", false, NULL, arena_printf(x->a, "at most %lld calls for a job (refusals apart)", (long long)most));
}

/* --- Retry-After --- */

static bool is_too_early(const struct drill_run *r, const struct drill_call *c)
{
	for (size_t i = 0; i < r->ncalls; i++) {
		const struct drill_call *before = &r->calls[i];
		if (before->target == c->target && before->status == 429 && c->at_ms > before->end_ms + NEWS_MS &&
		    c->at_ms < before->end_ms + DRILL_RETRY_AFTER_MS - EXACT_MS)
			return true;
	}
	return false;
}

static void judge_retry_after(struct judging *x)
{
	const struct drill_run *r = x->r;
	const struct drill_call *example = NULL;
	size_t refused = 0, early = 0;
	for (size_t i = 0; i < r->ncalls; i++) {
		refused += r->calls[i].status == 429;
		if (r->calls[i].target >= 0 && is_too_early(r, &r->calls[i])) {
			early++;
			example = &r->calls[i];
		}
	}
	if (!refused)
		return;
	if (early)
		verdict(x, "Retry-After is kept", true, example->job >= 0 ? &r->jobs[example->job] : NULL,
		        arena_printf(x->a, "%zu calls came before it was over; the last one to %s", early, target_name(x, (size_t)example->target)));
	else
		verdict(x, "Retry-After is kept", false, NULL, arena_printf(x->a, "%zu calls were refused, none came again too early", refused));
}

/* --- limits --- */

static void judge_limits(struct judging *x)
{
	const struct conf *c = conf_of(x);
	for (size_t i = 0; i < c->ntargets; i++) {
		const struct conf_limits *l = &c->targets[i].limits;
		const struct drill_window *w = &x->r->windows[i];
		const struct {
			const char *what;
			int64_t used, limit;
		} parts[] = { { "requests a minute", w->requests, l->requests },
			      { "tokens a minute", w->tokens, l->tokens },
			      { "input tokens a minute", w->input_tokens, l->input_tokens },
			      { "output tokens a minute", w->output_tokens, l->output_tokens },
			      { "calls at once", w->in_flight, l->concurrency } };
		for (size_t k = 0; k < ARRAY_LEN(parts); k++)
			if (parts[k].limit && parts[k].used > parts[k].limit) {
				verdict(x, "limits are kept", true, NULL,
				        arena_printf(x->a, "%s had %lld %s, its limit is %lld", target_name(x, i), (long long)parts[k].used,
				                     parts[k].what, (long long)parts[k].limit));
				return;
			}
	}
	verdict(x, "limits are kept", false, NULL, STR("no target had more than its limits in any minute"));
}

/* --- breakers --- */

static int64_t opened_at(const struct judging *x, const char *target)
{
	for (size_t i = 0; i < x->r->nevents; i++) {
		const struct drill_event *e = &x->r->events[i];
		if (strcmp(e->kind, "opened") == 0 && strcmp(e->target, target) == 0 && e->at_ms >= x->r->fault_on_ms)
			return e->at_ms;
	}
	return 0;
}

static size_t count_events(const struct judging *x, const char *target, const char *kind)
{
	size_t n = 0;
	for (size_t i = 0; i < x->r->nevents; i++)
		n += strcmp(x->r->events[i].kind, kind) == 0 && (!target || strcmp(x->r->events[i].target, target) == 0);
	return n;
}

struct dead_calls {
	size_t before, after; /* failures until it opened; calls that came when all knew */
	const struct drill_job *example;
};

static void count_dead_calls(const struct judging *x, size_t target, int64_t opened_ms, struct dead_calls *ret)
{
	const struct drill_run *r = x->r;
	*ret = (struct dead_calls){ 0 };
	for (size_t i = 0; i < r->ncalls; i++) {
		const struct drill_call *c = &r->calls[i];
		bool failed = c->status >= 500 || c->canceled;
		if (c->target != (int)target || c->at_ms < r->fault_on_ms || c->at_ms > r->fault_off_ms)
			continue;
		ret->before += failed && (!opened_ms || c->end_ms <= opened_ms);
		ret->after += opened_ms && c->at_ms > opened_ms + NEWS_MS;
		if (c->job >= 0)
			ret->example = &r->jobs[c->job];
	}
}

/* False after a broken one. */
static bool judge_breaker(struct judging *x, size_t target)
{
	const char *name = target_name(x, target);
	int64_t opened_ms = opened_at(x, name), most = 2 * conf_of(x)->breaker_failures;
	size_t probes = 2 + 2 * count_events(x, name, "half_open");
	struct dead_calls n;
	count_dead_calls(x, target, opened_ms, &n);
	if (n.before > (size_t)most)
		verdict(x, "breakers open", true, n.example,
		        arena_printf(x->a, "%s failed %zu times %s; at %lld it should be open", name, n.before,
		                     opened_ms ? "before its breaker opened" : "and its breaker did not open", (long long)most));
	else if (n.after > probes)
		verdict(x, "breakers open", true, n.example, arena_printf(x->a, "%s was called %zu times while its breaker was open", name, n.after));
	return n.before <= (size_t)most && n.after <= probes;
}

static void judge_breakers(struct judging *x)
{
	const struct conf *c = conf_of(x);
	size_t hit = 0, opened = 0;
	for (size_t i = 0; i < c->ntargets; i++) {
		if (!drill_scenario_hits(x->r->scenario, c, i))
			continue;
		if (!judge_breaker(x, i))
			return;
		hit++;
		opened += opened_at(x, target_name(x, i)) != 0;
	}
	verdict(x, "breakers open", false, NULL,
	        arena_printf(x->a, "%zu of %zu failing target%s, each within %lld failures", opened, hit, hit == 1 ? "" : "s",
	                     (long long)(2 * c->breaker_failures)));
}

static void judge_recovery(struct judging *x)
{
	struct buf took;
	if (x->r->recovered_ms < 0) {
		verdict(x, "recovers by itself", true, NULL,
		        arena_printf(x->a, "route %s was not served by its first target again within 30 s", x->r->not_recovered));
		return;
	}
	buf_init(&took, 64);
	term_duration(&took, x->r->recovered_ms);
	verdict(x, "recovers by itself", false, NULL,
	        arena_printf(x->a, "every route has its first target again, " STR_FMT " after the fault", STR_ARG(buf_str(&took))));
	buf_done(&took);
}

/* --- money --- */

static void judge_money(struct judging *x)
{
	const struct drill_job *example = NULL;
	int64_t prices = 0, attempts = 0, unknown = 0;
	size_t sums = 0;
	for (size_t i = 0; i < x->r->njobs; i++) {
		const struct drill_job *j = &x->r->jobs[i];
		prices += j->bad_prices;
		sums += j->sum_is_wrong;
		attempts += j->attempts;
		unknown += j->unknown;
		if (j->bad_prices || j->sum_is_wrong)
			example = j;
	}
	if (prices || sums)
		verdict(x, "money is exact", true, example,
		        arena_printf(x->a, "%lld attempts are not tokens × pinned price, %zu jobs not the sum of theirs", (long long)prices, sums));
	else
		verdict(x, "money is exact", false, NULL,
		        arena_printf(x->a, "%lld attempts recomputed from tokens × pinned price%s", (long long)(attempts - unknown),
		                     unknown ? arena_printf(x->a, ", %lld of unknown cost", (long long)unknown).p : ""));
}

/* --- the ladder, when all is down --- */

static bool answers_always(const struct conf_route *r)
{
	for (size_t i = 0; i < r->nladder; i++)
		for (size_t k = 0; r->ladder[i] == RUNG_STATIC && k < r->nanswers; k++)
			if (r->answers[k].match.n == 0)
				return true;
	return false;
}

/* Whether the job had all its attempts, each at a target whose breaker was not open to the worker's knowledge: then it failed by its own setting. */
static bool spent_its_attempts(const struct judging *x, const struct drill_job *j)
{
	const struct drill_run *r = x->r;
	int64_t spent = 0;
	for (size_t i = 0; i < r->ncalls; i++) {
		const struct drill_call *c = &r->calls[i];
		if (c->job < 0 || (size_t)c->job != j->same_as || c->status == 429 || c->target < 0)
			continue;
		int64_t opened_ms = opened_at(x, target_name(x, (size_t)c->target));
		if (opened_ms && c->at_ms > opened_ms + NEWS_MS)
			return false;
		spent++;
	}
	return spent >= j->max_attempts;
}

static struct str ladder_text(struct judging *x, size_t by_ladder, size_t waited, size_t spent)
{
	struct str text = arena_printf(x->a, "%zu served by a ladder meanwhile, %zu of routes without one waited and succeeded", by_ladder, waited);
	if (spent)
		text = arena_printf(x->a, STR_FMT ", %zu had spent max_attempts before the breakers opened", STR_ARG(text), spent);
	return text;
}

static void judge_all_down(struct judging *x)
{
	const struct drill_run *r = x->r;
	const struct drill_job *example = NULL;
	size_t by_ladder = 0, waited = 0, failed = 0, in_fault = 0, spent = 0;
	for (size_t i = 0; i < r->njobs; i++) {
		const struct drill_job *j = &r->jobs[i];
		if (!j->id || j->accepted_ms < r->fault_on_ms || j->accepted_ms > r->fault_off_ms)
			continue;
		bool ladder = answers_always(&conf_of(x)->routes[j->route]);
		in_fault += ladder;
		by_ladder += ladder && j->status == 3 && j->level >= 4;
		waited += !ladder && j->status == 3;
		if (!j->outcomes || j->status == 3)
			continue;
		if (!ladder && spent_its_attempts(x, j)) {
			spent++;
		} else {
			failed++;
			example = j;
		}
	}
	if (failed)
		verdict(x, "a ladder or a wait", true, example, arena_printf(x->a, "%zu jobs failed though they could be served or wait", failed));
	else if (in_fault >= 10 && !by_ladder)
		verdict(x, "a ladder or a wait", true, NULL, STR("no job was served by the ladder of its route"));
	else
		verdict(x, "a ladder or a wait", false, NULL, ladder_text(x, by_ladder, waited, spent));
}

size_t drill_promises(const struct drill *d, const struct drill_run *r, struct arena *a, struct drill_promise *ret)
{
	struct judging x = { .d = d, .r = r, .a = a, .ret = ret };
	judge_kept(&x);
	judge_ended(&x);
	judge_cap(&x);
	judge_limits(&x);
	judge_money(&x);
	judge_retry_after(&x);
	if (r->scenario->opens)
		judge_breakers(&x);
	if (r->scenario->targets == DRILL_ALL)
		judge_all_down(&x);
	if (r->scenario != &drill_calm)
		judge_recovery(&x);
	return x.n;
}
