/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What users would have seen, per route, and which promises held: as tables for people, as JSON for programs. Percentiles are of jobs that
 * ended, by nearest rank.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/drill.h"

#define BAR_COLUMNS 24

/* --- sums --- */

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* Sorts. */
static void percentiles(int64_t *v, size_t n, const int *wanted, size_t nwanted, int64_t *ret)
{
	if (n)
		qsort(v, n, sizeof(*v), by_size);
	for (size_t i = 0; i < nwanted; i++)
		ret[i] = n ? v[MAX((n * (size_t)wanted[i] + 99) / 100, (size_t)1) - 1] : -1;
}

static int64_t cost_of_route(const struct drill_run *r, size_t route)
{
	int64_t sum = 0;
	for (size_t i = 0; i < r->njobs; i++)
		if (r->jobs[i].route == route && r->jobs[i].outcomes) {
			if (r->jobs[i].cost_nanousd < 0)
				return -1;
			sum += r->jobs[i].cost_nanousd;
		}
	return sum;
}

static void count_job(struct drill_row *row, const struct drill_job *j)
{
	row->jobs++;
	if (!j->outcomes)
		row->open++;
	else if (j->status == 3)
		row->rungs[MIN(j->level, DRILL_RUNGS - 1)]++;
	else
		row->failed++;
	row->calls += j->calls;
	row->extra_calls += j->calls - (j->outcomes && j->status == 3 && (j->level <= 1 || j->level == 5));
}

static void row_make(const struct drill *d, const struct drill_run *r, size_t route, struct drill_row *ret)
{
	static const int parts[] = { 50, 95, 99 };
	int64_t *total = calloc(3 * r->njobs + 1, sizeof(*total)), *wait, *first;
	size_t n = 0, nfirst = 0;
	if (!total)
		abort();
	wait = total + r->njobs;
	first = wait + r->njobs;
	*ret = (struct drill_row){ .route = d->twins.conf->routes[route].name };
	for (size_t i = 0; i < r->njobs; i++) {
		const struct drill_job *j = &r->jobs[i];
		if (j->route != route || !j->id)
			continue;
		count_job(ret, j);
		if (!j->outcomes)
			continue;
		total[n] = j->total_ms;
		wait[n++] = j->wait_ms;
		if (j->first_ms >= 0)
			first[nfirst++] = j->first_ms;
	}
	percentiles(total, n, parts, 3, ret->total_ms);
	percentiles(wait, n, parts, 3, ret->wait_ms);
	percentiles(first, nfirst, parts, 2, ret->first_ms);
	free(total);
	int64_t calm = d->nruns ? cost_of_route(&d->runs[0], route) : -1;
	ret->cost_nanousd = cost_of_route(r, route);
	ret->extra_nanousd = calm < 0 || ret->cost_nanousd < 0 ? 0 : ret->cost_nanousd - calm;
}

/* --- text --- */

