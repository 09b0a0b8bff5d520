/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the HTTP server's calls to the steps of a route, and from their end to the answer.
 *
 * When all is well: head → route, media type, key and the limits on submissions are judged before a byte of the body is
 * read → the body → the route's steps → request_end sends what they made. A stream of jobs starts its steps as soon as the key is known and
 * takes the body in pieces.
 *
 * What can go wrong: every refusal is one problem+json answer, made here. A client that leaves early ends a request
 * that has not started; one that runs is told (request.on_gone) and ends in its own time, into nothing.
 */
#include "api/request.h"

#include <string.h>

#include "api/door/auth_key.h"
#include "api/batches/batch_upload.h"
#include "api/files/form.h"
#include "api/batches/message_batches.h"
#include "api/request_private.h"
#include "api/router.h"
#include "common/conf.h"

#define ANSWER_MAX ((size_t)1 << 30)

struct request *request_of(struct flow *f)
{
	return container_of(f, struct request, flow);
}

/* Ends the request with q->err. The request is gone afterwards. */
static void send_problem(struct request *q)
{
	struct http_req *h = q->http;
	struct err err = q->err;
	bool is_final = q->is_final;
	door_leave(&q->visit, q->written);
	if (err.code == ERR_UNAUTHENTICATED)
		http_reply_header(h, "WWW-Authenticate", STR("Bearer realm=\"millrace\""));
	buf_done(&q->out);
	request_error_send_as(h, &err, is_final);
}

static void refuse(struct request *q, enum err_code code, const char *detail)
{
	err_set(&q->err, code, "%s", detail);
	send_problem(q);
}

static void on_flow_end(struct flow *f, int result)
{
	struct request *q = request_of(f);
	struct http_req *h = q->http;
	db_query_done(&q->query);
	door_leave(&q->visit, q->written);
	if (q->release)
		q->release(q);
	if (q->streaming) {
		buf_done(&q->out);
		if (result < 0)
			http_reply_abort(h);
		else
			http_reply_end(h);
		return;
	}
	if (result >= 0 && buf_failed(&q->out))
		result = err_set(&q->err, ERR_TOO_LARGE, "the answer would be larger than %zu bytes", ANSWER_MAX);
	if (result < 0) {
		if (q->err.code == ERR_OK)
			err_set(&q->err, (enum err_code) - result, "%s", "");
		send_problem(q);
		return;
	}
	struct buf out = q->out;
	http_reply(h, q->status, out.n ? q->content_type : (struct str){ 0 }, buf_str(&out));
	buf_done(&out);
}

static void advance(struct request *q)
{
	bool streams = q->http->body_streamed;
	if (q->started || !q->known || (!q->whole && !streams))
		return;
	q->started = true;
	if (streams)
		http_body_resume(q->http);
	flow_start(&q->flow, "request", streams && q->stream->steps ? q->stream->steps : q->route->steps, on_flow_end);
}

static void on_through(struct request *q, int rc)
{
	if (rc < 0) {
		send_problem(q);
		return;
	}
	q->known = true;
	if (q->gone && !q->started && !q->whole)
		refuse(q, ERR_CANCELED, "the client left");
	else
		advance(q);
}

static void on_known(struct request *q, int rc)
{
	if (rc >= 0 && q->route->key == KEY_ADMIN && !q->lookup.who.is_admin) {
		refuse(q, ERR_FORBIDDEN, "this needs the admin key");
		return;
	}
	if (rc < 0) {
		refuse(q, (enum err_code) - rc,
		       rc == -ERR_UNAUTHENTICATED ? "the API key is unknown, revoked or expired"
		                                  : "the API key could not be looked up");
		return;
	}
	q->who = q->lookup.who;
	if (q->route->body == BODY_JOBS || q->route->body == BODY_SUBMIT || q->route->body == BODY_MESSAGES)
		request_enter(q, on_through);
	else
		on_through(q, 0);
}

static void on_lookup_done(struct op *op, int rc)
{
	on_known(container_of(op, struct request, lookup.op), rc);
}

static void find_key(struct request *q)
{
	struct http_req *h = q->http;
	struct str key = http_req_header(h, "authorization");
	if (key.p && str_has_prefix_nocase(key, STR("bearer ")))
		key = str_trim(str_sub(key, 7, key.n));
	else if (!(key = http_req_header(h, "x-api-key")).p)
		key = http_req_header(h, "api-key");
	if (!key.p) {
		refuse(q, ERR_UNAUTHENTICATED, "give an API key: Authorization: Bearer mr_…");
		return;
	}
	if (auth_key_is_wellformed(key))
		q->key_prefix = auth_key_prefix(key);
	q->lookup.op.on_done = on_lookup_done;
	int rc = auth_start(q->api->auth, key, &q->lookup);
	if (rc != 0)
		on_known(q, rc);
	else if (h->body_streamed)
		http_body_pause(h);
}

