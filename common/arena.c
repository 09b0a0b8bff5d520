/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: memory is handed out from the newest chunk by moving a mark; chunks double from 1.5 KiB (what most jobs need besides their text) to 48 KiB, so that a waiting
 * job costs little and a large one few calls of the allocator. What is larger than a quarter of a chunk gets a chunk of its
 * own behind the newest, whose rest stays in use.
 *
 *     arena.chunks ─▶ [newest: used….free…] ─▶ [full or single] ─▶ …        arena.defers ─▶ newest ─▶ … ─▶ oldest
 *
 * Memory comes zeroed from calloc and is handed out once, so no clearing is needed. Out of memory: a small allocation ends
 * the process with a message; arena_try says NULL when the arena would pass its maximum.
 *
 * arena_done runs the deferred releases while all memory still stands; a release may even allocate or defer.
 */
#include "common/arena.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"

#define ALIGN 16
#define CHUNK_FIRST 1536
#define CHUNK_LAST 49152

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap, used; /* of bytes */
	_Alignas(ALIGN) char bytes[];
};

struct arena_defer {
	struct arena_defer *next;
	void (*fn)(void *ptr);
	void *ptr;
};

void arena_init(struct arena *a, size_t max)
{
	*a = (struct arena){ .max = max };
}

void arena_done(struct arena *a)
{
	while (a->defers) {
		struct arena_defer *d = a->defers;
		a->defers = d->next;
		d->fn(d->ptr);
	}
	while (a->chunks) {
		struct arena_chunk *c = a->chunks;
		a->chunks = c->next;
		free(c);
	}
	a->used = 0;
}

static struct arena_chunk *chunk_new(size_t cap)
{
	struct arena_chunk *c = calloc(1, sizeof(*c) + cap);
	if (!c) {
		static const char text[] = "millrace: out of memory\n";
		ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
		(void)ignored;
		abort();
	}
	c->cap = cap;
	return c;
}

/* The newest chunk is full, or n is large. */
static void *alloc_slow(struct arena *a, size_t n)
{
	struct arena_chunk *newest = a->chunks;
	size_t cap = newest ? MIN(newest->cap * 2, (size_t)CHUNK_LAST) : CHUNK_FIRST;
	if (n > cap / 4 && newest) {
		struct arena_chunk *c = chunk_new(n);
		c->used = n;
		c->next = newest->next;
		newest->next = c;
		return c->bytes;
	}
	struct arena_chunk *c = chunk_new(MAX(cap, n));
	c->used = n;
	c->next = newest;
	a->chunks = c;
	return c->bytes;
}

void *arena_alloc(struct arena *a, size_t n)
{
	assert(n < SIZE_MAX / 4);
	n = (MAX(n, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	a->used += n;
	struct arena_chunk *c = a->chunks;
	if (!c || n > c->cap - c->used)
		return alloc_slow(a, n);
	void *p = c->bytes + c->used;
	c->used += n;
	return p;
}

void *arena_try(struct arena *a, size_t n)
{
	return a->used > a->max || n > a->max - a->used ? NULL : arena_alloc(a, n);
}

char *arena_strz(struct arena *a, struct str s)
{
	char *z = arena_alloc(a, s.n + 1);
	if (s.n)
		memcpy(z, s.p, s.n);
	return z;
}

struct str arena_str(struct arena *a, struct str s)
{
	return (struct str){ arena_strz(a, s), s.n };
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
	struct buf b;
	buf_init(&b, SIZE_MAX / 8);
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	assert(!buf_failed(&b));
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

void arena_defer(struct arena *a, void (*fn)(void *ptr), void *ptr)
{
	struct arena_defer *d = arena_new(a, struct arena_defer);
	*d = (struct arena_defer){ .next = a->defers, .fn = fn, .ptr = ptr };
	a->defers = d;
}
