/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of the Responses API: however the text is cut, the same bytes have the same numbers, and a stream that is taken up after any number goes on with
 * what comes next. A client of the test puts the events together as the official SDK does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api/faces/response.h"
#include "api/jobs/job_object.h"
#include "common/http/sse.h"

static const struct id job_id = { { 0x01, 0x9a, 0x2b, 0x3c, 0x4d, 0x5e, 0x7f, 0x00, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x01, 0x23 } };
#define JOB_HEX "019a2b3c4d5e7f00a1b2c3d4e5f60123"

static json_t *parsed(struct str text)
{
	struct err err = { 0 };
	json_t *v = json_parse(text, &err);
	if (!v)
		fail_msg("%s: %.*s", err.text, (int)text.n, text.p);
	return v;
}

/* --- a stream --- */

struct told {
	struct arena arena;
	struct buf out;
	struct face_stream s;
};

static void begin(struct told *t, bool background, int64_t starting_after)
{
	*t = (struct told){ 0 };
	arena_init(&t->arena, 1 << 20);
	buf_init(&t->out, 1 << 24);
	t->s = (struct face_stream){ .out = &t->out, .a = &t->arena, .id = job_id, .model = STR("m"), .created_us = 1767225600000000, .background = background,
		                     .starting_after = starting_after };
	face_response.stream_begin(&t->s);
}

static void delta(struct told *t, const char *member, struct str piece)
{
	json_t *d = json_object();
	json_set_str(d, member, piece);
	face_response.stream_delta(&t->s, d);
	json_decref(d);
}

static void call(struct told *t, int index, const char *id, const char *name, struct str arguments)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_printf(&b, "{\"tool_calls\":[{\"index\":%d,\"id\":\"%s\",\"function\":{\"name\":\"%s\",\"arguments\":", index, id, name);
	buf_add_json_str(&b, arguments);
	buf_add_z(&b, "}}]}");
	json_t *d = parsed(buf_str(&b));
	face_response.stream_delta(&t->s, d);
	json_decref(d);
	buf_done(&b);
}

static void end(struct told *t, const json_t *result)
{
	struct face_answer j = { .id = job_id, .form = FORM_RESPONSE, .created_us = t->s.created_us, .finished_us = 1767225607000000, .status = STATUS_SUCCEEDED,
		                 .model = STR("m"), .result = result, .background = t->s.background };
	face_response.stream_end(&t->s, &j);
}

static void done(struct told *t)
{
	arena_done(&t->arena);
	buf_done(&t->out);
}

/* --- a client --- */

struct client {
	json_t *response; /* as the SDK puts it together: lifecycle events replace it */
	struct buf types; /* "created in_progress item.added …" */
	struct buf texts[4]; /* all deltas: output_text, refusal, reasoning_text, function_call_arguments */
	int64_t last;     /* sequence_number */
	int64_t limit;    /* events above it did not arrive */
	int events;
};

static const char *const kinds[] = { "response.output_text", "response.refusal", "response.reasoning_text", "response.function_call_arguments" };

static void add_text(json_t *holder, const char *member, struct str more)
{
	struct buf b;
	buf_init(&b, 1 << 24);
	buf_add_str(&b, json_str(holder, member));
	buf_add_str(&b, more);
	json_set_str(holder, member, buf_str(&b));
	buf_done(&b);
}

static json_t *item_of(const struct client *c, const json_t *e)
{
	json_t *item = json_array_get(json_get(c->response, "output"), (size_t)json_i64(e, "output_index", -1));
	assert_non_null(item);
	return item;
}

static json_t *part_of(const struct client *c, const json_t *e)
{
	json_t *part = json_array_get(json_get(item_of(c, e), "content"), (size_t)json_i64(e, "content_index", -1));
	assert_non_null(part);
	return part;
}

/* The item or part that an event of it changes, and that it says its id. */
static void put_text(struct client *c, const json_t *e, size_t kind, bool whole)
{
	static const char *const members[] = { "text", "refusal", "text", "arguments" };
	json_t *holder = kind == 3 ? item_of(c, e) : part_of(c, e);
	assert_true(str_eq(json_str(e, "item_id"), json_str(item_of(c, e), "id")));
	if (whole) {
		assert_true(str_eq(json_str(e, members[kind]), json_str(holder, members[kind])));
		return;
	}
	assert_true(json_str(e, "delta").n > 0);
	buf_add_str(&c->texts[kind], json_str(e, "delta"));
	add_text(holder, members[kind], json_str(e, "delta"));
}

