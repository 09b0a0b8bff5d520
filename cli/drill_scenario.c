/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outages, as a table, and what the simulator is told for each. A fault is a set of members of a simulator's rule (its README); %d in it
 * stands for a time in ms that is longer than any target's timeout to the first token.
 */
#include <string.h>

#include "cli/drill.h"

/* Twins answer after 150 ms ± 100: head and first text have half of it each. */
#define USUAL  "\"latency_ms\":25,\"first_token_ms\":25,\"jitter_ms\":100,\"between_ms\":2,\"chunk_bytes\":48"
#define ANSWER                                                                                                                                    \
	"\"answer\":\"This is what the model says: the document names two parties, a date and an amount, and nothing in it contradicts the order.\""
#define SLOW_MS 1500 /* beyond the timeout */

#define SERVER_ERROR "\"error_class\":\"server_error\""

const struct drill_scenario drill_calm = { .name = "calm", .summary = "Nothing happens: what the others are compared with" };

const struct drill_scenario drill_scenarios[] = {
	{ .name = "primary_down",
	  .summary = "The first target of each route answers 500",
	  .targets = DRILL_FIRST,
	  .fault = { SERVER_ERROR, SERVER_ERROR },
	  .opens = true },
	{ .name = "slow_first_token",
	  .summary = "The first target of each route sends no text before its timeout",
	  .targets = DRILL_FIRST,
	  .fault = { "\"jitter_ms\":0,\"first_token_ms\":%d", "\"jitter_ms\":0,\"first_token_ms\":%d" },
	  .opens = true },
	{ .name = "rate_limit_storm",
	  .summary = "The first target of each route answers 429 with Retry-After 3",
	  .targets = DRILL_FIRST,
	  .fault = { "\"error_class\":\"rate_limit\",\"retry_after\":3", "\"error_class\":\"rate_limit\",\"retry_after\":3" } },
	{ .name = "garbage",
	  .summary = "The first target of each route sends streams that cannot be read, then streams that are cut",
	  .targets = DRILL_FIRST,
	  .fault = { "\"garbage\":\"sse\"", "\"cut_after_bytes\":200" } },
	{ .name = "fleet_halved", .summary = "One of three workers is killed, one freezes", .fleet = true },
	{ .name = "all_down", .summary = "Every target answers 500", .targets = DRILL_ALL, .fault = { SERVER_ERROR, SERVER_ERROR }, .opens = true },
};
const size_t drill_scenarios_n = ARRAY_LEN(drill_scenarios);

const struct drill_scenario *drill_scenario_find(const char *name)
{
	for (size_t i = 0; i < drill_scenarios_n; i++)
		if (strcmp(drill_scenarios[i].name, name) == 0)
			return &drill_scenarios[i];
	return NULL;
}

bool drill_scenario_hits(const struct drill_scenario *s, const struct conf *c, size_t i)
{
	if (s->targets != DRILL_FIRST)
		return s->targets == DRILL_ALL;
	for (size_t k = 0; k < c->nroutes; k++)
		if (c->routes[k].ntargets && c->routes[k].targets[0] == &c->targets[i])
			return true;
	return false;
}

static void add_fault(struct buf *b, const char *fault, int64_t slow_ms)
{
	struct str rest = str_from(fault);
	ssize_t at = str_find(rest, STR("%d"));
	if (at < 0) {
		buf_add_str(b, rest);
		return;
	}
	buf_add_str(b, str_sub(rest, 0, (size_t)at));
	buf_add_i64(b, slow_ms);
	buf_add_str(b, str_sub(rest, (size_t)at + 2, rest.n));
}

struct str drill_scenario_script(const struct drill_scenario *s, const struct drill_twins *t, int part, struct arena *a)
{
	struct buf b;
	buf_init(&b, 1u << 20);
	buf_add_z(&b, "{\"reset\":true,\"models\":{\"*\":{" USUAL "," ANSWER "}");
	for (size_t i = 0; part >= 0 && i < t->conf->ntargets; i++) {
		if (!s->fault[part] || !drill_scenario_hits(s, t->conf, i))
			continue;
		buf_printf(&b, ",\"%s\":{" ANSWER ",", drill_twin_pattern(a, i));
		if (!strstr(s->fault[part], "first_token_ms"))
			buf_add_z(&b, USUAL ",");
		add_fault(&b, s->fault[part], t->first_ms + SLOW_MS);
		buf_add_z(&b, "}");
	}
	buf_add_z(&b, "}}");
	struct str text = arena_str(a, buf_str(&b));
	assert(!buf_failed(&b));
	buf_done(&b);
	return text;
}
