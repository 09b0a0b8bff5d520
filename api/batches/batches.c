/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch: read, list, cancel, retry. Cancel marks the batch first, so that a worker's sweep
 * finishes what this request cannot, then ends what waits, some thousand jobs per statement, until nothing is left.
 * Retry goes through the batch by line number, in pieces, and can be repeated at any point.
 */
#include "api/batches/batches.h"

#include <string.h>

#include "api/batches/batch_object.h"
#include "api/jobs/hints.h"
#include "api/page.h"
#include "api/request.h"
#include "api/jobs/waiters.h"
#include "common/clock.h"
#include "common/conf.h"
#include "sql_api.h"

#define CANCEL_ROWS 5000
#define RETRY_ROWS  2000

struct batch_state {
	struct waiter waiter;
	int64_t wait_ms;
	int after_line; /* of retry */
	int retried;
	int status; /* of the answer */
	struct page page;
};

static struct batch_state *state_of(struct request *q)
{
	if (!q->state)
		q->state = arena_new(&q->http->arena, struct batch_state);
	return q->state;
}

void batches_facts(const struct db_query *q, int row, struct batch_facts *ret)
{
	*ret = (struct batch_facts){
		.id = db_get_id(q, row, BATCH_COL_ID),
		.form = (int)db_get_int(q, row, BATCH_COL_FORM),
		.total = (int)db_get_int(q, row, BATCH_COL_TOTAL),
		.succeeded = (int)db_get_int(q, row, BATCH_COL_SUCCEEDED),
		.failed = (int)db_get_int(q, row, BATCH_COL_FAILED),
		.canceled = (int)db_get_int(q, row, BATCH_COL_CANCELED),
		.expired = (int)db_get_int(q, row, BATCH_COL_EXPIRED),
		.created_us = db_get_time(q, row, BATCH_COL_CREATED),
		.finished_us = db_get_time(q, row, BATCH_COL_FINISHED),
		.cancel_us = db_get_time(q, row, BATCH_COL_CANCEL),
		.input_tokens = db_get_int(q, row, BATCH_COL_INPUT),
		.cached_input_tokens = db_get_int(q, row, BATCH_COL_CACHED),
		.output_tokens = db_get_int(q, row, BATCH_COL_OUTPUT),
		.reasoning_tokens = db_get_int(q, row, BATCH_COL_REASONING),
		.cost_nanousd = db_get_int(q, row, BATCH_COL_COST),
		.cost_unknown = (int)db_get_int(q, row, BATCH_COL_COST_UNKNOWN),
	};
}

enum flow_next batches_load(struct request *q, struct id id)
{
	request_query_init(q, &sql_api_batch_get);
	db_arg_i32(&q->query.args, id_bucket(id));
	db_arg_id(&q->query.args, id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

enum flow_next batches_answer(struct request *q, int status)
{
	const struct db_query *query = &q->query;
	if (db_rows(query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such batch");
	struct str etag = batch_object_etag(&q->http->arena, query, 0);
	if (!batch_object_is_over(query, 0))
		http_reply_header(q->http, "Retry-After", STR("1"));
	bool cached = request_is_cached(q, etag);
	if (cached && q->http->method != HTTP_POST)
		return request_answer(q, 304);
	batch_object_write(&q->out, query, 0);
	return request_answer(q, status ? status : 200);
}

static enum flow_next load_start(struct flow *f)
{
	struct request *q = request_of(f);
	return batches_load(q, q->id);
}

/* --- GET /v1/batches/{batch} --- */

enum { GET_READ, GET_LOAD, GET_HOLD };

static enum flow_next read_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct batch_state *s = state_of(q);
	s->wait_ms = request_wait_ms(q);
	return s->wait_ms < 0 ? request_refuse(q) : FLOW_NEXT;
}

static enum flow_next get_loaded(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	bool hold =
	    db_rows(&q->query) > 0 && !batch_object_is_over(&q->query, 0) && state_of(q)->wait_ms > 0 && !q->gone;
	return hold ? FLOW_NEXT : batches_answer(q, 200);
}

static void hurry(struct request *q)
{
	op_cancel(&state_of(q)->waiter.op);
}

static enum flow_next hold_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct batch_state *s = state_of(q);
	q->on_gone = hurry;
	waiter_start(q->api->waiters, &s->waiter, f, q->id, q->who.tenant_id, /* is_batch= */ true, s->wait_ms);
	s->wait_ms = 0;
	return FLOW_WAIT;
}

static enum flow_next hold_done(struct flow *f, int rc)
{
	(void)rc; /* over, timed out or hurried: look once more */
	return flow_jump(f, GET_LOAD);
}

const struct flow_step batches_get_steps[] = {
	[GET_READ] = { "read", read_start, NULL },
	[GET_LOAD] = { "load", load_start, get_loaded },
	[GET_HOLD] = { "hold", hold_start, hold_done },
	{ .name = NULL },
};

/* --- GET /v1/batches --- */

static enum flow_next list_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct page *page = &state_of(q)->page;
	if (request_page(q, "batch_", page) < 0)
		return request_refuse(q);
	request_query_init(q, page->descending ? &sql_api_batch_list : &sql_api_batch_list_up);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	if (id_is_zero(page->after))
		db_arg_null(&q->query.args);
	else
		db_arg_id(&q->query.args, page->after);
	db_arg_i32(&q->query.args, page->limit + 1);
	return request_query(q);
}

static enum flow_next list_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the list could not be read");
	page_write(&q->out, &q->query, state_of(q)->page.limit, "batch_", batch_object_write);
	return request_answer(q, 200);
}

