/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of a batch, as a flow of its own:
 *
 *   page ─▶ lines ─▶ room ─▶ page …  ─▶ end both blobs ─▶ finish
 *                                                  └─▶ what fails: drop both blobs
 *
 * A page of ends is read, made lines a slice of time at a turn of the loop (other requests go on), and added to the two blobs, which send their pieces by
 * themselves; the next page is read when both have room. A side without a line has no blob and no file.
 */
#include "api/batches/batch_output.h"

#include <stdlib.h>

#include "api/api.h"
#include "api/batches/batch_answer.h"
#include "api/files/blob_write.h"
#include "api/files/files.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/nap.h"
#include "sql_api.h"

#define PAGE_ROWS 500
#define SLICE_NS  ((uint64_t)2000000) /* of the loop's time in one turn */
#define LINES_MAX ((size_t)1 << 30)

struct side {
	struct blob_write blob;
	struct buf lines; /* of the slice at hand */
	struct id file;
	bool begun;
};

enum { OUTPUT, ERRORS, SIDES };

struct batch_output {
	struct op op;
	struct flow flow;
	struct api *api;
	struct batch_output_of of;
	struct db_query query;
	struct nap nap;
	struct op room; /* both blobs take more */
	struct side sides[SIDES];
	int after, row, rows, rc;
};

enum step { PAGE, LINES, ROOM, END_OUTPUT, END_ERRORS, FINISH, DROP_OUTPUT, DROP_ERRORS };

/* The columns of batch_output_page.sql. */
enum {
	COL_ID,
	COL_INDEX,
	COL_CUSTOM_ID,
	COL_ROUTE,
	COL_USER,
	COL_METADATA,
	COL_CREATED,
	COL_STARTED,
	COL_FINISHED,
	COL_STATUS,
	COL_ERROR_CODE,
	COL_ERROR_MESSAGE,
	COL_ERROR_STATUS,
	COL_FLAGS,
	COL_RESULT,
	COL_ECHO,
};

static struct batch_output *output_of(struct flow *f)
{
	return container_of(f, struct batch_output, flow);
}

/* Ends with rc, when the blobs are dropped. */
static enum flow_next give_up(struct batch_output *o, int rc)
{
	assert(rc < 0);
	o->rc = rc;
	return flow_jump(&o->flow, DROP_OUTPUT);
}

static enum flow_next start_query(struct batch_output *o)
{
	int rc = api_query_start(o->api, &o->query, &o->flow);
	return rc < 0 ? give_up(o, rc) : FLOW_WAIT;
}

static void new_query(struct batch_output *o, const struct db_stmt *stmt)
{
	db_query_done(&o->query);
	db_query_init(&o->query, stmt);
	db_arg_i32(&o->query.args, id_bucket(o->of.id));
	db_arg_id(&o->query.args, o->of.id);
	db_arg_i64(&o->query.args, o->of.tenant_id);
}

/* --- page --- */

static enum flow_next page_start(struct flow *f)
{
	struct batch_output *o = output_of(f);
	if (f->canceled)
		return give_up(o, f->cancel_rc);
	new_query(o, &sql_api_batch_output_page);
	db_arg_i32(&o->query.args, o->after);
	db_arg_i32(&o->query.args, PAGE_ROWS);
	return start_query(o);
}

static enum flow_next page_done(struct flow *f, int rc)
{
	struct batch_output *o = output_of(f);
	if (rc < 0)
		return give_up(o, rc);
	o->row = 0;
	o->rows = db_rows(&o->query);
	return o->rows > 0 ? FLOW_NEXT : flow_jump(f, END_OUTPUT);
}

/* --- lines --- */

static struct str text_or_null(const struct db_query *q, int row, int col)
{
	return db_is_null(q, row, col) ? (struct str){ 0 } : db_get_str(q, row, col);
}

