/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migrations are the files migrations/NNNN_name.sql, compiled in. Each is applied in one transaction together with its
 * row in millrace_migration, so that a crash leaves it applied or not, never half.
 *
 * All is well: open → the table of migrations is made when it is missing → for each known number, in order: take the
 * lock, look whether another process was faster, run the script, write the row, commit.
 *
 * What can go wrong: the schema is newer than this program (refused before anything is changed: an old program on a new
 * schema would write rows that the new one does not expect); a script fails (its transaction is rolled back, those
 * before it stay, the next run goes on there); a table is busy (lock_timeout: the migration gives up rather than queue
 * all traffic behind itself). The lock is an advisory one and ends with the transaction, so it also works through a
 * transaction pooler and cannot be left behind.
 *
 * Which processes wait for which schema is left to the api and the worker (readyz).
 */
#include "cli/migrate.h"

#include <stdio.h>
#include <string.h>

#include "migrations.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "cli/place.h"
#include "common/arena.h"
#include "common/buf.h"
#include "common/db/db_sync.h"

#define CONNECT_TIMEOUT_S 10
/* "millrace" in ASCII, as a 64-bit number: the advisory lock that all instances share. */
#define LOCK_SQL "SELECT pg_advisory_xact_lock(7883951835720016741)"
#define TABLE_SQL                                                                 \
	"CREATE TABLE IF NOT EXISTS millrace_migration (number int PRIMARY KEY, " \
	"name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"

static void sync_drop(struct db_sync **s)
{
	db_sync_close(*s);
}

int migrate_latest(void)
{
	return migrations_n ? migrations[migrations_n - 1].number : 0;
}

/* The number in the first column of the only row, or -1. */
static int result_number(const struct db_sync *s)
{
	uint64_t v;
	const char *text = db_sync_rows(s) ? db_sync_get(s, 0, 0) : NULL;
	if (!text || str_u64(str_from(text), 0, INT32_MAX, &v) < 0)
		return -1;
	return (int)v;
}

static int current_number(struct db_sync *s, int *ret, struct err *err)
{
	int rc = db_sync_query(s, "SELECT (to_regclass('millrace_migration') IS NOT NULL)::int", 0, NULL, err);
	if (rc < 0)
		return rc;
	if (result_number(s) != 1) {
		*ret = 0;
		return 0;
	}
	rc = db_sync_query(s, "SELECT coalesce(max(number), 0) FROM millrace_migration", 0, NULL, err);
	if (rc < 0)
		return rc;
	*ret = result_number(s);
	return *ret < 0 ? err_set(err, ERR_INTERNAL, "millrace_migration holds an impossible number") : 0;
}

static int refuse_newer(int current, struct err *err)
{
	if (current <= migrate_latest())
		return 0;
	return err_set(err, ERR_CONFLICT,
	               "the schema is at migration %d and this program knows %d: use a newer millrace", current,
	               migrate_latest());
}

