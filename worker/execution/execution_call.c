/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of a job, from its target to what follows from the answer: the steps admit, call and judge of execution.c's table.
 *
 *   admit   the fleet's probe, when the target's breaker is half-open; then all limits that the call needs, or none. Whoever leaves this step without
 *           a call gives both back
 *   call    attempt.c makes it; its end is told to the target's record and settled with the limits, however it went
 *   judge   judge.c says what the class means; here that becomes the next step: serve it, another target, a special choice of the route, a wait, the
 *           ladder, or the job's failure
 */
#include "worker/execution/execution_private.h"

#include <stdlib.h>

#include "common/log.h"
#include "worker/execution/cost.h"
#include "worker/queue/lease.h"
#include "worker/execution/live.h"

#define LEASES_COUNTED 6 /* of a job that was given back: more does not lengthen its waits */

/* --- admit: what the call needs before it is made --- */

static struct candidate *chosen(struct execution *x)
{
	return &x->routing.list[x->pick.at];
}

/* There will be no call: the fleet's probe and what was taken of limits go back, where the job has them. */
static void give_up_admission(struct job *j)
{
	struct execution *x = j->execution;
	limiter_release(&x->ticket);
	if (x->probing)
		targets_probe_release(j->worker->targets, chosen(x)->live);
	x->probing = false;
}

static int64_t expected_output(const struct execution *x, const struct job *j)
{
	if (j->kind == JOB_EMBEDDINGS)
		return 0;
	if (x->max_output > 0)
		return x->max_output;
	return x->facts.max_output > 0 ? x->facts.max_output : target_output_p95(x->routing.list[x->pick.at].live);
}

/* Until it can be shortened no more, a request that may be is only tried: it will not come back for all of it. */
static bool may_shorten(const struct execution *x, const struct job *j)
{
	return x->on_limit == ON_LIMIT_SHORTEN && expected_output(x, j) > x->route->shorten_floor;
}

enum flow_next execution_admit(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	struct candidate *c = chosen(x);
	if (f->canceled) {
		give_up_admission(j);
		return execution_stopped(j);
	}
	x->asking_probe = c->probe && !x->probing;
	if (x->asking_probe) {
		x->probe = (struct probe_op){ .target = c->live };
		targets_probe(j->worker->targets, &x->probe, c->live, f);
		return FLOW_WAIT;
	}
	struct limit_ask ask = {
		.target = c->target,
		.tenant_id = j->tenant_id,
		.tenant = x->tenant,
		.key_prefix = j->key_prefix,
		.user = j->user,
		.feature = x->feature,
		.input_tokens = request_facts_tokens(&x->facts, target_millibytes(c->live)),
		.output_tokens = expected_output(x, j),
		.call_ms = attempt_total_ms(c->target),
		.only_now = may_shorten(x, j),
	};
	bool tries = ask.only_now || x->on_limit == ON_LIMIT_FALLBACK;
	x->limit = (struct limit_op){ .limiter = j->worker->limiter };
	limiter_take(j->worker->limiter, &x->limit, &ask, &x->ticket, tries ? ROUTING_PATIENCE_MS : conf_now()->retry_in_place_ms, f);
	return FLOW_WAIT;
}

static enum flow_next probe_answered(struct job *j, int rc)
{
	struct execution *x = j->execution;
	x->probing = rc == 0;
	if (j->flow.canceled) {
		give_up_admission(j);
		return execution_stopped(j);
	}
	return flow_jump(&j->flow, rc == 0 ? ADMIT : CHOOSE);
}

