/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of batches from files under this build's sanitizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_batch_file
#include "tests/fuzz/fuzz_batch_file.c"
#undef LLVMFuzzerTestOneInput

static int drop_conf(void **state)
{
	(void)state;
	conf_unref(fuzz_batch_file_conf());
	return 0;
}

static void test_fuzz_corpus_of_batches_from_files_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/batch_file", 8, 400, fuzz_batch_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_batches_from_files_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, drop_conf);
}
