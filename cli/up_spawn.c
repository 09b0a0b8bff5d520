/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork and exec by hand: libuv's uv_spawn knows neither the parent-death signal nor the order in which it and the
 * change of user must come (the kernel forgets the signal when the credentials change). The child has a process group
 * of its own, so that the terminal's Ctrl-C reaches `up` alone, which then stops the others in their order.
 *
 * Between fork and exec only async-signal-safe calls are made: everything that allocates is done before. Signals are
 * blocked over the fork, so that no handler of ours runs in the child.
 *
 * What can go wrong there ends the child with a status that the log of the parent shows: 125 the parent died meanwhile,
 * 126 the user could not be changed, 127 the program could not be executed.
 */
#define _GNU_SOURCE /* pipe2, environ */
#include "cli/up_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/clock.h"

enum { END_ORPHAN = 125, END_USER = 126, END_EXEC = 127 };

static bool is_secret(const char *variable)
{
	static const struct str words[] = { STR("KEY"), STR("SECRET"), STR("PASSWORD"), STR("TOKEN") };
	const char *eq = strchr(variable, '=');
	struct str name = { variable, eq ? (size_t)(eq - variable) : strlen(variable) };
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_find_nocase(name, words[i]) >= 0)
			return true;
	return false;
}

/* Our environment, without secrets when wanted; the array is the caller's, the texts are environ's. */
static char **make_environment(bool no_secrets)
{
	size_t n = 0, kept = 0;
	while (environ[n])
		n++;
	char **env = calloc(n + 1, sizeof(*env));
	if (!env)
		abort();
	for (size_t i = 0; i < n; i++)
		if (!no_secrets || !is_secret(environ[i]))
			env[kept++] = environ[i];
	return env;
}

static void redirect(const struct spawn *s)
{
	int null_fd = open("/dev/null", O_RDONLY);
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	if (s->output_fd > 0) {
		dup2(s->output_fd, STDOUT_FILENO);
		dup2(s->output_fd, STDERR_FILENO);
	} else if (!s->on_terminal) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
	}
	if (null_fd > STDERR_FILENO)
		close(null_fd);
}

/* In the child. Never returns. */
static void become(const struct spawn *s, char **env, pid_t parent)
{
	sigset_t none;
	setpgid(0, 0);
	for (int i = 1; i < SIGRTMIN; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	redirect(s);
	const struct spawn_user *u = s->user;
	if (u && u->drop && (setgroups(0, NULL) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0))
		_exit(END_USER);
	if (u && u->drop && chdir("/") < 0) /* it may have no right to be where we are */
		_exit(END_USER);
	if (s->death_signal)
		prctl(PR_SET_PDEATHSIG, s->death_signal);
	if (getppid() != parent)
		_exit(END_ORPHAN);
	/* execve wants pointers to char although it changes nothing. */
	union {
		const char *const *in;
		char **out;
	} argv = { .in = s->argv };
	execve(s->path ? s->path : argv.out[0], argv.out, env);
	_exit(END_EXEC);
}

int spawn_start(const struct spawn *s, struct err *err)
{
	char **env = make_environment(s->no_secrets);
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0)
		become(s, env, parent);
	int saved = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	free(env);
	if (pid < 0)
		return err_set(err, ERR_IO, "cannot start %s: %s", s->argv[0], strerror(saved));
	setpgid(pid, pid); /* both sides do it: whoever comes first */
	return pid;
}

static void collect(int fd, struct buf *output)
{
	char piece[4096];
	for (;;) {
		ssize_t n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf_add(output, piece, (size_t)n);
	}
}

static struct str last_line(struct str text)
{
	struct str line, last = STR("no message");
	while (str_split(&text, '\n', &line)) {
		line = str_trim(line);
		if (line.n)
			last = line;
	}
	return last;
}

int spawn_run(const struct spawn *s, struct buf *output, struct err *err)
{
	int fds[2], status = 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, ERR_IO, "pipe: %s", strerror(errno));
	struct spawn piped = *s;
	piped.output_fd = fds[1];
	int pid = spawn_start(&piped, err);
	close(fds[1]);
	if (pid >= 0)
		collect(fds[0], output);
	close(fds[0]);
	if (pid < 0)
		return pid;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == END_EXEC)
		return err_set(err, ERR_IO, "cannot execute %s", s->argv[0]);
	struct str why = last_line(buf_str(output));
	return err_set(err, ERR_IO, "%s failed: " STR_FMT, s->argv[0], STR_ARG(why));
}

/* A zombie runs no more; where init does not collect the orphans (containers), it stays for ever. */
static bool is_zombie(pid_t pid)
{
	struct arena a;
	char text[512];
	bool zombie = false;
	arena_init(&a, 4096);
	int fd = open(arena_printf(&a, "/proc/%d/stat", (int)pid).p, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : 0;
	if (fd >= 0)
		close(fd);
	/* "PID (name) S …"; the name may hold anything, also parentheses. */
	while (n > 0 && text[n - 1] != ')')
		n--;
	if (n > 0 && (size_t)n + 1 < sizeof(text))
		zombie = text[n + 1] == 'Z';
	arena_done(&a);
	return zombie;
}

bool spawn_is_gone_within(pid_t pid, int limit_ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)limit_ms;
	while ((kill(pid, 0) == 0 || errno == EPERM) && !is_zombie(pid)) {
		if (clock_mono_ms() >= end)
			return false;
		usleep(10 * 1000);
	}
	return true;
}
