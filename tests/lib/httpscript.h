/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP client under test and a scripted server on the same loop: the path of a request names what the server does with it. The server
 * counts connections and answers in flight, so that reuse and limits are seen from the other side. A test runs between hs_set_up and
 * hs_tear_down; a watchdog ends one that hangs.
 */
#ifndef MR_TESTS_LIB_HTTPSCRIPT_H
#define MR_TESTS_LIB_HTTPSCRIPT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/http/http_client.h"

struct httpscript {
	struct loop loop;
	struct http_client *client;
	size_t done_calls;
	/* The server, as the test sees it. */
	uv_tcp_t server;
	int port;
	struct list held, conns;
	size_t hold_until; /* the server answers /hold when so many wait */
	size_t held_peak, accepted, requests;
	char last_request[8192];
	struct timer watchdog;
};
extern struct httpscript hs;

int hs_set_up(void **state);
int hs_tear_down(void **state);
void hs_make_client(const struct http_client_cfg *cfg);
void hs_drop_client(void);

/* The URL of a path on the server; valid until the next call. */
const char *hs_url_of(const char *host, const char *path);
/* A POST to a path; its end is counted in hs.done_calls and stops the loop. */
void hs_call_prepare(struct http_call *c, const char *path);
void hs_on_call_done(struct op *op, int rc);
int hs_call_run(struct http_call *c);
int hs_call_path(struct http_call *c, const char *path);
void hs_wait_for(const size_t *n, size_t want);
void hs_assert_answer(const struct http_call *c, const char *want);
void hs_close_first_connection(void);

#define HS_TEST(name) cmocka_unit_test_setup_teardown(test_http_client_##name, hs_set_up, hs_tear_down)

#endif
