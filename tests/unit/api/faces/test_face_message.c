/* SPDX-License-Identifier: Apache-2.0 */
/* Anthropic's form of a request: what each field and block becomes, what is left out, and what is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/message.h"

#define SMALL "\"model\":\"m\",\"max_tokens\":9"
#define HI    "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

struct read {
	struct arena a;
	struct err err;
	struct face_request r;
	json_t *body;
	int rc;
};

static void start(struct read *t, const char *body)
{
	*t = (struct read){ 0 };
	arena_init(&t->a, 1 << 20);
	t->body = json_parse(str_from(body), &t->err);
	if (!t->body)
		fail_msg("%s: %s", t->err.text, body);
	t->rc = face_message.read(&t->a, t->body, &t->r, &t->err);
}

static void end(struct read *t)
{
	face_request_done(&t->r);
	json_decref(t->body);
	arena_done(&t->a);
}

/* The body becomes that request. */
static void becomes(const char *body, const char *wanted)
{
	struct read t;
	struct err err = { 0 };
	struct buf b;
	start(&t, body);
	if (t.rc < 0)
		fail_msg("%s: %s\n%s", t.err.param, t.err.text, body);
	json_t *want = json_parse(str_from(wanted), &err);
	if (!want)
		fail_msg("%s: %s", err.text, wanted);
	buf_init(&b, 1 << 20);
	json_write(&b, t.r.request);
	if (!json_equal(want, t.r.request))
		fail_msg("%s\nbecame %.*s\nwanted %s", body, (int)b.n, b.p, wanted);
	buf_done(&b);
	json_decref(want);
	end(&t);
}

/* The content of a user's message becomes these messages. */
static void content_becomes(const char *role, const char *content, const char *messages)
{
	char body[4096], wanted[4096];
	struct buf b;
	buf_init(&b, sizeof(body) - 1);
	buf_printf(&b, "{" SMALL ",\"messages\":[{\"role\":\"%s\",\"content\":%s}]}", role, content);
	memcpy(body, b.p, b.n);
	body[b.n] = '\0';
	buf_clear(&b);
	buf_printf(&b, "{\"messages\":%s,\"max_completion_tokens\":9}", messages);
	memcpy(wanted, b.p, b.n);
	wanted[b.n] = '\0';
	buf_done(&b);
	becomes(body, wanted);
}

static void refused(const char *body, enum err_code code, const char *param)
{
	struct read t;
	start(&t, body);
	if (t.rc != -(int)code || strcmp(t.err.param, param) != 0)
		fail_msg("%s\n%d at %s: %s\nwanted %d at %s", body, -t.rc, t.err.param, t.err.text, (int)code, param);
	assert_null(t.r.request);
	end(&t);
}

static void test_message_smallest_request(void **state)
{
	(void)state;
	struct read t;
	start(&t, "{" SMALL "," HI "}");
	assert_int_equal(t.rc, 0);
	assert_true(str_eq(t.r.model, STR("m")));
	assert_false(t.r.stream);
	assert_null(t.r.user.p);
	assert_null(t.r.millrace);
	assert_null(json_get(t.r.request, "model"));
	end(&t);
	becomes("{" SMALL "," HI "}", "{\"max_completion_tokens\":9," HI "}");
}

static void test_message_every_field_has_its_native_one(void **state)
{
	(void)state;
	becomes("{" SMALL "," HI ",\"system\":\"be brief\",\"temperature\":0.5,\"top_p\":1,\"top_k\":40,\"stop_sequences\":[\"a\",\"b\"],"
		"\"service_tier\":\"standard_only\",\"metadata\":{\"user_id\":\"u\"},\"stream\":true,\"unknown\":{\"x\":1},\"millrace\":{\"priority\":1}}",
		"{\"max_completion_tokens\":9,\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"hi\"}],"
		"\"stop\":[\"a\",\"b\"],\"temperature\":0.5,\"top_p\":1,\"top_k\":40,\"service_tier\":\"default\"}");
	struct read t;
	start(&t, "{" SMALL "," HI ",\"metadata\":{\"user_id\":\"u\"},\"stream\":true,\"millrace\":{\"priority\":1}}");
	assert_true(t.r.stream);
	assert_true(str_eq(t.r.user, STR("u")));
	assert_int_equal(json_i64(t.r.millrace, "priority", 0), 1);
	end(&t);
}

