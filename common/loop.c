/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: a thin skin over libuv. All timers of a loop live in one binary heap behind one uv timer, so that
 * arming, moving and stopping one of ten thousand costs a few swaps and no system call.
 *
 * One turn: due timers, then what was put off by loop_soon, then sockets (poll), then again what was put off. What a
 * soon puts off waits for the next of these two places, so that sockets are never starved; an idle handle keeps poll
 * from sleeping meanwhile.
 *
 * What can go wrong: an owner that leaves a handle open. loop_done finds it and, in test builds, names it and aborts.
 */
#include "common/loop.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/metrics.h"

#define LAG_PERIOD_MS 1000
#define HEAP_FIRST    64
#define DONE_TURNS    100 /* how many turns loop_done gives to handles that are being closed */

struct loop_signal {
	uv_signal_t uv;
	struct link link; /* in loop->signals */
	void (*fn)(void *arg, int signum);
	void *arg;
};

/* --- the heap: heap[0] is due first; timer->at is its place + 1 --- */

static void heap_put(struct loop *l, size_t i, struct timer *t)
{
	l->heap[i] = t;
	t->at = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct timer *t)
{
	while (i > 0) {
		size_t parent = (i - 1) / 2;
		if (l->heap[parent]->due_ms <= t->due_ms)
			break;
		heap_put(l, i, l->heap[parent]);
		i = parent;
	}
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct timer *t)
{
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= l->heap_n)
			break;
		if (child + 1 < l->heap_n && l->heap[child + 1]->due_ms < l->heap[child]->due_ms)
			child++;
		if (l->heap[child]->due_ms >= t->due_ms)
			break;
		heap_put(l, i, l->heap[child]);
		i = child;
	}
	heap_put(l, i, t);
}

static void heap_settle(struct loop *l, size_t i, struct timer *t)
{
	if (i > 0 && l->heap[(i - 1) / 2]->due_ms > t->due_ms)
		heap_up(l, i, t);
	else
		heap_down(l, i, t);
}

static void heap_add(struct loop *l, struct timer *t)
{
	if (l->heap_n == l->heap_cap) {
		size_t cap = l->heap_cap ? 2 * l->heap_cap : HEAP_FIRST;
		struct timer **heap = realloc(l->heap, cap * sizeof(*heap));
		if (!heap)
			abort(); /* memory is out: the process ends, its leases pass on */
		l->heap = heap;
		l->heap_cap = cap;
	}
	heap_up(l, l->heap_n++, t);
}

static void heap_remove(struct loop *l, struct timer *t)
{
	size_t i = t->at - 1;
	assert(i < l->heap_n && l->heap[i] == t);
	struct timer *last = l->heap[--l->heap_n];
	t->at = 0;
	t->due_ms = 0;
	if (last != t)
		heap_settle(l, i, last);
}

static void on_heap_timer(uv_timer_t *uv);

/* Arms the uv timer for the heap's first, at least min_ms from now. An alarm that comes too early is harmless, so it is
 * moved only to an earlier time. */
static void heap_arm(struct loop *l, uint64_t min_ms)
{
	if (!l->heap_n) {
		uv_timer_stop(&l->heap_timer); /* an empty heap must not keep the loop alive */
		l->armed_ms = 0;
		return;
	}
	uint64_t due = l->heap[0]->due_ms, now = uv_now(&l->uv);
	if (l->armed_ms && l->armed_ms <= due)
		return;
	l->armed_ms = MAX(due, 1);
	uv_timer_start(&l->heap_timer, on_heap_timer, MAX(due > now ? due - now : 0, min_ms), 0);
}

static void on_heap_timer(uv_timer_t *uv)
{
	struct loop *l = container_of(uv, struct loop, heap_timer);
	uint64_t now = uv_now(&l->uv);
	/* A timer that starts itself again with 0 waits for the next turn: libuv fires what is due until nothing is. */
	for (size_t left = l->heap_n; left && l->heap_n && l->heap[0]->due_ms <= now; left--) {
		struct timer *t = l->heap[0];
		heap_remove(l, t);
		t->fn(t);
	}
	l->armed_ms = 0;
	heap_arm(l, 1);
}

void timer_init(struct timer *t, struct loop *l, void (*fn)(struct timer *t))
{
	*t = (struct timer){ .loop = l, .fn = fn };
}

void timer_start(struct timer *t, uint64_t after_ms)
{
	struct loop *l = t->loop;
	t->due_ms = uv_now(&l->uv) + after_ms;
	if (t->at)
		heap_settle(l, t->at - 1, t);
	else
		heap_add(l, t);
	heap_arm(l, 0);
}

void timer_stop(struct timer *t)
{
	if (!t->at)
		return;
	heap_remove(t->loop, t);
	if (!t->loop->heap_n)
		heap_arm(t->loop, 0);
}

bool timer_is_armed(const struct timer *t)
{
	return t->at != 0;
}

