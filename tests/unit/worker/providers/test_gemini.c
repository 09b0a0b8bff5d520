/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Gemini's answers come to: whole and streamed, calls with their signatures, thoughts, several candidates, usage, embeddings, errors in all their
 * forms, and answers that are nothing of the kind. A stream that is cut anywhere never is a success.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "worker/providers/gemini.h"

enum { CHAT, EMBEDDINGS };

#define LIMIT 65536
#define NOW   ((int64_t)1760000000 * 1000000) /* 2025-10-09 08:53:20 UTC */

static struct arena arena;
static struct conf_target target = { .name = STR("t"), .provider = STR("gemini"), .model = STR("gemini-2.5-flash"), .base_url = STR("http://h/v1beta"), .stream = true };

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, (size_t)64 << 20);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

struct answer {
	int status, kind, transport_rc;
	bool streamed;
	const char *request; /* NULL: none */
	const char *type;    /* NULL: what fits */
	struct provider_sink sink;
};

/* The result's text lives in the test's arena. */
static struct provider_result answer(struct answer how, struct str body)
{
	const char *type = how.type ? how.type : how.streamed ? "text/event-stream" : "application/json; charset=UTF-8";
	const struct http_header head[] = { { STR("Content-Type"), str_from(type) } };
	struct provider_result r;
	bool token = false;
	json_t *request = how.request ? json_parse(str_from(how.request), NULL) : NULL;
	struct provider_call *c = provider_gemini.start(&(struct provider_ask){ &target, how.kind, request, 0 }, how.streamed, LIMIT, how.sink, &arena);
	json_decref(request);
	provider_gemini.answer_head(c, how.status ? how.status : 200, head, 1);
	int rc = provider_gemini.answer_data(c, body, &token);
	provider_gemini.answer_end(c, rc < 0 ? rc : how.transport_rc, NOW, &r);
	struct str text = arena_str(&arena, buf_str(&r.result));
	buf_done(&r.result);
	r.result = (struct buf){ .p = (char *)(uintptr_t)text.p, .n = text.n };
	return r;
}

static struct provider_result whole(const char *text)
{
	return answer((struct answer){ .streamed = false }, str_from(text));
}

static struct provider_result streamed(const char *text)
{
	return answer((struct answer){ .streamed = true }, str_from(text));
}

/* A member of the answer by path: names and numbers, separated by dots. Borrowed from *ret_root. */
static const json_t *at(const struct provider_result *r, const char *path, json_t **ret_root)
{
	struct str rest = str_from(path), step;
	const json_t *v = *ret_root = json_parse(buf_str(&r->result), NULL);
	uint64_t number;
	assert_non_null(v);
	while (str_split(&rest, '.', &step))
		v = str_u64(step, 0, 99, &number) == 0 ? json_array_get(v, (size_t)number) : json_get(v, arena_strz(&arena, step));
	return v;
}

static void assert_text(const struct provider_result *r, const char *path, const char *wanted)
{
	json_t *root;
	struct str got = json_str_of(at(r, path, &root));
	if (!str_eq_z(got, wanted))
		fail_msg("%s: wanted %s, got " STR_FMT " in " STR_FMT, path, wanted, STR_ARG(got), STR_ARG(buf_str(&r->result)));
	json_decref(root);
}

static void assert_number(const struct provider_result *r, const char *path, double wanted)
{
	json_t *root;
	double got = json_number_value(at(r, path, &root));
	if (got < wanted || got > wanted)
		fail_msg("%s: wanted %g, got %g", path, wanted, got);
	json_decref(root);
}

