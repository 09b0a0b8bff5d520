/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request is made of: each need with the place where it was met first, sizes, the estimate, a complexity that only grows, and a front
 * that is the same for requests which share it. Whatever the types, nothing is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/request_facts.h"

#define USER(content)    "{\"role\":\"user\",\"content\":" content "}"
#define CHAT(messages)   "{\"messages\":[" messages "]}"
#define PARTS(parts)     CHAT(USER("[" parts "]"))
#define PDF(data)        "{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64," data "\"}}"
#define HELLO            USER("\"hello\"")

static struct arena arena;
static json_t *request;

static struct request_facts facts_of(const char *text, bool embeddings)
{
	struct err err = { 0 };
	struct request_facts f;
	json_decref(request);
	request = json_parse(str_from(text), &err);
	if (!request)
		fail_msg("%s: %s", text, err.text);
	request_facts_read(&f, request, embeddings, &arena);
	return f;
}

static struct request_facts chat(const char *text)
{
	return facts_of(text, false);
}

static void test_request_facts_every_need_has_one_word_and_one_name(void **state UNUSED)
{
	uint32_t all = 0;
	for (uint32_t bit = NEED_CHAT; bit <= NEED_TOKENS; bit <<= 1) {
		const char *word = request_need_word(bit);
		assert_non_null(word);
		assert_true(strlen(request_need_name(bit)) > 0);
		assert_int_equal(request_need_parse(str_from(word)), bit);
		all |= bit;
	}
	assert_int_equal(request_need_parse(STR("images")), NEED_IMAGES);
	assert_int_equal(request_need_parse(STR("pdf")), NEED_PDF);
	assert_int_equal(request_need_parse(STR("image")), 0);
	assert_int_equal(request_need_parse(STR("")), 0);
	assert_null(request_need_word(0));
	assert_null(request_need_word(UINT32_C(1) << 31));
	assert_int_equal(all, (NEED_TOKENS << 1) - 1);
}

static void test_request_facts_needs_and_where_they_are(void **state UNUSED)
{
	static const struct {
		const char *text, *pointer;
		uint32_t need; /* besides NEED_CHAT */
	} rows[] = {
		{ CHAT(HELLO), "/messages", NEED_CHAT },
		{ PARTS("{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}"),
		  "/messages/0/content/1", NEED_IMAGES },
		{ PARTS("{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://h/x.png\"}}"), "/messages/0/content/0", NEED_IMAGE_URLS },
		{ PARTS(PDF("AAAA")), "/messages/0/content/0", NEED_PDF },
		{ PARTS("{\"type\":\"file\",\"file\":{\"filename\":\"X.PDF\",\"file_data\":\"data:application/octet-stream;base64,AAAA\"}}"),
		  "/messages/0/content/0", NEED_PDF },
		{ PARTS("{\"type\":\"file\",\"file\":{\"filename\":\"x.pdf\",\"file_data\":\"AAAA\"}}"), "/messages/0/content/0", NEED_PDF },
		{ PARTS("{\"type\":\"file\",\"file\":{\"filename\":\"x.pdf\",\"file_data\":\"data:text/plain;charset=utf-8;base64,AAAA\"}}"),
		  "/messages/0/content/0", NEED_TEXT_FILES },
		{ PARTS("{\"type\":\"file\",\"file\":{\"file_data\":\"DATA:Application/JSON,%7B%7D\"}}"), "/messages/0/content/0", NEED_TEXT_FILES },
		{ PARTS("{\"type\":\"file\",\"file\":{\"filename\":\"x.docx\",\"file_data\":\"data:application/msword;base64,AAAA\"}}"),
		  "/messages/0/content/0", NEED_OTHER_FILES },
		{ PARTS("{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}"), "/messages/0/content/0", NEED_FILE_IDS },
		{ CHAT(HELLO "," USER("[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\",\"format\":\"wav\"}}]")), "/messages/1/content/0",
		  NEED_AUDIO },
		{ "{\"modalities\":[\"text\",\"audio\"],\"messages\":[]}", "/modalities/1", NEED_AUDIO },
		{ "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"messages\":[]}", "/tools", NEED_TOOLS },
		{ "{\"functions\":[{\"name\":\"f\"}],\"messages\":[]}", "/functions", NEED_TOOLS },
		{ CHAT(HELLO ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}"),
		  "/messages/1/tool_calls", NEED_TOOLS },
		{ CHAT("{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"x\"}"), "/messages/0", NEED_TOOLS },
		{ "{\"response_format\":{\"type\":\"json_object\"},\"messages\":[]}", "/response_format", NEED_JSON_OBJECT },
		{ "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}},\"messages\":[]}", "/response_format", NEED_JSON_SCHEMA },
		{ "{\"n\":2,\"messages\":[]}", "/n", NEED_CHOICES },
		{ "{\"logprobs\":true,\"messages\":[]}", "/logprobs", NEED_LOGPROBS },
		{ "{\"top_logprobs\":3,\"messages\":[]}", "/top_logprobs", NEED_LOGPROBS },
		{ "{\"logit_bias\":{\"1\":5},\"messages\":[]}", "/logit_bias", NEED_LOGIT_BIAS },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request_facts f = chat(rows[i].text);
		if (f.needs != (rows[i].need | NEED_CHAT))
			fail_msg("%s: needs %x", rows[i].text, f.needs);
		assert_string_equal(f.pointers[__builtin_ctz(rows[i].need)], rows[i].pointer);
	}
}

