/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out to Bedrock: the path with its model, keys and signature, turns, pictures, documents, tools and settings, and what is refused with the
 * field's name. (test_bedrock.c has the answers.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "worker/providers/bedrock.h"

#define CLAUDE "anthropic.claude-3-5-sonnet-20240620-v1:0"
#define PDF    "JVBERi0xLjQKJeLjz9MKMSAwIG9iago8PD4+CmVuZG9iagp0cmFpbGVyCjw8Pj4KJSVFT0YK"
#define USER   "{\"role\":\"user\",\"content\":\"hi\"}"
#define TOOL   "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\"}}}"

static struct arena arena;
static struct conf_target target;

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, (size_t)64 << 20);
	target = (struct conf_target){ .name = STR("t"), .provider = STR("bedrock"), .model = STR(CLAUDE), .base_url = STR("https://b"), .stream = true };
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

static int make(int kind, int64_t max_output, const char *request, struct provider_request *ret, struct err *err)
{
	json_t *r = json_parse(str_from(request), err);
	assert_non_null(r);
	*ret = (struct provider_request){ .method = NULL };
	int rc = provider_bedrock.make(&(struct provider_ask){ &target, kind, r, max_output }, &arena, ret, err);
	json_decref(r);
	return rc;
}

/* The body that is made of a request, as text in the arena. */
static const char *made(int kind, const char *request)
{
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	assert_int_equal(make(kind, 0, request, &r, &err), 0);
	const char *text = arena_strz(&arena, buf_str(&r.body));
	buf_done(&r.body);
	return text;
}

static void refused(int kind, const char *request, enum err_code code, const char *param)
{
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	assert_int_equal(make(kind, 0, request, &r, &err), -(int)code);
	assert_string_equal(err.param, param);
	assert_true(err.text[0]);
	buf_done(&r.body);
}

/* --- the call --- */

static void test_bedrock_path_holds_the_model_encoded_once(void **state)
{
	static const struct {
		struct str model;
		const char *path;
	} cases[] = { { STR("amazon.titan-text-express-v1"), "amazon.titan-text-express-v1" },
		      { STR(CLAUDE), "anthropic.claude-3-5-sonnet-20240620-v1%3A0" },
		      { STR("arn:aws:bedrock:us-east-1:1:inference-profile/us.x"), "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x" } };
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		target.model = cases[i].model;
		for (int stream = 0; stream < 2; stream++) {
			target.stream = stream;
			assert_int_equal(make(PROVIDER_CHAT, 0, "{\"messages\":[" USER "]}", &r, &err), 0);
			assert_string_equal(r.url, arena_printf(&arena, "https://b/model/%s/%s", cases[i].path, stream ? "converse-stream" : "converse").p);
			assert_string_equal(r.method, "POST");
			assert_int_equal(r.streamed, stream);
			assert_true(str_eq_z(http_find(r.headers, r.nheaders, "accept"), stream ? "application/vnd.amazon.eventstream" : "application/json"));
			buf_done(&r.body);
		}
	}
}

static void test_bedrock_call_has_a_bearer_key_or_a_signature(void **state)
{
	static struct conf_header own[] = { { STR("x-own"), STR("1") } };
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	(void)state;
	target.headers = own;
	target.nheaders = 1;
	target.region = STR("eu-west-3");
	target.access_key = STR("AK");
	target.secret_key = STR("SK/+");
	assert_int_equal(make(PROVIDER_CHAT, 0, "{\"messages\":[" USER "]}", &r, &err), 0);
	assert_string_equal(r.aws_sigv4, "aws:amz:eu-west-3:bedrock");
	assert_string_equal(r.aws_user, "AK:SK/+");
	assert_null(http_find(r.headers, r.nheaders, "x-amz-security-token").p);
	assert_null(http_find(r.headers, r.nheaders, "authorization").p);
	assert_true(str_eq_z(http_find(r.headers, r.nheaders, "x-own"), "1"));
	buf_done(&r.body);
	target.session_token = STR("tok");
	assert_int_equal(make(PROVIDER_CHAT, 0, "{\"messages\":[" USER "]}", &r, &err), 0);
	assert_true(str_eq_z(http_find(r.headers, r.nheaders, "x-amz-security-token"), "tok"));
	buf_done(&r.body);
	target.api_key = STR("key");
	assert_int_equal(make(PROVIDER_CHAT, 0, "{\"messages\":[" USER "]}", &r, &err), 0);
	assert_true(str_eq_z(http_find(r.headers, r.nheaders, "authorization"), "Bearer key"));
	assert_true(!r.aws_sigv4 && !r.aws_user);
	buf_done(&r.body);
}

