/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: folder → cluster → PostgreSQL → schema, key (in a database that is the pattern of the others) → simulator; then for each
 * scenario a copy of that database, an api and the workers; at the end everything is ended, newest first, and the folder removed.
 *
 * Signals to stop are blocked and looked for between the steps, which are short, so that no moment is without its clean-up. The processes
 * have groups of their own and do not see the terminal's Ctrl-C; on kill -9 of the drill the kernel ends them (only the folder stays then).
 *
 * What can go wrong: no PostgreSQL is installed, a process ends at its start or does not become ready: -ERR_INTERNAL or -ERR_TIMEOUT with
 * the last line that it logged.
 */
#include "cli/drill_fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/migrate.h"
#include "cli/up_port.h"
#include "common/clock.h"
#include "common/db/db_sync.h"
#include "common/file.h"

#define POLL_MS      10
#define START_MS     30000
#define STOP_MS      8000
#define POSTGRES_MS  20000
#define LOG_TAIL     4096

/* --- signals --- */

static void stop_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

/* A signal to stop has come (SIGINT, SIGTERM, SIGHUP, which drill_fleet_open blocks). Stays true. */
static bool is_interrupted(struct drill_fleet *f)
{
	static const struct timespec now = { 0 };
	sigset_t set;
	stop_signals(&set);
	while (sigtimedwait(&set, NULL, &now) > 0)
		f->interrupted = true;
	return f->interrupted;
}

int drill_fleet_sleep(struct drill_fleet *f, int64_t ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)MAX(ms, (int64_t)0);
	for (;;) {
		if (is_interrupted(f))
			return -ERR_CANCELED;
		uint64_t now = clock_mono_ms();
		if (now >= end)
			return 0;
		usleep((useconds_t)MIN(end - now, (uint64_t)POLL_MS) * 1000);
	}
}

/* --- one process --- */

static bool has_ended(struct drill_process *p)
{
	int status;
	if (p->pid > 0 && waitpid(p->pid, &status, WNOHANG) == p->pid)
		p->pid = 0;
	return p->pid == 0;
}

static void start_process(struct drill_process *p, const struct drill_fleet *f, const struct spawn_user *user, struct err *err)
{
	const struct spawn s = { .path = user ? NULL : "/proc/self/exe",
		                 .argv = p->argv,
		                 .user = user,
		                 .death_signal = user ? SIGQUIT : SIGKILL,
		                 .no_secrets = user != NULL,
		                 .output_fd = f->log_fd };
	if (p->ready_file)
		unlink(p->ready_file);
	int pid = spawn_start(&s, err);
	p->pid = pid > 0 ? pid : 0;
	p->frozen = false;
}

static void signal_process(struct drill_process *p, int signum)
{
	if (p->pid <= 0)
		return;
	if (p->frozen && signum != SIGKILL)
		kill(p->pid, SIGCONT);
	kill(p->pid, signum);
}

/* After its signal; SIGKILL when that is not enough. */
static void wait_end(struct drill_process *p, int64_t limit_ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)limit_ms;
	while (!has_ended(p)) {
		if (clock_mono_ms() >= end) {
			kill(-p->pid, SIGKILL);
			end = UINT64_MAX;
		}
		usleep(POLL_MS * 1000);
	}
}

static bool is_ready(struct drill_fleet *f, struct drill_process *p)
{
	struct arena a;
	struct str text;
	if (!p->ready_file)
		return up_postgres_is_ready(&f->pg, p->pid);
	bool ready = false;
	arena_init(&a, 65536);
	if (file_read(p->ready_file, 65536, &a, &text, NULL) >= 0) {
		_cleanup_(json_drop) json_t *v = json_parse(text, NULL);
		struct str url = json_str(v, "url");
		ready = v && json_i64(v, "pid", -1) == p->pid;
		url.n = MIN(url.n, sizeof(p->url) - 1);
		if (url.n)
			memcpy(p->url, url.p, url.n);
		p->url[url.n] = 0;
	}
	arena_done(&a);
	return ready;
}

