/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few macros that every file may use. Nothing here allocates, logs or knows a type of ours.
 */
#ifndef MR_COMMON_BASE_H
#define MR_COMMON_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/param.h> /* MIN and MAX: libuv's header includes it too */
#include <sys/types.h>

#define MR_VERSION "0.1.0"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that embeds `member`, given a pointer to that member. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Runs fn(&variable) when the variable leaves its scope; hand a value over with take(&variable). */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of a variable, so that its clean-up finds NULL. */
#define take(pp)                    \
	__extension__({             \
		__auto_type p_ = (pp);   \
		__auto_type v_ = *p_;    \
		*p_ = NULL;         \
		v_;                 \
	})

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NODISCARD __attribute__((warn_unused_result))
#define UNUSED __attribute__((unused))

#endif
