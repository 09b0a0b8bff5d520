/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch: read, list, cancel, retry. Counts are those of the batch's row plus what outcomes added since it was
 * folded; what runs is counted from the leases; the rest waits. Cancel marks the batch first, so that a worker's sweep
 * finishes what this request cannot, then ends what waits, some thousand jobs per statement, until nothing is left.
 * Retry goes through the batch by line number, in pieces, and can be repeated at any point.
 */
#include "api/batches.h"

#include <string.h>

#include "api/hints.h"
#include "api/job_object.h"
#include "api/page.h"
#include "api/request.h"
#include "api/waiters.h"
#include "common/clock.h"
#include "common/conf.h"
#include "sql_api.h"

#define CANCEL_ROWS 5000
#define RETRY_ROWS  2000

/* The columns of batch_get.sql. */
enum {
	COL_ID,
	COL_TOTAL,
	COL_ERRORS,
	COL_ERROR_COUNT,
	COL_CREATED,
	COL_FINISHED,
	COL_CANCEL,
	COL_WEBHOOK,
	COL_SUCCEEDED,
	COL_FAILED,
	COL_CANCELED,
	COL_EXPIRED,
	COL_NOW,
	COL_RUNNING,
	COL_FORM,
	COL_INPUT,
	COL_CACHED,
	COL_OUTPUT,
	COL_REASONING,
	COL_COST,
	COL_COST_UNKNOWN,
};

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

static int ended(const struct db_query *q, int row)
{
	int n = 0;
	for (int col = COL_SUCCEEDED; col <= COL_EXPIRED; col++)
		n += (int)db_get_int(q, row, col);
	return n;
}

static const char *status_name(const struct db_query *q, int row)
{
	bool is_canceled = !db_is_null(q, row, COL_CANCEL), is_over = !db_is_null(q, row, COL_FINISHED);
	if (is_over)
		return is_canceled ? "canceled" : "completed";
	return is_canceled ? "canceling" : "running";
}

static void write_counts(struct buf *b, const struct db_query *q, int row)
{
	int total = (int)db_get_int(q, row, COL_TOTAL), over = ended(q, row),
	    running = (int)db_get_int(q, row, COL_RUNNING);
	buf_printf(
	    b,
	    ",\"counts\":{\"queued\":%d,\"running\":%d,\"succeeded\":%d,\"failed\":%d,\"canceled\":%d,\"expired\":%d}",
	    MAX(0, total - over - running), running, (int)db_get_int(q, row, COL_SUCCEEDED),
	    (int)db_get_int(q, row, COL_FAILED), (int)db_get_int(q, row, COL_CANCELED),
	    (int)db_get_int(q, row, COL_EXPIRED));
}

static void write_progress(struct buf *b, const struct db_query *q, int row)
{
	int total = (int)db_get_int(q, row, COL_TOTAL), over = ended(q, row);
	bool is_over = !db_is_null(q, row, COL_FINISHED);
	int64_t until_us = is_over ? db_get_time(q, row, COL_FINISHED) : db_get_time(q, row, COL_NOW);
	int64_t took_ms = MAX((int64_t)1, (until_us - db_get_time(q, row, COL_CREATED)) / 1000);
	int64_t per_mille = total ? (int64_t)over * 1000 / total : 1000, rate_milli = (int64_t)over * 1000000 / took_ms;
	buf_printf(b, ",\"progress\":{\"percent\":%lld.%lld,\"rate_per_s\":%lld.%03lld,\"estimated_finish_at\":",
	           (long long)(per_mille / 10), (long long)(per_mille % 10), (long long)(rate_milli / 1000),
	           (long long)(rate_milli % 1000));
	int64_t finish_us =
	    !is_over && rate_milli > 0 ? until_us + (int64_t)(total - over) * 1000000000 / rate_milli : 0;
	job_object_time(b, finish_us);
	buf_add_char(b, '}');
}

/* Of the jobs that have ended. Where the price of a call is not known, the rest of its job's calls counts all the same. */
static void write_usage(struct buf *b, const struct db_query *q, int row)
{
	buf_printf(b, ",\"usage\":{\"input_tokens\":%lld,\"cached_input_tokens\":%lld,\"output_tokens\":%lld,\"reasoning_tokens\":%lld},\"cost\":{\"usd\":",
	           (long long)db_get_int(q, row, COL_INPUT), (long long)db_get_int(q, row, COL_CACHED), (long long)db_get_int(q, row, COL_OUTPUT),
	           (long long)db_get_int(q, row, COL_REASONING));
	job_object_usd(b, db_get_int(q, row, COL_COST));
	buf_printf(b, ",\"unknown_jobs\":%d}", (int)db_get_int(q, row, COL_COST_UNKNOWN));
}

