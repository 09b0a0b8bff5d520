/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of POST /v1/responses as a chat request, parameter by parameter (OpenAI: API reference, Responses). Each parameter is a row of a table; a
 * null is one that was not given, and unknown ones are ignored, as OpenAI does. What a client would miss when it were ignored is refused by name: built-in
 * tools, conversations, prompt templates. The echo gathers what the Response object repeats.
 *
 * Tools, tool_choice and parallel_tool_calls go on only where there are tools: chat refuses them otherwise.
 */
#include "api/faces/response.h"

#define IDENTIFIER_MAX 64 /* characters of safety_identifier */

struct reader {
	struct arena *a;
	struct err *err;
	const char *pointer; /* of the parameter being read */
	struct face_request *r;
	json_t *tools;       /* owned: in chat's form; NULL: none */
	json_t *choice;      /* owned: tool_choice in chat's form; NULL: not given */
	const json_t *input, *instructions, *parallel;
};

static int wrong(const struct reader *r, const char *pointer, const char *wanted)
{
	return err_set_at(r->err, ERR_WRONG_TYPE, pointer, "wanted %s", wanted);
}

static const char *below(const struct reader *r, const char *pointer, const char *name)
{
	return arena_printf(r->a, "%s/%s", pointer, name).p;
}

static bool is_given(const json_t *v)
{
	return v && !json_is_null(v);
}

static void repeat(struct reader *r, json_t *v)
{
	json_object_set(r->r->echo, r->pointer + 1, v);
}

static int read_flag(struct reader *r, json_t *v, bool *ret)
{
	if (!json_is_boolean(v))
		return wrong(r, r->pointer, "true or false");
	*ret = json_is_true(v);
	return 0;
}

/* --- plain values --- */

/* How a value goes on: its name in chat, its type and its range; to NULL: it is only repeated. */
static const struct plain {
	const char *name, *to;
	enum { TEXT, WHOLE, NUMBER } type;
	double min, max;
	size_t longest; /* characters of a text; 0: any */
} plains[] = {
	{ "max_output_tokens", "max_completion_tokens", WHOLE, 1, 1e9, 0 },
	{ "max_tool_calls", NULL, WHOLE, 1, 1e9, 0 },
	{ "prompt_cache_key", "prompt_cache_key", TEXT, 0, 0, 0 },
	{ "prompt_cache_retention", "prompt_cache_retention", TEXT, 0, 0, 0 },
	{ "safety_identifier", "safety_identifier", TEXT, 0, 0, IDENTIFIER_MAX },
	{ "service_tier", "service_tier", TEXT, 0, 0, 0 },
	{ "temperature", "temperature", NUMBER, 0, 2, 0 },
	{ "top_p", "top_p", NUMBER, 0, 1, 0 },
};

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static int read_plain(struct reader *r, const struct plain *p, json_t *v)
{
	if (p->type == TEXT) {
		if (!json_is_string(v))
			return wrong(r, r->pointer, "a string");
		if (p->longest > 0 && characters(json_str_of(v)) > p->longest)
			return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted at most %zu characters", p->longest);
	} else {
		if (p->type == WHOLE ? !json_is_integer(v) : !json_is_number(v))
			return wrong(r, r->pointer, p->type == WHOLE ? "a whole number" : "a number");
		double n = json_number_value(v);
		if (n < p->min || n > p->max)
			return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted %g to %g", p->min, p->max);
	}
	if (p->to)
		json_object_set(r->r->request, p->to, v);
	repeat(r, v);
	return 0;
}

/* --- what is said --- */

static int read_input(struct reader *r, json_t *v)
{
	r->input = v;
	return 0;
}

static int read_instructions(struct reader *r, json_t *v)
{
	if (!json_is_string(v))
		return wrong(r, r->pointer, "a string");
	r->instructions = v;
	repeat(r, v);
	return 0;
}

static int read_previous(struct reader *r, json_t *v)
{
	if (!json_is_string(v))
		return wrong(r, r->pointer, "a string");
	r->r->previous = json_str_of(v);
	repeat(r, v);
	return 0;
}

