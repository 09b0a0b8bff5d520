/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well, first run: a user to run as → the newest installed PostgreSQL → initdb into a folder beside, renamed
 * when it is whole → port, socket folder, arguments. Later runs: the data is there, the programs must be of its major
 * version, a server that was left is stopped, and the port of the last time is used again if it is free.
 *
 * PostgreSQL refuses to run as root. So as root the server runs as `postgres` (else `nobody`) and the data belongs to
 * it; where DIR cannot be reached by that user (a clone under /root) the data goes to /var/lib/millrace/HASH and DIR/pg
 * is a link to it.
 *
 * What can go wrong: no PostgreSQL, or only of another major version than the data; the data is in use by another `up`
 * (a lock on it, since a copied DIR may link to the same data); a server that was left does not end. Each is said in
 * words, nothing is deleted but an unfinished initdb. A crash between any two steps is repaired by the next run.
 */
#define _GNU_SOURCE
#include "cli/up_postgres.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/up_port.h"
#include "common/crypto.h"
#include "common/db/db_sync.h"
#include "common/file.h"

#define SOCKET_DIR_MAX 90 /* "/.s.PGSQL.65535" and a NUL must fit in sun_path's 108 bytes */
#define DATA_ROOT      "/var/lib/millrace"
#define OWNER          "millrace" /* the database's user */
#define STOP_MS        20000
#define SMALL_FILE     65536

/* --- whom the server runs as --- */

static int find_user(struct spawn_user *u, struct err *err)
{
	if (geteuid() != 0) {
		*u = (struct spawn_user){ .drop = false };
		return 0;
	}
	const struct passwd *pw = getpwnam("postgres");
	if (!pw)
		pw = getpwnam("nobody");
	if (!pw || pw->pw_uid == 0)
		return err_set(err, ERR_CONFIG,
		               "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`");
	*u = (struct spawn_user){ true, pw->pw_uid, pw->pw_gid, pw->pw_uid == 65534 ? "nobody" : "postgres" };
	return 0;
}

/* Runs a tool in silence. */
static int run_tool(const struct spawn_user *user, const char *const *argv, struct err *err)
{
	struct buf output;
	buf_init(&output, 256 * 1024);
	const struct spawn s = { .argv = argv, .user = user, .death_signal = SIGKILL, .no_secrets = true };
	int rc = spawn_run(&s, &output, err);
	buf_done(&output);
	return rc;
}

static bool is_reachable(const struct up_postgres *p, const char *dir)
{
	const char *const argv[] = { "/usr/bin/test", "-x", dir, NULL };
	return !p->user.drop || run_tool(&p->user, argv, NULL) == 0;
}

static int give_to_user(const struct up_postgres *p, const char *path, struct err *err)
{
	if (p->user.drop && lchown(path, p->user.uid, p->user.gid) < 0)
		return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	return 0;
}

static int make_dir(const char *path, mode_t mode, struct err *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	return 0;
}

/* --- the programs --- */

static bool has_programs(struct arena *a, const char *bin)
{
	return access(arena_printf(a, "%s/postgres", bin).p, X_OK) == 0 &&
	       access(arena_printf(a, "%s/initdb", bin).p, X_OK) == 0;
}

/* The newest of /usr/lib/postgresql/N/bin, or the one of that major version; NULL when there is none. */
static const char *find_installed(struct arena *a, uint64_t wanted)
{
	static const char before[] = "/usr/lib/postgresql/";
	const char *best = NULL;
	uint64_t best_major = 0, major;
	glob_t g = { 0 };
	if (glob("/usr/lib/postgresql/*/bin", GLOB_NOSORT, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++) {
			struct str rest = str_from(g.gl_pathv[i] + sizeof(before) - 1), number;
			if (!str_split(&rest, '/', &number) || str_u64(number, 1, 999, &major) < 0)
				continue;
			if ((wanted ? major == wanted : major > best_major) && has_programs(a, g.gl_pathv[i])) {
				best_major = major;
				best = arena_strz(a, str_from(g.gl_pathv[i]));
			}
		}
	}
	globfree(&g);
	return best;
}

