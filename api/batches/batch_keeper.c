/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few batches are kept at the same time, each by a slot:
 *
 *   take ─▶ validate ─▶ load ─▶ leave               its jobs run; nobody keeps it
 *   take ─▶ finish ─▶ output                        they have ended
 *
 * A look every 500 ms finds what is due; a batch that was submitted to this process is looked for at once. While a slot works, a timer renews its lease
 * and learns whether the batch was canceled or its deadline passed. Each taking has a keeper's id of its own, and all that is written is fenced by that id:
 * a slot that slept too long writes nothing.
 *
 * What fails (the database is away, the file cannot be read) is left for a later look. Work is cut into slices of BATCH_SLICE_US (batch_validate.c,
 * batch_load.c). A process that ends lets go of its batches, so that others have them at once.
 */
#include "api/batches/batch_keeper.h"

#include <stdlib.h>

#include "api/api.h"
#include "api/batches/batch_load.h"
#include "api/batches/batch_output.h"
#include "api/batches/batch_validate.h"
#include "api/batches/batch_work.h"
#include "common/clock.h"
#include "common/log.h"
#include "sql_api.h"

#define SLOTS      4
#define LOOK_MS    500
#define KEEP_MS    (BATCH_LEASE_MS / 4)
#define ROOM_MS    250   /* until a batch at its cost cap is looked at again */
#define AGAIN_MS   1000  /* … one whose step failed */
#define RUNNING_MS 60000 /* … one whose jobs run: a finished one is found without this */

struct slot {
	struct flow flow;
	struct batch_keeper *k;
	struct batch_work w;
	struct db_query query;
	struct timer keep_timer;
	struct db_query keep_query;
	struct batch_validate *validate; /* owned, as the two below */
	struct batch_load *load;
	struct batch_output *output;
	int64_t leave_ms;
	bool busy, has_work, ended; /* ended: only the keep_query is waited for */
};

struct batch_keeper {
	struct api *api;
	struct timer look;
	struct slot slots[SLOTS];
	bool draining;
};

enum { TAKE, VALIDATE, LOAD, FINISH, OUTPUT, LEAVE };

static struct slot *slot_of(struct flow *f)
{
	return container_of(f, struct slot, flow);
}

static enum flow_next query(struct slot *s)
{
	int rc = api_query_start(s->k->api, &s->query, &s->flow);
	return rc < 0 ? flow_fail(&s->flow, rc) : FLOW_WAIT;
}

static void init_query(struct slot *s, const struct db_stmt *stmt)
{
	db_query_done(&s->query);
	db_query_init(&s->query, stmt);
	db_arg_i32(&s->query.args, id_bucket(s->w.id));
	db_arg_id(&s->query.args, s->w.id);
	db_arg_id(&s->query.args, s->w.keeper);
	db_arg_i64(&s->query.args, s->w.tenant_id);
}

static void look_after(struct batch_keeper *k, uint64_t ms)
{
	if (k->draining)
		return;
	if (!timer_is_armed(&k->look) || k->look.due_ms > loop_now_ms(&k->api->loop) + ms)
		timer_start(&k->look, ms);
}

void batch_work_rules(const struct batch_work *w, struct batch_line_rules *ret)
{
	*ret = (struct batch_line_rules){
		.job = { conf_now(), &w->api->guard, clock_wall_us() }, .face = face_of(w->form), .endpoint = w->endpoint, .priority = w->priority,
		.expires_at_us = w->expires_at_us, .capped = w->max_cost_nanousd >= 0,
	};
}

/* --- the lease --- */

static void slot_idle(struct slot *s);

static void on_kept(struct op *op, int rc)
{
	struct slot *s = container_of(op, struct slot, keep_query.op);
	if (rc == 0 && db_rows(&s->keep_query) == 0)
		s->w.is_lost = true;
	if (rc == 0 && db_rows(&s->keep_query) == 1) {
		s->w.is_late = db_get_bool(&s->keep_query, 0, 0);
		s->w.is_canceled = db_get_bool(&s->keep_query, 0, 1);
	}
	db_query_done(&s->keep_query);
	if (s->ended)
		slot_idle(s);
	else
		timer_start(&s->keep_timer, KEEP_MS);
}

static void on_keep_timer(struct timer *t)
{
	struct slot *s = container_of(t, struct slot, keep_timer);
	db_query_init(&s->keep_query, &sql_api_batch_file_keep);
	db_arg_i32(&s->keep_query.args, id_bucket(s->w.id));
	db_arg_id(&s->keep_query.args, s->w.id);
	db_arg_id(&s->keep_query.args, s->w.keeper);
	db_arg_i64(&s->keep_query.args, s->w.tenant_id);
	db_arg_i64(&s->keep_query.args, BATCH_LEASE_MS);
	s->keep_query.op.on_done = on_kept;
	if (api_query_start(s->k->api, &s->keep_query, NULL) < 0) {
		db_query_done(&s->keep_query);
		timer_start(&s->keep_timer, KEEP_MS);
	}
}

