/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape of a chat or embeddings request: what every provider would refuse, or would take for something else, is refused here by its name and
 * place, before it costs a call. Members are in a table with the types that OpenAI's reference gives them; null is absent. What only some know (models,
 * other kinds of parts, tools and formats, names of levels and tiers) passes through as it is and is judged by the provider.
 */
#include "api/jobs/submission.h"

#include "common/request_facts.h"

#define WHOLE_MAX 9.3e18 /* all that fit into 64 bits */

struct checker {
	struct arena *a;
	struct err *err;
};

/* Where in the request: made into a pointer for complaints only. */
struct place {
	const struct place *up;
	const char *name; /* NULL: an item of a list */
	size_t index;
};

#define IN(at, member) (&(const struct place){ .up = (at), .name = (member) })
#define AT(at, i)      (&(const struct place){ .up = (at), .index = (i) })

static const char *pointer_to(struct checker *c, const struct place *at)
{
	if (!at->up)
		return at->name;
	const char *up = pointer_to(c, at->up);
	return at->name ? submission_pointer(c->a, up, str_from(at->name)) : arena_printf(c->a, "%s/%zu", up, at->index).p;
}

static int wrong(struct checker *c, const struct place *at, const char *wanted)
{
	return err_set_at(c->err, ERR_WRONG_TYPE, pointer_to(c, at), "wanted %s", wanted);
}

static bool is_role(struct str role)
{
	static const char *const roles[] = { "system", "developer", "user", "assistant", "tool", "function" };
	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (str_eq_z(role, roles[i]))
			return true;
	return false;
}

/* --- small things --- */

static bool is_there(const json_t *v)
{
	return v && !json_is_null(v);
}

static int missing(struct checker *c, const struct place *pointer, const char *what)
{
	return err_set_at(c->err, ERR_MISSING_FIELD, pointer_to(c, pointer), "%s", what);
}

enum kind { TEXT, FLAG, NUMBER, WHOLE, OBJECT, ARRAY };

static bool is_of(const json_t *v, enum kind kind)
{
	switch (kind) {
	case TEXT:
		return json_is_string(v);
	case FLAG:
		return json_is_boolean(v);
	case NUMBER:
		return json_is_number(v);
	case WHOLE:
		return json_is_integer(v);
	case OBJECT:
		return json_is_object(v);
	case ARRAY:
		return json_is_array(v);
	}
	return false;
}

static const char *const kinds[] = {
	[TEXT] = "a string", [FLAG] = "true or false", [NUMBER] = "a number", [WHOLE] = "a whole number", [OBJECT] = "an object", [ARRAY] = "an array",
};

/* The member, when it is there, is of that kind. */
static int check_kind(struct checker *c, const json_t *of, const struct place *base, const char *name, enum kind kind)
{
	const json_t *v = json_get(of, name);
	return !is_there(v) || is_of(v, kind) ? 0 : wrong(c, IN(base, name), kinds[kind]);
}

/* As above, and it must be there. Texts must not be empty. */
static int check_given(struct checker *c, const json_t *of, const struct place *base, const char *name, enum kind kind)
{
	const json_t *v = json_get(of, name);
	if (!is_there(v))
		return missing(c, IN(base, name), "this is required");
	if (is_of(v, kind) && kind == TEXT && json_string_length(v) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, IN(base, name)), "this is empty");
	return check_kind(c, of, base, name, kind);
}

static int check_texts(struct checker *c, const json_t *list, const struct place *pointer)
{
	const json_t *one;
	size_t i;
	json_array_foreach(list, i, one)
		if (!json_is_string(one))
			return wrong(c, AT(pointer, i), "a string");
	return 0;
}

