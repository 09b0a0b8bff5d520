/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a synchronous request. When all is well: the body is read by its face, judged as a native job, committed, and waited for; the worker's notice
 * that outcomes were written wakes the wait, the job is read once and written in the face's form.
 *
 * What can go wrong:
 *   the job fails        its class gives the status and the error (faces/errors.c); a repeat with the same Idempotency-Key is told that there is no use
 *   the client leaves    an unkeyed job is canceled, so that its upstream call is freed; a keyed one goes on: the repeat gets its answer
 *   the process drains   it answers what ends within server.grace; then an unkeyed job is canceled and the answer is 503: nothing is billed twice when the
 *                        client repeats. A keyed job goes on, and the repeat finds it
 *   the process is killed   the workers cancel its unkeyed jobs when they see that it is gone (jobs/presence.h), and erase what may not be kept
 *   the database is away the wait goes on until it is back
 */
#include "api/sync/sync.h"

#include "api/door/attribution.h"
#include "api/sync/face_facts.h"
#include "api/events/followers.h"
#include "api/jobs/job_view.h"
#include "api/jobs/jobs.h"
#include "api/request.h"
#include "api/sync/responses.h"
#include "api/router.h"
#include "api/sync/sync_private.h"
#include "common/clock.h"

/* The wait is the job's: it ends by its own deadline. */
#define WAIT_MS (INT64_C(1000) * 3600 * 24 * 3650)

enum { READ, FILES, PREVIOUS, JUDGE, LANE, WRITE, VIEW, WAIT, STREAM, CANCEL, FORGET };

static struct sync *sync_of(struct flow *f)
{
	return request_of(f)->state;
}

/* --- its life --- */

static void forget_request(struct sync *s)
{
	json_decref(s->asked.request);
	json_decref(s->body);
	s->asked.request = s->body = NULL;
	s->asked.model = s->asked.user = s->asked.previous = (struct str){ 0 };
	s->asked.metadata = s->asked.millrace = NULL;
}

static void release(struct request *q)
{
	struct sync *s = q->state;
	face_request_done(&s->asked);
	json_decref(s->body);
	file_parts_done(&s->files);
	sync_stream_done(&s->stream);
	job_view_done(q->view);
	job_cancel_done(&s->cancel);
}

static void on_gone(struct request *q)
{
	struct sync *s = q->state;
	/* Either may end the request. */
	if (s->stream.op.active)
		sync_stream_gone(&s->stream);
	else
		op_cancel(&s->waiter.op);
}

static void on_room(struct request *q)
{
	struct sync *s = q->state;
	if (s->stream.op.active)
		sync_stream_room(&s->stream);
}

/* Somebody may come back for the job's answer. */
static bool outlives_client(const struct request *q)
{
	const struct sync *s = q->state;
	return q->submit->intake.key.p || s->asked.background;
}

/* Ends with q->err, which a client that reads a stream has been told already. */
static enum flow_next end_told(struct request *q)
{
	return q->streaming && !q->gone ? flow_over(&q->flow, 0) : request_refuse(q);
}

/* The client left, or must be sent away: the job goes on only for somebody who can come back for it. */
static enum flow_next give_up(struct request *q)
{
	struct sync *s = q->state;
	if (q->gone)
		err_set(&q->err, ERR_CANCELED, "the client left");
	else
		err_set(&q->err, ERR_DRAINING, "%s",
		        outlives_client(q) ? "this process shuts down; the job goes on: repeat the request with its Idempotency-Key"
		                           : "this process shuts down, and the job was canceled: repeat the request");
	if (q->streaming && !q->gone)
		sync_stream_fail(&s->stream, &q->err);
	return outlives_client(q) ? end_told(q) : flow_jump(&q->flow, CANCEL);
}

/* The end of a request: what may not be kept is erased first, unless a repeat with its key may come for it. */
static enum flow_next end(struct request *q, enum flow_next next)
{
	const struct sync *s = q->state;
	return next == FLOW_END && s->asked.unstored && q->has_id && !q->submit->intake.key.p ? flow_jump(&q->flow, FORGET) : next;
}

/* --- read, gather, judge --- */