/* --- taking one --- */

/* The columns of batch_file_take.sql. */
enum {
	COL_ID,
	COL_TENANT,
	COL_FORM,
	COL_STAGE,
	COL_PRIORITY,
	COL_ENDPOINT,
	COL_FILE,
	COL_PREFIX,
	COL_OUTPUT_LIFE,
	COL_DRY_RUN,
	COL_CAP,
	COL_LOADED,
	COL_LOADED_AT,
	COL_CAPPED,
	COL_EXPIRES,
	COL_LATE,
	COL_TOTAL,
	COL_CANCELED,
	COL_OVER,
	COL_WEIGHT,
};

static void read_work(struct slot *s)
{
	const struct db_query *q = &s->query;
	struct batch_work *w = &s->w;
	struct id keeper = w->keeper;
	*w = (struct batch_work){
		.api = s->k->api,
		.id = db_get_id(q, 0, COL_ID),
		.keeper = keeper,
		.input_file = db_get_id(q, 0, COL_FILE),
		.tenant_id = db_get_int(q, 0, COL_TENANT),
		.weight = (int)db_get_int(q, 0, COL_WEIGHT),
		.priority = (int)db_get_int(q, 0, COL_PRIORITY),
		.total = (int)db_get_int(q, 0, COL_TOTAL),
		.loaded = (int)db_get_int(q, 0, COL_LOADED),
		.form = (int)db_get_int(q, 0, COL_FORM),
		.stage = (int)db_get_int(q, 0, COL_STAGE),
		.loaded_at = db_get_int(q, 0, COL_LOADED_AT),
		.expires_at_us = db_get_time(q, 0, COL_EXPIRES),
		.output_expires_s = db_get_int(q, 0, COL_OUTPUT_LIFE),
		.max_cost_nanousd = db_is_null(q, 0, COL_CAP) ? -1 : db_get_int(q, 0, COL_CAP),
		.dry_run = db_get_bool(q, 0, COL_DRY_RUN),
		.capped = db_get_bool(q, 0, COL_CAPPED),
		.is_late = db_get_bool(q, 0, COL_LATE),
		.is_canceled = db_get_bool(q, 0, COL_CANCELED),
		.is_over = db_get_bool(q, 0, COL_OVER),
		.stopping = s->k->draining,
	};
	arena_init(&w->arena, 65536);
	w->endpoint = arena_str(&w->arena, db_get_str(q, 0, COL_ENDPOINT));
	if (!db_is_null(q, 0, COL_PREFIX))
		w->key_prefix = arena_str(&w->arena, db_get_str(q, 0, COL_PREFIX));
	s->has_work = true;
}

static enum flow_next take_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	s->w.keeper = id_make(-1);
	db_query_done(&s->query);
	db_query_init(&s->query, &sql_api_batch_file_take);
	db_arg_id(&s->query.args, s->w.keeper);
	db_arg_i64(&s->query.args, BATCH_LEASE_MS);
	return query(s);
}

static enum flow_next take_done(struct flow *f, int rc)
{
	struct slot *s = slot_of(f);
	if (rc < 0 || db_rows(&s->query) == 0)
		return flow_over(f, rc);
	read_work(s);
	timer_start(&s->keep_timer, KEEP_MS);
	look_after(s->k, 0); /* there may be more */
	s->leave_ms = AGAIN_MS;
	if (!face_of(s->w.form) || s->k->draining)
		return flow_jump(f, LEAVE);
	switch (s->w.stage) {
	case BATCH_VALIDATING:
		return flow_jump(f, VALIDATE);
	case BATCH_LOADING:
		return flow_jump(f, LOAD);
	case BATCH_RUNNING:
		s->leave_ms = RUNNING_MS;
		return flow_jump(f, s->w.is_over ? FINISH : LEAVE);
	case BATCH_FINALIZING:
		return flow_jump(f, OUTPUT);
	case BATCH_OVER:
	case BATCH_FAILED:
		break;
	}
	return flow_jump(f, LEAVE);
}

/* --- the work --- */

/* A step that failed: somebody else comes to it later, at once when this process ends. */
static enum flow_next failed(struct slot *s, int rc, const char *step)
{
	char id[ID_TEXT_MAX];
	if (rc == -(int)ERR_LEASE_LOST)
		return flow_over(&s->flow, rc);
	s->leave_ms = s->w.stopping ? 0 : rc == -(int)ERR_RATE_LIMITED ? ROOM_MS : AGAIN_MS;
	if (!s->w.stopping && rc != -(int)ERR_RATE_LIMITED)
		log_event(LOG_WARN, "batch_delayed", "a step of a batch failed and is begun again",
		          LOG_STR("batch", id_text(s->w.id, "batch_", id)), LOG_Z("step", step), LOG_Z("code", err_code_name(rc)), LOG_END);
	return flow_jump(&s->flow, LEAVE);
}

