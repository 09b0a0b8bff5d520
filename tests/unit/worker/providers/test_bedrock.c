/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bedrock's answers: whole and streamed, tool calls, thinking, an answer by schema, usage, embeddings, and every form of exception. A stream that is
 * cut anywhere never is a success. (test_bedrock_request.c has the mapping of requests.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "worker/providers/bedrock.h"

#define LIMIT  65536
#define SCHEMA "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"out\",\"schema\":{\"type\":\"object\"}}}}"

static struct arena arena;
static struct conf_target target = { .name = STR("t"), .provider = STR("bedrock"), .model = STR("anthropic.claude-x-v1:0"), .base_url = STR("https://b"), .stream = true };

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

/* --- how an answer is given --- */

struct answer {
	int status, kind, transport_rc;
	bool streamed;
	const char *type;      /* content type; NULL: what fits */
	const char *exception; /* x-amzn-errortype */
	const char *request;   /* NULL: {} */
	size_t step;           /* bytes of a piece; 0: all at once */
	struct buf *told;      /* the sink's deltas, one a line */
};

static void note(void *arg, const struct provider_delta *d)
{
	static const char *const kinds[] = { "text", "refusal", "reasoning", "tool" };
	buf_printf(arg, "%s %d " STR_FMT " " STR_FMT " " STR_FMT "\n", kinds[d->kind], d->index, STR_ARG(d->id), STR_ARG(d->name), STR_ARG(d->text));
}

/* The result's text lives in the test's arena. */
static struct provider_result answer(struct answer how, struct str body)
{
	const char *type = how.type ? how.type : how.streamed ? "application/vnd.amazon.eventstream" : "application/json";
	struct http_header head[3] = { { STR("Content-Type"), str_from(type) }, { STR("x-amzn-RequestId"), STR("req-1") } };
	size_t n = 2, step = how.step ? how.step : body.n;
	if (how.exception)
		head[n++] = (struct http_header){ STR("x-amzn-ErrorType"), str_from(how.exception) };
	struct provider_result r;
	bool token = false;
	int rc = 0;
	json_t *request = json_parse(str_from(how.request ? how.request : "{}"), NULL);
	struct provider_call *c = provider_bedrock.start(&(struct provider_ask){ &target, how.kind, request, 0 }, how.streamed, LIMIT,
	                                                 (struct provider_sink){ how.told ? note : NULL, how.told }, &arena);
	json_decref(request);
	provider_bedrock.answer_head(c, how.status ? how.status : 200, head, n);
	for (; rc == 0 && body.n; body = str_sub(body, step, body.n))
		rc = provider_bedrock.answer_data(c, str_sub(body, 0, step), &token);
	provider_bedrock.answer_end(c, rc < 0 ? rc : how.transport_rc, 5000000, &r);
	struct str text = arena_str(&arena, buf_str(&r.result));
	buf_done(&r.result);
	r.result = (struct buf){ .p = (char *)(uintptr_t)text.p, .n = text.n };
	return r;
}

static struct provider_result whole(const char *text)
{
	return answer((struct answer){ .streamed = false }, str_from(text));
}

/* Events as "type\0payload" pairs; a type with '!' in front is an exception. */
struct event {
	const char *type, *payload;
};

#define STREAM_EVENTS 16

static struct str stream_of(const struct event *events, size_t n)
{
	struct buf b;
	buf_init(&b, LIMIT);
	for (size_t i = 0; i < n && events[i].type; i++) {
		bool bad = events[i].type[0] == '!';
		assert_int_equal(eventstream_write(&b, bad ? STR("exception") : STR("event"), str_from(events[i].type + bad), str_from(events[i].payload)), 0);
	}
	struct str s = arena_str(&arena, buf_str(&b));
	buf_done(&b);
	return s;
}

#define START     { "messageStart", "{\"role\":\"assistant\",\"p\":\"abc\"}" }
#define TEXT(t)   { "contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"" t "\"},\"p\":\"ab\"}" }
#define END(i)    { "contentBlockStop", "{\"contentBlockIndex\":" i "}" }
#define STOP(why) { "messageStop", "{\"stopReason\":\"" why "\"}" }
#define TOOL(i, name) { "contentBlockStart", "{\"contentBlockIndex\":" i ",\"start\":{\"toolUse\":{\"toolUseId\":\"tooluse_" i "\",\"name\":\"" name "\"}}}" }
#define INPUT(i, json) { "contentBlockDelta", "{\"contentBlockIndex\":" i ",\"delta\":{\"toolUse\":{\"input\":\"" json "\"}}}" }
#define THINK(inner) { "contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"reasoningContent\":{" inner "}}}" }
#define META      { "metadata", "{\"usage\":{\"inputTokens\":25,\"outputTokens\":15,\"totalTokens\":40},\"metrics\":{\"latencyMs\":551}}" }

/* As the service sends them (the API reference's example of ConverseStream, with padding). */
static const struct event plain[STREAM_EVENTS] = { START, TEXT("Gr\xc3\xbc"), TEXT("\xc3\x9f" "e"), END("0"), STOP("end_turn"), META };
static const struct event tools[STREAM_EVENTS] = { START, TEXT("Okay"), END("0"), TOOL("1", "get_weather"), INPUT("1", ""), INPUT("1", "{\\\"location\\\":"),
	                                           INPUT("1", " \\\"San\\\"}"), END("1"), TOOL("2", "now"), END("2"), STOP("tool_use"), META };
static const struct event thinking[STREAM_EVENTS] = { START, THINK("\"text\":\"First\""), THINK("\"text\":\", then.\""), THINK("\"signature\":\"EqQB\""), END("0"),
	                                              THINK("\"redactedContent\":\"ZGF0YQ==\""), END("1"), TEXT("27"), END("2"), STOP("end_turn"), META };
static const struct event by_schema[STREAM_EVENTS] = { START, TOOL("0", "out"), INPUT("0", "{\\\"a\\\":"), INPUT("0", "1}"), END("0"), STOP("tool_use"), META };
static const struct event schema_in_text[STREAM_EVENTS] = { START, TEXT("{\\\"a\\\":1}"), END("0"), STOP("end_turn"), META };

static struct provider_result streamed(const struct event *events)
{
	return answer((struct answer){ .streamed = true }, stream_of(events, STREAM_EVENTS));
}

static json_t *message_of(const struct provider_result *r, json_t **ret_root)
{
	*ret_root = json_parse(buf_str(&r->result), NULL);
	assert_non_null(*ret_root);
	return json_get(json_array_get(json_get(*ret_root, "choices"), 0), "message");
}

/* --- streams --- */

static void test_bedrock_stream_becomes_one_answer(void **state)
{
	json_t *root;
	(void)state;
	struct provider_result r = streamed(plain);
	json_t *m = message_of(&r, &root);
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(json_str(m, "content"), "Gr\xc3\xbc\xc3\x9f" "e"));
	assert_true(str_eq_z(json_str(root, "id"), "req-1") && str_eq_z(json_str(root, "model"), "anthropic.claude-x-v1:0"));
	assert_int_equal(json_i64(root, "created", 0), 5);
	assert_true(str_eq_z(r.finish_reason, "stop") && r.usage_known && r.usage.input == 25 && r.usage.output == 15 && !r.usage.disagrees);
	assert_int_equal(json_i64(json_get(root, "usage"), "total_tokens", 0), 40);
	json_decref(root);
}