/* At a limit, and waiting here was of no use. */
static enum flow_next at_limit(struct job *j)
{
	struct execution *x = j->execution;
	struct limit_op *op = &x->limit;
	int64_t wait_ms = op->wait_ms;
	int64_t shorter = MAX(op->shorten_to, x->route->shorten_floor);
	if (may_shorten(x, j) && op->shorten_to >= 0 && shorter < expected_output(x, j)) {
		x->max_output = shorter;
		return flow_jump(&j->flow, ADMIT);
	}
	give_up_admission(j);
	if (x->on_limit == ON_LIMIT_FALLBACK && op->is_target) {
		routing_tried(&x->routing, x->pick.at);
		if (routing_has_other(&x->routing, j, x->pick.at))
			return flow_jump(&j->flow, CHOOSE);
		x->wait_ms = wait_ms;
		x->wait_reason = PARK_RATE_LIMIT;
		if (execution_may_go_down(j))
			return execution_down(j, AFTER_WAIT);
	}
	return execution_wait(j, wait_ms, PARK_RATE_LIMIT);
}

/* This worker was frozen, or the database away, for longer than its lease lives: the limits that it holds may be others' by now, and the job, too. */
static enum flow_next in_doubt(struct job *j)
{
	struct execution *x = j->execution;
	give_up_admission(j);
	x->wait_ms = 0;
	return flow_jump(&j->flow, KEEP);
}

enum flow_next execution_admitted(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	if (x->asking_probe)
		return probe_answered(j, rc);
	if (rc == 0 && !f->canceled)
		return leases_are_good(j->worker->leases) ? FLOW_NEXT : in_doubt(j);
	if (f->canceled || rc == -ERR_TOO_LARGE)
		give_up_admission(j);
	if (f->canceled)
		return execution_stopped(j);
	if (rc != -ERR_TOO_LARGE)
		return at_limit(j);
	/* It will never fit: another target may have more room, another moment has not. */
	j->end.error_code = err_code_name(ERR_LIMIT_TOO_SMALL);
	j->end.error_message = arena_printf(&j->arena, "the request is larger than the whole limit: %s", x->limit.which);
	if (!x->limit.is_target)
		return execution_fail_job(j, j->end.error_code, j->end.error_message);
	routing_drop(&x->routing, x->pick.at, "the request is larger than its limit");
	return flow_jump(f, CHOOSE);
}

/* --- call --- */

enum flow_next execution_call(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	struct candidate *c = chosen(x);
	struct err err = { 0 };
	if (f->canceled) {
		give_up_admission(j);
		return execution_stopped(j);
	}
	attempt_done(&x->attempt);
	if (!x->body)
		x->body = json_parse(j->body, &err);
	int rc = attempt_start(&x->attempt, j, c->target, json_get(x->body, "request"), j->number + 1, x->max_output, f, &err);
	/* Ten thousand calls may be out: the text is kept, the tree is not. */
	execution_drop_body(x);
	if (rc == 0) {
		x->attempt.row->choice = x->pick.choice;
		x->is_retry = routing_is_retry(&x->routing, j, x->pick.at);
		if (x->is_retry)
			targets_retry_begins(c->live);
		routing_called(&x->routing, x->pick.at);
		targets_call_begins(c->live);
		j->number++;
		return FLOW_WAIT;
	}
	give_up_admission(j);
	/* This wire format cannot say it; another one may. */
	j->end.target = c->target->name;
	j->end.error_code = err_code_name(rc);
	j->end.error_message = arena_str(&j->arena, str_from(err.text));
	routing_drop(&x->routing, x->pick.at, "its wire format cannot say this request");
	return flow_jump(f, CHOOSE);
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
	j->end.known_nanousd += MAX(row->cost_nanousd, 0);
	j->end.flags |= row->flags & FLAG_ESTIMATED;
}

/* Bare model names are whatever a caller writes: what is wrong with one says nothing about the endpoint's key. */
static bool is_configured(const struct execution *x, const struct conf_target *t)
{
	return t >= x->conf->targets && t < x->conf->targets + x->conf->ntargets;
}

static bool needs_person(enum err_code class)
{
	return class == ERR_PROVIDER_AUTH || class == ERR_BILLING || class == ERR_PROVIDER_PERMISSION || class == ERR_PROVIDER_NOT_FOUND;
}

