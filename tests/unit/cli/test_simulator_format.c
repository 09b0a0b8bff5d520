/* SPDX-License-Identifier: Apache-2.0 */
/* The formats as a table: which path is whose, every class of errors in every format, events that add up to the stream.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/simulator/format.h"

static const struct format *const formats[] = { &format_openai, &format_azure, &format_anthropic, &format_gemini,
	                                        &format_bedrock };

static void test_paths_find_their_format_and_model(void **state)
{
	static const struct {
		const char *path, *format, *model;
		bool stream;
	} rows[] = {
		{ "/v1/chat/completions", "openai", "", false },
		{ "/base/of/mine/v1/embeddings", "openai", "", false },
		{ "/openai/deployments/gpt 4/chat/completions", "azure", "gpt 4", false },
		{ "/openai/v1/chat/completions", "azure", "", false },
		{ "/v1/messages", "anthropic", "", false },
		{ "/a/v1/messages", "anthropic", "", false },
		{ "/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "gemini-2.5-pro", false },
		{ "/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", "gemini", "g", true },
		{ "/v1beta/models/e:batchEmbedContents", "gemini", "e", false },
		{ "/v1beta/models/:generateContent", NULL, "", false },
		{ "/openai/deployments//chat/completions", NULL, "", false },
		{ "/model/anthropic.claude:0/converse", "bedrock", "anthropic.claude:0", false },
		{ "/model/arn:aws:bedrock:p/converse-stream", "bedrock", "arn:aws:bedrock:p", true },
		{ "/v1/messages/batches", NULL, "", false },
		{ "/v1/nope", NULL, "", false },
		{ "", NULL, "", false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct format *f = NULL;
		struct str model;
		const struct endpoint *e = format_find(str_from(rows[i].path), &f, &model);
		assert_int_equal(e != NULL, rows[i].format != NULL);
		if (!e)
			continue;
		assert_string_equal(f->name, rows[i].format);
		assert_true(str_eq_z(model, rows[i].model));
		assert_int_equal(e->stream, rows[i].stream);
	}
}

static json_t *parsed(struct str text)
{
	struct err err;
	json_t *v = json_parse(text, &err);
	if (!v)
		fail_msg("%s in " STR_FMT, err.text, STR_ARG(text));
	return v;
}

static void test_every_class_is_told_in_every_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		for (int kind = 1; kind < ERROR_CLASSES; kind++) {
			struct failure f = { .kind = (enum error_class)kind,
				             .status = formats[i]->errors[kind].status,
				             .retry_after = 90,
				             .model = STR("m\"\x80"),
				             .request_id = STR("r") };
			struct buf b;
			buf_init(&b, 1u << 20);
			assert_true(f.status == 200 || (f.status >= 400 && f.status < 600));
			formats[i]->write_error(&b, &f);
			json_decref(parsed(buf_str(&b)));
			buf_clear(&b);
			formats[i]->write_stream_error(&b, &f);
			assert_int_equal(formats[i]->event_len(buf_str(&b)), b.n); /* one whole event */
			buf_clear(&b);
			f.message = STR("My \"own\" words");
			formats[i]->write_error(&b, &f);
			assert_true(f.status == 200 || str_find(buf_str(&b), STR("My \\\"own\\\" words")) >= 0);
			buf_done(&b);
		}
	}
}

struct fixture {
	struct arena arena;
	struct script *script;
	struct rule *rule;
	struct chat chat;
	struct answer answer;
	json_t *schema;
};

static void prepare(struct fixture *x, const char *rule)
{
	struct err err;
	struct buf b;
	buf_init(&b, 10000);
	buf_printf(&b, "{\"models\":{\"m\":%s}}", rule);
	json_t *patch = parsed(buf_str(&b));
	buf_done(&b);
	arena_init(&x->arena, 1u << 20);
	x->script = script_new();
	assert_int_equal(script_merge(&x->script, patch, &err), 0);
	json_decref(patch);
	x->rule = script_match(x->script, STR("m"));
	x->schema =
	    parsed(STR("{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"type\":\"string\"}}}"));
	chat_init(&x->chat, &x->arena);
	x->chat.model = STR("m");
	x->chat.tool = STR("look\"up");
	x->chat.tool_schema = x->schema;
	x->chat.prompt_tokens = 50;
	x->chat.include_usage = true;
	answer_make(&x->answer, &x->arena, &x->chat, x->rule);
	x->answer.id = x->answer.tool_id = "id";
}

static void done(struct fixture *x)
{
	chat_done(&x->chat);
	json_decref(x->schema);
	script_unref(x->script);
	arena_done(&x->arena);
}