static void test_bedrock_stream_gathers_tool_calls(void **state)
{
	json_t *root;
	(void)state;
	struct provider_result r = streamed(tools);
	json_t *m = message_of(&r, &root), *calls = json_get(m, "tool_calls"), *first = json_array_get(calls, 0), *second = json_array_get(calls, 1);
	assert_int_equal(r.class, ERR_OK);
	assert_int_equal(json_array_size(calls), 2);
	assert_true(str_eq_z(json_str(first, "id"), "tooluse_1") && str_eq_z(json_str(json_get(first, "function"), "name"), "get_weather"));
	assert_true(str_eq_z(json_str(json_get(first, "function"), "arguments"), "{\"location\": \"San\"}"));
	assert_true(str_eq_z(json_str(json_get(second, "function"), "arguments"), "{}") && str_eq_z(r.finish_reason, "tool_calls"));
	json_decref(root);
}

static void test_bedrock_stream_keeps_thinking_with_its_signature(void **state)
{
	json_t *root;
	(void)state;
	struct provider_result r = streamed(thinking);
	json_t *m = message_of(&r, &root), *blocks = json_get(m, "thinking_blocks");
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(json_str(m, "reasoning_content"), "First, then.") && str_eq_z(json_str(m, "content"), "27"));
	assert_int_equal(json_array_size(blocks), 2);
	assert_true(str_eq_z(json_str(json_array_get(blocks, 0), "thinking"), "First, then.") && str_eq_z(json_str(json_array_get(blocks, 0), "signature"), "EqQB"));
	assert_true(str_eq_z(json_str(json_array_get(blocks, 1), "type"), "redacted_thinking") && str_eq_z(json_str(json_array_get(blocks, 1), "data"), "ZGF0YQ=="));
	json_decref(root);
}

