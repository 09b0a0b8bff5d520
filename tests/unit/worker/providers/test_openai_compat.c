/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that speak OpenAI's protocol with an accent: what each is sent in its own way, and the odd forms in which some of them answer.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "common/provider_record.h"
#include "worker/providers/openai.h"

#define LIMIT 65536

static struct arena arena;

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

static struct conf_target target_of(const char *provider)
{
	const struct provider_record *record = provider_record_find(str_from(provider));
	assert_non_null(record);
	return (struct conf_target){ .name = STR("t"), .provider = str_from(provider), .record = record, .model = STR("my model"),
		                     .base_url = record->base_url[0] ? str_from(record->base_url) : STR("http://h/v1"), .api_key = STR("key"), .stream = true };
}

static struct provider_request request;

/* The body that this provider would be sent, as text in the arena. */
static struct str sent(const struct conf_target *t, int kind, const char *text, int64_t max_output)
{
	struct err err = { .code = ERR_OK };
	json_t *r = json_parse(str_from(text), &err);
	assert_non_null(r);
	memset(&request, 0, sizeof request);
	assert_int_equal(provider_openai.make(&(struct provider_ask){ t, kind, r, max_output }, &arena, &request, &err), 0);
	json_decref(r);
	struct str body = arena_str(&arena, buf_str(&request.body));
	buf_done(&request.body);
	return body;
}

static bool holds(struct str body, const char *text)
{
	return str_find(body, str_from(text)) >= 0;
}

static void test_openai_quirks_change_what_each_server_is_sent(void **state)
{
	static const struct {
		const char *provider, *request;
		int64_t max_output;
		const char *there, *not_there; /* NULL: nothing is asked */
	} rows[] = {
		{ "openai", "{\"max_completion_tokens\":5}", 0, "\"max_completion_tokens\":5", "\"max_tokens\"" },
		{ "openai", "{\"max_tokens\":5}", 3, "\"max_tokens\":3", "max_completion_tokens" },
		{ "openai", "{}", 3, "\"max_completion_tokens\":3", "\"max_tokens\"" },
		{ "openai", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"cache_control\":{}}]}", 0, "\"content\":\"x\"", "cache_control" },
		{ "openrouter", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"cache_control\":{}}]}", 0, "\"content\":\"x\",\"cache_control\":{}", NULL },
		{ "openai", "{}", 0, "\"include_obfuscation\":false", NULL },
		{ "groq", "{}", 0, "\"include_usage\":true", "include_obfuscation" },
		{ "vllm", "{\"max_completion_tokens\":5}", 0, "\"max_tokens\":5", "max_completion_tokens" },
		{ "vllm", "{}", 7, "\"max_tokens\":7", "max_completion_tokens" },
		{ "mistral", "{\"tool_choice\":\"required\",\"seed\":4}", 0, "\"tool_choice\":\"any\"", "\"seed\"" },
		{ "mistral", "{\"seed\":4}", 0, "\"random_seed\":4", "stream_options" },
		{ "openai", "{\"tool_choice\":\"required\",\"seed\":4}", 0, "\"tool_choice\":\"required\"", "random_seed" },
		{ "deepseek", "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}", 0, "\"role\":\"system\"", "developer" },
		{ "openai", "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}", 0, "\"role\":\"developer\"", NULL },
		{ "openai", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"thinking_blocks\":[1]}]}", 0, "\"content\":\"x\"", "thinking_blocks" },
		{ "openai", "{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"x\",\"is_error\":true}]}", 0, "\"content\":\"x\"", "is_error" },
		{ "groq", "{\"messages\":[],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},\"top_k\":5}", 0, "\"reasoning_effort\":\"low\"", "thinking" },
		{ "mistral", "{\"messages\":[],\"thinking\":{\"type\":\"disabled\"},\"top_k\":5}", 0, "\"messages\":[]", "top_k" },
		{ "vllm", "{\"messages\":[],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":20000},\"top_k\":5}", 0, "\"top_k\":5", "reasoning_effort" },
		{ "openai", "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"extra_content\":{\"google\":1}}]}]}", 0, "\"id\":\"a\"", "extra_content" },
		{ "openai", "{\"tools\":[{\"type\":\"custom\"}]}", 0, NULL, "\"stream\"" },
		{ "openai", "{\"functions\":[]}", 0, NULL, "\"stream\"" },
		{ "openai", "{\"stream\":false,\"other\":{\"kept\":[1]}}", 0, "\"kept\":[1]", "\"stream\":false" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf_target t = target_of(rows[i].provider);
		struct str body = sent(&t, PROVIDER_CHAT, rows[i].request, rows[i].max_output);
		if ((rows[i].there && !holds(body, rows[i].there)) || (rows[i].not_there && holds(body, rows[i].not_there)))
			fail_msg("row %zu: " STR_FMT, i, STR_ARG(body));
	}
}

