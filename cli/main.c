/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: a table of subcommands and a dispatcher. `millrace CMD …` runs one with argv[0] being its name;
 * `millrace help CMD` is `millrace CMD --help`; an unknown word gets the nearest one suggested and the exit status of a
 * wrong command line.
 *
 * The commands live in their own files and rooms; they return exit statuses of cli/exit.h.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/migrate.h"
#include "cli/options.h"
#include "cli/simulator/simulator.h"
#include "cli/up.h"
#include "common/base.h"

static int version_main(int argc, char **argv);
static int help_main(int argc, char **argv);

static const struct command {
	const char *name, *summary;
	int (*fn)(int argc, char **argv);
	bool hidden;
} commands[] = {
	{ "up", "Start all of it here: database, API, worker, simulated provider", up_main, false },
	{ "api", "Run an API process", api_main, false },
	{ "worker", "Run a worker process", worker_main, false },
	{ "migrate", "Bring the database's schema up to date", migrate_main, false },
	{ "simulator", "Run a simulated provider", simulator_main, false },
	{ "drill", "Take the routes through outages, on simulated targets", drill_main, false },
	{ "check-config", "Read a configuration and name every mistake", check_config_main, false },
	{ "docs", "Print a page: settings, errors, metrics, schema, openapi", docs_main, false },
	{ "key", "Create, list and revoke API keys", key_main, false },
	{ "submit", "Submit jobs: one, a file each, or a whole NDJSON file", submit_main, false },
	{ "jobs", "List, show, cancel and retry jobs", jobs_main, false },
	{ "batch", "Make, show, cancel and retry batches, get their results", batch_main, false },
	{ "files", "Upload, list, download and delete files", files_main, false },
	{ "sample", "Run a batch of real documents through the service", sample_main, false },
	{ "watch", "Follow a job or a batch until it ends", watch_main, false },
	{ "targets", "Show, pause, resume, drain and reset the providers' targets", targets_main, false },
	{ "cache", "Count and clear kept answers", cache_main, false },
	{ "version", "Print the version", version_main, false },
	{ "help", "Show this, or the help of a command", help_main, true },
};

static int version_main(int argc, char **argv)
{
	const struct cli_command cmd = { .name = "version", .usage = "", .summary = "Prints the version." };
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	printf("millrace %s\n", MR_VERSION);
	return CLI_EXIT_OK;
}

static void print_overview(FILE *out)
{
	fprintf(out, "Millrace: a durable queue for calls to language models.\n\nUsage: millrace COMMAND "
	             "[options]\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!commands[i].hidden)
			fprintf(out, "  %-14s%s\n", commands[i].name, commands[i].summary);
	fprintf(out, "\n`millrace help COMMAND` shows a command's options, `millrace help exit-codes`\n"
	             "what its exit status means.\n"
	             "First steps: `millrace up`, then `millrace submit --prompt 'Say hello' --wait`.\n");
}

static int print_exit_codes(void)
{
	printf("Exit statuses of all commands:\n\n");
#define PRINT_EXIT(name, status, text) printf("  %d  %s\n", status, text);
	CLI_EXITS(PRINT_EXIT)
#undef PRINT_EXIT
	return CLI_EXIT_OK;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[ARRAY_LEN(commands)];
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	const char *best = cli_nearest(str_from(name), names, ARRAY_LEN(names));
	fprintf(stderr, "millrace: there is no command \"%s\"", name);
	if (best)
		fprintf(stderr, "; did you mean \"%s\"?", best);
	fprintf(stderr, "\nTry: millrace help\n");
	return CLI_EXIT_USAGE;
}

static int help_main(int argc, char **argv)
{
	static char option[] = "--help";
	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		print_overview(stdout);
		return CLI_EXIT_OK;
	}
	if (strcmp(argv[1], "exit-codes") == 0)
		return print_exit_codes();
	const struct command *c = find_command(argv[1]);
	if (!c)
		return unknown_command(argv[1]);
	/* `help jobs list` too: the rest of the line, then --help. */
	char *line[8];
	int n = 0;
	for (int i = 1; i < argc && n < (int)ARRAY_LEN(line) - 2; i++)
		line[n++] = argv[i];
	line[n++] = option;
	line[n] = NULL;
	return c->fn(n, line);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_overview(stderr);
		return CLI_EXIT_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	const struct command *c = find_command(name);
	return c ? c->fn(argc - 1, argv + 1) : unknown_command(name);
}
