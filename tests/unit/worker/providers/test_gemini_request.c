/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out to Gemini: each field and kind of message in a table of requests and the bodies that they become, the URL and the key's place, what
 * is refused (always with a pointer to the field), and files whose data must not change by a byte.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "common/crypto.h"
#include "worker/providers/gemini.h"

enum { CHAT, EMBEDDINGS };

static struct arena arena;
static struct conf_header bearer[] = { { STR("authorization"), STR("Bearer ya29.x") } };

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

static struct conf_target target_of(const char *model)
{
	return (struct conf_target){ .name = STR("t"), .provider = STR("gemini"), .model = str_from(model), .base_url = STR("http://h/v1beta"), .api_key = STR("secret-key"),
		                     .stream = true };
}

/* The body, or NULL with err. */
static json_t *make(const struct conf_target *t, int kind, int64_t max_output, const char *request, struct provider_request *ret, struct err *err)
{
	struct err why = { .code = ERR_OK };
	json_t *r = json_parse(str_from(request), &why), *body = NULL;
	if (!r)
		fail_msg("%s: %s", request, why.text);
	memset(ret, 0, sizeof(*ret));
	int rc = provider_gemini.make(&(struct provider_ask){ t, kind, r, max_output }, &arena, ret, err);
	if (rc == 0)
		body = json_parse(buf_str(&ret->body), NULL);
	else
		assert_int_equal(rc, -(int)err->code);
	json_decref(r);
	buf_done(&ret->body);
	return body;
}

struct row {
	const char *request, *body;
};

static void check(const struct conf_target *t, int kind, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct provider_request r;
		struct err err = { .code = ERR_OK };
		json_t *got = make(t, kind, 0, rows[i].request, &r, &err), *wanted = json_parse(str_from(rows[i].body), &err);
		if (!got || !wanted)
			fail_msg("%s: %s", rows[i].request, err.text);
		if (!json_equal(got, wanted))
			fail_msg("%s\nbecame %s\nwanted %s", rows[i].request, json_dumps(got, 0), rows[i].body);
		json_decref(got);
		json_decref(wanted);
	}
}

#define USER         "{\"role\":\"user\",\"content\":\"q\"}"
#define ASKED        "\"messages\":[" USER "]"
#define TURN         "{\"role\":\"user\",\"parts\":[{\"text\":\"q\"}]}"
#define CONTENTS     "\"contents\":[" TURN "]"
#define PART(part)   "{\"messages\":[{\"role\":\"user\",\"content\":[" part "]}]}"
#define BECOMES(part) "{\"contents\":[{\"role\":\"user\",\"parts\":[" part "]}]}"
#define CONFIG(field) "{" ASKED "," field "}"
#define MAKES(field) "{" CONTENTS ",\"generationConfig\":{" field "}}"
#define CALL(id, signature) "{\"id\":\"" id "\",\"type\":\"function\"," signature "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}"
#define SIGNED       "\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}},"
#define MADE(id)     "{\"functionCall\":{\"id\":\"" id "\",\"name\":\"f\",\"args\":{\"a\":1}}}"
#define TOOL         "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}}}}}"
#define DECLARED     "\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\",\"description\":\"d\",\"parametersJsonSchema\":{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}}}}]}]"

