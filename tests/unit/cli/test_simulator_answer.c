/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's answers: OpenAI's shapes, the rule for tokens, cuts at max_tokens, streams at characters' borders. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/simulator/openai.h"
#include "common/http/sse.h"

struct fixture {
	struct arena arena;
	struct script *script;
	struct rule *rule;
	json_t *body;
	struct chat chat;
	struct answer answer;
	struct buf out;
};

/* rule: fields of the model's rule; fields: of the request, after its model. */
static int prepare(struct fixture *x, const char *rule, const char *fields, struct err *err)
{
	struct buf b;
	buf_init(&b, 100000);
	arena_init(&x->arena, 1u << 24);
	buf_init(&x->out, ANSWER_MAX);
	x->script = script_new();
	buf_printf(&b, "{\"models\":{\"m\":{%s}}}", rule);
	json_t *patch = json_parse(buf_str(&b), err);
	assert_int_equal(script_merge(&x->script, patch, err), 0);
	json_decref(patch);
	x->rule = script_match(x->script, STR("m"));
	buf_clear(&b);
	buf_printf(&b, "{\"model\":\"m\"%s}", fields);
	x->body = json_parse(buf_str(&b), err);
	assert_non_null(x->body);
	buf_done(&b);
	chat_init(&x->chat, &x->arena);
	int rc = openai_read(&x->chat, x->body, err);
	if (rc == 0)
		answer_make(&x->answer, &x->arena, &x->chat, x->rule);
	x->answer.id = "chatcmpl-x";
	x->answer.tool_id = "call_x";
	x->answer.created = 1700000000;
	return rc;
}

static void done(struct fixture *x)
{
	chat_done(&x->chat);
	json_decref(x->body);
	script_unref(x->script);
	buf_done(&x->out);
	arena_done(&x->arena);
}

static json_t *out_json(struct fixture *x)
{
	struct err err;
	json_t *v = json_parse(buf_str(&x->out), &err);
	if (!v)
		fail_msg("%s in " STR_FMT, err.text, STR_ARG(buf_str(&x->out)));
	return v;
}

static void assert_str(struct str got, const char *wanted)
{
	if (!str_eq_z(got, wanted))
		fail_msg("got \"" STR_FMT "\", wanted \"%s\"", STR_ARG(got), wanted);
}

#define HELLO ",\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"hello\"}]"

static void test_answer_counts_tokens_by_the_rule(void **state)
{
	struct fixture x;
	struct err err;
	(void)state;
	assert_int_equal(count_tokens(STR("")), 0);
	assert_int_equal(count_tokens(STR("abcd")), 1);
	assert_int_equal(count_tokens(STR("abcde")), 2);
	assert_int_equal(prepare(&x, "\"answer\":\"seven b\"", HELLO, &err), 0);
	openai_write(&x.out, &x.chat, x.rule, &x.answer);
	json_t *v = out_json(&x), *usage = json_get(v, "usage");
	assert_int_equal(json_i64(usage, "prompt_tokens", 0), 2 + 3 + 2 + 3);
	assert_int_equal(json_i64(usage, "completion_tokens", 0), 2);
	assert_int_equal(json_i64(usage, "total_tokens", 0), 12);
	assert_int_equal(json_i64(json_get(usage, "prompt_tokens_details"), "cached_tokens", -1), 0);
	json_t *choice = json_array_get(json_get(v, "choices"), 0);
	assert_str(json_str(json_get(choice, "message"), "content"), "seven b");
	assert_str(json_str(choice, "finish_reason"), "stop");
	assert_str(json_str(v, "object"), "chat.completion");
	json_decref(v);
	done(&x);
}

static void test_answer_max_tokens_cuts_at_a_character(void **state)
{
	struct fixture x;
	struct err err;
	(void)state;
	assert_int_equal(prepare(&x, "\"answer\":\"abc\xc3\xa9\xc3\xa9\xc3\xa9\"", ",\"max_tokens\":1" HELLO, &err), 0);
	assert_str(x.answer.text, "abc");
	assert_true(x.answer.cut);
	assert_string_equal(answer_finish(&x.answer, x.rule, "stop", "length", "tool"), "length");
	assert_int_equal(x.answer.output_tokens, 1);
	done(&x);
	assert_int_equal(
	    prepare(&x, "\"answer\":\"abcd\",\"finish_reason\":\"content_filter\"", ",\"max_tokens\":1" HELLO, &err),
	    0);
	assert_string_equal(answer_finish(&x.answer, x.rule, "stop", "length", "tool"), "content_filter");
	done(&x);
}

