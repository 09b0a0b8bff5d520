/* SPDX-License-Identifier: Apache-2.0 */
/* What people see of `millrace up`: a line per start-up step, complaints with the end of the log, and how to go on. */
#ifndef MR_CLI_UP_SHOW_H
#define MR_CLI_UP_SHOW_H

#include "cli/term.h"
#include "common/conf.h"
#include "common/err.h"

struct up_show {
	struct term term;     /* standard output */
	FILE *complaints;     /* standard error as it was at the start: fd 2 may be the log file by now */
	const char *log_file; /* NULL: the log goes to standard error */
	off_t log_start;      /* where this run begins in it */
	uint64_t step_ns;     /* when the current step began */
	bool pending;         /* its name stands on the terminal's last line */
};

void up_show_init(struct up_show *s);
/* From here on standard error (of the children too) is this file; NULL leaves it. */
int up_show_open_log(struct up_show *s, const char *log_file, struct err *err);
void up_show_done(struct up_show *s);

/* A step begins; what it is called stands on a terminal until it is done. */
void up_show_begin(struct up_show *s, const char *what);
/* One line for a thing that is done, with the time since its step began. */
void up_show_step(struct up_show *s, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Opens a log to append to; a large one makes room first (FILE.old). The descriptor, or -ERR_IO. */
int up_show_append(const char *path, struct err *err);
/* The last lines of a file. */
void up_show_tail(struct up_show *s, const char *path);
/* Each mistake of a configuration, with its path. */
void up_show_mistakes(struct up_show *s, const struct conf_mistake *mistakes, size_t n);
/* The last lines that were logged in this run, then "millrace up: why". */
void up_show_failure(struct up_show *s, const char *why);
/* URL, key and a command to paste; on a pipe a line without secrets. */
void up_show_usage(const struct up_show *s, const char *url, const char *key, const char *ready_path);

#endif
