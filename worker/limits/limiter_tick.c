/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process tells the table and asks of it: one statement (limit_take.sql) for all limits that have something to say, one in flight, at
 * least LIMIT_TICK_MS after the one before; none while there is nothing to say. Where it asked for too little (the table gave it all, and it was used up
 * before the next tick), the next one comes after HURRY_MS and asks for twice as much.
 *
 *   want   what the queue needs, what claims wish for, and what is spent in KEEP_MS
 *   back   slices that nobody used for half of their life; calls that were not in use for IDLE_MS
 *   debt   what was used beyond the estimates; lower: what the provider said is left
 *
 * A statement is sent once. When its answer is lost, what it granted is lost until its minute is over, what it gave back stays away as long, and what
 * was owed is told again; of calls it is then unknown how many are held, and fewer are used than may be. A slice lives from the moment its
 * statement was sent.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "sql_worker.h"
#include "worker/queue/claim.h"
#include "worker/limits/limiter_priv.h"

#define BACK_MS      500
#define IDLE_MS      200
#define LOW_MS       150 /* with less than what is spent in so long more is asked for: a tick, and the way of the answer */
#define KEEP_MS      300 /* … as much as is spent in so long */
#define HURRY_MS     25  /* between statements while they ask for too little, twice as much each time */
#define SOON_MS      500 /* a limit that has something so soon does not keep its waiters from asking for the others */
#define AGAIN_MS     200 /* after a failure */
#define HOLD_AGAIN_MS 150
#define SAVER_MS     400 /* a large need is told again so often: the table's saving for it lapses after 600 ms */
#define ASK_MAX_MS   5000
#define PRUNE_MS     60000
#define QUEUE_LOOK   256
#define NEVER        UINT64_MAX

/* --- when --- */

static int64_t wish_of(const struct limit *k, uint64_t now)
{
	return now < k->wish_until_ms ? k->wish : 0;
}

static bool is_calls(const struct limit *k)
{
	return k->kind == LIMIT_CALLS;
}

/* What was asked for last was too little, and the table had it. */
static bool should_double(const struct limit *k, uint64_t now)
{
	return k->short_of && now < k->got_all_ms + LIMIT_SLICE_MS;
}

static uint64_t calls_due(const struct limit *k, uint64_t now)
{
	int64_t wanted = MIN(k->in_use + (int64_t)k->waiters.n + k->pending + wish_of(k, now), k->cap);
	if (wanted > k->held || (wanted > 0 && k->longest_ms > k->told_ms))
		return MAX(k->next_ask_ms, now);
	return k->held > k->in_use ? k->peak_ms + IDLE_MS : NEVER;
}

static uint64_t tokens_due(const struct limit *k, uint64_t now)
{
	const struct limit_bucket *b = &k->bucket;
	if (b->owed > 0 || k->lower >= 0)
		return now;
	bool low = k->waiters.n > 0 || k->pending + wish_of(k, now) > b->left || (double)b->left + 1 <= k->per_ms * LOW_MS;
	uint64_t ask = low && k->cap > 0 ? MAX(k->next_ask_ms, now) : NEVER;
	uint64_t back = NEVER;
	for (unsigned i = 0; b->left > 0 && back == NEVER && i < b->n; i++) {
		const struct limit_slice *s = &b->slices[(b->first + i) % LIMIT_SLICES_MAX];
		back = s->left > 0 ? MAX(s->taken_ms + BACK_MS, k->keep_until_ms) : NEVER;
	}
	return MIN(ask, back);
}

static uint64_t due_at(const struct limit *k, uint64_t now)
{
	return k->asked ? NEVER : is_calls(k) ? calls_due(k, now) : tokens_due(k, now);
}

static void arm_at(struct limiter *l, uint64_t due, uint64_t now)
{
	due = MAX(due, l->not_before_ms);
	uint64_t in = due > now ? due - now : 0;
	if (!timer_is_armed(&l->tick_timer) || l->tick_timer.due_ms > loop_now_ms(l->worker->loop) + in)
		timer_start(&l->tick_timer, in);
}

void limiter_touch(struct limiter *l, struct limit *k)
{
	if (!link_is_linked(&k->active))
		list_push(&l->active, &k->active);
	if (l->asking || l->draining)
		return;
	uint64_t now = clock_mono_ms(), due = due_at(k, now);
	if (due != NEVER)
		arm_at(l, due, now);
}

