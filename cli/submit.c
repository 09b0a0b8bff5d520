/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace submit`: sends one job or a batch, and with --watch or --wait stays until it has ended. The id goes to
 * standard output, what people want to know besides to standard error, so that ID=$(millrace submit …) works.
 *
 * The submission carries an Idempotency-Key in any case: a repeat after a lost answer (by the client itself, or by hand
 * with the key that was printed) never makes a second job. The default key holds a random part, because submitting the
 * same file twice on purpose is a right use.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/follow.h"
#include "cli/show.h"
#include "cli/submit_input.h"
#include "common/crypto.h"

#define SUBMIT_TIMEOUT_MS 600000

struct submit {
	struct client_cfg client;
	struct submit_wish wish;
	const char *key, *output; /* --idempotency-key, --output */
	bool watch, wait, json;
};

/* Eight digits of the body's SHA-256 and eight characters of chance. */
static struct str default_key(struct buf *b, struct str body)
{
	uint8_t hash[SHA256_LEN];
	crypto_sha256(body, hash);
	crypto_hex(b, (struct str){ (const char *)hash, 4 });
	buf_add_char(b, '-');
	crypto_random_base62(b, 8);
	buf_add_char(b, 0);
	return str_sub(buf_str(b), 0, b->n - 1);
}

static FILE *open_output(const char *file)
{
	FILE *out = fopen(file, "we");
	if (!out)
		fprintf(stderr, "millrace submit: --output: %s: %s\n", file, strerror(errno));
	return out;
}

/* --- after the submission --- */

static int end_job(const struct submit *s, const struct follow *f, struct str id, FILE *out)
{
	_cleanup_(json_drop) json_t *job = NULL;
	int rc = follow_job(f, id, &job);
	if (rc)
		return rc;
	if (s->json || out) {
		show_json(out ? out : stdout, job);
	} else if (!show_is_good(job)) {
		show_job_error("submit", job);
	} else if (s->wait) {
		struct arena a;
		arena_init(&a, (size_t)512 << 20);
		printf(STR_FMT "\n", STR_ARG(show_result_text(&a, job)));
		arena_done(&a);
	}
	return show_is_good(job) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

static int end_batch(const struct submit *s, const struct follow *f, struct str id, FILE *out)
{
	struct term screen, errors;
	_cleanup_(json_drop) json_t *batch = NULL;
	term_init(&screen, stdout);
	term_init(&errors, stderr);
	int rc = follow_batch(f, id, &batch);
	if (rc)
		return rc;
	if (s->wait || out) {
		bool readable = !s->json && !out && screen.tty;
		rc = follow_results(f->client, "submit", id, readable ? &screen : NULL, out ? out : stdout);
		if (rc)
			return rc;
	} else if (s->json) {
		show_json(stdout, batch);
	}
	show_batch_summary(&errors, batch);
	return show_is_good(batch) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

static void say_submitted(const struct submit *s, const json_t *object, bool is_batch, const char *key)
{
	struct term errors;
	struct str id = json_str(object, "id");
	bool stays = s->watch || s->wait || s->output, id_on_stdout = !s->json && !s->wait && !s->output;
	term_init(&errors, stderr);
	if (id_on_stdout)
		printf(STR_FMT "\n", STR_ARG(id));
	if (s->json && !stays)
		show_json(stdout, object);
	fflush(stdout);
	fprintf(stderr, "%ssubmitted ", term_style(&errors, TERM_DIM));
	_cleanup_(buf_done) struct buf count;
	buf_init(&count, 64);
	term_count(&count, is_batch ? json_i64(object, "total", 0) : 1);
	fprintf(stderr, STR_FMT " job%s", STR_ARG(buf_str(&count)), str_eq_z(buf_str(&count), "1") ? "" : "s");
	if (!id_on_stdout)
		fprintf(stderr, " as " STR_FMT, STR_ARG(id));
	fprintf(stderr, "\nidempotency key %s\n", key);
	if (!stays)
		fprintf(stderr, "follow: millrace watch " STR_FMT "\n", STR_ARG(id));
	fprintf(stderr, "%s", term_reset(&errors));
	size_t bad = json_array_size(json_get(object, "errors"));
	if (bad && !stays)
		fprintf(stderr, "%zu line%s refused: millrace batch show " STR_FMT "\n", bad,
		        bad == 1 ? " was" : "s were", STR_ARG(id));
}

static int send(const struct submit *s, struct client *c, const struct submit_body *body, FILE *out)
{
	struct client_answer a;
	_cleanup_(buf_done) struct buf made;
	uint64_t deadline = follow_deadline(s->client.timeout_ms);
	buf_init(&made, 128);
	const char *key = s->key ? s->key : default_key(&made, buf_str(&body->text)).p;
	const struct client_request r = {
		.method = "POST",
		.path = STR("/v1/jobs"),
		.body = buf_str(&body->text),
		.content_type = body->is_ndjson ? "application/x-ndjson" : "application/json",
		.idempotency_key = key,
		.timeout_ms = s->client.timeout_ms ? 0 : SUBMIT_TIMEOUT_MS,
	};
	int rc = client_call(c, &r, &a), status;
	struct str id = json_str(a.body, "id");
	if (rc || id.n == 0) {
		if (rc == 0)
			err_set(&a.err, ERR_BAD_OUTPUT, "the service's answer has no id");
		status = client_complain(c, "submit", &a);
		if (a.sent && (a.status == 0 || a.status >= 500))
			fprintf(stderr, "It may have been accepted; repeat it safely with --idempotency-key %s\n", key);
		client_answer_done(&a);
		return status;
	}
	bool is_batch = str_eq_z(json_str(a.body, "object"), "batch");
	say_submitted(s, a.body, is_batch, key);
	status = CLI_EXIT_OK;
	const struct follow f = {
		.client = c, .command = "submit", .label = is_batch ? "batch" : "job", .deadline_ms = deadline
	};
	if (s->watch || s->wait || out)
		status = is_batch ? end_batch(s, &f, id, out) : end_job(s, &f, id, out);
	client_answer_done(&a);
	return status;
}

static int run(const struct submit *s, const struct cli_args *args)
{
	struct submit_body body;
	struct client *c;
	FILE *out = NULL;
	int rc = submit_input_read(&s->wish, args, &body);
	if (rc)
		return rc;
	if (s->output && !(out = open_output(s->output))) {
		rc = CLI_EXIT_FAILED;
	} else if ((rc = client_open_for(&s->client, "submit", &c)) == 0) {
		rc = send(s, c, &body, out);
		client_close(c);
	}
	if (out && fclose(out)) {
		fprintf(stderr, "millrace submit: --output: %s: %s\n", s->output, strerror(errno));
		rc = CLI_EXIT_FAILED;
	}
	buf_done(&body.text);
	return rc;
}

/* What the command line must hold, and what excludes each other. */
static int check_wish(const struct submit_wish *w, const struct cli_args *args)
{
	if (args->n == 0 && !w->prompt)
		return cli_usage_error("submit", "nothing to submit: give --prompt, files, or - for standard input");
	if (w->route && w->model)
		return cli_usage_error("submit", "--route and --model exclude each other");
	return CLI_EXIT_OK;
}

static const char submit_details[] =
    "Images (png, jpg, webp, gif) and PDFs are sent as such, other files as text. An NDJSON "
    "file holds one job a line,\n"
    "as POST /v1/jobs takes it. Without --watch, --wait or --output it returns as soon as the "
    "jobs are safe.\n\n"
    "Examples:\n"
    "  millrace submit --prompt 'Name three rivers' --wait\n"
    "  millrace submit invoices/*.txt --prompt 'Extract the total' \\\n"
    "    --schema total.json --output totals.ndjson\n"
    "  git diff | millrace submit - --prompt 'Review this change' --wait";

int submit_main(int argc, char **argv)
{
	struct submit s = { .wish = { .max_tokens = -1, .priority = -1 } };
	struct submit_wish *w = &s.wish;
	const struct cli_option options[] = {
		{ .name = "prompt",
		  .arg = "TEXT",
		  .kind = CLI_STR,
		  .target = &w->prompt,
		  .help = "What to do with each file (system message); without files: the job itself" },
		{ .name = "schema",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &w->schema_file,
		  .help = "JSON Schema that answers must follow" },
		{ .name = "route",
		  .arg = "NAME",
		  .kind = CLI_STR,
		  .target = &w->route,
		  .help = "Route of the configuration (default: default)" },
		{ .name = "model",
		  .arg = "NAME",
		  .kind = CLI_STR,
		  .target = &w->model,
		  .help = "A model or target instead of a route" },
		{ .name = "max-tokens",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &w->max_tokens,
		  .min = 1,
		  .max = 100000000,
		  .help = "Longest answer" },
		{ .name = "priority",
		  .arg = "N",
		  .kind = CLI_INT,
		  .target = &w->priority,
		  .min = 0,
		  .max = 9,
		  .help = "0 is first, 9 last" },
		{ .name = "metadata",
		  .arg = "KEY=VALUE",
		  .kind = CLI_LIST,
		  .target = &w->metadata,
		  .help = "May be repeated, 16 times" },
		{ .name = "webhook",
		  .arg = "URL",
		  .kind = CLI_STR,
		  .target = &w->webhook,
		  .help = "Is called when a job has ended" },
		{ .name = "idempotency-key",
		  .arg = "KEY",
		  .kind = CLI_STR,
		  .target = &s.key,
		  .help = "Repeats a submission safely (default: a new one, printed)" },
		{ .name = "watch", .kind = CLI_FLAG, .target = &s.watch, .help = "Stay and show the progress" },
		{ .name = "wait", .kind = CLI_FLAG, .target = &s.wait, .help = "Stay and print the results" },
		{ .name = "output",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &s.output,
		  .help = "Stay and write the results there, one JSON object a line" },
		{ .name = "json", .kind = CLI_FLAG, .target = &s.json, .help = "Print JSON instead of text" },
		CLIENT_OPTIONS(&s.client),
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "submit",
		.usage = "[FILE|PATTERN|-|FILE.ndjson]… [options]",
		.summary = "Submits jobs: --prompt alone is one job, each file becomes one, several files one batch.",
		.details = submit_details,
		.options = options,
		.max_args = SIZE_MAX,
	};
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	rc = check_wish(w, &args);
	return rc ? rc : run(&s, &args);
}
