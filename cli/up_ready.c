/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ready file's text, one member per line so that people can read it too. What does not exist is null, never left
 * out: a reader need not know which version wrote it. It holds keys and the database's password, so its writer gives it
 * mode 0600.
 */
#include "cli/up_ready.h"

#include "common/err.h"

static void add_text(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "  \"%s\": ", name);
	if (value)
		buf_add_json_str(b, str_from(value));
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\n");
}

static void add_pids(struct buf *b, const char *name, const pid_t *pids, size_t n)
{
	buf_printf(b, "\"%s\": [", name);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%s%d", i ? ", " : "", (int)pids[i]);
	buf_add_z(b, "], ");
}

static void add_pid(struct buf *b, const char *name, pid_t pid)
{
	if (pid > 0)
		buf_printf(b, "\"%s\": %d", name, (int)pid);
	else
		buf_printf(b, "\"%s\": null", name);
}

int up_ready_write(struct buf *b, const struct up_ready *r)
{
	buf_add_z(b, "{\n");
	add_text(b, "url", r->url);
	add_text(b, "api_key", r->api_key);
	add_text(b, "admin_key", r->admin_key);
	add_text(b, "database_url", r->database_url);
	add_text(b, "simulator_url", r->simulator_url);
	buf_add_z(b, "  \"pids\": {");
	add_pids(b, "api", r->api, r->napi);
	add_pids(b, "worker", r->worker, r->nworker);
	add_pid(b, "postgres", r->postgres);
	buf_add_z(b, ", ");
	add_pid(b, "simulator", r->simulator);
	buf_add_z(b, "}\n}\n");
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}
