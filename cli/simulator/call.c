/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call: read → match its rule → decide what becomes of it → make the answer → wait → send. The answer is
 * made at once and waits as bytes, so that a call in flight costs its request, a timer and the answer, and a timer's
 * end costs a write.
 *
 * Sending: all in one write when nothing slows it; else piece by piece on the timer: the head of a stream, then its
 * events with between_ms between them, or slow_bytes_per_s bytes. A cut ends the connection after its number of bytes.
 * A call that hangs waits for its client to leave.
 *
 * A client's mistake is answered at once and is no business of the rule; it is counted in the statistics like any call.
 */
#include "cli/simulator/sim.h"

#include "common/clock.h"

#define SLOW_TICK_MS 50
#define WINDOW_MS    60000

/* Takes the call apart; what is needed for the last write is given back. The request is to be ended by the caller. */
static struct buf call_close(struct call *c, int status, uint64_t bytes, bool canceled)
{
	struct buf out = c->out;
	timer_stop(&c->timer);
	stats_end(&c->sim->stats, c->seq, status, bytes, canceled);
	script_unref(c->script);
	c->out = (struct buf){ .p = NULL };
	c->req->user = NULL;
	return out;
}

/* The connection ends here, by FIN or RST. */
static void call_cut(struct call *c)
{
	struct http_req *req = c->req;
	bool rst = c->rule->rst;
	struct buf out = call_close(c, c->started ? c->status : 0, c->at, false);
	buf_done(&out);
	if (rst)
		http_reply_reset(req);
	else
		http_reply_abort(req);
}

void call_gone(struct call *c)
{
	struct http_req *req = c->req;
	struct buf out = call_close(c, c->started ? c->status : 0, c->at, true);
	buf_done(&out);
	http_reply_abort(req);
}

