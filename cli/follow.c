/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following: a job by long polls, a batch by short ones that move the progress line. A service that goes away for a
 * moment (a deploy) is waited for, OUTAGE_MS at most; jobs run on whether or not somebody watches, so that Ctrl-C and
 * --timeout end only the watching and say how to go on.
 */
#include "cli/follow.h"

#include <errno.h>
#include <string.h>

#include "cli/exit.h"
#include "cli/show.h"
#include "common/clock.h"

#define OUTAGE_MS      30000
#define POLL_FIRST_MS  25 /* short batches feel instant; the pause doubles up to the two below */
#define POLL_TTY_MS    200
#define POLL_MS        1000
#define LINE_MAX_BYTES ((size_t)64 << 20)

uint64_t follow_deadline(int64_t timeout_ms)
{
	return timeout_ms ? clock_mono_ms() + (uint64_t)timeout_ms : 0;
}

static bool is_late(const struct follow *f)
{
	return f->deadline_ms && clock_mono_ms() >= f->deadline_ms;
}

/* What is said next begins on a line of its own. */
static void clear_line(void)
{
	struct term t;
	term_init(&t, stderr);
	if (t.tty)
		fputs("\r\033[K", stderr);
}

static int gave_up(const struct follow *f, struct str id, const char *why, int status)
{
	clear_line();
	fprintf(stderr, "millrace %s: %s; it goes on without us: millrace watch " STR_FMT "\n", f->command, why,
	        STR_ARG(id));
	return status;
}

/* One look at the object. 0, an exit status after a failure that cannot be waited out, or -1: look again. */
static int look(const struct follow *f, struct str id, struct str path, uint64_t *lost_since_ms, json_t **ret)
{
	struct client_answer a;
	const struct client_request r = { .method = "GET", .path = path };
	int rc = client_call(f->client, &r, &a), status = 0;
	if (rc == 0) {
		*lost_since_ms = 0;
		*ret = take(&a.body);
		if (!*ret) {
			fprintf(stderr, "millrace %s: %s did not answer with JSON\n", f->command,
			        client_url(f->client));
			status = CLI_EXIT_UNREACHABLE;
		}
		client_answer_done(&a);
		return status;
	}
	uint64_t now = clock_mono_ms();
	bool first = *lost_since_ms == UINT64_MAX; /* never seen: a wrong address, not an outage */
	if (client_is_interrupted(f->client))
		status = gave_up(f, id, "interrupted", CLI_EXIT_FAILED);
	else if (is_late(f))
		status = gave_up(f, id, "the time is over", CLI_EXIT_TIMEOUT);
	else if (first || (a.status && a.status < 500 && a.status != 429) ||
	         (*lost_since_ms && now - *lost_since_ms >= OUTAGE_MS)) {
		clear_line();
		status = client_complain(f->client, f->command, &a);
	} else if (*lost_since_ms == 0)
		*lost_since_ms = now;
	client_answer_done(&a);
	if (status)
		return status;
	client_sleep(f->client, POLL_MS);
	return -1;
}

/* Seconds that the service may hold the answer. */
static int wait_seconds(const struct follow *f, bool live)
{
	uint64_t now = clock_mono_ms(), left = f->deadline_ms > now ? f->deadline_ms - now : 0;
	uint64_t most = live ? 1 : 20;
	return f->deadline_ms ? (int)MIN(most, (left + 999) / 1000) : (int)most;
}

static void show_waiting(const struct term *t, const struct follow *f, const json_t *job, uint64_t start_ms)
{
	struct arena a;
	_cleanup_(buf_done) struct buf b;
	arena_init(&a, 65536);
	buf_init(&b, 4096);
	const json_t *queue = json_get(job, "queue");
	struct str status = json_str(job, "status"), what = json_str(queue, "waiting_for");
	int64_t ahead = json_i64(queue, "ahead", -1);
	buf_printf(&b, "%s  " STR_FMT "  ", f->label, STR_ARG(term_safe(&a, status)));
	term_seconds(&b, (int64_t)(clock_mono_ms() - start_ms));
	if (str_eq_z(status, "queued") && ahead >= 0)
		buf_printf(&b, "  %lld ahead", (long long)ahead);
	if (what.n)
		buf_printf(&b, "  waits for " STR_FMT, STR_ARG(term_safe(&a, what)));
	fprintf(t->out, "\r\033[K" STR_FMT, STR_ARG(term_fit(&a, buf_str(&b), (size_t)t->columns - 1)));
	fflush(t->out);
	arena_done(&a);
}

int follow_job(const struct follow *f, struct str id, json_t **ret)
{
	struct term t;
	term_init(&t, stderr);
	bool live = t.tty && !f->quiet;
	uint64_t start = clock_mono_ms(), lost = UINT64_MAX;
	for (;;) {
		_cleanup_(buf_done) struct buf path;
		_cleanup_(json_drop) json_t *job = NULL;
		buf_init(&path, 4096);
		buf_printf(&path, "/v1/jobs/" STR_FMT "?wait=%d", STR_ARG(id), wait_seconds(f, live));
		int rc = look(f, id, buf_str(&path), &lost, &job);
		if (rc > 0)
			return rc;
		if (rc == 0 && show_is_ended(job)) {
			if (live)
				clear_line();
			*ret = take(&job);
			return 0;
		}
		if (live && job)
			show_waiting(&t, f, job, start);
		if (is_late(f))
			return gave_up(f, id, "the time is over", CLI_EXIT_TIMEOUT);
		/* A service that does not hold the answer must not be asked in a tight loop. */
		client_sleep(f->client, 20);
	}
}

