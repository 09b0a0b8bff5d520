/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are made once and kept: scripts that used yesterday's key go on working today. A key counts as kept when the
 * file has it, it is well formed, and the database knows its hash and has not revoked it; otherwise (a new database
 * under an old file, a revoked key) another is made. The file is written after the rows are committed: a crash in
 * between leaves a key that nobody knows, which harms nobody.
 */
#include "cli/up_keys.h"

#include <unistd.h>

#include "cli/key_store.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/json.h"

#define FILE_MAX 65536
#define TENANT   "default"

static void sync_drop(struct db_sync **s)
{
	db_sync_close(*s);
}

/* "\x…", as bytea is written in text. */
static const char *hash_text(struct arena *a, struct str key)
{
	uint8_t hash[SHA256_LEN];
	struct buf b;
	buf_init(&b, 128);
	auth_key_hash(key, hash);
	buf_add_z(&b, "\\x");
	crypto_hex(&b, (struct str){ (const char *)hash, sizeof(hash) });
	const char *z = arena_strz(a, buf_str(&b));
	buf_done(&b);
	return z;
}

/* 1, 0 or an error. */
static int is_known(struct db_sync *s, struct arena *a, struct str key, bool admin, struct err *err)
{
	if (!auth_key_is_wellformed(key))
		return 0;
	const char *const params[] = { arena_strz(a, auth_key_prefix(key)), hash_text(a, key), admin ? "t" : "f" };
	int rc =
	    db_sync_query(s,
	                  "SELECT 1 FROM api_key WHERE prefix = $1 AND key_hash = $2::bytea AND is_admin = $3::bool "
	                  "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
	                  3, params, err);
	return rc < 0 ? rc : db_sync_rows(s) > 0;
}

static int make_key(struct db_sync *s, struct arena *a, bool admin, const char **ret, struct err *err)
{
	const struct key_wish wish = { .tenant = TENANT,
		                       .name = admin ? "millrace up (admin)" : "millrace up",
		                       .is_admin = admin };
	struct auth_key key;
	int rc = key_store_create(s, &wish, &key, err);
	if (rc < 0)
		return rc;
	*ret = arena_strz(a, str_from(key.text));
	crypto_wipe(&key, sizeof(key));
	return 0;
}

/* The kept key of this kind, or a new one (*changed then). */
static int find_or_make(struct db_sync *s, struct arena *a, const json_t *kept, bool admin, const char **ret,
                        bool *changed, struct err *err)
{
	struct str key = json_str(kept, admin ? "admin_key" : "api_key");
	int rc = is_known(s, a, key, admin, err);
	if (rc < 0)
		return rc;
	if (rc) {
		*ret = arena_strz(a, key);
		return 0;
	}
	*changed = true;
	return make_key(s, a, admin, ret, err);
}

int up_keys_prepare(const char *dir, const char *url, struct arena *a, struct up_keys *ret, struct err *err)
{
	const char *path = arena_printf(a, "%s/keys.json", dir).p;
	_cleanup_(sync_drop) struct db_sync *s = NULL;
	_cleanup_(json_drop) json_t *kept = NULL;
	struct str text;
	bool changed = false;
	int rc = access(path, F_OK) == 0 ? file_read(path, FILE_MAX, a, &text, err) : -ERR_NOT_FOUND;
	if (rc < 0 && rc != -ERR_NOT_FOUND)
		return rc;
	if (rc >= 0)
		kept = json_parse(text, NULL); /* a damaged file is as good as none */
	rc = db_sync_open(url, "millrace up", 10, &s, err);
	if (rc >= 0)
		rc = find_or_make(s, a, kept, false, &ret->api, &changed, err);
	if (rc >= 0)
		rc = find_or_make(s, a, kept, true, &ret->admin, &changed, err);
	if (rc < 0 || !changed)
		return rc < 0 ? rc : 0;
	text = arena_printf(a, "{\n  \"api_key\": \"%s\",\n  \"admin_key\": \"%s\"\n}\n", ret->api, ret->admin);
	return file_write(path, 0600, text, err);
}