static void test_gemini_messages_become_contents(void **state)
{
	static const struct row rows[] = {
		{ "{\"messages\":[{\"role\":\"system\",\"content\":\"s1\"}," USER ",{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"s2\"}]}]}",
		  "{\"systemInstruction\":{\"parts\":[{\"text\":\"s1\"},{\"text\":\"s2\"}]}," CONTENTS "}" },
		{ "{\"messages\":[{\"role\":\"system\",\"content\":\"alone\"}]}", "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"alone\"}]}]}" },
		{ "{\"messages\":[" USER "," USER ",{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}," USER "]}",
		  "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"q\"},{\"text\":\"q\"}]},{\"role\":\"model\",\"parts\":[{\"text\":\"a\"},{\"text\":\"b\"}]}," TURN "]}" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"\"}," USER "]}",
		  "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"q\"},{\"text\":\"q\"}]}]}" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\"}]}",
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[{\"text\":\"no\"}]}]}" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\"}}"),
		  BECOMES("{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"iVBORw0KGgo=\"}}") },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x.test/a.JPG?w=1\",\"detail\":\"low\"}}"),
		  BECOMES("{\"fileData\":{\"mimeType\":\"image/jpeg\",\"fileUri\":\"https://x.test/a.JPG?w=1\"}}") },
		{ PART("{\"type\":\"image_url\",\"image_url\":\"gs://bucket/a\"}"), BECOMES("{\"fileData\":{\"fileUri\":\"gs://bucket/a\"}}") },
		{ PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,JVBERi0=\"}}"),
		  BECOMES("{\"inlineData\":{\"mimeType\":\"application/pdf\",\"data\":\"JVBERi0=\"}}") },
		{ PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.md\",\"file_data\":\"IyBo\"}}"), BECOMES("{\"inlineData\":{\"mimeType\":\"text/markdown\",\"data\":\"IyBo\"}}") },
		{ PART("{\"type\":\"file\",\"file\":{\"file_data\":\"data:text/plain;charset=utf-8;base64,aGk=\"}}"),
		  BECOMES("{\"inlineData\":{\"mimeType\":\"text/plain\",\"data\":\"aGk=\"}}") },
		{ PART("{\"type\":\"file\",\"file\":{\"file_data\":\"data:,a%20b%C3%BC%zz%00\"}}"), BECOMES("{\"text\":\"a b\xc3\xbc%zz \"}") },
		{ PART("{\"type\":\"file\",\"file\":{\"file_id\":\"files/abc\",\"filename\":\"a.pdf\"}}"),
		  BECOMES("{\"fileData\":{\"mimeType\":\"application/pdf\",\"fileUri\":\"http://h/v1beta/files/abc\"}}") },
		{ PART("{\"type\":\"file\",\"file\":{\"file_id\":\"https://g.test/files/abc\"}}"), BECOMES("{\"fileData\":{\"fileUri\":\"https://g.test/files/abc\"}}") },
		{ PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"UklGRg==\",\"format\":\"mp3\"}}"),
		  BECOMES("{\"inlineData\":{\"mimeType\":\"audio/mp3\",\"data\":\"UklGRg==\"}}") },
	};
	struct conf_target t = target_of("gemini-2.5-flash");
	(void)state;
	check(&t, CHAT, rows, ARRAY_LEN(rows));
}

#define ROUND(calls, results) "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" calls "]}" results "]}"
#define RESULT(id, text)      ",{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":" text "}"
#define ANSWERED(id, response) "{\"functionResponse\":{\"id\":\"" id "\",\"name\":\"f\",\"response\":" response "}}"

static void test_gemini_calls_and_their_results_are_tied_by_name(void **state)
{
	static const struct row rows[] = {
		{ ROUND(CALL("c1", ""), RESULT("c1", "\"{\\\"t\\\":2.5}\"") ",{\"role\":\"user\",\"content\":\"go on\"}"),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[" MADE("c1") "]},{\"role\":\"user\",\"parts\":[" ANSWERED("c1", "{\"t\":2.5}") ",{\"text\":\"go on\"}]}]}" },
		{ ROUND(CALL("c1", "") "," CALL("c2", ""), RESULT("c2", "\"plain\"") RESULT("c1", "[{\"type\":\"text\",\"text\":\"[1]\"}]")),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[" MADE("c1") "," MADE("c2") "]},{\"role\":\"user\",\"parts\":["
		  ANSWERED("c2", "{\"result\":\"plain\"}") "," ANSWERED("c1", "{\"result\":\"[1]\"}") "]}]}" },
		{ ROUND(CALL("c1", SIGNED), ""),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{\"a\":1}},\"thoughtSignature\":\"c2ln\"}]}]}" },
		{ ROUND("{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}", ""),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{}}}]}]}" },
	};
	static const struct row third[] = {
		{ ROUND(CALL("c1", "") "," CALL("c2", ""), ""),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{\"a\":1}},"
		  "\"thoughtSignature\":\"skip_thought_signature_validator\"}," MADE("c2") "]}]}" },
	};
	static const struct row nameless[] = {
		{ ROUND(CALL("c1", ""), RESULT("c1", "\"x\"")),
		  "{\"contents\":[" TURN ",{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}}}]},"
		  "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"name\":\"f\",\"response\":{\"result\":\"x\"}}}]}]}" },
	};
	struct conf_target t = target_of("gemini-2.5-flash"), newer = target_of("gemini-3-pro-preview"), vertex = target_of("gemini-2.5-flash");
	(void)state;
	vertex.headers = bearer;
	vertex.nheaders = 1;
	check(&t, CHAT, rows, ARRAY_LEN(rows));
	check(&newer, CHAT, third, ARRAY_LEN(third));
	newer.model = STR("gemini-flash-latest");
	check(&newer, CHAT, third, ARRAY_LEN(third));
	newer.model = STR("gemma-3-27b-it");
	check(&newer, CHAT, rows, ARRAY_LEN(rows));
	check(&vertex, CHAT, nameless, ARRAY_LEN(nameless));
}

