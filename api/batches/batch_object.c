/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native form. Counts are those of the batch's row plus what outcomes added since it was folded; what runs is counted from the leases; the rest waits.
 * A batch that came as a file is written by batch_file_object.c.
 */
#include "api/batches/batch_object.h"

#include "api/batches/batch_work.h"
#include "api/jobs/job_object.h"

static int64_t number(const struct db_query *q, int row, enum batch_column col)
{
	return db_get_int(q, row, (int)col);
}

static int ended(const struct db_query *q, int row)
{
	int n = 0;
	for (int col = BATCH_COL_SUCCEEDED; col <= BATCH_COL_EXPIRED; col++)
		n += (int)db_get_int(q, row, col);
	return n;
}

static bool has_file(const struct db_query *q, int row)
{
	return !db_is_null(q, row, BATCH_COL_STAGE);
}

bool batch_object_is_over(const struct db_query *q, int row)
{
	return has_file(q, row) ? number(q, row, BATCH_COL_STAGE) >= BATCH_OVER : !db_is_null(q, row, BATCH_COL_FINISHED);
}

static const char *status_name(const struct db_query *q, int row)
{
	bool is_canceled = !db_is_null(q, row, BATCH_COL_CANCEL), is_over = !db_is_null(q, row, BATCH_COL_FINISHED);
	if (is_over)
		return is_canceled ? "canceled" : "completed";
	return is_canceled ? "canceling" : "running";
}

struct str batch_object_etag(struct arena *a, const struct db_query *q, int row)
{
	const char *status = has_file(q, row) ? batch_file_object_status(q, row) : status_name(q, row);
	return arena_printf(a, "W/\"%d-%d-%d-%d-%s\"", (int)number(q, row, BATCH_COL_TOTAL), ended(q, row), (int)number(q, row, BATCH_COL_SUCCEEDED),
	                    (int)number(q, row, BATCH_COL_RUNNING), status);
}

void batch_object_counts(struct buf *b, const struct db_query *q, int row)
{
	int total = (int)number(q, row, BATCH_COL_TOTAL), over = ended(q, row), running = (int)number(q, row, BATCH_COL_RUNNING);
	int queued = db_get_bool(q, row, BATCH_COL_DRY_RUN) ? 0 : MAX(0, total - over - running);
	buf_printf(b, ",\"counts\":{\"queued\":%d,\"running\":%d,\"succeeded\":%d,\"failed\":%d,\"canceled\":%d,\"expired\":%d}", queued, running,
	           (int)number(q, row, BATCH_COL_SUCCEEDED), (int)number(q, row, BATCH_COL_FAILED), (int)number(q, row, BATCH_COL_CANCELED),
	           (int)number(q, row, BATCH_COL_EXPIRED));
}

void batch_object_progress(struct buf *b, const struct db_query *q, int row)
{
	int total = (int)number(q, row, BATCH_COL_TOTAL), over = ended(q, row);
	bool is_over = !db_is_null(q, row, BATCH_COL_FINISHED);
	int64_t until_us = is_over ? db_get_time(q, row, BATCH_COL_FINISHED) : db_get_time(q, row, BATCH_COL_NOW);
	int64_t took_ms = MAX((int64_t)1, (until_us - db_get_time(q, row, BATCH_COL_CREATED)) / 1000);
	int64_t per_mille = total && !(is_over && over == 0) ? (int64_t)over * 1000 / total : is_over ? 1000 : 0;
	int64_t rate_milli = (int64_t)over * 1000000 / took_ms;
	buf_printf(b, ",\"progress\":{\"percent\":%lld.%lld,\"rate_per_s\":%lld.%03lld,\"estimated_finish_at\":", (long long)(per_mille / 10),
	           (long long)(per_mille % 10), (long long)(rate_milli / 1000), (long long)(rate_milli % 1000));
	int64_t finish_us = !is_over && rate_milli > 0 ? until_us + (int64_t)(total - over) * 1000000000 / rate_milli : 0;
	job_object_time(b, finish_us);
	buf_add_char(b, '}');
}

/* Of the jobs that have ended. Where the price of a call is not known, the rest of its job's calls counts all the same. */
static void write_usage(struct buf *b, const struct db_query *q, int row)
{
	buf_printf(b, ",\"usage\":{\"input_tokens\":%lld,\"cached_input_tokens\":%lld,\"output_tokens\":%lld,\"reasoning_tokens\":%lld},\"cost\":{\"usd\":",
	           (long long)number(q, row, BATCH_COL_INPUT), (long long)number(q, row, BATCH_COL_CACHED), (long long)number(q, row, BATCH_COL_OUTPUT),
	           (long long)number(q, row, BATCH_COL_REASONING));
	job_object_usd(b, number(q, row, BATCH_COL_COST));
	buf_printf(b, ",\"unknown_jobs\":%d}", (int)number(q, row, BATCH_COL_COST_UNKNOWN));
}

static void write_native(struct buf *b, const struct db_query *q, int row)
{
	buf_add_z(b, "{\"id\":");
	job_object_id(b, db_get_id(q, row, BATCH_COL_ID), "batch_");
	buf_printf(b, ",\"object\":\"batch\",\"status\":\"%s\",\"total\":%d", status_name(q, row), (int)number(q, row, BATCH_COL_TOTAL));
	batch_object_counts(b, q, row);
	buf_add_z(b, ",\"created_at\":");
	job_object_time(b, db_get_time(q, row, BATCH_COL_CREATED));
	buf_add_z(b, ",\"finished_at\":");
	job_object_time(b, db_get_time(q, row, BATCH_COL_FINISHED));
	buf_add_z(b, ",\"cancel_requested_at\":");
	job_object_time(b, db_get_time(q, row, BATCH_COL_CANCEL));
	batch_object_progress(b, q, row);
	write_usage(b, q, row);
	buf_add_z(b, ",\"webhook\":");
	if (db_is_null(q, row, BATCH_COL_WEBHOOK)) {
		buf_add_z(b, "null");
	} else {
		buf_add_z(b, "{\"url\":");
		buf_add_json_str(b, db_get_str(q, row, BATCH_COL_WEBHOOK));
		buf_add_char(b, '}');
	}
	buf_add_z(b, ",\"errors\":");
	buf_add_str(b, db_is_null(q, row, BATCH_COL_ERRORS) ? STR("[]") : db_get_str(q, row, BATCH_COL_ERRORS));
	buf_printf(b, ",\"error_count\":%d}", (int)number(q, row, BATCH_COL_ERROR_COUNT));
}

void batch_object_write(struct buf *b, const struct db_query *q, int row)
{
	if (has_file(q, row))
		batch_file_object_write(b, q, row);
	else
		write_native(b, q, row);
}
