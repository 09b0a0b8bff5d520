/* SPDX-License-Identifier: Apache-2.0 */
/* Supervision: the backoff's numbers, and real processes: ready, replaced, stopped, ended before they were ready. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/up_children.h"

static void test_backoff_doubles_to_its_end(void **state)
{
	static const uint64_t wanted[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
	struct backoff b = { 0 };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		assert_int_equal(backoff_after(&b, 50), wanted[i]);
}

static void test_backoff_begins_anew_after_a_minute_alive(void **state)
{
	struct backoff b = { 0 };
	(void)state;
	for (int i = 0; i < 5; i++)
		backoff_after(&b, 0);
	assert_int_equal(backoff_after(&b, 59999), 3200);
	assert_int_equal(backoff_after(&b, 60000), 100);
	assert_int_equal(backoff_after(&b, 0), 200);
}

/* --- real processes --- */

struct fixture {
	struct flow flow;
	struct loop loop;
	struct children children;
	struct child child;
	struct timer limit;
	char dir[40], ready[60];
	const char *script;
	const char *argv[6];
	int step, result;
	pid_t first_pid;
};

static void on_sigchld(void *arg, int signum)
{
	struct fixture *f = arg;
	(void)signum;
	children_reap(&f->children);
}

/* A test that hangs fails here instead. */
static void on_limit(struct timer *t)
{
	(void)t;
	fail_msg("no end within 20 s");
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	memcpy(f->dir, "/tmp/test-children-XXXXXX", 26);
	assert_non_null(mkdtemp(f->dir));
	struct buf b;
	buf_init(&b, sizeof(f->ready));
	buf_printf(&b, "%s/x.ready%c", f->dir, '\0');
	memcpy(f->ready, b.p, b.n);
	buf_done(&b);
	loop_init(&f->loop);
	children_init(&f->children, &f->loop);
	f->children.user = f;
	assert_int_equal(loop_on_signal(&f->loop, SIGCHLD, on_sigchld, f), 0);
	timer_init(&f->limit, &f->loop, on_limit);
	timer_start(&f->limit, 20000);
	f->child =
	    (struct child){ .name = "x", .stop_signal = SIGTERM, .force_signal = SIGKILL, .ready_file = f->ready };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	timer_stop(&f->limit);
	children_done(&f->children);
	loop_done(&f->loop);
	unlink(f->ready);
	int rc = rmdir(f->dir);
	free(f);
	return rc;
}

static void use_script(struct fixture *f, const char *script)
{
	const char *const argv[] = { "/bin/sh", "-c", script, "sh", f->ready, NULL };
	memcpy(f->argv, argv, sizeof(argv));
	f->child.spawn = (struct spawn){ .argv = f->argv, .death_signal = SIGKILL };
}

static struct fixture *fixture_of(struct flow *flow)
{
	return container_of(flow, struct fixture, flow);
}

static void on_over(struct flow *flow, int result)
{
	fixture_of(flow)->result = result;
	loop_stop(&fixture_of(flow)->loop);
}

static enum flow_next start_child(struct flow *flow)
{
	struct fixture *f = fixture_of(flow);
	child_start(&f->children, &f->child);
	children_wait_up(&f->children, flow, 15000);
	return FLOW_WAIT;
}

static enum flow_next stop_child(struct flow *flow)
{
	struct fixture *f = fixture_of(flow);
	child_stop(&f->child);
	child_stop(&f->child); /* idempotent */
	children_wait_ended(&f->children, flow);
	return FLOW_WAIT;
}

static enum flow_next remember_pid(struct flow *flow)
{
	fixture_of(flow)->first_pid = fixture_of(flow)->child.pid;
	return FLOW_NEXT;
}

static enum flow_next stop_after_failure(struct flow *flow, int rc)
{
	struct fixture *f = fixture_of(flow);
	f->step = rc;
	return FLOW_NEXT;
}

#define READY "echo \"{\\\"pid\\\":$$,\\\"url\\\":\\\"http://x\\\"}\" > \"$1.new\"; mv \"$1.new\" \"$1\""
#define SERVE READY "; exec sleep 100"

static void test_children_up_when_the_ready_file_names_them(void **state)
{
	struct fixture *f = *state;
	static const struct flow_step steps[] = { { "start", start_child, NULL },
		                                  { "pid", remember_pid, NULL },
		                                  { "stop", stop_child, NULL },
		                                  { NULL, NULL, NULL } };
	use_script(f, SERVE);
	flow_start(&f->flow, "test", steps, on_over);
	loop_run(&f->loop);
	assert_int_equal(f->result, 0);
	assert_true(f->first_pid > 0);
	assert_int_equal(f->child.state, CHILD_ENDED);
	assert_true(WIFSIGNALED(f->child.status) && WTERMSIG(f->child.status) == SIGTERM);
	assert_int_equal(kill(f->first_pid, 0), -1);
	assert_int_equal(access(f->ready, F_OK), -1); /* it went with its process */
}

static void test_children_end_at_the_start_fails_the_wait(void **state)
{
	struct fixture *f = *state;
	static const struct flow_step steps[] = { { "start", start_child, stop_after_failure },
		                                  { "stop", stop_child, NULL },
		                                  { NULL, NULL, NULL } };
	use_script(f, "exit 3");
	flow_start(&f->flow, "test", steps, on_over);
	loop_run(&f->loop);
	assert_int_equal(f->step, -ERR_INTERNAL);
	assert_string_equal(f->children.err.text, "x ended at its start with status 3");
	assert_int_equal(f->child.state, CHILD_ENDED); /* stopped while it waited for its next start */
}

