/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to OpenAI or a server that speaks its protocol: as it came, with the target's model, and with what the server is known to want otherwise
 * (its quirks). Nothing that is large is copied: a message is copied shallowly, and only where something in it changes.
 *
 * Asked for as a stream where that loses nothing: several choices, log probabilities, audio, custom tools and the old `functions` are asked for whole.
 */
#include "worker/providers/openai.h"

#include "common/conf.h"
#include "common/provider_record.h"
#include "common/request_facts.h"
#include "worker/providers/thinking.h"

#define OPENAI_HOST "https://api.openai.com/"

static uint32_t quirks_of(const struct conf_target *t)
{
	return t->record ? t->record->quirks : QUIRK_NONE;
}

/* Custom tools are called with any text, which an assembly takes for broken JSON. */
static bool has_custom_tool(const json_t *tools)
{
	const json_t *tool;
	size_t i;
	json_array_foreach (tools, i, tool)
		if (str_eq_z(json_str(tool, "type"), "custom"))
			return true;
	return false;
}

static bool can_stream(const struct provider_ask *ask)
{
	const json_t *r = ask->request;
	return ask->target->stream && ask->kind != PROVIDER_EMBEDDINGS && json_i64(r, "n", 1) <= 1 && !json_is_true(json_get(r, "logprobs")) &&
	       !json_get(r, "modalities") && !json_get(r, "audio") && !json_get(r, "functions") && !has_custom_tool(json_get(r, "tools"));
}

/* --- messages --- */

static bool has_extra(const json_t *calls)
{
	const json_t *call;
	size_t i;
	json_array_foreach (calls, i, call)
		if (json_get(call, "extra_content"))
			return true;
	return false;
}

/* What other providers' answers carry for themselves (signatures of thoughts) is not for this one. Owned by the caller. */
static json_t *plain_message(json_t *m, bool no_developer)
{
	json_t *calls = json_get(m, "tool_calls"), *call;
	size_t i;
	bool developer = no_developer && str_eq_z(json_str(m, "role"), "developer");
	if (!developer && !json_get(m, "thinking_blocks") && !json_get(m, "is_error") && !has_extra(calls))
		return json_incref(m);
	json_t *copy = json_copy(m);
	json_object_del(copy, "thinking_blocks");
	json_object_del(copy, "is_error");
	if (developer)
		json_set_str(copy, "role", STR("system"));
	if (has_extra(calls)) {
		json_t *plain = json_array();
		json_array_foreach (calls, i, call) {
			json_t *one = json_copy(call);
			json_object_del(one, "extra_content");
			json_array_append_new(plain, one);
		}
		json_object_set_new(copy, "tool_calls", plain);
	}
	return copy;
}

static void write_messages(json_t *body, bool no_developer)
{
	json_t *messages = json_get(body, "messages"), *m, *plain = json_array();
	size_t i;
	json_array_foreach (messages, i, m)
		json_array_append_new(plain, plain_message(m, no_developer));
	if (json_is_array(messages))
		json_object_set(body, "messages", plain);
	json_decref(plain);
}

/* --- the other members --- */

static void rename_member(json_t *body, const char *from, const char *to)
{
	json_t *v = json_get(body, from);
	if (!v)
		return;
	if (!json_get(body, to))
		json_object_set(body, to, v);
	json_object_del(body, from);
}

static void write_limit(json_t *body, int64_t max_output, uint32_t quirks)
{
	if (max_output > 0) {
		bool old = json_get(body, "max_tokens") && !json_get(body, "max_completion_tokens");
		json_object_del(body, "max_tokens");
		json_set_i64(body, old ? "max_tokens" : "max_completion_tokens", max_output);
	}
	if (quirks & QUIRK_MAX_TOKENS)
		rename_member(body, "max_completion_tokens", "max_tokens");
}

/* Servers that refuse members which they do not know. */
static bool is_strict(const struct conf_target *t)
{
	static const char *const names[] = { "azure", "groq", "mistral" };
	for (size_t i = 0; t->record && i < ARRAY_LEN(names); i++)
		if (str_eq_z(str_from(names[i]), t->record->name))
			return true;
	return str_has_prefix(t->base_url, STR(OPENAI_HOST));
}

/* Members of Anthropic's form: many servers know them too. */
static void write_thinking(json_t *body, const struct conf_target *t)
{
	struct str effort = thinking_effort(body);
	if (!is_strict(t))
		return;
	if (json_get(body, "thinking") && effort.n && !str_eq_z(effort, "none"))
		json_set_str(body, "reasoning_effort", effort);
	json_object_del(body, "thinking");
	json_object_del(body, "top_k");
}

