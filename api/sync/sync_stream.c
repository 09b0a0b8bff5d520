/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job's running text in the form of a face.
 *
 *   newest  of a job that runs already: which of its attempts is the one that counts; what those before it said is not told
 *   follow  text as it comes (event_source.c); the face's stream begins with the first of it, or when the connection has to be kept alive
 *   pieces  it ended amid tool calls: those that were not told yet
 *   finish  what the result has beyond what was told, a comment with what is known of the job then, and the face's end
 *
 * Such streams cannot take anything back. When a later attempt begins after text was told, its own text is held back until it is as long: if it is the same so
 * far, the stream goes on where it was; if not it ends with `stream_restarted`. Where that cannot be known at once (tool calls, missing pieces)
 * tool calls count as another text, and pieces are made up for by the result.
 *
 * What a face wants whole (several choices, log probabilities) is told from the result alone, whatever text came before: nothing of it can break.
 *
 * A job that fails before anything was told is answered with its own status, as if it had not been streamed.
 */
#include "api/sync/sync_stream.h"

#include "api/sync/face_facts.h"
#include "api/jobs/job_view.h"
#include "api/request.h"
#include "api/sync/sync_private.h"
#include "sql_api.h"

#define TEXT_MAX ((size_t)1 << 30)

enum { NEWEST, FOLLOW, PIECES, FINISH };

static const char *const members[EVENT_TOOLS] = { [EVENT_CONTENT] = "content", [EVENT_REFUSAL] = "refusal", [EVENT_REASONING] = "reasoning_content" };

static struct sync_stream *stream_of(struct flow *f)
{
	return container_of(f, struct sync_stream, flow);
}

static struct sync_stream *stream_of_source(struct event_source *source)
{
	return container_of(source, struct sync_stream, source);
}

static struct event_place *place_of(struct sync_stream *s)
{
	return &s->source.follower.place;
}

/* --- telling --- */

static void begin(struct sync_stream *s)
{
	if (!s->out.began)
		s->face->stream_begin(&s->out);
	s->out.began = true;
}

static void tell(struct sync_stream *s, const json_t *delta)
{
	begin(s);
	s->face->stream_delta(&s->out, delta);
}

static void tell_text(struct sync_stream *s, enum event_text kind, struct str text)
{
	_cleanup_(json_drop) json_t *delta = json_object();
	if (text.n == 0)
		return;
	json_set_str(delta, members[kind], text);
	tell(s, delta);
}

/* The text broke. A follower may not be ended from within its own news. */
static void break_off(struct sync_stream *s)
{
	s->catching = false;
	s->broken = true;
	place_of(s)->seq = EVENT_SEQ_ALL;
	timer_start(&s->stop, 0);
}

static void on_stop(struct timer *t)
{
	op_cancel(&container_of(t, struct sync_stream, stop)->source.follower.op);
}

/* --- a later attempt --- */

static void on_restart(struct event_source *source, const struct event_place *told)
{
	struct sync_stream *s = stream_of_source(source);
	if (s->broken || s->whole)
		return;
	if (!s->catching)
		s->told = *told;
	s->catching = true;
	for (int kind = 0; kind < EVENT_TOOLS; kind++) {
		buf_done(&s->again[kind]);
		buf_init(&s->again[kind], TEXT_MAX);
	}
	if (s->told.bytes[EVENT_TOOLS] > 0)
		break_off(s);
}

static bool is_the_same_so_far(const struct sync_stream *s)
{
	struct event_place begun = { 0 };
	for (int kind = 0; kind < EVENT_TOOLS; kind++)
		event_place_add(&begun, (enum event_text)kind, str_sub(buf_str(&s->again[kind]), 0, (size_t)s->told.bytes[kind]));
	return begun.sum == s->told.sum;
}

/* Is there as much again as was told? Then it is judged, and what is beyond goes out. */
static void catch_up(struct sync_stream *s, const json_t *deltas)
{
	static const enum event_text order[] = { EVENT_REASONING, EVENT_CONTENT, EVENT_REFUSAL };
	const json_t *delta;
	size_t i;
	bool enough = true, tools = false;
	json_array_foreach(deltas, i, delta)
	{
		for (int kind = 0; kind < EVENT_TOOLS; kind++)
			buf_add_str(&s->again[kind], json_str(delta, members[kind]));
		tools |= json_array_size(json_get(delta, "tool_calls")) > 0;
	}
	for (int kind = 0; kind < EVENT_TOOLS; kind++)
		enough &= (int64_t)s->again[kind].n >= s->told.bytes[kind];
	if (!enough && !tools)
		return;
	if (!enough || !is_the_same_so_far(s)) {
		break_off(s);
		return;
	}
	for (i = 0; i < ARRAY_LEN(order); i++)
		tell_text(s, order[i], str_sub(buf_str(&s->again[order[i]]), (size_t)s->told.bytes[order[i]], SIZE_MAX));
	json_array_foreach(deltas, i, delta)
		if (json_array_size(json_get(delta, "tool_calls")) > 0)
			tell(s, delta);
	s->catching = false;
}

