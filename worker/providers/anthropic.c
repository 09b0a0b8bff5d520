/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anthropic's Messages: the call. The body is made in anthropic_request.c; the answer, streamed or whole, is read in anthropic_stream.c; what it
 * means is said by the assembly's rules, except for errors, which come with a status of their own or as an event in the middle of a 200. An
 * edge may answer with HTML (413 and 5xx do): then the status alone counts.
 *
 * The key goes into x-api-key, unless the target's own headers hold one or an Authorization (a gateway, or OAuth).
 */
#include "worker/providers/anthropic.h"

#include "common/clock.h"
#include "common/conf.h"
#include "worker/providers/classify.h"
#include "worker/providers/hints.h"

#define VERSION       "2023-06-01"
#define FILES_BETA    "files-api-2025-04-14"
#define BODY_MAX      ((size_t)1 << 30)
#define REQUEST_ID_MAX 100

struct provider_call {
	struct arena *arena;
	bool streamed, schema, dropped;
	bool is_sse;     /* what came is an event stream */
	int status, should_retry;
	struct buf whole; /* what came, when it is not */
	struct anthropic_answer answer;
	const struct http_header *headers;
	size_t nheaders;
};

/* --- the request --- */

static struct str own_header(const struct conf_target *t, const char *name)
{
	for (size_t i = 0; i < t->nheaders; i++)
		if (str_eq_nocase(t->headers[i].name, str_from(name)))
			return t->headers[i].value;
	return (struct str){ NULL, 0 };
}

static void add_headers(const struct conf_target *t, bool files, struct arena *a, struct provider_request *ret)
{
	struct str beta = own_header(t, "anthropic-beta");
	bool merge = files && str_find_nocase(beta, STR(FILES_BETA)) < 0;
	size_t n = 0;
	ret->headers = arena_array(a, struct http_header, t->nheaders + 5);
	ret->headers[n++] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	ret->headers[n++] = (struct http_header){ STR("Accept"), ret->streamed ? STR("text/event-stream") : STR("application/json") };
	if (t->api_key.n && !own_header(t, "x-api-key").p && !own_header(t, "authorization").p)
		ret->headers[n++] = (struct http_header){ STR("x-api-key"), t->api_key };
	if (!own_header(t, "anthropic-version").p)
		ret->headers[n++] = (struct http_header){ STR("anthropic-version"), STR(VERSION) };
	if (merge)
		ret->headers[n++] = (struct http_header){ STR("anthropic-beta"), beta.n ? arena_printf(a, STR_FMT "," FILES_BETA, STR_ARG(beta)) : STR(FILES_BETA) };
	for (size_t i = 0; i < t->nheaders; i++)
		if (!merge || !str_eq_nocase(t->headers[i].name, STR("anthropic-beta")))
			ret->headers[n++] = (struct http_header){ t->headers[i].name, t->headers[i].value };
	ret->nheaders = n;
}

static int make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err)
{
	struct err why = { .code = ERR_OK };
	bool files = false;
	buf_init(&ret->body, BODY_MAX);
	if (ask->kind == PROVIDER_EMBEDDINGS)
		return err_set(err, ERR_UNSUPPORTED, "Anthropic has no embeddings");
	json_t *body = anthropic_request(ask, a, &files, &why);
	if (!body) {
		if (err)
			*err = why;
		return -(int)why.code;
	}
	ret->streamed = ask->target->stream;
	ret->aws_sigv4 = ret->aws_user = NULL;
	ret->method = "POST";
	ret->url = arena_printf(a, STR_FMT "/messages", STR_ARG(ask->target->base_url)).p;
	add_headers(ask->target, files, a, ret);
	int rc = json_write(&ret->body, body);
	json_decref(body);
	return rc < 0 ? err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB") : 0;
}

/* --- the answer --- */

static void drop_call(void *ptr)
{
	struct provider_call *c = ptr;
	if (c->dropped)
		return;
	c->dropped = true;
	buf_done(&c->whole);
	anthropic_answer_done(&c->answer);
}

static struct provider_call *start(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	struct provider_call *c = arena_new(a, struct provider_call);
	c->arena = a;
	c->streamed = streamed;
	c->schema = str_eq_z(json_str(json_get(ask->request, "response_format"), "type"), "json_schema");
	c->should_retry = -1;
	buf_init(&c->whole, max_bytes);
	anthropic_answer_init(&c->answer, max_bytes, sink, a);
	arena_defer(a, drop_call, c);
	return c;
}

