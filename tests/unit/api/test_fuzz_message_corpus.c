/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of requests in Anthropic's form under this build's sanitizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_message
#include "tests/fuzz/fuzz_message.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_messages_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/message", 10, 600, fuzz_message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_messages_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
