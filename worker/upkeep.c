/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chores that any worker does for all of them. Each row of the table is one statement on a timer of its own; each takes rows that nobody else has
 * locked, so several workers at once only share the work. A chore's `took` reads the result and says when to come again:
 * at once when there was as much as it may take in one go, else after its period.
 *
 * When the database is away a chore fails and comes again after its period: nothing of this is ever lost.
 */
#include "worker/upkeep.h"

#include <stdlib.h>

#include "common/boot.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/queue/claim.h"
#include "worker/queue/lanes.h"
#include "worker/queue/lease.h"
#include "worker/queue/notify.h"
#include "worker/webhooks/webhook.h"

#define PROMOTE_SOME 500
#define RESCUE_SOME  500
#define GONE_SOME    100
#define NO_LAPSE_MS  (INT64_C(86400000) * 3650)
#define EXPIRE_SOME  500
#define EXPIRE_LOOK_MS 40
#define FOLD_SOME    5000
#define CANCEL_SOME  1000
#define CHUNK_SOME   5000
#define CACHE_SOME   1000
#define ERASE_SOME   500
#define ORPHAN_BUCKETS 64
#define ORPHANS_AGAIN_MS 50 /* a job that was on its way from one table to another */
#define FOLD_SOON_MS 20
#define AT_ONCE      0

enum chore_id {
	PROMOTE, NEXT_PARKED, SILENT, GONE, RESCUE, APIS_SILENT, APIS_GONE, ORPHANS, EXPIRE, FOLD, CANCELING, CANCEL_BATCH, PARTITIONS, PRUNE, CHUNK_PRUNE,
	ERASE, TARGETS, CACHE_PRUNE, DEPTHS, CHORES
};

struct chore {
	struct upkeep *upkeep;
	enum chore_id id;
	struct db_query query;
	struct timer timer;
	uint64_t due_ms;
	bool busy;
};

struct upkeep {
	struct worker *worker;
	int expire_from, expire_n;  /* the window of buckets that EXPIRE looks at */
	uint64_t expire_began_ms;
	int prune_bucket;           /* the one that PRUNE looks at next */
	struct id gone[GONE_SOME];  /* workers without a process, for GONE */
	struct id apis[GONE_SOME];  /* and api processes, for APIS_GONE */
	size_t ngone, napis;
	struct chore chores[CHORES];
	struct id batch;   /* the one that CANCEL_BATCH works on */
	int batch_bucket;
	bool has_batch;
};

struct chore_kind {
	const struct db_stmt *stmt;
	int64_t (*period_ms)(void);                       /* how long until it comes again by itself */
	bool (*put)(struct upkeep *u, struct db_args *a); /* the parameters; false: nothing to do now */
	int64_t (*took)(struct upkeep *u, const struct db_query *q); /* ms until it comes again; -1: the period */
};

static void chore_at(struct upkeep *u, enum chore_id id, int64_t ms)
{
	struct chore *c = &u->chores[id];
	uint64_t due = loop_now_ms(u->worker->loop) + (uint64_t)MAX(ms, 0);
	if (u->worker->state == WORKER_STOPPED || (c->due_ms && c->due_ms <= due))
		return;
	c->due_ms = due;
	if (!c->busy)
		timer_start(&c->timer, (uint64_t)MAX(ms, 0));
}

static int64_t every_second(void)
{
	return 1000;
}

static int64_t every_ten_seconds(void)
{
	return 10000;
}

/* 1,024 buckets in about an hour. */
static int64_t every_few_seconds(void)
{
	return 3500;
}

static int64_t every_ten_minutes(void)
{
	return 600000;
}

static int64_t every_hour(void)
{
	return 3600000;
}

static int64_t rescue_period(void)
{
	return conf_now()->queue_rescue_ms;
}

static int64_t erase_period(void)
{
	return MIN(every_ten_seconds(), conf_now()->retention_unstored_ms);
}

/* --- parked jobs --- */

static bool put_promote(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i32(a, PROMOTE_SOME);
	return true;
}

static int64_t took_promote(struct upkeep *u, const struct db_query *q)
{
	int rows = db_rows(q);
	for (int row = 0; row < rows; row++)
		lanes_hint(u->worker->lanes, (int)db_get_int(q, row, 0), (int)db_get_int(q, row, 1));
	if (rows > 0)
		claimer_wake(u->worker->claimer);
	if (rows == PROMOTE_SOME)
		return AT_ONCE;
	chore_at(u, NEXT_PARKED, AT_ONCE);
	return -1;
}

