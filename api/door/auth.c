/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and whom they belong to. When all is well an entry is fresh and the answer is there at once. Otherwise the first
 * look-up asks the database and all that come for the same key meanwhile wait for that one answer.
 *
 * A key that does not exist goes the same way as one that does: one hash, one look-up, one comparison in constant time;
 * nothing tells a guesser how far he got. The cache is bounded, so that made-up keys cannot fill the memory; when too
 * many look-ups are under way, more are refused with 503. A database that cannot be reached is 503, never 401.
 */
#include "api/door/auth.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/door/auth_key.h"
#include "common/crypto.h"
#include "common/hash.h"
#include "sql_api.h"

#define ENTRIES_MAX 10000
#define LOOKUPS_MAX 1024
#define GOOD_MS     10000
#define BAD_MS      1000

struct auth_entry {
	struct link link; /* in auth.entries, oldest first */
	struct auth *auth;
	char prefix[AUTH_KEY_PREFIX_LEN + 1];
	uint8_t hash[SHA256_LEN]; /* of the whole key; the name in auth.by_hash */
	struct list waiting;      /* of auth_lookup */
	struct db_query query;
	struct identity who;
	uint64_t until_ms; /* fresh so long */
	bool is_loading, is_good;
};

struct auth {
	struct api *api;
	struct hash by_hash;
	struct list entries;
	size_t loading;
};

struct auth *auth_new(struct api *api)
{
	struct auth *a = calloc(1, sizeof(*a));
	assert(a);
	a->api = api;
	hash_init(&a->by_hash);
	list_init(&a->entries);
	return a;
}

static struct str entry_key(const struct auth_entry *e)
{
	return (struct str){ (const char *)e->hash, sizeof(e->hash) };
}

static void entry_free(struct auth_entry *e)
{
	assert(!e->is_loading && list_is_empty(&e->waiting));
	list_remove(&e->auth->entries, &e->link);
	hash_remove(&e->auth->by_hash, entry_key(e));
	free(e);
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	LIST_EACH_SAFE(&a->entries, k, next)
	entry_free(container_of(k, struct auth_entry, link));
	hash_done(&a->by_hash);
	free(a);
}

/* Makes room by dropping what was looked up longest ago. */
static void make_room(struct auth *a)
{
	LIST_EACH_SAFE(&a->entries, k, next)
	{
		if (a->entries.n < ENTRIES_MAX)
			return;
		struct auth_entry *e = container_of(k, struct auth_entry, link);
		if (!e->is_loading)
			entry_free(e);
	}
}

static struct auth_entry *entry_new(struct auth *a, const uint8_t hash[SHA256_LEN])
{
	make_room(a);
	struct auth_entry *e = calloc(1, sizeof(*e));
	assert(e);
	e->auth = a;
	memcpy(e->hash, hash, sizeof(e->hash));
	list_init(&e->waiting);
	list_push(&a->entries, &e->link);
	hash_set(&a->by_hash, entry_key(e), e);
	return e;
}

static void entry_judge(struct auth_entry *e)
{
	static const uint8_t nothing[SHA256_LEN];
	const struct db_query *q = &e->query;
	bool found = db_rows(q) == 1;
	struct str stored = found ? db_get_str(q, 0, 0) : (struct str){ (const char *)nothing, sizeof(nothing) };
	bool same = stored.n == SHA256_LEN && crypto_equal(stored.p, e->hash, SHA256_LEN);
	e->is_good = found && same && !db_get_bool(q, 0, 6);
	if (e->is_good)
		e->who = (struct identity){ .tenant_id = db_get_int(q, 0, 1),
			                    .is_admin = db_get_bool(q, 0, 2),
			                    .weight = (int)db_get_int(q, 0, 4) };
	memcpy(e->who.key_prefix, e->prefix, sizeof(e->prefix));
	e->until_ms = loop_now_ms(&e->auth->api->loop) + (e->is_good ? GOOD_MS : BAD_MS);
}

static void take_name(struct auth_entry *e)
{
	struct str name = str_utf8_prefix(db_get_str(&e->query, 0, 3), TENANT_NAME_MAX);
	memcpy(e->who.tenant, name.p, name.n);
	e->who.tenant[name.n] = '\0';
}

static void on_loaded(struct op *op, int rc)
{
	struct auth_entry *e = container_of(op, struct auth_entry, query.op);
	e->is_loading = false;
	e->auth->loading--;
	if (rc == 0)
		entry_judge(e);
	if (rc == 0 && e->is_good)
		take_name(e);
	if (rc < 0)
		e->until_ms = 0;
	db_query_done(&e->query);
	if (rc == 0 && !e->is_good)
		rc = -(int)ERR_UNAUTHENTICATED;

	/* The waiters' requests may start new look-ups, which may drop this entry: take them off first. */
	struct list waiting;
	list_init(&waiting);
	struct identity who = e->who;
	for (struct link *k; (k = list_pop(&e->waiting));)
		list_push(&waiting, k);
	for (struct link *k; (k = list_pop(&waiting));) {
		struct auth_lookup *l = container_of(k, struct auth_lookup, link);
		l->who = who;
		op_done(&l->op, rc);
	}
}

static int entry_load(struct auth_entry *e, struct str prefix)
{
	assert(prefix.n == AUTH_KEY_PREFIX_LEN);
	memcpy(e->prefix, prefix.p, prefix.n);
	if (e->auth->loading >= LOOKUPS_MAX)
		return -(int)ERR_OVERLOADED;
	db_query_init(&e->query, &sql_api_key_get);
	e->query.op.on_done = on_loaded;
	e->query.retry_ms = 5000;
	db_arg_text(&e->query.args, prefix);
	int rc = api_query_start(e->auth->api, &e->query, NULL);
	if (rc < 0) {
		db_query_done(&e->query);
		return rc;
	}
	e->is_loading = true;
	e->auth->loading++;
	return 0;
}

int auth_start(struct auth *a, struct str key, struct auth_lookup *lookup)
{
	if (!auth_key_is_wellformed(key))
		return -(int)ERR_UNAUTHENTICATED;
	uint8_t hash[SHA256_LEN];
	auth_key_hash(key, hash);
	struct auth_entry *e = hash_get(&a->by_hash, (struct str){ (const char *)hash, sizeof(hash) });
	if (!e)
		e = entry_new(a, hash);
	if (!e->is_loading && loop_now_ms(&a->api->loop) < e->until_ms) {
		lookup->who = e->who;
		return e->is_good ? 1 : -(int)ERR_UNAUTHENTICATED;
	}
	if (!e->is_loading) {
		int rc = entry_load(e, auth_key_prefix(key));
		if (rc < 0)
			return rc;
	}
	op_start(&lookup->op, NULL, "the look-up of a key", NULL);
	list_push(&e->waiting, &lookup->link);
	return 0;
}
