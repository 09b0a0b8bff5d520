/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `millrace up`, and their help. What they mean is up.c's business; a bad one is refused here, with exit
 * status 2, before anything is touched.
 */
#include "cli/up_options.h"

#include "cli/options.h"

int up_options_parse(struct up_options *o, int argc, char **argv, int *ret_exit)
{
	const struct cli_option options[] = {
		{ .name = "dir",
		  .arg = "DIR",
		  .kind = CLI_STR,
		  .target = &o->dir,
		  .help = "Where everything is kept (.millrace)" },
		{ .name = "listen",
		  .arg = "HOST:PORT",
		  .kind = CLI_STR,
		  .target = &o->listen,
		  .help = "Address of the API (127.0.0.1:8080, or the next free port)" },
		{ .name = "config",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &o->config,
		  .help =
		      "Configuration (default: one is written to DIR/config.json: the server at MILLRACE_BASE_URL,\n"
		      "else OpenAI, Anthropic or Gemini where OPENAI_API_KEY, ANTHROPIC_API_KEY\n"
		      "or GEMINI_API_KEY is set, else the simulator)" },
		{ .name = "apis",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &o->apis,
		  .min = 1,
		  .max = UP_PROCESSES_MAX,
		  .help = "API processes (1); they share the address" },
		{ .name = "workers",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &o->workers,
		  .min = 1,
		  .max = UP_PROCESSES_MAX,
		  .help = "Worker processes (1)" },
		{ .name = "simulator",
		  .kind = CLI_FLAG,
		  .target = &o->simulator,
		  .help = "Use the simulated provider even where a real one is known" },
		{ .name = "ready-file",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &o->ready_file,
		  .help = "Written when everything serves (DIR/ready.json)" },
		{ .name = "sample",
		  .kind = CLI_FLAG,
		  .target = &o->sample,
		  .help = "Run a batch of real documents, and show it" },
		{ .name = "once",
		  .kind = CLI_FLAG,
		  .target = &o->once,
		  .help = "Stop after that; exit status 0 when all of it succeeded" },
		{ .name = "log-file",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &o->log_file,
		  .help = "Where the log goes (on a terminal and with --sample DIR/millrace.log,\n"
		          "else standard error);\n"
		          "PostgreSQL's own is DIR/postgres.log" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "up",
		.usage = "[options]",
		.summary = "Starts everything on this machine: a private PostgreSQL, the API, workers, and a simulated "
		           "provider\n"
		           "where no real one is known. Stops all of it on Ctrl-C and keeps the data.",
		.options = options,
	};
	struct cli_args args;
	return cli_parse(&cmd, argc, argv, &args, ret_exit);
}
