/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace files upload|list|show|download|delete`: the tenant's files, as OpenAI's Files API has them. Uploads print the ids on standard output, a line
 * each, and stop at the first that fails; deletes go on, so that the exit status is that of the worst.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/list.h"
#include "cli/show_private.h"
#include "cli/transfer.h"
#include "common/clock.h"

#define HOUR_MS INT64_C(3600000)

/* A Unix time of the object as RFC 3339; empty where there is none. */
static struct str time_of(struct arena *a, const json_t *file, const char *name)
{
	_cleanup_(buf_done) struct buf b;
	int64_t seconds = json_i64(file, name, 0);
	buf_init(&b, 64);
	if (seconds <= 0 || clock_rfc3339(&b, MIN(seconds, INT64_C(253402300799)) * 1000000))
		return STR("");
	return arena_str(a, buf_str(&b));
}

static struct str size_of(struct arena *a, const json_t *file)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	term_size(&b, json_i64(file, "bytes", 0));
	return arena_str(a, buf_str(&b));
}

/* --- list --- */

static struct str ago(struct arena *a, const json_t *file, const char *name)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	term_ago(&b, time_of(a, file, name), clock_wall_us());
	return arena_str(a, buf_str(&b));
}

static void add_row(struct term_table *t, struct arena *a, const json_t *file)
{
	const struct str cells[] = {
		json_str(file, "id"),        json_str(file, "purpose"),      size_of(a, file), ago(a, file, "created_at"),
		ago(a, file, "expires_at"), json_str(file, "filename"),
	};
	term_table_add(t, cells);
}

static int list_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	const char *purpose = NULL;
	int64_t limit = 20;
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "purpose", .arg = "NAME", .kind = CLI_STR, .target = &purpose, .help = "Those of this purpose: batch, batch_output, …" },
		{ .name = "limit", .arg = "N", .kind = CLI_INT, .target = &limit, .min = 1, .max = 100000, .help = "At most so many (20)" },
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "One JSON object a line" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	static const struct term_column columns[] = {
		{ .title = "FILE" },
		{ .title = "PURPOSE", .spare = 4 },
		{ .title = "SIZE", .right = true, .spare = 3 },
		{ .title = "CREATED", .spare = 2 },
		{ .title = "EXPIRES", .spare = 1 },
		{ .title = "NAME", .shrink = true },
		{ .title = NULL },
	};
	const struct cli_command cmd = { .name = "files list", .usage = "[options]", .summary = "Lists files, the newest first.", .options = options };
	struct cli_args args;
	struct client *c;
	_cleanup_(buf_done) struct buf path;
	int rc;
	buf_init(&path, 4096);
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	buf_add_z(&path, "/v1/files");
	list_add_query(&path, "purpose", purpose);
	const struct list l = { .client = c,
		                .command = cmd.name,
		                .noun = "files",
		                .path = buf_str(&path),
		                .limit = limit,
		                .page = 1000,
		                .json = json,
		                .columns = columns,
		                .add_row = add_row };
	rc = list_print(&l);
	client_close(c);
	return rc;
}

/* --- upload --- */

struct upload {
	const char *purpose;
	int64_t expires_ms; /* 0: the service's rule */
	bool json;
};

static int upload_one(struct client *c, const struct upload *w, const char *name)
{
	_cleanup_(buf_done) struct buf content;
	_cleanup_(json_drop) json_t *file = NULL;
	bool is_batch = str_has_suffix(str_from(name), STR(".jsonl"));
	const struct transfer_wish wish = { .command = "files upload",
		                            .filename = strcmp(name, "-") == 0 ? "stdin" : name,
		                            .purpose = w->purpose ? w->purpose : is_batch ? "batch" : "user_data",
		                            .expires_s = w->expires_ms / 1000 };
	int rc = transfer_read(wish.command, name, &content);
	if (rc == 0)
		rc = transfer_send(c, &wish, buf_str(&content), &file);
	if (rc == 0 && w->json)
		show_json(stdout, file);
	else if (rc == 0)
		printf(STR_FMT "\n", STR_ARG(json_str(file, "id")));
	fflush(stdout);
	return rc;
}

static int upload_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	struct upload w = { .json = false };
	const struct cli_option options[] = {
		{ .name = "purpose",
		  .arg = "NAME",
		  .kind = CLI_STR,
		  .target = &w.purpose,
		  .help = "assistants, batch, fine-tune, vision, user_data or evals\n(batch for .jsonl, else user_data)" },
		{ .name = "expires-after",
		  .arg = "TIME",
		  .kind = CLI_MS,
		  .target = &w.expires_ms,
		  .min = HOUR_MS,
		  .max = 30 * 24 * HOUR_MS,
		  .help = "Deleted after so long, 1h to 30d (30d for batch, else never)" },
		{ .name = "json", .kind = CLI_FLAG, .target = &w.json, .help = "Print the file objects" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "files upload",
		                         .usage = "FILE… [options]",
		                         .summary = "Uploads files and prints their ids.",
		                         .details = "Files over 512 MiB go in parts, by POST /v1/uploads, which SDKs do.",
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = SIZE_MAX };
	struct cli_args args;
	struct client *c;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	for (size_t i = 0; i < args.n && rc == 0; i++)
		rc = upload_one(c, &w, args.v[i]);
	client_close(c);
	return rc;
}

/* --- show, download, delete --- */

static int call(struct client *c, const char *command, const char *method, const char *id, struct client_answer *a)
{
	_cleanup_(buf_done) struct buf path;
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/files/%s", id);
	const struct client_request r = { .method = method, .path = buf_str(&path), .repeat = true };
	return client_call(c, &r, a) ? client_complain(c, command, a) : 0;
}

static void show_file(const struct term *t, const json_t *file)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	show_status_line(t, &a, file);
	show_line(t, "name", term_safe(&a, json_str(file, "filename")));
	show_line(t, "purpose", term_safe(&a, json_str(file, "purpose")));
	show_line(t, "size", size_of(&a, file));
	show_line(t, "created", show_ago(&a, time_of(&a, file, "created_at")));
	show_line(t, "expires", show_ago(&a, time_of(&a, file, "expires_at")));
	arena_done(&a);
}

static int show_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the file object" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "files show",
		                         .usage = "ID [options]",
		                         .summary = "Shows a file: its name, purpose, size and life.",
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = 1 };
	struct cli_args args;
	struct client *c;
	struct client_answer a;
	struct term t;
	char id[CLIENT_ID_MAX];
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_id_for(args.v[0], CLIENT_FILE, cmd.name, id)) ||
	    (rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	term_init(&t, stdout);
	rc = call(c, cmd.name, "GET", id, &a);
	if (rc == 0 && json)
		show_json(stdout, a.body);
	else if (rc == 0)
		show_file(&t, a.body);
	client_answer_done(&a);
	client_close(c);
	return rc;
}

static int download_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	const char *output = NULL;
	const struct cli_option options[] = {
		{ .name = "output", .arg = "FILE", .kind = CLI_STR, .target = &output, .help = "Where it goes (- or none: standard output)" },
		CLIENT_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "files download",
		                         .usage = "ID [options]",
		                         .summary = "Downloads the content of a file.",
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = 1 };
	struct cli_args args;
	struct client *c;
	FILE *out;
	char id[CLIENT_ID_MAX];
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_id_for(args.v[0], CLIENT_FILE, cmd.name, id)) ||
	    (rc = transfer_open(cmd.name, output, &out)))
		return rc;
	if ((rc = client_open_for(&cfg, cmd.name, &c)) == 0) {
		rc = transfer_fetch(c, cmd.name, str_from(id), out);
		client_close(c);
	}
	return transfer_close(cmd.name, output, out, rc);
}

static int delete_main(int argc, char **argv)
{
	struct client_cfg cfg = { 0 };
	const struct cli_option options[] = { CLIENT_OPTIONS(&cfg), { .name = NULL } };
	const struct cli_command cmd = { .name = "files delete",
		                         .usage = "ID… [options]",
		                         .summary = "Deletes files.",
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
		if ((rc = client_id_for(args.v[i], CLIENT_FILE, cmd.name, id)))
			return rc;
	if ((rc = client_open_for(&cfg, cmd.name, &c)))
		return rc;
	for (size_t i = 0; i < args.n && !client_is_interrupted(c); i++) {
		struct client_answer a;
		client_id(args.v[i], CLIENT_FILE, id);
		int one = call(c, cmd.name, "DELETE", id, &a);
		if (one == 0)
			printf("%s  deleted\n", id);
		client_answer_done(&a);
		rc = MAX(rc, one);
	}
	client_close(c);
	return rc;
}

int files_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "upload", "Upload files", upload_main },          { "list", "List files, the newest first", list_main },
		{ "show", "Show a file", show_main },               { "download", "Download a file's content", download_main },
		{ "delete", "Delete files", delete_main },
	};
	return cli_dispatch("files", "Keeps files with the service: the inputs and outputs of batches, and what requests\nname by id.", subs,
	                    ARRAY_LEN(subs), argc, argv);
}
