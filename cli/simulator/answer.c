/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a chat to what the model says. A tool call is made where the rule wants one and the request offers a tool: its
 * arguments are the tool's schema filled from the text, as a structured answer is.
 */
#include "cli/simulator/answer.h"

#include <string.h>

#include "cli/simulator/schema_fill.h"
#include "cli/simulator/summary.h"

static struct str filled(struct arena *a, const struct chat *c, const struct document *d, const json_t *schema)
{
	struct buf b;
	struct str asked =
	    arena_printf(a, STR_FMT "\n" STR_FMT, STR_ARG(str_sub(c->prompt, 0, 16384)), STR_ARG(d->instruction));
	json_t *v = schema ? schema_fill(d, asked, schema) : schema_fill_free(d, asked);
	buf_init(&b, ANSWER_MAX / 4);
	json_write(&b, v);
	struct str out = buf_failed(&b) ? STR("{}") : arena_str(a, buf_str(&b));
	buf_done(&b);
	json_decref(v);
	return out;
}

struct str answer_text(struct arena *a, const struct chat *c, const struct rule *r)
{
	struct document d;
	if (r->answer)
		return str_from(r->answer);
	if (r->echo)
		return c->last_user;
	document_read(&d, a, c->last_user);
	if (c->schema || c->any_object)
		return filled(a, c, &d, c->schema);
	return summary_answer(
	    &d, instruction_count(d.instruction, "sentence", instruction_count(c->prompt, "sentence", 4)));
}

static struct str tool_arguments(struct arena *a, const struct chat *c)
{
	struct document d;
	document_read(&d, a, c->last_user);
	return json_is_object(c->tool_schema) ? filled(a, c, &d, c->tool_schema) : STR("{}");
}

void answer_make(struct answer *an, struct arena *a, const struct chat *c, const struct rule *r)
{
	*an = (struct answer){ .text = STR("") };
	if (r->tool_call && c->tool.p) {
		an->calls_tool = true;
		an->tool_args = tool_arguments(a, c);
		an->output_tokens = count_tokens(an->tool_args) + count_tokens(c->tool);
	} else {
		an->text = answer_text(a, c, r);
		if (count_tokens(an->text) > c->max_tokens) {
			an->text = str_utf8_prefix(an->text, (size_t)c->max_tokens * 4);
			an->cut = true;
		}
		an->output_tokens = count_tokens(an->text);
	}
	an->thinking = str_from(r->thinking);
	an->thinking_tokens = count_tokens(an->thinking);
	an->output_tokens = (an->output_tokens + an->thinking_tokens) * c->choices;
	an->thinking_tokens *= c->choices;
	an->cached_tokens = MIN(r->cached_tokens, c->prompt_tokens);
}

const char *answer_finish(const struct answer *an, const struct rule *r, const char *stop, const char *length,
                          const char *tool)
{
	return r->finish_reason ? r->finish_reason : an->calls_tool ? tool : an->cut ? length : stop;
}

struct str answer_piece(struct str *rest, size_t n)
{
	struct str piece = n == 0 ? *rest : str_utf8_prefix(*rest, n);
	for (size_t more = n + 1; piece.n == 0 && more <= n + 4; more++)
		piece = str_utf8_prefix(*rest, more);
	if (piece.n == 0)
		piece = *rest;
	*rest = str_sub(*rest, piece.n, rest->n);
	return piece;
}

void answer_add_usage(struct buf *b, const struct rule *r, struct str usage)
{
	struct err err;
	if (!r->usage) {
		buf_add_str(b, usage);
		return;
	}
	_cleanup_(json_drop) json_t *v = json_parse(usage, &err);
	_cleanup_(json_drop) json_t *over = json_deep_copy(r->usage);
	assert(v && over);
	json_object_update_recursive(v, over);
	json_write(b, v);
}

int answer_write_garbage(struct buf *b, enum garbage kind, const char *id)
{
	if (kind == GARBAGE_SSE)
		return buf_printf(
		    b,
		    "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"conte\n\n"
		    ":::\n\nthis is no event\ndata data data\n\ndata: {]\n\n",
		    id);
	return buf_printf(
	    b, "{\"id\":\"%s\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":", id);
}
