/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request in OpenAI's form to Converse's (Amazon Bedrock API Reference: Converse): URL, keys, inference settings, tools. What Converse has no word for
 * and what changes nothing in what an answer is (seed, penalties, user) is left out.
 *
 * A JSON schema is asked for by a tool that has it as its input and must be called; the answer's files turn that call into text again. Claude's
 * thinking goes into the model's own fields, with sampling left alone and only where nothing forces a tool, since it is refused otherwise.
 */
#include "worker/providers/bedrock.h"

#include "common/conf.h"
#include "worker/providers/thinking.h"

#define BODY_MAX        ((size_t)1 << 30)
#define TOOL_NAME_MAX   60
#define URL_PATH_MAX    8192
#define THINKING_MIN    1024 /* tokens; the smallest budget that is taken */

/* Budgets of thinking for OpenAI's words. */
static const struct {
	const char *effort;
	int64_t budget;
} efforts[] = { { "minimal", 1024 }, { "low", 1024 }, { "medium", 4096 }, { "high", 16384 }, { "xhigh", 32768 }, { "max", 32768 } };

static json_t *object_of(const char *key, json_t *value)
{
	json_t *o = json_object();
	json_object_set_new(o, key, value);
	return o;
}

/* Also in inference profiles: us.anthropic.…, and in their ARNs. */
static bool is_claude(const struct conf_target *t)
{
	return str_find(t->model, STR("anthropic.")) >= 0;
}

/* --- tools --- */

static bool wants_schema(const json_t *request)
{
	return str_eq_z(json_str(json_get(request, "response_format"), "type"), "json_schema");
}

/* The names of the tools, as keys. Owned by the caller. */
static json_t *names_of(const json_t *tools, struct arena *a)
{
	json_t *names = json_object(), *tool;
	size_t i;
	json_array_foreach (tools, i, tool)
		json_object_set_new(names, arena_strz(a, json_str(json_get(tool, "function"), "name")), json_true());
	return names;
}

struct str bedrock_answer_tool(const json_t *request, struct arena *a)
{
	struct str wanted = json_str(json_get(json_get(request, "response_format"), "json_schema"), "name");
	struct buf b;
	if (!wants_schema(request))
		return STR("");
	buf_init(&b, TOOL_NAME_MAX);
	for (size_t i = 0; i < MIN(wanted.n, (size_t)TOOL_NAME_MAX); i++) {
		char c = wanted.p[i];
		bool kept = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
		buf_add_char(&b, kept ? c : '_');
	}
	struct str stem = arena_str(a, b.n ? buf_str(&b) : STR("answer")), name = stem;
	buf_done(&b);
	json_t *taken = names_of(json_get(request, "tools"), a);
	for (unsigned i = 2; json_get(taken, name.p) && i < 1000; i++)
		name = arena_printf(a, STR_FMT "%u", STR_ARG(stem), i);
	json_decref(taken);
	return name;
}

static json_t *tool_spec(struct str name, struct str description, json_t *schema)
{
	json_t *spec = json_object(), *input = schema;
	if (!json_is_object(input)) {
		input = object_of("type", json_from_str(STR("object")));
		json_object_set_new(input, "properties", json_object());
		json_decref(schema);
	}
	json_set_str(spec, "name", name);
	if (str_trim(description).n)
		json_set_str(spec, "description", description);
	json_object_set_new(spec, "inputSchema", object_of("json", input));
	return object_of("toolSpec", spec);
}

/* m: where marks are counted; NULL: they are not passed on. */
static int add_tools(json_t *list, const json_t *tools, struct bedrock_messages *m, struct arena *a, struct err *err)
{
	const json_t *tool;
	size_t i;
	json_array_foreach (tools, i, tool) {
		const json_t *f = json_get(tool, "function");
		struct str name = json_str(f, "name");
		if (name.n == 0)
			return err_set_at(err, ERR_UNSUPPORTED, arena_printf(a, "/tools/%zu", i).p, "Bedrock takes tools of type function only");
		json_t *made = tool_spec(name, json_str(f, "description"), json_incref(json_get(f, "parameters")));
		if (json_is_true(json_get(f, "strict")))
			json_object_set_new(json_get(made, "toolSpec"), "strict", json_true());
		json_array_append_new(list, made);
		if (m)
			bedrock_mark(m, tool, list);
	}
	return 0;
}

/* A history with calls needs their tools; those that the request no longer has are named again. */
static void add_called(json_t *list, const json_t *tools, json_t *called, struct arena *a)
{
	json_t *known = names_of(tools, a), *yes;
	const char *name;
	json_object_foreach (called, name, yes)
		if (!json_get(known, name))
			json_array_append_new(list, tool_spec(str_from(name), STR(""), NULL));
	json_decref(known);
}

