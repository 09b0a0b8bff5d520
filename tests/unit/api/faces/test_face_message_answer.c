/* SPDX-License-Identifier: Apache-2.0 */
/* A completion as Anthropic's message, whole and as a stream: read back by the rules of its clients, both are the same, however the text was cut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/face.h"
#include "common/http/sse.h"

static json_t *parsed(struct str s)
{
	struct err err = { 0 };
	json_t *v = json_parse(s, &err);
	if (!v)
		fail_msg("%s: " STR_FMT, err.text, STR_ARG(s));
	return v;
}

static struct id some_id(void)
{
	struct id id;
	assert_int_equal(id_parse(STR("job_0123456789abcdef0123456789abcdef"), "job_", &id), 0);
	return id;
}

static json_t *written(const char *result, bool partial)
{
	json_t *r = parsed(str_from(result));
	struct buf b;
	buf_init(&b, 1 << 20);
	struct face_answer j = { .id = some_id(), .form = FORM_MESSAGE, .model = STR("m"), .result = r, .partial = partial };
	assert_int_equal(face_message.write(&b, &j), 0);
	json_t *v = parsed(buf_str(&b));
	buf_done(&b);
	json_decref(r);
	return v;
}

#define WHOLE                                                                                                                                                 \
	"{\"choices\":[{\"message\":{\"content\":\"Hi there\",\"reasoning_content\":\"hmm\",\"thinking_blocks\":[{\"type\":\"thinking\",\"thinking\":\"hmm\"," \
	"\"signature\":\"sig\"},{\"type\":\"redacted_thinking\",\"data\":\"x\"}],\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":"     \
	"\"{\\\"a\\\":1}\"}},{\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":"                \
	"{\"prompt_tokens\":100,\"completion_tokens\":20,\"prompt_tokens_details\":{\"cached_tokens\":60,\"cache_write_tokens\":30},"                          \
	"\"completion_tokens_details\":{\"reasoning_tokens\":7}}}"

static void test_message_answer_has_its_blocks_and_its_usage(void **state)
{
	(void)state;
	json_t *v = written(WHOLE, false);
	json_t *want = parsed(STR("{\"id\":\"msg_0123456789abcdef0123456789abcdef\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"container\":null,"
				  "\"diagnostics\":null,\"content\":[{\"type\":\"thinking\",\"thinking\":\"hmm\",\"signature\":\"sig\"},{\"type\":\"redacted_thinking\",\"data\":\"x\"},"
				  "{\"type\":\"text\",\"text\":\"Hi there\",\"citations\":null},"
				  "{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{\"a\":1},\"caller\":{\"type\":\"direct\"}},"
				  "{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{},\"caller\":{\"type\":\"direct\"}}],"
				  "\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"stop_details\":null,\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":30,"
				  "\"cache_read_input_tokens\":60,\"output_tokens\":20,\"output_tokens_details\":{\"thinking_tokens\":7},\"server_tool_use\":null}}"));
	assert_true(json_equal(v, want));
	json_decref(want);
	json_decref(v);
}

static void test_message_answer_says_why_it_stopped(void **state)
{
	(void)state;
	static const struct {
		const char *result;
		bool partial;
		const char *reason, *sequence;
	} rows[] = {
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}", false, "end_turn", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}]}", false, "stop_sequence", "END" },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\",\"stop_reason\":null}]}", false, "end_turn", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"length\"}]}", false, "max_tokens", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", true, "max_tokens", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{}]},\"finish_reason\":\"stop\"}]}", false, "tool_use", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}", false, "refusal", NULL },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"content_filter\"}]}", false, "refusal", NULL },
		{ "{\"choices\":[{\"message\":{},\"finish_reason\":5}],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"x\"}}", false, "end_turn", NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *v = written(rows[i].result, rows[i].partial);
		if (!str_eq_z(json_str(v, "stop_reason"), rows[i].reason))
			fail_msg("%s ended as " STR_FMT, rows[i].result, STR_ARG(json_str(v, "stop_reason")));
		assert_true(rows[i].sequence ? str_eq_z(json_str(v, "stop_sequence"), rows[i].sequence) : json_is_null(json_get(v, "stop_sequence")));
		assert_true(json_is_object(json_get(v, "stop_details")) == str_eq_z(json_str(v, "stop_reason"), "refusal"));
		assert_true(json_i64(json_get(v, "usage"), "input_tokens", -1) >= 0 && json_i64(json_get(v, "usage"), "output_tokens", -1) >= 0);
		json_decref(v);
	}
}

static void test_message_answer_needs_a_choice(void **state)
{
	(void)state;
	static const char *const results[] = { "{}", "{\"choices\":[]}", "{\"choices\":[{\"message\":\"x\"}]}", "[]", "7" };
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		struct err err = { 0 };
		struct buf b;
		json_t *r = json_parse(str_from(results[i]), &err);
		buf_init(&b, 1 << 20);
		struct face_answer j = { .id = some_id(), .model = STR("m"), .result = r };
		assert_int_equal(face_message.write(&b, &j), -ERR_BAD_OUTPUT);
		buf_done(&b);
		json_decref(r);
	}
}

/* --- a client of the stream, as the official SDKs gather a message --- */

