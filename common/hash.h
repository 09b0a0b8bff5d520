/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from a byte key to a pointer. Keys are copied; values are borrowed. Seeded per process (SipHash-1-3), because
 * outsiders choose keys. Not for the hot inner loops of claims (those use arrays).
 */
#ifndef MR_COMMON_HASH_H
#define MR_COMMON_HASH_H

#include "common/str.h"

struct hash_slot;
struct hash {
	struct hash_slot *slots; /* owned */
	size_t n, cap, gone;
};

void hash_init(struct hash *h);
void hash_done(struct hash *h);
void *hash_get(const struct hash *h, struct str key); /* NULL when absent */
void hash_set(struct hash *h, struct str key, void *value); /* value must not be NULL; replaces */
void *hash_remove(struct hash *h, struct str key); /* the value, or NULL */

/* Iteration: start with *at = 0; false at the end. Removing the returned key is allowed; adding is not. */
bool hash_next(const struct hash *h, size_t *at, struct str *ret_key, void **ret_value);

uint64_t hash_bytes(struct str s); /* the same seed for the life of the process */

#endif