/* Between BEGIN and COMMIT; *ret_done tells whether the migration was ours to apply. */
static int apply_locked(struct db_sync *s, const struct migration *m, bool *ret_done, struct err *err)
{
	_cleanup_(buf_done) struct buf number;
	buf_init(&number, 16);
	buf_printf(&number, "%d%c", m->number, '\0');
	assert(!buf_failed(&number));
	const char *const params[] = { number.p, m->name };

	/* Whoever holds the lock may take its time; a table that is in use may not hold up everything else. */
	int rc = db_sync_script(s, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;", err);
	if (rc >= 0)
		rc = db_sync_query(s, LOCK_SQL, 0, NULL, err);
	if (rc >= 0)
		rc = db_sync_script(s, "SET LOCAL lock_timeout = '10s';" TABLE_SQL, err);
	if (rc >= 0)
		rc = db_sync_query(s, "SELECT 1 FROM millrace_migration WHERE number = $1::int", 1, params, err);
	if (rc < 0)
		return rc;
	if (db_sync_rows(s) > 0) {
		*ret_done = false;
		return 0;
	}
	rc = db_sync_script(s, m->sql, err);
	if (rc >= 0)
		rc = db_sync_query(s, "INSERT INTO millrace_migration (number, name) VALUES ($1::int, $2)", 2, params,
		                   err);
	*ret_done = rc >= 0;
	return rc < 0 ? rc : 0;
}

static int apply(struct db_sync *s, const struct migration *m, bool *ret_done, struct err *err)
{
	int rc = db_sync_script(s, "BEGIN", err);
	if (rc < 0)
		return rc;
	rc = apply_locked(s, m, ret_done, err);
	if (rc >= 0)
		rc = db_sync_script(s, "COMMIT", err);
	else
		db_sync_script(s, "ROLLBACK", NULL);
	if (rc < 0)
		err_wrap(err, "migration %s", m->name);
	return rc;
}

static int apply_pending(struct db_sync *s, int *ret_applied, struct err *err)
{
	int current, applied = 0;
	int rc = current_number(s, &current, err);
	if (rc < 0)
		return rc;
	rc = refuse_newer(current, err);
	for (int i = 0; rc >= 0 && i < migrations_n; i++) {
		bool done = false;
		if (migrations[i].number <= current)
			continue;
		rc = apply(s, &migrations[i], &done, err);
		applied += done;
	}
	if (ret_applied)
		*ret_applied = applied;
	return rc < 0 ? rc : 0;
}

int migrate_run(const char *url, int *ret_applied, struct err *err)
{
	_cleanup_(sync_drop) struct db_sync *s = NULL;
	int rc = db_sync_open(url, "millrace migrate", CONNECT_TIMEOUT_S, &s, err);
	return rc < 0 ? rc : apply_pending(s, ret_applied, err);
}

/* Prints what is applied and what is not; the number of pending ones, or an error. */
static int print_status(const char *url, struct err *err)
{
	_cleanup_(sync_drop) struct db_sync *s = NULL;
	int current;
	int rc = db_sync_open(url, "millrace migrate", CONNECT_TIMEOUT_S, &s, err);
	if (rc < 0)
		return rc;
	rc = current_number(s, &current, err);
	if (rc < 0)
		return rc;
	if (current > 0) {
		rc = db_sync_query(
		    s,
		    "SELECT name, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
		    "FROM millrace_migration ORDER BY number",
		    0, NULL, err);
		if (rc < 0)
			return rc;
		for (int i = 0; i < db_sync_rows(s); i++)
			printf("applied  %s  %s\n", db_sync_get(s, i, 1), db_sync_get(s, i, 0));
	}
	int pending = 0;
	for (int i = 0; i < migrations_n; i++) {
		if (migrations[i].number <= current)
			continue;
		printf("pending  %-20s  %s\n", "-", migrations[i].name);
		pending++;
	}
	rc = refuse_newer(current, err);
	return rc < 0 ? rc : pending;
}

static int fail(const struct err *err)
{
	fprintf(stderr, "millrace migrate: %s\n", err->text);
	return err->code == ERR_DATABASE || err->code == ERR_CONFIG ? CLI_EXIT_UNREACHABLE : CLI_EXIT_FAILED;
}

static int run(const char *url, bool status_only)
{
	struct err err = { 0 };
	int applied = 0;
	int rc = status_only ? print_status(url, &err) : migrate_run(url, &applied, &err);
	if (rc < 0)
		return fail(&err);
	if (status_only)
		return rc > 0 ? CLI_EXIT_FAILED : CLI_EXIT_OK;
	if (applied)
		printf("applied %d migration%s; the schema is at %d\n", applied, applied == 1 ? "" : "s",
		       migrate_latest());
	else
		printf("nothing to do; the schema is at %d\n", migrate_latest());
	return CLI_EXIT_OK;
}

int migrate_main(int argc, char **argv)
{
	struct place place = { .dir = PLACE_DIR };
	bool status = false;
	const struct cli_option options[] = {
		{ .name = "database-url",
		  .arg = "URL",
		  .kind = CLI_STR,
		  .target = &place.database_url,
		  .help = "The database" },
		{ .name = "config",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &place.config,
		  .help = "Take database.url from this configuration (MILLRACE_DATABASE_URL goes before it)" },
		{ .name = "dir",
		  .arg = "DIR",
		  .kind = CLI_STR,
		  .target = &place.dir,
		  .help = "Else the database of the `millrace up` that runs in DIR (.millrace)" },
		{ .name = "status",
		  .kind = CLI_FLAG,
		  .target = &status,
		  .help = "List what is applied and what is pending, and change nothing; exit status 1 when something "
		          "is pending" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "migrate",
		.usage = "[options]",
		.summary = "Brings the database to this program's schema.",
		.options = options,
	};
	struct cli_args args;
	struct err err = { 0 };
	struct arena arena;
	const char *url = NULL;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	arena_init(&arena, 1 << 20);
	rc = place_database_url(&place, &arena, &url, &err) < 0 ? fail(&err) : run(url, status);
	arena_done(&arena);
	return rc;
}
