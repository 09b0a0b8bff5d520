/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `millrace up`. */
#ifndef MR_CLI_UP_OPTIONS_H
#define MR_CLI_UP_OPTIONS_H

#include "common/base.h"

#define UP_PROCESSES_MAX 64

struct up_options {
	const char *dir, *listen, *config, *ready_file, *log_file;
	int64_t apis, workers;
	bool simulator, sample, once;
};

/* Defaults are in *o already. False: *ret_exit is the exit status (help was printed, or a mistake named). */
int up_options_parse(struct up_options *o, int argc, char **argv, int *ret_exit);

#endif