#define META        "\"responseId\":\"r1\",\"modelVersion\":\"gemini-2.5-flash-001\""
#define USAGE       "\"usageMetadata\":{\"promptTokenCount\":9,\"toolUsePromptTokenCount\":2,\"cachedContentTokenCount\":5,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":3," \
	            "\"totalTokenCount\":18,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":3},{\"modality\":\"IMAGE\",\"tokenCount\":4},{\"modality\":\"AUDIO\"," \
	            "\"tokenCount\":2}],\"serviceTier\":\"standard\"}"
#define EVENT(json) "data: " json "\r\n\r\n"
#define PARTS(parts) "{\"candidates\":[{\"content\":{\"parts\":[" parts "],\"role\":\"model\"},\"index\":0}]," META "}"
#define LAST(parts, finish) "{\"candidates\":[{\"content\":{\"parts\":[" parts "],\"role\":\"model\"},\"finishReason\":\"" finish "\",\"index\":0}]," USAGE "," META "}"
#define TEXT(text)   "{\"text\":\"" text "\"}"
#define THOUGHT(text) "{\"text\":\"" text "\",\"thought\":true}"
#define CALL(args, more) "{\"functionCall\":{\"name\":\"f\",\"args\":" args more "}}"

static const char good[] = EVENT(PARTS(THOUGHT("hm"))) ": ping\r\n\r\n" EVENT(PARTS(TEXT("Gr\xc3\xbc"))) EVENT(PARTS(TEXT(""))) EVENT(LAST(TEXT("\xc3\x9f" "e"), "STOP"));
static const char calls[] = EVENT(PARTS("{\"functionCall\":{\"name\":\"f\",\"args\":{\"x\":1}},\"thoughtSignature\":\"c2ln\"}")) EVENT(LAST(CALL("{}", ",\"id\":\"own\""), "STOP"));
static const char blocked[] = EVENT("{\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":7,\"totalTokenCount\":7}," META "}");
static const char failed[] = EVENT(PARTS(TEXT("half"))) EVENT("{\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}");
static const char bare[] = EVENT(PARTS(TEXT("half"))) "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";
static const char list[] = "[" PARTS(TEXT("a")) "\n,\n" LAST(TEXT("b"), "STOP") "\n]";

/* --- streams --- */

static void test_gemini_stream_becomes_one_answer(void **state)
{
	(void)state;
	struct provider_result r = streamed(good);
	assert_int_equal(r.class, ERR_OK);
	assert_text(&r, "object", "chat.completion");
	assert_text(&r, "id", "r1");
	assert_text(&r, "model", "gemini-2.5-flash-001");
	assert_text(&r, "service_tier", "default");
	assert_number(&r, "created", 1760000000);
	assert_text(&r, "choices.0.message.content", "Gr\xc3\xbc\xc3\x9f" "e");
	assert_text(&r, "choices.0.message.reasoning_content", "hm");
	assert_text(&r, "choices.0.finish_reason", "stop");
	assert_true(str_eq_z(r.finish_reason, "stop"));
	assert_int_equal(r.output_bytes, 9);
	assert_number(&r, "usage.prompt_tokens", 11);
	/* A list without alt=sse, and with the content type that tells. */
	r = answer((struct answer){ .streamed = true, .type = "application/json" }, str_from(list));
	assert_int_equal(r.class, ERR_OK);
	assert_text(&r, "choices.0.message.content", "ab");
	r = streamed(list);
	assert_int_equal(r.class, ERR_OK);
	assert_text(&r, "choices.0.message.content", "ab");
}

static void test_gemini_stream_cut_at_any_byte_is_no_success(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		size_t from; /* the first length that may be a success */
		enum err_code class; /* of the whole */
	} streams[] = {
		{ good, sizeof(good) - 1, sizeof(good) - 2, ERR_OK }, /* the CR of the empty line ends the last event */
		{ calls, sizeof(calls) - 1, sizeof(calls) - 2, ERR_OK },
		{ blocked, sizeof(blocked) - 1, sizeof(blocked), ERR_CONTENT_FILTER },
		{ failed, sizeof(failed) - 1, sizeof(failed), ERR_PROVIDER_OVERLOADED },
		{ bare, sizeof(bare) - 1, sizeof(bare), ERR_PROVIDER_OVERLOADED },
		{ list, sizeof(list) - 1, sizeof(list) - 1, ERR_OK },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		assert_int_equal(streamed(streams[i].text).class, streams[i].class);
		for (size_t cut = 0; cut <= streams[i].n; cut++) {
			struct str part = { streams[i].text, cut };
			struct provider_result r = answer((struct answer){ .streamed = true }, part);
			if (r.class == ERR_OK && cut < streams[i].from)
				fail_msg("stream %zu: a success when cut at %zu", i, cut);
			assert_true(cut >= streams[i].from || r.class == ERR_STREAM_CUT || r.class == streams[i].class);
			/* An end out of order is none, even after the last event. */
			r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, part);
			assert_true(r.class != ERR_OK);
		}
	}
	struct provider_result r = streamed(EVENT(PARTS(TEXT("half"))));
	assert_true(r.class == ERR_STREAM_CUT && r.has_partial && r.output_bytes == 4);
	assert_text(&r, "choices.0.message.content", "half");
}

struct row {
	const char *body;
	enum err_code class;
};