static void test_request_facts_what_is_not_asked_for_is_no_need(void **state UNUSED)
{
	struct request_facts f = chat("{\"tools\":[],\"n\":1,\"logprobs\":false,\"top_logprobs\":0,\"logit_bias\":{},\"modalities\":[\"text\"],"
	                              "\"response_format\":{\"type\":\"text\"},\"reasoning_effort\":\"none\",\"messages\":[" HELLO "]}");
	assert_int_equal(f.needs, NEED_CHAT);
	assert_null(f.pointers[9]);
	assert_false(f.reasoning);
	assert_int_equal(f.max_output, 0);
}

static void test_request_facts_counts_and_sizes(void **state UNUSED)
{
	struct request_facts f = chat("{\"max_tokens\":5,\"max_completion_tokens\":7,\"reasoning_effort\":\"low\",\"messages\":["
	                              "{\"role\":\"system\",\"content\":\"12345\"},"
	                              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"123\"}," PDF("AAAAAAA=") "," PDF("AAAAAA==")
	                              ",{\"type\":\"image_url\",\"image_url\":\"http://h\"},"
	                              "{\"type\":\"file\",\"file\":{\"file_data\":\"data:text/plain;base64,AAAA\"}},"
	                              "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAAAAAA\"}}]},"
	                              "{\"role\":\"assistant\",\"refusal\":\"no\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]}");
	assert_int_equal(f.messages, 3);
	assert_int_equal(f.text_bytes, 5 + 3 + 3 + 2 + 3);
	assert_int_equal(f.file_bytes, 5 + 4);
	assert_int_equal(f.audio_bytes, 6);
	assert_int_equal(f.images, 1);
	assert_int_equal(f.max_output, 7);
	assert_true(f.reasoning);
	assert_int_equal(chat("{\"max_tokens\":5}").max_output, 5);
	f = chat("{\"tools\":[{\"b\":1,\"a\":2},{}],\"messages\":[]}");
	assert_int_equal(f.tools, 2);
	assert_int_equal(f.text_bytes, 13 + 2);
}

static void test_request_facts_of_embeddings(void **state UNUSED)
{
	struct request_facts f = facts_of("{\"input\":\"hello\"}", true);
	assert_int_equal(f.needs, NEED_EMBEDDINGS);
	assert_string_equal(f.pointers[1], "/input");
	assert_int_equal(f.inputs, 1);
	assert_int_equal(f.text_bytes, 5);
	f = facts_of("{\"input\":[\"ab\",\"c\"],\"dimensions\":256}", true);
	assert_int_equal(f.needs, NEED_EMBEDDINGS | NEED_DIMENSIONS);
	assert_int_equal(f.inputs, 2);
	assert_int_equal(f.text_bytes, 3);
	f = facts_of("{\"input\":[1,2,3]}", true);
	assert_int_equal(f.needs, NEED_EMBEDDINGS | NEED_TOKENS);
	assert_int_equal(f.inputs, 1);
	assert_int_equal(request_facts_tokens(&f, 4000), 4); /* 3 and a tenth */
	f = facts_of("{\"input\":[[1,2],[3]],\"dimensions\":null}", true);
	assert_int_equal(f.needs, NEED_EMBEDDINGS | NEED_TOKENS);
	assert_int_equal(f.inputs, 2);
	assert_int_equal(f.text_bytes, 12);
	assert_int_equal(f.complexity, 0);
}

