/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/messages/count_tokens (Anthropic: API reference, Count tokens in a Message). No provider is asked: the count is the estimate by which the limits
 * and budgets reckon, from the size of texts, the number of images and the size of files, with a tenth on top.
 */
#include "api/faces/message.h"
#include "api/batches/message_batches.h"
#include "common/request_facts.h"

#define MILLIBYTES_PER_TOKEN 4000 /* what a target's ratio starts with */

static enum flow_next count_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct arena *a = &q->http->arena;
	struct face_request r = { 0 };
	struct request_facts facts;
	_cleanup_(json_drop) json_t *body = json_parse(q->http->body, &q->err);
	if (!body || message_read_uncounted(a, body, &r, &q->err) < 0)
		return request_refuse(q);
	if (!conf_route_find(conf_now(), a, r.model)) {
		err_set_at(&q->err, ERR_UNKNOWN_ROUTE, "/model", "there is no route or model %.*s", (int)MIN(r.model.n, (size_t)100), r.model.p);
		face_request_done(&r);
		return request_refuse(q);
	}
	request_facts_read(&facts, r.request, /* embeddings= */ false, a);
	face_request_done(&r);
	buf_printf(&q->out, "{\"input_tokens\":%lld}", (long long)request_facts_tokens(&facts, MILLIBYTES_PER_TOKEN));
	return request_answer(q, 200);
}

const struct flow_step message_count_steps[] = {
	{ "count", count_start, NULL },
	{ .name = NULL },
};