static void check(const struct row *rows, size_t n, struct answer how)
{
	for (size_t i = 0; i < n; i++) {
		struct provider_result r = answer(how, str_from(rows[i].body));
		if (r.class != rows[i].class)
			fail_msg("%s: wanted %s, got %s (" STR_FMT ")", rows[i].body, err_code_name((int)rows[i].class), err_code_name((int)r.class), STR_ARG(r.message));
		assert_true(r.class != ERR_OK || r.result.n > 0);
		assert_true(r.usage.input >= 0 && r.usage.output >= 0 && r.usage.cached_input >= 0 && r.usage.cached_input <= r.usage.input);
	}
}

static void test_gemini_streams_that_are_no_success(void **state)
{
	static const struct row rows[] = {
		{ "", ERR_STREAM_CUT },
		{ EVENT("{}"), ERR_STREAM_CUT },
		{ EVENT(LAST(TEXT("x"), "FINISH_REASON_UNSPECIFIED")), ERR_STREAM_CUT },
		{ EVENT(LAST(TEXT("x"), "")), ERR_STREAM_CUT },
		{ EVENT(LAST("", "STOP")), ERR_BAD_OUTPUT },
		{ EVENT(LAST(TEXT(""), "STOP")), ERR_BAD_OUTPUT },
		{ EVENT(LAST(THOUGHT("hm"), "STOP")), ERR_BAD_OUTPUT },
		{ EVENT(LAST("{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AA==\"}}", "STOP")), ERR_BAD_OUTPUT },
		{ EVENT(LAST("", "MAX_TOKENS")), ERR_OUTPUT_TRUNCATED },
		{ EVENT(LAST(THOUGHT("hm"), "MAX_TOKENS")), ERR_OUTPUT_TRUNCATED },
		{ EVENT(PARTS(TEXT("x"))) EVENT(LAST("", "SAFETY")), ERR_CONTENT_FILTER },
		{ EVENT("{\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\",\"blockReasonMessage\":\"why\"}}"), ERR_CONTENT_FILTER },
		{ EVENT("{\"promptFeedback\":{\"blockReason\":\"BLOCK_REASON_UNSPECIFIED\"}}"), ERR_STREAM_CUT },
		{ EVENT("{oops"), ERR_BAD_OUTPUT },
		{ EVENT("oops"), ERR_BAD_OUTPUT },
		{ EVENT(LAST(TEXT("x"), "STOP")) "{\"error\":{\"code\":500,\"message\":\"m\",\"status\":\"INTERNAL\"}}", ERR_TRANSIENT },
		{ EVENT("[{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}]"), ERR_PROVIDER_RATE_LIMIT },
		{ EVENT("{\"error\":{\"message\":\"m\"}}"), ERR_TRANSIENT },
		{ EVENT(LAST(CALL("{}", "") "," "{\"functionCall\":{}}", "STOP")), ERR_BAD_OUTPUT },
		{ EVENT(LAST(TEXT("x"), "STOP")) "data: {\"cand", ERR_STREAM_CUT },
		{ "<html>busy</html>", ERR_STREAM_CUT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = true });
}

static void test_gemini_streams_with_oddities_are_taken(void **state)
{
	static const struct row rows[] = {
		{ EVENT(PARTS(TEXT("x"))) EVENT(LAST("", "STOP")), ERR_OK },
		{ EVENT(LAST(TEXT("x"), "STOP")) EVENT("{" USAGE "}"), ERR_OK },
		{ EVENT(LAST(TEXT("x"), "STOP")) "data: [DONE]\n\n", ERR_OK },
		{ EVENT(LAST(TEXT("x"), "MAX_TOKENS")), ERR_OK },
		{ EVENT("{\"candidates\":[{\"content\":{\"parts\":[7,null,{},{\"text\":5},{\"thoughtSignature\":\"s\"}," TEXT("x") "]},\"finishReason\":\"STOP\"}]}"), ERR_OK },
		{ EVENT("{\"candidates\":{}}") EVENT("7") EVENT(PARTS(TEXT("x"))) EVENT("{\"error\":null,\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":9}"), ERR_OK },
		{ EVENT("{\"candidates\":[{\"index\":1,\"content\":{\"parts\":[" TEXT("y") "]},\"finishReason\":\"SAFETY\"}]}") EVENT(LAST(TEXT("x"), "STOP")), ERR_OK },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = true });
}

/* --- calls --- */

