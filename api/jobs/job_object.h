/* SPDX-License-Identifier: Apache-2.0 */
/* The job as clients see it: what is known about it, gathered from one row of job_get or from an acceptance, and its
 * JSON. */
#ifndef MR_API_JOBS_JOB_OBJECT_H
#define MR_API_JOBS_JOB_OBJECT_H

#include "common/buf.h"
#include "common/id.h"

struct conf;
struct db_query;

enum job_object_status {
	STATUS_SCHEDULED,
	STATUS_QUEUED,
	STATUS_RUNNING,
	STATUS_SUCCEEDED,
	STATUS_FAILED,
	STATUS_CANCELED,
	STATUS_EXPIRED,
}; /* as in outcome.status */

struct job_facts {
	struct id id, batch_id;                        /* batch_id zero: none */
	struct str route, metadata, user, webhook_url; /* p NULL: none */
	struct str target, error_code, error_message, result;
	struct str custom_id; /* of a line of a batch; p NULL: none */
	int64_t created_us, run_at_us, expires_us, started_us, finished_us; /* 0: not */
	int64_t parked_until_us; /* or until its lane is expected to open; 0: neither */
	int64_t pass, version;
	int64_t input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens;
	int64_t cost_nanousd; /* -1: unknown */
	int64_t estimate_nanousd; /* before it ran; -1: unknown */
	int64_t start_us;     /* estimated; 0: unknown */
	enum job_object_status status;
	int batch_index; /* -1: none */
	int kind, priority, attempts, interruptions, max_attempts, level, error_status, flags;
	int lane;        /* 0: it is not in the queue */
	int park_reason; /* as parked.reason; of a queued one: why its lane is closed; -1: neither */
	int ahead;       /* -1: unknown or too many to count */
	bool cancel_requested;
};

/* From a row of job_get.sql, ended_answers.sql, job_list*.sql or batch_results.sql, which have the same columns. Borrowed from the result.
 */
void job_facts_read(const struct db_query *q, int row, struct job_facts *ret);
bool job_status_is_over(enum job_object_status status);
/* The whole time was over before the answer was. */
bool job_is_partial(const struct job_facts *j);
/* "primary", "cache", …: how a job that succeeded was served, and whether from a cache. */
const char *job_level_name(const struct job_facts *j, bool *ret_cached);
const char *job_status_name(enum job_object_status status);
/* What a waiting job waits for, by job_facts.park_reason; NULL: nothing that is known. */
const char *job_waiting_name(int reason);
/* -1: no such status. */
int job_status_by_name(struct str name);

/* How: with_result leaves the member `result` out when false (lists); index adds `index` when not negative (results of
 * a batch). */
struct job_object_how {
	bool with_result;
	int index;
};
int job_object_write(struct buf *b, const struct conf *conf, const struct job_facts *j, struct job_object_how how);

/* `W/"…"`: changes when the object's state does. */
struct str job_object_etag(const struct job_facts *j, char out[64]);

/* Nano-dollars as a decimal string with at least six decimals, quoted. */
int job_object_usd(struct buf *b, int64_t nanousd);
int job_object_usd_plain(struct buf *b, int64_t nanousd); /* without the quotes */
/* An RFC 3339 time, quoted; null for 0. */
int job_object_time(struct buf *b, int64_t us);
/* "job_…" of an id, quoted; null for zero. */
int job_object_id(struct buf *b, struct id id, const char *prefix);
int job_object_text(struct buf *b, struct str s); /* null when p is NULL */

#endif
