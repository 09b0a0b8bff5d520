/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks of a chat completion (OpenAI: The chat completion chunk object): the role, the deltas as they come, the reason why it ended, the usage where it was
 * asked for (in a chunk without choices; all others say null then), and [DONE]. The model's own name is not known while it runs, so chunks name what was
 * asked for.
 */
#include "api/faces/chat.h"

#include "common/http/sse.h"

#define CHUNK_MAX ((size_t)1 << 30)

/* A chunk: `choices` is its JSON, usage NULL: null. Members that are not known yet are absent. */
static void add_chunk(struct face_stream *s, struct str choices, const json_t *usage, const json_t *result)
{
	char id[ID_TEXT_MAX];
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	buf_add_z(&b, "{\"id\":");
	buf_add_json_str(&b, id_text(s->id, face_chat.id_prefix, id));
	buf_printf(&b, ",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":", (long long)(s->created_us / 1000000));
	buf_add_json_str(&b, s->model);
	static const char *const passed[] = { "service_tier", "system_fingerprint" };
	for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
		struct str text = json_str(result, passed[i]);
		if (text.n == 0)
			continue;
		buf_printf(&b, ",\"%s\":", passed[i]);
		buf_add_json_str(&b, text);
	}
	buf_add_z(&b, ",\"choices\":");
	buf_add_str(&b, choices);
	if (s->include_usage) {
		buf_add_z(&b, ",\"usage\":");
		if (usage)
			json_write(&b, usage);
		else
			buf_add_z(&b, "null");
	}
	buf_add_char(&b, '}');
	sse_write(s->out, STR(""), STR(""), buf_str(&b));
	buf_done(&b);
}

/* delta is JSON; finish p NULL: null. */
static void add_choice(struct face_stream *s, struct str delta, struct str finish, const json_t *result)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	buf_add_z(&b, "[{\"index\":0,\"delta\":");
	buf_add_str(&b, delta);
	buf_add_z(&b, ",\"logprobs\":null,\"finish_reason\":");
	if (finish.p)
		buf_add_json_str(&b, finish);
	else
		buf_add_z(&b, "null");
	buf_add_z(&b, "}]");
	add_chunk(s, buf_str(&b), NULL, result);
	buf_done(&b);
}

void chat_stream_begin(struct face_stream *s)
{
	add_choice(s, STR("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"), (struct str){ 0 }, NULL);
}

void chat_stream_delta(struct face_stream *s, const json_t *delta)
{
	struct buf b;
	buf_init(&b, CHUNK_MAX);
	json_write(&b, delta);
	add_choice(s, buf_str(&b), (struct str){ 0 }, NULL);
	buf_done(&b);
}

void chat_stream_end(struct face_stream *s, const struct face_answer *j)
{
	struct str finish = json_str(json_array_get(json_get(j->result, "choices"), 0), "finish_reason");
	if (j->partial)
		finish = STR("length");
	add_choice(s, STR("{}"), finish.n ? finish : STR("stop"), j->result);
	const json_t *usage = json_get(j->result, "usage");
	if (s->include_usage)
		add_chunk(s, STR("[]"), json_is_object(usage) ? usage : NULL, j->result);
	sse_write(s->out, STR(""), STR(""), STR("[DONE]"));
}

void chat_stream_fail(struct face_stream *s, const struct err *err)
{
	struct face_error e = face_error_of(str_from(err_code_name((int)err->code)));
	struct buf b;
	buf_init(&b, 16384);
	face_error_write_openai(&b, &e, err);
	sse_write(s->out, STR(""), STR(""), buf_str(&b));
	buf_done(&b);
}