static void answer_head(struct provider_call *c, int status, const struct http_header *h, size_t n)
{
	char type[64];
	int64_t date;
	c->status = status;
	c->headers = h;
	c->nheaders = n;
	c->should_retry = should_retry_read(h, n);
	/* A server that ignores `stream` answers with one object and says so in its content type. */
	struct str media = http_media_type(http_find(h, n, "content-type"), type, sizeof type);
	c->is_sse = status < 300 && c->streamed && !str_eq_z(media, "application/json");
	/* The message itself does not say when it was made. */
	if (clock_parse_http_date(http_find(h, n, "date"), &date) == 0)
		c->answer.assembly.created = date / 1000000;
}

static int answer_data(struct provider_call *c, struct str piece, bool *ret_token)
{
	if (!c->is_sse) {
		*ret_token = c->status < 300 && piece.n > 0;
		return buf_add_str(&c->whole, piece) < 0 ? -ERR_TOO_LARGE : 0;
	}
	int rc = anthropic_answer_feed(&c->answer, piece);
	*ret_token = c->answer.assembly.token;
	return rc;
}

static const struct assembly *so_far(const struct provider_call *c)
{
	return c->is_sse ? &c->answer.assembly : NULL;
}

/* The message, with the id that Anthropic's support asks for. */
static void say(struct provider_call *c, struct provider_result *r, enum err_code class, struct str message, const json_t *body)
{
	struct str id = json_str(body, "request_id");
	if (id.n == 0)
		id = http_find(c->headers, c->nheaders, "request-id");
	r->class = class;
	message = str_utf8_prefix(message, PROVIDER_MESSAGE_MAX - REQUEST_ID_MAX - 20);
	if (id.n == 0 || id.n > REQUEST_ID_MAX || !str_is_utf8(id))
		r->message = message.n ? arena_str(c->arena, message) : message;
	else
		r->message = arena_printf(c->arena, STR_FMT "%s(request " STR_FMT ")", STR_ARG(message), message.n ? " " : "", STR_ARG(id));
}

static void say_error(struct provider_call *c, struct provider_result *r, const json_t *body, int status)
{
	struct failure f = { .status = status };
	if (json_is_object(body) || json_is_array(body))
		failure_read(&f, body, c->arena);
	say(c, r, classify(&f), f.message, body);
}

static int read_whole(struct provider_call *c, struct provider_result *r)
{
	struct err err = { .code = ERR_OK };
	_cleanup_(json_drop) json_t *body = json_parse_answer(buf_str(&c->whole), &err);
	if (json_is_object(body) && (json_get(body, "content") || json_get(body, "error")))
		return anthropic_answer_whole(&c->answer, body);
	say(c, r, ERR_BAD_OUTPUT, body ? STR("the answer is no message") : str_from(err.text), NULL);
	return -ERR_BAD_OUTPUT;
}

static void conclude(struct provider_call *c, int rc, struct provider_result *r)
{
	struct anthropic_answer *s = &c->answer;
	if (!c->is_sse && rc == 0)
		rc = read_whole(c, r);
	if (s->error)
		say_error(c, r, s->error, 0);
	assembly_conclude(&s->assembly, rc, c->schema, r);
	if (r->class == ERR_CONTENT_FILTER && s->refused.n)
		say(c, r, ERR_CONTENT_FILTER, arena_printf(c->arena, "the model refused to answer: " STR_FMT, STR_ARG(s->refused)), NULL);
}

static void answer_end(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	*r = (struct provider_result){ .retry_after_ms = -1, .should_retry = c->should_retry };
	buf_init(&r->result, BODY_MAX);
	if (c->status >= 300) {
		_cleanup_(json_drop) json_t *body = json_parse_answer(buf_str(&c->whole), NULL);
		r->retry_after_ms = retry_hint_ms(c->headers, c->nheaders, now_wall_us);
		say_error(c, r, body, c->status);
	} else {
		conclude(c, transport_rc, r);
	}
	drop_call(c); /* the arena may live through many more calls */
}

const struct provider provider_anthropic = {
	.name = "anthropic",
	.make = make,
	.start = start,
	.answer_head = answer_head,
	.answer_data = answer_data,
	.so_far = so_far,
	.answer_end = answer_end,
};
