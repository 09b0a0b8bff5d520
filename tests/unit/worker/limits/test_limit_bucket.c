/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices of a limit, and the promise they serve: whatever workers do with them, no sliding minute holds more than the limit. The table is a
 * model here (what it counts is what limit_take.sql counts; test_limiter_sql.c has the real one), the workers' side is the real code, time is made up.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "worker/limits/limit_bucket.h"

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void test_limit_bucket_spends_the_oldest_slice_first(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	uint64_t taken = 0;
	limit_bucket_add(&b, 5, 100, 1000, 1010);
	limit_bucket_add(&b, 5, 100, 1100, 1110);
	assert_int_equal(limit_bucket_left(&b, 1200), 10);
	assert_true(limit_bucket_spend(&b, 3, 1200, &taken));
	assert_int_equal(taken, 1000);
	assert_int_equal(limit_bucket_left(&b, 1999), 7);
	assert_int_equal(limit_bucket_left(&b, 2000), 5); /* the rest of the first has lapsed */
	assert_true(limit_bucket_spend(&b, 5, 2000, &taken));
	assert_int_equal(taken, 1100);
	assert_false(limit_bucket_spend(&b, 1, 2000, &taken));
	assert_true(limit_bucket_spend(&b, 0, 2000, &taken));
}

static void test_limit_bucket_takes_nothing_that_came_too_late(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	limit_bucket_add(&b, 5, 100, 1000, 2000);
	assert_int_equal(limit_bucket_left(&b, 2000), 0);
}

static void test_limit_bucket_what_was_unused_lives_as_long_as_its_slice(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	uint64_t taken;
	limit_bucket_add(&b, 10, 100, 1000, 1000);
	assert_true(limit_bucket_spend(&b, 10, 1100, &taken));
	limit_bucket_unspend(&b, 4, taken, 1500);
	assert_int_equal(limit_bucket_left(&b, 1500), 4);
	assert_int_equal(limit_bucket_left(&b, 2000), 0);
	limit_bucket_unspend(&b, 4, taken, 2100);
	assert_int_equal(limit_bucket_left(&b, 2100), 0);
}

static void test_limit_bucket_debts_are_paid_before_anything_goes(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	uint64_t taken;
	limit_bucket_add(&b, 10, 100, 1000, 1000);
	limit_bucket_owe(&b, 15, 1100);
	assert_int_equal(limit_bucket_left(&b, 1100), -5);
	assert_false(limit_bucket_spend(&b, 0, 1100, &taken));
	limit_bucket_add(&b, 8, 101, 1200, 1200);
	assert_int_equal(limit_bucket_left(&b, 1200), 3);
	assert_int_equal(b.owed, 0);
}

static void test_limit_bucket_is_lowered_and_never_raised(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	limit_bucket_add(&b, 10, 100, 1000, 1000);
	limit_bucket_add(&b, 10, 100, 1100, 1100);
	limit_bucket_lower(&b, 30);
	assert_int_equal(limit_bucket_left(&b, 1100), 20);
	limit_bucket_lower(&b, 3);
	assert_int_equal(limit_bucket_left(&b, 1100), 3);
}

static void test_limit_bucket_gives_back_one_second_at_a_time(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	int64_t second = 0;
	uint64_t taken;
	limit_bucket_add(&b, 5, 100, 1000, 1000);
	limit_bucket_add(&b, 6, 100, 1100, 1100);
	limit_bucket_add(&b, 7, 101, 1200, 1200);
	assert_int_equal(limit_bucket_give_back(&b, 500, 1499, &second), 0);
	assert_true(limit_bucket_spend(&b, 5, 1499, &taken));
	assert_int_equal(limit_bucket_give_back(&b, 500, 1800, &second), 6);
	assert_int_equal(second, 100);
	assert_int_equal(limit_bucket_left(&b, 1800), 7);
	assert_int_equal(limit_bucket_give_back(&b, 0, 1800, &second), 7);
	assert_int_equal(second, 101);
	assert_int_equal(limit_bucket_give_back(&b, 0, 1800, &second), 0);
	/* A call that was let go by an empty slice was never made: it comes back. */
	limit_bucket_unspend(&b, 5, 1000, 1900);
	assert_int_equal(limit_bucket_left(&b, 1900), 5);
}

