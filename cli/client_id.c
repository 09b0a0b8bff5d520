/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids on the command line. What an SDK shows (a chat completion's id, say) names a job as well; whoever confuses a job with a batch is told the command
 * that takes it.
 */
#include <assert.h>
#include <string.h>

#include "cli/client.h"
#include "cli/exit.h"

static const struct {
	const char *prefix, *native;
	enum client_kind kind;
} prefixes[] = {
	{ "job_", "job_", CLIENT_JOB },           { "chatcmpl-", "job_", CLIENT_JOB }, { "cmpl-", "job_", CLIENT_JOB },
	{ "resp_", "job_", CLIENT_JOB },          { "msg_", "job_", CLIENT_JOB },      { "batch_req_", "job_", CLIENT_JOB },
	{ "msgbatch_", "batch_", CLIENT_BATCH }, { "batch_", "batch_", CLIENT_BATCH }, { "file-", "file-", CLIENT_FILE },
};

bool client_id(const char *text, enum client_kind kind, char ret_id[CLIENT_ID_MAX])
{
	size_t n = strlen(text);
	if (n >= CLIENT_ID_MAX || strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != n)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		struct str prefix = str_from(prefixes[i].prefix);
		if (!str_has_prefix(str_from(text), prefix))
			continue;
		size_t native = strlen(prefixes[i].native);
		if (prefixes[i].kind != kind)
			return false;
		assert(native <= prefix.n);
		memcpy(ret_id, prefixes[i].native, native);
		memcpy(ret_id + native, text + prefix.n, n - prefix.n + 1);
		return true;
	}
	return false;
}

int client_id_for(const char *text, enum client_kind kind, const char *command, char ret_id[CLIENT_ID_MAX])
{
	static const char *const nouns[] = { "a job", "a batch", "a file" }, *const commands[] = { "jobs", "batch", "files" };
	static const char *const forms[] = { "job_…", "batch_…", "file-…" };
	if (client_id(text, kind, ret_id))
		return 0;
	for (enum client_kind other = CLIENT_JOB; other <= CLIENT_FILE; other++)
		if (client_id(text, other, ret_id))
			return cli_usage_error(command, "%s is the id of %s: see `millrace %s --help`", text, nouns[other], commands[other]);
	return cli_usage_error(command, "\"%s\" is not the id of %s (%s)", text, nouns[kind], forms[kind]);
}
