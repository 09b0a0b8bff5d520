/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look at a time, with up to ASK_MAX followers from the front of a list that rotates. Text is asked for all of them; the state (four look-ups by key)
 * of those that wait at each look, of those that run when a notice says that outcomes were written, else every LOOK_MS
 * (at each look where notices do not come). The next look begins at the earliest when
 * as much time has passed as the last one took, and one at all states after three times that: so the database is never busy with nothing
 * else, however many streams there are and however often notices come.
 *
 * A look that fails is repeated after events.poll; nothing is lost, because each follower's place says what it has had.
 */
#include "api/events/followers.h"

#include <stdlib.h>

#include "api/api.h"
#include "api/jobs/hints.h"
#include "common/conf.h"
#include "common/db/db.h"
#include "sql_api.h"

#define ASK_MAX   5000
#define PIECES    16 /* of one job in one look */
#define LOOK_MS   500
#define MARK_MIN_MS 10   /* after a mark that did not take, doubling: the job was being claimed, say */
#define MARK_MAX_MS 1000
#define ARRAY_MAX ((size_t)1 << 24)
#define COLUMNS   8

enum { COL_PLACE, COL_STATUS, COL_ATTEMPTS, COL_REASON, COL_TOKEN, COL_FOLLOWED, COL_C_TOKEN, COL_C_NUMBER, COL_C_SEQ, COL_C_DELTAS };

struct followers {
	struct api *api;
	struct list list;
	struct follower **asked; /* owned; ASK_MAX; NULL where one has gone */
	int nasked;
	struct db_query look, mark;
	struct timer timer;
	uint64_t began_ms, next_ms, states_ms; /* the look in flight; when the next may be, and one at all states */
	uint64_t mark_due_ms; /* of those that the last look found without a mark */
	bool hinted_text, hinted_done, more, all_states;
	bool draining, stopped;
};

static const enum db_type column_types[COLUMNS] = { DB_INT4, DB_INT4, DB_UUID, DB_INT8, DB_BOOL, DB_INT8, DB_INT4, DB_INT4 };

static void arm(struct followers *all, uint64_t due_ms)
{
	uint64_t now = loop_now_ms(&all->api->loop);
	due_ms = MAX(due_ms, all->next_ms);
	if (all->stopped || list_is_empty(&all->list) || all->look.op.active)
		return; /* the end of a look arms again */
	if (!timer_is_armed(&all->timer) || all->timer.due_ms > due_ms)
		timer_start(&all->timer, due_ms > now ? due_ms - now : 0);
}

static void forget(struct follower *f)
{
	if (f->asked >= 0)
		f->all->asked[f->asked] = NULL;
	f->asked = -1;
	list_remove(&f->all->list, &f->link);
}

static void follower_end(struct follower *f, int rc)
{
	forget(f);
	op_done(&f->op, rc);
}

static void on_cancel(struct op *op)
{
	follower_end(container_of(op, struct follower, op), -(int)ERR_CANCELED);
}

/* --- marks --- */

static void on_marked(struct op *op, int rc)
{
	struct followers *all = container_of(op, struct followers, mark.op);
	for (int row = 0, n = rc == 0 ? db_rows(&all->mark) : 0; row < n; row++)
		hints_cancel(all->api->hints, db_get_id(&all->mark, row, 0));
	db_query_done(&all->mark);
}

static void send_marks(struct followers *all)
{
	struct db_array bucket, id, tenant;
	uint64_t now = loop_now_ms(&all->api->loop);
	if (all->mark.op.active)
		return;
	db_array_init(&bucket, DB_INT4, ARRAY_MAX);
	db_array_init(&id, DB_UUID, ARRAY_MAX);
	db_array_init(&tenant, DB_INT8, ARRAY_MAX);
	LIST_EACH(&all->list, k) {
		struct follower *f = container_of(k, struct follower, link);
		if (f->marked || f->mark_ms > now || bucket.n == ASK_MAX)
			continue;
		f->mark_ms = now + f->mark_gap_ms;
		f->mark_gap_ms = MIN(f->mark_gap_ms * 2, (uint64_t)MARK_MAX_MS);
		db_array_i32(&bucket, id_bucket(f->id));
		db_array_id(&id, f->id);
		db_array_i64(&tenant, f->tenant_id);
	}
	if (bucket.n > 0) {
		db_query_init(&all->mark, &sql_api_follow);
		db_arg_array(&all->mark.args, &bucket);
		db_arg_array(&all->mark.args, &id);
		db_arg_array(&all->mark.args, &tenant);
		all->mark.op.on_done = on_marked;
		all->mark.retry_ms = 0;
		if (api_query_start(all->api, &all->mark, NULL) < 0)
			db_query_done(&all->mark);
	}
	db_array_done(&bucket);
	db_array_done(&id);
	db_array_done(&tenant);
}

