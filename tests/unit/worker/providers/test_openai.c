/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's wire format: what goes out, and what each answer comes to: whole and streamed, tool calls, usage, errors in all their forms,
 * and answers that are nothing of the kind. A stream that is cut anywhere never is a success.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "worker/providers/openai.h"

enum { CHAT, EMBEDDINGS };

#define LIMIT 65536

static struct arena arena;
static struct conf_target target = { .name = STR("t"), .provider = STR("openai"), .model = STR("real-model"), .base_url = STR("http://h/v1"),
	                             .api_key = STR("sk-secret"), .stream = true };

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

/* --- the request --- */

static json_t *made(int kind, const char *request, struct provider_request *ret)
{
	struct err err = { .code = ERR_OK };
	json_t *r = json_parse(str_from(request), &err);
	assert_non_null(r);
	memset(ret, 0, sizeof(*ret));
	assert_int_equal(provider_openai.make(&(struct provider_ask){ &target, kind, r, 0 }, &arena, ret, &err), 0);
	json_decref(r);
	json_t *body = json_parse(buf_str(&ret->body), &err);
	assert_non_null(body);
	buf_done(&ret->body);
	return body;
}

static void test_openai_request_goes_out_as_it_came_with_the_target_s_model(void **state)
{
	struct provider_request r;
	(void)state;
	json_t *body = made(CHAT, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"é\"}],\"seed\":7,\"stream\":false,\"unknown\":{\"a\":[1]}}", &r);
	assert_true(str_eq_z(json_str(body, "model"), "real-model"));
	assert_true(r.streamed && json_bool(body, "stream", false) && json_bool(json_get(body, "stream_options"), "include_usage", false));
	assert_int_equal(json_i64(body, "seed", 0), 7);
	assert_int_equal(json_array_size(json_get(json_get(body, "unknown"), "a")), 1);
	assert_string_equal(r.url, "http://h/v1/chat/completions");
	assert_true(str_eq_z(http_find(r.headers, r.nheaders, "authorization"), "Bearer sk-secret"));
	json_decref(body);
}

static void test_openai_request_is_whole_where_a_stream_would_lose_something(void **state)
{
	static const char *const whole[] = { "{\"n\":2}", "{\"logprobs\":true}", "{\"modalities\":[\"audio\"]}", "{\"audio\":{}}" };
	struct provider_request r;
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		json_t *body = made(CHAT, whole[i], &r);
		assert_false(r.streamed);
		assert_null(json_get(body, "stream"));
		json_decref(body);
	}
	json_decref(made(EMBEDDINGS, "{\"input\":\"x\"}", &r));
	assert_false(r.streamed);
	assert_string_equal(r.url, "http://h/v1/embeddings");
}

/* --- the answer --- */

struct answer {
	int status, kind, transport_rc;
	bool streamed;
	const char *type; /* NULL: what fits */
};