/* --- news --- */

static void on_state(struct event_source *source, const struct follow_state *now)
{
	(void)source; /* these faces do not tell it */
	(void)now;
}

static void on_text(struct event_source *source, struct str text)
{
	struct sync_stream *s = stream_of_source(source);
	_cleanup_(json_drop) json_t *deltas = event_deltas_take(place_of(s), text);
	const json_t *delta;
	size_t i;
	if (s->broken || s->whole)
		return;
	if (s->catching) {
		catch_up(s, deltas);
		return;
	}
	json_array_foreach(deltas, i, delta)
		tell(s, delta);
}

static void before_head(struct request *q)
{
	(void)q; /* the job's id stands there already; what else there is to say is known at the end only */
}

static const struct event_teller teller = { .state = on_state, .text = on_text, .restart = on_restart, .before_head = before_head };

/* --- newest --- */

/* A client that had text of an earlier attempt must hear whether the next one goes on from it: it is told all of them, as far as they are the same. */
static enum flow_next newest_start(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	struct request *q = s->source.request;
	if (!s->joins)
		return FLOW_NEXT;
	request_query_init(q, &sql_api_chunk_newest);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i64(&q->query.args, s->token);
	return api_query_start(q->api, &q->query, f) < 0 ? FLOW_NEXT : FLOW_WAIT;
}

static enum flow_next newest_done(struct flow *f, int rc)
{
	struct sync_stream *s = stream_of(f);
	const struct db_query *found = &s->source.request->query;
	if (rc == 0 && db_rows(found) > 0)
		event_place_restart(place_of(s), s->token, (int)db_get_int(found, 0, 0), -1);
	return FLOW_NEXT; /* without an answer it begins with the first attempt */
}

/* --- follow --- */

static enum flow_next follow_start(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	if (s->source.loaded)
		return flow_jump(f, PIECES);
	int rc = event_source_follow(&s->source, f);
	return rc < 0 ? flow_over(f, rc) : FLOW_WAIT;
}

/* What was told is not what will be: the client hears it, and the request's own steps decide about the job. */
static enum flow_next say_broken(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	struct request *q = s->source.request;
	char text[ID_TEXT_MAX];
	err_set(&q->err, ERR_STREAM_RESTARTED, "another attempt gave another text; its job is " STR_FMT, STR_ARG(id_text(q->id, "job_", text)));
	sync_stream_fail(s, &q->err);
	return flow_over(f, -(int)ERR_STREAM_RESTARTED);
}

static enum flow_next follow_done(struct flow *f, int rc)
{
	struct sync_stream *s = stream_of(f);
	if (s->broken && !s->source.request->gone)
		return say_broken(f);
	return rc < 0 ? flow_over(f, rc) : FLOW_NEXT;
}

/* --- the end --- */

static enum flow_next pieces_start(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	return s->catching || s->whole ? FLOW_NEXT : event_source_pieces_start(&s->source, f);
}

static enum flow_next pieces_done(struct flow *f, int rc)
{
	event_source_pieces_done(&stream_of(f)->source, rc);
	return FLOW_NEXT;
}

/* False: it does not go on from what was told. */
static bool tell_rest(struct sync_stream *s, const struct job_facts *j)
{
	struct buf rest;
	if (s->catching) {
		const struct event_place *p = place_of(s);
		s->told.token = p->token;
		s->told.number = p->number;
		*place_of(s) = s->told;
		s->catching = false;
	}
	buf_init(&rest, TEXT_MAX);
	enum event_rest what = event_source_rest(&s->source, j, &rest);
	_cleanup_(json_drop) json_t *all = what == EVENT_REST_GOES_ON ? json_parse_lenient(buf_str(&rest), NULL) : NULL;
	buf_done(&rest);
	const json_t *delta;
	size_t i;
	json_array_foreach(json_get(all, "deltas"), i, delta)
		tell(s, delta);
	return what != EVENT_REST_ANEW;
}

static void tell_facts(struct sync_stream *s, const struct job_facts *j)
{
	struct buf *b = s->out.out;
	bool cached;
	buf_printf(b, ": millrace level=%s", job_level_name(j, &cached));
	if (j->target.n) {
		buf_add_z(b, " target=");
		buf_add_percent(b, j->target, "/:@");
	}
	if (j->cost_nanousd >= 0) {
		buf_add_z(b, " cost_usd=");
		job_object_usd_plain(b, j->cost_nanousd);
	}
	buf_printf(b, " attempts=%d%s\n\n", j->attempts, cached ? " cached=true" : "");
}

