/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting another program: as another user if need be, in a process group of its own, and so that it does not outlive
 * us.
 */
#ifndef MR_CLI_UP_SPAWN_H
#define MR_CLI_UP_SPAWN_H

#include "common/buf.h"
#include "common/err.h"

struct spawn_user {
	bool drop; /* false: as we are */
	uid_t uid;
	gid_t gid;
	const char *name; /* "postgres"; for messages */
};

struct spawn {
	const char *path;              /* of the program; NULL: argv[0] */
	const char *const *argv;       /* NULL-terminated */
	const struct spawn_user *user; /* NULL: as we are */
	int death_signal;              /* what it gets when we die, however we die */
	bool on_terminal; /* keeps our standard output; otherwise that goes to our standard error, the log */
	bool no_secrets;  /* variables whose names speak of keys, secrets and passwords are not passed on */
	int output_fd;    /* > 0: standard output and error go there instead */
};

/* The process id, or -ERR_IO. The program may still turn out not to be startable: it ends with 127 then. */
int spawn_start(const struct spawn *s, struct err *err);

/* Runs it to its end, blocking; what it prints is collected (at most output->max bytes, the rest is dropped). -ERR_IO
 * when it does not end with 0: err has its last line. */
int spawn_run(const struct spawn *s, struct buf *output, struct err *err);

/* Waits until the process is gone (also one that is not our child). False after limit_ms. */
bool spawn_is_gone_within(pid_t pid, int limit_ms);

#endif
