/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a claimed job, in order. Read the table at the end first.
 *
 *   load ─▶ cached ─▶ choose ─▶ admit ─▶ call ─▶ judge ──accept, fail──▶ end   one transaction: outcome, attempts, cache, batch count, webhook
 *             │          ▲ │       │               │ │
 *             │          │ └──none─┴──▶ rung ◀─────┘ │                        the ladder: what serves when no target can
 *             hit        ├──a short wait──▶ keep ─▶ nap ─┐                    the attempt is written before the next call is made
 *             ▼          └───────────────────────────────┘
 *            end             a long wait ──▶ give back                        parked in the database: no memory, survives restarts
 *   hold: the database refused even the bare end of a job; again after a while
 *
 * choose asks routing.c for a target; admit takes what the call needs before it is made: the fleet's probe of a half-open breaker, and the limits; both are
 * given back by whatever ends the call. Cancel, deadline, lost lease and drain all enter by execution_cancel; whatever step is waiting ends early, and
 * execution_stopped says where it goes: a canceled or expired job ends as such, a drained one is given back uncounted, one whose lease is lost is forgotten.
 */
#include "worker/execution/execution_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/queue/lease.h"
#include "worker/queue/tenants.h"

#define LEASE_CALLS 20
#define HOLD_MS     1000

/* --- where a job goes --- */

enum flow_next execution_fail_job(struct job *j, const char *code, struct str message)
{
	j->end.status = JOB_FAILED;
	j->end.error_code = code;
	j->end.error_message = message;
	return flow_jump(&j->flow, END);
}

static enum flow_next expire_job(struct job *j, struct str message)
{
	j->end.status = JOB_EXPIRED;
	j->end.error_code = err_code_name(ERR_EXPIRED);
	j->end.error_message = message;
	return flow_jump(&j->flow, END);
}

enum flow_next execution_stopped(struct job *j)
{
	int reason = j->flow.cancel_rc;
	if (reason == -ERR_LEASE_LOST)
		return flow_fail(&j->flow, reason);
	if (reason == -ERR_DRAINING)
		return flow_jump(&j->flow, GIVE_BACK);
	j->end.status = reason == -ERR_EXPIRED ? JOB_EXPIRED : JOB_CANCELED;
	j->end.error_code = err_code_name(reason);
	j->end.error_message = reason == -ERR_EXPIRED ? STR("the deadline passed while it ran") : STR("canceled while it ran");
	return flow_jump(&j->flow, END);
}

enum flow_next execution_wait(struct job *j, int64_t wait_ms, enum park_reason reason)
{
	struct execution *x = j->execution;
	x->wait_ms = MAX(wait_ms, 0);
	x->wait_reason = reason;
	routing_forget_tries(&x->routing);
	x->moved = false;
	bool here = x->wait_ms <= conf_now()->retry_in_place_ms && j->number < LEASE_CALLS && reason != PARK_SHARED;
	return flow_jump(&j->flow, here ? KEEP : GIVE_BACK);
}

/* --- load: the request and its route --- */

void execution_drop_body(struct execution *x)
{
	json_decref(x->body);
	x->body = NULL;
}

static void drop_all(void *ptr)
{
	struct execution *x = ptr;
	execution_drop_body(x);
	attempt_done(&x->attempt);
	limiter_release(&x->ticket);
	conf_unref(x->conf);
}

static bool parse_word(struct str word, const char *const *names, size_t n, size_t *ret)
{
	for (size_t i = 0; i < n; i++)
		if (word.p && str_eq_z(word, names[i])) {
			*ret = i;
			return true;
		}
	return false;
}

/* What the job says of limits and of its ladder, else what its route does. */
static void plan_manners(struct job *j)
{
	struct execution *x = j->execution;
	const json_t *partial = json_get(x->body, "accept_partial");
	struct str exhausted = json_str(x->body, "on_exhausted");
	size_t word;
	x->on_limit = parse_word(json_str(x->body, "on_limit"), conf_on_limit_words, ARRAY_LEN(conf_on_limit_words), &word) ? (enum conf_on_limit)word : x->route->on_limit;
	x->accept_partial = json_is_boolean(partial) ? json_is_true(partial) : x->route->accept_partial;
	x->ladder = x->route->ladder;
	x->nladder = str_eq_z(exhausted, "fail") ? 0 : x->route->nladder;
	if (!parse_word(exhausted, conf_rung_words, ARRAY_LEN(conf_rung_words), &word))
		return;
	while (x->nladder > 0 && *x->ladder != (enum conf_rung)word) {
		x->ladder++;
		x->nladder--;
	}
}

static void plan_sender(struct job *j)
{
	struct execution *x = j->execution;
	const struct conf_tier *tier = NULL;
	x->tenant = tenant_name(j->worker->tenants, j->tenant_id);
	if (x->tenant.p)
		tier = conf_tier_find(x->conf, SCOPE_TENANT, x->tenant);
	x->tier = tier ? tier->name : (struct str){ NULL, 0 };
	if (!j->metadata.p || x->conf->ntier_of[SCOPE_FEATURE] == 0)
		return;
	json_t *metadata = json_parse(j->metadata, NULL);
	struct str feature = json_str(metadata, "feature");
	x->feature = feature.p ? arena_str(&j->arena, feature) : feature;
	json_decref(metadata);
}

