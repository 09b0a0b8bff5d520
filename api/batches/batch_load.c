/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   open ─▶ piece ─▶ lines ─▶ piece ─▶ … ─▶ send the last group
 *                     ▲ ├─▶ gather  what the line names becomes part of it
 *                     │ ├─▶ lane    the number of a lane that was not met yet
 *                     │ ├─▶ room    what the cost cap leaves
 *                     └─┴── send    a group is full: 500 lines or 4 MiB
 * A group is one statement, which also moves the batch's place in the file: a line is a job when the place is behind it, whatever is killed when. The place
 * is only moved by the keeper and only from where this one believes it to be.
 *
 * Not every line runs. Past the batch's deadline lines are written as expired, past its cost cap as canceled (batch_cost_cap); a line that is not valid any
 * more, because the configuration has changed, as failed. After a cancel no line becomes a job; they count as canceled. Should the file be gone, which no call of
 * the API can bring about, they count as failed.
 *
 * The cost cap: the bounds of all jobs that have not ended, and what the others cost, never sum to more than it. A line that does not fit waits until jobs
 * have ended. When none runs and it still does not fit, it gets fewer attempts; when there is no room for one, the rest of the file is past the cap.
 */
#include "api/batches/batch_load.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/batches/batch_columns.h"
#include "api/batches/batch_gather.h"
#include "api/batches/batch_lines.h"
#include "api/batches/batch_work.h"
#include "api/jobs/fair_sync.h"
#include "api/jobs/lane_ids.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/nap.h"
#include "sql_api.h"

#define GROUP_ROWS  500
#define GROUP_BYTES ((size_t)4 << 20)
#define SCRATCH_MAX ((size_t)1 << 30)
#define ENDS        4 /* columns of how a line ends that never runs, and of what it may cost */
#define LANE_ASKS   100
#define NO_REQUEST  "{\"route\":\"default\",\"request\":{}}" /* stored of a line that is not valid any more */

struct batch_load {
	struct op op;
	struct flow flow;
	struct batch_work *w;
	struct blob_read read;
	struct batch_lines lines;
	struct batch_gather gather;
	struct nap nap;
	struct db_query query;
	bool is_end, is_gone; /* of the file */
	/* The line at hand. */
	struct arena scratch;
	struct batch_line line;
	struct batch_fault fault; /* it is not valid any more; code NULL: it is */
	bool has_line, is_judged;
	int lane_asks;
	/* The group. */
	struct batch_columns group;
	struct db_array ends[ENDS];
	int64_t end; /* place in the file after it */
	struct batch_pairs pairs;
	/* The cost cap. */
	int64_t room; /* nano-dollars that are left; -1: to be asked for */
	int live;     /* jobs that had not ended then */
};

enum { OPEN, PIECE, LINES, GATHER, LANE, ROOM, SEND, REST };

static struct batch_load *load_of(struct flow *f)
{
	return container_of(f, struct batch_load, flow);
}

static enum flow_next started(struct flow *f, int rc)
{
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static void drop_line(struct batch_load *l)
{
	if (!l->has_line)
		return;
	batch_line_done(&l->line);
	arena_done(&l->scratch);
	l->has_line = l->is_judged = false;
}

/* --- the file --- */

static enum flow_next open_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	return started(f, blob_read_open(&l->read, l->w->api, l->w->input_file, l->w->tenant_id, f));
}

static enum flow_next gone(struct batch_load *l)
{
	char id[ID_TEXT_MAX];
	log_event(LOG_ERROR, "batch_file_gone", "the file of a batch is gone: the rest of its lines count as failed",
	          LOG_STR("batch", id_text(l->w->id, "batch_", id)), LOG_I64("loaded", l->w->loaded), LOG_END);
	l->is_gone = true;
	return flow_jump(&l->flow, REST);
}

static enum flow_next open_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	if (rc == -(int)ERR_NOT_FOUND)
		return gone(l);
	if (rc < 0)
		return flow_fail(f, rc);
	blob_read_range(&l->read, l->w->loaded_at, l->read.bytes - l->w->loaded_at);
	return FLOW_NEXT;
}

static enum flow_next piece_start(struct flow *f)
{
	return started(f, blob_read_next(&load_of(f)->read, f));
}

