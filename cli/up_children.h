/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes that `up` looks after: started, waited for until they can serve, started again when they end, stopped
 * in order.
 *
 *   DOWN ──start──▶ STARTING ──ready──▶ UP
 *    ▲  (backoff)      │ ended           │ ended
 *    └─────────────────┴─────────────────┘         any ──stop──▶ STOPPING ──ended──▶ ENDED
 */
#ifndef MR_CLI_UP_CHILDREN_H
#define MR_CLI_UP_CHILDREN_H

#include "cli/up_spawn.h"
#include "common/flow.h"
#include "common/loop.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS  10000
#define BACKOFF_RESET_MS 60000

struct backoff {
	uint64_t next_ms; /* 0: the first */
};
/* How long to wait before the next start of a process that lived for alive_ms: 100 ms doubling to 10 s; anew after 60 s
 * alive. */
uint64_t backoff_after(struct backoff *b, uint64_t alive_ms);

enum child_state { CHILD_DOWN, CHILD_STARTING, CHILD_UP, CHILD_STOPPING, CHILD_ENDED };

struct children;

struct child {
	/* Set by the owner before the start; borrowed. */
	const char *name; /* "api", "worker", … for the log */
	struct spawn spawn;
	const char *ready_file; /* removed before each start; {"pid", "url"} of this process makes it ready */
	bool (*is_ready)(const struct child *c); /* instead of a ready file */
	bool once;                               /* runs to its end and is not started again */
	int stop_signal, force_signal;
	uint64_t kill_after_ms; /* after stop_signal comes force_signal, then SIGKILL; 0: waits for ever */
	void *user;
	/* State; changed in up_children.c only. */
	struct children *group;
	struct link link;
	enum child_state state;
	pid_t pid;
	int status; /* of the last end, as waitpid gives it */
	int starts;
	char *url; /* owned; of the ready file, or NULL */
	uint64_t started_ms;
	struct backoff backoff;
	struct timer restart;
	struct timer kill;
	bool forced; /* has got its force_signal */
};

struct children {
	struct op wait; /* of children_wait_*; embedded first so that the group is found from it */
	struct loop *loop;
	struct list list;
	bool wait_up;   /* what is waited for: all up, or all ended */
	struct err err; /* why a wait failed */
	struct timer poll, limit;
	void (*on_change)(struct children *g, struct child *c); /* after each change of state; may be NULL */
	void *user;
};

void children_init(struct children *g, struct loop *l);
void children_done(struct children *g); /* all must be ENDED or never started */

void child_start(struct children *g, struct child *c);
void child_stop(struct child *c); /* idempotent; a child that was never started stays so */
bool child_was_started(const struct child *c);

/* Completes with 0 when all started children are up. -ERR_INTERNAL: one of them ended; -ERR_TIMEOUT: not within
 * limit_ms (g->err tells). */
void children_wait_up(struct children *g, struct flow *f, uint64_t limit_ms);
/* Completes with 0 when all started children that were asked to stop have ended. */
void children_wait_ended(struct children *g, struct flow *f);

/* On SIGCHLD. */
void children_reap(struct children *g);
/* Those that are stopping get their force_signal now, or SIGKILL when they had that. */
void children_force(struct children *g);
void child_signal(const struct child *c, int signum); /* when it runs */

/* Ends what a killed `up` left: processes named by the ready files in this directory, which still run. */
void children_clear_stale(const char *run_dir);

#endif
