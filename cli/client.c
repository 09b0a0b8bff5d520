/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client commands' HTTP: client_call runs a loop of its own until the call has ended, so that commands read from
 * top to bottom.
 *
 * What can go wrong: nobody listens (said at once on the first contact; later, during a restart of the service, a few
 * tries bridge it), the service asks to wait (429, 503: done, as long as the call's time allows and the call may be
 * repeated), it refuses (the problem document is kept for client_complain), the time is over, or the user presses
 * Ctrl-C, which ends the call in flight with -ERR_CANCELED.
 */
#include "cli/client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/exit.h"
#include "cli/show.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/file.h"
#include "common/http/http_client.h"

#define READY_FILE         ".millrace/ready.json"
#define DEFAULT_TIMEOUT_MS 60000
#define ANSWER_MAX         ((size_t)256 << 20)
#define NETWORK_TRIES      4
#define WAIT_MAX_MS        30000
#define FAULTS_SHOWN       10

struct client {
	struct arena arena;
	struct loop loop;
	struct http_client *http;
	struct str url, authorization;
	int64_t timeout_ms;
	bool is_admin;
	bool reached; /* it has answered before */
	bool interrupted;
	bool closed;
	struct http_call *call; /* in flight, or NULL */
	struct timer timer;
	bool timer_fired;
};

/* One client_call. */
struct run {
	struct client *client;
	const struct client_request *request;
	struct client_answer *answer;
	uint64_t deadline_ms;
	int rc;
	bool done, got_data;
};

/* --- where the service is --- */

/* "127.0.0.1:8080/v1/" → "http://127.0.0.1:8080": what SDKs take as base URL does as well. */
static struct str clean_url(struct arena *a, struct str url)
{
	while (url.n && url.p[url.n - 1] == '/')
		url.n--;
	if (str_has_suffix(url, STR("/v1")))
		url.n -= 3;
	if (str_find(url, STR("://")) < 0)
		return arena_printf(a, "http://" STR_FMT, STR_ARG(url));
	return arena_str(a, url);
}

static struct str given(const char *option, const char *variable)
{
	const char *env = getenv(variable);
	return str_from(option ? option : env);
}

static int find_service(struct client *c, const struct client_cfg *cfg, struct err *err)
{
	struct str url = given(cfg->url, "MILLRACE_URL"), text;
	struct str key = given(cfg->key, cfg->is_admin ? "MILLRACE_ADMIN_KEY" : "MILLRACE_API_KEY");
	_cleanup_(json_drop) json_t *ready = NULL;
	if (file_read(READY_FILE, 1 << 20, &c->arena, &text, NULL) == 0)
		ready = json_parse(text, NULL);
	struct str ready_url = json_str(ready, "url");
	if (url.n == 0)
		url = ready_url;
	if (url.n == 0)
		return err_set(err, ERR_CONFIG,
		               "no service is known: run `millrace up` here, or give --url or MILLRACE_URL");
	c->url = clean_url(&c->arena, url);
	if (key.n == 0 && ready_url.n && str_eq(c->url, clean_url(&c->arena, ready_url)))
		key = json_str(ready, cfg->is_admin ? "admin_key" : "api_key");
	if (key.n)
		c->authorization = arena_printf(&c->arena, "Bearer " STR_FMT, STR_ARG(key));
	return 0;
}

/* --- life --- */

static void on_interrupt(void *arg, int signum UNUSED)
{
	struct client *c = arg;
	c->interrupted = true;
	if (c->call)
		op_cancel(&c->call->op);
	loop_stop(&c->loop);
}

static void on_timer(struct timer *t)
{
	struct client *c = container_of(t, struct client, timer);
	c->timer_fired = true;
	loop_stop(&c->loop);
}