static enum flow_next piece_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	if (rc == -(int)ERR_NOT_FOUND)
		return gone(l);
	if (rc < 0)
		return flow_fail(f, rc);
	l->is_end = rc == 0;
	if (!l->is_end)
		batch_lines_feed(&l->lines, l->read.piece);
	return FLOW_NEXT;
}

/* --- a line --- */

/* What was valid once and is not any more is written down as failed, so that the batch stays whole. */
static void make_failed(struct batch_load *l)
{
	struct submission *s = &l->line.s;
	*s = (struct submission){
		.kind = face_of(l->w->form)->kind, .priority = l->w->priority, .max_attempts = 1, .route = STR("default"), .lane = STR("*"),
		.custom_id = l->line.custom_id, .form = (int)l->w->form, .body = STR(NO_REQUEST), .expires_at_us = l->w->expires_at_us,
		.estimate_nanousd = -1,
	};
	l->line.cost = (struct batch_cost){ 0 };
}

static void judge(struct batch_load *l)
{
	struct batch_line_rules rules;
	batch_work_rules(l->w, &rules);
	if (!l->fault.code)
		batch_line_judge(&l->scratch, &rules, &l->line, &l->fault);
	if (l->fault.code)
		make_failed(l);
	l->is_judged = true;
}

/* True: what it names has to become part of it first. */
static bool open_line(struct batch_load *l, struct str text, bool is_long)
{
	struct batch_line_rules rules;
	batch_work_rules(l->w, &rules);
	arena_init(&l->scratch, SCRATCH_MAX);
	l->has_line = true;
	l->line = (struct batch_line){ 0 };
	l->fault = (struct batch_fault){ 0 };
	if (is_long) {
		l->fault.code = "line_too_long";
		err_set(&l->fault.err, ERR_TOO_LARGE, "the line is longer than limits.body_bytes");
	} else {
		batch_line_open(&l->scratch, &rules, text, &l->line, &l->fault);
	}
	if (!l->fault.code && batch_gather_has(&l->line.face))
		return true;
	judge(l);
	return false;
}

static enum flow_next gather_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	batch_gather_start(&l->gather, l->w->api, l->w->tenant_id, &l->line.face, f);
	return FLOW_WAIT;
}

static enum flow_next gather_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	if (rc < 0 && !l->gather.fault.code)
		return flow_fail(f, rc);
	l->fault = l->gather.fault;
	batch_gather_done(&l->gather);
	judge(l);
	return flow_jump(f, LINES);
}

/* --- its lane --- */

static enum flow_next lane_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	return started(f, lane_ids_ask(l->w->api->lane_ids, &l->query, &l->line.s.lane, 1, f));
}

static enum flow_next lane_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	if (rc < 0)
		return flow_fail(f, rc);
	lane_ids_learn(l->w->api->lane_ids, &l->query);
	/* A lane that another process makes at the same time is only seen by the next look. */
	return ++l->lane_asks > LANE_ASKS ? flow_fail(f, -(int)ERR_DB_CONFLICT) : flow_jump(f, LINES);
}

/* --- the cost cap --- */

static enum flow_next room_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	db_query_done(&l->query);
	db_query_init(&l->query, &sql_api_batch_file_spent);
	db_arg_i32(&l->query.args, id_bucket(l->w->id));
	db_arg_id(&l->query.args, l->w->id);
	db_arg_i64(&l->query.args, l->w->tenant_id);
	return started(f, api_query_start(l->w->api, &l->query, f));
}

static enum flow_next room_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	const struct submission *s = &l->line.s;
	if (rc < 0)
		return flow_fail(f, rc);
	l->room = MAX((int64_t)0, l->w->max_cost_nanousd - db_get_int(&l->query, 0, 0));
	l->live = (int)db_get_int(&l->query, 0, 1);
	int64_t call = l->line.cost.call_nanousd;
	bool fits = call <= l->room / s->max_attempts;
	if (!fits && l->live > 0)
		return flow_fail(f, -(int)ERR_RATE_LIMITED);
	if (!fits && call > l->room)
		l->w->capped = true;
	else if (!fits)
		l->line.s.max_attempts = (int)(l->room / call);
	return flow_jump(f, LINES);
}

