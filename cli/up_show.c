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
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"

#define TAIL_BYTES 4096
#define TAIL_LINES 8

void up_show_init(struct up_show *s)
{
	*s = (struct up_show){ .complaints = stderr, .step_ns = clock_mono_ns() };
	term_init(&s->term, stdout);
}

int up_show_open_log(struct up_show *s, const char *log_file, struct err *err)
{
	if (!log_file)
		return 0;
	int fd = open(log_file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, ERR_IO, "%s: %s", log_file, strerror(errno));
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

void up_show_done(struct up_show *s)
{
	fflush(s->term.out);
	if (s->complaints != stderr)
		fclose(s->complaints);
}

void up_show_begin(struct up_show *s)
{
	s->step_ns = clock_mono_ns();
}

void up_show_step(const struct up_show *s, const char *what, const char *fmt, ...)
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
	if (s->term.tty)
		fprintf(s->term.out, "  %s✓%s %-11s %s%6.*s%s  %.*s\n", term_style(&s->term, TERM_GREEN), reset, what,
		        dim, STR_ARG(buf_str(&took)), reset, STR_ARG(buf_str(&detail)));
	else
		fprintf(s->term.out, "%s (%.*s): %.*s\n", what, STR_ARG(buf_str(&took)), STR_ARG(buf_str(&detail)));
	fflush(s->term.out);
	buf_done(&detail);
	buf_done(&took);
}

static void show_log_tail(const struct up_show *s)
{
	char text[TAIL_BYTES];
	off_t end = s->log_file ? lseek(STDERR_FILENO, 0, SEEK_END) : -1;
	off_t from = MAX(end - TAIL_BYTES, s->log_start);
	ssize_t n = end > from ? pread(STDERR_FILENO, text, TAIL_BYTES, from) : 0;
	if (n <= 0)
		return;
	size_t start = (size_t)n;
	for (int lines = 0; start > 0; start--)
		if (text[start - 1] == '\n' && ++lines > TAIL_LINES)
			break;
	fprintf(s->complaints, "%.*s", (int)((size_t)n - start), text + start);
}

void up_show_failure(const struct up_show *s, const char *why)
{
	show_log_tail(s);
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
