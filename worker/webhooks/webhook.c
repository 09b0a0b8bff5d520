/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliveries, each with its own state from the take to the record of the try:
 *
 *   due row ──take (new token, due again in LEASE_MS)──▶ sign ──▶ POST ──▶ tried: delivered (2xx), again by the schedule, or dead
 *
 * Only 2xx is a success; redirects are not followed; 410 ends it. A receiver's Retry-After is obeyed between the planned delay and
 * twice that. A receiver that is slow or dead has a share of webhook.concurrency (receivers.h): while one is at its share or fails, deliveries are taken by
 * receiver; what came beyond a share all the same is given back. A worker that vanishes in the middle leaves a row that comes due by itself: the receiver may get the same message again under the
 * same webhook-id, which is what the id is for. Addresses inside private networks are refused by the client's guard.
 */
#include "worker/webhooks/webhook.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/providers/classify.h"
#include "worker/providers/hints.h"
#include "worker/webhooks/receivers.h"
#include "worker/webhooks/webhook_columns.h"
#include "worker/webhooks/webhook_message.h"

#define LEASE_MS     60000
#define POLL_MS      1000
#define UNEVEN_MS    250
#define BODY_MAX     ((size_t)256 << 10)
#define ANSWER_MAX   ((size_t)64 << 10)
#define ANSWER_SHOWN 256

struct delivery {
	struct link link;
	struct webhooks *webhooks;
	struct arena arena;
	struct receiver *receiver;
	enum receiver_end end;
	struct http_call http;
	struct db_query tried;
	struct id id;
	int bucket, tries;
	int64_t token;
	struct str event;
	struct buf body;
};

struct webhooks {
	struct worker *worker;
	struct list live;  /* deliveries in flight */
	struct receivers receivers;
	struct buf behind; /* the receiver whose turn was the last one */
	struct db_query take, next, give_back;
	bool taking, asking, giving_back, wanted, draining;
	struct timer timer;
	struct soon soon;
};

static void look_at(struct webhooks *h, uint64_t ms)
{
	if (!h->draining)
		timer_start(&h->timer, ms);
}

static void delivery_free(struct delivery *d)
{
	struct webhooks *h = d->webhooks;
	list_remove(&h->live, &d->link);
	receivers_end(&h->receivers, d->receiver, d->end, loop_now_ms(h->worker->loop));
	http_call_done(&d->http);
	db_query_done(&d->tried);
	buf_done(&d->body);
	arena_done(&d->arena);
	free(d);
	webhooks_wake(h);
}

static void on_tried(struct op *op, int rc)
{
	struct delivery *d = container_of(container_of(op, struct db_query, op), struct delivery, tried);
	if (rc < 0 && rc != -ERR_DRAINING)
		log_event(LOG_WARN, "webhook_not_recorded", d->tried.err.text, LOG_END);
	delivery_free(d);
}

/* The receiver's text, printable bytes only: shown to the tenant, who may have pointed us at somebody else's server. */
static struct str shown(struct delivery *d)
{
	struct str got = buf_str(&d->http.answer);
	size_t n = MIN(got.n, (size_t)ANSWER_SHOWN);
	char *p = arena_array(&d->arena, char, n + 1);
	for (size_t i = 0; i < n; i++)
		p[i] = got.p[i] >= ' ' && got.p[i] <= '~' ? got.p[i] : '.';
	return (struct str){ p, n };
}

/* -1: no further try. */
static int64_t next_delay(const struct delivery *d)
{
	int64_t planned = webhook_delay_ms(str_from(conf_now()->webhook_schedule), d->tries);
	if (planned < 0 || d->http.status == 410)
		return -1;
	int64_t delay = planned - planned / 5 + (int64_t)worker_jitter((uint64_t)(planned / 5 * 2) + 1);
	int64_t hint = d->http.status ? retry_hint_ms(d->http.answer_headers, d->http.answer_nheaders, clock_wall_us()) : -1;
	if (hint > delay)
		delay = MIN(hint, MAX(planned * 2, 1000));
	return delay;
}