static enum flow_next read_by(struct flow *f, const struct face *face)
{
	struct request *q = request_of(f);
	struct sync *s = arena_new(&q->http->arena, struct sync);
	jobs_view(q);
	s->face = face;
	q->state = s;
	q->release = release;
	q->on_gone = on_gone;
	q->on_drain = on_room;
	if (submit_begin(q) < 0)
		return request_refuse(q);
	s->body = json_parse(q->http->body, &q->err);
	if (!s->body || face->read(&q->http->arena, s->body, &s->asked, &q->err) < 0)
		return request_refuse(q);
	if (s->asked.stream && followers_are_full(q->api->followers))
		return request_fail(q, ERR_OVERLOADED, "this process has as many streams as it may (events.followers)");
	return FLOW_NEXT;
}

static enum flow_next files_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	if (!file_parts_has(s->asked.request))
		return FLOW_NEXT;
	file_parts_start(&s->files, q->api, q->who.tenant_id, s->asked.request, "", f);
	return FLOW_WAIT;
}

static enum flow_next files_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct sync *s = q->state;
	if (rc >= 0)
		return FLOW_NEXT;
	q->err = s->files.err;
	if (q->err.code == ERR_OK)
		return request_fail(q, rc, "a file could not be read");
	struct str at = arena_str(&q->http->arena, str_from(s->files.err.param));
	err_set_at(&q->err, q->err.code, face_pointer(s->face, &s->asked, &q->http->arena, at.p), "%s", s->files.err.text);
	return request_refuse(q);
}

static enum flow_next previous_start(struct flow *f)
{
	return responses_previous_start(request_of(f), &sync_of(f)->asked);
}

static enum flow_next previous_done(struct flow *f, int rc)
{
	return responses_previous_done(request_of(f), &sync_of(f)->asked, rc);
}

static enum flow_next judge_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	struct arena *a = &q->http->arena;
	struct submission *job = &q->submit->submission;
	const struct submission_rules rules = { conf_now(), &q->api->guard, clock_wall_us() };
	if (face_submission(s->face, &s->asked, a, &rules, job, &q->err) < 0 ||
	    attribution_read(q->http, &s->asked, a, &job->metadata, &job->user, &q->err) < 0)
		return request_refuse(q);
	job->awaited = !outlives_client(q);
	return FLOW_NEXT;
}

/* --- write --- */

static void tell_job(struct request *q)
{
	char text[ID_TEXT_MAX];
	http_reply_header(q->http, "x-millrace-job-id", arena_str(&q->http->arena, id_text(q->id, "job_", text)));
}

/* A new job in the background is queued, whatever has become of it since. */
static enum flow_next answer_queued(struct request *q)
{
	const struct sync *s = q->state;
	const struct submit *job = q->submit;
	const struct face_answer queued = {
		.id = q->id,
		.form = s->face->form,
		.created_us = job->intake.created_us,
		.status = STATUS_QUEUED,
		.model = job->submission.route,
		.echo = s->asked.echo,
		.user = job->submission.user,
		.metadata = job->submission.metadata,
		.background = true,
	};
	int rc = s->face->write(&q->out, &queued);
	return rc < 0 ? request_fail(q, rc, "the job could not be told") : request_answer(q, 200);
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	enum flow_next next = submit_write_done(f, rc);
	if (next != FLOW_NEXT)
		return next;
	q->id = q->submit->intake.id;
	q->has_id = true;
	tell_job(q);
	forget_request(s);
	if (q->gone)
		return give_up(q);
	if (s->asked.background && !s->asked.stream && q->submit->intake.is_new)
		return answer_queued(q);
	/* A new job is known; one that is there already may have ended, or be gone. */
	if (s->asked.background || !q->submit->intake.is_new)
		return FLOW_NEXT;
	return flow_jump(f, s->asked.stream ? STREAM : WAIT);
}

/* --- answer --- */

