/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests on their way to Anthropic: a row per field and per form of it, what is refused by name, the marks of the prompt cache, the headers, and
 * that a file arrives with the bytes that it had.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "common/crypto.h"
#include "worker/providers/anthropic.h"

static struct arena arena;
static const struct conf_target plain = { .name = STR("t"), .provider = STR("anthropic"), .model = STR("claude-x"), .base_url = STR("http://h/v1"), .api_key = STR("sk-1") };
static struct conf_target target;

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, (size_t)64 << 20);
	target = plain;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

static int make(const char *request, int64_t max_output, struct provider_request *ret, struct err *err)
{
	json_t *r = json_parse(str_from(request), err);
	if (!r)
		fail_msg("%s: %s", request, err->text);
	memset(ret, 0, sizeof(*ret));
	int rc = provider_anthropic.make(&(struct provider_ask){ &target, PROVIDER_CHAT, r, max_output }, &arena, ret, err);
	json_decref(r);
	return rc;
}

/* The body, with the headers in ret. */
static json_t *made(const char *request, int64_t max_output, struct provider_request *ret)
{
	struct err err = { .code = ERR_OK };
	if (make(request, max_output, ret, &err) < 0)
		fail_msg("%s: %s", request, err.text);
	json_t *body = json_parse(buf_str(&ret->body), &err);
	assert_non_null(body);
	buf_done(&ret->body);
	return body;
}

static struct str header(const struct provider_request *r, const char *name)
{
	return http_find(r->headers, r->nheaders, name);
}

/* Fields of a request beside one message, and what they become beside model, max_tokens and the message. */
struct row {
	const char *in, *out;
};

static json_t *object_of(const char *front, const char *members, const char *end)
{
	struct err err = { .code = ERR_OK };
	json_t *v = json_parse(arena_printf(&arena, "%s%s%s%s", front, members[0] ? "," : "", members, end), &err);
	if (!v)
		fail_msg("%s: %s", members, err.text);
	return v;
}

static void compare(const char *in, json_t *got, json_t *wanted)
{
	struct buf a, b;
	buf_init(&a, 1 << 20);
	buf_init(&b, 1 << 20);
	json_write_sorted(&a, got);
	json_write_sorted(&b, wanted);
	if (!str_eq(buf_str(&a), buf_str(&b)))
		fail_msg("%s\nwanted " STR_FMT "\ngot    " STR_FMT, in, STR_ARG(buf_str(&b)), STR_ARG(buf_str(&a)));
	buf_done(&a);
	buf_done(&b);
	json_decref(got);
	json_decref(wanted);
}

static void check_fields(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct provider_request r;
		struct str in = arena_printf(&arena, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s%s}", rows[i].in[0] ? "," : "", rows[i].in);
		json_t *got = made(in.p, 0, &r);
		const char *given = strstr(rows[i].out, "max_tokens") ? "" : ",\"max_tokens\":4096";
		struct str front = arena_printf(&arena, "{\"model\":\"claude-x\"%s,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]", given);
		compare(rows[i].in, got, object_of(front.p, rows[i].out, "}"));
	}
}

#define F      "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1}}}}}"
#define G      "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}"
#define F_OUT  "{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1}}}}"
#define G_OUT  "{\"name\":\"g\",\"input_schema\":{\"type\":\"object\"}}"
#define TOOLS  "\"tools\":[" F "," G "]"
#define TOOLS_OUT "\"tools\":[" F_OUT "," G_OUT "]"
#define JSON_ONLY "\"system\":[{\"type\":\"text\",\"text\":\"Answer with one JSON object and nothing else: no text before or after it, no code fence.\"}]"

