/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets are what the configuration of this process names, and what the fleet has met (table target_state): a bare model's target stands in the
 * table only. A page is one statement; a single target also has its last events. A command is one statement that changes the row and writes an event,
 * a notice to the workers, and the target as it stands then; resume and reset also wake the jobs that wait for targets. Workers that miss the notice read the row within a second.
 *
 * What can go wrong: there is no such target (404); a reason that is no text (400, with its pointer); the database is away (503: the command is safe to
 * repeat).
 */
#include "api/admin/admin_targets.h"

#include <string.h>

#include "api/jobs/hints.h"
#include "api/jobs/job_object.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/nap.h"
#include "sql_api.h"

#define EVENTS_SHOWN 100
#define PAGE_MAX     1000
#define PAGE_USUAL   100
#define REASON_MAX   500
#define WAKE_ROWS    5000
#define READ_MS      1200 /* after so long all workers have read a change, also those that got no notice, and parked what they had */

/* The columns of admin_targets.sql. */
enum {
	COL_NAME,
	COL_HAS_ROW,
	COL_KEY_ID,
	COL_ADMIN,
	COL_BREAKER,
	COL_FAILS,
	COL_OPENED,
	COL_REOPEN,
	COL_OPEN_MS,
	COL_SUCCESSES,
	COL_PROBE_BY,
	COL_PROBE_UNTIL,
	COL_PARKED_UNTIL,
	COL_PARKED_WHY,
	COL_DISABLED_AT,
	COL_DISABLED_WHY,
	COL_LEARNED,
	COL_MINUTE, /* calls, failures, retries, answered, ms to their first tokens, ms in all */
	COL_TEN_MINUTES = COL_MINUTE + 6,
	COL_TAKEN = COL_TEN_MINUTES + 6, /* requests, tokens, input_tokens, output_tokens */
	COL_HELD = COL_TAKEN + 4,
};

struct targets_state {
	struct str after;
	int limit;
	struct nap nap;
	struct str reason; /* p NULL: none given */
};

static const struct conf_target *configured(struct str name)
{
	const struct conf *c = conf_now();
	for (size_t i = 0; i < c->ntargets; i++)
		if (str_eq(c->targets[i].name, name))
			return &c->targets[i];
	return NULL;
}

/* --- the object --- */

static void write_key(struct buf *b, const char *name)
{
	buf_printf(b, ",\"%s\":", name);
}

static void write_time(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	write_key(b, name);
	job_object_time(b, db_get_time(q, row, col));
}

static void write_text(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	write_key(b, name);
	job_object_text(b, db_is_null(q, row, col) ? (struct str){ 0 } : db_get_str(q, row, col));
}

static void write_str(struct buf *b, const char *name, struct str s)
{
	write_key(b, name);
	job_object_text(b, s.n ? s : (struct str){ 0 });
}

/* Text that a worker wrote as JSON. What is none after all is shown as a text. */
static void write_json(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	write_key(b, name);
	if (db_is_null(q, row, col)) {
		buf_add_z(b, "null");
		return;
	}
	_cleanup_(json_drop) json_t *v = json_parse(db_get_str(q, row, col), NULL);
	if (v)
		json_write(b, v);
	else
		buf_add_json_str(b, db_get_str(q, row, col));
}

static void write_breaker(struct buf *b, const struct db_query *q, int row)
{
	static const char *const names[] = { "closed", "open", "half_open" };
	size_t state = (size_t)db_get_int(q, row, COL_BREAKER);
	buf_printf(b, ",\"breaker\":{\"state\":\"%s\",\"fails_in_row\":%lld", state < ARRAY_LEN(names) ? names[state] : "unknown",
	           (long long)db_get_int(q, row, COL_FAILS));
	write_time(b, "opened_at", q, row, COL_OPENED);
	write_time(b, "reopen_at", q, row, COL_REOPEN);
	buf_printf(b, ",\"open_ms\":%lld,\"successes\":%lld,\"probe\":", (long long)db_get_int(q, row, COL_OPEN_MS),
	           (long long)db_get_int(q, row, COL_SUCCESSES));
	if (db_is_null(q, row, COL_PROBE_BY)) {
		buf_add_z(b, "null}");
		return;
	}
	char text[ID_TEXT_MAX];
	buf_add_z(b, "{\"worker\":");
	buf_add_json_str(b, id_text(db_get_id(q, row, COL_PROBE_BY), "", text));
	write_time(b, "until", q, row, COL_PROBE_UNTIL);
	buf_add_z(b, "}}");
}