struct seen {
	struct buf text;
	size_t events, finished, usages, pieces;
	bool done;
};

static int on_event(void *arg, const struct sse_event *e)
{
	struct seen *s = arg;
	struct err err;
	s->events++;
	assert_false(s->done);
	if (str_eq_z(e->data, "[DONE]")) {
		s->done = true;
		return 0;
	}
	json_t *v = json_parse(e->data, &err);
	assert_non_null(v);
	json_t *choice = json_array_get(json_get(v, "choices"), 0);
	struct str piece = json_str(json_get(choice, "delta"), "content");
	if (s->events == 1)
		assert_str(json_str(json_get(choice, "delta"), "role"), "assistant");
	s->pieces += piece.n > 0;
	buf_add_str(&s->text, piece);
	s->finished += json_str(choice, "finish_reason").n > 0;
	s->usages += json_is_object(json_get(v, "usage"));
	json_decref(v);
	return 0;
}

static void read_stream(struct fixture *x, struct seen *s)
{
	struct sse sse;
	struct stream_marks marks;
	*s = (struct seen){ .events = 0 };
	buf_init(&s->text, 1u << 20);
	assert_int_equal(openai_write_stream(&x->out, &x->chat, x->rule, &x->answer, &marks), 0);
	assert_true(marks.head > 0 && marks.head <= marks.tail && marks.tail < x->out.n);
	sse_init(&sse, 1u << 20, on_event, s);
	assert_int_equal(sse_feed(&sse, buf_str(&x->out)), 0);
	sse_done(&sse);
	assert_true(s->done);
	assert_int_equal(s->finished, 1);
}

