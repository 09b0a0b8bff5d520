/* SPDX-License-Identifier: Apache-2.0 */
/* Titles and summaries of real texts (Debian's licences): what is said stands in the document, and reads as something.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/simulator/summary.h"
#include "common/file.h"

#define LICENCES "/usr/share/common-licenses/"

static const char *const licences[] = { "Apache-2.0", "Artistic", "BSD",      "CC0-1.0", "GFDL-1.3", "GPL-1",
	                                "GPL-2",      "GPL-3",    "LGPL-2.1", "LGPL-3",  "MPL-1.1",  "MPL-2.0" };

static struct str licence(struct arena *a, const char *name)
{
	struct str text;
	struct err err;
	struct str path = arena_printf(a, LICENCES "%s", name);
	assert_int_equal(file_read(path.p, 1u << 20, a, &text, &err), 0);
	return text;
}

static void assert_str(struct str got, const char *wanted)
{
	if (!str_eq_z(got, wanted))
		fail_msg("got \"" STR_FMT "\", wanted \"%s\"", STR_ARG(got), wanted);
}

static void test_summary_titles_of_licences(void **state)
{
	static const struct {
		const char *file, *title;
	} rows[] = {
		{ "Apache-2.0", "Apache License, Version 2.0, January 2004" },
		{ "GPL-3", "GNU GENERAL PUBLIC LICENSE, Version 3, 29 June 2007" },
		{ "LGPL-2.1", "GNU LESSER GENERAL PUBLIC LICENSE, Version 2.1, February 1999" },
		{ "MPL-2.0", "Mozilla Public License Version 2.0" },
		{ "MPL-1.1", "MOZILLA PUBLIC LICENSE, Version 1.1" },
		{ "CC0-1.0", "Creative Commons Legal Code, CC0 1.0 Universal" },
		{ "Artistic", "The \"Artistic License\"" },
		{ "BSD", "Copyright (c) The Regents of the University of California" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct document d;
		arena_init(&a, 1u << 24);
		document_read(&d, &a, licence(&a, rows[i].file));
		assert_str(d.title, rows[i].title);
		arena_done(&a);
	}
}

/* Whether all words of the sentence stand in the text in that order, whatever the white space. */
static bool stands_in(struct str sentence, struct str text)
{
	struct str first, rest = sentence;
	assert_true(word_next(&rest, &first));
	for (size_t from = 0;;) {
		ssize_t at = str_find(str_sub(text, from, text.n), first);
		if (at < 0)
			return false;
		struct str t = str_sub(text, from + (size_t)at, text.n), s = sentence, word, there;
		bool same = true;
		while (same && word_next(&s, &word))
			same = word_next(&t, &there) && str_eq(word, there);
		if (same)
			return true;
		from += (size_t)at + 1;
	}
}

static void test_summary_sentences_stand_in_the_document(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(licences); i++) {
		struct arena a;
		struct document d;
		size_t places[5];
		arena_init(&a, 1u << 24);
		struct str text = licence(&a, licences[i]);
		document_read(&d, &a, text);
		assert_int_equal(summary_pick(&d, 5, NULL, places), 5);
		for (size_t k = 0; k < 5; k++) {
			assert_true(stands_in(d.sentences[places[k]].text, text));
			assert_true(d.sentences[places[k]].length >= 4);
			assert_true(k == 0 || places[k] > places[k - 1]);
		}
		arena_done(&a);
	}
}

static void test_summary_has_the_number_of_sentences(void **state)
{
	struct arena a;
	struct document d;
	size_t places[SUMMARY_MAX];
	(void)state;
	arena_init(&a, 1u << 24);
	document_read(&d, &a,
	              STR("Report\n\nThe bridge was closed in March for repairs. Traffic was sent over the old bridge. "
	                  "The repairs of the bridge must end before winter. Costs of the repairs rose by a third."));
	assert_str(d.title, "Report");
	assert_int_equal(d.nsentences, 4);
	for (size_t n = 0; n <= 4; n++)
		assert_int_equal(summary_pick(&d, n, NULL, places), n);
	assert_int_equal(summary_pick(&d, SUMMARY_MAX, NULL, places), 4);
	arena_done(&a);
}

