/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process: claims jobs, runs them (execution/execution.c: read it first), and writes what became of them. `struct worker` is the
 * root from which everything hangs; the parts are
 *
 *   queue/       lease.c this process's row, heartbeats, cancels, the loss of its leases; lanes.c what waits where, and from which virtual time on to
 *                claim, lane_routes.c how much of it can begin; claim.c takes jobs when there are slots for them; record.c the group-commit writer of
 *                outcomes, attempts and jobs given back
 *   execution/   execution.c what happens to a claimed job, step by step; attempt.c one upstream call, live.c its text for those who follow it;
 *                judge.c what comes of it; cache.c answers to identical requests; ladder.c what is served when no target can
 *   targets/     routing.c which target is called; targets.c what is known of each (breaker, keys, latency)
 *   limits/      limiter.c the fleet's limits, leased in slices
 *   providers/   the wire formats
 *   webhooks/    deliveries
 *   upkeep.c     promotes parked jobs, rescues, expires, folds batches, keeps partitions
 *   status.c     /healthz, /readyz and /metrics, where worker.listen names an address
 */
#ifndef MR_WORKER_WORKER_H
#define MR_WORKER_WORKER_H

#include "common/conf.h"
#include "common/db/db.h"
#include "common/hash.h"
#include "common/http/http_client.h"
#include "common/loop.h"
#include "common/http/netguard.h"

struct cache;
struct claimer;
struct lane_routes;
struct lanes;
struct leases;
struct limiter;
struct lives;
struct notifier;
struct recorder;
struct targets;
struct tenants;
struct upkeep;
struct webhooks;

enum worker_state { WORKER_LIVE, WORKER_DRAINING, WORKER_STOPPED };

struct worker {
	struct loop *loop;
	struct db *db;                /* the hot path and the rest */
	struct db_listener *listener; /* NULL: polling only */
	struct http_client *upstream; /* to providers */
	struct http_client *outside;  /* to webhook receivers, behind the guard */
	struct netguard guard;
	struct id id;                 /* new at each boot, and after having been declared dead */
	enum worker_state state;
	struct list jobs;             /* struct job.link: all that this worker has leased */
	struct claimer *claimer;
	struct lanes *lanes;
	struct lane_routes *lane_routes;
	struct leases *leases;
	struct notifier *notifier;
	struct recorder *recorder;
	struct upkeep *upkeep;
	struct cache *cache;
	struct limiter *limiter;
	struct lives *lives;
	struct targets *targets;
	struct tenants *tenants;
	struct webhooks *webhooks;
	uint64_t finished;            /* jobs that ended here since the start */
};

/* Runs a worker process until it is told to stop: the body of `millrace worker`. Returns the exit status. */
int worker_run(const char *config_file, const char *ready_file);

/* Milliseconds with full jitter: a random number in [0, n). */
uint64_t worker_jitter(uint64_t n);

#endif
