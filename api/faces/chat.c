/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/chat/completions (OpenAI: Create chat completion). The native form is this one, so a request is passed on but for what concerns Millrace and not the
 * model (model, stream, metadata, store, …), and a result but for its name and time. Fields that nobody here knows go to the provider as they are.
 *
 * What would change the meaning and cannot be done is refused by name: the old `functions` (tools have replaced them), and in a stream several choices, log
 * probabilities and sound, because an answer with those is had whole only.
 */
#include "api/faces/chat.h"

static int read_stream(const json_t *body, struct face_request *ret, struct err *err)
{
	const json_t *options = json_get(body, "stream_options"), *modalities = json_get(body, "modalities"), *usage = json_get(options, "include_usage");
	if (options && !json_is_null(options) && !json_is_object(options))
		return err_set_at(err, ERR_WRONG_TYPE, "/stream_options", "wanted an object");
	if (json_is_object(options) && !ret->stream)
		return err_set_at(err, ERR_INVALID, "/stream_options", "stream_options belong to a request with stream");
	if (usage && !json_is_boolean(usage) && !json_is_null(usage))
		return err_set_at(err, ERR_WRONG_TYPE, "/stream_options/include_usage", "wanted true or false");
	ret->include_usage = json_is_true(usage);
	if (!ret->stream)
		return 0;
	if (json_i64(body, "n", 1) > 1)
		return err_set_at(err, ERR_UNSUPPORTED, "/n", "several choices are not streamed: leave stream or n out");
	if (json_bool(body, "logprobs", false))
		return err_set_at(err, ERR_UNSUPPORTED, "/logprobs", "log probabilities are not streamed: leave stream or logprobs out");
	for (size_t i = 0; i < json_array_size(modalities); i++)
		if (str_eq_z(json_str_of(json_array_get(modalities, i)), "audio"))
			return err_set_at(err, ERR_UNSUPPORTED, "/modalities", "sound is not streamed: leave stream or audio out");
	return 0;
}

static int read_chat(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	static const char *const ours[] = { "model", "stream", "stream_options", "metadata", "store", "millrace" };
	(void)a;
	int rc = face_read_common(body, ret, err);
	rc = rc < 0 ? rc : read_stream(body, ret, err);
	rc = rc < 0 ? rc : face_refuse(body, "functions", "say tools instead of functions", err);
	rc = rc < 0 ? rc : face_refuse(body, "function_call", "say tool_choice instead of function_call", err);
	if (rc < 0)
		return rc;
	ret->request = json_object();
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)body, name, value)
	{
		bool is_ours = false;
		for (size_t i = 0; i < ARRAY_LEN(ours) && !is_ours; i++)
			is_ours = str_eq_z(str_from(name), ours[i]);
		if (!is_ours)
			json_object_set(ret->request, name, value);
	}
	return 0;
}


/* An answer that was cut ended at a limit, though not one of tokens. */
static void mark_cut(json_t *answer)
{
	json_t *choice = json_array_get(json_get(answer, "choices"), 0);
	if (json_is_object(choice))
		json_set_str(choice, "finish_reason", STR("length"));
}

static int write_chat(struct buf *b, const struct face_answer *j)
{
	if (json_array_size(json_get(j->result, "choices")) == 0)
		return -(int)ERR_BAD_OUTPUT;
	char id[ID_TEXT_MAX];
	_cleanup_(json_drop) json_t *answer = j->partial ? json_deep_copy(j->result) : json_copy((json_t *)(uintptr_t)j->result);
	json_object_del(answer, "partial");
	json_set_str(answer, "id", id_text(j->id, face_chat.id_prefix, id));
	json_set_str(answer, "object", STR("chat.completion"));
	json_set_i64(answer, "created", j->created_us / 1000000);
	if (json_str(answer, "model").n == 0)
		json_set_str(answer, "model", j->model);
	if (j->partial)
		mark_cut(answer);
	return json_write(b, answer);
}

const struct face face_chat = {
	.form = FORM_CHAT,
	.name = "chat",
	.id_prefix = "chatcmpl-",
	.kind = SUBMISSION_CHAT,
	.read = read_chat,
	.write = write_chat,
	.stream_begin = chat_stream_begin,
	.stream_delta = chat_stream_delta,
	.stream_end = chat_stream_end,
	.stream_fail = chat_stream_fail,
};
