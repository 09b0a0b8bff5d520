/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAI's chat completions, completions and embeddings: what a body becomes, what is refused by name, and how a result and running text are written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/face.h"
#include "tests/lib/faces.h"

#define HI "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void writes(const struct face *face, const char *result, const char *echo, const char *wanted)
{
	struct str got = faces_written(face, result, echo, false);
	if (!str_eq_z(got, wanted))
		fail_msg("%.*s\nis not %s", (int)got.n, got.p, wanted);
}

/* --- chat --- */

static void test_face_chat_passes_on_what_is_the_models(void **state)
{
	(void)state;
	faces_becomes(&face_chat, "{" HI ",\"temperature\":0.5,\"user\":\"u\",\"new_field\":[1],\"seed\":null}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":0.5,\"user\":\"u\",\"new_field\":[1],\"seed\":null}");
	faces_becomes(&face_chat, "{" HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"metadata\":{\"a\":\"b\"},\"store\":true,\"millrace\":{}}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
	faces_becomes(&face_chat, "{" HI ",\"n\":3,\"logprobs\":true}", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"n\":3,\"logprobs\":true}");
}

static void test_face_chat_reads_what_is_ours(void **state)
{
	(void)state;
	struct face_request r = { 0 };
	struct err err = { 0 };
	json_t *b = faces_parsed("{" HI ",\"user\":\"\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"metadata\":{\"a\":\"b\"},\"millrace\":{\"priority\":1}}");
	assert_int_equal(face_chat.read(faces_arena(), b, &r, &err), 0);
	assert_true(str_eq_z(r.model, "m") && r.stream && r.include_usage && r.user.p == NULL);
	assert_true(r.metadata == json_get(b, "metadata") && r.millrace == json_get(b, "millrace"));
	face_request_done(&r);
	json_decref(b);
}

static void test_face_chat_refuses_by_the_clients_names(void **state)
{
	(void)state;
	faces_refused(&face_chat, "[]", ERR_WRONG_TYPE, "");
	faces_refused(&face_chat, "{\"messages\":[]}", ERR_MISSING_FIELD, "/model");
	faces_refused(&face_chat, "{\"model\":1}", ERR_WRONG_TYPE, "/model");
	faces_refused(&face_chat, "{" HI ",\"user\":7}", ERR_WRONG_TYPE, "/user");
	faces_refused(&face_chat, "{" HI ",\"stream\":\"yes\"}", ERR_WRONG_TYPE, "/stream");
	faces_refused(&face_chat, "{" HI ",\"stream_options\":{}}", ERR_INVALID, "/stream_options");
	faces_refused(&face_chat, "{" HI ",\"stream\":true,\"stream_options\":{\"include_usage\":1}}", ERR_WRONG_TYPE, "/stream_options/include_usage");
	faces_refused(&face_chat, "{" HI ",\"stream\":true,\"stream_options\":[]}", ERR_WRONG_TYPE, "/stream_options");
	faces_refused(&face_chat, "{" HI ",\"function_call\":\"auto\"}", ERR_INVALID, "/function_call");
	faces_refused(&face_chat, "{" HI ",\"metadata\":[]}", ERR_WRONG_TYPE, "/metadata");
	faces_refused(&face_chat, "{" HI ",\"millrace\":{\"echo\":1}}", ERR_UNKNOWN_FIELD, "/millrace/echo");
}

#define CHOICES(finish) "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"ho\"},\"finish_reason\":\"" finish "\"}]"
#define NO_ID           "00000000000000000000000000000000"

static void test_face_chat_writes_the_result_under_the_jobs_name(void **state)
{
	(void)state;
	writes(&face_chat, "{\"id\":\"x\",\"object\":\"y\",\"created\":1,\"model\":\"served\"," CHOICES("stop") ",\"system_fingerprint\":\"f\"}", NULL,
	       "{\"id\":\"chatcmpl-" NO_ID "\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"served\"," CHOICES("stop") ",\"system_fingerprint\":\"f\"}");
	writes(&face_chat, "{" CHOICES("stop") "}", NULL,
	       "{" CHOICES("stop") ",\"id\":\"chatcmpl-" NO_ID "\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"asked\"}");
	assert_null(faces_written(&face_chat, "{\"choices\":[]}", NULL, false).p);
	struct str cut = faces_written(&face_chat, "{\"partial\":true," CHOICES("stop") "}", NULL, true);
	assert_true(str_find(cut, STR("\"finish_reason\":\"length\"")) > 0 && str_find(cut, STR("partial")) < 0);
}

/* Everything that a stream of `deltas` (a JSON array; NULL: it is told whole) writes. */
static struct str streamed_to(const struct face *face, const char *deltas, const char *result, const char *echo_text, bool include_usage)
{
	struct buf out;
	json_t *all = deltas ? faces_parsed(deltas) : NULL, *v = faces_parsed(result), *echo = echo_text ? faces_parsed(echo_text) : NULL, *delta;
	size_t i;
	buf_init(&out, 1 << 20);
	struct face_stream s = { .out = &out, .a = faces_arena(), .model = STR("m"), .created_us = 5000000, .include_usage = include_usage, .starting_after = -1,
		                 .echo = echo, .whole = !deltas };
	const struct face_answer j = { .result = v, .echo = echo };
	face->stream_begin(&s);
	json_array_foreach(all, i, delta)
		face->stream_delta(&s, delta);
	face->stream_end(&s, &j);
	struct str ret = arena_str(faces_arena(), buf_str(&out));
	buf_done(&out);
	json_decref(all);
	json_decref(v);
	json_decref(echo);
	return ret;
}

static struct str streamed(const struct face *face, const char *deltas, const char *result, bool include_usage)
{
	return streamed_to(face, deltas, result, NULL, include_usage);
}

static void is_told(struct str got, const char *want)
{
	if (!str_eq_z(got, want))
		fail_msg("%.*s\nis not\n%s", (int)got.n, got.p, want);
}

#define HEAD(object, id) "data: {\"id\":\"" id NO_ID "\",\"object\":\"" object "\",\"created\":5,\"model\":\"m\","
#define CHUNK          HEAD("chat.completion.chunk", "chatcmpl-")
#define DELTA(d, f)    "\"choices\":[{\"index\":0,\"delta\":" d ",\"logprobs\":null,\"finish_reason\":" f "}]"

static void test_face_chat_streams_role_deltas_finish_and_usage(void **state)
{
	(void)state;
	struct str got = streamed(&face_chat, "[{\"content\":\"h\\n\"},{\"tool_calls\":[{\"index\":0}]}]",
	                          "{" CHOICES("tool_calls") ",\"usage\":{\"total_tokens\":3},\"system_fingerprint\":\"f\"}", true);
	const char *want = CHUNK DELTA("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null") ",\"usage\":null}\n\n"
	    CHUNK DELTA("{\"content\":\"h\\n\"}", "null") ",\"usage\":null}\n\n"
	    CHUNK DELTA("{\"tool_calls\":[{\"index\":0}]}", "null") ",\"usage\":null}\n\n"
	    CHUNK "\"system_fingerprint\":\"f\"," DELTA("{}", "\"tool_calls\"") ",\"usage\":null}\n\n"
	    CHUNK "\"system_fingerprint\":\"f\",\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n"
	    "data: [DONE]\n\n";
	if (!str_eq_z(got, want))
		fail_msg("%.*s", (int)got.n, got.p);
	got = streamed(&face_chat, "[]", "{" CHOICES("stop") "}", false);
	assert_true(str_find(got, STR("usage")) < 0 && str_has_suffix(got, STR("data: [DONE]\n\n")));
}

/* A chunk of choice i with log probabilities l. */
#define PIECE(i, d, l, f) CHUNK "\"choices\":[{\"index\":" i ",\"delta\":" d ",\"logprobs\":" l ",\"finish_reason\":" f "}]}\n\n"
#define ROLE(i)           PIECE(i, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null", "null")
#define CONTENT_LP(t)     "{\"content\":[" t "],\"refusal\":null}"

static void test_face_chat_knows_which_streams_are_told_whole(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		bool whole;
	} rows[] = {
		{ "{" HI ",\"stream\":true}", false },
		{ "{" HI ",\"stream\":true,\"n\":1,\"logprobs\":false,\"modalities\":[\"text\"]}", false },
		{ "{" HI ",\"stream\":true,\"n\":null,\"logprobs\":null,\"modalities\":null}", false },
		{ "{" HI ",\"stream\":true,\"n\":2}", true },
		{ "{" HI ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":2}", true },
		{ "{" HI ",\"stream\":true,\"modalities\":[\"text\",\"audio\"]}", true },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct face_request r = { 0 };
		struct err err = { 0 };
		json_t *body = faces_parsed(rows[i].body);
		assert_int_equal(face_chat.read(faces_arena(), body, &r, &err), 0);
		assert_int_equal(r.whole, rows[i].whole);
		face_request_done(&r);
		json_decref(body);
	}
}