static const char *find_in_path(struct arena *a)
{
	struct str rest = str_from(getenv("PATH")), part;
	while (str_split(&rest, ':', &part)) {
		const char *bin = arena_strz(a, part);
		if (part.n && has_programs(a, bin))
			return bin;
	}
	return NULL;
}

static int find_programs(struct up_postgres *p, struct err *err)
{
	struct str text = STR("");
	uint64_t wanted = 0;
	const char *version = arena_printf(p->arena, "%s/pg/PG_VERSION", p->dir).p;
	if (file_read(version, SMALL_FILE, p->arena, &text, NULL) >= 0 && str_u64(str_trim(text), 1, 999, &wanted) < 0)
		return err_set(err, ERR_CONFIG, "%s is damaged", version);
	p->bin = find_installed(p->arena, wanted);
	if (!p->bin)
		p->bin = find_in_path(p->arena);
	if (p->bin)
		return 0;
	if (wanted)
		return err_set(err, ERR_CONFIG, "the data in %s/pg is of PostgreSQL %d, which is not installed", p->dir,
		               (int)wanted);
	return err_set(
	    err, ERR_CONFIG,
	    "PostgreSQL is not installed (apt-get install postgresql), neither in /usr/lib/postgresql nor in PATH");
}

/* --- the password --- */

static int read_or_make_password(struct up_postgres *p, struct err *err)
{
	const char *path = arena_printf(p->arena, "%s/pg.password", p->dir).p;
	struct str text;
	int rc = file_read(path, SMALL_FILE, p->arena, &text, err);
	if (rc >= 0) {
		p->password = arena_strz(p->arena, str_trim(text));
		return *p->password ? 0 : err_set(err, ERR_CONFIG, "%s is empty", path);
	}
	if (rc != -ERR_NOT_FOUND)
		return rc;
	struct buf b;
	buf_init(&b, 64);
	crypto_random_base62(&b, 32);
	p->password = arena_strz(p->arena, buf_str(&b));
	buf_done(&b);
	return file_write(path, 0600, str_from(p->password), err);
}

/* The password in a file that initdb's user can read; the caller removes it. */
static int write_password_file(const struct up_postgres *p, char *path, struct err *err)
{
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	size_t n = strlen(p->password);
	bool ok =
	    write(fd, p->password, n) == (ssize_t)n && (!p->user.drop || fchown(fd, p->user.uid, p->user.gid) == 0);
	close(fd);
	return ok ? 0 : err_set(err, ERR_IO, "%s: cannot be written", path);
}

/* --- the data --- */

/* Where new data goes: DIR/pg, or a place that the server's user can reach, to which DIR/pg will lead. */
static int choose_data(struct up_postgres *p, const char *link, const char **ret, struct err *err)
{
	if (is_reachable(p, p->dir)) {
		*ret = link;
		return 0;
	}
	uint8_t hash[SHA256_LEN];
	struct buf hex;
	crypto_sha256(str_from(p->dir), hash);
	buf_init(&hex, 64);
	crypto_hex(&hex, (struct str){ (const char *)hash, 8 });
	struct str name = arena_str(p->arena, buf_str(&hex));
	buf_done(&hex);
	/* Data that is there already is of a DIR that was deleted: nobody has its password, and it is not ours to
	 * delete. */
	*ret = arena_printf(p->arena, DATA_ROOT "/" STR_FMT, STR_ARG(name)).p;
	for (int i = 2; access(*ret, F_OK) == 0; i++)
		*ret = arena_printf(p->arena, DATA_ROOT "/" STR_FMT "-%d", STR_ARG(name), i).p;
	return make_dir(DATA_ROOT, 0755, err);
}

static int run_initdb(const struct up_postgres *p, const char *data, const char *password_file, struct err *err)
{
	static const char *const locales[] = { "--locale=C.UTF-8", "--locale=C" };
	const char *initdb = arena_printf(p->arena, "%s/initdb", p->bin).p;
	const char *pwfile = arena_printf(p->arena, "--pwfile=%s", password_file).p;
	int rc = -ERR_IO;
	for (size_t i = 0; rc < 0 && i < ARRAY_LEN(locales); i++) {
		const char *const argv[] = { initdb,     "-D",   data,   "-U",
			                     OWNER,      "-E",   "UTF8", "--auth=scram-sha-256",
			                     locales[i], pwfile, NULL };
		rc = run_tool(&p->user, argv, err);
	}
	return rc;
}

