/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/completions (OpenAI: Create completion, legacy): a prompt is one message of a user, and the answer's text is the completion, with the prompt before it
 * where `echo` says so. Log probabilities are asked for in chat's form and told in the old one. One prompt as text: a job is one question. What only the
 * old models do (suffix, a best of several) is refused.
 */
#include "api/faces/face.h"

#include "common/http/sse.h"

#define DEFAULT_TOKENS 16 /* OpenAI: Create completion, max_tokens */
#define LOGPROBS_MAX   5  /* OpenAI: Create completion, logprobs */
#define CHUNK_MAX      ((size_t)1 << 30)

static int read_prompt(const json_t *body, struct str *ret, struct err *err)
{
	const json_t *prompt = json_get(body, "prompt");
	if (!prompt || json_is_null(prompt))
		return err_set_at(err, ERR_MISSING_FIELD, "/prompt", "a completion needs a prompt");
	if (json_array_size(prompt) > 1 && json_is_string(json_array_get(prompt, 0)))
		return err_set_at(err, ERR_UNSUPPORTED, "/prompt", "one prompt per request: send the others on their own, or as a batch");
	if (json_array_size(prompt) == 1)
		prompt = json_array_get(prompt, 0);
	if (json_is_array(prompt))
		return err_set_at(err, ERR_UNSUPPORTED, "/prompt", "wanted text: no target takes tokens here");
	if (!json_is_string(prompt))
		return err_set_at(err, ERR_WRONG_TYPE, "/prompt", "wanted a string");
	*ret = json_str_of(prompt);
	return 0;
}

/* How many choices: a best of more is not to be had, and of fewer makes no sense. */
static int read_best_of(const json_t *body, struct err *err)
{
	const json_t *best = json_get(body, "best_of");
	int64_t n = json_i64(body, "n", 1);
	if (!best || json_is_null(best))
		return 0;
	if (!json_is_integer(best))
		return err_set_at(err, ERR_WRONG_TYPE, "/best_of", "wanted a whole number");
	if (json_integer_value(best) < n)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/best_of", "wanted at least n");
	return json_integer_value(best) > n ? err_set_at(err, ERR_UNSUPPORTED, "/best_of", "chat models have no best of more than n") : 0;
}

/* 3: those of the token and of three others; 0: of the token alone. */
static int read_logprobs(const json_t *body, struct face_request *ret, struct err *err)
{
	const json_t *v = json_get(body, "logprobs");
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v))
		return err_set_at(err, ERR_WRONG_TYPE, "/logprobs", "wanted a whole number");
	if (json_integer_value(v) < 0 || json_integer_value(v) > LOGPROBS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/logprobs", "wanted 0 to %d", LOGPROBS_MAX);
	json_object_set_new(ret->request, "logprobs", json_true());
	if (json_integer_value(v) > 0)
		json_set_i64(ret->request, "top_logprobs", json_integer_value(v));
	return 0;
}

static int read_echo(const json_t *body, struct str prompt, struct face_request *ret, struct err *err)
{
	const json_t *v = json_get(body, "echo");
	if (v && !json_is_boolean(v) && !json_is_null(v))
		return err_set_at(err, ERR_WRONG_TYPE, "/echo", "wanted true or false");
	if (!json_is_true(v))
		return 0;
	if (json_get(ret->request, "logprobs"))
		return err_set_at(err, ERR_UNSUPPORTED, "/echo", "chat models give no log probabilities of the prompt");
	ret->echo = json_object();
	json_set_str(ret->echo, "prompt", prompt);
	return 0;
}