/* What a batch from a file does while its lines do not run. */
static const char *stage_of(const json_t *batch)
{
	static const char *const stages[][2] = { { "validating", "validating" }, { "finalizing", "writing the output" } };
	struct str status = json_str(batch, "status");
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (str_eq_z(status, stages[i][0]))
			return stages[i][1];
	return NULL;
}

int follow_batch(const struct follow *f, struct str id, json_t **ret)
{
	struct term t;
	struct term_bar bar;
	_cleanup_(buf_done) struct buf path;
	uint64_t lost = UINT64_MAX, pause = POLL_FIRST_MS;
	term_init(&t, stderr);
	term_bar_init(&bar, &t, f->label);
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/batches/" STR_FMT, STR_ARG(id));
	for (;;) {
		_cleanup_(json_drop) json_t *batch = NULL;
		struct term_counts counts;
		bool ran_nothing = false; /* a dry run, or a file with faults: no numbers to show */
		int rc = look(f, id, buf_str(&path), &lost, &batch);
		if (rc == 0) {
			show_counts(batch, &counts);
			bar.stage = stage_of(batch);
			ran_nothing = show_is_ended(batch) && counts.succeeded + counts.failed + counts.canceled + counts.expired == 0;
			if (!f->quiet && !ran_nothing)
				term_bar_update(&bar, &counts, clock_mono_ms());
		}
		if (rc == 0 && show_is_ended(batch)) {
			if (!f->quiet && !ran_nothing)
				term_bar_end(&bar);
			else
				term_bar_hide(&bar);
			*ret = take(&batch);
			return 0;
		}
		if (rc > 0)
			return rc;
		if (rc == 0 && is_late(f))
			return gave_up(f, id, "the time is over", CLI_EXIT_TIMEOUT);
		client_sleep(f->client, pause);
		pause = MIN(pause * 2, (uint64_t)(t.tty ? POLL_TTY_MS : POLL_MS));
	}
}

/* --- results --- */

struct results {
	const struct term *term;
	FILE *out;
	struct buf line; /* the start of a line whose rest has not come */
	int error;       /* errno of a failed write */
};

static int write_failed(struct results *r)
{
	r->error = errno;
	return -ERR_IO;
}

static int on_line(struct results *r, struct str text)
{
	if (str_trim(text).n == 0)
		return 0;
	if (!r->term)
		return fwrite(text.p, 1, text.n, r->out) == text.n && fputc('\n', r->out) != EOF ? 0 : write_failed(r);
	_cleanup_(json_drop) json_t *job = json_parse(text, NULL);
	if (!job)
		return -ERR_BAD_JSON;
	show_result(r->term, job);
	return 0;
}

static int on_piece(void *arg, struct str piece)
{
	struct results *r = arg;
	while (piece.n) {
		ssize_t end = str_find_char(piece, '\n');
		struct str part = end < 0 ? piece : str_sub(piece, 0, (size_t)end);
		if (buf_add_str(&r->line, part))
			return -ERR_TOO_LARGE;
		if (end < 0)
			return 0;
		int rc = on_line(r, buf_str(&r->line));
		if (rc)
			return rc;
		buf_clear(&r->line);
		piece = str_sub(piece, (size_t)end + 1, piece.n);
	}
	return 0;
}

int follow_results(struct client *c, const char *command, struct str batch_id, const struct term *term, FILE *out)
{
	struct results results = { .term = term, .out = out };
	struct client_answer a;
	_cleanup_(buf_done) struct buf path;
	buf_init(&results.line, LINE_MAX_BYTES);
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/batches/" STR_FMT "/results", STR_ARG(batch_id));
	const struct client_request r = {
		.method = "GET", .path = buf_str(&path), .on_data = on_piece, .arg = &results
	};
	int rc = client_call(c, &r, &a);
	if (rc == 0)
		rc = on_line(&results, buf_str(&results.line));
	if (rc == 0 && fflush(out))
		rc = write_failed(&results);
	buf_done(&results.line);
	int status = CLI_EXIT_OK;
	if (results.error == EPIPE) {
		status = CLI_EXIT_FAILED; /* `… | head` has what it wanted: nothing to say */
	} else if (rc == -ERR_IO || rc == -ERR_BAD_JSON) {
		fprintf(stderr, "millrace %s: %s\n", command,
		        rc == -ERR_IO ? "writing the results failed" : "the results are not JSON");
		status = CLI_EXIT_FAILED;
	} else if (rc) {
		status = client_complain(c, command, &a);
	}
	client_answer_done(&a);
	return status;
}
