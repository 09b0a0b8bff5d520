/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One response: retrieved or streamed anew, canceled, deleted, and the items that it was asked with. A response is a job that came by the Responses API
 * (job.form); any other, another tenant's, one that was not stored, and one whose request was erased or dropped by age does not exist here (404).
 *
 *   load    the stored request: what an answer repeats of it, and whether it may be shown at all
 *   cancel  ends a waiting one; the worker of a running one lets go of its call, which is waited for a little
 *   view    the job as it stands; then it is answered, or followed as a stream
 *
 * A stream is the same events from the start, whichever process tells them, but those up to starting_after (faces/response_stream.c). To cancel what has
 * ended answers it as it is. What runs is canceled before it is deleted.
 */
#include "api/sync/responses.h"

#include "api/faces/response.h"
#include "api/jobs/job_cancel.h"
#include "api/jobs/job_view.h"
#include "api/jobs/jobs.h"
#include "api/request.h"
#include "api/sync/sync.h"
#include "sql_api.h"

#define LET_GO_MS 5000 /* so long a running call may take to be let go of */

/* q->state, until a stream takes it over. */
struct one {
	json_t *stored;       /* owned: {"route", "request", "echo", …} */
	const json_t *echo;   /* in stored */
	struct job_cancel cancel;
	bool stream;
	int64_t starting_after; /* -1: none */
	struct page page;       /* of items */
	struct str after;       /* an item's id; p NULL: from the start */
};

static void release(struct request *q)
{
	struct one *one = q->state;
	json_decref(one->stored);
	job_cancel_done(&one->cancel);
	job_view_done(jobs_view(q));
}

static void on_gone(struct request *q)
{
	job_view_hurry(jobs_view(q));
}

static void job_args(struct request *q, struct id id)
{
	db_arg_i32(&q->query.args, id_bucket(id));
	db_arg_id(&q->query.args, id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
}

static enum flow_next not_found(struct request *q)
{
	return request_fail(q, ERR_NOT_FOUND, "there is no such response");
}

/* --- load --- */

static struct one *begin(struct request *q)
{
	struct one *one = arena_new(&q->http->arena, struct one);
	one->starting_after = -1;
	jobs_view(q);
	q->state = one;
	q->release = release;
	q->on_gone = on_gone;
	return one;
}

static enum flow_next load(struct request *q)
{
	request_query_init(q, &sql_api_response_get);
	job_args(q, q->id);
	return request_query(q);
}

static enum flow_next load_start(struct flow *f)
{
	begin(request_of(f));
	return load(request_of(f));
}

static bool is_stored(const json_t *echo)
{
	return json_bool(echo, "store", true);
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct one *one = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the response could not be read");
	if (db_rows(&q->query) == 0 || db_get_int(&q->query, 0, 0) != FORM_RESPONSE || db_is_null(&q->query, 0, 1))
		return not_found(q);
	one->stored = json_parse_lenient(db_get_str(&q->query, 0, 1), NULL);
	one->echo = json_get(one->stored, "echo");
	return is_stored(one->echo) ? FLOW_NEXT : not_found(q);
}

/* --- view --- */

static enum flow_next view_for(struct request *q, int64_t wait_ms)
{
	job_view_start(q->api, jobs_view(q), &q->flow, q->id, q->who.tenant_id, q->gone ? 0 : wait_ms);
	return FLOW_WAIT;
}

static enum flow_next ended_start(struct flow *f)
{
	return view_for(request_of(f), LET_GO_MS);
}

static enum flow_next answer(struct request *q)
{
	const struct one *one = q->state;
	const struct job_view *v = jobs_view(q);
	char text[ID_TEXT_MAX];
	http_reply_header(q->http, "x-millrace-job-id", arena_str(&q->http->arena, id_text(q->id, "job_", text)));
	if (!job_status_is_over(v->facts.status))
		http_reply_header(q->http, "Retry-After", arena_printf(&q->http->arena, "%lld", (long long)v->retry_after_s));
	return sync_answer(q, &face_response, one->echo);
}

/* --- GET /v1/responses/{response} --- */

/* stream and starting_after. 0 or an error in q->err. */
static int read_query(struct request *q, struct one *one)
{
	struct str s;
	uint64_t after;
	if (http_req_query(q->http, "stream", &s)) {
		one->stream = str_eq(s, STR("true"));
		if (!one->stream && !str_eq(s, STR("false")))
			return err_set_at(&q->err, ERR_INVALID, "stream", "stream is true or false");
	}
	if (!http_req_query(q->http, "starting_after", &s))
		return 0;
	if (str_u64(s, 0, (uint64_t)1 << 53, &after) < 0)
		return err_set_at(&q->err, ERR_INVALID, "starting_after", "starting_after is the sequence_number of an event");
	if (!one->stream)
		return err_set_at(&q->err, ERR_INVALID, "starting_after", "starting_after belongs to a request with stream");
	one->starting_after = (int64_t)after;
	return 0;
}

/* The head of a stream is the head of the response that it tells. */
static bool wants_stream(const struct request *q)
{
	const struct one *one = q->state;
	return one->stream && q->http->method != HTTP_HEAD_;
}

static enum flow_next get_start(struct flow *f)
{
	struct request *q = request_of(f);
	return read_query(q, begin(q)) < 0 ? request_refuse(q) : load(q);
}

static enum flow_next get_view_start(struct flow *f)
{
	return view_for(request_of(f), 0);
}

static enum flow_next get_view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return rc == -(int)ERR_NOT_FOUND ? not_found(q) : request_fail(q, rc, "the response could not be read");
	if (!wants_stream(q))
		return answer(q);
	const struct job_facts *j = &jobs_view(q)->facts;
	return j->status == STATUS_SUCCEEDED && !j->result.p ? not_found(q) : FLOW_NEXT;
}

