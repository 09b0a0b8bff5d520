/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of followed text. A stream (struct live) exists from the first delta of a followed call, or from the moment somebody follows a call that is
 * under way, until its last piece is written:
 *
 *   delta ──▶ gathered in the stream ──due──▶ a flight takes what all due streams have, one row each ──▶ committed: api processes are told
 *
 * The first piece of a stream is due at once, each later one LIVE_MERGE_MS after the one before; a flight takes along what is due within
 * TAKE_ALONG_MS. A stream is in one flight at a time, so its rows become visible in their order: a reader that sees a gap knows that the
 * missing row will not come.
 *
 * The outcome does not wait for the last piece. A reader that sees the outcome takes what it has not had from the result (api/events/events.c), so a
 * piece that comes late, or never, takes nothing from anyone. For the same reason a write that fails is given up, and with it the rest of its
 * stream: text is late then, not lost.
 */
#include "worker/execution/live.h"

#include <stdlib.h>

#include "common/log.h"
#include "sql_worker.h"
#include "worker/execution/deltas.h"
#include "worker/queue/notify.h"

#define FLIGHTS       2
#define FLIGHT_ROWS   2000
#define FLIGHT_BYTES  ((size_t)8 << 20)
#define TAKE_ALONG_MS 5
#define AGAIN_MS      50
#define RETRY_MS      10000
#define COLUMNS       6

/* The text of one call. Owned by lives.streams; its job knows it until live_end. */
struct live {
	struct link link;   /* in lives.streams */
	struct link queued; /* in lives.waiting, when it has something to write and is in no flight */
	struct deltas deltas;
	struct id id;
	int bucket, number, seq; /* seq: of the next row */
	int64_t token;
	uint64_t due_ms;
	struct live_flight *flight; /* NULL: in none */
	bool ended;                 /* the call is over */
	bool lost;                  /* a row is missing: the rest would be of no use */
};

struct live_flight {
	struct lives *lives;
	struct db_query query;
	size_t n;
	bool busy;
};

struct lives {
	struct worker *worker;
	struct list streams, waiting;
	struct live_flight flights[FLIGHTS];
	struct db_array columns[COLUMNS];
	struct timer timer;
};

static const enum db_type column_types[COLUMNS] = { DB_INT4, DB_UUID, DB_INT8, DB_INT4, DB_INT4, DB_TEXT };

static void stream_free(struct lives *l, struct live *s)
{
	list_remove(&l->waiting, &s->queued);
	list_remove(&l->streams, &s->link);
	deltas_done(&s->deltas);
	free(s);
}

/* Nobody will add to it, and nothing of it is on its way. */
static bool is_over(const struct live *s)
{
	return s->ended && !s->flight && (s->lost || deltas_are_empty(&s->deltas));
}

static void arm(struct lives *l)
{
	uint64_t due = UINT64_MAX, now = loop_now_ms(l->worker->loop);
	bool is_free = false;
	for (size_t i = 0; i < FLIGHTS; i++)
		is_free |= !l->flights[i].busy;
	if (!is_free)
		return; /* the end of one arms again */
	LIST_EACH(&l->waiting, k)
		due = MIN(due, container_of(k, struct live, queued)->due_ms);
	if (due != UINT64_MAX)
		timer_start(&l->timer, due > now ? due - now : 0);
}

static void put_row(struct lives *l, struct live *s, struct str text)
{
	db_array_i32(&l->columns[0], s->bucket);
	db_array_id(&l->columns[1], s->id);
	db_array_i64(&l->columns[2], s->token);
	db_array_i32(&l->columns[3], s->number);
	db_array_i32(&l->columns[4], s->seq);
	db_array_text(&l->columns[5], text);
}

/* The rows of what is due, in the columns; their streams carry the flight from now on. */
static void fill_flight(struct lives *l, struct live_flight *f)
{
	uint64_t until = loop_now_ms(l->worker->loop) + TAKE_ALONG_MS;
	size_t bytes = 0;
	f->n = 0;
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_clear(&l->columns[i]);
	LIST_EACH_SAFE(&l->waiting, k, tmp) {
		struct live *s = container_of(k, struct live, queued);
		if (s->due_ms > until || f->n == FLIGHT_ROWS || bytes > FLIGHT_BYTES)
			continue;
		struct str text = deltas_text(&s->deltas);
		if (!text.p) {
			s->lost = true;
			list_remove(&l->waiting, k);
			if (is_over(s))
				stream_free(l, s);
			continue;
		}
		put_row(l, s, text);
		bytes += text.n;
		s->flight = f;
		f->n++;
	}
}

/* What is true of the streams of a flight when it left (taken), could not leave, or has come back. */
static void settle_streams(struct lives *l, struct live_flight *f, bool landed, bool failed)
{
	uint64_t now = loop_now_ms(l->worker->loop);
	LIST_EACH_SAFE(&l->streams, k, tmp) {
		struct live *s = container_of(k, struct live, link);
		if (s->flight != f)
			continue;
		s->flight = NULL;
		s->lost |= failed;
		if (!landed)
			continue;
		if (is_over(s))
			stream_free(l, s);
		else if (!s->lost && !deltas_are_empty(&s->deltas)) {
			s->due_ms = s->ended ? now : MAX(s->due_ms, now);
			list_push(&l->waiting, &s->queued);
		}
	}
}