int client_open(const struct client_cfg *cfg, struct client **ret, struct err *err)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	arena_init(&c->arena, 4 << 20);
	int rc = find_service(c, cfg, err);
	if (rc) {
		arena_done(&c->arena);
		free(c);
		return rc;
	}
	c->is_admin = cfg->is_admin;
	c->timeout_ms = cfg->timeout_ms ? cfg->timeout_ms : DEFAULT_TIMEOUT_MS;
	loop_init(&c->loop);
	timer_init(&c->timer, &c->loop, on_timer);
	loop_on_signal(&c->loop, SIGINT, on_interrupt, c);
	const struct http_client_cfg http = {
		.connections = 8, .per_host = 8, .idle_ms = 30000, .user_agent = "millrace/" MR_VERSION
	};
	c->http = http_client_new(&c->loop, &http);
	*ret = c;
	return 0;
}

int client_open_for(const struct client_cfg *cfg, const char *command, struct client **ret)
{
	struct err err = { 0 };
	if (client_open(cfg, ret, &err) == 0)
		return 0;
	fprintf(stderr, "millrace %s: %s\n", command, err.text);
	return CLI_EXIT_UNREACHABLE;
}

void client_escape(struct buf *b, const char *text)
{
	buf_add_percent(b, str_from(text), "");
}

static void on_closed(void *arg)
{
	struct client *c = arg;
	c->closed = true;
	loop_stop(&c->loop);
}

void client_close(struct client *c)
{
	if (!c)
		return;
	assert(!c->call);
	timer_stop(&c->timer);
	http_client_free(c->http, on_closed, c);
	while (!c->closed)
		loop_run(&c->loop);
	loop_signals_done(&c->loop);
	loop_done(&c->loop);
	crypto_wipe((char *)(uintptr_t)c->authorization.p, c->authorization.n);
	arena_done(&c->arena);
	free(c);
}

const char *client_url(const struct client *c)
{
	return c->url.p;
}

bool client_is_interrupted(const struct client *c)
{
	return c->interrupted;
}

int client_sleep(struct client *c, uint64_t ms)
{
	c->timer_fired = false;
	timer_start(&c->timer, ms);
	while (!c->timer_fired && !c->interrupted)
		loop_run(&c->loop);
	timer_stop(&c->timer);
	return c->interrupted ? -ERR_CANCELED : 0;
}

/* --- one try --- */

static struct run *run_of(struct http_call *call)
{
	return call->user;
}

static void on_call_done(struct op *op, int rc)
{
	struct run *run = run_of(container_of(op, struct http_call, op));
	run->rc = rc;
	run->done = true;
	loop_stop(&run->client->loop);
}

static int on_piece(struct http_call *call, struct str piece)
{
	struct run *run = run_of(call);
	run->got_data = true;
	return run->request->on_data(run->request->arg, piece);
}

/* What the status and the problem document say, as an error. */
static int judge(struct run *run, const struct http_call *call)
{
	struct client_answer *a = run->answer;
	struct str type = http_call_header(call, "content-type"), id = http_call_header(call, "x-request-id"), after;
	int64_t seconds;
	a->status = call->status;
	id = str_sub(id, 0, sizeof(a->request_id) - 1);
	if (id.n)
		memcpy(a->request_id, id.p, id.n);
	after = http_call_header(call, "retry-after");
	if (str_i64(after, 0, 86400, &seconds) == 0)
		a->retry_after_ms = seconds * 1000;
	if (str_find_nocase(type, STR("json")) >= 0 && str_find_nocase(type, STR("ndjson")) < 0)
		a->body = json_parse(buf_str(&a->text), NULL);
	if ((a->status >= 200 && a->status < 300) || a->status == 304)
		return 0;
	/* A problem document, or OpenAI's error object, as some routes have it. */
	struct str code = json_str(a->body, "code"), detail = json_str(a->body, "detail");
	if (detail.n == 0)
		detail = json_str(json_get(a->body, "error"), "message");
	enum err_code e = err_by_code_name(code);
	if (e == ERR_OK)
		e = a->status == 404                         ? ERR_NOT_FOUND
		    : a->status == 429 || a->status == 503 ? ERR_OVERLOADED
		                                           : ERR_INVALID;
	if (detail.n)
		return err_set(&a->err, e, STR_FMT, STR_ARG(detail));
	return err_set(&a->err, e, "the service answered with status %d", a->status);
}