/* Whether the line's bound is within the cap; else *ret is the step that is to come first. */
static bool has_room(struct batch_load *l, int *ret_step)
{
	if (l->w->max_cost_nanousd < 0 || l->w->capped || l->w->is_late || l->fault.code)
		return true;
	if (l->room >= 0 && l->line.cost.call_nanousd <= l->room / l->line.s.max_attempts)
		return true;
	*ret_step = l->group.rows > 0 ? SEND : ROOM;
	return false;
}

/* --- the group --- */

static void add_end(struct batch_load *l)
{
	int status = 0;
	struct str code = { 0 }, text = { 0 };
	if (l->fault.code) {
		status = 4;
		code = str_from(err_code_name(ERR_INVALID));
		text = str_from(l->fault.err.text);
	} else if (l->w->is_late) {
		status = 6;
		code = str_from(err_code_name(ERR_EXPIRED));
		text = STR("the batch's deadline passed before this line became a job");
	} else if (l->w->capped) {
		status = 5;
		code = str_from(err_code_name(ERR_BATCH_COST_CAP));
		text = STR("the batch's cost cap left no room for this line");
	}
	db_array_i16(&l->ends[1], (int16_t)status);
	db_array_text_or_null(&l->ends[2], code);
	db_array_text_or_null(&l->ends[3], text);
}

static void add_bound(struct batch_load *l, struct db_array *c)
{
	int64_t bound;
	if (l->w->max_cost_nanousd < 0) {
		db_array_null(c);
		return;
	}
	if (__builtin_mul_overflow(l->line.cost.call_nanousd, (int64_t)l->line.s.max_attempts, &bound))
		bound = INT64_MAX;
	db_array_i64(c, MAX(bound, (int64_t)0));
	if (l->room >= 0 && !l->w->capped && !l->w->is_late)
		l->room -= bound;
}

static void add_line(struct batch_load *l, int lane)
{
	const struct batch_work *w = l->w;
	const struct batch_lines_of of = { w->api, w->id, w->tenant_id, w->weight };
	batch_columns_add(&l->group, &of, &l->pairs, w->loaded + l->group.rows, lane, &l->line.s);
	add_bound(l, &l->ends[0]);
	add_end(l);
	l->end = l->lines.at;
	drop_line(l);
}

/* The step that the line at hand needs first; LINES: it is in the group. */
static int place_line(struct batch_load *l)
{
	int step, lane = lane_ids_get(l->w->api->lane_ids, l->line.s.lane);
	if (lane <= 0)
		return LANE;
	if (!has_room(l, &step))
		return step;
	add_line(l, lane);
	const struct batch_columns *g = &l->group;
	return g->rows >= GROUP_ROWS || g->bytes >= GROUP_BYTES || l->w->loaded + g->rows >= l->w->total ? SEND : LINES;
}

/* The piece is used up. A file that ends before all lines that were counted are there is not the one that was valid. */
static enum flow_next no_line(struct batch_load *l)
{
	if (!l->is_end)
		return flow_jump(&l->flow, PIECE);
	return l->group.rows > 0 ? flow_jump(&l->flow, SEND) : gone(l);
}

static enum flow_next lines_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	struct str text;
	bool is_long;
	int rc = batch_work_go_on(l->w), step;
	if (rc < 0)
		return flow_fail(f, rc);
	if (l->w->is_canceled)
		return flow_jump(f, REST);
	uint64_t until_ns = clock_mono_ns() + (uint64_t)BATCH_SLICE_US * 1000;
	do {
		if (!l->has_line) {
			if (!batch_lines_next(&l->lines, l->is_end, &text, &is_long))
				return no_line(l);
			if (open_line(l, text, is_long))
				return flow_jump(f, GATHER);
		}
		step = place_line(l);
		if (step != LINES)
			return flow_jump(f, step);
	} while (clock_mono_ns() < until_ns);
	nap_start(&l->nap, &l->w->api->loop, f, 0);
	return FLOW_WAIT;
}

static enum flow_next lines_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_fail(f, rc) : flow_jump(f, LINES);
}

/* --- sending it --- */

static void columns_init(struct batch_load *l)
{
	static const enum db_type ends[ENDS] = { DB_INT8, DB_INT2, DB_TEXT, DB_TEXT };
	batch_columns_init(&l->group);
	for (size_t i = 0; i < ENDS; i++)
		db_array_init(&l->ends[i], ends[i], (size_t)1 << 30);
}