static void test_anthropic_request_fields(void **state)
{
	static const struct row rows[] = {
		{ "", "" },
		{ "\"model\":\"other\",\"stream\":true,\"seed\":1,\"store\":true,\"presence_penalty\":1,\"frequency_penalty\":1,\"n\":1,\"logprobs\":false,\"modalities\":[\"text\"]", "" },
		{ "\"max_tokens\":7", "\"max_tokens\":7" },
		{ "\"max_tokens\":7,\"max_completion_tokens\":9", "\"max_tokens\":9" },
		{ "\"max_tokens\":7,\"max_completion_tokens\":null", "\"max_tokens\":7" },
		{ "\"temperature\":0.5", "\"temperature\":0.5" },
		{ "\"temperature\":1.7", "\"temperature\":1" },
		{ "\"temperature\":2,\"top_p\":1", "\"temperature\":1" },
		{ "\"temperature\":0,\"top_p\":1.0", "\"temperature\":0" },
		{ "\"temperature\":1,\"top_p\":0.5", "\"top_p\":0.5" },
		{ "\"temperature\":0.2,\"top_p\":0.5,\"top_k\":4", "\"temperature\":0.2,\"top_p\":0.5,\"top_k\":4" },
		{ "\"top_p\":1,\"temperature\":null", "\"top_p\":1" },
		{ "\"stop\":\"END\"", "\"stop_sequences\":[\"END\"]" },
		{ "\"stop\":[\"a\",\"b\"]", "\"stop_sequences\":[\"a\",\"b\"]" },
		{ "\"stop\":null", "" },
		{ "\"user\":\"u\"", "\"metadata\":{\"user_id\":\"u\"}" },
		{ "\"user\":\"u\",\"safety_identifier\":\"s\"", "\"metadata\":{\"user_id\":\"s\"}" },
		{ "\"service_tier\":\"auto\"", "\"service_tier\":\"auto\"" },
		{ "\"service_tier\":\"priority\"", "\"service_tier\":\"auto\"" },
		{ "\"service_tier\":\"default\"", "\"service_tier\":\"standard_only\"" },
		{ "\"service_tier\":\"flex\"", "\"service_tier\":\"standard_only\"" },
		{ "\"reasoning_effort\":\"none\"", "\"thinking\":{\"type\":\"disabled\"}" },
		{ "\"reasoning_effort\":\"minimal\"", "\"output_config\":{\"effort\":\"low\"}" },
		{ "\"reasoning_effort\":\"high\"", "\"output_config\":{\"effort\":\"high\"}" },
		{ "\"reasoning_effort\":\"max\"", "\"output_config\":{\"effort\":\"max\"}" },
		{ "\"reasoning_effort\":\"none\",\"thinking\":{\"type\":\"adaptive\"}", "\"thinking\":{\"type\":\"adaptive\"}" },
		/* What is thought is less than what is written in all. */
		{ "\"max_tokens\":9000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":8999}", "\"max_tokens\":9000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":8999}" },
		{ "\"max_tokens\":9000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":9000}", "\"max_tokens\":9000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":4500}" },
		{ "\"max_tokens\":1025,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}", "\"max_tokens\":1025,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}" },
		{ "\"max_tokens\":1024,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}", "\"max_tokens\":1024,\"thinking\":{\"type\":\"disabled\"}" },
		/* Who thinks is sampled in one way only. */
		{ "\"temperature\":0.5,\"top_k\":5,\"top_p\":0.5,\"thinking\":{\"type\":\"adaptive\"}", "\"thinking\":{\"type\":\"adaptive\"}" },
		{ "\"top_p\":0.96875,\"thinking\":{\"type\":\"adaptive\"}", "\"top_p\":0.96875,\"thinking\":{\"type\":\"adaptive\"}" },
		{ "\"temperature\":0.5,\"top_k\":5,\"thinking\":{\"type\":\"disabled\"}", "\"temperature\":0.5,\"top_k\":5,\"thinking\":{\"type\":\"disabled\"}" },
		{ "\"response_format\":{\"type\":\"text\"}", "" },
		{ "\"response_format\":{\"type\":\"json_object\"}", JSON_ONLY },
		{ "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}", JSON_ONLY },
		{ "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1}}}}},"
		  "\"reasoning_effort\":\"low\"",
		  "\"output_config\":{\"effort\":\"low\",\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"integer\","
		  "\"description\":\"{minimum: 1}\"}}}}}" },
		{ "\"tools\":[]", "" },
		{ TOOLS, TOOLS_OUT },
		{ "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"s\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1}}}}}]",
		  "\"tools\":[{\"name\":\"s\",\"strict\":true,\"input_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"integer\","
		  "\"description\":\"{minimum: 1}\"}}}}]" },
		{ TOOLS ",\"tool_choice\":\"auto\"", TOOLS_OUT ",\"tool_choice\":{\"type\":\"auto\"}" },
		{ TOOLS ",\"tool_choice\":\"required\"", TOOLS_OUT ",\"tool_choice\":{\"type\":\"any\"}" },
		{ TOOLS ",\"tool_choice\":\"none\",\"parallel_tool_calls\":false", TOOLS_OUT ",\"tool_choice\":{\"type\":\"none\"}" },
		{ TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}", TOOLS_OUT ",\"tool_choice\":{\"type\":\"tool\",\"name\":\"g\"}" },
		{ TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}}",
		  "\"tools\":[" G_OUT "],\"tool_choice\":{\"type\":\"any\"}" },
		{ TOOLS ",\"parallel_tool_calls\":false", TOOLS_OUT ",\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":true}" },
		{ TOOLS ",\"parallel_tool_calls\":false,\"tool_choice\":\"required\"", TOOLS_OUT ",\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true}" },
		{ TOOLS ",\"parallel_tool_calls\":true", TOOLS_OUT },
		{ "\"tool_choice\":\"auto\",\"parallel_tool_calls\":false", "" },
	};
	(void)state;
	check_fields(rows, ARRAY_LEN(rows));
}

