/* SPDX-License-Identifier: Apache-2.0 */
/* What a job will likely cost, before anything is called: a figure for people, never what is charged or held against a limit. Pure. */
#ifndef MR_API_JOBS_ESTIMATE_H
#define MR_API_JOBS_ESTIMATE_H

#include "common/conf.h"
#include "common/request_facts.h"

#define ESTIMATE_OUTPUT 512 /* tokens of output assumed where the request has no limit */

struct estimate {
	int64_t input_tokens; /* four bytes each and a tenth on top */
	int64_t nanousd;      /* one call to the route's first target; -1: its price is unknown */
};

/* Tokens at prices in nano-dollars per million tokens, rounded up; INT64_MAX where it would be more. */
int64_t estimate_cost(int64_t input, int64_t input_price, int64_t output, int64_t output_price);

struct estimate estimate_job(const struct conf_route *route, const struct request_facts *f, const json_t *request, bool embeddings);

#endif
