/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of common/db share: a loop with a db on a fresh database, and waiting for things with a limit. */
#ifndef MR_TESTS_LIB_DBTEST_H
#define MR_TESTS_LIB_DBTEST_H

#include "common/db/db.h"

struct dbtest {
	struct loop loop;
	struct db *db;
	bool closed;
};

/* A query that notes its completion. */
struct dbcall {
	struct db_query q;
	int rc, completions;
	int order; /* among all completions of the program */
};

struct db_cfg dbtest_cfg(const char *url);
void dbtest_open(struct dbtest *t, const struct db_cfg *cfg);
void dbtest_close(struct dbtest *t); /* waits for the end of all handles */

/* Turns the loop until *n reaches want; fails the test after 30 s. */
void dbtest_until(struct dbtest *t, const int *n, int want);
void dbtest_until_up(struct dbtest *t, bool up);
void dbtest_turns(struct dbtest *t, uint64_t ms); /* lets the loop run for a while */

void dbcall_init(struct dbcall *c, const struct db_stmt *stmt);
int dbcall_start(struct dbtest *t, struct dbcall *c);
/* Starts, waits, and returns the result's code. */
int dbcall_run(struct dbtest *t, struct dbcall *c);
/* A statement without parameters, start to end; its code. */
int dbtest_exec(struct dbtest *t, const struct db_stmt *stmt);

#endif
