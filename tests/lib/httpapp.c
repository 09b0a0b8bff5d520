/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the paths do: /hold answers when the test says so; /deny answers in on_head; /tiny takes ten bytes of body;
 * /stream takes its body in pieces and /pause rests after each; /chunks, /bigstream, /abort answer in pieces, /big
 * with 5 MiB at once; /empty is 204 and /same 304; /problem, /busy are errors; anything else tells what was
 * understood: method, path, query, body.
 */
#include "tests/lib/httpapp.h"

#include <stdlib.h>
#include <string.h>

const struct http_limits app_default_limits = {
	.connections = 10000,
	.head_bytes = 16384,
	.target_bytes = 4096,
	.header_count = 100,
	.body_bytes = 10u << 20,
	.head_ms = 10000,
	.body_ms = 10000,
	.body_min_rate = 16384,
	.idle_ms = 60000,
	.write_stall_ms = 30000,
};

static struct app *app_of(struct http_req *r)
{
	return http_server_user(r->server);
}

static bool is(const struct http_req *r, const char *path)
{
	return str_eq_z(r->path, path);
}

static void on_head(struct http_req *r)
{
	app_of(r)->heads++;
	r->route = "test";
	if (is(r, "/deny"))
		http_reply(r, 401, STR("text/plain"), STR("no"));
	else if (is(r, "/tiny"))
		r->body_max = 10;
	else if (is(r, "/stream") || is(r, "/pause"))
		r->body_streamed = true;
}

static void on_nap(struct timer *t)
{
	struct app *a = container_of(t, struct app, nap);
	if (a->held)
		http_body_resume(a->held);
}

static void on_body(struct http_req *r, struct str piece)
{
	struct app *a = app_of(r);
	size_t *seen = r->user;
	if (!seen)
		r->user = seen = arena_new(&r->arena, size_t);
	*seen += piece.n;
	a->pieces++;
	if (is(r, "/pause")) {
		a->held = r;
		http_body_pause(r);
		timer_start(&a->nap, 1);
	}
}

static void tell(struct http_req *r)
{
	size_t at = 0;
	struct str k, v, body = r->body;
	struct buf b;
	buf_init(&b, 32u << 20);
	buf_printf(&b, STR_FMT " " STR_FMT "\n", STR_ARG(r->method_text), STR_ARG(r->path));
	while (http_req_query_next(r, &at, &k, &v))
		buf_printf(&b, "%.*s=%.*s\n", STR_ARG(k), STR_ARG(v));
	for (size_t i = 0; i < r->nheaders; i++)
		buf_printf(&b, "%.*s: %.*s\n", STR_ARG(r->headers[i].name), STR_ARG(r->headers[i].value));
	buf_add_char(&b, '\n');
	buf_add_str(&b, body);
	http_reply(r, 200, STR("text/plain"), buf_str(&b));
	buf_done(&b);
}

static void fill(struct app *a, struct http_req *r)
{
	char block[8192];
	memset(block, 'b', sizeof(block));
	bool more = true;
	while (a->stream_left && more) {
		size_t n = MIN(a->stream_left, sizeof(block));
		a->stream_left -= n;
		more = http_reply_write(r, (struct str){ block, n });
	}
	if (!a->stream_left)
		http_reply_end(r);
}

static void answer_in_pieces(struct app *a, struct http_req *r)
{
	http_reply_header(r, "x-extra", STR("1"));
	http_reply_start(r, 200, STR("text/event-stream"));
	if (is(r, "/bigstream")) {
		a->stream_left = APP_BIG;
		a->held = r;
		fill(a, r);
		return;
	}
	http_reply_write(r, STR("one "));
	http_reply_write(r, STR(""));
	http_reply_write(r, STR("two"));
	if (is(r, "/abort"))
		http_reply_abort(r);
	else
		http_reply_end(r);
}

static void answer_big(struct http_req *r)
{
	char *p = malloc(APP_BIG);
	memset(p, 'a', APP_BIG);
	http_reply(r, 200, STR("text/plain"), (struct str){ p, APP_BIG });
	free(p);
}

static void answer_stream(struct http_req *r)
{
	char text[32];
	size_t n = r->user ? *(size_t *)r->user : 0, at = sizeof(text);
	app_of(r)->held = NULL;
	do {
		text[--at] = (char)('0' + n % 10);
	} while (n /= 10);
	http_reply(r, 200, STR("text/plain"), (struct str){ text + at, sizeof(text) - at });
}

static void answer_error(struct http_req *r)
{
	struct err err;
	if (is(r, "/busy"))
		err_set(&err, ERR_OVERLOADED, "later");
	else
		err_set_at(&err, ERR_WRONG_TYPE, "/a/b", "wanted a \"string\"");
	http_reply_problem(r, &err);
}

static void on_end(struct http_req *r)
{
	struct app *a = app_of(r);
	a->ends++;
	if (is(r, "/hold"))
		a->held = r;
	else if (is(r, "/stream") || is(r, "/pause"))
		answer_stream(r);
	else if (is(r, "/chunks") || is(r, "/bigstream") || is(r, "/abort"))
		answer_in_pieces(a, r);
	else if (is(r, "/big"))
		answer_big(r);
	else if (is(r, "/empty"))
		http_reply(r, 204, STR(""), STR("never seen"));
	else if (is(r, "/same"))
		http_reply(r, 304, STR(""), STR("never seen"));
	else if (is(r, "/busy") || is(r, "/problem"))
		answer_error(r);
	else
		tell(r);
}

static void on_gone(struct http_req *r)
{
	struct app *a = app_of(r);
	a->gone++;
	if (is(r, "/hold") && a->held == r)
		return; /* goes on working */
	a->held = NULL;
	if (r->replied)
		http_reply_abort(r);
	else
		http_reply(r, 499, STR(""), STR(""));
}

static void on_drain(struct http_req *r)
{
	struct app *a = app_of(r);
	a->drains++;
	fill(a, r);
}

const struct http_handler app_handler = {
	.on_head = on_head,
	.on_body = on_body,
	.on_end = on_end,
	.on_gone = on_gone,
	.on_drain = on_drain,
};

void app_release(struct app *a, int status)
{
	struct http_req *r = take(&a->held);
	assert(r);
	http_reply(r, status, STR("text/plain"), STR("released"));
}

void app_start(struct app *a, const struct http_limits *limits)
{
	struct err err;
	*a = (struct app){ .limits = limits ? *limits : app_default_limits };
	loop_init(&a->loop);
	timer_init(&a->nap, &a->loop, on_nap);
	if (http_server_start(&a->loop, "127.0.0.1:0", true, &a->limits, &app_handler, a, &a->server, &err) < 0)
		abort();
	a->port = http_server_port(a->server);
}

static void on_closed(void *arg)
{
	struct app *a = arg;
	a->closed = true;
}

void app_stop(struct app *a)
{
	timer_stop(&a->nap);
	http_server_free(a->server, on_closed, a);
	loop_run(&a->loop);
	assert(a->closed);
	loop_done(&a->loop);
}
