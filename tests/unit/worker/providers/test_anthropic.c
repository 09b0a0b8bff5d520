/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anthropic's wire format: the calls and their answers: whole and streamed, tool calls, thinking, usage, and every form of error. A stream that
 * is cut anywhere never is a success. (test_anthropic_request.c has the mapping of requests.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/conf.h"
#include "worker/providers/anthropic.h"

#define LIMIT 65536

static struct arena arena;
static struct conf_target target = { .name = STR("t"), .provider = STR("anthropic"), .model = STR("claude-x"), .base_url = STR("http://h/v1"), .stream = true };

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
	int status, transport_rc;
	bool streamed, schema;
	const char *type; /* NULL: what fits */
	struct buf *told; /* the sink's deltas are written here, one a line */
	const char *retry, *should_retry, *request_id;
};

static void note(void *arg, const struct provider_delta *d)
{
	static const char *const kinds[] = { "text", "refusal", "reasoning", "tool" };
	buf_printf(arg, "%s %d " STR_FMT " " STR_FMT " " STR_FMT "\n", kinds[d->kind], d->index, STR_ARG(d->id), STR_ARG(d->name), STR_ARG(d->text));
}

/* The result's text lives in the test's arena. */
static struct provider_result answer(struct answer how, struct str body)
{
	const char *type = how.type ? how.type : how.streamed ? "text/event-stream; charset=utf-8" : "application/json";
	struct http_header head[5] = { { STR("Content-Type"), str_from(type) }, { STR("Date"), STR("Thu, 01 Jan 1970 00:00:05 GMT") } };
	size_t n = 2;
	if (how.retry)
		head[n++] = (struct http_header){ STR("retry-after"), str_from(how.retry) };
	if (how.should_retry)
		head[n++] = (struct http_header){ STR("x-should-retry"), str_from(how.should_retry) };
	if (how.request_id)
		head[n++] = (struct http_header){ STR("request-id"), str_from(how.request_id) };
	struct provider_result r;
	bool token = false;
	json_t *request = json_parse(how.schema ? STR("{\"response_format\":{\"type\":\"json_schema\"}}") : STR("{}"), NULL);
	struct provider_call *c = provider_anthropic.start(&(struct provider_ask){ &target, PROVIDER_CHAT, request, 0 }, how.streamed, LIMIT,
	                                                   (struct provider_sink){ how.told ? note : NULL, how.told }, &arena);
	json_decref(request);
	provider_anthropic.answer_head(c, how.status ? how.status : 200, head, n);
	int rc = provider_anthropic.answer_data(c, body, &token);
	provider_anthropic.answer_end(c, rc < 0 ? rc : how.transport_rc, 0, &r);
	struct str text = arena_str(&arena, buf_str(&r.result));
	buf_done(&r.result);
	r.result = (struct buf){ .p = (char *)(uintptr_t)text.p, .n = text.n };
	return r;
}

static struct provider_result streamed(const char *text)
{
	return answer((struct answer){ .streamed = true }, str_from(text));
}

static struct provider_result whole(const char *text)
{
	return answer((struct answer){ .streamed = false }, str_from(text));
}

static json_t *message_of(const struct provider_result *r, json_t **ret_root)
{
	*ret_root = json_parse(buf_str(&r->result), NULL);
	assert_non_null(*ret_root);
	return json_get(json_array_get(json_get(*ret_root, "choices"), 0), "message");
}

/* As the documentation shows them ("Streaming Messages"). */
#define EVENT(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define BEGIN(usage) \
	EVENT("message_start", ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude-x-1\",\"stop_reason\":null," \
	      "\"stop_sequence\":null,\"usage\":" usage "}")
#define START           BEGIN("{\"input_tokens\":25,\"output_tokens\":1}")
#define BLOCK(i, block) EVENT("content_block_start", ",\"index\":" i ",\"content_block\":" block)
#define DELTA(i, delta) EVENT("content_block_delta", ",\"index\":" i ",\"delta\":" delta)
#define STOP(i)         EVENT("content_block_stop", ",\"index\":" i)
#define TEXT(i)         BLOCK(i, "{\"type\":\"text\",\"text\":\"\"}")
#define SAY(i, text)    DELTA(i, "{\"type\":\"text_delta\",\"text\":\"" text "\"}")
#define INPUT(i, json)  DELTA(i, "{\"type\":\"input_json_delta\",\"partial_json\":\"" json "\"}")
#define FINISH(reason, usage) EVENT("message_delta", ",\"delta\":{\"stop_reason\":" reason ",\"stop_sequence\":null},\"usage\":" usage)
#define PING            "event: ping\ndata: {\"type\": \"ping\"}\n\n"
#define END             EVENT("message_stop", "")
#define OUT             "{\"output_tokens\":15}"