static void test_bedrock_answer_by_schema_is_text(void **state)
{
	const struct event *const both[] = { by_schema, schema_in_text };
	struct buf told;
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		json_t *root;
		buf_init(&told, LIMIT);
		struct provider_result r = answer((struct answer){ .streamed = true, .request = SCHEMA, .told = &told }, stream_of(both[i], STREAM_EVENTS));
		json_t *m = message_of(&r, &root);
		assert_int_equal(r.class, ERR_OK);
		assert_true(str_eq_z(json_str(m, "content"), "{\"a\":1}") && !json_get(m, "tool_calls") && str_eq_z(r.finish_reason, "stop"));
		assert_true(str_eq_z(buf_str(&told), i ? "text 0   {\"a\":1}\n" : "text 0   {\"a\":\ntext 0   1}\n"));
		buf_done(&told);
		json_decref(root);
	}
	static const char body[] = "{\"output\":{\"message\":{\"content\":[{\"text\":\"Here:\"},{\"toolUse\":{\"toolUseId\":\"x\",\"name\":\"out\",\"input\":{\"a\":1}}}]}},"
				   "\"stopReason\":\"tool_use\"}";
	json_t *root;
	struct provider_result r = answer((struct answer){ .request = SCHEMA }, str_from(body));
	assert_true(str_eq_z(json_str(message_of(&r, &root), "content"), "{\"a\":1}") && str_eq_z(r.finish_reason, "stop"));
	json_decref(root);
	static const struct event cut[STREAM_EVENTS] = { START, TOOL("0", "out"), INPUT("0", "{\\\"a\\\":"), END("0"), STOP("max_tokens"), META };
	assert_int_equal(answer((struct answer){ .streamed = true, .request = SCHEMA }, stream_of(cut, STREAM_EVENTS)).class, ERR_OUTPUT_TRUNCATED);
}

static void test_bedrock_stream_tells_of_each_piece(void **state)
{
	struct buf told;
	(void)state;
	buf_init(&told, LIMIT);
	answer((struct answer){ .streamed = true, .told = &told }, stream_of(tools, STREAM_EVENTS));
	assert_true(str_eq_z(buf_str(&told), "text 0   Okay\ntool 0 tooluse_1 get_weather \ntool 0   {\"location\":\ntool 0    \"San\"}\ntool 1 tooluse_2 now \n"));
	buf_done(&told);
}

/* The last event is metadata: a stream that lacks just that, and ended well on the wire, is whole, and its usage unknown. */
static void test_bedrock_stream_cut_anywhere_is_no_success(void **state)
{
	const struct event *const streams[] = { plain, tools, thinking };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		struct event without[STREAM_EVENTS];
		size_t n = 0;
		memcpy(without, streams[i], sizeof(without));
		while (n < STREAM_EVENTS && without[n].type)
			n++;
		without[n - 1].type = NULL;
		struct str all = stream_of(streams[i], STREAM_EVENTS);
		size_t border = stream_of(without, STREAM_EVENTS).n;
		for (size_t at = 0; at < all.n; at++) {
			struct provider_result r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, str_sub(all, 0, at));
			assert_int_equal(r.class, ERR_STREAM_CUT);
			r = answer((struct answer){ .streamed = true }, str_sub(all, 0, at));
			assert_int_equal(r.class, at == border ? ERR_OK : ERR_STREAM_CUT);
			assert_false(r.usage_known);
			assert_true(at < border || r.output_bytes > 0);
			arena_done(&arena);
			arena_init(&arena, (size_t)64 << 20);
			all = stream_of(streams[i], STREAM_EVENTS);
		}
	}
}