static enum flow_next follow_start(struct flow *f)
{
	struct one *one = request_of(f)->state;
	json_t *echo = json_incref((json_t *)(uintptr_t)one->echo);
	int64_t after = one->starting_after;
	json_drop(&one->stored);
	return sync_follow_start(f, &face_response, echo, after);
}

const struct flow_step responses_get_steps[] = {
	{ "load", get_start, load_done },
	{ "view", get_view_start, get_view_done },
	{ "follow", follow_start, sync_follow_done },
	{ .name = NULL },
};

/* --- POST /v1/responses/{response}/cancel --- */

static enum flow_next cancel_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct one *one = q->state;
	job_cancel_start(q->api, &one->cancel, f, q->id, q->who.tenant_id);
	return FLOW_WAIT;
}

static enum flow_next cancel_background_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct one *one = q->state;
	if (!json_bool(one->echo, "background", false))
		return request_fail(q, ERR_INVALID, "only a response in the background can be canceled");
	return cancel_start(f);
}

static enum flow_next cancel_done(struct flow *f, int rc)
{
	return rc < 0 ? request_fail(request_of(f), rc, "it is not known whether the response was canceled: ask again") : FLOW_NEXT;
}

static enum flow_next canceled_view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return rc == -(int)ERR_NOT_FOUND ? not_found(q) : request_fail(q, rc, "the response could not be read");
	return answer(q);
}

const struct flow_step responses_cancel_steps[] = {
	{ "load", load_start, load_done },
	{ "cancel", cancel_background_start, cancel_done },
	{ "view", ended_start, canceled_view_done },
	{ .name = NULL },
};

/* --- DELETE /v1/responses/{response} --- */

static enum flow_next erase_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_job_erase);
	job_args(q, q->id);
	return request_query(q);
}

static enum flow_next erase_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the response was deleted: ask again");
	if (db_rows(&q->query) == 0)
		return not_found(q);
	if (db_get_bool(&q->query, 0, 0))
		return request_fail(q, ERR_DB_CONFLICT, "the response was canceled, but its call has not ended: ask again");
	buf_add_z(&q->out, "{\"id\":");
	job_object_id(&q->out, q->id, face_response.id_prefix);
	buf_add_z(&q->out, ",\"object\":\"response\",\"deleted\":true}");
	return request_answer(q, 200);
}

static enum flow_next ended_done(struct flow *f, int rc)
{
	return rc < 0 ? request_fail(request_of(f), rc, "the response could not be read") : FLOW_NEXT;
}

const struct flow_step responses_delete_steps[] = {
	{ "load", load_start, load_done },
	{ "cancel", cancel_start, cancel_done },
	{ "ended", ended_start, ended_done },
	{ "erase", erase_start, erase_done },
	{ .name = NULL },
};

/* --- GET /v1/responses/{response}/input_items --- */