static void test_message_system_of_several_blocks(void **state)
{
	(void)state;
	becomes("{" SMALL "," HI ",\"system\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}},{\"type\":\"text\",\"text\":\"b\"}]}",
		"{\"max_completion_tokens\":9,\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}},{\"type\":\"text\",\"text\":\"b\"}]},"
		"{\"role\":\"user\",\"content\":\"hi\"}]}");
	becomes("{" SMALL "," HI ",\"system\":[]}", "{\"max_completion_tokens\":9," HI "}");
}

static void test_message_tools_and_choices(void **state)
{
	(void)state;
	static const struct {
		const char *choice, *native;
	} choices[] = {
		{ "{\"type\":\"auto\"}", "\"tool_choice\":\"auto\"" },
		{ "{\"type\":\"any\"}", "\"tool_choice\":\"required\"" },
		{ "{\"type\":\"none\"}", "\"tool_choice\":\"none\"" },
		{ "{\"type\":\"tool\",\"name\":\"f\"}", "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}" },
		{ "{\"type\":\"auto\",\"disable_parallel_tool_use\":true}", "\"tool_choice\":\"auto\",\"parallel_tool_calls\":false" },
	};
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct arena a;
		arena_init(&a, 1 << 20);
		becomes(arena_printf(&a, "{" SMALL "," HI ",\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"},\"cache_control\":null},"
						"{\"type\":\"custom\",\"name\":\"g\",\"input_schema\":{},\"strict\":true}],\"tool_choice\":%s}", choices[i].choice).p,
			arena_printf(&a, "{\"max_completion_tokens\":9," HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
					"\"parameters\":{\"type\":\"object\"}}},{\"type\":\"function\",\"function\":{\"name\":\"g\",\"parameters\":{},\"strict\":true}}],%s}",
				     choices[i].native).p);
		arena_done(&a);
	}
	becomes("{" SMALL "," HI ",\"tools\":[],\"tool_choice\":null}", "{\"max_completion_tokens\":9," HI "}");
}

static void test_message_thinking_effort_and_schema(void **state)
{
	(void)state;
	becomes("{\"model\":\"m\",\"max_tokens\":4096," HI ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}",
		"{\"max_completion_tokens\":4096," HI ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}");
	becomes("{" SMALL "," HI ",\"thinking\":{\"type\":\"adaptive\",\"display\":\"omitted\"},\"output_config\":{\"effort\":\"xhigh\"}}",
		"{\"max_completion_tokens\":9," HI ",\"thinking\":{\"type\":\"adaptive\",\"display\":\"omitted\"},\"reasoning_effort\":\"xhigh\"}");
	becomes("{" SMALL "," HI ",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},"
		"\"required\":[\"a\"],\"additionalProperties\":false}}}}",
		"{\"max_completion_tokens\":9," HI ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"strict\":true,\"schema\":"
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"],\"additionalProperties\":false}}}}");
	/* What may be left out makes a schema that is not strict in OpenAI's sense. */
	becomes("{" SMALL "," HI ",\"output_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"a\":{}},"
		"\"additionalProperties\":false}}}}",
		"{\"max_completion_tokens\":9," HI ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":"
		"{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":false}}}}}");
}

static void test_message_images(void **state)
{
	(void)state;
	content_becomes("user", "[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"iVBORw==\"}},"
				"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}},"
				"{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"file-1\"}},{\"type\":\"text\",\"text\":\"what?\"}]",
			"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw==\"}},"
			"{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}},{\"type\":\"image_url\",\"image_url\":{\"file_id\":\"file-1\"}},"
			"{\"type\":\"text\",\"text\":\"what?\"}]}]");
}

