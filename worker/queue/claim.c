/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One claim is in flight at a time. It asks for as many jobs as there are free slots (worker.claim at most) of the best pair that
 * lanes.c knows; a claim that comes back full is followed by the next at once, a short one by one of the next pair, and when no pair is known to
 * hold anything the claimer looks at the queue at each poll. Under load slots become free one by one: it then waits
 * GATHER_MS for more of them, so that claims stay batches.
 *
 * A claim whose answer was lost is sent again by common/db under the same claim number and returns what it took. One that returns
 * under an old worker id (this process was declared dead meanwhile) is dropped: others rescue those jobs. Both sendings may commit,
 * when the server went on with the first behind a closed connection: a look for strays, once per heartbeat, finds what that one took.
 */
#include "worker/queue/claim.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/execution/execution.h"
#include "worker/job.h"
#include "worker/queue/lane_routes.h"
#include "worker/queue/lanes.h"
#include "worker/queue/lease.h"
#include "worker/queue/record.h"

#define GATHER_MS    4
#define LOOK_BUSY_MS 1000
#define LOOK_SHARE   50 /* a look may take one fiftieth of the time … */
#define LOOK_REST_MS 2000 /* … as far as nothing waits longer for that, or for a fifth of the time */
#define JOB_ARENA    ((size_t)64 << 20)

struct claimer {
	struct worker *worker;
	struct db_query claim, look, strays;
	bool claiming, looking, straying;
	bool look_now;           /* notices may have been missed: not before the next pause is over, but at once */
	struct lane_pick pick;
	struct id as;            /* the worker id that the claim in flight was made under */
	struct id strays_as;     /* the same of the look for strays */
	int wanted;
	int64_t claim_no;
	uint64_t claimed_ms;     /* when the last claim was sent */
	uint64_t look_began_ms, next_look_ms, next_strays_ms;
	struct soon soon;
	struct timer timer;
};

/* Columns of claim.sql. */
enum { C_BUCKET, C_ID, C_TOKEN, C_TENANT, C_EXPIRES, C_CLAIMED, C_PASS, C_ATTEMPTS, C_INTERRUPTIONS, C_KIND, C_FORM, C_MAX_ATTEMPTS, C_ROUTE,
       C_BATCH, C_WEBHOOK, C_BODY, C_CREATED, C_LANE, C_PRIORITY, C_FOLLOWED, C_KEY_PREFIX, C_USER, C_METADATA };

static void on_deadline(struct timer *t)
{
	execution_cancel(container_of(t, struct job, deadline), -ERR_EXPIRED);
}

static struct str copy_or_null(struct arena *a, const struct db_query *q, int row, int col)
{
	if (db_is_null(q, row, col))
		return (struct str){ NULL, 0 };
	return arena_str(a, db_get_str(q, row, col));
}

static struct job *job_from_row(struct worker *w, const struct db_query *q, int row)
{
	struct job *j = calloc(1, sizeof *j);
	assert(j);
	arena_init(&j->arena, JOB_ARENA);
	j->worker = w;
	j->bucket = (int)db_get_int(q, row, C_BUCKET);
	j->id = db_get_id(q, row, C_ID);
	j->token = db_get_int(q, row, C_TOKEN);
	j->tenant_id = db_get_int(q, row, C_TENANT);
	j->claimed_us = db_get_time(q, row, C_CLAIMED);
	j->lane = (int)db_get_int(q, row, C_LANE);
	j->priority = (int)db_get_int(q, row, C_PRIORITY);
	j->attempts = (int)db_get_int(q, row, C_ATTEMPTS);
	j->interruptions = (int)db_get_int(q, row, C_INTERRUPTIONS);
	j->kind = db_get_int(q, row, C_KIND) == JOB_EMBEDDINGS ? JOB_EMBEDDINGS : JOB_CHAT;
	j->form = (int)db_get_int(q, row, C_FORM);
	j->max_attempts = (int)db_get_int(q, row, C_MAX_ATTEMPTS);
	j->route = arena_str(&j->arena, db_get_str(q, row, C_ROUTE));
	j->batch_id = db_get_id(q, row, C_BATCH);
	j->webhook_url = copy_or_null(&j->arena, q, row, C_WEBHOOK);
	j->body = copy_or_null(&j->arena, q, row, C_BODY);
	j->created_us = db_get_time(q, row, C_CREATED);
	j->followed = db_get_bool(q, row, C_FOLLOWED);
	j->key_prefix = copy_or_null(&j->arena, q, row, C_KEY_PREFIX);
	j->user = copy_or_null(&j->arena, q, row, C_USER);
	j->metadata = copy_or_null(&j->arena, q, row, C_METADATA);
	list_init(&j->unwritten);

