/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the JSON reader and writer: what the quick reader takes, jansson reads as the same value; what the strict reader takes, the lenient one takes too; what is written reads back
 * as an equal value and is written again as the same bytes; and so is the sorted form.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_json.c common/json.c common/json_read.c common/buf.c common/str.c \
 *       common/err.c -ljansson -o fuzz_json
 *   ./fuzz_json tests/fuzz/corpus/json
 */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_json_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_json_round(const json_t *v, int (*write)(struct buf *, const json_t *))
{
	struct buf text, again;
	buf_init(&text, SIZE_MAX / 8);
	buf_init(&again, SIZE_MAX / 8);
	fuzz_json_check(write(&text, v) == 0 && str_is_utf8(buf_str(&text)));
	json_t *back = json_parse(buf_str(&text), NULL);
	fuzz_json_check(back != NULL);
	fuzz_json_check(json_equal(v, back));
	fuzz_json_check(write(&again, back) == 0 && str_eq(buf_str(&text), buf_str(&again)));
	json_decref(back);
	buf_done(&text);
	buf_done(&again);
}

static void fuzz_json_compare(struct str in, bool unique_keys)
{
	json_t *quick = json_read(in, unique_keys, (struct json_limits){ SIZE_MAX, SIZE_MAX });
	if (!quick)
		return;
	json_t *want = json_loadb(in.p, in.n, JSON_DECODE_ANY | (unique_keys ? JSON_REJECT_DUPLICATES : 0), NULL);
	fuzz_json_check(want && json_equal(quick, want));
	json_decref(quick);
	json_decref(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *copy = malloc(n ? n : 1); /* of exactly that size, so that reading past it is seen */
	fuzz_json_check(copy != NULL);
	if (n)
		memcpy(copy, data, n);
	struct str in = { copy, n };
	fuzz_json_compare(in, true);
	fuzz_json_compare(in, false);
	struct err err = { .code = ERR_OK };
	json_t *strict = json_parse(in, &err), *lenient = json_parse_lenient(in, NULL);
	fuzz_json_check(strict ? lenient != NULL : err.code == ERR_BAD_JSON && str_is_utf8(str_from(err.text)));
	if (lenient) {
		fuzz_json_round(lenient, json_write);
		fuzz_json_round(lenient, json_write_sorted);
	}
	json_decref(strict);
	json_decref(lenient);
	free(copy);
	return 0;
}
