/* SPDX-License-Identifier: Apache-2.0 */
/* Staying with a batch until it has ended, and fetching what it made: what `batch create`, `batch retry` and `batch output` share. */
#ifndef MR_CLI_BATCH_STAY_H
#define MR_CLI_BATCH_STAY_H

#include "cli/follow.h"

struct batch_stay {
	bool watch, json;
	const char *output, *errors; /* files for the lines that succeeded, and for the others; "-" is standard output; NULL: none */
};

/* The rows of an option table that fill a struct batch_stay (all but json). */
#define BATCH_STAY_OPTIONS(s)                                                                                                 \
	{ .name = "watch", .kind = CLI_FLAG, .target = &(s)->watch, .help = "Stay and show the progress" },                   \
	    { .name = "output",                                                                                               \
	      .arg = "FILE",                                                                                                  \
	      .kind = CLI_STR,                                                                                                \
	      .target = &(s)->output,                                                                                         \
	      .help = "Stay and write the answers there, a line each" },                                                      \
	{                                                                                                                     \
		.name = "errors", .arg = "FILE", .kind = CLI_STR, .target = &(s)->errors, .help = "Stay and write the lines that failed there" \
	}

bool batch_stay_is_wanted(const struct batch_stay *s);

/* Until the batch has ended; its summary goes to standard error. The exit status: 0 when all of it succeeded. */
int batch_stay(const struct batch_stay *s, const struct follow *f, struct str id);

/* Fetches the files of a batch (its object) that has ended, to where s says. An exit status. */
int batch_stay_fetch(const struct batch_stay *s, struct client *c, const char *command, const json_t *batch);

#endif
