/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the Responses API as chat requests: tables of what becomes what, what is repeated, and what is refused where; items and chains back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/response.h"

static const struct id job_id = { { 0x01, 0x9a, 0x2b, 0x3c, 0x4d, 0x5e, 0x7f, 0x00, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x01, 0x23 } };
#define JOB_HEX "019a2b3c4d5e7f00a1b2c3d4e5f60123"

static json_t *parsed(const char *text)
{
	struct err err = { 0 };
	json_t *v = json_parse(str_from(text), &err);
	if (!v)
		fail_msg("%s: %s", err.text, text);
	return v;
}

static void assert_json(const json_t *got, const char *wanted, const char *of)
{
	struct buf b;
	json_t *want = parsed(wanted);
	buf_init(&b, 1 << 20);
	json_write(&b, got);
	if (!json_equal(want, got))
		fail_msg("%s:\n  wanted %s\n  got    %.*s", of, wanted, (int)b.n, b.p);
	buf_done(&b);
	json_decref(want);
}

#define BODY(rest) "{\"model\":\"m\"" rest "}"
#define HI ",\"input\":\"hi\""
#define HI_OUT "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define ITEMS(items) BODY(",\"input\":[" items "]")
#define OUT(messages) "{\"messages\":[" messages "]}"
#define TOOL "{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"},\"strict\":true,\"description\":\"d\"}"
#define TOOL_OUT "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"},\"strict\":true,\"description\":\"d\"}}"
#define TOOLS ",\"tools\":[" TOOL "]"
#define TOOLS_OUT "\"tools\":[" TOOL_OUT "]"
#define CALL_ITEM(n) "{\"type\":\"function_call\",\"id\":\"fc_1\",\"status\":\"completed\",\"call_id\":\"c" n "\",\"name\":\"f\",\"arguments\":\"{}\"}"
#define CALL_OUT(n) "{\"id\":\"c" n "\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}"
#define RESULT_ITEM(n) "{\"type\":\"function_call_output\",\"call_id\":\"c" n "\",\"output\":\"r" n "\"}"
#define RESULT_OUT(n) "{\"role\":\"tool\",\"content\":\"r" n "\",\"tool_call_id\":\"c" n "\"}"

