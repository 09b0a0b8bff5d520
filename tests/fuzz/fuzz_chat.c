/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of requests in OpenAI's forms of chat, completions and embeddings: what is taken holds nothing that is Millrace's own, can be judged at the door
 * without harm, stored and read again; what is refused names a code of 4xx and a pointer into the body.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_chat.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_chat
 *   ./fuzz_chat tests/fuzz/corpus/chat
 */
#include <stdlib.h>
#include <string.h>

#include "api/faces/face.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_chat_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_chat_refused(int rc, const struct err *err)
{
	int status = err_http_status(rc);
	fuzz_chat_check(rc == -(int)err->code && status >= 400 && status < 500);
	fuzz_chat_check(err->param[0] == '\0' || err->param[0] == '/');
}

static void fuzz_chat_look(const struct face *face, struct arena *a, const struct face_request *r)
{
	static const char *const ours[] = { "model", "stream", "stream_options", "metadata", "store", "millrace" };
	struct err err = { .code = ERR_OK };
	struct str stored;
	fuzz_chat_check(json_is_object(r->request) && r->model.n > 0);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		fuzz_chat_check(!json_get(r->request, ours[i]));
	int rc = submission_check_request(a, face->kind, r->request, "", &err);
	if (rc < 0)
		fuzz_chat_refused(rc, &err);
	if (face->pointer && err.param[0])
		fuzz_chat_check(face->pointer(a, err.param)[0] == '/');
	fuzz_chat_check(face_store(r, a, &stored, &err) == 0);
	json_t *again = json_parse(stored, &err);
	/* Only what `millrace` brought may repeat a name or be too deep, and a request one level deeper than the body. */
	fuzz_chat_check(again || r->millrace || stored.n > JSON_DEPTH_MAX);
	json_decref(again);
}

static void fuzz_chat_read(const struct face *face, struct arena *a, const json_t *body)
{
	struct face_request r = { 0 };
	struct err err = { .code = ERR_OK };
	int rc = face->read(a, body, &r, &err);
	if (rc == 0)
		fuzz_chat_look(face, a, &r);
	else
		fuzz_chat_refused(rc, &err);
	face_request_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct err err = { .code = ERR_OK };
	char *copy = malloc(n ? n : 1); /* of exactly that size, so that reading past it is seen */
	fuzz_chat_check(copy != NULL);
	if (n)
		memcpy(copy, data, n);
	arena_init(&a, (size_t)64 << 20);
	json_t *body = json_parse((struct str){ copy, n }, &err);
	if (body) {
		fuzz_chat_read(&face_chat, &a, body);
		fuzz_chat_read(&face_completion, &a, body);
		fuzz_chat_read(&face_embeddings, &a, body);
	}
	json_decref(body);
	arena_done(&a);
	free(copy);
	return 0;
}