static void on_flight_done(struct op *op, int rc)
{
	struct live_flight *f = container_of(container_of(op, struct db_query, op), struct live_flight, query);
	struct lives *l = f->lives;
	if (rc < 0 && rc != -ERR_DRAINING)
		log_event(LOG_WARN, "chunks_failed", f->query.err.text, LOG_I64("jobs", f->n), LOG_END);
	db_query_done(&f->query);
	f->busy = false;
	settle_streams(l, f, /* landed= */ true, /* failed= */ rc < 0);
	if (rc == 0)
		notify_chunks(l->worker->notifier);
	arm(l);
}

static void send_flight(struct lives *l, struct live_flight *f)
{
	fill_flight(l, f);
	if (f->n == 0)
		return;
	db_query_init(&f->query, &sql_worker_chunk_write);
	f->query.retry_ms = RETRY_MS;
	f->query.op.on_done = on_flight_done;
	for (size_t i = 0; i < COLUMNS; i++)
		db_arg_array(&f->query.args, &l->columns[i]);
	f->busy = db_query_start(l->worker->db, &f->query, NULL) == 0;
	if (!f->busy) {
		/* The db's own queue is full: the same pieces, and what joins them, go a little later. */
		db_query_done(&f->query);
		settle_streams(l, f, /* landed= */ false, /* failed= */ false);
		timer_start(&l->timer, AGAIN_MS);
		return;
	}
	uint64_t now = loop_now_ms(l->worker->loop);
	LIST_EACH_SAFE(&l->waiting, k, tmp) {
		struct live *s = container_of(k, struct live, queued);
		if (s->flight != f)
			continue;
		list_remove(&l->waiting, k);
		deltas_clear(&s->deltas);
		s->seq++;
		s->due_ms = now + LIVE_MERGE_MS;
	}
}

static void on_timer(struct timer *t)
{
	struct lives *l = container_of(t, struct lives, timer);
	for (size_t i = 0; i < FLIGHTS; i++)
		if (!l->flights[i].busy) {
			send_flight(l, &l->flights[i]);
			break;
		}
	if (!timer_is_armed(t))
		arm(l);
}

static void enqueue(struct lives *l, struct live *s)
{
	if (s->flight || s->lost || link_is_linked(&s->queued))
		return;
	uint64_t now = loop_now_ms(l->worker->loop);
	list_push(&l->waiting, &s->queued);
	uint64_t due = MAX(s->due_ms, now);
	if (!timer_is_armed(&l->timer) || l->timer.due_ms > due)
		arm(l);
}

static struct live *stream_of(struct job *j)
{
	struct lives *l = j->worker->lives;
	if (j->live)
		return j->live;
	struct live *s = calloc(1, sizeof *s);
	assert(s);
	s->id = j->id;
	s->bucket = j->bucket;
	s->token = j->token;
	s->number = j->call.number;
	deltas_init(&s->deltas, (size_t)conf_now()->limits_result_bytes * 2 + 65536);
	list_push(&l->streams, &s->link);
	j->live = s;
	return s;
}

void live_begin(struct job *j, int number, const struct assembly *(*so_far)(void *arg), void *arg)
{
	assert(!j->live);
	j->call = (struct live_call){ number, so_far, arg };
}

void live_delta(struct job *j, const struct provider_delta *d)
{
	if (!j->followed || !j->call.so_far)
		return;
	struct live *s = stream_of(j);
	if (s->lost)
		return;
	deltas_add(&s->deltas, d);
	if (!deltas_are_empty(&s->deltas))
		enqueue(j->worker->lives, s);
}

void live_follow(struct job *j)
{
	if (j->followed)
		return;
	j->followed = true;
	const struct assembly *have = j->call.so_far ? j->call.so_far(j->call.arg) : NULL;
	if (!have || assembly_bytes(have) == 0)
		return;
	struct live *s = stream_of(j);
	deltas_add_answer(&s->deltas, have);
	enqueue(j->worker->lives, s);
}

void live_end(struct job *j)
{
	struct live *s = j->live;
	j->call = (struct live_call){ 0 };
	j->live = NULL;
	if (!s)
		return;
	struct lives *l = j->worker->lives;
	s->ended = true;
	s->due_ms = 0;
	if (is_over(s))
		stream_free(l, s);
	else
		arm(l);
}

bool lives_are_idle(const struct lives *l)
{
	return list_is_empty(&l->streams);
}

struct lives *lives_new(struct worker *w)
{
	struct lives *l = calloc(1, sizeof *l);
	assert(l);
	l->worker = w;
	list_init(&l->streams);
	list_init(&l->waiting);
	timer_init(&l->timer, w->loop, on_timer);
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_init(&l->columns[i], column_types[i], (size_t)1 << 30);
	for (size_t i = 0; i < FLIGHTS; i++)
		l->flights[i].lives = l;
	return l;
}

void lives_free(struct lives *l)
{
	if (!l)
		return;
	assert(lives_are_idle(l));
	timer_stop(&l->timer);
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_done(&l->columns[i]);
	free(l);
}
