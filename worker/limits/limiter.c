/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes, waits and settles. All is well: everything a call needs is here in live slices and free permits, and it goes at once, without a word to
 * the database. Else it waits in the queue of the first limit that is in its way:
 *
 *   take ──▶ needs ──▶ all there? ── yes ──▶ done
 *                         └─ no ──▶ queue of the limit in the way ──▶ tick (limiter_tick.c) brings more ──▶ serve: the queue's head again,
 *                                                                      which goes, or stays, or moves to the queue of another limit
 *
 * First come, first served for each limit: who needs a limit that earlier ones wait for joins its queue, by its number, even when there is some
 * left. Who does not need it passes. A take that gives up learns when it might go: the capacity of its limit is promised in a row, so that of a
 * thousand that give up each is told another time. While the database is away nothing comes and everybody waits (or gives up): nothing is let
 * through beyond what is held.
 */
#include "worker/limits/limiter.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/metrics.h"
#include "worker/execution/attempt.h"
#include "worker/limits/limiter_priv.h"
#include "worker/queue/tenants.h"

#define WISH_MS        300
#define ANSWER_MS      10
#define WISH_CLAIMS    8 /* claims are made more often than slices are fetched */
#define WISH_EARLY     2 /* with less than for so many claims, more is fetched */
#define FIRST_CALLS    8 /* are claimed before it is known what one takes */
#define STRANGER_MS    50
#define PROMISE_MAX_MS 3600000
#define QUEUE_LOOK     1024

/* --- what is there --- */

int64_t limit_left(struct limit *k, uint64_t now_ms)
{
	if (k->cap == 0)
		return INT64_MAX;
	return k->kind == LIMIT_CALLS ? k->held - k->in_use : limit_bucket_left(&k->bucket, now_ms);
}

static uint64_t head_seq(const struct limit *k)
{
	return k->waiters.n ? container_of(list_first(&k->waiters), struct limit_op, link)->seq : UINT64_MAX;
}

/* Which limit is in the way of the call with this number; NULL: none. */
static struct limit *in_the_way(const struct limit_ticket *t, uint64_t seq, uint64_t now_ms)
{
	for (int i = 0; i < t->n; i++) {
		struct limit *k = t->needs[i].limit;
		bool unknown = k->kind == LIMIT_CALLS && t->call_ms > k->told_ms;
		if (k->cap > 0 && (limit_left(k, now_ms) < t->needs[i].amount || unknown || head_seq(k) < seq))
			return k;
	}
	return NULL;
}

static struct limit *too_small(const struct limit_ticket *t)
{
	for (int i = 0; i < t->n; i++) {
		struct limit *k = t->needs[i].limit;
		if (k->cap > 0 && t->needs[i].amount > k->cap)
			return k;
	}
	return NULL;
}

static void hold_groups(struct limit_ticket *t, int by)
{
	for (int i = 0; i < t->n; i++) {
		t->needs[i].limit->group->refs += by;
		assert(t->needs[i].limit->group->refs >= 0);
	}
}

static void forget(struct limit_ticket *t)
{
	hold_groups(t, -1);
	free(t->needs);
	t->needs = NULL;
	t->n = 0;
}

/* Of each need what there is, all of it: in_the_way said so. */
static void spend_all(struct limiter *l, struct limit_ticket *t, uint64_t now_ms)
{
	t->life = l->life;
	for (int i = 0; i < t->n; i++) {
		struct limit_need *need = &t->needs[i];
		struct limit *k = need->limit;
		need->slice_ms = now_ms;
		k->spent += need->amount;
		k->typical += ((double)need->amount - k->typical) / (k->has_typical ? 16 : 1);
		k->has_typical = true;
		if (k->kind == LIMIT_CALLS) {
			k->in_use++;
			k->peak = MAX(k->peak, k->in_use);
		} else if (k->cap > 0) {
			bool there = limit_bucket_spend(&k->bucket, need->amount, now_ms, &need->slice_ms);
			assert(there);
		}
		k->wish = MAX(0, k->wish - need->amount);
		limiter_touch(l, k);
	}
	if (t->n > 0)
		metric_add(METRIC_LIMIT_TAKES, "", 1);
}

/* --- estimates for those who give up --- */

