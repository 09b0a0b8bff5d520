/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that are free now. Somebody may take one before it is used; then the process that was to use it fails, and says
 * so. */
#ifndef MR_CLI_UP_PORT_H
#define MR_CLI_UP_PORT_H

#include "common/arena.h"
#include "common/err.h"

/* The port when nobody listens there (0: any that is free, which is returned); -ERR_CONFLICT when taken, -ERR_INVALID
 * for no such host. */
int up_port_try(const char *host, int port);

/* "host:port", "[v6]:port" → host without brackets, in a. 0 or -ERR_INVALID. */
int up_port_split(struct str listen, struct arena *a, const char **ret_host, int *ret_port);

/*
 * An address to listen on: `wanted` itself when it is free (with port 0: a free one), else, when search is set, the
 * next free port of the hundred above it. unix:/path is left as it is.
 */
int up_port_choose(const char *wanted, bool search, struct arena *a, const char **ret, struct err *err);

#endif
