/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept answers as operators see them. Numbers and pages are one statement each, on the connections for what may take long. Clearing deletes some thousand
 * answers per statement, until one finds fewer; so it holds nobody up, and a client that leaves does not stop it in the middle.
 *
 * What can go wrong: a clearing without any filter is refused unless it says all=true; one that the database cuts short says how many are gone already,
 * and can be repeated.
 */
#include "api/admin/admin_cache.h"

#include "api/jobs/job_object.h"
#include "api/request.h"
#include "common/clock.h"
#include "common/json.h"
#include "sql_api.h"

#define CLEAR_ROWS   5000
#define STATS_MAX    2000 /* rows; cache_stats.sql gives one more */
#define OLDEST_MS    (INT64_C(10) * 366 * 24 * 3600 * 1000)
#define KEY_LEN      32

struct cache_filter {
	struct str tenant, route, after, key; /* p NULL: any; after and key are 32 bytes */
	int64_t older_ms;                     /* -1: any */
	int limit;
	bool all;
	int64_t deleted;
};

/* --- what is asked for --- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 hexadecimal digits; p NULL when it is something else. */
static struct str key_of_hex(struct arena *a, struct str hex)
{
	if (hex.n != 2 * KEY_LEN)
		return (struct str){ 0 };
	char *out = arena_alloc(a, KEY_LEN);
	for (size_t i = 0; i < KEY_LEN; i++) {
		int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return (struct str){ 0 };
		out[i] = (char)(high << 4 | low);
	}
	return (struct str){ out, KEY_LEN };
}

static int read_list_parameter(struct request *q, struct cache_filter *f, struct str name, struct str value)
{
	uint64_t n;
	if (str_eq(name, STR("limit"))) {
		if (str_u64(value, 1, 100, &n) < 0)
			return err_set_at(&q->err, ERR_INVALID, "limit", "limit is a number from 1 to 100");
		f->limit = (int)n;
		return 0;
	}
	if (str_eq(name, STR("after"))) {
		f->after = key_of_hex(&q->http->arena, value);
		return f->after.p ? 0 : err_set_at(&q->err, ERR_INVALID, "after", "after is the key that the page before ended with");
	}
	return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name), "there is no such parameter");
}

static int read_clear_parameter(struct request *q, struct cache_filter *f, struct str name, struct str value)
{
	if (str_eq(name, STR("older_than")))
		return clock_parse_duration_ms(value, 0, OLDEST_MS, &f->older_ms) < 0
		           ? err_set_at(&q->err, ERR_INVALID, "older_than", "older_than is a duration: 90s, 15m, 2h, 7d")
		           : 0;
	if (str_eq(name, STR("all"))) {
		f->all = str_eq(value, STR("true"));
		return f->all || str_eq(value, STR("false")) ? 0 : err_set_at(&q->err, ERR_INVALID, "all", "all is true or false");
	}
	return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name), "there is no such parameter");
}

static int read_filter(struct request *q, struct cache_filter *f,
                       int (*other)(struct request *q, struct cache_filter *f, struct str name, struct str value))
{
	size_t at = 0;
	struct str name, value;
	while (http_req_query_next(q->http, &at, &name, &value)) {
		int rc = 0;
		if (str_eq(name, STR("tenant")))
			f->tenant = value.p ? value : STR("");
		else if (str_eq(name, STR("route")))
			f->route = value.p ? value : STR("");
		else
			rc = other(q, f, name, value);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct cache_filter *filter_new(struct request *q)
{
	struct cache_filter *f = arena_new(&q->http->arena, struct cache_filter);
	*f = (struct cache_filter){ .older_ms = -1, .limit = 20 };
	q->state = f;
	return f;
}

static void arg_key(struct db_args *a, struct str key)
{
	if (key.p)
		db_arg_bytea(a, key);
	else
		db_arg_null(a);
}

/* --- GET /admin/v1/cache --- */

static enum flow_next stats_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_cache_stats);
	return request_query(q);
}

