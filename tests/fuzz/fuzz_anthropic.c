/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of Anthropic's format, both directions. The first byte chooses: bit 2 set, what follows is a request in OpenAI's form (bit 0: its front is
 * marked for the cache); else it is an answer's body, with bit 0 of status 400, not 200, with bit 1 asked for as a stream, in pieces of a size
 * that the other bits give.
 *
 * A request becomes a body that keeps Anthropic's rules, or is refused with a pointer to the field. However an answer is cut into pieces the verdict
 * and the result are the same; a success has a result that is one JSON object, and a status of 400 never is one; numbers of tokens keep
 * their invariants; a message is short and well-formed.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_anthropic.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_anthropic
 *   ./fuzz_anthropic tests/fuzz/corpus/anthropic
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "worker/providers/provider.h"

#define FUZZ_ANTHROPIC_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_anthropic_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_anthropic_look(const struct provider_result *r, int status)
{
	const struct provider_usage *u = &r->usage;
	fuzz_anthropic_check(u->cached_input >= 0 && u->cache_write >= 0 && u->cached_input + u->cache_write <= u->input && u->reasoning >= 0 && u->reasoning <= u->output);
	fuzz_anthropic_check(r->message.n <= 500 && str_is_utf8(r->message) && r->retry_after_ms == -1);
	fuzz_anthropic_check((int)r->class >= 0 && r->class < ERR_COUNT && !(status >= 400 && r->class == ERR_OK));
	if (r->class != ERR_OK)
		return;
	json_t *v = json_parse_lenient(buf_str(&r->result), NULL);
	fuzz_anthropic_check(json_is_object(v));
	json_decref(v);
}

/* Feeds pieces of `step` bytes (0: all at once), each in memory of exactly its size; notes what came of it. */
static void fuzz_anthropic_run(uint8_t how, struct str in, size_t step, struct buf *note)
{
	const struct provider *p = provider_find(STR("anthropic"));
	const struct http_header head[] = { { STR("content-type"), how & 2 ? STR("text/event-stream") : STR("application/json") } };
	struct conf_target target = { .name = STR("t"), .provider = STR("anthropic"), .model = STR("m"), .base_url = STR("http://h") };
	struct provider_result r;
	struct arena a;
	bool token = false;
	int rc = 0, status = how & 1 ? 400 : 200;
	arena_init(&a, (size_t)64 << 20);
	struct provider_call *c = p->start(&(struct provider_ask){ &target, PROVIDER_CHAT, NULL, 0 }, how & 2, FUZZ_ANTHROPIC_MAX, (struct provider_sink){ NULL, NULL }, &a);
	p->answer_head(c, status, head, 1);
	while (rc == 0 && in.n) {
		size_t n = step ? MIN(step, in.n) : in.n;
		char *piece = malloc(n);
		fuzz_anthropic_check(piece != NULL);
		memcpy(piece, in.p, n);
		rc = p->answer_data(c, (struct str){ piece, n }, &token);
		free(piece);
		in = str_sub(in, n, in.n);
	}
	p->answer_end(c, rc, 0, &r);
	fuzz_anthropic_look(&r, status);
	buf_printf(note, "%d %lld %lld %lld %d ", (int)r.class, (long long)r.usage.input, (long long)r.usage.output, (long long)r.output_bytes, r.has_partial);
	buf_add_str(note, r.message);
	buf_add_str(note, r.finish_reason);
	buf_add_str(note, buf_str(&r.result));
	buf_done(&r.result);
	arena_done(&a);
}

/* Turns take turns, none is empty, and at most three marks are set. */
static void fuzz_anthropic_look_at_body(const json_t *body)
{
	const json_t *messages = json_get(body, "messages"), *turn;
	struct str before = STR("");
	size_t i;
	fuzz_anthropic_check(json_i64(body, "max_tokens", 0) > 0 && json_array_size(messages) > 0);
	json_array_foreach (messages, i, turn) {
		struct str role = json_str(turn, "role");
		fuzz_anthropic_check((str_eq_z(role, "user") || str_eq_z(role, "assistant")) && !str_eq(role, before));
		fuzz_anthropic_check(json_array_size(json_get(turn, "content")) > 0);
		before = role;
	}
	const json_t *temperature = json_get(body, "temperature");
	fuzz_anthropic_check(!temperature || json_number_value(temperature) <= 1.0);
}

static void fuzz_anthropic_request(uint8_t how, struct str in)
{
	const struct provider *p = provider_find(STR("anthropic"));
	const struct conf_target target = { .name = STR("t"), .provider = STR("anthropic"), .model = STR("m"), .base_url = STR("http://h"), .prompt_cache = how & 1 };
	struct provider_request r = { .method = NULL };
	struct err err = { .code = ERR_OK };
	struct arena a;
	json_t *request = json_parse(in, NULL);
	if (!request)
		return;
	arena_init(&a, (size_t)64 << 20);
	int rc = p->make(&(struct provider_ask){ &target, PROVIDER_CHAT, request, 0 }, &a, &r, &err);
	fuzz_anthropic_check(rc == 0 || (rc == -ERR_UNSUPPORTED && err.param[0] == '/' && err.text[0]));
	if (rc == 0) {
		json_t *body = json_parse(buf_str(&r.body), NULL);
		fuzz_anthropic_look_at_body(body);
		json_decref(body);
	}
	buf_done(&r.body);
	arena_done(&a);
	json_decref(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf whole, pieces;
	if (n == 0 || n > FUZZ_ANTHROPIC_MAX)
		return 0;
	struct str in = { (const char *)data + 1, n - 1 };
	if (data[0] & 4) {
		fuzz_anthropic_request(data[0], in);
		return 0;
	}
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	fuzz_anthropic_run(data[0], in, 0, &whole);
	fuzz_anthropic_run(data[0], in, (size_t)(data[0] >> 3) + 1, &pieces);
	fuzz_anthropic_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
