/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL on the loop: a few connections in libpq's pipeline mode. Each statement is a transaction of its own (a Sync
 * follows it); a db_tx puts several statements before one Sync, so that they commit or fail together.
 *
 * When all is well: a query goes to the connection with the fewest statements in flight (at most db_cfg.depth each; more wait in a
 * bounded queue), is prepared there on first use (not with db_cfg.pooler), and completes when its result is in.
 *
 * What can go wrong: a connection is lost, a server restarts, a failover happens, a serialisation failure, a commit comes back
 * with the synchronous-standby warning. Then the outcome of what was in flight is unknown, and THE SAME statement is sent again
 * (every statement of Millrace is idempotent by id and lease token) until it gets a certain answer or query.retry_ms has
 * passed; only then does it complete with -ERR_DATABASE. Each operation also has a socket deadline (db_cfg.deadline_ms): on expiry the socket is closed,
 * a commit is never canceled. Reconnects back off 50 ms–1 s with jitter; each attempt tries one host of a multi-host list with
 * target_session_attrs=read-write, and rotates.
 *
 * Results are in binary format; read them with the db_get_ functions. Parameters are binary too; their types come from the casts
 * in the SQL ($1::int4[]).
 */
#ifndef MR_COMMON_DB_DB_H
#define MR_COMMON_DB_DB_H

#include "common/buf.h"
#include "common/err.h"
#include "common/flow.h"
#include "common/id.h"
#include "common/loop.h"

struct pg_result; /* PGresult; libpq-fe.h is included by common/db*.c only */

/* Made from a .sql file by the build (build/gen/sql_*.h): name is the file's name without .sql. */
struct db_stmt {
	const char *name;
	const char *sql;
	int nparams;
};

struct db_cfg {
	const char *url;          /* libpq connection string or URI; borrowed for the life of the db */
	const char *application;  /* application_name */
	int connections;          /* 1..32 */
	int depth;                /* statements in flight per connection, 1..64 */
	size_t max_waiting;       /* queries that may wait for a place; more: -ERR_OVERLOADED at once */
	bool pooler;              /* through a transaction pooler: no named statements, no session settings */
	int statement_timeout_ms; /* set on the session (without pooler) */
	int deadline_ms;          /* a statement without an answer for so long closes its socket */
};

struct db; /* opaque */

/* Begins to connect at once. NULL when cfg->url is no connection string. */
struct db *db_new(struct loop *l, const struct db_cfg *cfg);
/* Fails what waits and what is in flight with -ERR_DRAINING (not before this returns), closes the connections, frees the db;
 * on_closed may be NULL. */
void db_free(struct db *db, void (*on_closed)(void *arg), void *arg);
bool db_is_up(const struct db *db);  /* at least one connection is ready */
size_t db_waiting(const struct db *db); /* queries not yet sent */
/* Called when the first connection comes up after none was, when the last goes down, and when the first try at the start fails. */
void db_on_change(struct db *db, void (*fn)(void *arg, bool up), void *arg);
/* Why the last connection was lost or not made, one line; "" when none ever was. Borrowed until the loop turns. */
const char *db_why_down(const struct db *db);

/* --- parameters --- */
#define DB_ARGS_MAX 64
struct db_args {
	struct buf b;                 /* the bytes of all parameters */
	uint32_t at[DB_ARGS_MAX];     /* offset of each */
	int32_t len[DB_ARGS_MAX];     /* -1: NULL */
	int n;
};
void db_arg_i16(struct db_args *a, int16_t v);
void db_arg_i32(struct db_args *a, int32_t v);
void db_arg_i64(struct db_args *a, int64_t v);
void db_arg_bool(struct db_args *a, bool v);
void db_arg_text(struct db_args *a, struct str v);
void db_arg_bytea(struct db_args *a, struct str v);
void db_arg_id(struct db_args *a, struct id v);
void db_arg_time(struct db_args *a, int64_t wall_us); /* timestamptz */
void db_arg_null(struct db_args *a);
void db_arg_text_or_null(struct db_args *a, struct str v); /* NULL when v.p is NULL */