/* The columns entries, bytes, fresh, stale, hits, saved. */
static void write_numbers(struct buf *b, const struct db_query *q, int row)
{
	static const char *const names[] = { "entries", "bytes", "fresh", "stale", "hits" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		buf_printf(b, "%s\"%s\":%lld", i ? "," : "", names[i], (long long)db_get_int(q, row, 3 + (int)i));
	buf_add_z(b, ",\"saved\":{\"usd\":");
	job_object_usd(b, db_get_int(q, row, 8));
	buf_add_char(b, '}');
}

static void write_group(struct buf *b, const struct db_query *q, int rows, int kind, const char *list, const char *name, int col)
{
	bool first = true;
	buf_printf(b, ",\"%s\":[", list);
	for (int row = 0; row < rows; row++) {
		if (db_get_int(q, row, 0) != kind)
			continue;
		buf_printf(b, "%s{\"%s\":", first ? "" : ",", name);
		buf_add_json_str(b, db_get_str(q, row, col));
		buf_add_char(b, ',');
		write_numbers(b, q, row);
		buf_add_char(b, '}');
		first = false;
	}
	buf_add_char(b, ']');
}

static enum flow_next stats_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the cache could not be counted");
	int rows = MIN(db_rows(&q->query), STATS_MAX);
	buf_add_z(&q->out, "{\"object\":\"cache\",");
	write_numbers(&q->out, &q->query, 0); /* the row of all is always there, and the first */
	write_group(&q->out, &q->query, rows, 1, "routes", "route", 1);
	write_group(&q->out, &q->query, rows, 2, "tenants", "tenant", 2);
	buf_printf(&q->out, ",\"is_whole\":%s}", db_rows(&q->query) > STATS_MAX ? "false" : "true");
	return request_answer(q, 200);
}

const struct flow_step admin_cache_stats_steps[] = {
	{ "stats", stats_start, stats_done },
	{ .name = NULL },
};

/* --- GET /admin/v1/cache/entries[/{key}] --- */

static enum flow_next ask_entries(struct request *q, const struct cache_filter *f)
{
	request_query_init(q, &sql_api_cache_entries);
	struct db_args *a = &q->query.args;
	db_arg_text_or_null(a, f->tenant);
	db_arg_text_or_null(a, f->route);
	arg_key(a, f->after);
	db_arg_i32(a, f->limit + 1);
	arg_key(a, f->key);
	return request_query(q);
}

static void write_hex(struct buf *b, struct str key)
{
	buf_add_char(b, '"');
	for (size_t i = 0; i < key.n; i++)
		buf_printf(b, "%02x", (unsigned)(unsigned char)key.p[i]);
	buf_add_char(b, '"');
}

static void write_text(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	buf_printf(b, ",\"%s\":", name);
	job_object_text(b, db_is_null(q, row, col) || db_get_str(q, row, col).n == 0 ? (struct str){ 0 } : db_get_str(q, row, col));
}

static void write_time(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	buf_printf(b, ",\"%s\":", name);
	job_object_time(b, db_get_time(q, row, col));
}

/* The columns of cache_entries.sql, without the closing brace. */
static void write_entry(struct buf *b, const struct db_query *q, int row)
{
	buf_add_z(b, "{\"object\":\"cache_entry\",\"key\":");
	write_hex(b, db_get_str(q, row, 0));
	write_text(b, "route", q, row, 1);
	write_text(b, "target", q, row, 2);
	write_text(b, "tenant", q, row, 3);
	write_text(b, "namespace", q, row, 4);
	buf_printf(b, ",\"size\":%lld", (long long)db_get_int(q, row, 5));
	write_time(b, "created_at", q, row, 6);
	write_time(b, "expires_at", q, row, 7);
	write_time(b, "stale_until", q, row, 8);
	buf_printf(b, ",\"hits\":%lld", (long long)db_get_int(q, row, 9));
	write_time(b, "hit_at", q, row, 10);
	buf_add_z(b, ",\"cost\":{\"usd\":");
	if (db_is_null(q, row, 11))
		buf_add_z(b, "null");
	else
		job_object_usd(b, db_get_int(q, row, 11));
	buf_add_char(b, '}');
}

static enum flow_next list_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	struct cache_filter *f = filter_new(q);
	return read_filter(q, f, read_list_parameter) < 0 ? request_refuse(q) : ask_entries(q, f);
}

