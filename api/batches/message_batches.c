/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch in Anthropic's form (Anthropic: API reference, Message Batches): read, list, cancel, delete, and the lines of its results. It is a batch as any
 * other; msgbatch_X is batch_X. Its counts are live: what has ended counts at once, the rest is processing.
 *
 * A batch of another form does not exist here. One that is deleted loses its requests and answers, some thousand per statement, and then its row: its
 * jobs stay for the accounts. What is cut off in between is deleted by the repeat.
 */
#include "api/batches/message_batches.h"

#include "api/batches/batches.h"
#include "api/sync/face_facts.h"
#include "api/jobs/job_object.h"
#include "common/conf.h"
#include "sql_api.h"

#define LIST_MAX   1000
#define ERASE_ROWS 1000

struct batch_state {
	int limit;
	bool up;        /* the page before an id: its rows come the other way round */
	int after_line; /* of delete */
};

static struct batch_state *state_of(struct request *q)
{
	if (!q->state)
		q->state = arena_new(&q->http->arena, struct batch_state);
	return q->state;
}

/* --- the object --- */

/* Where the client reached this server, as it says: of use to nobody else. Nothing when that is no name of a host. */
static struct str base_of(struct request *q)
{
	struct str host = http_req_header(q->http, "host"), proto = http_req_header(q->http, "x-forwarded-proto");
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!plain && str_find_char(STR(".-_:[]"), c) < 0)
			return STR("");
	}
	if (host.n == 0)
		return STR("");
	return arena_printf(&q->http->arena, "%s://" STR_FMT, str_eq_nocase(proto, STR("https")) ? "https" : "http", STR_ARG(host));
}

static void write_batch(struct request *q, int row)
{
	struct batch_facts f;
	struct buf *b = &q->out;
	char text[ID_TEXT_MAX];
	batches_facts(&q->query, row, &f);
	struct str id = id_text(f.id, "msgbatch_", text);
	bool is_over = f.finished_us != 0;
	int processing = f.total - f.succeeded - f.failed - f.canceled - f.expired;
	buf_printf(b, "{\"id\":\"" STR_FMT "\",\"type\":\"message_batch\",\"processing_status\":\"%s\"", STR_ARG(id),
	           is_over ? "ended" : f.cancel_us ? "canceling" : "in_progress");
	buf_printf(b, ",\"request_counts\":{\"processing\":%d,\"succeeded\":%d,\"errored\":%d,\"canceled\":%d,\"expired\":%d}", MAX(processing, 0), f.succeeded,
	           f.failed, f.canceled, f.expired);
	buf_add_z(b, ",\"created_at\":");
	job_object_time(b, f.created_us);
	buf_add_z(b, ",\"expires_at\":");
	job_object_time(b, f.created_us + conf_now()->job_expires_ms * 1000);
	buf_add_z(b, ",\"ended_at\":");
	job_object_time(b, f.finished_us);
	buf_add_z(b, ",\"cancel_initiated_at\":");
	job_object_time(b, f.cancel_us);
	buf_add_z(b, ",\"archived_at\":null,\"results_url\":");
	if (is_over)
		buf_printf(b, "\"" STR_FMT "/v1/messages/batches/" STR_FMT "/results\"}", STR_ARG(base_of(q)), STR_ARG(id));
	else
		buf_add_z(b, "null}");
}

/* Whether q->query holds one of Anthropic's form. */
static bool is_there(const struct request *q)
{
	struct batch_facts f;
	if (db_rows(&q->query) == 0)
		return false;
	batches_facts(&q->query, 0, &f);
	return f.form == FORM_MESSAGE;
}

enum flow_next message_batches_view_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	if (!is_there(q))
		return request_fail(q, ERR_NOT_FOUND, "there is no such batch");
	write_batch(q, 0);
	return request_answer(q, 200);
}

static enum flow_next load_start(struct flow *f)
{
	struct request *q = request_of(f);
	return batches_load(q, q->id);
}

const struct flow_step message_batches_get_steps[] = {
	{ "load", load_start, message_batches_view_done },
	{ .name = NULL },
};

/* --- list --- */

/* limit, and the id that the page goes on from: zero, from the newest. */
static int read_page(struct request *q, struct batch_state *s, struct id *ret_from)
{
	struct str text, before, after;
	uint64_t limit = 20;
	if (http_req_query(q->http, "limit", &text) && str_u64(text, 1, LIST_MAX, &limit) < 0)
		return err_set_at(&q->err, ERR_INVALID, "limit", "wanted 1 to %d", LIST_MAX);
	s->limit = (int)limit;
	bool has_after = http_req_query(q->http, "after_id", &after);
	s->up = http_req_query(q->http, "before_id", &before);
	if (has_after && s->up)
		return err_set_at(&q->err, ERR_INVALID, "before_id", "give before_id or after_id");
	if ((has_after || s->up) && id_parse(s->up ? before : after, "msgbatch_", ret_from) < 0)
		return err_set_at(&q->err, ERR_INVALID, s->up ? "before_id" : "after_id", "wanted the id of a batch");
	return 0;
}