static void test_limit_bucket_more_slices_than_places_lose_the_oldest(void **state)
{
	(void)state;
	struct limit_bucket b = { 0 };
	for (uint64_t i = 0; i < LIMIT_SLICES_MAX + 3; i++)
		limit_bucket_add(&b, 2, 100, 1000 + i, 1020);
	assert_int_equal(limit_bucket_left(&b, 1020), 2 * LIMIT_SLICES_MAX);
}

/* --- the promise --- */

#define WORKERS 6
#define MAX_SPENDS 400000

struct row {
	double tokens;
	uint64_t at_ms;
	int64_t taken[64];
};

struct spend {
	uint64_t at_ms;
	int64_t amount;
};

static struct spend spends[MAX_SPENDS];
static size_t nspends;

static int64_t row_used(struct row *r, uint64_t now_ms)
{
	int64_t was = (int64_t)(r->at_ms / 1000), second = (int64_t)(now_ms / 1000), used = 0;
	for (int64_t n = 0; n < 64; n++) {
		if (was - (was - n) % 64 <= second - LIMIT_KEPT_S)
			r->taken[n] = 0;
		used += r->taken[n];
	}
	return used;
}

static int64_t row_take(struct row *r, int64_t cap, int64_t want, int64_t need, int64_t back, int64_t back_second, uint64_t now_ms)
{
	int64_t second = (int64_t)(now_ms / 1000), burst = LIMIT_BURST(cap), granted = 0;
	int64_t used = row_used(r, now_ms);
	if (back_second > second - LIMIT_KEPT_S) {
		int64_t before = r->taken[back_second % 64];
		r->taken[back_second % 64] = MAX(before - back, (int64_t)0);
		used -= before - r->taken[back_second % 64];
	}
	double level = r->tokens + (double)cap / LIMIT_KEPT_S * (double)(now_ms - r->at_ms) / 1000 + (double)back;
	level = MIN(level, (double)burst);
	int64_t room = MAX(cap - used, (int64_t)0);
	if (want > 0 && room >= need && level >= (double)MIN(need, burst))
		granted = (double)need > level ? need : MIN(MIN(want, room), MAX(need, (int64_t)(level / 2)));
	r->tokens = level - (double)granted;
	r->at_ms = now_ms;
	r->taken[second % 64] += granted;
	return granted;
}

static int compare_spends(const void *a, const void *b)
{
	const struct spend *x = a, *y = b;
	return x->at_ms < y->at_ms ? -1 : x->at_ms > y->at_ms;
}

static int64_t worst_window(uint64_t window_ms)
{
	int64_t sum = 0, worst = 0;
	size_t from = 0;
	qsort(spends, nspends, sizeof *spends, compare_spends);
	for (size_t i = 0; i < nspends; i++) {
		sum += spends[i].amount;
		while (spends[i].at_ms - spends[from].at_ms > window_ms)
			sum -= spends[from++].amount;
		worst = MAX(worst, sum);
	}
	return worst;
}

static void spend_some(struct limit_bucket *b, int64_t amount, uint64_t now)
{
	uint64_t ignored;
	if (amount <= 0 || !limit_bucket_spend(b, amount, now, &ignored))
		return;
	assert_true(nspends < MAX_SPENDS);
	spends[nspends++] = (struct spend){ now + random_below(2) * 1000, amount }; /* on the way for nothing or for a whole second */
}

