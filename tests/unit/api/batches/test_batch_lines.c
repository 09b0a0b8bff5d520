/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a file in pieces: the same lines, however the file was cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/batches/batch_lines.h"
#include "api/batches/digest_set.h"

#define MAX_LINE 8

static const char text[] = "\xef\xbb\xbf" "one\n\n  two \r\n\tthree\n12345678\n123456789\nsix\n\n123456789abc\nlast";

/* Everything that came out, one line each: number, at, text or "long". */
static void read_all(struct str whole, size_t piece, int64_t from, struct buf *out)
{
	struct batch_lines l;
	struct str line;
	bool is_long;
	batch_lines_init(&l, from, MAX_LINE);
	for (size_t at = (size_t)from; at <= whole.n; at += piece) {
		batch_lines_feed(&l, str_sub(whole, at, piece));
		while (batch_lines_next(&l, at + piece >= whole.n, &line, &is_long))
			buf_printf(out, "%lld %lld " STR_FMT "\n", (long long)l.number, (long long)l.at, STR_ARG(is_long ? STR("long") : line));
		if (at + piece >= whole.n)
			break;
	}
	assert_int_equal(l.at, (int64_t)whole.n);
	batch_lines_done(&l);
}

static void test_the_cut_of_pieces_does_not_matter(void **state)
{
	(void)state;
	for (size_t piece = 1; piece <= sizeof(text); piece++) {
		struct buf out;
		buf_init(&out, 4096);
		read_all(str_from(text), piece, 0, &out);
		buf_add_char(&out, '\0');
		assert_string_equal(out.p, "1 7 one\n3 16 two\n4 23 three\n5 32 12345678\n6 42 long\n7 46 six\n9 60 long\n10 64 last\n");
		buf_done(&out);
	}
}

static void test_reading_goes_on_where_it_stopped(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, 4096);
	read_all(str_from(text), 5, 46, &out);
	buf_add_char(&out, '\0');
	assert_string_equal(out.p, "2 60 long\n3 64 last\n");
	buf_done(&out);
}

static void test_nothing_gives_no_line(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, 4096);
	read_all(STR(""), 5, 0, &out);
	read_all(STR("\n \n\r\n"), 2, 0, &out);
	assert_int_equal(out.n, 0);
	buf_done(&out);
}

static void test_a_set_knows_what_it_has_seen(void **state)
{
	(void)state;
	struct digest_set s;
	char name[24];
	struct buf b;
	digest_set_init(&s);
	buf_init(&b, sizeof(name));
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 5000; i++) {
			buf_clear(&b);
			buf_printf(&b, "request-%d", i);
			assert_int_equal(digest_set_add(&s, buf_str(&b)), round == 0);
		}
	assert_true(digest_set_add(&s, STR("")));
	assert_false(digest_set_add(&s, STR("")));
	assert_int_equal(s.n, 5001);
	buf_done(&b);
	digest_set_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_cut_of_pieces_does_not_matter),
		cmocka_unit_test(test_reading_goes_on_where_it_stopped),
		cmocka_unit_test(test_nothing_gives_no_line),
		cmocka_unit_test(test_a_set_knows_what_it_has_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