static void test_face_chat_streams_several_choices_one_after_the_other(void **state)
{
	(void)state;
	is_told(streamed(&face_chat, NULL,
	                 "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\",\"refusal\":null},\"finish_reason\":\"length\"},"
	                 "{\"index\":1,\"message\":{\"content\":null,\"reasoning_content\":\"r\",\"refusal\":\"no\",\"audio\":{\"id\":\"s\"},"
	                 "\"tool_calls\":[{\"id\":\"c\"},7,{\"id\":\"d\"}]}}]}", false),
	        ROLE("0") PIECE("0", "{\"content\":\"a\"}", "null", "null") PIECE("0", "{}", "null", "\"length\"")
	        ROLE("1") PIECE("1", "{\"reasoning_content\":\"r\"}", "null", "null") PIECE("1", "{\"refusal\":\"no\"}", "null", "null")
	        PIECE("1", "{\"tool_calls\":[{\"id\":\"c\",\"index\":0}]}", "null", "null")
	        PIECE("1", "{\"tool_calls\":[{\"id\":\"d\",\"index\":2}]}", "null", "null") PIECE("1", "{\"audio\":{\"id\":\"s\"}}", "null", "null")
	        PIECE("1", "{}", "null", "\"stop\"") "data: [DONE]\n\n");
	is_told(streamed(&face_chat, NULL, "{\"choices\":[]}", false), ROLE("0") PIECE("0", "{}", "null", "\"stop\"") "data: [DONE]\n\n");
}