static enum flow_next send_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	struct batch_work *w = l->w;
	struct db_args *a = &l->query.args;
	fair_sync_touch(w->api->fair_sync);
	db_query_done(&l->query);
	db_query_init(&l->query, &sql_api_batch_file_load);
	db_arg_i32(a, id_bucket(w->id));
	db_arg_id(a, w->id);
	db_arg_i64(a, w->tenant_id);
	db_arg_id(a, w->keeper);
	db_arg_i64(a, w->loaded_at);
	db_arg_i64(a, l->end);
	db_arg_i64(a, BATCH_LEASE_MS);
	batch_columns_arg(&l->group, a);
	for (size_t i = 0; i < ENDS; i++) {
		db_arg_array(a, &l->ends[i]);
		db_array_clear(&l->ends[i]);
	}
	db_arg_i16(a, (int16_t)w->form);
	db_arg_text_or_null(a, w->key_prefix);
	db_arg_bool(a, w->capped);
	return started(f, api_query_start(w->api, &l->query, f));
}

static enum flow_next send_done(struct flow *f, int rc)
{
	struct batch_load *l = load_of(f);
	struct batch_work *w = l->w;
	if (rc < 0)
		return flow_fail(f, rc);
	(void)FAULT("batch.after_load");
	bool is_written = db_get_int(&l->query, 0, 0) > 0 || db_get_bool(&l->query, 0, 1);
	db_query_done(&l->query); /* its text is not held while the next group grows */
	if (!is_written)
		return flow_jump(f, REST); /* canceled, or another's */
	metric_add(METRIC_ACCEPTED, "", l->group.rows);
	batch_pairs_ready(&l->pairs, w->api);
	w->loaded += l->group.rows;
	w->loaded_at = l->end;
	batch_columns_clear(&l->group);
	l->pairs.n = 0;
	if (w->loaded < w->total)
		return flow_jump(f, LINES);
	w->stage = BATCH_RUNNING;
	return flow_over(f, 0);
}

static enum flow_next rest_start(struct flow *f)
{
	struct batch_load *l = load_of(f);
	db_query_done(&l->query);
	db_query_init(&l->query, &sql_api_batch_file_rest);
	db_arg_i32(&l->query.args, id_bucket(l->w->id));
	db_arg_id(&l->query.args, l->w->id);
	db_arg_id(&l->query.args, l->w->keeper);
	db_arg_i64(&l->query.args, l->w->tenant_id);
	db_arg_bool(&l->query.args, l->is_gone && !l->w->is_canceled);
	return started(f, api_query_start(l->w->api, &l->query, f));
}

static const struct flow_step steps[] = {
	[OPEN] = { "open", open_start, open_done },
	[PIECE] = { "piece", piece_start, piece_done },
	[LINES] = { "lines", lines_start, lines_done },
	[GATHER] = { "gather", gather_start, gather_done },
	[LANE] = { "lane", lane_start, lane_done },
	[ROOM] = { "room", room_start, room_done },
	[SEND] = { "send", send_start, send_done },
	[REST] = { "rest", rest_start, NULL },
	{ .name = NULL },
};

static void on_end(struct flow *f, int result)
{
	op_done(&load_of(f)->op, result);
}

static void on_cancel(struct op *op)
{
	flow_cancel(&container_of(op, struct batch_load, op)->flow, -(int)ERR_CANCELED);
}

struct batch_load *batch_load_new(struct batch_work *w)
{
	struct batch_load *l = calloc(1, sizeof(*l));
	assert(l);
	l->w = w;
	l->room = -1;
	batch_lines_init(&l->lines, w->loaded_at, (size_t)conf_now()->limits_body_bytes);
	columns_init(l);
	return l;
}

void batch_load_start(struct batch_load *l, struct flow *flow)
{
	op_start(&l->op, flow, "the batch's loading", on_cancel);
	flow_start(&l->flow, "batch_load", steps, on_end);
}

void batch_load_free(struct batch_load *l)
{
	if (!l)
		return;
	assert(!l->op.active);
	drop_line(l);
	batch_gather_done(&l->gather);
	blob_read_done(&l->read);
	batch_lines_done(&l->lines);
	batch_columns_done(&l->group);
	for (size_t i = 0; i < ENDS; i++)
		db_array_done(&l->ends[i]);
	db_query_done(&l->query);
	free(l);
}
