/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat request in OpenAI's form as the body of Anthropic's POST /messages: a table of parts, each from the fields that it knows. The messages
 * themselves are turned in anthropic_messages.c.
 *
 * A field that would change the answer and that Anthropic does not have (n, logprobs, logit_bias, audio) is refused by name; one that is a wish
 * (seed, penalties, verbosity) is left out. Where the target asks for it the static front of the request is marked for the provider's prompt cache,
 * unless the request has marks of its own.
 */
#include "common/conf.h"
#include "worker/providers/anthropic.h"
#include "worker/providers/schema.h"

#define MAX_TOKENS_DEFAULT 4096
#define FRONT_MIN_BYTES    4096 /* about the 1,024 tokens below which a prefix is not cached ("Prompt caching": minimum length) */
#define USER_ID_MAX        256
#define THINKING_MIN       1024
#define TOP_P_MIN          0.95 /* beside thinking */
#define JSON_ONLY          "Answer with one JSON object and nothing else: no text before or after it, no code fence."

struct part {
	const struct provider_ask *ask;
	const json_t *request;
	struct anthropic_body *b;
	json_t *out; /* the body */
};

/* --- what is refused --- */

static bool is_set(const json_t *v)
{
	return v && !json_is_null(v) && !json_is_false(v) && !(json_is_object(v) && json_object_size(v) == 0) && !(json_is_array(v) && json_array_size(v) == 0);
}

static bool wants_other_than_text(const json_t *modalities)
{
	const json_t *one;
	size_t i;
	json_array_foreach (modalities, i, one)
		if (!str_eq_z(json_str_of(one), "text"))
			return true;
	return false;
}

static int refuse_untakable(struct part *p)
{
	static const char *const fields[] = { "/logprobs", "/logit_bias", "/audio", "/functions", "/function_call", "/web_search_options" };
	if (json_i64(p->request, "n", 1) > 1)
		return anthropic_refuse(p->b, "/n", "Anthropic gives one choice");
	if (json_i64(p->request, "top_logprobs", 0) > 0)
		return anthropic_refuse(p->b, "/top_logprobs", "Anthropic has no such field");
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (is_set(json_get(p->request, fields[i] + 1)))
			return anthropic_refuse(p->b, fields[i], "Anthropic has no such field");
	if (wants_other_than_text(json_get(p->request, "modalities")))
		return anthropic_refuse(p->b, "/modalities", "Anthropic answers with text alone");
	return 0;
}

/* --- messages --- */

static bool wants_json_object(const json_t *format)
{
	struct str type = json_str(format, "type");
	return str_eq_z(type, "json_object") || (str_eq_z(type, "json_schema") && !json_get(json_get(format, "json_schema"), "schema"));
}

static int put_messages(struct part *p)
{
	struct anthropic_body *b = p->b;
	int rc = anthropic_messages(b, json_get(p->request, "messages"));
	if (rc < 0)
		return rc;
	/* Without a schema there is no mode for JSON: it is asked for in words. */
	if (wants_json_object(json_get(p->request, "response_format"))) {
		json_t *block = json_pack("{s:s, s:s}", "type", "text", "text", JSON_ONLY);
		json_array_append_new(b->system, block);
	}
	if (json_array_size(b->system))
		json_object_set(p->out, "system", b->system);
	json_object_set(p->out, "messages", b->messages);
	return 0;
}

/* --- tools --- */

static json_t *input_schema(const json_t *function, bool strict)
{
	json_t *parameters = json_get(function, "parameters"), *schema;
	schema = strict && parameters ? schema_for_anthropic(parameters) : json_is_object(parameters) ? json_copy(parameters) : json_object();
	/* The one thing that it must say. */
	if (!json_is_string(json_get(schema, "type")))
		json_object_set_new(schema, "type", json_string("object"));
	return schema;
}

/* tool_choice {"type": "allowed_tools"} names those that may be called now; the others are not shown. A set of names, or NULL: all are. */
static json_t *allowed_tools(const json_t *choice)
{
	const json_t *allowed = json_get(json_get(choice, "allowed_tools"), "tools"), *one;
	size_t i;
	if (!json_is_array(allowed))
		return NULL;
	json_t *names = json_object();
	json_array_foreach (allowed, i, one) {
		const json_t *name = json_get(json_get(one, "function"), "name");
		if (json_is_string(name))
			json_object_set_new(names, json_string_value(name), json_true());
	}
	return names;
}

