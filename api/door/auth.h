/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sends a request. A key is known by its SHA-256; the database is asked by the key's public prefix, once for all
 * requests that wait for the same key. What was found is kept 10 s, what was not found 1 s, so a revoked key works for
 * at most 10 s.
 */
#ifndef MR_API_DOOR_AUTH_H
#define MR_API_DOOR_AUTH_H

#include "api/door/auth_key.h"
#include "common/flow.h"
#include "common/str.h"

struct api;
struct auth;
struct auth_entry;

#define TENANT_NAME_MAX 200 /* bytes; of a longer name the front */

struct identity {
	char tenant[TENANT_NAME_MAX + 1];
	int64_t tenant_id;
	int weight; /* share in the fair queue */
	bool is_admin;
	char key_prefix[AUTH_KEY_PREFIX_LEN + 1]; /* the public part of the key, NUL-terminated */
};

struct auth_lookup {
	struct op op; /* completes with 0, -ERR_UNAUTHENTICATED, -ERR_OVERLOADED or -ERR_DATABASE */
	struct link link;
	struct identity who;
};

struct auth *auth_new(struct api *api);
void auth_free(struct auth *a); /* no look-up may be in flight */
/* 1: known, lookup->who is set and no completion comes. 0: one will come. Negative: refused. */
int auth_start(struct auth *a, struct str key, struct auth_lookup *lookup);

#endif