/* What all faces read is repeated here, too; user goes on to the provider. */
static int read_metadata(struct reader *r, json_t *v)
{
	repeat(r, v);
	return 0;
}

static int read_user(struct reader *r, json_t *v)
{
	json_object_set(r->r->request, "user", v);
	repeat(r, v);
	return 0;
}

/* --- how it runs --- */

static int read_background(struct reader *r, json_t *v)
{
	repeat(r, v);
	return read_flag(r, v, &r->r->background);
}

static int read_store(struct reader *r, json_t *v)
{
	bool store = true;
	int rc = read_flag(r, v, &store);
	r->r->unstored = !store;
	repeat(r, v);
	return rc;
}

static int read_truncation(struct reader *r, json_t *v)
{
	if (!str_eq_z(json_str_of(v), "auto") && !str_eq_z(json_str_of(v), "disabled"))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted auto or disabled");
	repeat(r, v);
	return 0;
}

/* One of some words. 0, or an error that names them. */
static int check_word(const struct reader *r, const json_t *v, const char *at, const char *const *words, size_t n, const char *wanted)
{
	if (!json_is_string(v))
		return wrong(r, at, wanted);
	for (size_t i = 0; i < n; i++)
		if (str_eq_z(json_str_of(v), words[i]))
			return 0;
	return err_set_at(r->err, ERR_OUT_OF_RANGE, at, "wanted %s", wanted);
}

/* Only log probabilities are something that a chat can have. */
static int read_include(struct reader *r, json_t *v)
{
	static const char *const words[] = { "message.output_text.logprobs",  "reasoning.encrypted_content",     "message.input_image.image_url",
		                             "file_search_call.results",      "web_search_call.results",         "web_search_call.action.sources",
		                             "code_interpreter_call.outputs", "computer_call_output.output.image_url" };
	if (!json_is_array(v))
		return wrong(r, r->pointer, "an array of strings");
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *one = json_array_get(v, i);
		int rc = check_word(r, one, arena_printf(r->a, "%s/%zu", r->pointer, i).p, words, ARRAY_LEN(words), "what OpenAI knows, like message.output_text.logprobs");
		if (rc < 0)
			return rc;
		if (str_eq_z(json_str_of(one), words[0]))
			json_object_set_new(r->r->request, "logprobs", json_true());
	}
	return 0;
}

static int read_top_logprobs(struct reader *r, json_t *v)
{
	if (!json_is_integer(v))
		return wrong(r, r->pointer, "a whole number");
	json_int_t n = json_integer_value(v);
	if (n < 0 || n > 20)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted 0 to 20");
	repeat(r, v);
	if (n > 0) {
		json_object_set_new(r->r->request, "logprobs", json_true());
		json_object_set(r->r->request, "top_logprobs", v);
	}
	return 0;
}

static int read_reasoning(struct reader *r, json_t *v)
{
	if (!json_is_object(v))
		return wrong(r, r->pointer, "an object");
	static const char *const summaries[] = { "auto", "concise", "detailed" };
	json_t *effort = json_get(v, "effort"), *summary = json_get(v, "summary");
	int rc = is_given(summary) ? check_word(r, summary, below(r, r->pointer, "summary"), summaries, ARRAY_LEN(summaries), "auto, concise or detailed") : 0;
	if (rc < 0)
		return rc;
	json_t *echo = json_object();
	if (is_given(effort) && json_is_string(effort))
		json_object_set(r->r->request, "reasoning_effort", effort);
	json_object_set(echo, "effort", effort ? effort : json_null());
	json_object_set(echo, "summary", summary ? summary : json_null());
	repeat(r, echo);
	json_decref(echo);
	return is_given(effort) && !json_is_string(effort) ? wrong(r, below(r, r->pointer, "effort"), "a string") : 0;
}

static int refuse_conversation(struct reader *r, json_t *v)
{
	(void)v;
	return err_set_at(r->err, ERR_UNSUPPORTED, r->pointer, "Millrace keeps no conversations: give previous_response_id");
}