/* How fast the table lets this worker have it, about: per millisecond. */
static double share_per_ms(const struct limiter *l, const struct limit *k)
{
	double rate = k->kind == LIMIT_CALLS ? (double)k->cap / MAX(k->call_ms, 1.0) : (double)k->cap / (LIMIT_KEPT_S * 1000.0);
	return rate / (double)MAX(l->workers, (int64_t)1);
}

int64_t limit_queued(const struct limit *k, size_t most)
{
	int64_t sum = 0;
	LIST_EACH(&k->waiters, link) {
		const struct limit_op *op = container_of(link, struct limit_op, link);
		if (most-- == 0)
			break;
		for (int i = 0; i < op->ticket->n; i++)
			if (op->ticket->needs[i].limit == k)
				sum += op->ticket->needs[i].amount;
	}
	return sum;
}

/* When k may let amount go, after all who wait and all who were told a time: that time is given away by this. */
static int64_t promise(const struct limiter *l, struct limit *k, int64_t amount, uint64_t now_ms)
{
	double share = share_per_ms(l, k);
	int64_t queued = limit_queued(k, QUEUE_LOOK);
	uint64_t queue_ms = (uint64_t)MIN((double)queued / share, (double)PROMISE_MAX_MS);
	uint64_t step_ms = (uint64_t)MIN((double)amount / share, (double)PROMISE_MAX_MS);
	uint64_t at = MAX(MAX(k->free_at_ms, now_ms + LIMIT_TICK_MS) + queue_ms, k->promised_ms);
	at = MIN(at, now_ms + PROMISE_MAX_MS);
	k->promised_ms = MIN(at + MAX(step_ms, (uint64_t)1), now_ms + PROMISE_MAX_MS);
	return (int64_t)(at - now_ms);
}

/* With how much output the call would fit, by what is here and what the table had last; -1: output is not what is in the way. */
static int64_t shorten_to(const struct limit_op *op, uint64_t now_ms, bool whole)
{
	int64_t fits = INT64_MAX;
	for (int i = 0; i < op->ticket->n; i++) {
		const struct limit_need *need = &op->ticket->needs[i];
		struct limit *k = need->limit;
		int64_t left = whole ? k->cap : limit_left(k, now_ms);
		if (k->cap == 0 || left >= need->amount)
			continue;
		if (k->kind != LIMIT_TOKENS && k->kind != LIMIT_OUTPUT)
			return -1;
		if (!whole)
			left = MAX(left, 0) + k->available;
		if (left < need->amount)
			fits = MIN(fits, left - (k->kind == LIMIT_TOKENS ? MAX(op->ask.input_tokens, (int64_t)0) : 0));
	}
	return fits == INT64_MAX || op->ask.output_tokens <= 0 ? -1 : MAX(fits, whole ? (int64_t)-1 : (int64_t)0);
}

static void tell(struct limit_op *op, const struct limit *k)
{
	op->which = limit_which(k);
	op->is_target = k->group->scope == LIMIT_SCOPE_TARGET;
}

/* Nothing will come in time: says when it might. */
static void give_up(struct limiter *l, struct limit_op *op)
{
	uint64_t now = clock_mono_ms();
	struct limit_ticket *t = op->ticket;
	op->wait_ms = LIMIT_TICK_MS;
	op->shorten_to = shorten_to(op, now, /* whole= */ false);
	for (int i = 0; i < t->n; i++) {
		struct limit *k = t->needs[i].limit;
		if (k->cap == 0 || (k != op->blocked && limit_left(k, now) >= t->needs[i].amount && k->waiters.n == 0))
			continue;
		int64_t wait = !op->ask.only_now ? promise(l, k, t->needs[i].amount, now) : k->free_at_ms > now ? (int64_t)(k->free_at_ms - now) : LIMIT_TICK_MS;
		op->wait_ms = MAX(op->wait_ms, wait);
		k->wish = MAX(k->wish, t->needs[i].amount);
		k->wish_until_ms = now + WISH_MS;
		limiter_touch(l, k);
	}
	forget(t);
}

/* --- waiting --- */

static void leave(struct limiter *l, struct limit_op *op)
{
	struct list *queue = op->blocked ? &op->blocked->waiters : &l->strangers;
	assert(link_is_linked(&op->link));
	list_remove(queue, &op->link);
	timer_stop(&op->timer);
	l->waiting--;
	/* Who stood behind it may go now. */
	if (op->blocked && op->blocked->waiters.n > 0) {
		limiter_touch(l, op->blocked);
		loop_soon(l->worker->loop, &l->serve);
	}
}

