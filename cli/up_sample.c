/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace sample`: what a newcomer sees work. The licence texts that Debian installs are real documents of real
 * length; each is asked for its title, the duties of the parties and a summary, as JSON by a schema, all in one batch.
 * It is a client like any other: it knows the service's address and a key, nothing else. `millrace up --sample` runs it
 * as a child.
 *
 * All is well: read the texts → one NDJSON submission → poll the batch's jobs, with a progress line → a table, one
 * result in full, the sum. A job that fails is a row of the table and makes the exit status 1; a service that does not
 * answer is said and ends it.
 *
 * A text over 60,000 bytes is cut at a word's end, with a note in the prompt, so that it fits any provider's window.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "cli/term.h"
#include "cli/up.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/file.h"

#define LICENSES      "/usr/share/common-licenses"
#define DOCUMENTS_MAX 64
#define DOCUMENT_MAX  (4 << 20)
#define TEXT_MAX      60000
#define POLL_MS       200
#define LIMIT_MS      (15 * 60 * 1000)

static const char instruction[] =
    "You read legal documents. Answer with JSON: \"title\" (the document's own title), \"duties\" (for each party the "
    "most important duties, one short sentence each) and \"summary\" (exactly three sentences).";

static const char schema[] =
    "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"document\",\"strict\":true,\"schema\":{\"type\":\"object\","
    "\"properties\":{\"title\":{\"type\":\"string\",\"description\":\"The document's own title\"},"
    "\"duties\":{\"type\":\"array\",\"description\":\"The most important duties, at most "
    "five\",\"items\":{\"type\":\"object\","
    "\"properties\":{\"party\":{\"type\":\"string\",\"description\":\"Who has the duty\"},"
    "\"duty\":{\"type\":\"string\",\"description\":\"What must be done\"}},\"required\":[\"party\",\"duty\"],"
    "\"additionalProperties\":false}},\"summary\":{\"type\":\"string\",\"description\":\"Exactly three sentences\"}},"
    "\"required\":[\"title\",\"duties\",\"summary\"],\"additionalProperties\":false}}}";

struct document {
	const char *name, *path;
};

struct sample {
	struct arena arena;
	struct client *client;
	struct term term;
	struct document documents[DOCUMENTS_MAX];
	size_t n;
	struct str batch;
	json_t *jobs; /* owned: the last list */
	uint64_t started_ms;
};

/* --- the documents --- */

static bool has_document(const struct sample *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->documents[i].path, path) == 0)
			return true;
	return false;
}

/* A text by its real path, once: GPL is a link to GPL-3. */
static void add_document(struct sample *s, const char *path)
{
	char *real = realpath(path, NULL);
	if (real && s->n < DOCUMENTS_MAX && !has_document(s, real)) {
		const char *kept = arena_strz(&s->arena, str_from(real));
		const char *slash = strrchr(kept, '/');
		s->documents[s->n++] = (struct document){ slash ? slash + 1 : kept, kept };
	}
	free(real);
}

/* The LICENSE of the checkout that this program was built in: build/millrace or build/MODE/millrace. */
static void add_own_license(struct sample *s)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	struct str dir = { exe, n > 0 ? (size_t)n : 0 };
	for (int up = 0; up < 4 && dir.n > 0 && s->n == 0; up++) {
		while (dir.n > 0 && dir.p[dir.n - 1] != '/')
			dir.n--;
		dir.n -= dir.n > 0;
		const char *path = arena_printf(&s->arena, STR_FMT "/LICENSE", STR_ARG(dir)).p;
		if (access(path, R_OK) == 0)
			add_document(s, path);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct document *)a)->name, ((const struct document *)b)->name);
}

static void find_documents(struct sample *s)
{
	DIR *d = opendir(LICENSES);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			add_document(s, arena_printf(&s->arena, LICENSES "/%s", e->d_name).p);
	if (d)
		closedir(d);
	if (!s->n)
		add_own_license(s);
	qsort(s->documents, s->n, sizeof(s->documents[0]), by_name);
}

/* --- the submission --- */

static struct str cut(struct str text)
{
	if (text.n <= TEXT_MAX)
		return text;
	text = str_utf8_prefix(text, TEXT_MAX);
	size_t n = text.n;
	while (n > 0 && text.p[n - 1] != ' ' && text.p[n - 1] != '\n')
		n--;
	return n ? str_sub(text, 0, n) : text;
}

static int add_job(struct sample *s, struct buf *body, const struct document *d, struct err *err)
{
	struct str text;
	int rc = file_read(d->path, DOCUMENT_MAX, &s->arena, &text, err);
	if (rc < 0)
		return rc;
	struct str shown = cut(text);
	const char *note = shown.n < text.n ? "\n\n[The document goes on; it was cut here.]" : "";
	struct str prompt = arena_printf(&s->arena, "%s:\n\n" STR_FMT "%s", d->name, STR_ARG(shown), note);
	buf_add_z(body, "{\"request\":{\"messages\":[{\"role\":\"system\",\"content\":");
	buf_add_json_str(body, str_from(instruction));
	buf_add_z(body, "},{\"role\":\"user\",\"content\":");
	buf_add_json_str(body, prompt);
	buf_printf(body, "}],\"max_tokens\":700,\"temperature\":0,\"response_format\":%s},\"metadata\":{\"document\":",
	           schema);
	buf_add_json_str(body, str_from(d->name));
	buf_add_z(body, "}}\n");
	return buf_failed(body) ? err_set(err, ERR_TOO_LARGE, "the documents are too large together") : 0;
}

static int call(struct sample *s, const struct client_request *r, struct client_answer *a)
{
	int rc = client_call(s->client, r, a);
	if (rc >= 0 && !a->body)
		rc = err_set(&a->err, ERR_BAD_JSON, "the answer is not JSON");
	return rc;
}

/* Returns an exit status. */
static int submit(struct sample *s)
{
	struct err err = { 0 };
	struct buf body;
	uint8_t random[16];
	int rc = 0;
	buf_init(&body, 64 << 20);
	for (size_t i = 0; rc >= 0 && i < s->n; i++)
		rc = add_job(s, &body, &s->documents[i], &err);
	if (rc < 0) {
		fprintf(stderr, "millrace sample: %s\n", err.text);
		buf_done(&body);
		return CLI_EXIT_FAILED;
	}
	struct buf key;
	buf_init(&key, 64);
	crypto_random(random, sizeof(random));
	crypto_hex(&key, (struct str){ (const char *)random, sizeof(random) });
	const char *key_text = arena_strz(&s->arena, buf_str(&key));
	const struct client_request r = { .method = "POST",
		                          .path = STR("/v1/jobs"),
		                          .body = buf_str(&body),
		                          .content_type = "application/x-ndjson",
		                          .idempotency_key = key_text };
	struct client_answer a = { 0 };
	int status = CLI_EXIT_OK;
	if (call(s, &r, &a) < 0)
		status = client_complain(s->client, "sample", &a);
	else
		s->batch = arena_str(&s->arena, json_str(a.body, "id"));
	client_answer_done(&a);
	buf_done(&key);
	buf_done(&body);
	return status;
}

/* --- progress --- */

static bool is_over(struct str status)
{
	return str_eq_z(status, "succeeded") || str_eq_z(status, "failed") || str_eq_z(status, "canceled") ||
	       str_eq_z(status, "expired");
}

static struct term_counts count(const struct sample *s)
{
	struct term_counts c = { .total = (int64_t)s->n, .rate_per_s = -1, .eta_ms = -1 };
	size_t i;
	json_t *job;
	json_array_foreach(s->jobs, i, job)
	{
		struct str status = json_str(job, "status");
		c.succeeded += str_eq_z(status, "succeeded");
		c.failed += str_eq_z(status, "failed");
		c.canceled += str_eq_z(status, "canceled");
		c.expired += str_eq_z(status, "expired");
		c.running += str_eq_z(status, "running");
		c.queued += !is_over(status) && !str_eq_z(status, "running");
	}
	return c;
}

static int list_jobs(struct sample *s)
{
	const struct client_request r = { .method = "GET",
		                          .path = arena_printf(&s->arena, "/v1/jobs?batch_id=" STR_FMT "&limit=100",
		                                               STR_ARG(s->batch)) };
	struct client_answer a = { 0 };
	int status = CLI_EXIT_OK;
	if (call(s, &r, &a) < 0) {
		status = client_complain(s->client, "sample", &a);
	} else {
		json_drop(&s->jobs);
		s->jobs = json_incref(json_get(a.body, "data"));
	}
	client_answer_done(&a);
	return status;
}

static int wait_for_end(struct sample *s)
{
	struct term_bar bar;
	int status;
	term_bar_init(&bar, &s->term, "sample");
	for (;;) {
		status = list_jobs(s);
		if (status)
			break;
		struct term_counts c = count(s);
		term_bar_update(&bar, &c, clock_mono_ms());
		if (c.succeeded + c.failed + c.canceled + c.expired >= c.total)
			break;
		if (clock_mono_ms() - s->started_ms > LIMIT_MS || client_sleep(s->client, POLL_MS) < 0) {
			status = CLI_EXIT_TIMEOUT;
			break;
		}
	}
	term_bar_end(&bar);
	return status;
}

/* --- the result --- */

static json_t *job_of(const struct sample *s, const char *document)
{
	size_t i;
	json_t *job;
	json_array_foreach(s->jobs, i,
	                   job) if (str_eq_z(json_str(json_get(job, "metadata"), "document"), document)) return job;
	return NULL;
}

static struct str number(struct arena *a, int64_t v)
{
	struct buf b;
	buf_init(&b, 64);
	term_count(&b, v);
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

static struct str money(struct arena *a, struct str usd, int64_t *sum)
{
	int64_t nanousd = -1;
	struct buf b;
	buf_init(&b, 64);
	if (conf_parse_usd(usd, &nanousd) >= 0)
		*sum += nanousd;
	term_money(&b, nanousd);
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

static struct str duration(struct arena *a, int64_t ms)
{
	struct buf b;
	buf_init(&b, 64);
	term_duration(&b, ms);
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

static struct str run_time(struct arena *a, const json_t *job)
{
	int64_t from, to;
	if (clock_parse_rfc3339(json_str(job, "started_at"), &from) < 0 ||
	    clock_parse_rfc3339(json_str(job, "finished_at"), &to) < 0)
		return STR("-");
	return duration(a, (to - from) / 1000);
}

static void print_table(struct sample *s)
{
	static const struct term_column columns[] = {
		{ .title = "document" },
		{ .title = "status", .status = true },
		{ .title = "target", .shrink = true },
		{ .title = "tokens in", .right = true },
		{ .title = "out", .right = true },
		{ .title = "cost", .right = true },
		{ .title = "time", .right = true },
		{ .title = NULL },
	};
	struct term_table table;
	int64_t in = 0, out = 0, cost = 0;
	term_table_init(&table, &s->arena, columns);
	for (size_t i = 0; i < s->n; i++) {
		const json_t *job = job_of(s, s->documents[i].name), *usage = json_get(job, "usage");
		struct str error = json_str(json_get(job, "error"), "code");
		struct str target = error.n ? error : json_str(json_get(job, "served_by"), "target");
		const struct str cells[] = {
			str_from(s->documents[i].name),
			json_str(job, "status"),
			target,
			number(&s->arena, json_i64(usage, "input_tokens", 0)),
			number(&s->arena, json_i64(usage, "output_tokens", 0)),
			money(&s->arena, json_str(json_get(job, "cost"), "usd"), &cost),
			run_time(&s->arena, job),
		};
		in += json_i64(usage, "input_tokens", 0);
		out += json_i64(usage, "output_tokens", 0);
		term_table_add(&table, cells);
	}
	fputc('\n', s->term.out);
	term_table_print(&table, &s->term);
	struct term_counts c = count(s);
	struct buf total;
	buf_init(&total, 64);
	term_money(&total, cost);
	struct str took = duration(&s->arena, (int64_t)(clock_mono_ms() - s->started_ms));
	fprintf(s->term.out,
	        "\n%d of %d succeeded in " STR_FMT ": " STR_FMT " tokens in, " STR_FMT " out, " STR_FMT "\n",
	        (int)c.succeeded, (int)s->n, STR_ARG(took), STR_ARG(number(&s->arena, in)),
	        STR_ARG(number(&s->arena, out)), STR_ARG(buf_str(&total)));
	buf_done(&total);
}

/* The answer's text, laid out when it is JSON as was asked. */
static void print_content(struct sample *s, const char *document, struct str content)
{
	_cleanup_(json_drop) json_t *v = json_parse(content, NULL);
	char *pretty = v ? json_dumps(v, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
	fprintf(s->term.out, "\n%s%s%s\n", term_style(&s->term, TERM_BOLD), document, term_reset(&s->term));
	struct str rest = pretty ? str_from(pretty) : content, line;
	while (str_split(&rest, '\n', &line)) {
		/* On a terminal a long text is cut, so that the layout can be seen. */
		struct str shown = term_safe(&s->arena, line);
		if (s->term.columns)
			shown = term_fit(&s->arena, shown, (size_t)s->term.columns);
		fprintf(s->term.out, STR_FMT "\n", STR_ARG(shown));
	}
	free(pretty);
}

/* One result in full: the first document that succeeded. */
static int print_example(struct sample *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const json_t *job = job_of(s, s->documents[i].name);
		if (!str_eq_z(json_str(job, "status"), "succeeded"))
			continue;
		const struct client_request r = { .method = "GET",
			                          .path = arena_printf(&s->arena, "/v1/jobs/" STR_FMT,
			                                               STR_ARG(json_str(job, "id"))) };
		struct client_answer a = { 0 };
		int status = CLI_EXIT_OK;
		if (call(s, &r, &a) < 0) {
			status = client_complain(s->client, "sample", &a);
		} else {
			const json_t *choice = json_array_get(json_get(json_get(a.body, "result"), "choices"), 0);
			print_content(s, s->documents[i].name, json_str(json_get(choice, "message"), "content"));
		}
		client_answer_done(&a);
		return status;
	}
	return CLI_EXIT_OK;
}

static int run(struct sample *s)
{
	s->started_ms = clock_mono_ms();
	find_documents(s);
	if (!s->n) {
		fprintf(stderr,
		        "millrace sample: no documents: neither " LICENSES " nor a LICENSE beside the program\n");
		return CLI_EXIT_NOT_FOUND;
	}
	int status = submit(s);
	if (!status)
		status = wait_for_end(s);
	if (status)
		return status;
	print_table(s);
	status = print_example(s);
	fflush(s->term.out);
	if (status)
		return status;
	return count(s).succeeded == (int64_t)s->n ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* Address and key from the ready file of the `up` that runs us. */
static int read_ready_file(struct sample *s, const char *path, struct client_cfg *cfg, struct err *err)
{
	struct str text;
	int rc = file_read(path, 1 << 20, &s->arena, &text, err);
	if (rc < 0)
		return rc;
	_cleanup_(json_drop) json_t *v = json_parse(text, err);
	if (!v)
		return -ERR_CONFIG;
	cfg->url = arena_strz(&s->arena, json_str(v, "url"));
	cfg->key = arena_strz(&s->arena, json_str(v, "api_key"));
	return 0;
}

int sample_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	const char *ready_file = NULL;
	const struct cli_option options[] = {
		CLIENT_OPTIONS(&cfg),
		{ .name = "ready-file",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &ready_file,
		  .help = "Take address and key from this ready file" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "sample",
		.usage = "[options]",
		.summary = "Runs a batch of real documents (the licence texts of this machine) through the service.",
		.options = options,
	};
	struct cli_args args;
	struct sample s = { 0 };
	struct err err = { 0 };
	int status;
	if (!cli_parse(&cmd, argc, argv, &args, &status))
		return status;
	arena_init(&s.arena, 256 << 20);
	term_init(&s.term, stdout);
	int rc = ready_file ? read_ready_file(&s, ready_file, &cfg, &err) : 0;
	if (rc >= 0)
		rc = client_open(&cfg, &s.client, &err);
	if (rc < 0) {
		fprintf(stderr, "millrace sample: %s\n", err.text);
		status = CLI_EXIT_UNREACHABLE;
	} else {
		status = run(&s);
	}
	client_close(s.client);
	json_drop(&s.jobs);
	arena_done(&s.arena);
	return status;
}
