/* SPDX-License-Identifier: Apache-2.0 */
/* Promises of common/fault.h. The orders are read once per process, so each case runs in a child. Needs -DMR_FAULTS. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"

#ifdef MR_FAULTS

/* Passes the points named by letters; exits with a bit for each hit where FAULT was true. */
static void pass_points(const char *orders, const char *log, const char *points)
{
	int bits = 0;
	setenv("MILLRACE_FAULTS", orders, 1);
	if (log)
		setenv("MILLRACE_FAULTS_LOG", log, 1);
	close(STDERR_FILENO); /* an abort is expected here */
	for (int i = 0; points[i]; i++)
		bits |= (points[i] == 'a' ? FAULT("point.a") : FAULT("point.b")) << i;
	_exit(bits);
}

static pid_t start(const char *orders, const char *log, const char *points)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		pass_points(orders, log, points);
	return pid;
}

static int status_of(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_fault_orders(void **state)
{
	(void)state;
	static const struct {
		const char *orders, *points;
		int exit_code; /* bits of the hits that failed, or 137; -1: aborted */
	} rows[] = {
		{ "", "aab", 0 },
		{ "point.a=error", "aaab", 1 },
		{ "point.a=error@2", "aaab", 2 },
		{ "point.a=error@2+", "aaab", 6 },
		{ "point.a=error@2,point.b=error@1", "aaab", 2 | 8 },
		{ "point.a=error@1,point.a=error@3", "aaa", 5 },
		{ "point.a=exit@2", "a", 0 },
		{ "point.a=exit@2", "aa", 137 },
		{ "other=exit", "aabb", 0 },
		{ "point.a=sleep:1, point.b=error", "ab", 2 },
		{ "point.a=abort", "a", -1 },
		{ "point.a=explode", "b", -1 }, /* an order that cannot be read */
		{ "point.a=error@0", "b", -1 },
		{ "point.a", "b", -1 },
		{ "=error", "b", -1 },
		{ "point.a=sleep:x", "b", -1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int status = status_of(start(rows[i].orders, NULL, rows[i].points));
		if (rows[i].exit_code < 0) {
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		} else {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), rows[i].exit_code);
		}
	}
}

static void test_fault_sleep_takes_its_time(void **state)
{
	(void)state;
	uint64_t before = clock_mono_ms();
	assert_int_equal(status_of(start("point.a=sleep:60", NULL, "a")), 0);
	assert_true(clock_mono_ms() - before >= 60);
}

static void test_fault_stop_waits_to_be_continued(void **state)
{
	(void)state;
	int status;
	pid_t pid = start("point.a=stop", NULL, "a");
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	assert_int_equal(status_of(pid), 0);
}

static void test_fault_log_names_each_hit_before_it_acts(void **state)
{
	(void)state;
	char path[] = "/tmp/millrace-fault-XXXXXX", text[100];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	status_of(start("point.b=exit", path, "aabaa"));
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, "point.a\npoint.a\npoint.b\n");
	close(fd);
	unlink(path);
}

#else

static void test_fault_is_nothing_in_release(void **state)
{
	(void)state;
	setenv("MILLRACE_FAULTS", "point.a=exit", 1);
	assert_false(FAULT("point.a"));
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef MR_FAULTS
		cmocka_unit_test(test_fault_orders),
		cmocka_unit_test(test_fault_sleep_takes_its_time),
		cmocka_unit_test(test_fault_stop_waits_to_be_continued),
		cmocka_unit_test(test_fault_log_names_each_hit_before_it_acts),
#else
		cmocka_unit_test(test_fault_is_nothing_in_release),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
