/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a submission that was judged to a job that is committed: the lane's number (asked for once per lane and process), the place in the fair order,
 * the group commit, and the hint to the workers.
 *
 * What can go wrong: a full queue is 503 with Retry-After; a lost answer of the database may leave a job behind, which a repeat with the same Idempotency-Key
 * finds. A client that leaves does not stop the write.
 */
#include "api/jobs/submit.h"

#include "api/jobs/fair_sync.h"
#include "api/jobs/hints.h"
#include "api/jobs/lane_ids.h"
#include "api/request.h"
#include "common/clock.h"
#include "common/fault.h"

#define LANE_ASKS 5

int submit_begin(struct request *q)
{
	struct submit *s = q->submit = arena_new(&q->http->arena, struct submit);
	int rc = request_key(q, &s->intake.key);
	s->intake.submission = &s->submission;
	s->intake.tenant_id = q->who.tenant_id;
	if (rc == 0 && s->intake.key.p)
		request_fingerprint(q, q->http->body, s->intake.fingerprint);
	return rc;
}

enum flow_next submit_lane_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct submit *s = q->submit;
	s->intake.lane = lane_ids_get(q->api->lane_ids, s->submission.lane);
	if (s->intake.lane > 0)
		return FLOW_NEXT;
	int rc = lane_ids_ask(q->api->lane_ids, &q->query, &s->submission.lane, 1, f);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}

enum flow_next submit_lane_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct submit *s = q->submit;
	if (rc < 0)
		return request_fail(q, rc, "the lane of the route could not be found");
	lane_ids_learn(q->api->lane_ids, &q->query);
	s->intake.lane = lane_ids_get(q->api->lane_ids, s->submission.lane);
	if (s->intake.lane > 0)
		return FLOW_NEXT;
	/* Another process made it while the statement ran, which then does not see it; the next one does. */
	return ++s->lane_asks < LANE_ASKS ? flow_jump(f, f->at) : request_fail(q, ERR_DB_CONFLICT, "the lane of the route was not made");
}

enum flow_next submit_write_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct submit *s = q->submit;
	struct intake_job *j = &s->intake;
	fair_sync_touch(q->api->fair_sync);
	j->key_prefix = str_from(q->who.key_prefix);
	j->pass = fairness_pass(q->api->fairness, q->who.tenant_id, q->who.weight, j->lane, s->submission.priority, loop_now_ms(&q->api->loop),
	                        &j->counted_from);
	int rc = intake_start(q->api->intake, j, f);
	if (rc < 0)
		return request_fail(q, rc, rc == -(int)ERR_DRAINING ? "send it to another process" : "too many jobs wait to be written");
	return FLOW_WAIT;
}

static const char *write_failure(int rc)
{
	if (rc == -(int)ERR_KEY_REUSED)
		return "the first request with this key had another method, path or body";
	if (rc == -(int)ERR_DB_QUERY)
		return "the database refused the job: it was not written";
	return "the job may or may not have been written: repeat it with its Idempotency-Key";
}

enum flow_next submit_write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct submit *s = q->submit;
	const struct intake_job *j = &s->intake;
	if (rc < 0)
		return request_fail(q, rc, write_failure(rc));
	if (j->is_batch)
		return request_fail(q, ERR_KEY_REUSED, "this key belongs to a batch");
	(void)FAULT("submit.before_answer");
	q->written = j->replayed ? 0 : 1;
	if (j->replayed)
		http_reply_header(q->http, "Idempotent-Replayed", STR("true"));
	else if (s->submission.run_at_us <= clock_wall_us())
		hints_ready(q->api->hints, j->lane, s->submission.priority);
	return FLOW_NEXT;
}
