/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker tells about itself, where worker.listen names an address:
 *
 *   GET /healthz   200: the loop turns; `turns` is the counter that heartbeats carry. Never asks the database, so that an
 *                  outage there does not make a supervisor restart workers whose calls still run
 *   GET /readyz    200 when jobs can be claimed: the last heartbeat was answered within the lease and no shutdown has
 *                  begun; else 503 with waiting_for
 *   GET /metrics   Prometheus text of this process
 *
 * There is no key: nothing here belongs to a tenant, and a worker asks the database about jobs, not about callers. So the
 * default is no listener, and the address is for the operator's own network. It goes on answering while the worker drains.
 *
 * What can go wrong: the port is taken. Then the process does not start: an operator who asked for metrics must not find
 * out later that there were none.
 */
#include "worker/status.h"

#include <stdlib.h>

#include "common/http/http_server.h"
#include "common/metrics.h"
#include "worker/queue/lease.h"

#define METRICS_MAX ((size_t)8 << 20)

struct status {
	struct worker *worker;
	struct http_server *server;
	void (*on_closed)(void *arg);
	void *arg;
};

/* Scrapers and supervisors are few and send no bodies. */
static const struct http_limits limits = {
	.connections = 64,
	.head_bytes = 8192,
	.target_bytes = 1024,
	.header_count = 50,
	.body_bytes = 1024,
	.head_ms = 5000,
	.body_ms = 5000,
	.body_min_rate = 1024,
	.idle_ms = 120000,
	.write_stall_ms = 10000,
};

static void say_health(struct http_req *h, struct worker *w)
{
	struct str body = arena_printf(&h->arena, "{\"status\":\"ok\",\"version\":\"" MR_VERSION "\",\"turns\":%llu}\n",
	                               (unsigned long long)w->loop->turns);
	http_reply(h, 200, STR("application/json"), body);
}

static void say_ready(struct http_req *h, struct worker *w)
{
	const char *why = w->state != WORKER_LIVE        ? "draining"
	                  : !leases_are_good(w->leases) ? (db_is_up(w->db) ? "lease" : "database")
	                                                : NULL;
	if (!why)
		http_reply(h, 200, STR("application/json"), STR("{\"status\":\"ready\"}\n"));
	else
		http_reply(h, 503, STR("application/json"),
		           arena_printf(&h->arena, "{\"status\":\"not_ready\",\"waiting_for\":\"%s\"}\n", why));
}

static void say_metrics(struct http_req *h, struct worker *w)
{
	_cleanup_(buf_done) struct buf out;
	buf_init(&out, METRICS_MAX);
	metric_set(METRIC_SLOTS_BUSY, "", (int64_t)w->jobs.n);
	if (metrics_write(&out) < 0) {
		struct err err = { 0 };
		err_set(&err, ERR_TOO_LARGE, "the metrics are larger than %zu bytes", METRICS_MAX);
		http_reply_problem(h, &err);
		return;
	}
	http_reply(h, 200, STR("text/plain; version=0.0.4; charset=utf-8"), buf_str(&out));
}

static const struct page {
	const char *path;
	void (*say)(struct http_req *h, struct worker *w);
} pages[] = {
	{ "/healthz", say_health },
	{ "/readyz", say_ready },
	{ "/metrics", say_metrics },
};

static void on_head(struct http_req *h)
{
	const struct status *s = http_server_user(h->server);
	struct err err = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (!str_eq_z(h->path, pages[i].path))
			continue;
		h->route = pages[i].path;
		if (h->method == HTTP_GET || h->method == HTTP_HEAD_) {
			pages[i].say(h, s->worker);
			return;
		}
		http_reply_header(h, "Allow", STR("GET, HEAD"));
		err_set(&err, ERR_METHOD, "see the header Allow");
		http_reply_problem(h, &err);
		return;
	}
	err_set(&err, ERR_NOT_FOUND, "there is nothing at this path");
	http_reply_problem(h, &err);
}

/* Every request was answered at its head. */
static void on_end(struct http_req *h)
{
	(void)h;
}

static const struct http_handler handler = { .on_head = on_head, .on_end = on_end };

int status_start(struct worker *w, struct status **ret, struct err *err)
{
	const char *listen = conf_now()->worker_listen;
	*ret = NULL;
	if (listen[0] == '\0')
		return 0;
	struct status *s = calloc(1, sizeof *s);
	assert(s);
	s->worker = w;
	int rc = http_server_start(w->loop, listen, /* reuse_port= */ false, &limits, &handler, s, &s->server, err);
	if (rc < 0) {
		free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

struct str status_url(const struct status *s, struct arena *a)
{
	return http_server_url(s->server, conf_now()->worker_listen, a);
}

static void on_server_closed(void *arg)
{
	struct status *s = arg;
	void (*closed)(void *arg) = s->on_closed;
	void *closed_arg = s->arg;
	free(s);
	closed(closed_arg);
}

void status_free(struct status *s, void (*on_closed)(void *arg), void *arg)
{
	if (!s) {
		on_closed(arg);
		return;
	}
	s->on_closed = on_closed;
	s->arg = arg;
	http_server_free(take(&s->server), on_server_closed, s);
}
