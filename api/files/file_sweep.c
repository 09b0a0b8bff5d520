/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep: files that have expired, uploads whose hour is over, blobs whose writer died, then the chunks of all that was dropped, and groups of lines of
 * batches whose taker died. One statement at a
 * time, each as often as it finds something, with a pause between them, so that a large deletion disturbs nobody; then nothing for files.sweep.
 *
 * Any number of processes may do it at once: rows that another holds are skipped. What fails is tried again the next time; all of it may be late, because
 * none of it is visible to clients.
 */
#include "api/files/file_sweep.h"

#include <stdlib.h>

#include "api/api.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sql_api.h"

#define PAUSE_MS 10
#define LOOK_MS  1000u /* is the schema there? */

static const struct {
	const struct db_stmt *stmt;
	int rows;
	const char *what; /* of the first column that it returns */
} parts[] = {
	{ &sql_api_file_sweep_expired, 100, "files" },
	{ &sql_api_file_sweep_uploads, 20, "uploads" },
	{ &sql_api_file_sweep_abandoned, 100, "abandoned" },
	{ &sql_api_file_sweep_chunks, 32, "chunks" },
	{ &sql_api_batch_stage_sweep, 20, "groups" },
};

struct file_sweep {
	struct api *api;
	struct timer timer;
	struct db_query query;
	size_t at; /* in parts */
	bool stopped;
};

static void rest(struct file_sweep *s, uint64_t ms)
{
	if (!s->stopped)
		timer_start(&s->timer, ms);
}

static void on_swept(struct op *op, int rc)
{
	struct file_sweep *s = container_of(op, struct file_sweep, query.op);
	int64_t found = 0, blobs = 0;
	if (rc == 0) {
		found = db_get_int(&s->query, 0, 0);
		blobs = parts[s->at].stmt == &sql_api_file_sweep_chunks ? db_get_int(&s->query, 0, 1) : 0;
	} else if (rc == -(int)ERR_DB_QUERY) {
		log_event(LOG_ERROR, "file_sweep_failed", s->query.err.text, LOG_END);
	}
	db_query_done(&s->query);
	metric_add(METRIC_FILES_SWEPT, parts[s->at].what, found);
	metric_add(METRIC_FILES_SWEPT, "blobs", blobs);
	if (rc == 0 && found + blobs == 0)
		s->at++;
	if (rc < 0 || s->at == ARRAY_LEN(parts)) {
		s->at = 0;
		rest(s, (uint64_t)conf_now()->files_sweep_ms);
	} else {
		rest(s, PAUSE_MS);
	}
}

static void on_time(struct timer *t)
{
	struct file_sweep *s = container_of(t, struct file_sweep, timer);
	if (!s->api->schema_ok) {
		rest(s, MIN((uint64_t)conf_now()->files_sweep_ms, LOOK_MS));
		return;
	}
	db_query_init(&s->query, parts[s->at].stmt);
	db_arg_i32(&s->query.args, parts[s->at].rows);
	s->query.op.on_done = on_swept;
	s->query.retry_ms = 0;
	if (api_query_start(s->api, &s->query, NULL) < 0) {
		db_query_done(&s->query);
		rest(s, (uint64_t)conf_now()->files_sweep_ms);
	}
}

struct file_sweep *file_sweep_new(struct api *api)
{
	struct file_sweep *s = calloc(1, sizeof(*s));
	assert(s);
	s->api = api;
	timer_init(&s->timer, &api->loop, on_time);
	timer_start(&s->timer, PAUSE_MS);
	return s;
}

void file_sweep_stop(struct file_sweep *s)
{
	s->stopped = true;
	timer_stop(&s->timer);
}

void file_sweep_free(struct file_sweep *s)
{
	if (!s)
		return;
	assert(!s->query.op.active);
	free(s);
}
