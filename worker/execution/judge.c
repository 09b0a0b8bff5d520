/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge. A class says whether the same target may be asked again, whether another one may be asked, and whether the call counts as an attempt;
 * the rest is arithmetic: full jitter over base × 2ⁿ, the provider's hint where there is one (plus up to 10 %, so that a parked herd does not
 * return together), never past the job's deadline.
 */
#include "worker/execution/judge.h"

#define PARK_BASE_MS 1000
#define PARK_MAX_MS  60000
#define EXPONENT_MAX 20

enum again { NEVER, BACKOFF, OVERLOAD, PARK, ONCE };

struct rule {
	enum again again;  /* the same target */
	bool other_target; /* another target of the route may help */
	bool free;         /* the call does not count as an attempt */
};

/* Classes that are not here are failures of our own: permanent. */
static const struct rule rules[ERR_COUNT] = {
	[ERR_NETWORK]             = { BACKOFF, true, false },
	[ERR_STREAM_CUT]          = { BACKOFF, true, false },
	[ERR_OUTCOME_UNKNOWN]     = { BACKOFF, true, false },
	[ERR_TRANSIENT]           = { BACKOFF, true, false },
	[ERR_PROVIDER_OVERLOADED] = { OVERLOAD, true, false },
	[ERR_PROVIDER_RATE_LIMIT] = { PARK, true, true },
	[ERR_QUOTA]               = { PARK, true, true },
	[ERR_BILLING]             = { NEVER, true, false },
	[ERR_LIMIT_TOO_SMALL]     = { NEVER, true, false },
	[ERR_CONTEXT_WINDOW]      = { NEVER, true, false },
	[ERR_CONTENT_FILTER]      = { NEVER, false, false },
	[ERR_PROVIDER_AUTH]       = { NEVER, true, false },
	[ERR_PROVIDER_PERMISSION] = { NEVER, true, false },
	[ERR_PROVIDER_NOT_FOUND]  = { NEVER, true, false },
	[ERR_BAD_REQUEST]         = { NEVER, false, false },
	[ERR_PROVIDER_TOO_LARGE]  = { NEVER, true, false },
	[ERR_BAD_OUTPUT]          = { ONCE, true, false },
	[ERR_OUTPUT_TRUNCATED]    = { NEVER, false, false },
};

static int64_t doubled(int64_t base, int64_t max, int n)
{
	int64_t v = base;
	for (int i = 0; i < n && i < EXPONENT_MAX && v < max; i++)
		v *= 2;
	return v < max ? v : max;
}

/* Full jitter: anywhere between nothing and the doubled base. */
static int64_t backoff(const struct judge_input *in, int64_t base, int64_t max)
{
	int64_t span = doubled(base, max, in->failures_in_row - 1);
	return span > 0 ? (int64_t)(in->random % (uint64_t)(span + 1)) : 0;
}

static int64_t hinted(const struct judge_input *in)
{
	int64_t extra = in->retry_after_ms / 10;
	return in->retry_after_ms + (extra > 0 ? (int64_t)(in->random % (uint64_t)(extra + 1)) : 0);
}

static int64_t wait_of(const struct judge_input *in, const struct judge_times *t, enum again again)
{
	int64_t wait = 0;
	switch (again) {
	case NEVER:
	case ONCE:
		return 0;
	case BACKOFF:
		wait = backoff(in, t->base_ms, t->max_ms);
		break;
	case OVERLOAD:
		wait = t->overload_base_ms / 2 + backoff(in, t->overload_base_ms, t->overload_max_ms);
		break;
	case PARK:
		wait = doubled(PARK_BASE_MS, PARK_MAX_MS, in->failures_in_row - 1);
		break;
	}
	/* A hint may only lengthen a wait for which a class has its own reason. */
	if (in->retry_after_ms >= 0) {
		int64_t hint = hinted(in);
		wait = again == PARK || hint > wait ? hint : wait;
	}
	return wait;
}

static struct judgement fail(const char *why, bool counts)
{
	return (struct judgement){ .verdict = VERDICT_FAIL, .counts = counts, .why = why };
}

struct judgement judge(const struct judge_input *in, const struct judge_times *t)
{
	if (in->class == ERR_OK)
		return (struct judgement){ .verdict = VERDICT_ACCEPT, .counts = true, .why = "served" };
	const struct rule *r = &rules[in->class];
	bool counts = !r->free;
	if (counts && in->attempts >= in->max_attempts)
		return fail("no attempt is left", counts);
	if (r->other_target && in->more_targets && r->again != ONCE)
		return (struct judgement){ .verdict = VERDICT_NEXT_TARGET, .counts = counts, .why = "the next target of the route" };
	if (in->should_retry == 0 && !r->free)
		return fail("the provider says not to retry", counts);
	switch (r->again) {
	case NEVER:
		return fail("the same request would fail again", counts);
	case ONCE:
		if (in->bad_outputs <= 1)
			return (struct judgement){ .verdict = VERDICT_AGAIN, .counts = counts, .why = "asked once more" };
		if (r->other_target && in->more_targets)
			return (struct judgement){ .verdict = VERDICT_NEXT_TARGET, .counts = counts, .why = "the next target of the route" };
		return fail("unusable answers", counts);
	case BACKOFF:
	case OVERLOAD:
	case PARK:
		break;
	}
	int64_t wait = wait_of(in, t, r->again);
	if (wait >= in->left_ms)
		return fail("the wait would pass the job's deadline", counts);
	return (struct judgement){ .verdict = r->free ? VERDICT_PARK : VERDICT_AGAIN, .counts = counts, .wait_ms = wait,
		                   .why = r->free ? "waits as the provider asks" : "backs off" };
}
