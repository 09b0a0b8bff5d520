/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as the face of a path writes them: problem+json (RFC 9457), OpenAI's object, Anthropic's, or, where faces share a path, problem+json that has
 * OpenAI's member `error`. A temporary failure says when to come again, a permanent one that there is no use: SDKs of OpenAI and Anthropic obey
 * x-should-retry before all else.
 */
#include "api/faces/face.h"
#include "api/request_private.h"
#include "api/router.h"

static void send_as(struct http_req *h, enum route_errors as, const struct err *err, bool is_final)
{
	struct face_error e = face_error_of(str_from(err_code_name((int)err->code)));
	struct buf b;
	buf_init(&b, 16384);
	http_reply_header(h, "x-should-retry", e.retryable && !is_final ? STR("true") : STR("false"));
	if ((e.status == 429 || e.status == 503) && !h->has_retry_after)
		http_reply_header(h, "Retry-After", STR("1"));
	if (as == ERRORS_ANTHROPIC)
		face_error_write_anthropic(&b, &e, err, h->request_id);
	else
		face_error_write_openai(&b, &e, err);
	if (as == ERRORS_BOTH)
		http_reply_problem_with(h, err, str_sub(buf_str(&b), 1, b.n - 2));
	else
		http_reply(h, e.status, STR("application/json"), buf_str(&b));
	buf_done(&b);
}

void request_error_send_as(struct http_req *h, const struct err *err, bool is_final)
{
	enum route_errors as = router_errors(h->path);
	if (as == ERRORS_NATIVE)
		http_reply_problem(h, err);
	else
		send_as(h, as, err, is_final);
}

void request_error_send(struct http_req *h, const struct err *err)
{
	request_error_send_as(h, err, false);
}
