/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group-commit writer. Entries of one kind wait in a list; a flight takes up to worker.record of them (and FLIGHT_BYTES) and
 * writes them with one statement. The first entry goes in the same turn of the loop; while one flight is out, the next gathers, and a second
 * one leaves only when it is full: so batches grow with load and latency is low without it.
 *
 *   waiting ──take──▶ flight ──commit──▶ each entry completes: 0, or -ERR_LEASE_LOST
 *                       │ refused by the database (a row of it is bad)
 *                       └──▶ its entries go again one by one; one that is refused alone completes with the error
 *
 * Connection losses, restarts and lost answers are the business of common/db: it sends the same statement again for as long as it takes.
 */
#include "worker/queue/record.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/execution/cache.h"
#include "worker/queue/notify.h"
#include "worker/queue/record_columns.h"
#include "worker/upkeep.h"
#include "worker/webhooks/webhook.h"
#include "worker/worker.h"

#define KINDS        3
#define FLIGHTS      2
#define FLIGHT_MAX   2000
#define FLIGHT_BYTES ((size_t)8 << 20)
#define AGAIN_MS     50

struct flight {
	struct recorder *recorder;
	enum record_kind kind;
	struct db_query query;
	struct record_op **entries; /* owned array of borrowed entries */
	size_t n;
	bool busy;
	uint64_t started_ns;
};

struct recorder {
	struct worker *worker;
	struct list waiting[KINDS];
	struct list alone; /* entries of refused flights: written one by one */
	struct flight flights[KINDS][FLIGHTS];
	struct columns columns;
	struct soon soon;
	struct timer again; /* after the db's queue was full */
	size_t out; /* entries in flights */
};

static void flush_soon(struct recorder *r)
{
	loop_soon(r->worker->loop, &r->soon);
}

static const struct db_stmt *statement_of(enum record_kind kind)
{
	switch (kind) {
	case RECORD_END:
		return &sql_worker_record;
	case RECORD_GIVE_BACK:
		return &sql_worker_give_back;
	case RECORD_ATTEMPT:
		return &sql_worker_attempt_write;
	}
	return NULL;
}

static void release_flight(struct flight *f)
{
	db_query_done(&f->query);
	f->recorder->out -= f->n;
	f->n = 0;
	f->busy = false;
}

/* The database refused the statement: one row of it must be at fault, so each goes alone. */
static void flight_refused(struct flight *f, int rc)
{
	struct recorder *r = f->recorder;
	struct record_op *only = f->n == 1 ? f->entries[0] : NULL;
	log_event(LOG_ERROR, "record_refused", "the database refused a write of this worker", LOG_Z("statement", f->query.stmt->name),
	          LOG_I64("jobs", f->n), LOG_Z("error", f->query.err.text), LOG_END);
	if (!only)
		for (size_t i = 0; i < f->n; i++)
			list_push(&r->alone, &f->entries[i]->link);
	release_flight(f);
	flush_soon(r);
	if (only)
		op_done(&only->op, rc);
}

static void mark_all(struct flight *f, int *rc, int value)
{
	for (size_t i = 0; i < f->n; i++)
		rc[i] = value;
}

/* What the statement says of each entry, by its place in the arrays. */
static void read_answers(struct flight *f, int *rc)
{
	int rows = db_rows(&f->query);
	mark_all(f, rc, f->kind == RECORD_GIVE_BACK ? 0 : -ERR_LEASE_LOST);
	if (f->kind == RECORD_GIVE_BACK)
		return;
	for (int row = 0; row < rows; row++) {
		int64_t place = db_get_int(&f->query, row, 0);
		assert(place >= 1 && (size_t)place <= f->n);
		if (f->kind == RECORD_ATTEMPT || db_get_bool(&f->query, row, 1) || db_get_bool(&f->query, row, 2))
			rc[place - 1] = 0;
	}
}

static const char *status_name(enum job_status s)
{
	switch (s) {
	case JOB_SCHEDULED:
	case JOB_QUEUED:
	case JOB_RUNNING:
		break;
	case JOB_SUCCEEDED:
		return "succeeded";
	case JOB_FAILED:
		return "failed";
	case JOB_CANCELED:
		return "canceled";
	case JOB_EXPIRED:
		return "expired";
	}
	return "open";
}

/* What follows from outcomes that are visible now. */
static void tell_others(struct flight *f, const int *rc)
{
	struct worker *w = f->recorder->worker;
	bool any_batch = false, any_webhook = false, any_answer = false, any = false;
	for (size_t i = 0; i < f->n; i++) {
		struct job *j = f->entries[i]->job;
		if (rc[i] < 0)
			continue;
		any = true;
		any_batch |= !id_is_zero(j->batch_id);
		any_webhook |= j->webhook_url.p != NULL;
		any_answer |= j->end.cache != NULL;
		w->finished++;
		metric_add(METRIC_OUTCOMES, status_name(j->end.status), 1);
	}
	if (any)
		notify_done(w->notifier);
	if (any_batch)
		upkeep_fold(w->upkeep);
	if (any_answer)
		cache_written(w->cache);
	if (any_webhook)
		webhooks_wake(w->webhooks);
}