static void read_rest(const json_t *body, struct str prompt, json_t *request)
{
	static const char *const passed[] = { "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "user" };
	json_t *messages = json_array(), *message = json_object(), *most = json_get(body, "max_tokens");
	json_set_str(message, "role", STR("user"));
	json_set_str(message, "content", prompt);
	json_array_append_new(messages, message);
	json_object_set_new(request, "messages", messages);
	if (most && !json_is_null(most))
		json_object_set(request, "max_tokens", most);
	else
		json_set_i64(request, "max_tokens", DEFAULT_TOKENS);
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		if (json_get(body, passed[i]))
			json_object_set(request, passed[i], json_get(body, passed[i]));
}

static int read_completion(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	struct str prompt;
	(void)a;
	int rc = face_read_common(body, ret, err);
	rc = rc < 0 ? rc : face_read_stream_options(body, ret, err);
	rc = rc < 0 ? rc : face_refuse(body, "suffix", "chat models fill no gaps", err);
	rc = rc < 0 ? rc : read_best_of(body, err);
	rc = rc < 0 ? rc : read_prompt(body, &prompt, err);
	if (rc < 0)
		return rc;
	ret->request = json_object();
	read_rest(body, prompt, ret->request);
	rc = read_logprobs(body, ret, err);
	rc = rc < 0 ? rc : read_echo(body, prompt, ret, err);
	ret->whole = json_i64(body, "n", 1) > 1 || json_get(ret->request, "logprobs");
	return rc;
}

static const char *pointer_of(struct arena *a, const char *native)
{
	(void)a;
	if (str_has_prefix(str_from(native), STR("/messages")))
		return "/prompt";
	return str_eq_z(STR("/top_logprobs"), native) ? "/logprobs" : native;
}

/* --- log probabilities in the old form --- */

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* {"token":-0.1,…}: the most probable ones. */
static json_t *others_of(const json_t *token)
{
	const json_t *all = json_get(token, "top_logprobs"), *one;
	json_t *others = json_object();
	size_t i;
	json_array_foreach(all, i, one)
	{
		const char *name = json_string_value(json_get(one, "token"));
		if (name)
			json_object_set(others, name, json_get(one, "logprob"));
	}
	return others;
}

/* {"tokens","token_logprobs","top_logprobs","text_offset"} of a choice; NULL: it has none. Owned by the caller. */
static json_t *old_logprobs(const json_t *choice)
{
	const json_t *all = json_get(json_get(choice, "logprobs"), "content"), *token;
	size_t i, at = 0;
	if (!json_is_array(all))
		return NULL;
	json_t *old = json_object(), *tokens = json_array(), *numbers = json_array(), *others = json_array(), *places = json_array();
	json_array_foreach(all, i, token)
	{
		json_t *number = json_get(token, "logprob");
		json_array_append_new(tokens, json_from_str(json_str(token, "token")));
		json_array_append_new(numbers, json_is_number(number) ? json_incref(number) : json_null());
		json_array_append_new(others, others_of(token));
		json_array_append_new(places, json_integer((json_int_t)at));
		at += characters(json_str(token, "token"));
	}
	json_object_set_new(old, "tokens", tokens);
	json_object_set_new(old, "token_logprobs", numbers);
	json_object_set_new(old, "top_logprobs", others);
	json_object_set_new(old, "text_offset", places);
	return old;
}

/* --- the answer --- */

/* {"text","index","logprobs","finish_reason"}: the text in two pieces; logprobs NULL: null; finish p NULL: null. */
static void add_choice(struct buf *b, const struct str text[2], int64_t index, const json_t *logprobs, struct str finish)
{
	struct buf whole;
	buf_init(&whole, CHUNK_MAX);
	buf_add_str(&whole, text[0]);
	buf_add_str(&whole, text[1]);
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, buf_str(&whole));
	buf_done(&whole);
	buf_printf(b, ",\"index\":%lld,\"logprobs\":", (long long)index);
	if (logprobs)
		json_write(b, logprobs);
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\"finish_reason\":");
	if (finish.p)
		buf_add_json_str(b, finish);
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}

/* Up to and with the name of the member `choices`. */
static void add_head(struct buf *b, struct id id, int64_t created_us, struct str model)
{
	char text[ID_TEXT_MAX];
	buf_add_z(b, "{\"id\":");
	buf_add_json_str(b, id_text(id, face_completion.id_prefix, text));
	buf_printf(b, ",\"object\":\"text_completion\",\"created\":%lld,\"model\":", (long long)(created_us / 1000000));
	buf_add_json_str(b, model);
	buf_add_z(b, ",\"choices\":");
}

static struct str finish_of(const struct face_answer *j, const json_t *choice)
{
	struct str finish = json_str(choice, "finish_reason");
	return j->partial ? STR("length") : finish.n ? finish : STR("stop");
}

