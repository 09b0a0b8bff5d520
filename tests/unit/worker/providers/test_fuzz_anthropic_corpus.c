/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of Anthropic's format, whole and cut at every byte. Run from the repository's root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_anthropic
#include "tests/fuzz/fuzz_anthropic.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_anthropic_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/anthropic", 27, SIZE_MAX, fuzz_anthropic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_anthropic_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
