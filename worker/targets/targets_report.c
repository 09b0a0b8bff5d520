/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes to the database and comes from it, one statement at a time:
 *
 *   read      all rows, with the fleet's calls of the last minute: each second (with jitter, so that a fleet does not read together) and at a notice
 *   register  rows for targets that were met first, or whose key changed
 *   report    what calls said since the last report, all targets in one statement: soon after a failure, else once a second
 *   probe     the right to probe; a statement of its own, beside the others
 *
 * One at a time, so that each call is counted in exactly one place: in `pending`, in `flying`, or in the row that was read. A report has a number, and the
 * database counts a number once: after an unknown outcome the same report goes again, until it is certain. While the database is away `pending` adds up and
 * this process's own breakers go on; what was known of the fleet stays in force. A refused report (which is a bug) is logged and given up.
 */
#include <string.h>

#include "common/log.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/queue/lease.h"
#include "worker/queue/notify.h"
#include "worker/targets/targets_priv.h"

#define AGAIN_MS    200
#define COLUMNS      24
#define CLOCK_SLACK_MS 100 /* what the way to the database and back adds to a time that was read before */
#define COLUMN_MAX  ((size_t)8 << 20)

enum happened { OPENED = 1, CLOSED = 2, PARKED = 4, DISABLED = 8, OTHER = 16 }; /* as in sql/target_report.sql */

static uint64_t now_of(const struct targets *t)
{
	return loop_now_ms(t->worker->loop);
}

bool targets_are_fresh(const struct targets *t)
{
	return t->last_read_ms && now_of(t) - t->last_read_ms < FRESH_MS;
}

/* --- what comes --- */

/* Milliseconds from now as a time of the steady clock; 0 where there is none. A time that has passed is now. */
static uint64_t get_ms(const struct targets *t, const struct db_query *q, int row, int col)
{
	return db_is_null(q, row, col) ? 0 : now_of(t) + (uint64_t)MAX(db_get_int(q, row, col), 0);
}

static void copy_key_id(char out[17], struct str s)
{
	size_t n = MIN(s.n, 16);
	memset(out, 0, 17);
	memcpy(out, s.p, n);
}

static enum err_code disabled_class(struct str why)
{
	struct str name;
	enum err_code class = str_split(&why, ':', &name) ? err_by_code_name(name) : ERR_OK;
	return class ? class : ERR_INTERNAL;
}

/* An answer that was sent before the last one came may be older than what is known. */
static bool is_newer(const struct target_live *l, int64_t generation, uint64_t sent_applied)
{
	return !l->row.known || generation >= l->row.generation || l->applied <= sent_applied;
}

static void take_breaker(struct target_live *l, int64_t state, int64_t generation, uint64_t reopen_ms)
{
	struct targets *t = l->targets;
	enum breaker_state was = l->row.breaker;
	if (generation != l->row.generation)
		l->row.window = (struct breaker_window){ 0 };
	if (was != BREAKER_CLOSED && state == BREAKER_CLOSED)
		l->row.closed_ms = now_of(t);
	l->row.breaker = (enum breaker_state)state;
	l->row.generation = generation;
	l->row.reopen_ms = reopen_ms;
	l->applied = ++t->applied;
	target_heed_fleet(l, was);
}

static bool any_disabling(const struct targets *t)
{
	LIST_EACH(&t->dirty, k)
		if (container_of(k, struct target_live, dirty)->pending.disable)
			return true;
	return false;
}

static void read_disabled(struct target_live *l, const struct db_query *q, int row, bool disabling)
{
	enum err_code class = db_get_bool(q, row, 10) ? disabled_class(db_get_str(q, row, 11)) : ERR_OK;
	/* The row's word is about another key, or has not heard of what happened here. */
	if ((l->met && strcmp(l->key_id, l->row_key_id) != 0) || (!class && disabling))
		return;
	if (l->disabled && !class)
		log_event(LOG_INFO, "target_enabled", "it may be called again", LOG_Z("target", l->name), LOG_END);
	l->disabled = class;
}