#define ONE(text, logprobs) "{\"choices\":[{\"message\":{\"content\":\"" text "\"},\"logprobs\":" logprobs ",\"finish_reason\":\"stop\"}]}"

static void test_face_chat_streams_log_probabilities_with_their_tokens(void **state)
{
	(void)state;
	is_told(streamed(&face_chat, NULL, ONE("ab", "{\"content\":[{\"token\":\"a\",\"logprob\":-1},{\"token\":\"b\"}],\"refusal\":null}"), false),
	        ROLE("0") PIECE("0", "{\"content\":\"a\"}", CONTENT_LP("{\"token\":\"a\",\"logprob\":-1}"), "null")
	        PIECE("0", "{\"content\":\"b\"}", CONTENT_LP("{\"token\":\"b\"}"), "null") PIECE("0", "{}", "null", "\"stop\"") "data: [DONE]\n\n");
	/* Tokens that end amid a character, or that are not all of the text. */
	is_told(streamed(&face_chat, NULL, ONE("ab", "{\"content\":[{\"token\":\"a\"},{\"token\":\"x\"}]}"), false),
	        ROLE("0") PIECE("0", "{\"content\":\"ab\"}", CONTENT_LP("{\"token\":\"a\"},{\"token\":\"x\"}"), "null") PIECE("0", "{}", "null", "\"stop\"")
	        "data: [DONE]\n\n");
	is_told(streamed(&face_chat, NULL, ONE("ab", "{\"content\":[{\"token\":\"a\"}]}"), false),
	        ROLE("0") PIECE("0", "{\"content\":\"ab\"}", CONTENT_LP("{\"token\":\"a\"}"), "null") PIECE("0", "{}", "null", "\"stop\"") "data: [DONE]\n\n");
	is_told(streamed(&face_chat, NULL, ONE("ab", "7"), false),
	        ROLE("0") PIECE("0", "{\"content\":\"ab\"}", "null", "null") PIECE("0", "{}", "null", "\"stop\"") "data: [DONE]\n\n");
}