static json_t *tool_of(const json_t *function)
{
	json_t *tool = json_object();
	struct str description = json_str(function, "description");
	bool strict = json_is_true(json_get(function, "strict"));
	json_set_str(tool, "name", json_str(function, "name"));
	if (description.n)
		json_set_str(tool, "description", description);
	json_object_set_new(tool, "input_schema", input_schema(function, strict));
	if (strict)
		json_object_set_new(tool, "strict", json_true());
	return tool;
}

static int put_tools(struct part *p)
{
	const json_t *tools = json_get(p->request, "tools"), *tool;
	size_t i;
	_cleanup_(json_drop) json_t *all = json_array(), *allowed = allowed_tools(json_get(p->request, "tool_choice"));
	json_array_foreach (tools, i, tool) {
		const json_t *function = json_get(tool, "function");
		const char *name = json_string_value(json_get(function, "name"));
		if (!str_eq_z(json_str(tool, "type"), "function") || !name || !name[0])
			return anthropic_refuse(p->b, arena_printf(p->b->arena, "/tools/%zu", i).p, "Anthropic takes tools of type function, with a name");
		if (allowed && !json_get(allowed, name))
			continue;
		json_array_append_new(all, tool_of(function));
		anthropic_mark(p->b, tool, all, 0);
	}
	if (json_array_size(all))
		json_object_set(p->out, "tools", all);
	return 0;
}

static json_t *choice_of_mode(struct str mode)
{
	static const char *const modes[][2] = { { "auto", "auto" }, { "required", "any" }, { "none", "none" } };
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (str_eq_z(mode, modes[i][0]))
			return json_pack("{s:s}", "type", modes[i][1]);
	return NULL;
}

static json_t *tool_choice(const json_t *choice)
{
	struct str type = json_str(choice, "type"), name = json_str(json_get(choice, "function"), "name");
	if (!choice || json_is_null(choice))
		return choice_of_mode(STR("auto"));
	if (json_is_string(choice))
		return choice_of_mode(json_str_of(choice));
	if (str_eq_z(type, "allowed_tools"))
		return choice_of_mode(json_str(json_get(choice, "allowed_tools"), "mode"));
	if (!str_eq_z(type, "function") || name.n == 0)
		return NULL;
	json_t *one = choice_of_mode(STR("auto"));
	json_set_str(one, "type", STR("tool"));
	json_set_str(one, "name", name);
	return one;
}

/* After the tools: without any, a choice would be refused. */
static int put_tool_choice(struct part *p)
{
	const json_t *choice = json_get(p->request, "tool_choice");
	bool one_at_a_time = json_is_false(json_get(p->request, "parallel_tool_calls"));
	if (!json_get(p->out, "tools") || (!is_set(choice) && !one_at_a_time))
		return 0;
	json_t *mine = tool_choice(choice);
	if (!mine)
		return anthropic_refuse(p->b, "/tool_choice", "wanted auto, required, none, a function or allowed_tools");
	if (one_at_a_time && !str_eq_z(json_str(mine, "type"), "none"))
		json_object_set_new(mine, "disable_parallel_tool_use", json_true());
	json_object_set_new(p->out, "tool_choice", mine);
	return 0;
}

/* --- limits and sampling --- */

static int put_limits(struct part *p)
{
	const json_t *stop = json_get(p->request, "stop"), *one;
	int64_t known = p->ask->target->max_output_tokens, tokens = p->ask->max_output;
	size_t i;
	if (tokens <= 0)
		tokens = json_i64(p->request, "max_completion_tokens", json_i64(p->request, "max_tokens", 0));
	if (tokens <= 0)
		tokens = known > 0 ? known : MAX_TOKENS_DEFAULT;
	/* More than the model can write is refused, where OpenAI's servers just write less. */
	json_set_i64(p->out, "max_tokens", known > 0 ? MIN(tokens, known) : tokens);
	json_t *stops = json_array();
	if (json_is_string(stop))
		json_array_append_new(stops, json_from_str(json_str_of(stop)));
	json_array_foreach (stop, i, one)
		if (json_is_string(one))
			json_array_append_new(stops, json_from_str(json_str_of(one)));
	if (json_array_size(stops))
		json_object_set(p->out, "stop_sequences", stops);
	json_decref(stops);
	return 0;
}