static void test_request_facts_estimate_of_tokens(void **state UNUSED)
{
	struct request_facts f = { .text_bytes = 4000, .messages = 2 };
	assert_int_equal(request_facts_tokens(&f, 4000), 1109); /* (1000 + 8) × 1.1 = 1108.8 */
	assert_int_equal(request_facts_tokens(&f, 2000), 2209); /* (2000 + 8) × 1.1 = 2208.8 */
	f = (struct request_facts){ .images = 2 };
	assert_int_equal(request_facts_tokens(&f, 4000), 2420);
	f = (struct request_facts){ .file_bytes = REQUEST_PDF_PAGE_BYTES + 1 };
	assert_int_equal(request_facts_tokens(&f, 4000), 4950);
	f = (struct request_facts){ .audio_bytes = 16000 };
	assert_int_equal(request_facts_tokens(&f, 4000), 36); /* 32 × 1.1 = 35.2 */
	f = (struct request_facts){ .text_bytes = 1 };
	assert_int_equal(request_facts_tokens(&f, 4000), 2);
	f = (struct request_facts){ 0 };
	assert_int_equal(request_facts_tokens(&f, 4000), 0);
}

/* Each row is the one before with more of one thing; the first of a group is a plain request. */
static void test_request_facts_complexity_only_grows(void **state UNUSED)
{
	static const char *const groups[][4] = {
		{ CHAT(HELLO), CHAT(HELLO "," HELLO "," HELLO "," HELLO),
		  CHAT(HELLO "," HELLO "," HELLO "," HELLO "," HELLO "," HELLO "," HELLO "," HELLO) },
		{ CHAT(HELLO), "{\"tools\":[{}],\"messages\":[" HELLO "]}", "{\"tools\":[{},{},{}],\"messages\":[" HELLO "]}",
		  "{\"tools\":[{},{},{},{},{},{},{},{}],\"messages\":[" HELLO "]}" },
		{ CHAT(HELLO), "{\"response_format\":{\"type\":\"json_schema\"},\"messages\":[" HELLO "]}" },
		{ CHAT(HELLO), CHAT(USER("\"hello ```x```\"")), CHAT(USER("\"hello ```x``` ```y```\"")) },
		{ CHAT(HELLO), CHAT(USER("\"Why hello\"")), CHAT(USER("\"Why, hello? Explain!\"")), CHAT(USER("\"why: prove, explain hello\"")) },
		{ CHAT(HELLO), "{\"reasoning_effort\":\"low\",\"messages\":[" HELLO "]}", "{\"reasoning_effort\":\"high\",\"messages\":[" HELLO "]}" },
		{ PARTS("{\"type\":\"text\",\"text\":\"hello\"}"),
		  PARTS("{\"type\":\"text\",\"text\":\"hello\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://h\"}}") },
		{ PARTS("{\"type\":\"text\",\"text\":\"hello\"}"), PARTS("{\"type\":\"text\",\"text\":\"hello\"}," PDF("AAAA")) },
	};
	for (size_t g = 0; g < ARRAY_LEN(groups); g++)
		for (size_t i = 0, last = 0; i < ARRAY_LEN(groups[g]) && groups[g][i]; i++) {
			struct request_facts f = chat(groups[g][i]);
			if (i == 0 ? f.complexity != 0 || f.complexity_why.n : (size_t)f.complexity <= last || f.complexity_why.n == 0)
				fail_msg("%s: %d after %zu, " STR_FMT, groups[g][i], f.complexity, last, STR_ARG(f.complexity_why));
			last = (size_t)f.complexity;
		}
}