static void test_gemini_calls_get_ids_and_keep_their_signatures(void **state)
{
	(void)state;
	struct provider_result r = streamed(calls);
	assert_int_equal(r.class, ERR_OK);
	assert_text(&r, "choices.0.finish_reason", "tool_calls");
	assert_text(&r, "choices.0.message.tool_calls.0.id", "call_r1_0");
	assert_text(&r, "choices.0.message.tool_calls.0.function.name", "f");
	assert_text(&r, "choices.0.message.tool_calls.0.function.arguments", "{\"x\":1}");
	assert_text(&r, "choices.0.message.tool_calls.0.extra_content.google.thought_signature", "c2ln");
	assert_text(&r, "choices.0.message.tool_calls.1.id", "own");
	assert_text(&r, "choices.0.message.tool_calls.1.function.arguments", "{}");
	r = whole("{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"g\"}}]},\"finishReason\":\"STOP\"}]}");
	assert_text(&r, "choices.0.message.tool_calls.0.id", "call_0");
	/* 128 calls are taken, not one more. */
	struct buf many;
	buf_init(&many, 1 << 20);
	for (int i = 0; i < ASSEMBLY_TOOLS_MAX; i++)
		buf_add_z(&many, EVENT(PARTS(CALL("{}", ""))));
	buf_add_z(&many, EVENT(LAST("", "STOP")));
	assert_int_equal(answer((struct answer){ .streamed = true }, buf_str(&many)).class, ERR_OK);
	buf_add_z(&many, EVENT(PARTS(CALL("{}", ""))));
	assert_int_equal(answer((struct answer){ .streamed = true }, buf_str(&many)).class, ERR_BAD_OUTPUT);
	buf_done(&many);
}

static void test_gemini_signatures_are_bounded_together(void **state)
{
	struct buf many;
	(void)state;
	buf_init(&many, 1 << 20);
	for (int i = 0; i < 2; i++) {
		buf_add_z(&many, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\"},\"thoughtSignature\":\"");
		for (int k = 0; k < LIMIT / 2 + 1; k++)
			buf_add_char(&many, 'A');
		buf_add_z(&many, "\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n");
		assert_int_equal(answer((struct answer){ .streamed = true }, buf_str(&many)).class, i == 0 ? ERR_OK : ERR_TOO_LARGE);
	}
	buf_done(&many);
}

static void on_delta(void *arg, const struct provider_delta *d)
{
	struct buf *b = arg;
	buf_printf(b, "%d/%d/" STR_FMT "/" STR_FMT "/" STR_FMT ";", (int)d->kind, d->index, STR_ARG(d->id), STR_ARG(d->name), STR_ARG(d->text));
}

static void test_gemini_pieces_are_told_as_they_come(void **state)
{
	struct buf told;
	(void)state;
	buf_init(&told, 4096);
	answer((struct answer){ .streamed = true, .sink = { on_delta, &told } }, STR(EVENT(PARTS(THOUGHT("hm"))) EVENT(PARTS(TEXT("a"))) EVENT(LAST(CALL("{}", ""), "STOP"))));
	assert_true(str_eq_z(buf_str(&told), "2/0///hm;0/0///a;3/0/call_r1_0/f/{};"));
	buf_done(&told);
}

/* --- whole answers --- */

