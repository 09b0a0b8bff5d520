/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `submit` sends. A text file becomes one chat job: the prompt as system message (or, without a prompt, nothing),
 * the text as user message. Images and PDFs become the parts that OpenAI's chat format has for them. Several files
 * become NDJSON, one job a line, and so one batch. A file named .ndjson or .jsonl, or standard input that begins with a
 * brace, already is a list of jobs and is sent as it stands; the service judges its lines and names the bad ones.
 *
 * Everything is read before anything is sent: a file that cannot be read stops the submission while it costs nothing.
 */
#include "cli/submit_input.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit.h"
#include "common/crypto.h"
#include "common/file.h"

#define BODY_MAX   ((size_t)512 << 20)
#define FILE_MAX   ((size_t)100 << 20)
#define SCHEMA_MAX ((size_t)1 << 20)

static int fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(int status, const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "millrace submit: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static bool is_ndjson_name(const char *name)
{
	return str_has_suffix(str_from(name), STR(".ndjson")) || str_has_suffix(str_from(name), STR(".jsonl"));
}

/* --- the template: what all jobs of this submission have in common --- */

/* "schemas/Invoice v2.json" → "Invoice_v2", as providers want it. */
static struct str schema_name(struct arena *a, const char *file)
{
	const char *slash = strrchr(file, '/');
	struct str base = str_from(slash ? slash + 1 : file);
	ssize_t dot = str_find_char(base, '.');
	if (dot > 0)
		base = str_sub(base, 0, (size_t)dot);
	char *p = arena_strz(a, str_sub(base, 0, 64));
	for (char *c = p; *c; c++)
		if (!((*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || *c == '-'))
			*c = '_';
	return str_from(*p ? p : "output");
}

static int set_schema(json_t *request, const char *file, struct arena *a)
{
	struct err err = { 0 };
	struct str text;
	int rc = file_read(file, SCHEMA_MAX, a, &text, &err);
	if (rc)
		return fail(rc == -ERR_NOT_FOUND ? CLI_EXIT_NOT_FOUND : CLI_EXIT_FAILED, "--schema: %s", err.text);
	json_t *schema = json_parse(text, &err);
	if (!schema)
		return fail(CLI_EXIT_FAILED, "--schema: %s is not JSON: %s", file, err.text);
	json_t *named = json_object(), *format = json_object();
	json_set_str(named, "name", schema_name(a, file));
	json_object_set_new(named, "strict", json_true());
	json_object_set_new(named, "schema", schema);
	json_set_str(format, "type", STR("json_schema"));
	json_object_set_new(format, "json_schema", named);
	json_object_set_new(request, "response_format", format);
	return 0;
}

int submit_set_metadata(const char *command, json_t *job, const struct cli_list *pairs, struct arena *a)
{
	json_t *metadata = json_object();
	json_object_set_new(job, "metadata", metadata);
	for (size_t i = 0; i < pairs->n; i++) {
		struct str pair = str_from(pairs->v[i]);
		ssize_t equals = str_find_char(pair, '=');
		if (equals <= 0 || !str_is_utf8(pair))
			return cli_usage_error(command, "--metadata: wanted KEY=VALUE, got \"%s\"", pairs->v[i]);
		json_set_str(metadata, arena_strz(a, str_sub(pair, 0, (size_t)equals)),
		             str_sub(pair, (size_t)equals + 1, pair.n));
	}
	return 0;
}

static int make_template(const struct submit_wish *w, struct arena *a, json_t **ret)
{
	json_t *job = json_object(), *request = json_object();
	*ret = job;
	json_set_str(job, "route", str_from(w->route ? w->route : w->model ? w->model : "default"));
	json_object_set_new(job, "request", request);
	json_object_set_new(request, "messages", json_array());
	if (w->max_tokens >= 0)
		json_set_i64(request, "max_tokens", w->max_tokens);
	if (w->priority >= 0)
		json_set_i64(job, "priority", w->priority);
	if (w->webhook) {
		json_t *webhook = json_object();
		json_set_str(webhook, "url", str_from(w->webhook));
		json_object_set_new(job, "webhook", webhook);
	}
	int rc = w->schema_file ? set_schema(request, w->schema_file, a) : 0;
	return rc ? rc : submit_set_metadata("submit", job, &w->metadata, a);
}

/* --- one job --- */

static json_t *message(const char *role, json_t *content)
{
	json_t *m = json_object();
	json_set_str(m, "role", str_from(role));
	json_object_set_new(m, "content", content);
	return m;
}

static const char *media_type(const char *name)
{
	static const char *const types[][2] = {
		{ ".pdf", "application/pdf" }, { ".png", "image/png" },   { ".jpg", "image/jpeg" },
		{ ".jpeg", "image/jpeg" },     { ".webp", "image/webp" }, { ".gif", "image/gif" },
	};
	struct str s = str_from(name);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = strlen(types[i][0]);
		if (s.n > n && str_eq_nocase(str_sub(s, s.n - n, n), str_from(types[i][0])))
			return types[i][1];
	}
	return NULL;
}

/* A content list with one image or file part. */
static json_t *binary_content(const char *name, const char *type, struct str bytes)
{
	_cleanup_(buf_done) struct buf data;
	json_t *part = json_object(), *inner = json_object(), *list = json_array();
	const char *slash = strrchr(name, '/');
	bool pdf = strcmp(type, "application/pdf") == 0;
	buf_init(&data, BODY_MAX);
	buf_printf(&data, "data:%s;base64,", type);
	crypto_base64(&data, bytes);
	json_set_str(part, "type", pdf ? STR("file") : STR("image_url"));
	if (pdf)
		json_set_str(inner, "filename", str_from(slash ? slash + 1 : name));
	json_set_str(inner, pdf ? "file_data" : "url", buf_str(&data));
	json_object_set_new(part, pdf ? "file" : "image_url", inner);
	json_array_append_new(list, part);
	return list;
}

/* Appends the job of one document to the body; name is NULL for --prompt alone. */
static int add_job(const struct submit_wish *w, json_t *template, const char *name, struct str text,
                   struct submit_body *body)
{
	const char *type = name ? media_type(name) : NULL;
	if (!type && !str_is_utf8(text))
		return fail(CLI_EXIT_FAILED, "%s is neither UTF-8 text nor an image or PDF by its name",
		            name ? name : "--prompt");
	if (name && str_trim(text).n == 0)
		return fail(CLI_EXIT_FAILED, "%s is empty", name);
	_cleanup_(json_drop) json_t *job = json_deep_copy(template);
	json_t *messages = json_get(json_get(job, "request"), "messages"), *metadata = json_get(job, "metadata");
	if (name && w->prompt)
		json_array_append_new(messages, message("system", json_from_str(str_from(w->prompt))));
	json_array_append_new(messages,
	                      message("user", name && type ? binary_content(name, type, text) : json_from_str(text)));
	if (name && strcmp(name, "-") != 0 && !json_get(metadata, "file"))
		json_set_str(metadata, "file", str_utf8_prefix(str_from(name), 500));
	if (body->jobs)
		buf_add_char(&body->text, '\n');
	json_write(&body->text, job);
	body->jobs++;
	if (buf_failed(&body->text))
		return fail(CLI_EXIT_FAILED, "that is more than %zu MiB; submit it in parts", BODY_MAX >> 20);
	return 0;
}

/* --- files --- */

static int read_stdin(struct buf *b)
{
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "millrace submit: reading standard input until Ctrl-D\n");
	for (;;) {
		char *room = buf_room(b, 65536);
		if (!room)
			return fail(CLI_EXIT_FAILED, "standard input is larger than %zu MiB; submit it in parts",
			            BODY_MAX >> 20);
		ssize_t n = read(STDIN_FILENO, room, 65536);
		if (n < 0)
			return fail(CLI_EXIT_FAILED, "standard input cannot be read");
		if (n == 0)
			return 0;
		buf_grown(b, (size_t)n);
	}
}