/* Events that change the response are put together only in a stream from its start. */
static void take_change(struct client *c, struct str type, const json_t *e)
{
	if (str_eq_z(type, "response.output_item.added")) {
		assert_int_equal(json_i64(e, "output_index", -1), json_array_size(json_get(c->response, "output")));
		json_array_append_new(json_get(c->response, "output"), json_deep_copy(json_get(e, "item")));
	} else if (str_eq_z(type, "response.content_part.added")) {
		json_t *content = json_get(item_of(c, e), "content");
		assert_int_equal(json_i64(e, "content_index", -1), json_array_size(content));
		json_array_append_new(content, json_deep_copy(json_get(e, "part")));
	} else if (str_eq_z(type, "response.content_part.done")) {
		assert_true(str_eq(json_str(part_of(c, e), "text"), json_str(json_get(e, "part"), "text")));
		assert_true(str_eq(json_str(part_of(c, e), "refusal"), json_str(json_get(e, "part"), "refusal")));
	} else if (str_eq_z(type, "response.output_item.done")) {
		json_array_set_new(json_get(c->response, "output"), (size_t)json_i64(e, "output_index", -1), json_deep_copy(json_get(e, "item")));
	}
	for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
		if (str_has_prefix(type, str_from(kinds[kind])))
			put_text(c, e, kind, str_has_suffix(type, STR(".done")));
}

static int on_event(void *arg, const struct sse_event *event)
{
	struct client *c = arg;
	json_t *e = parsed(event->data);
	struct str type = json_str(e, "type");
	assert_true(str_eq(type, event->event));
	int64_t number = json_i64(e, "sequence_number", -1);
	assert_true(number > c->last);
	if (number > c->limit) {
		json_decref(e);
		return 0;
	}
	c->last = number;
	c->events++;
	buf_printf(&c->types, "%s" STR_FMT, c->types.n ? " " : "", STR_ARG(str_sub(type, strlen("response."), type.n)));
	if (json_get(e, "response")) {
		json_decref(c->response);
		c->response = json_incref(json_get(e, "response"));
	} else if (c->response) {
		take_change(c, type, e);
	} else {
		for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
			if (str_has_prefix(type, str_from(kinds[kind])))
				buf_add_str(&c->texts[kind], json_str(e, "delta"));
	}
	json_decref(e);
	return 0;
}

static void client_read_to(struct client *c, const struct told *t, int64_t after, int64_t limit)
{
	struct sse sse;
	*c = (struct client){ .last = after, .limit = limit };
	buf_init(&c->types, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(c->texts); i++)
		buf_init(&c->texts[i], 1 << 20);
	sse_init(&sse, 1 << 24, on_event, c);
	assert_false(buf_failed(&t->out));
	assert_int_equal(sse_feed(&sse, buf_str(&t->out)), 0);
	sse_done(&sse);
}

static void client_read(struct client *c, const struct told *t, int64_t after)
{
	client_read_to(c, t, after, INT64_MAX);
}

static void client_done(struct client *c)
{
	json_decref(c->response);
	buf_done(&c->types);
	for (size_t i = 0; i < ARRAY_LEN(c->texts); i++)
		buf_done(&c->texts[i]);
}

static void assert_types(const struct client *c, const char *wanted)
{
	if (!str_eq_z(buf_str(&c->types), wanted))
		fail_msg("wanted %s\n  got    %.*s", wanted, (int)c->types.n, c->types.p);
}

/* --- an answer with something of everything --- */

#define REASONED "hm, h\xc3\xb6"
#define SAID     "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8c\x8d"
#define REFUSED  "no"
#define ARGS_1   "{\"a\": 1}"

static const char whole_text[] =
    "{\"choices\":[{\"message\":{\"content\":\"" SAID "\",\"refusal\":\"" REFUSED "\",\"reasoning_content\":\"" REASONED "\",\"tool_calls\":["
    "{\"id\":\"c0\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}},{\"id\":\"c1\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
    "\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";

/* Pieces of at most `size` bytes, never within a character; the first `skip` pieces of all are told, the others come from the result. */
struct cut {
	size_t size;
	int pieces;
};

static bool next_piece(struct cut *c, struct str *rest, struct str *ret)
{
	if (rest->n == 0 || c->pieces-- <= 0)
		return false;
	*ret = str_utf8_prefix(*rest, c->size);
	if (ret->n == 0)
		*ret = str_sub(*rest, 0, str_utf8_len(*rest));
	*rest = str_sub(*rest, ret->n, rest->n);
	return true;
}

