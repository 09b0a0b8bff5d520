/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits that a rule enforces: requests and tokens within any minute that slides, and calls in flight. A meter
 * belongs to a rule's pattern and outlives changes of the script, so that a new script gives no new allowance. What is
 * refused is not counted. Bounded: METER_LOG_MAX calls per minute, METERS_MAX patterns.
 */
#ifndef MR_CLI_SIMULATOR_METER_H
#define MR_CLI_SIMULATOR_METER_H

#include "cli/simulator/script.h"
#include "common/hash.h"

#define METER_WINDOW_MS 60000
#define METER_LOG_MAX   100000
#define METERS_MAX      1000

struct meter_entry {
	uint64_t ms;
	int64_t tokens;
};

struct meter {
	struct meter_entry *log; /* owned; a ring, oldest at `from` */
	size_t from, n, max;
	int64_t tokens;
	uint64_t in_flight;
};

struct meters {
	struct hash by_pattern; /* → struct meter, owned */
};

enum meter_limit { METER_OK, METER_REQUESTS, METER_TOKENS, METER_IN_FLIGHT };

void meters_init(struct meters *m);
void meters_done(struct meters *m);
/* The rule's meter; NULL when it enforces nothing. */
struct meter *meters_get(struct meters *m, const struct rule *r);

/* Counts the call, unless it is over a limit; then *ret_wait_ms says when such a call would be good again (at least 1).
 * meter_leave when an admitted call ended. */
enum meter_limit meter_enter(struct meter *m, const struct rule *r, int64_t tokens, uint64_t now_ms,
                             uint64_t *ret_wait_ms);
void meter_leave(struct meter *m);
/* How long until the window is empty; 0 when it is. */
uint64_t meter_reset_ms(struct meter *m, uint64_t now_ms);

#endif
