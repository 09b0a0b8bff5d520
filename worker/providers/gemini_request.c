/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat request in OpenAI's form as the body of Gemini's generateContent ("Gemini API: generating content, function calling, structured
 * output, thinking"). The messages are gemini_contents.c's; here is what stands around them: generationConfig, tools, tier.
 *
 * What Gemini has no word for and nobody is hurt by losing (user, metadata, parallel_tool_calls) is left out. What would change the answer's kind
 * (audio output, tools that are no functions) is refused, with a pointer to the field.
 */
#include "common/conf.h"
#include "worker/providers/gemini.h"
#include "worker/providers/schema.h"
#include "worker/providers/thinking.h"

int gemini_refuse(struct gemini_body *b, struct str pointer, const char *why)
{
	const char *at = arena_strz(b->arena, pointer);
	return err_set_at(b->err, ERR_UNSUPPORTED, at, "%s: %s", at[0] == '/' ? at + 1 : at, why);
}

static void copy(json_t *to, const char *as, const json_t *from, const char *key)
{
	json_t *v = json_get(from, key);
	if (v && !json_is_null(v))
		json_object_set(to, as, v);
}

/* --- schemas --- */

/* A schema under the name that the target's version of the API knows; an empty one asks for nothing and is left out. */
static void set_schema(struct gemini_body *b, json_t *to, const json_t *schema, const char *json_key, const char *openapi_key)
{
	if (!json_is_object(schema) || json_object_size(schema) == 0)
		return;
	if (!b->plain_api) {
		json_object_set(to, json_key, (json_t *)(uintptr_t)schema);
		return;
	}
	json_t *converted = schema_for_gemini(schema);
	if (converted)
		json_object_set_new(to, openapi_key, converted);
}

static int response_format(struct gemini_body *b, json_t *config, const json_t *request)
{
	const json_t *format = json_get(request, "response_format");
	struct str type = json_str(format, "type");
	if (!format || json_is_null(format) || str_eq_z(type, "text"))
		return 0;
	if (!str_eq_z(type, "json_object") && !str_eq_z(type, "json_schema"))
		return gemini_refuse(b, STR("/response_format/type"), "Gemini knows text, json_object and json_schema");
	json_set_str(config, "responseMimeType", STR("application/json"));
	if (str_eq_z(type, "json_schema"))
		set_schema(b, config, json_get(json_get(format, "json_schema"), "schema"), "responseJsonSchema", "responseSchema");
	return 0;
}

/* --- thinking --- */

/* "gemini-2.5-flash" → 2; 0: the name does not tell, as with gemini-flash-latest. */
static int generation(struct str model)
{
	ssize_t at = str_find(model, STR("gemini-"));
	struct str rest = at < 0 ? STR("") : str_sub(model, (size_t)at + 7, model.n);
	return rest.n && rest.p[0] >= '1' && rest.p[0] <= '9' ? rest.p[0] - '0' : 0;
}

static bool thinks_by_budget(struct str model)
{
	int n = generation(model);
	return n == 1 || n == 2;
}

/* Other families' models (gemma, tuned ones) know no signatures. */
static bool wants_signatures(struct str model)
{
	return str_find(model, STR("gemini-")) >= 0 && !thinks_by_budget(model);
}

/* As Google's own OpenAI-compatible endpoint has it ("Gemini API: OpenAI compatibility"). Pro models cannot stop thinking: they get their least. */
static const struct effort {
	const char *name;
	int budget, pro_budget;
	const char *level, *pro_level;
} efforts[] = {
	{ "none", 0, 128, "MINIMAL", "LOW" },
	{ "minimal", 1024, 1024, "MINIMAL", "LOW" },
	{ "low", 1024, 1024, "LOW", "LOW" },
	{ "medium", 8192, 8192, "MEDIUM", "MEDIUM" },
	{ "high", 24576, 24576, "HIGH", "HIGH" },
	{ "xhigh", 24576, 32768, "HIGH", "HIGH" },
	{ "max", 24576, 32768, "HIGH", "HIGH" },
};

/* thinking_config of extra_body.google, word for word. */
static bool own_thinking(json_t *config, const json_t *google)
{
	const json_t *own = json_get(google, "thinking_config");
	if (!json_is_object(own))
		return false;
	json_t *thinking = json_object();
	copy(thinking, "thinkingBudget", own, "thinking_budget");
	copy(thinking, "thinkingLevel", own, "thinking_level");
	copy(thinking, "includeThoughts", own, "include_thoughts");
	json_object_set_new(config, "thinkingConfig", thinking);
	return true;
}

static int thinking(struct gemini_body *b, json_t *config, const json_t *request)
{
	struct str effort = thinking_effort(request), model = b->ask->target->model;
	const struct effort *e = NULL;
	if (own_thinking(config, json_get(json_get(request, "extra_body"), "google")) || effort.n == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(efforts) && !e; i++)
		if (str_eq_z(effort, efforts[i].name))
			e = &efforts[i];
	if (!e)
		return gemini_refuse(b, STR("/reasoning_effort"), "wanted none, minimal, low, medium, high, xhigh or max");
	bool pro = str_find(model, STR("-pro")) >= 0;
	json_t *t = json_object();
	if (thinks_by_budget(model))
		json_set_i64(t, "thinkingBudget", pro ? e->pro_budget : e->budget);
	else
		json_set_str(t, "thinkingLevel", str_from(pro ? e->pro_level : e->level));
	json_object_set_new(t, "includeThoughts", json_boolean(!str_eq_z(effort, "none")));
	json_object_set_new(config, "thinkingConfig", t);
	return 0;
}

/* --- generationConfig --- */

static void stop_sequences(json_t *config, const json_t *request)
{
	json_t *stop = json_get(request, "stop");
	if (json_is_string(stop)) {
		json_t *list = json_array();
		json_array_append(list, stop);
		json_object_set_new(config, "stopSequences", list);
	} else if (json_array_size(stop) > 0) {
		json_object_set(config, "stopSequences", stop);
	}
}

static void max_output(struct gemini_body *b, json_t *config, const json_t *request)
{
	int64_t n = b->ask->max_output;
	if (n <= 0)
		n = json_i64(request, "max_completion_tokens", json_i64(request, "max_tokens", 0));
	if (n > 0)
		json_set_i64(config, "maxOutputTokens", n);
}

static bool asks_for_audio(const json_t *request)
{
	const json_t *one;
	size_t i;
	bool found = json_is_object(json_get(request, "audio"));
	json_array_foreach (json_get(request, "modalities"), i, one)
		found |= str_eq_z(json_str_of(one), "audio");
	return found;
}

static int generation_config(struct gemini_body *b, json_t *body, const json_t *request)
{
	static const char *const same[][2] = { { "temperature", "temperature" }, { "topP", "top_p" }, { "topK", "top_k" }, { "seed", "seed" }, { "candidateCount", "n" },
		{ "presencePenalty", "presence_penalty" }, { "frequencyPenalty", "frequency_penalty" } };
	json_t *config = json_object();
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		copy(config, same[i][0], request, same[i][1]);
	if (json_is_true(json_get(request, "logprobs"))) {
		json_object_set_new(config, "responseLogprobs", json_true());
		copy(config, "logprobs", request, "top_logprobs");
	}
	max_output(b, config, request);
	stop_sequences(config, request);
	int rc = asks_for_audio(request) ? gemini_refuse(b, STR("/modalities"), "Gemini answers in text here") : 0;
	if (rc == 0)
		rc = response_format(b, config, request);
	if (rc == 0)
		rc = thinking(b, config, request);
	if (json_object_size(config) > 0)
		json_object_set(body, "generationConfig", config);
	json_decref(config);
	return rc;
}

/* --- tools --- */

static int tools(struct gemini_body *b, json_t *body, const json_t *request)
{
	json_t *declarations = json_array();
	const json_t *tool;
	size_t i;
	json_array_foreach (json_get(request, "tools"), i, tool) {
		const json_t *function = json_get(tool, "function");
		if (!str_eq_z(json_str(tool, "type"), "function") || json_str(function, "name").n == 0) {
			json_decref(declarations);
			return gemini_refuse(b, arena_printf(b->arena, "/tools/%zu", i), "wanted a function with a name");
		}
		json_t *d = json_object();
		copy(d, "name", function, "name");
		copy(d, "description", function, "description");
		set_schema(b, d, json_get(function, "parameters"), "parametersJsonSchema", "parameters");
		json_array_append_new(declarations, d);
	}
	if (json_array_size(declarations) > 0) {
		json_t *one = json_object(), *list = json_array();
		json_object_set(one, "functionDeclarations", declarations);
		json_array_append_new(list, one);
		json_object_set_new(body, "tools", list);
	}
	json_decref(declarations);
	return 0;
}

/* The names of a tool_choice that is an object: one function, or the allowed ones. */
static json_t *chosen_names(const json_t *choice)
{
	json_t *names = json_array(), *name = json_get(json_get(choice, "function"), "name");
	const json_t *one;
	size_t i;
	if (json_is_string(name))
		json_array_append(names, name);
	json_array_foreach (json_get(json_get(choice, "allowed_tools"), "tools"), i, one) {
		name = json_get(json_get(one, "function"), "name");
		if (json_is_string(name))
			json_array_append(names, name);
	}
	return names;
}

static int tool_choice(struct gemini_body *b, json_t *body, const json_t *request)
{
	json_t *choice = json_get(request, "tool_choice");
	struct str word = json_str_of(choice), mode = STR("ANY");
	if (!choice || json_is_null(choice) || !json_get(body, "tools"))
		return 0;
	json_t *names = chosen_names(choice);
	if (str_eq_z(word, "auto") || str_eq_z(word, "none"))
		mode = str_eq_z(word, "auto") ? STR("AUTO") : STR("NONE");
	else if (str_eq_z(json_str(json_get(choice, "allowed_tools"), "mode"), "auto"))
		mode = STR("VALIDATED"); /* text, or one of these functions */
	else if (!str_eq_z(word, "required") && json_array_size(names) == 0) {
		json_decref(names);
		return gemini_refuse(b, STR("/tool_choice"), "wanted auto, required, none or a function's name");
	}
	json_t *calling = json_object(), *config = json_object();
	json_set_str(calling, "mode", mode);
	if (json_array_size(names) > 0)
		json_object_set(calling, "allowedFunctionNames", names);
	json_decref(names);
	json_object_set_new(config, "functionCallingConfig", calling);
	json_object_set_new(body, "toolConfig", config);
	return 0;
}

/* --- the whole --- */

static void service_tier(struct gemini_body *b, json_t *body, const json_t *request)
{
	struct str tier = json_str(request, "service_tier");
	if (b->vertex || b->plain_api)
		return;
	if (str_eq_z(tier, "flex") || str_eq_z(tier, "priority"))
		json_set_str(body, "serviceTier", tier);
	else if (str_eq_z(tier, "default"))
		json_set_str(body, "serviceTier", STR("standard"));
}

static int write_parts(struct gemini_body *b, json_t *body, const json_t *request)
{
	int rc = gemini_contents(b, json_get(request, "messages"));
	if (rc < 0)
		return rc;
	bool alone = json_array_size(b->contents) == 0; /* Gemini wants a turn: the instruction is it */
	if (alone && json_array_size(b->system) > 0) {
		json_t *turn = json_object();
		json_set_str(turn, "role", STR("user"));
		json_object_set(turn, "parts", b->system);
		json_array_append_new(b->contents, turn);
	} else if (json_array_size(b->system) > 0) {
		json_t *instruction = json_object();
		json_object_set(instruction, "parts", b->system);
		json_object_set_new(body, "systemInstruction", instruction);
	}
	json_object_set(body, "contents", b->contents);
	rc = tools(b, body, request);
	if (rc == 0)
		rc = tool_choice(b, body, request);
	if (rc == 0)
		rc = generation_config(b, body, request);
	service_tier(b, body, request);
	copy(body, "cachedContent", json_get(json_get(request, "extra_body"), "google"), "cached_content");
	return rc;
}

json_t *gemini_chat_request(const struct provider_ask *ask, struct arena *a, struct err *err)
{
	struct gemini_body b = { .ask = ask, .arena = a, .err = err, .vertex = gemini_is_vertex(ask->target), .plain_api = str_eq_z(ask->target->api_version, "v1"),
		                 .signs = wants_signatures(ask->target->model), .system = json_array(), .contents = json_array(), .names = json_object() };
	json_t *body = json_object();
	int rc = write_parts(&b, body, ask->request);
	json_decref(b.system);
	json_decref(b.contents);
	json_decref(b.names);
	if (rc == 0)
		return body;
	json_decref(body);
	return NULL;
}