/* Line ends and the alphabet for URLs are let through: some take them. */
static int check_base64(struct checker *c, struct str data, const struct place *pointer)
{
	for (size_t i = 0; i < data.n; i++) {
		unsigned char x = (unsigned char)data.p[i], low = x | 0x20;
		if (!(low >= 'a' && low <= 'z') && !(x >= '0' && x <= '9') && x != '+' && x != '/' && x != '=' && x != '-' && x != '_' && x != '\r' && x != '\n' && x != ' ')
			return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, pointer), "this is not base64");
	}
	return data.n ? 0 : err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, pointer), "there is no data");
}

static int check_data_url(struct checker *c, struct str url, const struct place *pointer)
{
	struct request_data d;
	return request_data_url(url, &d) && d.base64 ? check_base64(c, d.data, pointer) : 0;
}

/* --- parts of a message --- */

static int check_image(struct checker *c, const struct place *at, const json_t *part)
{
	const json_t *image = json_get(part, "image_url");
	const struct place *in = IN(at, "image_url");
	if (json_is_string(image)) /* as some clients write it */
		return check_data_url(c, json_str_of(image), in);
	int rc = check_given(c, part, at, "image_url", OBJECT);
	rc = rc < 0 ? rc : check_kind(c, image, in, "detail", TEXT);
	if (rc == 0 && is_there(json_get(image, "file_id")))
		return check_given(c, image, in, "file_id", TEXT);
	rc = rc < 0 ? rc : check_given(c, image, in, "url", TEXT);
	return rc < 0 ? rc : check_data_url(c, json_str(image, "url"), IN(in, "url"));
}

static int check_file(struct checker *c, const struct place *at, const json_t *part)
{
	const json_t *file = json_get(part, "file");
	const struct place *in = IN(at, "file");
	int rc = check_given(c, part, at, "file", OBJECT);
	rc = rc < 0 ? rc : check_kind(c, file, in, "filename", TEXT);
	if (rc == 0 && is_there(json_get(file, "file_id")))
		return check_given(c, file, in, "file_id", TEXT);
	if (rc == 0 && !is_there(json_get(file, "file_data")))
		return missing(c, in, "a file has file_data, or a file_id");
	rc = rc < 0 ? rc : check_given(c, file, in, "file_data", TEXT);
	return rc < 0 ? rc : check_data_url(c, json_str(file, "file_data"), IN(in, "file_data"));
}

static int check_sound(struct checker *c, const struct place *at, const json_t *part)
{
	const json_t *sound = json_get(part, "input_audio");
	const struct place *in = IN(at, "input_audio");
	int rc = check_given(c, part, at, "input_audio", OBJECT);
	rc = rc < 0 ? rc : check_given(c, sound, in, "format", TEXT);
	rc = rc < 0 ? rc : check_given(c, sound, in, "data", TEXT);
	return rc < 0 ? rc : check_base64(c, json_str(sound, "data"), IN(in, "data"));
}

static int check_part(struct checker *c, const struct place *at, const json_t *part)
{
	struct str type = json_str(part, "type");
	if (!json_is_object(part))
		return wrong(c, at, "an object");
	if (!json_is_string(json_get(part, "type")))
		return is_there(json_get(part, "type")) ? wrong(c, IN(at, "type"), "a string") : missing(c, IN(at, "type"), "a part has a type");
	if (str_eq_z(type, "image_url"))
		return check_image(c, at, part);
	if (str_eq_z(type, "file"))
		return check_file(c, at, part);
	if (str_eq_z(type, "input_audio"))
		return check_sound(c, at, part);
	if (!str_eq_z(type, "text") && !str_eq_z(type, "refusal"))
		return 0;
	const char *name = str_eq_z(type, "text") ? "text" : "refusal";
	return is_there(json_get(part, name)) ? check_kind(c, part, at, name, TEXT) : missing(c, IN(at, name), "this is required");
}