static void tell_pieces(struct told *t, struct cut *c)
{
	static const struct {
		const char *member;
		struct str text;
	} texts[] = { { "reasoning_content", STR(REASONED) }, { "content", STR(SAID) }, { "refusal", STR(REFUSED) } };
	struct str piece, rest;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		for (rest = texts[i].text; next_piece(c, &rest, &piece);)
			delta(t, texts[i].member, piece);
	rest = STR(ARGS_1);
	for (bool first = true; next_piece(c, &rest, &piece); first = false)
		call(t, 0, first ? "c0" : "", first ? "f" : "", piece);
	/* Arguments that are none come in no piece; in the finest stream they come as {}. */
	if (c->pieces-- > 0)
		call(t, 1, "c1", "g", c->size == 1 ? STR("{") : STR(""));
	if (c->size == 1 && c->pieces-- > 0)
		call(t, 1, "", "", STR("}"));
}

static void tell_whole(struct told *t, size_t size, int pieces, int64_t after)
{
	json_t *result = parsed(str_from(whole_text));
	struct cut c = { size, pieces };
	begin(t, /* background= */ true, after);
	tell_pieces(t, &c);
	end(t, result);
	json_decref(result);
}

static void test_response_stream_is_put_together_to_the_whole_answer(void **state)
{
	(void)state;
	struct told t;
	struct client c;
	tell_whole(&t, 1000, 0, -1);
	client_read(&c, &t, -1);
	assert_types(&c, "created queued in_progress output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done "
	                 "output_item.done output_item.added content_part.added output_text.delta output_text.done content_part.done content_part.added "
	                 "refusal.delta refusal.done content_part.done output_item.done output_item.added function_call_arguments.delta "
	                 "function_call_arguments.done output_item.done output_item.added function_call_arguments.delta function_call_arguments.done "
	                 "output_item.done completed");
	assert_true(str_eq(buf_str(&c.texts[0]), STR(SAID)) && str_eq(buf_str(&c.texts[1]), STR(REFUSED)));
	assert_true(str_eq(buf_str(&c.texts[2]), STR(REASONED)) && str_eq(buf_str(&c.texts[3]), STR(ARGS_1 "{}")));
	client_done(&c);
	done(&t);
}

/* What the SDK gathers before the last event is what the last event says. */
static void test_response_stream_gathers_the_output_of_its_end(void **state)
{
	(void)state;
	struct told t;
	struct client c;
	tell_whole(&t, 3, 1000, -1);
	struct str all = buf_str(&t.out);
	ssize_t last = str_find(all, STR("event: response.completed"));
	assert_true(last > 0);
	size_t n = t.out.n;
	t.out.n = (size_t)last;
	client_read(&c, &t, -1);
	t.out.n = n;
	struct client whole;
	client_read(&whole, &t, -1);
	assert_true(json_equal(json_get(c.response, "output"), json_get(whole.response, "output")));
	client_done(&c);
	client_done(&whole);
	done(&t);
}

static void test_response_stream_has_the_same_numbers_however_it_is_cut(void **state)
{
	(void)state;
	struct told reference;
	struct client want;
	tell_whole(&reference, 1000, 0, -1);
	client_read(&want, &reference, -1);
	for (size_t size = 1; size <= 20; size++)
		for (int pieces = 0; pieces <= 60; pieces += size == 1 ? 1 : 7) {
			struct told t;
			struct client c;
			tell_whole(&t, size, pieces, -1);
			client_read(&c, &t, -1);
			assert_int_equal(c.last, want.last);
			assert_true(json_equal(c.response, want.response));
			for (size_t i = 0; i < ARRAY_LEN(c.texts); i++)
				assert_true(str_eq(buf_str(&c.texts[i]), buf_str(&want.texts[i])));
			client_done(&c);
			done(&t);
		}
	client_done(&want);
	done(&reference);
}

/* A client that stops after each event of one stream takes it up in another that is cut otherwise: it has had no byte twice and misses none. */
static void test_response_stream_goes_on_after_any_number(void **state)
{
	(void)state;
	struct told reference;
	struct client want;
	tell_whole(&reference, 4, 1000, -1);
	client_read(&want, &reference, -1);
	for (int64_t after = -1; after <= want.last; after++) {
		static const struct cut cuts[] = { { 1, 1000 }, { 5, 1000 }, { 1000, 0 }, { 2, 9 } };
		struct client first;
		struct told head;
		/* What a client of the finest stream has had up to that number. */
		tell_whole(&head, 1, 1000, -1);
		client_read_to(&first, &head, -1, after);
		for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
			struct told t;
			struct client c;
			tell_whole(&t, cuts[i].size, cuts[i].pieces, after);
			client_read(&c, &t, after);
			assert_true(c.events > 0 || after == want.last);
			assert_true(c.events == 0 || c.last == want.last);
			for (size_t k = 0; k < ARRAY_LEN(c.texts); k++) {
				buf_add_str(&first.texts[k], buf_str(&c.texts[k]));
				assert_true(str_eq(buf_str(&first.texts[k]), buf_str(&want.texts[k])));
				buf_truncate(&first.texts[k], first.texts[k].n - c.texts[k].n);
			}
			client_done(&c);
			done(&t);
		}
		client_done(&first);
		done(&head);
	}
	client_done(&want);
	done(&reference);
}

