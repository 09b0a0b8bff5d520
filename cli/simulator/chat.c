/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/chat/completions: reads the request, makes the text and its bytes. All memory of the making is gone
 * afterwards. */
#include "cli/simulator/sim.h"

#include "common/clock.h"

#define SCRATCH_MAX (256u << 20)

struct str chat_tag(const json_t *body)
{
	const json_t *messages = json_get(body, "messages"), *content;
	struct str text = { NULL, 0 };
	for (size_t i = json_array_size(messages); i > 0 && !text.p; i--) {
		const json_t *message = json_array_get(messages, i - 1);
		if (!str_eq(json_str(message, "role"), STR("user")))
			continue;
		content = json_get(message, "content");
		text = json_is_string(content) ? json_str_of(content) : json_str(json_array_get(content, 0), "text");
	}
	return answer_tag(body, text);
}

int chat_build(struct call *c, const json_t *body, struct err *err)
{
	struct arena scratch;
	struct chat chat;
	struct answer an;
	arena_init(&scratch, SCRATCH_MAX);
	int rc = chat_read(&chat, &scratch, body, err);
	if (rc == 0) {
		an.id = sim_answer_id(c->sim, &scratch, "chatcmpl-");
		an.created = clock_wall_us() / 1000000;
		answer_make(&an, &chat, c->rule, answer_text(&scratch, &chat, c->rule));
		c->tokens = chat.prompt_tokens + an.completion_tokens;
		if (chat.stream) {
			c->is_stream = true;
			c->type = STR("text/event-stream");
			rc = answer_write_stream(&c->out, &chat, c->rule, &an, &c->head, &c->tail);
		} else {
			rc = answer_write(&c->out, &chat, c->rule, &an);
		}
		if (rc < 0)
			err_set(err, ERR_TOO_LARGE, "The answer would be too large.");
	}
	arena_done(&scratch);
	return rc;
}