static enum flow_next load(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	struct err err = { 0 };
	if (loop_now_ms(j->worker->loop) >= j->deadline_ms)
		return expire_job(j, STR("the deadline passed while the job waited"));
	if (!j->body.p)
		return execution_fail_job(j, "request_erased", STR("the request was erased"));
	x->body = json_parse(j->body, &err);
	const json_t *request = json_get(x->body, "request");
	if (!json_is_object(request))
		return execution_fail_job(j, err_code_name(ERR_BAD_JSON), x->body ? STR("the stored submission has no request") : arena_str(&j->arena, str_from(err.text)));
	x->route = conf_route_find(x->conf, &j->arena, j->route);
	if (!x->route || x->route->ntargets == 0)
		return execution_fail_job(j, err_code_name(ERR_UNKNOWN_ROUTE), arena_printf(&j->arena, "the configuration has no route or model \"" STR_FMT "\"", STR_ARG(j->route)));
	plan_manners(j);
	plan_sender(j);
	request_facts_read(&x->facts, request, j->kind == JOB_EMBEDDINGS, &j->arena);
	x->facts.last_user = x->nladder > 0 && x->facts.last_user.p ? arena_str(&j->arena, x->facts.last_user) : (struct str){ NULL, 0 };
	routing_start(&x->routing, x->route, j, &x->facts, x->tier);
	execution_plan_cache(j, x->body);
	return FLOW_NEXT;
}

/* --- choose: which target --- */

/* How long it may wait for a target before the ladder serves. */
bool execution_may_go_down(const struct job *j)
{
	const struct execution *x = j->execution;
	int64_t waited_ms = (clock_wall_us() - j->created_us) / 1000;
	return x->nladder > 0 && waited_ms >= x->route->ladder_after_ms;
}

static enum flow_next no_target_now(struct job *j)
{
	struct execution *x = j->execution;
	bool limited = x->pick.reason == PARK_RATE_LIMIT && x->on_limit != ON_LIMIT_FALLBACK;
	x->wait_ms = x->pick.wait_ms + (int64_t)worker_jitter((uint64_t)(x->pick.wait_ms / 10 + 1));
	x->wait_reason = x->pick.reason;
	if (x->level == LEVEL_SIMPLE_MODEL || (execution_may_go_down(j) && !limited))
		return execution_down(j, AFTER_WAIT);
	/* To serve from the ladder in time. */
	if (x->nladder > 0 && !limited)
		x->wait_ms = MIN(x->wait_ms, MAX(x->route->ladder_after_ms - (clock_wall_us() - j->created_us) / 1000, 1));
	return execution_wait(j, x->wait_ms, x->wait_reason);
}

static enum flow_next no_target(struct job *j)
{
	struct execution *x = j->execution;
	if (!j->end.error_code) {
		j->end.error_code = err_code_name(ERR_UNSUPPORTED);
		j->end.error_message = arena_printf(&j->arena, "no target of the route can take this request: %s", x->pick.why);
	}
	return execution_down(j, AFTER_FAIL);
}

static enum flow_next choose(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	if (loop_now_ms(j->worker->loop) >= j->deadline_ms)
		flow_cancel(f, -ERR_EXPIRED);
	if (f->canceled)
		return execution_stopped(j);
	/* After a freeze the job may be another's: the write that goes before the next call finds out. */
	if (j->number > 0 && !leases_are_good(j->worker->leases))
		return flow_jump(f, KEEP);
	switch (routing_next(&x->routing, j, &x->facts, &x->pick)) {
	case ROUTING_CHOSEN:
		break;
	case ROUTING_WAIT:
		return no_target_now(j);
	case ROUTING_NONE:
		return no_target(j);
	}
	return FLOW_NEXT;
}

/* --- keep: write the attempt before the next one begins --- */

static enum flow_next keep(struct flow *f)
{
	struct job *j = job_of(f);
	if (list_is_empty(&j->unwritten) && leases_are_good(j->worker->leases))
		return FLOW_NEXT;
	j->execution->record = (struct record_op){ .job = j };
	record_attempt(&j->execution->record, j, f);
	return FLOW_WAIT;
}

static enum flow_next kept(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	if (rc == -ERR_LEASE_LOST)
		return flow_fail(f, rc);
	if (f->canceled)
		return execution_stopped(j);
	return rc < 0 ? execution_fail_job(j, err_code_name(rc), STR("the attempt could not be recorded")) : FLOW_NEXT;
}

/* --- nap --- */

static enum flow_next nap(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	if (x->wait_ms <= 0)
		return flow_jump(f, CHOOSE);
	x->nap = (struct nap){ .op.flow = NULL };
	nap_start(&x->nap, j->worker->loop, f, (uint64_t)x->wait_ms);
	return FLOW_WAIT;
}

static enum flow_next nap_over(struct flow *f, int rc)
{
	(void)rc;
	return f->canceled ? execution_stopped(job_of(f)) : flow_jump(f, CHOOSE);
}

