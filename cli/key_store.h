/* SPDX-License-Identifier: Apache-2.0 */
/* API keys and tenants in the database, for the commands that make them (`key`, `up`). */
#ifndef MR_CLI_KEY_STORE_H
#define MR_CLI_KEY_STORE_H

#include "api/door/auth_key.h"
#include "common/db/db_sync.h"

struct key_wish {
	const char *tenant; /* made when there is none of that name */
	const char *name;   /* NULL: "" */
	bool is_admin;
	int64_t expires_ms; /* from now; 0: never */
};

/* Makes a key; ret is the only place where it is ever readable. */
int key_store_create(struct db_sync *db, const struct key_wish *w, struct auth_key *ret, struct err *err);

/* 1: revoked now (or before), 0: there is no such key. Takes effect in the API processes as they look keys up again. */
int key_store_revoke(struct db_sync *db, const char *prefix, struct err *err);

#endif
