/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a claimed job, in order. Read the table first.
 *
 *   load ─▶ choose ─▶ call ─▶ judge ──accept, fail──▶ end        one transaction: outcome, attempts, batch count, webhook
 *             ▲                 │
 *             │                 ├──a short wait──▶ keep ─▶ nap ─┐  the attempt is written before the next call is made
 *             └─────────────────┼───────────────────────────────┘
 *                               └──a long wait───▶ give back      parked in the database: no memory, survives restarts
 *   hold: the database refused even the bare end of a job; again after a while
 *
 * Cancel, deadline, lost lease and drain all enter by execution_cancel; whatever step is waiting ends early, and `stopped` says where it goes:
 * a canceled or expired job ends as such, a drained one is given back uncounted, one whose lease is lost is forgotten.
 */
#include "worker/execution.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/nap.h"
#include "worker/attempt.h"
#include "worker/cost.h"
#include "worker/judge.h"
#include "worker/lease.h"
#include "worker/record.h"
#include "worker/worker.h"

struct execution {
	json_t *body;                    /* owned: the whole submission; NULL while a call is out: it is parsed again for the next */
	struct conf *conf;               /* ref'ed: routes and targets stay as they were at the start */
	const struct conf_route *route;
	size_t target_at;                /* the target that is tried next */
	struct attempt attempt;
	struct nap nap;
	struct record_op record;
	struct judgement judgement;
	int failures_in_row, bad_outputs;
	int attempts_before;             /* by earlier leases */
	int held_step;                   /* that the database refused, to be done again after HOLD */
};

#define LEASE_CALLS 20
#define HOLD_MS     1000
#define LEASES_COUNTED 6 /* of a job that was given back: more does not lengthen its waits */

enum { LOAD, CHOOSE, CALL, JUDGE, KEEP, NAP, END, GIVE_BACK, HOLD };

static struct job *job_of(struct flow *f)
{
	return container_of(f, struct job, flow);
}

static enum flow_next fail_job(struct job *j, const char *code, struct str message)
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

/* Where a flow that was canceled goes. */
static enum flow_next stopped(struct job *j)
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

/* --- load: the request and its route --- */

static void drop_body(struct execution *x)
{
	json_decref(x->body);
	x->body = NULL;
}

static void drop_all(void *ptr)
{
	struct execution *x = ptr;
	drop_body(x);
	attempt_done(&x->attempt);
	conf_unref(x->conf);
}

static enum flow_next load(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	struct err err = { 0 };
	if (loop_now_ms(j->worker->loop) >= j->deadline_ms)
		return expire_job(j, STR("the deadline passed while the job waited"));
	if (!j->body.p)
		return fail_job(j, "request_erased", STR("the request was erased"));
	x->body = json_parse(j->body, &err);
	if (!json_is_object(json_get(x->body, "request")))
		return fail_job(j, err_code_name(ERR_BAD_JSON), x->body ? STR("the stored submission has no request") : arena_str(&j->arena, str_from(err.text)));
	x->route = conf_route_find(x->conf, &j->arena, j->route);
	if (!x->route || x->route->ntargets == 0)
		return fail_job(j, err_code_name(ERR_UNKNOWN_ROUTE), arena_printf(&j->arena, "the configuration has no route or model \"" STR_FMT "\"", STR_ARG(j->route)));
	return FLOW_NEXT;
}

/* --- choose: which target --- */

static enum flow_next choose(struct flow *f)
{
	struct job *j = job_of(f);
	if (loop_now_ms(j->worker->loop) >= j->deadline_ms)
		flow_cancel(f, -ERR_EXPIRED);
	if (f->canceled)
		return stopped(j);
	/* After a freeze the job may be another's: the write that goes before the next call finds out. */
	if (j->number > 0 && !leases_are_good(j->worker->leases))
		return flow_jump(f, KEEP);
	j->execution->target_at %= j->execution->route->ntargets;
	return FLOW_NEXT;
}

