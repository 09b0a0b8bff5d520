/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What serves a job without a call to its targets: the cache before anything else, and the ladder when no target can.
 *
 *   cached   a hit ends the job; the first of identical jobs leads and goes on; the others wait for its answer, here for a moment, then in the queue
 *   rung     stale_cache, simple_model (a call like any other, to one target), static; the first that has something ends the job, and
 *            when none has, it fails or waits as it would have without a ladder
 */
#include "worker/execution/execution_private.h"

#include <string.h>

#define SHARED_WAIT_MS 1000

/* --- cache --- */

/* What the job wants of the cache: its own `cache` member, else the route's. */
void execution_plan_cache(struct job *j, const json_t *submission)
{
	struct execution *x = j->execution;
	const json_t *own = json_get(submission, "cache");
	struct str mode = json_str(own, "mode");
	bool on = mode.p ? str_eq_z(mode, "exact") : x->route->cache_mode == CACHE_EXACT;
	int64_t ttl_s = json_i64(own, "ttl", 0);
	if (!on || cache_key(x->route, j->tenant_id, j->kind, json_get(submission, "request"), x->key) < 0)
		return;
	x->cache_ttl_ms = ttl_s > 0 ? ttl_s * 1000 : x->route->cache_ttl_ms;
}

static enum flow_next serve(struct job *j, enum served_level level, struct str target, struct str result)
{
	j->end.status = JOB_SUCCEEDED;
	j->end.level = level;
	j->end.target = target;
	j->end.error_code = NULL;
	j->end.error_message = (struct str){ NULL, 0 };
	j->end.error_status = 0;
	j->end.result = result;
	return flow_jump(&j->flow, END);
}

enum flow_next execution_ask_cache(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	if (x->cache_ttl_ms == 0)
		return FLOW_NEXT;
	cache_ask(j->worker->cache, &x->cache, j, x->key, conf_now()->retry_in_place_ms, f);
	return FLOW_WAIT;
}

enum flow_next execution_cache_answered(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	struct cache_op *op = &x->cache;
	x->leading = rc == 0 && op->answer == CACHE_LEAD;
	if (f->canceled)
		return execution_stopped(j);
	if (rc < 0)
		return FLOW_NEXT; /* without the cache */
	switch (op->answer) {
	case CACHE_HIT:
		j->end.flags |= op->shared ? FLAG_SHARED : 0;
		return serve(j, LEVEL_CACHE, op->target, op->body);
	case CACHE_LEAD:
		break;
	case CACHE_WAIT_OVER:
		return execution_wait(j, SHARED_WAIT_MS + (int64_t)worker_jitter(SHARED_WAIT_MS), PARK_SHARED);
	}
	return FLOW_NEXT;
}

void execution_settle_cache(struct job *j)
{
	struct execution *x = j->execution;
	if (!x->leading)
		return;
	x->leading = false;
	bool own = j->end.status == JOB_SUCCEEDED && (j->end.level == LEVEL_PRIMARY || j->end.level == LEVEL_FALLBACK) && !(j->end.flags & FLAG_PARTIAL);
	if (!own || (int64_t)j->end.result.n > conf_now()->cache_entry_bytes) {
		cache_give_up(j->worker->cache, j, x->key);
		return;
	}
	struct cache_write *w = arena_new(&j->arena, struct cache_write);
	memcpy(w->key, x->key, sizeof w->key);
	w->namespace = x->route->cache_namespace.p ? x->route->cache_namespace : STR("");
	w->route = x->route->name;
	w->ttl_ms = x->cache_ttl_ms;
	w->stale_ms = conf_now()->cache_stale_ms;
	j->end.cache = w;
}

/* --- ladder --- */

static enum flow_next nothing_serves(struct job *j)
{
	struct execution *x = j->execution;
	/* In the queue, not here: the next lease begins at the top again. */
	if (x->after_ladder == AFTER_WAIT)
		return flow_jump(&j->flow, GIVE_BACK);
	return execution_fail_job(j, j->end.error_code, j->end.error_message);
}

enum flow_next execution_down(struct job *j, enum after_ladder after)
{
	struct execution *x = j->execution;
	/* The simple model failed: why the route itself could not serve stays the reason. */
	if (x->level != LEVEL_SIMPLE_MODEL)
		x->after_ladder = after;
	return x->nladder > 0 ? flow_jump(&j->flow, RUNG) : nothing_serves(j);
}

int execution_attempts_for_targets(const struct job *j)
{
	const struct execution *x = j->execution;
	bool simple = false;
	for (size_t i = 0; i < x->nladder; i++)
		simple |= x->ladder[i] == RUNG_SIMPLE_MODEL;
	return simple ? MAX(j->max_attempts - 1, 1) : j->max_attempts;
}

static enum flow_next try_simple(struct job *j)
{
	struct execution *x = j->execution;
	x->simple_target = x->route->simple_model;
	x->simple = (struct conf_choice){ .targets = &x->simple_target, .ntargets = 1, .choose = CHOOSE_ORDERED };
	routing_use(&x->routing, j, &x->facts, &x->simple, "the ladder's simple_model");
	x->level = LEVEL_SIMPLE_MODEL;
	return flow_jump(&j->flow, CHOOSE);
}

enum flow_next execution_rung(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	if (f->canceled)
		return execution_stopped(j);
	while (x->nladder > 0) {
		enum conf_rung rung = *x->ladder++;
		x->nladder--;
		switch (rung) {
		case RUNG_STALE_CACHE:
			if (x->cache_ttl_ms == 0)
				continue;
			cache_ask_stale(j->worker->cache, &x->cache, j, x->key, f);
			return FLOW_WAIT;
		case RUNG_SIMPLE_MODEL:
			if (j->attempts >= j->max_attempts)
				continue;
			return try_simple(j);
		case RUNG_STATIC:
			if (j->kind != JOB_CHAT)
				continue;
			x->rung = arena_new(&j->arena, struct ladder_op);
			ladder_static(j->worker, x->rung, j, x->route, x->facts.last_user, f);
			return FLOW_WAIT;
		case RUNG_COUNT:
			break;
		}
	}
	return nothing_serves(j);
}

enum flow_next execution_rung_done(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	enum conf_rung rung = x->ladder[-1];
	if (f->canceled)
		return execution_stopped(j);
	if (rc == 0 && rung == RUNG_STALE_CACHE && x->cache.answer == CACHE_HIT)
		return serve(j, LEVEL_STALE_CACHE, x->cache.target, x->cache.body);
	if (rc == 0 && rung == RUNG_STATIC && x->rung->result.p)
		return serve(j, LEVEL_STATIC, STR("static"), x->rung->result);
	return x->nladder > 0 ? flow_jump(f, RUNG) : nothing_serves(j);
}
