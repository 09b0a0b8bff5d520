/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chat calls: reads the request in its format, makes the answer and its bytes. A rule's raw_body or raw_stream takes
 * the place of these bytes: a recorded answer goes out as it was recorded. All memory of the making is gone afterwards,
 * but for what the statistics keep.
 */
#include "cli/simulator/sim.h"

#include <string.h>

#include "common/clock.h"

#define SCRATCH_MAX (256u << 20)

/* Adds a rule's raw answer, text or base64. */
static void add_raw(struct buf *b, const json_t *raw)
{
	if (json_is_string(raw))
		buf_add_str(b, json_str_of(raw));
	else
		crypto_base64_decode(b, json_str(raw, "base64"));
}

static int write_bytes(struct call *c, const struct chat *chat, const struct answer *an)
{
	const struct format *f = c->format;
	const json_t *raw = chat->stream ? c->rule->raw_stream : c->rule->raw_body;
	c->is_stream = chat->stream;
	if (chat->stream)
		c->type = chat->as_array ? STR("application/json") : str_from(f->stream_type);
	if (raw) {
		add_raw(&c->out, raw);
		c->marks = (struct stream_marks){ f->event_len(buf_str(&c->out)), c->out.n };
		return buf_failed(&c->out) ? -ERR_TOO_LARGE : 0;
	}
	return chat->stream ? f->write_stream(&c->out, chat, c->rule, an, &c->marks)
	                    : f->write_answer(&c->out, chat, c->rule, an);
}

static void keep_facts(struct call *c, const struct chat *chat, const struct answer *an)
{
	struct stats_file *files = arena_array(&c->req->arena, struct stats_file, chat->nfiles);
	if (chat->nfiles > 0)
		memcpy(files, chat->files, chat->nfiles * sizeof(*files));
	c->facts.files = files;
	c->facts.nfiles = chat->nfiles;
	c->facts.stream = chat->stream;
	c->facts.input_tokens = chat->prompt_tokens;
	c->facts.output_tokens = an->output_tokens;
	if (chat->tag.p)
		c->facts.tag = arena_str(&c->req->arena, str_sub(chat->tag, 0, STATS_NAME_MAX));
}

int chat_build(struct call *c, const json_t *body, struct err *err)
{
	struct arena scratch;
	struct chat chat;
	struct answer an = { .text = STR("") };
	arena_init(&scratch, SCRATCH_MAX);
	chat_init(&chat, &scratch);
	chat.model = c->model;
	chat.stream = c->endpoint->stream;
	http_req_query(c->req, "alt", &chat.alt);
	int rc = c->format->read(&chat, body, err);
	if (rc == 0) {
		answer_make(&an, &scratch, &chat, c->rule);
		an.id = sim_answer_id(c->sim, &scratch, c->format->id_prefix);
		an.tool_id = sim_answer_id(c->sim, &scratch, c->format->tool_prefix);
		an.created = clock_wall_us() / 1000000;
		rc = write_bytes(c, &chat, &an);
		if (rc < 0)
			err_set(err, ERR_TOO_LARGE, "The answer would be too large.");
	}
	keep_facts(c, &chat, &an);
	chat_done(&chat);
	arena_done(&scratch);
	return rc;
}
