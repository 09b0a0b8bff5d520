/* SPDX-License-Identifier: Apache-2.0 */
/* Standard Webhooks: the signature against the published vector, secrets that are none, and the schedule of tries. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/webhook_message.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_webhook_signature_is_that_of_the_standard),
		cmocka_unit_test(test_webhook_a_secret_that_is_none_is_refused),
		cmocka_unit_test(test_webhook_schedule_says_when_each_try_is_and_when_to_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