/* --- the mapping --- */

struct mapping {
	const char *request, *body;
};

static void check_mappings(const struct mapping *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_string_equal(made(PROVIDER_CHAT, table[i].request), table[i].body);
}

static void test_bedrock_messages_become_alternating_turns(void **state)
{
	static const struct mapping table[] = {
		{ "{\"messages\":[" USER "]}", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{}}" },
		/* all system messages, wherever they stand */
		{ "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}," USER ",{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]}]}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"system\":[{\"text\":\"a\"},{\"text\":\"b\"}],\"inferenceConfig\":{}}" },
		/* messages of one role in a row, also across a system message and an empty turn */
		{ "{\"messages\":[" USER ",{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"you\"}]},"
		  "{\"role\":\"assistant\",\"content\":\" \"}," USER "]}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"},{\"text\":\"you\"},{\"text\":\"hi\"}]}],\"system\":[{\"text\":\"s\"}],\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"yes\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]}," USER "]}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]},{\"role\":\"assistant\",\"content\":[{\"text\":\"yes\"},{\"text\":\"no\"}]},"
		  "{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{}}" },
	};
	(void)state;
	check_mappings(table, ARRAY_LEN(table));
}

static void test_bedrock_settings_are_mapped(void **state)
{
	static const struct mapping table[] = {
		{ "{\"messages\":[" USER "],\"max_completion_tokens\":9,\"max_tokens\":8,\"temperature\":1.5,\"top_p\":0.5,\"stop\":\"x\",\"seed\":1,\"user\":\"u\"}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],"
		  "\"inferenceConfig\":{\"maxTokens\":9,\"temperature\":1.0,\"topP\":0.5,\"stopSequences\":[\"x\"]}}" },
		{ "{\"messages\":[" USER "],\"max_tokens\":8,\"temperature\":0,\"stop\":[\"x\",\"y\"],\"service_tier\":\"flex\"}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],"
		  "\"inferenceConfig\":{\"maxTokens\":8,\"temperature\":0.0,\"stopSequences\":[\"x\",\"y\"]},\"serviceTier\":{\"type\":\"flex\"}}" },
		{ "{\"messages\":[" USER "],\"max_tokens\":null,\"stop\":null,\"service_tier\":\"auto\",\"reasoning_effort\":\"none\"}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{}}" },
		/* thinking leaves sampling alone and fits into max_tokens */
		{ "{\"messages\":[" USER "],\"reasoning_effort\":\"high\",\"max_tokens\":3000,\"temperature\":0.2}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{\"maxTokens\":3000},"
		  "\"additionalModelRequestFields\":{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1500}}}" },
		{ "{\"messages\":[" USER "],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":16384},\"max_tokens\":3000}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{\"maxTokens\":3000},"
		  "\"additionalModelRequestFields\":{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1500}}}" },
		{ "{\"messages\":[" USER "],\"reasoning_effort\":\"low\",\"max_tokens\":1024}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{\"maxTokens\":1024}}" },
		{ "{\"messages\":[" USER "],\"response_format\":{\"type\":\"json_object\"}}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"system\":[{\"text\":\"Answer with one JSON object and nothing else.\"}],\"inferenceConfig\":{}}" },
	};
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	(void)state;
	check_mappings(table, ARRAY_LEN(table));
	assert_int_equal(make(PROVIDER_CHAT, 77, table[0].request, &r, &err), 0);
	assert_true(str_find(buf_str(&r.body), STR("\"maxTokens\":77")) > 0);
	buf_done(&r.body);
	target.model = STR("amazon.nova-pro-v1:0");
	assert_null(strstr(made(PROVIDER_CHAT, table[3].request), "thinking"));
}

