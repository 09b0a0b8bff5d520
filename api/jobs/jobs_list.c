/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/jobs and GET /v1/jobs/{job}/attempts. A page is read with one row more than asked for, which tells whether
 * there are more. Lists leave `result` out: a page of a hundred large answers is what batch results are for. An unknown
 * parameter is refused, because a filter that is ignored gives wrong jobs.
 */
#include <string.h>

#include "api/jobs/job_object.h"
#include "api/jobs/job_view.h"
#include "api/jobs/jobs.h"
#include "api/page.h"
#include "api/request.h"
#include "common/clock.h"
#include "common/conf.h"
#include "sql_api.h"

#define METADATA_FILTERS 16

struct filter {
	struct page page;
	int status; /* -1: any */
	struct id batch_id;
	struct str route, user; /* p NULL: any */
	int64_t after_us, before_us;
	struct db_array keys, values;
};

static int bad(struct request *q, const char *name, const char *wanted)
{
	return err_set_at(&q->err, ERR_INVALID, name, "%s", wanted);
}

static int read_metadata(struct request *q, struct filter *f, struct str name, struct str value)
{
	struct str key = str_sub(name, 9, name.n);
	if (key.n < 2 || key.p[key.n - 1] != ']' || f->keys.n >= METADATA_FILTERS)
		return bad(q, "metadata", "a filter is metadata[key]=value, at most 16 of them");
	db_array_text(&f->keys, str_sub(key, 0, key.n - 1));
	db_array_text(&f->values, value);
	return 0;
}

static int read_filter(struct request *q, struct filter *f, struct str name, struct str value)
{
	if (str_eq(name, STR("limit")) || str_eq(name, STR("after")) || str_eq(name, STR("order")))
		return 0;
	if (str_eq(name, STR("status"))) {
		f->status = job_status_by_name(value);
		return f->status < 0
		           ? bad(q, "status",
		                 "status is scheduled, queued, running, succeeded, failed, canceled or expired")
		           : 0;
	}
	if (str_eq(name, STR("batch_id")))
		return id_parse(value, "batch_", &f->batch_id) < 0 ? bad(q, "batch_id", "batch_id is the id of a batch")
		                                                   : 0;
	if (str_eq(name, STR("route")))
		f->route = value;
	else if (str_eq(name, STR("user")))
		f->user = value;
	else if (str_eq(name, STR("created_after")))
		return clock_parse_rfc3339(value, &f->after_us) < 0
		           ? bad(q, "created_after", "wanted a time as RFC 3339")
		           : 0;
	else if (str_eq(name, STR("created_before")))
		return clock_parse_rfc3339(value, &f->before_us) < 0
		           ? bad(q, "created_before", "wanted a time as RFC 3339")
		           : 0;
	else if (str_has_prefix(name, STR("metadata[")))
		return read_metadata(q, f, name, value);
	else
		return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name),
		                  "there is no such parameter");
	return 0;
}

/* What the database would refuse must not reach it. */
static bool is_clean(struct str s)
{
	return str_is_utf8(s) && !memchr(s.p, '\0', s.n);
}

static int read_filters(struct request *q, struct filter *f)
{
	size_t at = 0;
	struct str name, value;
	f->status = -1;
	if (request_page(q, "job_", &f->page) < 0)
		return -(int)ERR_INVALID;
	while (http_req_query_next(q->http, &at, &name, &value)) {
		if ((name.n && !is_clean(name)) || (value.n && !is_clean(value)))
			return bad(q, "query", "a parameter is not UTF-8");
		int rc = read_filter(q, f, name, value);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void arg_time(struct db_args *a, int64_t us)
{
	if (us)
		db_arg_time(a, us);
	else
		db_arg_null(a);
}

static void arg_id(struct db_args *a, struct id id)
{
	if (id_is_zero(id))
		db_arg_null(a);
	else
		db_arg_id(a, id);
}

static void filter_args(struct request *q, const struct filter *f)
{
	request_query_init(q, f->page.descending ? &sql_api_job_list : &sql_api_job_list_up);
	struct db_args *a = &q->query.args;
	db_arg_i64(a, q->who.tenant_id);
	arg_id(a, f->page.after);
	db_arg_i32(a, f->page.limit + 1);
	if (f->status >= 0)
		db_arg_i16(a, (int16_t)f->status);
	else
		db_arg_null(a);
	arg_id(a, f->batch_id);
	db_arg_text_or_null(a, f->route);
	db_arg_text_or_null(a, f->user);
	arg_time(a, f->after_us);
	arg_time(a, f->before_us);
	db_arg_array(a, &f->keys);
	db_arg_array(a, &f->values);
}

static enum flow_next list_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	struct filter *f = arena_new(&q->http->arena, struct filter);
	q->state = f;
	db_array_init(&f->keys, DB_TEXT, 1 << 20);
	db_array_init(&f->values, DB_TEXT, 1 << 20);
	int rc = read_filters(q, f);
	if (rc == 0)
		filter_args(q, f);
	db_array_done(&f->keys);
	db_array_done(&f->values);
	return rc < 0 ? request_refuse(q) : request_query(q);
}

static void write_job(struct buf *b, const struct db_query *query, int row)
{
	struct job_facts j;
	job_facts_read(query, row, &j);
	job_object_write(b, conf_now(), &j, (struct job_object_how){ .with_result = false, .index = -1 });
}

static enum flow_next list_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	const struct filter *f = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the list could not be read; ask for less");
	page_write(&q->out, &q->query, f->page.limit, "job_", write_job);
	return request_answer(q, 200);
}

