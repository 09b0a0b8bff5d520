/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How jobs look in a terminal, and the pieces that show_batch.c is made of as well. All text in them came from outside and goes through term_safe (a result's
 * own text keeps its line feeds and tabs). Whatever is missing or of another type is shown as "-": an older or newer
 * service is no reason to fail.
 */
#include "cli/show_private.h"

#include <string.h>

#include "common/clock.h"
#include "common/conf.h"

bool show_is_ended(const json_t *object)
{
	static const char *const ended[] = { "succeeded", "failed", "canceled", "cancelled", "expired", "completed" };
	struct str status = json_str(object, "status");
	for (size_t i = 0; i < ARRAY_LEN(ended); i++)
		if (str_eq_z(status, ended[i]))
			return true;
	return false;
}

/* --- pieces --- */

/* As term_safe, with the line feeds and tabs of a text. */
static struct str safe_text(struct arena *a, struct str s)
{
	struct str safe = term_safe(a, s);
	if (safe.n != s.n)
		return safe;
	char *p = arena_strz(a, safe);
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\n' || s.p[i] == '\t')
			p[i] = s.p[i];
	return (struct str){ p, s.n };
}

static struct str compact(struct arena *a, const json_t *v)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, (size_t)256 << 20);
	json_write(&b, v);
	return arena_str(a, buf_str(&b));
}

static struct str content_text(struct arena *a, const json_t *content)
{
	if (json_is_string(content))
		return json_str_of(content);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, (size_t)64 << 20);
	size_t i;
	json_t *part;
	json_array_foreach(content, i, part) buf_add_str(&b, json_str(part, "text"));
	return arena_str(a, buf_str(&b));
}

struct str show_result_text(struct arena *a, const json_t *job)
{
	const json_t *result = json_get(job, "result");
	const json_t *message = json_get(json_array_get(json_get(result, "choices"), 0), "message");
	if (!result || json_is_null(result))
		return (struct str){ "", 0 };
	struct str text = content_text(a, json_get(message, "content"));
	if (text.n == 0 && json_array_size(json_get(message, "tool_calls")))
		text = compact(a, json_get(message, "tool_calls"));
	return safe_text(a, text.n ? text : message ? (struct str){ "", 0 } : compact(a, result));
}

struct str show_usd(struct arena *a, struct str usd)
{
	int64_t nano;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (usd.n == 0)
		return STR("-");
	if (conf_parse_usd(usd, &nano))
		return arena_printf(a, "$" STR_FMT, STR_ARG(term_safe(a, usd)));
	term_money(&b, nano);
	return arena_str(a, buf_str(&b));
}

struct str show_cost(struct arena *a, const json_t *job)
{
	return show_usd(a, json_str(json_get(job, "cost"), "usd"));
}

struct str show_count(struct arena *a, int64_t n)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	term_count(&b, n);
	return arena_str(a, buf_str(&b));
}

struct str show_number(struct arena *a, const json_t *object, const char *name)
{
	return show_count(a, json_i64(object, name, 0));
}

void show_json(FILE *out, const json_t *v)
{
	struct term t;
	term_init(&t, out);
	json_dumpf(v, out, t.tty ? JSON_INDENT(2) : JSON_COMPACT);
	fputc('\n', out);
}

void show_line(const struct term *t, const char *label, struct str value)
{
	if (value.n)
		fprintf(t->out, "%s%-10s%s " STR_FMT "\n", term_style(t, TERM_DIM), label, term_reset(t),
		        STR_ARG(value));
}

void show_status_line(const struct term *t, struct arena *a, const json_t *v)
{
	struct str status = term_safe(a, json_str(v, "status"));
	fprintf(t->out, "%s" STR_FMT "%s  %s" STR_FMT "%s\n", term_style(t, TERM_BOLD),
	        STR_ARG(term_safe(a, json_str(v, "id"))), term_reset(t), term_style(t, term_status_style(status)),
	        STR_ARG(status), term_reset(t));
}

struct str show_ago(struct arena *a, struct str at)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (at.n == 0)
		return at;
	term_ago(&b, at, clock_wall_us());
	return arena_printf(a, STR_FMT "  (" STR_FMT ")", STR_ARG(term_safe(a, at)), STR_ARG(buf_str(&b)));
}

struct str show_took(struct arena *a, struct str from, struct str to)
{
	int64_t start, end;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (clock_parse_rfc3339(from, &start) || clock_parse_rfc3339(to, &end))
		return (struct str){ "", 0 };
	term_duration(&b, (end - start) / 1000);
	return arena_str(a, buf_str(&b));
}

/* --- jobs --- */

static struct str waiting_text(struct arena *a, const json_t *job)
{
	const json_t *queue = json_get(job, "queue");
	struct str what = term_safe(a, json_str(queue, "waiting_for"));
	int64_t ahead = json_i64(queue, "ahead", -1);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 512);
	if (!json_is_object(queue) || show_is_ended(job))
		return (struct str){ "", 0 };
	if (ahead >= 0) {
		term_count(&b, ahead);
		buf_add_z(&b, " ahead");
	}
	if (what.n)
		buf_printf(&b, "%swaits for " STR_FMT, b.n ? ", " : "", STR_ARG(what));
	struct str start = json_str(queue, "estimated_start_at");
	if (start.n) {
		buf_add_z(&b, b.n ? ", starts " : "starts ");
		term_ago(&b, start, clock_wall_us());
	}
	return arena_str(a, buf_str(&b));
}

