/* SPDX-License-Identifier: Apache-2.0 */
/* What api.c and api_conf.c share. */
#ifndef MR_API_API_PRIVATE_H
#define MR_API_API_PRIVATE_H

#include "api/api.h"

/* Reads the configuration, names its mistakes and starts the log. 0, or the exit status. */
int api_configure(const char *config_file);
/* The ranges that webhook URLs may name, by the configuration. */
void api_guard(struct api *api);
/* The server's limits, by the configuration. */
void api_limits(struct http_limits *ret);
/* SIGHUP. */
void api_on_reload(void *arg, int signum);
/* It serves: says so in the log and in the ready file. */
void api_announce(struct api *api);

#endif