static void test_request_facts_complexity_has_a_why_and_an_end(void **state UNUSED)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 1 << 20);
	buf_add_z(&b, "{\"reasoning_effort\":\"high\",\"tools\":[{},{},{},{},{},{},{},{}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":\"");
	for (int i = 0; i < 2000; i++)
		buf_add_char(&b, 's');
	buf_add_z(&b, "\"},\"messages\":[");
	for (int i = 0; i < 20; i++)
		buf_add_z(&b, HELLO ",");
	buf_add_z(&b, USER("[" PDF("AAAA") ",{\"type\":\"image_url\"},{\"type\":\"image_url\"},{\"type\":\"image_url\"},{\"type\":\"image_url\"},"
	                   "{\"type\":\"text\",\"text\":\"```a``` ```b``` prove why, compare, design"));
	for (int i = 0; i < 300000; i++)
		buf_add_char(&b, 'x');
	buf_add_z(&b, "\"}]}]}");
	buf_add_char(&b, 0);
	struct request_facts f = chat(b.p);
	assert_int_equal(f.complexity, 100);
	assert_true(str_eq_z(f.complexity_why, "long input, conversation, tools, schema, images, files, code, reasoning words, reasoning effort"));
}

static uint64_t front(const char *text)
{
	return chat(text).prefix;
}

#define SYS(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void test_request_facts_prefix_is_of_the_front_alone(void **state UNUSED)
{
	assert_int_equal(front(CHAT(HELLO)), 0);
	uint64_t system = front(CHAT(SYS("system", "Be brief.") "," HELLO));
	assert_int_not_equal(system, 0);
	assert_int_equal(system, front(CHAT(SYS("developer", "Be brief.") "," USER("\"other\""))));
	assert_int_equal(system, front(CHAT("{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"Be brief.\"}]}," HELLO)));
	assert_int_not_equal(system, front(CHAT(SYS("system", "Be brief!") "," HELLO)));
	assert_int_not_equal(system, front(CHAT(SYS("system", "Be brief.") "," SYS("system", "") "," HELLO)));

	uint64_t tools = front("{\"tools\":[{\"a\":1,\"b\":2}],\"messages\":[" HELLO "]}");
	assert_int_not_equal(tools, 0);
	assert_int_equal(tools, front("{\"tools\":[{\"b\":2,\"a\":1}],\"messages\":[" USER("\"x\"") "]}"));
	assert_int_not_equal(tools, front("{\"tools\":[{\"b\":2,\"a\":2}],\"messages\":[" HELLO "]}"));

	uint64_t document = front(PARTS(PDF("AAAA") ",{\"type\":\"text\",\"text\":\"one\"}"));
	assert_int_not_equal(document, 0);
	assert_int_equal(document, front(PARTS(PDF("AAAA") ",{\"type\":\"text\",\"text\":\"two\"}," PDF("BBBB"))));
	assert_int_not_equal(document, front(PARTS(PDF("AAAB") ",{\"type\":\"text\",\"text\":\"one\"}")));
	assert_int_equal(front(PARTS("{\"type\":\"text\",\"text\":\"one\"}," PDF("AAAA"))), 0);
	assert_int_equal(front(CHAT(HELLO "," USER("[" PDF("AAAA") "]"))), 0);
}

/* A worker and another of the next version must meet at the same target. */
static void test_request_facts_prefix_is_the_same_in_every_process(void **state UNUSED)
{
	uint64_t got = front(CHAT(SYS("system", "Be brief, and polite.") "," HELLO));
	if (got != UINT64_C(0xc7493466146fefdf))
		fail_msg("%016llx", (unsigned long long)got);
}

static void test_request_facts_last_user_message(void **state UNUSED)
{
	assert_true(str_eq_z(chat(CHAT(USER("\"a\"") "," USER("\"b\"") "," SYS("assistant", "c"))).last_user, "b"));
	assert_true(str_eq_z(chat(PARTS("{\"type\":\"text\",\"text\":\"one\"}," PDF("AAAA") ",{\"type\":\"text\",\"text\":\"two\"}")).last_user, "one\ntwo"));
	assert_int_equal(chat(CHAT(SYS("system", "c"))).last_user.n, 0);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 1 << 20);
	buf_add_z(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\"a");
	for (int i = 0; i < REQUEST_QUESTION_MAX; i++)
		buf_add_z(&b, "é");
	buf_add_z(&b, "\"}]}");
	buf_add_char(&b, 0);
	struct str last = chat(b.p).last_user;
	assert_int_equal(last.n, REQUEST_QUESTION_MAX - 1); /* no half character */
	assert_true(str_is_utf8(last));
}

