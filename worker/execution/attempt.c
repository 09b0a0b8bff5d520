/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: the wire format makes the request, pieces of the answer go through it as they arrive (the first token stops its timer), and at the
 * end it says what the answer means.
 *
 * What can go wrong: the first token is late (the call is ended, class outcome_unknown: it may be billed), the total time or the
 * job's deadline passes, the connection breaks, the job is canceled. A call that was sent and did not end well, or was answered without counts, is
 * counted at its estimate, never as nothing: input by the size of the request, output by the text that came, or by max_tokens when none did.
 */
#include "worker/execution/attempt.h"

#include "common/clock.h"
#include "common/metrics.h"
#include "common/provider_record.h"
#include "worker/execution/cost.h"
#include "worker/queue/lease.h"
#include "worker/limits/limiter.h"
#include "worker/execution/live.h"
#include "worker/providers/assembly.h"
#include "worker/targets/targets.h"
#include "worker/worker.h"

#define STREAM_OVERHEAD 64
#define ERROR_BYTES     ((size_t)256 << 10) /* what says why it failed is kept until the answer ends; after this much the status alone says it */
#define LINGER_MS       1000 /* after the last event of a stream, for the connection to end well: it can be used again then */

static int64_t pick_ms(int64_t of_target, int64_t global)
{
	return of_target > 0 ? of_target : global;
}

int64_t attempt_total_ms(const struct conf_target *target)
{
	return pick_ms(target->timeouts.total_ms, conf_now()->timeout_total_ms);
}

static void give_head(struct attempt *a)
{
	if (a->head_given || a->http.status == 0)
		return;
	a->head_given = true;
	a->provider->answer_head(a->call, a->http.status, a->http.answer_headers, a->http.answer_nheaders);
}

static int take_piece(struct attempt *a, struct str piece)
{
	bool token = false;
	give_head(a);
	a->answer_bytes += (int64_t)piece.n;
	int rc = a->provider->answer_data(a->call, piece, &token);
	if (token && a->first_token_ns == 0) {
		a->first_token_ns = clock_mono_ns();
		timer_stop(&a->first_token);
	}
	const struct assembly *so_far = a->provider->so_far(a->call);
	if (so_far && so_far->over && a->linger.due_ms == 0)
		timer_start(&a->linger, LINGER_MS);
	return rc;
}

static int on_data(struct http_call *c, struct str piece)
{
	return take_piece(container_of(c, struct attempt, http), piece);
}

/* Why the call ended early, in the classes of the judge. */
static int transport_rc(const struct attempt *a, int rc)
{
	if (rc == 0)
		return 0; /* also when a timer or a cancel came as the last byte did */
	if (a->first_token_late)
		return -ERR_OUTCOME_UNKNOWN;
	if (rc == -ERR_TIMEOUT) {
		if (a->http.timeout == HTTP_TIMEOUT_CONNECT)
			return -ERR_NETWORK;
		return a->http.status ? -ERR_STREAM_CUT : -ERR_OUTCOME_UNKNOWN;
	}
	if (rc == -ERR_CANCELED)
		return a->http.status ? -ERR_STREAM_CUT : -ERR_OUTCOME_UNKNOWN;
	if (rc == -ERR_TOO_LARGE)
		return -ERR_BAD_OUTPUT;
	return rc;
}

/* Nothing of the request can have been worked on. */
static bool was_never_sent(const struct attempt *a, int rc)
{
	return rc == -ERR_NETWORK || (!a->http.sent && a->http.status == 0);
}

/* By the text that came; of a body that came whole and could not be read, no more than its size says. */
static int64_t estimated_output(const struct attempt *a, int rc)
{
	const struct provider_result *r = &a->result;
	if (r->output_bytes > 0 || r->class == ERR_OK)
		return cost_tokens_of_bytes(r->output_bytes);
	return rc == 0 ? MIN(a->asked_output, cost_tokens_of_bytes(a->answer_bytes)) : a->asked_output;
}

static void count_usage(struct attempt *a, int rc)
{
	struct attempt_row *row = a->row;
	const struct provider_result *r = &a->result;
	row->price = a->target->price;
	if (r->usage_known) {
		row->usage = (struct usage){ r->usage.input, r->usage.cached_input, r->usage.cache_write, r->usage.output, r->usage.reasoning };
	} else if ((a->http.status >= 200 && a->http.status < 300) || (rc < 0 && !was_never_sent(a, rc))) {
		row->flags |= FLAG_ESTIMATED;
		row->usage.input = cost_tokens_of_bytes(a->request_bytes);
		row->usage.output = estimated_output(a, rc);
	}
	bool any = row->usage.input > 0 || row->usage.output > 0;
	row->cost_nanousd = any ? cost_of(&row->usage, &row->price) : 0;
}