static void test_gemini_settings_become_generation_config(void **state)
{
	static const struct row rows[] = {
		{ CONFIG("\"max_tokens\":5,\"max_completion_tokens\":7"), MAKES("\"maxOutputTokens\":7") },
		{ CONFIG("\"max_tokens\":5"), MAKES("\"maxOutputTokens\":5") },
		{ CONFIG("\"temperature\":1.5,\"top_p\":0.5,\"top_k\":3,\"seed\":9,\"n\":2"),
		  MAKES("\"temperature\":1.5,\"topP\":0.5,\"topK\":3,\"seed\":9,\"candidateCount\":2") },
		{ CONFIG("\"presence_penalty\":0.1,\"frequency_penalty\":0.2,\"temperature\":null"), MAKES("\"presencePenalty\":0.1,\"frequencyPenalty\":0.2") },
		{ CONFIG("\"stop\":\"x\""), MAKES("\"stopSequences\":[\"x\"]") },
		{ CONFIG("\"stop\":[\"x\",\"y\"]"), MAKES("\"stopSequences\":[\"x\",\"y\"]") },
		{ CONFIG("\"logprobs\":true,\"top_logprobs\":2"), MAKES("\"responseLogprobs\":true,\"logprobs\":2") },
		{ CONFIG("\"response_format\":{\"type\":\"text\"}"), "{" CONTENTS "}" },
		{ CONFIG("\"response_format\":{\"type\":\"json_object\"}"), MAKES("\"responseMimeType\":\"application/json\"") },
		{ CONFIG("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":true,\"schema\":{\"const\":1}}}"),
		  MAKES("\"responseMimeType\":\"application/json\",\"responseJsonSchema\":{\"const\":1}") },
		{ CONFIG("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{}}}"), MAKES("\"responseMimeType\":\"application/json\"") },
		{ CONFIG("\"reasoning_effort\":\"none\""), MAKES("\"thinkingConfig\":{\"thinkingBudget\":0,\"includeThoughts\":false}") },
		{ CONFIG("\"thinking\":{\"type\":\"disabled\"}"), MAKES("\"thinkingConfig\":{\"thinkingBudget\":0,\"includeThoughts\":false}") },
		{ CONFIG("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":4096}"), MAKES("\"thinkingConfig\":{\"thinkingBudget\":8192,\"includeThoughts\":true}") },
		{ CONFIG("\"thinking\":{\"type\":\"adaptive\"}"), "{" CONTENTS "}" },
		{ CONFIG("\"reasoning_effort\":\"medium\""), MAKES("\"thinkingConfig\":{\"thinkingBudget\":8192,\"includeThoughts\":true}") },
		{ CONFIG("\"reasoning_effort\":\"high\",\"extra_body\":{\"google\":{\"thinking_config\":{\"thinking_budget\":5},\"cached_content\":\"cachedContents/1\"}}"),
		  "{" CONTENTS ",\"generationConfig\":{\"thinkingConfig\":{\"thinkingBudget\":5}},\"cachedContent\":\"cachedContents/1\"}" },
		{ CONFIG("\"user\":\"u\",\"metadata\":{\"a\":\"b\"},\"parallel_tool_calls\":false,\"stream\":true,\"service_tier\":\"auto\""), "{" CONTENTS "}" },
		{ CONFIG("\"service_tier\":\"flex\""), "{" CONTENTS ",\"serviceTier\":\"flex\"}" },
		{ CONFIG("\"service_tier\":\"default\""), "{" CONTENTS ",\"serviceTier\":\"standard\"}" },
		{ CONFIG("\"modalities\":[\"text\"]"), "{" CONTENTS "}" },
	};
	static const struct row levels[] = {
		{ CONFIG("\"reasoning_effort\":\"minimal\""), MAKES("\"thinkingConfig\":{\"thinkingLevel\":\"LOW\",\"includeThoughts\":true}") },
		{ CONFIG("\"reasoning_effort\":\"max\""), MAKES("\"thinkingConfig\":{\"thinkingLevel\":\"HIGH\",\"includeThoughts\":true}") },
	};
	struct conf_target t = target_of("gemini-2.5-flash"), newer = target_of("gemini-3-pro-preview");
	struct provider_request r;
	struct err err;
	(void)state;
	check(&t, CHAT, rows, ARRAY_LEN(rows));
	check(&newer, CHAT, levels, ARRAY_LEN(levels));
	json_t *body = make(&t, CHAT, 3, CONFIG("\"max_tokens\":500"), &r, &err);
	assert_int_equal(json_i64(json_get(body, "generationConfig"), "maxOutputTokens", 0), 3);
	json_decref(body);
}