/* initdb into NAME.new, then the name: an interrupted one is thrown away by the next run. */
static int make_data(struct up_postgres *p, const char *link, struct err *err)
{
	const char *data;
	char password_file[] = "/tmp/millrace-XXXXXX";
	int rc = choose_data(p, link, &data, err);
	if (rc < 0)
		return rc;
	const char *fresh = arena_printf(p->arena, "%s.new", data).p;
	const char *const remove[] = { "/bin/rm", "-rf", "--", fresh, NULL };
	rc = run_tool(NULL, remove, err);
	if (rc >= 0)
		rc = make_dir(fresh, 0700, err);
	if (rc >= 0)
		rc = give_to_user(p, fresh, err);
	if (rc >= 0)
		rc = write_password_file(p, password_file, err);
	if (rc < 0)
		return rc;
	rc = run_initdb(p, fresh, password_file, err);
	unlink(password_file);
	if (rc < 0)
		return rc;
	if (rename(fresh, data) < 0 || (data != link && symlink(data, link) < 0 && errno != EEXIST))
		return err_set(err, ERR_IO, "%s: %s", data, strerror(errno));
	p->is_new = true;
	return 0;
}

/* A data directory whose link was lost (DIR deleted and made again) is taken over only with its password: it is not, it
 * is in the way. */
static int find_or_make_data(struct up_postgres *p, struct err *err)
{
	const char *link = arena_printf(p->arena, "%s/pg", p->dir).p;
	int rc = access(link, F_OK) == 0 ? 0 : make_data(p, link, err);
	if (rc < 0)
		return rc;
	char *real = realpath(link, NULL);
	if (!real)
		return err_set(err, ERR_IO, "%s: %s", link, strerror(errno));
	p->data = arena_strz(p->arena, str_from(real));
	free(real);
	if (!is_reachable(p, p->data))
		return err_set(err, ERR_CONFIG, "%s cannot be reached by the user %s, whom PostgreSQL runs as", p->data,
		               p->user.name);
	p->lock_fd = open(p->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->lock_fd < 0 || flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_CONFLICT, "%s is in use by another `millrace up`", p->data);
	return 0;
}

/* --- a server that was left --- */

/* Line `n` (from 1) of postmaster.pid; "" when it is not there. */
static struct str pid_file_line(const struct up_postgres *p, struct arena *a, int n)
{
	struct str text, line = STR("");
	const char *path = arena_printf(a, "%s/postmaster.pid", p->data).p;
	if (file_read(path, SMALL_FILE, a, &text, NULL) < 0)
		return STR("");
	for (int i = 0; i < n; i++)
		if (!str_split(&text, '\n', &line))
			return STR("");
	return str_trim(line);
}

/* The server's process works in the data directory; whoever has its number now does not. */
static bool is_server_here(const struct up_postgres *p, pid_t pid)
{
	struct arena a;
	char cwd[4096];
	arena_init(&a, 1 << 16);
	ssize_t n = readlink(arena_printf(&a, "/proc/%d/cwd", (int)pid).p, cwd, sizeof(cwd));
	arena_done(&a);
	return n > 0 && str_eq_z((struct str){ cwd, (size_t)n }, p->data);
}

static int stop_left_server(const struct up_postgres *p, struct err *err)
{
	uint64_t pid = 0;
	if (str_u64(pid_file_line(p, p->arena, 1), 2, INT32_MAX, &pid) < 0)
		return 0;
	if (!is_server_here(p, (pid_t)pid)) {
		/* PostgreSQL would take whoever has this number now for a running server. */
		unlink(arena_printf(p->arena, "%s/postmaster.pid", p->data).p);
		return 0;
	}
	kill((pid_t)pid, SIGINT);
	if (spawn_is_gone_within((pid_t)pid, STOP_MS))
		return 0;
	kill((pid_t)pid, SIGQUIT);
	if (spawn_is_gone_within((pid_t)pid, STOP_MS))
		return 0;
	return err_set(err, ERR_CONFLICT, "a PostgreSQL server of an earlier run (process %d) does not end", (int)pid);
}

