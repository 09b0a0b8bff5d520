/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking PostgreSQL for the commands that do one thing and end (migrate, key, up). Nothing is retried: a failure is
 * told to the person who waits, -ERR_DATABASE when the server cannot be reached, -ERR_DB_QUERY with the server's words
 * otherwise.
 */
#include "common/db/db_sync.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

struct db_sync {
	PGconn *pg;
	PGresult *res; /* of the last call; may be NULL */
	char sqlstate[6];
};

static void on_notice(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res; /* nothing on standard error */
}

/* The first line of libpq's text, which may have several. */
static int set_err(struct err *err, enum err_code code, const char *text)
{
	struct str s = str_trim(str_from(text)), line = { 0 };
	str_split(&s, '\n', &line);
	return err_set(err, code, STR_FMT, STR_ARG(line));
}

int db_sync_open(const char *url, const char *application, int timeout_s, struct db_sync **ret, struct err *err)
{
	struct buf timeout;
	buf_init(&timeout, 16);
	buf_printf(&timeout, "%d%c", timeout_s, 0);
	/* dbname may be a whole connection string; its settings win over those before it. */
	const char *keys[] = { "application_name", "connect_timeout", "target_session_attrs",
		               "client_encoding",  "dbname",          NULL };
	const char *values[] = { application, timeout.p, "read-write", "UTF8", url, NULL };
	PGconn *pg = PQconnectdbParams(keys, values, /* expand_dbname= */ 1);
	buf_done(&timeout);
	if (PQstatus(pg) != CONNECTION_OK) {
		int rc = set_err(err, ERR_DATABASE, PQerrorMessage(pg));
		PQfinish(pg);
		return rc;
	}
	PQsetNoticeReceiver(pg, on_notice, NULL);
	struct db_sync *s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	s->pg = pg;
	*ret = s;
	return 0;
}

void db_sync_close(struct db_sync *s)
{
	if (!s)
		return;
	PQclear(s->res);
	PQfinish(s->pg);
	free(s);
}

/* Takes over res. */
static int finish(struct db_sync *s, PGresult *res, struct err *err)
{
	ExecStatusType status = PQresultStatus(res);
	PQclear(s->res);
	s->res = res;
	s->sqlstate[0] = '\0';
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)
		return 0;
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	if (state) {
		size_t n = strnlen(state, sizeof(s->sqlstate) - 1);
		memcpy(s->sqlstate, state, n);
		s->sqlstate[n] = '\0';
	}
	if (PQstatus(s->pg) != CONNECTION_OK)
		return set_err(err, ERR_DATABASE, PQerrorMessage(s->pg));
	return set_err(err, ERR_DB_QUERY, text ? text : PQerrorMessage(s->pg));
}

int db_sync_script(struct db_sync *s, const char *sql, struct err *err)
{
	return finish(s, PQexec(s->pg, sql), err);
}

int db_sync_query(struct db_sync *s, const char *sql, int nparams, const char *const *params, struct err *err)
{
	return finish(s, PQexecParams(s->pg, sql, nparams, NULL, params, NULL, NULL, /* resultFormat= */ 0), err);
}

int db_sync_rows(const struct db_sync *s)
{
	return PQntuples(s->res);
}

const char *db_sync_get(const struct db_sync *s, int row, int col)
{
	assert(row >= 0 && row < PQntuples(s->res) && col >= 0 && col < PQnfields(s->res));
	return PQgetisnull(s->res, row, col) ? NULL : PQgetvalue(s->res, row, col);
}

const char *db_sync_sqlstate(const struct db_sync *s)
{
	return s->sqlstate;
}