static void record_try(struct delivery *d, struct str error)
{
	struct db_query *q = &d->tried;
	bool good = d->http.status >= 200 && d->http.status < 300 && !error.n;
	uint64_t start = d->http.start_ns, end = d->http.end_ns ? d->http.end_ns : clock_mono_ns();
	d->tries++;
	d->end = good ? RECEIVER_TOOK : d->http.status == 0 || d->http.status >= 500 ? RECEIVER_FAILED : RECEIVER_UNKNOWN;
	int64_t delay = good ? -1 : next_delay(d);
	metric_add(METRIC_WEBHOOKS, good ? "delivered" : delay < 0 ? "dead" : "failed", 1);
	if (!good) {
		char id[ID_TEXT_MAX];
		log_event(delay < 0 ? LOG_WARN : LOG_INFO, "webhook_failed", delay < 0 ? "given up" : "will be tried again", LOG_STR("delivery", id_text(d->id, "del_", id)),
		          LOG_I64("try", d->tries), LOG_I64("status", d->http.status), LOG_STR("error", error), LOG_END);
	}
	db_query_init(q, &sql_worker_webhook_tried);
	q->op.on_done = on_tried;
	db_arg_i32(&q->args, d->bucket);
	db_arg_id(&q->args, d->id);
	db_arg_i64(&q->args, d->token);
	db_arg_i16(&q->args, (int16_t)d->tries);
	db_arg_i16(&q->args, good ? 1 : delay < 0 ? 2 : 0);
	if (delay < 0)
		db_arg_null(&q->args);
	else
		db_arg_i64(&q->args, delay);
	db_arg_i32(&q->args, start ? (int32_t)MIN((end - start) / 1000000, (uint64_t)INT32_MAX) : 0);
	if (d->http.status)
		db_arg_i16(&q->args, (int16_t)d->http.status);
	else
		db_arg_null(&q->args);
	if (error.n)
		db_arg_text(&q->args, error);
	else
		db_arg_null(&q->args);
	db_arg_text(&q->args, shown(d));
	int rc = db_query_start(d->webhooks->worker->db, q, NULL);
	if (rc < 0)
		on_tried(&q->op, rc);
}

static void on_http_done(struct op *op, int rc)
{
	struct delivery *d = container_of(container_of(op, struct http_call, op), struct delivery, http);
	struct str error = STR("");
	if (rc == -ERR_CANCELED) {
		delivery_free(d);
		return;
	}
	if (rc < 0)
		error = d->http.err.text[0] ? str_from(d->http.err.text) : str_from(err_title(rc));
	else if (d->http.status < 200 || d->http.status >= 300)
		error = d->http.status >= 300 && d->http.status < 400 ? STR("redirects are not followed") : STR("not a 2xx answer");
	record_try(d, arena_str(&d->arena, error));
}

static void set_headers(struct delivery *d, struct str id, int64_t now_s, struct str signature)
{
	struct http_header *h = arena_array(&d->arena, struct http_header, 4);
	h[0] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	h[1] = (struct http_header){ STR("webhook-id"), id };
	h[2] = (struct http_header){ STR("webhook-timestamp"), arena_printf(&d->arena, "%lld", (long long)now_s) };
	h[3] = (struct http_header){ STR("webhook-signature"), signature };
	d->http.headers = h;
	d->http.nheaders = 4;
}

static void post(struct delivery *d, const char *url, struct str secret)
{
	struct worker *w = d->webhooks->worker;
	char out[ID_TEXT_MAX];
	struct str id = arena_str(&d->arena, id_text(d->id, "del_", out));
	int64_t now_s = clock_wall_us() / 1000000;
	struct buf signature;
	struct err err = { 0 };
	buf_init(&signature, 256);
	int rc = webhook_sign(&signature, secret, id, now_s, buf_str(&d->body));
	http_call_init(&d->http);
	d->http.method = "POST";
	d->http.url = url;
	set_headers(d, id, now_s, arena_str(&d->arena, buf_str(&signature)));
	buf_done(&signature);
	d->http.body = buf_str(&d->body);
	d->http.total_ms = (uint32_t)conf_now()->webhook_timeout_ms;
	d->http.body_max = ANSWER_MAX;
	d->http.op.on_done = on_http_done;
	if (rc < 0) {
		record_try(d, STR("the signing secret is not of the form whsec_BASE64"));
		return;
	}
	rc = netguard_check_url(&w->guard, str_from(url), &err);
	if (rc == 0) {
		rc = http_call_start(w->outside, &d->http, NULL);
		if (rc < 0)
			err = d->http.err;
	}
	if (rc < 0)
		record_try(d, arena_str(&d->arena, str_from(err.text[0] ? err.text : err_title(rc))));
}

