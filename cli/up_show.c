/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two kinds of readers: on a terminal short lines with ticks, colours and something to paste; on a pipe or in a
 * service's journal plain lines, without secrets. The log is apart from both: on a terminal it goes to a file, and only
 * when the start fails its end is shown, since the reason is there (a process that could not start says why in its own
 * log line, not to us).
 */
#include "cli/up_show.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/json.h"

#define TAIL_BYTES 4096
#define TAIL_LINES 8
#define LOG_MAX    (16 << 20)

void up_show_init(struct up_show *s)
{
	*s = (struct up_show){ .complaints = stderr, .step_ns = clock_mono_ns() };
	term_init(&s->term, stdout);
}

int up_show_append(const char *path, struct err *err)
{
	struct stat st;
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > LOG_MAX) {
		struct arena a;
		arena_init(&a, 1 << 16);
		(void)rename(path, arena_printf(&a, "%s.old", path).p);
		arena_done(&a);
	}
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? err_set(err, ERR_IO, "%s: %s", path, strerror(errno)) : fd;
}

int up_show_open_log(struct up_show *s, const char *log_file, struct err *err)
{
	if (!log_file)
		return 0;
	int fd = up_show_append(log_file, err);
	if (fd < 0)
		return fd;
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	FILE *complaints = saved >= 0 ? fdopen(saved, "w") : NULL;
	if (complaints)
		s->complaints = complaints;
	dup2(fd, STDERR_FILENO);
	close(fd);
	s->log_file = log_file;
	s->log_start = lseek(STDERR_FILENO, 0, SEEK_END);
	return 0;
}

static void clear_pending(struct up_show *s)
{
	if (s->pending)
		fputs("\r\033[K", s->term.out);
	fflush(s->term.out);
	s->pending = false;
}

void up_show_done(struct up_show *s)
{
	clear_pending(s);
	fflush(s->term.out);
	if (s->complaints != stderr)
		fclose(s->complaints);
}

void up_show_begin(struct up_show *s, const char *what)
{
	clear_pending(s);
	s->step_ns = clock_mono_ns();
	if (!s->term.tty)
		return;
	fprintf(s->term.out, "  %s%s %s%s", term_style(&s->term, TERM_DIM), term_glyph("·", "-"), what, term_reset(&s->term));
	fflush(s->term.out);
	s->pending = true;
}

void up_show_step(struct up_show *s, const char *what, const char *fmt, ...)
{
	struct buf detail, took;
	va_list ap;
	buf_init(&detail, 4096);
	buf_init(&took, 64);
	va_start(ap, fmt);
	buf_vprintf(&detail, fmt, ap);
	va_end(ap);
	term_duration(&took, (int64_t)((clock_mono_ns() - s->step_ns) / 1000000));
	const char *dim = term_style(&s->term, TERM_DIM), *reset = term_reset(&s->term);
	clear_pending(s);
	if (s->term.tty)
		fprintf(s->term.out, "  %s%s%s %-11s %s%6.*s%s  %.*s\n", term_style(&s->term, TERM_GREEN), term_glyph("✓", "+"), reset, what,
		        dim, STR_ARG(buf_str(&took)), reset, STR_ARG(buf_str(&detail)));
	else
		fprintf(s->term.out, "%s (%.*s): %.*s\n", what, STR_ARG(buf_str(&took)), STR_ARG(buf_str(&detail)));
	fflush(s->term.out);
	buf_done(&detail);
	buf_done(&took);
}

/* A line of our own log as a person reads it; any other as it is. */
static void show_line(const struct up_show *s, struct str line)
{
	static const char *const known[] = { "time", "level", "process", "event", "msg", "child_pid", "pid" };
	_cleanup_(json_drop) json_t *v = json_parse(line, NULL);
	struct str msg = json_str(v, "msg"), level = json_str(v, "level");
	const char *name;
	json_t *field;
	if (!msg.n) {
		fprintf(s->complaints, "  " STR_FMT "\n", STR_ARG(line));
		return;
	}
	if (str_eq_z(level, "info"))
		return;
	fprintf(s->complaints, "  " STR_FMT ": " STR_FMT, STR_ARG(json_str(v, "process")), STR_ARG(msg));
	json_object_foreach(v, name, field)
	{
		bool shown = false;
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			shown = shown || strcmp(name, known[i]) == 0;
		if (!shown && json_is_string(field))
			fprintf(s->complaints, " %s=%s", name, json_string_value(field));
		else if (!shown && json_is_integer(field))
			fprintf(s->complaints, " %s=%lld", name, (long long)json_integer_value(field));
	}
	fputc('\n', s->complaints);
}

/* What was written since `from`, at most the last lines of it. */
static void show_end(const struct up_show *s, int fd, off_t from)
{
	char text[TAIL_BYTES];
	off_t end = lseek(fd, 0, SEEK_END);
	from = MAX(end - TAIL_BYTES, from);
	ssize_t n = end > from ? pread(fd, text, TAIL_BYTES, from) : 0;
	if (n <= 0)
		return;
	size_t start = (size_t)n;
	for (int lines = 0; start > 0; start--)
		if (text[start - 1] == '\n' && ++lines > TAIL_LINES)
			break;
	struct str rest = { text + start, (size_t)n - start }, line;
	while (str_split(&rest, '\n', &line))
		if (line.n)
			show_line(s, line);
}

void up_show_tail(struct up_show *s, const char *path)
{
	clear_pending(s);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	show_end(s, fd, 0);
	close(fd);
}

void up_show_mistakes(struct up_show *s, const struct conf_mistake *mistakes, size_t n)
{
	clear_pending(s);
	for (size_t i = 0; i < n; i++)
		fprintf(s->complaints, "  " STR_FMT ": " STR_FMT "\n", STR_ARG(mistakes[i].path),
		        STR_ARG(mistakes[i].text));
}

void up_show_failure(struct up_show *s, const char *why)
{
	clear_pending(s);
	if (s->log_file)
		show_end(s, STDERR_FILENO, s->log_start);
	fprintf(s->complaints, "millrace up: %s\n", why);
	if (s->log_file)
		fprintf(s->complaints, "The log is %s\n", s->log_file);
	fflush(s->complaints);
}

void up_show_usage(const struct up_show *s, const char *url, const char *key, const char *ready_path)
{
	FILE *out = s->term.out;
	if (s->term.tty)
		fprintf(out,
		        "\n  URL      %s%s%s\n  API key  %s\n  Log      %s\n\n"
		        "  curl -s '%s/v1/jobs?wait=30' -H 'Authorization: Bearer %s' \\\n"
		        "    -H 'Content-Type: application/json' \\\n"
		        "    -d '{\"request\": {\"messages\": [{\"role\": \"user\", \"content\": \"Say hello\"}]}}'\n\n"
		        "  Ctrl-C stops everything and keeps the data.\n\n",
		        term_style(&s->term, TERM_BOLD), url, term_reset(&s->term), key,
		        s->log_file ? s->log_file : "standard error", url, key);
	else
		fprintf(out, "ready at %s (keys and process ids: %s)\n", url, ready_path);
	fflush(out);
}
