/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDv7 with a bucket:
 *
 *     48 bits Unix milliseconds │ 7 │ 12 bits counter │ 10₂ │ 52 bits random │ 10 bits bucket
 *
 * The counter starts at a random value in its lower half in each millisecond and grows by one per id, so ids of one process keep
 * their order. When it overflows, or when the wall clock steps back, the id's time runs ahead of the clock: order matters more
 * than the last millisecond. Random bits come from getrandom, 512 bytes at a time; a forked child throws its copy of them away,
 * since two processes with the same random bits would make the same ids.
 *
 * Used on the loop's thread only.
 */
#include "common/id.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/err.h"

#define COUNTER_MAX 0xfff

static uint64_t pool[64];
static size_t pool_left;
static pthread_once_t watch_once = PTHREAD_ONCE_INIT;

static void drop_pool(void)
{
	pool_left = 0;
}

static void watch_forks(void)
{
	if (pthread_atfork(NULL, NULL, drop_pool) != 0)
		abort();
}

static void fill_pool(void)
{
	pthread_once(&watch_once, watch_forks);
	/* Up to 256 bytes never come short; larger reads might after a signal, so the rest is asked for again. */
	for (size_t got = 0; got < sizeof(pool);) {
		ssize_t n = getrandom((char *)pool + got, MIN(sizeof(pool) - got, (size_t)256), 0);
		if (n < 0)
			abort();
		got += (size_t)n;
	}
	pool_left = ARRAY_LEN(pool);
}

static uint64_t random_bits(void)
{
	if (pool_left == 0)
		fill_pool();
	return pool[--pool_left];
}

struct id id_make(int bucket)
{
	static uint64_t last_ms;
	static uint32_t counter;
	assert(bucket >= -1 && bucket < ID_BUCKETS);
	uint64_t random = random_bits();
	uint64_t now_ms = (uint64_t)clock_wall_us() / 1000;
	if (now_ms > last_ms || counter == COUNTER_MAX) {
		last_ms = now_ms > last_ms ? now_ms : last_ms + 1;
		counter = (uint32_t)(random_bits() & (COUNTER_MAX >> 1));
	} else {
		counter++;
	}
	uint64_t high = htobe64(last_ms << 16 | 0x7000 | counter);
	uint64_t low = (random & 0x3fffffffffffffffu) | 0x8000000000000000u;
	if (bucket >= 0)
		low = (low & ~(uint64_t)(ID_BUCKETS - 1)) | (uint64_t)bucket;
	low = htobe64(low);
	struct id id;
	memcpy(id.b, &high, 8);
	memcpy(id.b + 8, &low, 8);
	return id;
}

int id_bucket(struct id id)
{
	return (id.b[14] << 8 | id.b[15]) & (ID_BUCKETS - 1);
}

int64_t id_time_ms(struct id id)
{
	uint64_t high;
	memcpy(&high, id.b, sizeof(high));
	return (int64_t)(be64toh(high) >> 16);
}

bool id_eq(struct id a, struct id b)
{
	return memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

bool id_is_zero(struct id id)
{
	return id_eq(id, (struct id){ { 0 } });
}

int id_bucket_of_key(int64_t tenant_id, struct str key)
{
	uint64_t tenant = htobe64((uint64_t)tenant_id);
	struct str parts[] = { { (const char *)&tenant, sizeof(tenant) }, key };
	uint8_t digest[SHA256_LEN];
	crypto_sha256_parts(parts, ARRAY_LEN(parts), digest);
	return (digest[0] << 8 | digest[1]) & (ID_BUCKETS - 1);
}

struct str id_text(struct id id, const char *prefix, char out[ID_TEXT_MAX])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = strlen(prefix);
	assert(n + ID_HEX_LEN < ID_TEXT_MAX);
	memcpy(out, prefix, n);
	for (size_t i = 0; i < sizeof(id.b); i++) {
		out[n++] = digits[id.b[i] >> 4];
		out[n++] = digits[id.b[i] & 15];
	}
	out[n] = '\0';
	return (struct str){ out, n };
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int id_parse(struct str s, const char *prefix, struct id *ret)
{
	struct str head = str_from(prefix);
	if (s.n != head.n + ID_HEX_LEN || !str_has_prefix(s, head))
		return -ERR_NOT_FOUND;
	struct id id;
	for (size_t i = 0; i < sizeof(id.b); i++) {
		int high = hex_value(s.p[head.n + 2 * i]), low = hex_value(s.p[head.n + 2 * i + 1]);
		if (high < 0 || low < 0)
			return -ERR_NOT_FOUND;
		id.b[i] = (uint8_t)(high << 4 | low);
	}
	*ret = id;
	return 0;
}
