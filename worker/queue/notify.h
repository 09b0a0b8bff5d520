/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells other processes that something was written, as hints on channels of PostgreSQL: the first at once, then at most one per NOTIFY_MS and channel. Never
 * inside a transaction of the hot path: a commit with a notice takes a lock that is one for the whole server.
 */
#ifndef MR_WORKER_QUEUE_NOTIFY_H
#define MR_WORKER_QUEUE_NOTIFY_H

#include "worker/worker.h"

#define NOTIFY_MS 5

struct notifier *notifier_new(struct worker *w);
void notifier_free(struct notifier *n);
bool notifier_is_idle(const struct notifier *n);

void notify_done(struct notifier *n);    /* millrace_done: outcomes; to api processes */
void notify_cache(struct notifier *n);   /* millrace_cache: answers that identical jobs wait for, or flights that ended; to workers */
void notify_targets(struct notifier *n); /* millrace_targets: a target's state changed; to workers */
void notify_chunks(struct notifier *n);  /* millrace_chunk: text of followed jobs; to api processes */

#endif
