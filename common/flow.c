/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner of step tables. flow_run is the only function that calls steps and the only one that moves flow->at; it
 * loops, so that a thousand steps that complete at once use one frame.
 *
 *            flow_start          op_done (nothing running)
 *                │                     │
 *                ▼                     ▼
 *        ┌─▶ start() ── WAIT ──▶ [waiting] ──▶ done(rc) ──┐
 *        │      └── WAIT, but op_done came before ──▲     │
 *        └──────────────── NEXT, JUMP ◀─────────────┴─────┤
 *                                               END ──▶ end(result)
 *
 * What can go wrong is misuse, and asserts say so: a second op while one is in flight, WAIT without an op, an op left
 * behind by a step that goes on. What steps do, and freeing the flow in end(), is left to its owner.
 */
#include "common/flow.h"

#include <string.h>

#include "common/clock.h"
#include "common/err.h"

struct list *flow_live(void)
{
	static struct list live;
	if (!live.head.next)
		list_init(&live);
	return &live;
}

/* Ends the flow; end() may free it. */
static void flow_finish(struct flow *f)
{
	assert(!f->waiting && !f->has_pending);
	f->running = false;
	list_remove(flow_live(), &f->link);
	f->end(f, f->result);
}

static enum flow_next step_start(struct flow *f)
{
	const struct flow_step *step = &f->steps[f->at];
	if (!step->name)
		return flow_fail(f, 0);
	f->history_n++;
	f->history[f->history_n % FLOW_HISTORY] = (uint8_t)f->at;
	f->step_since_ms = clock_mono_ms();
	return step->start(f);
}

static enum flow_next step_done(struct flow *f, int rc)
{
	const struct flow_step *step = &f->steps[f->at];
	if (step->done)
		return step->done(f, rc);
	if (rc >= 0)
		return FLOW_NEXT;
	return flow_fail(f, f->canceled && rc == -ERR_CANCELED ? f->cancel_rc : rc);
}

/* next is what the last start() or done() said. */
static void flow_run(struct flow *f, enum flow_next next)
{
	for (;;) {
		switch (next) {
		case FLOW_WAIT:
			if (!f->has_pending) {
				assert(f->waiting);
				f->running = false;
				return;
			}
			f->has_pending = false;
			next = step_done(f, f->pending_rc);
			continue;
		case FLOW_NEXT:
			f->at++;
			break;
		case FLOW_JUMP:
			f->at = f->next_at;
			break;
		case FLOW_END:
			flow_finish(f);
			return;
		}
		assert(!f->waiting && !f->has_pending);
		next = step_start(f);
	}
}

void flow_start(struct flow *f, const char *kind, const struct flow_step *steps,
                void (*end)(struct flow *f, int result))
{
	*f = (struct flow){ .kind = kind, .steps = steps, .end = end, .running = true, .started_ms = clock_mono_ms() };
	list_push(flow_live(), &f->link);
	flow_run(f, flow_jump(f, 0));
}

enum flow_next flow_jump(struct flow *f, int step)
{
	assert(f->running && step >= 0 && step <= UINT8_MAX);
	f->next_at = step;
	return FLOW_JUMP;
}

enum flow_next flow_fail(struct flow *f, int rc)
{
	f->result = rc;
	return FLOW_END;
}

enum flow_next flow_over(struct flow *f, int rc)
{
	return flow_fail(f, rc);
}

void flow_cancel(struct flow *f, int reason_rc)
{
	assert(reason_rc < 0);
	if (f->canceled)
		return;
	f->canceled = true;
	f->cancel_rc = reason_rc;
	if (f->waiting)
		op_cancel(f->waiting); /* may free the flow */
}

const char *flow_trace(const struct flow *f, char *out, size_t n)
{
	assert(n > 0);
	size_t at = 0;
	uint32_t from = f->history_n > FLOW_HISTORY ? f->history_n - FLOW_HISTORY : 0;
	for (uint32_t i = from + 1; i <= f->history_n; i++) {
		const char *name = f->steps[f->history[i % FLOW_HISTORY]].name;
		size_t len = strlen(name), sep = at ? 1 : 0;
		if (at + sep + len + 1 > n)
			break;
		if (sep)
			out[at++] = '>';
		memcpy(out + at, name, len);
		at += len;
	}
	out[at] = '\0';
	return out;
}

/* --- ops --- */

void op_start(struct op *op, struct flow *flow, const char *waiting_for, void (*cancel)(struct op *op))
{
	assert(!op->active && (flow || op->on_done));
	op->flow = flow;
	op->waiting_for = waiting_for;
	op->since_ms = clock_mono_ms();
	op->cancel = cancel;
	op->active = true;
	if (flow) {
		assert(!flow->waiting && !flow->has_pending);
		flow->waiting = op;
	}
}

void op_done(struct op *op, int rc)
{
	assert(op->active);
	op->active = false;
	struct flow *f = op->flow;
	if (!f) {
		op->on_done(op, rc);
		return;
	}
	assert(f->waiting == op);
	f->waiting = NULL;
	f->pending_rc = rc;
	f->has_pending = true;
	if (f->running)
		return; /* the step has not yet returned: flow_run takes it */
	f->running = true;
	flow_run(f, FLOW_WAIT);
}

void op_cancel(struct op *op)
{
	if (op->active && op->cancel)
		op->cancel(op);
}
