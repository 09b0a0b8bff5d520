/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How batches look in a terminal. A batch comes in one of two forms: native (`counts`, times by RFC 3339), or OpenAI's, when it came as a file
 * (`request_counts`, Unix seconds, and in `millrace` what goes beyond). The functions at the top read either; what follows knows no forms. As in show.c,
 * all text is made safe, and what is missing is left out.
 */
#include "cli/show_private.h"
#include "common/clock.h"

#define FAULTS_SHOWN 20

/* --- the two forms --- */

bool show_is_file_batch(const json_t *object)
{
	return json_get(object, "request_counts") != NULL;
}

/* The member that a native batch has itself, and one from a file in its `millrace`. */
static const json_t *beyond(const json_t *batch, const char *name)
{
	return json_get(show_is_file_batch(batch) ? json_get(batch, "millrace") : batch, name);
}

static struct str unix_time(struct arena *a, const json_t *batch, const char *name)
{
	_cleanup_(buf_done) struct buf b;
	int64_t seconds = json_i64(batch, name, 0);
	buf_init(&b, 64);
	if (seconds <= 0 || seconds > INT64_C(253402300799)) /* the year 9999 */
		return (struct str){ "", 0 };
	clock_rfc3339(&b, seconds * 1000000);
	return arena_str(a, buf_str(&b));
}

struct str show_created_at(struct arena *a, const json_t *batch)
{
	return show_is_file_batch(batch) ? unix_time(a, batch, "created_at") : json_str(batch, "created_at");
}

static struct str ended_at(struct arena *a, const json_t *batch)
{
	static const char *const names[] = { "completed_at", "failed_at", "expired_at", "cancelled_at" };
	struct str at = json_str(batch, "finished_at");
	if (show_is_file_batch(batch) && show_is_ended(batch))
		for (size_t i = 0; i < ARRAY_LEN(names) && at.n == 0; i++)
			at = unix_time(a, batch, names[i]);
	return at;
}

/* OpenAI's times are whole seconds: what took less than one is not told. */
static struct str took(struct arena *a, const json_t *batch)
{
	struct str from = show_created_at(a, batch), to = ended_at(a, batch);
	return str_eq(from, to) ? (struct str){ "", 0 } : show_took(a, from, to);
}

static const json_t *faults(const json_t *batch)
{
	const json_t *errors = json_get(batch, "errors");
	return show_is_file_batch(batch) ? json_get(errors, "data") : errors;
}

static int64_t fault_count(const json_t *batch)
{
	const json_t *count = beyond(batch, "error_count");
	return json_is_integer(count) ? json_integer_value(count) : (int64_t)json_array_size(faults(batch));
}

struct str show_batch_cost(struct arena *a, const json_t *batch)
{
	return show_is_file_batch(batch) ? show_usd(a, json_str(json_get(batch, "millrace"), "cost_usd")) : show_cost(a, batch);
}

void show_counts(const json_t *batch, struct term_counts *ret)
{
	const json_t *n = beyond(batch, "counts"), *progress = beyond(batch, "progress");
	const json_t *rate = json_get(progress, "rate_per_s");
	int64_t end;
	*ret = (struct term_counts){
		.total = show_is_file_batch(batch) ? json_i64(json_get(batch, "request_counts"), "total", 0) : json_i64(batch, "total", 0),
		.queued = json_i64(n, "queued", 0),
		.running = json_i64(n, "running", 0),
		.succeeded = json_i64(n, "succeeded", 0),
		.failed = json_i64(n, "failed", 0),
		.canceled = json_i64(n, "canceled", 0),
		.expired = json_i64(n, "expired", 0),
		.rate_per_s = json_is_number(rate) ? json_number_value(rate) : -1,
		.eta_ms = -1,
	};
	if (clock_parse_rfc3339(json_str(progress, "estimated_finish_at"), &end) == 0)
		ret->eta_ms = MAX((end - clock_wall_us()) / 1000, (int64_t)0);
}

bool show_is_good(const json_t *object)
{
	struct term_counts c;
	if (!beyond(object, "counts"))
		return str_eq_z(json_str(object, "status"), "succeeded");
	show_counts(object, &c);
	bool is_dry = json_bool(json_get(object, "millrace"), "dry_run", false) && str_eq_z(json_str(object, "status"), "completed");
	return (is_dry || c.succeeded == c.total) && fault_count(object) == 0;
}

/* --- as people read it --- */

void show_faults(const struct term *t, const json_t *list, int64_t count, size_t most)
{
	struct arena a;
	size_t i, shown = 0;
	json_t *e;
	arena_init(&a, 16 << 20);
	json_array_foreach(list, i, e)
	{
		struct str param = term_safe(&a, json_str(e, "param")), code = term_safe(&a, json_str(e, "code"));
		int64_t number = json_i64(e, "line", 0);
		if (shown == most)
			break;
		fputs(term_style(t, TERM_RED), t->out);
		if (number)
			fprintf(t->out, "line %lld", (long long)number);
		else
			fputs("the input", t->out); /* of the whole file */
		fprintf(t->out, "%s: " STR_FMT "%s" STR_FMT "%s [" STR_FMT "]\n", term_reset(t), STR_ARG(term_safe(&a, json_str(e, "message"))),
		        param.n ? " (at " : "", STR_ARG(param), param.n ? ")" : "", STR_ARG(code));
		shown++;
	}
	if (count > (int64_t)shown && shown)
		fprintf(t->out, "and %lld more\n", (long long)(count - (int64_t)shown));
	arena_done(&a);
}

