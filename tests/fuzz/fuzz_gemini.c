/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of Gemini's format, both directions. The first byte chooses. Bits 0 and 2 set: what follows is a request in OpenAI's form (bit 1: for
 * embeddings; bit 3: for the older API; bit 4: for a model that wants signatures). Else it is an answer's body: the status (bit 0: 200 or 400), the form
 * (bit 1: a stream was asked for), the kind (bit 2: embeddings) and the size of the pieces (the rest).
 *
 * A request becomes a body with turns that alternate and are not empty, or is refused with a pointer to the field. However an answer is cut into
 * pieces the verdict and the result are the same; a success has a result that is one JSON object, and a status of 400 never is one; numbers of tokens are
 * never negative, no part is more than its whole; a message is short and well-formed.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_gemini.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_gemini
 *   ./fuzz_gemini tests/fuzz/corpus/gemini
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "worker/providers/provider.h"

#define FUZZ_GEMINI_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_gemini_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_gemini_look(const struct provider_result *r, int status)
{
	fuzz_gemini_check(r->usage.input >= 0 && r->usage.output >= 0 && r->usage.cached_input >= 0 && r->usage.cached_input <= r->usage.input && r->output_bytes >= 0);
	fuzz_gemini_check(r->usage.reasoning >= 0 && r->usage.reasoning <= r->usage.output && r->usage.image_input <= r->usage.input && r->usage.audio_input <= r->usage.input);
	fuzz_gemini_check(r->message.n <= 500 && str_is_utf8(r->message) && r->retry_after_ms >= -1);
	fuzz_gemini_check((int)r->class >= 0 && r->class < ERR_COUNT && !(status >= 400 && r->class == ERR_OK));
	if (r->class != ERR_OK)
		return;
	json_t *v = json_parse_lenient(buf_str(&r->result), NULL);
	fuzz_gemini_check(json_is_object(v));
	json_decref(v);
}

/* Feeds pieces of `step` bytes (0: all at once), each in memory of exactly its size; notes what came of it. */
static void fuzz_gemini_run(uint8_t how, struct str in, size_t step, struct buf *note)
{
	const struct provider *p = provider_find(STR("gemini"));
	const struct http_header head[] = { { STR("content-type"), how & 2 ? STR("text/event-stream") : STR("application/json") } };
	struct conf_target target = { .name = STR("t"), .provider = STR("gemini"), .model = STR("m"), .base_url = STR("http://h") };
	struct provider_result r;
	struct arena a;
	bool token = false;
	int rc = 0, status = how & 1 ? 400 : 200;
	arena_init(&a, (size_t)64 << 20);
	struct provider_call *c = p->start(&(struct provider_ask){ &target, how & 4 ? 1 : 0, NULL, 0 }, how & 2, FUZZ_GEMINI_MAX, (struct provider_sink){ NULL, NULL }, &a);
	p->answer_head(c, status, head, 1);
	while (rc == 0 && in.n) {
		size_t n = step ? MIN(step, in.n) : in.n;
		char *piece = malloc(n);
		fuzz_gemini_check(piece != NULL);
		memcpy(piece, in.p, n);
		rc = p->answer_data(c, (struct str){ piece, n }, &token);
		free(piece);
		in = str_sub(in, n, in.n);
	}
	p->answer_end(c, rc, 0, &r);
	fuzz_gemini_look(&r, status);
	buf_printf(note, "%d %lld %lld %lld %d ", (int)r.class, (long long)r.usage.input, (long long)r.usage.output, (long long)r.output_bytes, r.has_partial);
	buf_add_str(note, r.message);
	buf_add_str(note, r.finish_reason);
	buf_add_str(note, buf_str(&r.result));
	buf_done(&r.result);
	arena_done(&a);
}

static void fuzz_gemini_look_at_body(const json_t *body)
{
	const json_t *contents = json_get(body, "contents"), *turn;
	struct str before = STR("");
	size_t i;
	json_array_foreach (contents, i, turn) {
		struct str role = json_str(turn, "role");
		fuzz_gemini_check((str_eq_z(role, "user") || str_eq_z(role, "model")) && !str_eq(role, before));
		fuzz_gemini_check(json_array_size(json_get(turn, "parts")) > 0);
		before = role;
	}
}

static void fuzz_gemini_ask(uint8_t how, struct str in)
{
	struct conf_target target = { .name = STR("t"), .provider = STR("gemini"), .model = how & 16 ? STR("gemini-3-pro") : STR("gemini-2.5-flash"),
		                      .base_url = STR("http://h"), .api_version = how & 8 ? STR("v1") : STR("") };
	struct provider_request r = { .method = NULL };
	struct err err = { .code = ERR_OK };
	struct arena a;
	json_t *request = json_parse(in, NULL);
	if (!json_is_object(request)) {
		json_decref(request);
		return;
	}
	arena_init(&a, (size_t)64 << 20);
	int rc = provider_find(STR("gemini"))->make(&(struct provider_ask){ &target, how & 2 ? 1 : 0, request, 0 }, &a, &r, &err);
	json_t *body = rc == 0 ? json_parse_lenient(buf_str(&r.body), NULL) : NULL;
	fuzz_gemini_check(rc == 0 ? json_is_object(body) : rc == -(int)err.code && err.param[0] == '/');
	fuzz_gemini_look_at_body(body);
	json_decref(body);
	json_decref(request);
	buf_done(&r.body);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf whole, pieces;
	if (n == 0 || n > FUZZ_GEMINI_MAX)
		return 0;
	struct str in = { (const char *)data + 1, n - 1 };
	if ((data[0] & 5) == 5) {
		fuzz_gemini_ask(data[0], in);
		return 0;
	}
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	fuzz_gemini_run(data[0], in, 0, &whole);
	fuzz_gemini_run(data[0], in, (size_t)(data[0] >> 3) + 1, &pieces);
	fuzz_gemini_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