/* NULL: not said (auto); else owned by the caller. */
static json_t *tool_choice(const json_t *request, struct str answer_tool, bool has_tools)
{
	const json_t *choice = json_get(request, "tool_choice");
	struct str word = json_str_of(choice), name = json_str(json_get(choice, "function"), "name");
	if (answer_tool.n && (!has_tools || str_eq_z(word, "none")))
		return object_of("tool", object_of("name", json_from_str(answer_tool)));
	if (name.n)
		return object_of("tool", object_of("name", json_from_str(name)));
	if (str_eq_z(word, "required") || answer_tool.n)
		return object_of("any", json_object());
	return str_eq_z(word, "auto") ? object_of("auto", json_object()) : NULL;
}

static void add_answer_tool(json_t *list, const json_t *request, struct str name)
{
	const json_t *wanted = json_get(json_get(request, "response_format"), "json_schema");
	struct str said = json_str(wanted, "description");
	json_array_append_new(list, tool_spec(name, said.n ? said : STR("Give the answer by calling this tool."), json_incref(json_get(wanted, "schema"))));
}

/* toolConfig, where the request or its history has tools. *ret_forced: a tool must be called. */
static int write_tools(json_t *body, const json_t *request, struct bedrock_messages *m, bool cache, bool *ret_forced, struct arena *a, struct err *err)
{
	const json_t *tools = json_get(request, "tools");
	struct str answer_tool = bedrock_answer_tool(request, a);
	bool none = str_eq_z(json_str(request, "tool_choice"), "none"), called = json_object_size(m->called) > 0;
	if (json_is_object(json_get(request, "tool_choice")) && json_str(json_get(json_get(request, "tool_choice"), "function"), "name").n == 0)
		return err_set_at(err, ERR_UNSUPPORTED, "/tool_choice", "Bedrock takes auto, none, required and a function by its name");
	json_t *list = json_array();
	int rc = none && !called ? 0 : add_tools(list, tools, cache ? m : NULL, a, err);
	bool has_tools = json_array_size(list) > 0;
	add_called(list, tools, m->called, a);
	if (answer_tool.n)
		add_answer_tool(list, request, answer_tool);
	if (rc < 0 || json_array_size(list) == 0) {
		json_decref(list);
		return rc;
	}
	if (cache && !m->marked)
		json_array_append_new(list, bedrock_cache_point());
	json_t *config = object_of("tools", list), *choice = tool_choice(request, answer_tool, has_tools);
	*ret_forced = choice && !json_get(choice, "auto");
	if (choice)
		json_object_set_new(config, "toolChoice", choice);
	json_object_set_new(body, "toolConfig", config);
	return 0;
}

/* --- settings --- */

static int64_t max_tokens(const struct provider_ask *ask)
{
	return ask->max_output > 0 ? ask->max_output : json_i64(ask->request, "max_completion_tokens", json_i64(ask->request, "max_tokens", 0));
}

/* The budget of Claude's thinking; 0: none. */
static int64_t thinking_budget(const struct provider_ask *ask, const struct bedrock_messages *m, bool forced)
{
	struct str effort = thinking_effort(ask->request);
	int64_t limit = max_tokens(ask) > 0 ? max_tokens(ask) : ask->target->max_output_tokens;
	if (!is_claude(ask->target) || forced || m->bare_call)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(efforts); i++) {
		if (!str_eq_z(effort, efforts[i].effort))
			continue;
		/* It must be less than max_tokens, and something must be left for the answer. */
		if (limit <= 0 || efforts[i].budget < limit)
			return efforts[i].budget;
		return limit > THINKING_MIN ? MAX(limit / 2, THINKING_MIN) : 0;
	}
	return 0;
}

static void set_number(json_t *to, const char *key, const json_t *request, const char *from)
{
	const json_t *v = json_get(request, from);
	if (json_is_number(v))
		json_object_set_new(to, key, json_real(MIN(MAX(json_number_value(v), 0.0), 1.0)));
}

