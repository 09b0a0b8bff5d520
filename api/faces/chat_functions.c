/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `functions`, `function_call` and messages of role `function` (OpenAI: Create chat completion, deprecated members), for code that was written before there
 * were tools. No target is asked in that form: the request becomes one with tools, one call at a time, and calls in the answer become `function_call` again.
 *
 * Results of tools name their call by an id, and each call must have its result; the old form knew neither. So calls get ids by their place, a result
 * belongs to the call before it, a call that nobody answered gets an empty result behind it, and a result without a call becomes the user's word. As
 * messages are added on the way, what each came from is kept for complaints (`origin`).
 */
#include "api/faces/chat.h"

#define TOOLS    "/tools"
#define CHOICE   "/tool_choice"
#define MESSAGES "/messages/"
#define CALLS    "/tool_calls"

/* The call that has no result yet. */
struct dialogue {
	struct arena *a;
	struct err *err;
	json_t *messages, *origin;
	size_t at;            /* of the client's messages */
	size_t called;        /* which of them has it */
	struct str name, id;  /* id p NULL: there is none */
};

static bool is_there(const json_t *v)
{
	return v && !json_is_null(v);
}

static bool is_result(const json_t *message)
{
	return str_eq_z(json_str(message, "role"), "function");
}

static bool is_call(const json_t *message)
{
	return str_eq_z(json_str(message, "role"), "assistant") && is_there(json_get(message, "function_call"));
}

bool chat_functions_used(const json_t *body)
{
	const json_t *message;
	size_t i;
	if (is_there(json_get(body, "functions")) || is_there(json_get(body, "function_call")))
		return true;
	json_array_foreach(json_get(body, "messages"), i, message)
		if (is_result(message) || is_call(message))
			return true;
	return false;
}

/* --- what may be called --- */

static int read_functions(struct arena *a, json_t *request, struct err *err)
{
	const json_t *functions = json_get(request, "functions");
	json_t *tools, *function;
	size_t i;
	if (is_there(json_get(request, "tools")))
		return err_set_at(err, ERR_INVALID, "/functions", "say functions or tools, not both");
	if (!json_is_array(functions))
		return err_set_at(err, ERR_WRONG_TYPE, "/functions", "wanted an array");
	if (json_array_size(functions) == 0)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/functions", "wanted at least one function");
	json_object_set_new(request, "tools", tools = json_array());
	json_array_foreach(functions, i, function)
	{
		const char *at = arena_printf(a, "/functions/%zu", i).p;
		if (!json_is_object(function))
			return err_set_at(err, ERR_WRONG_TYPE, at, "wanted an object");
		if (json_str(function, "name").n == 0)
			return err_set_at(err, json_get(function, "name") ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, arena_printf(a, "%s/name", at).p, "a function has a name");
		json_t *tool = json_object();
		json_set_str(tool, "type", STR("function"));
		json_object_set(tool, "function", function);
		json_array_append_new(tools, tool);
	}
	if (!is_there(json_get(request, "parallel_tool_calls")))
		json_object_set_new(request, "parallel_tool_calls", json_false());
	return 0;
}

static bool has_function(const json_t *functions, struct str name)
{
	const json_t *function;
	size_t i;
	json_array_foreach(functions, i, function)
		if (str_eq(json_str(function, "name"), name))
			return true;
	return false;
}

