/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch that came as a file, as OpenAI shows it (OpenAI: The batch object): times are Unix seconds, what is not there yet is null. The member `millrace`
 * has what goes beyond: live counts, progress, cost.
 */
#include "api/batches/batch_object.h"
#include "api/batches/batch_work.h"
#include "api/jobs/job_object.h"

static int64_t number(const struct db_query *q, int row, enum batch_column col)
{
	return db_get_int(q, row, (int)col);
}

static bool has(const struct db_query *q, int row, enum batch_column col)
{
	return !db_is_null(q, row, (int)col);
}

const char *batch_file_object_status(const struct db_query *q, int row)
{
	bool is_canceled = has(q, row, BATCH_COL_CANCEL);
	enum batch_stage stage = (int)number(q, row, BATCH_COL_STAGE);
	switch (stage) {
	case BATCH_VALIDATING:
		return is_canceled ? "cancelling" : "validating";
	case BATCH_LOADING:
	case BATCH_RUNNING:
		return is_canceled ? "cancelling" : "in_progress";
	case BATCH_FINALIZING:
		return is_canceled ? "cancelling" : "finalizing";
	case BATCH_FAILED:
		return "failed";
	case BATCH_OVER:
		break;
	}
	static const char *const endings[] = { "expired", "cancelled" };
	for (size_t i = 0; i < ARRAY_LEN(endings); i++)
		if (str_eq_z(db_get_str(q, row, BATCH_COL_ENDING), endings[i]))
			return endings[i];
	return "completed";
}

static void add_time(struct buf *b, const char *name, int64_t us)
{
	if (us)
		buf_printf(b, ",\"%s\":%lld", name, (long long)(us / 1000000));
	else
		buf_printf(b, ",\"%s\":null", name);
}

static void add_text(struct buf *b, const char *name, const struct db_query *q, int row, enum batch_column col)
{
	buf_printf(b, ",\"%s\":", name);
	if (has(q, row, col))
		buf_add_json_str(b, db_get_str(q, row, (int)col));
	else
		buf_add_z(b, "null");
}

/* JSON that is stored as text. */
static void add_json(struct buf *b, const char *name, const struct db_query *q, int row, enum batch_column col)
{
	buf_printf(b, ",\"%s\":", name);
	buf_add_str(b, has(q, row, col) ? db_get_str(q, row, (int)col) : STR("null"));
}

static void add_file(struct buf *b, const char *name, const struct db_query *q, int row, enum batch_column col)
{
	buf_printf(b, ",\"%s\":", name);
	job_object_id(b, db_get_id(q, row, (int)col), "file-");
}

static void add_usd(struct buf *b, const char *name, const struct db_query *q, int row, enum batch_column col)
{
	buf_printf(b, ",\"%s\":", name);
	if (has(q, row, col))
		job_object_usd(b, number(q, row, col));
	else
		buf_add_z(b, "null");
}

static void add_times(struct buf *b, const struct db_query *q, int row)
{
	static const char *const endings[][2] = {
		{ "completed", "completed_at" }, { "failed", "failed_at" }, { "expired", "expired_at" }, { "cancelled", "cancelled_at" }
	};
	const char *status = batch_file_object_status(q, row);
	add_time(b, "created_at", db_get_time(q, row, BATCH_COL_CREATED));
	add_time(b, "in_progress_at", db_get_time(q, row, BATCH_COL_STARTED));
	add_time(b, "expires_at", db_get_time(q, row, BATCH_COL_EXPIRES));
	add_time(b, "finalizing_at", db_get_time(q, row, BATCH_COL_FINALIZING));
	for (size_t i = 0; i < ARRAY_LEN(endings); i++)
		add_time(b, endings[i][1], str_eq_z(str_from(status), endings[i][0]) ? db_get_time(q, row, BATCH_COL_ENDED) : 0);
	add_time(b, "cancelling_at", db_get_time(q, row, BATCH_COL_CANCEL));
}