/* Text numbers: the bytes before a number, and after it, are the whole, at every event of a stream. */
static void test_response_stream_numbers_count_bytes(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":\"abc\xc3\xa4xyz\"},\"finish_reason\":\"stop\"}]}"));
	static const struct str wanted = STR("abc\xc3\xa4xyz");
	/* created 0, in_progress 2, item 3, part 4: the text has 5 to 12. */
	for (int64_t after = 4; after <= 12; after++) {
		struct told t;
		struct client c;
		begin(&t, false, after);
		end(&t, result);
		client_read(&c, &t, after);
		size_t had = str_utf8_prefix(wanted, (size_t)(after - 4)).n;
		assert_true(str_eq(buf_str(&c.texts[0]), str_sub(wanted, had, wanted.n)));
		assert_int_equal(c.last, 16);
		client_done(&c);
		done(&t);
	}
	json_decref(result);
}

/* --- odd order --- */

static void test_response_stream_tells_text_behind_a_call_at_the_end(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":\"ab\",\"tool_calls\":[{\"id\":\"c0\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
	                            "\"finish_reason\":\"tool_calls\"}]}"));
	struct told t;
	struct client c;
	begin(&t, false, -1);
	delta(&t, "content", STR("a"));
	call(&t, 0, "c0", "f", STR("{}"));
	delta(&t, "content", STR("b"));
	end(&t, result);
	client_read(&c, &t, -1);
	assert_true(str_eq(buf_str(&c.texts[0]), STR("ab")));
	assert_true(str_find(buf_str(&c.types), STR("output_item.done output_item.added content_part.added output_text.delta output_text.done")) > 0);
	client_done(&c);
	done(&t);
	json_decref(result);
}

static void test_response_stream_takes_mixed_calls_from_the_result(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"c0\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},"
	                            "{\"id\":\"c1\",\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"b\\\":2}\"}}]},\"finish_reason\":\"tool_calls\"}]}"));
	struct told t, plain;
	struct client c, want;
	begin(&t, false, -1);
	call(&t, 0, "c0", "f", STR("{\"a\""));
	call(&t, 1, "c1", "g", STR("{\"b\":"));
	call(&t, 0, "", "", STR(":1}"));
	call(&t, 1, "", "", STR("2}"));
	end(&t, result);
	client_read(&c, &t, -1);
	begin(&plain, false, -1);
	end(&plain, result);
	client_read(&want, &plain, -1);
	assert_true(str_eq(buf_str(&c.texts[3]), STR("{\"a\":1}{\"b\":2}")));
	assert_int_equal(c.last, want.last);
	assert_true(json_equal(c.response, want.response));
	client_done(&c);
	client_done(&want);
	done(&t);
	done(&plain);
	json_decref(result);
}

/* What was told is another attempt's: it is not gone on with, and the end has the answer. */
static void test_response_stream_of_another_text_ends_with_the_answer(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":\"other\"},\"finish_reason\":\"stop\"}]}"));
	struct told t;
	struct client c;
	begin(&t, false, -1);
	delta(&t, "content", STR("some"));
	end(&t, result);
	client_read(&c, &t, -1);
	assert_true(str_eq(buf_str(&c.texts[0]), STR("some")));
	const json_t *part = json_array_get(json_get(json_array_get(json_get(c.response, "output"), 0), "content"), 0);
	assert_true(str_eq_z(json_str(part, "text"), "other"));
	client_done(&c);
	done(&t);
	/* A client that is past its end gets the end all the same. */
	begin(&t, false, 4711);
	end(&t, result);
	client_read(&c, &t, 4711);
	assert_types(&c, "completed");
	assert_int_equal(c.last, 4712);
	client_done(&c);
	done(&t);
	json_decref(result);
}

/* --- other ends --- */

