/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   open ─▶ piece ─▶ lines ─▶ piece ─▶ … ─▶ verdict
 *                     ▲ └─▶ gather (what the line names) ─┐
 *                     └───────────────────────────────────┘
 * Lines are judged for BATCH_SLICE_US in a turn of the loop, so that requests are not held up. The first 100 faults are kept and all are counted. Nothing
 * is written before the verdict, so whoever takes over after a crash begins again at the first line.
 *
 * A file with more lines than limits.batch_file_lines is not read to its end. A batch that is canceled meanwhile ends at once. A file that is gone is a
 * fault like any other.
 */
#include "api/batches/batch_validate.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/batches/batch_gather.h"
#include "api/batches/batch_lines.h"
#include "api/batches/batch_work.h"
#include "api/batches/digest_set.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/nap.h"
#include "sql_api.h"

#define FAULTS_KEPT 100
#define SCRATCH_MAX ((size_t)1 << 30)

struct batch_validate {
	struct op op;
	struct flow flow;
	struct batch_work *w;
	struct blob_read read;
	struct batch_lines lines;
	struct digest_set ids;
	struct batch_gather gather;
	struct nap nap;
	struct db_query query;
	struct arena scratch; /* of the line */
	struct batch_line line;
	bool has_line, is_end;
	int count, fault_count;
	struct buf faults; /* the first ones as JSON, joined by commas */
	struct str model;  /* of all lines so far; owned */
	bool models_differ;
	int64_t input_tokens, estimate_nanousd, inputs;
	char model_text[256];
};

enum { OPEN, PIECE, LINES, GATHER, VERDICT };

static struct batch_validate *validate_of(struct flow *f)
{
	return container_of(f, struct batch_validate, flow);
}

static void note(struct batch_validate *v, const struct batch_fault *f, int64_t line)
{
	if (++v->fault_count > FAULTS_KEPT)
		return;
	if (v->fault_count > 1)
		buf_add_char(&v->faults, ',');
	batch_fault_write(&v->faults, f, line);
}

static void note_file(struct batch_validate *v, const char *code, const char *text)
{
	struct batch_fault f = { .code = code };
	err_set(&f.err, ERR_INVALID, "%s", text);
	note(v, &f, 0);
}

static void drop_line(struct batch_validate *v)
{
	if (!v->has_line)
		return;
	batch_line_done(&v->line);
	arena_done(&v->scratch);
	v->has_line = false;
}

/* --- the file --- */

