/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of routes and the look-up in it. HEAD is answered by the row of GET. {job}, {batch} and their like take an id of that
 * kind, {key} 64 hexadecimal digits; a malformed one is an unknown path, because no such object can exist. {name} takes
 * all that stands between what is before and behind it, slashes too: names of targets have them. A known path with
 * another method gives the list for Allow.
 */
#include "api/router.h"

#include <string.h>

#include "api/admin/admin_cache.h"
#include "api/admin/admin_targets.h"
#include "api/batches/batches.h"
#include "api/events/events.h"
#include "api/files/files.h"
#include "api/jobs/jobs.h"
#include "api/batches/message_batches.h"
#include "api/meta.h"
#include "api/files/uploads.h"
#include "api/models.h"
#include "api/sync/sync.h"
#include "api/openapi.h"
#include "api/sync/responses.h"

const struct route router_routes[] = {
	{ HTTP_GET, "/healthz", KEY_NONE, BODY_NONE, meta_health_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/readyz", KEY_NONE, BODY_NONE, meta_ready_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/metrics", KEY_ADMIN, BODY_NONE, meta_metrics_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/openapi.json", KEY_NONE, BODY_NONE, openapi_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/v1/jobs", KEY_ANY, BODY_JOBS, jobs_submit_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/v1/jobs", KEY_ANY, BODY_NONE, jobs_list_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/v1/jobs/{job}", KEY_ANY, BODY_NONE, jobs_get_steps, ERRORS_NATIVE },
	{ HTTP_DELETE, "/v1/jobs/{job}", KEY_ANY, BODY_NONE, jobs_erase_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/v1/jobs/{job}/cancel", KEY_ANY, BODY_NONE, jobs_cancel_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/v1/jobs/{job}/retry", KEY_ANY, BODY_NONE, jobs_retry_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/v1/jobs/{job}/events", KEY_ANY, BODY_NONE, events_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/v1/jobs/{job}/attempts", KEY_ANY, BODY_NONE, jobs_attempts_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/v1/batches", KEY_ANY, BODY_JOBS, batches_submit_steps, ERRORS_BOTH },
	{ HTTP_GET, "/v1/batches", KEY_ANY, BODY_NONE, batches_list_steps, ERRORS_BOTH },
	{ HTTP_GET, "/v1/batches/{batch}", KEY_ANY, BODY_NONE, batches_get_steps, ERRORS_BOTH },
	{ HTTP_GET, "/v1/batches/{batch}/results", KEY_ANY, BODY_NONE, batch_results_steps, ERRORS_BOTH },
	{ HTTP_POST, "/v1/batches/{batch}/cancel", KEY_ANY, BODY_NONE, batches_cancel_steps, ERRORS_BOTH },
	{ HTTP_POST, "/v1/batches/{batch}/retry", KEY_ANY, BODY_NONE, batches_retry_steps, ERRORS_BOTH },
	{ HTTP_POST, "/v1/chat/completions", KEY_ANY, BODY_SUBMIT, sync_chat_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/completions", KEY_ANY, BODY_SUBMIT, sync_completion_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/embeddings", KEY_ANY, BODY_SUBMIT, sync_embeddings_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/responses", KEY_ANY, BODY_SUBMIT, sync_response_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/responses/{response}", KEY_ANY, BODY_NONE, responses_get_steps, ERRORS_OPENAI },
	{ HTTP_DELETE, "/v1/responses/{response}", KEY_ANY, BODY_NONE, responses_delete_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/responses/{response}/cancel", KEY_ANY, BODY_NONE, responses_cancel_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/responses/{response}/input_items", KEY_ANY, BODY_NONE, responses_input_items_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/messages", KEY_ANY, BODY_SUBMIT, sync_message_steps, ERRORS_ANTHROPIC },
	{ HTTP_POST, "/v1/messages/count_tokens", KEY_ANY, BODY_JSON, message_count_steps, ERRORS_ANTHROPIC },
	{ HTTP_POST, "/v1/messages/batches", KEY_ANY, BODY_MESSAGES, NULL, ERRORS_ANTHROPIC },
	{ HTTP_GET, "/v1/messages/batches", KEY_ANY, BODY_NONE, message_batches_list_steps, ERRORS_ANTHROPIC },
	{ HTTP_GET, "/v1/messages/batches/{msgbatch}", KEY_ANY, BODY_NONE, message_batches_get_steps, ERRORS_ANTHROPIC },
	{ HTTP_DELETE, "/v1/messages/batches/{msgbatch}", KEY_ANY, BODY_NONE, message_batches_delete_steps, ERRORS_ANTHROPIC },
	{ HTTP_GET, "/v1/messages/batches/{msgbatch}/results", KEY_ANY, BODY_NONE, message_batch_results_steps, ERRORS_ANTHROPIC },
	{ HTTP_POST, "/v1/messages/batches/{msgbatch}/cancel", KEY_ANY, BODY_NONE, message_batches_cancel_steps, ERRORS_ANTHROPIC },
	{ HTTP_GET, "/v1/models", KEY_ANY, BODY_NONE, models_list_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/models/{name}", KEY_ANY, BODY_NONE, models_get_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/files", KEY_ANY, BODY_MULTIPART, files_create_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/files", KEY_ANY, BODY_NONE, files_list_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/files/{file}", KEY_ANY, BODY_NONE, files_get_steps, ERRORS_OPENAI },
	{ HTTP_DELETE, "/v1/files/{file}", KEY_ANY, BODY_NONE, files_delete_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/v1/files/{file}/content", KEY_ANY, BODY_NONE, file_content_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/uploads", KEY_ANY, BODY_JSON, uploads_create_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/uploads/{upload}/parts", KEY_ANY, BODY_MULTIPART, uploads_part_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/uploads/{upload}/complete", KEY_ANY, BODY_JSON, uploads_complete_steps, ERRORS_OPENAI },
	{ HTTP_POST, "/v1/uploads/{upload}/cancel", KEY_ANY, BODY_NONE, uploads_cancel_steps, ERRORS_OPENAI },
	{ HTTP_GET, "/admin/v1/targets", KEY_ADMIN, BODY_NONE, admin_targets_list_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/admin/v1/targets/{name}", KEY_ADMIN, BODY_NONE, admin_targets_get_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/admin/v1/targets/{name}/pause", KEY_ADMIN, BODY_JSON, admin_targets_pause_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/admin/v1/targets/{name}/resume", KEY_ADMIN, BODY_JSON, admin_targets_resume_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/admin/v1/targets/{name}/drain", KEY_ADMIN, BODY_JSON, admin_targets_drain_steps, ERRORS_NATIVE },
	{ HTTP_POST, "/admin/v1/targets/{name}/reset", KEY_ADMIN, BODY_JSON, admin_targets_reset_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/admin/v1/cache", KEY_ADMIN, BODY_NONE, admin_cache_stats_steps, ERRORS_NATIVE },
	{ HTTP_DELETE, "/admin/v1/cache", KEY_ADMIN, BODY_NONE, admin_cache_clear_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/admin/v1/cache/entries", KEY_ADMIN, BODY_NONE, admin_cache_list_steps, ERRORS_NATIVE },
	{ HTTP_GET, "/admin/v1/cache/entries/{key}", KEY_ADMIN, BODY_NONE, admin_cache_get_steps, ERRORS_NATIVE },
	{ HTTP_DELETE, "/admin/v1/cache/entries/{key}", KEY_ADMIN, BODY_NONE, admin_cache_delete_steps, ERRORS_NATIVE },
	{ .pattern = NULL },
};

static const char *const method_names[] = {
	[HTTP_GET] = "GET, HEAD", [HTTP_POST] = "POST",     [HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH",   [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static bool is_hex_key(struct str part)
{
	for (size_t i = 0; i < part.n; i++)
		if (str_find_char(STR("0123456789abcdef"), part.p[i]) < 0)
			return false;
	return part.n == 64;
}

static const struct {
	const char *pattern, *prefix;
} ids[] = {
	{ "{job}", "job_" },         { "{batch}", "batch_" },   { "{file}", "file-" },
	{ "{upload}", "upload_" },   { "{response}", "resp_" }, { "{completion}", "chatcmpl-" },
	{ "{msgbatch}", "msgbatch_" },
};

static bool part_matches(struct str want, struct str part, struct route_match *m)
{
	if (!str_has_prefix(want, STR("{")))
		return str_eq(want, part);
	if (str_eq(want, STR("{key}"))) {
		m->name = part;
		return is_hex_key(part);
	}
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		if (str_eq_z(want, ids[i].pattern))
			m->has_id = id_parse(part, ids[i].prefix, &m->id) == 0;
	return m->has_id;
}

/* The pattern's front and end, and whatever is between. */
static bool name_matches(struct str pattern, size_t at, struct str path, struct route_match *m)
{
	struct str front = str_sub(pattern, 0, at), end = str_sub(pattern, at + strlen("{name}"), pattern.n);
	if (!str_has_prefix(path, front) || !str_has_suffix(path, end) || path.n <= front.n + end.n)
		return false;
	m->name = str_sub(path, front.n, path.n - front.n - end.n);
	return true;
}

static bool path_matches(struct str pattern, struct str path, struct route_match *m)
{
	struct str want, part;
	m->has_id = false;
	ssize_t name = str_find(pattern, STR("{name}"));
	if (name >= 0)
		return name_matches(pattern, (size_t)name, path, m);
	for (;;) {
		bool more_wanted = str_split(&pattern, '/', &want);
		bool more = str_split(&path, '/', &part);
		if (more_wanted != more)
			return false;
		if (!more)
			return true;
		if (!part_matches(want, part, m))
			return false;
	}
}

static void allow_add(struct route_match *m, enum http_method method)
{
	const char *name = method_names[method];
	size_t have = strlen(m->allow), n = strlen(name);
	assert(have + n + 3 < sizeof(m->allow));
	if (have) {
		memcpy(m->allow + have, ", ", 2);
		have += 2;
	}
	memcpy(m->allow + have, name, n + 1);
}

enum route_errors router_errors(struct str path)
{
	struct route_match m = { 0 };
	for (const struct route *r = router_routes; r->pattern; r++)
		if (path_matches(str_from(r->pattern), path, &m))
			return r->errors;
	if (str_has_prefix(path, STR("/v1/messages")))
		return ERRORS_ANTHROPIC;
	return str_has_prefix(path, STR("/v1/")) && !str_has_prefix(path, STR("/v1/jobs")) ? ERRORS_BOTH : ERRORS_NATIVE;
}

void router_find(enum http_method method, struct str path, struct route_match *ret)
{
	*ret = (struct route_match){ 0 };
	if (method == HTTP_HEAD_)
		method = HTTP_GET;
	for (const struct route *r = router_routes; r->pattern; r++) {
		struct route_match m = { 0 };
		if (!path_matches(str_from(r->pattern), path, &m))
			continue;
		ret->path_known = true;
		allow_add(ret, r->method);
		if (r->method != method)
			continue;
		ret->route = r;
		ret->id = m.id;
		ret->has_id = m.has_id;
		ret->name = m.name;
	}
}
