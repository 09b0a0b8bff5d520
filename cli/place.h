/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the commands that talk to the database directly find it: the option, then the configuration (file or
 * MILLRACE_DATABASE_URL), then the ready file of a `millrace up` running here.
 */
#ifndef MR_CLI_PLACE_H
#define MR_CLI_PLACE_H

#include "common/arena.h"
#include "common/err.h"

#define PLACE_DIR ".millrace" /* of `millrace up`, when none is given */

struct place {
	const char *database_url; /* --database-url or NULL */
	const char *config;       /* --config or NULL */
	const char *dir;          /* --dir */
};

/* *ret_url lives in a. -ERR_CONFIG when none of the three places has one. */
int place_database_url(const struct place *p, struct arena *a, const char **ret_url, struct err *err);

#endif
