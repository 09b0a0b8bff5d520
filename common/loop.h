/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of a process: libuv, signals, timers, and orderly stop. One loop per process, more processes for more cores.
 */
#ifndef MR_COMMON_LOOP_H
#define MR_COMMON_LOOP_H

#include <uv.h>

#include "common/list.h"

struct loop {
	uv_loop_t uv;
	uint64_t turns;       /* grows once per turn; heartbeats carry it */
	uv_check_t check;
	uv_timer_t lag_timer; /* measures METRIC_LOOP_LAG each second; unref'ed */
	uint64_t lag_due_ns;
	/* private */
	uv_timer_t heap_timer; /* for the first timer of the heap */
	struct timer **heap;   /* owned; a binary heap by due_ms */
	size_t heap_n, heap_cap;
	uint64_t armed_ms;     /* when heap_timer goes off; 0 when stopped */
	struct list soons;     /* struct soon.link */
	uv_prepare_t prepare;
	uv_idle_t idle;        /* active while soons wait */
	struct list signals;
};

struct timer;

void loop_init(struct loop *l);
/* Runs until nothing is left or loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* After every owner has closed its handles. Aborts in test builds when a handle is still open. */
void loop_done(struct loop *l);
uint64_t loop_now_ms(struct loop *l); /* the steady time of this turn */

/* A one-shot timer embedded in its owner. A started timer fires once; starting again moves it. timer_stop is idempotent. No close is
 * needed: all timers of a loop share one uv timer and a heap. */
struct timer {
	struct loop *loop;
	uint64_t due_ms; /* steady clock; 0 when not armed */
	size_t at;       /* place in the heap + 1; 0 when not armed */
	void (*fn)(struct timer *t);
};
void timer_init(struct timer *t, struct loop *l, void (*fn)(struct timer *t));
void timer_start(struct timer *t, uint64_t after_ms);
void timer_stop(struct timer *t);
bool timer_is_armed(const struct timer *t);

/* Calls fn(arg) at the next turn, in order; may be called from anywhere on the loop's thread. */
struct soon {
	struct link link;
	void (*fn)(struct soon *s);
};
void loop_soon(struct loop *l, struct soon *s); /* idempotent while queued */
void loop_soon_cancel(struct loop *l, struct soon *s);

/* Signals: fn is called on the loop. They do not keep loop_run going. */
int loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg);
void loop_signals_done(struct loop *l);

#endif
