/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flow is long work as a table of named steps and one loop. The table is the only place where order is written.
 *
 *   start  begins an operation and says FLOW_NEXT (nothing to wait for), FLOW_WAIT (an op was started), FLOW_JUMP (flow_jump
 *          was called) or FLOW_END (flow_fail or done);
 *   done   takes the result of the op that start began. NULL: a negative result ends the flow with it, else the next step.
 *
 *                 start() ── NEXT ─────────────────┐
 *     step n ───▶   │ WAIT                         ├──▶ step n+1 (or the step of flow_jump) ──▶ … ──▶ end(flow, result)
 *                   └──▶ op_done(op, rc) ─▶ done() ┘
 *
 * Rules: exactly one completion per started op, also after cancel; an error return of a starter means none. op_done is the last
 * line of a callback: the flow may free the object. Instant completion loops, never recurses. Cancel, deadline, lost lease and
 * drain all enter by flow_cancel. No flow ends inside a curl or llhttp callback.
 */
#ifndef MR_COMMON_FLOW_H
#define MR_COMMON_FLOW_H

#include "common/list.h"

struct flow;
struct loop;

enum flow_next { FLOW_NEXT, FLOW_WAIT, FLOW_JUMP, FLOW_END };

struct flow_step {
	const char *name;
	enum flow_next (*start)(struct flow *f);
	enum flow_next (*done)(struct flow *f, int rc);
};

/* The base of everything awaited; embedded first in db_query, http_call, nap, … */
struct op {
	struct flow *flow;              /* whom op_done resumes; NULL: on_done is called instead */
	void (*on_done)(struct op *op, int rc); /* for users outside a flow */
	const char *waiting_for;        /* text for /admin/v1/debug */
	uint64_t since_ms;
	void (*cancel)(struct op *op);  /* asks for an early completion with -ERR_CANCELED; may complete at once */
	bool active;
};

/* Marks op as started; op belongs to the flow's current step (flow != NULL) or completes by on_done. */
void op_start(struct op *op, struct flow *flow, const char *waiting_for, void (*cancel)(struct op *op));
/* Completes it, exactly once. The last line of a callback. */
void op_done(struct op *op, int rc);
/* Asks it to end early; nothing when not active. */
void op_cancel(struct op *op);

#define FLOW_HISTORY 16

struct flow {
	const struct flow_step *steps;
	void (*end)(struct flow *f, int result); /* the flow is over; may free it */
	const char *kind;    /* "job", "webhook", … */
	struct link link;    /* in the process's list of live flows */
	struct op *waiting;  /* the op in flight, or NULL */
	int at;              /* index of the current step */
	int next_at;         /* where FLOW_JUMP goes */
	int result;          /* what end gets */
	int pending_rc;      /* of a completion that came before start returned */
	bool has_pending, running, canceled;
	int cancel_rc;       /* why: -ERR_CANCELED, -ERR_LEASE_LOST, -ERR_EXPIRED, -ERR_DRAINING */
	uint8_t history[FLOW_HISTORY]; /* the last steps, newest at history_n % FLOW_HISTORY */
	uint32_t history_n;
	uint64_t started_ms, step_since_ms;
};

/* Starts at step 0. steps ends with a row whose name is NULL; running past it ends the flow with result 0. */
void flow_start(struct flow *f, const char *kind, const struct flow_step *steps, void (*end)(struct flow *f, int result));
/* Inside start or done: go to this step. Returns FLOW_JUMP. */
enum flow_next flow_jump(struct flow *f, int step);
/* Inside start or done: end with rc. Returns FLOW_END. */
enum flow_next flow_fail(struct flow *f, int rc);
enum flow_next flow_over(struct flow *f, int rc); /* a `done` that just ends with rc */
/* Cancels the op in flight; the current step's done gets the op's result and can see flow->canceled. A flow that waits for
 * nothing (it is being run) is told by the flag. Only the first call's reason counts. */
void flow_cancel(struct flow *f, int reason_rc);
/* The last steps as "load>cache>call", newest last. */
const char *flow_trace(const struct flow *f, char *out, size_t n);

/* All live flows of the process, for the debug page and for drain. */
struct list *flow_live(void);

/* Waits a while, as an op. */
struct nap;

#endif
