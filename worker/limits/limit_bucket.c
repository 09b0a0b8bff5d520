/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices are a ring in the order in which they were taken, so the oldest, which lapses first, is spent first. A slice lapses by the clock of this
 * process, LIMIT_SLICE_MS after its statement was sent: earlier than a second after the table counted it, whatever the way of the answer.
 *
 * What a call did not use goes back into the oldest slice that it was taken from. Where it was taken from two, part of it lapses a little early and is
 * given back for the earlier one's second: the sum over both seconds stays true while both count, and is too large, not too small, when the
 * earlier one is over.
 */
#include "worker/limits/limit_bucket.h"

static struct limit_slice *slice_at(struct limit_bucket *b, unsigned i)
{
	return &b->slices[(b->first + i) % LIMIT_SLICES_MAX];
}

static void drop_first(struct limit_bucket *b)
{
	assert(b->n > 0);
	b->left -= slice_at(b, 0)->left;
	b->first = (b->first + 1) % LIMIT_SLICES_MAX;
	b->n--;
}

static bool has_lapsed(const struct limit_slice *s, uint64_t now_ms)
{
	return now_ms >= s->taken_ms + LIMIT_SLICE_MS;
}

static void drop_lapsed(struct limit_bucket *b, uint64_t now_ms)
{
	while (b->n > 0 && has_lapsed(slice_at(b, 0), now_ms))
		drop_first(b);
	assert(b->left >= 0 && (b->n > 0 || b->left == 0));
}

int64_t limit_bucket_left(struct limit_bucket *b, uint64_t now_ms)
{
	drop_lapsed(b, now_ms);
	return b->left - b->owed;
}

/* Takes up to amount out of the slices, oldest first; the number taken. */
static int64_t drain(struct limit_bucket *b, int64_t amount)
{
	int64_t taken = 0;
	for (unsigned i = 0; i < b->n && taken < amount; i++) {
		struct limit_slice *s = slice_at(b, i);
		int64_t part = MIN(s->left, amount - taken);
		s->left -= part;
		taken += part;
	}
	b->left -= taken;
	return taken;
}

void limit_bucket_add(struct limit_bucket *b, int64_t amount, int64_t second, uint64_t taken_ms, uint64_t now_ms)
{
	assert(amount >= 0);
	drop_lapsed(b, now_ms);
	if (amount == 0 || now_ms >= taken_ms + LIMIT_SLICE_MS)
		return;
	if (b->n == LIMIT_SLICES_MAX)
		drop_first(b);
	*slice_at(b, b->n++) = (struct limit_slice){ .left = amount, .taken_ms = taken_ms, .second = second };
	b->left += amount;
	b->owed -= drain(b, b->owed);
}

bool limit_bucket_spend(struct limit_bucket *b, int64_t amount, uint64_t now_ms, uint64_t *ret_taken_ms)
{
	assert(amount >= 0);
	if (limit_bucket_left(b, now_ms) < amount)
		return false;
	*ret_taken_ms = now_ms;
	for (unsigned i = b->n; i-- > 0;) /* empty ones stay until they lapse: what was spent of them may come back */
		if (slice_at(b, i)->left > 0)
			*ret_taken_ms = slice_at(b, i)->taken_ms;
	int64_t taken = drain(b, amount);
	assert(taken == amount);
	return true;
}

void limit_bucket_unspend(struct limit_bucket *b, int64_t amount, uint64_t taken_ms, uint64_t now_ms)
{
	assert(amount >= 0);
	drop_lapsed(b, now_ms);
	if (amount == 0 || now_ms >= taken_ms + LIMIT_SLICE_MS)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		struct limit_slice *s = slice_at(b, i);
		if (s->taken_ms == taken_ms) {
			s->left += amount;
			b->left += amount;
			b->owed -= drain(b, b->owed);
			return;
		}
	}
}

void limit_bucket_owe(struct limit_bucket *b, int64_t amount, uint64_t now_ms)
{
	assert(amount >= 0);
	drop_lapsed(b, now_ms);
	b->owed += amount - drain(b, amount);
}

void limit_bucket_lower(struct limit_bucket *b, int64_t most)
{
	assert(most >= 0);
	if (b->left > most)
		drain(b, b->left - most);
}

int64_t limit_bucket_give_back(struct limit_bucket *b, uint64_t min_age_ms, uint64_t now_ms, int64_t *ret_second)
{
	int64_t amount = 0;
	drop_lapsed(b, now_ms);
	for (unsigned i = 0; i < b->n && now_ms >= slice_at(b, i)->taken_ms + min_age_ms; i++) {
		struct limit_slice *s = slice_at(b, i);
		if (amount == 0)
			*ret_second = s->second;
		if (s->second == *ret_second) {
			amount += s->left;
			s->left = 0;
		}
	}
	b->left -= amount;
	return amount;
}