void limiter_lacks(struct limiter *l, struct limit *k)
{
	k->short_of = true;
	/* Where the table gave all that it was asked for, there is more: what was asked for was too little, and the next tick is far away. */
	if (clock_mono_ms() < k->got_all_ms + LIMIT_TICK_MS)
		l->not_before_ms = MIN(l->not_before_ms, l->sent_ms + HURRY_MS);
	limiter_touch(l, k);
}

static bool has_unused(const struct limit *k)
{
	return is_calls(k) ? k->held > k->in_use : k->bucket.left > 0 || k->bucket.owed > 0;
}

bool limiter_has_to_tell(struct limiter *l)
{
	uint64_t now = clock_mono_ms();
	bool some = false;
	LIST_EACH(&l->active, link) {
		struct limit *k = container_of(link, struct limit, active);
		if (!is_calls(k))
			(void)limit_bucket_left(&k->bucket, now);
		some = some || has_unused(k);
	}
	return some;
}

/* After an answer, or when a tick had nothing to say. */
static void arm_next(struct limiter *l)
{
	uint64_t now = clock_mono_ms(), due = NEVER;
	if (l->draining) {
		if (limiter_has_to_tell(l))
			timer_start(&l->tick_timer, 0);
		return;
	}
	LIST_EACH(&l->active, link)
		due = MIN(due, due_at(container_of(link, struct limit, active), now));
	if (due != NEVER)
		arm_at(l, due, now);
}

/* --- what --- */

struct plan {
	int64_t want, need, back, back_second, debt, lower;
};

static void measure(struct limit *k, uint64_t now)
{
	uint64_t elapsed = now - k->rate_ms;
	if (elapsed < LIMIT_TICK_MS / 2)
		return;
	double share = MIN((double)elapsed / 300, 1.0);
	k->per_ms += ((double)k->spent / (double)elapsed - k->per_ms) * share;
	k->spent = 0;
	k->rate_ms = now;
}

static bool plan_calls(const struct limiter *l, struct limit *k, uint64_t now, struct plan *p)
{
	int64_t queued = limit_queued(k, QUEUE_LOOK) + k->pending;
	if (k->group->refs == 0 && k->held == 0 && wish_of(k, now) == 0)
		k->longest_ms = 0;
	int64_t more = MAX(queued + wish_of(k, now), should_double(k, now) ? k->held : 0);
	int64_t wanted = l->draining ? k->in_use : MAX(k->in_use, MIN(k->in_use + more, k->cap));
	*p = (struct plan){ .want = wanted, .need = k->in_use, .back = k->held, .lower = -1 };
	k->peak = MAX(k->peak, MIN(wanted, k->held));
	if (wanted > k->held || (wanted > 0 && k->longest_ms > k->told_ms))
		return now >= k->next_ask_ms;
	if (!l->draining && now < k->peak_ms + IDLE_MS)
		return false;
	p->want = l->draining ? k->in_use : MAX(k->peak, k->in_use);
	k->peak = k->in_use;
	k->peak_ms = now;
	return p->want < k->held;
}

static void plan_want(struct limit *k, uint64_t now, struct plan *p)
{
	int64_t left = k->bucket.left, queued = limit_queued(k, QUEUE_LOOK) + k->pending, wish = wish_of(k, now), head = 0;
	bool low = queued > 0 ? queued > left : wish > left || (double)left + 1 <= k->per_ms * LOW_MS;
	if (!low || now < k->next_ask_ms)
		return;
	if (k->waiters.n > 0) {
		const struct limit_op *op = container_of(list_first(&k->waiters), struct limit_op, link);
		for (int i = 0; i < op->ticket->n; i++)
			head = op->ticket->needs[i].limit == k ? op->ticket->needs[i].amount : head;
	} else if (queued > 0 || wish > 0) {
		head = MIN(MAX(queued, wish), (int64_t)(k->typical + 1));
	}
	p->need = MIN(MAX(head - left, (int64_t)1), k->cap);
	int64_t more = queued + MAX(wish, (int64_t)(k->per_ms * KEEP_MS)) - left;
	if (should_double(k, now))
		more = MAX(more, 2 * k->sent_want);
	p->want = MIN(MAX(more, p->need), k->cap);
}