static void test_anthropic_request_limits(void **state)
{
	static const struct {
		const char *in;
		int64_t ask, known, wanted;
	} rows[] = {
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 0, 0, 4096 },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 0, 64000, 64000 },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":100}", 0, 64000, 100 },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":100}", 50, 64000, 50 },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":100000}", 0, 64000, 64000 },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":0}", 0, 0, 4096 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_request r;
		target.max_output_tokens = rows[i].known;
		json_t *body = made(rows[i].in, rows[i].ask, &r);
		assert_int_equal(json_i64(body, "max_tokens", 0), rows[i].wanted);
		json_decref(body);
	}
}

#define PNG  "iVBORw0KGgo="
#define CALL(id, arguments) "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":" arguments "}}"
#define T(text) "{\"type\":\"text\",\"text\":\"" text "\"}"
#define USER(content) "{\"role\":\"user\",\"content\":[" content "]}"
#define BOT(content)  "{\"role\":\"assistant\",\"content\":[" content "]}"
#define PART(part)    "{\"role\":\"user\",\"content\":[" part "]}"
#define FILE_PART(data) "{\"type\":\"file\",\"file\":{\"filename\":\"a\",\"file_data\":\"" data "\"}}"

/* Messages, and the members `messages` and `system` that they become. */
static void test_anthropic_request_messages(void **state)
{
	static const struct row rows[] = {
		{ "{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"developer\",\"content\":[" T("D") "," T("E") "]}",
		  "\"system\":[" T("S") "," T("D") "," T("E") "],\"messages\":[" USER(T("a")) "]" },
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[" T("b") "," T(" ") "," T("c") "]},{\"role\":\"assistant\",\"content\":\"d\"},"
		  "{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"assistant\",\"content\":\"e\"}",
		  "\"system\":[" T("S") "],\"messages\":[" USER(T("a") "," T("b") "," T("c")) "," BOT(T("d") "," T("e")) "]" },
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\"},{\"role\":\"user\",\"content\":\"\"}",
		  "\"messages\":[" USER(T("a")) "," BOT(T("no")) "]" },
		/* The beginning of an answer that the model goes on with ends in no white space; what stands before keeps its own. */
		{ "{\"role\":\"user\",\"content\":\"a \"},{\"role\":\"assistant\",\"content\":\"b \"},{\"role\":\"assistant\",\"content\":\" c \\n\"}",
		  "\"messages\":[" USER(T("a ")) "," BOT(T("b ") "," T(" c")) "]" },
		/* Calls, and their results in one turn of the user's, before what the user says. */
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":[" CALL("c.1", "\"{\\\"x\\\":[1]}\"") "," CALL("c2", "\"\"") "," CALL("c3", "{}") "]},"
		  "{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"tool\",\"tool_call_id\":\"c.1\",\"content\":\"r1\"},"
		  "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":[" T("r2") "]},{\"role\":\"tool\",\"tool_call_id\":\"c3\",\"content\":\"\",\"is_error\":true},{\"role\":\"user\",\"content\":\"c\"}",
		  "\"messages\":[" USER(T("a")) ","
		  BOT(T("t") ",{\"type\":\"tool_use\",\"id\":\"c_1\",\"name\":\"f\",\"input\":{\"x\":[1]}},{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"f\",\"input\":{}},"
		             "{\"type\":\"tool_use\",\"id\":\"c3\",\"name\":\"f\",\"input\":{}}") ","
		  USER("{\"type\":\"tool_result\",\"tool_use_id\":\"c_1\",\"content\":[" T("r1") "]},{\"type\":\"tool_result\",\"tool_use_id\":\"c2\",\"content\":[" T("r2") "]},"
		       "{\"type\":\"tool_result\",\"tool_use_id\":\"c3\",\"is_error\":true}," T("b") "," T("c")) "]" },
		/* Thinking goes back untouched, and first. */
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"t\",\"reasoning_content\":\"hm\",\"thinking_blocks\":[{\"type\":\"thinking\",\"thinking\":\" hm\",\"signature\":\"s\","
		  "\"new\":1},{\"type\":\"redacted_thinking\",\"data\":\"d\"},7,{\"type\":\"text\",\"text\":\"x\"}]}",
		  "\"messages\":[" USER(T("a")) "," BOT("{\"type\":\"thinking\",\"thinking\":\" hm\",\"signature\":\"s\",\"new\":1},{\"type\":\"redacted_thinking\",\"data\":\"d\"}," T("t")) "]" },
		/* Images and files. */
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/PNG;base64," PNG "\",\"detail\":\"low\"}}"),
		  "\"messages\":[" USER("{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"" PNG "\"}}") "]" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpg;base64," PNG "\"}}"),
		  "\"messages\":[" USER("{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/jpeg\",\"data\":\"" PNG "\"}}") "]" },
		{ PART("{\"type\":\"image_url\",\"image_url\":\"https://x/y.png\"}"),
		  "\"messages\":[" USER("{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}}") "]" },
		{ PART(FILE_PART("data:application/pdf;base64,JVBERi0=")),
		  "\"messages\":[" USER("{\"type\":\"document\",\"title\":\"a\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"JVBERi0=\"}}") "]" },
		{ PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"JVBERi0x\"}}"),
		  "\"messages\":[" USER("{\"type\":\"document\",\"title\":\"a.pdf\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"JVBERi0x\"}}") "]" },
		{ PART(FILE_PART("data:text/plain;charset=utf-8;base64,R3LDvMOfZQ==")),
		  "\"messages\":[" USER("{\"type\":\"document\",\"title\":\"a\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"Gr\xc3\xbc\xc3\x9f" "e\"}}") "]" },
		{ PART(FILE_PART("data:text/csv,a%2Cb%0a50%")),
		  "\"messages\":[" USER("{\"type\":\"document\",\"title\":\"a\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"a,b\\n50%\"}}") "]" },
		{ PART(FILE_PART("data:application/json;base64,e30=")),
		  "\"messages\":[" USER("{\"type\":\"document\",\"title\":\"a\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"{}\"}}") "]" },
		{ PART("{\"type\":\"file\",\"file\":{\"file_id\":\"file_1\"}}"),
		  "\"messages\":[" USER("{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"file_1\"}}") "]" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_request r;
		json_t *got = made(arena_printf(&arena, "{\"messages\":[%s]}", rows[i].in).p, 0, &r);
		compare(rows[i].in, got, object_of("{\"model\":\"claude-x\",\"max_tokens\":4096", rows[i].out, "}"));
	}
}