static enum flow_next validate_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	s->validate = batch_validate_new(&s->w);
	batch_validate_start(s->validate, f);
	return FLOW_WAIT;
}

static enum flow_next validate_done(struct flow *f, int rc)
{
	struct slot *s = slot_of(f);
	batch_validate_free(s->validate);
	s->validate = NULL;
	if (rc < 0)
		return failed(s, rc, "validate");
	return s->w.stage == BATCH_LOADING ? FLOW_NEXT : flow_over(f, 0);
}

static enum flow_next load_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	s->load = batch_load_new(&s->w);
	batch_load_start(s->load, f);
	return FLOW_WAIT;
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct slot *s = slot_of(f);
	batch_load_free(s->load);
	s->load = NULL;
	if (rc < 0)
		return failed(s, rc, "load");
	s->leave_ms = RUNNING_MS;
	return flow_jump(f, LEAVE);
}

static enum flow_next finish_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	init_query(s, &sql_api_batch_file_finish);
	return query(s);
}

static enum flow_next finish_done(struct flow *f, int rc)
{
	struct slot *s = slot_of(f);
	if (rc < 0 || db_rows(&s->query) == 0)
		return failed(s, rc < 0 ? rc : -(int)ERR_CONFLICT, "finish");
	return FLOW_NEXT;
}

static enum flow_next output_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	const struct batch_output_of of = { s->w.id, s->w.keeper, s->w.tenant_id, s->w.form, s->w.output_expires_s };
	s->output = batch_output_new(s->k->api, &of);
	batch_output_start(s->output, f);
	return FLOW_WAIT;
}

static enum flow_next output_done(struct flow *f, int rc)
{
	struct slot *s = slot_of(f);
	batch_output_free(s->output);
	s->output = NULL;
	return rc < 0 ? failed(s, rc, "output") : flow_over(f, 0);
}

static enum flow_next leave_start(struct flow *f)
{
	struct slot *s = slot_of(f);
	timer_stop(&s->keep_timer);
	init_query(s, &sql_api_batch_file_leave);
	db_arg_i64(&s->query.args, s->leave_ms);
	look_after(s->k, (uint64_t)MIN(s->leave_ms, (int64_t)LOOK_MS));
	return query(s);
}

static const struct flow_step steps[] = {
	[TAKE] = { "take", take_start, take_done },
	[VALIDATE] = { "validate", validate_start, validate_done },
	[LOAD] = { "load", load_start, load_done },
	[FINISH] = { "finish", finish_start, finish_done },
	[OUTPUT] = { "output", output_start, output_done },
	[LEAVE] = { "leave", leave_start, NULL },
	{ .name = NULL },
};

/* --- slots --- */

static void slot_idle(struct slot *s)
{
	db_query_done(&s->query);
	bool had_work = s->has_work;
	if (had_work)
		arena_done(&s->w.arena);
	s->has_work = s->busy = s->ended = false;
	if (had_work)
		look_after(s->k, 0); /* others may wait for a slot */
}

static void on_end(struct flow *f, int result)
{
	struct slot *s = slot_of(f);
	(void)result;
	timer_stop(&s->keep_timer);
	s->ended = true;
	if (!s->keep_query.op.active)
		slot_idle(s);
}

static void on_look(struct timer *t)
{
	struct batch_keeper *k = container_of(t, struct batch_keeper, look);
	timer_start(t, LOOK_MS);
	if (!k->api->schema_ok)
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *s = &k->slots[i];
		if (s->busy)
			continue;
		s->busy = true;
		flow_start(&s->flow, "batch", steps, on_end);
		return;
	}
}

struct batch_keeper *batch_keeper_new(struct api *api)
{
	struct batch_keeper *k = calloc(1, sizeof(*k));
	assert(k);
	k->api = api;
	timer_init(&k->look, &api->loop, on_look);
	for (size_t i = 0; i < SLOTS; i++) {
		k->slots[i].k = k;
		timer_init(&k->slots[i].keep_timer, &api->loop, on_keep_timer);
	}
	timer_start(&k->look, LOOK_MS);
	return k;
}

void batch_keeper_hint(struct batch_keeper *k)
{
	look_after(k, 0);
}

void batch_keeper_drain(struct batch_keeper *k)
{
	k->draining = true;
	timer_stop(&k->look);
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *s = &k->slots[i];
		s->w.stopping = true;
		if (s->output)
			op_cancel(batch_output_op(s->output));
	}
}

void batch_keeper_free(struct batch_keeper *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		assert(!k->slots[i].busy);
	timer_stop(&k->look);
	free(k);
}