static bool is_one(const json_t *number)
{
	double v = json_number_value(number);
	return v >= 1.0 && v <= 1.0;
}

/* Newer models refuse temperature and top_p together; a 1, which says nothing in either, is left out then. */
static int put_sampling(struct part *p)
{
	json_t *temperature = json_get(p->request, "temperature"), *top_p = json_get(p->request, "top_p"), *top_k = json_get(p->request, "top_k");
	json_t *warmth = json_is_number(temperature) && json_number_value(temperature) > 1.0 ? json_integer(1) : json_incref(temperature);
	bool both = json_is_number(warmth) && json_is_number(top_p);
	if (json_is_number(warmth) && !(both && is_one(warmth) && !is_one(top_p)))
		json_object_set(p->out, "temperature", warmth);
	if (json_is_number(top_p) && !(both && is_one(top_p)))
		json_object_set(p->out, "top_p", top_p);
	if (json_is_integer(top_k))
		json_object_set(p->out, "top_k", top_k);
	json_decref(warmth);
	return 0;
}

/* --- the form of the output --- */

static json_t *output_config(struct part *p)
{
	if (!json_get(p->out, "output_config"))
		json_object_set_new(p->out, "output_config", json_object());
	return json_get(p->out, "output_config");
}

static int put_format(struct part *p)
{
	const json_t *format = json_get(p->request, "response_format"), *schema = json_get(json_get(format, "json_schema"), "schema");
	struct str type = json_str(format, "type");
	if (!is_set(format) || str_eq_z(type, "text") || wants_json_object(format))
		return 0;
	if (!str_eq_z(type, "json_schema"))
		return anthropic_refuse(p->b, "/response_format/type", "wanted text, json_object or json_schema");
	json_t *mine = json_object();
	json_set_str(mine, "type", STR("json_schema"));
	json_object_set_new(mine, "schema", schema_for_anthropic(schema));
	json_object_set_new(output_config(p), "format", mine);
	return 0;
}

/* Who thinks is sampled in one way only, and a request that asks for another is refused ("Extended thinking: feature compatibility"). */
static void leave_sampling(struct part *p, bool disabled)
{
	if (disabled)
		return;
	json_object_del(p->out, "temperature");
	json_object_del(p->out, "top_k");
	if (json_number_value(json_get(p->out, "top_p")) < TOP_P_MIN)
		json_object_del(p->out, "top_p");
}

/* Anthropic's own field, for those who know it. What is thought must be less than max_tokens, which may have been lowered since it was asked for. */
static void put_thinking(struct part *p, json_t *asked)
{
	json_t *thinking = json_copy(asked);
	int64_t budget = json_i64(asked, "budget_tokens", 0), most = json_i64(p->out, "max_tokens", 0);
	if (budget >= most && most > THINKING_MIN) {
		json_set_i64(thinking, "budget_tokens", MAX(most / 2, THINKING_MIN));
	} else if (budget >= most) {
		json_object_clear(thinking);
		json_set_str(thinking, "type", STR("disabled"));
	}
	json_object_set_new(p->out, "thinking", thinking);
	leave_sampling(p, str_eq_z(json_str(thinking, "type"), "disabled"));
}