static const char plain[] = START TEXT("0") PING SAY("0", "Gr\xc3\xbc") SAY("0", "\xc3\x9f" "e") STOP("0") FINISH("\"end_turn\"", OUT) END;

static const char tools[] = BEGIN("{\"input_tokens\":472,\"output_tokens\":2}") TEXT("0") PING SAY("0", "Okay") STOP("0")
	BLOCK("1", "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{}}") INPUT("1", "") INPUT("1", "{\\\"location\\\":")
	INPUT("1", " \\\"San") INPUT("1", " Francisco\\\"}") STOP("1")
	BLOCK("2", "{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"now\",\"input\":{}}") STOP("2") FINISH("\"tool_use\"", "{\"output_tokens\":89}") END;

static const char thinking[] = START BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
	DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\"First\"}") DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\", then.\"}")
	DELTA("0", "{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}") STOP("0") BLOCK("1", "{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"}") STOP("1")
	TEXT("2") SAY("2", "27") STOP("2") FINISH("\"end_turn\"", "{\"output_tokens\":40,\"output_tokens_details\":{\"thinking_tokens\":30}}") END;

/* Unknown events and blocks, citations, a server's own tool: none of it is in the way. */
static const char odd[] = ": comment\n\n" START EVENT("model_mood", ",\"mood\":[1]") BLOCK("0", "{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{}}")
	INPUT("0", "{\\\"q\\\"") STOP("0") BLOCK("1", "{\"type\":\"web_search_tool_result\",\"content\":[]}") STOP("1") BLOCK("2", "{\"type\":\"text\",\"text\":\"A\"}")
	DELTA("2", "{\"type\":\"citations_delta\",\"citation\":{\"cited_text\":\"x\"}}") DELTA("2", "{\"type\":\"new_delta\",\"text\":\"x\"}") SAY("2", "B") STOP("2")
	FINISH("\"stop_sequence\"", OUT) END EVENT("error", ",\"error\":{\"type\":\"api_error\"}");

static void test_anthropic_stream_becomes_one_answer(void **state)
{
	(void)state;
	struct provider_result r = streamed(plain);
	json_t *root, *m = message_of(&r, &root);
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(json_str(m, "content"), "Gr\xc3\xbc\xc3\x9f" "e") && json_is_null(json_get(m, "refusal")));
	assert_true(str_eq_z(json_str(root, "object"), "chat.completion") && str_eq_z(json_str(root, "id"), "msg_1") && str_eq_z(json_str(root, "model"), "claude-x-1"));
	assert_int_equal(json_i64(root, "created", 0), 5);
	assert_true(str_eq_z(r.finish_reason, "stop") && r.usage_known && r.usage.input == 25 && r.usage.output == 15);
	assert_int_equal(json_i64(json_get(root, "usage"), "total_tokens", 0), 40);
	json_decref(root);
	r = streamed(odd);
	m = message_of(&r, &root);
	assert_true(r.class == ERR_OK && str_eq_z(json_str(m, "content"), "AB") && !json_get(m, "tool_calls"));
	json_decref(root);
}

/* Pieces of text have a short way around JSON; however one is written, it means the same. */
static void test_anthropic_a_text_delta_means_the_same_in_every_spelling(void **state)
{
#define SPELLING(data, class, content) { "event: content_block_delta\ndata: " data "\n\n", class, content }
	static const struct {
		const char *event;
		enum err_code class;
		const char *content;
	} rows[] = {
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\xc3\xbc\"}}", ERR_OK, "<a\xc3\xbc>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}    }", ERR_OK, "<a>"),
		SPELLING("{\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": \"text_delta\", \"text\": \"a\"}}", ERR_OK, "<a>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}", ERR_OK, "<>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\\n\\\"\\u00fc\"}}", ERR_OK, "<a\n\"\xc3\xbc>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\",\"text\":\"b\"}}", ERR_OK, "<b>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"},\"x\":{}}", ERR_OK, "<a>"),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}", ERR_BAD_OUTPUT, NULL),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":00,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}", ERR_BAD_OUTPUT, NULL),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}", ERR_BAD_OUTPUT, NULL),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}}", ERR_BAD_OUTPUT, NULL),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\xff\"}}", ERR_BAD_OUTPUT, NULL),
		SPELLING("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\tb\"}}", ERR_BAD_OUTPUT, NULL),
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str body = arena_printf(&arena, START TEXT("0") SAY("0", "<") "%s" SAY("0", ">") STOP("0") FINISH("\"end_turn\"", OUT) END, rows[i].event);
		struct provider_result r = streamed(body.p);
		if (r.class != rows[i].class)
			fail_msg("%s: %s", rows[i].event, err_code_name((int)r.class));
		if (!rows[i].content)
			continue;
		json_t *root, *m = message_of(&r, &root);
		if (!str_eq_z(json_str(m, "content"), rows[i].content))
			fail_msg("%s: " STR_FMT, rows[i].event, STR_ARG(json_str(m, "content")));
		json_decref(root);
	}
