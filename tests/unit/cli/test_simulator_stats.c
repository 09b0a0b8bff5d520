/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's records: windows, calls in flight over a reset, files that are forgotten in time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/simulator/stats.h"

static struct stats_ticket begin(struct stats *s, struct str model, int64_t at_ms, int64_t input, int64_t output)
{
	struct stats_facts facts = {
		.model = model, .format = "openai", .at_ms = at_ms, .input_tokens = input, .output_tokens = output
	};
	return stats_begin(s, &facts);
}

static void call(struct stats *s, struct str model, int64_t at_ms, int64_t input, int64_t output)
{
	stats_end(s, begin(s, model, at_ms, input, output), 200, 1, false, at_ms + 1);
}

static json_t *windows(struct stats *s, int64_t ms, struct str model)
{
	struct err err;
	struct buf b;
	buf_init(&b, 1u << 20);
	assert_int_equal(stats_write_windows(s, &b, ms, model), 0);
	json_t *v = json_parse(buf_str(&b), &err);
	assert_non_null(v);
	buf_done(&b);
	return v;
}

static const struct str all = { NULL, 0 };

static void assert_window(struct stats *s, int64_t ms, struct str model, const int64_t wanted[4])
{
	static const char *const names[] = { "requests", "input_tokens", "output_tokens", "tokens" };
	json_t *v = windows(s, ms, model);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(json_i64(v, names[i], -1), wanted[i]);
	json_decref(v);
}

static void test_windows_hold_what_is_less_than_their_length_apart(void **state)
{
	struct stats s;
	(void)state;
	stats_init(&s);
	assert_window(&s, 60000, all, (int64_t[]){ 0, 0, 0, 0 });
	call(&s, STR("a"), 1000, 10, 1);
	call(&s, STR("b"), 60999, 20, 100);
	call(&s, STR("a"), 61000, 1, 1); /* a whole minute after the first */
	call(&s, STR("a"), 61001, 1, 1);
	assert_window(&s, 60000, all, (int64_t[]){ 3, 30, 102, 131 });
	assert_window(&s, 60001, all, (int64_t[]){ 3, 31, 102, 133 });
	assert_window(&s, 60000, STR("a"), (int64_t[]){ 2, 10, 2, 11 });
	assert_window(&s, 60000, STR("b"), (int64_t[]){ 1, 20, 100, 120 });
	assert_window(&s, 60000, STR("c"), (int64_t[]){ 0, 0, 0, 0 });
	assert_window(&s, 1, all, (int64_t[]){ 1, 20, 100, 120 });
	stats_done(&s);
}

static void test_windows_agree_with_counting_by_hand(void **state)
{
	struct stats s;
	int64_t at[500], most = 0, now = 0;
	uint64_t x = 7;
	(void)state;
	stats_init(&s);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		now += (int64_t)(x >> 33) % 400;
		at[i] = now;
		call(&s, STR("m"), now, 2, 3);
	}
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		int64_t n = 0;
		for (size_t k = i; k < ARRAY_LEN(at) && at[k] < at[i] + 5000; k++)
			n++;
		most = MAX(most, n);
	}
	assert_window(&s, 5000, all, (int64_t[]){ most, most * 2, most * 3, most * 5 });
	stats_done(&s);
}

static void test_reset_keeps_calls_in_flight(void **state)
{
	struct stats s;
	(void)state;
	stats_init(&s);
	struct stats_ticket first = begin(&s, STR("m"), 1, 1, 1), second = begin(&s, STR("m"), 1, 1, 1);
	call(&s, STR("gone"), 2, 1, 1);
	stats_reset(&s);
	assert_int_equal(s.in_flight, 2);
	assert_int_equal(s.peak_in_flight, 2);
	assert_int_equal(first.model->peak_in_flight, 2);
	assert_window(&s, 60000, all, (int64_t[]){ 0, 0, 0, 0 });
	stats_end(&s, first, 200, 1, false, 3);
	stats_end(&s, second, 0, 0, true, 3);
	assert_int_equal(s.in_flight, 0);
	call(&s, STR("m"), 4, 1, 1);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.by_model.by_name.n, 1);
	stats_done(&s);
}

static void test_calls_go_round_and_forget_their_files(void **state)
{
	struct stats s;
	struct buf b;
	struct stats_file file = { .type = "image/png", .bytes = 3 };
	struct stats_facts facts = { .model = STR("m"), .format = "gemini", .files = &file, .nfiles = 1 };
	(void)state;
	stats_init(&s);
	for (size_t i = 0; i < STATS_CALLS + 10; i++)
		stats_end(&s, stats_begin(&s, &facts), 200, 0, false, 1);
	size_t with_files = 0;
	for (size_t i = 0; i < STATS_CALLS; i++)
		with_files += s.ring[i].files != NULL;
	assert_int_equal(with_files, STATS_FILE_CALLS);
	buf_init(&b, 1u << 20);
	assert_int_equal(stats_write_calls(&s, &b, 2, all), 0);
	struct err err;
	json_t *v = json_parse(buf_str(&b), &err), *calls = json_get(v, "calls");
	assert_int_equal(json_array_size(calls), 2);
	assert_int_equal(json_i64(json_array_get(calls, 1), "seq", 0), STATS_CALLS + 10);
	json_t *shown = json_array_get(json_get(json_array_get(calls, 1), "files"), 0);
	assert_true(str_eq_z(json_str(shown, "type"), "image/png"));
	assert_int_equal(json_str(shown, "sha256").n, 64);
	json_decref(v);
	buf_done(&b);
	stats_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_hold_what_is_less_than_their_length_apart),
		cmocka_unit_test(test_windows_agree_with_counting_by_hand),
		cmocka_unit_test(test_reset_keeps_calls_in_flight),
		cmocka_unit_test(test_calls_go_round_and_forget_their_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
