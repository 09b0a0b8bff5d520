/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/jobs/{job}/events: Server-Sent Events of one job, in whatever state it is.
 *
 *   open    reads the job and the client's place (Last-Event-ID); refusals come here, before the head of the answer
 *   follow  `status` and `text` as followers.c learns of them; `restart` before the first text of a later attempt
 *   pieces  the job has ended amid tool calls: the pieces of the last attempt that were not read yet
 *   finish  `text` with what the result has beyond what was told, then `end` with the job; a job that was retried meanwhile is followed on
 *
 * Each event's id is the client's place after it (event_place.h), so that a stream goes on anywhere. Text is exact whatever happens to pieces: one that is
 * missing ends the live text of its attempt, and the rest comes from the result; where the result does not begin with what was told (another
 * attempt's text, say), `restart` precedes the whole.
 *
 * A client that does not read is not asked for until it does, and is dropped by the server after limits.write_stall. When the process shuts
 * down, streams end after their last event: the client goes on elsewhere.
 */
#include "api/events.h"

#include "api/api.h"
#include "api/event_deltas.h"
#include "api/followers.h"
#include "api/job_view.h"
#include "api/jobs.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/sse.h"
#include "sql_api.h"

#define KEEP_ALIVE_MS 15000

struct events {
	struct request *request;
	struct follower follower; /* has the place */
	struct timer keep_alive;
	struct buf data; /* of one event */
	bool loaded;     /* the view is fresh */
};

enum { OPEN, FOLLOW, PIECES, FINISH };

static struct events *events_of(struct flow *f)
{
	return request_of(f)->state;
}

/* --- events --- */

/* One event with s->data into the request's out. */
static void add_event(struct events *s, const char *name)
{
	struct request *q = s->request;
	struct buf id;
	buf_init(&id, EVENT_ID_MAX);
	event_place_write(&s->follower.place, q->id, &id);
	sse_write(&q->out, str_from(name), buf_str(&id), buf_str(&s->data));
	buf_clear(&s->data);
	buf_done(&id);
}

/* What has gathered goes to the client. */
static void flush(struct events *s)
{
	struct request *q = s->request;
	if (q->out.n == 0)
		return;
	s->follower.rests = !http_reply_write(q->http, buf_str(&q->out));
	buf_clear(&q->out);
	timer_start(&s->keep_alive, KEEP_ALIVE_MS);
}

static void on_keep_alive(struct timer *t)
{
	struct events *s = container_of(t, struct events, keep_alive);
	timer_start(t, KEEP_ALIVE_MS);
	if (!s->follower.rests)
		s->follower.rests = !http_reply_write(s->request->http, STR(": \n\n"));
}

static void tell_status(struct events *s, const struct follow_state *now)
{
	struct event_place *p = &s->follower.place;
	if (p->status == now->status && p->attempts == now->attempts && p->reason == now->reason)
		return;
	p->status = now->status;
	p->attempts = now->attempts;
	p->reason = now->reason;
	const char *reason = job_waiting_name(now->reason);
	buf_printf(&s->data, "{\"status\":\"%s\",\"attempts\":%d,\"waiting_for\":", job_status_name((enum job_object_status)now->status), now->attempts);
	if (reason)
		buf_add_json_str(&s->data, str_from(reason));
	else
		buf_add_z(&s->data, "null");
	buf_add_char(&s->data, '}');
	add_event(s, "status");
}

static void tell_restart(struct events *s)
{
	buf_add_z(&s->data, "{}");
	add_event(s, "restart");
}

static void tell_piece(struct events *s, struct str deltas)
{
	if (event_deltas_piece(&s->follower.place, deltas, &s->data) == 0)
		add_event(s, "text");
}

static void on_state(struct follower *f, const struct follow_state *now)
{
	tell_status(container_of(f, struct events, follower), now);
}

static void on_piece(struct follower *f, int64_t token, int number, int seq, struct str deltas)
{
	struct events *s = container_of(f, struct events, follower);
	struct event_place *p = &f->place;
	switch (event_place_step(p, token, number, seq)) {
	case EVENT_OLD:
		return;
	case EVENT_NEXT:
		p->seq = seq;
		break;
	case EVENT_NEW: {
		bool had_text = event_place_has_text(p);
		event_place_restart(p, token, number, -1);
		if (had_text)
			tell_restart(s);
		p->seq = seq;
		break;
	}
	case EVENT_GAP:
		/* The text told so far stays; what the attempt has beyond it comes from the result. */
		p->token = token;
		p->number = number;
		p->seq = EVENT_SEQ_ALL;
		return;
	}
	tell_piece(s, deltas);
}

static void on_told(struct follower *f)
{
	flush(container_of(f, struct events, follower));
}

/* --- open --- */

static void release(struct request *q)
{
	struct events *s = q->state;
	timer_stop(&s->keep_alive);
	buf_done(&s->data);
	job_view_done(q->view);
}

static void on_gone(struct request *q)
{
	struct events *s = q->state;
	op_cancel(&s->follower.op);
}

static void on_room(struct request *q)
{
	struct events *s = q->state;
	if (s->follower.rests && s->follower.op.active)
		follower_reads(&s->follower);
	s->follower.rests = false;
}

static enum flow_next open_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct job_view *view = jobs_view(q);
	struct events *s = arena_new(&q->http->arena, struct events);
	s->request = q;
	s->follower.on_state = on_state;
	s->follower.on_piece = on_piece;
	s->follower.on_told = on_told;
	buf_init(&s->data, (size_t)1 << 30);
	timer_init(&s->keep_alive, &q->api->loop, on_keep_alive);
	q->state = s;
	q->release = release;
	q->on_gone = on_gone;
	q->on_drain = on_room;
	job_view_start(q->api, view, f, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

/* Where the client stands. 0, or -ERR_INVALID in q->err. */
static int take_place(struct request *q)
{
	struct events *s = q->state;
	const struct job_facts *j = &q->view->facts;
	struct str id = http_req_header(q->http, "last-event-id");
	const char *param = "Last-Event-ID";
	if (!id.n) {
		param = "last_event_id";
		if (!http_req_query(q->http, param, &id) || !id.n) {
			bool runs = j->status == STATUS_RUNNING;
			event_place_init(&s->follower.place, runs ? j->version - 1 : j->version);
			return 0;
		}
	}
	if (event_place_read(id, q->id, &s->follower.place) < 0 || s->follower.place.token > j->version)
		return err_set_at(&q->err, ERR_INVALID, param, "%s is not the id of an event of this job", param);
	return 0;
}

static enum flow_next open_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, rc == -(int)ERR_NOT_FOUND ? "there is no such job" : "the job could not be read");
	const struct job_facts *j = &q->view->facts;
	const struct event_place *p = &s->follower.place;
	bool over = job_status_is_over(j->status);
	if (take_place(q) < 0)
		return request_refuse(q);
	if (over && p->status >= STATUS_SUCCEEDED && p->token == j->version)
		return request_answer(q, 204); /* it had the end: a browser asks no more then */
	if (!over && q->api->draining)
		return request_fail(q, ERR_DRAINING, "this process shuts down: ask another");
	if (!over && followers_are_full(q->api->followers))
		return request_fail(q, ERR_OVERLOADED, "this process has as many event streams as it may (events.followers)");
	http_reply_header(q->http, "Cache-Control", STR("no-cache"));
	http_reply_header(q->http, "X-Accel-Buffering", STR("no"));
	q->streaming = true;
	http_reply_start(q->http, 200, STR("text/event-stream"));
	if (q->http->method == HTTP_HEAD_)
		return flow_over(f, 0);
	buf_add_z(&q->out, "retry: 1000\n\n");
	s->loaded = true;
	if (over)
		return flow_jump(f, PIECES);
	tell_status(s, &(struct follow_state){ (int)j->status, j->attempts, j->park_reason });
	flush(s);
	return FLOW_NEXT;
}