#undef SPELLING
}

/* … but only for the block that is open: what was learned in one says nothing of the next. */
static void test_anthropic_a_piece_of_text_belongs_to_the_open_block(void **state)
{
	static const struct {
		const char *stream;
		enum err_code class;
		const char *content;
	} rows[] = {
		{ START TEXT("0") SAY("0", "a") SAY("0", "b") STOP("0") TEXT("1") SAY("1", "c") SAY("1", "d") STOP("1") FINISH("\"end_turn\"", OUT) END, ERR_OK, "abcd" },
		{ START TEXT("0") SAY("0", "a") SAY("0", "b") TEXT("1") SAY("1", "c") SAY("1", "d") STOP("1") FINISH("\"end_turn\"", OUT) END, ERR_OK, "abcd" },
		{ START TEXT("0") SAY("0", "a") SAY("0", "b") STOP("0") SAY("0", "c") FINISH("\"end_turn\"", OUT) END, ERR_BAD_OUTPUT, NULL },
		{ START TEXT("0") SAY("0", "a") SAY("0", "b") STOP("0") TEXT("1") SAY("0", "c") FINISH("\"end_turn\"", OUT) END, ERR_BAD_OUTPUT, NULL },
		{ START TEXT("0") SAY("0", "a") SAY("0", "b") STOP("0") TEXT("1") SAY("1", "c") SAY("0", "d") FINISH("\"end_turn\"", OUT) END, ERR_BAD_OUTPUT, NULL },
		{ START TEXT("0") SAY("0", "a") FINISH("\"end_turn\"", OUT) END SAY("0", "b"), ERR_OK, "a" },
		{ START TEXT("0") SAY("0", "a") "event: error\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n", ERR_TRANSIENT, "a" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_result r = streamed(rows[i].stream);
		if (r.class != rows[i].class)
			fail_msg("row %zu: %s", i, err_code_name((int)r.class));
		if (!rows[i].content)
			continue;
		json_t *root, *m = message_of(&r, &root);
		if (!str_eq_z(json_str(m, "content"), rows[i].content))
			fail_msg("row %zu: " STR_FMT, i, STR_ARG(json_str(m, "content")));
		json_decref(root);
	}
}

static void test_anthropic_tool_calls_are_joined(void **state)
{
	(void)state;
	struct provider_result r = streamed(tools);
	json_t *root, *m = message_of(&r, &root), *calls = json_get(m, "tool_calls");
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(r.finish_reason, "tool_calls") && str_eq_z(json_str(m, "content"), "Okay"));
	assert_int_equal(json_array_size(calls), 2);
	assert_true(str_eq_z(json_str(json_array_get(calls, 0), "id"), "toolu_1"));
	const json_t *function = json_get(json_array_get(calls, 0), "function");
	assert_true(str_eq_z(json_str(function, "name"), "get_weather") && str_eq_z(json_str(function, "arguments"), "{\"location\": \"San Francisco\"}"));
	assert_true(str_eq_z(json_str(json_get(json_array_get(calls, 1), "function"), "arguments"), "{}"));
	json_decref(root);
}

static void test_anthropic_thinking_is_kept_for_its_return(void **state)
{
	(void)state;
	struct provider_result r = streamed(thinking);
	json_t *root, *m = message_of(&r, &root);
	json_t *wanted = json_parse(STR("[{\"type\":\"thinking\",\"thinking\":\"First, then.\",\"signature\":\"EqQB\"},{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"}]"), NULL);
	assert_true(r.class == ERR_OK && str_eq_z(json_str(m, "reasoning_content"), "First, then.") && str_eq_z(json_str(m, "content"), "27"));
	assert_true(json_equal(json_get(m, "thinking_blocks"), wanted));
	assert_true(r.usage.output == 40 && r.usage.reasoning == 30);
	json_decref(wanted);
	json_decref(root);
}