	/* The database's clock decides: only the distance between its two times is used here. */
	int64_t left_ms = (db_get_time(q, row, C_EXPIRES) - j->claimed_us) / 1000;
	timer_init(&j->deadline, w->loop, on_deadline);
	j->deadline_ms = loop_now_ms(w->loop) + (uint64_t)MAX(left_ms, 0);
	list_push(&w->jobs, &j->link);
	return j;
}

static void start_rows(struct worker *w, const struct db_query *q)
{
	metric_add(METRIC_CLAIMS, "", db_rows(q));
	for (int row = 0; row < db_rows(q); row++) {
		struct job *j = job_from_row(w, q, row);
		uint64_t now = loop_now_ms(w->loop);
		timer_start(&j->deadline, j->deadline_ms > now ? j->deadline_ms - now : 0);
		execution_start(j);
	}
}

static void start_jobs(struct claimer *c)
{
	struct worker *w = c->worker;
	int n = db_rows(&c->claim);
	int64_t first_pass = INT64_MAX;
	int of_pick = 0;
	for (int row = 0; row < n; row++) {
		/* The answer to an earlier claim of the same number may be of another pair. */
		if (db_get_int(&c->claim, row, C_LANE) != c->pick.lane || db_get_int(&c->claim, row, C_PRIORITY) != c->pick.priority)
			continue;
		first_pass = MIN(first_pass, db_get_int(&c->claim, row, C_PASS));
		of_pick++;
	}
	if (of_pick == n)
		lanes_claimed(w->lanes, &c->pick, c->wanted, n, first_pass, loop_now_ms(w->loop));
	start_rows(w, &c->claim);
}

static void on_claimed(struct op *op, int rc)
{
	struct claimer *c = container_of(container_of(op, struct db_query, op), struct claimer, claim);
	struct worker *w = c->worker;
	c->claiming = false;
	if (rc == 0 && !id_eq(c->as, w->id))
		log_event(LOG_WARN, "claim_dropped", "a claim came back after this worker was declared dead", LOG_I64("jobs", db_rows(&c->claim)), LOG_END);
	else if (rc == 0 && !leases_are_good(w->leases))
		rc = -ERR_LEASE_LOST; /* it came too late (this process was frozen): others may have these jobs. The next heartbeat tells */
	else if (rc == 0)
		start_jobs(c);
	else if (rc != -ERR_DRAINING)
		log_event(LOG_WARN, "claim_failed", c->claim.err.text, LOG_END);
	db_query_done(&c->claim);
	if (rc < 0) {
		/* It may have been written: the same number finds it. */
		timer_start(&c->timer, 100 + worker_jitter(200));
		return;
	}
	c->claim_no++;
	claimer_wake(c);
}

static void send_claim(struct claimer *c, int wanted)
{
	struct worker *w = c->worker;
	c->wanted = wanted;
	c->as = w->id;
	c->claimed_ms = loop_now_ms(w->loop);
	db_query_init(&c->claim, &sql_worker_claim);
	c->claim.op.on_done = on_claimed;
	db_arg_i32(&c->claim.args, c->pick.lane);
	db_arg_i16(&c->claim.args, (int16_t)c->pick.priority);
	db_arg_i64(&c->claim.args, c->pick.from_pass);
	db_arg_i32(&c->claim.args, wanted);
	db_arg_id(&c->claim.args, w->id);
	db_arg_i64(&c->claim.args, c->claim_no);
	db_arg_i64(&c->claim.args, conf_now()->queue_lease_ms);
	c->claiming = db_query_start(w->db, &c->claim, NULL) == 0;
	if (!c->claiming) {
		db_query_done(&c->claim);
		timer_start(&c->timer, 100);
	}
}

