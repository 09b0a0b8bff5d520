/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process root of `millrace api`: the loop, the database, the HTTP server, and the parts that requests share.
 * Everything else hangs off it. All state that matters is in PostgreSQL; what is here may be lost at any moment.
 */
#ifndef MR_API_API_H
#define MR_API_API_H

#include "common/db/db.h"
#include "common/http/http_server.h"
#include "common/loop.h"
#include "common/http/netguard.h"

struct auth;
struct batch_keeper;
struct door;
struct intake;
struct lane_ids;
struct fairness;
struct fair_sync;
struct file_sweep;
struct followers;
struct hints;
struct presence;
struct waiters;

struct api {
	struct loop loop;
	struct db *db;                /* NULL: closed, the process ends */
	struct db *lists;             /* connections of their own for what may take long; NULL as db */
	struct db *blobs;             /* and for the bytes of files; NULL as db */
	struct db_listener *listener; /* NULL: polling only */
	struct http_server *server;
	struct id id; /* of this process and boot */
	struct auth *auth;
	struct batch_keeper *batch_keeper;
	struct door *door;
	struct intake *intake;
	struct lane_ids *lane_ids;
	struct fairness *fairness; /* owned */
	struct fair_sync *fair_sync;
	struct file_sweep *file_sweep;
	struct followers *followers;
	struct hints *hints;
	struct presence *presence;
	struct waiters *waiters;
	struct netguard guard;       /* which webhook URLs a tenant may name */
	struct db_query ready_query; /* is the database there, and its schema current? */
	struct timer ready_timer;
	struct timer grace_timer, held_timer; /* a drain is over; what is still held is sent away shortly before */
	bool schema_ok; /* as last seen */
	bool said_old;  /* that the schema is not ours yet */
	bool draining, stopping;
	int closing;            /* of server and db */
	const char *ready_file; /* NULL: none; written once */
	const char *listen;
	uint64_t batch_bytes; /* of NDJSON bodies held now */
	int64_t forms;        /* bodies with a file that arrive now */
	struct list file_locks; /* see api/files/file_lock.h */
	int exit_status;
};

/* Runs an api process until it is told to stop: the body of `millrace api`. listen and ready_file may be NULL. Returns
 * the exit status. */
int api_run(const char *config_file, const char *listen, const char *ready_file);

/* As db_query_start and db_tx_start, for as long as the process lives: -ERR_DRAINING when the database is closed
 * already. */
int api_query_start(struct api *api, struct db_query *q, struct flow *flow);
int api_tx_start(struct api *api, struct db_tx *tx, struct flow *flow);

#endif