static void test_message_documents(void **state)
{
	(void)state;
	content_becomes("user", "[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"JVBERi0=\"},\"title\":\"T\","
				"\"citations\":{\"enabled\":false}},{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"abc\"}},"
				"{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"file-2\"},\"context\":\"old\"},"
				"{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":\"c\"}]},\"title\":\"D\"}]",
			"[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"filename\":\"T\",\"file_data\":\"data:application/pdf;base64,JVBERi0=\"}},"
			"{\"type\":\"file\",\"file\":{\"filename\":\"document.txt\",\"file_data\":\"data:text/plain;base64,YWJj\"}},{\"type\":\"text\",\"text\":\"old\"},"
			"{\"type\":\"file\",\"file\":{\"file_id\":\"file-2\"}},{\"type\":\"text\",\"text\":\"D\"},{\"type\":\"text\",\"text\":\"c\"}]}]");
}

static void test_message_a_turn_with_tools_and_thoughts(void **state)
{
	(void)state;
	content_becomes("assistant", "[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},{\"type\":\"redacted_thinking\",\"data\":\"x\"},"
				"{\"type\":\"thinking\",\"thinking\":\"unsigned\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"ok\",\"citations\":null},"
				"{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":[1]},\"caller\":{\"type\":\"direct\"}}]",
			"[{\"role\":\"assistant\",\"content\":\"ok\",\"tool_calls\":[{\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
			"\"arguments\":\"{\\\"a\\\":[1]}\"}}],\"thinking_blocks\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
			"{\"type\":\"redacted_thinking\",\"data\":\"x\"}]}]");
	content_becomes("assistant", "[{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{}}]",
			"[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]");
}

static void test_message_results_of_tools_go_first(void **state)
{
	(void)state;
	content_becomes("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"42\"},{\"type\":\"text\",\"text\":\"go on\"},"
				"{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,\"content\":[{\"type\":\"text\",\"text\":\"no\"},"
				"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x\"}}]},{\"type\":\"tool_result\",\"tool_use_id\":\"t3\"}]",
			"[{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"content\":\"42\"},{\"role\":\"tool\",\"tool_call_id\":\"t2\",\"is_error\":true,\"content\":"
			"[{\"type\":\"text\",\"text\":\"no\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x\"}}]},"
			"{\"role\":\"tool\",\"tool_call_id\":\"t3\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"go on\"}]");
	content_becomes("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"42\"}]", "[{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"content\":\"42\"}]");
}

#define EPHEMERAL "\"cache_control\":{\"type\":\"ephemeral\"}"
#define HOUR      "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"

static void test_message_marks_of_the_prompt_cache_go_along(void **state)
{
	(void)state;
	becomes("{" SMALL "," HI ",\"system\":[{\"type\":\"text\",\"text\":\"s\"," HOUR "}],"
	        "\"tools\":[{\"name\":\"f\",\"input_schema\":{}," EPHEMERAL "},{\"name\":\"g\",\"input_schema\":{},\"cache_control\":null}]}",
	        "{\"max_completion_tokens\":9,\"messages\":[{\"role\":\"system\",\"content\":\"s\"," HOUR "},{\"role\":\"user\",\"content\":\"hi\"}],"
	        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}," EPHEMERAL "},{\"type\":\"function\",\"function\":{\"name\":\"g\",\"parameters\":{}}}]}");
	content_becomes("user", "[{\"type\":\"text\",\"text\":\"a\"," EPHEMERAL "},{\"type\":\"document\",\"context\":\"c\",\"source\":{\"type\":\"text\",\"data\":\"t\"}," EPHEMERAL "}]",
	                "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"," EPHEMERAL "},{\"type\":\"text\",\"text\":\"c\"},"
	                "{\"type\":\"file\",\"file\":{\"filename\":\"document.txt\",\"file_data\":\"data:text/plain;base64,dA==\"}," EPHEMERAL "}]}]");
	content_becomes("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"r\"," EPHEMERAL "}]",
	                "[{\"role\":\"tool\",\"tool_call_id\":\"t\",\"content\":\"r\"," EPHEMERAL "}]");
	content_becomes("assistant", "[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}," EPHEMERAL "}]",
	                "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}," EPHEMERAL "}]}]");
	becomes("{" SMALL "," HI "," HOUR "}", "{\"max_completion_tokens\":9," HI "," HOUR "}");
}

