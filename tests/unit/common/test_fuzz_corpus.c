/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpora of the fuzz targets of common/ under this build's sanitizers. That of HTTP has its own test (test_http_corpus). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#define LLVMFuzzerTestOneInput fuzz_sse
#include "tests/fuzz/fuzz_sse.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_json
#include "tests/fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_conf
#include "tests/fuzz/fuzz_conf.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_request_facts
#include "tests/fuzz/fuzz_request_facts.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_multipart
#include "tests/fuzz/fuzz_multipart.c"
#undef LLVMFuzzerTestOneInput

static void test_fuzz_corpus_of_sse_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/sse", 5, 300, fuzz_sse);
}

static void test_fuzz_corpus_of_json_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/json", 5, 300, fuzz_json);
}

static void test_fuzz_corpus_of_conf_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/conf", 10, 100, fuzz_conf);
}

static void test_fuzz_corpus_of_request_facts_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/request_facts", 5, 300, fuzz_request_facts);
}

static void test_fuzz_corpus_of_multipart_keeps_its_promises(void **state)
{
	(void)state;
	corpus_replay("tests/fuzz/corpus/multipart", 10, 400, fuzz_multipart);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz_corpus_of_sse_keeps_its_promises),
		cmocka_unit_test(test_fuzz_corpus_of_json_keeps_its_promises),
		cmocka_unit_test(test_fuzz_corpus_of_conf_keeps_its_promises),
		cmocka_unit_test(test_fuzz_corpus_of_request_facts_keeps_its_promises),
		cmocka_unit_test(test_fuzz_corpus_of_multipart_keeps_its_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
