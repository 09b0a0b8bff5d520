/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpora of the fuzz targets under this build's sanitizers; a broken promise aborts. Run from the repository's root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LLVMFuzzerTestOneInput fuzz_sse
#include "tests/fuzz/fuzz_sse.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_json
#include "tests/fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput

static void replay_file(const char *dir, const char *name, int (*target)(const uint8_t *, size_t))
{
	static uint8_t data[1 << 20];
	struct buf path;
	buf_init(&path, 4096);
	buf_printf(&path, "%s/%s%c", dir, name, '\0');
	int fd = open(path.p, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, data, sizeof(data));
	assert_in_range(n, 0, sizeof(data) - 1);
	close(fd);
	/* Also every beginning of it, as far as that is cheap: cuts are where parsers break. */
	for (size_t cut = 0; cut < MIN((size_t)n, (size_t)300); cut++)
		target(data, cut);
	target(data, (size_t)n);
	buf_done(&path);
}

static void replay(const char *dir, int (*target)(const uint8_t *, size_t))
{
	size_t files = 0;
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		replay_file(dir, e->d_name, target);
		files++;
	}
	closedir(d);
	assert_true(files >= 5);
}

static void test_fuzz_corpus_of_sse_keeps_its_promises(void **state)
{
	(void)state;
	replay("tests/fuzz/corpus/sse", fuzz_sse);
}

static void test_fuzz_corpus_of_json_keeps_its_promises(void **state)
{
	(void)state;
	replay("tests/fuzz/corpus/json", fuzz_json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_sse_keeps_its_promises),
		cmocka_unit_test(test_fuzz_corpus_of_json_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
