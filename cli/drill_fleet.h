/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a drill: a private PostgreSQL and a simulator for its whole time, and for each scenario a fresh database with an api
 * and its workers. Everything lives in a temporary folder and is gone after drill_fleet_close.
 */
#ifndef MR_CLI_DRILL_FLEET_H
#define MR_CLI_DRILL_FLEET_H

#include "cli/up_keys.h"
#include "cli/up_postgres.h"
#include "common/json.h"

#define DRILL_WORKERS 3

struct drill_process {
	const char *name, *ready_file; /* ready_file NULL: of PostgreSQL */
	const char *const *argv;
	pid_t pid; /* 0: it does not run */
	bool frozen;
	char url[128]; /* as its ready file says */
};

struct drill_fleet {
	struct arena *arena; /* borrowed */
	const char *dir;     /* NULL: none was made */
	const char *log;     /* what the processes say */
	int log_fd;
	struct up_postgres pg;
	struct up_keys keys;
	struct drill_process postgres, simulator, api, workers[DRILL_WORKERS];
	const char *simulator_listen, *simulator_url; /* known before it is started, for the configuration */
	const char *database;                         /* URL of the scenario's */
	bool interrupted;
};

/* -ERR_CANCELED when interrupted meanwhile. */
int drill_fleet_sleep(struct drill_fleet *f, int64_t ms);

/* The folder, and where the simulator will be; log_file NULL: in the folder. */
int drill_fleet_open(struct drill_fleet *f, struct arena *a, const char *log_file, struct err *err);
/* PostgreSQL with the schema and a key, and the simulator. */
int drill_fleet_start_base(struct drill_fleet *f, struct err *err);
/* A database and the servers on it. file: their configuration, gets its `database`. */
int drill_fleet_start(struct drill_fleet *f, const char *name, json_t *file, struct err *err);
void drill_fleet_stop(struct drill_fleet *f); /* the servers */
/* Ends all and removes the folder. Safe at any time after drill_fleet_open. */
void drill_fleet_close(struct drill_fleet *f);

void drill_fleet_kill_worker(struct drill_fleet *f, size_t i);
void drill_fleet_freeze_worker(struct drill_fleet *f, size_t i);
/* Those that were killed are started again, those that are frozen go on. */
int drill_fleet_mend(struct drill_fleet *f, struct err *err);
/* The first process that ended by itself; NULL: all are as they should be. */
const char *drill_fleet_ended(struct drill_fleet *f);

#endif
