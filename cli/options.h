/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines from a table. A command describes its options once; parsing, the checks and the --help text come from it.
 *
 *	const struct cli_option options[] = {
 *		{ .name = "url", .arg = "URL", .kind = CLI_STR, .target = &url, .help = "Where the service is" },
 *		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print JSON" },
 *		{ .name = NULL },
 *	};
 *	const struct cli_command cmd = { .name = "watch", .usage = "ID [options]", .summary = "…", .options = options,
 *		.min_args = 1, .max_args = 1 };
 *	if (!cli_parse(&cmd, argc, argv, &args, &rc))
 *		return rc;
 *
 * argv[0] is the command's own name. Options may stand anywhere: --name VALUE, --name=VALUE; the last of a repeated one
 * counts (CLI_LIST keeps all); -- ends them; a lone - is an argument. --help and -h are always there.
 */
#ifndef MR_CLI_OPTIONS_H
#define MR_CLI_OPTIONS_H

#include "common/str.h"

#define CLI_LIST_MAX 64

struct cli_list {
	const char *v[CLI_LIST_MAX]; /* borrowed from argv */
	size_t n;
};

enum cli_option_kind {
	CLI_FLAG, /* bool *: set to true */
	CLI_STR,  /* const char **: borrowed from argv */
	CLI_INT,  /* int64_t *: decimal, within min..max */
	CLI_MS,   /* int64_t *: a duration ("30s", "2h"; a bare number is seconds) in milliseconds, within min..max */
	CLI_LIST, /* struct cli_list *: may be repeated */
};

struct cli_option {
	const char *name; /* without the dashes; NULL ends the table */
	const char *arg;  /* what the help calls the value; NULL for CLI_FLAG */
	enum cli_option_kind kind;
	void *target;     /* keeps its value when the option is not given: set the default there */
	int64_t min, max; /* of CLI_INT and CLI_MS */
	const char *help; /* may hold line feeds */
};

struct cli_command {
	const char *name;                 /* "jobs list" */
	const char *usage;                /* what follows the name: "[FILES] [options]" */
	const char *summary;              /* one sentence */
	const char *details;              /* paragraphs and examples after the options, or NULL */
	const struct cli_option *options; /* NULL: none but --help */
	size_t min_args, max_args;        /* positional arguments */
};

struct cli_args {
	char **v; /* borrowed: the positional arguments, moved to the front of argv */
	size_t n;
};

/*
 * True: go on, ret_args is set. False: leave with *ret_exit: 0 after --help (printed on standard output), 2 after a
 * mistake (said on standard error).
 */
bool cli_parse(const struct cli_command *cmd, int argc, char **argv, struct cli_args *ret_args, int *ret_exit);

/* A command of commands ("jobs list"): runs the one that argv[1] names, with argv[0] being its name. */
struct cli_sub {
	const char *name, *summary;
	int (*fn)(int argc, char **argv);
};
int cli_dispatch(const char *name, const char *summary, const struct cli_sub *subs, size_t n, int argc, char **argv);

/* "millrace NAME: text" and a line that names --help on standard error; returns the exit status for a wrong command
 * line. */
int cli_usage_error(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The candidate nearest to word, or NULL when none is near enough to suggest (an edit distance over a third of the
 * length). */
const char *cli_nearest(struct str word, const char *const *candidates, size_t n);

#endif
