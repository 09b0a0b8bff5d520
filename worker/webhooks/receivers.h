/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many deliveries each receiver of webhooks may have in flight of one worker process, so that none holds up the others: pure bookkeeping.
 *
 * A receiver (host and port) has three quarters of the slots at most. One that failed RECEIVER_FAILURES times in a row (no answer, or 5xx) has one slot,
 * until it takes a delivery, and all of these together have a quarter of them.
 */
#ifndef MR_WORKER_WEBHOOKS_RECEIVERS_H
#define MR_WORKER_WEBHOOKS_RECEIVERS_H

#include "common/db/db.h"
#include "common/hash.h"

#define RECEIVER_FAILURES 3
#define RECEIVERS_MAX     4096   /* are remembered while nothing is in flight to them, */
#define RECEIVER_IDLE_MS  600000 /* for so long */

struct receiver; /* owned by its receivers */

struct receivers {
	struct hash by_name;
	int slots;   /* deliveries of the process in flight at most: webhook.concurrency */
	int failing; /* in flight to receivers that fail */
};

void receivers_init(struct receivers *r, int slots);
void receivers_done(struct receivers *r);
/* The setting may change at any time, also to less than is in flight. */
void receivers_set_slots(struct receivers *r, int slots);

/* How many more may begin; 0: none. */
int receivers_room(const struct receivers *r, struct str name);
/* One more is in flight. The result goes to receivers_end. */
struct receiver *receivers_begin(struct receivers *r, struct str name);
enum receiver_end { RECEIVER_TOOK, RECEIVER_FAILED, RECEIVER_UNKNOWN }; /* unknown: given up by us */
void receivers_end(struct receivers *r, struct receiver *one, enum receiver_end end, uint64_t now_ms);
/* Forgets those with nothing in flight since RECEIVER_IDLE_MS. */
void receivers_forget(struct receivers *r, uint64_t now_ms);

/* A receiver fails or has no room: deliveries must be taken by receiver, not as they came due. */
bool receivers_are_uneven(const struct receivers *r);
/* Adds those that may have fewer than `most` more, and how many, to two arrays (text, int4). */
void receivers_list(const struct receivers *r, int most, struct db_array *names, struct db_array *rooms);

#endif
