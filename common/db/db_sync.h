/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking PostgreSQL for the short-lived commands (migrate, key, up). Text format in both directions. */
#ifndef MR_COMMON_DB_DB_SYNC_H
#define MR_COMMON_DB_DB_SYNC_H

#include "common/err.h"

struct db_sync;

int db_sync_open(const char *url, const char *application, int timeout_s, struct db_sync **ret, struct err *err);
void db_sync_close(struct db_sync *s);
/* Runs a script of several statements; all or nothing when it holds no BEGIN of its own. */
int db_sync_script(struct db_sync *s, const char *sql, struct err *err);
/* One statement; params are NUL-terminated text or NULL. The result stays until the next call. */
int db_sync_query(struct db_sync *s, const char *sql, int nparams, const char *const *params, struct err *err);
int db_sync_rows(const struct db_sync *s);
const char *db_sync_get(const struct db_sync *s, int row, int col); /* NULL when NULL; borrowed */
const char *db_sync_sqlstate(const struct db_sync *s); /* of the last failure */

#endif