static bool plan_tokens(const struct limiter *l, struct limit *k, uint64_t now, struct plan *p)
{
	*p = (struct plan){ .lower = k->lower, .debt = k->bucket.owed };
	(void)limit_bucket_left(&k->bucket, now);
	if (k->cap > 0 && !l->draining)
		plan_want(k, now, p);
	bool will_be_used = (double)k->bucket.left <= k->per_ms * (LIMIT_SLICE_MS - BACK_MS);
	if (p->want == 0 && (l->draining || !will_be_used))
		p->back = limit_bucket_give_back(&k->bucket, l->draining ? 0 : BACK_MS, now, &p->back_second);
	else
		k->keep_until_ms = now + LIMIT_TICK_MS;
	return p->want > 0 || p->back > 0 || p->debt > 0 || p->lower >= 0;
}

/* Waiters need more than the limit in whose queue they stand: where that one has some soon, the others are asked too. */
static void find_pending(struct limiter *l, uint64_t now)
{
	LIST_EACH(&l->active, link)
		container_of(link, struct limit, active)->pending = 0;
	LIST_EACH(&l->active, link) {
		const struct limit *k = container_of(link, struct limit, active);
		size_t most = QUEUE_LOOK;
		if (k->next_ask_ms > now + SOON_MS)
			continue;
		LIST_EACH(&k->waiters, waiter) {
			const struct limit_op *op = container_of(waiter, struct limit_op, link);
			if (most-- == 0)
				break;
			for (int i = 0; i < op->ticket->n; i++) {
				struct limit *other = op->ticket->needs[i].limit;
				if (other == k)
					continue;
				other->pending += op->ticket->needs[i].amount;
				if (!link_is_linked(&other->active))
					list_push(&l->active, &other->active);
			}
		}
	}
}

/* --- the statement --- */

enum { A_KEY, A_CAP, A_IS_HOLD, A_FULL, A_WANT, A_NEED, A_BACK, A_SECOND, A_DEBT, A_LOWER, A_CALL_MS, A_COUNT };

static void arrays_init(struct db_array a[A_COUNT])
{
	static const enum db_type types[A_COUNT] = { DB_TEXT, DB_INT8, DB_BOOL, DB_BOOL, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8 };
	for (int i = 0; i < A_COUNT; i++)
		db_array_init(&a[i], types[i], 1 << 20);
}

static void arrays_add(struct db_array a[A_COUNT], const struct limit *k, const struct plan *p)
{
	struct buf key;
	buf_init(&key, 256);
	limit_key(k, &key);
	db_array_text(&a[A_KEY], buf_str(&key));
	db_array_i64(&a[A_CAP], MAX(k->cap, (int64_t)1));
	db_array_bool(&a[A_IS_HOLD], is_calls(k));
	db_array_bool(&a[A_FULL], k->group->scope != LIMIT_SCOPE_TARGET);
	db_array_i64(&a[A_WANT], p->want);
	db_array_i64(&a[A_NEED], p->need);
	db_array_i64(&a[A_BACK], p->back);
	db_array_i64(&a[A_SECOND], p->back_second);
	db_array_i64(&a[A_DEBT], p->debt);
	db_array_i64(&a[A_LOWER], p->lower);
	db_array_i64(&a[A_CALL_MS], k->longest_ms);
	buf_done(&key);
}

static void ask_for(struct limiter *l, struct limit *k, const struct plan *p)
{
	k->asked = true;
	k->sent_want = p->want;
	k->sent_need = p->need;
	k->sent_owed = p->debt;
	k->sent_lower = p->lower;
	k->sent_longest_ms = k->longest_ms;
	k->short_of = false;
	k->lower = -1;
	k->bucket.owed -= p->debt;
	if (is_calls(k)) { /* at once: the table may already have given the rest to others */
		k->held = MIN(k->held, p->want);
		k->told_ms = MIN(k->told_ms, k->longest_ms);
	}
	l->asked[l->nasked++] = k;
}

static void on_answer(struct op *op, int rc);

/* Whoever was silent for so long begins no calls: it was declared dead, and learns it before it holds anything again. */
static int64_t silent_ms(void)
{
	const struct conf *c = conf_now();
	return c->queue_lease_ms + 2 * c->queue_rescue_ms;
}

static void send_take(struct limiter *l, struct db_array a[A_COUNT])
{
	db_query_init(&l->take, &sql_worker_limit_take);
	l->take.op.on_done = on_answer;
	l->take.retry_ms = 0;
	for (int i = 0; i < A_CALL_MS; i++)
		db_arg_array(&l->take.args, &a[i]);
	db_arg_id(&l->take.args, l->as);
	db_arg_i64(&l->take.args, ++l->statement_seq);
	db_arg_i64(&l->take.args, silent_ms());
	db_arg_array(&l->take.args, &a[A_CALL_MS]);
	l->sent_ms = clock_mono_ms();
	l->not_before_ms = l->sent_ms + (l->draining ? 0 : LIMIT_TICK_MS);
	l->asked_as = l->as;
	l->asking = true;
	int failed = db_query_start(l->worker->db, &l->take, NULL);
	if (failed < 0)
		on_answer(&l->take.op, failed);
}