/* Where the page begins: the place behind `after`, in its order. -1: there is no such item. */
static ssize_t page_from(const json_t *items, const struct one *one)
{
	size_t n = json_array_size(items);
	if (!one->after.p)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (str_eq(json_str(json_array_get(items, one->page.descending ? n - 1 - i : i), "id"), one->after))
			return (ssize_t)i + 1;
	return -1;
}

static void write_page(struct buf *b, const json_t *items, const struct one *one, size_t from)
{
	size_t n = json_array_size(items), to = MIN(n, from + (size_t)one->page.limit);
	const json_t *first = NULL, *last = NULL;
	buf_add_z(b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = from; i < to; i++) {
		last = json_array_get(items, one->page.descending ? n - 1 - i : i);
		first = first ? first : last;
		if (i > from)
			buf_add_char(b, ',');
		json_write(b, last);
	}
	buf_printf(b, "],\"has_more\":%s,\"first_id\":", to < n ? "true" : "false");
	job_object_text(b, first ? json_str(first, "id") : (struct str){ NULL, 0 });
	buf_add_z(b, ",\"last_id\":");
	job_object_text(b, last ? json_str(last, "id") : (struct str){ NULL, 0 });
	buf_add_char(b, '}');
}

static enum flow_next items_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct one *one = begin(q);
	if (request_page(q, NULL, &one->page) < 0)
		return request_refuse(q);
	(void)http_req_query(q->http, "after", &one->after);
	return load(q);
}

static enum flow_next items_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct one *one = q->state;
	enum flow_next next = load_done(f, rc);
	if (next != FLOW_NEXT)
		return next;
	json_t *items = response_items(q->id, json_get(one->stored, "request"), one->echo);
	ssize_t from = page_from(items, one);
	if (from >= 0)
		write_page(&q->out, items, one, (size_t)from);
	json_decref(items);
	if (from >= 0)
		return request_answer(q, 200);
	err_set_at(&q->err, ERR_INVALID, "after", "after is the id of the last item of the page before");
	return request_refuse(q);
}

const struct flow_step responses_input_items_steps[] = {
	{ "items", items_start, items_done },
	{ .name = NULL },
};

/* --- for POST /v1/responses --- */

static int previous_not_found(struct str id, struct err *err)
{
	return err_set_at(err, ERR_PREVIOUS_NOT_FOUND, "/previous_response_id", "previous response with id '%.*s' not found", (int)MIN(id.n, (size_t)100), id.p);
}

int responses_previous_query(struct db_query *q, int64_t tenant_id, const struct face_request *r, struct err *err)
{
	struct id id;
	if (id_parse(r->previous, face_response.id_prefix, &id) < 0)
		return previous_not_found(r->previous, err);
	db_query_done(q);
	db_query_init(q, &sql_api_response_before);
	db_arg_i32(&q->args, id_bucket(id));
	db_arg_id(&q->args, id);
	db_arg_i64(&q->args, tenant_id);
	return 0;
}

int responses_previous_take(const struct db_query *q, struct face_request *r, struct err *err)
{
	struct response_before before = { 0 };
	if (db_rows(q) == 0)
		return previous_not_found(r->previous, err);
	_cleanup_(json_drop) json_t *stored = json_parse_lenient(db_get_str(q, 0, 0), NULL);
	_cleanup_(json_drop) json_t *result = json_parse_lenient(db_get_str(q, 0, 1), NULL);
	before.request = json_get(stored, "request");
	before.echo = json_get(stored, "echo");
	before.result = result;
	if (!is_stored(before.echo) || id_parse(r->previous, face_response.id_prefix, &before.id) < 0)
		return previous_not_found(r->previous, err);
	response_chain(r->request, r->echo, &before);
	return 0;
}

enum flow_next responses_previous_start(struct request *q, const struct face_request *r)
{
	if (!r->previous.p)
		return FLOW_NEXT;
	return responses_previous_query(&q->query, q->who.tenant_id, r, &q->err) < 0 ? request_refuse(q) : request_query(q);
}

enum flow_next responses_previous_done(struct request *q, struct face_request *r, int rc)
{
	if (rc < 0)
		return request_fail(q, rc, "the previous response could not be read");
	return responses_previous_take(&q->query, r, &q->err) < 0 ? request_refuse(q) : FLOW_NEXT;
}

enum flow_next responses_forget_start(struct request *q)
{
	request_query_init(q, &sql_api_job_erase);
	job_args(q, q->id);
	return api_query_start(q->api, &q->query, &q->flow) < 0 ? FLOW_NEXT : FLOW_WAIT;
}
