/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Supervision. All is well: child_start forks → a 20 ms timer looks for the ready file → UP → nothing until child_stop
 * → SIGCHLD → ENDED. A child that ends by itself goes to DOWN and is started again after its backoff, for ever: an api
 * that lost its database or its port for a minute must come back by itself. Only during a wait for all to be up is an
 * end a failure: then a person is looking, and a wrong setting should be said, not retried.
 *
 * State changes in set_state alone, which also tells the owner and completes the wait. A ready file counts only when it
 * names the process that was started: one of an earlier process never does.
 */
#include "cli/up_children.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

#define POLL_MS       20
#define READY_MAX     65536
#define KILL_AGAIN_MS 10000
#define STALE_TERM_MS 5000
#define STALE_KILL_MS 2000

uint64_t backoff_after(struct backoff *b, uint64_t alive_ms)
{
	if (alive_ms >= BACKOFF_RESET_MS || b->next_ms == 0)
		b->next_ms = BACKOFF_FIRST_MS;
	uint64_t wait = b->next_ms;
	b->next_ms = MIN(wait * 2, (uint64_t)BACKOFF_LAST_MS);
	return wait;
}

static struct child *child_of(struct link *k)
{
	return container_of(k, struct child, link);
}

static bool is_running(const struct child *c)
{
	return c->state == CHILD_STARTING || c->state == CHILD_UP || c->state == CHILD_STOPPING;
}

/* Completes the wait when what it waits for has come. The last thing that a caller does. */
static void check_wait(struct children *g)
{
	if (!g->wait.active)
		return;
	LIST_EACH(&g->list, k)
	{
		const struct child *c = child_of(k);
		if (g->wait_up ? c->state != CHILD_UP && c->state != CHILD_ENDED : c->state == CHILD_STOPPING)
			return;
	}
	timer_stop(&g->limit);
	op_done(&g->wait, 0);
}

static void fail_wait(struct children *g, int rc)
{
	timer_stop(&g->limit);
	op_done(&g->wait, rc);
}

static void set_state(struct child *c, enum child_state state)
{
	c->state = state;
	if (state == CHILD_STARTING && !timer_is_armed(&c->group->poll))
		timer_start(&c->group->poll, POLL_MS);
	if (state != CHILD_UP && state != CHILD_STOPPING) {
		free(c->url);
		c->url = NULL;
	}
	if (c->group->on_change)
		c->group->on_change(c->group, c);
}

/* --- readiness --- */

static bool read_ready_file(struct child *c)
{
	struct arena a;
	struct str text;
	bool ready = false;
	arena_init(&a, READY_MAX);
	if (file_read(c->ready_file, READY_MAX, &a, &text, NULL) >= 0) {
		_cleanup_(json_drop) json_t *v = json_parse(text, NULL);
		ready = v && json_i64(v, "pid", -1) == c->pid;
		struct str url = json_str(v, "url");
		if (ready && url.n) {
			free(c->url);
			c->url = strndup(url.p, url.n);
		}
	}
	arena_done(&a);
	return ready;
}

static bool is_ready(struct child *c)
{
	if (c->once)
		return true;
	return c->is_ready ? c->is_ready(c) : read_ready_file(c);
}

static void on_poll(struct timer *t)
{
	struct children *g = container_of(t, struct children, poll);
	bool more = false;
	LIST_EACH(&g->list, k)
	{
		struct child *c = child_of(k);
		if (c->state != CHILD_STARTING)
			continue;
		if (!is_ready(c)) {
			more = true;
			continue;
		}
		log_event(LOG_INFO, "child_up", c->starts > 1 ? "serving again" : "serving", LOG_Z("child", c->name),
		          LOG_I64("child_pid", c->pid), LOG_I64("after_ms", loop_now_ms(g->loop) - c->started_ms),
		          LOG_END);
		set_state(c, CHILD_UP);
	}
	if (more && !timer_is_armed(t))
		timer_start(t, POLL_MS);
	check_wait(g);
}

/* --- start, end, start again --- */

static void on_restart(struct timer *t);

