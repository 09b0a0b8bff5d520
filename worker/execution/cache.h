/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers kept for identical requests (table cache_entry), and jobs that wait for an identical one which is being answered (cache_flight), over all
 * workers. Questions of one turn of the loop go to the database together; identical ones of this process are asked once.
 *
 *   ask ──▶ HIT    the answer is there
 *       ──▶ LEAD   this job is to get it: it ends by record_end with job_end.cache set (entry and flight's end are part of the outcome's
 *                  statement), or by cache_give_up
 *       ──▶ WAIT   another one is getting it: cache asks again at a notice (millrace_cache) and every CACHE_LOOK_MS, until it is HIT or LEAD, or
 *                  max_wait_ms passed
 */
#ifndef MR_WORKER_EXECUTION_CACHE_H
#define MR_WORKER_EXECUTION_CACHE_H

#include "common/conf.h"
#include "common/flow.h"
#include "worker/job.h"
#include "worker/worker.h"

#define CACHE_LOOK_MS   100
#define CACHE_FLIGHT_MS 120000 /* a flight whose worker lives is taken over after so long without an outcome */

struct cache;
struct cache_group;
struct cache *cache_new(struct worker *w);
void cache_free(struct cache *c); /* nothing may be asked */
bool cache_is_idle(const struct cache *c);
void cache_hint(struct cache *c); /* a notice (channel millrace_cache): entries were written or flights ended */
/* Entries were written by this worker: tells the others. */
void cache_written(struct cache *c);

enum cache_answer { CACHE_HIT, CACHE_LEAD, CACHE_WAIT_OVER };

struct cache_op {
	struct op op;
	struct link link;         /* in its group */
	struct cache_group *group;
	struct job *job;
	uint64_t until_ms;
	bool waited;              /* for a flight */
	/* The answer, after completion with 0: */
	enum cache_answer answer;
	bool shared;              /* of HIT: it waited for a flight */
	struct str body, target;  /* of HIT: in the job's arena */
};

/* What the record statement writes for a leader; in the job's arena. */
struct cache_write {
	uint8_t key[32];
	struct str namespace, route;
	int64_t ttl_ms, stale_ms;
};

/*
 * SHA-256 over the namespace (the tenant's own, or the route's), kind, route, the models of its targets, and the canonical request: members sorted, those
 * equal to their defaults, `user`, `metadata`, `stream`, `stream_options`, `store`, `service_tier`, `safety_identifier` and `prompt_cache_key` left out, whole numbers written as such. 0, or -ERR_TOO_LARGE.
 */
int cache_key(const struct conf_route *route, int64_t tenant_id, enum job_kind kind, const json_t *request, uint8_t ret[32]);

/* Completes with 0 (see answer), -ERR_CANCELED, or a failure of the database: then the job goes on without the cache. */
void cache_ask(struct cache *c, struct cache_op *op, struct job *j, const uint8_t key[32], int64_t max_wait_ms, struct flow *flow);
/* Only whether there is one, even past its ttl: for the ladder. HIT or WAIT_OVER. */
void cache_ask_stale(struct cache *c, struct cache_op *op, struct job *j, const uint8_t key[32], struct flow *flow);
/* A leader will not bring the answer (it failed, waits, or is given back): the next one leads. Needs no answer. */
void cache_give_up(struct cache *c, struct job *j, const uint8_t key[32]);

#endif