static int refuse_here(struct reader *r, json_t *v)
{
	(void)v;
	return err_set_at(r->err, ERR_UNSUPPORTED, r->pointer, "Millrace does not carry out %s", r->pointer + 1);
}

/* --- text --- */

static int read_schema(struct reader *r, const json_t *format, const char *at, json_t **ret)
{
	static const char *const members[] = { "name", "description", "schema", "strict" };
	if (!json_is_string(json_get(format, "name")))
		return err_set_at(r->err, ERR_MISSING_FIELD, below(r, at, "name"), "a schema needs a name");
	if (!json_is_object(json_get(format, "schema")))
		return err_set_at(r->err, ERR_MISSING_FIELD, below(r, at, "schema"), "wanted a JSON schema");
	if (is_given(json_get(format, "strict")) && !json_is_boolean(json_get(format, "strict")))
		return wrong(r, below(r, at, "strict"), "true or false");
	json_t *inner = json_object();
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (is_given(json_get(format, members[i])))
			json_object_set(inner, members[i], json_get(format, members[i]));
	*ret = json_object();
	json_set_str(*ret, "type", STR("json_schema"));
	json_object_set_new(*ret, "json_schema", inner);
	return 0;
}

static int read_format(struct reader *r, const json_t *format)
{
	const char *at = below(r, r->pointer, "format");
	struct str type = json_str(format, "type");
	json_t *made = NULL;
	if (!json_is_object(format))
		return wrong(r, at, "an object");
	if (str_eq_z(type, "text"))
		return 0;
	if (str_eq_z(type, "json_schema")) {
		int rc = read_schema(r, format, at, &made);
		if (rc < 0)
			return rc;
	} else if (str_eq_z(type, "json_object")) {
		made = json_object();
		json_set_str(made, "type", type);
	} else {
		return err_set_at(r->err, ERR_OUT_OF_RANGE, below(r, at, "type"), "wanted text, json_schema or json_object");
	}
	json_object_set_new(r->r->request, "response_format", made);
	return 0;
}

static int read_text(struct reader *r, json_t *v)
{
	if (!json_is_object(v))
		return wrong(r, r->pointer, "an object");
	static const char *const verbosities[] = { "low", "medium", "high" };
	json_t *format = json_get(v, "format"), *verbosity = json_get(v, "verbosity");
	int rc = is_given(format) ? read_format(r, format) : 0;
	if (rc == 0 && is_given(verbosity))
		rc = check_word(r, verbosity, below(r, r->pointer, "verbosity"), verbosities, ARRAY_LEN(verbosities), "low, medium or high");
	if (rc < 0)
		return rc;
	json_t *echo = json_object();
	if (is_given(format)) {
		json_object_set(echo, "format", format);
	} else {
		json_t *plain = json_object();
		json_set_str(plain, "type", STR("text"));
		json_object_set_new(echo, "format", plain);
	}
	if (is_given(verbosity)) {
		json_object_set(r->r->request, "verbosity", verbosity);
		json_object_set(echo, "verbosity", verbosity);
	}
	repeat(r, echo);
	json_decref(echo);
	return 0;
}

/* --- tools --- */

/* The members of a function: the same here and in chat, but that chat has them one level deeper. */
static int read_function(struct reader *r, const json_t *tool, const char *at)
{
	static const struct {
		const char *name;
		int type; /* of jansson */
		const char *wanted;
	} members[] = { { "description", JSON_STRING, "a string" }, { "parameters", JSON_OBJECT, "an object: a JSON schema" }, { "strict", JSON_TRUE, "true or false" } };
	json_t *name = json_get(tool, "name");
	if (!json_is_string(name) || json_str_of(name).n == 0)
		return err_set_at(r->err, ERR_MISSING_FIELD, below(r, at, "name"), "a function needs a name");
	_cleanup_(json_drop) json_t *function = json_object(), *chat = json_object(), *echo = json_object();
	json_object_set(function, "name", name);
	json_set_str(chat, "type", STR("function"));
	json_object_update(echo, chat);
	json_object_set(echo, "name", name);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_get(tool, members[i].name);
		json_object_set(echo, members[i].name, v ? v : json_null());
		if (!is_given(v))
			continue;
		if (members[i].type == JSON_TRUE ? !json_is_boolean(v) : (int)json_typeof(v) != members[i].type)
			return wrong(r, below(r, at, members[i].name), members[i].wanted);
		json_object_set(function, members[i].name, v);
	}
	json_object_set(chat, "function", function);
	json_array_append(r->tools, chat);
	json_array_append(json_get(r->r->echo, "tools"), echo);
	return 0;
}

