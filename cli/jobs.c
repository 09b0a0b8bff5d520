/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace jobs list|show|cancel|retry`. A list is fetched page by page and shown as one table; cancel and retry take
 * several ids and go on after one that fails, so that the exit status is that of the worst.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/list.h"
#include "cli/show.h"
#include "common/clock.h"

#define PAGE 100

/* --- list --- */

struct list_wish {
	struct client_cfg client;
	const char *status, *batch, *route, *user;
	int64_t limit;
	bool json;
};

static void add_row(struct term_table *t, struct arena *a, const json_t *job)
{
	_cleanup_(buf_done) struct buf age;
	struct str target = json_str(json_get(job, "served_by"), "target"),
	           code = json_str(json_get(job, "error"), "code");
	buf_init(&age, 64);
	term_ago(&age, json_str(job, "created_at"), clock_wall_us());
	const struct str cells[] = {
		json_str(job, "id"),
		json_str(job, "status"),
		json_str(job, "route"),
		buf_str(&age),
		arena_printf(a, "%lld", (long long)json_i64(job, "attempts", 0)),
		show_is_ended(job) ? show_cost(a, job) : STR("-"),
		code.n ? code : target,
	};
	term_table_add(t, cells);
}

static int list(struct client *c, const struct list_wish *w)
{
	static const struct term_column columns[] = {
		{ .title = "JOB" },
		{ .title = "STATUS", .status = true },
		{ .title = "ROUTE", .shrink = true, .spare = 2 },
		{ .title = "CREATED", .spare = 5 },
		{ .title = "TRIES", .right = true, .spare = 1 },
		{ .title = "COST", .right = true, .spare = 3 },
		{ .title = "TARGET OR ERROR", .shrink = true, .spare = 4 },
		{ .title = NULL },
	};
	_cleanup_(buf_done) struct buf path;
	buf_init(&path, 16384);
	buf_add_z(&path, "/v1/jobs");
	list_add_query(&path, "status", w->status);
	list_add_query(&path, "batch_id", w->batch);
	list_add_query(&path, "route", w->route);
	list_add_query(&path, "user", w->user);
	const struct list l = { .client = c,
		                .command = "jobs list",
		                .noun = "jobs",
		                .path = buf_str(&path),
		                .limit = w->limit,
		                .page = PAGE,
		                .json = w->json,
		                .columns = columns,
		                .add_row = add_row };
	return list_print(&l);
}

static int list_main(int argc, char **argv)
{
	struct list_wish w = { .limit = 20 };
	const struct cli_option options[] = {
		{ .name = "status",
		  .arg = "STATUS",
		  .kind = CLI_STR,
		  .target = &w.status,
		  .help = "scheduled, queued, running, succeeded, failed, canceled or expired" },
		{ .name = "batch", .arg = "ID", .kind = CLI_STR, .target = &w.batch, .help = "Jobs of this batch" },
		{ .name = "route", .arg = "NAME", .kind = CLI_STR, .target = &w.route, .help = "Jobs of this route" },
		{ .name = "user", .arg = "NAME", .kind = CLI_STR, .target = &w.user, .help = "Jobs with this `user`" },
		{ .name = "limit",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &w.limit,
		  .min = 1,
		  .max = 100000,
		  .help = "At most so many (20)" },
		{ .name = "json", .kind = CLI_FLAG, .target = &w.json, .help = "One JSON object a line" },
		CLIENT_OPTIONS(&w.client),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "jobs list",
		                         .usage = "[options]",
		                         .summary = "Lists jobs, the newest first.",
		                         .options = options };
	struct cli_args args;
	struct client *c;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&w.client, "jobs list", &c)))
		return rc;
	rc = list(c, &w);
	client_close(c);
	return rc;
}

/* --- show --- */

/* Below the job: each call that was made for it. What is gone with retention, or cannot be had now, is left out. */
static void show_attempts(struct client *c, const struct term *t, const char *id)
{
	_cleanup_(buf_done) struct buf path;
	struct client_answer a;
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/jobs/%s/attempts?limit=100", id);
	const struct client_request r = { .method = "GET", .path = buf_str(&path) };
	if (client_call(c, &r, &a) == 0)
		show_attempt_table(t, json_get(a.body, "data"));
	client_answer_done(&a);
}

static int show_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the job object" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "jobs show",
		                         .usage = "ID [options]",
		                         .summary = "Shows a job, its answer, and the attempts that were made.",
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = 1 };
	struct cli_args args;
	struct client *c;
	struct client_answer a;
	struct term t;
	_cleanup_(buf_done) struct buf path;
	char id[CLIENT_ID_MAX];
	int rc;
	buf_init(&path, 4096);
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if ((rc = client_id_for(args.v[0], CLIENT_JOB, cmd.name, id)) || (rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	buf_printf(&path, "/v1/jobs/%s", id);
	const struct client_request r = { .method = "GET", .path = buf_str(&path) };
	term_init(&t, stdout);
	if (client_call(c, &r, &a))
		rc = client_complain(c, "jobs show", &a);
	else if (json)
		show_json(stdout, a.body);
	else
		show_job(&t, a.body);
	if (rc == 0 && !json && json_i64(a.body, "attempts", 0) > 0)
		show_attempts(c, &t, id);
	client_answer_done(&a);
	client_close(c);
	return rc;
}

/* --- cancel, retry --- */

static void print_state(const char *id, struct str status, bool is_cancel)
{
	struct term t;
	struct arena a;
	term_init(&t, stdout);
	arena_init(&a, 65536);
	bool too_late = is_cancel && !str_eq_z(status, "canceled") && !str_eq_z(status, "running");
	printf("%s  %s" STR_FMT "%s%s\n", id, term_style(&t, term_status_style(status)), STR_ARG(term_safe(&a, status)),
	       term_reset(&t), too_late ? "  (it had ended before)" : "");
	arena_done(&a);
}

static int act_on_one(struct client *c, const char *command, const char *verb, const char *id, bool json)
{
	_cleanup_(buf_done) struct buf path;
	struct client_answer a;
	int rc = CLI_EXIT_OK;
	bool is_cancel = strcmp(verb, "cancel") == 0;
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/jobs/%s/%s", id, verb);
	const struct client_request r = { .method = "POST", .path = buf_str(&path), .repeat = is_cancel };
	if (client_call(c, &r, &a))
		rc = client_complain(c, command, &a);
	else if (json)
		show_json(stdout, a.body);
	else
		print_state(id, json_str(a.body, "status"), is_cancel);
	client_answer_done(&a);
	return rc;
}

static int act_main(int argc, char **argv, const char *command, const char *verb, const char *summary)
{
	struct client_cfg cfg = { 0 };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the job objects" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = command,
		                         .usage = "ID… [options]",
		                         .summary = summary,
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = SIZE_MAX };
	struct cli_args args;
	struct client *c;
	char id[CLIENT_ID_MAX];
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	for (size_t i = 0; i < args.n; i++)
		if ((rc = client_id_for(args.v[i], CLIENT_JOB, command, id)))
			return rc;
	if ((rc = client_open_for(&cfg, command, &c)))
		return rc;
	for (size_t i = 0; i < args.n && !client_is_interrupted(c); i++) {
		client_id(args.v[i], CLIENT_JOB, id);
		int one = act_on_one(c, command, verb, id, json);
		rc = MAX(rc, one);
	}
	client_close(c);
	return rc;
}

static int cancel_main(int argc, char **argv)
{
	return act_main(argc, argv, "jobs cancel", "cancel",
	                "Cancels jobs: a waiting one never runs, a running one is aborted.");
}

static int retry_main(int argc, char **argv)
{
	return act_main(argc, argv, "jobs retry", "retry", "Runs failed, canceled or expired jobs again.");
}

int jobs_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "list", "List jobs, the newest first", list_main },
		{ "show", "Show a job, its answer and attempts", show_main },
		{ "cancel", "Cancel jobs", cancel_main },
		{ "retry", "Run failed, canceled or expired jobs again", retry_main },
	};
	return cli_dispatch("jobs", "Looks at jobs and changes what becomes of them.", subs, ARRAY_LEN(subs), argc,
	                    argv);
}
