/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places of event streams and what a result has beyond them: an id comes back as it went out and is no other job's; pieces are told once
 * and in order; the rest of a result is exact from every place, and a text that it does not begin with is told anew.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/events/event_deltas.h"
#include "common/json.h"

static const char result[] = "{\"choices\":[{\"message\":{\"content\":\"Gr\xc3\xbc\xc3\x9f"
                             "e, \\\"World\\\"\",\"refusal\":null,\"reasoning_content\":\"hm, well\"}}]}";
static const char tools[] = "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":["
                            "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}},"
                            "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}";

static void assert_same(const struct event_place *a, const struct event_place *b)
{
	assert_int_equal(a->token, b->token);
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->seq, b->seq);
	for (int i = 0; i < EVENT_TEXTS; i++)
		assert_int_equal(a->bytes[i], b->bytes[i]);
	assert_true(a->sum == b->sum);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->attempts, b->attempts);
	assert_int_equal(a->reason, b->reason);
}

static void test_event_place_an_id_says_the_place(void **state)
{
	(void)state;
	struct id job = id_make(7);
	struct event_place p, back;
	struct buf b;
	buf_init(&b, EVENT_ID_MAX);
	event_place_init(&p, 3);
	p.status = 1;
	event_place_add(&p, EVENT_CONTENT, STR("some text"));
	event_place_write(&p, job, &b);
	assert_int_equal(event_place_read(buf_str(&b), job, &back), 0);
	assert_same(&p, &back);
	buf_clear(&b);
	p = (struct event_place){ .token = INT64_MAX / 2, .number = INT32_MAX, .seq = -1, .bytes = { INT64_MAX / 2, INT64_MAX / 2, INT64_MAX / 2, INT64_MAX / 2 },
		                  .sum = UINT64_MAX, .status = 6, .attempts = INT16_MAX, .reason = INT16_MAX };
	event_place_write(&p, job, &b);
	assert_false(buf_failed(&b));
	assert_int_equal(event_place_read(buf_str(&b), job, &back), 0);
	assert_same(&p, &back);
	buf_done(&b);
}

static void test_event_place_what_is_no_id_of_the_job_is_refused(void **state)
{
	(void)state;
	struct id job = id_make(7);
	struct event_place p, back;
	struct buf b;
	buf_init(&b, EVENT_ID_MAX);
	event_place_init(&p, 3);
	event_place_write(&p, job, &b);
	assert_int_equal(event_place_read(buf_str(&b), id_make(7), &back), -ERR_INVALID);
	for (size_t i = 0; i < b.n; i++) {
		char old = b.p[i];
		assert_int_equal(event_place_read(str_sub(buf_str(&b), 0, i), job, &back), -ERR_INVALID);
		b.p[i] = old == '1' ? '2' : '1';
		assert_int_equal(event_place_read(buf_str(&b), job, &back), -ERR_INVALID);
		b.p[i] = old;
	}
	assert_int_equal(event_place_read(buf_str(&b), job, &back), 0);
	buf_add_char(&b, '.');
	assert_int_equal(event_place_read(buf_str(&b), job, &back), -ERR_INVALID);
	static const char *const others[] = { "", ".", "1", "-1", "nonsense", "99999999999999999999.1.1", "1.1.1.1.1.1.1.xyz.1.1.1.1", "............" };
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(event_place_read(str_from(others[i]), job, &back), -ERR_INVALID);
	buf_done(&b);
}

static void test_event_place_pieces_are_told_once_and_in_order(void **state)
{
	(void)state;
	static const struct {
		int64_t token;
		int number, seq;
		enum event_step step;
	} rows[] = {
		{ 5, 1, 3, EVENT_OLD }, { 5, 1, 4, EVENT_OLD }, { 5, 1, 5, EVENT_NEXT }, { 5, 1, 6, EVENT_GAP }, { 5, 2, 0, EVENT_NEW },
		{ 5, 2, 1, EVENT_GAP }, { 5, 0, 9, EVENT_OLD }, { 4, 9, 9, EVENT_OLD },  { 6, 1, 0, EVENT_NEW }, { 6, 1, 2, EVENT_GAP },
	};
	struct event_place p = { .token = 5, .number = 1, .seq = 4 };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(event_place_step(&p, rows[i].token, rows[i].number, rows[i].seq), rows[i].step);
	p.seq = EVENT_SEQ_ALL;
	assert_int_equal(event_place_step(&p, 5, 1, INT32_MAX), EVENT_OLD);
	assert_int_equal(event_place_step(&p, 5, 2, 0), EVENT_NEW);
	event_place_init(&p, 5);
	assert_int_equal(event_place_step(&p, 5, 1, 0), EVENT_OLD);
	assert_int_equal(event_place_step(&p, 6, 1, 0), EVENT_NEW);
	assert_false(event_place_has_text(&p));
}

static void test_event_deltas_a_piece_is_told_and_counted(void **state)
{
	(void)state;
	struct event_place p = { 0 };
	struct buf b;
	buf_init(&b, 10000);
	assert_int_equal(event_deltas_piece(&p, STR("[{\"content\":\"a\\\"\"},{\"reasoning_content\":\"hm\"},{\"content\":\"b\"},"
	                                            "{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}]"), &b), 0);
	assert_int_equal(p.bytes[EVENT_CONTENT], 3);
	assert_int_equal(p.bytes[EVENT_REASONING], 2);
	assert_int_equal(p.bytes[EVENT_TOOLS], 3);
	json_t *data = json_parse(buf_str(&b), NULL);
	assert_true(str_eq(json_str(data, "text"), STR("a\"b")));
	assert_int_equal(json_array_size(json_get(data, "deltas")), 4);
	json_decref(data);
	assert_int_equal(event_deltas_piece(&p, STR("[{"), &b), -ERR_BAD_JSON);
	assert_int_equal(event_deltas_piece(&p, STR("{}"), &b), -ERR_BAD_JSON);
	assert_int_equal(p.bytes[EVENT_CONTENT], 3);
	buf_done(&b);
}