/* --- looks --- */

static void take_state(struct followers *all, struct follower *f, int row, bool *ret_over)
{
	const struct db_query *q = &all->look;
	struct follow_state s = {
		.status = (int)db_get_int(q, row, COL_STATUS),
		.attempts = (int)db_get_int(q, row, COL_ATTEMPTS),
		.reason = db_is_null(q, row, COL_REASON) ? -1 : (int)db_get_int(q, row, COL_REASON),
	};
	f->marked = db_get_bool(q, row, COL_FOLLOWED);
	if (f->marked)
		f->mark_gap_ms = MARK_MIN_MS;
	else
		all->mark_due_ms = MIN(all->mark_due_ms, f->mark_ms);
	f->running = s.status == 2 && f->marked;
	f->look_ms = loop_now_ms(&all->api->loop) + (all->api->listener ? LOOK_MS : (uint64_t)conf_now()->events_poll_ms);
	*ret_over = s.status > 2;
	if (!*ret_over)
		f->on_state(f, &s);
}

/* All rows of one follower, from `row` on. Returns the first of the next. */
static int take_rows(struct followers *all, struct follower *f, int row, bool *ret_over)
{
	const struct db_query *q = &all->look;
	int64_t place = db_get_int(q, row, COL_PLACE);
	int pieces = 0;
	if (!db_is_null(q, row, COL_STATUS))
		take_state(all, f, row, ret_over);
	for (; row < db_rows(q) && db_get_int(q, row, COL_PLACE) == place; row++) {
		if (db_is_null(q, row, COL_C_SEQ))
			continue;
		f->on_piece(f, db_get_int(q, row, COL_C_TOKEN), (int)db_get_int(q, row, COL_C_NUMBER), (int)db_get_int(q, row, COL_C_SEQ),
		            db_get_str(q, row, COL_C_DELTAS));
		pieces++;
	}
	all->more |= pieces == PIECES;
	f->on_told(f);
	return row;
}

static void take_answer(struct followers *all, struct list *ended)
{
	const struct db_query *q = &all->look;
	for (int row = 0; row < db_rows(q);) {
		int64_t place = db_get_int(q, row, COL_PLACE);
		assert(place >= 0 && place < all->nasked);
		struct follower *f = all->asked[place];
		bool over = false;
		if (!f) {
			row++;
			continue;
		}
		row = take_rows(all, f, row, &over);
		if (over) {
			forget(f);
			list_push(ended, &f->link);
			f->op.cancel = NULL; /* it is not in our list any more */
		}
	}
}

static void on_looked(struct op *op, int rc)
{
	struct followers *all = container_of(op, struct followers, look.op);
	uint64_t now = loop_now_ms(&all->api->loop), took = now - all->began_ms;
	struct list ended;
	list_init(&ended);
	all->next_ms = now + MAX(took, 1u);
	all->more = false;
	all->mark_due_ms = UINT64_MAX;
	if (all->all_states)
		all->states_ms = now + 3 * MAX(took, 1u);
	if (rc == 0)
		take_answer(all, &ended);
	db_query_done(&all->look);
	for (int i = 0; i < all->nasked; i++)
		if (all->asked[i])
			all->asked[i]->asked = -1;
	all->nasked = 0;

	uint64_t due = now + (uint64_t)conf_now()->events_poll_ms;
	if (rc == 0 && (all->hinted_text || all->more))
		due = all->next_ms;
	if (rc == 0 && all->hinted_done)
		due = MIN(due, MAX(all->states_ms, all->next_ms));
	arm(all, MIN(due, MAX(all->mark_due_ms, now + 1)));
	for (struct link *k; (k = list_pop(&ended));)
		op_done(&container_of(k, struct follower, link)->op, 0);
}

static void put_follower(struct followers *all, struct follower *f, bool look, struct db_array *columns)
{
	f->asked = all->nasked;
	all->asked[all->nasked] = f;
	db_array_i32(&columns[0], all->nasked++);
	db_array_i32(&columns[1], id_bucket(f->id));
	db_array_id(&columns[2], f->id);
	db_array_i64(&columns[3], f->tenant_id);
	db_array_bool(&columns[4], look);
	db_array_i64(&columns[5], f->place.token);
	db_array_i32(&columns[6], f->place.number);
	db_array_i32(&columns[7], f->place.seq);
}