void sync_headers(struct request *q)
{
	const struct job_facts *j = &q->view->facts;
	struct http_req *h = q->http;
	bool cached = false;
	if (!job_status_is_over(j->status))
		return;
	if (j->status == STATUS_SUCCEEDED)
		http_reply_header(h, "x-millrace-level", str_from(job_level_name(j, &cached)));
	if (cached)
		http_reply_header(h, "x-millrace-cached", STR("true"));
	if (j->target.n)
		http_reply_header(h, "x-millrace-target", j->target);
	if (j->cost_nanousd >= 0) {
		struct buf usd;
		buf_init(&usd, 64);
		job_object_usd(&usd, j->cost_nanousd);
		http_reply_header(h, "x-millrace-cost-usd", arena_str(&h->arena, str_sub(buf_str(&usd), 1, usd.n - 2)));
		buf_done(&usd);
	}
	http_reply_header(h, "x-millrace-attempts", arena_printf(&h->arena, "%d", j->attempts));
}

struct face_answer sync_facts(const struct request *q, const struct face *face, const json_t *echo, json_t **ret_result)
{
	const struct job_facts *j = &q->view->facts;
	*ret_result = j->result.p ? json_parse_lenient(j->result, NULL) : NULL;
	return face_answer_of(j, face->form, *ret_result, echo);
}

enum flow_next sync_answer(struct request *q, const struct face *face, const json_t *echo)
{
	const struct job_facts *j = &q->view->facts;
	_cleanup_(json_drop) json_t *result = NULL;
	if (j->status == STATUS_SUCCEEDED && !j->result.p)
		return request_fail(q, ERR_NOT_FOUND, "the job's answer was erased");
	const struct face_answer answer = sync_facts(q, face, echo, &result);
	int rc = face->write(&q->out, &answer);
	if (rc < 0)
		return request_fail(q, rc, "the job's answer has not the form that this needs: read the job itself");
	sync_headers(q);
	return request_answer(q, 200);
}

/* The same key finds the same failure: then there is no use in coming again. */
static enum flow_next answer_failure(struct request *q)
{
	face_failure(&q->view->facts, &q->err);
	sync_headers(q);
	q->is_final = q->submit->intake.key.p != NULL;
	return request_refuse(q);
}

static enum flow_next answer(struct request *q)
{
	const struct sync *s = q->state;
	return q->view->facts.status == STATUS_SUCCEEDED ? sync_answer(q, s->face, s->asked.echo) : answer_failure(q);
}

/* --- a job that is there already --- */

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	job_view_start(q->api, q->view, f, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct sync *s = sync_of(f);
	if (rc < 0)
		return request_fail(q, rc, rc == -(int)ERR_NOT_FOUND ? "the job of this key is gone" : "the job could not be read");
	if (s->asked.stream)
		return flow_jump(f, STREAM);
	if (s->asked.background)
		return sync_answer(q, s->face, s->asked.echo);
	return job_status_is_over(q->view->facts.status) ? end(q, answer(q)) : FLOW_NEXT;
}

/* --- wait --- */

static enum flow_next wait_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	if (q->gone)
		return give_up(q);
	s->waiter.patient = s->waiter.wants_facts = true;
	waiter_start(q->api->waiters, &s->waiter, f, q->id, q->who.tenant_id, /* is_batch= */ false, WAIT_MS);
	return FLOW_WAIT;
}

/* The job's end came with the wait. It is answered before this returns: the facts do not stay. */
static enum flow_next wait_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return give_up(q);
	q->view->facts = *sync_of(f)->waiter.facts;
	return end(q, answer(q));
}

/* --- stream --- */

static enum flow_next stream_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	const struct submission *job = &q->submit->submission;
	if (q->gone)
		return give_up(q);
	s->stream = (struct sync_stream){
		.face = s->face,
		.echo = s->asked.echo,
		.user = job->user,
		.metadata = job->metadata,
		.include_usage = s->asked.include_usage,
		.whole = s->asked.whole,
		.at_once = s->asked.background,
		.followed = true,
		.starting_after = -1,
	};
	sync_stream_start(&s->stream, q, f, /* view_is_fresh= */ s->asked.background || !q->submit->intake.is_new);
	return FLOW_WAIT;
}

static enum flow_next stream_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc == 0)
		return end(q, flow_over(f, 0));
	if (q->gone || rc == -(int)ERR_DRAINING)
		return give_up(q);
	if (rc == -(int)ERR_STREAM_RESTARTED)
		return outlives_client(q) ? flow_over(f, 0) : flow_jump(f, CANCEL);
	return job_status_is_over(q->view->facts.status) ? end(q, answer_failure(q)) : request_refuse(q);
}