static void write_batch(struct buf *b, const struct db_query *q, int row)
{
	buf_add_z(b, "{\"id\":");
	job_object_id(b, db_get_id(q, row, COL_ID), "batch_");
	buf_printf(b, ",\"object\":\"batch\",\"status\":\"%s\",\"total\":%d", status_name(q, row),
	           (int)db_get_int(q, row, COL_TOTAL));
	write_counts(b, q, row);
	buf_add_z(b, ",\"created_at\":");
	job_object_time(b, db_get_time(q, row, COL_CREATED));
	buf_add_z(b, ",\"finished_at\":");
	job_object_time(b, db_get_time(q, row, COL_FINISHED));
	buf_add_z(b, ",\"cancel_requested_at\":");
	job_object_time(b, db_get_time(q, row, COL_CANCEL));
	write_progress(b, q, row);
	write_usage(b, q, row);
	buf_add_z(b, ",\"webhook\":");
	if (db_is_null(q, row, COL_WEBHOOK)) {
		buf_add_z(b, "null");
	} else {
		buf_add_z(b, "{\"url\":");
		buf_add_json_str(b, db_get_str(q, row, COL_WEBHOOK));
		buf_add_char(b, '}');
	}
	buf_add_z(b, ",\"errors\":");
	buf_add_str(b, db_is_null(q, row, COL_ERRORS) ? STR("[]") : db_get_str(q, row, COL_ERRORS));
	buf_printf(b, ",\"error_count\":%d}", (int)db_get_int(q, row, COL_ERROR_COUNT));
}

void batches_facts(const struct db_query *q, int row, struct batch_facts *ret)
{
	*ret = (struct batch_facts){
		.id = db_get_id(q, row, COL_ID),
		.form = (int)db_get_int(q, row, COL_FORM),
		.total = (int)db_get_int(q, row, COL_TOTAL),
		.succeeded = (int)db_get_int(q, row, COL_SUCCEEDED),
		.failed = (int)db_get_int(q, row, COL_FAILED),
		.canceled = (int)db_get_int(q, row, COL_CANCELED),
		.expired = (int)db_get_int(q, row, COL_EXPIRED),
		.created_us = db_get_time(q, row, COL_CREATED),
		.finished_us = db_get_time(q, row, COL_FINISHED),
		.cancel_us = db_get_time(q, row, COL_CANCEL),
		.input_tokens = db_get_int(q, row, COL_INPUT),
		.cached_input_tokens = db_get_int(q, row, COL_CACHED),
		.output_tokens = db_get_int(q, row, COL_OUTPUT),
		.reasoning_tokens = db_get_int(q, row, COL_REASONING),
		.cost_nanousd = db_get_int(q, row, COL_COST),
		.cost_unknown = (int)db_get_int(q, row, COL_COST_UNKNOWN),
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
	struct str etag = arena_printf(&q->http->arena, "W/\"%d-%d-%d-%s\"", ended(query, 0),
	                               (int)db_get_int(query, 0, COL_SUCCEEDED), (int)db_get_int(query, 0, COL_RUNNING),
	                               status_name(query, 0));
	if (db_is_null(query, 0, COL_FINISHED))
		http_reply_header(q->http, "Retry-After", STR("1"));
	bool cached = request_is_cached(q, etag);
	if (cached && q->http->method != HTTP_POST)
		return request_answer(q, 304);
	write_batch(&q->out, query, 0);
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
	    db_rows(&q->query) > 0 && db_is_null(&q->query, 0, COL_FINISHED) && state_of(q)->wait_ms > 0 && !q->gone;
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
	page_write(&q->out, &q->query, state_of(q)->page.limit, "batch_", write_batch);
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
		return request_fail(q, ERR_CONFLICT, "no job of the batch has failed, was canceled or has expired");
	s->status = 202;
	return FLOW_NEXT;
}

const struct flow_step batches_retry_steps[] = {
	[RETRY_EXISTS] = { "exists", load_start, exists_done },
	[RETRY_SOME] = { "some", some_start, some_done },
	[RETRY_VIEW] = { "view", load_start, view_done },
	{ .name = NULL },
};