static void test_anthropic_a_stream_that_is_over_is_an_answer_however_it_ends(void **state)
{
	(void)state;
	struct provider_result r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, str_from(plain));
	assert_true(r.class == ERR_OK && r.usage_known && !r.has_partial);
	r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, STR(START TEXT("0") SAY("0", "x") STOP("0") FINISH("\"end_turn\"", OUT)));
	assert_int_equal(r.class, ERR_STREAM_CUT);
}

static void test_anthropic_deltas_are_told_as_they_come(void **state)
{
	struct buf told;
	(void)state;
	buf_init(&told, 4096);
	answer((struct answer){ .streamed = true, .told = &told }, str_from(tools));
	answer((struct answer){ .streamed = true, .told = &told }, str_from(thinking));
	assert_true(str_eq_z(buf_str(&told), "text 0   Okay\ntool 0 toolu_1 get_weather \ntool 0   {\"location\":\ntool 0    \"San\ntool 0    Francisco\"}\n"
	                                     "tool 1 toolu_2 now \nreasoning 0   First\nreasoning 0   , then.\ntext 0   27\n"));
	buf_done(&told);
}

static void test_anthropic_what_has_come_can_be_looked_at(void **state)
{
	const struct http_header head[] = { { STR("content-type"), STR("text/event-stream") } };
	struct provider_result r;
	bool token = true;
	(void)state;
	struct provider_call *c = provider_anthropic.start(&(struct provider_ask){ &target, PROVIDER_CHAT, NULL, 0 }, true, LIMIT, (struct provider_sink){ 0 }, &arena);
	provider_anthropic.answer_head(c, 200, head, 1);
	assert_int_equal(provider_anthropic.answer_data(c, STR(START PING TEXT("0")), &token), 0);
	assert_false(token);
	assert_int_equal(provider_anthropic.answer_data(c, STR(SAY("0", "half")), &token), 0);
	assert_true(token && str_eq_z(buf_str(&provider_anthropic.so_far(c)->content), "half"));
	provider_anthropic.answer_end(c, -ERR_STREAM_CUT, 0, &r);
	assert_true(r.class == ERR_STREAM_CUT && r.has_partial && r.output_bytes == 4 && !r.usage_known && r.usage.input == 25);
	buf_done(&r.result);
}

static void test_anthropic_stream_cut_at_any_byte_is_no_success(void **state)
{
	static const struct str all[] = { { plain, sizeof(plain) - 1 }, { tools, sizeof(tools) - 1 }, { thinking, sizeof(thinking) - 1 } };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t cut = 0; cut < all[i].n - 1; cut++) { /* the empty line after message_stop is what ends it */
			struct provider_result r = answer((struct answer){ .streamed = true }, str_sub(all[i], 0, cut));
			if (r.class != ERR_STREAM_CUT)
				fail_msg("stream %zu cut at %zu: %s", i, cut, err_code_name((int)r.class));
			r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_NETWORK }, str_sub(all[i], 0, cut));
			assert_int_equal(r.class, ERR_NETWORK);
		}
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
	}
}

#define FAIL(type, message) "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\"" message "\"},\"request_id\":\"req_1\"}\n\n"
#define HALF                START TEXT("0") SAY("0", "x")
#define CALL(json)          START BLOCK("0", "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}") INPUT("0", json) STOP("0")