static void test_streams_are_whole_events_around_their_text(void **state)
{
	static const char *const rules[] = {
		"{\"answer\":\"one two three\",\"chunk_bytes\":3}",
		"{\"answer\":\"\\u20ac\\u20ac\",\"chunk_bytes\":1,\"thinking\":\"hm\",\"cached_tokens\":70}",
		"{\"tool_call\":true,\"chunk_bytes\":2}",
		"{\"tool_call\":true,\"thinking\":\"hm\",\"no_usage\":true}",
		"{\"answer\":\"\"}",
		"{\"answer\":\"x\",\"usage\":{\"a\":{\"b\":1}}}",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats) * ARRAY_LEN(rules); i++) {
		const struct format *f = formats[i % ARRAY_LEN(formats)];
		struct fixture x;
		struct stream_marks marks;
		struct buf b;
		bool head = false, tail = false;
		size_t at = 0;
		prepare(&x, rules[i / ARRAY_LEN(formats)]);
		assert_true(x.answer.cached_tokens <= x.chat.prompt_tokens);
		buf_init(&b, 1u << 20);
		assert_int_equal(f->write_stream(&b, &x.chat, x.rule, &x.answer, &marks), 0);
		assert_true(marks.head <= marks.tail && marks.tail < b.n);
		while (at < b.n) {
			struct str rest = str_sub(buf_str(&b), at, b.n), event = str_sub(rest, 0, f->event_len(rest));
			head |= at == marks.head;
			tail |= at == marks.tail;
			at += event.n;
			if (f == &format_bedrock)
				continue; /* binary frames: test_bedrock.c reads them */
			ssize_t data = str_find(event, STR("data: "));
			assert_true(data >= 0);
			event = str_trim(str_sub(event, (size_t)data + 6, event.n));
			if (!str_eq(event, STR("[DONE]")))
				json_decref(parsed(event));
		}
		assert_true(head && tail); /* both stand between events */
		buf_clear(&b);
		assert_int_equal(f->write_answer(&b, &x.chat, x.rule, &x.answer), 0);
		json_t *v = parsed(buf_str(&b));
		assert_int_equal(str_find(buf_str(&b), STR("\"usage\":{")) >= 0 ||
		                     str_find(buf_str(&b), STR("\"usageMetadata\":{")) >= 0,
		                 !x.rule->no_usage);
		json_decref(v);
		buf_done(&b);
		done(&x);
	}
}

static void test_statuses_mean_classes(void **state)
{
	static const struct {
		int status;
		enum error_class kind;
	} rows[] = {
		{ 200, ERROR_BAD_REQUEST },  { 400, ERROR_BAD_REQUEST },  { 401, ERROR_AUTH },
		{ 402, ERROR_BILLING },      { 403, ERROR_PERMISSION },   { 404, ERROR_NOT_FOUND },
		{ 413, ERROR_TOO_LARGE },    { 422, ERROR_BAD_REQUEST },  { 429, ERROR_RATE_LIMIT },
		{ 500, ERROR_SERVER_ERROR }, { 502, ERROR_SERVER_ERROR }, { 503, ERROR_OVERLOADED },
		{ 504, ERROR_TIMEOUT },      { 529, ERROR_OVERLOADED },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(error_class_of(rows[i].status), rows[i].kind);
}

static void test_files_of_any_url(void **state)
{
	static const struct {
		const char *url, *type;
		bool good;
	} rows[] = {
		{ "data:image/png;base64,AAEC", "image/png", true },
		{ "data:text/plain;charset=utf-8;base64,aGk=", "text/plain", true },
		{ "https://example.org/a.png", NULL, true },
		{ "data:image/png;base64,", NULL, false },
		{ "data:image/png;base64,AAE", NULL, false },
		{ "data:image/png,AAEC", NULL, false },
		{ "data:", NULL, false },
		{ "ftp://x", NULL, false },
		{ "", NULL, false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct chat c;
		struct err err = { .code = ERR_OK };
		arena_init(&a, 1u << 20);
		chat_init(&c, &a);
		assert_int_equal(chat_file_url(&c, str_from(rows[i].url), "here", &err) == 0, rows[i].good);
		assert_int_equal(c.nfiles, rows[i].type ? 1 : 0);
		if (rows[i].type)
			assert_string_equal(c.files[0].type, rows[i].type);
		if (!rows[i].good)
			assert_string_equal(err.param, "here");
		chat_message_end(&c, CHAT_USER);
		assert_true(str_eq_z(c.last_user, rows[i].type && strcmp(rows[i].type, "text/plain") == 0 ? "hi" : ""));
		chat_done(&c);
		arena_done(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_find_their_format_and_model),
		cmocka_unit_test(test_every_class_is_told_in_every_format),
		cmocka_unit_test(test_streams_are_whole_events_around_their_text),
		cmocka_unit_test(test_statuses_mean_classes),
		cmocka_unit_test(test_files_of_any_url),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
