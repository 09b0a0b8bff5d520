/* SPDX-License-Identifier: Apache-2.0 */
/* What the terminal shows: widths of text, cutting, hostile text, numbers, aligned tables, and progress on a pipe. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/term.h"

static struct arena arena;
static char said[8192];

static const char *read_back(FILE *f)
{
	rewind(f);
	said[fread(said, 1, sizeof(said) - 1, f)] = 0;
	fclose(f);
	return said;
}

static void test_term_counts_columns_not_bytes(void **state UNUSED)
{
	assert_int_equal(term_columns(STR("abc")), 3);
	assert_int_equal(term_columns(STR("Grüße")), 5);
	assert_int_equal(term_columns(STR("日本語")), 6);
	assert_int_equal(term_columns(STR("e\xcc\x81")), 1); /* e and a combining accent */
	assert_int_equal(term_columns(STR("😀")), 2);
	assert_int_equal(term_columns(STR("")), 0);
}

static void test_term_fit_cuts_at_characters(void **state UNUSED)
{
	assert_true(str_eq_z(term_fit(&arena, STR("Grüße"), 5), "Grüße"));
	assert_true(str_eq_z(term_fit(&arena, STR("Grüße"), 4), "Grü…"));
	assert_true(str_eq_z(term_fit(&arena, STR("日本語"), 5), "日本…"));
	assert_true(str_eq_z(term_fit(&arena, STR("日本語"), 4), "日…"));
	assert_true(str_eq_z(term_fit(&arena, STR("abc"), 1), "…"));
	assert_int_equal(term_fit(&arena, STR("abc"), 0).n, 0);
	setenv("LC_ALL", "de_DE.ISO-8859-1", 1);
	assert_true(str_eq_z(term_fit(&arena, STR("abcd"), 3), "ab~"));
	assert_string_equal(term_glyph("█", "#"), "#");
	setenv("LC_ALL", "C.UTF-8", 1);
	assert_string_equal(term_glyph("█", "#"), "█");
}

static void test_term_outside_text_cannot_drive_the_terminal(void **state UNUSED)
{
	assert_true(str_eq_z(term_safe(&arena, STR("a\033[2Jb\nc\td")), "a [2Jb c d"));
	assert_true(str_eq_z(term_safe(&arena, STR("x\xe2\x80\xaey")), "x   y")); /* right-to-left override */
	assert_true(str_eq_z(term_safe(&arena, STR("\xff\xfe")), "(not UTF-8)"));
}

static void check(void (*write)(struct buf *b, int64_t v), int64_t v, const char *want)
{
	struct buf b;
	buf_init(&b, 64);
	write(&b, v);
	if (!str_eq_z(buf_str(&b), want))
		fail_msg("%lld: wanted %s, got " STR_FMT, (long long)v, want, STR_ARG(buf_str(&b)));
	buf_done(&b);
}

static void test_term_numbers_are_readable(void **state UNUSED)
{
	check(term_duration, 0, "0ms");
	check(term_duration, 850, "850ms");
	check(term_duration, 4250, "4.2s");
	check(term_duration, 59999, "59s");
	check(term_duration, 192000, "3m12s");
	check(term_duration, 7500000, "2h05m");
	check(term_duration, 273600000, "3d04h");
	check(term_duration, -1, "-");
	check(term_seconds, 4250, "4s");
	check(term_seconds, 192000, "3m12s");
	check(term_money, 342000, "$0.000342");
	check(term_money, 0, "$0.00");
	check(term_money, 500000000, "$0.50");
	check(term_money, 12400000000, "$12.40");
	check(term_money, 1999999999, "$2.00");
	check(term_money, -1, "unknown");
	check(term_count, 0, "0");
	check(term_count, 999, "999");
	check(term_count, 1234567, "1,234,567");
	check(term_count, -1234, "-1,234");
}

static void test_term_ago(void **state UNUSED)
{
	static const struct {
		const char *at, *want;
	} rows[] = { { "1970-01-01T00:00:07.000Z", "3s ago" },
		     { "1970-01-01T00:00:10.000Z", "now" },
		     { "1970-01-01T00:01:10.000Z", "in 1m00s" },
		     { "", "-" },
		     { "yesterday", "-" } };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b;
		buf_init(&b, 64);
		term_ago(&b, str_from(rows[i].at), 10000000);
		if (!str_eq_z(buf_str(&b), rows[i].want))
			fail_msg("%s: got " STR_FMT, rows[i].at, STR_ARG(buf_str(&b)));
		buf_done(&b);
	}
}

static void print_table(FILE *f, int columns)
{
	static const struct term_column cols[] = { { .title = "ID" },
		                                   { .title = "WHAT", .shrink = true },
		                                   { .title = "COST", .right = true },
		                                   { .title = NULL } };
	struct term term = { .out = f, .columns = columns };
	struct term_table t;
	term_table_init(&t, &arena, cols);
	for (int i = 0; i < 40; i++)
		term_table_add(&t,
		               (struct str[]){ STR("job"), i ? STR("x") : STR("日本 and a long story"), STR("$0.50") });
	term_table_print(&t, &term);
}

static void test_term_table_aligns_by_columns(void **state UNUSED)
{
	FILE *f = tmpfile();
	print_table(f, 0);
	read_back(f);
	static const char want[] = "ID   WHAT                    COST\n"
	                           "job  日本 and a long story  $0.50\n"
	                           "job  x                      $0.50\n";
	assert_memory_equal(said, want, sizeof(want) - 1);
}