static void read_row(struct targets *t, struct target_live *l, const struct db_query *q, int row, bool disabling)
{
	struct target_row *r = &l->row;
	int64_t generation = db_get_int(q, row, 4);
	copy_key_id(l->row_key_id, db_get_str(q, row, 1));
	r->admin = (int)db_get_int(q, row, 2);
	if (is_newer(l, generation, t->query_applied)) {
		r->fails_in_row = (int)db_get_int(q, row, 5);
		r->probe_until_ms = get_ms(t, q, row, 7);
		take_breaker(l, db_get_int(q, row, 3), generation, get_ms(t, q, row, 6));
		uint64_t ago = (uint64_t)MAX(db_get_int(q, row, 8), 0);
		r->closed_ms = db_is_null(q, row, 8) || ago >= now_of(t) ? 0 : now_of(t) - ago;
	}
	uint64_t parked = get_ms(t, q, row, 9);
	if (parked > MAX(l->parked_until_ms, now_of(t)) + CLOCK_SLACK_MS)
		l->park_began_ms = now_of(t); /* somebody else was refused */
	l->parked_until_ms = MAX(parked, l->pending.park_until_ms);
	read_disabled(l, q, row, disabling);
	r->calls = db_get_int(q, row, 12);
	r->retries = db_get_int(q, row, 13);
	r->first_token_ms = db_get_int(q, row, 14);
	r->answered = db_get_int(q, row, 15);
	r->window = (struct breaker_window){ db_get_int(q, row, 16), db_get_int(q, row, 17), db_get_int(q, row, 18) };
	r->known = true;
}

static void took_read(struct targets *t)
{
	bool disabling = any_disabling(t);
	for (int row = 0; row < db_rows(&t->query); row++) {
		struct target_live *l = targets_record(t, db_get_str(&t->query, row, 0));
		if (!l)
			continue;
		l->row_seen = true;
		read_row(t, l, &t->query, row, disabling);
	}
	t->last_read_ms = now_of(t);
	LIST_EACH(&t->all, k) {
		struct target_live *l = container_of(k, struct target_live, link);
		if (l->row_seen) {
			target_look_at_rates(l);
		} else if (l->met && !l->to_register) {
			l->row = (struct target_row){ 0 }; /* somebody deleted it */
			l->to_register = true;
			target_dirty(l, REPORT_SOON_MS);
		}
		l->row_seen = false;
	}
}

/* --- registering --- */

static size_t put_register(struct targets *t)
{
	struct db_array name, key;
	size_t n = 0;
	db_array_init(&name, DB_TEXT, COLUMN_MAX);
	db_array_init(&key, DB_TEXT, COLUMN_MAX);
	LIST_EACH(&t->dirty, k) {
		struct target_live *l = container_of(k, struct target_live, dirty);
		if (!l->to_register || n == TARGETS_REPORT_MAX)
			continue;
		db_array_text(&name, str_from(l->name));
		db_array_text(&key, str_from(l->key_id));
		t->flight[n++] = l;
	}
	db_query_init(&t->query, &sql_worker_target_register);
	db_arg_array(&t->query.args, &name);
	db_arg_array(&t->query.args, &key);
	db_array_done(&name);
	db_array_done(&key);
	return n;
}

static bool is_empty(const struct target_delta *d)
{
	return d->calls == 0 && !d->wants_open && !d->probe && !d->park_until_ms && !d->disable && !d->limits;
}

static void took_register(struct targets *t)
{
	for (size_t i = 0; i < t->nflight; i++) {
		struct target_live *l = t->flight[i];
		l->to_register = false;
		memcpy(l->row_key_id, l->key_id, sizeof l->row_key_id);
		if (is_empty(&l->pending))
			list_remove(&t->dirty, &l->dirty);
	}
	t->nflight = 0;
	t->read_due_ms = now_of(t);
	if (db_get_int(&t->query, 0, 0) > 0)
		notify_targets(t->worker->notifier);
}

/* --- reports --- */

static void put_limit(struct buf *b, const char *name, int64_t limit, int64_t remaining, int64_t reset_ms)
{
	if (limit < 0 && remaining < 0)
		return;
	buf_printf(b, "%s\"%s\":{\"limit\":%lld,\"remaining\":%lld,\"reset_ms\":%lld}", b->n > 1 ? "," : "", name, (long long)limit, (long long)remaining,
	           (long long)reset_ms);
}

