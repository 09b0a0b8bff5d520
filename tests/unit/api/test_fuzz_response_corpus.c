/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of the Responses face under this build's sanitizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_response
#include "tests/fuzz/fuzz_response.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_responses_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/response", 10, 600, fuzz_response);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_responses_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