/* --- follow --- */

static enum flow_next follow_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	s->loaded = false;
	s->follower.id = q->id;
	s->follower.tenant_id = q->who.tenant_id;
	follower_start(q->api->followers, &s->follower, f);
	return FLOW_WAIT;
}

static enum flow_next follow_done(struct flow *f, int rc)
{
	if (rc == -(int)ERR_DRAINING)
		return flow_over(f, 0);
	return rc < 0 ? flow_over(f, rc) : FLOW_NEXT;
}

/* --- the end --- */

static enum flow_next pieces_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct event_place *p = &events_of(f)->follower.place;
	if (p->bytes[EVENT_TOOLS] == 0 || p->seq == EVENT_SEQ_ALL)
		return FLOW_NEXT;
	request_query_init(q, &sql_api_chunks_after);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i64(&q->query.args, p->token);
	db_arg_i32(&q->query.args, p->number);
	db_arg_i32(&q->query.args, p->seq);
	return api_query_start(q->api, &q->query, f) < 0 ? FLOW_NEXT : FLOW_WAIT;
}

static enum flow_next pieces_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	const struct event_place *p = &s->follower.place;
	for (int row = 0; rc == 0 && row < db_rows(&q->query); row++)
		on_piece(&s->follower, p->token, p->number, (int)db_get_int(&q->query, row, 0), db_get_str(&q->query, row, 1));
	return FLOW_NEXT;
}