static void test_anthropic_request_refuses_by_name_what_it_cannot_say(void **state)
{
	static const struct {
		const char *messages, *fields, *pointer;
	} rows[] = {
		{ NULL, "\"n\":2", "/n" },
		{ NULL, "\"logprobs\":true", "/logprobs" },
		{ NULL, "\"top_logprobs\":3", "/top_logprobs" },
		{ NULL, "\"logit_bias\":{\"1\":5}", "/logit_bias" },
		{ NULL, "\"audio\":{\"voice\":\"x\"}", "/audio" },
		{ NULL, "\"modalities\":[\"text\",\"audio\"]", "/modalities" },
		{ NULL, "\"functions\":[{\"name\":\"f\"}]", "/functions" },
		{ NULL, "\"web_search_options\":{\"a\":1}", "/web_search_options" },
		{ NULL, "\"response_format\":{\"type\":\"grammar\"}", "/response_format/type" },
		{ NULL, "\"reasoning_effort\":\"huge\"", "/reasoning_effort" },
		{ NULL, "\"tools\":[" F ",{\"type\":\"custom\",\"custom\":{\"name\":\"c\"}}]", "/tools/1" },
		{ NULL, "\"tools\":[{\"type\":\"function\",\"function\":{}}]", "/tools/0" },
		{ NULL, TOOLS ",\"tool_choice\":\"any\"", "/tool_choice" },
		{ NULL, TOOLS ",\"tool_choice\":{\"type\":\"function\"}", "/tool_choice" },
		{ "", "", "/messages" },
		{ "{\"role\":\"system\",\"content\":\"x\"}", "", "/messages" },
		{ "{\"role\":\"user\",\"content\":\" \"}", "", "/messages" },
		{ "7", "", "/messages/0/role" },
		{ "{\"role\":\"function\",\"name\":\"f\",\"content\":\"x\"}", "", "/messages/0/role" },
		{ "{\"role\":\"user\",\"content\":7}", "", "/messages/0/content" },
		{ USER(T("a")) "," PART(T("b") ",{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"wav\"}}"), "", "/messages/1/content/1/type" },
		{ PART("{\"type\":\"text\"}"), "", "/messages/0/content/0" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/tiff;base64,AA==\"}}"), "", "/messages/0/content/0/image_url/url" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png,AA\"}}"), "", "/messages/0/content/0/image_url/url" },
		{ PART("{\"type\":\"image_url\",\"image_url\":\"ftp://x\"}"), "", "/messages/0/content/0/image_url" },
		{ PART("{\"type\":\"image_url\"}"), "", "/messages/0/content/0/image_url/url" },
		{ PART(FILE_PART("data:application/msword;base64,AA==")), "", "/messages/0/content/0/file/file_data" },
		{ PART(FILE_PART("data:text/plain;base64,A")), "", "/messages/0/content/0/file/file_data" },
		{ PART(FILE_PART("data:text/plain;base64,/w==")), "", "/messages/0/content/0/file/file_data" },
		{ PART(FILE_PART("data:text/plain;base64,QQBB")), "", "/messages/0/content/0/file/file_data" },
		{ PART(FILE_PART("data:application/pdf,%25PDF")), "", "/messages/0/content/0/file/file_data" },
		{ PART(FILE_PART("AAAA")), "", "/messages/0/content/0/file/file_data" },
		{ PART("{\"type\":\"file\"}"), "", "/messages/0/content/0/file/file_data" },
		{ "{\"role\":\"system\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x\"}}]}", "", "/messages/0/content/0/type" },
		{ "{\"role\":\"assistant\",\"tool_calls\":[" CALL("a", "\"{}\"") "," CALL("b", "\"[1]\"") "]}", "", "/messages/0/tool_calls/1/function/arguments" },
		{ "{\"role\":\"assistant\",\"tool_calls\":[" CALL("b", "\"{\\\"a\\\":\"") "]}", "", "/messages/0/tool_calls/0/function/arguments" },
		{ "{\"role\":\"assistant\",\"tool_calls\":[" CALL("b", "7") "]}", "", "/messages/0/tool_calls/0/function/arguments" },
		{ "{\"role\":\"assistant\",\"tool_calls\":[" CALL("", "\"{}\"") "]}", "", "/messages/0/tool_calls/0/id" },
		{ "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"custom\"}]}", "", "/messages/0/tool_calls/0/function" },
		{ "{\"role\":\"assistant\",\"function_call\":{\"name\":\"f\"}}", "", "/messages/0/function_call" },
		{ "{\"role\":\"tool\",\"content\":\"x\"}", "", "/messages/0/tool_call_id" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_request r;
		struct err err = { .code = ERR_OK };
		const char *messages = rows[i].messages ? rows[i].messages : USER(T("a"));
		struct str in = arena_printf(&arena, "{\"messages\":[%s]%s%s}", messages, rows[i].fields[0] ? "," : "", rows[i].fields);
		int rc = make(in.p, 0, &r, &err);
		if (rc != -ERR_UNSUPPORTED || strcmp(err.param, rows[i].pointer) != 0 || !strstr(err.text, rows[i].pointer + 1))
			fail_msg("%s: %d at %s: %s", in.p, rc, err.param, err.text);
		buf_done(&r.body);
		assert_int_equal(make(in.p, 0, &r, &(struct err){ .code = ERR_OK }), -ERR_UNSUPPORTED);
		buf_done(&r.body);
	}
}