static void test_face_chat_tells_a_broken_stream_without_done(void **state)
{
	(void)state;
	struct buf out;
	struct err err = { .code = ERR_STREAM_RESTARTED, .text = "why" };
	buf_init(&out, 1 << 16);
	struct face_stream s = { .out = &out, .a = faces_arena() };
	face_chat.stream_fail(&s, &err);
	assert_true(str_eq_z(buf_str(&out), "data: {\"error\":{\"message\":\"why\",\"type\":\"server_error\",\"param\":null,\"code\":\"stream_restarted\"}}\n\n"));
	buf_done(&out);
}

/* --- completions --- */

static void test_face_completion_is_a_message_of_a_user(void **state)
{
	(void)state;
	faces_becomes(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\"}", "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":16}");
	faces_becomes(&face_completion, "{\"model\":\"m\",\"prompt\":[\"p\"],\"max_tokens\":3,\"stop\":[\"x\"],\"echo\":false,\"best_of\":1,\"other\":1}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":3,\"stop\":[\"x\"]}");
	faces_becomes(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"n\":2,\"best_of\":2,\"logprobs\":3,\"echo\":null}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":16,\"n\":2,\"logprobs\":true,\"top_logprobs\":3}");
	faces_becomes(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"logprobs\":0}",
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":16,\"logprobs\":true}");
	faces_refused(&face_completion, "{\"model\":\"m\"}", ERR_MISSING_FIELD, "/prompt");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":[]}", ERR_UNSUPPORTED, "/prompt");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":[1,2]}", ERR_UNSUPPORTED, "/prompt");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":{}}", ERR_WRONG_TYPE, "/prompt");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":[\"p\",\"q\"]}", ERR_UNSUPPORTED, "/prompt");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"logprobs\":6}", ERR_OUT_OF_RANGE, "/logprobs");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"logprobs\":true}", ERR_WRONG_TYPE, "/logprobs");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"logprobs\":1,\"echo\":true}", ERR_UNSUPPORTED, "/echo");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"echo\":1}", ERR_WRONG_TYPE, "/echo");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"n\":3,\"best_of\":2}", ERR_OUT_OF_RANGE, "/best_of");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"best_of\":\"2\"}", ERR_WRONG_TYPE, "/best_of");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"stream_options\":{}}", ERR_INVALID, "/stream_options");
	faces_refused(&face_completion, "{\"model\":\"m\",\"prompt\":\"p\",\"best_of\":3}", ERR_UNSUPPORTED, "/best_of");
	assert_string_equal(face_completion.pointer(faces_arena(), "/messages/0/content"), "/prompt");
	assert_string_equal(face_completion.pointer(faces_arena(), "/temperature"), "/temperature");
	assert_string_equal(face_completion.pointer(faces_arena(), "/top_logprobs"), "/logprobs");
}

static void test_face_completion_writes_text(void **state)
{
	(void)state;
	writes(&face_completion, "{" CHOICES("length") ",\"usage\":{\"total_tokens\":3}}", NULL,
	       "{\"id\":\"cmpl-" NO_ID "\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"asked\",\"choices\":[{\"text\":\"ho\",\"index\":0,"
	       "\"logprobs\":null,\"finish_reason\":\"length\"}],\"usage\":{\"total_tokens\":3}}");
	struct str got = streamed(&face_completion, "[{\"content\":\"h\"},{\"reasoning_content\":\"r\"}]", "{" CHOICES("stop") "}", false);
	const char *want = HEAD("text_completion", "cmpl-") "\"choices\":[{\"text\":\"h\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]}\n\n"
	    HEAD("text_completion", "cmpl-") "\"choices\":[{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n"
	    "data: [DONE]\n\n";
	if (!str_eq_z(got, want))
		fail_msg("%.*s", (int)got.n, got.p);
}

#define TEXT(i, t, l, f) "{\"text\":\"" t "\",\"index\":" i ",\"logprobs\":" l ",\"finish_reason\":" f "}"
#define EVENT(i, t, l, f) HEAD("text_completion", "cmpl-") "\"choices\":[" TEXT(i, t, l, f) "]}\n\n"
#define OLD_LP "{\"tokens\":[\"ä\",\"b\"],\"token_logprobs\":[-0.5,null],\"top_logprobs\":[{\"ä\":-0.5,\"x\":-2},{}],\"text_offset\":[0,1]}"