static void test_instruction_is_not_the_document(void **state)
{
	static const struct {
		const char *text, *instruction, *title;
	} rows[] = {
		{ "Summarise this in two sentences:\n\nHarbour rules\n\nShips must report their arrival to the master.",
		  "Summarise this in two sentences:", "Harbour rules" },
		{ "Please read the contract.\n\nDocument:\n\"\"\"\nHarbour rules\n\nShips must report "
		  "arrivals.\n\"\"\"",
		  NULL, "Harbour rules" },
		{ "Summarize: The quick brown fox jumps over the lazy dog.",
		  "Summarize:", "The quick brown fox jumps over the lazy dog" },
		{ "tag:job_17 Harbour rules\n\nShips must report.", "", "Harbour rules" },
		{ "What is the capital of France?", "", "What is the capital of France?" },
		{ "", "", "" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct document d;
		arena_init(&a, 1u << 24);
		document_read(&d, &a, str_from(rows[i].text));
		if (rows[i].instruction)
			assert_str(d.instruction, rows[i].instruction);
		assert_str(d.title, rows[i].title);
		arena_done(&a);
	}
}

static void test_instruction_counts_sentences(void **state)
{
	(void)state;
	assert_int_equal(instruction_count(STR("in three sentences"), "sentence", 9), 3);
	assert_int_equal(instruction_count(STR("a two-sentence summary"), "sentence", 9), 2);
	assert_int_equal(instruction_count(STR("5 short sentences"), "sentence", 9), 5);
	assert_int_equal(instruction_count(STR("three pages, and then a sentence"), "sentence", 9), 9);
	assert_int_equal(instruction_count(STR("99 sentences"), "sentence", 9), 9);
	assert_int_equal(instruction_count(STR(""), "sentence", 9), 9);
}

static void test_document_keeps_abbreviations_together(void **state)
{
	struct arena a;
	struct document d;
	(void)state;
	arena_init(&a, 1u << 24);
	document_read(&d, &a,
	              STR("The firm Acme Inc. Europe sells tools, e.g. Hammers and saws. It also rents ladders out."));
	assert_int_equal(d.nsentences, 2);
	assert_str(d.sentences[1].text, "It also rents ladders out.");
	arena_done(&a);
}

static void test_document_reads_at_most_its_limit(void **state)
{
	struct arena a;
	struct document d;
	size_t n = 3u << 20;
	char *big = malloc(n);
	(void)state;
	assert_non_null(big);
	for (size_t i = 0; i < n; i++)
		big[i] = "Every seventh ship pays the toll of the harbour. "[i % 49];
	arena_init(&a, 1u << 26);
	document_read(&d, &a, (struct str){ big, n });
	assert_int_equal(d.body.n, DOCUMENT_MAX);
	assert_true(summary_answer(&d, 3).n < 400);
	assert_true(a.used < 40 * DOCUMENT_MAX);
	arena_done(&a);
	free(big);
}

/* Any bytes give some answer; what sanitizers find fails the test. */
static void test_document_survives_any_bytes(void **state)
{
	static const char alphabet[] = "aB1.\n \t-(\"';:*#=\xc3\xa9\xe2\x80\xa2\xff\0!?,<>/";
	uint64_t x = 12345;
	char text[600];
	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct arena a;
		struct document d;
		size_t n = (size_t)round % sizeof(text);
		for (size_t i = 0; i < n; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			text[i] = alphabet[(x >> 33) % (sizeof(alphabet) - 1)];
		}
		arena_init(&a, 1u << 24);
		document_read(&d, &a, (struct str){ text, n });
		assert_true(summary_answer(&d, 3).n > 0);
		arena_done(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_summary_titles_of_licences),
		cmocka_unit_test(test_summary_sentences_stand_in_the_document),
		cmocka_unit_test(test_summary_has_the_number_of_sentences),
		cmocka_unit_test(test_instruction_is_not_the_document),
		cmocka_unit_test(test_instruction_counts_sentences),
		cmocka_unit_test(test_document_keeps_abbreviations_together),
		cmocka_unit_test(test_document_reads_at_most_its_limit),
		cmocka_unit_test(test_document_survives_any_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