/* messageStop and metadata have come; without the latter the counts are missing, and with them the end. */
static void test_bedrock_stream_that_is_over_is_an_answer_however_it_ends(void **state)
{
	(void)state;
	struct str all = stream_of(plain, STREAM_EVENTS);
	struct provider_result r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, all);
	assert_true(r.class == ERR_OK && r.usage_known && !r.has_partial);
	struct buf b;
	buf_init(&b, LIMIT);
	buf_add_str(&b, all);
	buf_add_z(&b, "and half a frame");
	assert_int_equal(answer((struct answer){ .streamed = true }, buf_str(&b)).class, ERR_OK);
	buf_done(&b);
}

static void test_bedrock_stream_reads_the_same_in_any_pieces(void **state)
{
	(void)state;
	struct provider_result one = streamed(tools);
	for (size_t step = 1; step < 200; step += 7) {
		struct provider_result r = answer((struct answer){ .streamed = true, .step = step }, stream_of(tools, STREAM_EVENTS));
		assert_true(r.class == ERR_OK && str_eq(buf_str(&r.result), buf_str(&one.result)));
	}
}

/* Pieces of text have a short way around JSON; however one is written and padded, it means the same. */
static void test_bedrock_a_piece_of_text_means_the_same_in_every_spelling(void **state)
{
	static const struct {
		const char *payload;
		enum err_code class;
		const char *content;
	} rows[] = {
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"},\"p\":\"abcdefghijklmnopqrstuvwxyzABC0\"}", ERR_OK, "<a>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"},\"p\":\"\"}", ERR_OK, "<a>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}", ERR_OK, "<a>" },
		{ "{\"contentBlockIndex\":1,\"delta\":{\"text\":\"a\"},\"p\":\"ab\"}", ERR_OK, "<a>" },
		{ "{\"p\":\"ab\",\"delta\":{\"text\":\"a\"},\"contentBlockIndex\":0}", ERR_OK, "<a>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"\"},\"p\":\"ab\"}", ERR_OK, "<>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\\n\\\"\\u00fc\"},\"p\":\"ab\"}", ERR_OK, "<a\n\"\xc3\xbc>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\\n\\\"},\\\"p\\\":\\\"ab\"},\"p\":\"ab\"}", ERR_OK, "<a\n\"},\"p\":\"ab>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\",\"text\":\"b\"},\"p\":\"ab\"}", ERR_OK, "<b>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"},\"p\":\"ab\",\"q\":\"ab\"}", ERR_OK, "<a>" },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"},\"p\":\"ab\"", ERR_BAD_OUTPUT, NULL },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}", ERR_BAD_OUTPUT, NULL },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}}", ERR_BAD_OUTPUT, NULL },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"},\"p\":\"a\"b\"}", ERR_BAD_OUTPUT, NULL },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\tb\"},\"p\":\"ab\"}", ERR_BAD_OUTPUT, NULL },
		{ "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"\xff\"},\"p\":\"ab\"}", ERR_BAD_OUTPUT, NULL },
		{ "\"", ERR_BAD_OUTPUT, NULL },
		{ "}", ERR_BAD_OUTPUT, NULL },
		{ "\"}", ERR_BAD_OUTPUT, NULL },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct event events[] = { START, TEXT("<"), { "contentBlockDelta", rows[i].payload }, TEXT(">"), END("0"), STOP("end_turn"), META };
		struct provider_result r = answer((struct answer){ .streamed = true }, stream_of(events, ARRAY_LEN(events)));
		if (r.class != rows[i].class)
			fail_msg("%s: %s", rows[i].payload, err_code_name((int)r.class));
		if (!rows[i].content)
			continue;
		json_t *root;
		struct str content = json_str(message_of(&r, &root), "content");
		if (!str_eq_z(content, rows[i].content))
			fail_msg("%s: " STR_FMT, rows[i].payload, STR_ARG(content));
		json_decref(root);
	}
}

