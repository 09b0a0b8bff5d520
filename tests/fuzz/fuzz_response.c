/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the Responses face: a request that is taken is a chat request with messages that the door can judge, whose items can be told again, and whose
 * answer is JSON with the same members; one that is refused names a code of 4xx and, where a field is to blame, a JSON pointer. The same bytes as a result give
 * an answer and a stream that are JSON, or none.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_response.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_response
 *   ./fuzz_response tests/fuzz/corpus/response
 */
#include <stdlib.h>
#include <string.h>

#include "api/faces/response.h"
#include "api/jobs/job_object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_response_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_response_answer(const struct face_answer *j)
{
	struct buf b;
	buf_init(&b, (size_t)64 << 20);
	if (face_response.write(&b, j) == 0) {
		json_t *v = json_parse_lenient(buf_str(&b), NULL);
		fuzz_response_check(json_is_object(v) && json_is_array(json_get(v, "output")));
		json_decref(v);
	} else {
		fuzz_response_check(b.n == 0);
	}
	buf_done(&b);
}

static void fuzz_response_stream(struct arena *a, const struct face_answer *j)
{
	struct buf out;
	buf_init(&out, (size_t)64 << 20);
	struct face_stream s = { .out = &out, .a = a, .model = STR("m"), .starting_after = -1 };
	face_response.stream_begin(&s);
	face_response.stream_delta(&s, json_get(json_array_get(json_get(j->result, "choices"), 0), "delta"));
	if (json_is_object(json_get(json_array_get(json_get(j->result, "choices"), 0), "message")))
		face_response.stream_end(&s, j);
	struct str rest = buf_str(&out), line;
	while (str_split(&rest, '\n', &line)) {
		if (!str_has_prefix(line, STR("data: ")))
			continue;
		json_t *v = json_parse_lenient(str_sub(line, 6, line.n), NULL);
		fuzz_response_check(json_is_object(v));
		json_decref(v);
	}
	buf_done(&out);
}

static void fuzz_response_request(struct arena *a, const json_t *body)
{
	struct face_request r = { 0 };
	struct err err = { 0 };
	int rc = face_response.read(a, body, &r, &err);
	if (rc < 0) {
		int status = err_http_status(rc);
		fuzz_response_check(rc == -(int)err.code && status >= 400 && status < 500 && !r.request);
		fuzz_response_check(err.param[0] == '\0' || err.param[0] == '/');
		return;
	}
	const json_t *messages = json_get(r.request, "messages"), *m;
	size_t i;
	json_array_foreach(messages, i, m)
		fuzz_response_check(json_str(m, "role").n > 0 && json_get(m, "content"));
	json_t *items = response_items((struct id){ { 1 } }, r.request, r.echo);
	fuzz_response_check(json_array_size(items) <= 2 * (json_array_size(messages) + json_array_size(json_get(body, "input"))));
	json_decref(items);
	fuzz_response_answer(&(struct face_answer){ .status = STATUS_RUNNING, .model = r.model, .echo = r.echo });
	face_request_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	json_t *v = json_parse((struct str){ (const char *)data, n }, NULL);
	arena_init(&a, (size_t)64 << 20);
	if (v) {
		const struct face_answer j = { .status = STATUS_SUCCEEDED, .model = STR("m"), .result = v };
		fuzz_response_request(&a, v);
		fuzz_response_answer(&j);
		fuzz_response_stream(&a, &j);
	}
	arena_done(&a);
	json_decref(v);
	return 0;
}
