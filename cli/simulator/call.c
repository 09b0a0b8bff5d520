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

#include <string.h>

#include "common/clock.h"

#define SLOW_TICK_MS 50

/* Takes the call apart; what is needed for the last write is given back. The request is to be ended by the caller. */
static struct buf call_close(struct call *c, int status, uint64_t bytes, bool canceled)
{
	struct buf out = c->out;
	timer_stop(&c->timer);
	stats_end(&c->sim->stats, c->ticket, status, bytes, canceled, clock_wall_us() / 1000);
	if (c->meter)
		meter_leave(c->meter);
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

int64_t call_age_ms(const struct call *c)
{
	return (int64_t)((clock_mono_ns() - c->req->started_ns) / 1000000);
}

void call_add_retry_after(struct call *c)
{
	if (c->status >= 400 && c->failure.retry_after >= 0)
		http_reply_header(c->req, "retry-after",
		                  arena_printf(&c->req->arena, "%lld", (long long)c->failure.retry_after));
}

static struct rate make_rate(int64_t limit, int64_t used, uint64_t reset_ms)
{
	return (struct rate){ limit, MAX((int64_t)0, limit - used), reset_ms };
}

/* A rule that enforces its limits tells these; others count in a plain minute, which refuses nothing. */
static void add_headers(struct call *c)
{
	struct sim *sim = c->sim;
	const struct rule *r = c->rule;
	const char *name;
	json_t *value;
	uint64_t now = loop_now_ms(&sim->loop);
	if (now - sim->window_ms >= METER_WINDOW_MS) {
		sim->window_ms = now;
		sim->window_requests = sim->window_tokens = 0;
	}
	sim->window_requests++;
	sim->window_tokens += c->facts.input_tokens + c->facts.output_tokens;
	uint64_t left = METER_WINDOW_MS - (now - sim->window_ms);
	struct rate requests = make_rate(r->limit_requests, sim->window_requests, left);
	struct rate tokens = make_rate(r->limit_tokens, sim->window_tokens, left);
	struct meter *m = meters_get(&sim->meters, r);
	if (m)
		left = meter_reset_ms(m, now); /* first of all: it drops what is old */
	if (m && r->enforce_requests >= 0)
		requests = make_rate(r->enforce_requests, (int64_t)m->n, left);
	if (m && r->enforce_tokens >= 0)
		tokens = make_rate(r->enforce_tokens, m->tokens, left);
	c->format->add_headers(c, &requests, &tokens);
	json_object_foreach((json_t *)(uintptr_t)r->headers, name, value)
	    http_reply_header(c->req, arena_strz(&c->req->arena, str_from(name)), json_str_of(value));
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
	} else if (c->is_stream && c->at < c->marks.head) {
		to = c->marks.head;
		*ret_wait_ms = c->plan.first_ms;
	} else if (c->is_stream && c->at < c->marks.tail && r->between_ms > 0) {
		to = c->at + c->format->event_len(str_sub(buf_str(&c->out), c->at, c->out.n));
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
	if (c->plan.fault != FAULT_CUT && c->plan.fault != FAULT_STREAM_ERROR &&
	    (!paced || c->plan.fault != FAULT_NONE)) {
		send_whole(c);
		return;
	}
	c->limit = c->plan.fault == FAULT_CUT ? MIN(c->out.n, (size_t)r->cut_after_bytes) : c->out.n;
	add_headers(c);
	c->started = true;
	c->timer.fn = on_pace;
	http_reply_start(c->req, c->status, c->type);
	if (c->is_stream && c->marks.head == 0 && c->plan.first_ms > 0)
		timer_start(t, c->plan.first_ms);
	else
		on_pace(t);
}

/* The key in the format's own header, a bearer token, or the key id of a signature (AWS). */
static struct str key_of(const struct http_req *req, const struct format *f)
{
	struct str value = http_req_header(req, f->key_header);
	if (value.n == 0)
		value = http_req_header(req, "authorization");
	if (str_has_prefix_nocase(value, STR("bearer ")))
		return str_trim(str_sub(value, 7, value.n));
	ssize_t at = str_has_prefix(value, STR("AWS4-")) ? str_find(value, STR("Credential=")) : -1;
	if (at < 0)
		return str_trim(value);
	value = str_sub(value, (size_t)at + strlen("Credential="), value.n);
	ssize_t slash = str_find_char(value, '/');
	return slash < 0 ? value : str_sub(value, 0, (size_t)slash);
}

/* True when the caller may: the rule asks for no key, any key, or this one. */
static bool key_is_good(const struct rule *r, struct str key)
{
	return !r->require_key ||
	       (json_is_string(r->require_key) ? str_eq(json_str_of(r->require_key), key) : key.n > 0);
}

/* The answer becomes this failure. */
static void fail(struct call *c, struct failure f)
{
	f.model = str_utf8_prefix(c->model, 200);
	f.request_id = c->req->request_id;
	if (f.status == 0)
		f.status = c->format->errors[f.kind].status;
	c->failure = f;
	c->status = f.status;
	c->is_stream = false;
	c->facts.output_tokens = 0;
	buf_clear(&c->out);
}

/* A client's mistake, or a call that the rule refuses for good, in the format's own words: no business of the plan. */
static bool refuse(struct call *c, struct failure f)
{
	f.retry_after = f.retry_after > 0 ? f.retry_after : -1;
	fail(c, f);
	c->type = STR("application/json");
	c->format->write_error(&c->out, &c->failure);
	return false;
}

static bool refuse_mistake(struct call *c, const struct err *err)
{
	struct failure f = { .kind = err->code == ERR_TOO_LARGE   ? ERROR_TOO_LARGE
		                     : err->code == ERR_NOT_FOUND ? ERROR_NOT_FOUND
		                                                  : ERROR_BAD_REQUEST };
	f.message = arena_str(&c->req->arena, str_from(err->text));
	if (err->param[0])
		f.param = arena_strz(&c->req->arena, str_from(err->param));
	if (err->code == ERR_MISSING_FIELD)
		f.code = "missing_required_parameter";
	return refuse(c, f);
}

/* Whether the limits that the rule enforces let the call in. */
static bool let_in(struct call *c)
{
	static const char *const names[] = { NULL, "requests", "tokens", "in_flight" };
	struct meter *m = meters_get(&c->sim->meters, c->rule);
	int64_t tokens = c->facts.input_tokens + c->facts.output_tokens;
	uint64_t wait_ms;
	if (!m)
		return true;
	enum meter_limit over = meter_enter(m, c->rule, tokens, loop_now_ms(&c->sim->loop), &wait_ms);
	if (over == METER_OK) {
		c->meter = m;
		return true;
	}
	c->facts.over = names[over];
	struct failure f = { .kind = ERROR_RATE_LIMIT, .retry_after = (int64_t)(wait_ms + 999) / 1000 };
	if (over == METER_TOKENS && tokens > c->rule->enforce_tokens)
		f = (struct failure){ .kind = ERROR_TOO_LARGE_FOR_LIMIT };
	return refuse(c, f);
}

static void plan_failure(struct call *c, enum error_class kind, int status)
{
	const struct rule *r = c->rule;
	bool stream = c->is_stream;
	if (kind == ERROR_NONE)
		kind = error_class_of(status);
	fail(c, (struct failure){ .kind = kind, .status = status, .retry_after = r->retry_after });
	if (kind == ERROR_QUOTA_DAY && r->retry_after < 0)
		c->failure.retry_after = c->format->quota_day_retry;
	/* A format that tells this kind in a good answer tells it in a stream's event. */
	if (stream && status == 0 && c->status == 200 && !r->error_body) {
		c->type = str_from(c->format->stream_type);
		c->format->write_stream_error(&c->out, &c->failure);
		return;
	}
	c->type = format_write_failure(&c->out, c->format, r, &c->failure);
}

/* The stream ends with an error event: behind the event that holds the rule's byte, or behind the first text. */
static void plan_stream_error(struct call *c)
{
	const struct rule *r = c->rule;
	struct failure f = { .kind = r->stream_error, .retry_after = r->retry_after };
	size_t at = 0, wanted = r->stream_error_bytes < 0 ? c->marks.head + 1 : (size_t)r->stream_error_bytes;
	while (at < wanted && at < c->out.n)
		at += c->format->event_len(str_sub(buf_str(&c->out), at, c->out.n));
	buf_truncate(&c->out, at);
	c->marks.head = MIN(c->marks.head, at);
	c->marks.tail = MIN(c->marks.tail, at);
	f.status = c->format->errors[f.kind].status;
	f.model = str_utf8_prefix(c->model, 200);
	f.request_id = c->req->request_id;
	f.message = str_from(r->stream_error_message);
	c->format->write_stream_error(&c->out, &f);
}

static void apply_plan(struct call *c)
{
	const struct rule *r = c->rule;
	rule_decide(c->rule, &c->plan);
	if (c->plan.fault == FAULT_STREAM_ERROR && !c->is_stream) {
		c->plan.fault = FAULT_STATUS;
		plan_failure(c, r->stream_error, 0);
	} else if (c->plan.fault == FAULT_STREAM_ERROR) {
		plan_stream_error(c);
	} else if (c->plan.fault == FAULT_STATUS) {
		plan_failure(c, r->error_class, c->plan.status);
	} else if (c->plan.fault == FAULT_GARBAGE) {
		const char *id = sim_answer_id(c->sim, &c->req->arena, c->format->id_prefix);
		buf_clear(&c->out);
		answer_write_garbage(&c->out, r->garbage, id);
		if (r->garbage == GARBAGE_SSE)
			c->type = str_from(c->format->stream_type);
	}
}

/* Makes c->out, whatever it will be; false when the call was refused, which is told at once. */
static bool judge(struct call *c, const json_t *body, const struct err *bad_json)
{
	struct err err = { .code = ERR_OK };
	struct arena *a = &c->req->arena;
	int rc = body ? c->endpoint->build(c, body, &err) : 0;
	if (!body)
		return refuse(c, (struct failure){
		                     .kind = ERROR_BAD_REQUEST,
		                     .message = arena_printf(a, "We could not parse the JSON body of your request: %s",
		                                             bad_json->text) });
	if (!key_is_good(c->rule, c->facts.key))
		return refuse(
		    c, (struct failure){ .kind = ERROR_AUTH,
		                         .message = c->facts.key.n ? STR("") : STR("You didn't provide an API key.") });
	if (c->rule->unknown)
		return refuse(c, (struct failure){ .kind = ERROR_NOT_FOUND });
	if (rc == 0 && c->format->check)
		rc = c->format->check(c->req, &err);
	if (rc < 0)
		return refuse_mistake(c, &err);
	if (!let_in(c))
		return false;
	apply_plan(c);
	return true;
}

void call_start(struct sim *sim, struct http_req *req, const struct format *format, const struct endpoint *endpoint,
                struct str model)
{
	struct err err = { .code = ERR_OK };
	int64_t at_ms = clock_wall_us() / 1000;
	_cleanup_(json_drop) json_t *body = json_parse_lenient(req->body, &err);
	struct call *c = arena_new(&req->arena, struct call);
	c->sim = sim;
	c->req = req;
	c->format = format;
	c->endpoint = endpoint;
	c->model = model.n > 0 ? model : arena_str(&req->arena, json_str(body, "model"));
	c->script = script_ref(sim->script);
	c->rule = script_match(c->script, c->model);
	c->status = 200;
	c->type = STR("application/json");
	c->facts = (struct stats_facts){
		.model = c->model, .key = key_of(req, format), .body = req->body, .format = format->name, .at_ms = at_ms
	};
	buf_init(&c->out, ANSWER_MAX);
	timer_init(&c->timer, &sim->loop, on_due);
	bool due = !judge(c, body, &err);
	c->ticket = stats_begin(&sim->stats, &c->facts);
	req->user = c;
	/* A whole answer comes when its first token would have, and the rest would cost no time. */
	uint64_t wait_ms = c->plan.before_ms + (c->is_stream ? 0 : c->plan.first_ms);
	if (due)
		send_whole(c);
	else if (wait_ms > 0)
		timer_start(&c->timer, wait_ms);
	else
		on_due(&c->timer);
}