/* Whatever was told of reasoning and content, and in whatever order, what follows is exactly the rest. */
static void test_event_deltas_the_rest_is_exact_from_every_place(void **state)
{
	(void)state;
	static const struct str content = STR("Gr\xc3\xbc\xc3\x9f"
	                                      "e, \"World\""), reasoning = STR("hm, well");
	struct buf b;
	buf_init(&b, 10000);
	for (size_t i = 0; i <= content.n; i++) {
		if (i < content.n && ((unsigned char)content.p[i] & 0xc0) == 0x80)
			continue;
		for (size_t k = 0; k <= reasoning.n; k++) {
			struct event_place p = { 0 }, whole = { 0 };
			event_place_add(&p, EVENT_CONTENT, str_sub(content, 0, i / 2));
			event_place_add(&p, EVENT_REASONING, str_sub(reasoning, 0, k));
			event_place_add(&p, EVENT_CONTENT, str_sub(content, i / 2, i - i / 2));
			event_place_add(&whole, EVENT_CONTENT, content);
			event_place_add(&whole, EVENT_REASONING, reasoning);
			buf_clear(&b);
			enum event_rest rest = event_deltas_rest(&p, str_from(result), &b);
			assert_same(&p, &whole);
			assert_int_equal(rest, i == content.n && k == reasoning.n ? EVENT_REST_NONE : EVENT_REST_GOES_ON);
			if (rest == EVENT_REST_NONE) {
				assert_int_equal(b.n, 0);
				continue;
			}
			json_t *data = json_parse(buf_str(&b), NULL);
			assert_true(str_eq(json_str(data, "text"), str_sub(content, i, content.n)));
			json_decref(data);
		}
	}
	buf_done(&b);
}

static void test_event_deltas_another_text_is_told_anew(void **state)
{
	(void)state;
	static const char *const told[] = { "gr", "Gr\xc3\xbc\xc3\x9f"
		                                  "e, \"World\"!", "x" };
	struct buf b;
	buf_init(&b, 10000);
	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		struct event_place p = { 0 }, whole = { 0 };
		event_place_add(&p, EVENT_CONTENT, str_from(told[i]));
		event_place_add(&whole, EVENT_REASONING, STR("hm, well"));
		event_place_add(&whole, EVENT_CONTENT, STR("Gr\xc3\xbc\xc3\x9f"
		                                           "e, \"World\""));
		buf_clear(&b);
		assert_int_equal(event_deltas_rest(&p, str_from(result), &b), EVENT_REST_ANEW);
		assert_same(&p, &whole);
	}
	struct event_place p = { 0 };
	event_place_add(&p, EVENT_CONTENT, STR("x"));
	buf_clear(&b);
	assert_int_equal(event_deltas_rest(&p, STR("{\"choices\":[{\"message\":{\"content\":\"\"}}]}"), &b), EVENT_REST_ANEW);
	assert_int_equal(b.n, 0);
	static const char *const none[] = { "", "{}", "[]", "{\"data\":[]}", "{\"choices\":{}}", "{\"choices\":[{\"message\":1}]}" };
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_int_equal(event_deltas_rest(&p, str_from(none[i]), &b), EVENT_REST_NONE);
	buf_done(&b);
}

static void test_event_deltas_tool_calls_are_whole(void **state)
{
	(void)state;
	static const int64_t told[] = { 0, 1, 9, 11, 13, 14 };
	static const enum event_rest rests[] = { EVENT_REST_GOES_ON, EVENT_REST_ANEW, EVENT_REST_ANEW, EVENT_REST_NONE, EVENT_REST_NONE, EVENT_REST_ANEW };
	struct buf b;
	buf_init(&b, 10000);
	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		struct event_place p = { .bytes = { 0, 0, 0, told[i] } };
		buf_clear(&b);
		assert_int_equal(event_deltas_rest(&p, str_from(tools), &b), rests[i]);
		if (rests[i] == EVENT_REST_NONE)
			continue;
		assert_int_equal(p.bytes[EVENT_TOOLS], 13);
		json_t *data = json_parse(buf_str(&b), NULL);
		const json_t *deltas = json_get(data, "deltas");
		assert_int_equal(json_array_size(deltas), 2);
		const json_t *second = json_array_get(json_get(json_array_get(deltas, 1), "tool_calls"), 0);
		assert_int_equal(json_i64(second, "index", -1), 1);
		assert_true(str_eq(json_str(second, "id"), STR("b")));
		assert_true(str_eq(json_str(json_get(second, "function"), "arguments"), STR("{}")));
		json_decref(data);
	}
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(test_event_place_an_id_says_the_place),
		cmocka_unit_test(test_event_place_what_is_no_id_of_the_job_is_refused),
		cmocka_unit_test(test_event_place_pieces_are_told_once_and_in_order),
		cmocka_unit_test(test_event_deltas_a_piece_is_told_and_counted),
		cmocka_unit_test(test_event_deltas_the_rest_is_exact_from_every_place),
		cmocka_unit_test(test_event_deltas_another_text_is_told_anew),
		cmocka_unit_test(test_event_deltas_tool_calls_are_whole),
	};
	return cmocka_run_group_tests(all, NULL, NULL);
}
