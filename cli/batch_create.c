/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace batch create FILE.jsonl`: uploads a file of requests in the form of OpenAI's Batch API and makes a batch of it; with --watch, --output or
 * --errors it stays until the batch has ended. The id goes to standard output, what people want to know besides to standard error.
 *
 * The file's first line says which endpoint is meant. Its lines are judged by the service, before anything runs: each fault is shown with its line.
 * Upload and batch carry keys of one series, so that a repeat after a lost answer, or by hand with the key that was printed, makes no second batch.
 */
#include <stdio.h>
#include <string.h>

#include "cli/batch_stay.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/show.h"
#include "cli/submit_input.h"
#include "cli/transfer.h"
#include "common/crypto.h"

#define COMMAND          "batch create"
#define DEFAULT_ENDPOINT "/v1/chat/completions"
#define DEFAULT_WINDOW   "24h"
#define KEY_MAX          240 /* of what a key may have, room for a suffix */

struct create {
	struct client_cfg client;
	struct batch_stay stay;
	const char *endpoint, *window, *max_cost, *webhook, *key;
	struct cli_list metadata;
	int64_t priority; /* -1: not given */
	bool dry_run;
};

/* --- the first line --- */

static struct str first_line(struct str text)
{
	while (text.n) {
		ssize_t end = str_find_char(text, '\n');
		struct str line = str_trim(end < 0 ? text : str_sub(text, 0, (size_t)end));
		if (line.n || end < 0)
			return line;
		text = str_sub(text, (size_t)end + 1, text.n);
	}
	return text;
}

/* The endpoint that the lines are for; an exit status when they are something else. What is not JSON is left to the service, which names its faults. */
static int find_endpoint(const struct create *w, const char *name, struct str text, struct arena *a, struct str *ret)
{
	struct str first = first_line(text);
	_cleanup_(json_drop) json_t *line = json_parse_lenient(first, NULL);
	struct str url = json_str(line, "url");
	if (first.n == 0) {
		fprintf(stderr, "millrace " COMMAND ": %s is empty\n", name);
		return CLI_EXIT_FAILED;
	}
	if (json_is_object(line) && url.n == 0 && json_is_object(json_get(line, "request"))) {
		fprintf(stderr, "millrace " COMMAND ": the lines of %s are jobs, not requests of OpenAI's Batch API: millrace submit %s\n", name, name);
		return CLI_EXIT_USAGE;
	}
	*ret = w->endpoint ? str_from(w->endpoint) : url.n ? arena_str(a, url) : STR(DEFAULT_ENDPOINT);
	return 0;
}

/* --- the batch --- */

/* All of the body but the file's id. */
static int make_body(const struct create *w, struct str endpoint, struct arena *a, json_t **ret)
{
	json_t *body = json_object(), *own = json_object();
	*ret = body;
	json_set_str(body, "endpoint", endpoint);
	json_set_str(body, "completion_window", str_from(w->window));
	json_object_set_new(body, "millrace", own);
	if (w->priority >= 0)
		json_set_i64(own, "priority", w->priority);
	if (w->max_cost)
		json_set_str(own, "max_cost_usd", str_from(w->max_cost[0] == '$' ? w->max_cost + 1 : w->max_cost));
	if (w->dry_run)
		json_object_set_new(own, "dry_run", json_true());
	if (w->webhook) {
		json_t *webhook = json_object();
		json_set_str(webhook, "url", str_from(w->webhook));
		json_object_set_new(own, "webhook", webhook);
	}
	return w->metadata.n ? submit_set_metadata(COMMAND, body, &w->metadata, a) : 0;
}

static int create_batch(struct client *c, const json_t *body, const char *key, json_t **ret)
{
	_cleanup_(buf_done) struct buf text;
	struct client_answer a;
	buf_init(&text, 1 << 20);
	json_write(&text, body);
	const struct client_request r = { .method = "POST", .path = STR("/v1/batches"), .body = buf_str(&text), .idempotency_key = key };
	int rc = client_call(c, &r, &a);
	if (rc == 0 && json_str(a.body, "id").n == 0)
		rc = err_set(&a.err, ERR_BAD_OUTPUT, "the service's answer has no id");
	int status = rc ? client_complain(c, COMMAND, &a) : 0;
	if (rc && a.sent && (a.status == 0 || a.status >= 500))
		fprintf(stderr, "It may have been accepted; repeat it safely with --idempotency-key %s\n", key);
	if (rc == 0)
		*ret = take(&a.body);
	client_answer_done(&a);
	return status;
}

static void say_created(const struct create *w, const json_t *batch, const char *key)
{
	struct term errors;
	struct str id = json_str(batch, "id");
	bool stays = batch_stay_is_wanted(&w->stay);
	bool output_here = w->stay.output && strcmp(w->stay.output, "-") == 0, errors_here = w->stay.errors && strcmp(w->stay.errors, "-") == 0;
	bool id_on_stdout = !w->stay.json && !output_here && !errors_here;
	term_init(&errors, stderr);
	if (id_on_stdout)
		printf(STR_FMT "\n", STR_ARG(id));
	else if (w->stay.json && !stays)
		show_json(stdout, batch);
	fflush(stdout);
	fputs(term_style(&errors, TERM_DIM), stderr);
	if (!id_on_stdout)
		fprintf(stderr, "batch " STR_FMT "\n", STR_ARG(id));
	fprintf(stderr, "idempotency key %s\n", key);
	if (!stays)
		fprintf(stderr, "follow: millrace watch " STR_FMT "\n", STR_ARG(id));
	fputs(term_reset(&errors), stderr);
}

/* --- all of it --- */

/* Upload, then the batch. */
static int send(const struct create *w, struct client *c, const char *name, struct str content, json_t *body)
{
	struct arena a;
	_cleanup_(json_drop) json_t *file = NULL, *batch = NULL;
	_cleanup_(buf_done) struct buf random;
	uint64_t deadline = follow_deadline(w->client.timeout_ms);
	arena_init(&a, 65536);
	buf_init(&random, 64);
	crypto_random_base62(&random, 16);
	const char *key = w->key ? w->key : arena_strz(&a, buf_str(&random));
	const struct transfer_wish upload = { .command = COMMAND,
		                              .filename = strcmp(name, "-") == 0 ? "stdin.jsonl" : name,
		                              .purpose = "batch",
		                              .idempotency_key = arena_printf(&a, "%s-file", key).p };
	int rc = transfer_send(c, &upload, content, &file);
	if (rc == 0) {
		json_set_str(body, "input_file_id", json_str(file, "id"));
		rc = create_batch(c, body, key, &batch);
	}
	if (rc == 0) {
		const struct follow f = { .client = c, .command = COMMAND, .label = "batch", .deadline_ms = deadline };
		say_created(w, batch, key);
		if (batch_stay_is_wanted(&w->stay))
			rc = batch_stay(&w->stay, &f, json_str(batch, "id"));
	}
	arena_done(&a);
	return rc;
}

static int run(const struct create *w, const char *name)
{
	struct arena a;
	struct str endpoint = STR("");
	struct client *c;
	_cleanup_(buf_done) struct buf content;
	_cleanup_(json_drop) json_t *body = NULL;
	arena_init(&a, 1 << 20);
	int rc = transfer_read(COMMAND, name, &content);
	if (rc == 0)
		rc = find_endpoint(w, strcmp(name, "-") == 0 ? "standard input" : name, buf_str(&content), &a, &endpoint);
	if (rc == 0)
		rc = make_body(w, endpoint, &a, &body);
	if (rc == 0 && (rc = client_open_for(&w->client, COMMAND, &c)) == 0) {
		rc = send(w, c, name, buf_str(&content), body);
		client_close(c);
	}
	arena_done(&a);
	return rc;
}

static int check_wish(const struct create *w, const char *name)
{
	if (strcmp(name, "-") != 0 && !str_has_suffix(str_from(name), STR(".jsonl")))
		return cli_usage_error(COMMAND, "the name of a batch's file ends in .jsonl, \"%s\" does not", name);
	if (w->key && strlen(w->key) > KEY_MAX)
		return cli_usage_error(COMMAND, "--idempotency-key: at most %d characters", KEY_MAX);
	return 0;
}

static const char details[] =
    "A line of the file is one request, as OpenAI's Batch API has it:\n"
    "  {\"custom_id\": \"1\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\",\n"
    "   \"body\": {\"model\": \"default\", \"messages\": […]}}\n"
    "Without --watch, --output or --errors it returns as soon as the batch is safe.\n\n"
    "Examples:\n"
    "  millrace batch create in.jsonl --output out.jsonl --errors failed.jsonl\n"
    "  millrace batch create in.jsonl --dry-run\n"
    "  millrace batch create in.jsonl --max-cost 12.50 --window 7d";

int batch_create_main(int argc, char **argv)
{
	struct create w = { .window = DEFAULT_WINDOW, .priority = -1 };
	const struct cli_option options[] = {
		{ .name = "endpoint", .arg = "PATH", .kind = CLI_STR, .target = &w.endpoint, .help = "What the lines ask (the url of the first one)" },
		{ .name = "window", .arg = "TIME", .kind = CLI_STR, .target = &w.window, .help = "What has not ended by then expires (24h)" },
		{ .name = "dry-run", .kind = CLI_FLAG, .target = &w.dry_run, .help = "Only check the lines and estimate the cost" },
		{ .name = "max-cost", .arg = "USD", .kind = CLI_STR, .target = &w.max_cost, .help = "Never spend more on it, in US dollars" },
		{ .name = "priority", .arg = "N", .kind = CLI_INT, .target = &w.priority, .min = 0, .max = 9, .help = "0 is first, 9 last" },
		{ .name = "metadata", .arg = "KEY=VALUE", .kind = CLI_LIST, .target = &w.metadata, .help = "May be repeated, 16 times" },
		{ .name = "webhook", .arg = "URL", .kind = CLI_STR, .target = &w.webhook, .help = "Is called when the batch has ended" },
		{ .name = "idempotency-key",
		  .arg = "KEY",
		  .kind = CLI_STR,
		  .target = &w.key,
		  .help = "Repeats a submission safely (default: a new one, printed)" },
		BATCH_STAY_OPTIONS(&w.stay),
		{ .name = "json", .kind = CLI_FLAG, .target = &w.stay.json, .help = "Print the batch as JSON, at the end when it stays" },
		CLIENT_OPTIONS(&w.client),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = COMMAND,
		                         .usage = "FILE.jsonl|- [options]",
		                         .summary = "Makes a batch of a file with a request of OpenAI's Batch API a line.",
		                         .details = details,
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = 1 };
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	w.stay.watch = w.stay.watch || w.dry_run; /* its end is all there is to see */
	rc = check_wish(&w, args.v[0]);
	return rc ? rc : run(&w, args.v[0]);
}