static void test_stream_gives_the_whole_text_in_pieces(void **state)
{
	static const struct {
		const char *rule, *fields;
		size_t pieces, usages;
	} rows[] = {
		{ "\"chunk_bytes\":2", "", 6, 0 },
		{ "\"chunk_bytes\":1", "", 9, 0 },
		{ "\"chunk_bytes\":0", "", 1, 0 },
		{ "\"latency_ms\":0", ",\"stream_options\":{\"include_usage\":true}", 1, 1 },
		{ "\"no_usage\":true", ",\"stream_options\":{\"include_usage\":true}", 1, 0 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture x;
		struct seen s;
		struct err err;
		char rule[200], fields[400];
		struct buf b;
		buf_init(&b, 399);
		buf_printf(&b, "%s,\"answer\":\"ab\xc3\xa9\xc3\xa9\xe2\x82\xac\\\"\\n12\"", rows[i].rule);
		memcpy(rule, b.p, b.n);
		rule[b.n] = '\0';
		buf_clear(&b);
		buf_printf(&b, ",\"stream\":true%s" HELLO, rows[i].fields);
		memcpy(fields, b.p, b.n);
		fields[b.n] = '\0';
		buf_done(&b);
		assert_int_equal(prepare(&x, rule, fields, &err), 0);
		assert_true(x.chat.stream);
		read_stream(&x, &s);
		assert_str(buf_str(&s.text), "ab\xc3\xa9\xc3\xa9\xe2\x82\xac\"\n12");
		assert_int_equal(s.pieces, rows[i].pieces);
		assert_int_equal(s.usages, rows[i].usages);
		buf_done(&s.text);
		done(&x);
	}
}

static void test_chat_mistakes_name_the_parameter(void **state)
{
	static const struct {
		const char *fields, *param;
	} rows[] = {
		{ "", "messages" },
		{ ",\"messages\":[]", "messages" },
		{ ",\"messages\":\"x\"", "messages" },
		{ ",\"messages\":[{\"content\":\"x\"}]", "messages" },
		{ ",\"messages\":[7]", "messages" },
		{ ",\"max_tokens\":0" HELLO, "max_tokens" },
		{ ",\"max_completion_tokens\":\"x\"" HELLO, "max_completion_tokens" },
		{ ",\"n\":17" HELLO, "n" },
		{ ",\"response_format\":{\"type\":\"json_schema\"}" HELLO, "response_format.json_schema.schema" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture x;
		struct err err = { .code = ERR_OK };
		assert_true(prepare(&x, "", rows[i].fields, &err) < 0);
		assert_string_equal(err.param, rows[i].param);
		done(&x);
	}
}

static void test_answer_kinds(void **state)
{
	struct fixture x;
	struct err err;
	(void)state;
	assert_int_equal(prepare(&x, "\"echo\":true", HELLO, &err), 0);
	assert_str(x.answer.text, "hello");
	done(&x);
	/* Parts of a message's content are joined; the answer is about the last user message. */
	assert_int_equal(
	    prepare(
	        &x, "\"echo\":true",
	        ",\"messages\":[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"user\",\"content\":["
	        "{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"image_url\"},{\"type\":\"text\",\"text\":\"two\"}]}]",
	        &err),
	    0);
	assert_str(x.answer.text, "one\ntwo");
	done(&x);
	assert_int_equal(prepare(&x, "", ",\"response_format\":{\"type\":\"json_object\"}" HELLO, &err), 0);
	json_t *v = json_parse(x.answer.text, &err);
	assert_str(json_str(v, "title"), "hello");
	json_decref(v);
	done(&x);
	assert_int_equal(prepare(&x, "", HELLO ",\"n\":2", &err), 0);
	openai_write(&x.out, &x.chat, x.rule, &x.answer);
	v = out_json(&x);
	assert_int_equal(json_array_size(json_get(v, "choices")), 2);
	json_decref(v);
	done(&x);
}

static void test_tag_is_found(void **state)
{
	static const struct {
		const char *body, *text, *tag;
	} rows[] = {
		{ "{\"metadata\":{\"tag\":\"a\"},\"user\":\"b\"}", "tag:c", "a" },
		{ "{\"user\":\"b\"}", "tag:c", "b" },
		{ "{}", "Summarise tag:c17, now", "c17," },
		{ "{}", "tag:", "" },
		{ "{}", "no", "" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err;
		json_t *body = json_parse(str_from(rows[i].body), &err);
		assert_str(answer_tag(openai_tag(body), str_from(rows[i].text)), rows[i].tag);
		json_decref(body);
	}
}

static void test_failure_shapes(void **state)
{
	static const struct {
		const char *rule;
		int status;
		const char *type, *holds;
	} rows[] = {
		{ "", 429, "application/json", "\"code\":\"rate_limit_exceeded\"" },
		{ "\"error_body\":\"openai\"", 500, "application/json", "\"type\":\"server_error\"" },
		{ "\"error_body\":\"html\"", 502, "text/html", "<h1>502</h1>" },
		{ "\"error_body\":\"empty\"", 503, "", "" },
		{ "\"error_body\":\"upstream timed out\"", 504, "text/plain; charset=utf-8", "upstream timed out" },
		{ "\"error_body\":{\"detail\":\"x\"}", 422, "application/json", "{\"detail\":\"x\"}" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture x;
		struct err err;
		assert_int_equal(prepare(&x, rows[i].rule, HELLO, &err), 0);
		struct failure f = { .kind = error_class_of(rows[i].status),
			             .status = rows[i].status,
			             .retry_after = -1 };
		assert_str(format_write_failure(&x.out, &format_openai, x.rule, &f), rows[i].type);
		assert_true(str_find(buf_str(&x.out), str_from(rows[i].holds)) >= 0);
		if (strcmp(rows[i].type, "application/json") == 0)
			json_decref(out_json(&x));
		done(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_counts_tokens_by_the_rule),
		cmocka_unit_test(test_answer_max_tokens_cuts_at_a_character),
		cmocka_unit_test(test_stream_gives_the_whole_text_in_pieces),
		cmocka_unit_test(test_chat_mistakes_name_the_parameter),
		cmocka_unit_test(test_answer_kinds),
		cmocka_unit_test(test_tag_is_found),
		cmocka_unit_test(test_failure_shapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
