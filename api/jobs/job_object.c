/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the job object straight into a buffer, member by member in the order of the contract: this is on the path of
 * every answer, so no tree is built. What is JSON already (metadata, result) goes in as it is.
 */
#include "api/jobs/job_object.h"

#include <string.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db/db.h"

#define FLAG_USAGE_ESTIMATED 1
#define FLAG_PARTIAL_ANSWER  2
#define FLAG_SHARED_ANSWER   4

static const char *const status_names[] = {
	[STATUS_SCHEDULED] = "scheduled", [STATUS_QUEUED] = "queued", [STATUS_RUNNING] = "running",
	[STATUS_SUCCEEDED] = "succeeded", [STATUS_FAILED] = "failed", [STATUS_CANCELED] = "canceled",
	[STATUS_EXPIRED] = "expired",
};
static const char *const level_names[] = {
	"primary", "fallback", "cache", "semantic_cache", "stale_cache", "simple_model", "static",
};
static const char *const waiting_for[] = { "run_at", "retry", "rate_limit", "target_unavailable", "identical_job" };

bool job_is_partial(const struct job_facts *j)
{
	return (j->flags & FLAG_PARTIAL_ANSWER) != 0;
}

const char *job_level_name(const struct job_facts *j, bool *ret_cached)
{
	size_t level = j->level >= 0 && (size_t)j->level < ARRAY_LEN(level_names) ? (size_t)j->level : 0;
	*ret_cached = level >= 2 && level <= 4;
	return level_names[level];
}

bool job_status_is_over(enum job_object_status status)
{
	return status >= STATUS_SUCCEEDED;
}

const char *job_status_name(enum job_object_status status)
{
	assert((size_t)status < ARRAY_LEN(status_names));
	return status_names[status];
}

const char *job_waiting_name(int reason)
{
	return reason >= 0 && (size_t)reason < ARRAY_LEN(waiting_for) ? waiting_for[reason] : NULL;
}

int job_status_by_name(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(status_names); i++)
		if (str_eq_z(name, status_names[i]))
			return (int)i;
	return -1;
}

static struct str text_or_null(const struct db_query *q, int row, int col)
{
	return db_is_null(q, row, col) ? (struct str){ 0 } : db_get_str(q, row, col);
}

/* The columns of job_get.sql. */
enum column {
	COL_ID,
	COL_KIND,
	COL_ROUTE,
	COL_BATCH,
	COL_INDEX,
	COL_PRIORITY,
	COL_METADATA,
	COL_USER,
	COL_CREATED,
	COL_RUN_AT,
	COL_EXPIRES,
	COL_MAX_ATTEMPTS,
	COL_WEBHOOK,
	COL_STATUS,
	COL_LANE,
	COL_PASS,
	COL_PARKED_UNTIL,
	COL_REASON,
	COL_CLAIMED,
	COL_CANCEL,
	COL_ATTEMPTS,
	COL_INTERRUPTIONS,
	COL_TOKEN,
	COL_STARTED,
	COL_FINISHED,
	COL_LEVEL,
	COL_TARGET,
	COL_ERROR_CODE,
	COL_ERROR_MESSAGE,
	COL_ERROR_STATUS,
	COL_INPUT,
	COL_CACHED,
	COL_OUTPUT,
	COL_COST,
	COL_FLAGS,
	COL_RESULT,
	COL_VERSION,
	COL_DEADLINE,
	COL_CACHE_WRITE,
	COL_REASONING,
	COL_CUSTOM_ID,
	COL_ESTIMATE,
};

