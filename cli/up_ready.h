/* SPDX-License-Identifier: Apache-2.0 */
/* The ready file of `millrace up`: where everything is, for the client commands, scripts and tests. Its content alone;
 * up.c writes it. */
#ifndef MR_CLI_UP_READY_H
#define MR_CLI_UP_READY_H

#include "common/buf.h"

struct up_ready {
	const char *url;
	const char *api_key, *admin_key;
	const char *database_url;
	const char *simulator_url; /* NULL: none runs */
	const pid_t *api, *worker;
	size_t napi, nworker;
	pid_t postgres, simulator; /* 0: none */
};

/* {"url","api_key","admin_key","database_url","simulator_url","pids":{"api":[…],"worker":[…],"postgres","simulator"}}
 */
int up_ready_write(struct buf *b, const struct up_ready *r);

#endif
