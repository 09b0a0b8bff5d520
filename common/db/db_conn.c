/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection in libpq's pipeline mode. Each work (a statement, or a transaction of several) is sent as its
 * statements and a Sync; answers come in the same order, so a result belongs to the oldest work that has no Sync yet.
 * Only the Sync's answer makes a work certain: the commit happens there, and its failures and warnings come before it.
 *
 *   sent:      [w1: Parse Exec Exec Sync] [w2: Exec Sync] …
 *   answered:   ok    rows  error  SYNC ─▶ db_work_answered(w1, …)
 *
 * A statement is parsed on the connection when first used. With a pooler each statement is parsed, nameless, each time.
 *
 * What can go wrong: the connection ends or is ended (deadline, fault): everything sent goes back to db.c as "may be
 * tried again". A statement fails: the rest up to the Sync is skipped by the server. A prepared statement is missing or
 * outdated: it is prepared again. A server that turned read-only is left, so that the next attempt finds the new
 * primary.
 *
 * libpq flushes with each Sync, so each work costs one write; what the socket does not take is flushed when it is
 * writable.
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/db/db_conn.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/metrics.h"

#define STATEMENT_NAME_MAX 80
#define LABEL_MAX          120

/* --- what was prepared here --- */

static struct str stmt_key(const struct db_stmt *const *stmt)
{
	return (struct str){ (const char *)stmt, sizeof(*stmt) };
}

static const char *prepared_name(const struct db_conn *c, const struct db_stmt *stmt)
{
	return hash_get(&c->prepared, stmt_key(&stmt));
}

static const char *prepared_add(struct db_conn *c, const struct db_stmt *stmt)
{
	struct buf b;
	size_t n;
	buf_init(&b, STATEMENT_NAME_MAX);
	buf_printf(&b, "%.40s.%u", stmt->name, ++c->prepared_n);
	char *name = buf_steal(&b, &n);
	hash_set(&c->prepared, stmt_key(&stmt), name);
	return name;
}

static void prepared_forget(struct db_conn *c, const struct db_stmt *stmt)
{
	free(hash_remove(&c->prepared, stmt_key(&stmt)));
}

static void prepared_clear(struct db_conn *c)
{
	size_t at = 0;
	struct str key;
	void *name;
	while (hash_next(&c->prepared, &at, &key, &name))
		free(name);
	hash_done(&c->prepared);
	hash_init(&c->prepared);
}

/* --- small things --- */

/* The fault point by itself and for this statement. */
static bool fault_at(const char *point, const struct db_stmt *stmt)
{
#ifdef MR_FAULTS
	struct buf b;
	buf_init(&b, LABEL_MAX);
	buf_printf(&b, "%s.%s%c", point, stmt->name, 0);
	bool hit = fault_hit(point);
	hit = fault_hit(b.p) || hit;
	buf_done(&b);
	return hit;
#else
	(void)point;
	(void)stmt;
	return false;
#endif
}

static void count(struct db_work *w, const char *result)
{
	uint64_t now = clock_mono_ns();
	for (size_t i = 0; i < db_work_n(w); i++) {
		const char *name = db_work_query(w, i)->stmt->name;
		char label[LABEL_MAX];
		size_t n = MIN(strlen(name), sizeof(label) - 16);
		memcpy(label, name, n);
		label[n] = '\0';
		metric_observe_ns(METRIC_DB_SECONDS, label, now - w->sent_ns);
		label[n] = '\x1f';
		memcpy(label + n + 1, result, strlen(result) + 1);
		metric_add(METRIC_DB_QUERIES, label, 1);
	}
}

static void work_unlink(struct db_conn *c, struct db_work *w)
{
	size_t n = db_work_n(w);
	assert(w->conn == c && c->in_flight >= n);
	list_remove(&c->sent, &w->link);
	c->in_flight -= n;
	w->conn = NULL;
}

/* --- sending --- */

static bool send_query(struct db_conn *c, struct db_query *q)
{
	const char *values[DB_ARGS_MAX];
	int formats[DB_ARGS_MAX];
	for (int i = 0; i < q->args.n; i++) {
		values[i] = q->args.len[i] < 0 ? NULL : q->args.b.p ? q->args.b.p + q->args.at[i] : "";
		formats[i] = 1;
	}
	if (c->db->cfg.pooler)
		return PQsendQueryParams(c->pg, q->stmt->sql, q->args.n, NULL, values, q->args.len, formats, 1);
	const char *name = prepared_name(c, q->stmt);
	if (!name) {
		name = prepared_add(c, q->stmt);
		q->preparing = true;
		if (!PQsendPrepare(c->pg, name, q->stmt->sql, 0, NULL))
			return false;
	}
	return PQsendQueryPrepared(c->pg, name, q->args.n, values, q->args.len, formats, 1);
}

static bool conn_flush(struct db_conn *c)
{
	int rc = PQflush(c->pg);
	if (rc < 0)
		return false;
	db_watch_want(c->watch, UV_READABLE | (rc ? UV_WRITABLE : 0));
	return true;
}

