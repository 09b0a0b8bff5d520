/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job: read, cancel, retry, erase. All answer with the job object, read by job_view after whatever was done.
 * Another tenant's job does not exist (404). Each is safe to repeat: canceling an ended job answers it as it stands,
 * retrying a job that is queued again is a conflict.
 */
#include "api/jobs/jobs.h"

#include "api/jobs/job_view.h"
#include "api/jobs/hints.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/nap.h"
#include "sql_api.h"

#define CANCEL_WAIT_MS 2000
#define CANCEL_ASKS    20

/* What a cancellation keeps. */
struct canceling {
	struct nap nap;
	int asks;
	bool was_running;
};

static void release_view(struct request *q)
{
	job_view_done(jobs_view(q));
}

static void hurry_view(struct request *q)
{
	job_view_hurry(jobs_view(q));
}

struct job_view *jobs_view(struct request *q)
{
	if (!q->view) {
		q->view = arena_new(&q->http->arena, struct job_view);
		q->release = release_view;
		q->on_gone = hurry_view;
	}
	return q->view;
}

enum flow_next jobs_answer(struct request *q, int status)
{
	const struct job_view *v = jobs_view(q);
	char room[64];
	struct str etag = job_object_etag(&v->facts, room);
	if (!job_status_is_over(v->facts.status))
		http_reply_header(q->http, "Retry-After",
		                  arena_printf(&q->http->arena, "%lld", (long long)v->retry_after_s));
	bool cached = request_is_cached(q, etag);
	if (cached && (q->http->method == HTTP_GET || q->http->method == HTTP_HEAD_))
		return request_answer(q, 304);
	job_object_write(&q->out, conf_now(), &v->facts, (struct job_object_how){ .with_result = true, .index = -1 });
	return request_answer(q, status ? status : 200);
}

static enum flow_next view_failed(struct request *q, int rc)
{
	return request_fail(q, rc, rc == -(int)ERR_NOT_FOUND ? "there is no such job" : "the job could not be read");
}

static void job_args(struct request *q)
{
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
}

/* --- GET /v1/jobs/{job} --- */

static enum flow_next get_start(struct flow *f)
{
	struct request *q = request_of(f);
	int64_t wait_ms = request_wait_ms(q);
	if (wait_ms < 0)
		return request_refuse(q);
	job_view_start(q->api, jobs_view(q), f, q->id, q->who.tenant_id, wait_ms);
	return FLOW_WAIT;
}

static enum flow_next get_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	return rc < 0 ? view_failed(q, rc) : jobs_answer(q, 200);
}

const struct flow_step jobs_get_steps[] = {
	{ "get", get_start, get_done },
	{ .name = NULL },
};

/* --- POST /v1/jobs/{job}/cancel --- */

enum { CANCEL, CANCEL_VIEW, CANCEL_NAP };

static enum flow_next cancel_start(struct flow *f)
{
	struct request *q = request_of(f);
	if (!q->state)
		q->state = arena_new(&q->http->arena, struct canceling);
	request_query_init(q, &sql_api_cancel);
	job_args(q);
	return request_query(q);
}

static enum flow_next cancel_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct canceling *one = q->state;
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the job was canceled: ask again");
	if (db_rows(&q->query) > 0 && !db_is_null(&q->query, 0, 1)) {
		one->was_running = true;
		hints_cancel(q->api->hints, db_get_id(&q->query, 0, 1));
	}
	return FLOW_NEXT;
}

static enum flow_next cancel_view_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct canceling *one = q->state;
	job_view_start(q->api, jobs_view(q), f, q->id, q->who.tenant_id,
	               one->was_running && !q->gone ? CANCEL_WAIT_MS : 0);
	return FLOW_WAIT;
}

static enum flow_next cancel_view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct canceling *one = q->state;
	if (rc < 0)
		return view_failed(q, rc);
	const struct job_facts *j = &jobs_view(q)->facts;
	if (job_status_is_over(j->status))
		return jobs_answer(q, 200);
	if (j->status == STATUS_RUNNING && j->cancel_requested)
		return jobs_answer(q, 202);
	/* It was between two tables when the statement looked. */
	if (++one->asks >= CANCEL_ASKS)
		return request_fail(q, ERR_DB_CONFLICT, "the job moves too quickly: ask again");
	return FLOW_NEXT;
}

static enum flow_next cancel_nap_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct canceling *one = q->state;
	nap_start(&one->nap, &q->api->loop, f, (uint64_t)one->asks * 5);
	return FLOW_WAIT;
}

static enum flow_next cancel_nap_done(struct flow *f, int rc)
{
	(void)rc;
	return flow_jump(f, CANCEL);
}

const struct flow_step jobs_cancel_steps[] = {
	[CANCEL] = { "cancel", cancel_start, cancel_done },
	[CANCEL_VIEW] = { "view", cancel_view_start, cancel_view_done },
	[CANCEL_NAP] = { "nap", cancel_nap_start, cancel_nap_done },
	{ .name = NULL },
};

/* --- POST /v1/jobs/{job}/retry --- */

static enum flow_next retry_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_retry);
	job_args(q);
	db_arg_i64(&q->query.args, conf_now()->job_expires_ms);
	return request_query(q);
}

static enum flow_next retry_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the job was retried: read it");
	if (db_rows(&q->query) > 0)
		hints_ready(q->api->hints, (int)db_get_int(&q->query, 0, 0), (int)db_get_int(&q->query, 0, 1));
	return FLOW_NEXT;
}

static enum flow_next plain_view_start(struct flow *f)
{
	struct request *q = request_of(f);
	job_view_start(q->api, jobs_view(q), f, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

static enum flow_next retry_view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return view_failed(q, rc);
	if (db_rows(&q->query) > 0)
		return jobs_answer(q, 202);
	switch (jobs_view(q)->facts.status) {
	case STATUS_SUCCEEDED:
		return request_fail(q, ERR_CONFLICT, "the job succeeded: there is nothing to retry");
	case STATUS_FAILED:
	case STATUS_CANCELED:
	case STATUS_EXPIRED:
		return request_fail(q, ERR_CONFLICT,
		                    "the job's request was erased, another retry of it is under way, or its batch has a cost cap: retry the batch");
	case STATUS_SCHEDULED:
	case STATUS_QUEUED:
	case STATUS_RUNNING:
		break;
	}
	return request_fail(q, ERR_CONFLICT, "the job has not ended");
}

const struct flow_step jobs_retry_steps[] = {
	{ "retry", retry_start, retry_done },
	{ "view", plain_view_start, retry_view_done },
	{ .name = NULL },
};

/* --- DELETE /v1/jobs/{job} --- */

static enum flow_next erase_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_job_erase);
	job_args(q);
	return request_query(q);
}

static enum flow_next erase_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the job was erased: ask again");
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such job");
	if (db_get_bool(&q->query, 0, 0))
		return request_fail(q, ERR_CONFLICT, "the job has not ended: cancel it first");
	buf_add_z(&q->out, "{\"id\":");
	job_object_id(&q->out, q->id, "job_");
	buf_add_z(&q->out, ",\"object\":\"job\",\"deleted\":true}");
	return request_answer(q, 200);
}

const struct flow_step jobs_erase_steps[] = {
	{ "erase", erase_start, erase_done },
	{ .name = NULL },
};