#define CALL   "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}"
#define RESULT "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"42\"}"
#define SPEC   "{\"toolSpec\":{\"name\":\"f\",\"description\":\"d\",\"inputSchema\":{\"json\":{\"type\":\"object\"}}}}"
#define ASKED  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"toolConfig\":{\"tools\":["
#define TURNS                                                                                                                                       \
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]},"                                                                       \
	"{\"role\":\"assistant\",\"content\":[{\"toolUse\":{\"toolUseId\":\"call_1\",\"name\":\"f\",\"input\":{\"a\":1}}}]},"                       \
	"{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"call_1\",\"content\":[{\"text\":\"42\"}]}},{\"text\":\"hi\"}]}]"

static void test_bedrock_tools_and_their_results_are_mapped(void **state)
{
	static const struct mapping table[] = {
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "]}", ASKED SPEC "]},\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"tool_choice\":\"auto\"}", ASKED SPEC "],\"toolChoice\":{\"auto\":{}}},\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"tool_choice\":\"required\"}", ASKED SPEC "],\"toolChoice\":{\"any\":{}}},\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
		  ASKED SPEC "],\"toolChoice\":{\"tool\":{\"name\":\"f\"}}},\"inferenceConfig\":{}}" },
		/* none: no tools, unless the history needs them */
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"tool_choice\":\"none\"}", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER "," CALL "," RESULT "," USER "],\"tools\":[" TOOL "],\"tool_choice\":\"none\"}",
		  TURNS ",\"toolConfig\":{\"tools\":[" SPEC "]},\"inferenceConfig\":{}}" },
		{ "{\"messages\":[" USER "," CALL "," RESULT "," USER "]}",
		  TURNS ",\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"f\",\"inputSchema\":{\"json\":{\"type\":\"object\",\"properties\":{}}}}}]},\"inferenceConfig\":{}}" },
		/* a history without thinking cannot be thought on */
		{ "{\"messages\":[" USER "," CALL "," RESULT "," USER "],\"tools\":[" TOOL "],\"reasoning_effort\":\"high\"}",
		  TURNS ",\"toolConfig\":{\"tools\":[" SPEC "]},\"inferenceConfig\":{}}" },
		/* a tool without parameters, with strict, and results of several parts */
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a b/c\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
		  "{\"role\":\"tool\",\"tool_call_id\":\"a b/c\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]},"
		  "{\"role\":\"tool\",\"tool_call_id\":\"z\",\"content\":\"\",\"is_error\":true}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\",\"strict\":true}}]}",
		  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]},{\"role\":\"assistant\",\"content\":[{\"toolUse\":{\"toolUseId\":\"a_b_c\",\"name\":\"g\",\"input\":{}}}]},"
		  "{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"a_b_c\",\"content\":[{\"text\":\"x\"},{\"text\":\"y\"}]}},"
		  "{\"toolResult\":{\"toolUseId\":\"z\",\"content\":[{\"text\":\"(empty)\"}],\"status\":\"error\"}}]}],"
		  "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"g\",\"inputSchema\":{\"json\":{\"type\":\"object\",\"properties\":{}}},\"strict\":true}}]},\"inferenceConfig\":{}}" },
	};
	(void)state;
	check_mappings(table, ARRAY_LEN(table));
}

static void test_bedrock_thinking_blocks_go_back_as_they_came(void **state)
{
	(void)state;
	const char *body = made(PROVIDER_CHAT,
	                        "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"t\",\"thinking_blocks\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s==\"},"
	                        "{\"type\":\"redacted_thinking\",\"data\":\"ZA==\"},{\"type\":\"thinking\",\"thinking\":\"unsigned\"}],"
	                        "\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"1\"}],"
	                        "\"tools\":[" TOOL "],\"reasoning_effort\":\"medium\"}");
	assert_non_null(strstr(body, "{\"role\":\"assistant\",\"content\":[{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm\",\"signature\":\"s==\"}}},"
	                             "{\"reasoningContent\":{\"redactedContent\":\"ZA==\"}},{\"text\":\"t\"},{\"toolUse\":"));
	assert_null(strstr(body, "unsigned"));
	assert_non_null(strstr(body, "\"budget_tokens\":4096"));
}

static void test_bedrock_schema_is_a_tool_that_must_be_called(void **state)
{
	static const struct mapping table[] = {
		{ "{\"messages\":[" USER "],\"reasoning_effort\":\"high\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"my answer\","
		  "\"description\":\"q\",\"schema\":{\"type\":\"object\"}}}}",
		  ASKED "{\"toolSpec\":{\"name\":\"my_answer\",\"description\":\"q\",\"inputSchema\":{\"json\":{\"type\":\"object\"}}}}],"
			"\"toolChoice\":{\"tool\":{\"name\":\"my_answer\"}}},\"inferenceConfig\":{}}" },
		/* beside the caller's tools, and not by the name of one */
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"f\",\"schema\":{\"type\":\"object\"}}}}",
		  ASKED SPEC ",{\"toolSpec\":{\"name\":\"f2\",\"description\":\"Give the answer by calling this tool.\",\"inputSchema\":{\"json\":{\"type\":\"object\"}}}}],"
			     "\"toolChoice\":{\"any\":{}}},\"inferenceConfig\":{}}" },
	};
	(void)state;
	check_mappings(table, ARRAY_LEN(table));
}

