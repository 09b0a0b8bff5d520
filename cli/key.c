/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace key create|list|revoke`: API keys, directly in the database, so that the first key needs no key. A key is
 * printed once, on standard output alone; the database keeps its hash. API processes remember a key for a short while:
 * a revocation reaches all of them after that.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/key_store.h"
#include "cli/options.h"
#include "cli/place.h"
#include "cli/term.h"
#include "common/clock.h"

#define CONNECT_TIMEOUT_S 10

#define PLACE_OPTIONS(p)                                                                                               \
	{ .name = "database-url",                                                                                      \
	  .arg = "URL",                                                                                                \
	  .kind = CLI_STR,                                                                                             \
	  .target = &(p)->database_url,                                                                                \
	  .help = "The database (else the configuration's, else the one of `millrace up`)" },                          \
	    { .name = "config", .arg = "FILE", .kind = CLI_STR, .target = &(p)->config, .help = "The configuration" }, \
	{                                                                                                              \
		.name = "dir", .arg = "DIR", .kind = CLI_STR, .target = &(p)->dir,                                     \
		.help = "Where `millrace up` keeps its files (" PLACE_DIR ")"                                          \
	}

static int complain(const char *command, const struct err *err)
{
	fprintf(stderr, "millrace %s: %s\n", command, err->text);
	if (strstr(err->text, "does not exist") && strstr(err->text, "relation"))
		fprintf(stderr, "Has the schema been made? millrace migrate\n");
	return CLI_EXIT_UNREACHABLE;
}

static int open_database(const struct place *p, const char *command, struct db_sync **ret)
{
	struct arena a;
	struct err err = { 0 };
	const char *url;
	arena_init(&a, 1 << 20);
	int rc = place_database_url(p, &a, &url, &err);
	if (rc == 0)
		rc = db_sync_open(url, "millrace key", CONNECT_TIMEOUT_S, ret, &err);
	arena_done(&a);
	return rc ? complain(command, &err) : 0;
}

static void add_member(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "%s\"%s\":", b->n > 1 ? "," : "", name);
	if (value && *value)
		buf_add_json_str(b, str_from(value));
	else
		buf_add_z(b, "null");
}

/* --- create --- */

/* The key goes to standard output alone, so that a script can take it. */
static void print_key(const struct auth_key *key, const struct key_wish *w, bool as_json)
{
	char prefix[AUTH_KEY_PREFIX_LEN + 1] = "";
	memcpy(prefix, key->text, AUTH_KEY_PREFIX_LEN);
	if (!as_json) {
		printf("%s\n", key->text);
		fflush(stdout);
		fprintf(stderr, "for tenant %s%s; it cannot be shown again\n", w->tenant,
		        w->is_admin ? ", an admin key" : "");
		return;
	}
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 65536);
	buf_add_z(&b, "{");
	add_member(&b, "key", key->text);
	add_member(&b, "prefix", prefix);
	add_member(&b, "tenant", w->tenant);
	add_member(&b, "name", w->name);
	add_member(&b, "kind", w->is_admin ? "admin" : "tenant");
	printf("%.*s}\n", (int)b.n, b.p);
	crypto_wipe(b.p, b.n);
}

static int create_main(int argc, char **argv)
{
	struct place place = { .dir = PLACE_DIR };
	struct key_wish w = { .tenant = "default" };
	bool as_json = false;
	const struct cli_option options[] = {
		{ .name = "tenant",
		  .arg = "NAME",
		  .kind = CLI_STR,
		  .target = &w.tenant,
		  .help = "Whose key it is; made when there is none of that name (default)" },
		{ .name = "name",
		  .arg = "TEXT",
		  .kind = CLI_STR,
		  .target = &w.name,
		  .help = "What it is for, shown in lists" },
		{ .name = "admin",
		  .kind = CLI_FLAG,
		  .target = &w.is_admin,
		  .help = "May use /metrics and /admin" },
		{ .name = "expires",
		  .arg = "TIME",
		  .kind = CLI_MS,
		  .target = &w.expires_ms,
		  .min = 1000,
		  .max = INT64_C(315360000000),
		  .help = "Stops working after so long (90d); without it never" },
		{ .name = "json", .kind = CLI_FLAG, .target = &as_json, .help = "Print it as a JSON object" },
		PLACE_OPTIONS(&place),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "key create",
		                         .usage = "[options]",
		                         .summary = "Makes an API key and prints it. It is shown this once.",
		                         .options = options };
	struct cli_args args;
	struct db_sync *db;
	struct auth_key key;
	struct err err = { 0 };
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!*w.tenant || strlen(w.tenant) > 200 || !str_is_utf8(str_from(w.tenant)) || !str_is_utf8(str_from(w.name)))
		return cli_usage_error("key create", "a tenant's name is UTF-8 of 1 to 200 bytes, a key's name UTF-8");
	if ((rc = open_database(&place, "key create", &db)))
		return rc;
	if (key_store_create(db, &w, &key, &err)) {
		rc = complain("key create", &err);
	} else {
		print_key(&key, &w, as_json);
		crypto_wipe(&key, sizeof(key));
	}
	db_sync_close(db);
	return rc;
}

/* --- list --- */

static const char list_sql[] =
    "select k.prefix, t.name, k.name, case when k.is_admin then 'admin' else 'tenant' end,\n"
    "	case when k.revoked_at is not null then 'revoked' when k.expires_at <= now() then 'expired' else 'active' "
    "end,\n"
    "	to_char(k.created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),\n"
    "	coalesce(to_char(k.expires_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '')\n"
    "from api_key k join tenant t on t.id = k.tenant_id order by k.created_at desc, k.prefix limit 10000";

static void print_keys(const struct db_sync *db)
{
	static const struct term_column columns[] = {
		{ .title = "KEY" },
		{ .title = "TENANT", .shrink = true },
		{ .title = "NAME", .shrink = true },
		{ .title = "KIND" },
		{ .title = "STATUS", .status = true },
		{ .title = "CREATED" },
		{ .title = "EXPIRES" },
		{ .title = NULL },
	};
	struct arena a;
	struct term term;
	struct term_table table;
	arena_init(&a, 64 << 20);
	term_init(&term, stdout);
	term_table_init(&table, &a, columns);
	for (int row = 0; row < db_sync_rows(db); row++) {
		struct str cells[7];
		for (int col = 0; col < 7; col++)
			cells[col] = arena_str(&a, str_from(db_sync_get(db, row, col)));
		for (int col = 5; col < 7; col++) {
			_cleanup_(buf_done) struct buf b;
			buf_init(&b, 64);
			term_ago(&b, cells[col], clock_wall_us());
			cells[col] = arena_str(&a, buf_str(&b));
		}
		term_table_add(&table, cells);
	}
	if (table.nrows)
		term_table_print(&table, &term);
	else
		fprintf(stderr, "no keys; `millrace key create` makes one\n");
	arena_done(&a);
}

/* One object a line, as other lists print them. */
static void print_keys_json(const struct db_sync *db)
{
	static const char *const names[] = { "prefix", "tenant", "name", "kind", "status", "created_at", "expires_at" };
	for (int row = 0; row < db_sync_rows(db); row++) {
		_cleanup_(buf_done) struct buf b;
		buf_init(&b, 65536);
		buf_add_z(&b, "{");
		for (int col = 0; col < (int)ARRAY_LEN(names); col++)
			add_member(&b, names[col], db_sync_get(db, row, col));
		printf("%.*s}\n", (int)b.n, b.p);
	}
}

static int list_main(int argc, char **argv)
{
	struct place place = { .dir = PLACE_DIR };
	bool as_json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &as_json, .help = "Print a JSON object per line" },
		PLACE_OPTIONS(&place),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "key list",
		                         .usage = "[options]",
		                         .summary = "Lists the API keys, the newest first.",
		                         .options = options };
	struct cli_args args;
	struct db_sync *db;
	struct err err = { 0 };
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = open_database(&place, "key list", &db)))
		return rc;
	if (db_sync_query(db, list_sql, 0, NULL, &err) < 0)
		rc = complain("key list", &err);
	else if (as_json)
		print_keys_json(db);
	else
		print_keys(db);
	db_sync_close(db);
	return rc;
}

/* --- revoke --- */

/* The public part of what the user gave: that part, or the whole key. */
static bool public_part(const char *given, char prefix[AUTH_KEY_PREFIX_LEN + 1])
{
	struct str s = str_from(given);
	if (s.n != AUTH_KEY_PREFIX_LEN && !auth_key_is_wellformed(s))
		return false;
	memcpy(prefix, s.p, AUTH_KEY_PREFIX_LEN);
	prefix[AUTH_KEY_PREFIX_LEN] = 0;
	return str_has_prefix(s, STR("mr_"));
}

static int revoke_main(int argc, char **argv)
{
	struct place place = { .dir = PLACE_DIR };
	const struct cli_option options[] = { PLACE_OPTIONS(&place), { .name = NULL } };
	const struct cli_command cmd = {
		.name = "key revoke",
		.usage = "PREFIX [options]",
		.summary = "Revokes an API key, given its public part (mr_ and ten characters) as `key list` shows it.",
		.options = options,
		.min_args = 1,
		.max_args = 1
	};
	struct cli_args args;
	struct db_sync *db;
	struct err err = { 0 };
	char prefix[AUTH_KEY_PREFIX_LEN + 1];
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!public_part(args.v[0], prefix))
		return cli_usage_error("key revoke",
		                       "wanted mr_ and ten characters, as `millrace key list` shows them");
	if ((rc = open_database(&place, "key revoke", &db)))
		return rc;
	int found = key_store_revoke(db, prefix, &err);
	if (found < 0) {
		rc = complain("key revoke", &err);
	} else if (found == 0) {
		fprintf(stderr, "millrace key revoke: there is no key %s\n", prefix);
		rc = CLI_EXIT_NOT_FOUND;
	} else {
		printf("%s revoked\n", prefix);
	}
	db_sync_close(db);
	return rc;
}

int key_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "create", "Make an API key", create_main },
		{ "list", "List the keys", list_main },
		{ "revoke", "Revoke a key", revoke_main },
	};
	return cli_dispatch("key", "Creates, lists and revokes API keys, directly in the database.", subs,
	                    ARRAY_LEN(subs), argc, argv);
}