static void write_settings(json_t *body, const struct provider_ask *ask, int64_t thinking)
{
	const json_t *r = ask->request, *stop = json_get(r, "stop");
	json_t *settings = json_object();
	if (max_tokens(ask) > 0)
		json_set_i64(settings, "maxTokens", max_tokens(ask));
	if (thinking == 0) {
		set_number(settings, "temperature", r, "temperature");
		set_number(settings, "topP", r, "top_p");
	}
	if (json_is_string(stop)) {
		json_t *list = json_array();
		json_array_append_new(list, json_from_str(json_str_of(stop)));
		json_object_set_new(settings, "stopSequences", list);
	} else if (json_array_size(stop) > 0) {
		json_object_set(settings, "stopSequences", (json_t *)(uintptr_t)stop);
	}
	json_object_set_new(body, "inferenceConfig", settings);
	if (thinking > 0) {
		json_t *how = object_of("type", json_from_str(STR("enabled")));
		json_set_i64(how, "budget_tokens", thinking);
		json_object_set_new(body, "additionalModelRequestFields", object_of("thinking", how));
	}
	struct str tier = json_str(r, "service_tier");
	if (str_eq_z(tier, "default") || str_eq_z(tier, "flex") || str_eq_z(tier, "priority"))
		json_object_set_new(body, "serviceTier", object_of("type", json_from_str(tier)));
}

static int write_chat(const struct provider_ask *ask, struct arena *a, struct buf *out, struct err *err)
{
	struct bedrock_messages m;
	bool cache = ask->target->prompt_cache && is_claude(ask->target), forced = false;
	int rc = bedrock_messages_read(&m, ask->request, cache, a, err);
	json_t *body = json_object();
	if (rc == 0 && json_i64(ask->request, "n", 1) > 1)
		rc = err_set_at(err, ERR_UNSUPPORTED, "/n", "Bedrock gives one choice only");
	if (rc == 0) {
		if (str_eq_z(json_str(json_get(ask->request, "response_format"), "type"), "json_object"))
			json_array_append_new(m.system, object_of("text", json_from_str(STR("Answer with one JSON object and nothing else."))));
		json_object_set(body, "messages", m.messages);
		if (json_array_size(m.system))
			json_object_set(body, "system", m.system);
		rc = write_tools(body, ask->request, &m, cache, &forced, a, err);
	}
	if (rc == 0) {
		write_settings(body, ask, thinking_budget(ask, &m, forced));
		if (json_write(out, body) < 0)
			rc = err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB");
	}
	json_decref(body);
	bedrock_messages_done(&m);
	return rc;
}

/* --- the call --- */

/* The model in the path: an id may hold a colon, an ARN slashes too. */
static struct str path_of(struct str model, struct arena *a)
{
	struct buf b;
	buf_init(&b, URL_PATH_MAX);
	buf_add_percent(&b, model, "");
	struct str path = arena_str(a, buf_str(&b));
	buf_done(&b);
	return path;
}

/* A bearer key, or a signature by a pair of keys, with the token of a session that they belong to. */
static void write_head(const struct conf_target *t, struct arena *a, struct provider_request *ret)
{
	size_t n = 0;
	ret->headers = arena_array(a, struct http_header, t->nheaders + 3);
	ret->headers[n++] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	ret->headers[n++] = (struct http_header){ STR("Accept"), ret->streamed ? STR("application/vnd.amazon.eventstream") : STR("application/json") };
	if (t->api_key.n) {
		ret->headers[n++] = (struct http_header){ STR("Authorization"), arena_printf(a, "Bearer " STR_FMT, STR_ARG(t->api_key)) };
	} else if (t->access_key.n) {
		ret->aws_sigv4 = arena_printf(a, "aws:amz:" STR_FMT ":bedrock", STR_ARG(t->region)).p;
		ret->aws_user = arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(t->access_key), STR_ARG(t->secret_key)).p;
		if (t->session_token.n)
			ret->headers[n++] = (struct http_header){ STR("X-Amz-Security-Token"), t->session_token };
	}
	for (size_t i = 0; i < t->nheaders; i++)
		ret->headers[n++] = (struct http_header){ t->headers[i].name, t->headers[i].value };
	ret->nheaders = n;
}

int bedrock_make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err)
{
	const struct conf_target *t = ask->target;
	bool chat = ask->kind == PROVIDER_CHAT;
	ret->streamed = chat && t->stream;
	ret->method = "POST";
	ret->url = arena_printf(a, STR_FMT "/model/" STR_FMT "/%s", STR_ARG(t->base_url), STR_ARG(path_of(t->model, a)),
	                        !chat ? "invoke" : ret->streamed ? "converse-stream" : "converse").p;
	ret->aws_sigv4 = ret->aws_user = NULL;
	write_head(t, a, ret);
	buf_init(&ret->body, BODY_MAX);
	return chat ? write_chat(ask, a, &ret->body, err) : bedrock_embeddings_write(ask, &ret->body, err);
}