static const struct {
	const char *body, *request;
} mapped[] = {
	/* What is said. */
	{ BODY(HI), "{" HI_OUT "}" },
	{ BODY(HI ",\"instructions\":\"be brief\""), OUT("{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"hi\"}") },
	{ BODY(HI ",\"instructions\":null,\"conversation\":null,\"prompt\":null,\"tools\":null"), "{" HI_OUT "}" },
	{ ITEMS("{\"role\":\"developer\",\"content\":\"a\"},{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"b\"}]}"),
	  OUT("{\"role\":\"developer\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\",\"text\":\"b\"}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[]}"), OUT("{\"role\":\"user\",\"content\":\"\"}") },
	{ ITEMS("{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":"
	        "[{\"type\":\"output_text\",\"text\":\"a\",\"annotations\":[]},{\"type\":\"refusal\",\"refusal\":\"no\"}]}"),
	  OUT("{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"refusal\",\"refusal\":\"no\"}]}") },
	/* Pictures, files and sound. */
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AA==\",\"detail\":\"low\"}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AA==\",\"detail\":\"low\"}}]}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"file_id\":\"file-1\",\"image_url\":null,\"detail\":\"original\"}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"file_id\":\"file-1\",\"detail\":\"high\"}}]}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,AA==\"}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":\"data:application/pdf;base64,AA==\",\"filename\":\"a.pdf\"}}]}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"file_id\":\"file-1\",\"detail\":\"high\"}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}]}") },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"wav\"}}]}"),
	  OUT("{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"wav\"}}]}") },
	/* Calls join their turn, whatever stands between them; what was reasoned is left out. */
	{ ITEMS("{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]}," CALL_ITEM("1") "," CALL_ITEM("2") "," RESULT_ITEM("1") "," RESULT_ITEM("2")),
	  OUT("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" CALL_OUT("1") "," CALL_OUT("2") "]}," RESULT_OUT("1") "," RESULT_OUT("2")) },
	{ ITEMS(CALL_ITEM("1") "," RESULT_ITEM("1") "," CALL_ITEM("2") "," RESULT_ITEM("2")),
	  OUT("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" CALL_OUT("1") "]}," RESULT_OUT("1")
	      ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" CALL_OUT("2") "]}," RESULT_OUT("2")) },
	{ ITEMS("{\"role\":\"assistant\",\"content\":\"a\"}," CALL_ITEM("1") ",{\"role\":\"assistant\",\"content\":\"b\"}," RESULT_ITEM("1")),
	  OUT("{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}],\"tool_calls\":[" CALL_OUT("1") "]},"
	      RESULT_OUT("1")) },
	{ ITEMS(CALL_ITEM("1") ",{\"role\":\"assistant\",\"content\":\"b\"}," RESULT_ITEM("1")),
	  OUT("{\"role\":\"assistant\",\"content\":\"b\",\"tool_calls\":[" CALL_OUT("1") "]}," RESULT_OUT("1")) },
	{ ITEMS("{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}"),
	  OUT("{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}") },
	{ ITEMS("{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":[{\"type\":\"input_text\",\"text\":\"r\"}]}"),
	  OUT("{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"c\"}") },
	/* Parameters. */
	{ BODY(HI ",\"max_output_tokens\":5,\"temperature\":0.5,\"top_p\":1,\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\",\"service_tier\":\"flex\""),
	  "{" HI_OUT ",\"max_completion_tokens\":5,\"temperature\":0.5,\"top_p\":1,\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\",\"service_tier\":\"flex\"}" },
	{ BODY(HI ",\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"},\"truncation\":\"auto\",\"user\":\"u\",\"stream_options\":{\"include_obfuscation\":true}"),
	  "{" HI_OUT ",\"reasoning_effort\":\"low\",\"user\":\"u\"}" },
	{ BODY(HI ",\"top_logprobs\":3"), "{" HI_OUT ",\"logprobs\":true,\"top_logprobs\":3}" },
	{ BODY(HI ",\"top_logprobs\":0,\"include\":[\"reasoning.encrypted_content\"]"), "{" HI_OUT "}" },
	{ BODY(HI ",\"include\":[\"message.output_text.logprobs\"]"), "{" HI_OUT ",\"logprobs\":true}" },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"low\"}"), "{" HI_OUT ",\"verbosity\":\"low\"}" },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"json_object\"}}"), "{" HI_OUT ",\"response_format\":{\"type\":\"json_object\"}}" },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{\"type\":\"object\"},\"strict\":true}}"),
	  "{" HI_OUT ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\"},\"strict\":true}}}" },
	/* Tools. */
	{ BODY(HI TOOLS), "{" HI_OUT "," TOOLS_OUT "}" },
	{ BODY(HI ",\"tools\":[{\"type\":\"function\",\"name\":\"g\",\"parameters\":null,\"strict\":null}]"),
	  "{" HI_OUT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}" },
	{ BODY(HI TOOLS ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false"),
	  "{" HI_OUT "," TOOLS_OUT ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false}" },
	{ BODY(HI TOOLS ",\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"}"),
	  "{" HI_OUT "," TOOLS_OUT ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}" },
	{ BODY(HI TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]}"),
	  "{" HI_OUT "," TOOLS_OUT ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":"
	  "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}}}" },
	/* Chat refuses these without tools. */
	{ BODY(HI ",\"tools\":[],\"tool_choice\":\"auto\",\"parallel_tool_calls\":true"), "{" HI_OUT "}" },
	/* Unknown parameters are ignored. */
	{ BODY(HI ",\"whatever\":{\"a\":1},\"temperature\":null"), "{" HI_OUT "}" },
};

static void test_response_requests_become_chat_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mapped); i++) {
		struct arena a;
		struct err err = { 0 };
		struct face_request r = { 0 };
		json_t *body = parsed(mapped[i].body);
		arena_init(&a, 1 << 20);
		if (face_response.read(&a, body, &r, &err) < 0)
			fail_msg("%s: %s at %s", mapped[i].body, err.text, err.param);
		assert_json(r.request, mapped[i].request, mapped[i].body);
		assert_true(str_eq_z(r.model, "m"));
		face_request_done(&r);
		arena_done(&a);
		json_decref(body);
	}
}

