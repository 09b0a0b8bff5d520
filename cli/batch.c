/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace batch show|results|cancel|retry`. Results are streamed as they arrive: readable on a terminal, the
 * service's NDJSON on a pipe, with --json, or into
 * --output, so that a batch of any size needs no memory here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/follow.h"
#include "cli/show.h"

struct batch_wish {
	struct client_cfg client;
	const char *output;
	bool json;
};

typedef int act_fn(struct client *c, const char *command, const char *id, const struct batch_wish *w);

/* What all of them have in common: options, one id, a client. */
static int with_batch(const struct cli_command *base, struct batch_wish *w, int argc, char **argv, act_fn *act)
{
	struct cli_command cmd = *base;
	struct cli_args args;
	struct client *c;
	int rc;
	cmd.usage = "ID [options]";
	cmd.min_args = cmd.max_args = 1;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!client_is_id(args.v[0]))
		return cli_usage_error(cmd.name, "\"%s\" is not a batch's id", args.v[0]);
	if ((rc = client_open_for(&w->client, cmd.name, &c)))
		return rc;
	rc = act(c, cmd.name, args.v[0], w);
	client_close(c);
	return rc;
}

static int call_and_show(struct client *c, const char *command, const char *method, const char *id, const char *verb,
                         bool json)
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
	else if (json)
		show_json(stdout, a.body);
	else
		show_batch(&t, a.body);
	client_answer_done(&a);
	return rc;
}

static int show(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	return call_and_show(c, command, "GET", id, "", w->json);
}

static int cancel(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	return call_and_show(c, command, "POST", id, "/cancel", w->json);
}

static int retry(struct client *c, const char *command, const char *id, const struct batch_wish *w)
{
	return call_and_show(c, command, "POST", id, "/retry", w->json);
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
	return simple_main(argc, argv, "batch retry", "Runs the failed jobs of a batch again.", retry);
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

int batch_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "show", "Show a batch: counts, times, refused lines", show_main },
		{ "results", "Print its results, in the order of its jobs", results_main },
		{ "cancel", "Cancel its jobs that have not ended", cancel_main },
		{ "retry", "Run its failed jobs again", retry_main },
	};
	return cli_dispatch("batch", "Looks at a batch and changes what becomes of it. `millrace submit` makes one.",
	                    subs, ARRAY_LEN(subs), argc, argv);
}