static int call_failed(struct run *run, const struct http_call *call, int rc)
{
	struct client_answer *a = run->answer;
	const char *url = run->client->url.p;
	if (run->client->interrupted)
		return err_set(&a->err, ERR_CANCELED, "interrupted");
	if (call->timeout == HTTP_TIMEOUT_TOTAL || call->timeout == HTTP_TIMEOUT_CONNECT)
		return err_set(&a->err, ERR_TIMEOUT, "%s did not answer in time", url);
	if (rc == -ERR_NETWORK)
		return err_set(&a->err, ERR_NETWORK, "%s cannot be reached (%s)", url, call->err.text);
	if (call->err.text[0])
		return err_set(&a->err, (enum err_code) - rc, "%s: %s", url, call->err.text);
	return err_set(&a->err, (enum err_code) - rc, "%s: %s", url, err_title(rc));
}

static size_t make_headers(const struct run *run, struct http_header *h)
{
	const struct client *c = run->client;
	const struct client_request *r = run->request;
	size_t n = 0;
	h[n++] = (struct http_header){ STR("Accept"),
		                       STR("application/json, application/x-ndjson, application/problem+json") };
	if (c->authorization.n)
		h[n++] = (struct http_header){ STR("Authorization"), c->authorization };
	if (r->body.n || r->content_type)
		h[n++] = (struct http_header){ STR("Content-Type"),
			                       str_from(r->content_type ? r->content_type : "application/json") };
	if (r->idempotency_key)
		h[n++] = (struct http_header){ STR("Idempotency-Key"), str_from(r->idempotency_key) };
	return n;
}

static int try_once(struct run *run)
{
	struct client *c = run->client;
	const struct client_request *r = run->request;
	struct client_answer *a = run->answer;
	struct http_header headers[4];
	struct http_call call;
	_cleanup_(buf_done) struct buf url; /* not in the client's arena: a long watch makes many calls */
	buf_init(&url, 65536);
	buf_printf(&url, STR_FMT STR_FMT, STR_ARG(c->url), STR_ARG(r->path));
	buf_add_char(&url, 0);
	if (buf_failed(&url))
		return err_set(&a->err, ERR_URI_TOO_LONG, "the request's path is too long");
	uint64_t now = clock_mono_ms();
	http_call_init(&call);
	call.method = r->method;
	call.url = url.p;
	call.headers = headers;
	call.nheaders = make_headers(run, headers);
	call.body = r->body;
	call.connect_ms = 10000;
	call.total_ms =
	    r->on_data ? 0 : (uint32_t)MIN(run->deadline_ms - MIN(now, run->deadline_ms) + 1, (uint64_t)UINT32_MAX);
	call.idle_ms = r->on_data ? DEFAULT_TIMEOUT_MS : 0;
	call.body_max = r->on_data ? SIZE_MAX / 2 : ANSWER_MAX;
	call.on_data = r->on_data ? on_piece : NULL;
	call.user = run;
	call.op.on_done = on_call_done;
	run->done = false;
	int rc = http_call_start(c->http, &call, NULL);
	if (rc) {
		err_set(&a->err, (enum err_code) - rc, "%s: %s", call.url,
		        call.err.text[0] ? call.err.text : err_title(rc));
		http_call_done(&call);
		return rc;
	}
	c->call = &call;
	while (!run->done)
		loop_run(&c->loop);
	c->call = NULL;
	a->sent = a->sent || call.sent;
	if (run->rc < 0) {
		rc = call_failed(run, &call, run->rc);
	} else {
		c->reached = true;
		a->text = call.answer;
		call.answer = (struct buf){ 0 };
		rc = judge(run, &call);
	}
	http_call_done(&call);
	return rc;
}

/* --- repeats --- */

static void answer_clear(struct client_answer *a)
{
	bool sent = a->sent;
	client_answer_done(a);
	*a = (struct client_answer){ .retry_after_ms = -1, .sent = sent };
}

void client_answer_done(struct client_answer *a)
{
	json_drop(&a->body);
	buf_done(&a->text);
}