static void test_anthropic_streams_that_are_no_success(void **state)
{
	static const struct row rows[] = {
		{ "", ERR_STREAM_CUT },
		{ PING, ERR_STREAM_CUT },
		{ START END, ERR_STREAM_CUT },
		{ HALF STOP("0") END, ERR_STREAM_CUT },
		{ HALF STOP("0") FINISH("null", OUT) END, ERR_STREAM_CUT },
		{ HALF STOP("0") FINISH("\"end_turn\"", OUT), ERR_STREAM_CUT },
		{ HALF STOP("0") FINISH("\"refusal\"", OUT) END, ERR_CONTENT_FILTER },
		{ START FINISH("\"refusal\"", OUT) END, ERR_CONTENT_FILTER },
		{ START FINISH("\"end_turn\"", OUT) END, ERR_BAD_OUTPUT },
		{ START FINISH("\"max_tokens\"", OUT) END, ERR_OUTPUT_TRUNCATED },
		{ START BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"hm\"}") STOP("0") FINISH("\"max_tokens\"", OUT) END, ERR_OUTPUT_TRUNCATED },
		{ CALL("{\\\"a\\\":") FINISH("\"max_tokens\"", OUT) END, ERR_OUTPUT_TRUNCATED },
		{ CALL("{\\\"a\\\":") FINISH("\"tool_use\"", OUT) END, ERR_BAD_OUTPUT },
		{ START BLOCK("0", "{\"type\":\"tool_use\",\"id\":\"t\"}") STOP("0") FINISH("\"tool_use\"", OUT) END, ERR_BAD_OUTPUT },
		{ START SAY("0", "x"), ERR_BAD_OUTPUT },
		{ START TEXT("0") SAY("1", "x"), ERR_BAD_OUTPUT },
		{ "data: {oops\n\n", ERR_BAD_OUTPUT },
		{ HALF FAIL("overloaded_error", "Overloaded"), ERR_PROVIDER_OVERLOADED },
		{ FAIL("overloaded_error", "Overloaded"), ERR_PROVIDER_OVERLOADED },
		{ HALF FAIL("api_error", "Internal server error"), ERR_TRANSIENT },
		{ HALF FAIL("timeout_error", "x"), ERR_TRANSIENT },
		{ HALF FAIL("rate_limit_error", "x"), ERR_PROVIDER_RATE_LIMIT },
		{ HALF FAIL("authentication_error", "x"), ERR_PROVIDER_AUTH },
		{ HALF FAIL("billing_error", "x"), ERR_BILLING },
		{ HALF FAIL("invalid_request_error", "Output blocked by content filtering policy"), ERR_CONTENT_FILTER },
		{ HALF FAIL("invalid_request_error", "x"), ERR_BAD_REQUEST },
		{ HALF FAIL("an_error_of_tomorrow", "x"), ERR_TRANSIENT },
		{ HALF "event: error\ndata: {}\n\n", ERR_TRANSIENT },
		{ HALF "data: {\"error\":{\"type\":\"overloaded_error\"}}\n\n", ERR_PROVIDER_OVERLOADED },
		{ HALF FAIL("api_error", "x") STOP("0") FINISH("\"end_turn\"", OUT) END, ERR_TRANSIENT },
		{ "<html>busy</html>", ERR_STREAM_CUT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = true });
	struct provider_result r = streamed(HALF FAIL("overloaded_error", "Overloaded"));
	assert_true(str_eq_z(r.message, "Overloaded (request req_1)") && r.has_partial && r.output_bytes == 1 && !r.usage_known);
	r = streamed(HALF STOP("0") EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"refusal\",\"stop_details\":{\"type\":\"refusal\",\"category\":\"cyber\"}},\"usage\":" OUT) END);
	assert_true(r.class == ERR_CONTENT_FILTER && r.usage_known && str_eq_z(r.message, "the model refused to answer: cyber"));
}

