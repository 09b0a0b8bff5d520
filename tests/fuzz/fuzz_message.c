/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of requests in Anthropic's form: what is taken is a native request that the door finds nothing wrong with but limits of its own, and that
 * can be stored and read again; what is refused names a code of 4xx and a pointer into the body.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_message.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_message
 *   ./fuzz_message tests/fuzz/corpus/message
 */
#include <stdlib.h>
#include <string.h>

#include "api/faces/face.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_message_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_message_look(struct arena *a, const struct face_request *r)
{
	struct err err = { 0 };
	struct str stored;
	fuzz_message_check(json_is_object(r->request) && r->model.n > 0 && !r->echo);
	fuzz_message_check(json_array_size(json_get(r->request, "messages")) > 0 && !json_get(r->request, "stream"));
	int rc = submission_check_request(a, SUBMISSION_CHAT, r->request, "", &err);
	fuzz_message_check(rc == 0);
	fuzz_message_check(face_store(r, a, &stored, &err) == 0);
	json_t *again = json_parse(stored, &err);
	/* Only what `millrace` brought may repeat a name or be too deep. */
	fuzz_message_check(again || r->millrace);
	json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct face_request r = { 0 };
	struct err err = { .code = ERR_OK };
	char *copy = malloc(n ? n : 1); /* of exactly that size, so that reading past it is seen */
	fuzz_message_check(copy != NULL);
	if (n)
		memcpy(copy, data, n);
	arena_init(&a, (size_t)64 << 20);
	json_t *body = json_parse((struct str){ copy, n }, &err);
	int rc = body ? face_message.read(&a, body, &r, &err) : 0;
	if (body && rc == 0) {
		fuzz_message_look(&a, &r);
	} else if (body) {
		int status = err_http_status(rc);
		fuzz_message_check(rc == -(int)err.code && status >= 400 && status < 500 && !r.request);
		fuzz_message_check(err.param[0] == '\0' || err.param[0] == '/');
	}
	face_request_done(&r);
	json_decref(body);
	arena_done(&a);
	free(copy);
	return 0;
}
