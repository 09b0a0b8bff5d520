/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the facts of a request: whatever JSON it is, of both kinds, each need has a pointer, counts and estimates are not negative and the
 * same again, and the texts can be printed.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_request_facts.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_request_facts
 *   ./fuzz_request_facts tests/fuzz/corpus/request_facts
 */
#include <stdlib.h>

#include "common/request_facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_request_facts_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_request_facts_look(const json_t *v, bool embeddings, struct arena *a)
{
	struct request_facts f, again;
	request_facts_read(&f, v, embeddings, a);
	request_facts_read(&again, v, embeddings, a);
	fuzz_request_facts_check(f.needs >> REQUEST_NEEDS == 0);
	for (int bit = 0; bit < REQUEST_NEEDS; bit++) {
		bool needed = f.needs >> bit & 1;
		fuzz_request_facts_check(needed == (f.pointers[bit] != NULL) && (!needed || f.pointers[bit][0] == '/'));
		fuzz_request_facts_check(!needed || request_need_parse(str_from(request_need_word(UINT32_C(1) << bit))) == UINT32_C(1) << bit);
	}
	fuzz_request_facts_check(f.text_bytes >= 0 && f.file_bytes >= 0 && f.audio_bytes >= 0 && f.max_output >= 0);
	fuzz_request_facts_check(f.complexity >= 0 && f.complexity <= 100 && (f.complexity > 0) == (f.complexity_why.n > 0));
	fuzz_request_facts_check(f.last_user.n <= REQUEST_QUESTION_MAX && str_is_utf8(f.last_user));
	fuzz_request_facts_check(f.prefix == again.prefix && f.needs == again.needs && f.complexity == again.complexity);
	fuzz_request_facts_check(request_facts_tokens(&f, 2000) >= request_facts_tokens(&f, 4000) && request_facts_tokens(&f, 4000) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct err err = { .code = ERR_OK };
	json_t *v = json_parse((struct str){ (const char *)data, n }, &err);
	if (!v)
		return 0;
	arena_init(&a, (size_t)64 << 20);
	fuzz_request_facts_look(v, false, &a);
	fuzz_request_facts_look(v, true, &a);
	arena_done(&a);
	json_decref(v);
	return 0;
}
