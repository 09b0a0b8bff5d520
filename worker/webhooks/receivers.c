/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receiver is remembered while something is in flight to it, and, if its last delivery failed, for some time after that. One that was forgotten is found
 * out again by RECEIVER_FAILURES tries.
 */
#include "worker/webhooks/receivers.h"

#include <stdlib.h>
#include <string.h>

struct receiver {
	char *name; /* owned */
	size_t name_n;
	int in_flight, fails;
	uint64_t ended_ms; /* the last one that was in flight */
};

static struct str name_of(const struct receiver *one)
{
	return (struct str){ one->name, one->name_n };
}

static bool is_failing(const struct receiver *one)
{
	return one->fails >= RECEIVER_FAILURES;
}

static void forget(struct receivers *r, struct receiver *one)
{
	hash_remove(&r->by_name, name_of(one));
	free(one->name);
	free(one);
}

void receivers_init(struct receivers *r, int slots)
{
	*r = (struct receivers){ .slots = slots };
	hash_init(&r->by_name);
}

void receivers_done(struct receivers *r)
{
	size_t at = 0;
	struct str name;
	void *one;
	while (hash_next(&r->by_name, &at, &name, &one))
		forget(r, one);
	hash_done(&r->by_name);
}

void receivers_set_slots(struct receivers *r, int slots)
{
	r->slots = slots;
}

static int room_of(const struct receivers *r, const struct receiver *one)
{
	if (one && is_failing(one))
		return one->in_flight == 0 && r->failing < MAX(r->slots / 4, 1) ? 1 : 0;
	int share = MAX(r->slots * 3 / 4, 1);
	return MAX(share - (one ? one->in_flight : 0), 0);
}

int receivers_room(const struct receivers *r, struct str name)
{
	return room_of(r, hash_get(&r->by_name, name));
}

/* Makes room for one more that is remembered. */
static void forget_idle(struct receivers *r)
{
	size_t at = 0;
	struct str name;
	void *value;
	while (r->by_name.n >= RECEIVERS_MAX && hash_next(&r->by_name, &at, &name, &value)) {
		struct receiver *one = value;
		if (one->in_flight == 0)
			forget(r, one);
	}
}

struct receiver *receivers_begin(struct receivers *r, struct str name)
{
	struct receiver *one = hash_get(&r->by_name, name);
	if (!one) {
		forget_idle(r);
		one = calloc(1, sizeof(*one));
		assert(one);
		one->name = malloc(name.n + 1);
		assert(one->name);
		memcpy(one->name, name.p, name.n);
		one->name_n = name.n;
		hash_set(&r->by_name, name, one);
	}
	one->in_flight++;
	r->failing += is_failing(one);
	return one;
}

void receivers_end(struct receivers *r, struct receiver *one, enum receiver_end end, uint64_t now_ms)
{
	bool was_failing = is_failing(one);
	assert(one->in_flight > 0);
	r->failing -= was_failing;
	one->in_flight--;
	one->ended_ms = now_ms;
	if (end == RECEIVER_TOOK)
		one->fails = 0;
	else if (end == RECEIVER_FAILED && one->fails < RECEIVER_FAILURES)
		one->fails++;
	/* What else is in flight to it changes sides with it. */
	r->failing += (is_failing(one) - was_failing) * one->in_flight;
	if (one->in_flight == 0 && one->fails == 0)
		forget(r, one);
}

void receivers_forget(struct receivers *r, uint64_t now_ms)
{
	size_t at = 0;
	struct str name;
	void *value;
	while (hash_next(&r->by_name, &at, &name, &value)) {
		struct receiver *one = value;
		if (one->in_flight == 0 && now_ms - one->ended_ms >= RECEIVER_IDLE_MS)
			forget(r, one);
	}
}

bool receivers_are_uneven(const struct receivers *r)
{
	size_t at = 0;
	struct str name;
	void *value;
	while (hash_next(&r->by_name, &at, &name, &value))
		if (is_failing(value) || room_of(r, value) == 0)
			return true;
	return false;
}

void receivers_list(const struct receivers *r, int most, struct db_array *names, struct db_array *rooms)
{
	size_t at = 0;
	struct str name;
	void *value;
	while (hash_next(&r->by_name, &at, &name, &value)) {
		int room = room_of(r, value);
		if (room >= most)
			continue;
		db_array_text(names, name);
		db_array_i32(rooms, room);
	}
}