#define MARKED "{\"type\":\"text\",\"text\":\"a\"," EPHEMERAL "}"
#define ODD(mark) "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":" mark "}]}]}"

static void test_message_choices_are_of_tools_that_are_there(void **state)
{
	(void)state;
	refused("{" SMALL "," HI ",\"tool_choice\":{\"type\":\"any\"}}", ERR_INVALID, "/tool_choice");
	refused("{" SMALL "," HI ",\"tools\":[],\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"}}", ERR_INVALID, "/tool_choice");
	refused("{" SMALL "," HI ",\"tools\":[{\"name\":\"f\",\"input_schema\":{}}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"g\"}}", ERR_OUT_OF_RANGE, "/tool_choice/name");
}

static void test_message_marks_that_anthropic_refuses_are_refused(void **state)
{
	(void)state;
	refused(ODD("7"), ERR_WRONG_TYPE, "/messages/0/content/0/cache_control");
	refused(ODD("{}"), ERR_OUT_OF_RANGE, "/messages/0/content/0/cache_control/type");
	refused(ODD("{\"type\":\"ephemeral\",\"ttl\":\"2h\"}"), ERR_OUT_OF_RANGE, "/messages/0/content/0/cache_control/ttl");
	refused("{" SMALL "," HI ",\"cache_control\":[]}", ERR_WRONG_TYPE, "/cache_control");
	refused("{" SMALL "," HI ",\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"cache_control\":1}]}", ERR_WRONG_TYPE, "/tools/0/cache_control");
	refused("{" SMALL ",\"system\":[" MARKED "," MARKED "," MARKED "],\"messages\":[{\"role\":\"user\",\"content\":[" MARKED "," MARKED "]}]}", ERR_OUT_OF_RANGE,
	        "/messages/0/content/1/cache_control");
}

/* What became of what, told back: for complaints about the native request. */
static void test_message_places_are_told_in_the_clients_words(void **state)
{
	static const char *const rows[][2] = {
		{ "/messages/0", "/system" },
		{ "/messages/0/content/1", "/system/1" },
		{ "/messages/1", "/messages/0" },
		{ "/messages/2/content/1/image_url/file_id", "/messages/1/content/0/content/1/source/file_id" },
		{ "/messages/3/content/0/file/file_id", "/messages/1/content/1/source/file_id" },
		{ "/messages/3/content/1/text", "/messages/1/content/2/text" },
		{ "/messages/3/content/2/file/file_data", "/messages/1/content/2" },
		{ "/messages/4/tool_calls", "/messages/2" },
		{ "/messages/9/content/1", "/messages/9/content/1" },
		{ "/tools/1", "/tools/1" },
		{ "/max_completion_tokens", "/max_tokens" },
		{ "/response_format", "/output_config/format" },
	};
	struct read t;
	(void)state;
	start(&t, "{" SMALL ",\"system\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
	          "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},"
	          "{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"f\"}}]},"
	          "{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"f\"}},"
	          "{\"type\":\"document\",\"context\":\"c\",\"source\":{\"type\":\"text\",\"data\":\"d\"}}]},"
	          "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}]}]}");
	assert_int_equal(t.rc, 0);
	assert_int_equal(json_array_size(t.r.origin), json_array_size(json_get(t.r.request, "messages")));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(face_pointer(&face_message, &t.r, &t.a, rows[i][0]), rows[i][1]);
	end(&t);
}