/* --- soon --- */

static void on_idle(uv_idle_t *uv)
{
	(void)uv; /* its being active is the point: poll does not sleep */
}

static void soons_run(struct loop *l)
{
	for (size_t left = l->soons.n; left && l->soons.n; left--) {
		struct soon *s = container_of(list_pop(&l->soons), struct soon, link);
		s->fn(s);
	}
	if (list_is_empty(&l->soons))
		uv_idle_stop(&l->idle);
}

static void on_prepare(uv_prepare_t *uv)
{
	soons_run(container_of(uv, struct loop, prepare));
}

static void on_check(uv_check_t *uv)
{
	struct loop *l = container_of(uv, struct loop, check);
	l->turns++;
	soons_run(l);
}

void loop_soon(struct loop *l, struct soon *s)
{
	assert(s->fn);
	if (link_is_linked(&s->link))
		return;
	list_push(&l->soons, &s->link);
	if (l->soons.n == 1)
		uv_idle_start(&l->idle, on_idle);
}

void loop_soon_cancel(struct loop *l, struct soon *s)
{
	list_remove(&l->soons, &s->link);
	if (list_is_empty(&l->soons))
		uv_idle_stop(&l->idle);
}

/* --- signals --- */

static void on_signal(uv_signal_t *uv, int signum)
{
	struct loop_signal *s = container_of(uv, struct loop_signal, uv);
	s->fn(s->arg, signum);
}

static void on_signal_closed(uv_handle_t *h)
{
	free(container_of((uv_signal_t *)h, struct loop_signal, uv));
}

static void signal_close(struct loop *l, struct loop_signal *s)
{
	list_remove(&l->signals, &s->link);
	uv_close((uv_handle_t *)&s->uv, on_signal_closed);
}

int loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg)
{
	struct loop_signal *s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	s->fn = fn;
	s->arg = arg;
	if (uv_signal_init(&l->uv, &s->uv) < 0) {
		free(s);
		return -ERR_IO;
	}
	list_push(&l->signals, &s->link);
	if (uv_signal_start(&s->uv, on_signal, signum) < 0) {
		signal_close(l, s);
		return -ERR_IO;
	}
	uv_unref((uv_handle_t *)&s->uv); /* waiting for a signal is no work */
	return 0;
}

void loop_signals_done(struct loop *l)
{
	while (!list_is_empty(&l->signals))
		signal_close(l, container_of(list_first(&l->signals), struct loop_signal, link));
}

/* --- the loop --- */

static void on_lag(uv_timer_t *uv)
{
	struct loop *l = container_of(uv, struct loop, lag_timer);
	uint64_t now = clock_mono_ns();
	metric_observe_ns(METRIC_LOOP_LAG, "", now > l->lag_due_ns ? now - l->lag_due_ns : 0);
	l->lag_due_ns = now + LAG_PERIOD_MS * 1000000ull;
	uv_timer_start(uv, on_lag, LAG_PERIOD_MS, 0);
}

void loop_init(struct loop *l)
{
	*l = (struct loop){ 0 };
	list_init(&l->soons);
	list_init(&l->signals);
	if (uv_loop_init(&l->uv) < 0)
		abort(); /* no epoll, no life */
	uv_check_init(&l->uv, &l->check);
	uv_prepare_init(&l->uv, &l->prepare);
	uv_idle_init(&l->uv, &l->idle);
	uv_timer_init(&l->uv, &l->heap_timer);
	uv_timer_init(&l->uv, &l->lag_timer);
	uv_check_start(&l->check, on_check);
	uv_prepare_start(&l->prepare, on_prepare);
	l->lag_due_ns = clock_mono_ns() + LAG_PERIOD_MS * 1000000ull;
	uv_timer_start(&l->lag_timer, on_lag, LAG_PERIOD_MS, 0);
	uv_unref((uv_handle_t *)&l->check);
	uv_unref((uv_handle_t *)&l->prepare);
	uv_unref((uv_handle_t *)&l->lag_timer);
}

void loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

uint64_t loop_now_ms(struct loop *l)
{
	return uv_now(&l->uv);
}

void loop_done(struct loop *l)
{
	/* What was put off may be the last step of a close. */
	for (int i = 0; i < DONE_TURNS && !list_is_empty(&l->soons); i++)
		uv_run(&l->uv, UV_RUN_NOWAIT);
	loop_signals_done(l);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->heap_timer, NULL);
	uv_close((uv_handle_t *)&l->lag_timer, NULL);
	int rc = UV_EBUSY;
	for (int i = 0; i < DONE_TURNS && rc == UV_EBUSY; i++) {
		uv_run(&l->uv, UV_RUN_NOWAIT);
		rc = uv_loop_close(&l->uv);
	}
#ifdef MR_FAULTS
	if (rc < 0) {
		uv_print_all_handles(&l->uv, stderr);
		abort();
	}
#endif
	free(l->heap);
	l->heap = NULL;
}
