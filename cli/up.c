/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace up`: the command and its life, which is the table up_steps. What is started, how and with what is said
 * here; PostgreSQL's cluster is up_postgres.c's business, configuration and keys are up_config.c's and up_keys.c's,
 * keeping processes alive is up_children.c's.
 *
 * All is well: lock DIR → PostgreSQL → schema and keys → simulator → api and worker processes → ready file → serve,
 * until a signal or (with --once) the sample's end → sample, api and worker stop → simulator and PostgreSQL stop → what
 * is not data is removed.
 *
 * What can go wrong before it serves (no PostgreSQL, a port that is taken, a mistake in the configuration): said on the
 * terminal with the end of the log, everything that runs is stopped, exit status 1. Afterwards: a process that ends is
 * started again, for ever.
 *
 * SIGINT and SIGTERM stop, the second one at once; SIGHUP goes on to api and worker (reload). On kill -9 of `up` the
 * kernel signals every process that it started. The steps before the processes run are blocking: nothing else is to be
 * done then.
 */
#include "cli/up.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/exit.h"
#include "cli/migrate.h"
#include "cli/place.h"
#include "cli/up_children.h"
#include "cli/up_config.h"
#include "cli/up_keys.h"
#include "cli/up_options.h"
#include "cli/up_port.h"
#include "cli/up_postgres.h"
#include "cli/up_ready.h"
#include "cli/up_show.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#define POSTGRES_LIMIT_MS 120000 /* crash recovery replays up to max_wal_size */
#define START_LIMIT_MS    30000
#define AWAKE_MS          3600000
#define KILL_SLACK_MS     10000 /* above the grace that a process was given */
#define POSTGRES_STOP_MS  120000 /* its last checkpoint */

struct up {
	struct flow flow;
	struct op serve; /* waits for a signal or the sample's end */
	struct loop loop;
	struct arena arena;
	struct up_options opt;
	struct up_postgres pg;
	struct up_config config;
	struct up_graces graces;
	struct up_keys keys;
	struct children children;
	struct child postgres, simulator, sample;
	struct child *apis, *workers;
	const char *dir, *run_dir, *ready_path, *listen, *simulator_url, *url, *pg_log;
	struct up_show show;
	int lock_fd, pg_log_fd;
	uint64_t started_ns;
	struct soon finish;
	struct timer awake; /* signals alone do not keep the loop running */
	bool serving;
	int signals, exit_status;
	struct err err;
};

enum up_step { UP_POSTGRES, UP_SCHEMA, UP_SIMULATOR, UP_SERVERS, UP_SERVE, UP_STOP_SERVERS, UP_STOP_REST };

static struct up *up_of(struct flow *f)
{
	return container_of(f, struct up, flow);
}

/* --- the ready file --- */

static void publish(struct up *u)
{
	pid_t apis[UP_PROCESSES_MAX], workers[UP_PROCESSES_MAX];
	for (int64_t i = 0; i < u->opt.apis; i++)
		apis[i] = u->apis[i].pid;
	for (int64_t i = 0; i < u->opt.workers; i++)
		workers[i] = u->workers[i].pid;
	const struct up_ready r = {
		.url = u->url,
		.api_key = u->keys.api,
		.admin_key = u->keys.admin,
		.database_url = u->pg.url,
		.simulator_url = u->simulator_url,
		.api = apis,
		.worker = workers,
		.napi = (size_t)u->opt.apis,
		.nworker = (size_t)u->opt.workers,
		.postgres = u->postgres.pid,
		.simulator = u->simulator.pid,
	};
	struct err err = { 0 };
	struct buf b;
	buf_init(&b, 1 << 16);
	int rc = up_ready_write(&b, &r);
	if (rc >= 0)
		rc = file_write(u->ready_path, 0600, buf_str(&b), &err);
	if (rc < 0)
		log_event(LOG_ERROR, "ready_file", err.text, LOG_END);
	buf_done(&b);
}

/* --- events --- */

static void on_finish(struct soon *s)
{
	struct up *u = container_of(s, struct up, finish);
	if (u->serve.active)
		op_done(&u->serve, 0);
}

static void on_sample_end(struct up *u)
{
	bool good = WIFEXITED(u->sample.status) && WEXITSTATUS(u->sample.status) == 0;
	if (u->opt.once) {
		u->exit_status = good ? CLI_EXIT_OK : CLI_EXIT_FAILED;
		loop_soon(&u->loop, &u->finish);
	} else {
		up_show_usage(&u->show, u->url, u->keys.api, u->ready_path);
	}
}

static void on_child_change(struct children *g, struct child *c)
{
	struct up *u = g->user;
	if (!u->serving)
		return;
	if (c == &u->sample && c->state == CHILD_ENDED)
		on_sample_end(u);
	else if (c != &u->sample && c->state == CHILD_UP)
		publish(u);
}

static void each_server(struct up *u, void (*fn)(struct child *c))
{
	fn(&u->sample);
	for (int64_t i = 0; i < u->opt.apis; i++)
		fn(&u->apis[i]);
	for (int64_t i = 0; i < u->opt.workers; i++)
		fn(&u->workers[i]);
}

/* The time that each process gets to end: its grace, and some more. */
static void set_kill_times(struct up *u)
{
	for (int64_t i = 0; i < u->opt.apis; i++)
		u->apis[i].kill_after_ms = (uint64_t)u->graces.server_ms + KILL_SLACK_MS;
	for (int64_t i = 0; i < u->opt.workers; i++)
		u->workers[i].kill_after_ms = (uint64_t)u->graces.worker_ms + KILL_SLACK_MS;
}

static void send_hup(struct child *c)
{
	if (child_was_started(c) && !c->once)
		child_signal(c, SIGHUP);
}

static void reload(struct up *u)
{
	struct arena a;
	arena_init(&a, 64 << 20);
	/* A file with mistakes changes nothing; api and worker name them. */
	if (u->serving && up_config_read(&u->config, &a, &u->graces, NULL, NULL) >= 0)
		set_kill_times(u);
	arena_done(&a);
	each_server(u, send_hup);
}

static void on_signal(void *arg, int signum)
{
	struct up *u = arg;
	if (signum == SIGCHLD) {
		children_reap(&u->children);
		return;
	}
	if (signum == SIGHUP) {
		reload(u);
		return;
	}
	u->signals++;
	log_event(LOG_INFO, "signal", u->signals == 1 ? "stopping" : "stopping at once", LOG_I64("signal", signum),
	          LOG_END);
	if (u->flow.at < UP_STOP_SERVERS)
		flow_cancel(&u->flow, -ERR_CANCELED);
	else if (u->signals > 1)
		children_force(&u->children);
}

static void on_awake(struct timer *t)
{
	timer_start(t, AWAKE_MS);
}

/* --- the processes --- */

static struct child make_child(const struct up *u, const char *name, const char *ready_file, const char *const *argv)
{
	return (struct child){
		.name = name,
		.ready_file = ready_file,
		.spawn = { .path = "/proc/self/exe", .argv = argv, .death_signal = SIGTERM },
		.stop_signal = SIGTERM,
		.force_signal = SIGKILL,
		.kill_after_ms = KILL_SLACK_MS,
		.once = !ready_file,
		.user = u->children.user,
	};
}

static const char **make_argv(struct up *u, const char *a, const char *b, const char *c, const char *d, const char *e)
{
	const char **argv = arena_array(&u->arena, const char *, 7);
	const char *const all[] = { "millrace", a, b, c, d, e, NULL };
	memcpy(argv, all, sizeof(all));
	return argv;
}

static struct child *make_servers(struct up *u, const char *command, int64_t n)
{
	struct child *made = arena_array(&u->arena, struct child, (size_t)n);
	for (int64_t i = 0; i < n; i++) {
		const char *ready = arena_printf(&u->arena, "%s/%s-%d.ready", u->run_dir, command, (int)i).p;
		made[i] = make_child(u, arena_printf(&u->arena, "%s-%d", command, (int)i).p, ready,
		                     make_argv(u, command, "--config", u->config.path, "--ready-file", ready));
	}
	return made;
}

static bool postgres_is_ready(const struct child *c)
{
	const struct up *u = c->user;
	return up_postgres_is_ready(&u->pg, c->pid);
}

static void make_postgres(struct up *u)
{
	u->postgres = make_child(u, "postgres", NULL, u->pg.argv);
	u->postgres.once = false;
	u->postgres.is_ready = postgres_is_ready;
	u->postgres.spawn = (struct spawn){ .argv = u->pg.argv,
		                            .user = &u->pg.user,
		                            .death_signal = SIGINT,
		                            .no_secrets = true,
		                            .output_fd = u->pg_log_fd };
	u->postgres.kill_after_ms = POSTGRES_STOP_MS;
	u->postgres.stop_signal = SIGINT; /* the fast shutdown; SIGQUIT leaves the rest to the next start's recovery */
	u->postgres.force_signal = SIGQUIT;
}

/* --- the steps --- */

/* A start-up step failed, or a signal came during it. */
static enum flow_next give_up(struct up *u, int rc)
{
	if (rc != -ERR_CANCELED) {
		up_show_failure(&u->show, u->err.text);
		u->exit_status = CLI_EXIT_FAILED;
	}
	return flow_jump(&u->flow, UP_STOP_SERVERS);
}

/* A wait for processes to be ready failed. */
static enum flow_next children_failed(struct up *u, int rc)
{
	u->err = u->children.err;
	return give_up(u, rc);
}

static enum flow_next start_postgres(struct flow *f)
{
	struct up *u = up_of(f);
	up_show_begin(&u->show, "PostgreSQL");
	u->pg_log = arena_printf(&u->arena, "%s/postgres.log", u->dir).p;
	int rc = u->pg_log_fd = up_show_append(u->pg_log, &u->err);
	if (rc >= 0)
		rc = up_postgres_prepare(&u->pg, &u->arena, u->dir, &u->err);
	if (rc < 0)
		return give_up(u, rc);
	make_postgres(u);
	child_start(&u->children, &u->postgres);
	children_wait_up(&u->children, f, POSTGRES_LIMIT_MS);
	return FLOW_WAIT;
}

static enum flow_next postgres_up(struct flow *f, int rc)
{
	struct up *u = up_of(f);
	if (rc < 0) {
		if (rc != -ERR_CANCELED)
			up_show_tail(&u->show, u->pg_log);
		return children_failed(u, rc);
	}
	up_show_step(&u->show, "PostgreSQL", u->pg.is_new ? "a new cluster in %s/pg" : "the cluster in %s/pg", u->dir);
	return FLOW_NEXT;
}

static enum flow_next bring_schema(struct flow *f)
{
	struct up *u = up_of(f);
	up_show_begin(&u->show, "schema");
	int applied = 0;
	int rc = up_postgres_make_database(&u->pg, &u->err);
	if (rc >= 0)
		rc = migrate_run(u->pg.url, &applied, &u->err);
	if (rc >= 0)
		rc = up_keys_prepare(u->dir, u->pg.url, &u->arena, &u->keys, &u->err);
	if (rc < 0)
		return give_up(u, rc);
	up_show_step(&u->show, "schema", "migration %d%s", migrate_latest(), applied ? " (just applied)" : "");
	return FLOW_NEXT;
}

static enum flow_next start_simulator(struct flow *f)
{
	struct up *u = up_of(f);
	const char *address;
	int rc = up_config_prepare(u->dir, u->opt.config, u->opt.simulator, &u->arena, &u->config, &u->err);
	if (rc >= 0 && u->config.simulator)
		rc = up_port_choose("127.0.0.1:0", false, &u->arena, &address, &u->err);
	if (rc < 0)
		return give_up(u, rc);
	if (!u->config.simulator)
		return FLOW_NEXT;
	up_show_begin(&u->show, "simulator");
	const char *ready = arena_printf(&u->arena, "%s/simulator.ready", u->run_dir).p;
	u->simulator_url = arena_printf(&u->arena, "http://%s", address).p;
	setenv("MILLRACE_SIMULATOR_URL", u->simulator_url, 1);
	u->simulator =
	    make_child(u, "simulator", ready, make_argv(u, "simulator", "--listen", address, "--ready-file", ready));
	child_start(&u->children, &u->simulator);
	children_wait_up(&u->children, f, START_LIMIT_MS);
	return FLOW_WAIT;
}

static enum flow_next simulator_up(struct flow *f, int rc)
{
	struct up *u = up_of(f);
	if (rc < 0)
		return children_failed(u, rc);
	up_show_step(&u->show, "simulator", "%s", u->simulator_url);
	return FLOW_NEXT;
}

static enum flow_next start_servers(struct flow *f)
{
	struct up *u = up_of(f);
	up_show_begin(&u->show, "api and worker");
	const char *wanted = u->opt.listen ? u->opt.listen : "127.0.0.1:8080";
	int rc = up_port_choose(wanted, !u->opt.listen, &u->arena, &u->listen, &u->err);
	if (rc < 0)
		return give_up(u, rc);
	setenv("MILLRACE_DATABASE_URL", u->pg.url, 1);
	setenv("MILLRACE_CONFIG", u->config.path, 1);
	setenv("MILLRACE_SERVER_LISTEN", u->listen, 1);
	struct conf_mistake *mistakes;
	size_t n;
	rc = up_config_read(&u->config, &u->arena, &u->graces, &mistakes, &n);
	if (rc < 0) {
		up_show_mistakes(&u->show, mistakes, n);
		err_set(&u->err, ERR_CONFIG, "%s: %zu mistake%s", u->config.path, n, n == 1 ? "" : "s");
		return give_up(u, rc);
	}
	u->apis = make_servers(u, "api", u->opt.apis);
	u->workers = make_servers(u, "worker", u->opt.workers);
	set_kill_times(u);
	for (int64_t i = 0; i < u->opt.apis; i++)
		child_start(&u->children, &u->apis[i]);
	for (int64_t i = 0; i < u->opt.workers; i++)
		child_start(&u->children, &u->workers[i]);
	children_wait_up(&u->children, f, START_LIMIT_MS);
	return FLOW_WAIT;
}

static enum flow_next servers_up(struct flow *f, int rc)
{
	struct up *u = up_of(f);
	if (rc < 0)
		return children_failed(u, rc);
	u->url = arena_strz(&u->arena, str_from(u->apis[0].url));
	up_show_step(&u->show, "api", "%s%s", u->url, u->opt.apis > 1 ? ", several processes" : "");
	up_show_step(&u->show, "worker", "asks %s", u->config.provider);
	return FLOW_NEXT;
}

static void cancel_serve(struct op *op)
{
	op_done(op, -ERR_CANCELED);
}

static enum flow_next serve(struct flow *f)
{
	struct up *u = up_of(f);
	publish(u);
	u->serving = true;
	log_event(LOG_INFO, "ready", "everything runs", LOG_Z("url", u->url),
	          LOG_I64("after_ms", (clock_mono_ns() - u->started_ns) / 1000000), LOG_END);
	op_start(&u->serve, f, "a signal", cancel_serve);
	if (u->opt.sample) {
		u->sample =
		    make_child(u, "sample", NULL, make_argv(u, "sample", "--ready-file", u->ready_path, NULL, NULL));
		u->sample.spawn.on_terminal = true;
		child_start(&u->children, &u->sample);
	} else {
		up_show_usage(&u->show, u->url, u->keys.api, u->ready_path);
		if (u->opt.once)
			loop_soon(&u->loop, &u->finish);
	}
	return FLOW_WAIT;
}

static enum flow_next served(struct flow *f, int rc)
{
	struct up *u = up_of(f);
	(void)rc; /* a signal or the sample: either way the end */
	u->serving = false;
	if (u->show.term.tty)
		fprintf(u->show.term.out, "\r  stopping\n"); /* over the terminal's ^C */
	return FLOW_NEXT;
}

static enum flow_next stop_servers(struct flow *f)
{
	struct up *u = up_of(f);
	unlink(u->ready_path);
	if (u->apis && u->workers)
		each_server(u, child_stop);
	children_wait_ended(&u->children, f);
	return FLOW_WAIT;
}

static enum flow_next stop_rest(struct flow *f)
{
	struct up *u = up_of(f);
	child_stop(&u->simulator);
	child_stop(&u->postgres);
	children_wait_ended(&u->children, f);
	return FLOW_WAIT;
}

static const struct flow_step up_steps[] = {
	[UP_POSTGRES] = { "postgres", start_postgres, postgres_up },
	[UP_SCHEMA] = { "schema", bring_schema, NULL }, /* and the keys */
	[UP_SIMULATOR] = { "simulator", start_simulator, simulator_up },
	[UP_SERVERS] = { "servers", start_servers, servers_up },
	[UP_SERVE] = { "serve", serve, served },                    /* where it spends its life */
	[UP_STOP_SERVERS] = { "stop_servers", stop_servers, NULL }, /* all failures and signals come here */
	[UP_STOP_REST] = { "stop_rest", stop_rest, NULL },
	[UP_STOP_REST + 1] = { NULL, NULL, NULL },
};

static void on_over(struct flow *f, int result)
{
	(void)result;
	timer_stop(&up_of(f)->awake);
	loop_stop(&up_of(f)->loop);
}

/* --- the command --- */

/* Makes and locks DIR; everything below is ours alone then. */
static int take_dir(struct up *u)
{
	if (mkdir(u->opt.dir, 0755) < 0 && errno != EEXIST)
		return err_set(&u->err, ERR_IO, "%s: %s", u->opt.dir, strerror(errno));
	char *real = realpath(u->opt.dir, NULL);
	if (!real)
		return err_set(&u->err, ERR_IO, "%s: %s", u->opt.dir, strerror(errno));
	u->dir = arena_strz(&u->arena, str_from(real));
	free(real);
	const char *lock = arena_printf(&u->arena, "%s/lock", u->dir).p;
	u->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (u->lock_fd < 0)
		return err_set(&u->err, ERR_IO, "%s: %s", lock, strerror(errno));
	if (flock(u->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(&u->err, ERR_CONFLICT, "another `millrace up` runs in %s (its address: %s/ready.json)",
		               u->dir, u->dir);
	u->run_dir = arena_printf(&u->arena, "%s/run", u->dir).p;
	if (mkdir(u->run_dir, 0700) < 0 && errno != EEXIST)
		return err_set(&u->err, ERR_IO, "%s: %s", u->run_dir, strerror(errno));
	u->ready_path = u->opt.ready_file ? u->opt.ready_file : arena_printf(&u->arena, "%s/ready.json", u->dir).p;
	unlink(u->ready_path);
	return 0;
}

static int run(struct up *u)
{
	static const int signals[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
	int rc = 0;
	signal(SIGPIPE, SIG_IGN);
	children_clear_stale(u->run_dir);
	loop_init(&u->loop);
	children_init(&u->children, &u->loop);
	u->children.user = u;
	u->children.on_change = on_child_change;
	u->finish.fn = on_finish;
	timer_init(&u->awake, &u->loop, on_awake);
	for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(signals); i++)
		rc = loop_on_signal(&u->loop, signals[i], on_signal, u);
	if (rc >= 0) {
		timer_start(&u->awake, AWAKE_MS);
		flow_start(&u->flow, "up", up_steps, on_over);
		loop_run(&u->loop);
	} else {
		err_set(&u->err, ERR_INTERNAL, "signals cannot be handled");
		up_show_failure(&u->show, u->err.text);
		u->exit_status = CLI_EXIT_FAILED;
	}
	children_done(&u->children);
	if (u->pg_log_fd > 0)
		close(u->pg_log_fd);
	up_postgres_done(&u->pg);
	loop_done(&u->loop);
	return u->exit_status;
}

int up_main(int argc, char **argv)
{
	struct up u = { .opt = { .dir = PLACE_DIR, .apis = 1, .workers = 1 }, .lock_fd = -1, .pg = { .lock_fd = -1 } };
	int rc;
	if (!up_options_parse(&u.opt, argc, argv, &rc))
		return rc;
	umask(022);
	arena_init(&u.arena, 64 << 20);
	up_show_init(&u.show);
	u.started_ns = clock_mono_ns();
	rc = take_dir(&u);
	if (rc >= 0 && !u.opt.log_file && (u.show.term.tty || u.opt.sample))
		u.opt.log_file = arena_printf(&u.arena, "%s/millrace.log", u.dir).p;
	if (rc >= 0)
		rc = up_show_open_log(&u.show, u.opt.log_file, &u.err);
	if (rc >= 0) {
		log_init(LOG_INFO, LOG_JSON, "up");
		rc = run(&u);
	} else {
		up_show_failure(&u.show, u.err.text);
		rc = CLI_EXIT_FAILED;
	}
	up_show_done(&u.show);
	if (u.lock_fd >= 0)
		close(u.lock_fd);
	arena_done(&u.arena);
	return rc;
}