static void test_openai_azure_has_paths_and_a_header_of_its_own(void **state)
{
	static const struct {
		const char *base, *version;
		int kind;
		const char *url;
	} rows[] = {
		{ "https://r.openai.azure.com", "2024-10-21", PROVIDER_CHAT,
		  "https://r.openai.azure.com/openai/deployments/my%20model/chat/completions?api-version=2024-10-21" },
		{ "https://r.openai.azure.com/openai", "2024-10-21", PROVIDER_EMBEDDINGS,
		  "https://r.openai.azure.com/openai/deployments/my%20model/embeddings?api-version=2024-10-21" },
		{ "https://r.openai.azure.com/openai/v1", "", PROVIDER_CHAT, "https://r.openai.azure.com/openai/v1/chat/completions" },
		{ "https://r.openai.azure.com", "", PROVIDER_EMBEDDINGS, "https://r.openai.azure.com/openai/v1/embeddings" },
	};
	struct conf_header aad = { STR("Authorization"), STR("Bearer aad") };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf_target t = target_of("azure");
		t.base_url = str_from(rows[i].base);
		t.api_version = str_from(rows[i].version);
		sent(&t, rows[i].kind, "{\"input\":\"x\"}", 0);
		assert_string_equal(request.url, rows[i].url);
		assert_true(str_eq_z(http_find(request.headers, request.nheaders, "api-key"), "key"));
		assert_null(http_find(request.headers, request.nheaders, "authorization").p);
		t.headers = &aad;
		t.nheaders = 1;
		sent(&t, rows[i].kind, "{\"input\":\"x\"}", 0);
		assert_null(http_find(request.headers, request.nheaders, "api-key").p);
	}
}

/* --- answers --- */

static struct buf told; /* what the sink was told */

static void tell(void *arg, const struct provider_delta *d)
{
	(void)arg;
	buf_add_str(&told, d->text);
}

static struct provider_result answer_to(const char *provider, const char *request_text, bool streamed, struct str body, size_t piece)
{
	struct conf_target t = target_of(provider);
	json_t *r = json_parse(str_from(request_text), NULL);
	const struct http_header head[] = { { STR("Content-Type"), streamed ? STR("text/event-stream") : STR("application/json") } };
	struct provider_ask ask = { &t, json_get(r, "input") ? PROVIDER_EMBEDDINGS : PROVIDER_CHAT, r, 0 };
	struct provider_call *c = provider_openai.start(&ask, streamed, LIMIT, (struct provider_sink){ tell, NULL }, &arena);
	struct provider_result ret;
	bool token;
	int rc = 0;
	json_decref(r);
	buf_init(&told, LIMIT);
	provider_openai.answer_head(c, 200, head, 1);
	for (size_t at = 0; rc == 0 && at < body.n; at += piece)
		rc = provider_openai.answer_data(c, str_sub(body, at, piece), &token);
	provider_openai.answer_end(c, rc, 0, &ret);
	struct str text = arena_str(&arena, buf_str(&ret.result));
	buf_done(&ret.result);
	ret.result = (struct buf){ .p = (char *)(uintptr_t)text.p, .n = text.n };
	return ret;
}

#define CHAT_REQUEST "{\"messages\":[]}"
#define HEAD         "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
#define TEXT(t)      HEAD "{\"content\":\"" t "\"},\"finish_reason\":null}]}\n\n"
#define STOP         HEAD "{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE         "data: [DONE]\n\n"