/* The result's text lives in the test's arena. */
static struct provider_result answer(struct answer how, struct str body)
{
	const char *type = how.type ? how.type : how.streamed ? "text/event-stream; charset=utf-8" : "application/json";
	const struct http_header head[] = { { STR("Content-Type"), str_from(type) }, { STR("Retry-After"), STR("3") } };
	struct provider_result r;
	bool token = false;
	struct provider_call *c = provider_openai.start(&(struct provider_ask){ &target, how.kind, NULL, 0 }, how.streamed, LIMIT, (struct provider_sink){ NULL, NULL }, &arena);
	provider_openai.answer_head(c, how.status ? how.status : 200, head, 2);
	int rc = provider_openai.answer_data(c, body, &token);
	provider_openai.answer_end(c, rc < 0 ? rc : how.transport_rc, 0, &r);
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

static json_t *message_of(const struct provider_result *r, json_t **ret_root)
{
	*ret_root = json_parse(buf_str(&r->result), NULL);
	assert_non_null(*ret_root);
	return json_get(json_array_get(json_get(*ret_root, "choices"), 0), "message");
}

#define CHUNK(delta, finish) "data: {\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"
#define USAGE                "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5}}"
#define DONE                 "data: [DONE]\n\n"

static const char good[] = ": hello\n\n" CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null") CHUNK("{\"content\":\"Gr\xc3\xbc\"}", "null")
	CHUNK("{\"content\":\"\xc3\x9f" "e\"}", "null") CHUNK("{}", "\"stop\"") "data: {\"choices\":[]," USAGE "}\n\n" DONE;

static void test_openai_stream_becomes_one_answer(void **state)
{
	(void)state;
	struct provider_result r = streamed(good);
	json_t *root, *m = message_of(&r, &root);
	assert_int_equal(r.class, ERR_OK);
	assert_true(str_eq_z(json_str(m, "content"), "Gr\xc3\xbc\xc3\x9f" "e"));
	assert_true(str_eq_z(json_str(root, "object"), "chat.completion") && str_eq_z(json_str(root, "id"), "c1"));
	assert_true(r.usage_known);
	assert_int_equal(r.usage.input, 9);
	assert_int_equal(r.usage.cached_input, 5);
	assert_int_equal(r.usage.output, 4);
	assert_true(str_eq_z(r.finish_reason, "stop"));
	json_decref(root);
}

static void test_openai_stream_cut_at_any_byte_is_no_success(void **state)
{
	size_t end = sizeof(good) - 2; /* the empty line after [DONE] is what ends it */
	(void)state;
	for (size_t cut = 0; cut < end; cut++) {
		struct provider_result r = answer((struct answer){ .streamed = true }, (struct str){ good, cut });
		if (r.class == ERR_OK)
			fail_msg("a success when cut at %zu", cut);
		assert_int_equal(r.class, ERR_STREAM_CUT);
		r = answer((struct answer){ .streamed = true, .transport_rc = -ERR_STREAM_CUT }, (struct str){ good, cut });
		assert_int_equal(r.class, ERR_STREAM_CUT);
	}
	struct provider_result r = streamed(CHUNK("{\"content\":\"half\"}", "null"));
	assert_true(r.has_partial && r.output_bytes == 4);
}

/* After [DONE] nothing can change the answer: whatever ends the connection, it is good, and need not be paid for again. */
static void test_openai_a_stream_that_is_over_is_an_answer_however_it_ends(void **state)
{
	static const int ends[] = { 0, -ERR_STREAM_CUT, -ERR_OUTCOME_UNKNOWN, -ERR_BAD_OUTPUT };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct provider_result r = answer((struct answer){ .streamed = true, .transport_rc = ends[i] }, str_from(good));
		assert_true(r.class == ERR_OK && r.usage_known && !r.has_partial);
		/* [DONE] without a finish reason is the end of nothing. */
		r = answer((struct answer){ .streamed = true, .transport_rc = ends[i] }, STR(CHUNK("{\"content\":\"half\"}", "null") "data: [DONE]\n\n"));
		assert_int_equal(r.class, ends[i] ? -ends[i] : ERR_STREAM_CUT);
	}
}

static void test_openai_tool_calls_are_joined_by_index(void **state)
{
	(void)state;
	struct provider_result r = streamed(
		CHUNK("{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"o\":1}}}]}", "null")
		CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}", "null")
		CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"ignored\",\"function\":{\"arguments\":\":1}\"}}]}", "null") CHUNK("{}", "\"tool_calls\"") DONE);
	json_t *root, *m = message_of(&r, &root), *calls = json_get(m, "tool_calls");
	assert_int_equal(r.class, ERR_OK);
	assert_int_equal(json_array_size(calls), 2);
	assert_true(str_eq_z(json_str(json_array_get(calls, 0), "id"), "a"));
	assert_true(str_eq_z(json_str(json_get(json_array_get(calls, 0), "function"), "arguments"), "{\"x\":1}"));
	assert_true(str_eq_z(json_str(json_get(json_array_get(calls, 1), "function"), "arguments"), "{\"o\":1}"));
	assert_true(json_is_null(json_get(m, "content")));
	json_decref(root);
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

static void test_openai_streams_that_are_no_success(void **state)
{
	static const struct row rows[] = {
		{ "", ERR_STREAM_CUT },
		{ DONE, ERR_STREAM_CUT },
		{ CHUNK("{\"content\":\"x\"}", "null") DONE, ERR_STREAM_CUT },
		{ CHUNK("{\"content\":\"x\"}", "\"\"") DONE, ERR_STREAM_CUT },
		{ CHUNK("{\"content\":\"x\"}", "\"stop\""), ERR_STREAM_CUT },
		{ CHUNK("{\"content\":\"x\"}", "\"content_filter\"") DONE, ERR_CONTENT_FILTER },
		{ CHUNK("{\"content\":\"\"}", "\"length\"") DONE, ERR_OUTPUT_TRUNCATED },
		{ CHUNK("{\"reasoning_content\":\"hm\"}", "\"length\"") DONE, ERR_OUTPUT_TRUNCATED },
		{ CHUNK("{}", "\"stop\"") DONE, ERR_BAD_OUTPUT },
		{ CHUNK("{\"content\":\"x\"}", "\"insufficient_system_resource\"") DONE, ERR_TRANSIENT },
		{ CHUNK("{\"content\":\"x\"}", "null") "data: {\"error\":{\"message\":\"no\",\"type\":\"overloaded_error\"}}\n\n" DONE, ERR_PROVIDER_OVERLOADED },
		{ CHUNK("{\"content\":\"x\"}", "null") "data: {\"error\":\"gone\"}\n\n", ERR_TRANSIENT },
		{ "data: {\"error\":{\"message\":\"x\",\"code\":429}}\n\n", ERR_PROVIDER_RATE_LIMIT },
		{ "event: error\ndata: {\"message\":\"x\",\"type\":\"server_error\"}\n\n", ERR_TRANSIENT },
		{ "event: error\ndata: {\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}\n\n", ERR_CONTEXT_WINDOW },
		{ "error: {\"code\":500,\"message\":\"x\",\"type\":\"server_error\"}\n\n" DONE, ERR_TRANSIENT },
		{ "data: {oops\n\n", ERR_BAD_OUTPUT },
		{ CHUNK("{\"tool_calls\":[{\"index\":128}]}", "null"), ERR_BAD_OUTPUT },
		{ CHUNK("{\"tool_calls\":[{\"index\":-1}]}", "null"), ERR_BAD_OUTPUT },
		{ "<html>busy</html>", ERR_STREAM_CUT },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = true });
}