/* --- port and socket --- */

static int choose_port(struct up_postgres *p, struct err *err)
{
	const char *path = arena_printf(p->arena, "%s/pg.port", p->dir).p;
	struct str text;
	uint64_t last = 0;
	if (file_read(path, SMALL_FILE, p->arena, &text, NULL) >= 0)
		(void)str_u64(str_trim(text), 1024, 65535, &last);
	p->port = last ? up_port_try("127.0.0.1", (int)last) : -1;
	if (p->port > 0)
		return 0;
	p->port = up_port_try("127.0.0.1", 0);
	if (p->port < 0)
		return err_set(err, ERR_IO, "no port of 127.0.0.1 is free for PostgreSQL");
	return file_write(path, 0600, arena_printf(p->arena, "%d\n", p->port), err);
}

/* Removes a folder of sockets with what a killed server left in it: PostgreSQL takes the socket's lock file for a
 * running server's. */
static void remove_sockets(const char *dir)
{
	struct arena a;
	DIR *d = opendir(dir);
	arena_init(&a, 1 << 16);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		if (str_has_prefix(str_from(e->d_name), STR(".s.PGSQL.")))
			unlink(arena_printf(&a, "%s/%s", dir, e->d_name).p);
	arena_done(&a);
	if (d)
		closedir(d);
	rmdir(dir);
}

/*
 * A socket's path is short by nature, and libpq takes a comma for the end of a host. Such a DIR, or one that the
 * server's user cannot reach, gets a private folder under /tmp.
 */
static int choose_sockets(struct up_postgres *p, struct err *err)
{
	const char *note = arena_printf(p->arena, "%s/pg.sockets", p->dir).p;
	struct str last;
	if (file_read(note, SMALL_FILE, p->arena, &last, NULL) >= 0 && str_has_prefix(last, STR("/tmp/millrace-")))
		remove_sockets(arena_strz(p->arena, str_trim(last)));
	unlink(note);

	p->sockets = arena_printf(p->arena, "%s/sockets", p->dir).p;
	remove_sockets(p->sockets);
	if (strlen(p->sockets) > SOCKET_DIR_MAX || strchr(p->sockets, ',') || !is_reachable(p, p->dir)) {
		char made[] = "/tmp/millrace-XXXXXX";
		if (!mkdtemp(made))
			return err_set(err, ERR_IO, "%s: %s", made, strerror(errno));
		p->sockets = arena_strz(p->arena, str_from(made));
		p->sockets_are_temporary = true;
		int rc = file_write(note, 0600, str_from(p->sockets), err);
		if (rc < 0)
			return rc;
	} else {
		int rc = make_dir(p->sockets, 0700, err);
		if (rc < 0)
			return rc;
	}
	return give_to_user(p, p->sockets, err);
}

/* --- the command line and the URL --- */

int64_t up_postgres_shared_mb(int64_t memory_mb)
{
	return MAX(MIN(memory_mb / 8, 2048), 16);
}