static int put_effort(struct part *p)
{
	static const char *const efforts[][2] = {
		{ "minimal", "low" }, { "low", "low" }, { "medium", "medium" }, { "high", "high" }, { "xhigh", "xhigh" }, { "max", "max" },
	};
	const json_t *field = json_get(p->request, "reasoning_effort");
	json_t *thinking = json_get(p->request, "thinking");
	if (json_is_object(thinking))
		put_thinking(p, thinking);
	if (!is_set(field))
		return 0;
	struct str effort = json_str_of(field);
	if (str_eq_z(effort, "none")) {
		if (!json_is_object(thinking))
			json_object_set_new(p->out, "thinking", json_pack("{s:s}", "type", "disabled"));
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(efforts); i++)
		if (str_eq_z(effort, efforts[i][0])) {
			json_object_set_new(output_config(p), "effort", json_string(efforts[i][1]));
			return 0;
		}
	return anthropic_refuse(p->b, "/reasoning_effort", "wanted none, minimal, low, medium, high, xhigh or max");
}

static int put_account(struct part *p)
{
	struct str tier = json_str(p->request, "service_tier"), user = json_str(p->request, "safety_identifier");
	if (str_eq_z(tier, "default") || str_eq_z(tier, "flex"))
		json_set_str(p->out, "service_tier", STR("standard_only"));
	else if (tier.n)
		json_set_str(p->out, "service_tier", STR("auto"));
	if (user.n == 0)
		user = json_str(p->request, "user");
	if (user.n) {
		json_t *metadata = json_object();
		json_set_str(metadata, "user_id", str_utf8_prefix(user, USER_ID_MAX));
		json_object_set_new(p->out, "metadata", metadata);
	}
	return 0;
}

/* --- the prompt cache --- */

static size_t text_bytes(const json_t *v)
{
	size_t sum = json_string_length(v), i;
	const json_t *item;
	const char *key;
	json_t *member;
	json_array_foreach (v, i, item)
		sum += text_bytes(item);
	json_object_foreach ((json_t *)(uintptr_t)v, key, member)
		sum += str_from(key).n + text_bytes(member);
	return sum;
}

static void mark(json_t *block)
{
	json_object_set_new(block, "cache_control", json_pack("{s:s}", "type", "ephemeral"));
}

/* Who sets marks knows best where. Else: tools, system, documents at the front of the first turn: in that order the provider reads them, and up to a mark it remembers. */
static int put_marks(struct part *p)
{
	const char *const lists[] = { "tools", "system" };
	size_t front = 0, i;
	if (p->b->marks && json_is_object(json_get(p->request, "cache_control"))) {
		json_object_set(p->out, "cache_control", json_get(p->request, "cache_control"));
		return 0;
	}
	if (!p->b->marks || p->b->marked)
		return 0;
	for (i = 0; i < ARRAY_LEN(lists); i++) {
		const json_t *list = json_get(p->out, lists[i]);
		front += text_bytes(list);
		if (json_array_size(list) && front >= FRONT_MIN_BYTES)
			mark(json_array_get(list, json_array_size(list) - 1));
	}
	const json_t *first = json_array_get(p->b->messages, 0), *content = json_get(first, "content");
	json_t *block, *last = NULL;
	if (!str_eq_z(json_str(first, "role"), "user"))
		return 0;
	json_array_foreach (content, i, block) {
		if (!str_eq_z(json_str(block, "type"), "document"))
			break;
		front += text_bytes(block);
		last = block;
	}
	if (last && front >= FRONT_MIN_BYTES)
		mark(last);
	return 0;
}

/* --- all of it --- */

json_t *anthropic_request(const struct provider_ask *ask, struct arena *a, bool *ret_files, struct err *err)
{
	static int (*const parts[])(struct part *p) = {
		refuse_untakable, put_limits, put_tools, put_tool_choice, put_messages, put_sampling, put_format, put_effort, put_account, put_marks,
	};
	struct anthropic_body b = { .arena = a, .err = err, .system = json_array(), .messages = json_array(), .marks = ask->target->prompt_cache };
	struct part p = { .ask = ask, .request = ask->request, .b = &b, .out = json_object() };
	int rc = 0;
	json_set_str(p.out, "model", ask->target->model);
	if (ask->target->stream)
		json_object_set_new(p.out, "stream", json_true());
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(parts); i++)
		rc = parts[i](&p);
	json_decref(b.system);
	json_decref(b.messages);
	json_decref(b.results);
	json_decref(b.rest);
	*ret_files = b.files;
	if (rc == 0)
		return p.out;
	json_decref(p.out);
	return NULL;
}
