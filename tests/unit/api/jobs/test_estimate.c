/* SPDX-License-Identifier: Apache-2.0 */
/* What a job will likely cost: by its size, its limit and the first target's price; unknown where that is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/jobs/estimate.h"

static struct conf_target target;
static const struct conf_target *const targets[] = { &target };

static struct estimate of(struct str request, bool embeddings, int64_t input_price, int64_t output_price)
{
	struct arena a;
	struct request_facts f;
	arena_init(&a, 1 << 20);
	target.price = (struct conf_price){ .input = input_price, .cached_input = -1, .cache_write = -1, .output = output_price };
	const struct conf_route route = { .main = { .targets = (const struct conf_target **)(uintptr_t)targets, .ntargets = 1 } };
	json_t *v = json_parse(request, NULL);
	assert_non_null(v);
	request_facts_read(&f, v, embeddings, &a);
	struct estimate e = estimate_job(&route, &f, v, embeddings);
	json_decref(v);
	arena_done(&a);
	return e;
}

static void test_an_estimate_is_size_and_limit_at_the_first_targets_price(void **state)
{
	(void)state;
	/* 40 bytes are 10 tokens and a tenth, and a message has four of its own. */
	struct estimate e = of(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"0123456789012345678901234567890123456789\"}],\"max_tokens\":100}"), false,
	                       2000000, 8000000);
	assert_true(e.input_tokens >= 11 && e.input_tokens <= 16);
	assert_int_equal(e.nanousd, 2 * e.input_tokens + 8 * 100);
	e = of(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":3}"), false, 0, 1000000);
	assert_int_equal(e.nanousd, 3 * ESTIMATE_OUTPUT);
	e = of(STR("{\"input\":[\"a\",\"b\"]}"), true, 1000000, -1);
	assert_int_equal(e.nanousd, e.input_tokens);
}

static void test_an_estimate_without_a_price_is_unknown(void **state)
{
	(void)state;
	static const struct str request = STR("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
	assert_int_equal(of(request, false, -1, 1).nanousd, -1);
	assert_int_equal(of(request, false, 1, -1).nanousd, -1);
	assert_int_equal(of(request, false, 0, 0).nanousd, 0);
	const struct conf_route nowhere = { .main = { .ntargets = 0 } };
	struct request_facts f = { .max_output = 1 };
	json_t *v = json_object();
	assert_int_equal(estimate_job(&nowhere, &f, v, false).nanousd, -1);
	json_decref(v);
}

static void test_an_estimate_never_overflows(void **state)
{
	(void)state;
	struct estimate e = of(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":4611686018427387904,\"n\":128}"), false, 1000000,
	                       INT64_MAX);
	assert_int_equal(e.nanousd, INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_estimate_is_size_and_limit_at_the_first_targets_price),
		cmocka_unit_test(test_an_estimate_without_a_price_is_unknown),
		cmocka_unit_test(test_an_estimate_never_overflows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
