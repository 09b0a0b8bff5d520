/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's own small HTTP face for supervisors and Prometheus: /healthz, /readyz, /metrics at worker.listen. */
#ifndef MR_WORKER_STATUS_H
#define MR_WORKER_STATUS_H

#include "common/err.h"
#include "common/str.h"
#include "worker/worker.h"

struct arena;
struct status;

/* *ret is NULL when worker.listen is empty. A port that cannot be opened is an error. */
int status_start(struct worker *w, struct status **ret, struct err *err);
/* Where it listens: http://host:port, or unix:/path. */
struct str status_url(const struct status *s, struct arena *a);
/* on_closed comes also for NULL. */
void status_free(struct status *s, void (*on_closed)(void *arg), void *arg);

#endif