/* Requests in the form of OpenAI's Batch API are no jobs as they stand. */
static bool is_openai_line(struct str text)
{
	text = str_trim(text);
	ssize_t end = str_find_char(text, '\n');
	_cleanup_(json_drop) json_t *line = json_parse_lenient(end < 0 ? text : str_sub(text, 0, (size_t)end), NULL);
	return json_get(line, "url") && json_get(line, "body") && !json_get(line, "request");
}

static int add_ndjson(const char *name, struct str text, struct submit_body *body)
{
	if (is_openai_line(text))
		return fail(CLI_EXIT_USAGE, "the lines of %s are requests of OpenAI's Batch API: millrace batch create %s",
		            strcmp(name, "-") == 0 ? "standard input" : name, name);
	buf_add_str(&body->text, text);
	body->is_ndjson = true;
	return 0;
}

static int add_stdin(const struct submit_wish *w, json_t *template, struct submit_body *body)
{
	_cleanup_(buf_done) struct buf text;
	buf_init(&text, BODY_MAX);
	int rc = read_stdin(&text);
	struct str s = str_trim(buf_str(&text));
	if (rc)
		return rc;
	if (w->prompt || s.n == 0 || s.p[0] != '{')
		return add_job(w, template, "-", s, body);
	return add_ndjson("-", s, body);
}

