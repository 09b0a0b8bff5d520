/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of Amazon Bedrock. All is well: the head names the request's id, the body is one object or an event stream, and at the end the
 * assembly (chat) or the list of vectors (embeddings) says what came. The request is made in bedrock_request.c, answers are read in
 * bedrock_answer.c.
 *
 * What can go wrong: a status from 300 on with an exception's name in x-amzn-errortype and a message; an exception inside the stream; a
 * stream that ends without messageStop, or in the middle of a frame; a 200 that is something else.
 */
#include "worker/providers/bedrock.h"

#include "common/conf.h"
#include "worker/providers/hints.h"

#define RESULT_MAX  ((size_t)1 << 30)

struct provider_call {
	struct arena *arena;
	bool embeddings, schema, base64;
	bool streamed;             /* what comes is an event stream */
	bool asked_streamed;
	size_t wanted;             /* vectors */
	struct str model;
	int status;
	struct buf whole;          /* what came, when it is no stream */
	struct bedrock_answer answer;
	const struct http_header *headers;
	size_t nheaders;
};

static void drop_call(void *ptr)
{
	struct provider_call *c = ptr;
	buf_done(&c->whole);
	bedrock_answer_done(&c->answer);
}

static struct provider_call *start(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	struct provider_call *c = arena_new(a, struct provider_call);
	struct str tool = bedrock_answer_tool(ask->request, a);
	c->arena = a;
	c->embeddings = ask->kind == PROVIDER_EMBEDDINGS;
	c->asked_streamed = streamed;
	c->schema = tool.n > 0;
	c->base64 = str_eq_z(json_str(ask->request, "encoding_format"), "base64");
	c->wanted = bedrock_embeddings_wanted(ask->request);
	c->model = arena_str(a, ask->target->model);
	buf_init(&c->whole, max_bytes);
	bedrock_answer_init(&c->answer, tool, max_bytes, sink, a);
	arena_defer(a, drop_call, c);
	return c;
}

static void answer_head(struct provider_call *c, int status, const struct http_header *h, size_t n)
{
	char type[64];
	c->status = status;
	c->headers = h;
	c->nheaders = n;
	struct str media = http_media_type(http_find(h, n, "content-type"), type, sizeof type);
	c->streamed = status < 300 && c->asked_streamed && !str_eq_z(media, "application/json");
	assembly_keep(&c->answer.out, &c->answer.out.id, http_find(h, n, "x-amzn-requestid"));
}

static int answer_data(struct provider_call *c, struct str piece, bool *ret_token)
{
	if (!c->streamed) {
		*ret_token = c->status < 300 && piece.n > 0;
		return buf_add_str(&c->whole, piece) < 0 ? -ERR_TOO_LARGE : 0;
	}
	int rc = bedrock_answer_feed(&c->answer, piece);
	*ret_token = c->answer.out.token;
	return rc;
}

static void say(struct provider_call *c, struct provider_result *r, enum err_code class, struct str message)
{
	provider_say(r, class, message, c->arena);
}

/* {"message"} or {"Message"}, the exception's name in a header or in `__type`. */
static void say_refusal(struct provider_call *c, struct provider_result *r, int64_t now_wall_us)
{
	json_t *body = json_parse_answer(buf_str(&c->whole), NULL);
	struct str name = http_find(c->headers, c->nheaders, "x-amzn-errortype"), message = json_str(body, "message");
	if (name.n == 0)
		name = json_str(body, "__type");
	if (message.n == 0)
		message = json_str(body, "Message");
	r->retry_after_ms = retry_hint_ms(c->headers, c->nheaders, now_wall_us);
	say(c, r, bedrock_error_class(c->status, bedrock_error_name(name), message), message);
	json_decref(body);
}

static void end_embeddings(struct provider_call *c, struct provider_result *r, const json_t *body)
{
	uint64_t tokens;
	if (str_u64(http_find(c->headers, c->nheaders, "x-amzn-bedrock-input-token-count"), 0, INT64_MAX, &tokens) == 0)
		r->usage.input = (int64_t)tokens;
	json_t *answer = bedrock_embeddings_answer(body, c->wanted, c->base64, c->model, r);
	if (!answer)
		say(c, r, ERR_BAD_OUTPUT, STR("the answer does not hold the embeddings that were asked for"));
	else if (json_write(&r->result, answer) < 0)
		say(c, r, ERR_TOO_LARGE, STR("the answer is too large"));
	json_decref(answer);
}

/* Chat, in whatever form it came. */
static void end_chat(struct provider_call *c, struct provider_result *r, int rc, int64_t now_wall_us)
{
	struct assembly *out = &c->answer.out;
	out->created = now_wall_us / 1000000;
	assembly_keep(out, &out->model, c->model);
	int last = bedrock_answer_finish(&c->answer);
	if (rc == 0)
		rc = last;
	if (c->answer.failed)
		say(c, r, bedrock_error_class(0, c->answer.error_type, c->answer.error_message), c->answer.error_message);
	else if (rc == 0 && c->streamed && !out->over && !eventstream_is_whole(&c->answer.events))
		say(c, r, ERR_STREAM_CUT, STR("the stream ended in the middle of a frame"));
	assembly_conclude(out, rc, c->schema, r);
}

static void end_whole(struct provider_call *c, struct provider_result *r, int64_t now_wall_us)
{
	struct err err = { .code = ERR_OK };
	json_t *body = json_parse_answer(buf_str(&c->whole), &err);
	if (!json_is_object(body))
		say(c, r, ERR_BAD_OUTPUT, body ? STR("the answer is not a JSON object") : str_from(err.text));
	else if (c->embeddings)
		end_embeddings(c, r, body);
	else
		end_chat(c, r, bedrock_answer_take(&c->answer, body), now_wall_us);
	json_decref(body);
}

static void answer_end(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	*r = (struct provider_result){ .retry_after_ms = -1, .should_retry = -1 };
	buf_init(&r->result, RESULT_MAX);
	if (c->status >= 300)
		say_refusal(c, r, now_wall_us);
	else if (c->streamed)
		end_chat(c, r, transport_rc, now_wall_us);
	else if (transport_rc < 0)
		r->class = (enum err_code)-transport_rc;
	else
		end_whole(c, r, now_wall_us);
	drop_call(c); /* the arena may live through many more calls */
}

static const struct assembly *so_far(const struct provider_call *c)
{
	return c->streamed ? &c->answer.out : NULL;
}

const struct provider provider_bedrock = {
	.name = "bedrock",
	.make = bedrock_make,
	.start = start,
	.answer_head = answer_head,
	.answer_data = answer_data,
	.so_far = so_far,
	.answer_end = answer_end,
};