const struct flow_step jobs_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

/* --- GET /v1/jobs/{job}/attempts --- */

static enum flow_next exists_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	job_view_start(q->api, jobs_view(q), flow, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

static enum flow_next exists_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	if (rc < 0)
		return request_fail(q, rc,
		                    rc == -(int)ERR_NOT_FOUND ? "there is no such job" : "the job could not be read");
	return FLOW_NEXT;
}

static enum flow_next attempts_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	request_query_init(q, &sql_api_attempts);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static void write_number(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	buf_printf(b, ",\"%s\":", name);
	if (db_is_null(q, row, col))
		buf_add_z(b, "null");
	else
		buf_add_i64(b, db_get_int(q, row, col));
}

static void write_text(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	buf_printf(b, ",\"%s\":", name);
	job_object_text(b, db_is_null(q, row, col) ? (struct str){ 0 } : db_get_str(q, row, col));
}

static void write_usd(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	buf_printf(b, "\"%s\":", name);
	if (db_is_null(q, row, col))
		buf_add_z(b, "null");
	else
		job_object_usd(b, db_get_int(q, row, col));
}

/* The columns of attempts.sql. */
static void write_attempt(struct buf *b, const struct db_query *q, int row)
{
	int flags = (int)db_get_int(q, row, 10);
	buf_printf(b, "{\"object\":\"attempt\",\"number\":%d", (int)db_get_int(q, row, 0));
	write_number(b, "lease", q, row, 1);
	write_text(b, "target", q, row, 2);
	buf_add_z(b, ",\"started_at\":");
	job_object_time(b, db_get_time(q, row, 3));
	write_number(b, "first_token_ms", q, row, 4);
	write_number(b, "total_ms", q, row, 5);
	write_number(b, "http_status", q, row, 6);
	write_text(b, "code", q, row, 7);
	write_text(b, "message", q, row, 8);
	write_text(b, "next", q, row, 9);
	buf_printf(b,
	           ",\"partial\":%s,\"usage\":{\"input_tokens\":%lld,\"cached_input_tokens\":%lld,\"cache_write_tokens\":%lld,"
	           "\"output_tokens\":%lld,\"reasoning_tokens\":%lld,\"estimated\":%s}",
	           flags & 2 ? "true" : "false", (long long)db_get_int(q, row, 11), (long long)db_get_int(q, row, 12),
	           (long long)db_get_int(q, row, 18), (long long)db_get_int(q, row, 13), (long long)db_get_int(q, row, 19),
	           flags & 1 ? "true" : "false");
	buf_add_z(b, ",\"cost\":{");
	write_usd(b, "usd", q, row, 14);
	buf_add_z(b, "},\"price_per_million\":{");
	write_usd(b, "input", q, row, 15);
	buf_add_char(b, ',');
	write_usd(b, "cached_input", q, row, 16);
	buf_add_char(b, ',');
	write_usd(b, "output", q, row, 17);
	buf_add_char(b, ',');
	write_usd(b, "cache_write", q, row, 20);
	buf_add_z(b, "},\"choice\":");
	buf_add_str(b, db_is_null(q, row, 21) ? STR("null") : db_get_str(q, row, 21));
	buf_add_char(b, '}');
}

static enum flow_next attempts_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	if (rc < 0)
		return request_fail(q, rc, "the attempts could not be read");
	buf_add_z(&q->out, "{\"object\":\"list\",\"data\":[");
	for (int row = 0; row < db_rows(&q->query); row++) {
		if (row > 0)
			buf_add_char(&q->out, ',');
		write_attempt(&q->out, &q->query, row);
	}
	buf_add_z(&q->out, "],\"has_more\":false}");
	return request_answer(q, 200);
}

const struct flow_step jobs_attempts_steps[] = {
	{ "exists", exists_start, exists_done },
	{ "attempts", attempts_start, attempts_done },
	{ .name = NULL },
};