/* Into k's queue, by its number: nearly always at the end. */
static void queue_at(struct limiter *l, struct limit_op *op, struct limit *k)
{
	struct link *at = &k->waiters.head;
	while (at->prev != &k->waiters.head && container_of(at->prev, struct limit_op, link)->seq > op->seq)
		at = at->prev;
	list_insert_before(&k->waiters, at, &op->link);
	op->blocked = k;
	tell(op, k);
	limiter_lacks(l, k);
}

static void on_cancel(struct op *o)
{
	struct limit_op *op = container_of(o, struct limit_op, op);
	leave(op->limiter, op);
	forget(op->ticket);
	op_done(o, -ERR_CANCELED);
}

static void on_timeout(struct timer *t)
{
	struct limit_op *op = container_of(t, struct limit_op, timer);
	struct limiter *l = op->limiter;
	if (op->blocked) {
		leave(l, op);
		give_up(l, op);
	} else {
		leave(l, op);
		op->wait_ms = STRANGER_MS;
	}
	op_done(&op->op, -ERR_TIMEOUT);
}

static void on_stranger_timer(struct timer *t);

/* What becomes of a take whose needs are known: 0 it goes, 1 it waits, or it fails. It is in no queue. */
static int decide(struct limiter *l, struct limit_op *op)
{
	uint64_t now = clock_mono_ms();
	struct limit *k = too_small(op->ticket);
	if (k) {
		tell(op, k);
		op->shorten_to = shorten_to(op, now, /* whole= */ true);
		forget(op->ticket);
		return -ERR_TOO_LARGE;
	}
	k = in_the_way(op->ticket, op->seq, now);
	if (!k) {
		spend_all(l, op->ticket, now);
		return 0;
	}
	queue_at(l, op, k);
	l->waiting++;
	return 1;
}

void limiter_take(struct limiter *l, struct limit_op *op, const struct limit_ask *ask, struct limit_ticket *ticket, int64_t max_wait_ms, struct flow *flow)
{
	op_start(&op->op, flow, "limit", on_cancel);
	op->limiter = l;
	op->ask = *ask;
	op->ticket = ticket;
	op->link = (struct link){ NULL, NULL };
	op->wait_ms = 0;
	op->shorten_to = -1;
	op->which = NULL;
	op->is_target = false;
	op->blocked = NULL;
	op->seq = ++l->seq;
	timer_init(&op->timer, l->worker->loop, on_timeout);
	int rc = 1;
	limiter_become(l);
	if (limiter_needs(l, ask, ticket)) {
		hold_groups(ticket, 1);
		rc = decide(l, op);
		if (rc <= 0) {
			op_done(&op->op, rc);
			return;
		}
		metric_add(METRIC_LIMIT_WAITS, limit_label(op->blocked), 1);
	} else {
		list_push(&l->strangers, &op->link);
		l->waiting++;
		op->which = "the tenant's name, which is being read";
		if (!timer_is_armed(&l->stranger_timer))
			timer_start(&l->stranger_timer, STRANGER_MS);
	}
	if (max_wait_ms <= 0)
		on_timeout(&op->timer);
	else
		timer_start(&op->timer, (uint64_t)max_wait_ms);
}

/* Those whose tenant was not known, again. */
static void on_stranger_timer(struct timer *t)
{
	struct limiter *l = container_of(t, struct limiter, stranger_timer);
	size_t n = l->strangers.n;
	struct link *link;
	while (n-- > 0 && (link = list_pop(&l->strangers))) {
		struct limit_op *op = container_of(link, struct limit_op, link);
		if (!limiter_needs(l, &op->ask, op->ticket)) {
			list_push(&l->strangers, &op->link);
			continue;
		}
		l->waiting--;
		hold_groups(op->ticket, 1);
		int rc = decide(l, op);
		if (rc > 0)
			continue;
		timer_stop(&op->timer);
		op_done(&op->op, rc);
	}
	if (l->strangers.n > 0)
		timer_start(t, STRANGER_MS);
}