static struct str text_of(struct arena *a, void (*fn)(struct buf *b, int64_t v), int64_t v)
{
	struct buf b;
	buf_init(&b, 64);
	if (v >= 0)
		fn(&b, v);
	else
		buf_add_char(&b, '-');
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

static struct str count_or_dot(struct arena *a, int64_t n)
{
	return n ? text_of(a, term_count, n) : str_from(term_glyph("·", "."));
}

/* Who served, as a bar of the route's width: full, half and light blocks for the first target, a fallback or cache, and the ladder. */
static struct str bar_of(struct arena *a, const struct drill_row *row)
{
	const char *const blocks[] = { term_glyph("█", "#"), term_glyph("▓", "="), term_glyph("░", "-"), "!" };
	const int64_t parts[] = { row->rungs[0], row->rungs[1] + row->rungs[2] + row->rungs[3], row->rungs[4] + row->rungs[5] + row->rungs[6],
		                  row->failed + row->open };
	struct buf b;
	int64_t before = 0, total = MAX(row->jobs, (int64_t)1);
	buf_init(&b, 1024);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		int64_t from = before * BAR_COLUMNS / total, to = (before + parts[i]) * BAR_COLUMNS / total;
		for (int64_t k = from; k < to; k++)
			buf_add_z(&b, blocks[i]);
		before += parts[i];
	}
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

static void print_served(const struct term *term, struct arena *a, const struct drill_row *rows, size_t n)
{
	static const struct term_column columns[] = {
		{ .title = "route", .shrink = true },
		{ .title = "served by", .spare = 1 },
		{ .title = "jobs", .right = true },
		{ .title = "primary", .right = true },
		{ .title = "fallback", .right = true },
		{ .title = "cache", .right = true },
		{ .title = "stale", .right = true },
		{ .title = "simple", .right = true },
		{ .title = "static", .right = true },
		{ .title = "failed", .right = true },
		{ .title = NULL },
	};
	struct term_table t;
	term_table_init(&t, a, columns);
	for (size_t i = 0; i < n; i++) {
		const struct drill_row *r = &rows[i];
		const struct str cells[] = { r->route,
			                     bar_of(a, r),
			                     text_of(a, term_count, r->jobs),
			                     count_or_dot(a, r->rungs[0]),
			                     count_or_dot(a, r->rungs[1]),
			                     count_or_dot(a, r->rungs[2] + r->rungs[3]),
			                     count_or_dot(a, r->rungs[4]),
			                     count_or_dot(a, r->rungs[5]),
			                     count_or_dot(a, r->rungs[6]),
			                     count_or_dot(a, r->failed + r->open) };
		term_table_add(&t, cells);
	}
	term_table_print(&t, term);
}

static struct str extra_money(struct arena *a, const struct drill_row *r)
{
	struct str s = text_of(a, term_money, r->extra_nanousd < 0 ? -r->extra_nanousd : r->extra_nanousd);
	if (r->cost_nanousd < 0)
		return STR("unknown");
	return r->extra_nanousd ? arena_printf(a, "%c" STR_FMT, r->extra_nanousd < 0 ? '-' : '+', STR_ARG(s)) : str_from(term_glyph("·", "."));
}

static void print_times(const struct term *term, struct arena *a, const struct drill_row *rows, size_t n)
{
	static const struct term_column columns[] = {
		{ .title = "route", .shrink = true },
		{ .title = "time p50", .right = true },
		{ .title = "p95", .right = true },
		{ .title = "p99", .right = true },
		{ .title = "wait p50", .right = true, .spare = 2 },
		{ .title = "wait p95", .right = true },
		{ .title = "wait p99", .right = true, .spare = 1 },
		{ .title = "first p50", .right = true },
		{ .title = "calls", .right = true },
		{ .title = "extra/job", .right = true },
		{ .title = "cost", .right = true, .spare = 3 },
		{ .title = "to calm", .right = true },
		{ .title = NULL },
	};
	struct term_table t;
	term_table_init(&t, a, columns);
	for (size_t i = 0; i < n; i++) {
		const struct drill_row *r = &rows[i];
		int64_t hundredths = r->jobs ? r->extra_calls * 100 / r->jobs : 0;
		const struct str cells[] = { r->route,
			                     text_of(a, term_duration, r->total_ms[0]),
			                     text_of(a, term_duration, r->total_ms[1]),
			                     text_of(a, term_duration, r->total_ms[2]),
			                     text_of(a, term_duration, r->wait_ms[0]),
			                     text_of(a, term_duration, r->wait_ms[1]),
			                     text_of(a, term_duration, r->wait_ms[2]),
			                     text_of(a, term_duration, r->first_ms[0]),
			                     text_of(a, term_count, r->calls),
			                     hundredths > 0 ? arena_printf(a, "%lld.%02lld", (long long)(hundredths / 100), (long long)(hundredths % 100))
			                                    : str_from(term_glyph("·", ".")),
			                     r->cost_nanousd < 0 ? STR("unknown") : text_of(a, term_money, r->cost_nanousd),
			                     extra_money(a, r) };
		term_table_add(&t, cells);
	}
	term_table_print(&t, term);
}

static bool is_transition(const struct drill_event *e)
{
	return strcmp(e->kind, "opened") == 0 || strcmp(e->kind, "half_open") == 0 || strcmp(e->kind, "closed") == 0 || strcmp(e->kind, "parked") == 0;
}

/* "breakers  openai/gpt-4o: opened 0.4s half_open 2.5s closed 3.1s", times since the fault. */
static void print_events(const struct term *term, const struct drill *d, const struct drill_run *r, struct arena *a)
{
	const struct conf *c = d->twins.conf;
	for (size_t i = 0; i < c->ntargets; i++) {
		struct buf b;
		size_t n = 0, shown = 0;
		buf_init(&b, 4096);
		for (size_t k = 0; k < r->nevents; k++) {
			const struct drill_event *e = &r->events[k];
			if (!str_eq_z(c->targets[i].name, e->target) || !is_transition(e) || ++n > 6)
				continue;
			shown++;
			buf_printf(&b, "%s%s +", shown == 1 ? "" : ", ", strcmp(e->kind, "half_open") == 0 ? "half open" : e->kind);
			term_duration(&b, MAX(e->at_ms - r->fault_on_ms, (int64_t)0));
		}
		if (n > shown)
			buf_printf(&b, ", %zu more", n - shown);
		struct str line = arena_printf(a, STR_FMT ": " STR_FMT, STR_ARG(c->targets[i].name), STR_ARG(buf_str(&b)));
		if (n)
			fprintf(term->out, "%s" STR_FMT "%s\n", term_style(term, TERM_DIM),
			        STR_ARG(term_fit(a, term_safe(a, line), term->columns ? (size_t)term->columns : SIZE_MAX)), term_reset(term));
		buf_done(&b);
	}
}

/* The text goes on in further lines under its own begin. */
static void print_wrapped(const struct term *term, struct str text, int indent)
{
	size_t room = term->columns > indent + 20 ? (size_t)(term->columns - indent) : SIZE_MAX, used = 0;
	struct str word;
	while (str_split(&text, ' ', &word)) {
		size_t width = term_columns(word);
		if (used && used + 1 + width > room) {
			fprintf(term->out, "\n%*s", indent, "");
			used = 0;
		}
		fprintf(term->out, "%s" STR_FMT, used ? " " : "", STR_ARG(word));
		used += width + (used ? 1 : 0);
	}
	fputc('\n', term->out);
}

static void print_promise(const struct term *term, struct arena *a, const struct drill_promise *p)
{
	const char *mark = p->broken ? term->tty ? term_glyph("✗", "x") : "BROKEN" : term->tty ? term_glyph("✓", "+") : "ok";
	int width = term->tty ? 2 : 7;
	struct str text = p->job ? arena_printf(a, STR_FMT ", for example %s", STR_ARG(p->text), p->job) : p->text;
	fprintf(term->out, "%s%s%s%*s%-20s ", term_style(term, p->broken ? TERM_RED : TERM_GREEN), mark, term_reset(term),
	        term->tty ? 1 : MAX(width - (int)strlen(mark), 1), "", p->name);
	print_wrapped(term, term_safe(a, text), width + 21);
}

/* Without an outage no ladder should be needed: then it is the configuration that is too tight, or worse. */
static void print_calm_note(const struct term *term, const struct drill_row *rows, size_t n)
{
	int64_t down = 0;
	for (size_t i = 0; i < n; i++)
		down += rows[i].rungs[4] + rows[i].rungs[5] + rows[i].rungs[6] + rows[i].failed;
	if (down)
		fprintf(term->out, "%snote:%s %lld jobs had no answer of a target of their route although nothing was wrong;\n      see limits, on_limit and ladder_after\n",
		        term_style(term, TERM_YELLOW), term_reset(term), (long long)down);
}

void drill_report_run(struct drill *d, const struct drill_run *r)
{
	struct drill_promise promises[DRILL_PROMISES_MAX];
	size_t nroutes = d->twins.conf->nroutes;
	struct arena a;
	arena_init(&a, 8 << 20);
	size_t n = drill_promises(d, r, &a, promises);
	for (size_t i = 0; i < n; i++)
		d->broken += promises[i].broken;
	if (!d->quiet) {
		const struct term *term = &d->term;
		struct drill_row *rows = arena_array(&a, struct drill_row, nroutes + 1);
		for (size_t i = 0; i < nroutes; i++)
			row_make(d, r, i, &rows[i]);
		fprintf(term->out, "\n%s%s%s  %s\n", term_style(term, TERM_BOLD), r->scenario->name, term_reset(term), r->scenario->summary);
		print_served(term, &a, rows, nroutes);
		print_times(term, &a, rows, nroutes);
		print_events(term, d, r, &a);
		for (size_t i = 0; i < n; i++)
			print_promise(term, &a, &promises[i]);
		if (r->scenario == &drill_calm)
			print_calm_note(term, rows, nroutes);
		fflush(term->out);
	}
	arena_done(&a);
}

/* --- JSON --- */

static json_t *json_times(const int64_t *v, size_t n)
{
	static const char *const names[] = { "p50", "p95", "p99" };
	json_t *o = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, names[i], v[i] < 0 ? json_null() : json_integer(v[i]));
	return o;
}

