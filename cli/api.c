/* SPDX-License-Identifier: Apache-2.0 */
/* `millrace api`: the command line of an api process; its life is in api/api.c. */
#include "api/api.h"

#include <stdlib.h>

#include "cli/commands.h"
#include "cli/options.h"

int api_main(int argc, char **argv)
{
	const char *config = getenv("MILLRACE_CONFIG"), *listen = NULL, *ready_file = NULL;
	const struct cli_option options[] = {
		{ .name = "config",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &config,
		  .help = "The configuration (MILLRACE_CONFIG)" },
		{ .name = "listen",
		  .arg = "ADDRESS",
		  .kind = CLI_STR,
		  .target = &listen,
		  .help = "host:port or unix:/path; before server.listen" },
		{ .name = "ready-file",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &ready_file,
		  .help = "Written once it serves: {\"pid\":…,\"url\":…}" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "api",
		.usage = "[options]",
		.summary = "Runs an API process: takes jobs and answers for them, until SIGTERM.",
		.details = "Runs in the foreground and logs to standard error. Any number of them may share one "
		           "database, and one port of one machine.\n"
		           "SIGTERM drains: running requests get server.grace; a second one ends it. SIGHUP reads the "
		           "configuration again.",
		.options = options,
	};
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	return api_run(config && config[0] ? config : NULL, listen && listen[0] ? listen : NULL, ready_file);
}