static void test_anthropic_stop_reasons(void **state)
{
	static const char *const rows[][2] = {
		{ "end_turn", "stop" }, { "stop_sequence", "stop" }, { "pause_turn", "stop" }, { "max_tokens", "length" },
		{ "model_context_window_exceeded", "length" }, { "tool_use", "tool_calls" }, { "something_new", "something_new" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str body = arena_printf(&arena, "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"stop_reason\":\"%s\"}", rows[i][0]);
		struct provider_result r = whole(body.p);
		assert_int_equal(r.class, ERR_OK);
		assert_true(str_eq_z(r.finish_reason, rows[i][1]));
	}
	/* Which sequence it was is told beside the reason. */
	struct provider_result r = whole("{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"}");
	assert_true(str_find(buf_str(&r.result), STR("\"finish_reason\":\"stop\",\"stop_reason\":\"END\"")) > 0);
	/* JSON that was cut is no answer. */
	r = answer((struct answer){ .schema = true }, STR("{\"content\":[{\"type\":\"text\",\"text\":\"{\"}],\"stop_reason\":\"max_tokens\"}"));
	assert_int_equal(r.class, ERR_OUTPUT_TRUNCATED);
	r = answer((struct answer){ .schema = true }, STR("{\"content\":[{\"type\":\"text\",\"text\":\"{}\"}],\"stop_reason\":\"end_turn\"}"));
	assert_int_equal(r.class, ERR_OK);
}

#define MESSAGE(content, reason) \
	"{\"id\":\"msg_2\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x-1\",\"content\":" content ",\"stop_reason\":" reason \
	",\"stop_sequence\":null,\"usage\":{\"input_tokens\":12,\"output_tokens\":6,\"service_tier\":\"standard\"}}"

static void test_anthropic_whole_answers(void **state)
{
	static const struct row rows[] = {
		{ MESSAGE("[{\"type\":\"text\",\"text\":\"x\"}]", "\"end_turn\""), ERR_OK },
		{ MESSAGE("[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":[1,{}]}}]", "\"tool_use\""), ERR_OK },
		{ MESSAGE("[]", "\"end_turn\""), ERR_BAD_OUTPUT },
		{ MESSAGE("[]", "\"refusal\""), ERR_CONTENT_FILTER },
		{ MESSAGE("[]", "\"max_tokens\""), ERR_OUTPUT_TRUNCATED },
		{ MESSAGE("[7,null,{}]", "\"end_turn\""), ERR_BAD_OUTPUT },
		{ MESSAGE("[{\"type\":\"text\",\"text\":\"x\"}]", "null"), ERR_STREAM_CUT },
		{ "", ERR_BAD_OUTPUT },
		{ "null", ERR_BAD_OUTPUT },
		{ "[]", ERR_BAD_OUTPUT },
		{ "{}", ERR_BAD_OUTPUT },
		{ "{\"choices\":[]}", ERR_BAD_OUTPUT },
		{ "{\"content\":[{\"type\":\"text\",\"text\":\"cut", ERR_BAD_OUTPUT },
		{ "<html>", ERR_BAD_OUTPUT },
		{ "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}", ERR_PROVIDER_OVERLOADED },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = false });
	/* A server that ignores `stream` says so in its content type. */
	struct provider_result r = answer((struct answer){ .streamed = true, .type = "application/json" }, str_from(rows[0].body));
	assert_int_equal(r.class, ERR_OK);
	json_t *root, *m = message_of(&r, &root);
	assert_true(str_eq_z(json_str(m, "content"), "x") && str_eq_z(json_str(root, "service_tier"), "default") && r.usage_known && r.usage.input == 12);
	json_decref(root);
	r = whole(rows[1].body);
	m = message_of(&r, &root);
	assert_true(str_eq_z(json_str(json_get(json_array_get(json_get(m, "tool_calls"), 0), "function"), "arguments"), "{\"a\":[1,{}]}"));
	json_decref(root);
	assert_int_equal(answer((struct answer){ .transport_rc = -ERR_OUTCOME_UNKNOWN }, STR("")).class, ERR_OUTCOME_UNKNOWN);
}

static void test_anthropic_too_many_tool_calls_are_no_answer(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 1 << 20);
	buf_add_z(&b, "{\"content\":[");
	for (int i = 0; i < 200; i++)
		buf_printf(&b, "%s{\"type\":\"tool_use\",\"id\":\"t%d\",\"name\":\"f\",\"input\":{}}", i ? "," : "", i);
	buf_add_z(&b, "],\"stop_reason\":\"tool_use\"}");
	assert_int_equal(answer((struct answer){ .streamed = false }, buf_str(&b)).class, ERR_BAD_OUTPUT);
	buf_done(&b);
}

static void test_anthropic_an_endless_answer_ends_at_its_limit(void **state)
{
	static const char *const pieces[] = {
		SAY("0", "0123456789"), INPUT("0", "0123456789"), DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\"0123456789\"}"),
		DELTA("0", "{\"type\":\"signature_delta\",\"signature\":\"0123456789\"}"), BLOCK("0", "{\"type\":\"redacted_thinking\",\"data\":\"x\"}"),
		BLOCK("0", "{\"type\":\"thinking\"}"), BLOCK("0", "{\"type\":\"tool_use\"}"),
	};
	static const char *const blocks[] = { TEXT("0"), BLOCK("0", "{\"type\":\"tool_use\"}"), BLOCK("0", "{\"type\":\"thinking\"}") };
	const struct http_header head[] = { { STR("content-type"), STR("text/event-stream") } };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct provider_result r;
		bool token;
		int n = 0;
		struct provider_call *c = provider_anthropic.start(&(struct provider_ask){ &target, PROVIDER_CHAT, NULL, 0 }, true, 1000, (struct provider_sink){ 0 }, &arena);
		provider_anthropic.answer_head(c, 200, head, 1);
		int rc = provider_anthropic.answer_data(c, str_from(blocks[MIN(i, 2)]), &token);
		for (; rc == 0 && n < 1000; n++)
			rc = provider_anthropic.answer_data(c, str_from(pieces[i]), &token);
		assert_true(rc == -ERR_TOO_LARGE || rc == -ERR_BAD_OUTPUT);
		assert_true(n <= 129);
		provider_anthropic.answer_end(c, rc, 0, &r);
		assert_int_equal(r.class, -rc);
		buf_done(&r.result);
	}
}