/* Tells limits and target how the call ended. */
static void report_call(struct job *j)
{
	struct execution *x = j->execution;
	const struct attempt *a = &x->attempt;
	const struct provider_result *r = &a->result;
	const struct attempt_row *row = a->row;
	struct target_call call = {
		.class = needs_person(r->class) && !is_configured(x, a->target) ? ERR_BAD_REQUEST : r->class,
		.http_status = row->http_status,
		.message = row->message,
		.job = j->id,
		.retry_after_ms = r->retry_after_ms,
		.first_token_ms = row->first_token_ms,
		.total_ms = row->total_ms,
		.is_retry = x->is_retry,
		.is_probe = x->probing,
		.canceled = a->canceled,
		.request_bytes = x->facts.text_bytes,
		.input_tokens = r->usage_known && x->facts.images == 0 && x->facts.file_bytes == 0 ? r->usage.input : 0,
		.output_tokens = r->usage_known ? r->usage.output : 0,
	};
	x->probing = false;
	targets_called(j->worker->targets, chosen(x)->live, &call);
	bool known = r->usage_known;
	limiter_settle(&x->ticket, known ? r->usage.input : -1, known ? r->usage.output : -1);
}

enum flow_next execution_called(struct flow *f, int rc)
{
	struct job *j = job_of(f);
	(void)rc;
	live_end(j);
	report_call(j);
	if (f->canceled) {
		j->execution->attempt.row->next = f->cancel_rc == -ERR_DRAINING ? STR("back to the queue: the worker is shutting down") : STR("ended");
		keep_row(j);
		return execution_stopped(j);
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
		.max_attempts = execution_attempts_for_targets(j),
		.failures_in_row = x->failures_in_row + earlier_failures(j, class),
		.bad_outputs = x->bad_outputs,
		.more_targets = routing_has_other(&x->routing, j, x->pick.at),
		.left_ms = j->deadline_ms > now ? (int64_t)(j->deadline_ms - now) : 0,
		.random = worker_jitter(UINT64_MAX),
	};
	struct judge_times times = { c->retry_base_ms, c->retry_max_ms, c->retry_overload_ms, c->retry_overload_max_ms };
	return judge(&in, &times);
}

static enum flow_next accept_answer(struct job *j, bool partial)
{
	struct execution *x = j->execution;
	size_t n;
	char *text = buf_steal(&x->attempt.result.result, &n);
	j->end.status = JOB_SUCCEEDED;
	bool second = x->routing.choice->choose == CHOOSE_ORDERED ? x->pick.at > 0 : x->moved;
	j->end.level = x->level == LEVEL_PRIMARY && second ? LEVEL_FALLBACK : x->level;
	j->end.error_code = NULL;
	j->end.error_message = (struct str){ NULL, 0 };
	j->end.error_status = 0;
	j->end.flags |= partial ? FLAG_PARTIAL : 0;
	j->end.result = (struct str){ text, n };
	arena_defer(&j->arena, free, text);
	return flow_jump(&j->flow, END);
}

/* Another choice of the route for what this one cannot have: a larger model, one with another policy. */
static bool has_special(struct job *j, enum err_code class)
{
	struct execution *x = j->execution;
	const struct conf_choice *choice = class == ERR_CONTEXT_WINDOW ? &x->route->context_window : class == ERR_CONTENT_FILTER ? &x->route->content_policy : NULL;
	bool *used = class == ERR_CONTEXT_WINDOW ? &x->used_context : &x->used_content;
	if (!choice || choice->ntargets == 0 || *used || j->attempts >= j->max_attempts)
		return false;
	*used = true;
	routing_use(&x->routing, j, &x->facts, choice, class == ERR_CONTEXT_WINDOW ? "context_window" : "content_policy");
	x->level = LEVEL_FALLBACK;
	return true;
}