static bool put_nothing(struct upkeep *u, struct db_args *a)
{
	(void)u;
	(void)a;
	return true;
}

/* The timer is set to the millisecond after: promote decides by the database's clock, so it is never early. */
static int64_t took_next_parked(struct upkeep *u, const struct db_query *q)
{
	if (db_rows(q) > 0 && db_get_int(q, 0, 0) < 1000)
		chore_at(u, PROMOTE, db_get_int(q, 0, 0) + 1);
	return -1;
}

/* --- vanished workers --- */

/* After an outage of the database all heartbeats are old: the others get the time to send theirs. Those known to be gone do not. */
static bool sees_silence(const struct upkeep *u)
{
	return leases_good_for_ms(u->worker->leases) >= (uint64_t)conf_now()->queue_lease_ms / 3;
}

static void put_ids(struct db_args *a, const struct id *all, size_t n)
{
	struct db_array ids;
	db_array_init(&ids, DB_UUID, (size_t)1 << 16);
	for (size_t i = 0; i < n; i++)
		db_array_id(&ids, all[i]);
	db_arg_array(a, &ids);
	db_array_done(&ids);
}

static bool put_silent(struct upkeep *u, struct db_args *a)
{
	char room[BOOT_TEXT_MAX];
	struct str boot = boot_text(room);
	db_arg_text(a, boot);
	db_arg_id(a, u->worker->id);
	return boot.n > 0 && u->ngone == 0;
}

static int64_t took_silent(struct upkeep *u, const struct db_query *q)
{
	for (int row = 0; row < db_rows(q) && u->ngone < GONE_SOME; row++)
		if (!boot_has_process((int)db_get_int(q, row, 1)))
			u->gone[u->ngone++] = db_get_id(q, row, 0);
	if (u->ngone > 0)
		chore_at(u, GONE, AT_ONCE);
	return -1;
}

static bool put_gone(struct upkeep *u, struct db_args *a)
{
	if (u->ngone == 0)
		return false;
	put_ids(a, u->gone, u->ngone);
	u->ngone = 0; /* what fails is seen again */
	return true;
}

static int64_t took_gone(struct upkeep *u, const struct db_query *q)
{
	if (db_rows(q) == 0)
		return -1;
	log_event(LOG_WARN, "workers_gone", "workers of this host have no process any more", LOG_I64("workers", db_rows(q)), LOG_END);
	chore_at(u, RESCUE, AT_ONCE);
	return -1;
}

static bool put_rescue(struct upkeep *u, struct db_args *a)
{
	db_arg_i64(a, sees_silence(u) ? conf_now()->queue_lease_ms : NO_LAPSE_MS);
	db_arg_i32(a, RESCUE_SOME);
	db_arg_i32(a, (int32_t)conf_now()->job_max_interruptions);
	return true;
}

static int64_t took_rescue(struct upkeep *u, const struct db_query *q)
{
	int rows = db_rows(q);
	for (int row = 0; row < rows; row++) {
		if (db_get_int(q, row, 2) == 1)
			lanes_hint(u->worker->lanes, (int)db_get_int(q, row, 0), (int)db_get_int(q, row, 1));
		else
			notify_done(u->worker->notifier);
	}
	if (rows == 0)
		return -1;
	metric_add(METRIC_RESCUED, "", rows);
	log_event(LOG_WARN, "rescued", "took back the jobs of a worker that vanished", LOG_I64("jobs", rows), LOG_END);
	claimer_wake(u->worker->claimer);
	chore_at(u, FOLD, FOLD_SOON_MS);
	webhooks_wake(u->worker->webhooks);
	return rows == RESCUE_SOME ? AT_ONCE : -1;
}

/* --- vanished api processes, and what only their clients waited for --- */

static bool put_apis_silent(struct upkeep *u, struct db_args *a)
{
	char room[BOOT_TEXT_MAX];
	struct str boot = boot_text(room);
	db_arg_text(a, boot);
	return boot.n > 0 && u->napis == 0;
}

