/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-time fair queueing: which place (`pass`) a new job gets in its lane and priority. Each job moves its tenant's
 * virtual time on by FAIR_COST ÷ weight; a tenant that was idle starts at the floor, the virtual time at which claims
 * are now. So a tenant that submits a million jobs delays itself, and the next tenant's first job starts about at once.
 *
 * Every api process counts for itself; fairness_others adds what the other processes gave to the same tenants, some 500
 * ms later.
 */
#ifndef MR_API_JOBS_FAIRNESS_H
#define MR_API_JOBS_FAIRNESS_H

#include "common/hash.h"
#include "common/id.h"
#include "common/list.h"

#define FAIR_COST 1000000

struct fairness {
	struct hash by_key; /* of struct fair_share */
	struct list shares; /* least recently used first */
	struct hash floors;
	struct list floor_list;
};

struct fair_share {
	struct link link;
	int64_t tenant_id;
	int lane, priority;
	int64_t last;   /* the tenant's virtual time here */
	int64_t work;   /* what this process gave, ever */
	int64_t synced; /* how much of it the others know */
	uint64_t used_ms;
	struct fair_peer {
		struct id api_id;
		int64_t work; /* as last seen */
	} * peers;
	size_t npeers;
};

void fairness_init(struct fairness *f);
void fairness_done(struct fairness *f);
/* The place of a new job, and the floor that it was counted from. */
int64_t fairness_pass(struct fairness *f, int64_t tenant_id, int weight, int lane, int priority, uint64_t now_ms,
                      int64_t *ret_counted_from);
/* So many jobs that got places were not submitted after all: what they moved on is taken back. */
void fairness_return(struct fairness *f, int64_t tenant_id, int weight, int lane, int priority, int64_t jobs);
void fairness_floor(struct fairness *f, int lane, int priority, int64_t floor);
/* Another process has given so much in all. The first sight of a process is only noted. */
void fairness_others(struct fairness *f, struct id api_id, int64_t tenant_id, int lane, int priority, int64_t work);
/* Forgets shares that were not used for a while: their tenants start at the floor again, as after any pause. */
void fairness_forget(struct fairness *f, uint64_t unused_since_ms);

#endif