/* The last line of the log is mostly the reason. */
static struct str last_words(const struct drill_fleet *f, char *room)
{
	struct str text = { room, 0 }, line, last = STR("");
	int fd = open(f->log, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	ssize_t n = fd >= 0 ? pread(fd, room, LOG_TAIL, MAX(size - LOG_TAIL, (off_t)0)) : 0;
	if (fd >= 0)
		close(fd);
	text.n = n > 0 ? (size_t)n : 0;
	while (str_split(&text, '\n', &line))
		last = str_trim(line).n ? str_trim(line) : last;
	return str_utf8_prefix(last, 160);
}

static int wait_ready(struct drill_fleet *f, struct drill_process *p, struct err *err)
{
	char room[LOG_TAIL];
	uint64_t end = clock_mono_ms() + START_MS;
	while (!is_ready(f, p)) {
		if (has_ended(p))
			return err_set(err, ERR_INTERNAL, "%s ended at its start: " STR_FMT, p->name, STR_ARG(last_words(f, room)));
		if (clock_mono_ms() >= end)
			return err_set(err, ERR_TIMEOUT, "%s runs but does not become ready: " STR_FMT, p->name, STR_ARG(last_words(f, room)));
		int rc = drill_fleet_sleep(f, POLL_MS);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void make_process(struct drill_fleet *f, struct drill_process *p, const char *name, const char *command, const char *option, const char *value)
{
	const char *ready = arena_printf(f->arena, "%s/%s.ready", f->dir, name).p;
	const char *const all[] = { "millrace", command, option, value, "--ready-file", ready, NULL };
	const char **argv = arena_array(f->arena, const char *, ARRAY_LEN(all));
	memcpy(argv, all, sizeof(all));
	*p = (struct drill_process){ .name = name, .ready_file = ready, .argv = argv };
}

/* --- the base --- */

int drill_fleet_open(struct drill_fleet *f, struct arena *a, const char *log_file, struct err *err)
{
	sigset_t set;
	*f = (struct drill_fleet){ .arena = a, .log_fd = -1, .pg = { .lock_fd = -1 } };
	stop_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	const char *tmp = getenv("TMPDIR");
	char *made = arena_strz(a, arena_printf(a, "%s/millrace-drill-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp"));
	/* PostgreSQL's user must be able to pass through it. */
	if (!mkdtemp(made) || chmod(made, 0711) < 0)
		return err_set(err, ERR_IO, "%s: %s", made, strerror(errno));
	f->dir = made;
	f->log = log_file ? log_file : arena_printf(a, "%s/log", f->dir).p;
	f->log_fd = open(f->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (f->log_fd < 0)
		return err_set(err, ERR_IO, "%s: %s", f->log, strerror(errno));
	int rc = up_port_choose("127.0.0.1:0", false, a, &f->simulator_listen, err);
	if (rc >= 0)
		f->simulator_url = arena_printf(a, "http://%s", f->simulator_listen).p;
	return rc;
}

static int start_postgres(struct drill_fleet *f, struct err *err)
{
	int applied, rc = up_postgres_prepare(&f->pg, f->arena, f->dir, err);
	if (rc < 0)
		return rc;
	f->postgres = (struct drill_process){ .name = "PostgreSQL", .argv = f->pg.argv };
	start_process(&f->postgres, f, &f->pg.user, err);
	rc = wait_ready(f, &f->postgres, err);
	if (rc >= 0)
		rc = up_postgres_make_database(&f->pg, err);
	if (rc >= 0)
		rc = migrate_run(f->pg.url, &applied, err);
	return rc < 0 ? rc : up_keys_prepare(f->dir, f->pg.url, f->arena, &f->keys, err);
}

int drill_fleet_start_base(struct drill_fleet *f, struct err *err)
{
	int rc = start_postgres(f, err);
	if (rc < 0)
		return rc;
	make_process(f, &f->simulator, "simulator", "simulator", "--listen", f->simulator_listen);
	start_process(&f->simulator, f, NULL, err);
	return wait_ready(f, &f->simulator, err);
}

static const char *database_url(const struct drill_fleet *f, const char *database)
{
	struct buf b;
	buf_init(&b, 16384);
	up_postgres_url(&b, f->pg.password, f->pg.sockets, f->pg.port, database);
	const char *url = arena_strz(f->arena, buf_str(&b));
	buf_done(&b);
	return url;
}

/* --- a scenario's servers --- */

static int make_database(struct drill_fleet *f, const char *name, struct err *err)
{
	struct db_sync *s = NULL;
	const char *sql = arena_printf(f->arena, "CREATE DATABASE \"drill_%s\" TEMPLATE millrace", name).p;
	int rc = db_sync_open(database_url(f, "postgres"), "millrace drill", 10, &s, err);
	if (rc < 0)
		return rc;
	rc = db_sync_query(s, sql, 0, NULL, err);
	db_sync_close(s);
	f->database = database_url(f, arena_printf(f->arena, "drill_%s", name).p);
	return rc;
}

static int write_config(const struct drill_fleet *f, json_t *file, const char *path, struct err *err)
{
	struct buf b;
	json_set_str(json_object_get(file, "database"), "url", str_from(f->database));
	buf_init(&b, 64u << 20);
	int rc = json_write(&b, file);
	if (rc >= 0)
		rc = file_write(path, 0600, buf_str(&b), err);
	buf_done(&b);
	return rc;
}

int drill_fleet_start(struct drill_fleet *f, const char *name, json_t *file, struct err *err)
{
	static const char *const names[DRILL_WORKERS] = { "worker-0", "worker-1", "worker-2" };
	const char *config = arena_printf(f->arena, "%s/config.json", f->dir).p;
	int rc = make_database(f, name, err);
	if (rc >= 0)
		rc = write_config(f, file, config, err);
	if (rc < 0)
		return rc;
	make_process(f, &f->api, "api", "api", "--config", config);
	start_process(&f->api, f, NULL, err);
	for (size_t i = 0; i < DRILL_WORKERS; i++) {
		make_process(f, &f->workers[i], names[i], "worker", "--config", config);
		start_process(&f->workers[i], f, NULL, err);
	}
	rc = wait_ready(f, &f->api, err);
	for (size_t i = 0; rc >= 0 && i < DRILL_WORKERS; i++)
		rc = wait_ready(f, &f->workers[i], err);
	return rc;
}

void drill_fleet_stop(struct drill_fleet *f)
{
	signal_process(&f->api, SIGTERM);
	for (size_t i = 0; i < DRILL_WORKERS; i++)
		signal_process(&f->workers[i], SIGTERM);
	wait_end(&f->api, STOP_MS);
	for (size_t i = 0; i < DRILL_WORKERS; i++)
		wait_end(&f->workers[i], STOP_MS);
}

/* --- what happens to the fleet --- */

void drill_fleet_kill_worker(struct drill_fleet *f, size_t i)
{
	signal_process(&f->workers[i], SIGKILL);
	wait_end(&f->workers[i], STOP_MS);
}

void drill_fleet_freeze_worker(struct drill_fleet *f, size_t i)
{
	signal_process(&f->workers[i], SIGSTOP);
	f->workers[i].frozen = true;
}

int drill_fleet_mend(struct drill_fleet *f, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; rc >= 0 && i < DRILL_WORKERS; i++) {
		struct drill_process *p = &f->workers[i];
		if (p->frozen)
			signal_process(p, SIGCONT);
		p->frozen = false;
		if (!has_ended(p))
			continue;
		start_process(p, f, NULL, err);
		rc = wait_ready(f, p, err);
	}
	return rc;
}

const char *drill_fleet_ended(struct drill_fleet *f)
{
	struct drill_process *const all[] = { &f->postgres, &f->simulator, &f->api, &f->workers[0], &f->workers[1], &f->workers[2] };
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i]->pid > 0 && has_ended(all[i]))
			return all[i]->name;
	return NULL;
}

/* --- the end --- */

static void remove_tree(const char *path)
{
	struct buf output;
	const char *const argv[] = { "/bin/rm", "-rf", "--", path, NULL };
	const struct spawn s = { .argv = argv, .death_signal = 0 };
	buf_init(&output, 65536);
	(void)spawn_run(&s, &output, NULL);
	buf_done(&output);
}

void drill_fleet_close(struct drill_fleet *f)
{
	drill_fleet_stop(f);
	signal_process(&f->simulator, SIGTERM);
	wait_end(&f->simulator, STOP_MS);
	/* Nothing of it is kept, so nothing need be written for the next start. */
	signal_process(&f->postgres, SIGQUIT);
	wait_end(&f->postgres, POSTGRES_MS);
	up_postgres_done(&f->pg);
	if (f->log_fd >= 0)
		close(f->log_fd);
	f->log_fd = -1;
	/* Where PostgreSQL's user cannot reach the folder, the data is elsewhere. */
	if (f->dir && f->pg.data && !str_has_prefix(str_from(f->pg.data), str_from(f->dir)) && f->pg.is_new)
		remove_tree(f->pg.data);
	if (f->dir)
		remove_tree(f->dir);
	f->dir = NULL;
}
