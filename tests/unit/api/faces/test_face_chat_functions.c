/* SPDX-License-Identifier: Apache-2.0 */
/* The form that calls of tools had before there were tools: requests in it become ones with tools, and answers come back in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/chat.h"
#include "tests/lib/faces.h"

#define HI      "{\"role\":\"user\",\"content\":\"hi\"}"
#define M(rest) "{\"model\":\"m\",\"messages\":[" rest "]"
#define F       "\"functions\":[{\"name\":\"f\",\"parameters\":{}}]"
#define TOOLS   "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}],\"parallel_tool_calls\":false"
#define OLD     "{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}}"
#define NEW(n)  "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_" n "\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}"
#define SAID(name, content) "{\"role\":\"function\",\"name\":\"" name "\",\"content\":" content "}"
#define TOOL(n, content)    "{\"role\":\"tool\",\"tool_call_id\":\"call_" n "\",\"content\":" content "}"
#define FUNCTIONS           "{\"functions\":true}"

static void test_face_chat_functions_become_tools(void **state)
{
	(void)state;
	faces_becomes(&face_chat, M(HI) "," F "}", "{\"messages\":[" HI "]," TOOLS "}");
	faces_becomes(&face_chat, M(HI) "," F ",\"function_call\":\"auto\",\"tools\":null}", "{\"messages\":[" HI "]," TOOLS ",\"tool_choice\":\"auto\"}");
	faces_becomes(&face_chat, M(HI) "," F ",\"function_call\":{\"name\":\"f\"},\"parallel_tool_calls\":true}",
	        "{\"messages\":[" HI "],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}],\"parallel_tool_calls\":true,"
	        "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}");
	/* Members that are not there do not make it a request of that form. */
	faces_becomes(&face_chat, M(HI ",{\"role\":\"assistant\",\"content\":\"a\",\"function_call\":null}") ",\"functions\":null,\"function_call\":null}",
	        "{\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\",\"function_call\":null}],\"functions\":null,\"function_call\":null}");
}

static void test_face_chat_functions_in_a_dialogue_get_ids_and_results(void **state)
{
	(void)state;
	faces_becomes(&face_chat, M(HI "," OLD "," SAID("f", "\"1\"") "," OLD "," SAID("f", "null")) "}",
	        "{\"messages\":[" HI "," NEW("1") "," TOOL("1", "\"1\"") "," NEW("3") "," TOOL("3", "\"\"") "]}");
	/* A call that nobody answered, amid the dialogue and at its end. */
	faces_becomes(&face_chat, M(OLD "," HI "," OLD) "}", "{\"messages\":[" NEW("0") "," TOOL("0", "\"\"") "," HI "," NEW("2") "," TOOL("2", "\"\"") "]}");
	/* Results of what was not called. */
	faces_becomes(&face_chat, M(SAID("g", "\"x\"") "," OLD "," SAID("g", "[{\"type\":\"text\",\"text\":\"y\"}]")) "}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"The function g returned: x\"}," NEW("1") "," TOOL("1", "\"\"") ","
	        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"The function g returned: \"},{\"type\":\"text\",\"text\":\"y\"}]}]}");
}

static void test_face_chat_functions_are_refused_by_their_own_names(void **state)
{
	(void)state;
	faces_refused(&face_chat, M(HI) ",\"function_call\":\"auto\"}", ERR_INVALID, "/function_call");
	faces_refused(&face_chat, M(HI) "," F ",\"tools\":[]}", ERR_INVALID, "/functions");
	faces_refused(&face_chat, M(HI) ",\"functions\":{}}", ERR_WRONG_TYPE, "/functions");
	faces_refused(&face_chat, M(HI) ",\"functions\":[]}", ERR_OUT_OF_RANGE, "/functions");
	faces_refused(&face_chat, M(HI) ",\"functions\":[7]}", ERR_WRONG_TYPE, "/functions/0");
	faces_refused(&face_chat, M(HI) ",\"functions\":[{\"name\":\"a\"},{}]}", ERR_MISSING_FIELD, "/functions/1/name");
	faces_refused(&face_chat, M(HI) ",\"functions\":[{\"name\":1}]}", ERR_WRONG_TYPE, "/functions/0/name");
	faces_refused(&face_chat, M(HI) "," F ",\"function_call\":\"required\"}", ERR_OUT_OF_RANGE, "/function_call");
	faces_refused(&face_chat, M(HI) "," F ",\"function_call\":1}", ERR_WRONG_TYPE, "/function_call");
	faces_refused(&face_chat, M(HI) "," F ",\"function_call\":{}}", ERR_MISSING_FIELD, "/function_call/name");
	faces_refused(&face_chat, M(HI) "," F ",\"function_call\":{\"name\":\"g\"}}", ERR_OUT_OF_RANGE, "/function_call/name");
	faces_refused(&face_chat, M(HI ",{\"role\":\"assistant\",\"function_call\":7}") "}", ERR_WRONG_TYPE, "/messages/1/function_call");
	faces_refused(&face_chat, M(HI ",{\"role\":\"assistant\",\"function_call\":{\"arguments\":\"\"}}") "}", ERR_MISSING_FIELD, "/messages/1/function_call/name");
	faces_refused(&face_chat, M("{\"role\":\"assistant\",\"function_call\":{\"name\":\"f\",\"arguments\":{}}}") "}", ERR_WRONG_TYPE, "/messages/0/function_call/arguments");
	faces_refused(&face_chat, M(HI ",{\"role\":\"function\",\"content\":\"x\"}") "}", ERR_MISSING_FIELD, "/messages/1/name");
	faces_refused(&face_chat, M(SAID("f", "7")) "}", ERR_WRONG_TYPE, "/messages/0/content");
}

