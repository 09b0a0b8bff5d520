/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings a database to the schema that this program was built for, from the migrations embedded in it. Forward only;
 * safe to run from many machines at once, and again and again.
 */
#ifndef MR_CLI_MIGRATE_H
#define MR_CLI_MIGRATE_H

#include "common/err.h"

/* Applies what is pending. *ret_applied (may be NULL) is how many that were. -ERR_CONFLICT: the schema is newer than
 * this program. */
int migrate_run(const char *url, int *ret_applied, struct err *err);

/* The newest migration that this program knows; 0 when it has none. */
int migrate_latest(void);

/* `millrace migrate`: argv[0] is the command's name. Returns the exit status. */
int migrate_main(int argc, char **argv);

#endif