static void start_later(struct child *c, uint64_t alive_ms)
{
	uint64_t wait = backoff_after(&c->backoff, alive_ms);
	log_event(LOG_WARN, "child_restart", "starting it again", LOG_Z("child", c->name), LOG_I64("in_ms", wait),
	          LOG_END);
	timer_start(&c->restart, wait);
}

static void run(struct child *c)
{
	struct err err = { 0 };
	if (c->ready_file)
		unlink(c->ready_file);
	c->started_ms = loop_now_ms(c->group->loop);
	c->starts++;
	int pid = spawn_start(&c->spawn, &err);
	if (pid < 0) {
		log_event(LOG_ERROR, "child_start_failed", err.text, LOG_Z("child", c->name), LOG_END);
		set_state(c, CHILD_DOWN);
		start_later(c, 0);
		return;
	}
	c->pid = pid;
	set_state(c, CHILD_STARTING);
}

static void on_restart(struct timer *t)
{
	run(container_of(t, struct child, restart));
}

/* Ends one that is stopping: a process that hangs, or is stopped itself, may not keep `up` from its end. */
static void force(struct child *c)
{
	int signum = c->forced ? SIGKILL : c->force_signal;
	c->forced = true;
	log_event(LOG_WARN, "child_force", "stopping it at once", LOG_Z("child", c->name), LOG_I64("signal", signum),
	          LOG_END);
	/* With its whole group when it is killed: what it started may not stay. */
	kill(signum == SIGKILL ? -c->pid : c->pid, signum);
	timer_stop(&c->kill);
	if (signum != SIGKILL)
		timer_start(&c->kill, KILL_AGAIN_MS);
}

static void on_kill(struct timer *t)
{
	struct child *c = container_of(t, struct child, kill);
	if (c->pid > 0)
		force(c);
}

void child_start(struct children *g, struct child *c)
{
	assert(!link_is_linked(&c->link));
	c->group = g;
	list_push(&g->list, &c->link);
	timer_init(&c->restart, g->loop, on_restart);
	timer_init(&c->kill, g->loop, on_kill);
	run(c);
}

bool child_was_started(const struct child *c)
{
	return link_is_linked(&c->link);
}

static void log_end(const struct child *c, uint64_t alive_ms)
{
	int status = c->status;
	bool asked = c->state == CHILD_STOPPING || c->once;
	if (WIFSIGNALED(status))
		log_event(asked ? LOG_INFO : LOG_ERROR, "child_ended", strsignal(WTERMSIG(status)),
		          LOG_Z("child", c->name), LOG_I64("child_pid", c->pid), LOG_I64("signal", WTERMSIG(status)),
		          LOG_I64("alive_ms", alive_ms), LOG_END);
	else
		log_event(asked ? LOG_INFO : LOG_ERROR, "child_ended", "exited", LOG_Z("child", c->name),
		          LOG_I64("child_pid", c->pid), LOG_I64("status", WEXITSTATUS(status)),
		          LOG_I64("alive_ms", alive_ms), LOG_END);
}

static void on_end(struct child *c)
{
	struct children *g = c->group;
	uint64_t alive_ms = loop_now_ms(g->loop) - c->started_ms;
	bool was_starting = c->state == CHILD_STARTING;
	log_end(c, alive_ms);
	timer_stop(&c->kill);
	c->pid = 0;
	if (c->ready_file)
		unlink(c->ready_file);
	if (c->state == CHILD_STOPPING || c->once) {
		set_state(c, CHILD_ENDED);
		return;
	}
	set_state(c, CHILD_DOWN);
	start_later(c, alive_ms);
	if (was_starting && g->wait.active && g->wait_up) {
		if (WIFSIGNALED(c->status))
			err_set(&g->err, ERR_INTERNAL, "%s ended at its start: %s", c->name,
			        strsignal(WTERMSIG(c->status)));
		else
			err_set(&g->err, ERR_INTERNAL, "%s ended at its start with status %d", c->name,
			        WEXITSTATUS(c->status));
		fail_wait(g, -ERR_INTERNAL);
	}
}

void children_reap(struct children *g)
{
	LIST_EACH(&g->list, k)
	{
		struct child *c = child_of(k);
		if (c->pid > 0 && waitpid(c->pid, &c->status, WNOHANG) == c->pid)
			on_end(c);
	}
	check_wait(g);
}

/* --- stop --- */