static const struct {
	const char *body, *param;
	enum err_code code;
} refused[] = {
	{ "[]", "", ERR_WRONG_TYPE },
	{ "{\"input\":\"hi\"}", "/model", ERR_MISSING_FIELD },
	{ "{\"model\":5,\"input\":\"hi\"}", "/model", ERR_WRONG_TYPE },
	{ BODY(""), "/input", ERR_MISSING_FIELD },
	{ BODY(",\"input\":5"), "/input", ERR_WRONG_TYPE },
	{ ITEMS("5"), "/input/0", ERR_WRONG_TYPE },
	{ ITEMS("{\"type\":5}"), "/input/0/type", ERR_WRONG_TYPE },
	{ ITEMS("{\"role\":\"user\",\"content\":\"a\"},{\"type\":\"item_reference\",\"id\":\"msg_1\"}"), "/input/1/type", ERR_UNSUPPORTED },
	{ ITEMS("{\"id\":\"msg_1\"}"), "/input/0/type", ERR_UNSUPPORTED },
	{ ITEMS("{\"type\":\"web_search_call\"}"), "/input/0/type", ERR_UNSUPPORTED },
	{ ITEMS("{\"role\":\"robot\",\"content\":\"a\"}"), "/input/0/role", ERR_OUT_OF_RANGE },
	{ ITEMS("{\"type\":\"message\",\"content\":\"a\"}"), "/input/0/role", ERR_MISSING_FIELD },
	{ ITEMS("{\"role\":\"user\"}"), "/input/0/content", ERR_MISSING_FIELD },
	{ ITEMS("{\"role\":\"user\",\"content\":5}"), "/input/0/content", ERR_WRONG_TYPE },
	{ ITEMS("{\"role\":\"user\",\"content\":[5]}"), "/input/0/content/0", ERR_WRONG_TYPE },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}"), "/input/0/content/0/text", ERR_MISSING_FIELD },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_video\"}]}"), "/input/0/content/0/type", ERR_UNSUPPORTED },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}"), "/input/0/content/0/image_url", ERR_MISSING_FIELD },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":{\"url\":\"x\"}}]}"), "/input/0/content/0/image_url", ERR_WRONG_TYPE },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_file\"}]}"), "/input/0/content/0/file_data", ERR_MISSING_FIELD },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"file_url\":\"https://a/b\"}]}"), "/input/0/content/0/file_url", ERR_UNSUPPORTED },
	{ ITEMS("{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"file_data\":\"\",\"filename\":5}]}"), "/input/0/content/0/filename", ERR_WRONG_TYPE },
	{ ITEMS("{\"role\":\"assistant\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"x\"}]}"), "/input/0/content/0/type", ERR_UNSUPPORTED },
	{ ITEMS("{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\"}"), "/input/0/call_id", ERR_MISSING_FIELD },
	{ ITEMS("{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":{}}"), "/input/0/arguments", ERR_WRONG_TYPE },
	{ ITEMS("{\"type\":\"function_call_output\",\"call_id\":\"c\"}"), "/input/0/output", ERR_MISSING_FIELD },
	{ ITEMS("{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":[{\"type\":\"input_image\",\"image_url\":\"x\"}]}"), "/input/0/output/0/type",
	  ERR_UNSUPPORTED },
	{ BODY(HI ",\"tools\":{}"), "/tools", ERR_WRONG_TYPE },
	{ BODY(HI ",\"tools\":[" TOOL ",{\"type\":\"web_search\"}]"), "/tools/1/type", ERR_UNSUPPORTED },
	{ BODY(HI ",\"tools\":[{\"type\":\"custom\",\"name\":\"c\"}]"), "/tools/0/type", ERR_UNSUPPORTED },
	{ BODY(HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"), "/tools/0/name", ERR_MISSING_FIELD },
	{ BODY(HI ",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":[]}]"), "/tools/0/parameters", ERR_WRONG_TYPE },
	{ BODY(HI ",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"strict\":1}]"), "/tools/0/strict", ERR_WRONG_TYPE },
	{ BODY(HI ",\"tool_choice\":\"required\""), "/tool_choice", ERR_INVALID },
	{ BODY(HI TOOLS ",\"tool_choice\":\"any\""), "/tool_choice", ERR_OUT_OF_RANGE },
	{ BODY(HI TOOLS ",\"tool_choice\":{\"type\":\"function\",\"name\":\"g\"}"), "/tool_choice/name", ERR_OUT_OF_RANGE },
	{ BODY(HI TOOLS ",\"tool_choice\":{\"type\":\"file_search\"}"), "/tool_choice/type", ERR_UNSUPPORTED },
	{ BODY(HI TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"g\"}]}"),
	  "/tool_choice/tools/0/name", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"json_schema\",\"schema\":{}}}"), "/text/format/name", ERR_MISSING_FIELD },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"grammar\"}}"), "/text/format/type", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"max_output_tokens\":0"), "/max_output_tokens", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"max_output_tokens\":1.5"), "/max_output_tokens", ERR_WRONG_TYPE },
	{ BODY(HI ",\"temperature\":2.5"), "/temperature", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"top_logprobs\":21"), "/top_logprobs", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"safety_identifier\":\"12345678901234567890123456789012345678901234567890123456789012345\""), "/safety_identifier", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"truncation\":\"some\""), "/truncation", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"reasoning\":{\"effort\":1}"), "/reasoning/effort", ERR_WRONG_TYPE },
	{ BODY(HI ",\"reasoning\":{\"summary\":5}"), "/reasoning/summary", ERR_WRONG_TYPE },
	{ BODY(HI ",\"reasoning\":{\"summary\":\"loud\"}"), "/reasoning/summary", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"include\":\"reasoning.encrypted_content\""), "/include", ERR_WRONG_TYPE },
	{ BODY(HI ",\"include\":[\"reasoning.encrypted_content\",5]"), "/include/1", ERR_WRONG_TYPE },
	{ BODY(HI ",\"include\":[\"message\"]"), "/include/0", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"text\":{\"verbosity\":\"loud\"}"), "/text/verbosity", ERR_OUT_OF_RANGE },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"json_object\"},\"verbosity\":1}"), "/text/verbosity", ERR_WRONG_TYPE },
	{ BODY(HI ",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{},\"strict\":5}}"), "/text/format/strict", ERR_WRONG_TYPE },
	{ BODY(HI ",\"background\":true,\"store\":false"), "/store", ERR_INVALID },
	{ BODY(HI ",\"background\":1"), "/background", ERR_WRONG_TYPE },
	{ BODY(HI ",\"metadata\":[]"), "/metadata", ERR_WRONG_TYPE },
	{ BODY(HI ",\"conversation\":\"conv_1\""), "/conversation", ERR_UNSUPPORTED },
	{ BODY(HI ",\"prompt\":{\"id\":\"pmpt_1\"}"), "/prompt", ERR_UNSUPPORTED },
	{ BODY(HI ",\"context_management\":[{\"type\":\"compaction\"}]"), "/context_management", ERR_UNSUPPORTED },
};