struct client {
	json_t *message; /* owned */
	struct buf inputs[8];
	bool started[8], stopped[8];
	int open;
	bool over;
	struct str error;
	struct arena a;
};

static void take_delta(struct client *c, json_t *block, int64_t index, const json_t *delta)
{
	static const char *const members[][2] = { { "text_delta", "text" }, { "thinking_delta", "thinking" }, { "signature_delta", "signature" } };
	struct str type = json_str(delta, "type");
	if (str_eq_z(type, "input_json_delta")) {
		assert_int_equal(c->open, index);
		buf_add_str(&c->inputs[index], json_str(delta, "partial_json"));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		if (!str_eq_z(type, members[i][0]))
			continue;
		struct str before = json_str(block, members[i][1]), piece = json_str(delta, members[i][1]);
		struct str all = arena_printf(&c->a, STR_FMT STR_FMT, STR_ARG(before), STR_ARG(piece));
		json_set_str(block, members[i][1], all);
		return;
	}
	fail_msg("a delta of type " STR_FMT, STR_ARG(type));
}

static void take_block(struct client *c, struct str type, const json_t *e)
{
	json_t *content = json_get(c->message, "content");
	int64_t index = json_i64(e, "index", -1);
	assert_in_range(index, 0, 7);
	if (str_eq_z(type, "content_block_start")) {
		assert_int_equal(index, json_array_size(content));
		assert_int_equal(c->open, -1);
		c->open = (int)index;
		json_array_append_new(content, json_copy(json_get(e, "content_block")));
	} else if (str_eq_z(type, "content_block_delta")) {
		take_delta(c, json_array_get(content, (size_t)index), index, json_get(e, "delta"));
	} else {
		json_t *block = json_array_get(content, (size_t)index);
		assert_int_equal(c->open, index);
		c->open = -1;
		if (c->inputs[index].n)
			json_object_set_new(block, "input", parsed(buf_str(&c->inputs[index])));
	}
}

static int take_event(void *arg, const struct sse_event *event)
{
	struct client *c = arg;
	json_t *e = parsed(event->data);
	struct str type = json_str(e, "type");
	assert_true(str_eq(type, event->event));
	assert_false(c->over);
	if (str_eq_z(type, "message_start")) {
		c->message = json_deep_copy(json_get(e, "message"));
	} else if (str_eq_z(type, "error")) {
		c->over = true;
		c->error = arena_str(&c->a, json_str(json_get(e, "error"), "type"));
	} else if (str_eq_z(type, "message_delta")) {
		assert_int_equal(c->open, -1);
		json_object_update(c->message, json_get(e, "delta"));
		json_object_update(json_get(c->message, "usage"), json_get(e, "usage"));
	} else if (str_eq_z(type, "message_stop")) {
		c->over = true;
	} else if (!str_eq_z(type, "ping")) {
		take_block(c, type, e);
	}
	json_decref(e);
	return 0;
}

static void client_start(struct client *c)
{
	*c = (struct client){ .open = -1 };
	arena_init(&c->a, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(c->inputs); i++)
		buf_init(&c->inputs[i], 1 << 20);
}

static void client_end(struct client *c)
{
	json_decref(c->message);
	for (size_t i = 0; i < ARRAY_LEN(c->inputs); i++)
		buf_done(&c->inputs[i]);
	arena_done(&c->a);
}

/* Streams the deltas (JSON array) and the end with that result, or with an error when it is NULL. */
static void streamed(struct client *c, const char *deltas, const char *result)
{
	struct buf out;
	struct arena a;
	struct sse sse;
	json_t *all = parsed(str_from(deltas)), *delta, *r = result ? parsed(str_from(result)) : NULL;
	size_t i;
	buf_init(&out, 1 << 20);
	arena_init(&a, 1 << 20);
	client_start(c);
	struct face_stream s = { .out = &out, .a = &a, .id = some_id(), .model = STR("m"), .starting_after = -1 };
	face_message.stream_begin(&s);
	assert_true(s.began);
	json_array_foreach(all, i, delta) face_message.stream_delta(&s, delta);
	struct face_answer j = { .id = some_id(), .form = FORM_MESSAGE, .model = STR("m"), .result = r };
	struct err err = { 0 };
	err_set(&err, ERR_STREAM_CUT, "cut");
	if (r)
		face_message.stream_end(&s, &j);
	else
		face_message.stream_fail(&s, &err);
	sse_init(&sse, 1 << 20, take_event, c);
	assert_int_equal(sse_feed(&sse, buf_str(&out)), 0);
	assert_true(c->over);
	sse_done(&sse);
	buf_done(&out);
	arena_done(&a);
	json_decref(all);
	json_decref(r);
}