static int64_t took_apis_silent(struct upkeep *u, const struct db_query *q)
{
	for (int row = 0; row < db_rows(q) && u->napis < GONE_SOME; row++)
		if (!boot_has_process((int)db_get_int(q, row, 1)))
			u->apis[u->napis++] = db_get_id(q, row, 0);
	if (u->napis > 0)
		chore_at(u, APIS_GONE, AT_ONCE);
	return -1;
}

static bool put_apis_gone(struct upkeep *u, struct db_args *a)
{
	put_ids(a, u->apis, u->napis);
	u->napis = 0; /* what fails is seen again */
	db_arg_i64(a, sees_silence(u) ? conf_now()->queue_api_silence_ms : NO_LAPSE_MS);
	db_arg_i64(a, conf_now()->queue_lease_ms);
	return true;
}

static int64_t took_apis_gone(struct upkeep *u, const struct db_query *q)
{
	if (db_rows(q) > 0) {
		log_event(LOG_WARN, "apis_gone", "api processes are gone: what only their clients waited for is canceled", LOG_I64("apis", db_rows(q)), LOG_END);
		chore_at(u, ORPHANS, AT_ONCE);
	}
	return -1;
}

static bool put_orphans(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i32(a, ORPHAN_BUCKETS);
	return true;
}

static int64_t took_orphans(struct upkeep *u, const struct db_query *q)
{
	if (db_rows(q) == 0)
		return -1;
	int64_t found = db_get_int(q, 0, 0), ended = db_get_int(q, 0, 1), running = db_get_int(q, 0, 2);
	if (ended > 0) {
		metric_add(METRIC_OUTCOMES, "canceled", ended);
		notify_done(u->worker->notifier);
		webhooks_wake(u->worker->webhooks);
	}
	if (running > 0)
		leases_look_for_cancels(u->worker->leases);
	return found == ended + running ? AT_ONCE : ORPHANS_AGAIN_MS;
}

/* --- deadlines of waiting jobs --- */

/* The window of buckets adapts so that a look takes about EXPIRE_LOOK_MS: the whole queue each second while it is short. */
static bool put_expire(struct upkeep *u, struct db_args *a)
{
	u->expire_began_ms = loop_now_ms(u->worker->loop);
	db_arg_i32(a, EXPIRE_SOME);
	db_arg_i32(a, u->expire_from);
	db_arg_i32(a, u->expire_from + u->expire_n - 1);
	return true;
}

static void move_expire_window(struct upkeep *u)
{
	uint64_t took = loop_now_ms(u->worker->loop) - u->expire_began_ms;
	u->expire_from = (u->expire_from + u->expire_n) % ID_BUCKETS;
	if (took > EXPIRE_LOOK_MS && u->expire_n > 1)
		u->expire_n /= 2;
	else if (took < EXPIRE_LOOK_MS / 4 && u->expire_n < ID_BUCKETS)
		u->expire_n *= 2;
	u->expire_from -= u->expire_from % u->expire_n;
}

static int64_t took_expire(struct upkeep *u, const struct db_query *q)
{
	int64_t n = db_get_int(q, 0, 0);
	if (n < EXPIRE_SOME)
		move_expire_window(u);
	if (n == 0)
		return -1;
	metric_add(METRIC_OUTCOMES, "expired", n);
	notify_done(u->worker->notifier);
	chore_at(u, FOLD, FOLD_SOON_MS);
	webhooks_wake(u->worker->webhooks);
	return n >= EXPIRE_SOME ? AT_ONCE : -1;
}

/* --- batches --- */

static bool put_fold(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i32(a, FOLD_SOME);
	return true;
}

static int64_t took_fold(struct upkeep *u, const struct db_query *q)
{
	if (db_get_int(q, 0, 1) > 0) {
		webhooks_wake(u->worker->webhooks);
		notify_done(u->worker->notifier);
	}
	return -1;
}

static bool put_canceling(struct upkeep *u, struct db_args *a)
{
	if (u->has_batch)
		return false;
	db_arg_i32(a, 1);
	return true;
}

static int64_t took_canceling(struct upkeep *u, const struct db_query *q)
{
	if (db_rows(q) == 0)
		return -1;
	u->batch_bucket = (int)db_get_int(q, 0, 0);
	u->batch = db_get_id(q, 0, 1);
	u->has_batch = true;
	chore_at(u, CANCEL_BATCH, AT_ONCE);
	return -1;
}

