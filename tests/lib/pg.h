/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private PostgreSQL for the C tests: made on first use under /tmp, reached by a Unix socket only, stopped and
 * removed when the test program ends. With MILLRACE_TEST_DATABASE_URL set, that cluster is used instead and is never
 * restarted.
 */
#ifndef MR_TESTS_LIB_PG_H
#define MR_TESTS_LIB_PG_H

#include "common/base.h"

/* A connection string to a new, empty database; valid until the next call. */
const char *pg_test_url(void);
/* The database of the last pg_test_url with more settings, which win ("key=value …"). Only of our own cluster. */
const char *pg_test_url_with(const char *settings);
bool pg_test_owns_cluster(void);
const char *pg_test_socket_dir(void);
/* Ends all other sessions in the last database. */
void pg_test_terminate(void);
/* As `pg_ctl restart -m immediate`, in two halves: as in a crash, then wait until it takes connections. */
void pg_test_crash(void);
void pg_test_start(void);
/* Runs a script in the last database; aborts the test program on failure. */
void pg_test_sql(const char *sql);
void pg_test_sqlf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The first column of the first row as a number. */
int64_t pg_test_number(const char *sql);

/* A pgbouncer in transaction mode before the last database; its connection string. NULL when there is none to use. */
const char *pg_test_pooler_url(void);

#endif
