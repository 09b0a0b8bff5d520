/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace batch list|show|results|output|cancel|retry`; `batch create` has a file of its own. Results and output are streamed as they arrive, so that a
 * batch of any size needs no memory here: results are readable on a terminal, the service's NDJSON on a pipe, with --json, or into --output.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/batch_stay.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/follow.h"
#include "cli/list.h"
#include "cli/show.h"
#include "common/clock.h"

struct batch_wish {
	struct client_cfg client;
	struct batch_stay stay; /* of `output` and `retry` */
	const char *output;     /* of `results` */
	bool json;
};

typedef int act_fn(struct client *c, const char *command, const char *id, const struct batch_wish *w);

/* What all of them have in common: options, one id, a client. */
static int with_batch(const struct cli_command *base, struct batch_wish *w, int argc, char **argv, act_fn *act)
{
	struct cli_command cmd = *base;
	struct cli_args args;
	struct client *c;
	char id[CLIENT_ID_MAX];
	int rc;
	cmd.usage = "ID [options]";
	cmd.min_args = cmd.max_args = 1;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if ((rc = client_id_for(args.v[0], CLIENT_BATCH, cmd.name, id)) || (rc = client_open_for(&w->client, cmd.name, &c)))
		return rc;
	rc = act(c, cmd.name, id, w);
	client_close(c);
	return rc;
}

/* quiet: what is said of the batch is said later. */
static int call_and_show(struct client *c, const char *command, const char *method, const char *id, const char *verb,
                         bool json, bool quiet)
{
	_cleanup_(buf_done) struct buf path;
	struct client_answer a;
	struct term t;
	int rc = CLI_EXIT_OK;
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/batches/%s%s", id, verb);
	const struct client_request r = { .method = method,
		                          .path = buf_str(&path),
		                          .repeat = strcmp(verb, "/cancel") == 0 };
	term_init(&t, stdout);
	if (client_call(c, &r, &a))
		rc = client_complain(c, command, &a);
	else if (json && !quiet)
		show_json(stdout, a.body);
	else if (!quiet)
		show_batch(&t, a.body);
	client_answer_done(&a);
	return rc;
}

static int show(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	return call_and_show(c, command, "GET", id, "", w->json, false);
}

static int cancel(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	return call_and_show(c, command, "POST", id, "/cancel", w->json, false);
}

static int retry(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	const struct follow f = { .client = c, .command = command, .label = "batch", .deadline_ms = follow_deadline(w->client.timeout_ms) };
	bool stays = batch_stay_is_wanted(&w->stay);
	int rc = call_and_show(c, command, "POST", id, "/retry", w->json, stays);
	if (rc == 0 && stays)
		rc = batch_stay(&w->stay, &f, str_from(id));
	else if (rc == 0)
		fprintf(stderr, "follow: millrace watch %s\n", id);
	return rc;
}

/* The files of a batch that has ended. */
static int output(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	_cleanup_(buf_done) struct buf path;
	struct client_answer a;
	int rc;
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/batches/%s", id);
	const struct client_request r = { .method = "GET", .path = buf_str(&path) };
	if (client_call(c, &r, &a)) {
		rc = client_complain(c, command, &a);
	} else if (!show_is_file_batch(a.body)) {
		fprintf(stderr, "millrace %s: this batch did not come as a file: millrace batch results %s\n", command, id);
		rc = CLI_EXIT_NOT_FOUND;
	} else if (!show_is_ended(a.body)) {
		fprintf(stderr, "millrace %s: it has not ended: millrace watch %s; what there is already: millrace batch results %s\n", command, id, id);
		rc = CLI_EXIT_FAILED;
	} else {
		const struct batch_stay wish = { .output = w->stay.errors || w->stay.output ? w->stay.output : "-", .errors = w->stay.errors };
		rc = batch_stay_fetch(&wish, c, command, a.body);
	}
	client_answer_done(&a);
	return rc;
}

static int results(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	struct term t;
	FILE *out = stdout;
	term_init(&t, stdout);
	if (w->output && !(out = fopen(w->output, "we"))) {
		fprintf(stderr, "millrace %s: %s: %s\n", command, w->output, strerror(errno));
		return CLI_EXIT_FAILED;
	}
	bool readable = t.tty && !w->json && !w->output;
	int rc = follow_results(c, command, str_from(id), readable ? &t : NULL, out);
	if (w->output && fclose(out) && rc == CLI_EXIT_OK) {
		fprintf(stderr, "millrace %s: %s: %s\n", command, w->output, strerror(errno));
		rc = CLI_EXIT_FAILED;
	}
	return rc;
}

#define BATCH_OPTIONS(w) \
	{ .name = "json", .kind = CLI_FLAG, .target = &(w)->json, .help = "Print JSON" }, CLIENT_OPTIONS(&(w)->client)

static int simple_main(int argc, char **argv, const char *name, const char *summary, act_fn *act)
{
	struct batch_wish w = { .json = false };
	const struct cli_option options[] = { BATCH_OPTIONS(&w), { .name = NULL } };
	const struct cli_command cmd = { .name = name, .summary = summary, .options = options };
	return with_batch(&cmd, &w, argc, argv, act);
}

static int show_main(int argc, char **argv)
{
	return simple_main(argc, argv, "batch show", "Shows a batch: its counts, times and refused lines.", show);
}

static int cancel_main(int argc, char **argv)
{
	return simple_main(argc, argv, "batch cancel", "Cancels the jobs of a batch that have not ended.", cancel);
}

static int retry_main(int argc, char **argv)
{
	struct batch_wish w = { .json = false };
	const struct cli_option options[] = { BATCH_STAY_OPTIONS(&w.stay), BATCH_OPTIONS(&w), { .name = NULL } };
	const struct cli_command cmd = {
		.name = "batch retry",
		.summary = "Runs the jobs of a batch that did not succeed once more.",
		.details = "The output of a batch from a file is then written anew, with all its lines.",
		.options = options,
	};
	return with_batch(&cmd, &w, argc, argv, retry);
}

static int output_main(int argc, char **argv)
{
	struct batch_wish w = { .json = false };
	const struct cli_option options[] = {
		{ .name = "output", .arg = "FILE", .kind = CLI_STR, .target = &w.stay.output, .help = "Where the lines that succeeded go (standard output)" },
		{ .name = "errors", .arg = "FILE", .kind = CLI_STR, .target = &w.stay.errors, .help = "Where the lines that failed go; without --output only these" },
		CLIENT_OPTIONS(&w.client),
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "batch output",
		.summary = "Downloads the output of a batch from a file: OpenAI's lines, in input order.",
		.details = "FILE may be - for standard output. Results that are there before the end, and\n"
		           "those of other batches, are what `millrace batch results` prints.",
		.options = options,
	};
	return with_batch(&cmd, &w, argc, argv, output);
}

static int results_main(int argc, char **argv)
{
	struct batch_wish w = { .json = false };
	const struct cli_option options[] = {
		{ .name = "output",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &w.output,
		  .help = "Write there, one JSON object a line" },
		BATCH_OPTIONS(&w),
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "batch results",
		.summary = "Prints a batch's results in the order of its jobs, also before it has ended.",
		.details = "On a terminal they are readable; on a pipe, with --json or --output they are one JSON "
		           "object a line.",
		.options = options,
	};
	return with_batch(&cmd, &w, argc, argv, results);
}

/* --- list --- */

static void add_row(struct term_table *t, struct arena *a, const json_t *batch)
{
	struct term_counts n;
	_cleanup_(buf_done) struct buf age;
	show_counts(batch, &n);
	buf_init(&age, 64);
	term_ago(&age, show_created_at(a, batch), clock_wall_us());
	const struct str cells[] = {
		json_str(batch, "id"),
		json_str(batch, "status"),
		buf_str(&age),
		show_count(a, n.total),
		show_count(a, n.succeeded),
		show_count(a, n.failed + n.canceled + n.expired),
		show_batch_cost(a, batch),
	};
	term_table_add(t, cells);
}

static int list_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	int64_t limit = 20;
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "limit", .arg = "N", .kind = CLI_INT, .target = &limit, .min = 1, .max = 100000, .help = "At most so many (20)" },
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "One JSON object a line" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	static const struct term_column columns[] = {
		{ .title = "BATCH" },
		{ .title = "STATUS", .status = true },
		{ .title = "CREATED", .spare = 3 },
		{ .title = "JOBS", .right = true, .spare = 2 },
		{ .title = "SUCCEEDED", .right = true, .spare = 4 },
		{ .title = "FAILED", .right = true },
		{ .title = "COST", .right = true, .spare = 1 },
		{ .title = NULL },
	};
	const struct cli_command cmd = { .name = "batch list", .usage = "[options]", .summary = "Lists batches, the newest first.", .options = options };
	struct cli_args args;
	struct client *c;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	const struct list l = { .client = c,
		                .command = cmd.name,
		                .noun = "batches",
		                .path = STR("/v1/batches"),
		                .limit = limit,
		                .page = 100,
		                .json = json,
		                .columns = columns,
		                .add_row = add_row };
	rc = list_print(&l);
	client_close(c);
	return rc;
}

int batch_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "create", "Make a batch of a file of OpenAI's requests", batch_create_main },
		{ "list", "List batches, the newest first", list_main },
		{ "show", "Show a batch: counts, times, cost, refused lines", show_main },
		{ "results", "Print its results, in the order of its jobs", results_main },
		{ "output", "Download the output of one that came as a file", output_main },
		{ "cancel", "Cancel its jobs that have not ended", cancel_main },
		{ "retry", "Run its jobs that did not succeed once more", retry_main },
	};
	return cli_dispatch("batch",
	                    "Makes batches of files, looks at batches, and changes what becomes of them.\n"
	                    "`millrace submit` makes a batch of documents.",
	                    subs, ARRAY_LEN(subs), argc, argv);
}