static void test_bedrock_exception_inside_a_stream_is_classified(void **state)
{
	static const struct {
		const char *name, *message;
		enum err_code class;
	} cases[] = {
		{ "!throttlingException", "Too many requests, please wait before trying again.", ERR_PROVIDER_RATE_LIMIT },
		{ "!throttlingException", "Too many tokens per day, please wait before trying again.", ERR_QUOTA },
		{ "!modelStreamErrorException", "The model stopped.", ERR_TRANSIENT },
		{ "!internalServerException", "", ERR_TRANSIENT },
		{ "!serviceUnavailableException", "Bedrock is unable to process your request.", ERR_TRANSIENT },
		{ "!validationException", "The model returned the following errors: Input is too long for requested model.", ERR_CONTEXT_WINDOW },
		{ "!validationException", "messages.0: 'rate limit' and 429 are no content", ERR_BAD_REQUEST },
		{ "!somethingNewException", "who knows", ERR_TRANSIENT },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct event events[] = { START, TEXT("Hal"), { cases[i].name, arena_printf(&arena, "{\"message\":\"%s\"}", cases[i].message).p } };
		struct provider_result r = answer((struct answer){ .streamed = true }, stream_of(events, 3));
		assert_int_equal(r.class, cases[i].class);
		assert_true(str_eq_z(r.message, cases[i].message));
		assert_true(r.has_partial && r.output_bytes == 3);
	}
}

static void test_bedrock_stream_that_is_none_is_bad_output(void **state)
{
	static const struct event bad_json[] = { START, { "contentBlockDelta", "{\"delta\":" } }, stray[] = { START, INPUT("3", "x"), STOP("end_turn") };
	(void)state;
	assert_int_equal(answer((struct answer){ .streamed = true }, STR("data: {\"choices\":[]}\n\n")).class, ERR_BAD_OUTPUT);
	assert_int_equal(answer((struct answer){ .streamed = true }, stream_of(bad_json, 2)).class, ERR_BAD_OUTPUT);
	assert_int_equal(answer((struct answer){ .streamed = true }, stream_of(stray, 3)).class, ERR_BAD_OUTPUT);
	/* a whole answer where a stream was asked for */
	static const char body[] = "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"hi\"}]}},\"stopReason\":\"end_turn\"}";
	assert_int_equal(answer((struct answer){ .streamed = true, .type = "application/json" }, str_from(body)).class, ERR_OK);
}

/* --- whole answers --- */

#define WHOLE(content, reason, usage) "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[" content "]}},\"stopReason\":\"" reason "\",\"usage\":" usage ",\"metrics\":{\"latencyMs\":1}}"
#define HI   "{\"text\":\"hi\"}"
#define FEW  "{\"inputTokens\":2,\"outputTokens\":1,\"totalTokens\":3}"

static void test_bedrock_whole_answer_is_translated(void **state)
{
	json_t *root;
	(void)state;
	struct provider_result r = whole(WHOLE("{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm\",\"signature\":\"sig\"}}}," HI ",{\"text\":\" you\"},"
	                                       "{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\",\"input\":{\"a\":[1,2]}}},{\"image\":{}}", "tool_use", FEW));
	json_t *m = message_of(&r, &root), *call = json_array_get(json_get(m, "tool_calls"), 0);
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(json_str(m, "content"), "hi you") && str_eq_z(json_str(m, "reasoning_content"), "hm"));
	assert_true(str_eq_z(json_str(json_array_get(json_get(m, "thinking_blocks"), 0), "signature"), "sig"));
	assert_true(str_eq_z(json_str(call, "id"), "t1") && str_eq_z(json_str(json_get(call, "function"), "arguments"), "{\"a\":[1,2]}"));
	assert_true(str_eq_z(r.finish_reason, "tool_calls") && r.usage.input == 2 && r.usage.output == 1);
	json_decref(root);
}