void job_facts_read(const struct db_query *q, int row, struct job_facts *ret)
{
	int64_t status = db_get_int(q, row, COL_STATUS);
	assert(status >= STATUS_SCHEDULED && status <= STATUS_EXPIRED);
	*ret = (struct job_facts){
		.id = db_get_id(q, row, COL_ID),
		.batch_id = db_get_id(q, row, COL_BATCH),
		.route = db_get_str(q, row, COL_ROUTE),
		.metadata = text_or_null(q, row, COL_METADATA),
		.user = text_or_null(q, row, COL_USER),
		.webhook_url = text_or_null(q, row, COL_WEBHOOK),
		.target = text_or_null(q, row, COL_TARGET),
		.error_code = text_or_null(q, row, COL_ERROR_CODE),
		.error_message = text_or_null(q, row, COL_ERROR_MESSAGE),
		.result = text_or_null(q, row, COL_RESULT),
		.custom_id = text_or_null(q, row, COL_CUSTOM_ID),
		.estimate_nanousd = db_is_null(q, row, COL_ESTIMATE) ? -1 : db_get_int(q, row, COL_ESTIMATE),
		.created_us = db_get_time(q, row, COL_CREATED),
		.run_at_us = db_get_time(q, row, COL_RUN_AT),
		.expires_us = db_get_time(q, row, COL_DEADLINE),
		.started_us = db_is_null(q, row, COL_CLAIMED) ? db_get_time(q, row, COL_STARTED)
		                                              : db_get_time(q, row, COL_CLAIMED),
		.finished_us = db_get_time(q, row, COL_FINISHED),
		.parked_until_us = db_get_time(q, row, COL_PARKED_UNTIL),
		.pass = db_get_int(q, row, COL_PASS),
		.version = db_get_int(q, row, COL_VERSION),
		.input_tokens = db_get_int(q, row, COL_INPUT),
		.cached_input_tokens = db_get_int(q, row, COL_CACHED),
		.output_tokens = db_get_int(q, row, COL_OUTPUT),
		.cache_write_tokens = db_get_int(q, row, COL_CACHE_WRITE),
		.reasoning_tokens = db_get_int(q, row, COL_REASONING),
		.cost_nanousd = db_is_null(q, row, COL_COST) ? -1 : db_get_int(q, row, COL_COST),
		.status = (enum job_object_status)status,
		.batch_index = db_is_null(q, row, COL_INDEX) ? -1 : (int)db_get_int(q, row, COL_INDEX),
		.kind = (int)db_get_int(q, row, COL_KIND),
		.priority = (int)db_get_int(q, row, COL_PRIORITY),
		.attempts = (int)db_get_int(q, row, COL_ATTEMPTS),
		.interruptions = (int)db_get_int(q, row, COL_INTERRUPTIONS),
		.max_attempts = (int)db_get_int(q, row, COL_MAX_ATTEMPTS),
		.level = (int)db_get_int(q, row, COL_LEVEL),
		.error_status = (int)db_get_int(q, row, COL_ERROR_STATUS),
		.flags = (int)db_get_int(q, row, COL_FLAGS),
		.lane = (int)db_get_int(q, row, COL_LANE),
		.park_reason = db_is_null(q, row, COL_REASON) ? -1 : (int)db_get_int(q, row, COL_REASON),
		.ahead = -1,
		.cancel_requested = db_get_bool(q, row, COL_CANCEL),
	};
}

int job_object_text(struct buf *b, struct str s)
{
	return s.p ? buf_add_json_str(b, s) : buf_add_z(b, "null");
}

int job_object_time(struct buf *b, int64_t us)
{
	if (!us)
		return buf_add_z(b, "null");
	buf_add_char(b, '"');
	clock_rfc3339(b, us);
	return buf_add_char(b, '"');
}

int job_object_id(struct buf *b, struct id id, const char *prefix)
{
	char text[ID_TEXT_MAX];
	if (id_is_zero(id))
		return buf_add_z(b, "null");
	buf_add_char(b, '"');
	buf_add_str(b, id_text(id, prefix, text));
	return buf_add_char(b, '"');
}

int job_object_usd_plain(struct buf *b, int64_t nanousd)
{
	assert(nanousd >= 0);
	int64_t rest = nanousd % 1000000000;
	int digits = 9;
	for (; digits > 6 && rest % 10 == 0; digits--)
		rest /= 10;
	return buf_printf(b, "%lld.%0*lld", (long long)(nanousd / 1000000000), digits, (long long)rest);
}

