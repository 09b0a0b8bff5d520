/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people see in a terminal: colours, tables fitted to the width, one live progress line, and numbers in a readable
 * form. On a pipe, a file or TERM=dumb there are no colours and no redrawing; NO_COLOR takes the colours away
 * everywhere.
 */
#ifndef MR_CLI_TERM_H
#define MR_CLI_TERM_H

#include <stdio.h>

#include "common/arena.h"
#include "common/buf.h"

struct term {
	FILE *out;
	bool tty; /* a terminal that can move its cursor */
	bool color;
	int columns; /* as wide as the terminal is now; 0 when not a terminal: no limit */
};

void term_init(struct term *t, FILE *out);

enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_RED, TERM_GREEN, TERM_YELLOW, TERM_BLUE };
/* The escape sequence, or "" without colour. */
const char *term_style(const struct term *t, enum term_style style);
const char *term_reset(const struct term *t);
/* The first where the locale says UTF-8 or nothing at all, else the second. */
const char *term_glyph(const char *utf8, const char *ascii);
/* The style of a job's or batch's status. */
enum term_style term_status_style(struct str status);

/* Text from outside with control characters made visible as spaces, so that it cannot drive the terminal. */
struct str term_safe(struct arena *a, struct str s);
/* Columns that the text takes: wide characters 2, combining ones 0, other 1. */
size_t term_columns(struct str s);
/* The longest front part of at most `columns` columns; with … (or ~) in the last when something was cut. */
struct str term_fit(struct arena *a, struct str s, size_t columns);

/* --- tables: rows first, then printed with all columns aligned; columns marked `shrink` give way when the
 * line is too long --- */
#define TERM_TABLE_COLUMNS 12
struct term_column {
	const char *title; /* NULL ends the list */
	bool right;        /* numbers */
	bool shrink;
	bool status; /* coloured by term_status_style */
	int spare;   /* > 0: left out when shrinking is not enough, the lowest first */
};
struct term_table {
	struct arena *arena; /* borrowed */
	const struct term_column *columns;
	size_t ncolumns, nrows, cap;
	struct str *cells;
};
void term_table_init(struct term_table *t, struct arena *a, const struct term_column *columns);
void term_table_add(struct term_table *t, const struct str *cells); /* one per column; copied, made safe */
void term_table_print(const struct term_table *t, const struct term *term);

/* --- the progress line --- */
struct term_counts {
	int64_t total, queued, running, succeeded, failed, canceled, expired;
	double rate_per_s; /* finished jobs per second; negative: the bar computes it from what it saw */
	int64_t eta_ms;    /* until the end; negative: computed from the rate */
};
struct term_bar {
	const struct term *term;     /* borrowed */
	const char *label;           /* borrowed */
	const char *stage;           /* borrowed; what goes on while there is nothing to count ("validating"), or NULL */
	uint64_t start_ms, drawn_ms; /* steady clock */
	int64_t start_done;          /* finished when the bar began */
	int drawn_percent;           /* of the last plain line */
	const char *drawn_stage;     /* of the last plain line */
	bool on_screen;
	struct term_counts last;
};
void term_bar_init(struct term_bar *b, const struct term *t, const char *label);
/* Redraws one line at most 10 times a second; not on a terminal: a plain line every 10 % or 10 s. */
void term_bar_update(struct term_bar *b, const struct term_counts *c, uint64_t now_ms);
void term_bar_end(struct term_bar *b); /* draws the last state and goes to the next line */
void term_bar_hide(
    struct term_bar *b); /* clears the line, so that other text can be printed; the next update draws it again */

/* --- numbers; all append to b --- */
void term_duration(struct buf *b, int64_t ms);   /* 850ms, 4.2s, 3m12s, 2h05m, 3d04h */
void term_seconds(struct buf *b, int64_t ms);    /* the same in whole seconds */
void term_money(struct buf *b, int64_t nanousd); /* $0.000342, $12.40, unknown for a negative one */
void term_count(struct buf *b, int64_t n);       /* 1,234,567 */
void term_size(struct buf *b, int64_t bytes);    /* 512 B, 1.4 MiB */
void term_ago(struct buf *b, struct str rfc3339, int64_t now_wall_us); /* "3m12s ago"; "-" when empty or malformed */

#endif