static void test_face_completion_has_the_old_forms_of_logprobs_and_echo(void **state)
{
	(void)state;
	const char *result = ONE("äb", "{\"content\":[{\"token\":\"ä\",\"logprob\":-0.5,\"top_logprobs\":[{\"token\":\"ä\",\"logprob\":-0.5},"
	                               "{\"token\":\"x\",\"logprob\":-2},7]},{\"token\":\"b\"}]}");
	writes(&face_completion, result, NULL,
	       "{\"id\":\"cmpl-" NO_ID "\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"asked\",\"choices\":["
	       TEXT("0", "äb", OLD_LP, "\"stop\"") "]}");
	writes(&face_completion, ONE("b", "null"), "{\"prompt\":\"a \"}",
	       "{\"id\":\"cmpl-" NO_ID "\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"asked\",\"choices\":["
	       TEXT("0", "a b", "null", "\"stop\"") "]}");
	is_told(streamed(&face_completion, NULL, result, false), EVENT("0", "äb", OLD_LP, "null") EVENT("0", "", "null", "\"stop\"") "data: [DONE]\n\n");
	is_told(streamed_to(&face_completion, "[{\"content\":\"b\"}]", ONE("b", "null"), "{\"prompt\":\"a \"}", false),
	        EVENT("0", "a ", "null", "null") EVENT("0", "b", "null", "null") EVENT("0", "", "null", "\"stop\"") "data: [DONE]\n\n");
}

static void test_face_completion_streams_several_choices(void **state)
{
	(void)state;
	is_told(streamed_to(&face_completion, NULL, "{\"choices\":[{\"message\":{\"content\":\"a\"}},{\"message\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}",
	                    "{\"prompt\":\"p\"}", false),
	        EVENT("0", "p", "null", "null") EVENT("0", "a", "null", "null") EVENT("0", "", "null", "\"stop\"")
	        EVENT("1", "p", "null", "null") EVENT("1", "", "null", "\"length\"") "data: [DONE]\n\n");
}

/* --- embeddings --- */

static void test_face_embeddings_reads_texts_and_tokens(void **state)
{
	(void)state;
	faces_becomes(&face_embeddings, "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\",\"dimensions\":8}",
	        "{\"input\":[\"a\",\"b\"],\"dimensions\":8}");
	faces_becomes(&face_embeddings, "{\"model\":\"m\",\"input\":[[1],[2,3]],\"user\":\"u\",\"dimensions\":null}", "{\"input\":[[1],[2,3]],\"user\":\"u\"}");
	faces_refused(&face_embeddings, "{\"model\":\"m\",\"input\":[\"a\",[1]]}", ERR_WRONG_TYPE, "/input/1");
	faces_refused(&face_embeddings, "{\"model\":\"m\",\"input\":[[]]}", ERR_WRONG_TYPE, "/input/0");
	faces_refused(&face_embeddings, "{\"model\":\"m\",\"input\":[\"\"]}", ERR_OUT_OF_RANGE, "/input/0");
	faces_refused(&face_embeddings, "{\"model\":\"m\",\"input\":\"a\",\"dimensions\":0}", ERR_OUT_OF_RANGE, "/dimensions");
	faces_refused(&face_embeddings, "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":1}", ERR_WRONG_TYPE, "/encoding_format");
}

#define E(v)        "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":" v "}],\"model\":\"asked\",\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2}}"
#define RESULT(v)   "{\"data\":[{\"embedding\":" v "}],\"usage\":{\"prompt_tokens\":2}}"
#define BASE64_ECHO "{\"encoding_format\":\"base64\"}"

static void test_face_embeddings_are_little_endian_float32_in_base64(void **state)
{
	(void)state;
	writes(&face_embeddings, RESULT("[1,-0.5,0.0]"), NULL, E("[1,-0.5,0.0]"));
	writes(&face_embeddings, RESULT("[1,-0.5,0.0]"), BASE64_ECHO, E("\"AACAPwAAAL8AAAAA\""));
	/* A provider that answers in base64 of its own accord. */
	writes(&face_embeddings, RESULT("\"AACAPwAAAL8AAAAA\""), BASE64_ECHO, E("\"AACAPwAAAL8AAAAA\""));
	writes(&face_embeddings, RESULT("\"AACAPwAAAL8AAAAA\""), NULL, E("[1.0,-0.5,0.0]"));
	assert_null(faces_written(&face_embeddings, RESULT("\"AACA\""), NULL, false).p);
	assert_null(faces_written(&face_embeddings, RESULT("\"AADAfw==\""), NULL, false).p); /* NaN */
	assert_null(faces_written(&face_embeddings, RESULT("7"), NULL, false).p);
	assert_null(faces_written(&face_embeddings, "{\"data\":1}", NULL, false).p);
}