static void on_looked(struct op *op, int rc)
{
	struct claimer *c = container_of(container_of(op, struct db_query, op), struct claimer, look);
	struct worker *w = c->worker;
	uint64_t now = loop_now_ms(w->loop);
	int rows = rc == 0 ? db_rows(&c->look) : 0;
	for (int row = 0; row < rows; row++) {
		lane_routes_named(w->lane_routes, (int)db_get_int(&c->look, row, 0), db_get_str(&c->look, row, 4));
		lanes_seen(w->lanes, (int)db_get_int(&c->look, row, 0), (int)db_get_int(&c->look, row, 1), db_get_int(&c->look, row, 2),
		           db_get_int(&c->look, row, 3), now);
	}
	db_query_done(&c->look);
	c->looking = false;
	uint64_t pause = rows > 0 ? LOOK_BUSY_MS : (uint64_t)conf_now()->queue_poll_ms;
	uint64_t took = rc == 0 ? now - c->look_began_ms : 0; /* what an outage took says nothing of the queue */
	uint64_t rest = MIN(took * LOOK_SHARE, MAX(took * 4, (uint64_t)LOOK_REST_MS));
	c->next_look_ms = now + MAX(pause - pause / 8 + worker_jitter(pause / 4 + 1), rest);
	claimer_wake(c);
}

static void send_look(struct claimer *c)
{
	c->look_began_ms = loop_now_ms(c->worker->loop);
	c->look_now = false;
	db_query_init(&c->look, &sql_worker_lanes);
	c->look.op.on_done = on_looked;
	c->look.retry_ms = 0;
	c->looking = db_query_start(c->worker->db, &c->look, NULL) == 0;
	if (!c->looking) {
		db_query_done(&c->look);
		c->next_look_ms = c->look_began_ms + 100;
	}
}

/* --- strays --- */

static void on_strays(struct op *op, int rc)
{
	struct claimer *c = container_of(container_of(op, struct db_query, op), struct claimer, strays);
	struct worker *w = c->worker;
	if (rc == 0 && db_rows(&c->strays) > 0 && id_eq(c->strays_as, w->id) && leases_are_good(w->leases)) {
		log_event(LOG_WARN, "strays", "found jobs that a claim took after it was given up", LOG_I64("jobs", db_rows(&c->strays)), LOG_END);
		start_rows(w, &c->strays);
	}
	db_query_done(&c->strays);
	c->straying = false;
}

static void send_strays(struct claimer *c, int wanted)
{
	struct worker *w = c->worker;
	struct db_array known;
	db_array_init(&known, DB_UUID, (size_t)16 << 20);
	LIST_EACH(&w->jobs, k)
		db_array_id(&known, container_of(k, struct job, link)->id);
	db_query_init(&c->strays, &sql_worker_strays);
	c->strays.op.on_done = on_strays;
	c->strays.retry_ms = 0;
	c->strays_as = w->id;
	db_arg_id(&c->strays.args, w->id);
	db_arg_i64(&c->strays.args, c->claim_no);
	db_arg_array(&c->strays.args, &known);
	db_arg_i32(&c->strays.args, wanted);
	db_array_done(&known);
	c->straying = db_query_start(w->db, &c->strays, NULL) == 0;
	if (!c->straying)
		db_query_done(&c->strays);
	c->next_strays_ms = loop_now_ms(w->loop) + (uint64_t)conf_now()->queue_heartbeat_ms;
}

/* --- when to do what --- */