/* --- end, give back: the lease is given up in the database --- */

/* A response that ended before it was done is told as another event. Whatever served it: the result itself says so. */
static void note_limit(struct job *j)
{
	if (j->form != JOB_FORM_RESPONSE || j->end.status != JOB_SUCCEEDED || !j->end.result.p)
		return;
	_cleanup_(json_drop) json_t *result = json_parse_lenient(j->end.result, NULL);
	struct str finish = json_str(json_array_get(json_get(result, "choices"), 0), "finish_reason");
	if (str_eq_z(finish, "length") || str_eq_z(finish, "content_filter"))
		j->end.flags |= FLAG_LIMITED;
}

static enum flow_next end(struct flow *f)
{
	struct job *j = job_of(f);
	execution_settle_cache(j);
	note_limit(j);
	j->execution->record = (struct record_op){ .job = j };
	record_end(&j->execution->record, j, f);
	return FLOW_WAIT;
}

/*
 * The database takes nothing at all (a full disk, say). The lease lives as long as this worker, so the job may not be forgotten: the same
 * step again after a while. A worker that is shutting down leaves it behind: others rescue what a process that is gone still holds.
 */
static enum flow_next hold_for(struct job *j, int step, int rc)
{
	if (j->worker->state != WORKER_LIVE)
		return flow_fail(&j->flow, rc);
	j->execution->held_step = step;
	return flow_jump(&j->flow, HOLD);
}

/* The database would not take it as it is: say so in its place, without what came from outside. */
static enum flow_next ended(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	if (rc == 0 || rc == -ERR_LEASE_LOST)
		return flow_fail(f, rc);
	list_init(&j->unwritten);
	j->end.result = (struct str){ NULL, 0 };
	j->end.target = (struct str){ NULL, 0 };
	if (j->end.error_code == err_code_name(ERR_INTERNAL))
		return hold_for(j, END, rc);
	j->end.cache = NULL;
	return execution_fail_job(j, err_code_name(ERR_INTERNAL), STR("the outcome could not be stored"));
}

static enum flow_next give_back(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	bool drained = f->canceled && f->cancel_rc == -ERR_DRAINING;
	execution_settle_cache(j);
	x->record = (struct record_op){ .job = j };
	record_give_back(&x->record, j, drained ? -1 : x->wait_ms, x->wait_reason, false, f);
	return FLOW_WAIT;
}

static enum flow_next given_back(struct flow *f, int rc)
{
	if (rc == 0 || rc == -ERR_LEASE_LOST)
		return flow_fail(f, rc);
	list_init(&job_of(f)->unwritten);
	return hold_for(job_of(f), GIVE_BACK, rc);
}

static enum flow_next hold(struct flow *f)
{
	struct job *j = job_of(f);
	j->execution->nap = (struct nap){ .op.flow = NULL };
	nap_start(&j->execution->nap, j->worker->loop, f, HOLD_MS);
	return FLOW_WAIT;
}

static enum flow_next held(struct flow *f, int rc)
{
	(void)rc;
	if (f->canceled && f->cancel_rc == -ERR_LEASE_LOST)
		return flow_fail(f, f->cancel_rc);
	return flow_jump(f, job_of(f)->execution->held_step);
}

static const struct flow_step steps[] = {
	[LOAD]      = { "load",      load,                NULL },
	[CACHED]    = { "cached",    execution_ask_cache, execution_cache_answered },
	[CHOOSE]    = { "choose",    choose,              NULL },
	[ADMIT]     = { "admit",     execution_admit,     execution_admitted },
	[CALL]      = { "call",      execution_call,      execution_called },
	[JUDGE]     = { "judge",     execution_weigh,     NULL },
	[KEEP]      = { "keep",      keep,                kept },
	[NAP]       = { "nap",       nap,                 nap_over },
	[RUNG]      = { "rung",      execution_rung,      execution_rung_done },
	[END]       = { "end",       end,                 ended },
	[GIVE_BACK] = { "give_back", give_back,           given_back },
	[HOLD]      = { "hold",      hold,                held },
	{ NULL, NULL, NULL },
};

static void execution_over(struct flow *f, int result)
{
	struct job *j = job_of(f);
	if (result < 0) {
		char id[ID_TEXT_MAX], trace[256];
		job_text(j, id);
		log_event(result == -ERR_LEASE_LOST ? LOG_WARN : LOG_ERROR, err_code_name(result), "the job goes on elsewhere", LOG_Z("job", id),
		          LOG_I64("token", j->token), LOG_Z("steps", flow_trace(f, trace, sizeof trace)), LOG_END);
	}
	job_free(j);
}

void execution_start(struct job *j)
{
	struct execution *x = arena_new(&j->arena, struct execution);
	j->execution = x;
	x->attempts_before = j->attempts;
	x->conf = conf_now_ref();
	arena_defer(&j->arena, drop_all, x);
	flow_start(&j->flow, "job", steps, execution_over);
}

void execution_cancel(struct job *j, int reason_rc)
{
	flow_cancel(&j->flow, reason_rc);
}
