/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests are the same question. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "worker/execution/cache.h"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void key_of(const char *request, uint8_t ret[32])
{
	const struct conf_route route = { .name = STR("r") };
	struct err err = { 0 };
	json_t *v = json_parse(str_from(request), &err);
	if (!v)
		fail_msg("%s: %s", err.text, request);
	assert_int_equal(cache_key(&route, 1, JOB_CHAT, v, ret), 0);
	json_decref(v);
}

static bool are_the_same(const char *a, const char *b)
{
	uint8_t one[32], two[32];
	key_of(a, one);
	key_of(b, two);
	return memcmp(one, two, sizeof(one)) == 0;
}

static void test_cache_key_is_the_questions(void **state)
{
	static const char *const same[] = {
		"{\"user\":\"u\"," HI ",\"n\":1,\"temperature\":1.0,\"stream\":true,\"seed\":null}",
		"{" HI ",\"cache_control\":{\"type\":\"ephemeral\"}}",
		"{\"messages\":[{\"cache_control\":{\"type\":\"ephemeral\"},\"role\":\"user\",\"content\":\"hi\"}]}",
	};
	static const char *const other[] = { "{" HI ",\"n\":2}", "{" HI ",\"seed\":1}", "{\"messages\":[{\"role\":\"user\",\"content\":\"ho\"}]}" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		assert_true(are_the_same("{" HI "}", same[i]));
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		assert_false(are_the_same("{" HI "}", other[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cache_key_is_the_questions) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