/* False: the request was refused. */
static bool judge_form(struct request *q, struct str type)
{
	struct http_req *h = q->http;
	if (!str_eq(type, STR("multipart/form-data"))) {
		http_reply_header(h, "Accept", STR("multipart/form-data"));
		refuse(q, ERR_MEDIA_TYPE, "the body must be multipart/form-data");
		return false;
	}
	h->body_streamed = true;
	q->stream = &form_stream;
	h->body_max = (uint64_t)conf_now()->limits_file_bytes + FORM_FRAME_MAX;
	return true;
}

/* False: the request was refused. */
static bool judge_body(struct request *q)
{
	struct http_req *h = q->http;
	const struct conf *conf = conf_now();
	if (q->route->body == BODY_NONE) {
		h->body_max = MIN(h->body_max, (uint64_t)65536);
		return true;
	}
	char room[64];
	struct str given = http_req_header(h, "content-type");
	struct str type = http_media_type(given, room, sizeof(room));
	if (q->route->body == BODY_MULTIPART)
		return judge_form(q, type);
	bool is_lines = str_eq(type, STR("application/x-ndjson")) || str_eq(type, STR("application/jsonl"));
	if (is_lines && q->route->body == BODY_JOBS) {
		h->body_streamed = true;
		q->stream = &batch_upload_stream;
		h->body_max = (uint64_t)conf->limits_batch_bytes;
		return true;
	}
	if (!given.p || str_eq(type, STR("application/json"))) {
		if (q->route->body != BODY_MESSAGES)
			return true;
		h->body_streamed = true;
		q->stream = &message_batch_stream;
		h->body_max = (uint64_t)conf->limits_batch_bytes;
		return true;
	}
	http_reply_header(h, "Accept",
	                  q->route->body == BODY_JOBS ? STR("application/json, application/x-ndjson")
	                                              : STR("application/json"));
	refuse(q, ERR_MEDIA_TYPE, "the body must be application/json");
	return false;
}

static void on_head(struct http_req *h)
{
	struct request *q = arena_new(&h->arena, struct request);
	q->api = http_server_user(h->server);
	q->http = h;
	q->content_type = STR("application/json");
	buf_init(&q->out, ANSWER_MAX);
	h->user = q;
	if (request_cors(q))
		return;
	struct route_match m;
	router_find(h->method, h->path, &m);
	/* Anthropic's SDKs look for it under this name. */
	if ((m.route ? m.route->errors : router_errors(h->path)) == ERRORS_ANTHROPIC || http_req_header(h, "anthropic-version").p)
		http_reply_header(h, "request-id", h->request_id);
	if (!m.route && m.path_known) {
		http_reply_header(h, "Allow", str_from(m.allow));
		refuse(q, ERR_METHOD, "see the header Allow");
		return;
	}
	if (!m.route) {
		refuse(q, ERR_NOT_FOUND, "there is nothing at this path");
		return;
	}
	q->route = m.route;
	q->id = m.id;
	q->has_id = m.has_id;
	q->name = m.name;
	h->route = m.route->pattern;
	if (!judge_body(q))
		return;
	if (q->route->key != KEY_NONE) {
		find_key(q);
		return;
	}
	q->known = true;
	advance(q);
}

static void on_body(struct http_req *h, struct str piece)
{
	struct request *q = h->user;
	assert(q->started);
	q->stream->on_piece(q, piece);
}

static void on_end(struct http_req *h)
{
	struct request *q = h->user;
	q->whole = true;
	if (!h->body_streamed)
		advance(q);
	else if (q->started) /* else there is none, and its steps see that */
		q->stream->on_whole(q);
}

static void on_gone(struct http_req *h)
{
	struct request *q = h->user;
	q->gone = true;
	if (q->started && q->on_gone)
		q->on_gone(q);
	else if (q->known && !q->started)
		refuse(q, ERR_CANCELED, "the client left");
}

static void on_drain(struct http_req *h)
{
	struct request *q = h->user;
	if (q->on_drain)
		q->on_drain(q);
}

const struct http_handler request_handler = {
	.on_head = on_head,
	.on_body = on_body,
	.on_end = on_end,
	.on_gone = on_gone,
	.on_drain = on_drain,
	.on_refuse = request_error_send,
};

enum flow_next request_fail(struct request *q, int rc, const char *detail)
{
	err_set(&q->err, (enum err_code)(rc < 0 ? -rc : rc), "%s", detail);
	return flow_fail(&q->flow, -(int)q->err.code);
}

enum flow_next request_refuse(struct request *q)
{
	assert(q->err.code != ERR_OK);
	return flow_fail(&q->flow, -(int)q->err.code);
}

enum flow_next request_answer(struct request *q, int status)
{
	q->status = status;
	return flow_over(&q->flow, 0);
}

void request_query_init(struct request *q, const struct db_stmt *stmt)
{
	db_query_done(&q->query);
	db_query_init(&q->query, stmt);
}

enum flow_next request_query(struct request *q)
{
	int rc = api_query_start(q->api, &q->query, &q->flow);
	return rc < 0 ? request_fail(q, rc, "the database has too much to do") : FLOW_WAIT;
}
