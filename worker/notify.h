/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells api processes that outcomes were written (channel millrace_done), as a hint: the first at once, then at most one per NOTIFY_MS. Never
 * inside a transaction of the hot path: a commit with a notice takes a lock that is one for the whole server.
 */
#ifndef MR_WORKER_NOTIFY_H
#define MR_WORKER_NOTIFY_H

#include "worker/worker.h"

#define NOTIFY_MS 5

struct notifier *notifier_new(struct worker *w);
void notifier_free(struct notifier *n);
void notify_done(struct notifier *n);
bool notifier_is_idle(const struct notifier *n);

#endif
