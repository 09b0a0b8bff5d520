/* SPDX-License-Identifier: Apache-2.0 */
/* From files and options to the body of a submission. */
#ifndef MR_CLI_SUBMIT_INPUT_H
#define MR_CLI_SUBMIT_INPUT_H

#include "cli/options.h"
#include "common/arena.h"
#include "common/json.h"

struct submit_wish {
	const char *prompt, *schema_file, *model, *route, *webhook;
	int64_t max_tokens, priority; /* -1: not given */
	struct cli_list metadata;     /* k=v */
};

struct submit_body {
	struct buf text; /* one job, or one a line; owned */
	size_t jobs;     /* 0: not counted (an NDJSON file) */
	bool is_ndjson;
};

/*
 * names: files, patterns (also quoted ones), "-" for standard input; none: --prompt alone is the job. 0, or an exit
 * status; what is wrong has been said.
 */
int submit_input_read(const struct submit_wish *w, const struct cli_args *names, struct submit_body *ret);

/* The member metadata of an object, from KEY=VALUE each. 0, or an exit status. */
int submit_set_metadata(const char *command, json_t *object, const struct cli_list *pairs, struct arena *a);

#endif
