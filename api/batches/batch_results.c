/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/batches/{batch}/results: one job object per line with its `index`, in input order, as NDJSON. The answer is
 * streamed page by page: the next page is read when the client has taken the one before, so that its size does not
 * matter. While the batch runs, lines that have not ended are left out (`?all=true` shows them too). A database that
 * fails in the middle cuts the answer, so that the client sees that it is not whole.
 */
#include "api/batches/batches.h"

#include "api/faces/face.h"
#include "api/jobs/job_object.h"
#include "api/batches/message_batches.h"
#include "api/request.h"
#include "common/conf.h"
#include "sql_api.h"

#define PAGE_ROWS 200

struct results {
	struct op room; /* the client takes more */
	int after;      /* the last line that was sent */
	bool all;
	bool messages;  /* in Anthropic's form, of its batches */
};

enum { EXISTS, PAGE, ROOM };

static enum flow_next exists_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct results *s = arena_new(&q->http->arena, struct results);
	struct str all;
	q->state = s;
	s->after = -1;
	if (http_req_query(q->http, "all", &all)) {
		s->all = str_eq(all, STR("true"));
		if (!s->all && !str_eq(all, STR("false"))) {
			err_set_at(&q->err, ERR_INVALID, "all", "all is true or false");
			return request_refuse(q);
		}
	}
	return batches_load(q, q->id);
}

static enum flow_next messages_exists_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct results *s = arena_new(&q->http->arena, struct results);
	q->state = s;
	s->after = -1;
	s->messages = true;
	return batches_load(q, q->id);
}

static bool is_there(const struct db_query *q, bool messages)
{
	struct batch_facts facts;
	if (db_rows(q) == 0)
		return false;
	batches_facts(q, 0, &facts);
	return !messages || facts.form == FORM_MESSAGE;
}

static enum flow_next exists_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	const struct results *s = q->state;
	if (!is_there(&q->query, s->messages))
		return request_fail(q, ERR_NOT_FOUND, "there is no such batch");
	q->streaming = true;
	http_reply_start(q->http, 200, s->messages ? STR("application/x-jsonl") : STR("application/x-ndjson"));
	return q->http->method == HTTP_HEAD_ ? flow_over(f, 0) : FLOW_NEXT;
}

static enum flow_next page_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct results *s = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	request_query_init(q, &sql_api_batch_results);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i32(&q->query.args, s->after);
	db_arg_i32(&q->query.args, PAGE_ROWS);
	db_arg_bool(&q->query.args, s->all);
	return request_query(q);
}

static void on_room(struct request *q)
{
	struct results *s = q->state;
	if (s->room.active)
		op_done(&s->room, q->gone ? -(int)ERR_CANCELED : 0);
}

static enum flow_next page_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct results *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the results could not be read to their end");
	int n = db_rows(&q->query);
	if (n == 0)
		return flow_over(f, 0);
	buf_clear(&q->out);
	for (int row = 0; row < n; row++) {
		struct job_facts j;
		job_facts_read(&q->query, row, &j);
		if (s->messages)
			message_batches_write_line(&q->out, &j);
		else
			job_object_write(&q->out, conf_now(), &j,
			                 (struct job_object_how){ .with_result = true, .index = j.batch_index });
		buf_add_char(&q->out, '\n');
		s->after = j.batch_index;
	}
	if (buf_failed(&q->out))
		return request_fail(q, ERR_TOO_LARGE, "a page of results is too large");
	return http_reply_write(q->http, buf_str(&q->out)) ? flow_jump(f, PAGE) : FLOW_NEXT;
}

static enum flow_next room_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct results *s = q->state;
	if (q->gone)
		return flow_over(f, -(int)ERR_CANCELED);
	q->on_gone = on_room;
	q->on_drain = on_room;
	op_start(&s->room, f, "a client that reads", NULL);
	return FLOW_WAIT;
}

static enum flow_next room_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_over(f, rc) : flow_jump(f, PAGE);
}

const struct flow_step batch_results_steps[] = {
	[EXISTS] = { "exists", exists_start, exists_done },
	[PAGE] = { "page", page_start, page_done },
	[ROOM] = { "room", room_start, room_done },
	{ .name = NULL },
};

const struct flow_step message_batch_results_steps[] = {
	[EXISTS] = { "exists", messages_exists_start, exists_done },
	[PAGE] = { "page", page_start, page_done },
	[ROOM] = { "room", room_start, room_done },
	{ .name = NULL },
};