static int write_completion(struct buf *b, const struct face_answer *j)
{
	const json_t *choices = json_get(j->result, "choices"), *usage = json_get(j->result, "usage");
	struct str model = json_str(j->result, "model"), fingerprint = json_str(j->result, "system_fingerprint");
	if (json_array_size(choices) == 0)
		return -(int)ERR_BAD_OUTPUT;
	add_head(b, j->id, j->created_us, model.n ? model : j->model);
	buf_add_char(b, '[');
	for (size_t i = 0; i < json_array_size(choices); i++) {
		const json_t *choice = json_array_get(choices, i);
		if (i > 0)
			buf_add_char(b, ',');
		const struct str text[2] = { json_str(j->echo, "prompt"), json_str(json_get(choice, "message"), "content") };
		_cleanup_(json_drop) json_t *logprobs = old_logprobs(choice);
		add_choice(b, text, json_i64(choice, "index", (int64_t)i), logprobs, finish_of(j, choice));
	}
	buf_add_char(b, ']');
	if (fingerprint.n) {
		buf_add_z(b, ",\"system_fingerprint\":");
		buf_add_json_str(b, fingerprint);
	}
	if (json_is_object(usage)) {
		buf_add_z(b, ",\"usage\":");
		json_write(b, usage);
	}
	return buf_add_char(b, '}');
}

/* --- the stream --- */

/* One event; choice p NULL: it has none. */
static void add_event(struct face_stream *s, struct str choice, const json_t *usage)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	add_head(&b, s->id, s->created_us, s->model);
	buf_add_char(&b, '[');
	buf_add_str(&b, choice);
	buf_add_char(&b, ']');
	if (s->include_usage) {
		buf_add_z(&b, ",\"usage\":");
		if (json_is_object(usage))
			json_write(&b, usage);
		else
			buf_add_z(&b, "null");
	}
	buf_add_char(&b, '}');
	sse_write(s->out, STR(""), STR(""), buf_str(&b));
	buf_done(&b);
}

static void add_text(struct face_stream *s, int64_t index, struct str text, const json_t *logprobs, struct str finish)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	add_choice(&b, (const struct str[2]){ text, STR("") }, index, logprobs, finish);
	add_event(s, buf_str(&b), NULL);
	buf_done(&b);
}

static void stream_begin(struct face_stream *s)
{
	struct str prompt = json_str(s->echo, "prompt");
	if (prompt.n && !s->whole)
		add_text(s, 0, prompt, NULL, (struct str){ 0 });
}

static void stream_delta(struct face_stream *s, const json_t *delta)
{
	struct str text = json_str(delta, "content");
	if (text.n)
		add_text(s, 0, text, NULL, (struct str){ 0 });
}

/* A choice of an answer that is had whole only. */
static void tell_choice(struct face_stream *s, int64_t index, const json_t *choice)
{
	struct str prompt = json_str(s->echo, "prompt"), text = json_str(json_get(choice, "message"), "content");
	_cleanup_(json_drop) json_t *logprobs = old_logprobs(choice);
	if (prompt.n)
		add_text(s, index, prompt, NULL, (struct str){ 0 });
	if (text.n || logprobs)
		add_text(s, index, text, logprobs, (struct str){ 0 });
}

static void stream_end(struct face_stream *s, const struct face_answer *j)
{
	const json_t *choices = json_get(j->result, "choices");
	size_t n = s->whole ? MAX(json_array_size(choices), (size_t)1) : 1;
	for (size_t i = 0; i < n; i++) {
		const json_t *choice = json_array_get(choices, i);
		if (s->whole)
			tell_choice(s, (int64_t)i, choice);
		add_text(s, (int64_t)i, STR(""), NULL, finish_of(j, choice));
	}
	if (s->include_usage)
		add_event(s, (struct str){ 0 }, json_get(j->result, "usage"));
	sse_write(s->out, STR(""), STR(""), STR("[DONE]"));
}

static void stream_fail(struct face_stream *s, const struct err *err)
{
	face_chat.stream_fail(s, err);
}

const struct face face_completion = {
	.form = FORM_COMPLETION,
	.name = "completion",
	.id_prefix = "cmpl-",
	.kind = SUBMISSION_CHAT,
	.read = read_completion,
	.write = write_completion,
	.stream_begin = stream_begin,
	.stream_delta = stream_delta,
	.stream_end = stream_end,
	.stream_fail = stream_fail,
	.pointer = pointer_of,
};
