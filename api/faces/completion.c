/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/completions (OpenAI: Create completion, legacy): a prompt is one message of a user, and the answer's text is the completion. One prompt as text; what
 * only the old models do (suffix, echo, best_of, log probabilities by number) is refused.
 */
#include "api/faces/face.h"

#include "common/http/sse.h"

#define DEFAULT_TOKENS 16 /* OpenAI: Create completion, max_tokens */
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

static int refuse_old(const json_t *body, struct err *err)
{
	if (json_bool(body, "echo", false))
		return err_set_at(err, ERR_UNSUPPORTED, "/echo", "the prompt is not repeated");
	if (json_i64(body, "best_of", 1) > 1)
		return err_set_at(err, ERR_UNSUPPORTED, "/best_of", "chat models have no best_of");
	int rc = face_refuse(body, "suffix", "chat models fill no gaps", err);
	return rc < 0 ? rc : face_refuse(body, "logprobs", "chat models give their log probabilities in another form: use chat completions", err);
}

static int read_completion(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	static const char *const passed[] = { "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "user" };
	struct str prompt;
	(void)a;
	int rc = face_read_common(body, ret, err);
	rc = rc < 0 ? rc : refuse_old(body, err);
	rc = rc < 0 ? rc : read_prompt(body, &prompt, err);
	if (rc < 0)
		return rc;
	if (ret->stream && json_i64(body, "n", 1) > 1)
		return err_set_at(err, ERR_UNSUPPORTED, "/n", "several choices are not streamed: leave stream or n out");
	const json_t *options = json_get(body, "stream_options");
	ret->include_usage = ret->stream && json_bool(options, "include_usage", false);
	ret->request = json_object();
	json_t *messages = json_array(), *message = json_object();
	json_set_str(message, "role", STR("user"));
	json_set_str(message, "content", prompt);
	json_array_append_new(messages, message);
	json_object_set_new(ret->request, "messages", messages);
	json_t *most = json_get(body, "max_tokens");
	if (most && !json_is_null(most))
		json_object_set(ret->request, "max_tokens", most);
	else
		json_set_i64(ret->request, "max_tokens", DEFAULT_TOKENS);
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		if (json_get(body, passed[i]))
			json_object_set(ret->request, passed[i], json_get(body, passed[i]));
	return 0;
}

static const char *pointer_of(struct arena *a, const char *native)
{
	(void)a;
	return str_has_prefix(str_from(native), STR("/messages")) ? "/prompt" : native;
}

/* {"text","index","logprobs","finish_reason"}; finish p NULL: null. */
static void add_choice(struct buf *b, struct str text, int64_t index, struct str finish)
{
	buf_add_z(b, "{\"text\":");
	buf_add_json_str(b, text);
	buf_printf(b, ",\"index\":%lld,\"logprobs\":null,\"finish_reason\":", (long long)index);
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
		add_choice(b, json_str(json_get(choice, "message"), "content"), json_i64(choice, "index", (int64_t)i), finish_of(j, choice));
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

static void add_text(struct face_stream *s, struct str text, struct str finish)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	add_choice(&b, text, 0, finish);
	add_event(s, buf_str(&b), NULL);
	buf_done(&b);
}

static void stream_begin(struct face_stream *s)
{
	(void)s; /* no head of its own */
}

static void stream_delta(struct face_stream *s, const json_t *delta)
{
	struct str text = json_str(delta, "content");
	if (text.n)
		add_text(s, text, (struct str){ 0 });
}

static void stream_end(struct face_stream *s, const struct face_answer *j)
{
	add_text(s, STR(""), finish_of(j, json_array_get(json_get(j->result, "choices"), 0)));
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
