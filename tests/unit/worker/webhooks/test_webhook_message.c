/* SPDX-License-Identifier: Apache-2.0 */
/* Standard Webhooks: the signature against the published vector, secrets that are none, the schedule of tries, and
 * OpenAI's events. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/job.h"
#include "worker/webhooks/webhook_message.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define MSG    "msg_p5jXN8AQM9LWM0D4loKWxJek"

static void test_webhook_signature_is_that_of_the_standard(void **state)
{
	static const struct {
		const char *body, *signature;
	} rows[] = {
		{ "{\"test\": 2432232314}", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" },
		{ "", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A=" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b;
		buf_init(&b, 256);
		assert_int_equal(webhook_sign(&b, STR(SECRET), STR(MSG), 1614265330, str_from(rows[i].body)), 0);
		assert_true(str_eq_z(buf_str(&b), rows[i].signature));
		buf_done(&b);
	}
}

static void test_webhook_a_secret_that_is_none_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaL!Sw",
		"whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
		/* 66 bytes */
		"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct buf b;
		buf_init(&b, 256);
		if (webhook_sign(&b, str_from(bad[i]), STR(MSG), 1614265330, STR("{}")) >= 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(b.n, 0);
		buf_done(&b);
	}
}

static void test_webhook_schedule_says_when_each_try_is_and_when_to_stop(void **state)
{
	static const struct {
		const char *schedule;
		int tries;
		int64_t ms;
	} rows[] = {
		{ "0,5s,5m,30m,2h", 0, 0 },       { "0,5s,5m,30m,2h", 1, 5000 },  { "0,5s,5m,30m,2h", 4, 7200000 }, { "0,5s,5m,30m,2h", 5, -1 },
		{ "0,5s,5m,30m,2h", 1000000, -1 }, { "0, 250ms , 1s", 1, 250 },    { "", 0, -1 },                    { "0", 1, -1 },
		{ "0,junk,1s", 1, -1 },           { "0,junk,1s", 2, 1000 },       { "0,400d", 1, -1 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (webhook_delay_ms(str_from(rows[i].schedule), rows[i].tries) != rows[i].ms)
			fail_msg("%s, %d", rows[i].schedule, rows[i].tries);
}

static void test_webhook_events_of_responses_have_openais_names(void **state)
{
	static const struct {
		const char *event;
		int flags;
		const char *error, *name;
	} rows[] = {
		{ "job.succeeded", 0, "", "response.completed" },
		{ "job.succeeded", FLAG_ESTIMATED | FLAG_SHARED, "", "response.completed" },
		{ "job.succeeded", FLAG_PARTIAL, "", "response.incomplete" },
		{ "job.succeeded", FLAG_LIMITED, "", "response.incomplete" },
		{ "job.failed", 0, "provider_auth", "response.failed" },
		{ "job.failed", 0, "output_truncated", "response.incomplete" },
		{ "job.failed", 0, "content_filter", "response.incomplete" },
		{ "job.expired", 0, "expired", "response.failed" },
		{ "job.canceled", 0, "canceled", "response.cancelled" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(webhook_response_event(str_from(rows[i].event), rows[i].flags, str_from(rows[i].error)), rows[i].name);
}

static void test_webhook_body_of_openai_is_thin(void **state)
{
	(void)state;
	struct id delivery, object;
	struct buf b;
	assert_int_equal(id_parse(STR("del_01a1fbf36a6576e180e2140cdf6260dd"), "del_", &delivery), 0);
	assert_int_equal(id_parse(STR("job_01a1fbf36a6576e180e2140cdf6260de"), "job_", &object), 0);
	buf_init(&b, 1 << 16);
	assert_int_equal(webhook_openai_body(&b, delivery, STR("response.completed"), 1767225600999999, "resp_", object), 0);
	assert_true(str_eq_z(buf_str(&b), "{\"id\":\"evt_01a1fbf36a6576e180e2140cdf6260dd\",\"object\":\"event\",\"created_at\":1767225600,"
	                                  "\"type\":\"response.completed\",\"data\":{\"id\":\"resp_01a1fbf36a6576e180e2140cdf6260de\"}}"));
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_webhook_signature_is_that_of_the_standard),
		cmocka_unit_test(test_webhook_a_secret_that_is_none_is_refused),
		cmocka_unit_test(test_webhook_events_of_responses_have_openais_names),
		cmocka_unit_test(test_webhook_body_of_openai_is_thin),
		cmocka_unit_test(test_webhook_schedule_says_when_each_try_is_and_when_to_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