static int read_choice(json_t *request, struct err *err)
{
	json_t *choice = json_get(request, "function_call");
	const json_t *functions = json_get(request, "functions");
	struct str name = json_str(choice, "name"), word = json_str_of(choice);
	if (!is_there(functions))
		return err_set_at(err, ERR_INVALID, "/function_call", "function_call belongs to a request with functions");
	if (str_eq_z(word, "none") || str_eq_z(word, "auto")) {
		json_object_set(request, "tool_choice", choice);
		return 0;
	}
	if (!json_is_object(choice))
		return err_set_at(err, json_is_string(choice) ? ERR_OUT_OF_RANGE : ERR_WRONG_TYPE, "/function_call", "wanted none, auto, or an object with a name");
	if (name.n == 0)
		return err_set_at(err, json_get(choice, "name") ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, "/function_call/name", "wanted the name of a function");
	if (!has_function(functions, name))
		return err_set_at(err, ERR_OUT_OF_RANGE, "/function_call/name", "there is no such function in functions");
	json_t *mine = json_object(), *function = json_object();
	json_set_str(function, "name", name);
	json_set_str(mine, "type", STR("function"));
	json_object_set_new(mine, "function", function);
	json_object_set_new(request, "tool_choice", mine);
	return 0;
}

/* --- the messages --- */

/* Takes m, which came from the client's message of that number. */
static void add(struct dialogue *d, json_t *m, size_t from)
{
	json_t *place = json_array();
	json_array_append_new(place, json_from_str(arena_printf(d->a, MESSAGES "%zu", from)));
	json_array_append_new(d->messages, m);
	json_array_append_new(d->origin, place);
}

static int refuse(struct dialogue *d, const json_t *found, const char *member, const char *wanted)
{
	return err_set_at(d->err, is_there(found) ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, arena_printf(d->a, MESSAGES "%zu/%s", d->at, member).p, "wanted %s", wanted);
}

/* content NULL: nobody answered. */
static void add_answer(struct dialogue *d, json_t *content)
{
	json_t *m = json_object();
	json_set_str(m, "role", STR("tool"));
	json_set_str(m, "tool_call_id", d->id);
	json_object_set_new(m, "content", is_there(content) ? json_incref(content) : json_string(""));
	add(d, m, content ? d->at : d->called);
	d->id = (struct str){ 0 };
}

static int add_call(struct dialogue *d, json_t *message)
{
	const json_t *call = json_get(message, "function_call");
	if (!json_is_object(call))
		return refuse(d, call, "function_call", "an object");
	if (json_str(call, "name").n == 0)
		return refuse(d, json_get(call, "name"), "function_call/name", "the name of a function");
	if (!json_is_string(json_get(call, "arguments")))
		return refuse(d, json_get(call, "arguments"), "function_call/arguments", "a string");
	json_t *mine = json_copy(message), *calls = json_array(), *one = json_object();
	d->name = json_str(call, "name");
	d->id = arena_printf(d->a, "call_%zu", d->at);
	d->called = d->at;
	json_set_str(one, "id", d->id);
	json_set_str(one, "type", STR("function"));
	json_object_set(one, "function", (json_t *)(uintptr_t)call);
	json_array_append_new(calls, one);
	json_object_del(mine, "function_call");
	json_object_set_new(mine, "tool_calls", calls);
	add(d, mine, d->at);
	return 0;
}

/* A result that no call is known of: it may have been cut off with the beginning of the dialogue. */
static void add_news(struct dialogue *d, const json_t *message, json_t *content)
{
	struct str name = json_str(message, "name"), said = arena_printf(d->a, "The function " STR_FMT " returned: ", STR_ARG(name));
	json_t *m = json_object(), *parts = json_array(), *part = json_object();
	json_set_str(m, "role", STR("user"));
	if (json_is_array(content)) {
		json_set_str(part, "type", STR("text"));
		json_set_str(part, "text", said);
		json_array_append(parts, part);
		json_array_extend(parts, content);
		json_object_set(m, "content", parts);
	} else {
		struct buf b;
		buf_init(&b, (size_t)1 << 30);
		buf_add_str(&b, said);
		buf_add_str(&b, json_str_of(content));
		json_set_str(m, "content", buf_str(&b));
		buf_done(&b);
	}
	json_decref(parts);
	json_decref(part);
	add(d, m, d->at);
}