/* The failure is final for the targets; what the request itself is at fault for, no rung mends. */
static enum flow_next give_up(struct job *j)
{
	struct execution *x = j->execution;
	enum err_code class = x->attempt.result.class;
	j->end.error_code = x->attempt.row->code;
	j->end.error_message = x->attempt.row->message;
	if (class == ERR_BAD_REQUEST || class == ERR_CONTENT_FILTER || class == ERR_OUTPUT_TRUNCATED)
		return execution_fail_job(j, j->end.error_code, j->end.error_message);
	/* Another one will do, when it can be called again. */
	bool elsewhere = needs_person(class) || class == ERR_CONTEXT_WINDOW || class == ERR_LIMIT_TOO_SMALL || class == ERR_PROVIDER_TOO_LARGE;
	if (elsewhere && j->attempts < j->max_attempts && routing_fits_other(&x->routing, x->pick.at)) {
		routing_drop(&x->routing, x->pick.at, j->end.error_code);
		return flow_jump(&j->flow, KEEP);
	}
	/* The key waits for a person, and so do the jobs: the failure is not theirs. */
	bool key = (class == ERR_PROVIDER_AUTH || class == ERR_BILLING) && is_configured(x, x->attempt.target);
	x->wait_ms = ROUTING_PERSON_MS;
	x->wait_reason = PARK_UNAVAILABLE;
	return execution_down(j, key ? AFTER_WAIT : AFTER_FAIL);
}

static enum flow_next go_on(struct job *j)
{
	struct execution *x = j->execution;
	x->wait_ms = 0;
	switch (x->judgement.verdict) {
	case VERDICT_ACCEPT:
		return accept_answer(j, false);
	case VERDICT_NEXT_TARGET:
		routing_tried(&x->routing, x->pick.at);
		x->moved = true;
		return flow_jump(&j->flow, KEEP);
	case VERDICT_AGAIN:
		if (x->level == LEVEL_SIMPLE_MODEL)
			return execution_down(j, x->after_ladder);
		return execution_wait(j, x->judgement.wait_ms, PARK_RETRY);
	case VERDICT_PARK:
		if (execution_may_go_down(j) && x->on_limit == ON_LIMIT_FALLBACK) {
			x->wait_ms = x->judgement.wait_ms;
			x->wait_reason = PARK_RATE_LIMIT;
			return execution_down(j, AFTER_WAIT);
		}
		return execution_wait(j, x->judgement.wait_ms, PARK_RATE_LIMIT);
	case VERDICT_FAIL:
		break;
	}
	return give_up(j);
}

/* The whole time was over with text in hand, and the job takes that. */
static bool takes_partial(const struct execution *x)
{
	const struct attempt *a = &x->attempt;
	return x->accept_partial && a->result.has_partial && a->http.timeout == HTTP_TIMEOUT_TOTAL;
}

enum flow_next execution_weigh(struct flow *f)
{
	struct job *j = job_of(f);
	struct execution *x = j->execution;
	enum err_code class = x->attempt.result.class;
	bool partial = takes_partial(x);
	x->failures_in_row += class != ERR_OK;
	x->bad_outputs += class == ERR_BAD_OUTPUT;
	x->judgement = ask_judge(j, class);
	j->attempts += x->judgement.counts;
	if (partial)
		x->judgement = (struct judgement){ .verdict = VERDICT_ACCEPT, .counts = true, .why = "the total time was over: the part that came is served" };
	else if (class == ERR_BAD_REQUEST && x->route->fallback_on_bad_request && routing_has_other(&x->routing, j, x->pick.at) && j->attempts < j->max_attempts)
		x->judgement = (struct judgement){ .verdict = VERDICT_NEXT_TARGET, .counts = true, .why = "the next target of the route" };
	else if (has_special(j, class))
		x->judgement = (struct judgement){ .verdict = VERDICT_AGAIN, .counts = true, .why = x->routing.why };
	x->attempt.row->flags |= partial ? FLAG_PARTIAL : 0;
	x->attempt.row->next = str_from(x->judgement.why);
	if (class != ERR_OK)
		log_failure(j, x->attempt.row, &x->judgement);
	keep_row(j);
	return partial ? accept_answer(j, true) : go_on(j);
}