static void test_openai_streams_with_oddities_are_taken(void **state)
{
	static const struct row rows[] = {
		{ "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n" CHUNK("{\"content\":\"x\"}", "\"stop\"") DONE, ERR_OK },
		{ CHUNK("{\"content\":\"x\"}", "null") CHUNK("{\"content\":null}", "\"length\"") DONE, ERR_OK },
		{ CHUNK("{\"content\":\"x\"}", "null") "data: {\"error\":null,\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" DONE, ERR_OK },
		{ CHUNK("{\"refusal\":\"no\"}", "\"stop\"") DONE, ERR_OK },
		{ CHUNK("{\"content\":\"x\",\"tool_calls\":{}}", "\"eos\"") DONE "data: {junk\n\n", ERR_OK },
		{ CHUNK("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}", "\"stop\"") DONE, ERR_OK },
		{ "data: 7\n\ndata: [1]\n\n" CHUNK("{\"content\":\"x\"}", "\"stop\"") "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"9\"}}\n\n" DONE,
		  ERR_OK },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = true });
	struct provider_result r = streamed(rows[5].body);
	json_t *root, *m = message_of(&r, &root);
	assert_true(str_eq_z(json_str(m, "content"), "x"));
	json_decref(root);
}

#define MESSAGE(message, finish) "{\"choices\":[{\"index\":0,\"message\":" message ",\"finish_reason\":" finish "}]," USAGE "}"

static void test_openai_whole_answers(void **state)
{
	static const struct row rows[] = {
		{ MESSAGE("{\"content\":\"x\"}", "\"stop\""), ERR_OK },
		{ MESSAGE("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}", "\"stop\""), ERR_OK },
		{ MESSAGE("{\"content\":\"x\"}", "null"), ERR_OK },
		{ MESSAGE("{\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]}", "\"tool_calls\""), ERR_OK },
		{ MESSAGE("{\"content\":null,\"refusal\":\"no\"}", "\"stop\""), ERR_OK },
		{ MESSAGE("{\"content\":null}", "\"stop\""), ERR_BAD_OUTPUT },
		{ MESSAGE("{\"content\":\"\"}", "\"length\""), ERR_OUTPUT_TRUNCATED },
		{ MESSAGE("{\"content\":\"x\"}", "\"content_filter\""), ERR_CONTENT_FILTER },
		{ "", ERR_BAD_OUTPUT },
		{ "null", ERR_BAD_OUTPUT },
		{ "[]", ERR_BAD_OUTPUT },
		{ "{}", ERR_BAD_OUTPUT },
		{ "{\"choices\":[]}", ERR_BAD_OUTPUT },
		{ "{\"choices\":{\"0\":1}}", ERR_BAD_OUTPUT },
		{ "{\"choices\":[7]}", ERR_BAD_OUTPUT },
		{ "{\"choices\":[{\"message\":{\"content\":\"cut", ERR_BAD_OUTPUT },
		{ "{\"error\":{\"message\":\"x\",\"type\":\"rate_limit_error\"}}", ERR_PROVIDER_RATE_LIMIT },
		{ "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":99999999999999999999}}", ERR_BAD_OUTPUT },
		{ "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":-4,"
		  "\"prompt_tokens_details\":{\"cached_tokens\":-1}}}", ERR_OK },
	};
	struct provider_result r;
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .streamed = false });
	/* A server that ignores `stream` says so in its content type. */
	r = answer((struct answer){ .streamed = true, .type = "application/json" }, str_from(rows[0].body));
	assert_int_equal(r.class, ERR_OK);
	r = whole("{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}");
	assert_false(r.usage_known);
}

