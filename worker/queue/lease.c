/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row in table worker stands for this process; its heartbeat keeps all its leases. When a heartbeat finds that the row was
 * declared dead (this process was stopped, or the database was out of its reach, for longer than the lease), every job is
 * aborted without a word to the database, and the process registers again under a new id: a stale one can write nothing.
 *
 *   register ──▶ beat every queue.heartbeat ──▶ no row: all leases lost ──▶ register (new id)
 *                  └── every CANCELS_MS, while jobs run, or on a notice: which of my jobs are to be canceled, which does somebody follow?
 */
#include "worker/queue/lease.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/queue/claim.h"
#include "worker/execution/execution.h"
#include "worker/job.h"
#include "worker/execution/live.h"

#define CANCELS_MS 500
#define AGAIN_MS   200

struct leases {
	struct worker *worker;
	struct db_query beat, cancels;
	bool said_failed; /* of the failures in a row: one word is enough */
	bool registered, beating, looking, beat_again, look_again;
	uint64_t sent_ms;        /* of the heartbeat in flight */
	uint64_t good_until_ms;  /* the last answered one keeps the leases until then */
	uint64_t good_since_ms;  /* since when without a gap; 0: not good */
	uint64_t finished_before, minute_at_ms; /* for jobs per minute */
	int per_minute;
	struct timer beat_timer, cancel_timer;
};

static void send_beat(struct leases *l);

bool leases_are_good(const struct leases *l)
{
	/* The clock itself, not the loop's: a process that was frozen within this turn of the loop must not believe in the time before. */
	return l->registered && clock_mono_ms() < l->good_until_ms;
}

uint64_t leases_good_for_ms(const struct leases *l)
{
	return leases_are_good(l) ? loop_now_ms(l->worker->loop) - l->good_since_ms : 0;
}

static void lose_all(struct leases *l)
{
	struct worker *w = l->worker;
	log_event(LOG_WARN, "declared_dead", "this worker was silent for too long: its jobs are others' now", LOG_I64("jobs", w->jobs.n), LOG_END);
	metric_add(METRIC_LEASES_LOST, "", (int64_t)w->jobs.n);
	LIST_EACH_SAFE(&w->jobs, k, tmp)
		execution_cancel(container_of(k, struct job, link), -ERR_LEASE_LOST);
	w->id = id_make(-1);
	l->registered = false;
	l->good_since_ms = l->good_until_ms = 0;
}

static void beat_was_good(struct leases *l)
{
	uint64_t now = loop_now_ms(l->worker->loop);
	bool gap = now >= l->good_until_ms;
	l->said_failed = false;
	l->good_until_ms = l->sent_ms + (uint64_t)conf_now()->queue_lease_ms;
	if (gap || l->good_since_ms == 0)
		l->good_since_ms = now;
	claimer_wake(l->worker->claimer);
}

/* Before the first good beat a refused statement mostly means that nobody has migrated. */
static void say_failed(struct leases *l, int rc)
{
	const char *hint = rc == -ERR_DB_QUERY && l->good_until_ms == 0 ? "is the database migrated? millrace migrate" : "";
	if (rc != -ERR_DRAINING && !l->said_failed)
		log_event(LOG_WARN, "heartbeat_failed", l->beat.err.text, LOG_Z("hint", hint), LOG_END);
	l->said_failed = true;
}

static void on_beat(struct op *op, int rc)
{
	struct leases *l = container_of(container_of(op, struct db_query, op), struct leases, beat);
	struct worker *w = l->worker;
	uint64_t pause = (uint64_t)conf_now()->queue_heartbeat_ms;
	l->beating = false;
	if (rc < 0) {
		say_failed(l, rc);
		pause = AGAIN_MS;
	} else if (!l->registered) {
		l->registered = true;
		beat_was_good(l);
	} else if (db_rows(&l->beat) == 0) {
		lose_all(l);
		pause = 0;
	} else {
		beat_was_good(l);
	}
	db_query_done(&l->beat);
	bool again = l->beat_again;
	l->beat_again = false;
	if (w->state == WORKER_STOPPED) {
		if (again && l->registered)
			send_beat(l); /* the farewell */
		return;
	}
	if (again)
		pause = 0;
	timer_start(&l->beat_timer, pause);
}

static void count_minute(struct leases *l, uint64_t now)
{
	const struct worker *w = l->worker;
	if (now - l->minute_at_ms < 1000)
		return;
	l->per_minute = (int)MIN((w->finished - l->finished_before) * 60000 / (now - l->minute_at_ms), (uint64_t)INT32_MAX);
	l->finished_before = w->finished;
	l->minute_at_ms = now;
}

