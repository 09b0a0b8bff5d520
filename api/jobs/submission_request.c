/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape of a chat or embeddings request: enough to be sure that a provider can read it, no more. What only a
 * provider knows (models, tools, formats) passes through as it is and is judged there.
 */
#include "api/jobs/submission.h"

struct checker {
	struct arena *a;
	struct err *err;
};

static const char *at_index(struct arena *a, const char *base, size_t i)
{
	return arena_printf(a, "%s/%zu", base, i).p;
}

static int wrong(struct checker *c, const char *pointer, const char *wanted)
{
	return err_set_at(c->err, ERR_WRONG_TYPE, pointer, "wanted %s", wanted);
}

static bool is_role(struct str role)
{
	static const char *const roles[] = { "system", "developer", "user", "assistant", "tool", "function" };
	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (str_eq_z(role, roles[i]))
			return true;
	return false;
}

static int check_parts(struct checker *c, const char *pointer, json_t *parts)
{
	size_t i;
	json_t *part;
	if (json_array_size(parts) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer, "wanted at least one part");
	json_array_foreach(parts, i, part)
	{
		if (!json_is_object(part))
			return wrong(c, at_index(c->a, pointer, i), "an object");
		if (!json_is_string(json_get(part, "type")))
			return wrong(c, submission_pointer(c->a, at_index(c->a, pointer, i), STR("type")), "a string");
	}
	return 0;
}

static int check_message(struct checker *c, const char *pointer, json_t *m)
{
	if (!json_is_object(m))
		return wrong(c, pointer, "an object");
	struct str role = json_str(m, "role");
	if (!json_is_string(json_get(m, "role")))
		return json_get(m, "role")
		           ? wrong(c, submission_pointer(c->a, pointer, STR("role")), "a string")
		           : err_set_at(c->err, ERR_MISSING_FIELD, submission_pointer(c->a, pointer, STR("role")),
		                        "a message needs a role");
	if (!is_role(role))
		return err_set_at(c->err, ERR_OUT_OF_RANGE, submission_pointer(c->a, pointer, STR("role")),
		                  "wanted system, developer, user, assistant, tool or function");
	json_t *content = json_get(m, "content");
	const char *at = submission_pointer(c->a, pointer, STR("content"));
	if (json_is_string(content))
		return 0;
	if (json_is_array(content))
		return check_parts(c, at, content);
	/* An answer that only calls tools has no text. */
	if ((!content || json_is_null(content)) && str_eq(role, STR("assistant")))
		return 0;
	return content ? wrong(c, at, "a string or an array of parts")
	               : err_set_at(c->err, ERR_MISSING_FIELD, at, "a message needs content");
}

static int check_number(struct checker *c, json_t *request, const char *base, const char *name, double min, double max,
                        bool whole)
{
	json_t *v = json_get(request, name);
	if (!v || json_is_null(v))
		return 0;
	const char *pointer = submission_pointer(c->a, base, str_from(name));
	if (whole ? !json_is_integer(v) : !json_is_number(v))
		return wrong(c, pointer, whole ? "a whole number" : "a number");
	double n = json_number_value(v);
	if (n < min || n > max)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer, "wanted %g to %g", min, max);
	return 0;
}

static int check_chat(struct checker *c, json_t *request, const char *base)
{
	json_t *messages = json_get(request, "messages"), *m;
	const char *pointer = submission_pointer(c->a, base, STR("messages"));
	if (!messages)
		return err_set_at(c->err, ERR_MISSING_FIELD, pointer, "a chat request needs messages");
	if (!json_is_array(messages))
		return wrong(c, pointer, "an array");
	if (json_array_size(messages) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer, "wanted at least one message");
	size_t i;
	json_array_foreach(messages, i, m)
	{
		int rc = check_message(c, at_index(c->a, pointer, i), m);
		if (rc < 0)
			return rc;
	}
	static const struct {
		const char *name;
		double min, max;
		bool whole;
	} numbers[] = {
		{ "max_tokens", 1, 1e9, true },
		{ "max_completion_tokens", 1, 1e9, true },
		{ "n", 1, 128, true },
		{ "temperature", 0, 2, false },
		{ "top_p", 0, 1, false },
		{ "presence_penalty", -2, 2, false },
		{ "frequency_penalty", -2, 2, false },
	};
	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		int rc =
		    check_number(c, request, base, numbers[i].name, numbers[i].min, numbers[i].max, numbers[i].whole);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_embeddings(struct checker *c, json_t *request, const char *base)
{
	json_t *input = json_get(request, "input"), *one;
	const char *pointer = submission_pointer(c->a, base, STR("input"));
	if (!input)
		return err_set_at(c->err, ERR_MISSING_FIELD, pointer, "an embeddings request needs input");
	if (json_is_string(input))
		return json_str_of(input).n ? 0 : err_set_at(c->err, ERR_OUT_OF_RANGE, pointer, "the input is empty");
	if (!json_is_array(input))
		return wrong(c, pointer, "a string or an array");
	if (json_array_size(input) == 0)
		return err_set_at(c->err, ERR_OUT_OF_RANGE, pointer, "the input is empty");
	size_t i;
	json_array_foreach(input, i, one) if (!json_is_string(one) && !json_is_integer(one) &&
	                                      !json_is_array(one)) return wrong(c, at_index(c->a, pointer, i),
	                                                                        "a string or tokens");
	return 0;
}

int submission_check_request(struct arena *a, enum submission_kind kind, json_t *request, const char *base,
                             struct err *err)
{
	struct checker c = { a, err };
	json_t *model = json_get(request, "model");
	if (model && !json_is_string(model))
		return wrong(&c, submission_pointer(a, base, STR("model")), "a string");
	json_t *stream = json_get(request, "stream");
	if (stream && !json_is_boolean(stream) && !json_is_null(stream))
		return wrong(&c, submission_pointer(a, base, STR("stream")), "true or false");
	if (json_is_true(stream))
		return err_set_at(err, ERR_UNSUPPORTED, submission_pointer(a, base, STR("stream")),
		                  "a job's result is whole; leave stream out");
	return kind == SUBMISSION_CHAT ? check_chat(&c, request, base) : check_embeddings(&c, request, base);
}
