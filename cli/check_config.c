/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace check-config [FILE]`: reads a configuration exactly as the processes do and says what it found, or names
 * every mistake at once with its path. The exit status is 1 when there is one.
 *
 * It shows each route as it will be gone through, each tier with who is of it. Beyond what makes a configuration invalid
 * it notes what is probably not meant: keys in a file that others can read, a database that is not named, targets that no
 * route uses, targets without a key, price or limits, weights and tiers without effect.
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
#include "common/provider_record.h"

#define FILE_MAX  ((size_t)16 << 20)
#define NAMED_MAX 5

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
	static const char *const names[] = { "api_key", "access_key", "secret_key", "session_token" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct str key = json_str(target, names[i]);
		if (key.n && str_find(key, STR("${")) < 0)
			return true;
	}
	return false;
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
		note("%s holds a provider's key and others can read it; use ${VARIABLE}, or chmod 600", file);
}

/* --- what is probably not meant --- */

static bool is_in(const struct conf_choice *choice, const struct conf_target *t)
{
	for (size_t i = 0; i < choice->ntargets; i++)
		if (choice->targets[i] == t)
			return true;
	return false;
}

static bool is_routed(const struct conf *c, const struct conf_target *t)
{
	for (size_t i = 0; i < c->nroutes; i++) {
		const struct conf_route *r = &c->routes[i];
		if (is_in(&r->main, t) || is_in(&r->context_window, t) || is_in(&r->content_policy, t) || r->simple_model == t)
			return true;
		for (size_t k = 0; k < r->nrules; k++)
			if (is_in(&r->rules[k].use, t))
				return true;
	}
	return false;
}

static bool has_limits(const struct conf_limits *l)
{
	return l->requests || l->tokens || l->input_tokens || l->output_tokens || l->concurrency;
}

/* A server of one's own may take calls without a key; the provider's own address takes none. */
static bool lacks_key(const struct conf_target *t)
{
	return t->api_key.n == 0 && t->access_key.n == 0 && t->nheaders == 0 && str_has_prefix(t->base_url, STR("https://")) &&
	       str_eq_z(t->base_url, t->record->base_url);
}

static void note_target(const struct conf *c, const struct conf_target *t)
{
	if (c->nroutes && !is_routed(c, t))
		note("target " STR_FMT " is in no route; only its own name leads to it", STR_ARG(t->name));
	if (lacks_key(t))
		note("target " STR_FMT " has no key; " STR_FMT " will refuse it", STR_ARG(t->name), STR_ARG(t->base_url));
	if (t->price.input < 0)
		note("target " STR_FMT " has no price; its costs will be unknown", STR_ARG(t->name));
	if (!has_limits(&t->limits))
		note("target " STR_FMT " has no limits; it is called as fast as jobs come, until it refuses", STR_ARG(t->name));
}

static bool has_weights(const struct conf_choice *choice)
{
	for (size_t i = 0; i < choice->ntargets; i++)
		if (choice->weights[i] != 1)
			return true;
	return false;
}

static void note_route(const struct conf_route *r)
{
	bool idle = r->main.choose != CHOOSE_WEIGHTED && has_weights(&r->main);
	for (size_t i = 0; i < r->nrules; i++)
		idle = idle || (r->rules[i].use.choose != CHOOSE_WEIGHTED && has_weights(&r->rules[i].use));
	if (idle)
		note("route " STR_FMT " has weights that mean nothing without \"choose\": \"weighted\"", STR_ARG(r->name));
	for (size_t i = 0; i < r->nladder; i++)
		if (r->ladder[i] == RUNG_STALE_CACHE && r->cache_mode == CACHE_OFF)
			note("route " STR_FMT " may serve from the cache, which only jobs that ask for it fill", STR_ARG(r->name));
}

static bool is_anybodys(const struct conf *c, const struct conf_tier *tier)
{
	for (size_t scope = 0; scope < SCOPE_COUNT; scope++)
		for (size_t i = 0; i < c->ntier_of[scope]; i++)
			if (c->tier_of[scope][i].tier == tier)
				return true;
	return false;
}

static void note_oddities(const struct conf *c)
{
	if (!*c->database_url)
		note("database.url is not set; give it in the file or as MILLRACE_DATABASE_URL");
	if (c->ntargets == 0 && !c->any_model)
		note("there is no target, so that no job can be accepted");
	for (size_t i = 0; i < c->ntargets; i++)
		note_target(c, &c->targets[i]);
	for (size_t i = 0; i < c->nroutes; i++)
		note_route(&c->routes[i]);
	for (size_t i = 0; i < c->ntiers; i++)
		if (!is_anybodys(c, &c->tiers[i]))
			note("tier " STR_FMT " is nobody's: \"rates\" does not name it", STR_ARG(c->tiers[i].name));
}

/* --- what was found --- */

static const char *choose_name(enum conf_choose choose)
{
	switch (choose) {
	case CHOOSE_ORDERED:
		return "";
	case CHOOSE_WEIGHTED:
		return "by weight";
	case CHOOSE_LEAST_COST:
		return "the cheapest";
	case CHOOSE_LEAST_LATENCY:
		return "the fastest";
	case CHOOSE_LEAST_BUSY:
		return "the least busy";
	}
	return "";
}

/* "a → b → c", or "the cheapest of a, b". */
static void print_choice(const struct conf_choice *choice)
{
	bool ordered = choice->choose == CHOOSE_ORDERED;
	if (!ordered)
		printf(" %s of", choose_name(choice->choose));
	for (size_t i = 0; i < choice->ntargets; i++) {
		printf("%s " STR_FMT, !i ? "" : ordered ? " →" : ",", STR_ARG(choice->targets[i]->name));
		if (choice->choose == CHOOSE_WEIGHTED)
			printf(" (%lld)", (long long)choice->weights[i]);
	}
	putchar('\n');
}

static void print_ladder(const struct conf_route *r)
{
	printf("  when none can");
	if (r->ladder_after_ms)
		printf(" for %lld.%03lld s", (long long)(r->ladder_after_ms / 1000), (long long)(r->ladder_after_ms % 1000));
	putchar(':');
	for (size_t i = 0; i < r->nladder; i++) {
		printf("%s ", i ? " →" : "");
		switch (r->ladder[i]) {
		case RUNG_STALE_CACHE:
			printf("a cached answer");
			break;
		case RUNG_SIMPLE_MODEL:
			printf(STR_FMT, STR_ARG(r->simple_model->name));
			break;
		case RUNG_STATIC:
			printf("%zu prepared answer%s", r->nanswers, r->nanswers == 1 ? "" : "s");
			break;
		case RUNG_COUNT:
			break;
		}
	}
	putchar('\n');
}

static void print_route(const struct conf_route *r)
{
	printf("route " STR_FMT ":", STR_ARG(r->name));
	print_choice(&r->main);
	for (size_t i = 0; i < r->nrules; i++) {
		if (r->rules[i].name.n)
			printf("  rule " STR_FMT ":", STR_ARG(r->rules[i].name));
		else
			printf("  rule %zu:", i + 1);
		print_choice(&r->rules[i].use);
	}
	if (r->context_window.ntargets) {
		printf("  when too long:");
		print_choice(&r->context_window);
	}
	if (r->content_policy.ntargets) {
		printf("  when filtered:");
		print_choice(&r->content_policy);
	}
	if (r->nladder)
		print_ladder(r);
}

static void print_limit(int64_t n, const char *what, bool *first)
{
	if (n)
		printf("%s %lld %s", *first ? "" : ",", (long long)n, what);
	*first = *first && !n;
}

/* A few by name, the others by their number. */
static void print_members(const struct conf *c, const struct conf_tier *tier)
{
	static const char *const scopes[] = { [SCOPE_TENANT] = "tenant ",
		                              [SCOPE_KEY] = "key ",
		                              [SCOPE_USER] = "user ",
		                              [SCOPE_FEATURE] = "feature ",
		                              [SCOPE_GLOBAL] = "all together" };
	size_t n = 0;
	for (size_t scope = 0; scope < SCOPE_COUNT; scope++)
		for (size_t i = 0; i < c->ntier_of[scope]; i++) {
			struct str name = scope == SCOPE_GLOBAL ? STR("") : c->tier_of[scope][i].name;
			if (c->tier_of[scope][i].tier != tier || n++ >= NAMED_MAX)
				continue;
			printf("%s %s" STR_FMT, n == 1 ? " —" : ",", scopes[scope], STR_ARG(name));
		}
	if (n > NAMED_MAX)
		printf(" and %zu more", n - NAMED_MAX);
}

static void print_tier(const struct conf *c, const struct conf_tier *tier)
{
	bool first = true;
	printf("tier " STR_FMT ":", STR_ARG(tier->name));
	print_limit(tier->limits.requests, "requests/min", &first);
	print_limit(tier->limits.tokens, "tokens/min", &first);
	print_limit(tier->limits.input_tokens, "input tokens/min", &first);
	print_limit(tier->limits.output_tokens, "output tokens/min", &first);
	print_limit(tier->limits.concurrency, "calls at once", &first);
	print_limit(tier->submit, "submissions/min", &first);
	print_limit(tier->max_depth, "waiting jobs", &first);
	printf("%s", first ? " no limits" : "");
	print_members(c, tier);
	putchar('\n');
}

static void print_found(const struct conf *c)
{
	for (size_t i = 0; i < c->nroutes; i++)
		print_route(&c->routes[i]);
	if (c->any_model)
		printf("any other model: " STR_FMT " at " STR_FMT "\n", STR_ARG(c->any_model->provider),
		       STR_ARG(c->any_model->base_url));
	for (size_t i = 0; i < c->ntiers; i++)
		print_tier(c, &c->tiers[i]);
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
		print_found(c);
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