/* {"requests": {"limit", "remaining", "reset_ms"}, "tokens": …}; -1 is unknown. */
static void put_limits(struct db_array *a, const struct limit_headers *h)
{
	struct buf b;
	buf_init(&b, DETAIL_MAX);
	buf_add_char(&b, '{');
	put_limit(&b, "requests", h->requests_limit, h->requests_remaining, h->requests_reset_ms);
	put_limit(&b, "tokens", h->tokens_limit, h->tokens_remaining, h->tokens_reset_ms);
	put_limit(&b, "input_tokens", h->input_limit, h->input_remaining, h->input_reset_ms);
	put_limit(&b, "output_tokens", h->output_limit, h->output_remaining, h->output_reset_ms);
	buf_add_char(&b, '}');
	db_array_text(a, buf_str(&b));
	buf_done(&b);
}

static void put_text(struct db_array *a, bool is_there, const struct buf *b)
{
	db_array_text_or_null(a, is_there ? buf_str(b) : (struct str){ 0 });
}

/* In the order of the statement's parameters, from $7 on. */
static void put_delta(struct db_array c[COLUMNS], const struct target_live *l, uint64_t now_ms)
{
	const struct target_delta *d = &l->flying;
	db_array_text(c++, str_from(l->name));
	db_array_i32(c++, d->calls);
	db_array_i32(c++, d->failures);
	db_array_i32(c++, d->retries);
	db_array_i64(c++, d->latency_ms);
	db_array_i64(c++, d->first_token_ms);
	db_array_i32(c++, d->answered);
	db_array_i32(c++, d->run.head);
	db_array_bool(c++, d->run.has_success);
	db_array_i32(c++, d->run.peak);
	db_array_i32(c++, d->run.tail);
	db_array_bool(c++, d->wants_open);
	db_array_i64(c++, d->wants_generation);
	db_array_i16(c++, (int16_t)d->probe);
	db_array_i64(c++, d->probe_generation);
	put_text(c++, d->failures > 0 || d->wants_open, &l->failure);
	if (d->park_until_ms > now_ms)
		db_array_i64(c++, (int64_t)(d->park_until_ms - now_ms));
	else
		db_array_null(c++);
	db_array_text_or_null(c++, str_from(l->park_why));
	put_text(c++, d->park_until_ms, &l->park_detail);
	put_text(c++, d->disable, &l->disable_why);
	put_text(c++, d->disable, &l->disable_detail);
	db_array_text(c++, str_from(l->key_id));
	db_array_bool(c++, d->disable && d->whole_key);
	if (d->limits)
		put_limits(c, &l->limits);
	else
		db_array_null(c);
}

/* Moves what is pending of some targets into the flight. */
static void board(struct targets *t)
{
	LIST_EACH_SAFE(&t->dirty, k, tmp) {
		struct target_live *l = container_of(k, struct target_live, dirty);
		if (l->to_register || t->nflight == TARGETS_REPORT_MAX)
			continue;
		list_remove(&t->dirty, k);
		if (is_empty(&l->pending))
			continue;
		l->flying = l->pending;
		l->pending = (struct target_delta){ 0 };
		t->flight[t->nflight++] = l;
	}
	t->report_no += t->nflight > 0;
}

static void put_report(struct targets *t)
{
	static const enum db_type types[COLUMNS] = { DB_TEXT, DB_INT4, DB_INT4, DB_INT4, DB_INT8, DB_INT8, DB_INT4, DB_INT4, DB_BOOL, DB_INT4, DB_INT4, DB_BOOL,
		                                     DB_INT8, DB_INT2, DB_INT8, DB_TEXT, DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_BOOL, DB_TEXT };
	const struct breaker_rules rules = breaker_rules();
	struct db_array columns[COLUMNS];
	for (int i = 0; i < COLUMNS; i++)
		db_array_init(&columns[i], types[i], COLUMN_MAX);
	for (size_t i = 0; i < t->nflight; i++)
		put_delta(columns, t->flight[i], now_of(t));
	db_query_init(&t->query, &sql_worker_target_report);
	struct db_args *a = &t->query.args;
	db_arg_id(a, t->worker->id);
	db_arg_i64(a, t->report_no);
	db_arg_i32(a, rules.enabled ? (int32_t)rules.failures : INT32_MAX);
	db_arg_i64(a, rules.open_ms);
	db_arg_i64(a, rules.open_max_ms);
	db_arg_i32(a, (int32_t)rules.successes);
	for (int i = 0; i < COLUMNS; i++) {
		db_arg_array(a, &columns[i]);
		db_array_done(&columns[i]);
	}
}

