/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/jobs. When all is well: the body is judged, gets its place in the fair order, is written with the next group
 * commit, and is answered 202 from what is known, without reading it back. A held answer (wait=N), a replay and a
 * repeated sending read the job first.
 *
 * What can go wrong: every mistake in the body is a 4xx that names the field; a full queue is 503 with Retry-After; an
 * answer that does not reach the client is found again by its Idempotency-Key. A client that leaves does not stop the
 * write.
 */
#include "api/jobs/jobs.h"

#include "api/jobs/job_view.h"
#include "api/request.h"
#include "api/jobs/submit.h"
#include "common/clock.h"
#include "common/conf.h"

enum { READ, LANE, WRITE, VIEW };

/* q->state: how long the answer may be held, in ms. */
static int64_t wait_of(const struct request *q)
{
	return *(const int64_t *)q->state;
}

static enum flow_next read_start(struct flow *f)
{
	struct request *q = request_of(f);
	int64_t *wait_ms = arena_new(&q->http->arena, int64_t);
	q->state = wait_ms;
	*wait_ms = request_wait_ms(q);
	if (*wait_ms < 0 || submit_begin(q) < 0)
		return request_refuse(q);
	const struct submission_rules rules = { conf_now(), &q->api->guard, clock_wall_us() };
	if (submission_read(&q->http->arena, &rules, q->http->body, &q->submit->submission, &q->err) < 0)
		return request_refuse(q);
	return FLOW_NEXT;
}

/* What acceptance knows is all that there is to know about a new job. */
static enum flow_next answer_new(struct request *q, const struct submit *s)
{
	const struct submission *sub = &s->submission;
	struct job_facts j = {
		.id = s->intake.id,
		.route = sub->route,
		.metadata = sub->metadata,
		.user = sub->user,
		.webhook_url = sub->webhook_url,
		.created_us = s->intake.created_us,
		.run_at_us = sub->run_at_us,
		.expires_us = s->intake.expires_us,
		.status = sub->run_at_us > s->intake.created_us ? STATUS_SCHEDULED : STATUS_QUEUED,
		.kind = (int)sub->kind,
		.priority = sub->priority,
		.max_attempts = sub->max_attempts,
		.batch_index = -1,
		.park_reason = -1,
		.ahead = -1,
		.cost_nanousd = -1,
		.estimate_nanousd = sub->estimate_nanousd,
	};
	job_object_write(&q->out, conf_now(), &j, (struct job_object_how){ .with_result = true, .index = -1 });
	http_reply_header(q->http, "Retry-After", STR("1"));
	return request_answer(q, 202);
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct submit *s = q->submit;
	enum flow_next next = submit_write_done(f, rc);
	if (next != FLOW_NEXT)
		return next;
	char text[ID_TEXT_MAX];
	struct str id = id_text(s->intake.id, "job_", text);
	http_reply_header(q->http, "Location", arena_printf(&q->http->arena, "/v1/jobs/" STR_FMT, STR_ARG(id)));
	return s->intake.is_new && wait_of(q) == 0 ? answer_new(q, s) : FLOW_NEXT;
}

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	job_view_start(q->api, jobs_view(q), f, q->submit->intake.id, q->who.tenant_id, q->gone ? 0 : wait_of(q));
	return FLOW_WAIT;
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(
		    q, rc, rc == -(int)ERR_NOT_FOUND ? "the job of this key is gone" : "the job could not be read");
	bool over = job_status_is_over(jobs_view(q)->facts.status);
	return jobs_answer(q, wait_of(q) > 0 && over ? 200 : q->submit->intake.replayed ? q->submit->intake.first_status : 202);
}

const struct flow_step jobs_submit_steps[] = {
	[READ] = { "read", read_start, NULL },
	[LANE] = { "lane", submit_lane_start, submit_lane_done },
	[WRITE] = { "write", submit_write_start, write_done },
	[VIEW] = { "view", view_start, view_done },
	{ .name = NULL },
};