static bool put_cancel_batch(struct upkeep *u, struct db_args *a)
{
	if (!u->has_batch)
		return false;
	db_arg_i32(a, u->batch_bucket);
	db_arg_id(a, u->batch);
	db_arg_i32(a, CANCEL_SOME);
	return true;
}

static int64_t took_cancel_batch(struct upkeep *u, const struct db_query *q)
{
	if (db_get_int(q, 0, 1) > 0)
		leases_look_for_cancels(u->worker->leases);
	if (db_get_int(q, 0, 0) > 0) {
		chore_at(u, FOLD, FOLD_SOON_MS);
		return AT_ONCE;
	}
	u->has_batch = false;
	return -1;
}

/* --- housekeeping --- */

static bool put_partitions(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i64(a, conf_now()->retention_payload_ms);
	db_arg_i64(a, conf_now()->retention_audit_ms);
	return true;
}

static int64_t took_nothing(struct upkeep *u, const struct db_query *q)
{
	(void)u;
	(void)q;
	return -1;
}

static bool put_prune(struct upkeep *u, struct db_args *a)
{
	db_arg_i32(a, u->prune_bucket);
	db_arg_i64(a, conf_now()->retention_audit_ms);
	u->prune_bucket = (u->prune_bucket + 1) % ID_BUCKETS;
	return true;
}

static bool put_chunk_prune(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i64(a, conf_now()->events_keep_ms);
	db_arg_i32(a, CHUNK_SOME);
	return true;
}

static int64_t took_chunk_prune(struct upkeep *u, const struct db_query *q)
{
	(void)u;
	return db_get_int(q, 0, 0) >= CHUNK_SOME ? AT_ONCE : -1;
}

static bool put_erase(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i32(a, ERASE_SOME);
	db_arg_i64(a, conf_now()->retention_unstored_ms);
	return true;
}

static int64_t took_erase(struct upkeep *u, const struct db_query *q)
{
	(void)u;
	return db_get_int(q, 0, 0) >= ERASE_SOME ? AT_ONCE : -1;
}

static int64_t took_depths(struct upkeep *u, const struct db_query *q)
{
	(void)u;
	metric_set(METRIC_QUEUE_DEPTH, "queued", db_get_int(q, 0, 0));
	metric_set(METRIC_QUEUE_DEPTH, "scheduled", db_get_int(q, 0, 1));
	metric_set(METRIC_QUEUE_DEPTH, "running", db_get_int(q, 0, 2));
	metric_set(METRIC_QUEUE_AGE, "", db_get_int(q, 0, 3));
	return -1;
}

static bool put_cache_prune(struct upkeep *u, struct db_args *a)
{
	(void)u;
	db_arg_i32(a, CACHE_SOME);
	return true;
}

static int64_t took_cache_prune(struct upkeep *u, const struct db_query *q)
{
	(void)u;
	return db_get_int(q, 0, 0) >= CACHE_SOME ? AT_ONCE : -1;
}

static const struct chore_kind kinds[CHORES] = {
	[PROMOTE]      = { &sql_worker_promote, every_second, put_promote, took_promote },
	[NEXT_PARKED]  = { &sql_worker_parked_next, every_second, put_nothing, took_next_parked },
	[SILENT]       = { &sql_worker_workers_silent, rescue_period, put_silent, took_silent },
	[GONE]         = { &sql_worker_workers_gone, every_hour, put_gone, took_gone },
	[RESCUE]       = { &sql_worker_rescue, rescue_period, put_rescue, took_rescue },
	[APIS_SILENT]  = { &sql_worker_apis_silent, rescue_period, put_apis_silent, took_apis_silent },
	[APIS_GONE]    = { &sql_worker_apis_gone, rescue_period, put_apis_gone, took_apis_gone },
	[ORPHANS]      = { &sql_worker_orphans, rescue_period, put_orphans, took_orphans },
	[EXPIRE]       = { &sql_worker_expire, every_second, put_expire, took_expire },
	[FOLD]         = { &sql_worker_fold, every_second, put_fold, took_fold },
	[CANCELING]    = { &sql_worker_batches_canceling, every_second, put_canceling, took_canceling },
	[CANCEL_BATCH] = { &sql_worker_batch_cancel_some, every_hour, put_cancel_batch, took_cancel_batch },
	[PARTITIONS]   = { &sql_worker_keep_partitions, every_hour, put_partitions, took_nothing },
	[PRUNE]        = { &sql_worker_prune, every_few_seconds, put_prune, took_nothing },
	[CHUNK_PRUNE]  = { &sql_worker_chunk_prune, every_ten_seconds, put_chunk_prune, took_chunk_prune },
	[ERASE]        = { &sql_worker_unstored_erase, erase_period, put_erase, took_erase },
	[TARGETS]      = { &sql_worker_target_prune, every_ten_minutes, put_nothing, took_nothing },
	[CACHE_PRUNE]  = { &sql_worker_cache_prune, every_ten_seconds, put_cache_prune, took_cache_prune },
	[DEPTHS]       = { &sql_worker_depths, every_ten_seconds, put_nothing, took_depths },
};

