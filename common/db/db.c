/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: work waits in one bounded queue, goes to the connection with the fewest statements in flight, and is
 * completed when its answer is certain. All moves of a work are here, except to and from SENT (db_conn.c).
 *
 * What can go wrong: a try ends without a certain answer (db_conn.c says -ERR_DATABASE): the same work naps, with
 * jitter, and is sent again until its retry_ms have passed. The head of a connection gets no answer for deadline_ms:
 * the connection is ended. Nothing is up: work waits for its retry_ms, or with retry_ms 0 until the next attempt to
 * connect has failed.
 *
 * Completions never come from inside a start, a send or db_free: finished work is put on a list, and the end of the
 * event (or the loop's next turn) completes it. So callbacks may start, cancel and free whatever they like; the db's
 * memory stays until libuv has let go of its last handle.
 */
#include "common/db/db.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/db/db_conn.h"

#define SWEEP_MS         50
#define NAP_MIN_MS       10
#define NAP_MAX_MS       500
#define ARGS_MAX_BYTES   ((size_t)256 << 20)
#define RETRY_DEFAULT_MS 10000

/* --- work --- */

static struct db_query *query_of(struct db_work *w)
{
	return container_of(w, struct db_query, work);
}

static struct db_tx *tx_of(struct db_work *w)
{
	return container_of(w, struct db_tx, work);
}

static struct op *work_op(struct db_work *w)
{
	return w->is_tx ? &tx_of(w)->op : &query_of(w)->op;
}

static int64_t work_retry_ms(struct db_work *w)
{
	return w->is_tx ? tx_of(w)->retry_ms : query_of(w)->retry_ms;
}

size_t db_work_n(struct db_work *w)
{
	return w->is_tx ? tx_of(w)->n : 1;
}

struct db_query *db_work_query(struct db_work *w, size_t i)
{
	return w->is_tx ? tx_of(w)->queries[i] : query_of(w);
}

static bool work_is_expired(struct db_work *w)
{
	int64_t retry = work_retry_ms(w);
	return retry >= 0 && loop_now_ms(w->db->loop) - w->started_ms >= (uint64_t)retry;
}

/* Puts a work on the list of its new state; db_conn.c has taken it off its own. */
static void work_move(struct db_work *w, enum db_work_state state)
{
	struct db *db = w->db;
	struct list *lists[] = {
		[DB_WORK_WAITING] = &db->waiting, [DB_WORK_NAPPING] = &db->napping, [DB_WORK_FINISHED] = &db->finished
	};
	assert(w->state != DB_WORK_FINISHED && state != DB_WORK_SENT && state != DB_WORK_NEW);
	if (w->state == DB_WORK_WAITING || w->state == DB_WORK_NAPPING)
		list_remove(lists[w->state], &w->link);
	timer_stop(&w->nap);
	bool first = state == DB_WORK_WAITING && w->tries > 0; /* what was sent before goes first */
	w->state = state;
	if (first)
		list_push_front(lists[state], &w->link);
	else
		list_push(lists[state], &w->link);
}

static void work_finish(struct db_work *w, int rc)
{
	for (size_t i = 0; rc < 0 && i < db_work_n(w); i++)
		PQclear(take(&db_work_query(w, i)->result));
	work_move(w, DB_WORK_FINISHED);
	w->rc = rc;
	loop_soon(w->db->loop, &w->db->later);
}

void db_work_fail(struct db_work *w, size_t i, enum err_code code, const char *sqlstate, const char *text)
{
	struct db_query *q = db_work_query(w, i);
	size_t n = strnlen(sqlstate, sizeof(q->sqlstate) - 1), len = strlen(text);
	memcpy(q->sqlstate, sqlstate, n);
	q->sqlstate[n] = '\0';
	while (len && text[len - 1] == '\n')
		len--;
	err_set(&q->err, code, "statement %s: %.*s", q->stmt->name, (int)MIN(len, (size_t)ERR_TEXT_MAX), text);
	if (w->is_tx)
		tx_of(w)->err = q->err;
}

void db_work_again(struct db_work *w)
{
	work_move(w, DB_WORK_WAITING);
}

void db_work_answered(struct db_work *w, int rc)
{
	if (rc == -ERR_DATABASE && w->cancel_asked)
		rc = -ERR_CANCELED;
	if (rc != -ERR_DATABASE || work_is_expired(w)) {
		work_finish(w, rc);
		return;
	}
	work_move(w, DB_WORK_NAPPING);
	timer_start(&w->nap, db_jitter_ms(w->tries - 1, NAP_MIN_MS, NAP_MAX_MS));
}

static void on_nap_over(struct timer *t)
{
	struct db_work *w = container_of(t, struct db_work, nap);
	struct db *db = w->db;
	work_move(w, DB_WORK_WAITING);
	db_fill(db);
	db_deliver(db);
}

/* --- the pool --- */

static struct db_conn *pick(struct db *db)
{
	struct db_conn *best = NULL;
	for (int i = 0; i < db->cfg.connections; i++) {
		struct db_conn *c = &db->conns[i];
		if (c->state == DB_CONN_UP && c->in_flight < (size_t)db->cfg.depth &&
		    (!best || c->in_flight < best->in_flight))
			best = c;
	}
	return best;
}

void db_fill(struct db *db)
{
	struct db_conn *c;
	while (!list_is_empty(&db->waiting) && (c = pick(db)))
		db_conn_send(c, container_of(list_pop(&db->waiting), struct db_work, link));
}

void db_deliver(struct db *db)
{
	struct link *k;
	loop_soon_cancel(db->loop, &db->later);
	while ((k = list_pop(&db->finished))) {
		struct db_work *w = container_of(k, struct db_work, link);
		w->state = DB_WORK_NEW;
		db->live--;
		op_done(work_op(w), w->rc); /* may free w, start others, free the db */
	}
	int now = db->up > 0 ? DB_TOLD_UP : db->failed || db->told != DB_TOLD_NOTHING ? DB_TOLD_DOWN : DB_TOLD_NOTHING;
	if (now != (int)db->told && !db->closing) {
		db->told = (unsigned)now;
		if (db->on_change)
			db->on_change(db->on_change_arg, now == DB_TOLD_UP);
	}
	if (db->closing)
		loop_soon(db->loop, &db->gate.passed);
}

static void on_later(struct soon *s)
{
	struct db *db = container_of(s, struct db, later);
	db_fill(db);
	db_deliver(db);
}

void db_connected(struct db *db, int change)
{
	db->up += change;
	assert(db->up >= 0 && db->up <= db->cfg.connections);
	loop_soon(db->loop, &db->later);
}

static void work_give_up(struct db_work *w, const char *why)
{
	db_work_fail(w, 0, ERR_DATABASE, db_work_query(w, 0)->sqlstate, why);
	work_finish(w, -ERR_DATABASE);
}

void db_note_why(struct db *db, const char *why)
{
	struct str text = str_trim(str_from(why));
	size_t n = 0;
	for (size_t i = 0; i < text.n && n < sizeof(db->why) - 1; i++) {
		bool blank = text.p[i] == '\n' || text.p[i] == '\t' || text.p[i] == ' ';
		if (!blank || (n > 0 && db->why[n - 1] != ' '))
			db->why[n++] = blank ? ' ' : text.p[i];
	}
	db->why[n] = 0;
}

void db_connect_failed(struct db *db, const char *why)
{
	db_note_why(db, why);
	if (db->up)
		return;
	db->failed = true;
	loop_soon(db->loop, &db->later);
	LIST_EACH_SAFE(&db->waiting, k, tmp)
	{
		struct db_work *w = container_of(k, struct db_work, link);
		if (work_retry_ms(w) == 0)
			work_give_up(w, "no connection to the database");
	}
}

/* Waiting work whose time is over; with one try only it waits for a place as long as for an answer. */
static void sweep_waiting(struct db *db)
{
	uint64_t now = loop_now_ms(db->loop);
	LIST_EACH_SAFE(&db->waiting, k, tmp)
	{
		struct db_work *w = container_of(k, struct db_work, link);
		bool one_try = work_retry_ms(w) == 0;
		if (one_try ? db->cfg.deadline_ms > 0 && now - w->started_ms >= (uint64_t)db->cfg.deadline_ms
		            : work_is_expired(w))
			work_give_up(w, db->up ? "no place on a connection in time" : "no connection to the database");
	}
}

static void sweep_conn(struct db *db, struct db_conn *c, uint64_t now_ns)
{
	if (c->state != DB_CONN_UP || list_is_empty(&c->sent) || db->cfg.deadline_ms <= 0)
		return;
	const struct db_work *head = container_of(list_first(&c->sent), struct db_work, link);
	uint64_t since = MAX(head->sent_ns, c->progress_ns); /* its turn came when the one before it was answered */
	if (now_ns > since && now_ns - since >= (uint64_t)db->cfg.deadline_ms * 1000000)
		db_conn_lose(c, "no answer within the deadline");
}

static void on_sweep(struct timer *t)
{
	struct db *db = container_of(t, struct db, sweep);
	uint64_t now_ns = clock_mono_ns();
	for (int i = 0; i < db->cfg.connections; i++)
		sweep_conn(db, &db->conns[i], now_ns);
	sweep_waiting(db);
	if (db->live)
		timer_start(t, SWEEP_MS);
	db_fill(db);
	db_deliver(db);
}

/* --- starting and canceling --- */

static int work_admit(struct db *db)
{
	if (db->closing)
		return -ERR_DRAINING;
	bool place = list_is_empty(&db->waiting) && pick(db);
	return place || db->waiting.n < db->cfg.max_waiting ? 0 : -ERR_OVERLOADED;
}

static void work_start(struct db *db, struct db_work *w, bool is_tx)
{
	*w = (struct db_work){ .db = db, .is_tx = is_tx, .started_ms = loop_now_ms(db->loop) };
	timer_init(&w->nap, db->loop, on_nap_over);
	db->live++;
	if (!timer_is_armed(&db->sweep))
		timer_start(&db->sweep, SWEEP_MS);
	work_move(w, DB_WORK_WAITING);
	db_fill(db);
}

/* A statement that was sent is never canceled: its commit may be under way. Its answer is dropped by the caller. */
static void work_cancel(struct db_work *w)
{
	w->cancel_asked = true;
	if (w->state != DB_WORK_WAITING && w->state != DB_WORK_NAPPING)
		return;
	struct db *db = w->db;
	timer_stop(&w->nap);
	list_remove(w->state == DB_WORK_WAITING ? &db->waiting : &db->napping, &w->link);
	w->state = DB_WORK_NEW;
	db->live--;
	op_done(work_op(w), -ERR_CANCELED);
}

static void query_cancel(struct op *op)
{
	work_cancel(&container_of(op, struct db_query, op)->work);
}

static void tx_cancel(struct op *op)
{
	work_cancel(&container_of(op, struct db_tx, op)->work);
}

void db_query_init(struct db_query *q, const struct db_stmt *stmt)
{
	*q = (struct db_query){ .stmt = stmt, .retry_ms = RETRY_DEFAULT_MS };
	buf_init(&q->args.b, ARGS_MAX_BYTES);
}

void db_query_done(struct db_query *q)
{
	assert(!q->op.active);
	buf_done(&q->args.b);
	PQclear(take(&q->result));
	q->args.n = 0;
}

static int query_check(const struct db_query *q)
{
	assert(q->args.n == q->stmt->nparams);
	return buf_failed(&q->args.b) ? -ERR_TOO_LARGE : 0;
}

int db_query_start(struct db *db, struct db_query *q, struct flow *flow)
{
	int rc = query_check(q);
	if (rc < 0 || (rc = work_admit(db)) < 0)
		return rc;
	op_start(&q->op, flow, q->stmt->name, query_cancel);
	work_start(db, &q->work, /* is_tx= */ false);
	return 0;
}

int db_tx_start(struct db *db, struct db_tx *tx, struct flow *flow)
{
	int rc = 0;
	assert(tx->n > 0);
	for (size_t i = 0; i < tx->n && rc == 0; i++)
		rc = query_check(tx->queries[i]);
	if (rc < 0 || (rc = work_admit(db)) < 0)
		return rc;
	tx->err = (struct err){ 0 };
	op_start(&tx->op, flow, tx->queries[0]->stmt->name, tx_cancel);
	work_start(db, &tx->work, /* is_tx= */ true);
	return 0;
}

/* --- the db --- */

static void on_gate(struct soon *s)
{
	struct db *db = container_of(s, struct db, gate.passed);
	if (!db->closing || db->gate.open || db->live)
		return;
	void (*on_closed)(void *arg) = db->on_closed;
	void *arg = db->on_closed_arg;
	loop_soon_cancel(db->loop, &db->later);
	db_targets_done(&db->targets);
	free(db);
	if (on_closed)
		on_closed(arg);
}

struct db *db_new(struct loop *l, const struct db_cfg *cfg)
{
	assert(cfg->connections >= 1 && cfg->connections <= DB_CONNECTIONS_MAX && cfg->depth >= 1);
	struct db *db = calloc(1, sizeof(*db));
	if (!db)
		abort();
	db->loop = l;
	db->cfg = *cfg;
	if (db_targets_init(&db->targets, &db->cfg) < 0) {
		free(db);
		return NULL;
	}
	list_init(&db->waiting);
	list_init(&db->napping);
	list_init(&db->finished);
	timer_init(&db->sweep, l, on_sweep);
	db->later.fn = on_later;
	db->gate = (struct db_gate){ .loop = l, .passed = { .fn = on_gate } };
	for (int i = 0; i < cfg->connections; i++)
		db_conn_init(&db->conns[i], db);
	for (int i = 0; i < cfg->connections; i++)
		db_conn_start(&db->conns[i]);
	return db;
}

void db_free(struct db *db, void (*on_closed)(void *arg), void *arg)
{
	assert(!db->closing);
	db->closing = true;
	db->on_closed = on_closed;
	db->on_closed_arg = arg;
	timer_stop(&db->sweep);
	for (int i = 0; i < db->cfg.connections; i++)
		db_conn_close(&db->conns[i]);
	struct list *lists[] = { &db->waiting, &db->napping };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		while (!list_is_empty(lists[i]))
			work_finish(container_of(list_first(lists[i]), struct db_work, link), -ERR_DRAINING);
	loop_soon(db->loop, &db->gate.passed);
}

bool db_is_up(const struct db *db)
{
	return db->up > 0 && !db->closing;
}

size_t db_waiting(const struct db *db)
{
	return db->waiting.n + db->napping.n;
}

const char *db_why_down(const struct db *db)
{
	return db->why;
}

void db_on_change(struct db *db, void (*fn)(void *arg, bool up), void *arg)
{
	db->on_change = fn;
	db->on_change_arg = arg;
}