static void test_gemini_whole_answers(void **state)
{
	static const struct row rows[] = {
		{ LAST(TEXT("x"), "STOP"), ERR_OK },
		{ LAST(TEXT("x"), "MAX_TOKENS"), ERR_OK },
		{ "[" LAST(TEXT("x"), "STOP") "]", ERR_OK },
		{ LAST("", "STOP"), ERR_BAD_OUTPUT },
		{ LAST("", "MAX_TOKENS"), ERR_OUTPUT_TRUNCATED },
		{ LAST(TEXT("x"), "SAFETY"), ERR_CONTENT_FILTER },
		{ LAST(TEXT("x"), "RECITATION"), ERR_CONTENT_FILTER },
		{ LAST(TEXT("x"), "BLOCKLIST"), ERR_CONTENT_FILTER },
		{ LAST(TEXT("x"), "PROHIBITED_CONTENT"), ERR_CONTENT_FILTER },
		{ LAST(TEXT("x"), "SPII"), ERR_CONTENT_FILTER },
		{ LAST("", "IMAGE_SAFETY"), ERR_CONTENT_FILTER },
		{ LAST("", "IMAGE_RECITATION"), ERR_CONTENT_FILTER },
		{ LAST("", "MODEL_ARMOR"), ERR_CONTENT_FILTER },
		{ LAST("", "MALFORMED_FUNCTION_CALL"), ERR_BAD_OUTPUT },
		{ LAST("", "UNEXPECTED_TOOL_CALL"), ERR_BAD_OUTPUT },
		{ LAST("", "TOO_MANY_TOOL_CALLS"), ERR_BAD_OUTPUT },
		{ LAST(TEXT("x"), "OTHER"), ERR_BAD_OUTPUT },
		{ LAST(TEXT("x"), "LANGUAGE"), ERR_BAD_OUTPUT },
		{ LAST(TEXT("x"), "BRAND_NEW"), ERR_BAD_OUTPUT },
		{ LAST(TEXT("x"), "MISSING_THOUGHT_SIGNATURE"), ERR_BAD_REQUEST },
		{ PARTS(TEXT("x")), ERR_BAD_OUTPUT },
		{ "{\"promptFeedback\":{\"blockReason\":\"OTHER\"}}", ERR_CONTENT_FILTER },
		{ "{\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"candidates\":[]}", ERR_CONTENT_FILTER },
		{ "", ERR_BAD_OUTPUT },
		{ "null", ERR_BAD_OUTPUT },
		{ "[]", ERR_BAD_OUTPUT },
		{ "{}", ERR_BAD_OUTPUT },
		{ "{\"candidates\":[7]}", ERR_BAD_OUTPUT },
		{ "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"cut", ERR_BAD_OUTPUT },
		{ "{\"error\":{\"code\":400,\"message\":\"m\",\"status\":\"INVALID_ARGUMENT\"}}", ERR_BAD_REQUEST },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = false });
	struct provider_result r = whole(rows[18].body);
	assert_true(str_eq_z(r.finish_reason, "BRAND_NEW") && str_find(r.message, STR("BRAND_NEW")) >= 0 && r.has_partial);
	r = whole("{\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\",\"finishMessage\":\"Malformed function call: print(\"}]}");
	assert_true(str_has_suffix(r.message, STR("Malformed function call: print(")));
	r = streamed(blocked);
	assert_true(r.usage_known && r.usage.input == 7 && r.usage.output == 0 && str_eq_z(r.message, "the prompt was blocked: SAFETY"));
	/* JSON that was asked for and is cut is no answer. */
	static const char request[] = "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}}";
	r = answer((struct answer){ .request = request }, STR(LAST(TEXT("{"), "MAX_TOKENS")));
	assert_int_equal(r.class, ERR_OUTPUT_TRUNCATED);
}

#define CANDIDATE(index, text, finish) "{\"index\":" index ",\"content\":{\"parts\":[" TEXT(text) "]},\"finishReason\":\"" finish "\"}"

static void test_gemini_several_candidates_become_choices(void **state)
{
	(void)state;
	struct provider_result r = whole("{\"candidates\":[{\"content\":{\"parts\":[" TEXT("a") "]},\"finishReason\":\"STOP\"}," CANDIDATE("1", "b", "MAX_TOKENS") "]," USAGE "," META "}");
	assert_int_equal(r.class, ERR_OK);
	assert_text(&r, "choices.0.message.content", "a");
	assert_text(&r, "choices.1.message.content", "b");
	assert_number(&r, "choices.1.index", 1);
	assert_text(&r, "choices.1.finish_reason", "length");
	assert_true(r.output_bytes == 2 && r.usage.output == 7);
	/* One that was filtered does not take the other with it. */
	r = whole("{\"candidates\":[" CANDIDATE("0", "a", "SAFETY") "," CANDIDATE("1", "b", "STOP") "]," USAGE "}");
	assert_true(r.class == ERR_OK && r.message.n == 0 && !r.has_partial && str_eq_z(r.finish_reason, "stop"));
	assert_text(&r, "choices.0.message.content", "b");
	assert_number(&r, "usage.prompt_tokens", 11);
	r = whole("{\"candidates\":[" CANDIDATE("0", "a", "SAFETY") "," CANDIDATE("1", "b", "OTHER") "]," USAGE "}");
	assert_int_equal(r.class, ERR_CONTENT_FILTER);
	r = whole("{\"candidates\":[{\"content\":{\"parts\":[" TEXT("a") "]},\"finishReason\":\"STOP\",\"logprobsResult\":{\"chosenCandidates\":[{\"token\":\"a\","
	          "\"logProbability\":-0.5}],\"topCandidates\":[{\"candidates\":[{\"token\":\"a\",\"logProbability\":-0.5},{\"token\":\"b\",\"logProbability\":-2}]}]}}]}");
	assert_text(&r, "choices.0.logprobs.content.0.token", "a");
	assert_number(&r, "choices.0.logprobs.content.0.logprob", -0.5);
	assert_number(&r, "choices.0.logprobs.content.0.top_logprobs.1.logprob", -2);
}