static void test_response_requests_that_cannot_be_carried_out_are_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct arena a;
		struct err err = { 0 };
		struct face_request r = { 0 };
		json_t *body = parsed(refused[i].body);
		arena_init(&a, 1 << 20);
		int rc = face_response.read(&a, body, &r, &err);
		if (rc != -(int)refused[i].code || err.code != refused[i].code || strcmp(err.param, refused[i].param) != 0)
			fail_msg("%s: %s at \"%s\": %s", refused[i].body, rc < 0 ? err_code_name(rc) : "taken", err.param, err.text);
		assert_null(r.request);
		arena_done(&a);
		json_decref(body);
	}
}

static void test_response_requests_say_how_they_run_and_what_is_repeated(void **state)
{
	(void)state;
	struct arena a;
	struct err err = { 0 };
	struct face_request r = { 0 };
	json_t *body = parsed(BODY(TOOLS ",\"previous_response_id\":\"resp_1\",\"stream\":true,\"background\":true,\"store\":true,\"user\":\"u\",\"tool_choice\":\"auto\","
	                           "\"metadata\":{\"a\":\"b\"},\"millrace\":{\"priority\":1},\"instructions\":\"i\",\"reasoning\":{\"effort\":\"high\"},"
	                           "\"text\":{\"verbosity\":\"low\"},\"temperature\":1"));
	arena_init(&a, 1 << 20);
	assert_int_equal(face_response.read(&a, body, &r, &err), 0);
	assert_true(r.stream && r.background && !r.unstored);
	assert_true(str_eq_z(r.previous, "resp_1") && str_eq_z(r.user, "u"));
	assert_json(r.metadata, "{\"a\":\"b\"}", "metadata");
	assert_json(r.millrace, "{\"priority\":1}", "millrace");
	assert_json(r.echo,
	            "{\"instructions\":\"i\",\"previous_response_id\":\"resp_1\",\"tools\":[" TOOL "],\"tool_choice\":\"auto\",\"text\":{\"format\":{\"type\":\"text\"},"
	            "\"verbosity\":\"low\"},\"reasoning\":{\"effort\":\"high\",\"summary\":null},\"metadata\":{\"a\":\"b\"},\"user\":\"u\",\"background\":true,"
	            "\"store\":true,\"temperature\":1}",
	            "echo");
	face_request_done(&r);
	json_decref(body);
	body = parsed(BODY(HI ",\"store\":false"));
	assert_int_equal(face_response.read(&a, body, &r, &err), 0);
	assert_true(r.unstored && !r.stream && !r.background && !r.previous.p);
	face_request_done(&r);
	arena_done(&a);
	json_decref(body);
}