/* --- call --- */

static enum flow_next call(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	const struct conf_target *target = x->route->targets[x->target_at];
	struct err err = { 0 };
	attempt_done(&x->attempt);
	if (!x->body)
		x->body = json_parse(j->body, &err);
	int rc = attempt_start(&x->attempt, j, target, json_get(x->body, "request"), j->number + 1, f, &err);
	/* Ten thousand calls may be out: the text is kept, the tree is not. */
	drop_body(x);
	if (rc == 0) {
		j->number++;
		return FLOW_WAIT;
	}
	j->end.target = target->name;
	return fail_job(j, err_code_name(rc), arena_str(&j->arena, str_from(err.text)));
}

/* The row of the call that just ended goes with the next write. */
static void keep_row(struct job *j)
{
	struct attempt_row *row = j->execution->attempt.row;
	list_push(&j->unwritten, &row->link);
	j->end.target = row->target;
	j->end.error_status = row->http_status;
	j->end.usage.input += row->usage.input;
	j->end.usage.cached_input += row->usage.cached_input;
	j->end.usage.cache_write += row->usage.cache_write;
	j->end.usage.output += row->usage.output;
	j->end.usage.reasoning += row->usage.reasoning;
	j->end.cost_nanousd = cost_add(j->end.cost_nanousd, row->cost_nanousd);
	j->end.flags |= row->flags & FLAG_ESTIMATED;
}

static enum flow_next called(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	(void)rc;
	if (f->canceled) {
		j->execution->attempt.row->next = f->cancel_rc == -ERR_DRAINING ? STR("back to the queue: the worker is shutting down") : STR("ended");
		keep_row(j);
		return stopped(j);
	}
	return FLOW_NEXT;
}

/* --- judge --- */

static void log_failure(const struct job *j, const struct attempt_row *row, const struct judgement *v)
{
	char id[ID_TEXT_MAX];
	job_text(j, id);
	log_event(LOG_INFO, "attempt_failed", v->why, LOG_Z("job", id), LOG_STR("target", row->target), LOG_Z("class", row->code),
	          LOG_I64("status", row->http_status), LOG_I64("wait_ms", v->wait_ms), LOG_I64("attempts", j->attempts), LOG_END);
}

/*
 * A wait that went back to the queue began a new lease: what failed before counts for the length of the next wait. Calls that are free are counted
 * nowhere but by their leases.
 */
static int earlier_failures(const struct job *j, enum err_code class)
{
	if (class == ERR_PROVIDER_RATE_LIMIT || class == ERR_QUOTA)
		return (int)MIN(MAX(j->token - 1 - j->interruptions, 0), LEASES_COUNTED);
	return j->execution->attempts_before;
}

static struct judgement ask_judge(struct job *j, enum err_code class)
{
	struct execution *x = j->execution;
	const struct conf *c = conf_now();
	const struct provider_result *r = &x->attempt.result;
	uint64_t now = loop_now_ms(j->worker->loop);
	struct judge_input in = {
		.class = class,
		.retry_after_ms = r->retry_after_ms,
		.should_retry = r->should_retry,
		.attempts = j->attempts + 1,
		.max_attempts = j->max_attempts,
		.failures_in_row = x->failures_in_row + earlier_failures(j, class),
		.bad_outputs = x->bad_outputs,
		.more_targets = x->target_at + 1 < x->route->ntargets,
		.left_ms = j->deadline_ms > now ? (int64_t)(j->deadline_ms - now) : 0,
		.random = worker_jitter(UINT64_MAX),
	};
	struct judge_times times = { c->retry_base_ms, c->retry_max_ms, c->retry_overload_ms, c->retry_overload_max_ms };
	return judge(&in, &times);
}