static int read_tools(struct reader *r, json_t *v)
{
	if (!json_is_array(v))
		return wrong(r, r->pointer, "an array");
	json_decref(r->tools);
	r->tools = json_array();
	json_object_set_new(r->r->echo, "tools", json_array());
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *tool = json_array_get(v, i);
		const char *at = arena_printf(r->a, "%s/%zu", r->pointer, i).p;
		struct str type = json_str(tool, "type");
		if (!json_is_object(tool))
			return wrong(r, at, "an object");
		if (type.n == 0)
			return err_set_at(r->err, ERR_MISSING_FIELD, below(r, at, "type"), "a tool needs a type");
		if (!str_eq_z(type, "function"))
			return err_set_at(r->err, ERR_UNSUPPORTED, below(r, at, "type"), "tools of type %.*s are not carried out: only functions are",
			                  (int)MIN(type.n, (size_t)60), type.p);
		int rc = read_function(r, tool, at);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool has_tool(const struct reader *r, struct str name)
{
	for (size_t i = 0; i < json_array_size(r->tools); i++)
		if (str_eq(json_str(json_get(json_array_get(r->tools, i), "function"), "name"), name))
			return true;
	return false;
}

/* {"type": "function", "name"} → {"type": "function", "function": {"name"}} */
static int read_chosen(struct reader *r, const json_t *v, const char *at, json_t **ret)
{
	struct str type = json_str(v, "type"), name = json_str(v, "name");
	if (!str_eq_z(type, "function"))
		return err_set_at(r->err, ERR_UNSUPPORTED, below(r, at, "type"), "only functions can be chosen");
	if (!has_tool(r, name))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, below(r, at, "name"), "there is no such function among the tools");
	json_t *inner = json_object();
	json_set_str(inner, "name", name);
	*ret = json_object();
	json_set_str(*ret, "type", type);
	json_object_set_new(*ret, "function", inner);
	return 0;
}

static int read_allowed(struct reader *r, const json_t *v, const char *at)
{
	const json_t *tools = json_get(v, "tools");
	struct str mode = json_str(v, "mode");
	if (!str_eq_z(mode, "auto") && !str_eq_z(mode, "required"))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, below(r, at, "mode"), "wanted auto or required");
	if (json_array_size(tools) == 0)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, below(r, at, "tools"), "wanted at least one tool");
	_cleanup_(json_drop) json_t *all = json_array();
	for (size_t i = 0; i < json_array_size(tools); i++) {
		json_t *one = NULL;
		int rc = read_chosen(r, json_array_get(tools, i), arena_printf(r->a, "%s/tools/%zu", at, i).p, &one);
		if (rc < 0)
			return rc;
		json_array_append_new(all, one);
	}
	json_t *inner = json_object();
	json_set_str(inner, "mode", mode);
	json_object_set(inner, "tools", all);
	r->choice = json_object();
	json_set_str(r->choice, "type", STR("allowed_tools"));
	json_object_set_new(r->choice, "allowed_tools", inner);
	return 0;
}

/* After the tools, whose names it may hold. */
static int read_choice(struct reader *r, json_t *v)
{
	const char *at = r->pointer;
	repeat(r, v);
	if (json_is_string(v)) {
		struct str word = json_str_of(v);
		if (!str_eq_z(word, "none") && !str_eq_z(word, "auto") && !str_eq_z(word, "required"))
			return err_set_at(r->err, ERR_OUT_OF_RANGE, at, "wanted none, auto, required or an object");
		if (str_eq_z(word, "required") && json_array_size(r->tools) == 0)
			return err_set_at(r->err, ERR_INVALID, at, "there are no tools to choose from");
		r->choice = json_incref(v);
		return 0;
	}
	if (!json_is_object(v))
		return wrong(r, at, "a string or an object");
	if (str_eq_z(json_str(v, "type"), "allowed_tools"))
		return read_allowed(r, v, at);
	return read_chosen(r, v, at, &r->choice);
}

