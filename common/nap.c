/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A nap is a timer that is an op: it completes with 0 when the time has passed, with -ERR_CANCELED when canceled
 * before. Nothing can go wrong. Who naps and for how long (back-off, polling) is the caller's business.
 */
#include "common/nap.h"

#include "common/err.h"

static void on_nap_over(struct timer *t)
{
	op_done(&container_of(t, struct nap, timer)->op, 0);
}

static void nap_cancel(struct op *op)
{
	struct nap *n = container_of(op, struct nap, op);
	timer_stop(&n->timer);
	op_done(op, -ERR_CANCELED);
}

void nap_start(struct nap *n, struct loop *l, struct flow *flow, uint64_t ms)
{
	timer_init(&n->timer, l, on_nap_over);
	op_start(&n->op, flow, "a nap", nap_cancel);
	timer_start(&n->timer, ms);
}