static void test_request_facts_data_urls_in_parts(void **state UNUSED)
{
	struct request_data d;
	assert_true(request_data_url(STR("data:image/png;x=1;BASE64,QUJD"), &d));
	assert_true(str_eq_z(d.type, "image/png") && d.base64 && str_eq_z(d.data, "QUJD"));
	assert_int_equal(d.bytes, 3);
	assert_true(request_data_url(STR("data:,hi"), &d));
	assert_true(d.type.n == 0 && !d.base64 && d.bytes == 2);
	assert_false(request_data_url(STR("data:text/plain"), &d));
	assert_false(request_data_url(STR("https://h/data:,x"), &d));
}

static void test_request_facts_take_any_types(void **state UNUSED)
{
	static const char *const texts[] = {
		"{}",
		"{\"messages\":7,\"tools\":{},\"input\":{},\"n\":\"2\",\"modalities\":\"audio\"}",
		"{\"messages\":[null,[],{\"role\":1,\"content\":[null,{},{\"type\":\"file\"},{\"type\":\"image_url\",\"image_url\":1},{\"type\":\"input_audio\"}]}]}",
		"{\"messages\":[{\"role\":\"user\",\"content\":{}}],\"response_format\":\"json\",\"logit_bias\":[],\"reasoning_effort\":1}",
		"{\"input\":[null,{},[],\"\"],\"dimensions\":\"x\"}",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		for (int k = 0; k < 2; k++) {
			struct request_facts f = facts_of(texts[i], k == 1);
			assert_true(f.needs & (k ? NEED_EMBEDDINGS : NEED_CHAT));
			assert_true(request_facts_tokens(&f, 0) >= 0);
		}
}

static int setup(void **state UNUSED)
{
	arena_init(&arena, 64 << 20);
	return 0;
}

static int teardown(void **state UNUSED)
{
	json_decref(request);
	request = NULL;
	arena_done(&arena);
	return 0;
}

/* What has no mark is the same value, not a copy; a tool's own schema may have a property of that name. */
static void test_request_facts_marks_of_the_prompt_cache_are_taken_off(void **state UNUSED)
{
	struct err err = { 0 };
	json_t *marked = json_parse(STR("{\"cache_control\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"cache_control\":1},{\"content\":[{\"text\":\"b\"},"
	                                "{\"text\":\"c\",\"cache_control\":1}],\"tool_calls\":[{\"id\":\"i\",\"cache_control\":1}]},{\"content\":[{\"text\":\"d\"}]},7],"
	                                "\"tools\":[{\"function\":{\"parameters\":{\"cache_control\":1}},\"cache_control\":1}]}"), &err);
	json_t *plain = json_parse(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"content\":[{\"text\":\"b\"},{\"text\":\"c\"}],\"tool_calls\":[{\"id\":\"i\"}]},"
	                               "{\"content\":[{\"text\":\"d\"}]},7],\"tools\":[{\"function\":{\"parameters\":{\"cache_control\":1}}}]}"), &err);
	json_t *before = json_deep_copy(marked), *made = request_unmarked(marked), *same = request_unmarked(plain);
	assert_true(json_equal(made, plain) && json_equal(marked, before) && same == plain);
	assert_ptr_equal(json_array_get(json_get(made, "messages"), 2), json_array_get(json_get(marked, "messages"), 2));
	json_decref(made);
	json_decref(same);
	json_decref(before);
	json_decref(plain);
	json_decref(marked);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_request_facts_every_need_has_one_word_and_one_name),
		TEST(test_request_facts_needs_and_where_they_are),
		TEST(test_request_facts_what_is_not_asked_for_is_no_need),
		TEST(test_request_facts_counts_and_sizes),
		TEST(test_request_facts_of_embeddings),
		TEST(test_request_facts_estimate_of_tokens),
		TEST(test_request_facts_complexity_only_grows),
		TEST(test_request_facts_complexity_has_a_why_and_an_end),
		TEST(test_request_facts_prefix_is_of_the_front_alone),
		TEST(test_request_facts_marks_of_the_prompt_cache_are_taken_off),
		TEST(test_request_facts_prefix_is_the_same_in_every_process),
		TEST(test_request_facts_last_user_message),
		TEST(test_request_facts_data_urls_in_parts),
		TEST(test_request_facts_take_any_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
