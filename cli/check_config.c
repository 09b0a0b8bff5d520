/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace check-config [FILE]`: reads a configuration exactly as the processes do and says what it found, or names
 * every mistake at once with its path. The exit status is 1 when there is one.
 *
 * Beyond what makes a configuration invalid it notes what is probably not meant: keys in a file that others can read, a
 * database that is not named, targets that no route uses, targets without a price.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "common/conf.h"
#include "common/file.h"
#include "common/json.h"

#define FILE_MAX ((size_t)16 << 20)

static void note(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void note(const char *fmt, ...)
{
	va_list ap;
	printf("note: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static bool has_literal_key(const json_t *target)
{
	struct str key = json_str(target, "api_key");
	return key.n && str_find(key, STR("${")) < 0;
}

/* The file as it is written: the snapshot no longer knows what was a ${VARIABLE}. */
static void note_readable_keys(const char *file, struct arena *a)
{
	struct stat st;
	struct str text;
	if (stat(file, &st) || (st.st_mode & 077) == 0 || file_read(file, FILE_MAX, a, &text, NULL))
		return;
	_cleanup_(json_drop) json_t *v = json_parse(text, NULL);
	bool literal = has_literal_key(json_get(json_get(v, "models"), "*"));
	const char *name;
	json_t *target;
	json_object_foreach(json_get(v, "targets"), name, target) literal = literal || has_literal_key(target);
	if (literal)
		note("%s holds an api_key and others can read it; use ${VARIABLE}, or chmod 600", file);
}

static bool is_routed(const struct conf *c, const struct conf_target *t)
{
	for (size_t i = 0; i < c->nroutes; i++)
		for (size_t j = 0; j < c->routes[i].ntargets; j++)
			if (c->routes[i].targets[j] == t)
				return true;
	return false;
}

static void note_oddities(const struct conf *c)
{
	if (!*c->database_url)
		note("database.url is not set; give it in the file or as MILLRACE_DATABASE_URL");
	if (c->ntargets == 0 && !c->any_model)
		note("there is no target, so that no job can be accepted");
	for (size_t i = 0; i < c->ntargets; i++) {
		const struct conf_target *t = &c->targets[i];
		if (c->nroutes && !is_routed(c, t))
			note("target " STR_FMT " is in no route; only its own name leads to it", STR_ARG(t->name));
		if (t->price.input < 0)
			note("target " STR_FMT " has no price; its costs will be unknown", STR_ARG(t->name));
	}
}

static void print_routes(const struct conf *c)
{
	for (size_t i = 0; i < c->nroutes; i++) {
		printf("route " STR_FMT ":", STR_ARG(c->routes[i].name));
		for (size_t j = 0; j < c->routes[i].ntargets; j++)
			printf("%s " STR_FMT, j ? " →" : "", STR_ARG(c->routes[i].targets[j]->name));
		putchar('\n');
	}
	if (c->any_model)
		printf("any other model: " STR_FMT " at " STR_FMT "\n", STR_ARG(c->any_model->provider),
		       STR_ARG(c->any_model->base_url));
}

static int check(const char *file, bool quiet, struct arena *a)
{
	struct conf *c;
	struct conf_mistake *mistakes;
	size_t n;
	if (conf_load(file, a, &c, &mistakes, &n)) {
		for (size_t i = 0; i < n; i++)
			fprintf(stderr, STR_FMT ": " STR_FMT "\n", STR_ARG(mistakes[i].path),
			        STR_ARG(mistakes[i].text));
		fprintf(stderr, "%s: %zu mistake%s\n", file ? file : "environment", n, n == 1 ? "" : "s");
		return CLI_EXIT_FAILED;
	}
	if (!quiet) {
		print_routes(c);
		note_oddities(c);
		if (file)
			note_readable_keys(file, a);
		printf("%s: good (%zu target%s, %zu route%s)\n", file ? file : "environment", c->ntargets,
		       c->ntargets == 1 ? "" : "s", c->nroutes, c->nroutes == 1 ? "" : "s");
	}
	conf_unref(c);
	return CLI_EXIT_OK;
}

int check_config_main(int argc, char **argv)
{
	const char *config = NULL;
	bool quiet = false;
	const struct cli_option options[] = {
		{ .name = "config",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &config,
		  .help = "The file (or as argument; MILLRACE_CONFIG)" },
		{ .name = "quiet", .kind = CLI_FLAG, .target = &quiet, .help = "Print mistakes only" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "check-config",
		.usage = "[FILE] [options]",
		.summary = "Reads a configuration (file and environment) as the processes do, and names every mistake "
		           "with its path.",
		.details =
		    "Without a file it checks the environment alone. `millrace docs settings` describes every setting.",
		.options = options,
		.max_args = 1,
	};
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (args.n && config)
		return cli_usage_error("check-config", "give the file once");
	const char *env = getenv("MILLRACE_CONFIG");
	const char *file = args.n ? args.v[0] : config ? config : env && *env ? env : NULL;
	struct stat st;
	if (file && stat(file, &st)) {
		fprintf(stderr, "millrace check-config: there is no file %s\n", file);
		return CLI_EXIT_NOT_FOUND;
	}
	struct arena a;
	arena_init(&a, 2 * FILE_MAX);
	rc = check(file, quiet, &a);
	arena_done(&a);
	return rc;
}