void child_signal(const struct child *c, int signum)
{
	if (c->pid > 0)
		kill(c->pid, signum);
}

void child_stop(struct child *c)
{
	if (!child_was_started(c) || c->state == CHILD_STOPPING || c->state == CHILD_ENDED)
		return;
	timer_stop(&c->restart);
	if (!is_running(c)) {
		set_state(c, CHILD_ENDED);
		return;
	}
	child_signal(c, c->stop_signal);
	if (c->kill_after_ms)
		timer_start(&c->kill, c->kill_after_ms);
	set_state(c, CHILD_STOPPING);
}

void children_force(struct children *g)
{
	LIST_EACH(&g->list, k)
	{
		struct child *c = child_of(k);
		if (c->state == CHILD_STOPPING && c->pid > 0)
			force(c);
	}
}

/* --- waits --- */

static void on_limit(struct timer *t)
{
	struct children *g = container_of(t, struct children, limit);
	LIST_EACH(&g->list, k)
	{
		const struct child *c = child_of(k);
		if (c->state != CHILD_UP)
			err_set(&g->err, ERR_TIMEOUT, "%s runs but does not become ready", c->name);
	}
	fail_wait(g, -ERR_TIMEOUT);
}

static void on_cancel(struct op *op)
{
	fail_wait(container_of(op, struct children, wait), -ERR_CANCELED);
}

void children_wait_up(struct children *g, struct flow *f, uint64_t limit_ms)
{
	g->wait_up = true;
	op_start(&g->wait, f, "processes to be ready", on_cancel);
	timer_start(&g->limit, limit_ms);
	check_wait(g);
}

void children_wait_ended(struct children *g, struct flow *f)
{
	g->wait_up = false;
	op_start(&g->wait, f, "processes to end", NULL);
	check_wait(g);
}

void children_init(struct children *g, struct loop *l)
{
	*g = (struct children){ .loop = l };
	list_init(&g->list);
	timer_init(&g->poll, l, on_poll);
	timer_init(&g->limit, l, on_limit);
}

void children_done(struct children *g)
{
	timer_stop(&g->poll);
	timer_stop(&g->limit);
	for (struct link *k; (k = list_pop(&g->list)) != NULL;) {
		struct child *c = child_of(k);
		assert(c->pid == 0);
		timer_stop(&c->restart);
		timer_stop(&c->kill);
		free(c->url);
		c->url = NULL;
	}
}

/* --- what a killed `up` left --- */

/* Whether this process was started with that ready file: its number may be another process's by now. */
static bool has_argument(pid_t pid, struct str argument)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	const char *path = arena_printf(&a, "/proc/%d/cmdline", (int)pid).p;
	bool found = false;
	char text[8192];
	FILE *f = fopen(path, "re");
	if (f) {
		size_t n = fread(text, 1, sizeof(text), f);
		found = str_find((struct str){ text, n }, argument) >= 0;
		fclose(f);
	}
	arena_done(&a);
	return found;
}

static void clear_stale(const char *path)
{
	struct arena a;
	struct str text;
	arena_init(&a, READY_MAX);
	if (file_read(path, READY_MAX, &a, &text, NULL) >= 0) {
		_cleanup_(json_drop) json_t *v = json_parse(text, NULL);
		pid_t pid = (pid_t)json_i64(v, "pid", 0);
		if (pid > 1 && has_argument(pid, str_from(path))) {
			kill(pid, SIGTERM);
			if (!spawn_is_gone_within(pid, STALE_TERM_MS)) {
				kill(pid, SIGKILL);
				spawn_is_gone_within(pid, STALE_KILL_MS);
			}
			log_event(LOG_WARN, "child_stale", "ended a process of an earlier run",
			          LOG_I64("child_pid", pid), LOG_END);
		}
	}
	unlink(path);
	arena_done(&a);
}

void children_clear_stale(const char *run_dir)
{
	DIR *d = opendir(run_dir);
	struct arena a;
	arena_init(&a, 1 << 20);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		if (str_has_suffix(str_from(e->d_name), STR(".ready")))
			clear_stale(arena_printf(&a, "%s/%s", run_dir, e->d_name).p);
	arena_done(&a);
	if (d)
		closedir(d);
}