static void add_usage(struct buf *b, const struct db_query *q, int row)
{
	long long input = (long long)number(q, row, BATCH_COL_INPUT), output = (long long)number(q, row, BATCH_COL_OUTPUT);
	buf_printf(b, ",\"usage\":{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld},\"output_tokens\":%lld", input,
	           (long long)number(q, row, BATCH_COL_CACHED), output);
	buf_printf(b, ",\"output_tokens_details\":{\"reasoning_tokens\":%lld},\"total_tokens\":%lld}", (long long)number(q, row, BATCH_COL_REASONING),
	           input + output);
}

static void add_millrace(struct buf *b, const struct db_query *q, int row)
{
	char id[ID_TEXT_MAX];
	struct str text = id_text(db_get_id(q, row, BATCH_COL_ID), "batch_", id);
	buf_printf(b, ",\"millrace\":{\"results_url\":\"/v1/batches/" STR_FMT "/results\",\"priority\":%d,\"dry_run\":%s,\"capped\":%s", STR_ARG(text),
	           (int)number(q, row, BATCH_COL_PRIORITY), db_get_bool(q, row, BATCH_COL_DRY_RUN) ? "true" : "false",
	           db_get_bool(q, row, BATCH_COL_CAPPED) ? "true" : "false");
	batch_object_counts(b, q, row);
	buf_printf(b, ",\"loaded\":%d,\"error_count\":%d", (int)number(q, row, BATCH_COL_LOADED), (int)number(q, row, BATCH_COL_ERROR_COUNT));
	batch_object_progress(b, q, row);
	add_usd(b, "cost_usd", q, row, BATCH_COL_COST);
	buf_printf(b, ",\"cost_unknown_jobs\":%d", (int)number(q, row, BATCH_COL_COST_UNKNOWN));
	add_usd(b, "estimated_cost_usd", q, row, BATCH_COL_ESTIMATE);
	if (has(q, row, BATCH_COL_ESTIMATE_INPUT))
		buf_printf(b, ",\"estimated_input_tokens\":%lld", (long long)number(q, row, BATCH_COL_ESTIMATE_INPUT));
	else
		buf_add_z(b, ",\"estimated_input_tokens\":null");
	add_usd(b, "max_cost_usd", q, row, BATCH_COL_CAP);
	buf_add_z(b, ",\"webhook\":");
	if (has(q, row, BATCH_COL_WEBHOOK)) {
		buf_add_z(b, "{\"url\":");
		buf_add_json_str(b, db_get_str(q, row, BATCH_COL_WEBHOOK));
		buf_add_z(b, "}}");
	} else {
		buf_add_z(b, "null}");
	}
}

void batch_file_object_write(struct buf *b, const struct db_query *q, int row)
{
	buf_add_z(b, "{\"id\":");
	job_object_id(b, db_get_id(q, row, BATCH_COL_ID), "batch_");
	buf_add_z(b, ",\"object\":\"batch\"");
	add_text(b, "endpoint", q, row, BATCH_COL_ENDPOINT);
	add_text(b, "model", q, row, BATCH_COL_MODEL);
	if (has(q, row, BATCH_COL_ERRORS)) {
		buf_add_z(b, ",\"errors\":{\"object\":\"list\",\"data\":");
		buf_add_str(b, db_get_str(q, row, BATCH_COL_ERRORS));
		buf_add_char(b, '}');
	} else {
		buf_add_z(b, ",\"errors\":null");
	}
	add_file(b, "input_file_id", q, row, BATCH_COL_FILE);
	add_text(b, "completion_window", q, row, BATCH_COL_WINDOW);
	buf_printf(b, ",\"status\":\"%s\"", batch_file_object_status(q, row));
	add_file(b, "output_file_id", q, row, BATCH_COL_OUTPUT_FILE);
	add_file(b, "error_file_id", q, row, BATCH_COL_ERROR_FILE);
	add_times(b, q, row);
	buf_printf(b, ",\"request_counts\":{\"total\":%d,\"completed\":%d,\"failed\":%d}", (int)number(q, row, BATCH_COL_TOTAL),
	           (int)number(q, row, BATCH_COL_SUCCEEDED), (int)number(q, row, BATCH_COL_FAILED));
	add_usage(b, q, row);
	add_json(b, "metadata", q, row, BATCH_COL_METADATA);
	add_millrace(b, q, row);
	buf_add_char(b, '}');
}