static void deliver(struct webhooks *h, const struct db_query *q, int row)
{
	struct delivery *d = calloc(1, sizeof *d);
	assert(d);
	d->webhooks = h;
	arena_init(&d->arena, 1 << 20);
	buf_init(&d->body, BODY_MAX);
	d->bucket = (int)db_get_int(q, row, W_BUCKET);
	d->id = db_get_id(q, row, W_ID);
	d->token = db_get_int(q, row, W_TOKEN);
	d->tries = (int)db_get_int(q, row, W_TRIES);
	d->receiver = receivers_begin(&h->receivers, db_get_str(q, row, W_RECEIVER));
	d->end = RECEIVER_UNKNOWN;
	list_push(&h->live, &d->link);
	struct str secret = str_from(conf_now()->webhook_secret);
	webhook_body(&d->body, q, row);
	post(d, arena_strz(&d->arena, db_get_str(q, row, W_URL)), secret.n ? secret : db_get_str(q, row, W_SECRET));
}

static void on_next(struct op *op, int rc)
{
	struct webhooks *h = container_of(container_of(op, struct db_query, op), struct webhooks, next);
	int64_t ms = rc == 0 && db_rows(&h->next) > 0 ? db_get_int(&h->next, 0, 0) : POLL_MS;
	db_query_done(&h->next);
	h->asking = false;
	look_at(h, (uint64_t)MIN(ms + 1, POLL_MS));
}

static void ask_next(struct webhooks *h)
{
	if (h->asking || h->draining)
		return;
	db_query_init(&h->next, &sql_worker_webhook_next);
	h->next.retry_ms = 0;
	h->next.op.on_done = on_next;
	h->asking = db_query_start(h->worker->db, &h->next, NULL) == 0;
	if (!h->asking) {
		db_query_done(&h->next);
		look_at(h, POLL_MS);
	}
}

/* --- taking --- */

static void on_given_back(struct op *op, int rc)
{
	struct webhooks *h = container_of(container_of(op, struct db_query, op), struct webhooks, give_back);
	(void)rc; /* those that were not given back come due by themselves */
	db_query_done(&h->give_back);
	h->giving_back = false;
	webhooks_wake(h);
}

/* The rows of `take` whose receivers had no room when their turn came. */
static void give_back(struct webhooks *h, const bool *over, int rows)
{
	struct db_array buckets, ids, tokens;
	db_array_init(&buckets, DB_INT4, SIZE_MAX / 8);
	db_array_init(&ids, DB_UUID, SIZE_MAX / 8);
	db_array_init(&tokens, DB_INT8, SIZE_MAX / 8);
	for (int row = 0; row < rows; row++) {
		if (!over[row])
			continue;
		db_array_i32(&buckets, (int32_t)db_get_int(&h->take, row, W_BUCKET));
		db_array_id(&ids, db_get_id(&h->take, row, W_ID));
		db_array_i64(&tokens, db_get_int(&h->take, row, W_TOKEN));
	}
	db_query_init(&h->give_back, &sql_worker_webhook_give_back);
	h->give_back.op.on_done = on_given_back;
	db_arg_array(&h->give_back.args, &buckets);
	db_arg_array(&h->give_back.args, &ids);
	db_arg_array(&h->give_back.args, &tokens);
	db_array_done(&buckets);
	db_array_done(&ids);
	db_array_done(&tokens);
	h->giving_back = db_query_start(h->worker->db, &h->give_back, NULL) == 0;
	if (!h->giving_back)
		db_query_done(&h->give_back);
}

/* Begins what has room, gives back the rest. */
static void deliver_all(struct webhooks *h, int rows)
{
	bool *over = calloc((size_t)rows + 1, sizeof(*over));
	bool any = false;
	assert(over);
	for (int row = 0; row < rows; row++) {
		over[row] = receivers_room(&h->receivers, db_get_str(&h->take, row, W_RECEIVER)) == 0;
		any |= over[row];
		if (!over[row])
			deliver(h, &h->take, row);
	}
	if (rows > 0) {
		buf_clear(&h->behind);
		buf_add_str(&h->behind, db_get_str(&h->take, rows - 1, W_RECEIVER));
	}
	if (any)
		give_back(h, over, rows);
	free(over);
}