static void on_left(struct op *op, int rc)
{
	struct limiter *l = container_of(container_of(op, struct db_query, op), struct limiter, leave);
	(void)rc; /* not told, they lapse by themselves */
	db_query_done(&l->leave);
	l->leaving = false;
}

/* What the worker of before held is free when its last call was aborted: others need not wait until it would have been over. */
static void leave_behind(struct limiter *l)
{
	if (l->was_out > 0 || !l->was_held || l->leaving)
		return;
	l->was_held = false;
	db_query_init(&l->leave, &sql_worker_limit_leave);
	l->leave.op.on_done = on_left;
	l->leave.retry_ms = 0;
	db_arg_id(&l->leave.args, l->was);
	l->leaving = db_query_start(l->worker->db, &l->leave, NULL) == 0;
	if (!l->leaving)
		db_query_done(&l->leave);
}

void limiter_left_behind(struct limiter *l, unsigned life)
{
	if (life + 1 != l->life || l->was_out == 0)
		return;
	l->was_out--;
	leave_behind(l);
}

void limiter_become(struct limiter *l)
{
	if (id_eq(l->as, l->worker->id))
		return;
	l->was = l->as;
	l->was_out = 0;
	l->was_held = false;
	l->as = l->worker->id;
	l->life++;
	LIST_EACH(&l->active, link) {
		struct limit *k = container_of(link, struct limit, active);
		l->was_out += k->kind == LIMIT_CALLS ? k->in_use : 0;
		l->was_held = l->was_held || k->held > 0 || k->in_use > 0;
		k->held = k->in_use = k->peak = k->told_ms = 0;
	}
	leave_behind(l);
}

static bool has_rest(const struct limit *k)
{
	return k->asked || k->waiters.n > 0 || k->held > 0 || k->in_use > 0 || k->bucket.left > 0 || k->bucket.owed > 0 || k->lower >= 0 ||
	       k->per_ms > 0.0001 || k->spent > 0;
}

static void on_tick(struct timer *t)
{
	struct limiter *l = container_of(t, struct limiter, tick_timer);
	struct db_array a[A_COUNT];
	struct plan plan;
	uint64_t now = clock_mono_ms();
	if (l->asking)
		return;
	if (l->conf != conf_now())
		limiter_refresh(l);
	limiter_become(l);
	find_pending(l, now);
	arrays_init(a);
	l->nasked = 0;
	LIST_EACH_SAFE(&l->active, link, tmp) {
		struct limit *k = container_of(link, struct limit, active);
		measure(k, now);
		if (l->nasked < LIMIT_ASKED_MAX && (is_calls(k) ? plan_calls(l, k, now, &plan) : plan_tokens(l, k, now, &plan))) {
			arrays_add(a, k, &plan);
			ask_for(l, k, &plan);
		} else if (!has_rest(k) && wish_of(k, now) == 0 && k->pending == 0) {
			list_remove(&l->active, link);
		}
	}
	if (l->nasked > 0)
		send_take(l, a);
	else
		arm_next(l);
	for (int i = 0; i < A_COUNT; i++)
		db_array_done(&a[i]);
}

/* --- the answer --- */

enum { C_PLACE, C_GRANTED, C_SECOND, C_WAIT_MS, C_AVAILABLE, C_WORKERS };

static void calls_granted(struct limiter *l, struct limit *k, int64_t held, uint64_t now)
{
	if (!id_eq(l->asked_as, l->as) || !id_eq(l->as, l->worker->id))
		return;
	k->held = held;
	k->told_ms = k->sent_longest_ms;
	k->got_all_ms = held >= k->sent_want ? now : 0;
	k->next_ask_ms = held < k->sent_want ? now + HOLD_AGAIN_MS : 0;
	k->free_at_ms = k->next_ask_ms;
}