const struct flow_step batches_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

/* --- POST /v1/batches/{batch}/cancel --- */

enum flow_next batches_mark_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_batch_cancel);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

enum flow_next batches_mark_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the batch was canceled: ask again");
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such batch");
	return FLOW_NEXT; /* in one that is over, the sweep finds nothing */
}

enum flow_next batches_sweep_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_batch_cancel_some);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i32(&q->query.args, CANCEL_ROWS);
	return request_query(q);
}

enum flow_next batches_sweep_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch is marked; its jobs are canceled by and by");
	if (db_get_int(&q->query, 0, 1) > 0)
		hints_cancel(q->api->hints, (struct id){ 0 });
	return db_get_int(&q->query, 0, 0) > 0 ? flow_jump(f, f->at) : FLOW_NEXT;
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct batch_state *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	return batches_answer(q, s && s->status ? s->status : 200);
}

const struct flow_step batches_cancel_steps[] = {
	{ "mark", batches_mark_start, batches_mark_done },
	{ "sweep", batches_sweep_start, batches_sweep_done },
	{ "view", load_start, view_done },
	{ .name = NULL },
};

/* --- POST /v1/batches/{batch}/retry --- */

enum { RETRY_EXISTS, RETRY_SOME, RETRY_VIEW };

static enum flow_next exists_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such batch");
	state_of(q)->after_line = -1;
	return FLOW_NEXT;
}

static enum flow_next some_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_batch_retry);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i32(&q->query.args, state_of(q)->after_line);
	db_arg_i32(&q->query.args, RETRY_ROWS);
	db_arg_i64(&q->query.args, conf_now()->job_expires_ms);
	return request_query(q);
}

static enum flow_next some_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct batch_state *s = state_of(q);
	if (rc < 0)
		return request_fail(q, rc, "some jobs were retried: ask again for the rest");
	int n = (int)db_get_int(&q->query, 0, 1);
	s->retried += n;
	if (n > 0)
		hints_ready(q->api->hints, (int)db_get_int(&q->query, 0, 2), (int)db_get_int(&q->query, 0, 3));
	if (!db_is_null(&q->query, 0, 0)) {
		s->after_line = (int)db_get_int(&q->query, 0, 0);
		return flow_jump(f, RETRY_SOME);
	}
	if (s->retried == 0)
		return request_fail(q, ERR_CONFLICT, "no job of the batch has failed, was canceled or has expired, or its cost cap leaves no room for one");
	s->status = 202;
	return FLOW_NEXT;
}

const struct flow_step batches_retry_steps[] = {
	[RETRY_EXISTS] = { "exists", load_start, exists_done },
	[RETRY_SOME] = { "some", some_start, some_done },
	[RETRY_VIEW] = { "view", load_start, view_done },
	{ .name = NULL },
};
