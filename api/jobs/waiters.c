/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All waits of the process in three lists, jobs, jobs whose answer is wanted at once, and batches, each with one query that is never in flight twice. The
 * interval starts at 50 ms, grows while nothing ends and falls back when something did; a notice runs the query at once, but never within 2
 * ms after the last, so that a burst of notices is one query.
 *
 * A query that fails is asked again at the next tick; the waits' own timers end them in any case. More than CHUNK waits
 * are asked for in turn, from the front of the list, which rotates.
 */
#include "api/jobs/waiters.h"

#include <stdlib.h>

#include "api/api.h"
#include "api/jobs/job_object.h"
#include "common/hash.h"
#include "sql_api.h"

#define TICK_MIN_MS 50
#define TICK_MAX_MS 250
#define HINT_MS     2
#define CHUNK       2000

enum { JOBS, ANSWERS, BATCHES, KINDS };

struct wait_kind {
	struct waiters *all;
	const struct db_stmt *stmt;
	struct list waiting;
	struct db_query query;
	bool asked_again; /* a notice came while the query was in flight */
};

struct waiters {
	struct api *api;
	struct wait_kind kinds[KINDS];
	struct job_facts facts; /* of the waiter that is being told */
	struct timer timer;
	uint64_t tick_ms, asked_ms; /* the interval; when the last query began */
	bool draining, stopped;
};

static struct wait_kind *kind_of(const struct waiter *w)
{
	return &w->all->kinds[w->is_batch ? BATCHES : w->wants_facts ? ANSWERS : JOBS];
}

static bool nobody_waits(const struct waiters *w)
{
	for (int i = 0; i < KINDS; i++)
		if (!list_is_empty(&w->kinds[i].waiting))
			return false;
	return true;
}

static void waiter_end(struct waiter *w, int rc)
{
	struct wait_kind *kind = kind_of(w);
	list_remove(&kind->waiting, &w->link);
	timer_stop(&w->timer);
	op_done(&w->op, rc);
}

static void on_time_over(struct timer *t)
{
	waiter_end(container_of(t, struct waiter, timer), -(int)ERR_TIMEOUT);
}

static void on_cancel(struct op *op)
{
	waiter_end(container_of(op, struct waiter, op), -(int)ERR_CANCELED);
}

static void arm(struct waiters *w)
{
	if (!w->stopped && !timer_is_armed(&w->timer) && !nobody_waits(w))
		timer_start(&w->timer, w->tick_ms);
}

/* Those that have ended, moved to done: completion may start other waits. */
static void take_ended(struct wait_kind *kind, int n, struct list *done)
{
	struct hash ended;
	hash_init(&ended);
	for (int i = 0; i < n; i++) {
		struct id id = db_get_id(&kind->query, i, 0);
		hash_set(&ended, (struct str){ (const char *)id.b, sizeof(id.b) }, (void *)(uintptr_t)(i + 1));
	}
	LIST_EACH_SAFE(&kind->waiting, k, next) {
		struct waiter *one = container_of(k, struct waiter, link);
		void *row = n > 0 ? hash_get(&ended, (struct str){ (const char *)one->id.b, sizeof(one->id.b) }) : NULL;
		if (!row)
			continue;
		list_remove(&kind->waiting, k);
		list_push(done, k);
		timer_stop(&one->timer);
		one->op.cancel = NULL;
		one->row = (int)(uintptr_t)row - 1;
	}
	hash_done(&ended);
}

static void tell_ended(struct wait_kind *kind, struct waiter *w)
{
	if (w->wants_facts) {
		job_facts_read(&kind->query, w->row, &kind->all->facts);
		w->facts = &kind->all->facts;
	}
	op_done(&w->op, 0);
}

static void on_answer(struct op *op, int rc)
{
	struct wait_kind *kind = container_of(op, struct wait_kind, query.op);
	struct waiters *w = kind->all;
	struct list done;
	int n = rc == 0 ? db_rows(&kind->query) : 0;
	bool again = kind->asked_again;
	list_init(&done);
	if (n > 0)
		take_ended(kind, n, &done);
	w->tick_ms = n > 0 ? TICK_MIN_MS : MIN(w->tick_ms * 2, (uint64_t)TICK_MAX_MS);
	kind->asked_again = false;
	for (struct link *k; (k = list_pop(&done));)
		tell_ended(kind, container_of(k, struct waiter, link));
	db_query_done(&kind->query); /* what was told lies in its result */
	arm(w);
	if (again)
		waiters_hint(w);
}