static int add_file(const struct submit_wish *w, json_t *template, const char *name, struct submit_body *body)
{
	struct arena a;
	struct str text;
	struct err err = { 0 };
	arena_init(&a, BODY_MAX);
	int rc = file_read(name, is_ndjson_name(name) ? BODY_MAX : FILE_MAX, &a, &text, &err);
	if (rc) {
		rc = fail(rc == -ERR_NOT_FOUND ? CLI_EXIT_NOT_FOUND : CLI_EXIT_FAILED, "%s", err.text);
	} else if (is_ndjson_name(name)) {
		rc = add_ndjson(name, text, body);
	} else {
		rc = add_job(w, template, name, text, body);
	}
	arena_done(&a);
	return rc;
}

/* A name of a file that exists is that file, whatever characters it has; else it may be a pattern that the shell left
 * alone. */
static int add_name(const struct submit_wish *w, json_t *template, const char *name, struct submit_body *body)
{
	glob_t found;
	if (strcmp(name, "-") == 0)
		return add_stdin(w, template, body);
	if (access(name, F_OK) == 0 || !strpbrk(name, "*?["))
		return add_file(w, template, name, body);
	if (glob(name, 0, NULL, &found)) {
		globfree(&found);
		return fail(CLI_EXIT_NOT_FOUND, "no file matches %s", name);
	}
	int rc = 0;
	for (size_t i = 0; i < found.gl_pathc && rc == 0; i++)
		rc = add_file(w, template, found.gl_pathv[i], body);
	globfree(&found);
	return rc;
}

static int check_ndjson(const struct submit_wish *w, const struct cli_args *names)
{
	bool set = w->prompt || w->schema_file || w->model || w->route || w->webhook || w->max_tokens >= 0 ||
	           w->priority >= 0 || w->metadata.n;
	for (size_t i = 0; i < names->n; i++) {
		if (!is_ndjson_name(names->v[i]))
			continue;
		if (names->n > 1)
			return cli_usage_error("submit", "an NDJSON file is a batch of its own: submit %s alone",
			                       names->v[i]);
		if (set)
			return cli_usage_error(
			    "submit",
			    "the lines of %s are whole jobs: --prompt, --route and the like do not apply to it",
			    names->v[i]);
	}
	return 0;
}

int submit_input_read(const struct submit_wish *w, const struct cli_args *names, struct submit_body *ret)
{
	struct arena a;
	_cleanup_(json_drop) json_t *template = NULL;
	struct submit_body body = { .jobs = 0 };
	int rc = check_ndjson(w, names);
	if (rc)
		return rc;
	arena_init(&a, 16 << 20);
	buf_init(&body.text, BODY_MAX);
	rc = make_template(w, &a, &template);
	if (rc == 0 && names->n == 0)
		rc = add_job(w, template, NULL, str_from(w->prompt), &body);
	for (size_t i = 0; i < names->n && rc == 0; i++)
		rc = add_name(w, template, names->v[i], &body);
	arena_done(&a);
	if (rc) {
		buf_done(&body.text);
		return rc;
	}
	body.is_ndjson = body.is_ndjson || body.jobs > 1;
	*ret = body;
	return 0;
}