static void write_limit(struct buf *b, bool *first, const char *name, int64_t limit, int64_t permille, const struct db_query *q, int row, int col)
{
	if (limit <= 0 && (db_is_null(q, row, col) || (col == COL_HELD && db_get_int(q, row, col) == 0)))
		return;
	buf_printf(b, "%s\"%s\":{\"limit\":", *first ? "" : ",", name);
	*first = false;
	if (limit > 0)
		buf_printf(b, "%lld,\"usable\":%lld", (long long)limit, (long long)MAX(1, limit * permille / 1000));
	else
		buf_add_z(b, "null,\"usable\":null");
	buf_printf(b, ",\"%s\":%lld}", col == COL_HELD ? "held" : "taken", (long long)db_get_int(q, row, col));
}

static void write_limits(struct buf *b, const struct conf_target *t, const struct db_query *q, int row)
{
	static const struct conf_limits none;
	const struct conf_limits *l = t ? &t->limits : &none;
	int64_t permille = t ? t->headroom_permille : 1000;
	bool first = true;
	buf_add_z(b, ",\"limits\":{");
	write_limit(b, &first, "requests", l->requests, permille, q, row, COL_TAKEN);
	write_limit(b, &first, "tokens", l->tokens, permille, q, row, COL_TAKEN + 1);
	write_limit(b, &first, "input_tokens", l->input_tokens, permille, q, row, COL_TAKEN + 2);
	write_limit(b, &first, "output_tokens", l->output_tokens, permille, q, row, COL_TAKEN + 3);
	write_limit(b, &first, "concurrency", l->concurrency, permille, q, row, COL_HELD);
	buf_add_z(b, "},\"headroom\":");
	if (t)
		buf_printf(b, "%lld.%03lld", (long long)(permille / 1000), (long long)(permille % 1000));
	else
		buf_add_z(b, "null");
}

static void write_mean(struct buf *b, const char *name, int64_t sum, int64_t n)
{
	write_key(b, name);
	if (n > 0)
		buf_add_i64(b, sum / n);
	else
		buf_add_z(b, "null");
}

static void write_calls(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	int64_t answered = db_get_int(q, row, col + 3);
	buf_printf(b, ",\"%s\":{\"calls\":%lld,\"failures\":%lld,\"retries\":%lld,\"answered\":%lld", name, (long long)db_get_int(q, row, col),
	           (long long)db_get_int(q, row, col + 1), (long long)db_get_int(q, row, col + 2), (long long)answered);
	write_mean(b, "first_token_ms", db_get_int(q, row, col + 4), answered);
	write_mean(b, "latency_ms", db_get_int(q, row, col + 5), answered);
	buf_add_char(b, '}');
}

/* Without its closing brace. */
static void write_target(struct buf *b, const struct db_query *q, int row)
{
	static const char *const states[] = { "normal", "paused", "draining" };
	const struct conf_target *t = configured(db_get_str(q, row, COL_NAME));
	size_t state = (size_t)db_get_int(q, row, COL_ADMIN);
	buf_add_z(b, "{\"object\":\"target\",\"name\":");
	buf_add_json_str(b, db_get_str(q, row, COL_NAME));
	buf_printf(b, ",\"configured\":%s,\"state\":\"%s\"", t ? "true" : "false", state < ARRAY_LEN(states) ? states[state] : "unknown");
	write_str(b, "provider", t ? t->provider : STR(""));
	write_str(b, "model", t ? t->model : STR(""));
	write_str(b, "place", t ? t->place : STR(""));
	write_str(b, "key_id", t ? str_from(t->key_id) : db_get_str(q, row, COL_KEY_ID));
	write_breaker(b, q, row);
	write_time(b, "parked_until", q, row, COL_PARKED_UNTIL);
	write_text(b, "parked_why", q, row, COL_PARKED_WHY);
	write_time(b, "disabled_at", q, row, COL_DISABLED_AT);
	write_text(b, "disabled_why", q, row, COL_DISABLED_WHY);
	write_limits(b, t, q, row);
	write_json(b, "limits_learned", q, row, COL_LEARNED);
	write_calls(b, "last_minute", q, row, COL_MINUTE);
	write_calls(b, "last_ten_minutes", q, row, COL_TEN_MINUTES);
}

/* --- the list --- */