static int read_parallel(struct reader *r, json_t *v)
{
	bool flag;
	r->parallel = v;
	repeat(r, v);
	return read_flag(r, v, &flag);
}

/* --- the whole --- */

static const struct {
	const char *name;
	int (*read)(struct reader *r, json_t *v);
} fields[] = {
	{ "input", read_input },
	{ "instructions", read_instructions },
	{ "previous_response_id", read_previous },
	{ "tools", read_tools },
	{ "tool_choice", read_choice },
	{ "parallel_tool_calls", read_parallel },
	{ "text", read_text },
	{ "reasoning", read_reasoning },
	{ "include", read_include },
	{ "top_logprobs", read_top_logprobs },
	{ "truncation", read_truncation },
	{ "metadata", read_metadata },
	{ "user", read_user },
	{ "background", read_background },
	{ "store", read_store },
	{ "conversation", refuse_conversation },
	{ "prompt", refuse_here },
	{ "context_management", refuse_here },
	{ "moderation", refuse_here },
};

static int read_fields(struct reader *r, const json_t *body)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		json_t *v = json_get(body, fields[i].name);
		r->pointer = arena_printf(r->a, "/%s", fields[i].name).p;
		int rc = is_given(v) ? fields[i].read(r, v) : 0;
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < ARRAY_LEN(plains); i++) {
		json_t *v = json_get(body, plains[i].name);
		r->pointer = arena_printf(r->a, "/%s", plains[i].name).p;
		int rc = is_given(v) ? read_plain(r, &plains[i], v) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int make_messages(struct reader *r)
{
	json_t *messages = json_array();
	json_object_set_new(r->r->request, "messages", messages);
	if (r->instructions) {
		json_t *m = json_object();
		json_set_str(m, "role", STR("system"));
		json_object_set(m, "content", (json_t *)(uintptr_t)r->instructions);
		json_array_append_new(messages, m);
	}
	if (r->input)
		return response_input_read(r->a, r->input, "/input", messages, r->err);
	return r->r->previous.p ? 0 : err_set_at(r->err, ERR_MISSING_FIELD, "/input", "give input or previous_response_id");
}

static int check_whole(struct reader *r)
{
	if (r->r->background && r->r->unstored)
		return err_set_at(r->err, ERR_INVALID, "/store", "a response in the background must be stored: leave store out");
	int rc = make_messages(r);
	if (rc < 0 || json_array_size(r->tools) == 0)
		return rc;
	json_object_set(r->r->request, "tools", r->tools);
	if (r->choice)
		json_object_set(r->r->request, "tool_choice", r->choice);
	if (r->parallel)
		json_object_set(r->r->request, "parallel_tool_calls", (json_t *)(uintptr_t)r->parallel);
	return 0;
}

const char *response_pointer(struct arena *a, const char *native)
{
	static const struct {
		struct str from;
		const char *to;
	} places[] = {
		{ STR("/messages"), "/input" }, /* which item it was is not known any more */
		{ STR("/max_completion_tokens"), "/max_output_tokens" },
		{ STR("/response_format"), "/text/format" },
		{ STR("/reasoning_effort"), "/reasoning/effort" },
		{ STR("/logprobs"), "/top_logprobs" },
	};
	(void)a;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (str_has_prefix(str_from(native), places[i].from))
			return places[i].to;
	return native;
}

int response_read(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	struct face_request made = { .request = json_object(), .echo = json_object() };
	struct reader r = { .a = a, .err = err, .pointer = "", .r = &made };
	int rc = face_read_common(body, &made, err);
	if (rc == 0)
		rc = read_fields(&r, body);
	if (rc == 0)
		rc = check_whole(&r);
	json_decref(r.tools);
	json_decref(r.choice);
	if (rc < 0) {
		face_request_done(&made);
		return rc;
	}
	*ret = made;
	return 0;
}