static int check_parts(struct checker *c, const struct place *pointer, json_t *parts)
{
	size_t i;
	json_t *part;
	if (json_array_size(parts) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, pointer), "wanted at least one part");
	json_array_foreach(parts, i, part)
	{
		int rc = check_part(c, AT(pointer, i), part);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- messages --- */

static int check_call(struct checker *c, const struct place *at, const json_t *call)
{
	const json_t *type = json_get(call, "type"), *function = json_get(call, "function"), *arguments = json_get(function, "arguments");
	const struct place *in = IN(at, "function");
	if (!json_is_object(call))
		return wrong(c, at, "an object");
	int rc = check_kind(c, call, at, "id", TEXT);
	rc = rc < 0 ? rc : check_kind(c, call, at, "type", TEXT);
	if (rc < 0 || (is_there(type) && !str_eq_z(json_str_of(type), "function")))
		return rc;
	rc = check_given(c, call, at, "function", OBJECT);
	rc = rc < 0 ? rc : check_given(c, function, in, "name", TEXT);
	if (rc == 0 && is_there(arguments) && !json_is_string(arguments) && !json_is_object(arguments))
		return wrong(c, IN(in, "arguments"), "JSON in a string");
	return rc;
}

static int check_calls(struct checker *c, const struct place *pointer, const json_t *message)
{
	const json_t *calls = json_get(message, "tool_calls"), *call;
	const struct place *at = IN(pointer, "tool_calls");
	size_t i;
	int rc = check_kind(c, message, pointer, "tool_calls", ARRAY);
	json_array_foreach(calls, i, call)
	{
		if (rc < 0)
			return rc;
		rc = check_call(c, AT(at, i), call);
	}
	return rc;
}

static int check_role(struct checker *c, const struct place *pointer, const json_t *m)
{
	const json_t *role = json_get(m, "role");
	const struct place *at = IN(pointer, "role");
	if (!json_is_string(role))
		return role ? wrong(c, at, "a string") : missing(c, at, "a message needs a role");
	return is_role(json_str_of(role)) ? 0
	                                  : err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, at), "wanted system, developer, user, assistant, tool or function");
}

static int check_content(struct checker *c, const struct place *pointer, const json_t *m)
{
	json_t *content = json_get(m, "content");
	const struct place *at = IN(pointer, "content");
	if (json_is_string(content))
		return 0;
	if (json_is_array(content))
		return check_parts(c, at, content);
	/* An answer that only calls tools has no text. */
	if (!is_there(content) && str_eq_z(json_str(m, "role"), "assistant"))
		return 0;
	return content ? wrong(c, at, "a string or an array of parts") : missing(c, at, "a message needs content");
}

static int check_message(struct checker *c, const struct place *pointer, const json_t *m)
{
	if (!json_is_object(m))
		return wrong(c, pointer, "an object");
	int rc = check_role(c, pointer, m);
	rc = rc < 0 ? rc : check_content(c, pointer, m);
	rc = rc < 0 ? rc : check_kind(c, m, pointer, "name", TEXT);
	rc = rc < 0 ? rc : check_kind(c, m, pointer, "refusal", TEXT);
	rc = rc < 0 ? rc : check_calls(c, pointer, m);
	return rc == 0 && str_eq_z(json_str(m, "role"), "tool") ? check_given(c, m, pointer, "tool_call_id", TEXT) : rc;
}

