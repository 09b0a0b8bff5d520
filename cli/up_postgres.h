/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private PostgreSQL of `millrace up`: a cluster in DIR/pg, made on the first run and kept; reached by a socket and
 * a loopback port, with a password that only the owner of DIR can read. Full durability, settings for a small machine.
 */
#ifndef MR_CLI_UP_POSTGRES_H
#define MR_CLI_UP_POSTGRES_H

#include "cli/up_spawn.h"
#include "common/arena.h"

struct up_postgres {
	struct arena *arena;        /* borrowed: all texts live there */
	const char *dir;            /* DIR, absolute */
	struct spawn_user user;     /* whom the server runs as */
	const char *bin;            /* folder of postgres and initdb */
	const char *data;           /* the data directory; DIR/pg, or where that link leads */
	const char *sockets;        /* folder of the socket */
	bool sockets_are_temporary; /* removed at the end */
	const char *password;
	int port;
	bool is_new;             /* made by this run */
	int lock_fd;             /* on the data directory */
	const char *url;         /* of the database `millrace` */
	const char *const *argv; /* of the server */
};

/*
 * Everything but the start: finds the programs, makes the cluster when there is none, ends a server that a killed `up`
 * left, chooses port and socket. Blocking.
 */
int up_postgres_prepare(struct up_postgres *p, struct arena *a, const char *dir, struct err *err);
/* Whether the server with this process id takes connections. */
bool up_postgres_is_ready(const struct up_postgres *p, pid_t pid);
/* Makes the database `millrace` on the first run. Blocking; the server is up. */
int up_postgres_make_database(const struct up_postgres *p, struct err *err);
/* After the server's end: removes what is not data. Safe after a failed prepare. */
void up_postgres_done(struct up_postgres *p);

/* Pure parts, for their tests. */
int up_postgres_url(struct buf *b, const char *password, const char *sockets, int port, const char *database);
int64_t up_postgres_shared_mb(int64_t memory_mb); /* of a machine with so much memory */

#endif
