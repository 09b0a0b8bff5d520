/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The progress line of a batch:
 *
 *	invoices  [████████████░░░░░░░░]  61%  6,104/10,000  3 failed  12 running  210/s  18s left
 *
 * On a terminal one line is drawn over and over, at most ten times a second; the bar takes what the numbers leave, and
 * goes away on a narrow screen. Elsewhere a plain line comes every ten percent or ten seconds, so that a log stays
 * short. Rate and time left are the service's, or computed from what was seen since the start. A stage without numbers
 * ("validating") stands in their place.
 */
#include <string.h>

#include "cli/term.h"
#include "common/clock.h"

#define REDRAW_MS      100
#define PLAIN_MS       10000
#define BAR_MAX        32
#define BAR_MIN        8
#define LINE_MAX_BYTES 2048

void term_bar_init(struct term_bar *b, const struct term *t, const char *label)
{
	*b = (struct term_bar){
		.term = t, .label = label, .start_ms = clock_mono_ms(), .start_done = -1, .drawn_percent = -10
	};
}

static int64_t finished(const struct term_counts *c)
{
	return c->succeeded + c->failed + c->canceled + c->expired;
}

static int percent(const struct term_counts *c)
{
	return c->total > 0 ? (int)(finished(c) * 100 / c->total) : 0;
}

static void add_number(struct buf *b, int64_t n, const char *what)
{
	if (n <= 0)
		return;
	buf_add_z(b, "  ");
	term_count(b, n);
	buf_printf(b, " %s", what);
}

static void add_speed(struct buf *b, const struct term_bar *bar, uint64_t now_ms)
{
	const struct term_counts *c = &bar->last;
	double rate = c->rate_per_s;
	uint64_t ms = now_ms - bar->start_ms;
	int64_t done = finished(c), left = c->total - done;
	if (rate < 0)
		rate = ms >= 500 ? (double)(done - bar->start_done) * 1000 / (double)ms : 0;
	if (rate >= 10)
		buf_printf(b, "  %.0f/s", rate);
	else if (rate > 0)
		buf_printf(b, "  %.1f/s", rate);
	if (left <= 0) {
		buf_add_z(b, "  in ");
		term_duration(b, (int64_t)ms);
		return;
	}
	int64_t eta = c->eta_ms >= 0 ? c->eta_ms : rate > 0 ? (int64_t)((double)left * 1000 / rate) : -1;
	if (eta >= 0 && eta < INT64_C(100) * 86400 * 1000) {
		buf_add_z(b, "  ");
		term_seconds(b, MAX(eta, (int64_t)1000));
		buf_add_z(b, " left");
	}
}

/* Everything but the label and the bar. */
static void add_numbers(struct buf *b, const struct term_bar *bar, uint64_t now_ms)
{
	const struct term_counts *c = &bar->last;
	if (bar->stage) {
		buf_printf(b, "%s  ", bar->stage);
		term_seconds(b, (int64_t)(now_ms - bar->start_ms));
		return;
	}
	buf_printf(b, "%3d%%  ", percent(c));
	term_count(b, finished(c));
	buf_add_char(b, '/');
	term_count(b, c->total);
	add_number(b, c->failed, "failed");
	add_number(b, c->canceled, "canceled");
	add_number(b, c->expired, "expired");
	add_number(b, c->running, "running");
	add_speed(b, bar, now_ms);
}

static void add_bar(struct buf *b, const struct term_bar *bar, size_t width)
{
	const struct term_counts *c = &bar->last;
	int64_t done = finished(c);
	size_t full = c->total > 0 ? (size_t)((int64_t)width * done / c->total) : 0;
	buf_add_z(b, term_style(bar->term, c->failed + c->expired > 0 ? TERM_YELLOW : TERM_GREEN));
	for (size_t i = 0; i < width; i++)
		buf_add_z(b, i < full ? term_glyph("█", "#") : term_glyph("░", "."));
	buf_printf(b, "%s  ", term_reset(bar->term));
}

static void draw(struct term_bar *bar, uint64_t now_ms)
{
	_cleanup_(buf_done) struct buf line;
	_cleanup_(buf_done) struct buf numbers;
	struct arena a;
	arena_init(&a, 65536);
	buf_init(&line, LINE_MAX_BYTES);
	buf_init(&numbers, LINE_MAX_BYTES);
	add_numbers(&numbers, bar, now_ms);
	struct term now; /* the window may have been resized */
	term_init(&now, bar->term->out);
	size_t columns = now.tty ? (size_t)now.columns : 80;
	size_t label = term_columns(str_from(bar->label)) + 2, used = label + term_columns(buf_str(&numbers)) + 2;
	if (bar->stage) {
		buf_printf(&line, "%s  " STR_FMT, bar->label, STR_ARG(buf_str(&numbers)));
	} else if (used + BAR_MIN <= columns) {
		buf_printf(&line, "%s  ", bar->label);
		add_bar(&line, bar, MIN(columns - used - 1, (size_t)BAR_MAX));
		buf_add_str(&line, buf_str(&numbers));
	} else {
		buf_add_str(&line, term_fit(&a, buf_str(&numbers), columns - 1));
	}
	fprintf(bar->term->out, "\r\033[K" STR_FMT, STR_ARG(buf_str(&line)));
	fflush(bar->term->out);
	bar->drawn_ms = now_ms;
	bar->on_screen = true;
	arena_done(&a);
}

static void print_plain(struct term_bar *bar, uint64_t now_ms)
{
	_cleanup_(buf_done) struct buf numbers;
	buf_init(&numbers, LINE_MAX_BYTES);
	add_numbers(&numbers, bar, now_ms);
	fprintf(bar->term->out, "%s " STR_FMT "\n", bar->label, STR_ARG(buf_str(&numbers)));
	fflush(bar->term->out);
	bar->drawn_percent = bar->stage ? -10 : percent(&bar->last);
	bar->drawn_stage = bar->stage;
	bar->drawn_ms = now_ms;
}

void term_bar_update(struct term_bar *b, const struct term_counts *c, uint64_t now_ms)
{
	bool first = b->start_done < 0;
	b->last = *c;
	if (first)
		b->start_done = finished(c);
	if (b->term->tty) {
		if (!b->on_screen || now_ms - b->drawn_ms >= REDRAW_MS)
			draw(b, now_ms);
	} else if (first || b->stage != b->drawn_stage || (!b->stage && percent(c) >= b->drawn_percent + 10) || now_ms - b->drawn_ms >= PLAIN_MS) {
		print_plain(b, now_ms);
	}
}

void term_bar_end(struct term_bar *b)
{
	if (b->start_done < 0)
		return;
	b->stage = NULL;
	if (b->term->tty) {
		draw(b, clock_mono_ms());
		fputc('\n', b->term->out);
		b->on_screen = false;
	} else if (percent(&b->last) != b->drawn_percent) {
		print_plain(b, clock_mono_ms());
	}
}

void term_bar_hide(struct term_bar *b)
{
	if (!b->on_screen)
		return;
	fputs("\r\033[K", b->term->out);
	fflush(b->term->out);
	b->on_screen = false;
}
