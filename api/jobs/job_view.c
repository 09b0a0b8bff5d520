/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load → hold → (load again) → count. A hold that times out is no failure: the job is answered as it stands. The count
 * stops at 1,000 rows, and a failure of it only leaves `ahead` unknown. The estimated start is the count over what all
 * live workers ended in the last minute.
 */
#include "api/jobs/job_view.h"

#include "api/api.h"
#include "common/clock.h"
#include "sql_api.h"

#define AHEAD_MAX 1000

enum { LOAD, HOLD, COUNT };

static struct job_view *view_of(struct flow *f)
{
	return container_of(f, struct job_view, flow);
}

static enum flow_next load_start(struct flow *f)
{
	struct job_view *v = view_of(f);
	db_query_done(&v->query);
	db_query_init(&v->query, &sql_api_job_get);
	db_arg_i32(&v->query.args, id_bucket(v->id));
	db_arg_id(&v->query.args, v->id);
	db_arg_i64(&v->query.args, v->tenant_id);
	int rc = api_query_start(v->api, &v->query, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct job_view *v = view_of(f);
	if (rc < 0)
		return flow_fail(f, rc);
	if (db_rows(&v->query) == 0)
		return flow_fail(f, -(int)ERR_NOT_FOUND);
	job_facts_read(&v->query, 0, &v->facts);
	return FLOW_NEXT;
}

static enum flow_next hold_start(struct flow *f)
{
	struct job_view *v = view_of(f);
	if (v->has_waited || v->wait_ms <= 0 || job_status_is_over(v->facts.status))
		return FLOW_NEXT;
	v->has_waited = true;
	waiter_start(v->api->waiters, &v->waiter, f, v->id, v->tenant_id, /* is_batch= */ false, v->wait_ms);
	return FLOW_WAIT;
}

static enum flow_next hold_done(struct flow *f, int rc)
{
	(void)rc; /* over, timed out or hurried: look once more */
	return flow_jump(f, LOAD);
}

static enum flow_next count_start(struct flow *f)
{
	struct job_view *v = view_of(f);
	const struct job_facts *j = &v->facts;
	v->retry_after_s = 1;
	if (j->parked_until_us || j->status == STATUS_SCHEDULED) {
		int64_t until_us = j->parked_until_us ? j->parked_until_us : j->run_at_us;
		v->retry_after_s = MAX((int64_t)1, MIN((int64_t)300, (until_us - clock_wall_us()) / 1000000 + 1));
	}
	if (j->status != STATUS_QUEUED || !j->lane)
		return FLOW_NEXT;
	db_query_init(&v->count_query, &sql_api_ahead);
	struct db_args *a = &v->count_query.args;
	db_arg_i32(a, j->lane);
	db_arg_i16(a, (int16_t)j->priority);
	db_arg_i64(a, j->pass);
	db_arg_id(a, j->id);
	db_arg_i32(a, AHEAD_MAX);
	return api_query_start(v->api, &v->count_query, f) < 0 ? FLOW_NEXT : FLOW_WAIT;
}

static enum flow_next count_done(struct flow *f, int rc)
{
	struct job_view *v = view_of(f);
	if (rc < 0 || db_rows(&v->count_query) != 1)
		return FLOW_NEXT;
	int64_t ahead = db_get_int(&v->count_query, 0, 0), per_minute = db_get_int(&v->count_query, 0, 1);
	if (ahead <= AHEAD_MAX)
		v->facts.ahead = (int)ahead;
	if (per_minute > 0) {
		int64_t wait_s = ahead * 60 / per_minute;
		if (ahead <= AHEAD_MAX)
			v->facts.start_us = clock_wall_us() + wait_s * 1000000;
		v->retry_after_s = MAX((int64_t)1, MIN((int64_t)60, wait_s));
	}
	return FLOW_NEXT;
}

static const struct flow_step view_steps[] = {
	[LOAD] = { "load", load_start, load_done },
	[HOLD] = { "hold", hold_start, hold_done },
	[COUNT] = { "count", count_start, count_done },
	{ .name = NULL },
};

static void on_view_end(struct flow *f, int result)
{
	op_done(&view_of(f)->op, result);
}

void job_view_start(struct api *api, struct job_view *v, struct flow *flow, struct id id, int64_t tenant_id,
                    int64_t wait_ms)
{
	job_view_done(v);
	*v = (struct job_view){ .api = api, .id = id, .tenant_id = tenant_id, .wait_ms = wait_ms };
	op_start(&v->op, flow, "a job", NULL);
	flow_start(&v->flow, "job_view", view_steps, on_view_end);
}

void job_view_done(struct job_view *v)
{
	db_query_done(&v->query);
	db_query_done(&v->count_query);
}

void job_view_hurry(struct job_view *v)
{
	op_cancel(&v->waiter.op);
}