/* The head of k's queue: true when it left the queue. */
static bool serve_head(struct limiter *l, struct limit *k)
{
	struct limit_op *op = container_of(list_first(&k->waiters), struct limit_op, link);
	uint64_t now = clock_mono_ms();
	struct limit *small = too_small(op->ticket);
	struct limit *way = small ? NULL : in_the_way(op->ticket, op->seq, now);
	if (way == k)
		return false;
	if (way) {
		list_remove(&k->waiters, &op->link);
		queue_at(l, op, way);
		return true;
	}
	list_remove(&k->waiters, &op->link);
	timer_stop(&op->timer);
	l->waiting--;
	int rc = 0;
	if (small) {
		tell(op, small);
		forget(op->ticket);
		rc = -ERR_TOO_LARGE;
	} else {
		spend_all(l, op->ticket, now);
	}
	op_done(&op->op, rc);
	return true;
}

void limit_serve(struct limiter *l, struct limit *k)
{
	limiter_become(l);
	k->group->refs++; /* it stays while those who go do what they do */
	while (k->waiters.n > 0 && serve_head(l, k))
		;
	k->group->refs--;
}

/* All queues whose limits are active: a waiter's always is. */
static void on_serve(struct soon *s)
{
	struct limiter *l = container_of(s, struct limiter, serve);
	/* Who goes may move others between the queues; what is missed by that comes with the next tick. */
	size_t n = l->active.n;
	struct link *link;
	while (n-- > 0 && (link = list_pop(&l->active))) {
		struct limit *k = container_of(link, struct limit, active);
		list_push(&l->active, link);
		limit_serve(l, k);
	}
}

/* --- the end of a call --- */

static void permit_back(const struct limit_ticket *t, const struct limit_need *need, uint64_t now_ms)
{
	struct limiter *l = t->limiter;
	struct limit *k = need->limit;
	if (t->life != l->life) {
		limiter_left_behind(l, t->life);
		return;
	}
	assert(k->in_use > 0);
	k->in_use--;
	k->call_ms += ((double)(now_ms - MIN(need->slice_ms, now_ms)) - k->call_ms) / 16;
	limiter_touch(l, k);
	if (k->waiters.n > 0)
		loop_soon(l->worker->loop, &l->serve);
}

/* used: -1 unknown. */
static void settle_tokens(struct limiter *l, const struct limit_need *need, int64_t used, uint64_t now_ms)
{
	struct limit *k = need->limit;
	if (used < 0 || k->cap == 0)
		return;
	if (used > need->amount) {
		limit_bucket_owe(&k->bucket, MIN(used - need->amount, k->cap), now_ms);
	} else {
		limit_bucket_unspend(&k->bucket, need->amount - used, need->slice_ms, now_ms);
		if (k->waiters.n > 0 && used < need->amount)
			loop_soon(l->worker->loop, &l->serve);
	}
	limiter_touch(l, k);
}

void limiter_settle(struct limit_ticket *t, int64_t input_tokens, int64_t output_tokens)
{
	uint64_t now = clock_mono_ms();
	const int64_t used[LIMIT_KINDS] = { [LIMIT_REQUESTS] = -1, [LIMIT_TOKENS] = input_tokens < 0 || output_tokens < 0 ? -1 : input_tokens + output_tokens,
		                            [LIMIT_INPUT] = input_tokens, [LIMIT_OUTPUT] = output_tokens };
	for (int i = 0; i < t->n; i++) {
		const struct limit_need *need = &t->needs[i];
		if (need->limit->kind == LIMIT_CALLS)
			permit_back(t, need, now);
		else
			settle_tokens(t->limiter, need, used[need->limit->kind], now);
	}
	forget(t);
}

void limiter_release(struct limit_ticket *t)
{
	uint64_t now = clock_mono_ms();
	for (int i = 0; i < t->n; i++) {
		const struct limit_need *need = &t->needs[i];
		if (need->limit->kind == LIMIT_CALLS)
			permit_back(t, need, now);
		else
			settle_tokens(t->limiter, need, 0, now);
	}
	forget(t);
}

/* --- claims and headers --- */

/* When the statement that asks for what is wished for now may have been answered. */
static int64_t answer_in(const struct limiter *l, uint64_t now_ms)
{
	return l->asking || now_ms >= l->not_before_ms ? ANSWER_MS : (int64_t)(l->not_before_ms - now_ms) + ANSWER_MS;
}

/* A claim wants so much of k, and the next ones will. */
static void wish_for(struct limiter *l, struct limit *k, int64_t amount, bool is_short, uint64_t now)
{
	k->wish = MIN(MAX(amount * WISH_CLAIMS, now < k->wish_until_ms ? k->wish : 0), k->cap);
	k->wish_until_ms = now + WISH_MS;
	if (is_short)
		limiter_lacks(l, k);
	else
		limiter_touch(l, k);
}

