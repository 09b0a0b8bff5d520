/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's parser: forms of options, what is refused with which exit status and words, and that --help shows
 * the table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit.h"
#include "cli/options.h"

static const char *url;
static bool json;
static int64_t count, wait_ms;
static struct cli_list pairs;
static struct cli_args args;
static char said[4096]; /* standard output and error of the last parse */

static const struct cli_option options[] = {
	{ .name = "url", .arg = "URL", .kind = CLI_STR, .target = &url, .help = "Where it is, in a text that is longer than a line, so that it goes on below itself" },
	{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print JSON" },
	{ .name = "count", .arg = "N", .kind = CLI_INT, .target = &count, .min = 1, .max = 9, .help = "How many" },
	{ .name = "wait",
	  .arg = "TIME",
	  .kind = CLI_MS,
	  .target = &wait_ms,
	  .min = 1,
	  .max = 60000,
	  .help = "How long" },
	{ .name = "pair", .arg = "K=V", .kind = CLI_LIST, .target = &pairs, .help = "A pair" },
	{ .name = NULL },
};
static const struct cli_command command = {
	.name = "try",
	.usage = "ID [options]",
	.summary = "Tries.",
	.details = "More.",
	.options = options,
	.min_args = 1,
	.max_args = 2,
};

/* Parses the words with the output caught; -1: go on, else the exit status. */
static int parse(const char *const *words)
{
	static char copies[80][64];
	static char *argv[81];
	int argc = 0, rc = -1;
	for (; words[argc]; argc++) {
		size_t n = strlen(words[argc]);
		assert_true(n < sizeof(copies[0]));
		memcpy(copies[argc], words[argc], n + 1);
		argv[argc] = copies[argc];
	}
	argv[argc] = NULL;
	url = NULL;
	json = false;
	count = wait_ms = 0;
	pairs.n = 0;
	FILE *f = tmpfile();
	assert_non_null(f);
	fflush(NULL);
	int out = dup(1), err = dup(2);
	dup2(fileno(f), 1);
	dup2(fileno(f), 2);
	bool go_on = cli_parse(&command, argc, argv, &args, &rc);
	fflush(NULL);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	rewind(f);
	said[fread(said, 1, sizeof(said) - 1, f)] = 0;
	fclose(f);
	return go_on ? -1 : rc;
}
#define PARSE(...) parse((const char *const[]){ "try", __VA_ARGS__, NULL })

static void test_options_takes_both_forms_anywhere(void **state UNUSED)
{
	assert_int_equal(PARSE("a", "--url", "http://x", "--json", "--count=3", "b", "--wait", "2s"), -1);
	assert_string_equal(url, "http://x");
	assert_true(json);
	assert_int_equal(count, 3);
	assert_int_equal(wait_ms, 2000);
	assert_int_equal(args.n, 2);
	assert_string_equal(args.v[0], "a");
	assert_string_equal(args.v[1], "b");
	assert_string_equal(said, "");
}

static void test_options_values_may_look_like_options(void **state UNUSED)
{
	assert_int_equal(PARSE("-", "--url", "--json", "--pair=a=b", "--pair", "c=", "--", "--count"), -1);
	assert_string_equal(url, "--json");
	assert_false(json);
	assert_int_equal(pairs.n, 2);
	assert_string_equal(pairs.v[0], "a=b");
	assert_string_equal(pairs.v[1], "c=");
	assert_int_equal(args.n, 2);
	assert_string_equal(args.v[0], "-");
	assert_string_equal(args.v[1], "--count");
}

static void test_options_the_last_of_a_repeated_one_counts(void **state UNUSED)
{
	assert_int_equal(PARSE("a", "--url=1", "--url=2", "--url="), -1);
	assert_string_equal(url, "");
}

static void assert_refused(int rc, const char *words)
{
	assert_int_equal(rc, CLI_EXIT_USAGE);
	if (!strstr(said, words) || !strstr(said, "Try: millrace try --help"))
		fail_msg("wanted …%s…, got %s", words, said);
}

static void test_options_mistakes_are_named(void **state UNUSED)
{
	assert_refused(PARSE("a", "--ulr", "x"), "no option --ulr; did you mean --url?");
	assert_refused(PARSE("a", "--zzzzzz"), "no option --zzzzzz\n");
	assert_refused(PARSE("a", "-j"), "no option -j");
	assert_refused(PARSE("a", "--url"), "--url needs a value: --url URL");
	assert_refused(PARSE("a", "--json=yes"), "--json takes no value");
	assert_refused(PARSE("a", "--count", "10"), "--count: wanted a whole number from 1 to 9, got \"10\"");
	assert_refused(PARSE("a", "--count", "x"), "got \"x\"");
	assert_refused(PARSE("a", "--wait", "2h"), "--wait: wanted a duration");
	assert_refused(PARSE("a", "b", "c"), "\"c\" is one argument too many");
	assert_refused(PARSE("--json"), "an argument is missing: millrace try ID [options]");
}

static void test_options_too_many_of_a_list_are_refused(void **state UNUSED)
{
	const char *words[CLI_LIST_MAX + 4] = { "try", "a" };
	for (size_t i = 0; i <= CLI_LIST_MAX; i++)
		words[2 + i] = "--pair=x";
	assert_refused(parse(words), "--pair: at most 64");
}

static void test_options_help_shows_the_table(void **state UNUSED)
{
	assert_int_equal(PARSE("--nonsense", "--help"), CLI_EXIT_OK);
	assert_non_null(strstr(said, "Tries.\n\nUsage: millrace try ID [options]"));
	assert_non_null(strstr(said, "  --url URL               Where it is, in a text that is longer than a line, so\n"
	                             "                          that it goes on below itself\n"));
	assert_non_null(strstr(said, "  --json                  Print JSON\n"));
	assert_non_null(strstr(said, "\nMore.\n"));
	assert_int_equal(PARSE("-h"), CLI_EXIT_OK);
}

static void test_options_nearest_suggests_near_words_only(void **state UNUSED)
{
	static const char *const words[] = { "submit", "worker", "jobs" };
	assert_string_equal(cli_nearest(STR("sumbit"), words, 3), "submit");
	assert_string_equal(cli_nearest(STR("wroker"), words, 3), "worker");
	assert_string_equal(cli_nearest(STR("job"), words, 3), "jobs");
	assert_null(cli_nearest(STR("zebra"), words, 3));
	assert_null(cli_nearest(STR("x"), words, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_takes_both_forms_anywhere),
		cmocka_unit_test(test_options_values_may_look_like_options),
		cmocka_unit_test(test_options_the_last_of_a_repeated_one_counts),
		cmocka_unit_test(test_options_mistakes_are_named),
		cmocka_unit_test(test_options_too_many_of_a_list_are_refused),
		cmocka_unit_test(test_options_help_shows_the_table),
		cmocka_unit_test(test_options_nearest_suggests_near_words_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