/* --- pictures and documents --- */

#define IMAGE(url)       "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url "\"}}"
#define FILE_(name, url) "{\"type\":\"file\",\"file\":{\"filename\":\"" name "\",\"file_data\":\"" url "\"}}"
#define PARTS(parts)     "{\"messages\":[{\"role\":\"user\",\"content\":[" parts "]}]}"

static void test_bedrock_pictures_keep_their_bytes(void **state)
{
	static const struct {
		const char *request, *part;
	} cases[] = {
		{ PARTS(IMAGE("data:image/png;base64,iVBORw==")), "{\"image\":{\"format\":\"png\",\"source\":{\"bytes\":\"iVBORw==\"}}}" },
		{ PARTS(IMAGE("data:image/JPG;base64,/9j/")), "{\"image\":{\"format\":\"jpeg\",\"source\":{\"bytes\":\"/9j/\"}}}" },
		{ PARTS(IMAGE("data:image/webp;base64,UklG")), "{\"image\":{\"format\":\"webp\",\"source\":{\"bytes\":\"UklG\"}}}" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_non_null(strstr(made(PROVIDER_CHAT, cases[i].request), cases[i].part));
}

static void test_bedrock_documents_are_byte_identical_and_named(void **state)
{
	static const struct {
		const char *request, *part;
	} cases[] = {
		{ PARTS(FILE_("report.final.pdf", "data:application/pdf;base64," PDF)),
		  "{\"document\":{\"format\":\"pdf\",\"source\":{\"bytes\":\"" PDF "\"},\"name\":\"report final\"}},{\"text\":\"(see the document)\"}]" },
		{ PARTS(FILE_("a__b\\u00e9 (1)[2]-3.pdf", "data:application/octet-stream;base64," PDF)), "\"name\":\"a b (1)[2]-3\"" },
		{ PARTS(FILE_("x.csv", "YSxi")), "{\"document\":{\"format\":\"csv\",\"source\":{\"bytes\":\"YSxi\"},\"name\":\"x\"}}" },
		{ PARTS(FILE_("\\u00e9", "data:text/plain;charset=utf-8;base64,aGk=")), "{\"document\":{\"format\":\"txt\",\"source\":{\"bytes\":\"aGk=\"},\"name\":\"document\"}}" },
		{ PARTS(FILE_("a.txt", "data:text/plain,h%69%")), "{\"document\":{\"format\":\"txt\",\"source\":{\"bytes\":\"aGkl\"},\"name\":\"a\"}}" },
		{ PARTS(FILE_("", "data:application/json;base64,e30=")), "\"format\":\"txt\"" },
		{ PARTS(FILE_("w.docx", "data:application/octet-stream;base64,UEs=")), "\"format\":\"docx\"" },
		{ PARTS(FILE_("p 2.md", "aQ==") "," FILE_("p.md", "aQ==") "," FILE_("p.md", "ag==")), "{\"bytes\":\"ag==\"},\"name\":\"p 3\"}" },
		{ PARTS("{\"type\":\"text\",\"text\":\"q\"}," FILE_("p.pdf", "data:application/pdf;base64,JVBE") "," FILE_("p.pdf", "data:application/pdf;base64,JVBF")),
		  "{\"text\":\"q\"},{\"document\":{\"format\":\"pdf\",\"source\":{\"bytes\":\"JVBE\"},\"name\":\"p\"}},"
		  "{\"document\":{\"format\":\"pdf\",\"source\":{\"bytes\":\"JVBF\"},\"name\":\"p 2\"}}]" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_non_null(strstr(made(PROVIDER_CHAT, cases[i].request), cases[i].part));
}

static void test_bedrock_marks_the_static_front_for_claude_only(void **state)
{
	static const char request[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":["
				      FILE_("p.pdf", "data:application/pdf;base64,JVBE") ",{\"type\":\"text\",\"text\":\"q\"}]}],\"tools\":[" TOOL "]}";
	static const char mark[] = "{\"cachePoint\":{\"type\":\"default\"}}";
	(void)state;
	assert_null(strstr(made(PROVIDER_CHAT, request), "cachePoint"));
	target.prompt_cache = true;
	const char *body = made(PROVIDER_CHAT, request);
	assert_non_null(strstr(body, arena_printf(&arena, "\"system\":[{\"text\":\"s\"},%s]", mark).p));
	assert_non_null(strstr(body, arena_printf(&arena, "\"name\":\"p\"}},%s,{\"text\":\"q\"}]", mark).p));
	assert_non_null(strstr(body, arena_printf(&arena, "\"tools\":[" SPEC ",%s]", mark).p));
	target.model = STR("amazon.nova-pro-v1:0");
	assert_null(strstr(made(PROVIDER_CHAT, request), "cachePoint"));
}

static void test_bedrock_marks_of_the_client_become_cache_points(void **state)
{
	static const char request[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}},"
				      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\" \",\"cache_control\":{}},{\"type\":\"text\",\"text\":\"q\",\"cache_control\":{}},"
				      "{\"type\":\"text\",\"text\":\"r\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"i\",\"type\":\"function\",\"function\":"
				      "{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"i\",\"content\":\"t\",\"cache_control\":{}}],\"tools\":[" TOOL "]}";
	static const char mark[] = "{\"cachePoint\":{\"type\":\"default\"}}";
	(void)state;
	assert_null(strstr(made(PROVIDER_CHAT, request), "cachePoint"));
	target.prompt_cache = true;
	const char *body = made(PROVIDER_CHAT, request);
	assert_non_null(strstr(body, "\"system\":[{\"text\":\"s\"},{\"cachePoint\":{\"type\":\"default\",\"ttl\":\"1h\"}}]"));
	assert_non_null(strstr(body, arena_printf(&arena, "\"content\":[{\"text\":\"q\"},%s,{\"text\":\"r\"}]", mark).p));
	assert_non_null(strstr(body, arena_printf(&arena, "\"content\":[{\"text\":\"t\"}]}},%s]", mark).p));
	assert_non_null(strstr(body, "\"tools\":[" SPEC "]"));
	/* Marked tools alone. */
	body = made(PROVIDER_CHAT, "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"}],\"tools\":[{\"cache_control\":{},"
	                           "\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\"}}}]}");
	assert_non_null(strstr(body, arena_printf(&arena, "\"tools\":[" SPEC ",%s]", mark).p));
	assert_non_null(strstr(body, "\"system\":[{\"text\":\"s\"}]"));
	/* The body's own: at its last block. */
	body = made(PROVIDER_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"cache_control\":{}}");
	assert_non_null(strstr(body, arena_printf(&arena, "\"content\":[{\"text\":\"q\"},%s]", mark).p));
}

static void test_bedrock_refuses_what_converse_cannot_take(void **state)
{
	static const struct {
		const char *request;
		enum err_code code;
		const char *param;
	} cases[] = {
		{ PARTS(IMAGE("https://h/a.png")), ERR_UNSUPPORTED, "/messages/0/content/0/image_url/url" },
		{ PARTS(IMAGE("data:image/bmp;base64,Qk0=")), ERR_UNSUPPORTED, "/messages/0/content/0/image_url/url" },
		{ PARTS(IMAGE("data:image/png,raw")), ERR_UNSUPPORTED, "/messages/0/content/0/image_url/url" },
		{ PARTS("{\"type\":\"text\",\"text\":\"q\"},{\"type\":\"input_audio\",\"input_audio\":{}}"), ERR_UNSUPPORTED, "/messages/0/content/1/type" },
		{ PARTS("{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}"), ERR_UNSUPPORTED, "/messages/0/content/0/file/file_id" },
		{ PARTS("{\"type\":\"file\",\"file\":{}}"), ERR_UNSUPPORTED, "/messages/0/content/0/file/file_data" },
		{ PARTS(FILE_("a.zip", "data:application/zip;base64,UEs=")), ERR_UNSUPPORTED, "/messages/0/content/0/file/file_data" },
		{ PARTS(FILE_("a.pdf", "data:application/pdf;base64,")), ERR_UNSUPPORTED, "/messages/0/content/0/file/file_data" },
		{ "{\"messages\":[" USER ",{\"role\":\"function\",\"name\":\"f\",\"content\":\"1\"}]}", ERR_UNSUPPORTED, "/messages/1/role" },
		{ "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}", ERR_UNSUPPORTED, "/messages" },
		{ "{\"messages\":[]}", ERR_UNSUPPORTED, "/messages" },
		{ "{\"messages\":[" USER "],\"n\":2}", ERR_UNSUPPORTED, "/n" },
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL ",{\"type\":\"custom\",\"custom\":{\"name\":\"c\"}}]}", ERR_UNSUPPORTED, "/tools/1" },
		{ "{\"messages\":[" USER "],\"tools\":[" TOOL "],\"tool_choice\":{\"type\":\"allowed_tools\"}}", ERR_UNSUPPORTED, "/tool_choice" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}]}", ERR_INVALID,
		  "/messages/1/tool_calls/0/function/arguments" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"[]\"}}]}]}", ERR_INVALID,
		  "/messages/1/tool_calls/0/function/arguments" },
		{ "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"custom\":{}}]}]}", ERR_UNSUPPORTED, "/messages/1/tool_calls/0" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		refused(PROVIDER_CHAT, cases[i].request, cases[i].code, cases[i].param);
}

