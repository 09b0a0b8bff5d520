/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace api`: reads the configuration, opens the database and the port, and serves until it is told to stop.
 *
 * Start: the port opens at once and the database is asked until it answers with the right schema; then /readyz says so
 * and the ready file is written. SIGHUP reads the configuration again. SIGTERM or SIGINT: /readyz turns, held answers
 * are given as they stand, the port closes, running requests get server.grace; a second signal, or the end of the
 * grace, cuts what is left. Then the parts stop in the order that lets each end what still waits for it.
 *
 * A database that is away is not a reason to end: requests answer 503 until it returns. A configuration that cannot be
 * used, or a port that cannot be opened, is: exit status 1.
 */
#include "api/api.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api_private.h"
#include "api/door/auth.h"
#include "api/batches/batch_keeper.h"
#include "api/door/door.h"
#include "api/jobs/fair_sync.h"
#include "api/files/file_sweep.h"
#include "api/events/followers.h"
#include "api/jobs/intake.h"
#include "api/jobs/lane_ids.h"
#include "api/jobs/hints.h"
#include "api/jobs/presence.h"
#include "api/request.h"
#include "api/jobs/waiters.h"
#include "common/conf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/metrics.h"
#include "migrations.h"
#include "sql_api.h"

#define READY_TRY_MS  200
#define READY_LOOK_MS 10000
#define DB_WAITING    20000
#define LIST_CONNECTIONS 2
#define HELD_MS       1000 /* before the end of the grace, at most: time for refusals to go out */
#define BLOB_CONNECTIONS 2

/* What follows on the same connection waits for it: a few lists over millions of jobs would hold up every accept. */
static bool may_take_long(const struct db_stmt *stmt)
{
	static const struct db_stmt *const lists[] = { &sql_api_job_list, &sql_api_job_list_up, &sql_api_batch_list, &sql_api_batch_list_up,
		                                       &sql_api_file_list, &sql_api_file_list_up, &sql_api_batch_results, &sql_api_batch_output_page,
		                                       &sql_api_batch_file_spent, &sql_api_batch_cancel_some, &sql_api_batch_retry,
		                                       &sql_api_file_sweep_expired, &sql_api_file_sweep_uploads, &sql_api_file_sweep_abandoned,
		                                       &sql_api_file_sweep_chunks, &sql_api_batch_stage_sweep,
		                                       &sql_api_cache_stats, &sql_api_cache_entries, &sql_api_cache_clear, &sql_api_door_depth, &sql_api_admin_wake };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (stmt == lists[i])
			return true;
	return false;
}

/* Half a megabyte at a time: what follows on the same connection waits for it, and each connection keeps buffers of that size. */
static bool has_bytes(const struct db_stmt *stmt)
{
	static const struct db_stmt *const bytes[] = { &sql_api_blob_chunk_add, &sql_api_blob_read, &sql_api_batch_file_load, &sql_api_batch_stage_add };
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
		if (stmt == bytes[i])
			return true;
	return false;
}

int api_query_start(struct api *api, struct db_query *q, struct flow *flow)
{
	struct db *db = has_bytes(q->stmt) ? api->blobs : may_take_long(q->stmt) ? api->lists : api->db;
	return db ? db_query_start(db, q, flow) : -(int)ERR_DRAINING;
}

int api_tx_start(struct api *api, struct db_tx *tx, struct flow *flow)
{
	return api->db ? db_tx_start(api->db, tx, flow) : -(int)ERR_DRAINING;
}

/* --- is the database there, and its schema the right one? --- */

static void on_ready_answer(struct op *op, int rc)
{
	struct api *api = container_of(op, struct api, ready_query.op);
	bool was = api->schema_ok;
	int wanted = migrations_n > 0 ? migrations[migrations_n - 1].number : 0;
	bool unknown = rc == -(int)ERR_DATABASE || rc == -(int)ERR_OVERLOADED; /* what was true last still is */
	int have = rc == 0 ? (int)db_get_int(&api->ready_query, 0, 0) : unknown ? -1 : 0;
	api->schema_ok = have >= wanted || (unknown && was);
	if (have >= 0 && have < wanted && !api->said_old)
		log_event(LOG_ERROR, "schema_old", "the database must be migrated: millrace migrate", LOG_I64("have", have),
		          LOG_I64("wanted", wanted), LOG_Z("why", rc ? api->ready_query.err.text : ""), LOG_END);
	api->said_old = have < wanted && (have >= 0 || api->said_old);
	db_query_done(&api->ready_query);
	if (api->stopping)
		return;
	if (api->schema_ok && !was) {
		presence_begin(api->presence);
		api_announce(api);
	}
	timer_start(&api->ready_timer, api->schema_ok ? READY_LOOK_MS : READY_TRY_MS);
}

static void on_ready_timer(struct timer *t)
{
	struct api *api = container_of(t, struct api, ready_timer);
	db_query_init(&api->ready_query, &sql_api_ready);
	api->ready_query.op.on_done = on_ready_answer;
	api->ready_query.retry_ms = 1000;
	if (api_query_start(api, &api->ready_query, NULL) < 0) {
		db_query_done(&api->ready_query);
		timer_start(t, READY_TRY_MS);
	}
}

static void on_db_change(void *arg, bool up)
{
	struct api *api = arg;
	if (api->stopping)
		return;
	log_event(up ? LOG_INFO : LOG_WARN, up ? "database_up" : "database_down",
	          up ? "the database answers" : "no connection to the database", LOG_Z("why", up ? "" : db_why_down(api->db)), LOG_END);
}

/* --- the end --- */

static void on_closed(void *arg)
{
	struct api *api = arg;
	if (--api->closing > 0)
		return;
	loop_signals_done(&api->loop);
	loop_stop(&api->loop);
}

static void on_db_closed(void *arg)
{
	struct api *api = arg;
	api->db = NULL;
	on_closed(api);
}

static void on_lists_closed(void *arg)
{
	struct api *api = arg;
	api->lists = NULL;
	on_closed(api);
}

static void on_blobs_closed(void *arg)
{
	struct api *api = arg;
	api->blobs = NULL;
	on_closed(api);
}

/* Everything at once: requests that wait for the database end because it fails them, and only then is the server
 * closed. */
static void stop(struct api *api)
{
	if (api->stopping)
		return;
	api->stopping = true;
	api->closing = 4;
	timer_stop(&api->grace_timer);
	timer_stop(&api->held_timer);
	timer_stop(&api->ready_timer);
	waiters_stop(api->waiters);
	door_stop(api->door);
	followers_stop(api->followers);
	intake_stop(api->intake);
	presence_stop(api->presence);
	hints_stop(api->hints);
	fair_sync_stop(api->fair_sync);
	file_sweep_stop(api->file_sweep);
	if (api->listener)
		db_listener_free(api->listener);
	api->listener = NULL;
	struct http_server *server = take(&api->server);
	http_server_free(server, on_closed, api);
	db_free(api->db, on_db_closed, api);
	db_free(api->lists, on_lists_closed, api);
	db_free(api->blobs, on_blobs_closed, api);
}

static void on_farewell(void *arg)
{
	stop(arg);
}

static void on_drained(void *arg)
{
	struct api *api = arg;
	presence_leave(api->presence, on_farewell, api);
}

static void on_grace_over(struct timer *t)
{
	struct api *api = container_of(t, struct api, grace_timer);
	log_event(LOG_WARN, "grace_over", "cutting what still runs",
	          LOG_I64("connections", http_server_connections(api->server)), LOG_END);
	stop(api);
}

/* Requests that wait for their jobs had the time there is. */
static void on_held_over(struct timer *t)
{
	struct api *api = container_of(t, struct api, held_timer);
	waiters_stop(api->waiters);
	followers_stop(api->followers);
}

static void on_stop_signal(void *arg, int signum)
{
	struct api *api = arg;
	if (api->draining) {
		log_event(LOG_WARN, "stop", "a second signal: stopping at once", LOG_I64("signal", signum), LOG_END);
		stop(api);
		return;
	}
	log_event(LOG_INFO, "drain", "no new connections; running requests finish", LOG_I64("signal", signum),
	          LOG_I64("connections", http_server_connections(api->server)), LOG_END);
	api->draining = true;
	uint64_t grace_ms = (uint64_t)conf_now()->server_grace_ms;
	timer_start(&api->grace_timer, grace_ms);
	timer_start(&api->held_timer, grace_ms - MIN(grace_ms / 5, (uint64_t)HELD_MS));
	waiters_drain(api->waiters);
	batch_keeper_drain(api->batch_keeper);
	followers_drain(api->followers);
	http_server_drain(api->server, on_drained, api);
}

/* --- the beginning --- */

static void on_notice(void *arg, struct str channel, struct str payload)
{
	struct api *api = arg;
	(void)payload;
	if (str_eq_z(channel, "millrace_chunk")) {
		followers_hint_text(api->followers);
		return;
	}
	waiters_hint(api->waiters);
	followers_hint_done(api->followers);
}

static void on_notices_lost(void *arg)
{
	struct api *api = arg;
	waiters_hint(api->waiters);
	followers_hint_text(api->followers);
	followers_hint_done(api->followers);
}

/* False: the URL cannot be one. */
static bool open_database(struct api *api)
{
	static const char *const channels[] = { "millrace_done", "millrace_chunk" };
	const struct conf *c = conf_now();
	struct db_cfg cfg = {
		.url = c->database_url,
		.application = "millrace api",
		.connections = (int)c->database_connections,
		.depth = (int)c->database_depth,
		.max_waiting = DB_WAITING,
		.pooler = c->database_pooler,
		.statement_timeout_ms = (int)c->database_statement_timeout_ms,
		.deadline_ms = (int)c->database_deadline_ms,
	};
	api->db = db_new(&api->loop, &cfg);
	if (!api->db)
		return false;
	db_on_change(api->db, on_db_change, api);
	struct db_cfg lists = cfg;
	lists.connections = LIST_CONNECTIONS;
	lists.depth = 1;
	api->lists = db_new(&api->loop, &lists);
	lists.connections = BLOB_CONNECTIONS;
	api->blobs = db_new(&api->loop, &lists);
	assert(api->lists && api->blobs);
	bool has_direct = c->database_listen_url[0] != '\0';
	if (c->queue_notify && (has_direct || !c->database_pooler)) {
		if (has_direct)
			cfg.url = c->database_listen_url;
		cfg.pooler = false;
		api->listener =
		    db_listen(&api->loop, &cfg, channels, ARRAY_LEN(channels), on_notice, on_notices_lost, api);
	}
	return true;
}

static void open_parts(struct api *api)
{
	api->auth = auth_new(api);
	api->door = door_new(api);
	api->lane_ids = lane_ids_new(api);
	api->fairness = calloc(1, sizeof(*api->fairness));
	assert(api->fairness);
	fairness_init(api->fairness);
	list_init(&api->file_locks);
	api->fair_sync = fair_sync_new(api, api->fairness);
	api->file_sweep = file_sweep_new(api);
	api->hints = hints_new(api);
	api->presence = presence_new(api);
	api->waiters = waiters_new(api);
	api->followers = followers_new(api);
	api->intake = intake_new(api);
	api->batch_keeper = batch_keeper_new(api);
}

static void close_parts(struct api *api)
{
	batch_keeper_free(api->batch_keeper);
	intake_free(api->intake);
	followers_free(api->followers);
	waiters_free(api->waiters);
	presence_free(api->presence);
	hints_free(api->hints);
	fair_sync_free(api->fair_sync);
	file_sweep_free(api->file_sweep);
	fairness_done(api->fairness);
	free(api->fairness);
	lane_ids_free(api->lane_ids);
	door_free(api->door);
	auth_free(api->auth);
}

static int serve(struct api *api)
{
	struct err err = { 0 };
	struct http_limits limits;
	if (!open_database(api)) {
		log_event(LOG_ERROR, "bad_database_url", "database.url is no connection string", LOG_END);
		return 1;
	}
	open_parts(api);
	timer_init(&api->ready_timer, &api->loop, on_ready_timer);
	timer_init(&api->grace_timer, &api->loop, on_grace_over);
	timer_init(&api->held_timer, &api->loop, on_held_over);
	api_limits(&limits);
	int rc = http_server_start(&api->loop, api->listen, /* reuse_port= */ true, &limits, &request_handler, api,
	                           &api->server, &err);
	if (rc < 0) {
		log_event(LOG_ERROR, "listen_failed", err.text, LOG_Z("listen", api->listen), LOG_END);
		api->exit_status = 1;
		stop(api);
	} else {
		timer_start(&api->ready_timer, 0);
		signal(SIGPIPE, SIG_IGN);
		if (loop_on_signal(&api->loop, SIGTERM, on_stop_signal, api) < 0 ||
		    loop_on_signal(&api->loop, SIGINT, on_stop_signal, api) < 0 ||
		    loop_on_signal(&api->loop, SIGHUP, api_on_reload, api) < 0)
			log_event(LOG_ERROR, "signal_failed", "a signal cannot be watched", LOG_END);
	}
	loop_run(&api->loop);
	close_parts(api);
	log_event(LOG_INFO, "stopped", "the api has ended", LOG_END);
	return api->exit_status;
}

int api_run(const char *config_file, const char *listen, const char *ready_file)
{
	int status = api_configure(config_file);
	if (status != 0)
		return status;
	struct api *api = calloc(1, sizeof(*api));
	assert(api);
	api->ready_file = ready_file;
	api->listen = listen ? listen : conf_now()->server_listen;
	metrics_init();
	loop_init(&api->loop);
	api->id = id_make(-1);
	api_guard(api);
	status = serve(api);
	loop_done(&api->loop);
	metrics_done();
	free(api);
	conf_set_now(NULL);
	return status;
}
