/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to common/db*.c. The parts, from the bottom:
 *
 *   db_dial.c    hosts of the connection string; one attempt to connect to one of them, without blocking; a watched socket
 *   db_conn.c    one connection in pipeline mode: sending work, giving each result to its owner, losing the connection
 *   db.c         the pool: the queue of work, retries, deadlines, completions; the public face
 *   db_listen.c  a connection for notifications
 *
 * A db_work is what stands before one Sync. Its way, and who moves it:
 *
 *   start ─▶ WAITING ──▶ SENT ──▶ FINISHED ─▶ op_done      (db.c: work_move)
 *               ▲          │ lost, or "try again"
 *               └─ NAPPING ◀
 */
#ifndef MR_COMMON_DB_DB_CONN_H
#define MR_COMMON_DB_DB_CONN_H

#include "common/db/db.h"
#include "common/hash.h"

#define DB_EPOCH_US         946684800000000ll /* 2000-01-01 in µs since 1970 */
#define DB_CONNECT_LIMIT_MS 2000
#define DB_CONNECTIONS_MAX  32

struct pg_conn;

/* --- db_dial.c --- */

struct db_host {
	char *name;    /* owned; NULL: libpq's default */
	char *address; /* owned; NULL: to be resolved (or a socket's folder) */
	char *port;    /* owned; NULL: the default */
};

/* A connection string, taken apart. */
struct db_targets {
	struct _PQconninfoOption *options; /* owned; without the hosts */
	struct db_host *hosts;             /* owned */
	int n;
	int good;                 /* the host that worked last */
	const struct db_cfg *cfg; /* borrowed */
	char *session_options;    /* owned: "-c …", or NULL */
};
int db_targets_init(struct db_targets *t, const struct db_cfg *cfg); /* 0 or -ERR_CONFIG */
void db_targets_done(struct db_targets *t);

/* Counts what libuv still holds of an owner; the owner's memory stays until nothing is. */
struct db_gate {
	struct loop *loop;
	int open;
	struct soon passed; /* put off each time something is let go */
};

/* A socket of libpq under uv_poll; on the heap because it outlives its owner's interest until libuv has let go. */
struct db_watch {
	uv_poll_t uv;
	struct db_gate *gate; /* borrowed */
	int events;           /* asked for */
	void (*fn)(void *arg, int status, int events);
	void *arg;
};
struct db_watch *db_watch_open(struct db_gate *g, int fd, void (*fn)(void *arg, int status, int events), void *arg);
void db_watch_want(struct db_watch *w, int events);
void db_watch_close(struct db_watch *w); /* before the socket is closed; accepts NULL */

struct db_resolve;
struct db_dial {
	struct db_targets *targets; /* borrowed */
	struct db_gate *gate;       /* borrowed */
	struct pg_conn *pg;         /* owned until on_done */
	struct db_watch *watch;
	struct db_resolve *resolve;
	struct timer limit;
	int host;       /* index of the host being tried */
	unsigned fails; /* in a row */
	bool active;
	/* pg is the caller's; NULL: failed, text says why. */
	void (*on_done)(struct db_dial *d, struct pg_conn *pg, const char *text);
};
void db_dial_init(struct db_dial *d, struct db_targets *t, struct db_gate *g,
                  void (*on_done)(struct db_dial *d, struct pg_conn *pg, const char *text));
void db_dial_start(struct db_dial *d);
void db_dial_cancel(struct db_dial *d);       /* silent */
uint64_t db_dial_pause_ms(struct db_dial *d); /* before the next attempt, with jitter */

/* From base_ms doubling with each try up to max_ms, and between half of it and all of it. */
uint64_t db_jitter_ms(unsigned tries, uint64_t base_ms, uint64_t max_ms);

/* --- db_conn.c --- */

enum db_conn_state { DB_CONN_DOWN, DB_CONN_DIALING, DB_CONN_UP };

struct db_conn {
	struct db *db;
	enum db_conn_state state;
	struct db_dial dial;
	struct timer pause;     /* until the next attempt */
	struct pg_conn *pg;     /* owned; while UP */
	struct db_watch *watch; /* while UP */
	struct list sent;       /* struct db_work.link; the oldest is the next to be answered */
	size_t in_flight;       /* statements of `sent` */
	struct hash prepared;   /* address of a db_stmt → its name here */
	unsigned prepared_n;    /* names given so far */
	uint64_t progress_ns;   /* when the last answer came */
	bool ambiguous;         /* the commit being answered came with the synchronous-standby warning */
	bool wrong_host;        /* the server became read-only */
};

void db_conn_init(struct db_conn *c, struct db *db);
void db_conn_start(struct db_conn *c);
void db_conn_send(struct db_conn *c, struct db_work *w);
void db_conn_lose(struct db_conn *c, const char *why); /* gives its work back, connects anew */
void db_conn_close(struct db_conn *c);                 /* for good; what was sent ends with -ERR_DRAINING */

/* --- db.c --- */

struct db {
	struct loop *loop;
	struct db_cfg cfg;
	struct db_targets targets;
	struct db_conn conns[DB_CONNECTIONS_MAX];
	struct list waiting, napping, finished;
	struct timer sweep; /* deadlines; armed while work is unfinished */
	size_t live;        /* work started and not finished */
	struct soon later;  /* completions and changes that did not come from an event */
	struct db_gate gate;
	int up; /* connections that are up */
	enum { DB_TOLD_NOTHING, DB_TOLD_DOWN, DB_TOLD_UP } told;
	bool failed; /* a connection was tried in vain */
	bool closing;
	char why[240]; /* of the last connection that was lost or not made */
	void (*on_change)(void *arg, bool up);
	void *on_change_arg;
	void (*on_closed)(void *arg);
	void *on_closed_arg;
};

enum db_work_state { DB_WORK_NEW, DB_WORK_WAITING, DB_WORK_NAPPING, DB_WORK_SENT, DB_WORK_FINISHED };

size_t db_work_n(struct db_work *w);
struct db_query *db_work_query(struct db_work *w, size_t i);
/* The try is over: rc 0; -ERR_DATABASE: it may be tried again; -ERR_DB_QUERY: it may not. */
void db_work_answered(struct db_work *w, int rc);
void db_work_again(struct db_work *w); /* at once, before all that waits */
/* The text of a failure, "statement NAME: …". */
void db_work_fail(struct db_work *w, size_t i, enum err_code code, const char *sqlstate, const char *text);
void db_fill(struct db *db);    /* sends what waits */
void db_deliver(struct db *db); /* completes what is finished; the last line of an event */
void db_connected(struct db *db, int change);
void db_connect_failed(struct db *db, const char *why);
void db_note_why(struct db *db, const char *why); /* why: libpq's text; its lines are joined */

#endif
