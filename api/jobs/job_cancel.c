/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel → look → nap → cancel …: the statement finds the job where it waits or runs, or it finds it nowhere. Then it has ended, or it was between two
 * tables while the statement looked and is asked for again a little later.
 */
#include "api/jobs/job_cancel.h"

#include "api/api.h"
#include "api/jobs/hints.h"
#include "sql_api.h"

#define ASKS 20

enum { CANCEL, LOOK, NAP };

static struct job_cancel *cancel_of(struct flow *f)
{
	return container_of(f, struct job_cancel, flow);
}

static enum flow_next cancel_start(struct flow *f)
{
	struct job_cancel *c = cancel_of(f);
	db_query_done(&c->query);
	db_query_init(&c->query, &sql_api_cancel);
	db_arg_i32(&c->query.args, id_bucket(c->id));
	db_arg_id(&c->query.args, c->id);
	db_arg_i64(&c->query.args, c->tenant_id);
	int rc = api_query_start(c->api, &c->query, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next cancel_done(struct flow *f, int rc)
{
	struct job_cancel *c = cancel_of(f);
	if (rc < 0)
		return flow_fail(f, rc);
	if (db_rows(&c->query) == 0)
		return FLOW_NEXT;
	if (!db_is_null(&c->query, 0, 1))
		hints_cancel(c->api->hints, db_get_id(&c->query, 0, 1));
	return flow_over(f, 0);
}

static enum flow_next look_start(struct flow *f)
{
	struct job_cancel *c = cancel_of(f);
	struct db_array bucket, id, tenant;
	db_array_init(&bucket, DB_INT4, 64);
	db_array_init(&id, DB_UUID, 64);
	db_array_init(&tenant, DB_INT8, 64);
	db_array_i32(&bucket, id_bucket(c->id));
	db_array_id(&id, c->id);
	db_array_i64(&tenant, c->tenant_id);
	db_query_done(&c->query);
	db_query_init(&c->query, &sql_api_ended_jobs);
	db_arg_array(&c->query.args, &bucket);
	db_arg_array(&c->query.args, &id);
	db_arg_array(&c->query.args, &tenant);
	db_array_done(&bucket);
	db_array_done(&id);
	db_array_done(&tenant);
	int rc = api_query_start(c->api, &c->query, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next look_done(struct flow *f, int rc)
{
	struct job_cancel *c = cancel_of(f);
	if (rc < 0 || db_rows(&c->query) > 0)
		return flow_over(f, rc);
	return ++c->asks < ASKS ? FLOW_NEXT : flow_fail(f, -(int)ERR_DB_CONFLICT);
}

static enum flow_next nap_begin(struct flow *f)
{
	struct job_cancel *c = cancel_of(f);
	nap_start(&c->nap, &c->api->loop, f, (uint64_t)c->asks * 5);
	return FLOW_WAIT;
}

static enum flow_next nap_over(struct flow *f, int rc)
{
	(void)rc;
	return flow_jump(f, CANCEL);
}

static const struct flow_step steps[] = {
	[CANCEL] = { "cancel", cancel_start, cancel_done },
	[LOOK] = { "look", look_start, look_done },
	[NAP] = { "nap", nap_begin, nap_over },
	{ .name = NULL },
};

static void on_end(struct flow *f, int result)
{
	op_done(&cancel_of(f)->op, result);
}

void job_cancel_start(struct api *api, struct job_cancel *c, struct flow *flow, struct id id, int64_t tenant_id)
{
	job_cancel_done(c);
	*c = (struct job_cancel){ .api = api, .id = id, .tenant_id = tenant_id };
	op_start(&c->op, flow, "a cancellation", NULL);
	flow_start(&c->flow, "job_cancel", steps, on_end);
}

void job_cancel_done(struct job_cancel *c)
{
	db_query_done(&c->query);
}
