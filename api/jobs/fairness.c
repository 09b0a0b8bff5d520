/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual time, kept per tenant, lane and priority. Pure: the clock is a parameter, fair_sync.c brings floors and the
 * other processes' counts. What is lost with the process does no harm: its tenants start again at the floor.
 */
#include "api/jobs/fairness.h"

#include <stdlib.h>
#include <string.h>

#define FORGET_AHEAD ((int64_t)1000 * FAIR_COST) /* so much waiting is forgotten: about what one claim takes */

struct fair_key {
	int64_t tenant_id; /* 0 in floors */
	int32_t lane, priority;
};

struct fair_floor {
	struct link link;
	int64_t floor;
};

static struct str key_str(const struct fair_key *k)
{
	return (struct str){ (const char *)k, sizeof(*k) };
}

void fairness_init(struct fairness *f)
{
	hash_init(&f->by_key);
	hash_init(&f->floors);
	list_init(&f->shares);
	list_init(&f->floor_list);
}

static void share_free(struct fairness *f, struct fair_share *s)
{
	struct fair_key k = { s->tenant_id, s->lane, s->priority };
	hash_remove(&f->by_key, key_str(&k));
	list_remove(&f->shares, &s->link);
	free(s->peers);
	free(s);
}

void fairness_done(struct fairness *f)
{
	LIST_EACH_SAFE(&f->shares, k, next)
	share_free(f, container_of(k, struct fair_share, link));
	LIST_EACH_SAFE(&f->floor_list, k, next)
	{
		list_remove(&f->floor_list, k);
		free(container_of(k, struct fair_floor, link));
	}
	hash_done(&f->by_key);
	hash_done(&f->floors);
}

static int64_t floor_of(const struct fairness *f, int lane, int priority)
{
	struct fair_key k = { 0, lane, priority };
	const struct fair_floor *at = hash_get(&f->floors, key_str(&k));
	return at ? at->floor : 0;
}

void fairness_floor(struct fairness *f, int lane, int priority, int64_t floor)
{
	struct fair_key k = { 0, lane, priority };
	struct fair_floor *at = hash_get(&f->floors, key_str(&k));
	if (!at) {
		at = calloc(1, sizeof(*at));
		assert(at);
		list_push(&f->floor_list, &at->link);
		hash_set(&f->floors, key_str(&k), at);
	}
	at->floor = MAX(at->floor, floor);
}

static struct fair_share *share_of(struct fairness *f, int64_t tenant_id, int lane, int priority)
{
	struct fair_key k = { tenant_id, lane, priority };
	struct fair_share *s = hash_get(&f->by_key, key_str(&k));
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	assert(s);
	s->tenant_id = tenant_id;
	s->lane = lane;
	s->priority = priority;
	list_push(&f->shares, &s->link);
	hash_set(&f->by_key, key_str(&k), s);
	return s;
}

static int64_t step_of(int weight)
{
	return FAIR_COST / (weight > 0 ? weight : 1);
}

int64_t fairness_pass(struct fairness *f, int64_t tenant_id, int weight, int lane, int priority, uint64_t now_ms,
                      int64_t *ret_counted_from)
{
	struct fair_share *s = share_of(f, tenant_id, lane, priority);
	int64_t floor = floor_of(f, lane, priority);
	int64_t step = step_of(weight);
	s->last = MAX(floor, s->last) + step;
	s->work += step;
	s->used_ms = now_ms;
	list_remove(&f->shares, &s->link);
	list_push(&f->shares, &s->link);
	*ret_counted_from = floor;
	return s->last;
}

void fairness_return(struct fairness *f, int64_t tenant_id, int weight, int lane, int priority, int64_t jobs)
{
	struct fair_key k = { tenant_id, lane, priority };
	struct fair_share *s = hash_get(&f->by_key, key_str(&k));
	if (!s) /* forgotten: it starts at the floor anyway */
		return;
	s->last -= jobs * step_of(weight);
	s->work -= jobs * step_of(weight);
}

void fairness_others(struct fairness *f, struct id api_id, int64_t tenant_id, int lane, int priority, int64_t work)
{
	struct fair_key k = { tenant_id, lane, priority };
	struct fair_share *s = hash_get(&f->by_key, key_str(&k));
	if (!s)
		return;
	for (size_t i = 0; i < s->npeers; i++) {
		if (!id_eq(s->peers[i].api_id, api_id))
			continue;
		s->last += MAX((int64_t)0, work - s->peers[i].work);
		s->peers[i].work = work;
		return;
	}
	s->peers = realloc(s->peers, (s->npeers + 1) * sizeof(*s->peers));
	assert(s->peers);
	s->peers[s->npeers++] = (struct fair_peer){ api_id, work };
}

void fairness_forget(struct fairness *f, uint64_t unused_since_ms)
{
	LIST_EACH_SAFE(&f->shares, k, next)
	{
		struct fair_share *s = container_of(k, struct fair_share, link);
		if (s->used_ms >= unused_since_ms)
			return;
		/* What a tenant has waiting is not forgotten: it would start again at the floor, beside its own backlog. */
		if (s->last - floor_of(f, s->lane, s->priority) <= FORGET_AHEAD)
			share_free(f, s);
	}
}
