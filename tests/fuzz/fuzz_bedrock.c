/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of Bedrock. The first byte chooses what is fuzzed: 7 is a request that goes out (bits 0 to 2), else an answer: its status (bit 0: 200 or
 * 400), form (bit 1: a stream was asked for; its frames get the checksums that belong to them) and kind (bit 2: embeddings); bit 3 asks for a schema, the
 * rest is the size of the pieces.
 *
 * However an answer is cut the verdict and the result are the same; a success has a result that is one JSON object; a status of 400 never is one;
 * counts of tokens keep their rules; a message is short and well-formed. A request that is taken has a body that is JSON, one that is refused names why.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_bedrock.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_bedrock
 *   ./fuzz_bedrock tests/fuzz/corpus/bedrock
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/crypto.h"
#include "worker/providers/provider.h"

#define FUZZ_BEDROCK_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_bedrock_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_bedrock_put(char *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (char)(v & 0xff);
}

/* Gives each frame the checksums that belong to it, as far as frames can be told. */
static void fuzz_bedrock_repair(char *p, size_t n)
{
	while (n >= 16) {
		size_t total = (size_t)(unsigned char)p[0] << 24 | (size_t)(unsigned char)p[1] << 16 | (size_t)(unsigned char)p[2] << 8 | (unsigned char)p[3];
		fuzz_bedrock_put(p + 8, crypto_crc32((struct str){ p, 8 }));
		if (total < 16 || total > n)
			return;
		fuzz_bedrock_put(p + total - 4, crypto_crc32((struct str){ p, total - 4 }));
		p += total;
		n -= total;
	}
}

static void fuzz_bedrock_look(const struct provider_result *r, int status)
{
	const struct provider_usage *u = &r->usage;
	fuzz_bedrock_check(u->input >= 0 && u->output >= 0 && u->cached_input >= 0 && u->cache_write >= 0 && u->cached_input + u->cache_write <= u->input);
	fuzz_bedrock_check(r->output_bytes >= 0 && r->message.n <= 500 && str_is_utf8(r->message) && r->retry_after_ms == -1);
	fuzz_bedrock_check((int)r->class >= 0 && r->class < ERR_COUNT && !(status >= 400 && r->class == ERR_OK));
	if (r->class != ERR_OK)
		return;
	json_t *v = json_parse_lenient(buf_str(&r->result), NULL);
	fuzz_bedrock_check(json_is_object(v));
	json_decref(v);
}

/* Feeds pieces of `step` bytes, each in memory of exactly its size; notes what came of it. */
static void fuzz_bedrock_answer(uint8_t how, struct str in, size_t step, struct buf *note)
{
	const struct provider *p = provider_find(STR("bedrock"));
	const struct http_header head[] = { { STR("content-type"), how & 2 ? STR("application/vnd.amazon.eventstream") : STR("application/json") },
		                            { STR("x-amzn-errortype"), STR("ValidationException:x") } };
	struct conf_target target = { .name = STR("t"), .provider = STR("bedrock"), .model = STR("m"), .base_url = STR("http://h") };
	json_t *request = json_parse(how & 8 ? STR("{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"out\"}}}") : STR("{}"), NULL);
	struct provider_result r;
	struct arena a;
	bool token = false;
	int rc = 0, status = how & 1 ? 400 : 200;
	arena_init(&a, (size_t)64 << 20);
	struct provider_call *c = p->start(&(struct provider_ask){ &target, how & 4 ? PROVIDER_EMBEDDINGS : PROVIDER_CHAT, request, 0 }, how & 2, FUZZ_BEDROCK_MAX,
	                                   (struct provider_sink){ NULL, NULL }, &a);
	json_decref(request);
	p->answer_head(c, status, head, 2);
	for (; rc == 0 && in.n; in = str_sub(in, step, in.n)) {
		size_t n = MIN(step, in.n);
		char *piece = malloc(n);
		fuzz_bedrock_check(piece != NULL);
		memcpy(piece, in.p, n);
		rc = p->answer_data(c, (struct str){ piece, n }, &token);
		free(piece);
	}
	p->answer_end(c, rc, 0, &r);
	fuzz_bedrock_look(&r, status);
	buf_printf(note, "%d %lld %lld %lld %d ", (int)r.class, (long long)r.usage.input, (long long)r.usage.output, (long long)r.output_bytes, r.has_partial);
	buf_add_str(note, r.message);
	buf_add_str(note, r.finish_reason);
	buf_add_str(note, buf_str(&r.result));
	buf_done(&r.result);
	arena_done(&a);
}

static void fuzz_bedrock_request(uint8_t how, struct str in)
{
	const struct provider *p = provider_find(STR("bedrock"));
	struct conf_target target = { .name = STR("t"), .provider = STR("bedrock"), .model = how & 8 ? STR("cohere.embed-v4:0") : STR("us.anthropic.claude:0"),
		                      .base_url = STR("http://h"), .prompt_cache = true };
	struct provider_request made = { .method = NULL };
	struct err err = { .code = ERR_OK };
	struct arena a;
	json_t *request = json_parse(in, NULL);
	if (!json_is_object(request)) {
		json_decref(request);
		return;
	}
	arena_init(&a, (size_t)64 << 20);
	int rc = p->make(&(struct provider_ask){ &target, how & 16 ? PROVIDER_EMBEDDINGS : PROVIDER_CHAT, request, 0 }, &a, &made, &err);
	json_t *body = rc == 0 ? json_parse_lenient(buf_str(&made.body), NULL) : NULL;
	fuzz_bedrock_check(rc == 0 ? json_is_object(body) : rc == -(int)err.code && err.text[0]);
	json_decref(body);
	json_decref(request);
	buf_done(&made.body);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf bytes, whole, pieces;
	if (n == 0 || n > FUZZ_BEDROCK_MAX)
		return 0;
	if ((data[0] & 7) == 7) {
		fuzz_bedrock_request(data[0], (struct str){ (const char *)data + 1, n - 1 });
		return 0;
	}
	buf_init(&bytes, FUZZ_BEDROCK_MAX);
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	buf_add(&bytes, data + 1, n - 1);
	if (data[0] & 2)
		fuzz_bedrock_repair(bytes.p, bytes.n);
	fuzz_bedrock_answer(data[0], buf_str(&bytes), SIZE_MAX, &whole);
	fuzz_bedrock_answer(data[0], buf_str(&bytes), (size_t)(data[0] >> 4) + 1, &pieces);
	fuzz_bedrock_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_done(&bytes);
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
