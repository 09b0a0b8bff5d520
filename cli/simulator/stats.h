/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulator saw: totals by model, key, status and tag, and the last STATS_CALLS calls as compact records, so
 * that a test can count the upstream calls of each of its jobs. Memory is bounded: names beyond a limit are counted as
 * "other".
 */
#ifndef MR_CLI_SIMULATOR_STATS_H
#define MR_CLI_SIMULATOR_STATS_H

#include "common/crypto.h"
#include "common/hash.h"
#include "common/json.h"

#define STATS_CALLS    100000
#define STATS_NAME_MAX 64

struct stats_counts {
	struct hash by_name; /* → struct stats_count, owned */
	size_t max;
};

struct stats_call {
	uint64_t seq; /* 1, 2, …; 0: never used */
	int64_t start_ms;
	uint64_t bytes;      /* of the answer's body */
	uint32_t body_bytes; /* of the request's body */
	uint16_t status;     /* 0: no answer yet, or none at all */
	bool ended, canceled;
	uint8_t sha256[SHA256_LEN];
	char model[STATS_NAME_MAX], tag[STATS_NAME_MAX];
};

struct stats {
	uint64_t calls, in_flight, peak_in_flight, seq;
	uint64_t by_status[600];
	struct stats_counts by_model, by_key, by_tag;
	struct stats_call *ring; /* owned; a place per sequence number modulo STATS_CALLS */
};

void stats_init(struct stats *s);
void stats_done(struct stats *s);
void stats_reset(struct stats *s); /* calls in flight stay in flight */

/* One call began; its sequence number. The key is shown shortened. */
uint64_t stats_begin(struct stats *s, struct str model, struct str key, struct str tag, struct str body,
                     int64_t wall_ms);
/* …and ended: status 0 when no head was sent. */
void stats_end(struct stats *s, uint64_t seq, int status, uint64_t bytes, bool canceled);

int stats_write(struct stats *s, struct buf *out);
/* The newest `limit` records with that tag (any, when p is NULL), oldest first. */
int stats_write_calls(struct stats *s, struct buf *out, size_t limit, struct str tag);

#endif
