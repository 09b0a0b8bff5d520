/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemini's embeddings: one content, or up to BATCH_MAX requests, each of which names the model again. There is no usage
 * in the answers.
 */
#include "cli/simulator/gemini.h"
#include "cli/simulator/sim.h"

#define BATCH_MAX   100
#define SCRATCH_MAX (256u << 20)

static int add_one(struct call *c, struct chat *chat, const json_t *request, struct err *err)
{
	int64_t dimensions = (int64_t)embedding_dimensions(c->model);
	int rc = gemini_read_parts(chat, json_get(request, "content"), err);
	if (rc == 0)
		rc = chat_read_limit(request, "outputDimensionality", "outputDimensionality", &dimensions, err);
	if (rc < 0)
		return rc;
	if (dimensions > DIMENSIONS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "outputDimensionality",
		                  "output_dimensionality must be at most %d.", DIMENSIONS_MAX);
	if (chat->text.n == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "content",
		                  "* EmbedContentRequest.content: content is empty.\n");
	chat_message_end(chat, CHAT_USER);
	buf_add_z(&c->out, "{\"values\":");
	embedding_write(&c->out, chat->last_user, (size_t)dimensions, false);
	buf_add_char(&c->out, '}');
	return 0;
}

static int add_batch(struct call *c, struct chat *chat, const json_t *requests, struct err *err)
{
	const json_t *request;
	size_t i;
	if (json_array_size(requests) == 0 || json_array_size(requests) > BATCH_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "requests",
		                  "* BatchEmbedContentsRequest.requests: at most %d requests can be in one batch\n",
		                  BATCH_MAX);
	buf_add_z(&c->out, "{\"embeddings\":[");
	json_array_foreach(requests, i, request)
	{
		struct str model = json_str(request, "model");
		if (!str_has_prefix(model, STR("models/")) || !str_eq(str_sub(model, 7, model.n), c->model))
			return err_set_at(
			    err, ERR_INVALID, "requests.model",
			    "* BatchEmbedContentsRequest.requests[%zu].model: model does not match the path\n", i);
		if (i > 0)
			buf_add_char(&c->out, ',');
		int rc = add_one(c, chat, request, err);
		if (rc < 0)
			return rc;
	}
	buf_add_z(&c->out, "]}");
	return 0;
}

int gemini_embed_build(struct call *c, const json_t *body, struct err *err)
{
	struct arena scratch;
	struct chat chat;
	int rc;
	arena_init(&scratch, SCRATCH_MAX);
	chat_init(&chat, &scratch);
	if (str_has_suffix(c->req->path, STR(":batchEmbedContents"))) {
		rc = add_batch(c, &chat, json_get(body, "requests"), err);
	} else {
		buf_add_z(&c->out, "{\"embedding\":");
		rc = add_one(c, &chat, body, err);
		buf_add_char(&c->out, '}');
	}
	if (rc == 0 && buf_failed(&c->out))
		rc = err_set(err, ERR_TOO_LARGE, "The answer would be too large.");
	c->facts.input_tokens = chat.prompt_tokens;
	struct str tag = answer_tag((struct str){ NULL, 0 }, chat.last_user);
	if (tag.p)
		c->facts.tag = arena_str(&c->req->arena, str_sub(tag, 0, STATS_NAME_MAX));
	chat_done(&chat);
	arena_done(&scratch);
	return rc;
}
