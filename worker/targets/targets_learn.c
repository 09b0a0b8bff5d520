/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calls teach about a target, for choices and estimates; in this process's memory only.
 *
 *   latency     the time to the first token: rises to a slow answer at once and comes down over ten seconds to the average, so that a target in trouble
 *               is avoided at once and tried again soon. A call that timed out counts with the time it took. What this process has not called has the
 *               fleet's average of the last minute.
 *   millibytes  bytes of request per input token: falls quickly towards dense text and rises slowly, so that estimates err upwards. It may pass the 4,000
 *               that it begins with: estimates have their own tenth on top, and a limit that 4,000 would keep half empty makes jobs wait for nothing.
 *               Requests outside 1,000–8,000 are not text (pictures, documents by reference) and teach nothing.
 *   outputs     a histogram with four steps per doubling; halved when it is full, so that old answers fade
 */
#include "worker/targets/targets_priv.h"

#define DECAY_MS        10000.0
#define BASE_SHARE         16.0
#define FIRST_MILLIBYTES 4000
#define MIN_MILLIBYTES   1000
#define MAX_MILLIBYTES   8000
#define FALL_SHARE          4
#define RISE_SHARE         32
#define FIRST_OUTPUT      512
#define OUTPUT_ENOUGH      10 /* fewer answers teach nothing */
#define OUTPUT_FULL      2048

/* 1 at once, about a third after ten seconds, a hundredth after a minute: near enough to e^-x, without libm. */
static double faded(uint64_t since_ms)
{
	double x = (double)since_ms / DECAY_MS;
	return 1 / (1 + x + x * x / 2 + x * x * x / 6);
}

static double latency_at(const struct target_learned *m, uint64_t now_ms)
{
	uint64_t since = now_ms > m->peak_at_ms ? now_ms - m->peak_at_ms : 0;
	return m->peak_ms > m->base_ms ? m->base_ms + (m->peak_ms - m->base_ms) * faded(since) : m->base_ms;
}

static void learn_latency(struct target_learned *m, int64_t ms, uint64_t now_ms)
{
	double sample = (double)MAX(ms, 1), now = latency_at(m, now_ms);
	bool first = m->base_ms <= 0;
	m->base_ms = first ? sample : m->base_ms + (sample - m->base_ms) / BASE_SHARE;
	m->peak_ms = MAX(now, sample);
	m->peak_at_ms = now_ms;
}

static void learn_ratio(struct target_learned *m, int64_t bytes, int64_t tokens)
{
	if (bytes <= 0 || tokens <= 0 || bytes > INT64_MAX / 1000)
		return;
	int64_t sample = bytes * 1000 / tokens, from = m->millibytes ? m->millibytes : FIRST_MILLIBYTES;
	if (sample < MIN_MILLIBYTES || sample > MAX_MILLIBYTES)
		return;
	m->millibytes = from + (sample - from) / (sample < from ? FALL_SHARE : RISE_SHARE);
}

/* The bucket's upper end. */
static int64_t bucket_tokens(int at)
{
	int64_t base = (int64_t)1 << (at / 4);
	return base + (base * (at % 4 + 1) + 3) / 4;
}

static int bucket_of(int64_t tokens)
{
	int at = 0;
	while (at < OUTPUT_BUCKETS - 1 && bucket_tokens(at) < tokens)
		at++;
	return at;
}

static void learn_output(struct target_learned *m, int64_t tokens)
{
	if (tokens <= 0)
		return;
	m->outputs[bucket_of(tokens)]++;
	if (++m->outputs_n < OUTPUT_FULL)
		return;
	m->outputs_n = 0;
	for (int i = 0; i < OUTPUT_BUCKETS; i++)
		m->outputs_n += m->outputs[i] /= 2;
}

void target_learn(struct target_live *l, const struct target_call *call, uint64_t now_ms)
{
	bool good = breaker_word(call->class, call->http_status, call->canceled) == BREAKER_SAYS_GOOD;
	if (call->first_token_ms >= 0)
		learn_latency(&l->learned, call->first_token_ms, now_ms);
	else if (call->total_ms >= 0 && (good || call->class == ERR_OUTCOME_UNKNOWN))
		learn_latency(&l->learned, call->total_ms, now_ms);
	if (!good)
		return;
	learn_ratio(&l->learned, call->request_bytes, call->input_tokens);
	learn_output(&l->learned, call->output_tokens);
}

int64_t target_latency_ms(const struct target_live *l)
{
	if (l->learned.base_ms > 0) {
		double ms = latency_at(&l->learned, loop_now_ms(l->targets->worker->loop));
		return MAX((int64_t)ms, 1);
	}
	return l->row.answered > 0 ? MAX(l->row.first_token_ms / l->row.answered, 1) : 0;
}

int64_t target_millibytes(const struct target_live *l)
{
	return l->learned.millibytes ? l->learned.millibytes : FIRST_MILLIBYTES;
}

int64_t target_output_p95(const struct target_live *l)
{
	const struct target_learned *m = &l->learned;
	uint32_t seen = 0, want = m->outputs_n - m->outputs_n / 20;
	if (m->outputs_n < OUTPUT_ENOUGH)
		return FIRST_OUTPUT;
	for (int i = 0; i < OUTPUT_BUCKETS; i++) {
		seen += m->outputs[i];
		if (seen >= want)
			return bucket_tokens(i);
	}
	return bucket_tokens(OUTPUT_BUCKETS - 1);
}