/* Workers that take all they can, hold slices to their very end, die now and then with what they have, and rest now and then, so that all is full. */
static void run_greedy(int64_t cap, int64_t need_max, uint64_t run_ms)
{
	static struct limit_bucket buckets[WORKERS];
	struct row row = { .at_ms = 1000000 };
	memset(buckets, 0, sizeof buckets);
	nspends = 0;
	uint64_t rest_until = 0, until = row.at_ms + run_ms;
	for (uint64_t now = row.at_ms; now < until; now += 1 + random_below(30)) {
		struct limit_bucket *b = &buckets[random_below(WORKERS)];
		if (random_below(4000) == 0)
			rest_until = now + random_below(90000);
		if (random_below(300) == 0)
			memset(b, 0, sizeof *b);
		/* At the last moment of the oldest slice. */
		if (b->n > 0 && now + 40 >= b->slices[b->first].taken_ms + LIMIT_SLICE_MS)
			spend_some(b, limit_bucket_left(b, now), now);
		if (now < rest_until)
			continue;
		int64_t second = 0, back = random_below(10) == 0 ? limit_bucket_give_back(b, 100, now, &second) : 0;
		int64_t need = 1 + (int64_t)random_below((uint64_t)need_max);
		uint64_t sent = now;
		now += random_below(20); /* on the way to the table */
		int64_t granted = row_take(&row, cap, need * 4, need, back, second, now);
		limit_bucket_add(b, granted, (int64_t)(now / 1000), sent, now + random_below(3));
		if (random_below(2) == 0)
			spend_some(b, 1 + (int64_t)random_below((uint64_t)need_max), now + 3);
	}
}

static void test_limit_bucket_no_sliding_minute_holds_more_than_the_limit(void **state)
{
	(void)state;
	static const struct {
		int64_t cap, need_max;
	} cases[] = { { 1, 1 }, { 7, 1 }, { 60, 1 }, { 600, 1 }, { 6000, 1 }, { 30000, 900 }, { 30000, 9000 }, { 100000, 100000 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (uint64_t s = 1; s <= 3; s++) {
			seed = 88172645463325252u + s * 7919;
			run_greedy(cases[i].cap, cases[i].need_max, 15 * 60000);
			int64_t worst = worst_window(60000);
			if (worst > cases[i].cap)
				fail_msg("limit %jd, needs to %jd, seed %ju: %jd in a minute", (intmax_t)cases[i].cap, (intmax_t)cases[i].need_max, (uintmax_t)s, (intmax_t)worst);
			assert_true(worst > 0);
		}
	}
}

/* A limit of 1 is used once a minute, a limit of 600 at more than nine tenths: the adversary above shows that more would be too much. */
static void test_limit_bucket_nearly_all_of_the_limit_can_be_used(void **state)
{
	(void)state;
	static const int64_t caps[] = { 1, 10, 60, 600, 6000, 100000 };
	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct row row = { .at_ms = 1000000 };
		int64_t sum = 0;
		for (uint64_t at = 1000000; at < 1630000; at += 50)
			sum += row_take(&row, caps[i], caps[i], 1, 0, 0, at);
		if ((double)sum < 0.93 * 10.5 * (double)caps[i] - 1)
			fail_msg("limit %jd: %jd in 630 s", (intmax_t)caps[i], (intmax_t)sum);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_bucket_spends_the_oldest_slice_first),
		cmocka_unit_test(test_limit_bucket_takes_nothing_that_came_too_late),
		cmocka_unit_test(test_limit_bucket_what_was_unused_lives_as_long_as_its_slice),
		cmocka_unit_test(test_limit_bucket_debts_are_paid_before_anything_goes),
		cmocka_unit_test(test_limit_bucket_is_lowered_and_never_raised),
		cmocka_unit_test(test_limit_bucket_gives_back_one_second_at_a_time),
		cmocka_unit_test(test_limit_bucket_more_slices_than_places_lose_the_oldest),
		cmocka_unit_test(test_limit_bucket_no_sliding_minute_holds_more_than_the_limit),
		cmocka_unit_test(test_limit_bucket_nearly_all_of_the_limit_can_be_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
