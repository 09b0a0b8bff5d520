/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map with open addressing and linear probing. A removed slot keeps a tombstone until the next rebuild, so that removing
 * while iterating moves nothing. The table is rebuilt when live and dead slots fill three quarters of it: twice as large when
 * the live ones alone fill more than half of that, else the same size without its dead ones.
 *
 * Keys come from outside (tenants, tokens, header values), so the hash is SipHash-1-3 under a random key of the process: nobody
 * can prepare keys that collide. Each slot keeps its hash, so that probing compares keys only on a full match.
 *
 * Out of memory ends the process; the callers bound how many keys there are.
 */
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_CAP 16

struct hash_slot {
	char *key; /* owned; NULL: never used; &tombstone: removed */
	size_t n;
	uint64_t hash;
	void *value;
};

static char tombstone;

static bool is_live(const struct hash_slot *s)
{
	return s->key && s->key != &tombstone;
}

/* --- SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") --- */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static uint64_t siphash13(const uint64_t key[2], struct str data)
{
	struct sip s = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
			 key[1] ^ 0x7465646279746573u };
	uint64_t word, last = (uint64_t)data.n << 56;
	size_t at = 0;
	for (; data.n - at >= sizeof(word); at += sizeof(word)) {
		memcpy(&word, data.p + at, sizeof(word));
		s.v3 ^= word;
		sip_round(&s);
		s.v0 ^= word;
	}
	for (size_t i = 0; at + i < data.n; i++)
		last |= (uint64_t)(unsigned char)data.p[at + i] << (8 * i);
	s.v3 ^= last;
	sip_round(&s);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hash_bytes(struct str s)
{
	static uint64_t key[2];
	static bool seeded;
	if (!seeded) {
		if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
			abort();
		seeded = true;
	}
	return siphash13(key, s);
}

/* --- the map --- */

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

void hash_init(struct hash *h)
{
	*h = (struct hash){ 0 };
}

void hash_done(struct hash *h)
{
	for (size_t i = 0; i < h->cap; i++)
		if (is_live(&h->slots[i]))
			free(h->slots[i].key);
	free(h->slots);
	hash_init(h);
}

/* The slot of that key, or NULL. There is always a slot never used, so the walk ends. */
static struct hash_slot *find(const struct hash *h, struct str key, uint64_t hash)
{
	if (h->n == 0)
		return NULL;
	for (size_t i = hash & (h->cap - 1);; i = (i + 1) & (h->cap - 1)) {
		struct hash_slot *s = &h->slots[i];
		if (!s->key)
			return NULL;
		if (s->hash == hash && is_live(s) && str_eq((struct str){ s->key, s->n }, key))
			return s;
	}
}

static struct hash_slot *find_unused(struct hash_slot *slots, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);
	while (slots[i].key)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

static void rebuild(struct hash *h)
{
	size_t cap = h->cap ? h->cap : FIRST_CAP;
	if (h->n >= cap / 8 * 3)
		cap *= 2;
	struct hash_slot *slots = must(calloc(cap, sizeof(*slots)));
	for (size_t i = 0; i < h->cap; i++)
		if (is_live(&h->slots[i]))
			*find_unused(slots, cap, h->slots[i].hash) = h->slots[i];
	free(h->slots);
	h->slots = slots;
	h->cap = cap;
	h->gone = 0;
}

void *hash_get(const struct hash *h, struct str key)
{
	struct hash_slot *s = h->n ? find(h, key, hash_bytes(key)) : NULL;
	return s ? s->value : NULL;
}

void hash_set(struct hash *h, struct str key, void *value)
{
	assert(value);
	uint64_t hash = hash_bytes(key);
	struct hash_slot *s = find(h, key, hash);
	if (s) {
		s->value = value;
		return;
	}
	if (h->n + h->gone >= h->cap / 4 * 3)
		rebuild(h);
	s = find_unused(h->slots, h->cap, hash);
	*s = (struct hash_slot){ must(malloc(key.n + 1)), key.n, hash, value };
	if (key.n)
		memcpy(s->key, key.p, key.n);
	s->key[key.n] = '\0';
	h->n++;
}

void *hash_remove(struct hash *h, struct str key)
{
	struct hash_slot *s = h->n ? find(h, key, hash_bytes(key)) : NULL;
	if (!s)
		return NULL;
	free(s->key);
	s->key = &tombstone;
	h->n--;
	h->gone++;
	return s->value;
}

bool hash_next(const struct hash *h, size_t *at, struct str *ret_key, void **ret_value)
{
	for (; *at < h->cap; ++*at) {
		const struct hash_slot *s = &h->slots[*at];
		if (!is_live(s))
			continue;
		*ret_key = (struct str){ s->key, s->n };
		*ret_value = s->value;
		++*at;
		return true;
	}
	return false;
}