static void target_args(struct request *q, struct str only, struct str after, int limit)
{
	const struct conf *c = conf_now();
	struct db_array names;
	request_query_init(q, &sql_api_admin_targets);
	db_array_init(&names, DB_TEXT, (size_t)16 << 20);
	for (size_t i = 0; i < c->ntargets; i++)
		db_array_text(&names, c->targets[i].name);
	db_arg_array(&q->query.args, &names);
	db_arg_text_or_null(&q->query.args, only);
	db_arg_text_or_null(&q->query.args, after);
	db_arg_i32(&q->query.args, limit);
	db_arg_i64(&q->query.args, c->queue_lease_ms);
	db_array_done(&names);
}

static int read_list_query(struct request *q, struct targets_state *s)
{
	size_t at = 0;
	struct str name, value;
	uint64_t n;
	while (http_req_query_next(q->http, &at, &name, &value)) {
		if (str_eq(name, STR("limit"))) {
			if (str_u64(value, 1, PAGE_MAX, &n) < 0)
				return err_set_at(&q->err, ERR_INVALID, "limit", "limit is a number from 1 to %d", PAGE_MAX);
			s->limit = (int)n;
		} else if (str_eq(name, STR("after"))) {
			s->after = value;
		} else {
			return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name), "there is no such parameter");
		}
	}
	return 0;
}

static struct targets_state *state_new(struct request *q)
{
	struct targets_state *s = arena_new(&q->http->arena, struct targets_state);
	q->state = s;
	s->limit = PAGE_USUAL;
	return s;
}

static enum flow_next list_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct targets_state *s = state_new(q);
	if (read_list_query(q, s) < 0)
		return request_refuse(q);
	target_args(q, (struct str){ 0 }, s->after, s->limit + 1);
	return request_query(q);
}

static enum flow_next list_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct targets_state *s = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the targets could not be read");
	int n = MIN(db_rows(&q->query), s->limit);
	buf_add_z(&q->out, "{\"object\":\"list\",\"data\":[");
	for (int row = 0; row < n; row++) {
		if (row > 0)
			buf_add_char(&q->out, ',');
		write_target(&q->out, &q->query, row);
		buf_add_char(&q->out, '}');
	}
	buf_printf(&q->out, "],\"has_more\":%s", db_rows(&q->query) > n ? "true" : "false");
	write_str(&q->out, "first_id", n > 0 ? db_get_str(&q->query, 0, COL_NAME) : STR(""));
	write_str(&q->out, "last_id", n > 0 ? db_get_str(&q->query, n - 1, COL_NAME) : STR(""));
	buf_add_char(&q->out, '}');
	return request_answer(q, 200);
}

const struct flow_step admin_targets_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

/* --- one --- */

static enum flow_next get_start(struct flow *f)
{
	struct request *q = request_of(f);
	if (!q->state)
		state_new(q);
	target_args(q, q->name, (struct str){ 0 }, 1);
	return request_query(q);
}

static enum flow_next get_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the target could not be read");
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, "there is no target of that name");
	write_target(&q->out, &q->query, 0);
	return FLOW_NEXT;
}

static enum flow_next events_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_admin_target_events);
	db_arg_text(&q->query.args, q->name);
	db_arg_i32(&q->query.args, EVENTS_SHOWN);
	return request_query(q);
}

static enum flow_next events_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct db_query *query = &q->query;
	if (rc < 0)
		return request_fail(q, rc, "the target's events could not be read");
	buf_add_z(&q->out, ",\"events\":[");
	for (int row = 0; row < db_rows(query); row++) {
		buf_printf(&q->out, "%s{\"id\":%lld", row > 0 ? "," : "", (long long)db_get_int(query, row, 0));
		write_time(&q->out, "at", query, row, 1);
		write_text(&q->out, "kind", query, row, 2);
		write_json(&q->out, "detail", query, row, 3);
		buf_add_char(&q->out, '}');
	}
	buf_add_z(&q->out, "]}");
	return request_answer(q, 200);
}

const struct flow_step admin_targets_get_steps[] = {
	{ "get", get_start, get_done },
	{ "events", events_start, events_done },
	{ .name = NULL },
};

/* --- commands --- */

/* {"reason": "…"}, or no body. The text is copied. */
static int read_reason(struct request *q, struct targets_state *s)
{
	const char *name;
	json_t *value;
	if (str_trim(q->http->body).n == 0)
		return 0;
	_cleanup_(json_drop) json_t *v = json_parse(q->http->body, &q->err);
	if (!v)
		return -(int)q->err.code;
	if (!json_is_object(v))
		return err_set(&q->err, ERR_WRONG_TYPE, "wanted an object");
	json_object_foreach(v, name, value)
	{
		struct arena *a = &q->http->arena;
		if (strcmp(name, "reason") != 0)
			return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_printf(a, "/%s", name).p, "there is no such field");
		if (!json_is_string(value) && !json_is_null(value))
			return err_set_at(&q->err, ERR_WRONG_TYPE, "/reason", "wanted a text");
		if (json_str_of(value).n > REASON_MAX)
			return err_set_at(&q->err, ERR_OUT_OF_RANGE, "/reason", "a reason has at most %d bytes", REASON_MAX);
		if (json_is_string(value))
			s->reason = arena_str(a, json_str_of(value));
	}
	return 0;
}