static void add_duration(struct buf *b, uint64_t ms)
{
	if (ms < 1000)
		buf_printf(b, "%llums", (unsigned long long)ms);
	else
		buf_printf(b, "%llu.%03llus", (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

static void add_limit(struct call *c, const char *const names[3], int64_t limit, int64_t used, uint64_t reset_ms)
{
	struct arena *a = &c->req->arena;
	struct buf b;
	http_reply_header(c->req, names[0], arena_printf(a, "%lld", (long long)limit));
	http_reply_header(c->req, names[1], arena_printf(a, "%lld", (long long)MAX((int64_t)0, limit - used)));
	buf_init(&b, 64);
	add_duration(&b, reset_ms);
	http_reply_header(c->req, names[2], buf_str(&b));
	buf_done(&b);
}

static void add_headers(struct call *c)
{
	static const char *const requests[] = { "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
		                                "x-ratelimit-reset-requests" };
	static const char *const tokens[] = { "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens",
		                              "x-ratelimit-reset-tokens" };
	struct sim *sim = c->sim;
	uint64_t now = loop_now_ms(&sim->loop), ms = (clock_mono_ns() - c->req->started_ns) / 1000000;
	if (now - sim->window_ms >= WINDOW_MS) {
		sim->window_ms = now;
		sim->window_requests = sim->window_tokens = 0;
	}
	sim->window_requests++;
	sim->window_tokens += c->tokens;
	http_reply_header(c->req, "openai-processing-ms", arena_printf(&c->req->arena, "%llu", (unsigned long long)ms));
	http_reply_header(c->req, "openai-version", STR("2020-10-01"));
	uint64_t left = WINDOW_MS - (now - sim->window_ms);
	add_limit(c, requests, c->rule->limit_requests, sim->window_requests, left);
	add_limit(c, tokens, c->rule->limit_tokens, sim->window_tokens, left);
	if (c->status >= 400 && c->rule->retry_after >= 0)
		http_reply_header(c->req, "retry-after",
		                  arena_printf(&c->req->arena, "%lld", (long long)c->rule->retry_after));
}

static void send_whole(struct call *c)
{
	struct http_req *req = c->req;
	int status = c->status;
	struct str type = c->type;
	add_headers(c);
	struct buf out = call_close(c, status, c->out.n, false);
	http_reply(req, status, type, buf_str(&out));
	buf_done(&out);
}

/* Where the next piece of a paced answer ends, and how long to wait after it. */
static size_t next_piece(const struct call *c, uint64_t *ret_wait_ms)
{
	const struct rule *r = c->rule;
	size_t to = c->out.n;
	*ret_wait_ms = 0;
	if (r->slow_bytes_per_s > 0) {
		size_t n = (size_t)r->slow_bytes_per_s * SLOW_TICK_MS / 1000;
		*ret_wait_ms = n > 0 ? SLOW_TICK_MS : 1000 / (uint64_t)r->slow_bytes_per_s;
		to = c->at + MAX(n, (size_t)1);
	} else if (c->is_stream && c->at < c->head) {
		to = c->head;
		*ret_wait_ms = c->plan.first_ms;
	} else if (c->is_stream && c->at < c->tail && r->between_ms > 0) {
		ssize_t end = str_find(str_sub(buf_str(&c->out), c->at, c->out.n), STR("\n\n"));
		to = end < 0 ? c->out.n : c->at + (size_t)end + 2;
		*ret_wait_ms = (uint64_t)r->between_ms;
	}
	return MIN(to, c->limit);
}

static void on_pace(struct timer *t)
{
	struct call *c = container_of(t, struct call, timer);
	while (c->at < c->limit) {
		uint64_t wait_ms;
		size_t to = next_piece(c, &wait_ms);
		http_reply_write(c->req, str_sub(buf_str(&c->out), c->at, to - c->at));
		c->at = to;
		if (wait_ms > 0 && c->at < c->limit) {
			timer_start(t, wait_ms);
			return;
		}
	}
	if (c->plan.fault == FAULT_CUT && c->limit < c->out.n) {
		call_cut(c);
		return;
	}
	struct http_req *req = c->req;
	struct buf out = call_close(c, c->status, c->at, false);
	buf_done(&out);
	http_reply_end(req);
}

static void on_due(struct timer *t)
{
	struct call *c = container_of(t, struct call, timer);
	const struct rule *r = c->rule;
	bool paced = r->slow_bytes_per_s > 0 || (c->is_stream && (c->plan.first_ms > 0 || r->between_ms > 0));
	if (c->plan.fault == FAULT_HANG)
		return; /* call_gone ends it */
	if (c->plan.fault == FAULT_NO_HEAD) {
		call_cut(c);
		return;
	}
	if (c->plan.fault != FAULT_CUT && (!paced || c->plan.fault != FAULT_NONE)) {
		send_whole(c);
		return;
	}
	c->limit = c->plan.fault == FAULT_CUT ? MIN(c->out.n, (size_t)r->cut_after_bytes) : c->out.n;
	add_headers(c);
	c->started = true;
	c->timer.fn = on_pace;
	http_reply_start(c->req, c->status, c->type);
	on_pace(t);
}

static struct str key_of(const struct http_req *req)
{
	struct str value = http_req_header(req, "authorization");
	if (str_has_prefix_nocase(value, STR("bearer ")))
		return str_trim(str_sub(value, 7, value.n));
	return str_trim(value);
}

/* True when the caller may: the rule asks for no key, any key, or this one. */
static bool key_is_good(const struct rule *r, struct str key)
{
	return !r->require_key ||
	       (json_is_string(r->require_key) ? str_eq(json_str_of(r->require_key), key) : key.n > 0);
}

/* A client's mistake, or a call that the rule refuses for good. */
static void refuse(struct call *c, int status, const char *param, const char *code, struct str message)
{
	c->status = status;
	c->type = STR("application/json");
	buf_clear(&c->out);
	answer_write_error(&c->out, "invalid_request_error", param && *param ? param : NULL, code, message);
	send_whole(c);
}

/* The answer that the plan asks for; false when it was refused instead. */
static bool make_answer(struct call *c, const json_t *body, int (*build)(struct call *, const json_t *, struct err *))
{
	struct err err = { .code = ERR_OK };
	c->status = 200;
	c->type = STR("application/json");
	if (build(c, body, &err) < 0) {
		const char *code = err.code == ERR_MISSING_FIELD ? "missing_required_parameter" : NULL;
		refuse(c, err.code == ERR_TOO_LARGE ? 413 : 400, err.param, code, str_from(err.text));
		return false;
	}
	rule_decide(c->rule, &c->plan);
	if (c->plan.fault == FAULT_STATUS) {
		buf_clear(&c->out);
		c->status = c->plan.status;
		c->type = answer_write_failure(&c->out, c->rule, c->status);
		c->is_stream = false;
	} else if (c->plan.fault == FAULT_GARBAGE) {
		struct answer an = { .id = sim_answer_id(c->sim, &c->req->arena, "chatcmpl-") };
		buf_clear(&c->out);
		answer_write_garbage(&c->out, c->rule->garbage, &an);
		if (c->rule->garbage == GARBAGE_SSE)
			c->type = STR("text/event-stream");
	}
	return true;
}

void call_start(struct sim *sim, struct http_req *req,
                int (*build)(struct call *c, const json_t *body, struct err *err),
                struct str (*tag)(const json_t *body))
{
	struct err err = { .code = ERR_OK };
	_cleanup_(json_drop) json_t *body = json_parse_lenient(req->body, &err);
	struct call *c = arena_new(&req->arena, struct call);
	struct str model = json_str(body, "model"), key = key_of(req);
	c->sim = sim;
	c->req = req;
	c->script = script_ref(sim->script);
	c->rule = script_match(c->script, model);
	buf_init(&c->out, ANSWER_MAX);
	timer_init(&c->timer, &sim->loop, on_due);
	c->seq = stats_begin(&sim->stats, model, key, tag(body), req->body, clock_wall_us() / 1000);
	req->user = c;
	if (!body) {
		struct str text =
		    arena_printf(&req->arena, "We could not parse the JSON body of your request: %s", err.text);
		refuse(c, 400, NULL, NULL, text);
	} else if (!key_is_good(c->rule, key)) {
		refuse(c, 401, NULL, "invalid_api_key",
		       key.n ? STR("Incorrect API key provided.") : STR("You didn't provide an API key."));
	} else if (c->rule->unknown) {
		refuse(c, 404, NULL, "model_not_found",
		       arena_printf(&req->arena,
		                    "The model `" STR_FMT "` does not exist or you do not have access to it.",
		                    STR_ARG(str_utf8_prefix(model, 200))));
	} else if (make_answer(c, body, build)) {
		/* A whole answer comes when its first token would have, and the rest would cost no time. */
		uint64_t wait_ms = c->plan.before_ms + (c->is_stream ? 0 : c->plan.first_ms);
		if (wait_ms > 0)
			timer_start(&c->timer, wait_ms);
		else
			on_due(&c->timer);
	}
}