static void ask(struct wait_kind *kind)
{
	if (kind->query.op.active || list_is_empty(&kind->waiting))
		return;
	struct db_array bucket, id, tenant;
	db_array_init(&bucket, DB_INT4, 1 << 20);
	db_array_init(&id, DB_UUID, 1 << 20);
	db_array_init(&tenant, DB_INT8, 1 << 20);
	for (size_t i = MIN(kind->waiting.n, (size_t)CHUNK); i > 0; i--) {
		struct link *k = list_pop(&kind->waiting);
		const struct waiter *w = container_of(k, struct waiter, link);
		list_push(&kind->waiting, k);
		db_array_i32(&bucket, id_bucket(w->id));
		db_array_id(&id, w->id);
		db_array_i64(&tenant, w->tenant_id);
	}
	db_query_init(&kind->query, kind->stmt);
	db_arg_array(&kind->query.args, &bucket);
	db_arg_array(&kind->query.args, &id);
	db_arg_array(&kind->query.args, &tenant);
	db_array_done(&bucket);
	db_array_done(&id);
	db_array_done(&tenant);
	kind->query.op.on_done = on_answer;
	kind->query.retry_ms = 0;
	if (api_query_start(kind->all->api, &kind->query, NULL) < 0)
		db_query_done(&kind->query);
}

static void on_tick(struct timer *t)
{
	struct waiters *w = container_of(t, struct waiters, timer);
	w->asked_ms = loop_now_ms(&w->api->loop);
	for (int i = 0; i < KINDS; i++)
		ask(&w->kinds[i]);
	arm(w);
}

static void kind_init(struct wait_kind *kind, struct waiters *w, const struct db_stmt *stmt)
{
	kind->all = w;
	kind->stmt = stmt;
	list_init(&kind->waiting);
}

struct waiters *waiters_new(struct api *api)
{
	struct waiters *w = calloc(1, sizeof(*w));
	assert(w);
	w->api = api;
	w->tick_ms = TICK_MIN_MS;
	kind_init(&w->kinds[JOBS], w, &sql_api_ended_jobs);
	kind_init(&w->kinds[ANSWERS], w, &sql_api_ended_answers);
	kind_init(&w->kinds[BATCHES], w, &sql_api_ended_batches);
	timer_init(&w->timer, &api->loop, on_tick);
	return w;
}

void waiters_free(struct waiters *w)
{
	if (!w)
		return;
	assert(nobody_waits(w));
	for (int i = 0; i < KINDS; i++)
		assert(!w->kinds[i].query.op.active);
	timer_stop(&w->timer);
	free(w);
}

void waiter_start(struct waiters *all, struct waiter *w, struct flow *flow, struct id id, int64_t tenant_id,
                  bool is_batch, int64_t ms)
{
	assert(ms > 0);
	w->all = all;
	w->id = id;
	w->tenant_id = tenant_id;
	w->is_batch = is_batch;
	timer_init(&w->timer, &all->api->loop, on_time_over);
	op_start(&w->op, flow, is_batch ? "the end of a batch" : "the end of a job", on_cancel);
	list_push(&kind_of(w)->waiting, &w->link);
	timer_start(&w->timer, all->stopped || (all->draining && !w->patient) ? 0 : (uint64_t)ms);
	all->tick_ms = TICK_MIN_MS;
	arm(all);
}

void waiters_hint(struct waiters *w)
{
	if (w->stopped || nobody_waits(w))
		return;
	for (int i = 0; i < KINDS; i++)
		w->kinds[i].asked_again = w->kinds[i].query.op.active;
	/* The first of many sets the time: notices that never pause may not put it off. */
	uint64_t now = loop_now_ms(&w->api->loop), due = MAX(now, w->asked_ms + HINT_MS);
	if (!timer_is_armed(&w->timer) || w->timer.due_ms > due)
		timer_start(&w->timer, due - now);
}

static void end_all(struct waiters *w, bool patient_too)
{
	for (int i = 0; i < KINDS; i++)
		LIST_EACH(&w->kinds[i].waiting, k) {
			struct waiter *one = container_of(k, struct waiter, link);
			if (patient_too || !one->patient)
				timer_start(&one->timer, 0);
		}
}

void waiters_drain(struct waiters *w)
{
	w->draining = true;
	end_all(w, /* patient_too= */ false);
}

void waiters_stop(struct waiters *w)
{
	w->draining = w->stopped = true;
	timer_stop(&w->timer);
	end_all(w, /* patient_too= */ true);
}