void db_conn_send(struct db_conn *c, struct db_work *w)
{
	assert(c->state == DB_CONN_UP && !link_is_linked(&w->link));
	size_t n = db_work_n(w);
	list_push(&c->sent, &w->link);
	c->in_flight += n;
	w->conn = c;
	w->state = DB_WORK_SENT;
	w->sent_ns = clock_mono_ns();
	w->answered = 0;
	w->failed = false;
	w->rc = 0;
	w->tries++;
	for (size_t i = 0; i < n; i++) {
		struct db_query *q = db_work_query(w, i);
		q->preparing = false;
		q->sqlstate[0] = '\0';
		q->err = (struct err){ 0 };
		PQclear(take(&q->result));
	}
	for (size_t i = 0; i < n; i++) {
		struct db_query *q = db_work_query(w, i);
		if (fault_at("db.send", q->stmt)) {
			db_conn_lose(c, "fault point db.send");
			return;
		}
		if (!send_query(c, q)) {
			db_conn_lose(c, PQerrorMessage(c->pg));
			return;
		}
		/* Without it the server keeps the answers of a transaction to itself until its end: they are the progress that the deadline asks for. */
		if (i + 1 < n && !PQsendFlushRequest(c->pg)) {
			db_conn_lose(c, PQerrorMessage(c->pg));
			return;
		}
	}
	if (!PQpipelineSync(c->pg) || !conn_flush(c))
		db_conn_lose(c, PQerrorMessage(c->pg));
}

/* --- answers --- */

/* -ERR_DATABASE: another try may do better; -ERR_DB_CONFLICT: prepare again and try at once; -ERR_DB_QUERY: it stays
 * so. */
static int judge(const char *state, const char *text)
{
	static const char *const transient[] = {
		"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "25006"
	};
	if (strcmp(state, "26000") == 0 || (strcmp(state, "0A000") == 0 && strstr(text, "cached plan must not change")))
		return -ERR_DB_CONFLICT;
	for (size_t i = 0; i < ARRAY_LEN(transient); i++)
		if (strcmp(state, transient[i]) == 0)
			return -ERR_DATABASE;
	/* A full disk, no memory, a device that fails: the statement is not at fault, what it holds must not be given up. */
	if (strncmp(state, "53", 2) == 0 || strncmp(state, "58", 2) == 0)
		return -ERR_DATABASE;
	/* 08P01 with a connection that stays is a malformed parameter of ours. */
	if (strncmp(state, "08", 2) == 0 && strcmp(state, "08P01") != 0)
		return -ERR_DATABASE;
	if (strcmp(state, "XX000") == 0 && strstr(text, "connection to the remote node"))
		return -ERR_DATABASE;
	return -ERR_DB_QUERY;
}

/* Keeps the first failure of a try: of statement i, or of the commit (then i is the last). */
static void take_error(struct db_conn *c, struct db_work *w, size_t i, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	if (w->failed)
		return;
	state = state ? state : "";
	text = text ? text : PQresultErrorMessage(res);
	w->failed = true;
	w->rc = *state ? judge(state, text) : -ERR_DATABASE; /* libpq's own errors are about the connection */
	c->wrong_host = c->wrong_host || strcmp(state, "25006") == 0;
	if (w->rc == -ERR_DB_CONFLICT)
		prepared_forget(c, db_work_query(w, i)->stmt);
	db_work_fail(w, i, w->rc == -ERR_DB_QUERY ? ERR_DB_QUERY : ERR_DATABASE, state, text);
}

/* The Sync's answer: the work is over. False when the connection was lost. */
static bool take_sync(struct db_conn *c, struct db_work *w)
{
	size_t n = db_work_n(w);
	for (size_t i = 0; i < n; i++) {
		if (fault_at("db.result", db_work_query(w, i)->stmt)) {
			db_conn_lose(c, "fault point db.result");
			return false;
		}
	}
	work_unlink(c, w);
	c->progress_ns = clock_mono_ns();
	if (c->ambiguous && !w->failed) {
		w->rc = -ERR_DATABASE;
		db_work_fail(w, n - 1, ERR_DATABASE, "", "committed, but perhaps not on the synchronous standby");
	}
	c->ambiguous = false;
	count(w, w->rc == 0 ? "ok" : w->rc == -ERR_DB_QUERY ? "error" : "again");
	if (w->rc == -ERR_DB_CONFLICT && !w->prepared_again) {
		w->prepared_again = true;
		db_work_again(w);
		return true;
	}
	db_work_answered(w, w->rc == -ERR_DB_CONFLICT ? -ERR_DATABASE : w->rc);
	return true;
}