int limiter_room(struct limiter *l, const struct conf_target *target, int wanted, int64_t *ret_wait_ms)
{
	uint64_t now = clock_mono_ms();
	limiter_become(l);
	if (l->conf != conf_now())
		limiter_refresh(l);
	const struct limit_group *g = limiter_target_group(l, target);
	int64_t room = INT32_MAX;
	*ret_wait_ms = 0;
	for (enum limit_kind kind = 0; g && kind < LIMIT_KINDS; kind++) {
		struct limit *k = g->limits[kind];
		if (!k || k->cap == 0)
			continue;
		int64_t each = kind == LIMIT_REQUESTS || kind == LIMIT_CALLS ? 1 : MAX((int64_t)(k->typical + 1), (int64_t)1);
		each = MIN(each, k->cap);
		int64_t calls = MAX(limit_left(k, now) - limit_queued(k, QUEUE_LOOK), (int64_t)0) / each;
		if (each > 1 && !k->has_typical)
			calls = MIN(calls, (int64_t)FIRST_CALLS);
		if (kind == LIMIT_CALLS)
			k->longest_ms = MAX(k->longest_ms, attempt_total_ms(target));
		if (calls < WISH_EARLY * wanted)
			wish_for(l, k, each * wanted, calls < wanted, now);
		if (calls == 0)
			*ret_wait_ms = MAX(*ret_wait_ms, k->free_at_ms > now + LIMIT_TICK_MS ? (int64_t)(k->free_at_ms - now) : answer_in(l, now));
		room = MIN(room, calls);
	}
	struct limit *calls = g ? g->limits[LIMIT_CALLS] : NULL;
	if (calls && room > 0) /* what claims bring will use them: they are not idle */
		calls->peak = MAX(calls->peak, MIN(calls->in_use + WISH_EARLY * wanted, calls->held));
	return (int)room;
}

static void lower(struct limiter *l, struct limit_group *g, enum limit_kind kind, int64_t limit, int64_t remaining)
{
	struct limit *k = g->limits[kind];
	if (!k || k->cap == 0 || limit <= 0 || remaining < 0)
		return;
	limit_bucket_lower(&k->bucket, remaining);
	k->available = MIN(k->available, remaining);
	if (remaining >= LIMIT_BURST(k->cap))
		return; /* the table never has so much to give at once */
	k->lower = k->lower < 0 ? remaining : MIN(k->lower, remaining);
	limiter_touch(l, k);
}

void limiter_headers(struct limiter *l, const struct conf_target *target, const struct limit_headers *h)
{
	struct limit_group *g = limiter_target_group(l, target);
	if (!g)
		return;
	lower(l, g, LIMIT_REQUESTS, h->requests_limit, h->requests_remaining);
	lower(l, g, LIMIT_TOKENS, h->tokens_limit, h->tokens_remaining);
	lower(l, g, LIMIT_INPUT, h->input_limit, h->input_remaining);
	lower(l, g, LIMIT_OUTPUT, h->output_limit, h->output_remaining);
}

/* --- life --- */

struct limiter *limiter_new(struct worker *w)
{
	struct limiter *l = calloc(1, sizeof *l);
	assert(l);
	l->worker = w;
	l->as = w->id;
	l->workers = 1;
	l->conf = conf_now_ref();
	hash_init(&l->groups);
	list_init(&l->active);
	list_init(&l->strangers);
	l->serve.fn = on_serve;
	timer_init(&l->stranger_timer, w->loop, on_stranger_timer);
	limiter_tick_init(l);
	return l;
}

bool limiter_is_idle(const struct limiter *l)
{
	return !l->asking && !l->pruning && !l->leaving && !(l->draining && timer_is_armed(&l->tick_timer));
}

void limiter_drain(struct limiter *l)
{
	if (l->draining)
		return;
	l->draining = true;
	timer_stop(&l->tick_timer);
	if (!l->asking && limiter_has_to_tell(l))
		timer_start(&l->tick_timer, 0);
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	assert(!l->asking && !l->pruning && !l->leaving && l->waiting == 0);
	limiter_tick_done(l);
	timer_stop(&l->stranger_timer);
	loop_soon_cancel(l->worker->loop, &l->serve);
	limiter_sweep(l, /* all= */ true);
	hash_done(&l->groups);
	conf_unref(l->conf);
	free(l);
}