static void test_openai_deep_nesting_is_refused(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 1 << 20);
	buf_add_z(&b, "{\"choices\":");
	for (int i = 0; i < 20000; i++)
		buf_add_char(&b, '[');
	for (int i = 0; i < 20000; i++)
		buf_add_char(&b, ']');
	buf_add_char(&b, '}');
	assert_int_equal(answer((struct answer){ .streamed = false }, buf_str(&b)).class, ERR_BAD_OUTPUT);
	buf_done(&b);
}

static void test_openai_an_endless_answer_ends_at_its_limit(void **state)
{
	struct provider_call *c = provider_openai.start(&(struct provider_ask){ &target, CHAT, NULL, 0 }, true, 1000, (struct provider_sink){ NULL, NULL }, &arena);
	const struct http_header head[] = { { STR("content-type"), STR("text/event-stream") } };
	int rc = 0, n = 0;
	bool token;
	(void)state;
	provider_openai.answer_head(c, 200, head, 1);
	for (; rc == 0 && n < 1000; n++)
		rc = provider_openai.answer_data(c, STR(CHUNK("{\"content\":\"0123456789\"}", "null")), &token);
	assert_int_equal(rc, -ERR_TOO_LARGE);
	assert_int_equal(n, 101);
}

static void test_openai_embeddings(void **state)
{
	static const struct row rows[] = {
		{ "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":[0.5,-1e-9]}],\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2}}", ERR_OK },
		{ "{\"data\":[{\"index\":0,\"embedding\":\"AAAA\"}]}", ERR_OK },
		{ "{\"data\":[]}", ERR_BAD_OUTPUT },
		{ "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}", ERR_CONTEXT_WINDOW },
	};
	(void)state;
	check(rows, ARRAY_LEN(rows), (struct answer){ .kind = EMBEDDINGS });
	struct provider_result r = answer((struct answer){ .kind = EMBEDDINGS }, str_from(rows[0].body));
	assert_true(r.usage_known && r.usage.input == 2 && r.usage.output == 0);
}

/* A refusal inside a stream has no headers of its own: what its text says of the time counts. */
static void test_openai_a_refusal_inside_a_stream_carries_its_hint(void **state)
{
	static const struct {
		const char *event;
		enum err_code class;
		int64_t retry_after_ms;
	} rows[] = {
		{ "data: {\"error\":{\"message\":\"Rate limit reached for m. Please try again in 1.2s.\",\"code\":\"rate_limit_exceeded\"}}\n\n", ERR_PROVIDER_RATE_LIMIT, 1200 },
		{ "data: {\"error\":{\"message\":\"Please retry after 7 seconds.\",\"code\":429}}\n\n", ERR_PROVIDER_RATE_LIMIT, 7000 },
		{ "data: {\"error\":{\"message\":\"The engine broke.\",\"code\":\"server_error\"}}\n\n", ERR_TRANSIENT, -1 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_result r = streamed(rows[i].event);
		assert_int_equal(r.class, rows[i].class);
		assert_int_equal(r.retry_after_ms, rows[i].retry_after_ms);
	}
}

static void test_openai_failures_carry_message_and_hint(void **state)
{
	(void)state;
	struct provider_result r = answer((struct answer){ .status = 429, .streamed = true, .type = "application/json" },
	                                  STR("{\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}"));
	assert_int_equal(r.class, ERR_PROVIDER_RATE_LIMIT);
	assert_int_equal(r.retry_after_ms, 3000);
	assert_true(str_eq_z(r.message, "slow down") && r.result.n == 0);
	r = answer((struct answer){ .status = 502, .streamed = true, .type = "text/html" }, STR("<html>"));
	assert_int_equal(r.class, ERR_TRANSIENT);
	/* A cut in an error's body does not change what the status says. */
	r = answer((struct answer){ .status = 401, .transport_rc = -ERR_STREAM_CUT }, STR("{\"error\":{\"mess"));
	assert_int_equal(r.class, ERR_PROVIDER_AUTH);
	r = answer((struct answer){ .transport_rc = -ERR_OUTCOME_UNKNOWN }, STR(""));
	assert_int_equal(r.class, ERR_OUTCOME_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_openai_request_goes_out_as_it_came_with_the_target_s_model, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_request_is_whole_where_a_stream_would_lose_something, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_stream_becomes_one_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_stream_cut_at_any_byte_is_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_a_stream_that_is_over_is_an_answer_however_it_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_tool_calls_are_joined_by_index, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_streams_that_are_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_streams_with_oddities_are_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_whole_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_deep_nesting_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_an_endless_answer_ends_at_its_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_embeddings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_failures_carry_message_and_hint, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_a_refusal_inside_a_stream_carries_its_hint, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