static void test_bedrock_stop_reasons_have_their_meaning(void **state)
{
	static const struct {
		const char *answer, *finish;
		enum err_code class;
	} cases[] = {
		{ WHOLE(HI, "end_turn", FEW), "stop", ERR_OK },
		{ WHOLE(HI, "stop_sequence", FEW), "stop", ERR_OK },
		{ WHOLE(HI, "max_tokens", FEW), "length", ERR_OK },
		{ WHOLE(HI, "model_context_window_exceeded", FEW), "length", ERR_OK },
		{ WHOLE("", "max_tokens", FEW), "length", ERR_OUTPUT_TRUNCATED },
		{ WHOLE(HI, "content_filtered", FEW), "content_filter", ERR_CONTENT_FILTER },
		{ WHOLE(HI, "guardrail_intervened", FEW), "content_filter", ERR_CONTENT_FILTER },
		{ WHOLE(HI, "malformed_model_output", FEW), "malformed_model_output", ERR_BAD_OUTPUT },
		{ WHOLE(HI, "malformed_tool_use", FEW), "malformed_tool_use", ERR_BAD_OUTPUT },
		{ WHOLE(HI, "something_new", FEW), "something_new", ERR_OK },
		{ WHOLE("", "end_turn", FEW), "stop", ERR_BAD_OUTPUT },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct provider_result r = whole(cases[i].answer);
		assert_int_equal(r.class, cases[i].class);
		assert_true(str_eq_z(r.finish_reason, cases[i].finish));
		assert_true(r.usage_known && r.usage.output == 1);
	}
}

