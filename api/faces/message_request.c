/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of POST /v1/messages as a native request (Anthropic: API reference, Create a Message): a table of readers, each of the members that it knows.
 * The messages themselves are read in message_blocks.c.
 *
 * Fields without a counterpart in the native form that targets of Anthropic's know (thinking, top_k) keep their names, and so do marks of the prompt cache:
 * only targets that know them are sent them (request_unmarked). Unknown fields are ignored; what Anthropic's servers would carry out themselves is refused.
 */
#include "api/faces/message.h"

#include <string.h>

#define SCHEMA_LEVELS 48 /* the stored request, with the schema in it, must stay below JSON_DEPTH_MAX */
#define USER_ID_MAX   256
#define BUDGET_MIN    1024
#define STRICT_MAX    100 /* properties of one object; with more a schema does not count as strict */

struct reading {
	struct arena *a;
	const json_t *body;
	struct face_request *r;
	struct err *err;
	bool counting; /* max_tokens is not wanted */
	int marks;     /* of the prompt cache, so far */
};

static int refuse(struct reading *g, enum err_code code, const char *pointer, const char *what)
{
	return err_set_at(g->err, code, pointer, "%s", what);
}

static bool is_absent(const json_t *v)
{
	return !v || json_is_null(v);
}

static int levels_of(const json_t *v, int most)
{
	const json_t *item;
	json_t *member;
	const char *key;
	size_t i;
	int deepest = 0;
	if (most == 0 || (!json_is_object(v) && !json_is_array(v)))
		return 0;
	json_array_foreach(v, i, item)
	{
		int levels = levels_of(item, most - 1); /* MAX would do it twice */
		deepest = MAX(deepest, levels);
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, member)
	{
		int levels = levels_of(member, most - 1);
		deepest = MAX(deepest, levels);
	}
	return deepest + 1;
}

static int check_schema(struct reading *g, const char *pointer, const json_t *schema)
{
	if (!json_is_object(schema))
		return refuse(g, schema ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, pointer, "wanted a JSON schema, an object");
	return levels_of(schema, SCHEMA_LEVELS + 1) > SCHEMA_LEVELS ? refuse(g, ERR_OUT_OF_RANGE, pointer, "nested too deep") : 0;
}

/* --- whom and what --- */

static int read_model(struct reading *g)
{
	const json_t *v = json_get(g->body, "model");
	if (!json_is_string(v))
		return refuse(g, v ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, "/model", v ? "wanted a string" : "this is required");
	g->r->model = json_str_of(v);
	return g->r->model.n ? 0 : refuse(g, ERR_OUT_OF_RANGE, "/model", "this is empty");
}

static int read_dialogue(struct reading *g)
{
	struct message_reader m = { .a = g->a, .err = g->err, .messages = json_array(), .marks = g->marks, .origin = json_array() };
	json_object_set_new(g->r->request, "messages", m.messages);
	g->r->origin = m.origin;
	int rc = message_read_system(&m, json_get(g->body, "system"));
	rc = rc < 0 ? rc : message_read_messages(&m, json_get(g->body, "messages"));
	g->marks = m.marks;
	return rc;
}

static int read_metadata(struct reading *g)
{
	const json_t *metadata = json_get(g->body, "metadata"), *user = json_get(metadata, "user_id");
	if (!is_absent(metadata) && !json_is_object(metadata))
		return refuse(g, ERR_WRONG_TYPE, "/metadata", "wanted an object");
	if (is_absent(user))
		return 0;
	if (!json_is_string(user))
		return refuse(g, ERR_WRONG_TYPE, "/metadata/user_id", "wanted a string");
	struct str id = json_str_of(user);
	if (id.n == 0 || str_utf8_prefix(id, USER_ID_MAX).n < id.n)
		return refuse(g, ERR_OUT_OF_RANGE, "/metadata/user_id", "wanted 1 to 256 bytes");
	g->r->user = id;
	return 0;
}

static int read_flags(struct reading *g)
{
	const json_t *stream = json_get(g->body, "stream"), *own = json_get(g->body, "millrace");
	if (!is_absent(stream) && !json_is_boolean(stream))
		return refuse(g, ERR_WRONG_TYPE, "/stream", "wanted true or false");
	if (!is_absent(own) && !json_is_object(own))
		return refuse(g, ERR_WRONG_TYPE, "/millrace", "wanted an object");
	g->r->stream = json_is_true(stream);
	g->r->include_usage = true; /* a message_delta has it always */
	g->r->millrace = is_absent(own) ? NULL : (json_t *)(uintptr_t)own;
	return 0;
}

/* --- limits and sampling --- */