int job_object_usd(struct buf *b, int64_t nanousd)
{
	buf_add_char(b, '"');
	job_object_usd_plain(b, nanousd);
	return buf_add_char(b, '"');
}

static void write_queue(struct buf *b, const struct job_facts *j)
{
	if (j->status != STATUS_QUEUED && j->status != STATUS_SCHEDULED) {
		buf_add_z(b, ",\"queue\":null");
		return;
	}
	buf_add_z(b, ",\"queue\":{\"ahead\":");
	if (j->ahead >= 0)
		buf_add_i64(b, j->ahead);
	else
		buf_add_z(b, "null");
	int64_t start_us = j->start_us;
	if (!start_us && j->status == STATUS_SCHEDULED)
		start_us = j->run_at_us;
	if (j->parked_until_us)
		start_us = j->parked_until_us;
	buf_add_z(b, ",\"estimated_start_at\":");
	job_object_time(b, start_us);
	buf_add_z(b, ",\"waiting_for\":");
	int reason = j->status == STATUS_SCHEDULED ? 0 : j->park_reason;
	if (reason >= 0 && (size_t)reason < ARRAY_LEN(waiting_for))
		buf_add_json_str(b, str_from(waiting_for[reason]));
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}

static void write_served_by(struct buf *b, const struct job_facts *j)
{
	if (j->status != STATUS_SUCCEEDED) {
		buf_add_z(b, ",\"served_by\":null");
		return;
	}
	bool cached;
	buf_printf(b, ",\"served_by\":{\"level\":\"%s\",\"target\":", job_level_name(j, &cached));
	job_object_text(b, j->target);
	buf_printf(b, ",\"cached\":%s,\"shared\":%s}", cached ? "true" : "false", j->flags & FLAG_SHARED_ANSWER ? "true" : "false");
}

/* What kind of failure: the provider's, ours, or a decision. */
static const char *error_type(const struct job_facts *j, enum err_code code)
{
	if (j->status == STATUS_CANCELED)
		return "canceled";
	if (j->status == STATUS_EXPIRED)
		return "expired";
	if (code >= ERR_NETWORK)
		return "provider_error";
	return err_http_status((int)code) >= 500 ? "internal_error" : "invalid_request";
}

static void write_error(struct buf *b, const struct conf *conf, const struct job_facts *j)
{
	if (j->status != STATUS_FAILED && j->status != STATUS_CANCELED && j->status != STATUS_EXPIRED) {
		buf_add_z(b, ",\"error\":null");
		return;
	}
	enum err_code code = err_by_code_name(j->error_code);
	struct str provider = { 0 };
	for (size_t i = 0; conf && j->target.p && i < conf->ntargets; i++)
		if (str_eq(conf->targets[i].name, j->target))
			provider = conf->targets[i].provider;
	buf_printf(b, ",\"error\":{\"type\":\"%s\",\"code\":", error_type(j, code));
	job_object_text(b, j->error_code);
	buf_add_z(b, ",\"message\":");
	job_object_text(b, j->error_message);
	buf_printf(b,
	           ",\"retryable\":%s,\"provider\":", code != ERR_OK && err_is_retryable((int)code) ? "true" : "false");
	job_object_text(b, provider);
	buf_add_z(b, ",\"target\":");
	job_object_text(b, j->target);
	buf_add_z(b, ",\"http_status\":");
	if (j->error_status)
		buf_add_i64(b, j->error_status);
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}

/* The result is the provider's answer in OpenAI's form; an answer that was cut says so in itself. */
static void write_result(struct buf *b, const struct job_facts *j)
{
	buf_add_z(b, ",\"result\":");
	if (!j->result.p) {
		buf_add_z(b, "null");
		return;
	}
	bool partial = job_is_partial(j) && j->result.n > 2 && j->result.p[0] == '{' &&
	               str_find(j->result, STR("\"partial\":")) < 0;
	if (!partial) {
		buf_add_str(b, j->result);
		return;
	}
	buf_add_z(b, "{\"partial\":true,");
	buf_add_str(b, str_sub(j->result, 1, j->result.n));
}