static struct str usage_text(struct arena *a, const json_t *job)
{
	const json_t *u = json_get(job, "usage");
	int64_t in = json_i64(u, "input_tokens", 0), out = json_i64(u, "output_tokens", 0);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 256);
	if (in + out == 0)
		return (struct str){ "", 0 };
	term_count(&b, in);
	buf_add_z(&b, " in, ");
	term_count(&b, out);
	buf_add_z(&b, " out");
	return arena_str(a, buf_str(&b));
}

static struct str error_text(struct arena *a, const json_t *job)
{
	const json_t *e = json_get(job, "error");
	struct str message = term_safe(a, json_str(e, "message")), code = term_safe(a, json_str(e, "code"));
	if (!json_is_object(e))
		return (struct str){ "", 0 };
	return arena_printf(a, STR_FMT " [" STR_FMT "]", STR_ARG(message), STR_ARG(code));
}

void show_job(const struct term *t, const json_t *job)
{
	struct arena a;
	arena_init(&a, (size_t)512 << 20);
	const json_t *metadata = json_get(job, "metadata"), *served = json_get(job, "served_by");
	struct str started = json_str(job, "started_at"), ended = json_str(job, "finished_at"),
	           target = json_str(served, "target");
	show_status_line(t, &a, job);
	show_line(t, "route", term_safe(&a, json_str(job, "route")));
	show_line(t, "batch", term_safe(&a, json_str(job, "batch_id")));
	show_line(t, "created", show_ago(&a, json_str(job, "created_at")));
	show_line(t, "waiting", waiting_text(&a, job));
	show_line(t, "finished", show_ago(&a, ended));
	show_line(t, "took", show_took(&a, started, ended));
	if (target.n)
		show_line(t, "served by",
		     arena_printf(&a, STR_FMT " (" STR_FMT ")", STR_ARG(term_safe(&a, target)),
		                  STR_ARG(term_safe(&a, json_str(served, "level")))));
	show_line(t, "attempts", arena_printf(&a, "%lld", (long long)json_i64(job, "attempts", 0)));
	show_line(t, "tokens", usage_text(&a, job));
	if (show_is_ended(job))
		show_line(t, "cost", show_cost(&a, job));
	if (json_object_size(metadata))
		show_line(t, "metadata", term_safe(&a, compact(&a, metadata)));
	show_line(t, "error", error_text(&a, job));
	struct str text = show_result_text(&a, job);
	if (text.n)
		fprintf(t->out, "\n" STR_FMT "\n", STR_ARG(text));
	arena_done(&a);
}

static struct str http_status(struct arena *a, const json_t *attempt)
{
	int64_t status = json_i64(attempt, "http_status", 0);
	return status ? arena_printf(a, "%lld", (long long)status) : STR("-");
}

static struct str milliseconds(struct arena *a, const json_t *attempt, const char *field)
{
	int64_t ms = json_i64(attempt, field, -1);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (ms < 0)
		return STR("-");
	term_duration(&b, ms);
	return arena_str(a, buf_str(&b));
}

void show_attempt_table(const struct term *t, const json_t *attempts)
{
	static const struct term_column columns[] = {
		{ .title = "ATTEMPT", .right = true },
		{ .title = "TARGET", .shrink = true },
		{ .title = "HTTP", .right = true },
		{ .title = "FIRST TOKEN", .right = true, .spare = 1 },
		{ .title = "TOOK", .right = true },
		{ .title = "COST", .right = true, .spare = 2 },
		{ .title = "OUTCOME" },
		{ .title = "NEXT", .shrink = true },
		{ .title = NULL },
	};
	struct term_table table;
	struct arena a;
	size_t i;
	json_t *v;
	arena_init(&a, 16 << 20);
	term_table_init(&table, &a, columns);
	json_array_foreach(attempts, i, v)
	{
		const struct str cells[] = {
			arena_printf(&a, "%lld", (long long)json_i64(v, "number", (int64_t)i + 1)),
			json_str(v, "target"),
			http_status(&a, v),
			milliseconds(&a, v, "first_token_ms"),
			milliseconds(&a, v, "total_ms"),
			show_cost(&a, v),
			json_str(v, "code"),
			json_str(v, "next"),
		};
		term_table_add(&table, cells);
	}
	if (table.nrows) {
		fputc('\n', t->out);
		term_table_print(&table, t);
	}
	arena_done(&a);
}

void show_job_error(const char *command, const json_t *job)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	struct str text = error_text(&a, job);
	fprintf(stderr, "millrace %s: " STR_FMT " " STR_FMT "%s" STR_FMT "\n", command,
	        STR_ARG(term_safe(&a, json_str(job, "id"))), STR_ARG(term_safe(&a, json_str(job, "status"))),
	        text.n ? ": " : "", STR_ARG(text));
	arena_done(&a);
}

void show_result(const struct term *t, const json_t *job)
{
	struct arena a;
	arena_init(&a, (size_t)512 << 20);
	struct str status = term_safe(&a, json_str(job, "status")),
	           file = term_safe(&a, json_str(json_get(job, "metadata"), "file"));
	fprintf(t->out, "%s%s %lld%s" STR_FMT "%s  %s" STR_FMT "%s  %s" STR_FMT "%s\n", term_style(t, TERM_DIM),
	        term_glyph("──", "--"), (long long)json_i64(job, "index", 0) + 1, file.n ? "  " : "", STR_ARG(file), term_reset(t),
	        term_style(t, term_status_style(status)), STR_ARG(status), term_reset(t), term_style(t, TERM_DIM),
	        STR_ARG(show_cost(&a, job)), term_reset(t));
	struct str text = show_is_good(job) ? show_result_text(&a, job) : error_text(&a, job);
	if (text.n)
		fprintf(t->out, STR_FMT "\n", STR_ARG(text));
	arena_done(&a);
}