static void count_metrics(const struct attempt *a)
{
	const struct attempt_row *row = a->row;
	struct buf b;
	buf_init(&b, 256);
	struct str name = a->target->name;
	buf_add_str(&b, str_sub(name, 0, 120));
	buf_add_char(&b, '\0');
	const char *target = b.p;
	metric_observe_ns(METRIC_CALL_SECONDS, target, (uint64_t)row->total_ms * 1000000);
	if (a->first_token_ns)
		metric_observe_ns(METRIC_FIRST_TOKEN, target, a->first_token_ns - a->http.start_ns);
	if (row->cost_nanousd > 0)
		metric_add(METRIC_COST, target, row->cost_nanousd);
	size_t n = b.n - 1;
	static const char *const types[] = { "input", "cached_input", "output" };
	const int64_t tokens[] = { row->usage.input, row->usage.cached_input, row->usage.output };
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		buf_truncate(&b, n);
		buf_printf(&b, "\x1f%s", types[i]);
		buf_add_char(&b, '\0');
		if (tokens[i] > 0)
			metric_add(METRIC_TOKENS, b.p, tokens[i]);
	}
	buf_truncate(&b, n);
	buf_printf(&b, "\x1f%s", row->code);
	buf_add_char(&b, '\0');
	metric_add(METRIC_ATTEMPTS, b.p, 1);
	buf_done(&b);
}

static struct str failure_text(struct attempt *a, int rc)
{
	if (a->first_token_late && a->result.class != ERR_OK)
		return STR("no first token within timeout.first_token");
	if (a->result.message.p)
		return arena_str(&a->job->arena, a->result.message);
	if (rc < 0 && a->result.class != ERR_OK && a->http.err.text[0])
		return arena_str(&a->job->arena, str_from(a->http.err.text));
	if (a->result.class != ERR_OK && a->http.status)
		return arena_printf(&a->job->arena, "the provider answered with status %d", a->http.status);
	return (struct str){ NULL, 0 };
}

/* How much is left, by the provider's own count. */
static void note_headers(struct attempt *a)
{
	struct worker *w = a->job->worker;
	struct limit_headers h;
	if (a->http.status == 0 || !limit_headers_read(&h, a->http.answer_headers, a->http.answer_nheaders, clock_wall_us()))
		return;
	targets_headers(w->targets, targets_find(w->targets, a->target), &h);
	limiter_headers(w->limiter, a->target, &h);
}

static void on_http_done(struct op *op, int http_rc)
{
	struct attempt *a = container_of(container_of(op, struct http_call, op), struct attempt, http);
	struct attempt_row *row = a->row;
	timer_stop(&a->first_token);
	timer_stop(&a->linger);
	give_head(a);
	if (a->http.status >= 400 && a->http.answer.n > 0)
		(void)take_piece(a, buf_str(&a->http.answer));
	int rc = transport_rc(a, http_rc);
	a->provider->answer_end(a->call, rc, clock_wall_us(), &a->result);
	note_headers(a);
	/* A limit that turns only after the job's deadline is of no use to wait for. */
	uint64_t now = loop_now_ms(a->job->worker->loop);
	if (a->result.class == ERR_PROVIDER_RATE_LIMIT && a->result.retry_after_ms >= 0 &&
	    now + (uint64_t)a->result.retry_after_ms >= a->job->deadline_ms)
		a->result.class = ERR_QUOTA;
	buf_done(&a->request.body); /* it may be large, and a retry makes its own */

	uint64_t end = a->http.end_ns ? a->http.end_ns : clock_mono_ns();
	row->total_ms = (int32_t)MIN((end - a->http.start_ns) / 1000000, (uint64_t)INT32_MAX);
	row->first_token_ms = a->first_token_ns ? (int32_t)((a->first_token_ns - a->http.start_ns) / 1000000) : -1;
	row->http_status = a->http.status;
	row->code = a->canceled ? "aborted" : a->result.class == ERR_OK ? "ok" : err_code_name((int)a->result.class);
	row->message = failure_text(a, rc);
	count_usage(a, rc);
	count_metrics(a);
	op_done(&a->op, a->canceled ? -ERR_CANCELED : 0);
}

static void on_delta(void *arg, const struct provider_delta *d)
{
	live_delta(arg, d);
}

static const struct assembly *so_far(void *arg)
{
	const struct attempt *a = arg;
	return a->provider->so_far(a->call);
}

