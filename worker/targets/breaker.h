/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a breaker, pure: which answers count, when it opens, what an open one says, and the breaker that a process has for itself where the
 * fleet's (table target_state) does not know yet or cannot be reached. Times are the steady clock's, in ms.
 */
#ifndef MR_WORKER_TARGETS_BREAKER_H
#define MR_WORKER_TARGETS_BREAKER_H

#include "common/err.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN }; /* as in target_state.breaker */

/* The settings breaker.* */
struct breaker_rules {
	bool enabled;
	int64_t failures, percent, calls, errors, open_ms, open_max_ms, successes;
};
struct breaker_rules breaker_rules(void); /* of the running configuration */

/* What an answer says of the target. Nothing: our own cancel, rate limits, refusals of this request. */
enum breaker_word { BREAKER_SAYS_NOTHING, BREAKER_SAYS_GOOD, BREAKER_SAYS_BAD };
enum breaker_word breaker_word(enum err_code class, int http_status, bool canceled);

/* The failures of some calls in their order. */
struct breaker_run {
	int head;         /* failures before the first success; all where there was none */
	bool has_success;
	int peak;         /* the longest row after the first success */
	int tail;         /* the row at the end */
};
void breaker_run_add(struct breaker_run *r, bool good);
int breaker_run_row(int before, const struct breaker_run *r); /* failures in a row at its end, where `before` stood at its begin */

/* The calls of the last minute (or since it closed), and the failures of breaker.errors_in. */
struct breaker_window {
	int64_t calls, failures, errors;
};
bool breaker_rates_say_open(const struct breaker_rules *rules, const struct breaker_window *w);

/* This process's own. Zeroed: closed. */
struct breaker_local {
	enum breaker_state state;
	uint64_t until_ms; /* of an open one: then one call may try */
	int64_t open_ms;
	int successes;
};
/* random: any number, for ±10 % of jitter. Opens a closed one; doubles the time of one whose probe failed. */
void breaker_local_open(struct breaker_local *l, const struct breaker_rules *rules, uint64_t now_ms, uint64_t random);
/* A probe begins: an open one that is due is half-open from now on. */
void breaker_local_probe(struct breaker_local *l);
/* The probe succeeded: true when that closed it. */
bool breaker_local_good(struct breaker_local *l, const struct breaker_rules *rules);

/* Milliseconds until a probe may go; 0: now; -1: it is closed. */
int64_t breaker_wait_ms(enum breaker_state state, uint64_t until_ms, uint64_t now_ms);

#endif
