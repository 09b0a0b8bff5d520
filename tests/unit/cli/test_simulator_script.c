/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts of the simulator: which rule counts, which calls fail and how, what a mistake says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/simulator/script.h"

static int merge(struct script **s, const char *json, struct err *err)
{
	_cleanup_(json_drop) json_t *patch = json_parse(str_from(json), err);
	assert_non_null(patch);
	return script_merge(s, patch, err);
}

static struct script *script_of(const char *json)
{
	struct script *s = script_new();
	struct err err = { .code = ERR_OK };
	if (merge(&s, json, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static void test_script_longest_pattern_counts(void **state)
{
	struct script *s = script_of(
	    "{\"models\":{\"*\":{\"latency_ms\":1},\"gpt-*\":{\"latency_ms\":2},\"gpt-4*\":{\"latency_ms\":3},"
	    "\"gpt-4o\":{\"latency_ms\":4}}}");
	(void)state;
	assert_int_equal(script_match(s, STR("gpt-4o"))->latency_ms, 4);
	assert_int_equal(script_match(s, STR("gpt-4o-mini"))->latency_ms, 3);
	assert_int_equal(script_match(s, STR("gpt-3.5"))->latency_ms, 2);
	assert_int_equal(script_match(s, STR("other"))->latency_ms, 1);
	assert_int_equal(script_match(s, STR(""))->latency_ms, 1);
	script_unref(s);
}

static void test_glob(void **state)
{
	(void)state;
	assert_true(glob_matches(STR("*"), STR("")));
	assert_true(glob_matches(STR("a*b*c"), STR("a-b-b-c")));
	assert_true(glob_matches(STR("a?c"), STR("abc")));
	assert_false(glob_matches(STR("a?c"), STR("ac")));
	assert_false(glob_matches(STR("a*b"), STR("abc")));
	assert_false(glob_matches(STR(""), STR("a")));
	/* Many stars stay cheap. */
	assert_false(glob_matches(STR("*a*a*a*a*a*a*a*a*a*b"),
	                          STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
}

/* The statuses of the first n calls: 200, the status of a failure, or -1 for a fault of the connection. */
static void decide(struct script *s, int *ret, size_t n)
{
	struct rule *r = script_match(s, STR("m"));
	for (size_t i = 0; i < n; i++) {
		struct plan plan;
		rule_decide(r, &plan);
		ret[i] = plan.fault == FAULT_NONE ? 200 : plan.fault == FAULT_STATUS ? plan.status : -1;
	}
}

static void test_rule_chooses_calls(void **state)
{
	static const struct {
		const char *rule;
		int wanted[6];
	} rows[] = {
		{ "{}", { 200, 200, 200, 200, 200, 200 } },
		{ "{\"fail_first\":2}", { 500, 500, 200, 200, 200, 200 } },
		{ "{\"every\":3,\"error_status\":503}", { 200, 200, 503, 200, 200, 503 } },
		{ "{\"status_sequence\":[500,429,200]}", { 500, 429, 200, 200, 200, 200 } },
		{ "{\"status_sequence\":[200,500]}", { 200, 500, 500, 500, 500, 500 } },
		{ "{\"error_status\":401}", { 401, 401, 401, 401, 401, 401 } },
		{ "{\"retry_after\":2}", { 429, 429, 429, 429, 429, 429 } },
		{ "{\"retry_after\":2,\"fail_first\":1}", { 429, 200, 200, 200, 200, 200 } },
		{ "{\"error_class\":\"auth\"}", { 0, 0, 0, 0, 0, 0 } }, /* 0: the format's status */
		{ "{\"error_class\":\"auth\",\"retry_after\":2,\"fail_first\":1}", { 0, 200, 200, 200, 200, 200 } },
		{ "{\"error_class\":\"auth\",\"error_status\":418,\"every\":2}", { 200, 418, 200, 418, 200, 418 } },
		{ "{\"stream_error\":\"overloaded\",\"fail_first\":1}", { -1, 200, 200, 200, 200, 200 } },
		{ "{\"retry_after\":2,\"fail_first\":1,\"error_status\":503}", { 503, 200, 200, 200, 200, 200 } },
		{ "{\"error_rate\":1}", { 500, 500, 500, 500, 500, 500 } },
		{ "{\"error_rate\":0,\"error_status\":500}", { 200, 200, 200, 200, 200, 200 } },
		{ "{\"hang\":true}", { -1, -1, -1, -1, -1, -1 } },
		{ "{\"hang\":false}", { 200, 200, 200, 200, 200, 200 } },
		{ "{\"cut_after_bytes\":0,\"fail_first\":1}", { -1, 200, 200, 200, 200, 200 } },
		{ "{\"garbage\":\"sse\",\"every\":2}", { 200, -1, 200, -1, 200, -1 } },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char json[300] = "{\"models\":{\"m\":";
		int got[6];
		memcpy(json + strlen(json), rows[i].rule, strlen(rows[i].rule) + 1);
		memcpy(json + strlen(json), "}}", 3);
		struct script *s = script_of(json);
		decide(s, got, 6);
		assert_memory_equal(got, rows[i].wanted, sizeof(got));
		script_unref(s);
	}
}

static void test_rule_error_rate_repeats_with_its_seed(void **state)
{
	int a[1000], b[1000], c[1000], failed = 0;
	(void)state;
	struct script *s = script_of("{\"models\":{\"m\":{\"error_rate\":0.2,\"seed\":7}}}");
	struct script *t = script_of("{\"models\":{\"m\":{\"error_rate\":0.2,\"seed\":7}}}");
	struct script *u = script_of("{\"models\":{\"m\":{\"error_rate\":0.2,\"seed\":8}}}");
	decide(s, a, 1000);
	decide(t, b, 1000);
	decide(u, c, 1000);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
	for (int i = 0; i < 1000; i++)
		failed += a[i] != 200;
	assert_in_range(failed, 150, 250);
	script_unref(s);
	script_unref(t);
	script_unref(u);
}

static void test_rule_jitter_stays_in_its_range(void **state)
{
	struct script *s = script_of("{\"models\":{\"m\":{\"latency_ms\":100,\"jitter_ms\":50}}}");
	uint64_t low = UINT64_MAX, high = 0;
	(void)state;
	for (int i = 0; i < 500; i++) {
		struct plan plan;
		rule_decide(script_match(s, STR("m")), &plan);
		low = MIN(low, plan.before_ms);
		high = MAX(high, plan.before_ms);
		assert_int_equal(plan.first_ms, 0);
	}
	assert_in_range(low, 100, 110);
	assert_in_range(high, 140, 150);
	script_unref(s);
}

static void test_script_merge_keeps_what_it_does_not_name(void **state)
{
	struct err err;
	int got[2];
	struct script *s =
	    script_of("{\"models\":{\"m\":{\"fail_first\":2,\"latency_ms\":5},\"n\":{\"latency_ms\":9}}}");
	(void)state;
	decide(s, got, 1);
	/* Another rule changes: the counter of m goes on. */
	assert_int_equal(merge(&s, "{\"models\":{\"n\":{\"latency_ms\":null,\"echo\":true}}}", &err), 0);
	decide(s, got, 2);
	assert_int_equal(got[0], 500);
	assert_int_equal(got[1], 200);
	assert_int_equal(script_match(s, STR("n"))->latency_ms, 0);
	assert_true(script_match(s, STR("n"))->echo);
	/* m itself changes: its other fields stay, its counter begins anew. */
	assert_int_equal(merge(&s, "{\"models\":{\"m\":{\"answer\":\"yes\"}}}", &err), 0);
	assert_int_equal(script_match(s, STR("m"))->latency_ms, 5);
	assert_string_equal(script_match(s, STR("m"))->answer, "yes");
	decide(s, got, 1);
	assert_int_equal(got[0], 500);
	assert_int_equal(merge(&s, "{\"models\":{\"m\":null}}", &err), 0);
	assert_int_equal(script_match(s, STR("m"))->latency_ms, 0);
	assert_int_equal(merge(&s, "{\"reset\":true}", &err), 0);
	assert_int_equal(json_object_size(json_get(s->source, "models")), 0);
	script_unref(s);
}

static void test_script_mistakes_name_their_place(void **state)
{
	static const struct {
		const char *patch, *place;
	} rows[] = {
		{ "{\"models\":{\"gpt-*\":{\"latency_ms\":-1}}}", "/models/gpt-*/latency_ms" },
		{ "{\"models\":{\"m\":{\"latency\":1}}}", "/models/m/latency" },
		{ "{\"models\":{\"m\":{\"error_rate\":1.5}}}", "/models/m/error_rate" },
		{ "{\"models\":{\"m\":{\"error_status\":199}}}", "/models/m/error_status" },
		{ "{\"models\":{\"m\":{\"hang\":1}}}", "/models/m/hang" },
		{ "{\"models\":{\"m\":{\"answer\":1}}}", "/models/m/answer" },
		{ "{\"models\":{\"m\":{\"garbage\":\"x\"}}}", "/models/m/garbage" },
		{ "{\"models\":{\"m\":{\"require_key\":1}}}", "/models/m/require_key" },
		{ "{\"models\":{\"m\":{\"status_sequence\":[]}}}", "/models/m/status_sequence" },
		{ "{\"models\":{\"m\":{\"status_sequence\":[200,301]}}}", "/models/m/status_sequence/1" },
		{ "{\"models\":{\"m\":{\"error_class\":\"odd\"}}}", "/models/m/error_class" },
		{ "{\"models\":{\"m\":{\"stream_error\":{\"after_bytes\":1}}}}", "/models/m/stream_error" },
		{ "{\"models\":{\"m\":{\"stream_error\":{\"class\":\"auth\",\"bytes\":1}}}}",
		  "/models/m/stream_error" },
		{ "{\"models\":{\"m\":{\"usage\":[]}}}", "/models/m/usage" },
		{ "{\"models\":{\"m\":{\"headers\":{\"x\":1}}}}", "/models/m/headers" },
		{ "{\"models\":{\"m\":{\"headers\":{\"x\":\"a\\r\\nb: c\"}}}}", "/models/m/headers" },
		{ "{\"models\":{\"m\":{\"headers\":{\"x: y\":\"a\"}}}}", "/models/m/headers" },
		{ "{\"models\":{\"m\":{\"raw_stream\":{\"base64\":\"=\"}}}}", "/models/m/raw_stream" },
		{ "{\"models\":{\"m\":{\"raw_body\":7}}}", "/models/m/raw_body" },
		{ "{\"models\":{\"m\":{\"enforce_requests\":-1}}}", "/models/m/enforce_requests" },
		{ "{\"models\":{\"m\":7}}", "/models/m" },
		{ "{\"models\":7}", "/models" },
		{ "{\"model\":{}}", "/model" },
	};
	(void)state;
	struct script *s = script_of("{\"models\":{\"m\":{\"latency_ms\":5}}}");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { .code = ERR_OK };
		assert_true(merge(&s, rows[i].patch, &err) < 0);
		if (!strstr(err.text, rows[i].place))
			fail_msg("\"%s\" does not name %s", err.text, rows[i].place);
		/* A refused patch changes nothing. */
		assert_int_equal(script_match(s, STR("m"))->latency_ms, 5);
	}
	struct err err;
	assert_true(merge(&s, "[]", &err) < 0);
	script_unref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_script_longest_pattern_counts),
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_rule_chooses_calls),
		cmocka_unit_test(test_rule_error_rate_repeats_with_its_seed),
		cmocka_unit_test(test_rule_jitter_stays_in_its_range),
		cmocka_unit_test(test_script_merge_keeps_what_it_does_not_name),
		cmocka_unit_test(test_script_mistakes_name_their_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
