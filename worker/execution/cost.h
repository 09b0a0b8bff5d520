/* SPDX-License-Identifier: Apache-2.0 */
/* Money and estimates of tokens: integers only. */
#ifndef MR_WORKER_EXECUTION_COST_H
#define MR_WORKER_EXECUTION_COST_H

#include "common/conf.h"
#include "worker/job.h"

/* Output tokens assumed of a call that was cut before anything came, when the request names no max_tokens. */
#define COST_OUTPUT_GUESS 512

/* Nano-dollars, rounded half up once; -1: a price that is needed is unknown. Cached input without a price of its own costs as input. */
int64_t cost_of(const struct usage *u, const struct conf_price *p);

/* a + b where -1 means unknown: unknown with anything is unknown. */
int64_t cost_add(int64_t a, int64_t b);

/* Tokens in so many bytes of text: 4 bytes each, and 10 % on top, rounded up. */
int64_t cost_tokens_of_bytes(int64_t bytes);

#endif