static void test_anthropic_has_no_embeddings(void **state)
{
	struct provider_request r = { .method = NULL };
	struct err err = { .code = ERR_OK };
	json_t *request = json_pack("{s:s}", "input", "x");
	(void)state;
	assert_int_equal(provider_anthropic.make(&(struct provider_ask){ &target, PROVIDER_EMBEDDINGS, request, 0 }, &arena, &r, &err), -ERR_UNSUPPORTED);
	buf_done(&r.body);
	assert_int_equal(provider_anthropic.make(&(struct provider_ask){ &target, PROVIDER_EMBEDDINGS, request, 0 }, &arena, &r, NULL), -ERR_UNSUPPORTED);
	buf_done(&r.body);
	json_decref(request);
}

#define HI    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define FILED "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"f\"}}]}]}"

static void test_anthropic_request_headers(void **state)
{
	static struct conf_header own[] = { { STR("Authorization"), STR("Bearer b") }, { STR("Anthropic-Beta"), STR("x-1") }, { STR("anthropic-version"), STR("2024-01-01") } };
	struct provider_request r;
	(void)state;
	json_decref(made(HI, 0, &r));
	assert_string_equal(r.method, "POST");
	assert_string_equal(r.url, "http://h/v1/messages");
	assert_true(str_eq_z(header(&r, "x-api-key"), "sk-1") && str_eq_z(header(&r, "anthropic-version"), "2023-06-01") && str_eq_z(header(&r, "content-type"), "application/json"));
	assert_true(!r.streamed && str_eq_z(header(&r, "accept"), "application/json") && !header(&r, "anthropic-beta").p && !r.aws_sigv4);
	json_decref(made(FILED, 0, &r));
	assert_true(str_eq_z(header(&r, "anthropic-beta"), "files-api-2025-04-14"));
	target.stream = true;
	json_t *body = made(HI, 0, &r);
	assert_true(r.streamed && json_is_true(json_get(body, "stream")) && str_eq_z(header(&r, "accept"), "text/event-stream"));
	json_decref(body);
	/* The target's own headers go before ours. */
	target.headers = own;
	target.nheaders = ARRAY_LEN(own);
	json_decref(made(FILED, 0, &r));
	assert_true(!header(&r, "x-api-key").p && str_eq_z(header(&r, "authorization"), "Bearer b") && str_eq_z(header(&r, "anthropic-beta"), "x-1,files-api-2025-04-14"));
	assert_true(str_eq_z(header(&r, "anthropic-version"), "2024-01-01"));
	for (size_t i = 0; i < r.nheaders; i++)
		assert_int_equal(http_count(r.headers, r.nheaders, arena_strz(&arena, r.headers[i].name)), 1);
	json_decref(made(HI, 0, &r));
	assert_true(str_eq_z(header(&r, "anthropic-beta"), "x-1"));
	target.api_key = STR("");
	target.nheaders = 0;
	json_decref(made(HI, 0, &r));
	assert_false(header(&r, "x-api-key").p);
}

