/* SPDX-License-Identifier: Apache-2.0 */
/* `millrace worker`: the command line of a worker process; its life is in worker/worker.c. */
#include "worker/worker.h"

#include <stdlib.h>

#include "cli/commands.h"
#include "cli/options.h"

int worker_main(int argc, char **argv)
{
	const char *config = getenv("MILLRACE_CONFIG"), *ready_file = NULL;
	const struct cli_option options[] = {
		{ .name = "config", .arg = "FILE", .kind = CLI_STR, .target = &config, .help = "The configuration (MILLRACE_CONFIG)" },
		{ .name = "ready-file", .arg = "FILE", .kind = CLI_STR, .target = &ready_file, .help = "Written once it claims jobs: {\"pid\":…}" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "worker",
		.usage = "[options]",
		.summary = "Runs a worker process: claims jobs and calls providers, until SIGTERM.",
		.details = "Runs in the foreground and logs to standard error (log.format json for a supervisor). SIGTERM drains: running calls get\n"
		           "worker.grace, then their jobs go back to the queue; a second one ends the grace. SIGHUP reads the configuration again.",
		.options = options,
	};
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	return worker_run(config && config[0] ? config : NULL, ready_file);
}
