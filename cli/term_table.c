/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables: all rows are collected first, so that each column is as wide as its widest cell. When a line would be wider
 * than the terminal, the columns marked `shrink` give way (down to their title), widest first; cut cells end with …. On
 * a pipe nothing is cut.
 */
#include <string.h>

#include "cli/term.h"

#define GAP 2

void term_table_init(struct term_table *t, struct arena *a, const struct term_column *columns)
{
	*t = (struct term_table){ .arena = a, .columns = columns };
	while (columns[t->ncolumns].title)
		t->ncolumns++;
	assert(t->ncolumns > 0 && t->ncolumns <= TERM_TABLE_COLUMNS);
}

void term_table_add(struct term_table *t, const struct str *cells)
{
	if (t->nrows == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 32;
		struct str *more = arena_array(t->arena, struct str, cap * t->ncolumns);
		if (t->nrows)
			memcpy(more, t->cells, t->nrows * t->ncolumns * sizeof(*more));
		t->cells = more;
		t->cap = cap;
	}
	for (size_t i = 0; i < t->ncolumns; i++)
		t->cells[t->nrows * t->ncolumns + i] = term_safe(t->arena, cells[i]);
	t->nrows++;
}

/* A column that is left out has the width 0. */
static size_t total_width(const struct term_table *t, const size_t *widths)
{
	size_t total = 0;
	for (size_t i = 0; i < t->ncolumns; i++)
		if (widths[i])
			total += widths[i] + (total ? GAP : 0);
	return total;
}

/* The widest column that can still be narrower; ncolumns: none. */
static size_t find_shrinkable(const struct term_table *t, const size_t *widths)
{
	size_t widest = t->ncolumns;
	for (size_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].shrink && widths[i] > term_columns(str_from(t->columns[i].title)) &&
		    (widest == t->ncolumns || widths[i] > widths[widest]))
			widest = i;
	return widest;
}

static size_t find_spare(const struct term_table *t, const size_t *widths)
{
	size_t found = t->ncolumns;
	for (size_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].spare && widths[i] &&
		    (found == t->ncolumns || t->columns[i].spare < t->columns[found].spare))
			found = i;
	return found;
}

static void fit_widths(const struct term_table *t, size_t *widths, size_t columns)
{
	size_t natural[TERM_TABLE_COLUMNS];
	memcpy(natural, widths, sizeof(natural));
	while (columns && total_width(t, widths) > columns) {
		size_t i = find_shrinkable(t, widths);
		if (i < t->ncolumns) {
			widths[i]--;
			continue;
		}
		i = find_spare(t, widths);
		if (i == t->ncolumns)
			return;
		/* Without it the others may be wide again. */
		natural[i] = 0;
		memcpy(widths, natural, sizeof(natural));
	}
}

/* `pending` are the spaces that a text behind them needs: none are left at the end of a line. */
static void print_cell(const struct term_table *t, const struct term *term, size_t i, struct str cell, size_t width, enum term_style style,
                       size_t *pending)
{
	struct str text = term_fit(t->arena, cell, width);
	size_t pad = width - MIN(width, term_columns(text));
	if (width == 0)
		return;
	size_t before = *pending + (t->columns[i].right ? pad : 0);
	if (text.n)
		fprintf(term->out, "%*s%s" STR_FMT "%s", (int)before, "", term_style(term, style), STR_ARG(text),
		        style == TERM_PLAIN ? "" : term_reset(term));
	size_t left = text.n ? 0 : before;
	*pending = left + (t->columns[i].right ? 0 : pad) + GAP;
}

void term_table_print(const struct term_table *t, const struct term *term)
{
	size_t widths[TERM_TABLE_COLUMNS] = { 0 };
	for (size_t i = 0; i < t->ncolumns; i++) {
		widths[i] = term_columns(str_from(t->columns[i].title));
		for (size_t row = 0; row < t->nrows; row++)
			widths[i] = MAX(widths[i], term_columns(t->cells[row * t->ncolumns + i]));
	}
	fit_widths(t, widths, (size_t)term->columns);
	size_t pending = 0;
	for (size_t i = 0; i < t->ncolumns; i++)
		print_cell(t, term, i, str_from(t->columns[i].title), widths[i], TERM_DIM, &pending);
	fputc('\n', term->out);
	for (size_t row = 0; row < t->nrows; row++) {
		pending = 0;
		for (size_t i = 0; i < t->ncolumns; i++) {
			struct str cell = t->cells[row * t->ncolumns + i];
			print_cell(t, term, i, cell, widths[i], t->columns[i].status ? term_status_style(cell) : TERM_PLAIN, &pending);
		}
		fputc('\n', term->out);
	}
}
