/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace drill`: the operator's own routes through outages, on simulated twins of their targets, and what users would have seen. It needs
 * no network and no key, and touches neither the operator's database nor a provider.
 *
 * All is well: a private PostgreSQL and a simulator → the twins' configuration → a calm run, to compare with → each scenario: fleet, load,
 * fault, recovery, report → exit 0 when every promise held, 1 with the broken ones named.
 *
 * What can go wrong: mistakes in the configuration (said as check-config does), no PostgreSQL, a process that does not start: exit 1. Ctrl-C
 * ends it at the next step. Whatever happens, all processes are ended and the temporary folder is removed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/drill.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#define OWN_CONFIG ".millrace/config.json"

struct drill_options {
	const char *config, *log_file;
	struct cli_list scenarios;
	int64_t jobs, load_ms;
	bool json, list;
};

/* --- what is asked for --- */

static int list_scenarios(void)
{
	for (size_t i = 0; i < drill_scenarios_n; i++)
		printf("%-18s%s\n", drill_scenarios[i].name, drill_scenarios[i].summary);
	return CLI_EXIT_OK;
}

static int unknown_scenario(const char *name)
{
	const char *names[CLI_LIST_MAX];
	size_t n = 0;
	for (; n < drill_scenarios_n; n++)
		names[n] = drill_scenarios[n].name;
	const char *best = cli_nearest(str_from(name), names, n);
	if (best)
		return cli_usage_error("drill", "there is no scenario \"%s\"; did you mean \"%s\"?", name, best);
	return cli_usage_error("drill", "there is no scenario \"%s\"; --list shows them", name);
}

/* The calm run first, then those that were named, else all. */
static void choose_runs(struct drill *d, const struct cli_list *named)
{
	size_t n = named->n ? named->n : drill_scenarios_n;
	d->runs = arena_array(&d->arena, struct drill_run, n + 1);
	d->runs[0].scenario = &drill_calm;
	for (size_t i = 0; i < n; i++)
		d->runs[i + 1].scenario = named->n ? drill_scenario_find(named->v[i]) : &drill_scenarios[i];
}

/* --config, else what the processes would take, else what `millrace up` wrote here. */
static const char *find_config(const char *given)
{
	const char *env = getenv("MILLRACE_CONFIG");
	struct stat st;
	if (given)
		return given;
	if (env && *env)
		return env;
	return stat(OWN_CONFIG, &st) == 0 ? OWN_CONFIG : NULL;
}

/* --- the drill --- */

static int say_mistakes(const char *file, const struct conf_mistake *mistakes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, STR_FMT ": " STR_FMT "\n", STR_ARG(mistakes[i].path), STR_ARG(mistakes[i].text));
	fprintf(stderr, "%s: %zu mistake%s\n", file, n, n == 1 ? "" : "s");
	return CLI_EXIT_FAILED;
}

static int say_failure(const struct drill *d, int rc, const struct err *err)
{
	if (rc == -ERR_CANCELED) {
		fprintf(stderr, "%smillrace drill: interrupted\n", d->term.tty ? "\r" : "");
		return CLI_EXIT_FAILED;
	}
	fprintf(stderr, "millrace drill: %s\n", err->text);
	return CLI_EXIT_FAILED;
}

static void say_begin(const struct drill *d, size_t nruns)
{
	const struct conf *c = d->twins.conf;
	if (d->quiet)
		return;
	struct buf open, first;
	buf_init(&open, 64);
	buf_init(&first, 64);
	term_duration(&open, c->breaker_open_ms);
	term_duration(&first, d->twins.first_ms);
	fprintf(d->term.out, "%zu route%s on %zu twin%s: %zu jobs in %.1f s per scenario, %zu after a calm one.\n", c->nroutes, c->nroutes == 1 ? "" : "s",
	        c->ntargets, c->ntargets == 1 ? "" : "s", d->load.n, (double)d->load.load_ms / 1000, nruns - 1);
	if (d->load.n < d->load.jobs * 9 / 10)
		fprintf(d->term.out, "Not %zu: the limits of the configuration let no more through.\n", d->load.jobs);
	fprintf(d->term.out, "Times are 1/%lld of yours: breakers open for " STR_FMT ", first token within " STR_FMT ".\n", (long long)d->twins.factor,
	        STR_ARG(buf_str(&open)), STR_ARG(buf_str(&first)));
	buf_done(&open);
	buf_done(&first);
	fflush(d->term.out);
}

static int run_all(struct drill *d, size_t nruns, struct err *err)
{
	for (size_t i = 0; i < nruns; i++) {
		int rc = drill_run(d, &d->runs[i], err);
		if (rc < 0)
			return rc;
		d->nruns = i + 1;
		drill_report_run(d, &d->runs[i]);
	}
	return 0;
}

static void say_end(struct drill *d)
{
	if (d->json) {
		json_t *report = drill_report_json(d);
		struct buf b;
		buf_init(&b, 64u << 20);
		json_write(&b, report);
		printf(STR_FMT "\n", STR_ARG(buf_str(&b)));
		buf_done(&b);
		json_decref(report);
	} else if (d->broken) {
		printf("\n%s%zu promise%s broken.%s\n", term_style(&d->term, TERM_RED), d->broken, d->broken == 1 ? " was" : "s were",
		       term_reset(&d->term));
	} else {
		printf("\n%sEvery promise held.%s\n", term_style(&d->term, TERM_GREEN), term_reset(&d->term));
	}
	fflush(stdout);
}

/* With the folder made. */
static int drill_through(struct drill *d, const char *config, size_t nruns)
{
	struct err err = { 0 };
	struct conf_mistake *mistakes = NULL;
	size_t n = 0;
	/* A mistake is said before anything is started. */
	const char *scratch = arena_printf(&d->arena, "%s/twins.json", d->fleet.dir).p;
	int rc = drill_twins_make(&d->twins, config, d->fleet.simulator_url, scratch, &d->arena, &mistakes, &n, &err);
	if (rc < 0)
		return n ? say_mistakes(config, mistakes, n) : say_failure(d, rc, &err);
	if (!d->twins.conf->nroutes) {
		fprintf(stderr, "millrace drill: %s has no route to drill\n", config);
		return CLI_EXIT_FAILED;
	}
	rc = drill_fleet_start_base(&d->fleet, &err);
	if (rc < 0)
		return say_failure(d, rc, &err);
	drill_load_plan(&d->load, d->twins.conf, &d->arena);
	say_begin(d, nruns);
	rc = run_all(d, nruns, &err);
	if (rc < 0)
		return say_failure(d, rc, &err);
	say_end(d);
	return d->broken ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

static int run(const struct drill_options *o, const char *config)
{
	struct drill d = { .json = o->json, .quiet = o->json, .load = { .jobs = (size_t)o->jobs, .load_ms = o->load_ms } };
	struct err err = { 0 };
	size_t nruns = 1 + (o->scenarios.n ? o->scenarios.n : drill_scenarios_n);
	umask(022);
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_NONE, LOG_JSON, "drill");
	arena_init(&d.arena, (size_t)256 << 20);
	term_init(&d.term, stdout);
	choose_runs(&d, &o->scenarios);
	int rc = drill_fleet_open(&d.fleet, &d.arena, o->log_file, &err);
	rc = rc < 0 ? say_failure(&d, rc, &err) : drill_through(&d, config, nruns);
	drill_fleet_close(&d.fleet);
	drill_twins_done(&d.twins);
	arena_done(&d.arena);
	return rc;
}

static int parse(struct drill_options *o, int argc, char **argv, int *ret_exit)
{
	const struct cli_option options[] = {
		{ .name = "config",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &o->config,
		  .help = "Configuration (MILLRACE_CONFIG; else the one of `millrace up` here)" },
		{ .name = "scenario", .arg = "NAME", .kind = CLI_LIST, .target = &o->scenarios, .help = "Only this one; may be repeated (default: all)" },
		{ .name = "list", .kind = CLI_FLAG, .target = &o->list, .help = "Show the scenarios" },
		{ .name = "jobs",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &o->jobs,
		  .min = 4,
		  .max = 5000,
		  .help = "Jobs per scenario over all routes (300), or as many as the limits let through" },
		{ .name = "load",
		  .arg = "TIME",
		  .kind = CLI_MS,
		  .target = &o->load_ms,
		  .min = 2000,
		  .max = 600000,
		  .help = "How long they keep coming (8s); the fault has the middle third" },
		{ .name = "log-file", .arg = "FILE", .kind = CLI_STR, .target = &o->log_file, .help = "What the processes logged (default: not kept)" },
		{ .name = "json", .kind = CLI_FLAG, .target = &o->json, .help = "Print one JSON object at the end" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "drill",
		.usage = "[options]",
		.summary = "Takes your routes through outages, every target replaced by a simulated twin, and shows what users\n"
		           "would have seen. Exit status 1 when a promise broke.",
		.details = "It runs a PostgreSQL, an API, three workers and a simulator of its own, needs neither network nor keys,\n"
		           "and leaves nothing behind. cli/DRILL.md explains the report.",
		.options = options,
	};
	struct cli_args args;
	return cli_parse(&cmd, argc, argv, &args, ret_exit);
}

int drill_main(int argc, char **argv)
{
	struct drill_options o = { .jobs = 300, .load_ms = 8000 };
	struct stat st;
	int rc;
	if (!parse(&o, argc, argv, &rc))
		return rc;
	if (o.list)
		return list_scenarios();
	for (size_t i = 0; i < o.scenarios.n; i++)
		if (!drill_scenario_find(o.scenarios.v[i]))
			return unknown_scenario(o.scenarios.v[i]);
	const char *config = find_config(o.config);
	if (!config)
		return cli_usage_error("drill", "give --config FILE (or MILLRACE_CONFIG): there is no " OWN_CONFIG " here");
	if (stat(config, &st)) {
		fprintf(stderr, "millrace drill: there is no file %s\n", config);
		return CLI_EXIT_NOT_FOUND;
	}
	return run(&o, config);
}