static void on_taken(struct op *op, int rc)
{
	struct webhooks *h = container_of(container_of(op, struct db_query, op), struct webhooks, take);
	int rows = rc == 0 ? db_rows(&h->take) : 0;
	h->taking = false;
	deliver_all(h, rows);
	db_query_done(&h->take);
	if (rows > 0 || h->wanted)
		webhooks_wake(h);
	else if (receivers_are_uneven(&h->receivers))
		look_at(h, UNEVEN_MS); /* what is due first is perhaps nobody's turn: a slot that becomes free wakes */
	else
		ask_next(h);
}

static void add_turns(struct webhooks *h, int64_t room)
{
	struct db_args *args = &h->take.args;
	int most = (int)MAX(room / 4, 1);
	struct db_array names, rooms;
	db_array_init(&names, DB_TEXT, SIZE_MAX / 8);
	db_array_init(&rooms, DB_INT4, SIZE_MAX / 8);
	receivers_list(&h->receivers, most, &names, &rooms);
	db_arg_bool(args, receivers_are_uneven(&h->receivers));
	db_arg_text(args, buf_str(&h->behind));
	db_arg_i32(args, most);
	db_arg_array(args, &names);
	db_arg_array(args, &rooms);
	db_array_done(&names);
	db_array_done(&rooms);
}

static void take_some(struct webhooks *h)
{
	int64_t room = conf_now()->webhook_concurrency - (int64_t)h->live.n;
	if (h->taking || h->giving_back || h->draining || room <= 0)
		return;
	h->wanted = false;
	timer_stop(&h->timer);
	receivers_set_slots(&h->receivers, (int)conf_now()->webhook_concurrency);
	receivers_forget(&h->receivers, loop_now_ms(h->worker->loop));
	db_query_init(&h->take, &sql_worker_webhook_take);
	h->take.retry_ms = 0;
	h->take.op.on_done = on_taken;
	db_arg_i32(&h->take.args, (int32_t)room);
	db_arg_i64(&h->take.args, LEASE_MS + conf_now()->webhook_timeout_ms);
	add_turns(h, room);
	h->taking = db_query_start(h->worker->db, &h->take, NULL) == 0;
	if (!h->taking) {
		db_query_done(&h->take);
		look_at(h, POLL_MS);
	}
}

static void on_soon(struct soon *s)
{
	take_some(container_of(s, struct webhooks, soon));
}

static void on_timer(struct timer *t)
{
	take_some(container_of(t, struct webhooks, timer));
}

void webhooks_wake(struct webhooks *h)
{
	h->wanted = true;
	if (!h->draining)
		loop_soon(h->worker->loop, &h->soon);
}

void webhooks_drain(struct webhooks *h)
{
	h->draining = true;
	timer_stop(&h->timer);
}

void webhooks_abort(struct webhooks *h)
{
	LIST_EACH_SAFE(&h->live, k, tmp)
		op_cancel(&container_of(k, struct delivery, link)->http.op);
}

bool webhooks_are_idle(const struct webhooks *h)
{
	return h->live.n == 0 && !h->taking && !h->asking && !h->giving_back;
}

struct webhooks *webhooks_new(struct worker *w)
{
	struct webhooks *h = calloc(1, sizeof *h);
	assert(h);
	h->worker = w;
	list_init(&h->live);
	receivers_init(&h->receivers, (int)conf_now()->webhook_concurrency);
	buf_init(&h->behind, SIZE_MAX / 8);
	h->soon.fn = on_soon;
	timer_init(&h->timer, w->loop, on_timer);
	look_at(h, 100);
	return h;
}

void webhooks_free(struct webhooks *h)
{
	if (!h)
		return;
	assert(webhooks_are_idle(h));
	timer_stop(&h->timer);
	loop_soon_cancel(h->worker->loop, &h->soon);
	receivers_done(&h->receivers);
	buf_done(&h->behind);
	free(h);
}