static void test_response_stream_fails_with_the_response(void **state)
{
	(void)state;
	struct told t;
	struct client c;
	struct err err = { 0 };
	begin(&t, false, -1);
	delta(&t, "content", STR("some"));
	err_set(&err, ERR_PROVIDER_RATE_LIMIT, "slow down");
	face_response.stream_fail(&t.s, &err);
	client_read(&c, &t, -1);
	assert_true(str_has_suffix(buf_str(&c.types), STR("output_text.done content_part.done output_item.done failed")));
	assert_true(str_eq_z(json_str(c.response, "status"), "failed"));
	assert_true(str_eq_z(json_str(json_get(c.response, "error"), "code"), "rate_limit_exceeded"));
	assert_true(str_eq_z(json_str(json_get(c.response, "error"), "message"), "slow down"));
	client_done(&c);
	done(&t);
}

static void test_response_stream_that_breaks_says_so_and_no_more(void **state)
{
	(void)state;
	struct told t;
	struct client c;
	struct err err = { 0 };
	begin(&t, false, -1);
	delta(&t, "content", STR("some"));
	err_set(&err, ERR_STREAM_RESTARTED, "another attempt gave another text");
	face_response.stream_fail(&t.s, &err);
	client_read(&c, &t, -1);
	assert_true(str_has_suffix(buf_str(&t.out), STR("event: error\ndata: {\"type\":\"error\",\"sequence_number\":9,\"code\":\"stream_restarted\","
	                                                "\"message\":\"another attempt gave another text\",\"param\":null}\n\n")));
	assert_true(str_eq_z(json_str(c.response, "status"), "in_progress"));
	client_done(&c);
	done(&t);
}

static void test_response_stream_of_a_canceled_job_is_incomplete(void **state)
{
	(void)state;
	struct told t;
	struct client c;
	struct err err = { 0 };
	begin(&t, true, 1000);
	err_set(&err, ERR_CANCELED, "canceled");
	face_response.stream_fail(&t.s, &err);
	client_read(&c, &t, 1000);
	assert_types(&c, "incomplete");
	assert_true(str_eq_z(json_str(c.response, "status"), "cancelled"));
	client_done(&c);
	done(&t);
}

static void test_response_stream_that_was_cut_is_incomplete(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":\"some\"},\"finish_reason\":\"length\"}]}"));
	struct told t;
	struct client c;
	begin(&t, false, -1);
	delta(&t, "content", STR("so"));
	end(&t, result);
	client_read(&c, &t, -1);
	assert_types(&c, "created in_progress output_item.added content_part.added output_text.delta output_text.delta output_text.done content_part.done "
	                 "output_item.done incomplete");
	assert_true(str_eq_z(json_str(json_array_get(json_get(c.response, "output"), 0), "status"), "incomplete"));
	client_done(&c);
	done(&t);
	json_decref(result);
}

static void test_response_stream_of_no_text_has_an_empty_message(void **state)
{
	(void)state;
	json_t *result = parsed(STR("{\"choices\":[{\"message\":{\"content\":\"\"},\"logprobs\":{\"content\":[{\"token\":\"\",\"logprob\":0}]},\"finish_reason\":\"stop\"}]}"));
	struct told t;
	struct client c;
	begin(&t, false, -1);
	end(&t, result);
	client_read(&c, &t, -1);
	assert_types(&c, "created in_progress output_item.added content_part.added output_text.done content_part.done output_item.done completed");
	assert_true(str_find(buf_str(&t.out), STR("\"text\":\"\",\"logprobs\":[{\"token\":\"\",\"logprob\":0}]")) > 0);
	client_done(&c);
	done(&t);
	json_decref(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response_stream_is_put_together_to_the_whole_answer),
		cmocka_unit_test(test_response_stream_gathers_the_output_of_its_end),
		cmocka_unit_test(test_response_stream_has_the_same_numbers_however_it_is_cut),
		cmocka_unit_test(test_response_stream_goes_on_after_any_number),
		cmocka_unit_test(test_response_stream_numbers_count_bytes),
		cmocka_unit_test(test_response_stream_tells_text_behind_a_call_at_the_end),
		cmocka_unit_test(test_response_stream_takes_mixed_calls_from_the_result),
		cmocka_unit_test(test_response_stream_of_another_text_ends_with_the_answer),
		cmocka_unit_test(test_response_stream_fails_with_the_response),
		cmocka_unit_test(test_response_stream_that_breaks_says_so_and_no_more),
		cmocka_unit_test(test_response_stream_of_a_canceled_job_is_incomplete),
		cmocka_unit_test(test_response_stream_that_was_cut_is_incomplete),
		cmocka_unit_test(test_response_stream_of_no_text_has_an_empty_message),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
