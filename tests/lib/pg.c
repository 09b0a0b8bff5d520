/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initdb once per test program, `postgres` as our own child (so that it dies with us), a new database per test. The
 * server refuses to run as root, so the children step down to the user `postgres` when we are root.
 *
 * What can go wrong goes to standard error and ends the program: a test without its server shows nothing.
 */
#include "pg.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/db/db_sync.h"

#ifndef PG_BIN
#define PG_BIN "/usr/lib/postgresql/15/bin"
#endif
#define START_TRIES 600 /* of 50 ms */

static char dir[64]; /* "" until the cluster is made */
static pid_t server, pooler;
static int databases;
static char base_url[512], url[1024], more_url[2048], pooler_url[256];

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "tests/lib/pg: %s: %s\n", what, detail);
	exit(1);
}

static void put(char *out, size_t max, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void put(char *out, size_t max, const char *fmt, ...)
{
	struct buf b;
	va_list ap;
	buf_init(&b, max - 1);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	if (buf_failed(&b))
		die("too long", fmt);
	memcpy(out, b.p, b.n);
	out[b.n] = '\0';
	buf_done(&b);
}

static const struct passwd *server_user(void)
{
	const struct passwd *pw = getuid() == 0 ? getpwnam("postgres") : NULL;
	if (getuid() == 0 && !pw)
		die("we are root and there is no user to step down to", "postgres");
	return pw;
}

static pid_t spawn(const char *const *argv, const char *log)
{
	const struct passwd *pw = server_user();
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		die("fork", strerror(errno));
	if (pid > 0)
		return pid;
	if (pw && (setgroups(0, NULL) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGQUIT); /* the server's immediate shutdown */
	if (getppid() != parent)
		_exit(126);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600),
	    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir("/") < 0)
		_exit(126);
	if (setsid() < 0)
		_exit(126);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int await(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct db_sync *open_url(const char *to)
{
	struct db_sync *s;
	struct err err;
	for (int i = 0; i < START_TRIES; i++) {
		if (db_sync_open(to, "test", 5, &s, &err) == 0)
			return s;
		if (server && waitpid(server, NULL, WNOHANG) == server) {
			server = 0;
			die("the server ended", dir);
		}
		usleep(50000);
	}
	die("no connection", err.text);
	return NULL;
}

static void run(const char *to, const char *sql)
{
	struct err err;
	struct db_sync *s = open_url(to);
	if (db_sync_script(s, sql, &err) < 0)
		die(sql, err.text);
	db_sync_close(s);
}

static void remove_cluster(void)
{
	if (pooler) {
		kill(pooler, SIGQUIT);
		await(pooler);
	}
	pg_test_crash();
	const char *const argv[] = { "/bin/rm", "-rf", dir, NULL };
	if (*dir)
		await(spawn(argv, "/dev/null"));
	if (*dir)
		rmdir(dir);
}

static void make_cluster(void)
{
	char data[96], log[96];
	const struct passwd *pw = server_user();
	put(dir, sizeof(dir), "/tmp/millrace-test-XXXXXX");
	if (!mkdtemp(dir) || (pw && chown(dir, pw->pw_uid, pw->pw_gid) < 0))
		die("mkdtemp", strerror(errno));
	atexit(remove_cluster);
	put(data, sizeof(data), "%s/data", dir);
	put(log, sizeof(log), "%s/initdb.log", dir);
	const char *const argv[] = { PG_BIN "/initdb",   "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
		                     "--locale=C.UTF-8", "-N", NULL };
	int rc = await(spawn(argv, log));
	if (rc)
		die("initdb failed, see", log);
	pg_test_start();
	put(base_url, sizeof(base_url), "host=%s user=postgres", dir);
}

bool pg_test_owns_cluster(void)
{
	return !getenv("MILLRACE_TEST_DATABASE_URL");
}

void pg_test_start(void)
{
	char data[96], sockets[128], log[96], to[160];
	put(data, sizeof(data), "%s/data", dir);
	put(sockets, sizeof(sockets), "--unix_socket_directories=%s", dir);
	put(log, sizeof(log), "%s/server.log", dir);
	const char *const argv[] = { PG_BIN "/postgres",
		                     "-D",
		                     data,
		                     sockets,
		                     "--listen_addresses=",
		                     "--fsync=on",
		                     "--max_connections=60",
		                     "--shared_buffers=32MB",
		                     "--autovacuum=off",
		                     NULL };
	assert(pg_test_owns_cluster() && !server);
	server = spawn(argv, log);
	put(to, sizeof(to), "host=%s user=postgres dbname=postgres", dir);
	db_sync_close(open_url(to));
}

void pg_test_crash(void)
{
	if (!server)
		return;
	kill(server, SIGQUIT);
	await(server);
	server = 0;
}

const char *pg_test_url(void)
{
	char sql[96], name[64], admin[768];
	if (!*base_url && pg_test_owns_cluster())
		make_cluster();
	else if (!*base_url)
		put(base_url, sizeof(base_url), "%s", getenv("MILLRACE_TEST_DATABASE_URL"));
	put(name, sizeof(name), "millrace_test_%d_%d", (int)getpid(), ++databases);
	put(sql, sizeof(sql), "create database %s", name);
	bool uri = strstr(base_url, "://");
	put(admin, sizeof(admin), uri ? "%s" : "%s dbname=postgres", base_url);
	run(admin, sql);
	if (!uri) {
		put(url, sizeof(url), "%s dbname=%s", base_url, name);
		return url;
	}
	/* postgres://user@host/name?more: put ours in the name's place */
	const char *host = strstr(base_url, "://") + 3, *slash = strchr(host, '/'), *query = strchr(host, '?');
	const char *end = slash ? slash : query ? query : host + strlen(host);
	put(url, sizeof(url), "%.*s/%s%s", (int)(end - base_url), base_url, name, query ? query : "");
	return url;
}

const char *pg_test_url_with(const char *settings)
{
	put(more_url, sizeof(more_url), "%s %s", url, settings);
	return more_url;
}

void pg_test_sql(const char *sql)
{
	run(url, sql);
}

void pg_test_sqlf(const char *fmt, ...)
{
	struct buf b;
	va_list ap;
	buf_init(&b, 1 << 16);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	buf_add_char(&b, '\0');
	pg_test_sql(b.p);
	buf_done(&b);
}

void pg_test_terminate(void)
{
	pg_test_sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid "
	            "<> pg_backend_pid()");
}

const char *pg_test_socket_dir(void)
{
	return dir;
}

int64_t pg_test_number(const char *sql)
{
	struct err err;
	int64_t n = 0;
	struct db_sync *s = open_url(url);
	if (db_sync_query(s, sql, 0, NULL, &err) < 0)
		die(sql, err.text);
	if (db_sync_rows(s) != 1 || str_i64(str_from(db_sync_get(s, 0, 0)), INT64_MIN, INT64_MAX, &n) < 0)
		die(sql, "no number");
	db_sync_close(s);
	return n;
}

const char *pg_test_pooler_url(void)
{
	const char *bin = "/usr/sbin/pgbouncer";
	if (!pg_test_owns_cluster() || access(bin, X_OK) < 0)
		return NULL;
	char ini[96], log[96];
	const struct passwd *pw = server_user();
	put(ini, sizeof(ini), "%s/pgbouncer.ini", dir);
	put(log, sizeof(log), "%s/pgbouncer.log", dir);
	FILE *f = fopen(ini, "we");
	if (!f)
		die("pgbouncer.ini", strerror(errno));
	fprintf(f,
	        "[databases]\n* = host=%s user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = "
	        "6432\nunix_socket_dir = %s\n"
	        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 100\n",
	        dir, dir);
	fclose(f);
	if (pw && chown(ini, pw->pw_uid, pw->pw_gid) < 0)
		die("pgbouncer.ini", strerror(errno));
	const char *const argv[] = { bin, ini, NULL };
	if (pooler) {
		kill(pooler, SIGQUIT);
		await(pooler);
	}
	pooler = spawn(argv, log);
	put(pooler_url, sizeof(pooler_url), "%s port=6432", url);
	db_sync_close(open_url(pooler_url));
	return pooler_url;
}
