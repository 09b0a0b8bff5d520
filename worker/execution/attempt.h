/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One upstream call for a job: builds the request by the target's wire format, sends it, watches the first token and the total
 * time, and makes the attempt row with usage and cost. It judges nothing: execution.c does, with judge.c.
 */
#ifndef MR_WORKER_EXECUTION_ATTEMPT_H
#define MR_WORKER_EXECUTION_ATTEMPT_H

#include "common/http/http_client.h"
#include "worker/job.h"
#include "worker/providers/provider.h"

struct attempt {
	struct op op;                  /* completes with 0 (see row and result), or -ERR_CANCELED after a cancel (row is set, too) */
	struct job *job;
	const struct conf_target *target;
	const struct provider *provider;
	struct provider_ask ask;
	struct provider_request request;
	struct provider_call *call;
	struct http_call http;
	struct timer first_token, linger;
	struct provider_result result; /* valid after completion; result.result is owned by the attempt until attempt_done */
	struct attempt_row *row;       /* in the job's arena; not yet in job.unwritten */
	uint64_t first_token_ns;       /* 0: none came */
	bool head_given, first_token_late, canceled;
	int64_t request_bytes, answer_bytes, asked_output;
};

/*
 * Starts call number `number` of this lease; max_output > 0: it was shortened to so many tokens. 0: started, one completion comes. Negative: the request cannot be made for this target (err
 * says why; the class is the code), nothing was sent and none comes.
 */
int attempt_start(struct attempt *a, struct job *j, const struct conf_target *target, const json_t *request, int number,
                  int64_t max_output, struct flow *flow, struct err *err);
/* How long a call to this target may last at the most. */
int64_t attempt_total_ms(const struct conf_target *target);
/* Frees what the attempt owns. Safe on a zeroed one. */
void attempt_done(struct attempt *a);

#endif
