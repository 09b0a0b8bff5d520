/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of failures and hints, whole and cut at every byte. Run from the repository's root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_classify
#include "tests/fuzz/fuzz_classify.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_failures_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/classify", 10, SIZE_MAX, fuzz_classify);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_failures_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