static enum flow_next open_start(struct flow *f)
{
	struct batch_validate *v = validate_of(f);
	int rc = blob_read_open(&v->read, v->w->api, v->w->input_file, v->w->tenant_id, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next gone(struct batch_validate *v)
{
	note_file(v, "file_not_found", "The input file does not exist any more.");
	return flow_jump(&v->flow, VERDICT);
}

static enum flow_next open_done(struct flow *f, int rc)
{
	struct batch_validate *v = validate_of(f);
	if (rc == -(int)ERR_NOT_FOUND)
		return gone(v);
	return rc < 0 ? flow_fail(f, rc) : FLOW_NEXT;
}

static enum flow_next piece_start(struct flow *f)
{
	int rc = blob_read_next(&validate_of(f)->read, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next piece_done(struct flow *f, int rc)
{
	struct batch_validate *v = validate_of(f);
	if (rc == -(int)ERR_NOT_FOUND)
		return gone(v);
	if (rc < 0)
		return flow_fail(f, rc);
	v->is_end = rc == 0;
	if (!v->is_end)
		batch_lines_feed(&v->lines, v->read.piece);
	return FLOW_NEXT;
}

/* --- lines --- */

static void sum_up(struct batch_validate *v)
{
	const struct batch_cost *c = &v->line.cost;
	const struct str model = v->line.face.model;
	v->inputs += v->line.inputs;
	if (__builtin_add_overflow(v->input_tokens, c->input_tokens, &v->input_tokens))
		v->input_tokens = INT64_MAX;
	if (c->estimate_nanousd < 0)
		v->estimate_nanousd = -1;
	else if (v->estimate_nanousd >= 0 && __builtin_add_overflow(v->estimate_nanousd, c->estimate_nanousd, &v->estimate_nanousd))
		v->estimate_nanousd = INT64_MAX;
	if (!v->model.p && !v->models_differ && model.n <= sizeof(v->model_text)) {
		memcpy(v->model_text, model.p, model.n);
		v->model = (struct str){ v->model_text, model.n };
	} else if (!str_eq(v->model, model)) {
		v->models_differ = true;
		v->model = (struct str){ 0 };
	}
}

static bool is_new(struct batch_validate *v, struct batch_fault *f)
{
	if (!v->line.custom_id.p || digest_set_add(&v->ids, v->line.custom_id))
		return true;
	if (!f->code) {
		f->code = "duplicate_custom_id";
		err_set_at(&f->err, ERR_INVALID, "custom_id", "The custom_id of this line was used for another line before.");
	}
	return false;
}

static void judge(struct batch_validate *v, const struct batch_line_rules *rules)
{
	struct batch_fault fault;
	if (batch_line_judge(&v->scratch, rules, &v->line, &fault) < 0)
		note(v, &fault, v->lines.number);
	else
		sum_up(v);
	drop_line(v);
}

/* True: what it names has to become part of it first. */
static bool open_line(struct batch_validate *v, const struct batch_line_rules *rules, struct str text, bool is_long)
{
	struct batch_fault fault = { 0 };
	if (is_long) {
		fault.code = "line_too_long";
		err_set(&fault.err, ERR_TOO_LARGE, "A line has at most %lld bytes.", (long long)conf_now()->limits_body_bytes);
		note(v, &fault, v->lines.number);
		return false;
	}
	arena_init(&v->scratch, SCRATCH_MAX);
	v->has_line = true;
	batch_line_open(&v->scratch, rules, text, &v->line, &fault);
	is_new(v, &fault);
	if (fault.code) {
		note(v, &fault, v->lines.number);
		drop_line(v);
		return false;
	}
	if (batch_gather_has(&v->line.face))
		return true;
	judge(v, rules);
	return false;
}

/* False: the file is not read any further. */
static bool within_limits(struct batch_validate *v)
{
	int64_t most = conf_now()->limits_batch_file_lines;
	struct batch_fault f = { .code = "too_many_tasks" };
	if (v->count > most)
		err_set(&f.err, ERR_INVALID, "A batch has at most %lld lines.", (long long)most);
	else if (v->w->form == FORM_EMBEDDINGS && v->inputs > most)
		err_set(&f.err, ERR_INVALID, "An embeddings batch has at most %lld inputs over all lines.", (long long)most);
	else
		return true;
	note(v, &f, 0);
	return false;
}

static enum flow_next lines_start(struct flow *f)
{
	struct batch_validate *v = validate_of(f);
	struct batch_line_rules rules;
	struct str text;
	bool is_long;
	int rc = batch_work_go_on(v->w);
	if (rc < 0)
		return flow_fail(f, rc);
	if (v->w->is_canceled)
		return flow_jump(f, VERDICT);
	batch_work_rules(v->w, &rules);
	uint64_t until_ns = clock_mono_ns() + (uint64_t)BATCH_SLICE_US * 1000;
	while (batch_lines_next(&v->lines, v->is_end, &text, &is_long)) {
		v->count++;
		if (!within_limits(v))
			return flow_jump(f, VERDICT);
		if (open_line(v, &rules, text, is_long))
			return flow_jump(f, GATHER);
		if (clock_mono_ns() > until_ns) {
			nap_start(&v->nap, &v->w->api->loop, f, 0);
			return FLOW_WAIT;
		}
	}
	return flow_jump(f, v->is_end ? VERDICT : PIECE);
}

static enum flow_next lines_done(struct flow *f, int rc)
{
	return rc < 0 ? flow_fail(f, rc) : flow_jump(f, LINES);
}

static enum flow_next gather_start(struct flow *f)
{
	struct batch_validate *v = validate_of(f);
	batch_gather_start(&v->gather, v->w->api, v->w->tenant_id, &v->line.face, f);
	return FLOW_WAIT;
}

static enum flow_next gather_done(struct flow *f, int rc)
{
	struct batch_validate *v = validate_of(f);
	struct batch_line_rules rules;
	if (rc < 0 && !v->gather.fault.code)
		return flow_fail(f, rc);
	if (rc < 0) {
		note(v, &v->gather.fault, v->lines.number);
		drop_line(v);
	} else {
		batch_work_rules(v->w, &rules);
		judge(v, &rules);
	}
	batch_gather_done(&v->gather);
	return flow_jump(f, LINES);
}

/* --- the verdict --- */

static void arg_or_null(struct db_args *a, int64_t v)
{
	if (v < 0)
		db_arg_null(a);
	else
		db_arg_i64(a, v);
}

static void arg_reckoned(struct batch_validate *v, struct db_args *a)
{
	db_arg_i32(a, v->count);
	db_arg_text_or_null(a, v->model);
	arg_or_null(a, v->estimate_nanousd);
	db_arg_i64(a, v->input_tokens);
}

static void arg_batch(struct batch_validate *v, const struct db_stmt *stmt)
{
	db_query_init(&v->query, stmt);
	db_arg_i32(&v->query.args, id_bucket(v->w->id));
	db_arg_id(&v->query.args, v->w->id);
	db_arg_id(&v->query.args, v->w->keeper);
}

static void put_end(struct batch_validate *v, enum batch_stage stage, const char *ending)
{
	struct db_args *a = &v->query.args;
	struct buf errors;
	char id[ID_TEXT_MAX];
	arg_batch(v, &sql_api_batch_file_end);
	db_arg_i16(a, (int16_t)stage);
	db_arg_text(a, str_from(ending));
	buf_init(&errors, (size_t)1 << 20);
	buf_printf(&errors, "[" STR_FMT "]", STR_ARG(buf_str(&v->faults)));
	db_arg_text_or_null(a, v->fault_count > 0 ? buf_str(&errors) : (struct str){ 0 });
	buf_done(&errors);
	db_arg_i32(a, v->fault_count);
	if (stage == BATCH_FAILED)
		v->count = 0;
	arg_reckoned(v, a);
	v->w->stage = stage;
	log_event(LOG_INFO, "batch_ended", "no line of the batch became a job", LOG_STR("batch", id_text(v->w->id, "batch_", id)),
	          LOG_Z("ending", ending), LOG_I64("faults", v->fault_count), LOG_END);
}

static enum flow_next verdict_start(struct flow *f)
{
	struct batch_validate *v = validate_of(f);
	drop_line(v);
	if (v->count == 0 && v->fault_count == 0 && !v->w->is_canceled)
		note_file(v, "empty_file", "The input file has no line.");
	if (v->w->is_canceled) {
		v->fault_count = v->count = 0;
		put_end(v, BATCH_OVER, "cancelled");
	} else if (v->fault_count > 0) {
		put_end(v, BATCH_FAILED, "failed");
	} else if (v->w->dry_run) {
		put_end(v, BATCH_OVER, "completed");
	} else {
		arg_batch(v, &sql_api_batch_file_valid);
		db_arg_i64(&v->query.args, v->w->tenant_id);
		arg_reckoned(v, &v->query.args);
	}
	int rc = api_query_start(v->w->api, &v->query, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next verdict_done(struct flow *f, int rc)
{
	struct batch_validate *v = validate_of(f);
	if (rc < 0)
		return flow_fail(f, rc);
	if (v->query.stmt == &sql_api_batch_file_end)
		return FLOW_NEXT;
	if (db_rows(&v->query) == 0)
		return flow_fail(f, -(int)ERR_LEASE_LOST);
	v->w->stage = BATCH_LOADING;
	v->w->total = v->count;
	return FLOW_NEXT;
}

static const struct flow_step steps[] = {
	[OPEN] = { "open", open_start, open_done },
	[PIECE] = { "piece", piece_start, piece_done },
	[LINES] = { "lines", lines_start, lines_done },
	[GATHER] = { "gather", gather_start, gather_done },
	[VERDICT] = { "verdict", verdict_start, verdict_done },
	{ .name = NULL },
};

static void on_end(struct flow *f, int result)
{
	op_done(&validate_of(f)->op, result);
}

static void on_cancel(struct op *op)
{
	flow_cancel(&container_of(op, struct batch_validate, op)->flow, -(int)ERR_CANCELED);
}

struct batch_validate *batch_validate_new(struct batch_work *w)
{
	struct batch_validate *v = calloc(1, sizeof(*v));
	assert(v);
	v->w = w;
	digest_set_init(&v->ids);
	buf_init(&v->faults, (size_t)1 << 20);
	batch_lines_init(&v->lines, 0, (size_t)conf_now()->limits_body_bytes);
	return v;
}

void batch_validate_start(struct batch_validate *v, struct flow *flow)
{
	op_start(&v->op, flow, "the batch's validation", on_cancel);
	flow_start(&v->flow, "batch_validate", steps, on_end);
}

void batch_validate_free(struct batch_validate *v)
{
	if (!v)
		return;
	assert(!v->op.active);
	drop_line(v);
	batch_gather_done(&v->gather);
	blob_read_done(&v->read);
	batch_lines_done(&v->lines);
	digest_set_done(&v->ids);
	buf_done(&v->faults);
	db_query_done(&v->query);
	free(v);
}
