/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of providers' answers, whole and cut at every byte. Run from the repository's root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>

#include "common/file.h"

#define LLVMFuzzerTestOneInput fuzz_openai
#include "tests/fuzz/fuzz_openai.c"
#undef LLVMFuzzerTestOneInput

#define CORPUS "tests/fuzz/corpus/openai"

static void replay_file(const char *name)
{
	struct arena a;
	struct str content;
	struct err err = { .code = ERR_OK };
	arena_init(&a, 1 << 20);
	const char *path = arena_printf(&a, CORPUS "/%s", name).p;
	assert_int_equal(file_read(path, 1 << 18, &a, &content, &err), 0);
	for (size_t cut = 0; cut <= content.n; cut++)
		fuzz_openai((const uint8_t *)content.p, cut);
	arena_done(&a);
}

static void test_fuzz_corpus_of_answers_keeps_its_promises(void **state)
{
	size_t files = 0;
	(void)state;
	DIR *d = opendir(CORPUS);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		replay_file(e->d_name);
		files++;
	}
	closedir(d);
	assert_true(files >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_answers_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