/* How long until the next try, or -1: leave it at that. */
static int64_t next_try(const struct run *run, int rc, int tries)
{
	const struct client_request *r = run->request;
	const struct client_answer *a = run->answer;
	bool repeatable = r->repeat || r->idempotency_key || strcmp(r->method, "GET") == 0;
	if (!repeatable || run->got_data || run->client->interrupted)
		return -1;
	int64_t backoff = MIN(INT64_C(200) << MIN(tries, 6), (int64_t)5000);
	if (a->status == 429 || a->status == 503)
		return a->retry_after_ms < 0 ? backoff
		                             : MIN(MAX(a->retry_after_ms, (int64_t)100), (int64_t)WAIT_MAX_MS);
	bool lost = a->status == 0 && (rc == -ERR_NETWORK || rc == -ERR_OUTCOME_UNKNOWN || rc == -ERR_STREAM_CUT);
	return lost && run->client->reached && tries < NETWORK_TRIES ? backoff : -1;
}

int client_call(struct client *c, const struct client_request *r, struct client_answer *a)
{
	int64_t timeout = r->timeout_ms ? r->timeout_ms : c->timeout_ms;
	struct run run = { .client = c, .request = r, .answer = a, .deadline_ms = clock_mono_ms() + (uint64_t)timeout };
	*a = (struct client_answer){ .retry_after_ms = -1 };
	for (int tries = 0;; tries++) {
		if (c->interrupted)
			return err_set(&a->err, ERR_CANCELED, "interrupted");
		int rc = try_once(&run);
		int64_t wait = rc ? next_try(&run, rc, tries) : -1;
		if (wait < 0 || clock_mono_ms() + (uint64_t)wait >= run.deadline_ms)
			return rc;
		answer_clear(a);
		client_sleep(c, (uint64_t)wait);
	}
}

/* --- complaints --- */

static int exit_of(const struct client_answer *a)
{
	if (a->status == 404)
		return CLI_EXIT_NOT_FOUND;
	if (a->status == 401 || a->status == 403 || a->status == 429 || a->status >= 500)
		return CLI_EXIT_UNREACHABLE;
	if (a->status || a->err.code == ERR_CANCELED)
		return CLI_EXIT_FAILED;
	return a->err.code == ERR_TIMEOUT ? CLI_EXIT_TIMEOUT : CLI_EXIT_UNREACHABLE;
}

int client_complain(struct client *c, const char *command, const struct client_answer *a)
{
	struct arena *m = &c->arena;
	struct term errors;
	struct str title = term_safe(m, json_str(a->body, "title")), code = term_safe(m, json_str(a->body, "code"));
	struct str param = term_safe(m, json_str(a->body, "param")), id = term_safe(m, json_str(a->body, "request_id"));
	if (id.n == 0)
		id = term_safe(m, str_from(a->request_id));
	if (code.n == 0)
		code = term_safe(m, json_str(json_get(a->body, "error"), "code"));
	if (param.n == 0)
		param = term_safe(m, json_str(json_get(a->body, "error"), "param"));
	fprintf(stderr, "millrace %s: ", command);
	if (title.n)
		fprintf(stderr, STR_FMT ": ", STR_ARG(title));
	fprintf(stderr, STR_FMT, STR_ARG(term_safe(m, str_from(a->err.text))));
	if (param.n)
		fprintf(stderr, " (at " STR_FMT ")", STR_ARG(param));
	if (code.n || id.n)
		fprintf(stderr, " [" STR_FMT "%s" STR_FMT "]", STR_ARG(code), code.n && id.n ? ", " : "", STR_ARG(id));
	fputc('\n', stderr);
	term_init(&errors, stderr);
	show_faults(&errors, json_get(a->body, "errors"), json_i64(a->body, "error_count", 0), FAULTS_SHOWN);
	if (c->is_admin && (a->status == 401 || a->status == 403))
		fprintf(stderr, "Give an admin key with --admin-key or MILLRACE_ADMIN_KEY; `millrace key create --admin` makes one.\n");
	else if (a->status == 401)
		fprintf(stderr, "Give a key with --key or MILLRACE_API_KEY; `millrace key create` makes one.\n");
	else if (a->status == 0 && a->err.code == ERR_NETWORK && !c->reached)
		fprintf(stderr, "Is it running? `millrace up` starts one here.\n");
	return exit_of(a);
}
