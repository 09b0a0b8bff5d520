/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of submissions under this build's sanitizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_submission
#include "tests/fuzz/fuzz_submission.c"
#undef LLVMFuzzerTestOneInput

static int drop_conf(void **state)
{
	(void)state;
	conf_unref(fuzz_submission_conf());
	return 0;
}

static void test_fuzz_corpus_of_submissions_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/submission", 10, 600, fuzz_submission);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_submissions_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, drop_conf);
}