static void test_message_mistakes_name_the_field(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		enum err_code code;
		const char *param;
	} rows[] = {
		{ "[]", ERR_WRONG_TYPE, "" },
		{ "{}", ERR_MISSING_FIELD, "/model" },
		{ "{\"model\":1}", ERR_WRONG_TYPE, "/model" },
		{ "{\"model\":\"m\"," HI "}", ERR_MISSING_FIELD, "/max_tokens" },
		{ "{\"model\":\"m\",\"max_tokens\":0," HI "}", ERR_OUT_OF_RANGE, "/max_tokens" },
		{ "{\"model\":\"m\",\"max_tokens\":\"9\"," HI "}", ERR_WRONG_TYPE, "/max_tokens" },
		{ "{" SMALL "}", ERR_MISSING_FIELD, "/messages" },
		{ "{" SMALL ",\"messages\":{}}", ERR_WRONG_TYPE, "/messages" },
		{ "{" SMALL ",\"messages\":[]}", ERR_OUT_OF_RANGE, "/messages" },
		{ "{" SMALL ",\"messages\":[1]}", ERR_WRONG_TYPE, "/messages/0" },
		{ "{" SMALL ",\"messages\":[{\"content\":\"\"}]}", ERR_MISSING_FIELD, "/messages/0/role" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}", ERR_OUT_OF_RANGE, "/messages/0/role" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\"}]}", ERR_MISSING_FIELD, "/messages/0/content" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[]}]}", ERR_OUT_OF_RANGE, "/messages/0/content" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"\"}]}]}", ERR_MISSING_FIELD, "/messages/0/content/0/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]}", ERR_WRONG_TYPE, "/messages/0/content/0/text" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"server_tool_use\"}]}]}", ERR_UNSUPPORTED, "/messages/0/content/0/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":{}}]}]}", ERR_OUT_OF_RANGE,
		  "/messages/0/content/0/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":\"{}\"}]}]}", ERR_WRONG_TYPE,
		  "/messages/0/content/0/input" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}]}]}", ERR_OUT_OF_RANGE,
		  "/messages/0/content/0/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\"}]}]}", ERR_MISSING_FIELD, "/messages/0/content/0/tool_use_id" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"image\"}]}]}]}",
		  ERR_OUT_OF_RANGE, "/messages/0/content/0/content/0/source/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/bmp\",\"data\":\"AA==\"}}]}]}",
		  ERR_OUT_OF_RANGE, "/messages/0/content/0/source/media_type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"a b\"}}]}]}",
		  ERR_OUT_OF_RANGE, "/messages/0/content/0/source/data" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"https://x\"}}]}]}", ERR_UNSUPPORTED,
		  "/messages/0/content/0/source/type" },
		{ "{" SMALL ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"text\",\"data\":\"x\"},\"citations\":{\"enabled\":true}}]}]}",
		  ERR_UNSUPPORTED, "/messages/0/content/0/citations" },
		{ "{" SMALL "," HI ",\"system\":[{\"type\":\"image\"}]}", ERR_OUT_OF_RANGE, "/system/0/type" },
		{ "{" SMALL "," HI ",\"system\":5}", ERR_WRONG_TYPE, "/system" },
		{ "{" SMALL "," HI ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}", ERR_UNSUPPORTED, "/tools/0/type" },
		{ "{" SMALL "," HI ",\"tools\":[{\"name\":\"f\"}]}", ERR_MISSING_FIELD, "/tools/0/input_schema" },
		{ "{" SMALL "," HI ",\"tool_choice\":{\"type\":\"tool\"}}", ERR_MISSING_FIELD, "/tool_choice/name" },
		{ "{" SMALL "," HI ",\"tool_choice\":{\"type\":\"some\"}}", ERR_OUT_OF_RANGE, "/tool_choice/type" },
		{ "{" SMALL "," HI ",\"stop_sequences\":[\"a\",1]}", ERR_WRONG_TYPE, "/stop_sequences/1" },
		{ "{" SMALL "," HI ",\"temperature\":1.5}", ERR_OUT_OF_RANGE, "/temperature" },
		{ "{" SMALL "," HI ",\"top_k\":1.5}", ERR_WRONG_TYPE, "/top_k" },
		{ "{" SMALL "," HI ",\"thinking\":{\"type\":\"enabled\"}}", ERR_MISSING_FIELD, "/thinking/budget_tokens" },
		{ "{" SMALL "," HI ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2048}}", ERR_OUT_OF_RANGE, "/thinking/budget_tokens" },
		{ "{" SMALL "," HI ",\"thinking\":{\"type\":\"deep\"}}", ERR_OUT_OF_RANGE, "/thinking/type" },
		{ "{" SMALL "," HI ",\"output_config\":{\"effort\":\"none\"}}", ERR_OUT_OF_RANGE, "/output_config/effort" },
		{ "{" SMALL "," HI ",\"output_config\":{\"format\":{\"type\":\"json_object\"}}}", ERR_OUT_OF_RANGE, "/output_config/format/type" },
		{ "{" SMALL "," HI ",\"output_config\":{\"format\":{\"type\":\"json_schema\"}}}", ERR_MISSING_FIELD, "/output_config/format/schema" },
		{ "{" SMALL "," HI ",\"service_tier\":\"flex\"}", ERR_OUT_OF_RANGE, "/service_tier" },
		{ "{" SMALL "," HI ",\"metadata\":{\"user_id\":7}}", ERR_WRONG_TYPE, "/metadata/user_id" },
		{ "{" SMALL "," HI ",\"stream\":\"yes\"}", ERR_WRONG_TYPE, "/stream" },
		{ "{" SMALL "," HI ",\"millrace\":[]}", ERR_WRONG_TYPE, "/millrace" },
		{ "{" SMALL "," HI ",\"mcp_servers\":[{}]}", ERR_UNSUPPORTED, "/mcp_servers" },
		{ "{" SMALL "," HI ",\"container\":\"c\"}", ERR_UNSUPPORTED, "/container" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		refused(rows[i].body, rows[i].code, rows[i].param);
}

