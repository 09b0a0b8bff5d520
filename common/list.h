/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list. An object knows whether it is linked; removal is idempotent; use the safe loop when the body
 * may remove the current object.
 */
#ifndef MR_COMMON_LIST_H
#define MR_COMMON_LIST_H

#include "common/base.h"

struct link {
	struct link *next, *prev; /* NULL when not linked */
};

struct list {
	struct link head;
	size_t n; /* objects linked */
};

static inline void list_init(struct list *l)
{
	l->head.next = l->head.prev = &l->head;
	l->n = 0;
}

static inline bool link_is_linked(const struct link *k)
{
	return k->next != NULL;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->n == 0;
}

static inline void list_insert_before(struct list *l, struct link *at, struct link *k)
{
	assert(!link_is_linked(k));
	k->next = at;
	k->prev = at->prev;
	at->prev->next = k;
	at->prev = k;
	l->n++;
}

static inline void list_push(struct list *l, struct link *k) /* at the end */
{
	list_insert_before(l, &l->head, k);
}

static inline void list_push_front(struct list *l, struct link *k)
{
	list_insert_before(l, l->head.next, k);
}

static inline void list_remove(struct list *l, struct link *k)
{
	if (!link_is_linked(k))
		return;
	assert(l->n > 0);
	k->prev->next = k->next;
	k->next->prev = k->prev;
	k->next = k->prev = NULL;
	l->n--;
}

static inline struct link *list_first(const struct list *l) /* NULL when empty */
{
	return l->n ? l->head.next : NULL;
}

static inline struct link *list_pop(struct list *l) /* NULL when empty */
{
	struct link *k = list_first(l);
	if (k)
		list_remove(l, k);
	return k;
}

/* for (struct link *k = ...; ...) over all; the body must not remove k. */
#define LIST_EACH(l, k) for (struct link *k = (l)->head.next; k != &(l)->head; k = k->next)
/* The body may remove k (and only k). */
#define LIST_EACH_SAFE(l, k, tmp) \
	for (struct link *k = (l)->head.next, *tmp = k->next; k != &(l)->head; k = tmp, tmp = k->next)

#endif
