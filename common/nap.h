/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting a while, as an op. Completes with 0, or -ERR_CANCELED when canceled. */
#ifndef MR_COMMON_NAP_H
#define MR_COMMON_NAP_H

#include "common/flow.h"
#include "common/loop.h"

struct nap {
	struct op op;
	struct timer timer;
};

void nap_start(struct nap *n, struct loop *l, struct flow *flow, uint64_t ms);

#endif