/*
 * Slots that may be filled now; 0 when the worker must not claim. Jobs whose call is over and whose outcome is being
 * written call nobody: up to a tenth of the slots goes on without them, so that the provider is not left waiting for
 * the disk.
 */
static int free_slots(const struct claimer *c)
{
	const struct worker *w = c->worker;
	int64_t slots = conf_now()->worker_slots;
	slots += MIN(slots / 10, (int64_t)recorder_waiting(w->recorder));
	if (w->state != WORKER_LIVE || !leases_are_good(w->leases) || !db_is_up(w->db))
		return 0;
	return slots > (int64_t)w->jobs.n ? (int)(slots - (int64_t)w->jobs.n) : 0;
}

static bool should_gather(const struct claimer *c, int slots_free, uint64_t now)
{
	int64_t enough = MIN(conf_now()->worker_claim, conf_now()->worker_slots / 4);
	return slots_free < enough && c->worker->jobs.n > 0 && now < c->claimed_ms + GATHER_MS;
}

/* From the best pair of which something can begin. A lane that was never heard of is looked up first: what it leads to decides how much to take. */
static void claim_best(struct claimer *c, int slots_free, uint64_t now)
{
	struct worker *w = c->worker;
	uint64_t soonest = now + (uint64_t)conf_now()->queue_poll_ms;
	while (lanes_next(w->lanes, now, &c->pick)) {
		int64_t wait_ms = 0;
		if (!lane_routes_knows(w->lane_routes, c->pick.lane)) {
			if (!c->looking)
				send_look(c);
			return;
		}
		int room = lane_routes_room(w->lane_routes, c->pick.lane, slots_free, &wait_ms);
		if (room > 0) {
			send_claim(c, room);
			return;
		}
		lanes_close(w->lanes, c->pick.lane, now + (uint64_t)wait_ms);
		soonest = MIN(soonest, now + (uint64_t)wait_ms);
		timer_start(&c->timer, soonest - now);
	}
}

static void run(struct claimer *c)
{
	struct worker *w = c->worker;
	uint64_t now = loop_now_ms(w->loop);
	int slots_free = free_slots(c);
	timer_start(&c->timer, (uint64_t)conf_now()->queue_poll_ms);
	if (slots_free == 0)
		return;
	if (!c->looking) {
		if (now >= c->next_look_ms || c->look_now)
			send_look(c);
		else
			timer_start(&c->timer, MIN((uint64_t)conf_now()->queue_poll_ms, c->next_look_ms - now));
	}
	if (!c->straying && now >= c->next_strays_ms)
		send_strays(c, slots_free);
	if (c->claiming)
		return;
	if (should_gather(c, slots_free, now)) {
		timer_start(&c->timer, c->claimed_ms + GATHER_MS - now);
		return;
	}
	claim_best(c, (int)MIN((int64_t)slots_free, conf_now()->worker_claim), now);
}

static void on_soon(struct soon *s)
{
	run(container_of(s, struct claimer, soon));
}

static void on_timer(struct timer *t)
{
	run(container_of(t, struct claimer, timer));
}

void claimer_wake(struct claimer *c)
{
	if (c->worker->state == WORKER_LIVE)
		loop_soon(c->worker->loop, &c->soon);
}

void claimer_look(struct claimer *c)
{
	c->look_now = true;
	claimer_wake(c);
}

void claimer_retry(struct claimer *c)
{
	lanes_open(c->worker->lanes);
	claimer_wake(c);
}

bool claimer_is_busy(const struct claimer *c)
{
	return c->claiming || c->looking || c->straying;
}

struct claimer *claimer_new(struct worker *w)
{
	struct claimer *c = calloc(1, sizeof *c);
	assert(c);
	c->worker = w;
	c->soon.fn = on_soon;
	c->claim_no = 1;
	timer_init(&c->timer, w->loop, on_timer);
	return c;
}

void claimer_free(struct claimer *c)
{
	if (!c)
		return;
	assert(!claimer_is_busy(c));
	timer_stop(&c->timer);
	loop_soon_cancel(c->worker->loop, &c->soon);
	free(c);
}
