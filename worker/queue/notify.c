/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debounced NOTIFYs, one state per channel. A notice that is lost costs the waiting side one poll interval, so failures are not retried.
 */
#include "worker/queue/notify.h"

#include <stdlib.h>

#include "sql_worker.h"

enum notice_channel { NOTICE_DONE, NOTICE_CACHE, NOTICE_TARGETS, NOTICE_CHUNK, NOTICES };

static const char *const channels[NOTICES] = {
	[NOTICE_DONE] = "millrace_done",
	[NOTICE_CACHE] = "millrace_cache",
	[NOTICE_TARGETS] = "millrace_targets",
	[NOTICE_CHUNK] = "millrace_chunk",
};

struct notice {
	struct worker *worker;
	const char *channel;
	struct db_query query;
	struct timer timer;
	uint64_t last_ms;
	bool busy, wanted;
};

struct notifier {
	struct notice notices[NOTICES];
};

static void send_notice(struct notice *n);

static void arm(struct notice *n)
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
	struct notice *n = container_of(container_of(op, struct db_query, op), struct notice, query);
	(void)rc;
	db_query_done(&n->query);
	n->busy = false;
	if (n->wanted)
		arm(n);
}

static void send_notice(struct notice *n)
{
	n->wanted = false;
	n->last_ms = loop_now_ms(n->worker->loop);
	db_query_init(&n->query, &sql_worker_notify);
	n->query.retry_ms = 0;
	n->query.op.on_done = on_sent;
	db_arg_text(&n->query.args, str_from(n->channel));
	db_arg_text(&n->query.args, STR(""));
	n->busy = db_query_start(n->worker->db, &n->query, NULL) == 0;
	if (!n->busy)
		db_query_done(&n->query);
}

static void on_timer(struct timer *t)
{
	struct notice *n = container_of(t, struct notice, timer);
	if (n->wanted && !n->busy)
		send_notice(n);
}

static void want(struct notifier *all, enum notice_channel channel)
{
	struct notice *n = &all->notices[channel];
	if (!conf_now()->queue_notify)
		return;
	n->wanted = true;
	arm(n);
}

void notify_done(struct notifier *n)
{
	want(n, NOTICE_DONE);
}

void notify_cache(struct notifier *n)
{
	want(n, NOTICE_CACHE);
}

void notify_targets(struct notifier *n)
{
	want(n, NOTICE_TARGETS);
}

void notify_chunks(struct notifier *n)
{
	want(n, NOTICE_CHUNK);
}

bool notifier_is_idle(const struct notifier *n)
{
	for (size_t i = 0; i < NOTICES; i++)
		if (n->notices[i].busy)
			return false;
	return true;
}

struct notifier *notifier_new(struct worker *w)
{
	struct notifier *all = calloc(1, sizeof *all);
	assert(all);
	for (size_t i = 0; i < NOTICES; i++) {
		struct notice *n = &all->notices[i];
		n->worker = w;
		n->channel = channels[i];
		timer_init(&n->timer, w->loop, on_timer);
	}
	return all;
}

void notifier_free(struct notifier *all)
{
	if (!all)
		return;
	assert(notifier_is_idle(all));
	for (size_t i = 0; i < NOTICES; i++)
		timer_stop(&all->notices[i].timer);
	free(all);
}
