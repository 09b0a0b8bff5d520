/* SPDX-License-Identifier: Apache-2.0 */
/* A process that can be seen is told from one that is gone; in doubt it is there. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/boot.h"

static void test_a_process_is_there_until_it_is_gone(void **state)
{
	(void)state;
	assert_true(boot_has_process((int)getpid()));
	assert_true(boot_has_process(1)); /* another's, perhaps one that may not be signalled */
	assert_true(boot_has_process(0));
	assert_true(boot_has_process(-7));
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_false(boot_has_process((int)child));
}

static void test_processes_that_see_each_other_have_one_text(void **state)
{
	(void)state;
	char mine[BOOT_TEXT_MAX], theirs[BOOT_TEXT_MAX] = "";
	int ends[2];
	struct str boot = boot_text(mine);
	assert_true(boot.n > 37);
	assert_true(str_find(boot, STR(" pid:[")) == 36);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		struct str other = boot_text(theirs);
		_exit(write(ends[1], other.p, other.n) == (ssize_t)other.n ? 0 : 1);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(read(ends[0], theirs, sizeof theirs), (ssize_t)boot.n);
	assert_memory_equal(boot.p, theirs, boot.n);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_process_is_there_until_it_is_gone),
		cmocka_unit_test(test_processes_that_see_each_other_have_one_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
