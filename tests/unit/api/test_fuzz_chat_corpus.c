/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of the fuzz target of requests in OpenAI's forms under this build's sanitizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_chat
#include "tests/fuzz/fuzz_chat.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_chats_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/chat", 10, 600, fuzz_chat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_chats_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