static bool is_marked(const json_t *list, size_t i)
{
	return str_eq_z(json_str(json_get(json_array_get(list, i), "cache_control"), "type"), "ephemeral");
}

/* How many marks there are in all, in the order of the front: tools, system, documents. */
static int marks_in(const json_t *v)
{
	int sum = json_get(v, "cache_control") != NULL;
	const json_t *item;
	json_t *member;
	const char *key;
	size_t i;
	json_array_foreach (v, i, item)
		sum += marks_in(item);
	json_object_foreach ((json_t *)(uintptr_t)v, key, member)
		sum += marks_in(member);
	return sum;
}

static json_t *marked(const char *tool, const char *system, const char *first)
{
	struct provider_request r;
	return made(arena_printf(&arena, "{\"tools\":[" F ",{\"type\":\"function\",\"function\":{\"name\":\"h\",\"description\":\"%s\"}}],\"messages\":["
	                                 "{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"system\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":[%s" T("question") "]}]}",
	                         tool, system, first).p, 0, &r);
}

static void test_anthropic_request_marks_the_static_front(void **state)
{
	char *big = arena_alloc(&arena, 4097);
	(void)state;
	memset(big, 'x', 4096);
	struct str document = arena_printf(&arena, FILE_PART("data:application/pdf;base64,%s") "," FILE_PART("data:application/pdf;base64,AAAA") ",", big);
	/* Nothing where the target does not ask for it. */
	json_t *body = marked(big, big, document.p);
	assert_int_equal(marks_in(body), 0);
	json_decref(body);
	target.prompt_cache = true;
	body = marked("d", "s", "");
	assert_int_equal(marks_in(body), 0); /* too small to be kept */
	json_decref(body);
	body = marked("d", big, "");
	assert_true(marks_in(body) == 1 && is_marked(json_get(body, "system"), 1));
	json_decref(body);
	body = marked(big, "s", document.p);
	const json_t *content = json_get(json_array_get(json_get(body, "messages"), 0), "content");
	assert_true(marks_in(body) == 3 && is_marked(json_get(body, "tools"), 1) && is_marked(json_get(body, "system"), 1) && is_marked(content, 1));
	json_decref(body);
	/* A document after the question is no front. */
	body = marked("d", "s", arena_printf(&arena, T("first") ",%s", document.p).p);
	assert_int_equal(marks_in(body), 0);
	json_decref(body);
}

