/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/jobs/{job}/events: Server-Sent Events of one job, in whatever state it is.
 *
 *   open    reads the job and the client's place (Last-Event-ID); refusals come here, before the head of the answer
 *   follow  `status` and `text` as followers.c learns of them; `restart` before the first text of a later attempt
 *   pieces  the job has ended amid tool calls: the pieces of the last attempt that were not read yet
 *   finish  `text` with what the result has beyond what was told, then `end` with the job; a job that was retried meanwhile is followed on
 *
 * Each event's id is the client's place after it (event_place.h), so that a stream goes on anywhere. Where the result does not begin with what was told
 * (another attempt's text, say), `restart` precedes the whole. When the process shuts down, streams end after their last event: the client goes on
 * elsewhere. How text comes, and stays exact: event_source.c.
 */
#include "api/events/events.h"

#include "api/api.h"
#include "api/events/event_source.h"
#include "api/jobs/job_view.h"
#include "api/jobs/jobs.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/http/sse.h"

struct events {
	struct event_source source;
	struct buf data; /* of one event */
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
	struct request *q = s->source.request;
	struct buf id;
	buf_init(&id, EVENT_ID_MAX);
	event_place_write(&s->source.follower.place, q->id, &id);
	sse_write(&q->out, str_from(name), buf_str(&id), buf_str(&s->data));
	buf_clear(&s->data);
	buf_done(&id);
}

static void tell_status(struct event_source *source, const struct follow_state *now)
{
	struct events *s = container_of(source, struct events, source);
	struct event_place *p = &source->follower.place;
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

static void tell_restart(struct event_source *source, const struct event_place *told)
{
	struct events *s = container_of(source, struct events, source);
	(void)told;
	buf_add_z(&s->data, "{}");
	add_event(s, "restart");
}

static void tell_text(struct event_source *source, struct str deltas)
{
	struct events *s = container_of(source, struct events, source);
	if (event_deltas_piece(&source->follower.place, deltas, &s->data) == 0)
		add_event(s, "text");
}

static void before_head(struct request *q)
{
	(void)q; /* all that there is to say stands in the events */
}

static const struct event_teller teller = { .state = tell_status, .text = tell_text, .restart = tell_restart, .before_head = before_head };

/* --- open --- */

static void release(struct request *q)
{
	struct events *s = q->state;
	event_source_done(&s->source);
	buf_done(&s->data);
	job_view_done(q->view);
}

static void on_gone(struct request *q)
{
	struct events *s = q->state;
	event_source_gone(&s->source);
}

static void on_room(struct request *q)
{
	struct events *s = q->state;
	event_source_room(&s->source);
}

static enum flow_next open_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct job_view *view = jobs_view(q);
	struct events *s = arena_new(&q->http->arena, struct events);
	event_source_init(&s->source, q, &teller);
	buf_init(&s->data, (size_t)1 << 30);
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
			event_place_init(&s->source.follower.place, runs ? j->version - 1 : j->version);
			return 0;
		}
	}
	if (event_place_read(id, q->id, &s->source.follower.place) < 0 || s->source.follower.place.token > j->version)
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
	const struct event_place *p = &s->source.follower.place;
	bool over = job_status_is_over(j->status);
	if (take_place(q) < 0)
		return request_refuse(q);
	if (over && p->status >= STATUS_SUCCEEDED && p->token == j->version)
		return request_answer(q, 204); /* it had the end: a browser asks no more then */
	if (!over && q->api->draining)
		return request_fail(q, ERR_DRAINING, "this process shuts down: ask another");
	if (!over && followers_are_full(q->api->followers))
		return request_fail(q, ERR_OVERLOADED, "this process has as many event streams as it may (events.followers)");
	buf_add_z(&q->out, "retry: 1000\n\n");
	event_source_flush(&s->source);
	if (q->http->method == HTTP_HEAD_)
		return flow_over(f, 0);
	s->source.loaded = true;
	if (over)
		return flow_jump(f, PIECES);
	tell_status(&s->source, &(struct follow_state){ (int)j->status, j->attempts, j->park_reason });
	event_source_flush(&s->source);
	return FLOW_NEXT;
}

/* --- follow --- */

static enum flow_next follow_start(struct flow *f)
{
	int rc = event_source_follow(&events_of(f)->source, f);
	return rc < 0 ? flow_over(f, rc) : FLOW_WAIT;
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
	return event_source_pieces_start(&events_of(f)->source, f);
}

static enum flow_next pieces_done(struct flow *f, int rc)
{
	event_source_pieces_done(&events_of(f)->source, rc);
	return FLOW_NEXT;
}

static void tell_rest(struct events *s, const struct job_facts *j)
{
	struct event_place *p = &s->source.follower.place;
	struct buf rest;
	buf_init(&rest, (size_t)1 << 30);
	enum event_rest what = event_source_rest(&s->source, j, &rest);
	const struct event_place after = *p;
	if (what == EVENT_REST_ANEW) {
		event_place_restart(p, after.token, after.number, after.seq);
		tell_restart(&s->source, &after);
		*p = after;
	}
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
	struct event_place *p = &s->source.follower.place;
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
	event_source_flush(&s->source);
	return flow_over(f, 0);
}

static enum flow_next finish_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct events *s = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	if (s->source.loaded)
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