int up_postgres_url(struct buf *b, const char *password, const char *sockets, int port, const char *database)
{
	buf_printf(b, "postgresql://" OWNER ":%s@/%s?host=", password, database);
	buf_add_percent(b, str_from(sockets), "");
	buf_printf(b, "&port=%d", port);
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

static const char *make_url(const struct up_postgres *p, const char *database)
{
	struct buf b;
	buf_init(&b, 16384);
	up_postgres_url(&b, p->password, p->sockets, p->port, database);
	const char *url = arena_strz(p->arena, buf_str(&b));
	buf_done(&b);
	return url;
}

/* unix_socket_directories is a list: one with spaces or commas must be quoted. */
static const char *quoted(struct arena *a, const char *dir)
{
	struct buf b;
	buf_init(&b, 16384);
	buf_add_char(&b, '"');
	for (const char *c = dir; *c; c++) {
		if (*c == '"')
			buf_add_char(&b, '"');
		buf_add_char(&b, *c);
	}
	buf_add_char(&b, '"');
	const char *z = arena_strz(a, buf_str(&b));
	buf_done(&b);
	return z;
}

/*
 * Durability is left at the full: fsync, synchronous_commit and full_page_writes are on. The rest makes checkpoints
 * rare and vacuum eager (a queue's tables turn over all the time), and plans for an SSD.
 */
static void make_argv(struct up_postgres *p)
{
	static const char *const fixed[] = {
		"listen_addresses=127.0.0.1",
		"unix_socket_permissions=0700",
		"cluster_name=millrace",
		"max_connections=200",
		"wal_compression=lz4",
		"wal_buffers=16MB",
		"max_wal_size=4GB",
		"checkpoint_timeout=15min",
		"autovacuum_naptime=5s",
		"autovacuum_vacuum_cost_delay=0",
		"jit=off",
		"random_page_cost=1.1",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_checkpoints=off",
		"logging_collector=off",
		"log_line_prefix=%m [%p] ",
	};
	const char **argv = arena_array(p->arena, const char *, 2 * ARRAY_LEN(fixed) + 16);
	int64_t memory_mb = sysconf(_SC_PHYS_PAGES) / (1024 * 1024 / sysconf(_SC_PAGESIZE));
	size_t n = 0;
	argv[n++] = arena_printf(p->arena, "%s/postgres", p->bin).p;
	argv[n++] = "-D";
	argv[n++] = p->data;
	argv[n++] = "-c";
	argv[n++] = arena_printf(p->arena, "port=%d", p->port).p;
	argv[n++] = "-c";
	argv[n++] = arena_printf(p->arena, "unix_socket_directories=%s", quoted(p->arena, p->sockets)).p;
	argv[n++] = "-c";
	argv[n++] = arena_printf(p->arena, "shared_buffers=%dMB", (int)up_postgres_shared_mb(memory_mb)).p;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		argv[n++] = "-c";
		argv[n++] = fixed[i];
	}
	p->argv = argv;
}

int up_postgres_prepare(struct up_postgres *p, struct arena *a, const char *dir, struct err *err)
{
	*p = (struct up_postgres){ .arena = a, .dir = dir, .lock_fd = -1 };
	int rc = find_user(&p->user, err);
	if (rc >= 0)
		rc = find_programs(p, err);
	if (rc >= 0)
		rc = read_or_make_password(p, err);
	if (rc >= 0)
		rc = find_or_make_data(p, err);
	if (rc >= 0)
		rc = stop_left_server(p, err);
	if (rc >= 0)
		rc = choose_port(p, err);
	if (rc >= 0)
		rc = choose_sockets(p, err);
	if (rc < 0)
		return rc;
	make_argv(p);
	p->url = make_url(p, "millrace");
	return 0;
}

bool up_postgres_is_ready(const struct up_postgres *p, pid_t pid)
{
	struct arena a;
	uint64_t listed = 0;
	arena_init(&a, 1 << 18);
	bool ours = str_u64(pid_file_line(p, &a, 1), 2, INT32_MAX, &listed) >= 0 && (pid_t)listed == pid;
	bool ready = ours && str_eq_z(pid_file_line(p, &a, 8), "ready");
	arena_done(&a);
	return ready;
}

int up_postgres_make_database(const struct up_postgres *p, struct err *err)
{
	struct db_sync *s = NULL;
	int rc = db_sync_open(make_url(p, "postgres"), "millrace up", 10, &s, err);
	if (rc < 0)
		return rc;
	rc = db_sync_query(s, "SELECT 1 FROM pg_database WHERE datname = 'millrace'", 0, NULL, err);
	if (rc >= 0 && db_sync_rows(s) == 0)
		rc = db_sync_query(s, "CREATE DATABASE millrace", 0, NULL, err);
	db_sync_close(s);
	return rc < 0 ? rc : 0;
}

void up_postgres_done(struct up_postgres *p)
{
	if (p->sockets)
		remove_sockets(p->sockets);
	if (p->sockets_are_temporary)
		unlink(arena_printf(p->arena, "%s/pg.sockets", p->dir).p);
	if (p->lock_fd >= 0)
		close(p->lock_fd);
	p->lock_fd = -1;
}