static int read_limit(struct reading *g)
{
	json_t *v = json_get(g->body, "max_tokens");
	if (!v)
		return g->counting ? 0 : refuse(g, ERR_MISSING_FIELD, "/max_tokens", "this is required");
	if (!json_is_integer(v))
		return refuse(g, ERR_WRONG_TYPE, "/max_tokens", "wanted a whole number");
	if (json_integer_value(v) < 1 || json_integer_value(v) > 1000000000)
		return refuse(g, ERR_OUT_OF_RANGE, "/max_tokens", "wanted 1 or more");
	json_object_set(g->r->request, "max_completion_tokens", v);
	return 0;
}

static int read_number(struct reading *g, const char *name, const char *pointer, double max, bool whole)
{
	json_t *v = json_get(g->body, name);
	if (is_absent(v))
		return 0;
	if (whole ? !json_is_integer(v) : !json_is_number(v))
		return refuse(g, ERR_WRONG_TYPE, pointer, whole ? "wanted a whole number" : "wanted a number");
	if (json_number_value(v) < 0.0 || json_number_value(v) > max)
		return err_set_at(g->err, ERR_OUT_OF_RANGE, pointer, "wanted 0 to %.0f", max);
	json_object_set(g->r->request, name, v);
	return 0;
}

static int read_sampling(struct reading *g)
{
	int rc = read_number(g, "temperature", "/temperature", 1.0, false);
	if (rc == 0)
		rc = read_number(g, "top_p", "/top_p", 1.0, false);
	return rc < 0 ? rc : read_number(g, "top_k", "/top_k", 1e6, true);
}

static int read_stops(struct reading *g)
{
	json_t *stops = json_get(g->body, "stop_sequences"), *one;
	size_t i;
	if (is_absent(stops))
		return 0;
	if (!json_is_array(stops))
		return refuse(g, ERR_WRONG_TYPE, "/stop_sequences", "wanted an array");
	json_array_foreach(stops, i, one) if (!json_is_string(one) || json_string_length(one) == 0) return refuse(
		g, ERR_WRONG_TYPE, arena_printf(g->a, "/stop_sequences/%zu", i).p, "wanted a string that is not empty");
	if (json_array_size(stops))
		json_object_set(g->r->request, "stop", stops);
	return 0;
}

/* --- tools --- */

static int read_tool(struct reading *g, json_t *tools, const json_t *tool, size_t i)
{
	const char *at = arena_printf(g->a, "/tools/%zu", i).p;
	const json_t *type = json_get(tool, "type");
	json_t *schema = json_get(tool, "input_schema"), *description = json_get(tool, "description");
	if (!json_is_object(tool))
		return refuse(g, ERR_WRONG_TYPE, at, "wanted an object");
	if (!is_absent(type) && !str_eq_z(json_str_of(type), "custom"))
		return refuse(g, ERR_UNSUPPORTED, arena_printf(g->a, "%s/type", at).p, "tools of Anthropic's own are not run here: give custom ones, with an input_schema");
	if (json_str(tool, "name").n == 0)
		return refuse(g, json_get(tool, "name") ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, arena_printf(g->a, "%s/name", at).p, "a tool has a name");
	int rc = check_schema(g, arena_printf(g->a, "%s/input_schema", at).p, schema);
	if (rc < 0)
		return rc;
	json_t *mine = json_object(), *function = json_object();
	json_set_str(function, "name", json_str(tool, "name"));
	if (json_is_string(description))
		json_object_set(function, "description", description);
	json_object_set(function, "parameters", schema);
	if (json_is_true(json_get(tool, "strict")))
		json_object_set_new(function, "strict", json_true());
	json_set_str(mine, "type", STR("function"));
	json_object_set_new(mine, "function", function);
	json_array_append_new(tools, mine);
	return message_mark(g->a, g->err, at, tool, mine, &g->marks);
}