static void fill_look(struct followers *all, struct db_array *columns)
{
	uint64_t now = loop_now_ms(&all->api->loop);
	bool all_states = all->hinted_done && now >= all->states_ms;
	all->all_states = all_states;
	for (size_t i = all->list.n; i > 0 && all->nasked < ASK_MAX; i--) {
		struct link *k = list_pop(&all->list);
		struct follower *f = container_of(k, struct follower, link);
		list_push(&all->list, k);
		if (f->rests)
			continue;
		bool look = !f->running || all_states || now >= f->look_ms;
		put_follower(all, f, look, columns);
	}
	all->hinted_text = false;
	if (all_states)
		all->hinted_done = false;
}

static void look(struct followers *all)
{
	struct db_array columns[COLUMNS];
	assert(!all->look.op.active && all->nasked == 0);
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_init(&columns[i], column_types[i], ARRAY_MAX);
	fill_look(all, columns);
	if (all->nasked > 0) {
		db_query_init(&all->look, &sql_api_events);
		for (size_t i = 0; i < COLUMNS; i++)
			db_arg_array(&all->look.args, &columns[i]);
		db_arg_i32(&all->look.args, PIECES);
		all->look.op.on_done = on_looked;
		all->look.retry_ms = 0;
		all->began_ms = loop_now_ms(&all->api->loop);
	}
	for (size_t i = 0; i < COLUMNS; i++)
		db_array_done(&columns[i]);
	if (all->nasked > 0 && api_query_start(all->api, &all->look, NULL) == 0)
		return;
	db_query_done(&all->look);
	for (int i = 0; i < all->nasked; i++)
		all->asked[i]->asked = -1;
	all->nasked = 0;
	arm(all, loop_now_ms(&all->api->loop) + (uint64_t)conf_now()->events_poll_ms);
}

static void on_timer(struct timer *t)
{
	struct followers *all = container_of(t, struct followers, timer);
	if (all->look.op.active || list_is_empty(&all->list))
		return;
	send_marks(all);
	look(all);
}

/* --- from outside --- */

void followers_hint_text(struct followers *all)
{
	all->hinted_text = true;
	arm(all, 0);
}

void followers_hint_done(struct followers *all)
{
	all->hinted_done = true;
	arm(all, all->states_ms);
}

bool followers_are_full(const struct followers *all)
{
	return all->list.n >= (size_t)conf_now()->events_followers;
}

void follower_start(struct followers *all, struct follower *f, struct flow *flow)
{
	assert(f->on_state && f->on_piece && f->on_told);
	f->all = all;
	f->asked = -1;
	f->running = false;
	f->mark_ms = f->look_ms = 0;
	f->mark_gap_ms = MARK_MIN_MS;
	op_start(&f->op, flow, "news of a job", on_cancel);
	list_push(&all->list, &f->link);
	if (all->stopped || (all->draining && !f->patient))
		follower_end(f, -(int)ERR_DRAINING);
	else
		arm(all, 0);
}

void follower_reads(struct follower *f)
{
	f->rests = false;
	arm(f->all, 0);
}

/* The end of one may begin another, which ends at once. */
static void end_all(struct followers *all, bool patient_too)
{
	for (size_t i = all->list.n; i > 0; i--) {
		struct link *k = list_pop(&all->list);
		struct follower *f = container_of(k, struct follower, link);
		list_push(&all->list, k);
		if (patient_too || !f->patient)
			follower_end(f, -(int)ERR_DRAINING);
	}
}

void followers_drain(struct followers *all)
{
	all->draining = true;
	end_all(all, /* patient_too= */ false);
}

void followers_stop(struct followers *all)
{
	all->draining = all->stopped = true;
	timer_stop(&all->timer);
	end_all(all, /* patient_too= */ true);
}

struct followers *followers_new(struct api *api)
{
	struct followers *all = calloc(1, sizeof *all);
	assert(all);
	all->api = api;
	all->asked = calloc(ASK_MAX, sizeof(struct follower *));
	assert(all->asked);
	list_init(&all->list);
	timer_init(&all->timer, &api->loop, on_timer);
	return all;
}

void followers_free(struct followers *all)
{
	if (!all)
		return;
	assert(list_is_empty(&all->list) && !all->look.op.active && !all->mark.op.active);
	timer_stop(&all->timer);
	free(all->asked);
	free(all);
}
