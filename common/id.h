/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identifiers: a UUIDv7 (RFC 9562) whose last ten bits are the bucket (0–1,023), written as prefix + 32 lower-case hex digits:
 * job_019a2b3c4d5e7f00a1b2c3d4e5f60123. The time part makes ids sort by creation and routes a look-up to one partition; the
 * bucket routes it to one shard. Ids made by one process in one millisecond keep their order (12-bit counter).
 */
#ifndef MR_COMMON_ID_H
#define MR_COMMON_ID_H

#include "common/str.h"

#define ID_BUCKETS 1024
#define ID_HEX_LEN 32
#define ID_TEXT_MAX 48 /* prefix, hex digits and NUL fit */

struct id {
	uint8_t b[16];
};

struct id id_make(int bucket);  /* bucket 0..1023, or -1 for a random one */
int id_bucket(struct id id);
int64_t id_time_ms(struct id id); /* Unix milliseconds in the id */
bool id_eq(struct id a, struct id b);
bool id_is_zero(struct id id);

/* The bucket of a keyed submission: a hash of tenant and key, stable over processes and releases (SHA-256). */
int id_bucket_of_key(int64_t tenant_id, struct str key);

/* prefix is "job_", "batch_", …; writes prefix and 32 hex digits and a NUL, returns the str. */
struct str id_text(struct id id, const char *prefix, char out[ID_TEXT_MAX]);
/* 0, or -ERR_NOT_FOUND when s is not prefix + 32 lower-case hex digits (a malformed id does not exist). */
int id_parse(struct str s, const char *prefix, struct id *ret);

#endif
