/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/chat/completions (OpenAI: Create chat completion). The native form is this one, so a request is passed on but for what concerns Millrace and not the
 * model (model, stream, metadata, store, …), and a result but for its name and time. Fields that nobody here knows go to the provider as they are. What is in
 * the form that calls had before tools (`functions`) is brought into theirs, and back (chat_functions.c).
 *
 * Several choices, log probabilities and sound are had from providers whole only; a stream of such tells them when the answer is there.
 */
#include "api/faces/chat.h"

static bool has_sound(const json_t *body)
{
	const json_t *modalities = json_get(body, "modalities"), *one;
	size_t i;
	json_array_foreach(modalities, i, one)
		if (str_eq_z(json_str_of(one), "audio"))
			return true;
	return false;
}

static int read_chat(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	static const char *const ours[] = { "model", "stream", "stream_options", "metadata", "store", "millrace" };
	int rc = face_read_common(body, ret, err);
	rc = rc < 0 ? rc : face_read_stream_options(body, ret, err);
	if (rc < 0)
		return rc;
	ret->whole = json_i64(body, "n", 1) > 1 || json_is_true(json_get(body, "logprobs")) || has_sound(body);
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
	return chat_functions_used(body) ? chat_functions_read(a, ret, err) : 0;
}

/* The choices as this client knows them. An answer that was cut ended at a limit, though not one of tokens. */
static void write_choices(const json_t *answer, const struct face_answer *j)
{
	const json_t *choices = json_get(answer, "choices");
	json_t *choice;
	size_t i;
	json_array_foreach(choices, i, choice)
	{
		if (json_is_object(choice) && chat_functions_wanted(j->echo))
			chat_functions_choice(choice);
		if (json_is_object(choice) && j->partial && i == 0)
			json_set_str(choice, "finish_reason", STR("length"));
	}
}

static int write_chat(struct buf *b, const struct face_answer *j)
{
	if (json_array_size(json_get(j->result, "choices")) == 0)
		return -(int)ERR_BAD_OUTPUT;
	char id[ID_TEXT_MAX];
	bool changed = j->partial || chat_functions_wanted(j->echo);
	_cleanup_(json_drop) json_t *answer = changed ? json_deep_copy(j->result) : json_copy((json_t *)(uintptr_t)j->result);
	json_object_del(answer, "partial");
	json_set_str(answer, "id", id_text(j->id, face_chat.id_prefix, id));
	json_set_str(answer, "object", STR("chat.completion"));
	json_set_i64(answer, "created", j->created_us / 1000000);
	if (json_str(answer, "model").n == 0)
		json_set_str(answer, "model", j->model);
	if (changed)
		write_choices(answer, j);
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