static void read_row(const struct db_query *q, int row, struct job_facts *ret)
{
	int64_t status = db_get_int(q, row, COL_STATUS);
	assert(status >= STATUS_SUCCEEDED && status <= STATUS_EXPIRED);
	*ret = (struct job_facts){
		.id = db_get_id(q, row, COL_ID),
		.batch_index = (int)db_get_int(q, row, COL_INDEX),
		.custom_id = text_or_null(q, row, COL_CUSTOM_ID),
		.route = db_get_str(q, row, COL_ROUTE),
		.user = text_or_null(q, row, COL_USER),
		.metadata = text_or_null(q, row, COL_METADATA),
		.created_us = db_get_time(q, row, COL_CREATED),
		.started_us = db_get_time(q, row, COL_STARTED),
		.finished_us = db_get_time(q, row, COL_FINISHED),
		.status = (enum job_object_status)status,
		.error_code = text_or_null(q, row, COL_ERROR_CODE),
		.error_message = text_or_null(q, row, COL_ERROR_MESSAGE),
		.error_status = (int)db_get_int(q, row, COL_ERROR_STATUS),
		.flags = (int)db_get_int(q, row, COL_FLAGS),
		.result = text_or_null(q, row, COL_RESULT),
	};
}

static void add_line(struct batch_output *o, int row)
{
	struct job_facts j;
	read_row(&o->query, row, &j);
	batch_answer_write(&o->sides[OUTPUT].lines, &o->sides[ERRORS].lines, o->of.form, &j, text_or_null(&o->query, row, COL_ECHO));
	o->after = j.batch_index;
}

static void on_room(struct blob_write *w)
{
	struct batch_output *o = w->user;
	for (int i = 0; i < SIDES; i++)
		if (o->sides[i].begun && !blob_write_has_room(&o->sides[i].blob))
			return;
	if (o->room.active)
		op_done(&o->room, 0);
}

/* What the slice made goes to the blob, which begins with its first line. */
static int hand_over(struct batch_output *o, struct side *s)
{
	if (buf_failed(&s->lines))
		return -(int)ERR_TOO_LARGE;
	if (s->lines.n == 0)
		return 0;
	if (!s->begun) {
		int bucket = id_bucket(o->of.id);
		s->begun = true;
		s->file = id_make(bucket);
		blob_write_begin(&s->blob, o->api, id_make(bucket), o->of.tenant_id);
		s->blob.user = o;
		s->blob.on_room = on_room;
	}
	blob_write_add(&s->blob, buf_str(&s->lines));
	buf_clear(&s->lines);
	return s->blob.rc;
}

static enum flow_next lines_start(struct flow *f)
{
	struct batch_output *o = output_of(f);
	if (f->canceled)
		return give_up(o, f->cancel_rc);
	uint64_t until_ns = clock_mono_ns() + SLICE_NS;
	while (o->row < o->rows && clock_mono_ns() < until_ns)
		add_line(o, o->row++);
	for (int i = 0; i < SIDES; i++) {
		int rc = hand_over(o, &o->sides[i]);
		if (rc < 0)
			return give_up(o, rc);
	}
	if (o->row == o->rows)
		return flow_jump(f, ROOM);
	nap_start(&o->nap, &o->api->loop, f, 0);
	return FLOW_WAIT;
}

static enum flow_next lines_done(struct flow *f, int rc)
{
	return rc < 0 ? give_up(output_of(f), rc) : flow_jump(f, LINES);
}

/* --- room --- */

static void cancel_room(struct op *op)
{
	op_done(op, -(int)ERR_CANCELED);
}

static enum flow_next room_start(struct flow *f)
{
	struct batch_output *o = output_of(f);
	bool has = true;
	if (f->canceled)
		return give_up(o, f->cancel_rc);
	for (int i = 0; i < SIDES; i++)
		if (o->sides[i].begun)
			has &= blob_write_has_room(&o->sides[i].blob);
	if (has)
		return flow_jump(f, PAGE);
	op_start(&o->room, f, "room for the output", cancel_room);
	return FLOW_WAIT;
}

static enum flow_next room_done(struct flow *f, int rc)
{
	return rc < 0 ? give_up(output_of(f), rc) : flow_jump(f, PAGE);
}

/* --- end --- */

static enum flow_next end_start(struct flow *f, int at)
{
	struct batch_output *o = output_of(f);
	struct side *s = &o->sides[at];
	if (f->canceled)
		return give_up(o, f->cancel_rc);
	if (!s->begun)
		return FLOW_NEXT;
	blob_write_end(&s->blob, f);
	return FLOW_WAIT;
}

static enum flow_next end_output(struct flow *f)
{
	return end_start(f, OUTPUT);
}

static enum flow_next end_errors(struct flow *f)
{
	return end_start(f, ERRORS);
}

static enum flow_next end_done(struct flow *f, int rc)
{
	return rc < 0 ? give_up(output_of(f), rc) : FLOW_NEXT;
}