static enum flow_next list_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	const struct cache_filter *f = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the list could not be read; ask for less");
	int n = MIN(db_rows(&q->query), f->limit);
	buf_add_z(&q->out, "{\"object\":\"list\",\"data\":[");
	for (int row = 0; row < n; row++) {
		if (row > 0)
			buf_add_char(&q->out, ',');
		write_entry(&q->out, &q->query, row);
		buf_add_char(&q->out, '}');
	}
	buf_printf(&q->out, "],\"has_more\":%s,\"first_id\":", db_rows(&q->query) > n ? "true" : "false");
	if (n == 0) {
		buf_add_z(&q->out, "null,\"last_id\":null}");
		return request_answer(q, 200);
	}
	write_hex(&q->out, db_get_str(&q->query, 0, 0));
	buf_add_z(&q->out, ",\"last_id\":");
	write_hex(&q->out, db_get_str(&q->query, n - 1, 0));
	buf_add_char(&q->out, '}');
	return request_answer(q, 200);
}

const struct flow_step admin_cache_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

static enum flow_next get_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	struct cache_filter *f = filter_new(q);
	f->key = key_of_hex(&q->http->arena, q->name);
	assert(f->key.p); /* the router takes nothing else */
	return ask_entries(q, f);
}

static enum flow_next get_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	if (rc < 0)
		return request_fail(q, rc, "the entry could not be read");
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such entry");
	write_entry(&q->out, &q->query, 0);
	buf_add_z(&q->out, ",\"result\":");
	struct str body = db_get_str(&q->query, 0, 12);
	_cleanup_(json_drop) json_t *v = json_parse_lenient(body, NULL);
	if (v)
		buf_add_str(&q->out, body);
	else
		buf_add_json_str(&q->out, body);
	buf_add_char(&q->out, '}');
	return request_answer(q, 200);
}

const struct flow_step admin_cache_get_steps[] = {
	{ "get", get_start, get_done },
	{ .name = NULL },
};

/* --- DELETE --- */

static enum flow_next ask_clear(struct request *q, const struct cache_filter *f)
{
	request_query_init(q, &sql_api_cache_clear);
	struct db_args *a = &q->query.args;
	db_arg_text_or_null(a, f->tenant);
	db_arg_text_or_null(a, f->route);
	if (f->older_ms >= 0)
		db_arg_i64(a, f->older_ms);
	else
		db_arg_null(a);
	arg_key(a, f->key);
	db_arg_i32(a, CLEAR_ROWS);
	return request_query(q);
}

static enum flow_next delete_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	struct cache_filter *f = filter_new(q);
	f->key = key_of_hex(&q->http->arena, q->name);
	assert(f->key.p);
	return ask_clear(q, f);
}

static enum flow_next delete_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the entry was deleted: ask again");
	if (db_get_int(&q->query, 0, 0) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no such entry");
	buf_printf(&q->out, "{\"object\":\"cache_entry\",\"key\":\"" STR_FMT "\",\"deleted\":true}", STR_ARG(q->name));
	return request_answer(q, 200);
}

const struct flow_step admin_cache_delete_steps[] = {
	{ "delete", delete_start, delete_done },
	{ .name = NULL },
};

enum { CLEAR };

static enum flow_next clear_start(struct flow *flow)
{
	struct request *q = request_of(flow);
	struct cache_filter *f = q->state;
	if (f)
		return ask_clear(q, f);
	f = filter_new(q);
	if (read_filter(q, f, read_clear_parameter) < 0)
		return request_refuse(q);
	if (!f->tenant.p && !f->route.p && f->older_ms < 0 && !f->all) {
		err_set_at(&q->err, ERR_MISSING_FIELD, "all", "give tenant, route or older_than, or say all=true");
		return request_refuse(q);
	}
	return ask_clear(q, f);
}

static enum flow_next clear_done(struct flow *flow, int rc)
{
	struct request *q = request_of(flow);
	struct cache_filter *f = q->state;
	if (rc < 0)
		return request_fail(q, rc,
		                    arena_printf(&q->http->arena, "%lld entries were deleted, then the database failed: ask again",
		                                 (long long)f->deleted).p);
	int64_t n = db_get_int(&q->query, 0, 0);
	f->deleted += n;
	if (n == CLEAR_ROWS)
		return flow_jump(flow, CLEAR);
	buf_printf(&q->out, "{\"object\":\"cache\",\"deleted\":%lld}", (long long)f->deleted);
	return request_answer(q, 200);
}

const struct flow_step admin_cache_clear_steps[] = {
	[CLEAR] = { "clear", clear_start, clear_done },
	{ .name = NULL },
};