static void on_flight_done(struct op *op, int query_rc)
{
	struct flight *f = container_of(container_of(op, struct db_query, op), struct flight, query);
	struct recorder *r = f->recorder;
	if (query_rc < 0) {
		flight_refused(f, query_rc);
		return;
	}
	int rc[FLIGHT_MAX];
	read_answers(f, rc);
	if (f->kind == RECORD_END)
		tell_others(f, rc);
	metric_observe_ns(METRIC_RECORD_FLUSH, "", clock_mono_ns() - f->started_ns);

	/* op_done may free the entry's job; the flight is busy until the end, so nothing else uses its array. */
	for (size_t i = 0; i < f->n; i++) {
		struct record_op *e = f->entries[i];
		if (e->kind == RECORD_ATTEMPT && rc[i] == 0)
			list_init(&e->job->unwritten);
		op_done(&e->op, rc[i]);
	}
	flush_soon(r);
	release_flight(f);
}

static size_t entry_bytes(const struct record_op *e)
{
	return e->kind == RECORD_END ? e->job->end.result.n : 0;
}

static void send_flight(struct recorder *r, struct flight *f, struct list *from, size_t max)
{
	size_t bytes = 0;
	struct link *k;
	f->n = 0;
	while (f->n < max && (k = list_first(from))) {
		struct record_op *e = container_of(k, struct record_op, link);
		bytes += entry_bytes(e);
		if (f->n > 0 && bytes > FLIGHT_BYTES)
			break;
		list_remove(from, k);
		f->entries[f->n++] = e;
	}
	f->busy = true;
	f->started_ns = clock_mono_ns();
	r->out += f->n;
	db_query_init(&f->query, statement_of(f->kind));
	f->query.retry_ms = -1;
	columns_fill(&r->columns, &f->query.args, f->kind, f->entries, f->n, r->worker->id);
	f->query.op.on_done = on_flight_done;
	int rc = db_query_start(r->worker->db, &f->query, NULL);
	if (rc < 0) {
		/* The db's own queue is full. */
		for (size_t i = f->n; i-- > 0;)
			list_push_front(from, &f->entries[i]->link);
		release_flight(f);
		timer_start(&r->again, AGAIN_MS);
	}
}

static struct flight *free_flight(struct recorder *r, enum record_kind kind)
{
	for (size_t i = 0; i < FLIGHTS; i++)
		if (!r->flights[kind][i].busy)
			return &r->flights[kind][i];
	return NULL;
}

static void flush_kind(struct recorder *r, enum record_kind kind)
{
	size_t full = MIN((size_t)conf_now()->worker_record, FLIGHT_MAX);
	struct list *from = &r->waiting[kind];
	struct flight *f;
	while (!list_is_empty(from) && (f = free_flight(r, kind))) {
		bool first = !r->flights[kind][0].busy && !r->flights[kind][1].busy;
		if (!first && from->n < full)
			return;
		size_t before = from->n;
		send_flight(r, f, from, full);
		if (from->n == before)
			return;
	}
}

static void on_flush(struct soon *s)
{
	struct recorder *r = container_of(s, struct recorder, soon);
	struct link *k = list_first(&r->alone);
	if (k) {
		enum record_kind kind = container_of(k, struct record_op, link)->kind;
		struct flight *f = free_flight(r, kind);
		if (f)
			send_flight(r, f, &r->alone, 1);
	}
	for (int kind = 0; kind < KINDS; kind++)
		flush_kind(r, (enum record_kind)kind);
}

static void on_again(struct timer *t)
{
	flush_soon(container_of(t, struct recorder, again));
}

static void add(struct record_op *op, struct job *j, enum record_kind kind, struct flow *flow)
{
	struct recorder *r = j->worker->recorder;
	op->job = j;
	op->kind = kind;
	op_start(&op->op, flow, "the database", NULL);
	list_push(&r->waiting[kind], &op->link);
	flush_soon(r);
}

void record_end(struct record_op *op, struct job *j, struct flow *flow)
{
	assert(j->end.status >= JOB_SUCCEEDED);
	add(op, j, RECORD_END, flow);
}

void record_give_back(struct record_op *op, struct job *j, int64_t delay_ms, enum park_reason reason, bool interrupted, struct flow *flow)
{
	op->delay_ms = delay_ms;
	op->reason = reason;
	op->interrupted = interrupted;
	if (delay_ms >= 0)
		upkeep_parked(j->worker->upkeep, delay_ms);
	add(op, j, RECORD_GIVE_BACK, flow);
}

void record_attempt(struct record_op *op, struct job *j, struct flow *flow)
{
	add(op, j, RECORD_ATTEMPT, flow);
}

size_t recorder_waiting(const struct recorder *r)
{
	size_t n = r->out + r->alone.n;
	for (int kind = 0; kind < KINDS; kind++)
		n += r->waiting[kind].n;
	return n;
}

struct recorder *recorder_new(struct worker *w)
{
	struct recorder *r = calloc(1, sizeof *r);
	assert(r);
	r->worker = w;
	r->soon.fn = on_flush;
	timer_init(&r->again, w->loop, on_again);
	list_init(&r->alone);
	columns_init(&r->columns);
	for (int kind = 0; kind < KINDS; kind++) {
		list_init(&r->waiting[kind]);
		for (size_t i = 0; i < FLIGHTS; i++) {
			struct flight *f = &r->flights[kind][i];
			f->recorder = r;
			f->kind = (enum record_kind)kind;
			f->entries = calloc(FLIGHT_MAX, sizeof *f->entries);
			assert(f->entries);
		}
	}
	return r;
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	assert(recorder_waiting(r) == 0);
	loop_soon_cancel(r->worker->loop, &r->soon);
	timer_stop(&r->again);
	columns_done(&r->columns);
	for (int kind = 0; kind < KINDS; kind++)
		for (size_t i = 0; i < FLIGHTS; i++)
			free(r->flights[kind][i].entries);
	free(r);
}