static int add_result(struct dialogue *d, const json_t *message)
{
	json_t *content = json_get(message, "content");
	if (json_str(message, "name").n == 0)
		return refuse(d, json_get(message, "name"), "name", "the name of the function");
	if (is_there(content) && !json_is_string(content) && !json_is_array(content))
		return refuse(d, content, "content", "a string or an array of parts");
	if (d->id.p && str_eq(d->name, json_str(message, "name"))) {
		add_answer(d, content);
		return 0;
	}
	if (d->id.p)
		add_answer(d, NULL);
	add_news(d, message, content);
	return 0;
}

static int read_messages(struct dialogue *d, const json_t *messages)
{
	json_t *message;
	int rc = 0;
	json_array_foreach(messages, d->at, message)
	{
		if (d->id.p && !is_result(message))
			add_answer(d, NULL);
		if (is_result(message))
			rc = add_result(d, message);
		else if (is_call(message) && !is_there(json_get(message, "tool_calls")))
			rc = add_call(d, message);
		else
			add(d, json_incref(message), d->at);
		if (rc < 0)
			return rc;
	}
	if (d->id.p)
		add_answer(d, NULL);
	return 0;
}

int chat_functions_read(struct arena *a, struct face_request *ret, struct err *err)
{
	json_t *request = ret->request, *messages = json_get(request, "messages");
	bool functions = is_there(json_get(request, "functions"));
	int rc = functions ? read_functions(a, request, err) : 0;
	if (rc == 0 && is_there(json_get(request, "function_call")))
		rc = read_choice(request, err);
	json_object_del(request, "functions");
	json_object_del(request, "function_call");
	if (rc < 0)
		return rc;
	ret->origin = json_array();
	if (functions) {
		ret->echo = json_object();
		json_object_set_new(ret->echo, "functions", json_true());
	}
	if (json_array_size(messages) == 0)
		return 0; /* what is wrong there is told when the whole is judged */
	struct dialogue d = { .a = a, .err = err, .messages = json_array(), .origin = ret->origin };
	rc = read_messages(&d, messages);
	json_object_set_new(request, "messages", d.messages);
	return rc;
}

/* --- the answer --- */

bool chat_functions_wanted(const json_t *echo)
{
	return json_is_true(json_get(echo, "functions"));
}

void chat_functions_choice(json_t *choice)
{
	json_t *message = json_get(choice, "message"), *function = json_get(json_array_get(json_get(message, "tool_calls"), 0), "function");
	if (json_is_object(function))
		json_object_set(message, "function_call", function);
	json_object_del(message, "tool_calls");
	if (str_eq_z(json_str(choice, "finish_reason"), "tool_calls"))
		json_set_str(choice, "finish_reason", STR("function_call"));
}

json_t *chat_functions_delta(const json_t *delta)
{
	json_t *calls = json_get(delta, "tool_calls"), *mine = json_copy((json_t *)(uintptr_t)delta), *call;
	size_t i;
	json_object_del(mine, "tool_calls");
	json_array_foreach(calls, i, call)
		if (json_i64(call, "index", 0) == 0 && json_is_object(json_get(call, "function")))
			json_object_set(mine, "function_call", json_get(call, "function"));
	if (json_object_size(mine))
		return mine;
	json_decref(mine);
	return NULL;
}

/* --- complaints --- */

const char *chat_functions_pointer(const struct face_request *r, struct arena *a, const char *said)
{
	struct str at = str_from(said);
	bool old = chat_functions_wanted(r->echo);
	ssize_t calls = str_has_prefix(at, STR(MESSAGES)) ? str_find(at, STR(CALLS)) : -1;
	if (calls >= 0) /* /messages/2/tool_calls/… is messages[2].function_call */
		return arena_printf(a, STR_FMT "/function_call", STR_ARG(str_sub(at, 0, (size_t)calls))).p;
	if (old && str_has_prefix(at, STR(CHOICE)))
		return "/function_call";
	if (old && str_has_prefix(at, STR(TOOLS)))
		return arena_printf(a, "/functions" STR_FMT, STR_ARG(str_sub(at, sizeof(TOOLS) - 1, at.n))).p;
	return said;
}