static void write_stream(json_t *body, const struct conf_target *t, uint32_t quirks)
{
	json_object_set_new(body, "stream", json_true());
	if (quirks & QUIRK_NO_STREAM_OPTIONS)
		return;
	json_t *options = json_object();
	json_object_set_new(options, "include_usage", json_true());
	/* Padding that makes all events as long as each other; others may not know the member. */
	if (str_has_prefix(t->base_url, STR(OPENAI_HOST)))
		json_object_set_new(options, "include_obfuscation", json_false());
	json_object_set_new(body, "stream_options", options);
}

/* Marks of the prompt cache are Anthropic's; of others OpenRouter hands them on, and some refuse what they do not know. */
static bool knows_marks(const struct conf_target *t)
{
	return t->record && str_eq_z(STR("openrouter"), t->record->name);
}

static int write_body(const struct provider_ask *ask, bool streamed, struct buf *b)
{
	const struct conf_target *t = ask->target;
	uint32_t quirks = quirks_of(t);
	json_t *asked = knows_marks(t) ? json_incref((json_t *)(uintptr_t)ask->request) : request_unmarked(ask->request), *body = json_copy(asked);
	json_decref(asked);
	json_set_str(body, "model", t->model);
	json_object_del(body, "stream");
	json_object_del(body, "stream_options");
	if (ask->kind == PROVIDER_CHAT) {
		write_messages(body, quirks & QUIRK_NO_DEVELOPER);
		write_limit(body, ask->max_output, quirks);
		write_thinking(body, t);
	}
	if ((quirks & QUIRK_ANY_FOR_REQUIRED) && str_eq_z(json_str(body, "tool_choice"), "required"))
		json_set_str(body, "tool_choice", STR("any"));
	if (quirks & QUIRK_RANDOM_SEED)
		rename_member(body, "seed", "random_seed");
	if (streamed)
		write_stream(body, t, quirks);
	int rc = json_write(b, body);
	json_decref(body);
	return rc;
}

/* --- where to --- */

/* A deployment's name in a path: what is not unreserved is written as %XX (RFC 3986). */
static struct str path_name(struct arena *a, struct str name)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_add_percent(&b, name, "");
	struct str ret = arena_str(a, buf_str(&b));
	buf_done(&b);
	return ret;
}

/* Azure OpenAI: deployments with an api-version, or the newer /openai/v1 without one. */
static const char *azure_url(const struct conf_target *t, const char *what, struct arena *a)
{
	struct str base = t->base_url;
	if (str_has_suffix(base, STR("/openai/v1")))
		base.n -= 10;
	else if (str_has_suffix(base, STR("/openai")))
		base.n -= 7;
	if (t->api_version.n == 0)
		return arena_printf(a, STR_FMT "/openai/v1%s", STR_ARG(base), what).p;
	struct str model = path_name(a, t->model);
	return arena_printf(a, STR_FMT "/openai/deployments/" STR_FMT "%s?api-version=" STR_FMT, STR_ARG(base), STR_ARG(model), what,
	                    STR_ARG(t->api_version)).p;
}

static size_t write_headers(const struct conf_target *t, bool streamed, struct http_header *h, struct arena *a)
{
	bool own = false;
	size_t n = 0;
	h[n++] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	h[n++] = (struct http_header){ STR("Accept"), streamed ? STR("text/event-stream") : STR("application/json") };
	for (size_t i = 0; i < t->nheaders; i++) {
		own |= str_eq_nocase(t->headers[i].name, STR("authorization")) || str_eq_nocase(t->headers[i].name, STR("api-key"));
		h[n++] = (struct http_header){ t->headers[i].name, t->headers[i].value };
	}
	if (t->api_key.n == 0 || own)
		return n;
	if (quirks_of(t) & QUIRK_AZURE)
		h[n++] = (struct http_header){ STR("api-key"), t->api_key };
	else
		h[n++] = (struct http_header){ STR("Authorization"), arena_printf(a, "Bearer " STR_FMT, STR_ARG(t->api_key)) };
	return n;
}

int openai_make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err)
{
	const struct conf_target *t = ask->target;
	const char *what = ask->kind == PROVIDER_EMBEDDINGS ? "/embeddings" : "/chat/completions";
	ret->streamed = can_stream(ask);
	ret->method = "POST";
	ret->url = quirks_of(t) & QUIRK_AZURE ? azure_url(t, what, a) : arena_printf(a, STR_FMT "%s", STR_ARG(t->base_url), what).p;
	ret->headers = arena_array(a, struct http_header, t->nheaders + 3);
	ret->nheaders = write_headers(t, ret->streamed, ret->headers, a);
	buf_init(&ret->body, (size_t)1 << 30);
	if (write_body(ask, ret->streamed, &ret->body) < 0)
		return err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB");
	return 0;
}