static void test_openai_events_of_one_shape_say_what_json_says(void **state)
{
	static const char stream[] = HEAD "{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n" TEXT("a") TEXT("b\\n") TEXT("\\u00e9") TEXT("日本")
	    TEXT("c \\\"d\\\"") TEXT("e") HEAD "{\"content\":\"f\",\"refusal\":\"r\"},\"finish_reason\":null}]}\n\n" TEXT("g") STOP DONE;
	(void)state;
	for (size_t piece = 1; piece < sizeof stream; piece += 7) {
		struct provider_result r = answer_to("openai", CHAT_REQUEST, true, str_from(stream), piece);
		assert_int_equal(r.class, ERR_OK);
		json_t *answer = json_parse(buf_str(&r.result), NULL);
		json_t *m = json_get(json_array_get(json_get(answer, "choices"), 0), "message");
		assert_true(str_eq_z(json_str(m, "content"), "ab\né日本c \"d\"efg"));
		assert_true(str_eq_z(json_str(m, "refusal"), "r"));
		assert_true(str_eq_z(buf_str(&told), "ab\né日本c \"d\"efrg"));
		json_decref(answer);
		buf_done(&told);
	}
}

static void test_openai_no_cut_of_a_stream_is_a_success(void **state)
{
	static const char stream[] = TEXT("one ") TEXT("two ") TEXT("three") STOP "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n" DONE;
	(void)state;
	for (size_t n = 0; n + 2 < strlen(stream); n++) {
		struct provider_result r = answer_to("openai", CHAT_REQUEST, true, (struct str){ stream, n }, 64);
		assert_int_not_equal(r.class, ERR_OK);
		buf_done(&told);
	}
}

static void test_openai_odd_answers_have_their_class(void **state)
{
	static const struct {
		const char *provider, *request;
		bool streamed;
		const char *body;
		enum err_code class;
	} rows[] = {
		{ "openai", CHAT_REQUEST, true, TEXT("x") "data: {\"object\":\"error\",\"message\":\"boom\",\"code\":500}\n\n", ERR_TRANSIENT },
		{ "openrouter", CHAT_REQUEST, true, TEXT("x") "data: {\"choices\":[{\"error\":{\"code\":429,\"message\":\"slow down\"}}]}\n\n", ERR_PROVIDER_RATE_LIMIT },
		{ "ollama", CHAT_REQUEST, true, TEXT("x") "{\"error\":\"an error was encountered while running the model\"}\n", ERR_TRANSIENT },
		{ "llamacpp", CHAT_REQUEST, true, TEXT("x") "error: {\"code\":500,\"message\":\"m\",\"type\":\"server_error\"}\n\n" DONE, ERR_TRANSIENT },
		{ "vllm", CHAT_REQUEST, true, "data: {\"error\":{\"message\":\"m\",\"type\":\"x\",\"code\":500}}\n\ndata: [DONE]\n\n", ERR_TRANSIENT },
		{ "openai", CHAT_REQUEST, true, "event: error\ndata: upstream gone\n\n", ERR_TRANSIENT },
		{ "openrouter", CHAT_REQUEST, false, "{\"choices\":[{\"message\":{\"content\":\"\"},\"error\":{\"code\":502,\"message\":\"m\"}}]}", ERR_TRANSIENT },
		{ "mistral", CHAT_REQUEST, false, "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"error\"}]}", ERR_TRANSIENT },
		{ "vllm", CHAT_REQUEST, false, "{\"object\":\"error\",\"message\":\"m\",\"code\":500}", ERR_TRANSIENT },
		{ "openai", CHAT_REQUEST, false, "{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}", ERR_BAD_OUTPUT },
		{ "openai", CHAT_REQUEST, false, "{\"choices\":[{\"message\":{\"tool_calls\":[{\"type\":\"custom\",\"custom\":{\"name\":\"f\",\"input\":\"{\"}}]}}]}", ERR_OK },
		{ "openai", CHAT_REQUEST, false, "{\"choices\":[{\"message\":{\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}},\"finish_reason\":\"function_call\"}]}", ERR_OK },
		{ "openai", CHAT_REQUEST, true, HEAD "{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"function\":{\"name\":\"g\","
		  "\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n" DONE, ERR_OK },
		{ "openai", CHAT_REQUEST, true, HEAD "{\"tool_calls\":[{\"index\":9223372036854775807,\"id\":\"a\"}]},\"finish_reason\":null}]}\n\n" DONE, ERR_BAD_OUTPUT },
		{ "vllm", CHAT_REQUEST, true, HEAD "{\"reasoning\":\"hm\"},\"finish_reason\":null}]}\n\n" TEXT("x") STOP DONE, ERR_OK },
		{ "openai", "{\"messages\":[],\"response_format\":{\"type\":\"json_schema\"}}", true, TEXT("{") HEAD "{},\"finish_reason\":\"length\"}]}\n\n" DONE,
		  ERR_OUTPUT_TRUNCATED },
		{ "openai", "{\"messages\":[],\"response_format\":{\"type\":\"json_schema\"}}", false,
		  "{\"choices\":[{\"message\":{\"content\":\"{\"},\"finish_reason\":\"length\"}]}", ERR_OUTPUT_TRUNCATED },
		{ "openai", "{\"input\":[\"a\",\"b\"]}", false, "{\"data\":[{\"embedding\":[1,2]}]}", ERR_BAD_OUTPUT },
		{ "openai", "{\"input\":[\"a\",\"b\"]}", false, "{\"data\":[{\"embedding\":[1,2]},{\"embedding\":null}]}", ERR_BAD_OUTPUT },
		{ "openai", "{\"input\":[\"a\",\"b\"]}", false, "{\"data\":[{\"embedding\":[1,2]},{\"embedding\":\"AAAA\"}]}", ERR_OK },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_result r = answer_to(rows[i].provider, rows[i].request, rows[i].streamed, str_from(rows[i].body), 50);
		if (r.class != rows[i].class)
			fail_msg("row %zu: %s", i, err_code_name((int)r.class));
		buf_done(&told);
	}
}