/* --- items and chains --- */

static void test_response_items_come_back_from_the_stored_request(void **state)
{
	(void)state;
	json_t *request = parsed(OUT("{\"role\":\"system\",\"content\":\"i\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
	                             "{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\",\"detail\":\"low\"}},{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}]},"
	                             "{\"role\":\"assistant\",\"content\":\"b\",\"refusal\":\"no\",\"tool_calls\":[" CALL_OUT("1") "]}," RESULT_OUT("1")));
	json_t *echo = parsed("{\"instructions\":\"i\"}");
	json_t *items = response_items(job_id, request, echo);
	assert_json(items,
	            "[{\"id\":\"msg_" JOB_HEX "_1\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},"
	            "{\"type\":\"input_image\",\"detail\":\"low\",\"file_id\":null,\"image_url\":\"u\"},{\"type\":\"input_file\",\"file_id\":\"file-1\"}]},"
	            "{\"id\":\"msg_" JOB_HEX "_2\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":"
	            "[{\"type\":\"output_text\",\"annotations\":[],\"text\":\"b\"},{\"type\":\"refusal\",\"refusal\":\"no\"}]},"
	            "{\"id\":\"fc_" JOB_HEX "_3\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"},"
	            "{\"id\":\"fco_" JOB_HEX "_4\",\"type\":\"function_call_output\",\"status\":\"completed\",\"call_id\":\"c1\",\"output\":\"r1\"}]",
	            "items");
	json_decref(items);
	json_decref(request);
	json_decref(echo);
}

static void test_response_chains_leave_old_instructions_behind(void **state)
{
	(void)state;
	json_t *request = parsed(OUT("{\"role\":\"system\",\"content\":\"new\"}," RESULT_OUT("1"))), *echo = parsed("{\"instructions\":\"new\"}");
	json_t *old = parsed(OUT("{\"role\":\"system\",\"content\":\"old\"},{\"role\":\"user\",\"content\":\"hi\"}")), *old_echo = parsed("{\"instructions\":\"old\"}");
	json_t *result = parsed("{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"reasoning_content\":\"hm\",\"thinking_blocks\":"
	                        "[{\"type\":\"thinking\"}],\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}},"
	                        "{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{\"a\":1}}}]}}]}");
	const struct response_before before = { job_id, old, old_echo, result };
	response_chain(request, echo, &before);
	assert_json(request,
	            OUT("{\"role\":\"system\",\"content\":\"new\"},{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":null,\"thinking_blocks\":"
	                "[{\"type\":\"thinking\"}],\"tool_calls\":[" CALL_OUT("1") ",{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"a\\\":1}\"},"
	                "\"id\":\"call_" JOB_HEX "_1\"}]}," RESULT_OUT("1")),
	            "chain");
	json_decref(request);
	json_decref(echo);
	request = parsed(OUT("{\"role\":\"user\",\"content\":\"more\"}"));
	json_decref(result);
	result = parsed("{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"yes\"},{\"type\":\"text\",\"text\":\"!\"}]}}]}");
	response_chain(request, NULL, &(struct response_before){ job_id, old, old_echo, result });
	assert_json(request, OUT("{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yes!\"},{\"role\":\"user\",\"content\":\"more\"}"), "second chain");
	json_decref(request);
	json_decref(old);
	json_decref(old_echo);
	json_decref(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response_requests_become_chat_requests),
		cmocka_unit_test(test_response_requests_that_cannot_be_carried_out_are_refused_by_name),
		cmocka_unit_test(test_response_requests_say_how_they_run_and_what_is_repeated),
		cmocka_unit_test(test_response_items_come_back_from_the_stored_request),
		cmocka_unit_test(test_response_chains_leave_old_instructions_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