static void test_children_other_pid_is_not_ready(void **state)
{
	struct fixture *f = *state;
	static const struct flow_step steps[] = { { "start", start_child, stop_after_failure },
		                                  { "stop", stop_child, NULL },
		                                  { NULL, NULL, NULL } };
	use_script(f, "echo '{\"pid\":1}' > \"$1\"; sleep 0.2; exit 4");
	flow_start(&f->flow, "test", steps, on_over);
	loop_run(&f->loop);
	assert_int_equal(f->step, -ERR_INTERNAL);
	assert_string_equal(f->children.err.text, "x ended at its start with status 4");
}

static void stop_when_replaced(struct children *g, struct child *c)
{
	struct fixture *f = g->user;
	if (c->state != CHILD_UP)
		return;
	if (!f->first_pid) {
		f->first_pid = c->pid;
		kill(c->pid, SIGKILL);
	} else {
		f->step = 1;
		loop_stop(&f->loop);
	}
}

static void test_children_killed_one_is_replaced(void **state)
{
	struct fixture *f = *state;
	static const struct flow_step stop[] = { { "stop", stop_child, NULL }, { NULL, NULL, NULL } };
	use_script(f, SERVE);
	f->children.on_change = stop_when_replaced;
	child_start(&f->children, &f->child);
	loop_run(&f->loop);
	assert_int_equal(f->step, 1);
	assert_int_equal(f->child.starts, 2);
	assert_int_not_equal(f->child.pid, f->first_pid);
	assert_string_equal(f->child.url, "http://x");
	f->children.on_change = NULL;
	flow_start(&f->flow, "test", stop, on_over);
	loop_run(&f->loop);
	assert_int_equal(f->child.state, CHILD_ENDED);
}

static void test_children_one_that_does_not_end_is_killed(void **state)
{
	struct fixture *f = *state;
	static const struct flow_step steps[] = { { "start", start_child, NULL },
		                                  { "pid", remember_pid, NULL },
		                                  { "stop", stop_child, NULL },
		                                  { NULL, NULL, NULL } };
	use_script(f, "trap '' TERM; " READY "; while :; do sleep 1; done");
	f->child.kill_after_ms = 50;
	flow_start(&f->flow, "test", steps, on_over);
	loop_run(&f->loop);
	assert_int_equal(f->child.state, CHILD_ENDED);
	assert_true(WIFSIGNALED(f->child.status) && WTERMSIG(f->child.status) == SIGKILL);
	assert_int_equal(kill(f->first_pid, 0), -1);
}

/* --- spawn --- */

static void test_spawn_run_collects_and_names_the_failure(void **state)
{
	(void)state;
	struct err err = { 0 };
	struct buf out;
	buf_init(&out, 4096);
	const char *const good[] = { "/bin/sh", "-c", "echo one; echo two >&2", NULL };
	const struct spawn g = { .argv = good };
	assert_int_equal(spawn_run(&g, &out, &err), 0);
	assert_true(str_eq_z(buf_str(&out), "one\ntwo\n"));
	buf_clear(&out);
	const char *const bad[] = { "/bin/sh", "-c", "echo first; echo the reason; echo; exit 1", NULL };
	const struct spawn b = { .argv = bad };
	assert_int_equal(spawn_run(&b, &out, &err), -ERR_IO);
	assert_string_equal(err.text, "/bin/sh failed: the reason");
	buf_clear(&out);
	const char *const none[] = { "/nonexistent/program", NULL };
	const struct spawn n = { .argv = none };
	assert_int_equal(spawn_run(&n, &out, &err), -ERR_IO);
	assert_string_equal(err.text, "cannot execute /nonexistent/program");
	buf_done(&out);
}

static void test_spawn_keeps_secrets_back(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, 1 << 16);
	setenv("TEST_UP_API_KEY", "sk-1", 1);
	setenv("TEST_UP_plain", "word", 1);
	const char *const argv[] = { "/usr/bin/env", NULL };
	const struct spawn with = { .argv = argv }, without = { .argv = argv, .no_secrets = true };
	assert_int_equal(spawn_run(&with, &out, NULL), 0);
	assert_true(str_find(buf_str(&out), STR("TEST_UP_API_KEY=sk-1")) >= 0);
	buf_clear(&out);
	assert_int_equal(spawn_run(&without, &out, NULL), 0);
	assert_true(str_find(buf_str(&out), STR("sk-1")) < 0);
	assert_true(str_find(buf_str(&out), STR("TEST_UP_plain=word")) >= 0);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff_doubles_to_its_end),
		cmocka_unit_test(test_backoff_begins_anew_after_a_minute_alive),
		cmocka_unit_test_setup_teardown(test_children_up_when_the_ready_file_names_them, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children_end_at_the_start_fails_the_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children_other_pid_is_not_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children_killed_one_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children_one_that_does_not_end_is_killed, setup, teardown),
		cmocka_unit_test(test_spawn_run_collects_and_names_the_failure),
		cmocka_unit_test(test_spawn_keeps_secrets_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