static int read_tools(struct reading *g)
{
	const json_t *tools = json_get(g->body, "tools"), *tool;
	size_t i;
	if (is_absent(tools))
		return 0;
	if (!json_is_array(tools))
		return refuse(g, ERR_WRONG_TYPE, "/tools", "wanted an array");
	if (json_array_size(tools) == 0)
		return 0;
	json_t *mine = json_array();
	json_object_set_new(g->r->request, "tools", mine);
	json_array_foreach(tools, i, tool)
	{
		int rc = read_tool(g, mine, tool, i);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool has_tool(const json_t *tools, struct str name)
{
	const json_t *tool;
	size_t i;
	json_array_foreach(tools, i, tool)
		if (str_eq(json_str(tool, "name"), name))
			return true;
	return false;
}

static int read_tool_choice(struct reading *g)
{
	static const char *const words[][2] = { { "auto", "auto" }, { "any", "required" }, { "none", "none" } };
	const json_t *choice = json_get(g->body, "tool_choice");
	struct str type = json_str(choice, "type"), name = json_str(choice, "name");
	json_t *mine = NULL;
	if (is_absent(choice))
		return 0;
	if (str_eq_z(type, "tool") && name.n == 0)
		return refuse(g, ERR_MISSING_FIELD, "/tool_choice/name", "wanted the name of a tool");
	if ((str_eq_z(type, "tool") || str_eq_z(type, "any")) && json_array_size(json_get(g->body, "tools")) == 0)
		return refuse(g, ERR_INVALID, "/tool_choice", "there are no tools to choose from");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_eq_z(type, words[i][0]))
			mine = json_string(words[i][1]);
	if (str_eq_z(type, "tool") && !has_tool(json_get(g->body, "tools"), name))
		return refuse(g, ERR_OUT_OF_RANGE, "/tool_choice/name", "there is no such tool in tools");
	if (str_eq_z(type, "tool")) {
		json_t *function = json_object();
		mine = json_object();
		json_set_str(function, "name", name);
		json_set_str(mine, "type", STR("function"));
		json_object_set_new(mine, "function", function);
	}
	if (!mine)
		return refuse(g, json_is_object(choice) ? ERR_OUT_OF_RANGE : ERR_WRONG_TYPE, "/tool_choice/type", "wanted auto, any, tool or none");
	json_object_set_new(g->r->request, "tool_choice", mine);
	if (json_is_true(json_get(choice, "disable_parallel_tool_use")))
		json_object_set_new(g->r->request, "parallel_tool_calls", json_false());
	return 0;
}

/* --- thinking and the form of the output --- */

static int read_thinking(struct reading *g)
{
	json_t *thinking = json_get(g->body, "thinking"), *budget = json_get(thinking, "budget_tokens");
	struct str type = json_str(thinking, "type");
	int64_t limit = json_i64(g->body, "max_tokens", INT64_MAX);
	if (is_absent(thinking))
		return 0;
	if (!json_is_object(thinking))
		return refuse(g, ERR_WRONG_TYPE, "/thinking", "wanted an object");
	if (str_eq_z(type, "enabled")) {
		if (!json_is_integer(budget))
			return refuse(g, budget ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, "/thinking/budget_tokens", "wanted a whole number");
		if (json_integer_value(budget) < BUDGET_MIN || json_integer_value(budget) >= limit)
			return refuse(g, ERR_OUT_OF_RANGE, "/thinking/budget_tokens", "wanted at least 1024, and less than max_tokens");
	} else if (!str_eq_z(type, "adaptive") && !str_eq_z(type, "disabled")) {
		return refuse(g, ERR_OUT_OF_RANGE, "/thinking/type", "wanted enabled, adaptive or disabled");
	}
	if (levels_of(thinking, 4) > 3)
		return refuse(g, ERR_OUT_OF_RANGE, "/thinking", "nested too deep");
	json_object_set(g->r->request, "thinking", thinking);
	return 0;
}

/* What OpenAI's servers take as a strict schema: every object is closed, and all of its properties are required. */
static bool is_strict(const json_t *schema)
{
	const json_t *properties = json_get(schema, "properties"), *required = json_get(schema, "required"), *item, *name;
	json_t *member;
	const char *key;
	size_t i, k;
	json_array_foreach(schema, i, item) if (!is_strict(item)) return false;
	json_object_foreach((json_t *)(uintptr_t)schema, key, member) if (!is_strict(member)) return false;
	if (!json_is_object(schema) || (!str_eq_z(json_str(schema, "type"), "object") && !json_is_object(properties)))
		return true;
	if (json_object_size(properties) > STRICT_MAX || json_array_size(required) > STRICT_MAX)
		return false;
	json_object_foreach((json_t *)(uintptr_t)properties, key, member)
	{
		bool found = false;
		json_array_foreach(required, k, name) found |= str_eq_z(json_str_of(name), key);
		if (!found)
			return false;
	}
	return json_is_false(json_get(schema, "additionalProperties"));
}

static int read_format(struct reading *g, const json_t *format, const char *pointer)
{
	json_t *schema = json_get(format, "schema");
	if (is_absent(format))
		return 0;
	if (!str_eq_z(json_str(format, "type"), "json_schema"))
		return refuse(g, json_is_object(format) ? ERR_OUT_OF_RANGE : ERR_WRONG_TYPE, arena_printf(g->a, "%s/type", pointer).p, "wanted json_schema");
	int rc = check_schema(g, arena_printf(g->a, "%s/schema", pointer).p, schema);
	if (rc < 0)
		return rc;
	json_t *mine = json_object(), *named = json_object();
	json_set_str(named, "name", STR("answer"));
	json_object_set(named, "schema", schema);
	if (is_strict(schema))
		json_object_set_new(named, "strict", json_true());
	json_set_str(mine, "type", STR("json_schema"));
	json_object_set_new(mine, "json_schema", named);
	json_object_set_new(g->r->request, "response_format", mine);
	return 0;
}

static int read_output(struct reading *g)
{
	static const char *const efforts[] = { "low", "medium", "high", "xhigh", "max" };
	const json_t *config = json_get(g->body, "output_config");
	json_t *effort = json_get(config, "effort");
	bool known = false;
	if (!is_absent(config) && !json_is_object(config))
		return refuse(g, ERR_WRONG_TYPE, "/output_config", "wanted an object");
	for (size_t i = 0; i < ARRAY_LEN(efforts); i++)
		known |= str_eq_z(json_str_of(effort), efforts[i]);
	if (!is_absent(effort) && !known)
		return refuse(g, ERR_OUT_OF_RANGE, "/output_config/effort", "wanted low, medium, high, xhigh or max");
	if (known)
		json_object_set(g->r->request, "reasoning_effort", effort);
	int rc = read_format(g, json_get(g->body, "output_format"), "/output_format"); /* as it was called in the beta */
	return rc < 0 ? rc : read_format(g, json_get(config, "format"), "/output_config/format");
}

/* --- the rest --- */

static int read_tier(struct reading *g)
{
	const json_t *tier = json_get(g->body, "service_tier");
	bool any = str_eq_z(json_str_of(tier), "auto");
	if (is_absent(tier))
		return 0;
	if (!any && !str_eq_z(json_str_of(tier), "standard_only"))
		return refuse(g, ERR_OUT_OF_RANGE, "/service_tier", "wanted auto or standard_only");
	json_object_set_new(g->r->request, "service_tier", json_string(any ? "auto" : "default"));
	return 0;
}

/* The body's own mark stands for one at its last block. */
static int read_mark(struct reading *g)
{
	return message_mark(g->a, g->err, "", g->body, g->r->request, &g->marks);
}

static int refuse_servers(struct reading *g)
{
	if (json_array_size(json_get(g->body, "mcp_servers")))
		return refuse(g, ERR_UNSUPPORTED, "/mcp_servers", "servers of tools are not called here");
	if (!is_absent(json_get(g->body, "container")))
		return refuse(g, ERR_UNSUPPORTED, "/container", "there are no containers here");
	return 0;
}

static int read_body(struct reading *g)
{
	static int (*const readers[])(struct reading *g) = {
		read_model, read_limit,       read_dialogue, read_tools,  read_tool_choice, read_stops,
		read_sampling, read_thinking, read_output,   read_tier, read_metadata,    read_flags, read_mark, refuse_servers,
	};
	if (!json_is_object(g->body))
		return refuse(g, ERR_WRONG_TYPE, "", "wanted an object");
	*g->r = (struct face_request){ .request = json_object() };
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		int rc = readers[i](g);
		if (rc < 0) {
			face_request_done(g->r);
			return rc;
		}
	}
	return 0;
}