/* Messages were added on the way: complaints are about those that the client sent. */
static void test_face_chat_functions_keep_the_places_of_messages(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "/messages/0/tool_calls/0/function/arguments", "/messages/0/function_call" },
		{ "/messages/1/content", "/messages/0/content" },
		{ "/messages/2/content/3", "/messages/1/content/3" },
		{ "/messages/2", "/messages/1" },
		{ "/messages/9/x", "/messages/9/x" },
		{ "/messages/x", "/messages/x" },
		{ "/messages", "/messages" },
		{ "/tools", "/functions" },
		{ "/tools/3/function", "/functions/3/function" },
		{ "/tool_choice", "/function_call" },
		{ "/temperature", "/temperature" },
	};
	struct face_request r = { 0 };
	struct err err = { 0 };
	json_t *body = faces_parsed(M(OLD "," HI) "," F "}");
	assert_int_equal(face_chat.read(faces_arena(), body, &r, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(face_pointer(&face_chat, &r, faces_arena(), rows[i][0]), rows[i][1]);
	face_request_done(&r);
	assert_string_equal(face_pointer(&face_chat, &r, faces_arena(), "/messages/2"), "/messages/2");
	json_decref(body);
}

#define CALLS "[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"function\":{\"name\":\"g\"}}]"

static void test_face_chat_functions_are_answered_in_their_form(void **state)
{
	(void)state;
	static const char result[] = "{\"choices\":[{\"index\":0,\"message\":{\"content\":null,\"tool_calls\":" CALLS "},\"finish_reason\":\"tool_calls\"},7]}";
	struct str got = faces_written(&face_chat, result, FUNCTIONS, false), same = faces_written(&face_chat, result, NULL, false);
	assert_true(str_find(got, STR("\"message\":{\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}},\"finish_reason\":\"function_call\"")) > 0);
	assert_true(str_find(got, STR("tool_calls")) < 0 && str_find(same, STR("\"tool_calls\":" CALLS)) > 0);
	got = faces_written(&face_chat, "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}", FUNCTIONS, true);
	assert_true(str_find(got, STR("{\"message\":{\"content\":\"a\"},\"finish_reason\":\"length\"}")) > 0);
}

static void test_face_chat_functions_are_streamed_in_their_form(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}", "{\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}}" },
		{ "{\"tool_calls\":[{\"function\":{\"arguments\":\"x\"}}]}", "{\"function_call\":{\"arguments\":\"x\"}}" },
		{ "{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"x\"}}]}", NULL },
		{ "{\"tool_calls\":[{\"index\":0}]}", NULL },
		{ "{\"content\":\"x\"}", "{\"content\":\"x\"}" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *delta = faces_parsed(rows[i][0]), *got = chat_functions_delta(delta), *want = rows[i][1] ? faces_parsed(rows[i][1]) : NULL;
		assert_true(want ? json_equal(got, want) : !got);
		json_decref(delta);
		json_decref(got);
		json_decref(want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_face_chat_functions_become_tools, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_functions_in_a_dialogue_get_ids_and_results, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_functions_are_refused_by_their_own_names, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_functions_keep_the_places_of_messages, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_functions_are_answered_in_their_form, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_functions_are_streamed_in_their_form, faces_open, faces_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
