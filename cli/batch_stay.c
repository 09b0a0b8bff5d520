/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch from a file ends with up to two files: the lines that succeeded and the others. A native batch has none: its results, all of them, are what
 * --output gets, and --errors is refused. A file that would have no line is not made; an empty one is written here, so that a script finds what it named.
 */
#include "cli/batch_stay.h"

#include "cli/exit.h"
#include "cli/show.h"
#include "cli/transfer.h"

bool batch_stay_is_wanted(const struct batch_stay *s)
{
	return s->watch || s->output || s->errors;
}

/* One of the two files to its place. */
static int fetch_file(struct client *c, const char *command, const char *name, struct str id)
{
	FILE *out;
	int rc = transfer_open(command, name, &out);
	if (rc)
		return rc;
	if (id.n)
		rc = transfer_fetch(c, command, id, out);
	return transfer_close(command, name, out, rc);
}

static int fetch_results(struct client *c, const char *command, const char *name, struct str id)
{
	FILE *out;
	int rc = transfer_open(command, name, &out);
	if (rc)
		return rc;
	rc = follow_results(c, command, id, NULL, out);
	return transfer_close(command, name, out, rc);
}

int batch_stay_fetch(const struct batch_stay *s, struct client *c, const char *command, const json_t *batch)
{
	int rc = 0;
	if (!show_is_file_batch(batch)) {
		if (s->errors)
			return cli_usage_error(command, "this batch did not come as a file and has no file of errors; --output has all results");
		return s->output ? fetch_results(c, command, s->output, json_str(batch, "id")) : 0;
	}
	if (s->output)
		rc = fetch_file(c, command, s->output, json_str(batch, "output_file_id"));
	if (s->errors && rc == 0)
		rc = fetch_file(c, command, s->errors, json_str(batch, "error_file_id"));
	return rc;
}

/* Where the answers are, when nobody has said where they should go. */
static void hint(const struct batch_stay *s, const json_t *batch)
{
	struct str id = json_str(batch, "id");
	if (json_str(batch, "output_file_id").n && !s->output)
		fprintf(stderr, "answers: millrace batch output " STR_FMT " --output FILE\n", STR_ARG(id));
	if (json_str(batch, "error_file_id").n && !s->errors)
		fprintf(stderr, "failed lines: millrace batch output " STR_FMT " --errors FILE; once more: millrace batch retry " STR_FMT "\n", STR_ARG(id),
		        STR_ARG(id));
}

int batch_stay(const struct batch_stay *s, const struct follow *f, struct str id)
{
	struct term errors;
	_cleanup_(json_drop) json_t *batch = NULL;
	int rc = follow_batch(f, id, &batch);
	if (rc)
		return rc;
	term_init(&errors, stderr);
	show_batch_summary(&errors, batch);
	rc = batch_stay_fetch(s, f->client, f->command, batch);
	if (s->json)
		show_json(stdout, batch);
	else
		hint(s, batch);
	if (rc)
		return rc;
	return show_is_good(batch) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}