static void count_event(const struct target_live *l, const char *kind)
{
	struct buf b;
	buf_init(&b, 1024);
	buf_printf(&b, "%s\x1f%s", l->name, kind);
	buf_add(&b, "", 1);
	if (!buf_failed(&b))
		metric_add(METRIC_TARGET_EVENTS, b.p, 1);
	buf_done(&b);
}

static void tell(const struct target_live *l, int happened)
{
	static const struct {
		int bit;
		const char *kind;
	} kinds[] = { { OPENED, "opened" }, { CLOSED, "closed" }, { PARKED, "parked" }, { DISABLED, "disabled" } };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (happened & kinds[i].bit)
			count_event(l, kinds[i].kind);
	if (happened & OPENED)
		log_event(LOG_WARN, "breaker_opened", "the target fails: it is left alone for a while", LOG_Z("target", l->name),
		          LOG_STR("sample", buf_str(&l->failure)), LOG_END);
	if (happened & CLOSED)
		log_event(LOG_INFO, "breaker_closed", "the target answers again", LOG_Z("target", l->name), LOG_END);
}

/* What flew is part of the fleet's counts now, though they were not read again. */
static void land(struct target_live *l)
{
	struct target_row *r = &l->row;
	r->calls += l->flying.calls;
	r->retries += l->flying.retries;
	r->window.calls += l->flying.calls;
	r->window.failures += l->flying.failures;
	r->window.errors += l->flying.failures;
	r->fails_in_row = breaker_run_row(r->fails_in_row, &l->flying.run);
	if (l->probe == PROBE_RETURNING && l->flying.probe) {
		l->probe = PROBE_NONE;
		r->probe_until_ms = 0;
	}
	l->flying = (struct target_delta){ 0 };
}

static void land_all(struct targets *t)
{
	for (size_t i = 0; i < t->nflight; i++)
		land(t->flight[i]);
	t->nflight = 0;
	t->report_again = false;
}

static void took_report(struct targets *t)
{
	int rows = db_rows(&t->query), all = 0;
	land_all(t);
	for (int row = 0; row < rows; row++) {
		struct target_live *l = targets_record(t, db_get_str(&t->query, row, 0));
		int happened = (int)db_get_int(&t->query, row, 5);
		all |= happened;
		if (!l)
			continue;
		l->row.fails_in_row = (int)db_get_int(&t->query, row, 3);
		take_breaker(l, db_get_int(&t->query, row, 1), db_get_int(&t->query, row, 2), get_ms(t, &t->query, row, 4));
		tell(l, happened);
	}
	/* No row: it had been counted before, and nobody was told. */
	if (all || rows == 0)
		notify_targets(t->worker->notifier);
	if (rows == 0)
		t->read_due_ms = now_of(t);
}

/* --- probes --- */

static void on_asked(struct op *op, int rc)
{
	struct target_live *l = container_of(container_of(op, struct db_query, op), struct target_live, ask);
	struct targets *t = l->targets;
	bool ours = rc == 0 && db_rows(&l->ask) == 1 && db_get_bool(&l->ask, 0, 0);
	t->asking--;
	l->probe = PROBE_NONE;
	if (rc == 0 && db_rows(&l->ask) == 1 && is_newer(l, db_get_int(&l->ask, 0, 2), l->ask_applied)) {
		l->row.probe_until_ms = get_ms(t, &l->ask, 0, 4);
		take_breaker(l, db_get_int(&l->ask, 0, 1), db_get_int(&l->ask, 0, 2), get_ms(t, &l->ask, 0, 3));
	}
	if (ours) {
		l->probe = PROBE_HELD;
		l->probe_generation = db_get_int(&l->ask, 0, 2);
		if (db_get_bool(&l->ask, 0, 5))
			count_event(l, "half_open");
	} else {
		targets_hint(t);
	}
	db_query_done(&l->ask);
	struct probe_op *asker = l->asker;
	l->asker = NULL;
	if (!asker)
		target_probe_over(l, BREAKER_SAYS_NOTHING);
	else
		op_done(&asker->op, ours ? 0 : -ERR_OVERLOADED);
}