#define MARK  ",\"cache_control\":{\"type\":\"ephemeral\"}"
#define MARKS "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}" MARK "},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],\"messages\":[" \
	"{\"role\":\"system\",\"content\":\"%s\",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}," \
	"{\"type\":\"text\",\"text\":\"b\"" MARK "},{\"type\":\"text\",\"text\":\" \"" MARK "}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":" \
	"[{\"id\":\"i\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"i\",\"content\":\"r\"" MARK "}," \
	"{\"role\":\"user\",\"content\":\"c\"" MARK "}]}"

/* They are passed on in place of ours, as many as are taken; a mark of what is left out goes with it. */
static void test_anthropic_request_passes_on_the_marks_of_the_client(void **state)
{
	char *big = arena_alloc(&arena, 8001);
	struct provider_request r;
	(void)state;
	memset(big, 'x', 8000);
	big[8000] = '\0';
	const char *request = arena_printf(&arena, MARKS, big).p;
	json_t *body = made(request, 0, &r);
	assert_int_equal(marks_in(body), 0);
	json_decref(body);
	target.prompt_cache = true;
	body = made(request, 0, &r);
	const json_t *turns = json_get(body, "messages"), *results = json_get(json_array_get(turns, 2), "content");
	assert_true(marks_in(body) == 4 && is_marked(json_get(body, "tools"), 0) && is_marked(json_get(body, "system"), 0));
	assert_true(str_eq_z(json_str(json_get(json_array_get(json_get(body, "system"), 0), "cache_control"), "ttl"), "1h"));
	assert_true(is_marked(json_get(json_array_get(turns, 0), "content"), 1) && is_marked(results, 0) && !is_marked(results, 1));
	json_decref(body);
	body = made("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]" MARK "}", 0, &r);
	assert_true(marks_in(body) == 1 && json_is_object(json_get(body, "cache_control")));
	json_decref(body);
}

/* Every byte value in every position of a base64 group; the hash is of what the provider decodes. */
static void test_anthropic_request_brings_a_pdf_with_the_same_bytes(void **state)
{
	uint8_t sent[SHA256_LEN], got[SHA256_LEN];
	struct buf file, encoded, decoded;
	struct provider_request r;
	(void)state;
	buf_init(&file, 1 << 20);
	buf_init(&encoded, 1 << 20);
	buf_init(&decoded, 1 << 20);
	buf_add_z(&file, "%PDF-1.7\n");
	for (int i = 0; i < 256 * 257; i++)
		buf_add_char(&file, (char)(i * 7 + i / 256));
	crypto_sha256(buf_str(&file), sent);
	assert_int_equal(crypto_base64(&encoded, buf_str(&file)), 0);
	json_t *body = made(arena_printf(&arena, "{\"messages\":[" PART(FILE_PART("data:application/pdf;base64," STR_FMT)) "]}", STR_ARG(buf_str(&encoded))).p, 0, &r);
	const json_t *block = json_array_get(json_get(json_array_get(json_get(body, "messages"), 0), "content"), 0);
	assert_int_equal(crypto_base64_decode(&decoded, json_str(json_get(block, "source"), "data")), 0);
	crypto_sha256(buf_str(&decoded), got);
	assert_memory_equal(sent, got, SHA256_LEN);
	json_decref(body);
	buf_done(&file);
	buf_done(&encoded);
	buf_done(&decoded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_anthropic_request_fields, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_limits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_messages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_refuses_by_name_what_it_cannot_say, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_has_no_embeddings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_headers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_passes_on_the_marks_of_the_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_marks_the_static_front, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anthropic_request_brings_a_pdf_with_the_same_bytes, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