static enum flow_next accept_answer(struct job *j)
{
	struct execution *x = j->execution;
	size_t n;
	char *text = buf_steal(&x->attempt.result.result, &n);
	j->end.status = JOB_SUCCEEDED;
	j->end.level = x->target_at == 0 ? LEVEL_PRIMARY : LEVEL_FALLBACK;
	j->end.error_status = 0;
	j->end.result = (struct str){ text, n };
	arena_defer(&j->arena, free, text);
	return flow_jump(&j->flow, END);
}

static enum flow_next go_on(struct job *j)
{
	struct execution *x = j->execution;
	switch (x->judgement.verdict) {
	case VERDICT_ACCEPT:
		return accept_answer(j);
	case VERDICT_NEXT_TARGET:
		x->target_at++;
		x->judgement.wait_ms = 0;
		return flow_jump(&j->flow, KEEP);
	case VERDICT_AGAIN:
	case VERDICT_PARK:
		/* After a wait the route begins anew; a lease that has seen many calls is given back, so that what they left in memory goes. */
		if (x->judgement.wait_ms > 0)
			x->target_at = 0;
		if (x->judgement.wait_ms > conf_now()->retry_in_place_ms || j->number >= LEASE_CALLS)
			return flow_jump(&j->flow, GIVE_BACK);
		return flow_jump(&j->flow, KEEP);
	case VERDICT_FAIL:
		break;
	}
	return fail_job(j, x->attempt.row->code, x->attempt.row->message);
}

static enum flow_next weigh(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	enum err_code class = x->attempt.result.class;
	x->failures_in_row += class != ERR_OK;
	x->bad_outputs += class == ERR_BAD_OUTPUT;
	x->judgement = ask_judge(j, class);
	j->attempts += x->judgement.counts;
	x->attempt.row->next = str_from(x->judgement.why);
	if (class != ERR_OK)
		log_failure(j, x->attempt.row, &x->judgement);
	keep_row(j);
	return go_on(j);
}

/* --- keep: write the attempt before the next one begins --- */

static enum flow_next keep(struct flow *f)
{
	struct job *j = job_of(f);
	record_attempt(&j->execution->record, j, f);
	return FLOW_WAIT;
}

static enum flow_next kept(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	if (rc == -ERR_LEASE_LOST)
		return flow_fail(f, rc);
	if (f->canceled)
		return stopped(j);
	return rc < 0 ? fail_job(j, err_code_name(rc), STR("the attempt could not be recorded")) : FLOW_NEXT;
}

/* --- nap --- */

static enum flow_next nap(struct flow *f)
{
	struct job *j = job_of(f);
	if (j->execution->judgement.wait_ms <= 0)
		return flow_jump(f, CHOOSE);
	nap_start(&j->execution->nap, j->worker->loop, f, (uint64_t)j->execution->judgement.wait_ms);
	return FLOW_WAIT;
}

static enum flow_next nap_over(struct flow *f, int rc)
{
	(void)rc;
	return f->canceled ? stopped(job_of(f)) : flow_jump(f, CHOOSE);
}

/* --- end, give back: the lease is given up in the database --- */

static enum flow_next end(struct flow *f)
{
	struct job *j = job_of(f);
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
	return fail_job(j, err_code_name(ERR_INTERNAL), STR("the outcome could not be stored"));
}

static enum flow_next give_back(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	bool drained = f->canceled && f->cancel_rc == -ERR_DRAINING;
	enum park_reason reason = x->judgement.verdict == VERDICT_PARK ? PARK_RATE_LIMIT : PARK_RETRY;
	record_give_back(&x->record, j, drained ? -1 : x->judgement.wait_ms, reason, false, f);
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
	[LOAD]      = { "load",      load,      NULL },
	[CHOOSE]    = { "choose",    choose,    NULL },
	[CALL]      = { "call",      call,      called },
	[JUDGE]     = { "judge",     weigh,     NULL },
	[KEEP]      = { "keep",      keep,      kept },
	[NAP]       = { "nap",       nap,       nap_over },
	[END]       = { "end",       end,       ended },
	[GIVE_BACK] = { "give_back", give_back, given_back },
	[HOLD]      = { "hold",      hold,      held },
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
