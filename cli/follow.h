/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for jobs and batches, and fetching what came of them: what `watch`, `submit --watch` and `submit --wait`
 * share. */
#ifndef MR_CLI_FOLLOW_H
#define MR_CLI_FOLLOW_H

#include "cli/client.h"
#include "cli/term.h"

struct follow {
	struct client *client; /* borrowed */
	const char *command;   /* for complaints: "submit" */
	const char *label;     /* of the progress line */
	bool quiet;            /* no progress */
	uint64_t deadline_ms;  /* steady clock; 0: none */
};

/* When a command with this --timeout (0: none) gives up. */
uint64_t follow_deadline(int64_t timeout_ms);

/* Until the job or batch has ended. 0: *ret is it (json_decref). Else an exit status; what went wrong has been said.
 * Progress goes to standard error. */
int follow_job(const struct follow *f, struct str id, json_t **ret);
int follow_batch(const struct follow *f, struct str id, json_t **ret);

/* Writes a batch's results as they arrive: readable with `term`, the service's NDJSON to `out` when term is NULL. An
 * exit status. */
int follow_results(struct client *c, const char *command, struct str batch_id, const struct term *term, FILE *out);

#endif