/* --- finish --- */

static enum flow_next finish_start(struct flow *f)
{
	struct batch_output *o = output_of(f);
	struct db_args *a = &o->query.args;
	if (f->canceled)
		return give_up(o, f->cancel_rc);
	new_query(o, &sql_api_batch_output_finish);
	db_arg_id(a, o->of.keeper);
	for (int i = 0; i < SIDES; i++) {
		const struct side *s = &o->sides[i];
		if (s->begun) {
			db_arg_id(a, s->file);
			db_arg_id(a, s->blob.id);
		} else {
			db_arg_null(a);
			db_arg_null(a);
		}
		db_arg_i64(a, s->blob.bytes);
	}
	db_arg_i64(a, o->of.output_expires_s ? o->of.output_expires_s : FILES_BATCH_EXPIRES_S);
	return start_query(o);
}

static enum flow_next finish_done(struct flow *f, int rc)
{
	struct batch_output *o = output_of(f);
	if (rc < 0)
		return give_up(o, rc); /* if it was committed after all, the blobs are whole and stay */
	if (!db_get_bool(&o->query, 0, 0))
		return give_up(o, -(int)ERR_LEASE_LOST);
	char id[ID_TEXT_MAX];
	log_event(LOG_INFO, "batch_output", "the output of a batch is written", LOG_STR("batch", id_text(o->of.id, "batch_", id)),
	          LOG_I64("output_bytes", o->sides[OUTPUT].blob.bytes), LOG_I64("error_bytes", o->sides[ERRORS].blob.bytes), LOG_END);
	return flow_over(f, 0);
}

/* --- drop --- */

static enum flow_next drop_start(struct flow *f, int at)
{
	struct side *s = &output_of(f)->sides[at];
	if (!s->begun)
		return FLOW_NEXT;
	blob_write_drop(&s->blob, f);
	return FLOW_WAIT;
}

static enum flow_next drop_output(struct flow *f)
{
	return drop_start(f, OUTPUT);
}

static enum flow_next drop_errors(struct flow *f)
{
	return drop_start(f, ERRORS);
}

static enum flow_next output_dropped(struct flow *f, int rc)
{
	(void)f;
	(void)rc; /* what could not be dropped is the sweep's */
	return FLOW_NEXT;
}

static enum flow_next given_up(struct flow *f)
{
	return flow_fail(f, output_of(f)->rc);
}

static const struct flow_step steps[] = {
	[PAGE] = { "page", page_start, page_done },
	[LINES] = { "lines", lines_start, lines_done },
	[ROOM] = { "room", room_start, room_done },
	[END_OUTPUT] = { "end_output", end_output, end_done },
	[END_ERRORS] = { "end_errors", end_errors, end_done },
	[FINISH] = { "finish", finish_start, finish_done },
	[DROP_OUTPUT] = { "drop_output", drop_output, output_dropped },
	[DROP_ERRORS] = { "drop_errors", drop_errors, output_dropped },
	{ "given_up", given_up, NULL },
	{ .name = NULL },
};

/* --- its life --- */

static void on_end(struct flow *f, int result)
{
	op_done(&output_of(f)->op, result);
}

static void cancel(struct op *op)
{
	flow_cancel(&container_of(op, struct batch_output, op)->flow, -(int)ERR_CANCELED);
}

struct batch_output *batch_output_new(struct api *api, const struct batch_output_of *of)
{
	struct batch_output *o = calloc(1, sizeof(*o));
	assert(o && face_of(of->form));
	o->api = api;
	o->of = *of;
	o->after = -1;
	for (int i = 0; i < SIDES; i++)
		buf_init(&o->sides[i].lines, LINES_MAX);
	return o;
}

struct op *batch_output_op(struct batch_output *o)
{
	return &o->op;
}

void batch_output_start(struct batch_output *o, struct flow *flow)
{
	op_start(&o->op, flow, "the output of a batch", cancel);
	flow_start(&o->flow, "batch_output", steps, on_end);
}

void batch_output_free(struct batch_output *o)
{
	if (!o)
		return;
	assert(!o->op.active);
	db_query_done(&o->query);
	for (int i = 0; i < SIDES; i++) {
		blob_write_done(&o->sides[i].blob);
		buf_done(&o->sides[i].lines);
	}
	free(o);
}