static enum flow_next change(struct request *q, const char *kind)
{
	struct targets_state *s = state_new(q);
	if (read_reason(q, s) < 0)
		return request_refuse(q);
	const struct conf_target *t = configured(q->name);
	_cleanup_(buf_done) struct buf detail;
	buf_init(&detail, 8192);
	buf_add_z(&detail, "{\"reason\":");
	job_object_text(&detail, s->reason);
	buf_add_char(&detail, '}');
	assert(!buf_failed(&detail));
	request_query_init(q, &sql_api_admin_target_change);
	struct db_args *a = &q->query.args;
	db_arg_text(a, q->name);
	db_arg_text(a, str_from(t ? t->key_id : ""));
	db_arg_bool(a, t != NULL);
	db_arg_text(a, str_from(kind));
	db_arg_text(a, buf_str(&detail));
	return request_query(q);
}

static enum flow_next pause_start(struct flow *f)
{
	return change(request_of(f), "paused");
}

static enum flow_next resume_start(struct flow *f)
{
	return change(request_of(f), "resumed");
}

static enum flow_next drain_start(struct flow *f)
{
	return change(request_of(f), "draining");
}

static enum flow_next reset_start(struct flow *f)
{
	return change(request_of(f), "reset");
}

static enum flow_next change_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether that was done: ask again");
	if (!db_get_bool(&q->query, 0, 0))
		return request_fail(q, ERR_NOT_FOUND, "there is no target of that name");
	if (db_get_bool(&q->query, 0, 1))
		hints_targets(q->api->hints);
	return FLOW_NEXT;
}

/* Jobs that wait for a breaker to be tried again, minutes ahead, would not see that it is closed. Some thousand per statement; when all workers know, so
 * that none parks them again for what is over. */
static enum flow_next wake(struct request *q, bool also_limited)
{
	request_query_init(q, &sql_api_admin_wake);
	db_arg_bool(&q->query.args, also_limited);
	db_arg_i32(&q->query.args, WAKE_ROWS);
	return request_query(q);
}

static enum flow_next resume_wake_start(struct flow *f)
{
	return wake(request_of(f), false);
}

static enum flow_next reset_wake_start(struct flow *f)
{
	return wake(request_of(f), true);
}

static enum flow_next heard_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct targets_state *s = q->state;
	if (!db_get_bool(&q->query, 0, 1))
		return FLOW_NEXT;
	nap_start(&s->nap, &q->api->loop, f, READ_MS);
	return FLOW_WAIT;
}

static enum flow_next heard_done(struct flow *f, int rc)
{
	(void)f;
	(void)rc;
	return FLOW_NEXT;
}

enum { CHANGE, HEARD, WAKE };

static enum flow_next wake_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it was done, but jobs that wait may go on waiting for a while: ask again");
	return db_get_int(&q->query, 0, 0) == WAKE_ROWS ? flow_jump(f, WAKE) : FLOW_NEXT;
}

const struct flow_step admin_targets_pause_steps[] = {
	{ "pause", pause_start, change_done },
	{ "get", get_start, get_done },
	{ "events", events_start, events_done },
	{ .name = NULL },
};

const struct flow_step admin_targets_drain_steps[] = {
	{ "drain", drain_start, change_done },
	{ "get", get_start, get_done },
	{ "events", events_start, events_done },
	{ .name = NULL },
};

const struct flow_step admin_targets_resume_steps[] = {
	[CHANGE] = { "resume", resume_start, change_done },
	[HEARD] = { "heard", heard_start, heard_done },
	[WAKE] = { "wake", resume_wake_start, wake_done },
	{ "get", get_start, get_done },
	{ "events", events_start, events_done },
	{ .name = NULL },
};

const struct flow_step admin_targets_reset_steps[] = {
	[CHANGE] = { "reset", reset_start, change_done },
	[HEARD] = { "heard", heard_start, heard_done },
	[WAKE] = { "wake", reset_wake_start, wake_done },
	{ "get", get_start, get_done },
	{ "events", events_start, events_done },
	{ .name = NULL },
};
