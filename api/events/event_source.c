/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text is exact whatever happens to pieces: one that is missing ends the live text of its attempt, and the rest comes from the result.
 *
 * A client that does not read is not asked for until it does, and is dropped by the server after limits.write_stall. The head of the answer goes out with the
 * first bytes, at the latest when the connection must be kept alive: until then a job that fails can still be answered with its own status.
 */
#include "api/events/event_source.h"

#include "api/jobs/job_view.h"
#include "api/request.h"
#include "sql_api.h"

#define KEEP_ALIVE_MS 15000

static void send_bytes(struct event_source *s, struct str bytes)
{
	struct request *q = s->request;
	if (!q->streaming) {
		http_reply_header(q->http, "Cache-Control", STR("no-cache"));
		http_reply_header(q->http, "X-Accel-Buffering", STR("no"));
		s->teller->before_head(q);
		q->streaming = true;
		http_reply_start(q->http, 200, STR("text/event-stream"));
	}
	s->follower.rests = !http_reply_write(q->http, bytes);
	timer_start(&s->keep_alive, KEEP_ALIVE_MS);
}

void event_source_flush(struct event_source *s)
{
	struct request *q = s->request;
	if (q->out.n == 0)
		return;
	send_bytes(s, buf_str(&q->out));
	buf_clear(&q->out);
}

static void on_keep_alive(struct timer *t)
{
	struct event_source *s = container_of(t, struct event_source, keep_alive);
	timer_start(t, KEEP_ALIVE_MS);
	if (!s->follower.rests && !s->request->gone)
		send_bytes(s, STR(": \n\n"));
}

static void on_state(struct follower *f, const struct follow_state *now)
{
	struct event_source *s = container_of(f, struct event_source, follower);
	s->teller->state(s, now);
}

static void on_piece(struct follower *f, int64_t token, int number, int seq, struct str deltas)
{
	struct event_source *s = container_of(f, struct event_source, follower);
	struct event_place *p = &f->place;
	switch (event_place_step(p, token, number, seq)) {
	case EVENT_OLD:
		return;
	case EVENT_NEXT:
		p->seq = seq;
		break;
	case EVENT_NEW: {
		const struct event_place told = *p;
		event_place_restart(p, token, number, -1);
		if (event_place_has_text(&told))
			s->teller->restart(s, &told);
		p->seq = seq;
		break;
	}
	case EVENT_GAP:
		/* The text told so far stays; what the attempt has beyond it comes from the result. */
		p->token = token;
		p->number = number;
		p->seq = EVENT_SEQ_ALL;
		return;
	}
	s->teller->text(s, deltas);
}

static void on_told(struct follower *f)
{
	struct event_source *s = container_of(f, struct event_source, follower);
	event_source_flush(s);
	if (s->teller->flushed)
		s->teller->flushed(s);
}

void event_source_init(struct event_source *s, struct request *q, const struct event_teller *teller)
{
	*s = (struct event_source){ .request = q, .teller = teller };
	s->follower.on_state = on_state;
	s->follower.on_piece = on_piece;
	s->follower.on_told = on_told;
	timer_init(&s->keep_alive, &q->api->loop, on_keep_alive);
}

void event_source_done(struct event_source *s)
{
	if (s->request)
		timer_stop(&s->keep_alive);
}

void event_source_gone(struct event_source *s)
{
	op_cancel(&s->follower.op);
}

void event_source_room(struct event_source *s)
{
	if (s->follower.rests && s->follower.op.active)
		follower_reads(&s->follower);
	s->follower.rests = false;
}

int event_source_follow(struct event_source *s, struct flow *f)
{
	struct request *q = s->request;
	if (q->gone)
		return -(int)ERR_CANCELED;
	s->loaded = false;
	s->follower.id = q->id;
	s->follower.tenant_id = q->who.tenant_id;
	if (!timer_is_armed(&s->keep_alive))
		timer_start(&s->keep_alive, KEEP_ALIVE_MS);
	follower_start(q->api->followers, &s->follower, f);
	return 0;
}

enum flow_next event_source_pieces_start(struct event_source *s, struct flow *f)
{
	struct request *q = s->request;
	const struct event_place *p = &s->follower.place;
	if (p->bytes[EVENT_TOOLS] == 0 || p->seq == EVENT_SEQ_ALL)
		return FLOW_NEXT;
	request_query_init(q, &sql_api_chunks_after);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i64(&q->query.args, p->token);
	db_arg_i32(&q->query.args, p->number);
	db_arg_i32(&q->query.args, p->seq);
	return api_query_start(q->api, &q->query, f) < 0 ? FLOW_NEXT : FLOW_WAIT;
}

void event_source_pieces_done(struct event_source *s, int rc)
{
	struct request *q = s->request;
	const struct event_place *p = &s->follower.place;
	for (int row = 0; rc == 0 && row < db_rows(&q->query); row++)
		on_piece(&s->follower, p->token, p->number, (int)db_get_int(&q->query, row, 0), db_get_str(&q->query, row, 1));
}

enum event_rest event_source_rest(struct event_source *s, const struct job_facts *j, struct buf *b)
{
	struct event_place *p = &s->follower.place;
	if (j->status != STATUS_SUCCEEDED || j->kind != 0 || !j->result.p)
		return EVENT_REST_NONE;
	enum event_rest what = event_deltas_rest(p, j->result, b);
	if (what == EVENT_REST_ANEW || j->version != p->token)
		p->number = INT16_MAX;
	p->token = j->version;
	p->seq = EVENT_SEQ_ALL;
	return what;
}