/* Takes over res. False when the connection was lost. */
static bool take_result(struct db_conn *c, PGresult *res)
{
	struct db_work *w = container_of(list_first(&c->sent), struct db_work, link);
	ExecStatusType status = PQresultStatus(res);
	if (status == PGRES_PIPELINE_SYNC) {
		PQclear(res);
		return take_sync(c, w);
	}
	c->progress_ns = clock_mono_ns();
	size_t n = db_work_n(w);
	bool commit = w->answered >= n; /* no statement is left: this is about the commit */
	struct db_query *q = db_work_query(w, commit ? n - 1 : w->answered);
	bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
	if (good && !commit && !q->preparing) {
		PQclear(q->result);
		q->result = res;
		res = NULL;
	} else if (status == PGRES_FATAL_ERROR) {
		take_error(c, w, commit ? n - 1 : w->answered, res);
	} else if (!good && status != PGRES_PIPELINE_ABORTED) {
		PQclear(res);
		db_conn_lose(c, "an answer that does not belong here (COPY?)");
		return false;
	}
	PQclear(res);
	if (commit)
		return true;
	if (q->preparing) {
		q->preparing = false;
		if (!good)
			prepared_forget(c, q->stmt);
	} else {
		w->answered++;
	}
	return true;
}

/* Takes all results that are in. */
static void take_results(struct db_conn *c)
{
	int nulls = 0; /* one ends each statement; several in a row: nothing is left */
	while (!PQisBusy(c->pg) && !list_is_empty(&c->sent) && nulls < 3) {
		PGresult *res = PQgetResult(c->pg);
		nulls = res ? 0 : nulls + 1;
		if (res && !take_result(c, res))
			return;
	}
}

static void on_notice(void *arg, const PGresult *res)
{
	struct db_conn *c = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	if (text && strstr(text, "might not have been replicated"))
		c->ambiguous = true;
}

static void on_event(void *arg, int status, int events)
{
	struct db_conn *c = arg;
	struct db *db = c->db;
	bool lost = status < 0;
	if (!lost && (events & UV_READABLE))
		lost = !PQconsumeInput(c->pg);
	take_results(c); /* also what came before the end */
	if (c->state == DB_CONN_UP) {
		lost = lost || PQstatus(c->pg) == CONNECTION_BAD || !conn_flush(c);
		if (lost)
			db_conn_lose(c, PQerrorMessage(c->pg));
		else if (c->wrong_host)
			db_conn_lose(c, "the server is read-only");
	}
	db_fill(db);
	db_deliver(db);
}

/* --- up and down --- */

static void conn_pause(struct db_conn *c)
{
	c->state = DB_CONN_DOWN;
	timer_start(&c->pause, db_dial_pause_ms(&c->dial));
}

void db_conn_lose(struct db_conn *c, const char *why)
{
	assert(c->state == DB_CONN_UP);
	db_note_why(c->db, why);
	log_event(LOG_DEBUG, "db_connection_lost", why, LOG_I64("in_flight", c->in_flight), LOG_END);
	db_watch_close(take(&c->watch));
	struct pg_conn *pg = take(&c->pg);
	prepared_clear(c);
	c->ambiguous = c->wrong_host = false;
	conn_pause(c);
	db_connected(c->db, -1);
	while (!list_is_empty(&c->sent)) {
		struct db_work *w = container_of(list_first(&c->sent), struct db_work, link);
		size_t i = MIN(w->answered, db_work_n(w) - 1);
		char state[6];
		memcpy(state, db_work_query(w, i)->sqlstate, sizeof(state));
		work_unlink(c, w);
		count(w, "lost");
		db_work_fail(w, i, ERR_DATABASE, state, why);
		db_work_answered(w, -ERR_DATABASE);
	}
	PQfinish(pg); /* why may lie in it */
}

static void on_dialed(struct db_dial *d, struct pg_conn *pg, const char *text)
{
	struct db_conn *c = container_of(d, struct db_conn, dial);
	if (pg && PQsetnonblocking(pg, 1) == 0 && PQenterPipelineMode(pg))
		c->watch = db_watch_open(&c->db->gate, PQsocket(pg), on_event, c);
	if (!c->watch) {
		PQfinish(pg);
		conn_pause(c);
		db_connect_failed(c->db, text ? text : "the connection cannot be used");
		return;
	}
	c->pg = pg;
	c->state = DB_CONN_UP;
	PQsetNoticeReceiver(pg, on_notice, c);
	db_watch_want(c->watch, UV_READABLE);
	db_connected(c->db, 1);
}

static void on_pause_over(struct timer *t)
{
	db_conn_start(container_of(t, struct db_conn, pause));
}

void db_conn_init(struct db_conn *c, struct db *db)
{
	*c = (struct db_conn){ .db = db };
	list_init(&c->sent);
	hash_init(&c->prepared);
	timer_init(&c->pause, db->loop, on_pause_over);
	db_dial_init(&c->dial, &db->targets, &db->gate, on_dialed);
}

void db_conn_start(struct db_conn *c)
{
	c->state = DB_CONN_DIALING;
	db_dial_start(&c->dial);
}

void db_conn_close(struct db_conn *c)
{
	while (!list_is_empty(&c->sent)) {
		struct db_work *w = container_of(list_first(&c->sent), struct db_work, link);
		work_unlink(c, w);
		db_work_answered(w, -ERR_DRAINING);
	}
	timer_stop(&c->pause);
	db_dial_cancel(&c->dial);
	db_watch_close(take(&c->watch));
	PQfinish(take(&c->pg));
	prepared_clear(c);
	hash_done(&c->prepared);
	c->state = DB_CONN_DOWN;
}
