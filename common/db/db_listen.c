/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications over a connection of their own: connect, LISTEN on every channel, tell on_lost once (notices sent
 * before were missed), then hand over each notice as it comes. Notices are hints; the tables are the truth.
 *
 * What can go wrong: the connection ends, or LISTEN fails (a standby, for one): connect anew, for ever, with growing
 * pauses. A server that vanishes without a word is found by the keepalives (25 s).
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "common/db/db_conn.h"
#include "common/log.h"

#define LISTEN_LIMIT_MS 5000
#define SQL_MAX         8192

struct db_listener {
	struct db_cfg cfg;
	struct db_targets targets;
	struct db_gate gate;
	struct db_dial dial;
	struct timer pause; /* before the next attempt; while LISTEN is unanswered: its limit */
	struct pg_conn *pg;
	struct db_watch *watch;
	char **channels; /* owned */
	size_t n;
	bool listening, closing;
	void (*on_notice)(void *arg, struct str channel, struct str payload);
	void (*on_lost)(void *arg);
	void *arg;
};

static void drop(struct db_listener *ls, const char *why)
{
	log_event(LOG_DEBUG, "db_listener_lost", why, LOG_END);
	db_watch_close(take(&ls->watch));
	ls->listening = false;
	timer_start(&ls->pause, db_dial_pause_ms(&ls->dial));
	PQfinish(take(&ls->pg)); /* why may lie in it */
}

static void on_pause(struct timer *t)
{
	struct db_listener *ls = container_of(t, struct db_listener, pause);
	if (ls->pg) {
		ls->dial.fails++; /* it answers to connecting only: longer pauses */
		drop(ls, "LISTEN was not answered");
	} else {
		db_dial_start(&ls->dial);
	}
}

/* LISTEN's answer. False when it failed. */
static bool take_answers(struct db_listener *ls)
{
	PGresult *res;
	bool good = true;
	while (!PQisBusy(ls->pg) && (res = PQgetResult(ls->pg))) {
		good = good && PQresultStatus(res) == PGRES_COMMAND_OK;
		PQclear(res);
	}
	if (!good)
		return false;
	if (!ls->listening && !PQisBusy(ls->pg)) {
		ls->listening = true;
		timer_stop(&ls->pause);
		if (ls->on_lost)
			ls->on_lost(ls->arg); /* may free the listener */
	}
	return true;
}

static void on_event(void *arg, int status, int events)
{
	struct db_listener *ls = arg;
	(void)events;
	bool lost = status < 0 || !PQconsumeInput(ls->pg);
	bool good = take_answers(ls);
	/* A callback may free the listener: its memory stays, its connection does not. */
	for (PGnotify *n; ls->pg && (n = PQnotifies(ls->pg));) {
		ls->on_notice(ls->arg, str_from(n->relname), str_from(n->extra));
		PQfreemem(n);
	}
	if (!ls->pg)
		return;
	if (lost || !good) {
		if (!good)
			ls->dial.fails++;
		drop(ls, PQerrorMessage(ls->pg));
		return;
	}
	int left = PQflush(ls->pg);
	if (left < 0)
		drop(ls, PQerrorMessage(ls->pg));
	else
		db_watch_want(ls->watch, UV_READABLE | (left ? UV_WRITABLE : 0));
}

static bool send_listen(struct db_listener *ls)
{
	struct buf b;
	buf_init(&b, SQL_MAX);
	for (size_t i = 0; i < ls->n; i++) {
		char *name = PQescapeIdentifier(ls->pg, ls->channels[i], strlen(ls->channels[i]));
		buf_printf(&b, "LISTEN %s;", name ? name : "\"\"");
		PQfreemem(name);
	}
	buf_add_char(&b, '\0');
	bool good = !buf_failed(&b) && PQsendQuery(ls->pg, b.p) && PQflush(ls->pg) >= 0;
	buf_done(&b);
	return good;
}

static void on_ignored(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res; /* nothing on standard error */
}

static void on_dialed(struct db_dial *d, struct pg_conn *pg, const char *text)
{
	struct db_listener *ls = container_of(d, struct db_listener, dial);
	if (!pg) {
		drop(ls, text);
		return;
	}
	ls->pg = pg;
	PQsetNoticeReceiver(pg, on_ignored, NULL);
	if (PQsetnonblocking(pg, 1) == 0)
		ls->watch = db_watch_open(&ls->gate, PQsocket(pg), on_event, ls);
	if (!ls->watch || !send_listen(ls)) {
		drop(ls, PQerrorMessage(pg));
		return;
	}
	timer_start(&ls->pause, LISTEN_LIMIT_MS);
	db_watch_want(ls->watch, UV_READABLE | UV_WRITABLE);
}

static void on_gate(struct soon *s)
{
	struct db_listener *ls = container_of(s, struct db_listener, gate.passed);
	if (!ls->closing || ls->gate.open)
		return;
	for (size_t i = 0; i < ls->n; i++)
		free(ls->channels[i]);
	free(ls->channels);
	db_targets_done(&ls->targets);
	free(ls);
}

struct db_listener *db_listen(struct loop *l, const struct db_cfg *cfg, const char *const *channels, size_t n,
                              void (*on_notice)(void *arg, struct str channel, struct str payload),
                              void (*on_lost)(void *arg), void *arg)
{
	struct db_listener *ls = calloc(1, sizeof(*ls));
	if (!ls)
		abort();
	ls->cfg = *cfg;
	ls->cfg.pooler = false;
	if (db_targets_init(&ls->targets, &ls->cfg) < 0) {
		free(ls);
		return NULL;
	}
	ls->gate = (struct db_gate){ .loop = l, .passed = { .fn = on_gate } };
	ls->on_notice = on_notice;
	ls->on_lost = on_lost;
	ls->arg = arg;
	ls->n = n;
	ls->channels = calloc(n, sizeof(*ls->channels));
	if (!ls->channels)
		abort();
	for (size_t i = 0; i < n; i++) {
		ls->channels[i] = strdup(channels[i]);
		if (!ls->channels[i])
			abort();
	}
	timer_init(&ls->pause, l, on_pause);
	db_dial_init(&ls->dial, &ls->targets, &ls->gate, on_dialed);
	db_dial_start(&ls->dial);
	return ls;
}

void db_listener_free(struct db_listener *ls)
{
	assert(!ls->closing);
	ls->closing = true;
	timer_stop(&ls->pause);
	db_dial_cancel(&ls->dial);
	db_watch_close(take(&ls->watch));
	PQfinish(take(&ls->pg));
	loop_soon(ls->gate.loop, &ls->gate.passed);
}