static void send_beat(struct leases *l)
{
	struct worker *w = l->worker;
	uint64_t now = loop_now_ms(w->loop);
	l->sent_ms = now;
	count_minute(l, now);
	db_query_init(&l->beat, l->registered ? &sql_worker_heartbeat : &sql_worker_worker_register);
	l->beat.op.on_done = on_beat;
	l->beat.retry_ms = conf_now()->queue_heartbeat_ms;
	db_arg_id(&l->beat.args, w->id);
	if (l->registered) {
		db_arg_i64(&l->beat.args, (int64_t)w->loop->turns);
		db_arg_i32(&l->beat.args, (int32_t)w->jobs.n);
		db_arg_i32(&l->beat.args, l->per_minute);
		db_arg_i16(&l->beat.args, (int16_t)w->state);
	} else {
		char host[128] = "", boot[BOOT_TEXT_MAX];
		gethostname(host, sizeof host - 1);
		db_arg_text(&l->beat.args, str_from(host));
		db_arg_i32(&l->beat.args, (int32_t)getpid());
		db_arg_i32(&l->beat.args, (int32_t)conf_now()->worker_slots);
		db_arg_text_or_null(&l->beat.args, boot_text(boot));
	}
	l->beating = db_query_start(w->db, &l->beat, NULL) == 0;
	if (!l->beating) {
		db_query_done(&l->beat);
		timer_start(&l->beat_timer, AGAIN_MS);
	}
}

static void on_beat_timer(struct timer *t)
{
	struct leases *l = container_of(t, struct leases, beat_timer);
	if (!l->beating)
		send_beat(l);
}

void leases_beat_now(struct leases *l)
{
	if (l->beating)
		l->beat_again = true;
	else
		send_beat(l);
}

static struct str bytes_of(const struct id *id)
{
	return (struct str){ (const char *)id->b, sizeof id->b };
}

/* By id: the marks of followed jobs come back with each look, so no list is searched for each. */
static void index_jobs(const struct worker *w, struct hash *ret)
{
	hash_init(ret);
	LIST_EACH(&w->jobs, k) {
		struct job *j = container_of(k, struct job, link);
		hash_set(ret, bytes_of(&j->id), j);
	}
}

static void on_cancels(struct op *op, int rc)
{
	struct leases *l = container_of(container_of(op, struct db_query, op), struct leases, cancels);
	struct worker *w = l->worker;
	int rows = rc == 0 ? db_rows(&l->cancels) : 0;
	struct hash jobs = { 0 };
	if (rows > 0)
		index_jobs(w, &jobs);
	for (int row = 0; row < rows; row++) {
		struct id id = db_get_id(&l->cancels, row, 1);
		struct job *j = hash_get(&jobs, bytes_of(&id));
		if (!j || j->token != db_get_int(&l->cancels, row, 2))
			continue;
		if (db_get_bool(&l->cancels, row, 4))
			live_follow(j);
		if (db_get_bool(&l->cancels, row, 3)) {
			hash_remove(&jobs, bytes_of(&id)); /* it may be gone after this */
			execution_cancel(j, -ERR_CANCELED);
		}
	}
	hash_done(&jobs);
	db_query_done(&l->cancels);
	l->looking = false;
	if (l->look_again)
		leases_look_for_cancels(l);
}

void leases_look_for_cancels(struct leases *l)
{
	l->look_again = l->looking;
	if (l->looking || !l->registered)
		return;
	db_query_init(&l->cancels, &sql_worker_cancels);
	l->cancels.op.on_done = on_cancels;
	l->cancels.retry_ms = 0;
	db_arg_id(&l->cancels.args, l->worker->id);
	l->looking = db_query_start(l->worker->db, &l->cancels, NULL) == 0;
	if (!l->looking)
		db_query_done(&l->cancels);
}

static void on_cancel_timer(struct timer *t)
{
	struct leases *l = container_of(t, struct leases, cancel_timer);
	if (l->worker->state == WORKER_STOPPED)
		return;
	timer_start(&l->cancel_timer, CANCELS_MS);
	if (l->worker->jobs.n > 0)
		leases_look_for_cancels(l);
}

bool leases_are_idle(const struct leases *l)
{
	return !l->beating && !l->looking;
}

void leases_stop(struct leases *l)
{
	timer_stop(&l->cancel_timer);
	timer_stop(&l->beat_timer);
	l->look_again = false;
}

struct leases *leases_new(struct worker *w)
{
	struct leases *l = calloc(1, sizeof *l);
	assert(l);
	l->worker = w;
	l->minute_at_ms = loop_now_ms(w->loop);
	timer_init(&l->beat_timer, w->loop, on_beat_timer);
	timer_init(&l->cancel_timer, w->loop, on_cancel_timer);
	timer_start(&l->beat_timer, 0);
	timer_start(&l->cancel_timer, CANCELS_MS);
	return l;
}

void leases_free(struct leases *l)
{
	if (!l)
		return;
	assert(leases_are_idle(l));
	leases_stop(l);
	free(l);
}