static void test_message_schemas_are_not_too_deep(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 65536);
	buf_add_z(&b, "{" SMALL "," HI ",\"tools\":[{\"name\":\"f\",\"input_schema\":");
	for (int i = 0; i < 49; i++)
		buf_add_z(&b, "{\"a\":");
	buf_add_z(&b, "1");
	for (int i = 0; i < 49; i++)
		buf_add_z(&b, "}");
	buf_add_z(&b, "}]}");
	buf_add_char(&b, '\0');
	refused(b.p, ERR_OUT_OF_RANGE, "/tools/0/input_schema");
	buf_done(&b);
}

static void test_message_counting_needs_no_limit(void **state)
{
	(void)state;
	struct read t;
	start(&t, "{\"model\":\"m\"," HI "}");
	assert_int_equal(t.rc, -(int)ERR_MISSING_FIELD);
	assert_int_equal(message_read_uncounted(&t.a, t.body, &t.r, &t.err), 0);
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_smallest_request),
		cmocka_unit_test(test_message_every_field_has_its_native_one),
		cmocka_unit_test(test_message_system_of_several_blocks),
		cmocka_unit_test(test_message_tools_and_choices),
		cmocka_unit_test(test_message_thinking_effort_and_schema),
		cmocka_unit_test(test_message_images),
		cmocka_unit_test(test_message_documents),
		cmocka_unit_test(test_message_a_turn_with_tools_and_thoughts),
		cmocka_unit_test(test_message_results_of_tools_go_first),
		cmocka_unit_test(test_message_marks_of_the_prompt_cache_go_along),
		cmocka_unit_test(test_message_marks_that_anthropic_refuses_are_refused),
		cmocka_unit_test(test_message_choices_are_of_tools_that_are_there),
		cmocka_unit_test(test_message_places_are_told_in_the_clients_words),
		cmocka_unit_test(test_message_mistakes_name_the_field),
		cmocka_unit_test(test_message_schemas_are_not_too_deep),
		cmocka_unit_test(test_message_counting_needs_no_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