static void write_usage(struct buf *b, const struct job_facts *j)
{
	buf_printf(
	    b,
	    ",\"usage\":{\"input_tokens\":%lld,\"cached_input_tokens\":%lld,\"cache_write_tokens\":%lld,\"output_tokens\":%lld,"
	    "\"reasoning_tokens\":%lld,\"estimated\":%s}",
	    (long long)j->input_tokens, (long long)j->cached_input_tokens, (long long)j->cache_write_tokens,
	    (long long)j->output_tokens, (long long)j->reasoning_tokens,
	    j->flags & FLAG_USAGE_ESTIMATED ? "true" : "false");
	buf_add_z(b, ",\"cost\":{\"usd\":");
	if (j->cost_nanousd >= 0)
		job_object_usd(b, j->cost_nanousd);
	else if (job_status_is_over(j->status) && j->attempts > 0)
		buf_add_z(b, "null"); /* an unknown price is unknown, not 0 */
	else
		job_object_usd(b, 0);
	buf_add_z(b, ",\"estimated_usd\":");
	if (j->estimate_nanousd >= 0)
		job_object_usd(b, j->estimate_nanousd);
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}

int job_object_write(struct buf *b, const struct conf *conf, const struct job_facts *j, struct job_object_how how)
{
	buf_add_z(b, "{\"id\":");
	job_object_id(b, j->id, "job_");
	buf_add_z(b, ",\"object\":\"job\",\"status\":\"");
	buf_add_z(b, job_status_name(j->status));
	buf_add_z(b, j->kind == 1 ? "\",\"kind\":\"embeddings\",\"route\":" : "\",\"kind\":\"chat\",\"route\":");
	buf_add_json_str(b, j->route);
	buf_add_z(b, ",\"batch_id\":");
	job_object_id(b, j->batch_id, "batch_");
	if (how.index >= 0)
		buf_printf(b, ",\"index\":%d", how.index);
	if (j->custom_id.p) {
		buf_add_z(b, ",\"custom_id\":");
		buf_add_json_str(b, j->custom_id);
	}
	buf_add_z(b, ",\"priority\":");
	buf_add_i64(b, j->priority);
	buf_add_z(b, ",\"metadata\":");
	buf_add_str(b, j->metadata.p ? j->metadata : STR("{}"));
	buf_add_z(b, ",\"user\":");
	job_object_text(b, j->user);
	buf_add_z(b, ",\"created_at\":");
	job_object_time(b, j->created_us);
	buf_add_z(b, ",\"run_at\":");
	job_object_time(b, j->run_at_us);
	buf_add_z(b, ",\"started_at\":");
	job_object_time(b, j->started_us);
	buf_add_z(b, ",\"finished_at\":");
	job_object_time(b, j->finished_us);
	buf_add_z(b, ",\"expires_at\":");
	job_object_time(b, j->expires_us);
	buf_add_z(b, j->cancel_requested ? ",\"cancel_requested\":true" : ",\"cancel_requested\":false");
	write_queue(b, j);
	buf_printf(b, ",\"attempts\":%d,\"max_attempts\":%d,\"interruptions\":%d", j->attempts, j->max_attempts,
	           j->interruptions);
	write_served_by(b, j);
	if (how.with_result)
		write_result(b, j);
	write_error(b, conf, j);
	write_usage(b, j);
	buf_add_z(b, ",\"webhook\":");
	if (j->webhook_url.p) {
		buf_add_z(b, "{\"url\":");
		buf_add_json_str(b, j->webhook_url);
		buf_add_char(b, '}');
	} else {
		buf_add_z(b, "null");
	}
	return buf_add_char(b, '}');
}

struct str job_object_etag(const struct job_facts *j, char out[64])
{
	struct buf b;
	buf_init(&b, 63);
	buf_printf(&b, "W/\"%lld-%d-%d-%d%d\"", (long long)j->version, (int)j->status, j->attempts, j->cancel_requested,
	           j->result.p != NULL);
	assert(!buf_failed(&b));
	memcpy(out, b.p, b.n);
	struct str etag = { out, b.n };
	buf_done(&b);
	return etag;
}
