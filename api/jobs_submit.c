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
#include "api/jobs.h"

#include "api/fair_sync.h"
#include "api/intake.h"
#include "api/job_view.h"
#include "api/lane_ids.h"
#include "api/hints.h"
#include "api/request.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/fault.h"

struct submit {
	struct submission submission;
	struct intake_job intake;
	int64_t wait_ms;
	int lane_asks;
};

#define LANE_ASKS 5

enum { READ, LANE, WRITE, VIEW };

static enum flow_next read_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct submit *s = arena_new(&q->http->arena, struct submit);
	q->state = s;
	s->wait_ms = request_wait_ms(q);
	if (s->wait_ms < 0 || request_key(q, &s->intake.key) < 0)
		return request_refuse(q);
	const struct submission_rules rules = { conf_now(), &q->api->guard, clock_wall_us() };
	if (submission_read(&q->http->arena, &rules, q->http->body, &s->submission, &q->err) < 0)
		return request_refuse(q);
	s->intake.submission = &s->submission;
	s->intake.tenant_id = q->who.tenant_id;
	if (s->intake.key.p)
		request_fingerprint(q, q->http->body, s->intake.fingerprint);
	return FLOW_NEXT;
}

static enum flow_next lane_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct submit *s = q->state;
	s->intake.lane = lane_ids_get(q->api->lane_ids, s->submission.lane);
	if (s->intake.lane > 0)
		return FLOW_NEXT;
	int rc = lane_ids_ask(q->api->lane_ids, &q->query, &s->submission.lane, 1, f);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}

static enum flow_next lane_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct submit *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the lane of the route could not be found");
	lane_ids_learn(q->api->lane_ids, &q->query);
	s->intake.lane = lane_ids_get(q->api->lane_ids, s->submission.lane);
	if (s->intake.lane > 0)
		return FLOW_NEXT;
	/* Another process made it while the statement ran, which then does not see it; the next one does. */
	return ++s->lane_asks < LANE_ASKS ? flow_jump(f, LANE)
	                                  : request_fail(q, ERR_DB_CONFLICT, "the lane of the route was not made");
}

static enum flow_next write_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct submit *s = q->state;
	struct intake_job *j = &s->intake;
	fair_sync_touch(q->api->fair_sync);
	j->key_prefix = str_from(q->who.key_prefix);
	j->pass = fairness_pass(q->api->fairness, q->who.tenant_id, q->who.weight, j->lane, s->submission.priority,
	                        loop_now_ms(&q->api->loop), &j->counted_from);
	int rc = intake_start(q->api->intake, j, f);
	if (rc < 0)
		return request_fail(q, rc,
		                    rc == -(int)ERR_DRAINING ? "send it to another process"
		                                             : "too many jobs wait to be written");
	return FLOW_WAIT;
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
	};
	job_object_write(&q->out, conf_now(), &j, (struct job_object_how){ .with_result = true, .index = -1 });
	http_reply_header(q->http, "Retry-After", STR("1"));
	return request_answer(q, 202);
}

static const char *write_failure(int rc)
{
	if (rc == -(int)ERR_KEY_REUSED)
		return "the first request with this key had another method, path or body";
	if (rc == -(int)ERR_DB_QUERY)
		return "the database refused the job: it was not written";
	return "the job may or may not have been written: repeat it with its Idempotency-Key";
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct submit *s = q->state;
	struct intake_job *j = &s->intake;
	if (rc < 0)
		return request_fail(q, rc, write_failure(rc));
	if (j->is_batch)
		return request_fail(q, ERR_KEY_REUSED, "this key belongs to a batch");
	(void)FAULT("submit.before_answer");
	q->written = j->replayed ? 0 : 1;
	if (j->replayed)
		http_reply_header(q->http, "Idempotent-Replayed", STR("true"));
	char text[ID_TEXT_MAX];
	struct str id = id_text(j->id, "job_", text);
	http_reply_header(q->http, "Location", arena_printf(&q->http->arena, "/v1/jobs/" STR_FMT, STR_ARG(id)));
	if (!j->replayed && s->submission.run_at_us <= clock_wall_us())
		hints_ready(q->api->hints, j->lane, s->submission.priority);
	if (j->is_new && s->wait_ms == 0)
		return answer_new(q, s);
	return FLOW_NEXT;
}

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct submit *s = q->state;
	job_view_start(q->api, jobs_view(q), f, s->intake.id, q->who.tenant_id, q->gone ? 0 : s->wait_ms);
	return FLOW_WAIT;
}

static enum flow_next view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct submit *s = q->state;
	if (rc < 0)
		return request_fail(
		    q, rc, rc == -(int)ERR_NOT_FOUND ? "the job of this key is gone" : "the job could not be read");
	bool over = job_status_is_over(jobs_view(q)->facts.status);
	return jobs_answer(q, s->wait_ms > 0 && over ? 200 : s->intake.replayed ? s->intake.first_status : 202);
}

const struct flow_step jobs_submit_steps[] = {
	[READ] = { "read", read_start, NULL },
	[LANE] = { "lane", lane_start, lane_done },
	[WRITE] = { "write", write_start, write_done },
	[VIEW] = { "view", view_start, view_done },
	{ .name = NULL },
};
