/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory with one owner and one end: everything parsed, formatted or built for a request or a job lives in its
 * arena and is freed together. arena_defer registers a release (slot, reservation, list membership, foreign handle) at the
 * moment of acquisition; releases run in reverse order in arena_done, whichever way the flow ended.
 *
 * Small allocations never fail (the process aborts with a message when memory is out: the job is leased, another
 * worker takes it). Sizes chosen by outsiders go through arena_try.
 */
#ifndef MR_COMMON_ARENA_H
#define MR_COMMON_ARENA_H

#include <stdarg.h>

#include "common/str.h"

struct arena_chunk;
struct arena_defer;

struct arena {
	struct arena_chunk *chunks;  /* owned; newest first */
	struct arena_defer *defers;  /* newest first; live in the arena */
	size_t used;                 /* bytes handed out */
	size_t max;                  /* cap for arena_try, bytes */
};

void arena_init(struct arena *a, size_t max);
void arena_done(struct arena *a); /* runs the deferred releases, newest first, then frees everything */

/* Zeroed, aligned to 16. Never NULL. */
void *arena_alloc(struct arena *a, size_t n);
#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc((a), sizeof(type) * (n)))

/* As arena_alloc, for sizes that outsiders choose: NULL when the arena would pass its max. */
void *arena_try(struct arena *a, size_t n);

struct str arena_str(struct arena *a, struct str s); /* a copy; also NUL-terminated */
char *arena_strz(struct arena *a, struct str s);     /* a copy, NUL-terminated */
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3); /* NUL-terminated too */

/* Calls fn(ptr) when the arena ends. */
void arena_defer(struct arena *a, void (*fn)(void *ptr), void *ptr);

#endif