static int check_messages(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *messages = json_get(request, "messages"), *m;
	const struct place *pointer = IN(base, "messages");
	size_t i;
	if (!messages)
		return missing(c, pointer, "a chat request needs messages");
	if (!json_is_array(messages))
		return wrong(c, pointer, "an array");
	if (json_array_size(messages) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, pointer), "wanted at least one message");
	json_array_foreach(messages, i, m)
	{
		int rc = check_message(c, AT(pointer, i), m);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- tools --- */

static int check_tool(struct checker *c, const struct place *at, const json_t *tool)
{
	const json_t *function = json_get(tool, "function");
	const struct place *in = IN(at, "function");
	if (!json_is_object(tool))
		return wrong(c, at, "an object");
	int rc = check_given(c, tool, at, "type", TEXT);
	if (rc < 0 || !str_eq_z(json_str(tool, "type"), "function"))
		return rc;
	rc = check_given(c, tool, at, "function", OBJECT);
	rc = rc < 0 ? rc : check_given(c, function, in, "name", TEXT);
	rc = rc < 0 ? rc : check_kind(c, function, in, "description", TEXT);
	rc = rc < 0 ? rc : check_kind(c, function, in, "parameters", OBJECT);
	return rc < 0 ? rc : check_kind(c, function, in, "strict", FLAG);
}

static int check_choice(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *choice = json_get(request, "tool_choice"), *tools = json_get(request, "tools"), *tool;
	const struct place *at = IN(base, "tool_choice"), *in = IN(at, "function");
	struct str name = json_str(json_get(choice, "function"), "name");
	bool function = str_eq_z(json_str(choice, "type"), "function"), found = false;
	size_t i;
	if (!is_there(choice))
		return 0;
	if (!json_is_string(choice) && !json_is_object(choice))
		return wrong(c, at, "a string or an object");
	if (json_array_size(tools) == 0 && !str_eq_z(json_str_of(choice), "auto") && !str_eq_z(json_str_of(choice), "none"))
		return err_set_at(c->err, ERR_INVALID, pointer_to(c, at), "there are no tools to choose from");
	int rc = json_is_object(choice) ? check_given(c, choice, at, "type", TEXT) : 0;
	if (rc == 0 && function)
		rc = check_given(c, choice, at, "function", OBJECT);
	if (rc == 0 && function)
		rc = check_given(c, json_get(choice, "function"), in, "name", TEXT);
	json_array_foreach(tools, i, tool)
		found |= str_eq(json_str(json_get(tool, "function"), "name"), name);
	return rc == 0 && function && !found ? err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, IN(in, "name")), "there is no such tool in tools") : rc;
}

static int check_tools(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *tools = json_get(request, "tools"), *tool;
	const struct place *pointer = IN(base, "tools");
	size_t i;
	int rc = check_kind(c, request, base, "tools", ARRAY);
	json_array_foreach(tools, i, tool)
	{
		rc = check_tool(c, AT(pointer, i), tool);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : check_choice(c, request, base);
}

/* --- the other members --- */

static int check_member(struct checker *c, const json_t *request, const struct place *base, const char *name, enum kind kind, double min, double max)
{
	const json_t *v = json_get(request, name);
	int rc = check_kind(c, request, base, name, kind);
	if (rc < 0 || !json_is_number(v) || (json_number_value(v) >= min && json_number_value(v) <= max))
		return rc;
	return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, IN(base, name)), kind == WHOLE ? "wanted %.0f to %.0f" : "wanted %g to %g", min, max);
}

static int check_members(struct checker *c, const json_t *request, const struct place *base)
{
	static const struct {
		const char *name;
		enum kind kind;
		double min, max;
	} members[] = {
		{ "max_tokens", WHOLE, 1, 1e9 },
		{ "max_completion_tokens", WHOLE, 1, 1e9 },
		{ "n", WHOLE, 1, 128 },
		{ "temperature", NUMBER, 0, 2 },
		{ "top_p", NUMBER, 0, 1 },
		{ "presence_penalty", NUMBER, -2, 2 },
		{ "frequency_penalty", NUMBER, -2, 2 },
		{ "seed", WHOLE, -WHOLE_MAX, WHOLE_MAX },
		{ "logprobs", FLAG, 0, 0 },
		{ "top_logprobs", WHOLE, 0, 20 },
		{ "parallel_tool_calls", FLAG, 0, 0 },
		{ "logit_bias", OBJECT, 0, 0 },
		{ "response_format", OBJECT, 0, 0 },
		{ "modalities", ARRAY, 0, 0 },
		{ "audio", OBJECT, 0, 0 },
		{ "prediction", OBJECT, 0, 0 },
		{ "web_search_options", OBJECT, 0, 0 },
		{ "reasoning_effort", TEXT, 0, 0 },
		{ "verbosity", TEXT, 0, 0 },
		{ "service_tier", TEXT, 0, 0 },
		{ "user", TEXT, 0, 0 },
		{ "safety_identifier", TEXT, 0, 0 },
		{ "prompt_cache_key", TEXT, 0, 0 },
	};
	int rc = 0;
	for (size_t i = 0; i < ARRAY_LEN(members) && rc == 0; i++)
		rc = check_member(c, request, base, members[i].name, members[i].kind, members[i].min, members[i].max);
	return rc < 0 ? rc : check_texts(c, json_get(request, "modalities"), IN(base, "modalities"));
}