/* --- embeddings --- */

static void test_bedrock_embeddings_have_the_body_of_their_family(void **state)
{
	struct provider_request r;
	struct err err = { .code = ERR_OK };
	(void)state;
	target.model = STR("amazon.titan-embed-text-v2:0");
	assert_string_equal(made(PROVIDER_EMBEDDINGS, "{\"input\":\"a\",\"dimensions\":256}"), "{\"inputText\":\"a\",\"dimensions\":256}");
	assert_string_equal(made(PROVIDER_EMBEDDINGS, "{\"input\":[\"a\"]}"), "{\"inputText\":\"a\"}");
	refused(PROVIDER_EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}", ERR_UNSUPPORTED, "/input");
	refused(PROVIDER_EMBEDDINGS, "{\"input\":[1,2]}", ERR_UNSUPPORTED, "/input");
	assert_int_equal(make(PROVIDER_EMBEDDINGS, 0, "{\"input\":\"a\"}", &r, &err), 0);
	assert_string_equal(r.url, "https://b/model/amazon.titan-embed-text-v2%3A0/invoke");
	assert_false(r.streamed);
	buf_done(&r.body);
	target.model = STR("amazon.titan-embed-text-v1");
	refused(PROVIDER_EMBEDDINGS, "{\"input\":\"a\",\"dimensions\":256}", ERR_UNSUPPORTED, "/dimensions");
	target.model = STR("cohere.embed-english-v3");
	assert_string_equal(made(PROVIDER_EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}"), "{\"texts\":[\"a\",\"b\"],\"input_type\":\"search_document\"}");
	assert_string_equal(made(PROVIDER_EMBEDDINGS, "{\"input\":\"a\"}"), "{\"texts\":[\"a\"],\"input_type\":\"search_document\"}");
	refused(PROVIDER_EMBEDDINGS, "{\"input\":\"a\",\"dimensions\":256}", ERR_UNSUPPORTED, "/dimensions");
	refused(PROVIDER_EMBEDDINGS, "{\"input\":[]}", ERR_UNSUPPORTED, "/input");
	target.model = STR("us.cohere.embed-v4:0");
	assert_string_equal(made(PROVIDER_EMBEDDINGS, "{\"input\":\"a\",\"dimensions\":256}"), "{\"texts\":[\"a\"],\"input_type\":\"search_document\",\"output_dimension\":256}");
	target.model = STR(CLAUDE);
	refused(PROVIDER_EMBEDDINGS, "{\"input\":\"a\"}", ERR_UNSUPPORTED, "/model");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_bedrock_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(path_holds_the_model_encoded_once),
		TEST(call_has_a_bearer_key_or_a_signature),
		TEST(messages_become_alternating_turns),
		TEST(settings_are_mapped),
		TEST(tools_and_their_results_are_mapped),
		TEST(thinking_blocks_go_back_as_they_came),
		TEST(schema_is_a_tool_that_must_be_called),
		TEST(pictures_keep_their_bytes),
		TEST(documents_are_byte_identical_and_named),
		TEST(marks_the_static_front_for_claude_only),
		TEST(marks_of_the_client_become_cache_points),
		TEST(refuses_what_converse_cannot_take),
		TEST(embeddings_have_the_body_of_their_family),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