/* --- usage --- */

static void test_gemini_usage_counts_thoughts_and_tools(void **state)
{
	(void)state;
	struct provider_result r = whole(LAST(TEXT("x"), "STOP"));
	assert_true(r.usage_known && !r.usage.disagrees);
	assert_int_equal(r.usage.input, 11);
	assert_int_equal(r.usage.cached_input, 5);
	assert_int_equal(r.usage.output, 7);
	assert_int_equal(r.usage.reasoning, 3);
	assert_int_equal(r.usage.image_input, 4);
	assert_int_equal(r.usage.audio_input, 2);
	static const char *const odd[] = {
		"{\"promptTokenCount\":-1,\"candidatesTokenCount\":-5,\"thoughtsTokenCount\":-9}",
		"{\"promptTokenCount\":9223372036854775807,\"toolUsePromptTokenCount\":9223372036854775807,\"candidatesTokenCount\":9223372036854775807,"
		"\"thoughtsTokenCount\":9223372036854775807,\"cachedContentTokenCount\":9223372036854775807,"
		"\"promptTokensDetails\":[{\"modality\":\"IMAGE\",\"tokenCount\":9223372036854775807},{\"modality\":\"IMAGE\",\"tokenCount\":9223372036854775807}]}",
		"{\"promptTokenCount\":2,\"cachedContentTokenCount\":5,\"promptTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":9}],\"totalTokenCount\":7}",
		"{\"promptTokenCount\":\"2\"}", "[]", "{\"promptTokenCount\":0}",
	};
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		struct provider_usage u = { 0 };
		json_t *m = json_parse(str_from(odd[i]), NULL);
		assert_non_null(m);
		assert_int_equal(gemini_read_usage(&u, m), i == 1 || i == 2);
		assert_true(u.input >= 0 && u.output >= 0 && u.cached_input <= u.input && u.audio_input <= u.input && u.image_input <= u.input && u.reasoning <= u.output);
		assert_int_equal(u.disagrees, i == 2);
		json_decref(m);
	}
	/* A count from before the text, in a stream that was cut, is none. */
	r = streamed(EVENT("{\"candidates\":[{\"content\":{\"parts\":[" TEXT("x") "]}}],\"usageMetadata\":{\"promptTokenCount\":9,\"totalTokenCount\":9}}"));
	assert_true(r.class == ERR_STREAM_CUT && !r.usage_known);
}

/* --- errors --- */

#define ERROR(code, status, message, details) "{\"error\":{\"code\":" code ",\"message\":\"" message "\",\"status\":\"" status "\",\"details\":[" details "]}}"
#define RETRY(delay) "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"" delay "\"}"
#define QUOTA(id)    "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\",\"violations\":[{\"quotaMetric\":\"m\",\"quotaId\":\"" id "\"}]}"
#define REASON(word) "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"" word "\",\"domain\":\"googleapis.com\"}"
#define TO_RESET     ((24 + 8) * 3600000 - (8 * 3600 + 53 * 60 + 20) * 1000) /* from NOW to 8 o'clock */