/* What the stream told is the whole answer; hidden thoughts come at its end. */
static void same_as_whole(const char *deltas, const char *result)
{
	struct client c;
	streamed(&c, deltas, result);
	json_t *want = written(result, false), *content = json_get(c.message, "content"), *whole = json_get(want, "content"), *block;
	size_t i, at = 0;
	json_array_foreach(whole, i, block)
	{
		if (str_eq_z(json_str(block, "type"), "redacted_thinking"))
			continue;
		if (!json_equal(block, json_array_get(content, at)))
			fail_msg("block %zu is another: %s", at, json_dumps(json_array_get(content, at), 0));
		at++;
	}
	json_array_foreach(whole, i, block) if (str_eq_z(json_str(block, "type"), "redacted_thinking"))
		assert_true(json_equal(block, json_array_get(content, at++)));
	assert_int_equal(json_array_size(content), at);
	json_object_del(want, "content");
	json_object_del(c.message, "content");
	assert_true(json_equal(want, c.message));
	json_decref(want);
	client_end(&c);
}

static void test_message_stream_is_the_answer(void **state)
{
	(void)state;
	same_as_whole("[{\"reasoning_content\":\"hmm\"},{\"content\":\"Hi there\"},"
		      "{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
		      "{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}]", WHOLE);
	same_as_whole("[]", "{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"stop\"}]}");
	same_as_whole("[{\"refusal\":\"no\"}]", "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}");
}

static void add_piece(json_t *deltas, const char *member, struct str piece)
{
	json_t *delta = json_object();
	json_set_str(delta, member, piece);
	json_array_append_new(deltas, delta);
}

static void add_arguments(json_t *deltas, int index, const char *id, const char *name, struct str piece)
{
	json_t *function = json_object(), *call = json_object(), *calls = json_array(), *delta = json_object();
	if (name)
		json_set_str(function, "name", str_from(name));
	json_set_str(function, "arguments", piece);
	json_set_i64(call, "index", index);
	if (id)
		json_set_str(call, "id", str_from(id));
	json_object_set_new(call, "function", function);
	json_array_append_new(calls, call);
	json_object_set_new(delta, "tool_calls", calls);
	json_array_append_new(deltas, delta);
}

static void test_message_stream_does_not_care_for_cuts(void **state)
{
	(void)state;
	const struct str thought = STR("hmm"), text = STR("Hi there"), arguments = STR("{\"a\":1}");
	for (size_t i = 0; i <= thought.n; i++)
		for (size_t k = 0; k <= text.n; k++) {
			size_t m = (i + k) % (arguments.n + 1);
			json_t *deltas = json_array();
			add_piece(deltas, "reasoning_content", str_sub(thought, 0, i));
			add_piece(deltas, "reasoning_content", str_sub(thought, i, thought.n));
			add_piece(deltas, "content", str_sub(text, 0, k));
			add_piece(deltas, "content", str_sub(text, k, text.n));
			/* The name may come after the id and the first arguments. */
			add_arguments(deltas, 0, "c1", k % 2 ? "f" : NULL, str_sub(arguments, 0, m));
			add_arguments(deltas, 0, NULL, k % 2 ? NULL : "f", str_sub(arguments, m, arguments.n));
			add_arguments(deltas, 1, "c2", "g", STR(""));
			struct buf b;
			buf_init(&b, 1 << 20);
			json_write(&b, deltas);
			buf_add_char(&b, '\0');
			same_as_whole(b.p, WHOLE);
			buf_done(&b);
			json_decref(deltas);
		}
}

static void test_message_stream_that_fails_ends_with_an_error(void **state)
{
	(void)state;
	struct client c;
	streamed(&c, "[{\"content\":\"half\"}]", NULL);
	assert_true(c.error.n > 0);
	assert_true(str_eq(json_str(json_array_get(json_get(c.message, "content"), 0), "text"), STR("half")));
	client_end(&c);
}

static void test_message_stream_with_mixed_calls_is_an_error(void **state)
{
	(void)state;
	struct client c;
	streamed(&c, "[{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
		     "{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
		     "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\" \"}}]}]", "{\"choices\":[{\"message\":{}}]}");
	assert_true(str_eq(c.error, STR("api_error")));
	client_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_answer_has_its_blocks_and_its_usage),
		cmocka_unit_test(test_message_answer_says_why_it_stopped),
		cmocka_unit_test(test_message_answer_needs_a_choice),
		cmocka_unit_test(test_message_stream_is_the_answer),
		cmocka_unit_test(test_message_stream_does_not_care_for_cuts),
		cmocka_unit_test(test_message_stream_that_fails_ends_with_an_error),
		cmocka_unit_test(test_message_stream_with_mixed_calls_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
