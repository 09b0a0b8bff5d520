/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fullest window: over the recorded calls, oldest first, a window slides that holds the calls of less than
 * window_ms; the largest sums that it had on its way are the answer. Calls count at the moment when their request was
 * whole, whatever became of them, so that a limit is judged by what the provider saw. One pass for the total and one
 * for each model.
 */
#include "cli/simulator/stats.h"

#define MODELS_SHOWN_MAX 100

struct sums {
	int64_t requests, input, output;
};

struct window {
	struct sums now;
	int64_t requests, input, output, tokens; /* the most so far, each by itself */
};

static void window_move(struct window *w, const struct stats_call *c, int sign)
{
	w->now.requests += sign;
	w->now.input += sign * c->input_tokens;
	w->now.output += sign * c->output_tokens;
	w->requests = MAX(w->requests, w->now.requests);
	w->input = MAX(w->input, w->now.input);
	w->output = MAX(w->output, w->now.output);
	w->tokens = MAX(w->tokens, w->now.input + w->now.output);
}

/* The record of that number when it counts, else NULL. count NULL: of any model. */
static const struct stats_call *record(const struct stats *s, uint64_t seq, const struct stats_count *count)
{
	const struct stats_call *c = &s->ring[seq % STATS_CALLS];
	return c->seq == seq && (!count || c->count == count) ? c : NULL;
}

static struct window slide(const struct stats *s, int64_t window_ms, const struct stats_count *count)
{
	struct window w = { .requests = 0 };
	uint64_t oldest = s->seq > STATS_CALLS ? s->seq - STATS_CALLS + 1 : 1;
	for (uint64_t to = oldest, from = oldest; to <= s->seq; to++) {
		const struct stats_call *in = record(s, to, count), *out;
		if (!in)
			continue;
		for (; from < to; from++) {
			out = record(s, from, count);
			if (out && out->at_ms > in->at_ms - window_ms)
				break;
			if (out)
				window_move(&w, out, -1);
		}
		window_move(&w, in, 1);
	}
	return w;
}

static void write_window(struct buf *out, const struct window *w, uint64_t peak_in_flight)
{
	buf_printf(out,
	           "\"requests\":%lld,\"input_tokens\":%lld,\"output_tokens\":%lld,\"tokens\":%lld,\"in_flight\":%llu",
	           (long long)w->requests, (long long)w->input, (long long)w->output, (long long)w->tokens,
	           (unsigned long long)peak_in_flight);
}

int stats_write_windows(struct stats *s, struct buf *out, int64_t window_ms, struct str model)
{
	static const struct stats_count none = { .n = 0 };
	struct window w;
	struct str name;
	void *value;
	size_t shown = 0;
	buf_printf(out, "{\"seconds\":%lld,", (long long)(window_ms / 1000));
	if (model.p) {
		const struct stats_count *count = hash_get(&s->by_model.by_name, model);
		w = slide(s, window_ms, count ? count : &none);
		write_window(out, &w, count ? count->peak_in_flight : 0);
		return buf_add_char(out, '}');
	}
	w = slide(s, window_ms, NULL);
	write_window(out, &w, s->peak_in_flight);
	buf_add_z(out, ",\"models\":{");
	for (size_t at = 0; shown < MODELS_SHOWN_MAX && hash_next(&s->by_model.by_name, &at, &name, &value);) {
		const struct stats_count *count = value;
		buf_add_z(out, shown++ ? "," : "");
		buf_add_json_str(out, name);
		buf_add_z(out, ":{");
		w = slide(s, window_ms, count);
		write_window(out, &w, count->peak_in_flight);
		buf_add_char(out, '}');
	}
	return buf_add_z(out, "}}");
}