static int check_stop(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *stop = json_get(request, "stop");
	const struct place *at = IN(base, "stop");
	if (!is_there(stop) || json_is_string(stop))
		return 0;
	return json_is_array(stop) ? check_texts(c, stop, at) : wrong(c, at, "a string or an array of strings");
}

static int check_bias(struct checker *c, const json_t *request, const struct place *base)
{
	const struct place *at = IN(base, "logit_bias");
	const char *name;
	json_t *v;
	json_object_foreach(json_get(request, "logit_bias"), name, v)
		if (!json_is_number(v))
			return wrong(c, IN(at, name), "a number");
	return 0;
}

static int check_format(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *format = json_get(request, "response_format"), *named = json_get(format, "json_schema");
	const struct place *at = IN(base, "response_format"), *in = IN(at, "json_schema");
	int rc = is_there(format) ? check_given(c, format, at, "type", TEXT) : 0;
	if (rc < 0 || !str_eq_z(json_str(format, "type"), "json_schema"))
		return rc;
	rc = check_given(c, format, at, "json_schema", OBJECT);
	rc = rc < 0 ? rc : check_kind(c, named, in, "name", TEXT);
	rc = rc < 0 ? rc : check_kind(c, named, in, "schema", OBJECT);
	return rc < 0 ? rc : check_kind(c, named, in, "strict", FLAG);
}

static int check_chat(struct checker *c, const json_t *request, const struct place *base)
{
	static int (*const checks[])(struct checker *c, const json_t *request, const struct place *base) = {
		check_messages, check_members, check_tools, check_stop, check_bias, check_format,
	};
	int rc = 0;
	for (size_t i = 0; i < ARRAY_LEN(checks) && rc == 0; i++)
		rc = checks[i](c, request, base);
	return rc;
}

/* --- embeddings --- */

static int check_embeddings(struct checker *c, const json_t *request, const struct place *base)
{
	const json_t *input = json_get(request, "input"), *one;
	const struct place *at = IN(base, "input");
	size_t i;
	if (!input)
		return missing(c, at, "an embeddings request needs input");
	if (!json_is_string(input) && !json_is_array(input))
		return wrong(c, at, "a string or an array");
	if (json_string_length(input) == 0 && json_array_size(input) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer_to(c, at), "the input is empty");
	json_array_foreach(input, i, one)
		if (!json_is_string(one) && !json_is_integer(one) && !json_is_array(one))
			return wrong(c, AT(at, i), "a string or tokens");
	return check_kind(c, request, base, "user", TEXT);
}

int submission_check_request(struct arena *a, enum submission_kind kind, json_t *request, const char *base, struct err *err)
{
	struct checker c = { a, err };
	const struct place *root = &(const struct place){ .name = base };
	const json_t *model = json_get(request, "model");
	if (model && !json_is_string(model))
		return wrong(&c, IN(root, "model"), "a string");
	if (check_kind(&c, request, root, "stream", FLAG) < 0)
		return -(int)err->code;
	if (json_is_true(json_get(request, "stream")))
		return err_set_at(err, ERR_UNSUPPORTED, pointer_to(&c, IN(root, "stream")), "a job's result is whole; leave stream out");
	return kind == SUBMISSION_CHAT ? check_chat(&c, request, root) : check_embeddings(&c, request, root);
}