static json_t *json_row(const struct drill_row *r)
{
	json_t *o = json_object(), *served = json_object();
	json_set_str(o, "route", r->route);
	json_set_i64(o, "jobs", r->jobs);
	static const char *const names[DRILL_RUNGS] = { "primary", "fallback", "cache", "semantic_cache", "stale_cache", "simple_model", "static" };
	for (size_t i = 0; i < DRILL_RUNGS; i++)
		json_set_i64(served, names[i], r->rungs[i]);
	json_object_set_new(o, "served", served);
	json_set_i64(o, "failed", r->failed);
	json_set_i64(o, "not_ended", r->open);
	json_object_set_new(o, "total_ms", json_times(r->total_ms, 3));
	json_object_set_new(o, "wait_ms", json_times(r->wait_ms, 3));
	json_object_set_new(o, "first_token_ms", json_times(r->first_ms, 2));
	json_set_i64(o, "calls", r->calls);
	json_set_i64(o, "extra_calls", r->extra_calls);
	json_object_set_new(o, "cost_nanousd", r->cost_nanousd < 0 ? json_null() : json_integer(r->cost_nanousd));
	json_set_i64(o, "extra_nanousd", r->extra_nanousd);
	return o;
}

static json_t *json_events(const struct drill_run *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->nevents; i++) {
		json_t *o = json_object();
		json_set_str(o, "target", str_from(r->events[i].target));
		json_set_str(o, "kind", str_from(r->events[i].kind));
		json_set_i64(o, "after_ms", r->events[i].at_ms - r->fault_on_ms);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *json_promises(const struct drill *d, const struct drill_run *r)
{
	struct drill_promise promises[DRILL_PROMISES_MAX];
	struct arena a;
	json_t *list = json_array();
	arena_init(&a, 1 << 20);
	size_t n = drill_promises(d, r, &a, promises);
	for (size_t i = 0; i < n; i++) {
		json_t *o = json_object();
		json_set_str(o, "promise", str_from(promises[i].name));
		json_object_set_new(o, "kept", json_boolean(!promises[i].broken));
		json_set_str(o, "detail", promises[i].text);
		if (promises[i].job)
			json_set_str(o, "job", str_from(promises[i].job));
		json_array_append_new(list, o);
	}
	arena_done(&a);
	return list;
}

json_t *drill_report_json(struct drill *d)
{
	json_t *all = json_object(), *list = json_array();
	json_set_i64(all, "time_factor", d->twins.factor);
	json_set_i64(all, "broken", (int64_t)d->broken);
	for (size_t i = 0; i < d->nruns; i++) {
		const struct drill_run *r = &d->runs[i];
		json_t *o = json_object(), *routes = json_array();
		json_set_str(o, "scenario", str_from(r->scenario->name));
		json_set_i64(o, "jobs", (int64_t)r->njobs);
		json_set_i64(o, "accepted", (int64_t)r->accepted);
		json_object_set_new(o, "recovered_ms", r->recovered_ms < 0 ? json_null() : json_integer(r->recovered_ms));
		for (size_t k = 0; k < d->twins.conf->nroutes; k++) {
			struct drill_row row;
			row_make(d, r, k, &row);
			json_array_append_new(routes, json_row(&row));
		}
		json_object_set_new(o, "routes", routes);
		json_object_set_new(o, "events", r->fault_on_ms ? json_events(r) : json_array());
		json_object_set_new(o, "promises", json_promises(d, r));
		json_array_append_new(list, o);
	}
	json_object_set_new(all, "scenarios", list);
	return all;
}
