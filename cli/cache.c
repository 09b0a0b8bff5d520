/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace cache [stats|clear]`: kept answers, through the service's /admin/v1/cache with an admin key. Clearing everything must be said (--all): a
 * forgotten filter is no wish to pay for all answers again.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/list.h"
#include "cli/show.h"
#include "common/conf.h"

/* --- stats --- */

static struct str size(struct arena *a, const json_t *object)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	term_size(&b, json_i64(object, "bytes", 0));
	return arena_str(a, buf_str(&b));
}

static struct str saved(struct arena *a, const json_t *object)
{
	int64_t nano;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (conf_parse_usd(json_str(json_get(object, "saved"), "usd"), &nano))
		return STR("-");
	term_money(&b, nano);
	return arena_str(a, buf_str(&b));
}

static void add_row(struct term_table *t, struct arena *a, const char *what, struct str name, const json_t *n)
{
	const struct str cells[] = {
		str_from(what), name,
		show_number(a, n, "entries"),
		size(a, n),
		show_number(a, n, "fresh"),
		show_number(a, n, "stale"),
		show_number(a, n, "hits"),
		saved(a, n),
	};
	term_table_add(t, cells);
}

static void print_stats(const json_t *stats)
{
	static const struct term_column columns[] = {
		{ .title = "OF" },
		{ .title = "NAME", .shrink = true },
		{ .title = "ENTRIES", .right = true },
		{ .title = "SIZE", .right = true, .spare = 3 },
		{ .title = "FRESH", .right = true, .spare = 2 },
		{ .title = "STALE", .right = true, .spare = 1 },
		{ .title = "HITS", .right = true },
		{ .title = "SAVED", .right = true },
		{ .title = NULL },
	};
	struct arena a;
	struct term term;
	struct term_table table;
	size_t i;
	json_t *n;
	arena_init(&a, (size_t)64 << 20);
	term_init(&term, stdout);
	term_table_init(&table, &a, columns);
	add_row(&table, &a, "all", STR(""), stats);
	json_array_foreach(json_get(stats, "routes"), i, n) add_row(&table, &a, "route", json_str(n, "route"), n);
	json_array_foreach(json_get(stats, "tenants"), i, n) add_row(&table, &a, "tenant", json_str(n, "tenant"), n);
	term_table_print(&table, &term);
	arena_done(&a);
}

static int stats_main(int argc, char **argv)
{
	struct client_cfg cfg = { .is_admin = true };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the JSON object" },
		CLIENT_ADMIN_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "cache stats",
		                         .usage = "[options]",
		                         .summary = "Counts kept answers: all, by route, by tenant, and what they saved.",
		                         .options = options };
	struct cli_args args;
	struct client *c;
	struct client_answer a;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&cfg, "cache stats", &c)))
		return rc;
	const struct client_request r = { .method = "GET", .path = STR("/admin/v1/cache") };
	if (client_call(c, &r, &a))
		rc = client_complain(c, "cache stats", &a);
	else if (json)
		show_json(stdout, a.body);
	else
		print_stats(a.body);
	client_answer_done(&a);
	client_close(c);
	return rc;
}

/* --- clear --- */

static int clear_main(int argc, char **argv)
{
	struct client_cfg cfg = { .is_admin = true };
	const char *tenant = NULL, *route = NULL, *older = NULL;
	bool all = false, json = false;
	const struct cli_option options[] = {
		{ .name = "tenant", .arg = "NAME", .kind = CLI_STR, .target = &tenant, .help = "Answers of this tenant" },
		{ .name = "route", .arg = "NAME", .kind = CLI_STR, .target = &route, .help = "Answers of this route" },
		{ .name = "older-than", .arg = "TIME", .kind = CLI_STR, .target = &older, .help = "Answers that are older: 90s, 15m, 2h, 7d" },
		{ .name = "all", .kind = CLI_FLAG, .target = &all, .help = "All answers" },
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the JSON object" },
		CLIENT_ADMIN_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "cache clear",
		                         .usage = "[options]",
		                         .summary = "Deletes kept answers: those to which all that is given applies.",
		                         .options = options };
	struct cli_args args;
	struct client *c;
	struct client_answer a;
	_cleanup_(buf_done) struct buf path;
	int rc;
	buf_init(&path, 65536);
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!tenant && !route && !older && !all)
		return cli_usage_error("cache clear", "say which: --tenant, --route, --older-than, or --all");
	if (all && (tenant || route || older))
		return cli_usage_error("cache clear", "--all goes with no other filter");
	buf_add_z(&path, "/admin/v1/cache");
	list_add_query(&path, "tenant", tenant);
	list_add_query(&path, "route", route);
	list_add_query(&path, "older_than", older);
	list_add_query(&path, "all", all ? "true" : NULL);
	if ((rc = client_open_for(&cfg, "cache clear", &c)))
		return rc;
	const struct client_request r = { .method = "DELETE", .path = buf_str(&path), .repeat = true };
	if (client_call(c, &r, &a))
		rc = client_complain(c, "cache clear", &a);
	else if (json)
		show_json(stdout, a.body);
	else
		printf("%lld deleted\n", (long long)json_i64(a.body, "deleted", 0));
	client_answer_done(&a);
	client_close(c);
	return rc;
}

int cache_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "stats", "Count kept answers (also without a word)", stats_main },
		{ "clear", "Delete kept answers", clear_main },
	};
	bool asks_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
	if (argc < 2 || (argv[1][0] == '-' && !asks_help))
		return stats_main(argc, argv);
	return cli_dispatch("cache", "Counts and clears kept answers.", subs, ARRAY_LEN(subs), argc, argv);
}
