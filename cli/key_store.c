/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two statements: a key with its tenant, which is made on the way with a webhook secret of its own, and a revocation.
 * Each is one transaction. Only the hash of a key is written; what could not be written leaves nothing behind.
 */
#include "cli/key_store.h"

#include <string.h>

#include "common/buf.h"

#define WEBHOOK_SECRET_BYTES 32

static void make_webhook_secret(struct buf *b)
{
	uint8_t raw[WEBHOOK_SECRET_BYTES];
	crypto_random(raw, sizeof(raw));
	buf_add_z(b, "whsec_");
	crypto_base64(b, (struct str){ (const char *)raw, sizeof(raw) });
	buf_add_char(b, 0);
	crypto_wipe(raw, sizeof(raw));
}

int key_store_create(struct db_sync *db, const struct key_wish *w, struct auth_key *ret, struct err *err)
{
	static const char sql[] =
	    "with t as (insert into tenant (name, webhook_secret) values ($1, $2)\n"
	    "	on conflict (name) do update set name = excluded.name returning id)\n"
	    "insert into api_key (prefix, key_hash, tenant_id, name, is_admin, expires_at)\n"
	    "select $3, decode($4, 'hex'), t.id, $5, $6::boolean, now() + $7::bigint * interval '1 millisecond' from t";
	uint8_t hash[SHA256_LEN];
	char prefix[AUTH_KEY_PREFIX_LEN + 1];
	struct buf secret, hex, expires;
	buf_init(&secret, 256);
	buf_init(&hex, 256);
	buf_init(&expires, 64);
	auth_key_make(ret);
	auth_key_hash(str_from(ret->text), hash);
	memcpy(prefix, ret->text, AUTH_KEY_PREFIX_LEN);
	prefix[AUTH_KEY_PREFIX_LEN] = 0;
	make_webhook_secret(&secret);
	crypto_hex(&hex, (struct str){ (const char *)hash, sizeof(hash) });
	buf_add_char(&hex, 0);
	buf_add_i64(&expires, w->expires_ms);
	buf_add_char(&expires, 0);
	const char *params[] = { w->tenant,
		                 secret.p,
		                 prefix,
		                 hex.p,
		                 w->name ? w->name : "",
		                 w->is_admin ? "true" : "false",
		                 w->expires_ms ? expires.p : NULL };
	int rc = db_sync_query(db, sql, ARRAY_LEN(params), params, err);
	crypto_wipe(secret.p, secret.n);
	buf_done(&secret);
	buf_done(&hex);
	buf_done(&expires);
	if (rc < 0)
		crypto_wipe(ret, sizeof(*ret));
	return MIN(rc, 0);
}

int key_store_revoke(struct db_sync *db, const char *prefix, struct err *err)
{
	static const char sql[] =
	    "update api_key set revoked_at = coalesce(revoked_at, now()) where prefix = $1 returning prefix";
	int rc = db_sync_query(db, sql, 1, &prefix, err);
	return rc < 0 ? rc : db_sync_rows(db) > 0 ? 1 : 0;
}