/* --- all --- */

static void test_face_of_knows_each_form_once(void **state)
{
	(void)state;
	assert_null(face_of(FORM_NATIVE));
	assert_null(face_of((enum face_form)99));
	for (int form = FORM_NATIVE + 1; form < FORM_COUNT; form++)
		if (face_of((enum face_form)form))
			assert_int_equal(face_of((enum face_form)form)->form, form);
	assert_ptr_equal(face_of(FORM_CHAT), &face_chat);
	assert_ptr_equal(face_of(FORM_EMBEDDINGS), &face_embeddings);
	assert_ptr_equal(face_of(FORM_COMPLETION), &face_completion);
}

static void test_face_stored_body_is_a_native_job(void **state)
{
	(void)state;
	struct face_request r = { 0 };
	struct err err = { 0 };
	struct str stored;
	json_t *b = faces_parsed("{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"base64\",\"millrace\":{\"priority\":2}}");
	assert_int_equal(face_embeddings.read(faces_arena(), b, &r, &err), 0);
	assert_int_equal(face_store(&r, faces_arena(), &stored, &err), 0);
	assert_true(str_eq_z(stored, "{\"route\":\"m\",\"request\":{\"input\":\"x\"},\"echo\":{\"encoding_format\":\"base64\"},\"priority\":2}"));
	face_request_done(&r);
	json_decref(b);
}

/* Stored one level deeper than it came, a request must still be read by the worker. */
static void test_face_refuses_what_could_be_stored_but_not_read(void **state)
{
	(void)state;
	for (int levels = JSON_DEPTH_MAX - 4; levels <= JSON_DEPTH_MAX - 1; levels++) {
		struct face_request r = { 0 };
		struct err err = { 0 };
		struct submission job;
		struct conf conf = { .job_max_attempts = 3 };
		struct netguard guard;
		struct buf b;
		netguard_init(&guard);
		buf_init(&b, 4096);
		buf_add_z(&b, "{" HI ",\"x\":");
		for (int i = 0; i < levels; i++)
			buf_add_char(&b, '[');
		for (int i = 0; i < levels; i++)
			buf_add_char(&b, ']');
		buf_add_char(&b, '}');
		json_t *body = faces_parsed(arena_str(faces_arena(), buf_str(&b)).p);
		buf_done(&b);
		const struct submission_rules rules = { &conf, &guard, 0 };
		assert_int_equal(face_chat.read(faces_arena(), body, &r, &err), 0);
		int rc = face_submission(&face_chat, &r, faces_arena(), &rules, &job, &err);
		/* This configuration has no route: what is not too deep gets that far. */
		assert_int_equal(rc, levels < JSON_DEPTH_MAX - 1 ? -(int)ERR_UNKNOWN_ROUTE : -(int)ERR_BAD_JSON);
		assert_string_equal(err.param, levels < JSON_DEPTH_MAX - 1 ? "/model" : "");
		face_request_done(&r);
		json_decref(body);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_face_chat_passes_on_what_is_the_models, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_reads_what_is_ours, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_refuses_by_the_clients_names, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_writes_the_result_under_the_jobs_name, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_streams_role_deltas_finish_and_usage, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_knows_which_streams_are_told_whole, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_streams_several_choices_one_after_the_other, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_streams_log_probabilities_with_their_tokens, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_chat_tells_a_broken_stream_without_done, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_completion_is_a_message_of_a_user, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_completion_writes_text, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_completion_has_the_old_forms_of_logprobs_and_echo, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_completion_streams_several_choices, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_embeddings_reads_texts_and_tokens, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_embeddings_are_little_endian_float32_in_base64, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_of_knows_each_form_once, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_stored_body_is_a_native_job, faces_open, faces_close),
		cmocka_unit_test_setup_teardown(test_face_refuses_what_could_be_stored_but_not_read, faces_open, faces_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