static void test_term_table_leaves_spare_columns_out(void **state UNUSED)
{
	static const struct term_column cols[] = { { .title = "ID" },
		                                   { .title = "ROUTE", .spare = 2 },
		                                   { .title = "TRIES", .spare = 1 },
		                                   { .title = "WHAT", .shrink = true },
		                                   { .title = NULL } };
	static const struct {
		int columns;
		const char *want;
	} rows[] = {
		{ 30, "ID   ROUTE  TRIES  WHAT\njob  r      1      longer\n" },
		{ 20, "ID   ROUTE  WHAT\njob  r      longer\n" },
		{ 12, "ID   WHAT\njob  longer\n" },
		{ 9, "ID   WHAT\njob  lon…\n" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		FILE *f = tmpfile();
		struct term term = { .out = f, .columns = rows[i].columns };
		struct term_table t;
		term_table_init(&t, &arena, cols);
		term_table_add(&t, (struct str[]){ STR("job"), STR("r"), STR("1"), STR("longer") });
		term_table_print(&t, &term);
		assert_string_equal(read_back(f), rows[i].want);
	}
}

static void test_term_table_fits_the_width(void **state UNUSED)
{
	FILE *f = tmpfile();
	print_table(f, 24);
	read_back(f);
	assert_memory_equal(said, "ID   WHAT           COST\njob  日本 and a …  $0.50\n", 54);
	f = tmpfile();
	print_table(f, 5); /* narrower than can be: the titles stay */
	assert_non_null(strstr(read_back(f), "job  日…   $0.50\n"));
}

static void test_term_bar_names_a_stage_without_numbers(void **state UNUSED)
{
	FILE *f = tmpfile();
	struct term term;
	struct term_bar bar;
	const struct term_counts none = { .rate_per_s = -1, .eta_ms = -1 }, some = { .total = 2, .succeeded = 1, .rate_per_s = 0, .eta_ms = -1 };
	term_init(&term, f);
	term_bar_init(&bar, &term, "batch");
	bar.start_ms = 0;
	bar.stage = "validating";
	term_bar_update(&bar, &none, 0);
	term_bar_update(&bar, &none, 1000); /* nothing new to say */
	bar.stage = NULL;
	term_bar_update(&bar, &some, 2000);
	assert_string_equal(read_back(f), "batch validating  0s\nbatch  50%  1/2\n");
}

static void test_term_bar_on_a_pipe_prints_few_plain_lines(void **state UNUSED)
{
	FILE *f = tmpfile();
	struct term term;
	term_init(&term, f);
	assert_false(term.tty || term.color);
	struct term_bar bar;
	term_bar_init(&bar, &term, "x");
	bar.start_ms = 0;
	for (int i = 0; i <= 1000; i++) {
		struct term_counts c = { .total = 1000, .succeeded = i, .rate_per_s = 100, .eta_ms = -1 };
		term_bar_update(&bar, &c, (uint64_t)i);
	}
	term_bar_end(&bar);
	read_back(f);
	size_t lines = 0;
	for (const char *p = said; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 11);
	assert_null(strchr(said, '\033'));
	assert_non_null(strstr(said, "x  50%  500/1,000  100/s  5s left\n"));
	assert_non_null(strstr(said, "x 100%  1,000/1,000  100/s  in "));
}

static void test_term_bar_on_a_terminal_is_redrawn_ten_times_a_second(void **state UNUSED)
{
	FILE *f = tmpfile();
	struct term term = { .out = f, .tty = true, .columns = 80 };
	struct term_bar bar;
	term_bar_init(&bar, &term, "x");
	bar.start_ms = 0;
	for (int i = 0; i < 1000; i++) {
		struct term_counts c = { .total = 2000, .succeeded = i, .failed = 1, .rate_per_s = -1, .eta_ms = -1 };
		term_bar_update(&bar, &c, (uint64_t)i + 1);
	}
	read_back(f);
	size_t draws = 0;
	for (const char *p = said; *p; p++)
		draws += *p == '\r';
	assert_int_equal(draws, 10);
	assert_null(strchr(said, '\n'));
	assert_non_null(strstr(said, "█"));
	assert_non_null(strstr(said, "1 failed"));
}

static int setup(void **state UNUSED)
{
	arena_init(&arena, 1 << 20);
	return 0;
}

static int teardown(void **state UNUSED)
{
	arena_done(&arena);
	return 0;
}

int main(void)
{
	setenv("LC_ALL", "C.UTF-8", 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_term_counts_columns_not_bytes),
		cmocka_unit_test(test_term_fit_cuts_at_characters),
		cmocka_unit_test(test_term_outside_text_cannot_drive_the_terminal),
		cmocka_unit_test(test_term_numbers_are_readable),
		cmocka_unit_test(test_term_ago),
		cmocka_unit_test(test_term_table_aligns_by_columns),
		cmocka_unit_test(test_term_table_leaves_spare_columns_out),
		cmocka_unit_test(test_term_table_fits_the_width),
		cmocka_unit_test(test_term_bar_names_a_stage_without_numbers),
		cmocka_unit_test(test_term_bar_on_a_pipe_prints_few_plain_lines),
		cmocka_unit_test(test_term_bar_on_a_terminal_is_redrawn_ten_times_a_second),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
