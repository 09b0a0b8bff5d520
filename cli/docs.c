/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace docs PAGE`: the reference pages, made from the tables that the program itself uses (conf.def, err.def,
 * metrics.def), so that they cannot drift. `make docs` writes them to their files. Only a broken standard output can
 * make it fail.
 */
#include <stdio.h>
#include <string.h>

#include "api/openapi.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/err.h"

#define PAGE_MAX ((size_t)4 << 20)

struct error_row {
	const char *code, *title;
	int status;
	bool retryable;
};

static const struct error_row errors[] = {
#define ERR(name, code, status, retryable, level, title) { code, title, status, retryable },
#include "common/err.def"
#undef ERR
};

static int write_errors(struct buf *b)
{
	buf_add_z(b, "# Errors\n\n"
	             "<!-- Made by `make docs` from common/err.def; edit that. -->\n\n"
	             "On the native face an error is `application/problem+json` with `type`, `title`, `status`, "
	             "`detail`, `code`, and where they apply\n"
	             "`param` (a JSON pointer to the field), `request_id` and `retryable`. The same codes stand in a "
	             "job's `error.code`, in its attempts\n"
	             "and in metrics. *Retryable*: the same request may work later.\n\n"
	             "| code | status | retryable | meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		buf_printf(b, "| `%s` | %d | %s | %s |\n", errors[i].code, errors[i].status,
		           errors[i].retryable ? "yes" : "no", errors[i].title);
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

struct metric_row {
	const char *kind, *name, *labels, *help;
};

static const struct metric_row metric_rows[] = {
#define METRIC(id, kind, name, labels, help) { #kind, name, labels, help },
#include "common/metrics.def"
#undef METRIC
};

static int write_metrics(struct buf *b)
{
	buf_add_z(b, "# Metrics\n\n"
	             "<!-- Made by `make docs` from common/metrics.def; edit that. -->\n\n"
	             "An API process serves its own at `/metrics` in Prometheus' text format. Histograms "
	             "are in seconds; their series end\n"
	             "in `_bucket`, `_sum` and `_count`.\n\n"
	             "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < ARRAY_LEN(metric_rows); i++) {
		const struct metric_row *m = &metric_rows[i];
		buf_printf(b, "| `%s` | ", m->name);
		for (const char *k = m->kind; *k; k++)
			buf_add_char(b, (char)(*k - 'A' + 'a'));
		buf_printf(b, " | %s%s%s | %s |\n", *m->labels ? "`" : "", m->labels, *m->labels ? "`" : "", m->help);
	}
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

static const struct {
	const char *name;
	int (*write)(struct buf *b);
} pages[] = {
	{ "settings", conf_write_markdown },
	{ "errors", write_errors },
	{ "metrics", write_metrics },
	{ "schema", conf_write_schema },
	{ "openapi", openapi_write },
};

static int print_page(int (*write)(struct buf *b))
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, PAGE_MAX);
	if (write(&b) || fwrite(b.p, 1, b.n, stdout) != b.n || fflush(stdout)) {
		fprintf(stderr, "millrace docs: writing failed\n");
		return CLI_EXIT_FAILED;
	}
	return CLI_EXIT_OK;
}

int docs_main(int argc, char **argv)
{
	const struct cli_command cmd = {
		.name = "docs",
		.usage = "settings|errors|metrics|schema|openapi",
		.summary = "Prints a reference page: the settings, errors and metrics in Markdown, the configuration's "
		           "JSON Schema, the API's OpenAPI description.",
		.min_args = 1,
		.max_args = 1,
	};
	struct cli_args args;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	const char *names[ARRAY_LEN(pages)];
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (strcmp(pages[i].name, args.v[0]) == 0)
			return print_page(pages[i].write);
		names[i] = pages[i].name;
	}
	const char *best = cli_nearest(str_from(args.v[0]), names, ARRAY_LEN(names));
	return cli_usage_error("docs", "there is no page \"%s\"; %s%s", args.v[0],
	                       best ? "did you mean " : "wanted settings, errors, metrics, schema or openapi", best ? best : "");
}
