/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/log.h: one line per event, nothing from outside forges a line, both formats. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/json.h"
#include "common/log.h"

static char line[1 << 20];
static int saved_stderr, fds[2];

/* Between the two, standard error is a pipe; a write(2) of ours that fits arrives whole. */
static void catch_stderr(void)
{
	assert_int_equal(pipe(fds), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
}

static struct str caught(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(fds[1]);
	ssize_t n = read(fds[0], line, sizeof(line) - 1);
	assert_true(n >= 0);
	close(fds[0]);
	line[n] = '\0';
	return (struct str){ line, (size_t)n };
}

static void test_log_text_is_one_readable_line(void **state)
{
	(void)state;
	log_init(LOG_INFO, LOG_TEXT, "worker");
	catch_stderr();
	log_event(LOG_INFO, "lease_lost", "aborting the call", LOG_Z("job", "job_1"), LOG_I64("token", -3),
		  LOG_STR("why", STR("two words")), LOG_Z("none", ""), LOG_END);
	struct str s = caught();
	assert_int_equal(s.p[2], ':');
	assert_int_equal(s.p[8], '.');
	assert_true(str_eq_z(str_sub(s, 12, s.n), " info  worker lease_lost aborting the call job=job_1 token=-3 "
						  "why=\"two words\" none=\"\"\n"));
}

static void test_log_text_lets_nobody_forge_a_line(void **state)
{
	(void)state;
	static const struct {
		struct str value;
		const char *want;
	} rows[] = {
		{ STR("a\nb"), "v=\"a\\nb\"\n" },
		{ STR("\x1b[2J"), "v=\"\\u001b[2J\"\n" },
		{ STR("\x7f"), "v=\"\\u007f\"\n" },
		{ STR("\xC2\x9B"
		      "2J"), "v=\"\\u009b2J\"\n" },
		{ STR("\xC2\xB5"), "v=\xC2\xB5\n" },
		{ STR("x\xFF"), "v=\"x\xEF\xBF\xBD\"\n" },
		{ STR("1 job=2"), "v=\"1 job=2\"\n" },
		{ STR("say \"x\""), "v=\"say \\\"x\\\"\"\n" },
	};
	log_init(LOG_INFO, LOG_TEXT, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		catch_stderr();
		log_event(LOG_ERROR, "e", "m", LOG_STR("v", rows[i].value), LOG_END);
		struct str s = caught();
		assert_true(str_eq_z(str_sub(s, strlen("00:00:00.000 error e m "), s.n), rows[i].want));
	}
	catch_stderr();
	log_event(LOG_ERROR, "e", "two\nlines", LOG_END);
	assert_true(str_has_suffix(caught(), STR(" e \"two\\nlines\"\n")));
}

static void test_log_json_is_one_object_per_line(void **state)
{
	(void)state;
	log_init(LOG_DEBUG, LOG_JSON, "api");
	catch_stderr();
	log_event(LOG_DEBUG, "accepted", "a \"job\"\n", LOG_STR("job", STR("x\0y\n\xFF")), LOG_I64("n", INT64_MIN), LOG_END);
	struct str s = caught();
	assert_int_equal(str_find_char(s, '\n'), s.n - 1);
	assert_true(str_find(s, STR("\"level\":\"debug\",\"process\":\"api\",\"event\":\"accepted\",\"msg\":\"a \\\"job\\\"\\n\","
				    "\"job\":\"x\\u0000y\\n\xEF\xBF\xBD\",\"n\":-9223372036854775808}")) > 0);
	assert_true(str_has_prefix(s, STR("{\"time\":\"20")));
}

static void test_log_cuts_long_values(void **state)
{
	(void)state;
	static char big[100000];
	memset(big, 1, sizeof(big));
	struct str v = { big, sizeof(big) };
	log_init(LOG_INFO, LOG_JSON, "api");
	catch_stderr();
	log_event(LOG_INFO, "big", "m", LOG_STR("a", v), LOG_STR("b", v), LOG_END);
	struct str s = caught();
	assert_in_range(s.n, 2 * 2048 * 6, 2 * 2048 * 6 + 200);
	assert_true(str_has_suffix(s, STR("\"}\n")));
	struct err err;
	_cleanup_(json_drop) json_t *parsed = json_parse(s, &err);
	assert_int_equal(json_str(parsed, "a").n, 2048);
	assert_int_equal(json_str(parsed, "b").n, 2048);
}

static void test_log_keeps_to_its_level(void **state)
{
	(void)state;
	log_init(LOG_WARN, LOG_TEXT, "api");
	catch_stderr();
	log_event(LOG_INFO, "not", "shown", LOG_END);
	log_event(LOG_NONE, "not", "shown", LOG_END);
	log_event(-1, "not", "shown", LOG_END);
	log_set_level(LOG_NONE);
	log_event(LOG_ERROR, "not", "shown", LOG_END);
	assert_false(log_is_on(LOG_ERROR));
	log_set_level(LOG_DEBUG);
	assert_true(log_is_on(LOG_DEBUG));
	assert_false(log_is_on(LOG_NONE));
	assert_int_equal(caught().n, 0);
}

static void test_log_parse_level(void **state)
{
	(void)state;
	enum log_level level = LOG_NONE;
	assert_int_equal(log_parse_level(STR("warn"), &level), 0);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_parse_level(STR("WARN"), &level), -ERR_INVALID);
	assert_int_equal(log_parse_level(STR(""), &level), -ERR_INVALID);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_parse_level(STR("none"), &level), 0);
	assert_int_equal(level, LOG_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_text_is_one_readable_line),
		cmocka_unit_test(test_log_text_lets_nobody_forge_a_line),
		cmocka_unit_test(test_log_json_is_one_object_per_line),
		cmocka_unit_test(test_log_cuts_long_values),
		cmocka_unit_test(test_log_keeps_to_its_level),
		cmocka_unit_test(test_log_parse_level),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
