/* SPDX-License-Identifier: Apache-2.0 */
/* Notices reach the listener; when its session ends it listens again and says that notices may have been missed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/lib/dbtest.h"
#include "tests/lib/pg.h"

struct ear {
	struct db_listener *ls;
	int notices, lost;
	char channel[32], payload[32];
	bool free_on_notice;
};

static void on_notice(void *arg, struct str channel, struct str payload)
{
	struct ear *e = arg;
	assert_true(channel.n < sizeof(e->channel) && payload.n < sizeof(e->payload));
	memcpy(e->channel, channel.p, channel.n);
	e->channel[channel.n] = '\0';
	memcpy(e->payload, payload.p, payload.n);
	e->payload[payload.n] = '\0';
	e->notices++;
	if (e->free_on_notice)
		db_listener_free(e->ls);
}

static void on_lost(void *arg)
{
	struct ear *e = arg;
	e->lost++;
}

static void test_db_notices_arrive_and_loss_is_told(void **state)
{
	(void)state;
	static const char *const channels[] = { "plain", "With \"quotes\"" };
	struct dbtest t;
	struct db_cfg cfg = dbtest_cfg(pg_test_url());
	struct ear e = { 0 };
	dbtest_open(&t, &cfg);
	e.ls = db_listen(&t.loop, &cfg, channels, 2, on_notice, on_lost, &e);
	assert_non_null(e.ls);
	dbtest_until(&t, &e.lost, 1); /* it listens now */
	pg_test_sql("select pg_notify('plain', 'one'), pg_notify('other', 'not for us')");
	dbtest_until(&t, &e.notices, 1);
	assert_string_equal(e.channel, "plain");
	assert_string_equal(e.payload, "one");
	pg_test_terminate();
	dbtest_until(&t, &e.lost, 2);
	pg_test_sql("select pg_notify('With \"quotes\"', 'two')");
	dbtest_until(&t, &e.notices, 2);
	assert_string_equal(e.channel, "With \"quotes\"");
	assert_string_equal(e.payload, "two");
	/* It may be freed by its own callback; of two notices at once the second is then not told. */
	e.free_on_notice = true;
	pg_test_sql("select pg_notify('plain', 'three'), pg_notify('plain', 'four')");
	dbtest_until(&t, &e.notices, 3);
	assert_string_equal(e.payload, "three");
	dbtest_close(&t);
	assert_int_equal(e.notices, 3);
}

static void test_db_listener_can_be_freed_while_it_connects(void **state)
{
	(void)state;
	static const char *const channels[] = { "plain" };
	struct loop l;
	struct ear e = { 0 };
	struct db_cfg away = dbtest_cfg("host=localhost port=1"), bad = dbtest_cfg("no_such_option=1");
	loop_init(&l);
	assert_null(db_listen(&l, &bad, channels, 1, on_notice, on_lost, &e));
	e.ls = db_listen(&l, &away, channels, 1, on_notice, on_lost, &e);
	db_listener_free(e.ls);
	loop_run(&l); /* ends: nothing is left behind */
	loop_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_db_notices_arrive_and_loss_is_told),
		cmocka_unit_test(test_db_listener_can_be_freed_while_it_connects),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