#define CHOICE(choice)     "{" ASKED ",\"tools\":[" TOOL "],\"tool_choice\":" choice "}"
#define CHOSEN(calling)    "{" CONTENTS "," DECLARED ",\"toolConfig\":{\"functionCallingConfig\":{" calling "}}}"
#define ALLOWED(mode)      "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"" mode "\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}}"

static void test_gemini_tools_are_declared_and_chosen(void **state)
{
	static const struct row rows[] = {
		{ "{" ASKED ",\"tools\":[" TOOL "]}", "{" CONTENTS "," DECLARED "}" },
		{ "{" ASKED ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}", "{" CONTENTS ",\"tools\":[{\"functionDeclarations\":[{\"name\":\"g\"}]}]}" },
		{ "{" ASKED ",\"tools\":[],\"tool_choice\":\"auto\"}", "{" CONTENTS "}" },
		{ CHOICE("\"auto\""), CHOSEN("\"mode\":\"AUTO\"") },
		{ CHOICE("\"required\""), CHOSEN("\"mode\":\"ANY\"") },
		{ CHOICE("\"none\""), CHOSEN("\"mode\":\"NONE\"") },
		{ CHOICE("{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"), CHOSEN("\"mode\":\"ANY\",\"allowedFunctionNames\":[\"f\"]") },
		{ CHOICE(ALLOWED("required")), CHOSEN("\"mode\":\"ANY\",\"allowedFunctionNames\":[\"f\"]") },
		{ CHOICE(ALLOWED("auto")), CHOSEN("\"mode\":\"VALIDATED\",\"allowedFunctionNames\":[\"f\"]") },
	};
	static const struct row plain[] = {
		{ "{" ASKED ",\"tools\":[" TOOL "],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":[\"string\",\"null\"]}}}}",
		  "{" CONTENTS ",\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"OBJECT\",\"properties\":{\"a\":"
		  "{\"type\":\"INTEGER\",\"enum\":[\"1\"]}}}}]}],\"generationConfig\":{\"responseMimeType\":\"application/json\","
		  "\"responseSchema\":{\"type\":\"STRING\",\"nullable\":true}}}" },
	};
	struct conf_target t = target_of("gemini-2.5-flash"), old = target_of("gemini-2.5-flash");
	(void)state;
	old.api_version = STR("v1");
	check(&t, CHAT, rows, ARRAY_LEN(rows));
	check(&old, CHAT, plain, ARRAY_LEN(plain));
}

static void test_gemini_what_it_cannot_take_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *request, *pointer;
	} rows[] = {
		{ ROUND(CALL("c1", ""), RESULT("other", "\"x\"")), "/messages/2/tool_call_id" },
		{ "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "/messages/0/tool_call_id" },
		{ ROUND("{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}", ""), "/messages/1/tool_calls/0/function/arguments" },
		{ ROUND("{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"[]\"}}", ""), "/messages/1/tool_calls/0/function/arguments" },
		{ ROUND("{\"id\":\"c\",\"function\":{\"arguments\":\"{}\"}}", ""), "/messages/1/tool_calls/0/function/name" },
		{ "{\"messages\":[{\"role\":\"function\",\"content\":\"x\"}]}", "/messages/0/role" },
		{ PART("{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"video\"}"), "/messages/0/content/1/type" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"ftp://x\"}}"), "/messages/0/content/0/image_url/url" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png,abc\"}}"), "/messages/0/content/0/image_url/url" },
		{ PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:nothing\"}}"), "/messages/0/content/0/image_url/url" },
		{ PART("{\"type\":\"file\",\"file\":{}}"), "/messages/0/content/0/file" },
		{ PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"a/b\"}}"), "/messages/0/content/0/input_audio/format" },
		{ PART("{\"type\":\"input_audio\",\"input_audio\":{}}"), "/messages/0/content/0/input_audio/data" },
		{ CONFIG("\"modalities\":[\"text\",\"audio\"]"), "/modalities" },
		{ CONFIG("\"response_format\":{\"type\":\"grammar\"}"), "/response_format/type" },
		{ CONFIG("\"reasoning_effort\":\"lots\""), "/reasoning_effort" },
		{ CONFIG("\"tools\":[{\"type\":\"custom\"}]"), "/tools/0" },
		{ CHOICE("{\"type\":\"custom\"}"), "/tool_choice" },
	};
	struct conf_target t = target_of("gemini-2.5-flash");
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_request r;
		struct err err = { .code = ERR_OK };
		assert_null(make(&t, CHAT, 0, rows[i].request, &r, &err));
		assert_int_equal(err.code, ERR_UNSUPPORTED);
		assert_string_equal(err.param, rows[i].pointer);
		assert_true(str_has_prefix(str_from(err.text), str_from(rows[i].pointer + 1)));
	}
}