static void test_anthropic_usage_keeps_its_invariants(void **state)
{
	static const struct {
		const char *start, *end;
		struct provider_usage wanted;
	} rows[] = {
		{ "{\"input_tokens\":10,\"output_tokens\":1}", "{\"output_tokens\":7}", { .input = 10, .output = 7 } },
		/* The parts of the input are told apart; the total is their sum. */
		{ "{\"input_tokens\":10,\"cache_creation_input_tokens\":200,\"cache_read_input_tokens\":3000,\"output_tokens\":1}", "{\"output_tokens\":7}",
		  { .input = 3210, .cached_input = 3000, .cache_write = 200, .output = 7 } },
		/* A later count is the whole count so far, not one more. */
		{ "{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":4}",
		  "{\"input_tokens\":30,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":null,\"output_tokens\":9}",
		  { .input = 35, .cached_input = 5, .output = 9 } },
		{ "{\"input_tokens\":1,\"cache_creation\":{\"ephemeral_5m_input_tokens\":20,\"ephemeral_1h_input_tokens\":30}}", "{\"output_tokens\":2}",
		  { .input = 51, .cache_write = 50, .output = 2 } },
		{ "{\"input_tokens\":3}", "{\"output_tokens\":4,\"output_tokens_details\":{\"thinking_tokens\":9}}", { .input = 3, .output = 4, .reasoning = 4 } },
		/* Rounds of the model's own are billed together, those of others apart. */
		{ "{\"input_tokens\":10,\"output_tokens\":1}",
		  "{\"input_tokens\":10,\"output_tokens\":7,\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":900,\"output_tokens\":40,\"cache_read_input_tokens\":5},"
		  "{\"type\":\"message\",\"input_tokens\":10,\"output_tokens\":7},{\"type\":\"advisor_message\",\"input_tokens\":5000,\"output_tokens\":300}]}",
		  { .input = 915, .cached_input = 5, .output = 47 } },
		{ "{\"input_tokens\":10}", "{\"output_tokens\":7,\"iterations\":null}", { .input = 10, .output = 7 } },
		{ "{\"input_tokens\":-3,\"cache_read_input_tokens\":\"7\"}", "{\"output_tokens\":1}", { .output = 1 } },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str head = arena_printf(&arena, EVENT("message_start", ",\"message\":{\"usage\":%s}"), rows[i].start);
		struct str tail = arena_printf(&arena, TEXT("0") SAY("0", "x") STOP("0") FINISH("\"end_turn\"", "%s") END, rows[i].end);
		struct provider_result r = streamed(arena_printf(&arena, "%s%s", head.p, tail.p).p);
		const struct provider_usage *u = &r.usage, *w = &rows[i].wanted;
		assert_true(r.class == ERR_OK && r.usage_known);
		if (u->input != w->input || u->cached_input != w->cached_input || u->cache_write != w->cache_write || u->output != w->output || u->reasoning != w->reasoning)
			fail_msg("row %zu: %ld %ld %ld %ld %ld", i, (long)u->input, (long)u->cached_input, (long)u->cache_write, (long)u->output, (long)u->reasoning);
	}
	struct provider_result r = whole("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":9223372036854775807,"
	                                 "\"cache_read_input_tokens\":9223372036854775807,\"output_tokens\":9223372036854775807}}");
	assert_true(r.class == ERR_OK && r.usage.input > 0 && r.usage.cached_input <= r.usage.input && r.usage.output > 0);
	assert_false(whole("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"stop_reason\":\"end_turn\"}").usage_known);
	assert_false(whole("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}").usage_known);
}