static void tell_rest(struct events *s, const struct job_facts *j)
{
	struct event_place *p = &s->follower.place;
	if (j->status != STATUS_SUCCEEDED || j->kind != 0 || !j->result.p)
		return;
	struct buf rest;
	buf_init(&rest, (size_t)1 << 30);
	struct event_place after = *p;
	enum event_rest what = event_deltas_rest(&after, j->result, &rest);
	if (what == EVENT_REST_ANEW) {
		event_place_restart(p, j->version, INT16_MAX, EVENT_SEQ_ALL);
		tell_restart(s);
	}
	int number = j->version == p->token ? p->number : INT16_MAX;
	*p = after;
	p->token = j->version;
	p->number = number;
	p->seq = EVENT_SEQ_ALL;
	if (what != EVENT_REST_NONE && rest.n) {
		buf_add_str(&s->data, buf_str(&rest));
		add_event(s, "text");
	}
	buf_done(&rest);
}

static enum flow_next finish(struct flow *f)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	const struct job_facts *j = &q->view->facts;
	if (!job_status_is_over(j->status))
		return flow_jump(f, FOLLOW); /* it was retried */
	tell_rest(s, j);
	struct event_place *p = &s->follower.place;
	if (p->token < j->version)
		*p = (struct event_place){ .token = j->version, .number = INT16_MAX, .seq = EVENT_SEQ_ALL, .sum = p->sum,
			                   .bytes = { p->bytes[0], p->bytes[1], p->bytes[2], p->bytes[3] } };
	p->status = (int)j->status;
	p->attempts = j->attempts;
	p->reason = -1;
	job_object_write(&s->data, conf_now(), j, (struct job_object_how){ .with_result = true, .index = -1 });
	add_event(s, "end");
	if (buf_failed(&q->out))
		return flow_over(f, -(int)ERR_TOO_LARGE);
	flush(s);
	return flow_over(f, 0);
}

static enum flow_next finish_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	if (s->loaded)
		return finish(f);
	job_view_start(q->api, q->view, f, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

static enum flow_next finish_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_over(f, rc) : finish(f);
}

const struct flow_step events_steps[] = {
	[OPEN] = { "open", open_start, open_done },
	[FOLLOW] = { "follow", follow_start, follow_done },
	[PIECES] = { "pieces", pieces_start, pieces_done },
	[FINISH] = { "finish", finish_start, finish_done },
	{ .name = NULL },
};