/* --- address and key --- */

static void test_gemini_address_and_key(void **state)
{
	static const struct {
		const char *model, *request, *url;
		int kind;
		bool stream;
	} rows[] = {
		{ "m", "{" ASKED "}", "http://h/v1beta/models/m:streamGenerateContent?alt=sse", CHAT, true },
		{ "m", "{" ASKED ",\"n\":2}", "http://h/v1beta/models/m:generateContent", CHAT, false },
		{ "m", "{" ASKED ",\"logprobs\":true}", "http://h/v1beta/models/m:generateContent", CHAT, false },
		{ "models/m", "{" ASKED "}", "http://h/v1beta/models/m:streamGenerateContent?alt=sse", CHAT, true },
		{ "tunedModels/t-1", "{" ASKED "}", "http://h/v1beta/tunedModels/t-1:streamGenerateContent?alt=sse", CHAT, true },
		{ "../x?key=1#\xc3\xbc", "{" ASKED "}", "http://h/v1beta/models/..%2Fx%3Fkey%3D1%23%C3%BC:streamGenerateContent?alt=sse", CHAT, true },
		{ "e", "{\"input\":\"x\"}", "http://h/v1beta/models/e:batchEmbedContents", EMBEDDINGS, false },
	};
	struct provider_request r;
	struct err err;
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf_target t = target_of(rows[i].model);
		json_decref(make(&t, rows[i].kind, 0, rows[i].request, &r, &err));
		assert_string_equal(r.url, rows[i].url);
		assert_int_equal(r.streamed, rows[i].stream);
		assert_string_equal(r.method, "POST");
		assert_true(str_eq_z(http_find(r.headers, r.nheaders, "x-goog-api-key"), "secret-key"));
		assert_true(str_find(str_from(r.url), STR("secret-key")) < 0);
		assert_true(str_eq_z(http_find(r.headers, r.nheaders, "accept"), rows[i].stream ? "text/event-stream" : "application/json"));
	}
	struct conf_target whole = target_of("m"), vertex = target_of("m");
	whole.stream = false;
	json_decref(make(&whole, CHAT, 0, "{" ASKED "}", &r, &err));
	assert_false(r.streamed);
	vertex.headers = bearer;
	vertex.nheaders = 1;
	json_decref(make(&vertex, CHAT, 0, "{" ASKED "}", &r, &err));
	assert_null(http_find(r.headers, r.nheaders, "x-goog-api-key").p);
	assert_true(str_eq_z(http_find(r.headers, r.nheaders, "authorization"), "Bearer ya29.x"));
}

