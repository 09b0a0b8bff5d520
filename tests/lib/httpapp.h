/* SPDX-License-Identifier: Apache-2.0 */
/* A small application behind the HTTP server, for its tests: the path says how it answers. See httpapp.c. */
#ifndef MR_TESTS_LIB_HTTPAPP_H
#define MR_TESTS_LIB_HTTPAPP_H

#include "common/http/http_server.h"

struct app {
	struct loop loop;
	struct http_server *server;
	struct http_limits limits;
	int port;
	struct http_req *held; /* the request of /hold, until app_release */
	struct timer nap;      /* ends the pause of /pause */
	size_t heads, ends, gone, drains, pieces, stream_left;
	bool drained, closed;
};

void app_start(struct app *a, const struct http_limits *limits); /* NULL: the defaults of conf.def */
void app_stop(struct app *a); /* frees the server, runs the loop to its end, checks that nothing is left */
void app_release(struct app *a, int status);
extern const struct http_limits app_default_limits;
extern const struct http_handler app_handler;

#define APP_BIG (5u << 20)

#endif