static void tokens_granted(struct limiter *l, struct limit *k, int row, uint64_t now)
{
	int64_t granted = db_get_int(&l->take, row, C_GRANTED), wait = MAX(db_get_int(&l->take, row, C_WAIT_MS), (int64_t)0);
	limit_bucket_add(&k->bucket, granted, db_get_int(&l->take, row, C_SECOND), l->sent_ms, now);
	k->available = MAX(db_get_int(&l->take, row, C_AVAILABLE), (int64_t)0);
	if (k->sent_want == 0)
		return;
	k->got_all_ms = granted >= k->sent_want ? now : 0;
	bool none = granted == 0;
	int64_t most = k->sent_need > LIMIT_BURST(k->cap) ? SAVER_MS : ASK_MAX_MS;
	k->next_ask_ms = none ? now + (uint64_t)MIN(MAX(wait, (int64_t)10), most) : 0;
	k->free_at_ms = none ? now + (uint64_t)wait : 0;
}

static void take_rows(struct limiter *l, uint64_t now)
{
	size_t found = 0;
	for (int row = 0; row < db_rows(&l->take); row++) {
		size_t place = (size_t)db_get_int(&l->take, row, C_PLACE);
		assert(place >= 1 && place <= l->nasked);
		struct limit *k = l->asked[place - 1];
		l->workers = MAX(db_get_int(&l->take, row, C_WORKERS), (int64_t)1);
		k->asked = false;
		found++;
		if (is_calls(k))
			calls_granted(l, k, db_get_int(&l->take, row, C_GRANTED), now);
		else
			tokens_granted(l, k, row, now);
	}
	/* Rows that were not there are made by now: no reason to wait. */
	bool made = found < l->nasked && !l->made_rows;
	if (made)
		l->not_before_ms = now;
	l->made_rows = made;
}

/* Whatever was not answered. */
static void not_answered(struct limit *k, uint64_t next_ask_ms)
{
	k->asked = false;
	k->got_all_ms = 0;
	k->bucket.owed += k->sent_owed;
	if (k->sent_lower >= 0)
		k->lower = k->lower < 0 ? k->sent_lower : MIN(k->lower, k->sent_lower);
	k->next_ask_ms = next_ask_ms;
}

static void on_answer(struct op *op, int rc)
{
	struct limiter *l = container_of(container_of(op, struct db_query, op), struct limiter, take);
	uint64_t now = clock_mono_ms();
	if (rc == 0) {
		take_rows(l, now);
	} else {
		if (rc != -ERR_DRAINING)
			log_event(LOG_WARN, "limits_failed", l->take.err.text, LOG_END);
		l->not_before_ms = now + AGAIN_MS;
	}
	db_query_done(&l->take);
	l->asking = false;
	for (size_t i = 0; i < l->nasked; i++)
		if (l->asked[i]->asked)
			not_answered(l->asked[i], rc == 0 ? now : now + AGAIN_MS);
	bool came = false;
	for (size_t i = 0; i < l->nasked; i++) {
		struct limit *k = l->asked[i];
		came = came || (rc == 0 && k->sent_want > 0 && now < k->wish_until_ms && limit_left(k, now) > 0);
		limit_serve(l, k);
	}
	if (came && l->worker->claimer)
		claimer_retry(l->worker->claimer);
	if (rc == 0 || !l->draining)
		arm_next(l);
}

/* --- life --- */

static void on_pruned(struct op *op, int rc)
{
	struct limiter *l = container_of(container_of(op, struct db_query, op), struct limiter, prune);
	(void)rc; /* next time, or by another worker */
	db_query_done(&l->prune);
	l->pruning = false;
}

static void on_prune_timer(struct timer *t)
{
	struct limiter *l = container_of(t, struct limiter, prune_timer);
	limiter_sweep(l, /* all= */ false);
	if (l->draining)
		return;
	timer_start(t, PRUNE_MS + worker_jitter(PRUNE_MS / 4));
	if (l->pruning || l->groups.n == 0)
		return;
	db_query_init(&l->prune, &sql_worker_limit_prune);
	l->prune.op.on_done = on_pruned;
	l->prune.retry_ms = 0;
	db_arg_i64(&l->prune.args, silent_ms());
	l->pruning = db_query_start(l->worker->db, &l->prune, NULL) == 0;
	if (!l->pruning)
		db_query_done(&l->prune);
}

void limiter_tick_init(struct limiter *l)
{
	timer_init(&l->tick_timer, l->worker->loop, on_tick);
	timer_init(&l->prune_timer, l->worker->loop, on_prune_timer);
	timer_start(&l->prune_timer, PRUNE_MS);
}

void limiter_tick_done(struct limiter *l)
{
	timer_stop(&l->tick_timer);
	timer_stop(&l->prune_timer);
}