static enum flow_next list_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct batch_state *s = state_of(q);
	struct id from = { 0 };
	if (read_page(q, s, &from) < 0)
		return request_refuse(q);
	request_query_init(q, s->up ? &sql_api_message_batch_list_up : &sql_api_message_batch_list);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	if (id_is_zero(from))
		db_arg_null(&q->query.args);
	else
		db_arg_id(&q->query.args, from);
	db_arg_i32(&q->query.args, s->limit + 1);
	return request_query(q);
}

static void write_id(struct request *q, int row, int rows)
{
	job_object_id(&q->out, rows ? db_get_id(&q->query, row, 0) : (struct id){ 0 }, "msgbatch_");
}

static enum flow_next list_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct batch_state *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the list could not be read");
	int rows = db_rows(&q->query), n = MIN(rows, s->limit);
	buf_add_z(&q->out, "{\"data\":[");
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(&q->out, ',');
		write_batch(q, s->up ? n - 1 - i : i);
	}
	buf_printf(&q->out, "],\"has_more\":%s,\"first_id\":", rows > s->limit ? "true" : "false");
	write_id(q, s->up ? n - 1 : 0, n);
	buf_add_z(&q->out, ",\"last_id\":");
	write_id(q, s->up ? 0 : n - 1, n);
	buf_add_char(&q->out, '}');
	return request_answer(q, 200);
}

const struct flow_step message_batches_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

/* --- cancel --- */

static enum flow_next exists_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch could not be read");
	return is_there(q) ? FLOW_NEXT : request_fail(q, ERR_NOT_FOUND, "there is no such batch");
}

const struct flow_step message_batches_cancel_steps[] = {
	{ "exists", load_start, exists_done },
	{ "mark", batches_mark_start, batches_mark_done },
	{ "sweep", batches_sweep_start, batches_sweep_done },
	{ "view", load_start, message_batches_view_done },
	{ .name = NULL },
};

/* --- delete --- */

static enum flow_next ended_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct batch_facts facts;
	enum flow_next next = exists_done(f, rc);
	if (next != FLOW_NEXT)
		return next;
	batches_facts(&q->query, 0, &facts);
	if (!facts.finished_us)
		return request_fail(q, ERR_CONFLICT, "the batch has not ended: cancel it, and delete it when it has");
	state_of(q)->after_line = -1;
	return FLOW_NEXT;
}

static enum flow_next erase_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_message_batch_erase);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_i32(&q->query.args, state_of(q)->after_line);
	db_arg_i32(&q->query.args, ERASE_ROWS);
	return request_query(q);
}

static enum flow_next erase_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the batch is deleted in part: delete it again");
	if (db_is_null(&q->query, 0, 0))
		return FLOW_NEXT;
	state_of(q)->after_line = (int)db_get_int(&q->query, 0, 0);
	return flow_jump(f, f->at);
}

static enum flow_next drop_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_message_batch_delete);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static enum flow_next drop_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the batch was deleted: ask again");
	buf_add_z(&q->out, "{\"id\":");
	job_object_id(&q->out, q->id, "msgbatch_");
	buf_add_z(&q->out, ",\"type\":\"message_batch_deleted\"}");
	return request_answer(q, 200);
}

const struct flow_step message_batches_delete_steps[] = {
	{ "exists", load_start, ended_done },
	{ "erase", erase_start, erase_done },
	{ "drop", drop_start, drop_done },
	{ .name = NULL },
};

/* --- a line of the results --- */

/* False: nothing was written. */
static bool write_success(struct buf *b, const struct job_facts *j)
{
	size_t before = b->n;
	_cleanup_(json_drop) json_t *result = j->result.p ? json_parse_lenient(j->result, NULL) : NULL;
	const struct face_answer answer = face_answer_of(j, FORM_MESSAGE, result, NULL);
	buf_add_z(b, "{\"type\":\"succeeded\",\"message\":");
	if (result && face_message.write(b, &answer) == 0) {
		buf_add_char(b, '}');
		return true;
	}
	if (!buf_failed(b))
		buf_truncate(b, before);
	return false;
}

static void write_error(struct buf *b, const struct err *err)
{
	struct face_error e = face_error_of(str_from(err_code_name((int)err->code)));
	buf_add_z(b, "{\"type\":\"errored\",\"error\":");
	face_error_write_anthropic(b, &e, err, (struct str){ 0 });
	buf_add_char(b, '}');
}

void message_batches_write_line(struct buf *b, const struct job_facts *j)
{
	struct err err = { 0 };
	buf_add_z(b, "{\"custom_id\":");
	job_object_text(b, j->custom_id);
	buf_add_z(b, ",\"result\":");
	if (j->status == STATUS_CANCELED) {
		buf_add_z(b, "{\"type\":\"canceled\"}");
	} else if (j->status == STATUS_EXPIRED) {
		buf_add_z(b, "{\"type\":\"expired\"}");
	} else if (j->status != STATUS_SUCCEEDED) {
		face_failure(j, &err);
		write_error(b, &err);
	} else if (!write_success(b, j)) {
		err_set(&err, j->result.p ? ERR_BAD_OUTPUT : ERR_NOT_FOUND, "%s", j->result.p ? "the answer is no message" : "the answer was erased");
		write_error(b, &err);
	}
	buf_add_char(b, '}');
}
