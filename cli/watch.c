/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace watch ID`: stays until a job or a batch has ended, shows its progress on standard error and what became of
 * it on standard output. The exit status says whether it went well. Ctrl-C and --timeout end the watching only.
 */
#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/follow.h"
#include "cli/show.h"

static int watch(const struct follow *f, struct str id, bool json)
{
	bool is_batch = str_has_prefix(id, STR("batch_"));
	_cleanup_(json_drop) json_t *object = NULL;
	struct term t;
	term_init(&t, stdout);
	int rc = is_batch ? follow_batch(f, id, &object) : follow_job(f, id, &object);
	if (rc)
		return rc;
	if (json)
		show_json(stdout, object);
	else if (is_batch)
		show_batch_summary(&t, object);
	else
		show_job(&t, object);
	return show_is_good(object) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

int watch_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json",
		  .kind = CLI_FLAG,
		  .target = &json,
		  .help = "Print the job or batch as JSON at the end" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "watch",
		.usage = "ID [options]",
		.summary =
		    "Follows a job or a batch until it has ended; the exit status is 0 when all of it succeeded.",
		.options = options,
		.min_args = 1,
		.max_args = 1,
	};
	struct cli_args args;
	char id[CLIENT_ID_MAX];
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!client_id(args.v[0], CLIENT_BATCH, id) && !client_id(args.v[0], CLIENT_JOB, id))
		return cli_usage_error(cmd.name, "\"%s\" is not the id of a job or a batch (job_…, batch_…)", args.v[0]);
	struct client *c;
	rc = client_open_for(&cfg, "watch", &c);
	if (rc)
		return rc;
	const struct follow f = {
		.client = c, .command = "watch", .label = args.v[0], .deadline_ms = follow_deadline(cfg.timeout_ms)
	};
	rc = watch(&f, str_from(id), json);
	client_close(c);
	return rc;
}