static void test_gemini_a_pdf_arrives_byte_by_byte(void **state)
{
	struct buf raw, coded, request, back;
	struct conf_target t = target_of("gemini-2.5-flash");
	struct provider_request r;
	struct err err;
	(void)state;
	buf_init(&raw, 1 << 20);
	buf_init(&coded, 1 << 20);
	buf_init(&request, 1 << 20);
	buf_init(&back, 1 << 20);
	buf_add_z(&raw, "%PDF-1.7\n");
	for (unsigned i = 0; i < 70001; i++)
		buf_add_char(&raw, (char)((i * 2654435761u) >> 13));
	crypto_base64(&coded, buf_str(&raw));
	buf_add_z(&request, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":\"data:application/pdf;base64,");
	buf_add_str(&request, buf_str(&coded));
	buf_add_z(&request, "\"}}]}]}");
	buf_add_char(&request, '\0');
	json_t *body = make(&t, CHAT, 0, request.p, &r, &err), *turn = json_array_get(json_get(body, "contents"), 0);
	const json_t *data = json_get(json_array_get(json_get(turn, "parts"), 0), "inlineData");
	assert_true(str_eq_z(json_str(data, "mimeType"), "application/pdf"));
	assert_int_equal(crypto_base64_decode(&back, json_str(data, "data")), 0);
	assert_int_equal(back.n, raw.n);
	assert_memory_equal(back.p, raw.p, raw.n);
	json_decref(body);
	buf_done(&raw);
	buf_done(&coded);
	buf_done(&request);
	buf_done(&back);
}

/* --- embeddings --- */

#define EMBED(text, more) "{\"model\":\"models/e\",\"content\":{\"parts\":[{\"text\":\"" text "\"}]}" more "}"

static void test_gemini_embeddings_request(void **state)
{
	static const struct row rows[] = {
		{ "{\"input\":\"x\"}", "{\"requests\":[" EMBED("x", "") "]}" },
		{ "{\"input\":[\"x\",\"y\"],\"dimensions\":8,\"encoding_format\":\"base64\"}",
		  "{\"requests\":[" EMBED("x", ",\"outputDimensionality\":8") "," EMBED("y", ",\"outputDimensionality\":8") "]}" },
	};
	struct conf_target t = target_of("e");
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	struct buf many;
	(void)state;
	check(&t, EMBEDDINGS, rows, ARRAY_LEN(rows));
	assert_null(make(&t, EMBEDDINGS, 0, "{\"input\":[\"x\",[1,2]]}", &r, &err));
	assert_string_equal(err.param, "/input/1");
	assert_null(make(&t, EMBEDDINGS, 0, "{\"input\":[]}", &r, &err));
	assert_string_equal(err.param, "/input");
	buf_init(&many, 65536);
	buf_add_z(&many, "{\"input\":[\"x\"");
	for (int i = 0; i < GEMINI_EMBEDDINGS_MAX; i++)
		buf_add_z(&many, ",\"x\"");
	buf_add(&many, "]}", 3);
	assert_null(make(&t, EMBEDDINGS, 0, many.p, &r, &err));
	assert_string_equal(err.param, "/input");
	buf_done(&many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gemini_messages_become_contents, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_calls_and_their_results_are_tied_by_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_settings_become_generation_config, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_tools_are_declared_and_chosen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_what_it_cannot_take_is_refused_with_its_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_address_and_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_a_pdf_arrives_byte_by_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gemini_embeddings_request, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