static void test_gemini_failures_by_status(void **state)
{
	static const struct {
		int status;
		const char *body;
		enum err_code class;
		int64_t hint;
	} rows[] = {
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "m", RETRY("34.07s") "," QUOTA("GenerateRequestsPerMinutePerProject")), ERR_PROVIDER_RATE_LIMIT, 34070 },
		{ 429, "[" ERROR("429", "RESOURCE_EXHAUSTED", "m", RETRY("2s")) "]", ERR_PROVIDER_RATE_LIMIT, 2000 },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "Quota exceeded. Please retry in 12.3s.", ""), ERR_PROVIDER_RATE_LIMIT, 12300 },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "Please retry in 420.5ms.", ""), ERR_PROVIDER_RATE_LIMIT, 420 },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "Please retry in a while", ""), ERR_PROVIDER_RATE_LIMIT, -1 },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "m", QUOTA("GenerateContentInputTokensPerMinute-FreeTier")), ERR_PROVIDER_RATE_LIMIT, 60000 },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "m", QUOTA("GenerateRequestsPerDayPerProjectPerModel-FreeTier") "," RETRY("30s")), ERR_QUOTA, TO_RESET },
		{ 429, ERROR("429", "RESOURCE_EXHAUSTED", "m", RETRY("-4s")), ERR_PROVIDER_RATE_LIMIT, -1 },
		{ 400, ERROR("400", "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", REASON("API_KEY_INVALID")), ERR_PROVIDER_AUTH, -1 },
		{ 400, ERROR("400", "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", ""), ERR_CONTEXT_WINDOW, -1 },
		{ 400, ERROR("400", "INVALID_ARGUMENT", "m", ""), ERR_BAD_REQUEST, -1 },
		{ 400, ERROR("400", "FAILED_PRECONDITION", "User location is not supported for the API use.", ""), ERR_BAD_REQUEST, -1 },
		{ 401, ERROR("401", "UNAUTHENTICATED", "m", ""), ERR_PROVIDER_AUTH, -1 },
		{ 403, ERROR("403", "PERMISSION_DENIED", "m", ""), ERR_PROVIDER_PERMISSION, -1 },
		{ 404, ERROR("404", "NOT_FOUND", "m", ""), ERR_PROVIDER_NOT_FOUND, -1 },
		{ 413, "<html>too large</html>", ERR_PROVIDER_TOO_LARGE, -1 },
		{ 499, ERROR("499", "CANCELLED", "m", ""), ERR_TRANSIENT, -1 },
		{ 500, ERROR("500", "INTERNAL", "m", ""), ERR_TRANSIENT, -1 },
		{ 503, ERROR("503", "UNAVAILABLE", "The model is overloaded. Please try again later.", ""), ERR_PROVIDER_OVERLOADED, -1 },
		{ 504, ERROR("504", "DEADLINE_EXCEEDED", "m", ""), ERR_TRANSIENT, -1 },
		{ 502, "", ERR_TRANSIENT, -1 },
		{ 429, "[]", ERR_PROVIDER_RATE_LIMIT, -1 },
		{ 429, "{\"error\":{\"details\":{\"@type\":7}}}", ERR_PROVIDER_RATE_LIMIT, -1 },
		{ 429, "{\"error\":[{\"details\":[7,{\"@type\":\"google.rpc.QuotaFailure\",\"violations\":{\"quotaId\":1}}]}]}", ERR_PROVIDER_RATE_LIMIT, -1 },
		{ 302, "", ERR_BAD_REQUEST, -1 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int stream = 0; stream < 2; stream++) {
			struct provider_result r = answer((struct answer){ .status = rows[i].status, .streamed = stream }, str_from(rows[i].body));
			if (r.class != rows[i].class || r.retry_after_ms != rows[i].hint)
				fail_msg("%s: got %s, %lld ms", rows[i].body, err_code_name((int)r.class), (long long)r.retry_after_ms);
			assert_int_equal(r.result.n, 0);
		}
	/* Within a stream, too. */
	struct provider_result r = streamed(EVENT(PARTS(TEXT("x"))) EVENT(ERROR("429", "RESOURCE_EXHAUSTED", "m", RETRY("5s"))));
	assert_true(r.class == ERR_PROVIDER_RATE_LIMIT && r.retry_after_ms == 5000 && r.has_partial);
	/* A cut in an error's body does not change what the status says. */
	r = answer((struct answer){ .status = 401, .transport_rc = -ERR_STREAM_CUT }, STR("{\"error\":{\"mess"));
	assert_int_equal(r.class, ERR_PROVIDER_AUTH);
	assert_int_equal(answer((struct answer){ .transport_rc = -ERR_OUTCOME_UNKNOWN }, STR("")).class, ERR_OUTCOME_UNKNOWN);
}

static void test_gemini_an_endless_answer_ends_at_its_limit(void **state)
{
	static const struct str pieces[] = { STR(EVENT(PARTS(TEXT("0123456789")))), STR("{\"bare\": \"0123456789\"\n"), STR("data: 0123456789") };
	const struct http_header head[] = { { STR("content-type"), STR("text/event-stream") } };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct provider_call *c = provider_gemini.start(&(struct provider_ask){ &target, CHAT, NULL, 0 }, true, 1000, (struct provider_sink){ NULL, NULL }, &arena);
		struct provider_result r;
		int rc = 0, n = 0;
		bool token;
		provider_gemini.answer_head(c, 200, head, 1);
		for (; rc == 0 && n < 1000; n++)
			rc = provider_gemini.answer_data(c, pieces[i], &token);
		assert_int_equal(rc, -ERR_TOO_LARGE);
		assert_true(n <= 101 && provider_gemini.so_far(c));
		provider_gemini.answer_end(c, rc, NOW, &r);
		assert_int_equal(r.class, ERR_TOO_LARGE);
		buf_done(&r.result);
	}
}

/* --- embeddings --- */