int message_read(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	struct reading g = { .a = a, .body = body, .r = ret, .err = err };
	return read_body(&g);
}

int message_read_uncounted(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	struct reading g = { .a = a, .body = body, .r = ret, .err = err, .counting = true };
	return read_body(&g);
}

const char *message_pointer(struct arena *a, const char *said)
{
	static const char *const names[][2] = {
		{ "/max_completion_tokens", "/max_tokens" },     { "/stop", "/stop_sequences" }, { "/parallel_tool_calls", "/tool_choice/disable_parallel_tool_use" },
		{ "/response_format", "/output_config/format" }, { "/reasoning_effort", "/output_config/effort" },
	};
	static const char *const ids[] = { "/image_url/file_id", "/file/file_id" }, *const inner[] = { "/image_url", "/file", "/tool_calls" };
	struct str at = str_from(said);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_has_prefix(at, str_from(names[i][0])))
			return names[i][1];
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		if (str_has_suffix(at, str_from(ids[i])))
			return arena_printf(a, STR_FMT "/source/file_id", STR_ARG(str_sub(at, 0, at.n - strlen(ids[i])))).p;
	/* What became of a block is not the client's concern: the block is. */
	for (size_t i = 0; i < ARRAY_LEN(inner); i++) {
		ssize_t end = str_find(at, str_from(inner[i]));
		if (end >= 0)
			return arena_strz(a, str_sub(at, 0, (size_t)end));
	}
	return said;
}
