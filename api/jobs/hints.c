/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first hint goes out at once; those of the next 5 ms are gathered, each once, and go out together. So the latency
 * is low when little comes, and there are at most 200 statements per second when much does. The transaction does not
 * wait for the disk (synchronous_commit off): a lost hint costs one poll of a worker.
 */
#include "api/jobs/hints.h"

#include <stdlib.h>

#include "api/api.h"
#include "common/conf.h"
#include "sql_api.h"

#define GATHER_MS   5
#define PENDING_MAX 256

struct hints {
	struct api *api;
	struct timer timer;
	struct db_query query;
	struct one_hint {
		enum { HINT_READY, HINT_CANCEL, HINT_TARGETS } kind;
		int lane, priority;
		struct id worker_id;
	} pending[PENDING_MAX];
	size_t n;
	bool stopped;
};

static void send_all(struct hints *n);

static void on_sent(struct op *op, int rc)
{
	(void)rc;
	struct hints *n = container_of(op, struct hints, query.op);
	db_query_done(&n->query);
	if (n->n > 0 && !timer_is_armed(&n->timer))
		send_all(n);
}

static const char *const channels_of[] = {
	[HINT_READY] = "millrace_ready",
	[HINT_CANCEL] = "millrace_cancel",
	[HINT_TARGETS] = "millrace_targets",
};

static void add_hint(const struct one_hint *h, struct db_array *channels, struct db_array *payloads)
{
	char text[ID_TEXT_MAX];
	struct buf b;
	buf_init(&b, 64);
	if (h->kind == HINT_CANCEL)
		buf_add_str(&b, id_text(h->worker_id, "", text));
	else if (h->kind == HINT_READY)
		buf_printf(&b, "%d:%d", h->lane, h->priority);
	db_array_text(channels, str_from(channels_of[h->kind]));
	db_array_text(payloads, buf_str(&b));
	buf_done(&b);
}

static void send_all(struct hints *n)
{
	if (n->query.op.active || n->stopped)
		return;
	struct db_array channels, payloads;
	db_array_init(&channels, DB_TEXT, 1 << 20);
	db_array_init(&payloads, DB_TEXT, 1 << 20);
	for (size_t i = 0; i < n->n; i++)
		add_hint(&n->pending[i], &channels, &payloads);
	n->n = 0;
	db_query_init(&n->query, &sql_api_notify);
	db_arg_array(&n->query.args, &channels);
	db_arg_array(&n->query.args, &payloads);
	db_array_done(&channels);
	db_array_done(&payloads);
	n->query.op.on_done = on_sent;
	n->query.retry_ms = 0;
	if (api_query_start(n->api, &n->query, NULL) < 0)
		db_query_done(&n->query);
	timer_start(&n->timer, GATHER_MS);
}

static void on_gathered(struct timer *t)
{
	struct hints *n = container_of(t, struct hints, timer);
	if (n->n > 0)
		send_all(n);
}

static void add(struct hints *n, const struct one_hint *h)
{
	if (!conf_now()->queue_notify || n->stopped)
		return;
	for (size_t i = 0; i < n->n; i++)
		if (n->pending[i].kind == h->kind && n->pending[i].lane == h->lane &&
		    n->pending[i].priority == h->priority && id_eq(n->pending[i].worker_id, h->worker_id))
			return;
	if (n->n == PENDING_MAX)
		return;
	n->pending[n->n++] = *h;
	if (!timer_is_armed(&n->timer))
		send_all(n);
}

struct hints *hints_new(struct api *api)
{
	struct hints *n = calloc(1, sizeof(*n));
	assert(n);
	n->api = api;
	timer_init(&n->timer, &api->loop, on_gathered);
	return n;
}

void hints_stop(struct hints *n)
{
	n->stopped = true;
	timer_stop(&n->timer);
}

void hints_free(struct hints *n)
{
	if (!n)
		return;
	assert(!n->query.op.active);
	free(n);
}

void hints_ready(struct hints *n, int lane, int priority)
{
	add(n, &(struct one_hint){ .kind = HINT_READY, .lane = lane, .priority = priority });
}

void hints_cancel(struct hints *n, struct id worker_id)
{
	add(n, &(struct one_hint){ .kind = HINT_CANCEL, .worker_id = worker_id });
}

void hints_targets(struct hints *n)
{
	add(n, &(struct one_hint){ .kind = HINT_TARGETS });
}
