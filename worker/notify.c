/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A debounced NOTIFY. A notice that is lost costs the waiting side one poll interval, so failures are not retried.
 */
#include "worker/notify.h"

#include <stdlib.h>

#include "sql_worker.h"

struct notifier {
	struct worker *worker;
	struct db_query query;
	struct timer timer;
	uint64_t last_ms;
	bool busy, wanted;
};

static void send_notice(struct notifier *n);

static void arm(struct notifier *n)
{
	uint64_t now = loop_now_ms(n->worker->loop), next = n->last_ms + NOTIFY_MS;
	if (n->busy || timer_is_armed(&n->timer))
		return;
	if (now >= next)
		send_notice(n);
	else
		timer_start(&n->timer, next - now);
}

static void on_sent(struct op *op, int rc)
{
	struct notifier *n = container_of(container_of(op, struct db_query, op), struct notifier, query);
	(void)rc;
	db_query_done(&n->query);
	n->busy = false;
	if (n->wanted)
		arm(n);
}

static void send_notice(struct notifier *n)
{
	n->wanted = false;
	n->last_ms = loop_now_ms(n->worker->loop);
	db_query_init(&n->query, &sql_worker_notify);
	n->query.retry_ms = 0;
	n->query.op.on_done = on_sent;
	db_arg_text(&n->query.args, STR("millrace_done"));
	db_arg_text(&n->query.args, STR(""));
	n->busy = db_query_start(n->worker->db, &n->query, NULL) == 0;
	if (!n->busy)
		db_query_done(&n->query);
}

static void on_timer(struct timer *t)
{
	struct notifier *n = container_of(t, struct notifier, timer);
	if (n->wanted && !n->busy)
		send_notice(n);
}

void notify_done(struct notifier *n)
{
	if (!conf_now()->queue_notify)
		return;
	n->wanted = true;
	arm(n);
}

bool notifier_is_idle(const struct notifier *n)
{
	return !n->busy;
}

struct notifier *notifier_new(struct worker *w)
{
	struct notifier *n = calloc(1, sizeof *n);
	assert(n);
	n->worker = w;
	timer_init(&n->timer, w->loop, on_timer);
	return n;
}

void notifier_free(struct notifier *n)
{
	if (!n)
		return;
	assert(!n->busy);
	timer_stop(&n->timer);
	free(n);
}