#define PART(text, extra) "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"" text "\"}],\"role\": \"model\"}" extra "}],\"usageMetadata\": {\"promptTokenCount\": 7,"
#define COUNTS(out, total) "\"candidatesTokenCount\": " out ",\"totalTokenCount\": " total "},\"modelVersion\": \"g-2.5\"}\r\n\r\n"

static void test_gemini_chunks_of_one_shape_say_what_json_says(void **state)
{
	static const char text[] = PART("a", "") COUNTS("1", "8") PART("b", "") COUNTS("12", "19") PART("c\\n", "") COUNTS("13", "20") PART("日本", "") COUNTS("14", "21")
	    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"t\",\"thought\": true}],\"role\": \"model\"}}]}\r\n\r\n"
	    PART("e", "") COUNTS("100", "107") PART("f", ",\"finishReason\": \"STOP\"") COUNTS("205", "212");
	struct provider_result r = streamed(text);
	(void)state;
	assert_int_equal(r.class, ERR_OK);
	json_t *root = json_parse(buf_str(&r.result), NULL);
	const json_t *m = json_get(json_array_get(json_get(root, "choices"), 0), "message");
	assert_true(str_eq_z(json_str(m, "content"), "abc\n日本ef"));
	assert_true(str_eq_z(json_str(m, "reasoning_content"), "t"));
	assert_true(r.usage_known && r.usage.input == 7 && r.usage.output == 205);
	json_decref(root);
	/* Cut after a chunk whose counts were put off: they are there. */
	r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, STR(PART("a", "") COUNTS("1", "8") PART("b", "") COUNTS("12", "19")));
	assert_true(r.class == ERR_STREAM_CUT && r.has_partial);
	assert_true(!r.usage_known || r.usage.output == 12);
}

static void test_gemini_embeddings(void **state)
{
	static const struct row rows[] = {
		{ "{\"embeddings\":[{\"values\":[0.5,-1]},{\"values\":[2,0.25]}]}", ERR_OK },
		{ "{\"embeddings\":[{\"values\":[0.5,-1]}]}", ERR_BAD_OUTPUT },
		{ "{\"embeddings\":[{\"values\":[0.5]},{\"values\":[]}]}", ERR_BAD_OUTPUT },
		{ "{\"embeddings\":[{\"values\":[0.5]},{\"values\":[\"x\"]}]}", ERR_BAD_OUTPUT },
		{ "{\"embeddings\":[{\"values\":[0.5]},7]}", ERR_BAD_OUTPUT },
		{ "{\"embeddings\":{}}", ERR_BAD_OUTPUT },
		{ "", ERR_BAD_OUTPUT },
		{ "[" ERROR("429", "RESOURCE_EXHAUSTED", "m", "") "]", ERR_PROVIDER_RATE_LIMIT },
	};
	const struct answer how = { .kind = EMBEDDINGS, .request = "{\"input\":[\"a\",\"b\"]}" };
	(void)state;
	check(rows, ARRAY_LEN(rows), how);
	struct provider_result r = answer(how, str_from(rows[0].body));
	assert_false(r.usage_known);
	assert_text(&r, "object", "list");
	assert_text(&r, "model", "gemini-2.5-flash");
	assert_number(&r, "data.1.index", 1);
	assert_number(&r, "data.1.embedding.1", 0.25);
	r = answer((struct answer){ .kind = EMBEDDINGS, .request = "{\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}" }, str_from(rows[0].body));
	assert_text(&r, "data.0.embedding", "AAAAPwAAgL8=");
	r = answer((struct answer){ .kind = EMBEDDINGS }, STR("{\"embeddings\":[{\"values\":[1]}],\"usageMetadata\":{\"promptTokenCount\":3}}"));
	assert_true(r.class == ERR_OK && r.usage_known && r.usage.input == 3 && r.usage.output == 0);
	assert_int_equal(answer((struct answer){ .kind = EMBEDDINGS, .transport_rc = -ERR_STREAM_CUT }, str_from(rows[0].body)).class, ERR_STREAM_CUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gemini_stream_becomes_one_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_stream_cut_at_any_byte_is_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_streams_that_are_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_streams_with_oddities_are_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_calls_get_ids_and_keep_their_signatures, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_signatures_are_bounded_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_pieces_are_told_as_they_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_whole_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_several_candidates_become_choices, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_usage_counts_thoughts_and_tools, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_failures_by_status, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_an_endless_answer_ends_at_its_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_chunks_of_one_shape_say_what_json_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_embeddings, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