enum flow_next sync_follow_start(struct flow *f, const struct face *face, json_t *echo, int64_t starting_after)
{
	struct request *q = request_of(f);
	const struct job_facts *j = &q->view->facts;
	struct sync *s = arena_new(&q->http->arena, struct sync);
	s->face = face;
	s->asked.echo = echo;
	q->state = s;
	q->release = release;
	q->on_gone = on_gone;
	q->on_drain = on_room;
	tell_job(q);
	if (!job_status_is_over(j->status) && followers_are_full(q->api->followers))
		return request_fail(q, ERR_OVERLOADED, "this process has as many streams as it may (events.followers)");
	s->stream = (struct sync_stream){
		.face = face,
		.echo = echo,
		.user = arena_str(&q->http->arena, j->user),
		.metadata = j->metadata.p ? arena_str(&q->http->arena, j->metadata) : (struct str){ 0 },
		.at_once = true,
		.starting_after = starting_after,
	};
	if (!j->user.p)
		s->stream.user = (struct str){ 0 };
	sync_stream_start(&s->stream, q, f, /* view_is_fresh= */ true);
	return FLOW_WAIT;
}

enum flow_next sync_follow_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct sync *s = q->state;
	if (rc == -(int)ERR_DRAINING && !q->gone) {
		err_set(&q->err, ERR_DRAINING, "this process shuts down: go on at another");
		sync_stream_fail(&s->stream, &q->err);
	} else if (q->gone) {
		err_set(&q->err, ERR_CANCELED, "the client left");
	}
	return rc == 0 ? flow_over(f, 0) : end_told(q);
}

/* --- the end without an answer --- */

static enum flow_next cancel_start(struct flow *f)
{
	struct request *q = request_of(f);
	job_cancel_start(q->api, &sync_of(f)->cancel, f, q->id, q->who.tenant_id);
	return FLOW_WAIT;
}

static enum flow_next cancel_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0 && !q->gone && !q->streaming)
		err_set(&q->err, ERR_DRAINING, "this process shuts down, and the job may go on: look at it, or repeat the request");
	return end(q, end_told(q));
}

/* --- what is not kept --- */

static enum flow_next forget_start(struct flow *f)
{
	enum flow_next next = responses_forget_start(request_of(f));
	return next == FLOW_WAIT ? next : flow_over(f, f->result);
}

static enum flow_next forget_done(struct flow *f, int rc)
{
	(void)rc; /* retention takes it */
	return flow_over(f, f->result);
}

/* --- the tables --- */

static enum flow_next read_response(struct flow *f)
{
	return read_by(f, &face_response);
}

static enum flow_next read_chat(struct flow *f)
{
	return read_by(f, &face_chat);
}

static enum flow_next read_completion(struct flow *f)
{
	return read_by(f, &face_completion);
}

static enum flow_next read_embeddings(struct flow *f)
{
	return read_by(f, &face_embeddings);
}

static enum flow_next read_message(struct flow *f)
{
	return read_by(f, &face_message);
}

#define STEPS(read_start)                                          \
	{                                                          \
		[READ] = { "read", read_start, NULL },             \
		[FILES] = { "files", files_start, files_done },    \
		[PREVIOUS] = { "previous", previous_start, previous_done }, \
		[JUDGE] = { "judge", judge_start, NULL },          \
		[LANE] = { "lane", submit_lane_start, submit_lane_done }, \
		[WRITE] = { "write", submit_write_start, write_done }, \
		[VIEW] = { "view", view_start, view_done },        \
		[WAIT] = { "wait", wait_start, wait_done },        \
		[STREAM] = { "stream", stream_start, stream_done }, \
		[CANCEL] = { "cancel", cancel_start, cancel_done }, \
		[FORGET] = { "forget", forget_start, forget_done }, \
		{ .name = NULL },                                  \
	}

const struct flow_step sync_chat_steps[] = STEPS(read_chat);
const struct flow_step sync_completion_steps[] = STEPS(read_completion);
const struct flow_step sync_embeddings_steps[] = STEPS(read_embeddings);
const struct flow_step sync_response_steps[] = STEPS(read_response);
const struct flow_step sync_message_steps[] = STEPS(read_message);