/* One column of a multi-row statement: an array parameter. */
enum db_type { DB_BOOL = 16, DB_BYTEA = 17, DB_INT8 = 20, DB_INT2 = 21, DB_INT4 = 23, DB_TEXT = 25, DB_TIME = 1184, DB_UUID = 2950 }; /* pg_type oids */
struct db_array {
	struct buf b;
	enum db_type type;
	uint32_t n;
	bool has_null;
};
void db_array_init(struct db_array *a, enum db_type type, size_t max_bytes);
void db_array_done(struct db_array *a);
void db_array_clear(struct db_array *a); /* n = 0, keeps the memory */
void db_array_i16(struct db_array *a, int16_t v);
void db_array_i32(struct db_array *a, int32_t v);
void db_array_i64(struct db_array *a, int64_t v);
void db_array_bool(struct db_array *a, bool v);
void db_array_text(struct db_array *a, struct str v); /* also for bytea */
void db_array_id(struct db_array *a, struct id v);
void db_array_time(struct db_array *a, int64_t wall_us);
void db_array_null(struct db_array *a);
void db_array_i64_or_null(struct db_array *a, int64_t v);           /* NULL when negative */
void db_array_text_or_null(struct db_array *a, struct str v);     /* NULL when v.p is NULL */
void db_array_time_or_null(struct db_array *a, int64_t wall_us); /* NULL when 0: no time of ours is 1970 */
void db_arg_array(struct db_args *a, const struct db_array *array);

/* Private: what a db_query and a db_tx have in common, that is, what stands before one Sync. */
struct db_work {
	struct link link; /* in db->waiting, db->napping, conn->sent or db->finished */
	struct db *db;
	struct db_conn *conn; /* while sent */
	struct timer nap;     /* before it is sent again */
	uint64_t started_ms, sent_ns;
	size_t answered;      /* statements of this try */
	unsigned tries;
	int state, rc;
	bool is_tx, failed, cancel_asked, prepared_again;
};

/* --- one statement --- */
struct db_query {
	struct op op;                 /* completes with 0, -ERR_DATABASE, -ERR_DB_QUERY, -ERR_OVERLOADED, -ERR_CANCELED or -ERR_DRAINING */
	const struct db_stmt *stmt;   /* borrowed */
	struct db_args args;          /* owned */
	struct pg_result *result;     /* owned; valid after completion with 0 until db_query_done */
	char sqlstate[6];             /* of the last failure, or "" */
	struct err err;
	int64_t retry_ms;             /* how long to go on after lost connections; -1: for ever; 0: one try. Default 10,000 */
	/* private */
	struct db_work work;
	bool preparing; /* in this try a Parse goes before it */
};

void db_query_init(struct db_query *q, const struct db_stmt *stmt);
/* After completion: frees arguments and result; q can be init'ed again. Safe on a zeroed q. */
void db_query_done(struct db_query *q);
/* 0: started, one completion will come (to flow, or q->op.on_done when flow is NULL). Negative: none will: -ERR_OVERLOADED,
 * -ERR_DRAINING, or -ERR_TOO_LARGE when the arguments passed their maximum. */
int db_query_start(struct db *db, struct db_query *q, struct flow *flow);

/* --- several statements, one transaction --- */
struct db_tx {
	struct op op;              /* as db_query; on failure err tells which statement */
	struct db_query **queries; /* borrowed; each init'ed with its args by the caller; results are in them afterwards */
	size_t n;
	struct err err;
	int64_t retry_ms;          /* as db_query; the caller sets it */
	/* private */
	struct db_work work;
};
int db_tx_start(struct db *db, struct db_tx *tx, struct flow *flow);

/* --- results (row and column from 0; a wrong width aborts: it is a bug of ours) --- */
int db_rows(const struct db_query *q);
bool db_is_null(const struct db_query *q, int row, int col);
bool db_get_bool(const struct db_query *q, int row, int col);
int64_t db_get_int(const struct db_query *q, int row, int col);  /* int2, int4, int8; 0 when NULL */
struct str db_get_str(const struct db_query *q, int row, int col); /* text, bytea; "" when NULL; borrowed from the result */
struct id db_get_id(const struct db_query *q, int row, int col);   /* uuid; zero when NULL */
int64_t db_get_time(const struct db_query *q, int row, int col);   /* timestamptz → wall µs; 0 when NULL */

/* --- notifications (a connection of its own; never through a pooler) --- */
struct db_listener;
/* Reconnects by itself; on_lost tells that notices may have been missed (the caller polls once): it is called each time listening
 * begins, also the first. cfg->url is the direct one. NULL when it is no connection string. */
struct db_listener *db_listen(struct loop *l, const struct db_cfg *cfg, const char *const *channels, size_t n,
                              void (*on_notice)(void *arg, struct str channel, struct str payload), void (*on_lost)(void *arg), void *arg);
void db_listener_free(struct db_listener *ls);

#endif