static void test_bedrock_success_that_is_none_is_bad_output(void **state)
{
	static const char *const bodies[] = { "", "<html>", "[]", "{}", "{\"output\":{}}", "{\"message\":\"no\"}", "{\"output\":{\"message\":{\"content\":[{\"text\":\"hi\"}]}}}",
		                              "{\"output\":{\"message\":{\"content\":\"hi\"}},\"stopReason\":\"end_turn\"}" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		assert_int_equal(whole(bodies[i]).class, ERR_BAD_OUTPUT);
	assert_int_equal(answer((struct answer){ .transport_rc = -ERR_STREAM_CUT }, STR("{\"output\"")).class, ERR_STREAM_CUT);
}

static void test_bedrock_usage_keeps_its_invariants(void **state)
{
	static const struct {
		const char *usage;
		struct provider_usage want;
		bool known;
	} cases[] = {
		{ "{\"inputTokens\":30,\"outputTokens\":628,\"totalTokens\":658}", { .input = 30, .output = 628 }, true },
		/* the cache stands beside inputTokens; the total holds it, or not */
		{ "{\"inputTokens\":4,\"outputTokens\":10,\"totalTokens\":1814,\"cacheReadInputTokens\":1700,\"cacheWriteInputTokens\":100}",
		  { .input = 1804, .cached_input = 1700, .cache_write = 100, .output = 10 }, true },
		{ "{\"inputTokens\":4,\"outputTokens\":10,\"totalTokens\":14,\"cacheReadInputTokens\":1700,\"cacheWriteInputTokens\":0}",
		  { .input = 1704, .cached_input = 1700, .output = 10 }, true },
		{ "{\"inputTokens\":4,\"outputTokens\":10,\"totalTokens\":99}", { .input = 4, .output = 10, .disagrees = true }, true },
		{ "{\"inputTokens\":-5,\"outputTokens\":10,\"cacheReadInputTokens\":-1}", { .output = 10 }, true },
		{ "{\"inputTokens\":0,\"outputTokens\":0,\"totalTokens\":0}", { .input = 0 }, false },
		{ "{}", { .input = 0 }, false },
		{ "null", { .input = 0 }, false },
		{ "{\"inputTokens\":\"7\"}", { .input = 0 }, false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct provider_result r = whole(arena_printf(&arena, WHOLE(HI, "end_turn", "%s"), cases[i].usage).p);
		const struct provider_usage *u = &r.usage, *w = &cases[i].want;
		assert_int_equal(r.class, ERR_OK);
		assert_int_equal(r.usage_known, cases[i].known);
		assert_true(u->input == w->input && u->cached_input == w->cached_input && u->cache_write == w->cache_write && u->output == w->output && u->disagrees == w->disagrees);
		assert_true(u->cached_input + u->cache_write <= u->input && u->reasoning <= u->output);
	}
	struct provider_result r = whole(WHOLE(HI, "end_turn", "{\"inputTokens\":9223372036854775807,\"outputTokens\":9223372036854775807,\"cacheReadInputTokens\":9223372036854775807}"));
	assert_true(r.usage.input > 0 && r.usage.output > 0 && r.usage.cached_input <= r.usage.input);
}

/* --- refusals --- */

static void test_bedrock_refusals_have_their_class(void **state)
{
	static const struct {
		int status;
		const char *exception, *body, *message;
		enum err_code class;
	} cases[] = {
		{ 429, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.coral.availability/", "{\"message\":\"Too many requests\"}", "Too many requests",
		  ERR_PROVIDER_RATE_LIMIT },
		{ 429, "ThrottlingException", "{\"message\":\"Too many tokens per day\"}", "Too many tokens per day", ERR_QUOTA },
		{ 429, "ModelNotReadyException", "{\"message\":\"The model is not ready\"}", "The model is not ready", ERR_PROVIDER_RATE_LIMIT },
		{ 400, "ServiceQuotaExceededException", "{\"message\":\"q\"}", "q", ERR_QUOTA },
		{ 400, "ValidationException", "{\"message\":\"Input is too long for requested model.\"}", "Input is too long for requested model.", ERR_CONTEXT_WINDOW },
		{ 400, "ValidationException", "{\"message\":\"expected maxLength: 50000, actual: 99999\"}", "expected maxLength: 50000, actual: 99999", ERR_CONTEXT_WINDOW },
		{ 400, "ValidationException", "{\"message\":\"The provided model identifier is invalid.\"}", "The provided model identifier is invalid.", ERR_PROVIDER_NOT_FOUND },
		/* the text may echo the prompt */
		{ 400, "ValidationException", "{\"message\":\"bad value '429 rate limit, prompt is too long'\"}", "bad value '429 rate limit, prompt is too long'", ERR_BAD_REQUEST },
		{ 403, "AccessDeniedException", "{\"Message\":\"You don't have access to the model\"}", "You don't have access to the model", ERR_PROVIDER_PERMISSION },
		{ 403, "AccessDeniedException", "{\"Message\":\"Authentication failed: Please make sure your API Key is valid.\"}",
		  "Authentication failed: Please make sure your API Key is valid.", ERR_PROVIDER_AUTH },
		{ 403, "AccessDeniedException", "{\"message\":\"Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.\"}",
		  "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.", ERR_BILLING },
		{ 403, "UnrecognizedClientException", "{\"message\":\"The security token included in the request is invalid.\"}",
		  "The security token included in the request is invalid.", ERR_PROVIDER_AUTH },
		{ 403, "InvalidSignatureException", "{\"message\":\"s\"}", "s", ERR_PROVIDER_AUTH },
		{ 403, "ExpiredTokenException", "{\"message\":\"s\"}", "s", ERR_PROVIDER_AUTH },
		{ 404, "ResourceNotFoundException", "{\"message\":\"no\"}", "no", ERR_PROVIDER_NOT_FOUND },
		{ 408, "ModelTimeoutException", "{\"message\":\"late\"}", "late", ERR_TRANSIENT },
		{ 424, "ModelErrorException", "{\"message\":\"m\",\"originalStatusCode\":500}", "m", ERR_TRANSIENT },
		{ 424, "ModelErrorException", "{\"message\":\"Could not process image\"}", "Could not process image", ERR_BAD_REQUEST },
		{ 500, "InternalServerException", "{\"message\":\"i\"}", "i", ERR_TRANSIENT },
		{ 503, "ServiceUnavailableException", "{\"message\":\"s\"}", "s", ERR_TRANSIENT },
		{ 500, NULL, "{\"__type\":\"com.amazon.bedrock#ThrottlingException\",\"message\":\"slow\"}", "slow", ERR_PROVIDER_RATE_LIMIT },
		{ 413, NULL, "<html>", NULL, ERR_PROVIDER_TOO_LARGE },
		{ 502, NULL, "", NULL, ERR_TRANSIENT },
		{ 401, NULL, "{}", NULL, ERR_PROVIDER_AUTH },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct provider_result r = answer((struct answer){ .status = cases[i].status, .streamed = i % 2, .exception = cases[i].exception }, str_from(cases[i].body));
		assert_int_equal(r.class, cases[i].class);
		assert_true(cases[i].message ? str_eq_z(r.message, cases[i].message) : !r.message.p);
		assert_true(r.result.n == 0 && r.retry_after_ms == -1 && r.should_retry == -1);
	}
}

/* --- embeddings --- */

static struct provider_result embedded(const char *request, const char *body)
{
	return answer((struct answer){ .kind = PROVIDER_EMBEDDINGS, .request = request }, str_from(body));
}

static void test_bedrock_embeddings_come_in_openai_s_form(void **state)
{
	(void)state;
	struct provider_result r = embedded("{\"input\":\"a\"}", "{\"embedding\":[0.5,-1,2],\"inputTextTokenCount\":7}");
	assert_int_equal(r.class, ERR_OK);
	assert_true(r.usage_known && r.usage.input == 7);
	assert_true(str_eq_z(buf_str(&r.result), "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-1,2]}],"
	                                         "\"model\":\"anthropic.claude-x-v1:0\",\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}"));
	r = embedded("{\"input\":\"a\",\"encoding_format\":\"base64\"}", "{\"embedding\":[0.5,-1,2],\"inputTextTokenCount\":7}");
	assert_true(str_find(buf_str(&r.result), STR("\"embedding\":\"AAAAPwAAgL8AAABA\"")) > 0);
	static const char *const cohere[] = { "{\"embeddings\":[[1],[2]],\"id\":\"x\"}", "{\"embeddings\":{\"float\":[[1],[2]]}}" };
	for (size_t i = 0; i < ARRAY_LEN(cohere); i++) {
		r = embedded("{\"input\":[\"a\",\"b\"]}", cohere[i]);
		assert_true(r.class == ERR_OK && !r.usage_known);
		assert_true(str_find(buf_str(&r.result), STR("{\"object\":\"embedding\",\"index\":1,\"embedding\":[2]}")) > 0);
	}
}

static void test_bedrock_embeddings_that_are_too_few_or_none_are_bad_output(void **state)
{
	static const char *const bodies[] = { "{}", "{\"embedding\":[1]}", "{\"embeddings\":[[1]]}", "{\"embeddings\":[[1],[2],[3]]}", "{\"embeddings\":[[1],[]]}",
		                              "{\"embeddings\":[[1],[\"x\"]]}", "{\"embeddings\":7}", "" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		assert_int_equal(embedded("{\"input\":[\"a\",\"b\"]}", bodies[i]).class, ERR_BAD_OUTPUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_bedrock_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stream_becomes_one_answer),
		TEST(stream_gathers_tool_calls),
		TEST(stream_keeps_thinking_with_its_signature),
		TEST(answer_by_schema_is_text),
		TEST(stream_tells_of_each_piece),
		TEST(stream_cut_anywhere_is_no_success),
		TEST(stream_that_is_over_is_an_answer_however_it_ends),
		TEST(stream_reads_the_same_in_any_pieces),
		TEST(a_piece_of_text_means_the_same_in_every_spelling),
		TEST(exception_inside_a_stream_is_classified),
		TEST(stream_that_is_none_is_bad_output),
		TEST(whole_answer_is_translated),
		TEST(stop_reasons_have_their_meaning),
		TEST(success_that_is_none_is_bad_output),
		TEST(usage_keeps_its_invariants),
		TEST(refusals_have_their_class),
		TEST(embeddings_come_in_openai_s_form),
		TEST(embeddings_that_are_too_few_or_none_are_bad_output),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