static void test_anthropic_errors_have_their_class(void **state)
{
	static const struct {
		int status;
		const char *type, *message;
		enum err_code class;
	} rows[] = {
		{ 400, "invalid_request_error", "messages.0: bad", ERR_BAD_REQUEST },
		{ 400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ERR_CONTEXT_WINDOW },
		{ 400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000", ERR_CONTEXT_WINDOW },
		{ 400, "invalid_request_error", "Output blocked by content filtering policy", ERR_CONTENT_FILTER },
		{ 400, "invalid_request_error", "You have reached your specified API usage limits: spend limit", ERR_BILLING },
		{ 400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", ERR_BILLING },
		{ 400, "invalid_request_error", "tools.0: unknown value 'error 429, rate limit, context length, prompt is too long'", ERR_BAD_REQUEST },
		{ 401, "authentication_error", "invalid x-api-key", ERR_PROVIDER_AUTH },
		{ 402, "billing_error", "x", ERR_BILLING },
		{ 403, "permission_error", "x", ERR_PROVIDER_PERMISSION },
		{ 404, "not_found_error", "model: claude-y", ERR_PROVIDER_NOT_FOUND },
		{ 409, "conflict_error", "x", ERR_TRANSIENT },
		{ 413, "request_too_large", "Request exceeds the maximum size", ERR_PROVIDER_TOO_LARGE },
		{ 429, "rate_limit_error", "x", ERR_PROVIDER_RATE_LIMIT },
		{ 500, "api_error", "x", ERR_TRANSIENT },
		{ 504, "timeout_error", "x", ERR_TRANSIENT },
		{ 529, "overloaded_error", "Overloaded", ERR_PROVIDER_OVERLOADED },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str body = arena_printf(&arena, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\"},\"request_id\":\"req_%zu\"}", rows[i].type, rows[i].message, i);
		struct provider_result r = answer((struct answer){ .status = rows[i].status, .streamed = true, .type = "application/json" }, body);
		if (r.class != rows[i].class)
			fail_msg("%d %s: wanted %s, got %s", rows[i].status, rows[i].message, err_code_name((int)rows[i].class), err_code_name((int)r.class));
		assert_true(str_eq(r.message, arena_printf(&arena, "%s (request req_%zu)", rows[i].message, i)) && r.result.n == 0 && !r.usage_known);
	}
}

static void test_anthropic_errors_without_a_readable_body(void **state)
{
	static const struct {
		int status;
		enum err_code class;
	} rows[] = {
		{ 302, ERR_BAD_REQUEST }, { 400, ERR_BAD_REQUEST }, { 401, ERR_PROVIDER_AUTH }, { 413, ERR_PROVIDER_TOO_LARGE }, { 429, ERR_PROVIDER_RATE_LIMIT },
		{ 500, ERR_TRANSIENT }, { 502, ERR_TRANSIENT }, { 503, ERR_TRANSIENT }, { 504, ERR_TRANSIENT }, { 529, ERR_PROVIDER_OVERLOADED },
	};
	static const char *const bodies[] = { "", "<html><head><title>413 Request Entity Too Large</title></head></html>", "{\"type\":\"error\",\"err", "null", "[]", "7" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t k = 0; k < ARRAY_LEN(bodies); k++) {
			struct answer how = { .status = rows[i].status, .streamed = true, .type = "text/html", .request_id = "req_9", .transport_rc = k == 2 ? -ERR_STREAM_CUT : 0 };
			struct provider_result r = answer(how, str_from(bodies[k]));
			assert_int_equal(r.class, rows[i].class);
			assert_true(str_eq_z(r.message, "(request req_9)"));
		}
	/* What is no text is not shown. */
	assert_int_equal(answer((struct answer){ .status = 500, .request_id = "\xff" }, STR("")).message.n, 0);
}

static void test_anthropic_failures_carry_their_hints(void **state)
{
	(void)state;
	struct provider_result r = answer((struct answer){ .status = 429, .retry = "12", .should_retry = "true" }, STR("{}"));
	assert_true(r.retry_after_ms == 12000 && r.should_retry == 1);
	r = answer((struct answer){ .status = 529, .should_retry = "false" }, STR("{}"));
	assert_true(r.retry_after_ms == -1 && r.should_retry == 0);
	r = answer((struct answer){ .status = 500, .should_retry = "perhaps", .retry = "-5" }, STR("{}"));
	assert_true(r.retry_after_ms == -1 && r.should_retry == -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_anthropic_stream_becomes_one_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_a_text_delta_means_the_same_in_every_spelling, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_a_piece_of_text_belongs_to_the_open_block, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_tool_calls_are_joined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_thinking_is_kept_for_its_return, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_a_stream_that_is_over_is_an_answer_however_it_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_deltas_are_told_as_they_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_what_has_come_can_be_looked_at, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_stream_cut_at_any_byte_is_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_streams_that_are_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_stop_reasons, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_whole_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_too_many_tool_calls_are_no_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_an_endless_answer_ends_at_its_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_usage_keeps_its_invariants, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_errors_have_their_class, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_errors_without_a_readable_body, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_failures_carry_their_hints, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
