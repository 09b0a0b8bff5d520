/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's parser: one pass over argv that sets each option's target and moves the positional arguments to
 * the front. Mistakes (an unknown option with the nearest known one, a missing value, a number out of range, too few or
 * too many arguments) are said on standard error in one line, with a second that points to --help; nothing is run then.
 */
#include "cli/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/exit.h"
#include "cli/term.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/nearest.h"

#define HELP_COLUMN 26
#define HELP_WIDTH  80

static int usage_error(const char *name, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
static int usage_error(const char *name, const char *fmt, va_list ap)
{
	fprintf(stderr, "millrace %s: ", name);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\nTry: millrace %s --help\n", name);
	return CLI_EXIT_USAGE;
}

int cli_usage_error(const char *name, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = usage_error(name, fmt, ap);
	va_end(ap);
	return rc;
}

const char *cli_nearest(struct str word, const char *const *candidates, size_t n)
{
	struct nearest nearest;
	nearest_init(&nearest, word);
	for (size_t i = 0; i < n; i++)
		nearest_try(&nearest, str_from(candidates[i]));
	return nearest_get(&nearest).p; /* the whole of a candidate, so it ends with a NUL */
}

/* --- help --- */

/*
 * Text in lines of at most HELP_WIDTH columns that begin at `indent`; the first goes on at column `at`. Line feeds are
 * as good as spaces, but an empty line stays one, and a line that begins with a space (an example) stays as it is.
 */
static void print_wrapped(const char *text, int at, int indent)
{
	struct str rest = str_from(text), line, word;
	int column = at;
	bool fresh = true; /* nothing on this line yet */
	while (str_split(&rest, '\n', &line)) {
		if (line.n == 0 || line.p[0] == ' ') {
			printf("%s" STR_FMT "\n", column ? "\n" : "", STR_ARG(line));
			column = 0;
			fresh = true;
			continue;
		}
		while (str_split(&line, ' ', &word)) {
			int width = (int)term_columns(word);
			if (!fresh && column + 1 + width > HELP_WIDTH) {
				putchar('\n');
				column = 0;
			}
			if (column == 0)
				column = printf("%*s", indent, "");
			else if (!fresh)
				column += printf(" ");
			printf(STR_FMT, STR_ARG(word));
			column += width;
			fresh = false;
		}
	}
	if (column)
		putchar('\n');
}

static void print_option(const char *left, const char *help)
{
	int n = printf("  %s", left);
	if (n >= HELP_COLUMN)
		n = printf("\n") - 1;
	printf("%*s", HELP_COLUMN - n, "");
	print_wrapped(help, HELP_COLUMN, HELP_COLUMN);
}

static void print_help(const struct cli_command *cmd)
{
	print_wrapped(cmd->summary, 0, 0);
	printf("\nUsage: millrace %s%s%s\n\nOptions:\n", cmd->name, *cmd->usage ? " " : "", cmd->usage);
	for (const struct cli_option *o = cmd->options; o && o->name; o++) {
		_cleanup_(buf_done) struct buf left;
		buf_init(&left, 256);
		buf_printf(&left, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		buf_add_char(&left, 0);
		print_option(left.p, o->help);
	}
	print_option("--help", "Show this");
	if (cmd->details) {
		putchar('\n');
		print_wrapped(cmd->details, 0, 0);
	}
}

/* --- parsing --- */

static const struct cli_option *find_option(const struct cli_command *cmd, struct str name)
{
	for (const struct cli_option *o = cmd->options; o && o->name; o++)
		if (str_eq_z(name, o->name))
			return o;
	return NULL;
}

static int unknown_option(const struct cli_command *cmd, struct str name)
{
	struct nearest n;
	nearest_init(&n, name);
	for (const struct cli_option *o = cmd->options; o && o->name; o++)
		nearest_try(&n, str_from(o->name));
	nearest_try(&n, STR("help"));
	struct str best = nearest_get(&n);
	if (best.p)
		return cli_usage_error(cmd->name, "there is no option --" STR_FMT "; did you mean --" STR_FMT "?",
		                       STR_ARG(name), STR_ARG(best));
	return cli_usage_error(cmd->name, "there is no option --" STR_FMT, STR_ARG(name));
}

static int set_number(const struct cli_command *cmd, const struct cli_option *o, const char *value)
{
	int64_t *target = o->target;
	if (o->kind == CLI_INT) {
		if (str_i64(str_from(value), o->min, o->max, target))
			return cli_usage_error(cmd->name, "--%s: wanted a whole number from %lld to %lld, got \"%s\"",
			                       o->name, (long long)o->min, (long long)o->max, value);
	} else if (clock_parse_duration_ms(str_from(value), o->min, o->max, target)) {
		_cleanup_(buf_done) struct buf least, most;
		buf_init(&least, 64);
		buf_init(&most, 64);
		term_duration(&least, o->min);
		term_duration(&most, o->max);
		return cli_usage_error(cmd->name,
		                       "--%s: wanted a duration (250ms, 30s, 5m, 2h, 30d) from " STR_FMT " to " STR_FMT
		                       ", got \"%s\"",
		                       o->name, STR_ARG(buf_str(&least)), STR_ARG(buf_str(&most)), value);
	}
	return 0;
}

static int set_option(const struct cli_command *cmd, const struct cli_option *o, const char *value)
{
	struct cli_list *list = o->target;
	switch (o->kind) {
	case CLI_FLAG:
		*(bool *)o->target = true;
		return 0;
	case CLI_STR:
		*(const char **)o->target = value;
		return 0;
	case CLI_INT:
	case CLI_MS:
		return set_number(cmd, o, value);
	case CLI_LIST:
		if (list->n == CLI_LIST_MAX)
			return cli_usage_error(cmd->name, "--%s: at most %d of them", o->name, CLI_LIST_MAX);
		list->v[list->n++] = value;
		return 0;
	}
	return 0;
}

/* argv[*at] is "--name", "--name=value": sets it and moves *at past its value. */
static int take_option(const struct cli_command *cmd, int argc, char **argv, int *at)
{
	struct str word = str_sub(str_from(argv[*at]), 2, SIZE_MAX);
	ssize_t equals = str_find_char(word, '=');
	struct str name = equals < 0 ? word : str_sub(word, 0, (size_t)equals);
	const struct cli_option *o = find_option(cmd, name);
	if (!o)
		return unknown_option(cmd, name);
	const char *value = equals < 0 ? NULL : word.p + equals + 1;
	if (o->kind == CLI_FLAG && value)
		return cli_usage_error(cmd->name, "--%s takes no value", o->name);
	if (o->kind != CLI_FLAG && !value) {
		if (*at + 1 == argc)
			return cli_usage_error(cmd->name, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
		value = argv[++*at];
	}
	return set_option(cmd, o, value);
}

static int check_count(const struct cli_command *cmd, const struct cli_args *args)
{
	if (args->n < cmd->min_args)
		return cli_usage_error(cmd->name, "an argument is missing: millrace %s %s", cmd->name, cmd->usage);
	if (args->n > cmd->max_args && cmd->max_args == 0)
		return cli_usage_error(cmd->name, "takes no argument, got \"%s\"", args->v[0]);
	if (args->n > cmd->max_args)
		return cli_usage_error(cmd->name, "\"%s\" is one argument too many", args->v[cmd->max_args]);
	return 0;
}

/* A mistake before --help does not keep the help from being shown. */
static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

bool cli_parse(const struct cli_command *cmd, int argc, char **argv, struct cli_args *ret_args, int *ret_exit)
{
	struct cli_args args = { argv + (argc ? 1 : 0), 0 };
	bool ended = false;
	if (wants_help(argc, argv)) {
		print_help(cmd);
		*ret_exit = CLI_EXIT_OK;
		return false;
	}
	for (int i = 1; i < argc; i++) {
		int rc = 0;
		if (ended || argv[i][0] != '-' || argv[i][1] == 0)
			args.v[args.n++] = argv[i];
		else if (strcmp(argv[i], "--") == 0)
			ended = true;
		else if (argv[i][1] == '-')
			rc = take_option(cmd, argc, argv, &i);
		else
			rc = cli_usage_error(cmd->name, "there is no option %s (options have two dashes)", argv[i]);
		if (rc) {
			*ret_exit = rc;
			return false;
		}
	}
	int rc = check_count(cmd, &args);
	if (rc) {
		*ret_exit = rc;
		return false;
	}
	*ret_args = args;
	return true;
}

/* --- commands of commands --- */

static void print_subs(FILE *out, const char *name, const char *summary, const struct cli_sub *subs, size_t n)
{
	fprintf(out, "%s\n\nUsage: millrace %s COMMAND [options]\n\nCommands:\n", summary, name);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "  %-14s%s\n", subs[i].name, subs[i].summary);
	fprintf(out, "\n`millrace %s COMMAND --help` shows the options.\n", name);
}

int cli_dispatch(const char *name, const char *summary, const struct cli_sub *subs, size_t n, int argc, char **argv)
{
	if (argc < 2) {
		print_subs(stderr, name, summary, subs, n);
		return CLI_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_subs(stdout, name, summary, subs, n);
		return CLI_EXIT_OK;
	}
	struct nearest nearest;
	nearest_init(&nearest, str_from(argv[1]));
	for (size_t i = 0; i < n; i++) {
		if (strcmp(subs[i].name, argv[1]) == 0)
			return subs[i].fn(argc - 1, argv + 1);
		nearest_try(&nearest, str_from(subs[i].name));
	}
	struct str best = nearest_get(&nearest);
	if (best.p)
		return cli_usage_error(name, "there is no command \"%s\"; did you mean \"" STR_FMT "\"?", argv[1],
		                       STR_ARG(best));
	return cli_usage_error(name, "there is no command \"%s\"", argv[1]);
}