static void on_chore_done(struct op *op, int rc)
{
	struct chore *c = container_of(container_of(op, struct db_query, op), struct chore, query);
	struct upkeep *u = c->upkeep;
	int64_t again = -1, period = kinds[c->id].period_ms();
	if (rc == 0)
		again = kinds[c->id].took(u, &c->query);
	else if (rc != -ERR_DRAINING && leases_are_good(u->worker->leases)) /* else heartbeat_failed says it, once */
		log_event(LOG_WARN, "upkeep_failed", c->query.err.text, LOG_END);
	db_query_done(&c->query);
	c->busy = false;
	if (u->worker->state == WORKER_STOPPED)
		return;
	/* Somebody may have asked for it meanwhile. The jitter keeps a fleet from doing its chores together. */
	uint64_t now = loop_now_ms(u->worker->loop);
	int64_t pause = again >= 0 ? again : period - period / 8 + (int64_t)worker_jitter((uint64_t)period / 4 + 1);
	if (c->due_ms)
		pause = MIN(pause, c->due_ms > now ? (int64_t)(c->due_ms - now) : 0);
	c->due_ms = now + (uint64_t)pause;
	timer_start(&c->timer, (uint64_t)pause);
}

static void on_chore_timer(struct timer *t)
{
	struct chore *c = container_of(t, struct chore, timer);
	struct upkeep *u = c->upkeep;
	const struct chore_kind *k = &kinds[c->id];
	int64_t period = k->period_ms();
	if (c->busy || u->worker->state == WORKER_STOPPED)
		return;
	c->due_ms = 0;
	db_query_init(&c->query, k->stmt);
	c->query.op.on_done = on_chore_done;
	c->query.retry_ms = 0;
	c->busy = k->put(u, &c->query.args) && db_query_start(u->worker->db, &c->query, NULL) == 0;
	if (!c->busy) {
		db_query_done(&c->query);
		c->due_ms = loop_now_ms(u->worker->loop) + (uint64_t)period;
		timer_start(&c->timer, (uint64_t)period);
	}
}

void upkeep_parked(struct upkeep *u, int64_t ms)
{
	if (ms < 1000)
		chore_at(u, PROMOTE, ms + 2);
}

void upkeep_fold(struct upkeep *u)
{
	chore_at(u, FOLD, FOLD_SOON_MS);
}

bool upkeep_is_idle(const struct upkeep *u)
{
	for (int i = 0; i < CHORES; i++)
		if (u->chores[i].busy)
			return false;
	return true;
}

struct upkeep *upkeep_new(struct worker *w)
{
	struct upkeep *u = calloc(1, sizeof *u);
	assert(u);
	u->worker = w;
	u->expire_n = ID_BUCKETS;
	u->prune_bucket = id_bucket(w->id); /* each worker begins elsewhere */
	for (int i = 0; i < CHORES; i++) {
		struct chore *c = &u->chores[i];
		c->upkeep = u;
		c->id = (enum chore_id)i;
		timer_init(&c->timer, w->loop, on_chore_timer);
		chore_at(u, c->id, 50 + 37 * i);
	}
	return u;
}

void upkeep_free(struct upkeep *u)
{
	if (!u)
		return;
	assert(upkeep_is_idle(u));
	for (int i = 0; i < CHORES; i++)
		timer_stop(&u->chores[i].timer);
	free(u);
}