void target_ask_probe(struct target_live *l)
{
	struct targets *t = l->targets;
	db_query_init(&l->ask, &sql_worker_target_probe);
	l->ask.op.on_done = on_asked;
	l->ask.retry_ms = 1000;
	db_arg_text(&l->ask.args, str_from(l->name));
	db_arg_i64(&l->ask.args, l->row.generation);
	db_arg_id(&l->ask.args, t->worker->id);
	db_arg_i64(&l->ask.args, (int64_t)(l->probe_lapses_ms - now_of(t)));
	l->ask_applied = t->applied;
	if (db_query_start(t->worker->db, &l->ask, NULL) == 0) {
		t->asking++;
		return;
	}
	db_query_done(&l->ask);
	struct probe_op *asker = take(&l->asker);
	l->probe = PROBE_NONE;
	op_done(&asker->op, -ERR_OVERLOADED);
}

/* --- one at a time --- */

static void read_again_later(struct targets *t)
{
	t->read_due_ms = t->worker->state == WORKER_LIVE ? now_of(t) + READ_MS * 7 / 8 + worker_jitter(READ_MS / 4) : 0;
}

static void failed(struct targets *t, int rc)
{
	bool refused = rc == -ERR_DB_QUERY || rc == -ERR_TOO_LARGE;
	if (refused && leases_are_good(t->worker->leases)) /* else heartbeat_failed says it */
		log_event(LOG_ERROR, "targets_refused", t->query.err.text, LOG_Z("statement", t->query.stmt->name), LOG_END);
	t->not_before_ms = now_of(t) + AGAIN_MS + worker_jitter(AGAIN_MS);
	if (t->doing == DOING_READ)
		read_again_later(t);
	else if (t->doing == DOING_REGISTER)
		t->nflight = 0;
	else if (refused)
		land_all(t);
	else
		t->report_again = true;
}

static void on_answered(struct op *op, int rc)
{
	struct targets *t = container_of(container_of(op, struct db_query, op), struct targets, query);
	if (rc < 0)
		failed(t, rc);
	else if (t->doing == DOING_REGISTER)
		took_register(t);
	else if (t->doing == DOING_REPORT)
		took_report(t);
	else {
		read_again_later(t);
		took_read(t);
	}
	db_query_done(&t->query);
	t->doing = DOING_NOTHING;
	if (!list_is_empty(&t->dirty) && !t->report_due_ms)
		t->report_due_ms = now_of(t) + REPORT_SOON_MS;
	targets_arm(t);
}

static void send_query(struct targets *t, enum targets_doing what)
{
	t->query.op.on_done = on_answered;
	t->query.retry_ms = 1000;
	t->query_applied = t->applied;
	t->doing = what;
	int rc = db_query_start(t->worker->db, &t->query, NULL);
	if (rc == 0)
		return;
	failed(t, rc);
	db_query_done(&t->query);
	t->doing = DOING_NOTHING;
	targets_arm(t);
}

static bool is_due(uint64_t due_ms, uint64_t now_ms)
{
	return due_ms && due_ms <= now_ms;
}

static void start_report(struct targets *t)
{
	if (!t->report_again) {
		t->nflight = put_register(t);
		if (t->nflight > 0) {
			send_query(t, DOING_REGISTER);
			return;
		}
		db_query_done(&t->query);
		t->report_due_ms = 0;
		t->urgent = false;
		board(t);
		if (t->nflight == 0)
			return;
	}
	put_report(t);
	send_query(t, DOING_REPORT);
}

void on_targets_timer(struct timer *timer)
{
	struct targets *t = container_of(timer, struct targets, timer);
	uint64_t now = now_of(t);
	if (t->doing == DOING_NOTHING && now >= t->not_before_ms) {
		if (t->report_again || is_due(t->report_due_ms, now)) {
			start_report(t);
		} else if (is_due(t->read_due_ms, now)) {
			t->read_due_ms = 0;
			db_query_init(&t->query, &sql_worker_target_read);
			db_arg_i64(&t->query.args, conf_now()->breaker_errors_in_ms);
			db_arg_id(&t->query.args, t->worker->id);
			send_query(t, DOING_READ);
		}
	}
	targets_arm(t);
}

void targets_arm(struct targets *t)
{
	uint64_t now = now_of(t), due = t->report_again ? now : UINT64_MAX;
	if (t->doing != DOING_NOTHING || (t->worker->state == WORKER_STOPPED && !t->urgent))
		return;
	if (t->report_due_ms)
		due = MIN(due, t->report_due_ms);
	if (t->read_due_ms)
		due = MIN(due, t->read_due_ms);
	if (due == UINT64_MAX)
		return;
	due = MAX(due, t->not_before_ms);
	timer_start(&t->timer, due > now ? due - now : 0);
}