static void test_openai_a_prompt_that_the_server_cut_is_no_success(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, LIMIT);
	buf_add_z(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
	for (int i = 0; i < 8000; i++)
		buf_add_char(&b, 'w');
	buf_add_z(&b, "\"}]}");
	buf_add_char(&b, '\0');
	struct str cut = STR("{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":300,\"completion_tokens\":1}}");
	struct str full = STR("{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":2000,\"completion_tokens\":1}}");
	struct provider_result r = answer_to("ollama", b.p, false, cut, 500);
	assert_int_equal(r.class, ERR_CONTEXT_WINDOW);
	assert_int_equal(r.result.n, 0);
	buf_done(&told);
	assert_int_equal(answer_to("ollama", b.p, false, full, 500).class, ERR_OK);
	buf_done(&told);
	assert_int_equal(answer_to("openai", b.p, false, cut, 500).class, ERR_OK);
	buf_done(&told);
	buf_done(&b);
}

static void test_openai_usage_is_read_in_full_and_kept_in_order(void **state)
{
	struct provider_usage u;
	json_t *v = json_parse(STR("{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":151,\"prompt_tokens_details\":{\"cached_tokens\":40,"
	                           "\"cache_write_tokens\":90,\"audio_tokens\":3},\"completion_tokens_details\":{\"reasoning_tokens\":60}}"), NULL);
	(void)state;
	assert_true(openai_read_usage(&u, v));
	assert_int_equal(u.input, 100);
	assert_int_equal(u.cached_input, 40);
	assert_int_equal(u.cache_write, 60); /* no part above what is left of its total */
	assert_int_equal(u.audio_input, 3);
	assert_int_equal(u.output, 50);
	assert_int_equal(u.reasoning, 50);
	assert_true(u.disagrees);
	json_decref(v);
	v = json_parse(STR("{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":9223372036854775807,\"total_tokens\":1}"), NULL);
	assert_true(openai_read_usage(&u, v) && u.input > 0 && u.disagrees);
	json_decref(v);
	v = json_parse(STR("{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":22,\"completion_tokens_details\":{\"reasoning_tokens\":7}}"), NULL);
	assert_true(openai_read_usage(&u, v) && u.output == 12 && u.reasoning == 7 && !u.disagrees);
	json_decref(v);
	v = json_parse(STR("{\"prompt_tokens\":0,\"completion_tokens\":0}"), NULL);
	assert_false(openai_read_usage(&u, v));
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_openai_quirks_change_what_each_server_is_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_azure_has_paths_and_a_header_of_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_events_of_one_shape_say_what_json_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_no_cut_of_a_stream_is_a_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_odd_answers_have_their_class, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_a_prompt_that_the_server_cut_is_no_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_openai_usage_is_read_in_full_and_kept_in_order, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