static enum flow_next finish(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	struct request *q = s->source.request;
	const struct job_facts *j = &q->view->facts;
	s->source.loaded = false;
	if (!job_status_is_over(j->status))
		return flow_jump(f, FOLLOW); /* it was retried */
	if (j->status != STATUS_SUCCEEDED) {
		face_failure(j, &q->err);
		if (!q->streaming)
			return flow_over(f, -(int)q->err.code);
		sync_stream_fail(s, &q->err);
		return flow_over(f, 0);
	}
	if (!j->result.p) {
		err_set(&q->err, ERR_NOT_FOUND, "the job's answer was erased");
		if (q->streaming)
			sync_stream_fail(s, &q->err);
		return flow_over(f, q->streaming ? 0 : -(int)ERR_NOT_FOUND);
	}
	begin(s);
	if (s->broken || (!s->whole && !tell_rest(s, j)))
		return say_broken(f);
	_cleanup_(json_drop) json_t *result = NULL;
	const struct face_answer answer = sync_facts(q, s->face, s->echo, &result);
	tell_facts(s, j);
	s->face->stream_end(&s->out, &answer);
	if (buf_failed(&q->out))
		return flow_over(f, -(int)ERR_TOO_LARGE);
	event_source_flush(&s->source);
	return flow_over(f, 0);
}

static enum flow_next finish_start(struct flow *f)
{
	struct sync_stream *s = stream_of(f);
	struct request *q = s->source.request;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	if (s->source.loaded)
		return finish(f);
	job_view_start(q->api, q->view, f, q->id, q->who.tenant_id, 0);
	return FLOW_WAIT;
}

static enum flow_next finish_done(struct flow *f, int rc)
{
	struct sync_stream *s = stream_of(f);
	struct request *q = s->source.request;
	if (rc == 0)
		return finish(f);
	if (err_is_retryable(rc) && !q->api->stopping)
		return flow_jump(f, FOLLOW); /* the database comes back */
	err_set(&q->err, (enum err_code)-rc, "the job could not be read");
	if (q->streaming)
		sync_stream_fail(s, &q->err);
	return flow_over(f, q->streaming ? 0 : rc);
}

static const struct flow_step steps[] = {
	[NEWEST] = { "newest", newest_start, newest_done },
	[FOLLOW] = { "follow", follow_start, follow_done },
	[PIECES] = { "pieces", pieces_start, pieces_done },
	[FINISH] = { "finish", finish_start, finish_done },
	{ .name = NULL },
};

/* --- from outside --- */

void sync_stream_fail(struct sync_stream *s, const struct err *err)
{
	begin(s);
	s->face->stream_fail(&s->out, err);
	event_source_flush(&s->source);
}

static void on_end(struct flow *f, int result)
{
	struct sync_stream *s = stream_of(f);
	timer_stop(&s->stop);
	op_done(&s->op, result);
}

void sync_stream_start(struct sync_stream *s, struct request *q, struct flow *flow, bool view_is_fresh)
{
	const struct job_facts *j = &q->view->facts;
	event_source_init(&s->source, q, &teller);
	s->source.follower.patient = true;
	timer_init(&s->stop, &q->api->loop, on_stop);
	s->out = (struct face_stream){
		.out = &q->out,
		.a = &q->http->arena,
		.id = q->id,
		.model = view_is_fresh ? j->route : q->submit->submission.route,
		.created_us = view_is_fresh ? j->created_us : q->submit->intake.created_us,
		.echo = s->echo,
		.user = s->user,
		.metadata = s->metadata,
		.include_usage = s->include_usage,
		.whole = s->whole,
		.background = json_bool(s->echo, "background", false),
		.starting_after = s->starting_after,
	};
	event_place_init(&s->source.follower.place, 0);
	if (view_is_fresh) {
		s->out.model = arena_str(&q->http->arena, j->route); /* the view is read again */
		event_place_init(&s->source.follower.place, j->status == STATUS_RUNNING ? j->version - 1 : j->version);
		s->source.loaded = job_status_is_over(j->status);
		s->token = j->version;
		s->joins = j->status == STATUS_RUNNING && s->starting_after < 0;
	}
	s->source.follower.marked = s->followed;
	op_start(&s->op, flow, "a stream", NULL);
	if (s->at_once) {
		begin(s);
		event_source_flush(&s->source);
	}
	flow_start(&s->flow, "sync_stream", steps, on_end);
}

void sync_stream_done(struct sync_stream *s)
{
	event_source_done(&s->source);
	for (int kind = 0; kind < EVENT_TOOLS; kind++)
		buf_done(&s->again[kind]);
}

void sync_stream_gone(struct sync_stream *s)
{
	event_source_gone(&s->source);
}

void sync_stream_room(struct sync_stream *s)
{
	event_source_room(&s->source);
}