static void on_first_token_late(struct timer *t)
{
	struct attempt *a = container_of(t, struct attempt, first_token);
	a->first_token_late = true;
	op_cancel(&a->http.op);
}

/* The answer is whole, and the provider does not hang up. */
static void on_lingered(struct timer *t)
{
	op_cancel(&container_of(t, struct attempt, linger)->http.op);
}

static void cancel(struct op *op)
{
	struct attempt *a = container_of(op, struct attempt, op);
	a->canceled = true;
	op_cancel(&a->http.op);
}

/* A process that was frozen while it connected has no right to the job any more, nor to the limits that the call was let through by. */
static bool may_send(struct http_call *c)
{
	return leases_are_good(container_of(c, struct attempt, http)->job->worker->leases);
}

static void fill_call(struct attempt *a, uint64_t left_ms)
{
	const struct conf *c = conf_now();
	const struct conf_timeouts *t = &a->target->timeouts;
	struct http_call *h = &a->http;
	http_call_init(h);
	h->method = a->request.method;
	h->url = a->request.url;
	h->headers = a->request.headers;
	h->nheaders = a->request.nheaders;
	h->body = buf_str(&a->request.body);
	h->aws_sigv4 = a->request.aws_sigv4;
	h->aws_user = a->request.aws_user;
	h->connect_ms = (uint32_t)pick_ms(t->connect_ms, c->timeout_connect_ms);
	h->idle_ms = a->request.streamed ? (uint32_t)pick_ms(t->between_ms, c->timeout_between_ms) : 0;
	h->total_ms = (uint32_t)MIN((uint64_t)attempt_total_ms(a->target), MAX(left_ms, 1));
	/* What is put together from a stream has its own limit; on the wire each token is wrapped in an event. */
	h->body_max = (size_t)c->limits_result_bytes * (a->request.streamed ? STREAM_OVERHEAD : 1);
	h->error_max = MIN(h->body_max, ERROR_BYTES);
	h->on_data = on_data;
	h->may_send = a->job->worker->leases ? may_send : NULL;
	h->op.on_done = on_http_done;
}

int attempt_start(struct attempt *a, struct job *j, const struct conf_target *target, const json_t *request, int number,
                  int64_t max_output, struct flow *flow, struct err *err)
{
	struct worker *w = j->worker;
	uint64_t now = loop_now_ms(w->loop);
	*a = (struct attempt){
		.job = j, .target = target, .provider = provider_find(str_from(target->record->adapter)), .ask = { target, (int)j->kind, request, max_output },
	};
	if (!a->provider)
		return err_set(err, ERR_INTERNAL, "no adapter for provider " STR_FMT, STR_ARG(target->provider));
	int rc = a->provider->make(&a->ask, &j->arena, &a->request, err);
	if (rc < 0)
		return rc;
	buf_fit(&a->request.body); /* ten thousand may be out */
	a->request_bytes = (int64_t)a->request.body.n;
	int64_t asked = max_output > 0 ? max_output : json_i64(request, "max_completion_tokens", json_i64(request, "max_tokens", 0));
	a->asked_output = asked > 0 ? asked : j->kind == JOB_CHAT ? COST_OUTPUT_GUESS : 0;
	a->call = a->provider->start(&a->ask, a->request.streamed, (size_t)conf_now()->limits_result_bytes, (struct provider_sink){ on_delta, j }, &j->arena);
	a->ask.request = NULL; /* borrowed for the start only */
	a->row = arena_new(&j->arena, struct attempt_row);
	a->row->number = number;
	a->row->target = target->name;
	a->row->started_us = clock_wall_us();
	a->row->first_token_ms = a->row->total_ms = -1;
	fill_call(a, j->deadline_ms > now ? j->deadline_ms - now : 0);
	timer_init(&a->first_token, w->loop, on_first_token_late);
	timer_init(&a->linger, w->loop, on_lingered);
	rc = http_call_start(w->upstream, &a->http, NULL);
	if (rc < 0) {
		if (err)
			*err = a->http.err;
		http_call_done(&a->http);
		return rc;
	}
	if (a->request.streamed)
		timer_start(&a->first_token, (uint64_t)pick_ms(target->timeouts.first_ms, conf_now()->timeout_first_ms));
	live_begin(j, number, a->request.streamed ? so_far : NULL, a);
	op_start(&a->op, flow, "the provider", cancel);
	return 0;
}

void attempt_done(struct attempt *a)
{
	buf_done(&a->result.result);
	buf_done(&a->request.body);
	http_call_done(&a->http);
}