static void add_count(struct buf *b, int64_t n, const char *what)
{
	if (n == 0)
		return;
	buf_add_z(b, b->n ? ", " : "");
	term_count(b, n);
	buf_printf(b, " %s", what);
}

/* "9 succeeded, 1 failed"; empty when nothing is counted. Made in a. */
static struct str counts_text(struct arena *a, const json_t *batch)
{
	struct term_counts c;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 512);
	show_counts(batch, &c);
	add_count(&b, c.queued, "queued");
	add_count(&b, c.running, "running");
	add_count(&b, c.succeeded, "succeeded");
	add_count(&b, c.failed, "failed");
	add_count(&b, c.canceled, "canceled");
	add_count(&b, c.expired, "expired");
	return arena_str(a, buf_str(&b));
}

/* "1,000 (990 succeeded, 10 failed)"; empty while nobody knows how many there are. */
static struct str jobs_text(struct arena *a, const json_t *batch)
{
	struct term_counts c;
	_cleanup_(buf_done) struct buf b;
	struct str counts = counts_text(a, batch);
	buf_init(&b, 1024);
	show_counts(batch, &c);
	if (c.total == 0)
		return (struct str){ "", 0 };
	term_count(&b, c.total);
	if (counts.n)
		buf_printf(&b, " (" STR_FMT ")", STR_ARG(counts));
	return arena_str(a, buf_str(&b));
}

/* "about 1,200 tokens of input, $0.02 for one call each" of a batch whose file was validated. */
static struct str estimate_text(struct arena *a, const json_t *batch)
{
	const json_t *own = json_get(batch, "millrace");
	struct str usd = json_str(own, "estimated_cost_usd");
	if (!json_is_integer(json_get(own, "estimated_input_tokens")))
		return (struct str){ "", 0 };
	struct str tokens = show_number(a, own, "estimated_input_tokens");
	if (usd.n == 0)
		return arena_printf(a, "about " STR_FMT " tokens of input; not every price is known", STR_ARG(tokens));
	return arena_printf(a, "about " STR_FMT " tokens of input, " STR_FMT " for one call each", STR_ARG(tokens), STR_ARG(show_usd(a, usd)));
}

static void show_file_lines(const struct term *t, struct arena *a, const json_t *batch)
{
	const json_t *own = json_get(batch, "millrace");
	struct str cap = json_str(own, "max_cost_usd");
	show_line(t, "estimate", estimate_text(a, batch));
	if (cap.n)
		show_line(t, "cost cap", arena_printf(a, STR_FMT "%s", STR_ARG(show_usd(a, cap)), json_bool(own, "capped", false) ? ", reached" : ""));
	show_line(t, "endpoint", term_safe(a, json_str(batch, "endpoint")));
	show_line(t, "input", term_safe(a, json_str(batch, "input_file_id")));
	show_line(t, "output", term_safe(a, json_str(batch, "output_file_id")));
	show_line(t, "errors", term_safe(a, json_str(batch, "error_file_id")));
}

void show_batch(const struct term *t, const json_t *batch)
{
	struct arena a;
	arena_init(&a, 16 << 20);
	bool is_dry = json_bool(json_get(batch, "millrace"), "dry_run", false);
	show_status_line(t, &a, batch);
	show_line(t, "jobs", is_dry ? STR("none: a dry run") : jobs_text(&a, batch));
	show_line(t, "created", show_ago(&a, show_created_at(&a, batch)));
	show_line(t, "finished", show_ago(&a, ended_at(&a, batch)));
	show_line(t, "took", took(&a, batch));
	if (!show_is_ended(batch))
		show_line(t, "ends", show_ago(&a, json_str(beyond(batch, "progress"), "estimated_finish_at")));
	if (!is_dry)
		show_line(t, "cost", show_batch_cost(&a, batch));
	if (show_is_file_batch(batch))
		show_file_lines(t, &a, batch);
	show_faults(t, faults(batch), fault_count(batch), FAULTS_SHOWN);
	arena_done(&a);
}

/* What a dry run found. */
static void summarize_dry_run(const struct term *t, struct arena *a, const json_t *batch)
{
	struct str requests = show_number(a, json_get(batch, "request_counts"), "total"), estimate = estimate_text(a, batch);
	fprintf(t->out, STR_FMT " %sdry run%s: " STR_FMT " valid request%s%s" STR_FMT "\n", STR_ARG(term_safe(a, json_str(batch, "id"))),
	        term_style(t, TERM_GREEN), term_reset(t), STR_ARG(requests), str_eq_z(requests, "1") ? "" : "s", estimate.n ? ", " : "",
	        STR_ARG(estimate));
}

void show_batch_summary(const struct term *t, const json_t *batch)
{
	struct arena a;
	arena_init(&a, 16 << 20);
	bool good = show_is_good(batch);
	if (good && json_bool(json_get(batch, "millrace"), "dry_run", false)) {
		summarize_dry_run(t, &a, batch);
	} else {
		struct str time = took(&a, batch), counts = counts_text(&a, batch);
		fprintf(t->out, STR_FMT " %s" STR_FMT "%s%s" STR_FMT "%s" STR_FMT "\n", STR_ARG(term_safe(&a, json_str(batch, "id"))),
		        term_style(t, good ? TERM_GREEN : TERM_YELLOW), STR_ARG(term_safe(&a, json_str(batch, "status"))), term_reset(t),
		        counts.n ? ": " : "", STR_ARG(counts), counts.n && time.n ? " in " : "", STR_ARG(counts.n ? time : STR("")));
	}
	show_faults(t, faults(batch), fault_count(batch), FAULTS_SHOWN);
	arena_done(&a);
}
