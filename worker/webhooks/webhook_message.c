/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a receiver gets. The body is thin: who, how it ended, what it used; the result is fetched by id, so that a webhook stays small and leaks
 * nothing to a wrong address. It is made from rows that do not change any more, so every try carries the same bytes.
 *
 * Who works with OpenAI's API gets OpenAI's events: a response tells response.completed and its like, a batch from a file batch.completed and its like, each
 * in OpenAI's form. The column `event` says job.… of any job; its name is made here, and nowhere else.
 */
#include "worker/webhooks/webhook_message.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/db/db.h"
#include "common/json.h"
#include "worker/job.h"
#include "worker/webhooks/webhook_columns.h"

static void key(struct buf *b, const char *name)
{
	if (b->n && b->p[b->n - 1] != '{')
		buf_add_char(b, ',');
	buf_printf(b, "\"%s\":", name);
}

static void text(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	key(b, name);
	if (db_is_null(q, row, col))
		buf_add_z(b, "null");
	else
		buf_add_json_str(b, db_get_str(q, row, col));
}

static void number(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	key(b, name);
	buf_add_i64(b, db_get_int(q, row, col));
}

static void id(struct buf *b, const char *name, const char *prefix, const struct db_query *q, int row, int col)
{
	char out[ID_TEXT_MAX];
	key(b, name);
	if (db_is_null(q, row, col))
		buf_add_z(b, "null");
	else
		buf_add_json_str(b, id_text(db_get_id(q, row, col), prefix, out));
}

static void time_of(struct buf *b, const char *name, int64_t wall_us)
{
	key(b, name);
	buf_add_char(b, '"');
	clock_rfc3339(b, wall_us);
	buf_add_char(b, '"');
}

static void money(struct buf *b, const char *name, const struct db_query *q, int row, int col)
{
	key(b, name);
	if (db_is_null(q, row, col)) {
		buf_add_z(b, "null");
		return;
	}
	int64_t nano = db_get_int(q, row, col);
	buf_printf(b, "\"%lld.%09lld\"", (long long)(nano / 1000000000), (long long)(nano % 1000000000));
}

static const char *status_name(int64_t status)
{
	return status == JOB_SUCCEEDED ? "succeeded" : status == JOB_FAILED ? "failed" : status == JOB_CANCELED ? "canceled" : "expired";
}

static void job_data(struct buf *b, const struct db_query *q, int row)
{
	id(b, "id", "job_", q, row, W_JOB);
	key(b, "object");
	buf_add_z(b, "\"job\"");
	key(b, "status");
	buf_printf(b, "\"%s\"", status_name(db_get_int(q, row, W_STATUS)));
	text(b, "route", q, row, W_ROUTE);
	id(b, "batch_id", "batch_", q, row, W_JOB_BATCH);
	key(b, "metadata");
	if (db_is_null(q, row, W_METADATA))
		buf_add_z(b, "{}");
	else
		buf_add_str(b, db_get_str(q, row, W_METADATA));
	text(b, "user", q, row, W_USER);
	time_of(b, "finished_at", db_get_time(q, row, W_FINISHED));
	number(b, "attempts", q, row, W_ATTEMPTS);
	key(b, "error");
	if (db_is_null(q, row, W_ERROR_CODE)) {
		buf_add_z(b, "null");
	} else {
		buf_add_char(b, '{');
		text(b, "code", q, row, W_ERROR_CODE);
		text(b, "message", q, row, W_ERROR_MESSAGE);
		buf_add_char(b, '}');
	}
	key(b, "usage");
	buf_add_char(b, '{');
	number(b, "input_tokens", q, row, W_INPUT);
	number(b, "cached_input_tokens", q, row, W_CACHED);
	number(b, "output_tokens", q, row, W_OUTPUT);
	buf_add_char(b, '}');
	key(b, "cost");
	buf_add_char(b, '{');
	money(b, "usd", q, row, W_COST);
	buf_add_char(b, '}');
}

static void batch_data(struct buf *b, const struct db_query *q, int row)
{
	id(b, "id", "batch_", q, row, W_BATCH);
	key(b, "object");
	buf_add_z(b, "\"batch\"");
	number(b, "total", q, row, W_TOTAL);
	key(b, "counts");
	buf_add_char(b, '{');
	number(b, "succeeded", q, row, W_SUCCEEDED);
	number(b, "failed", q, row, W_FAILED);
	number(b, "canceled", q, row, W_CANCELED);
	number(b, "expired", q, row, W_EXPIRED);
	buf_add_char(b, '}');
}

const char *webhook_response_event(struct str event, int flags, struct str error_code)
{
	if (str_eq_z(event, "job.canceled"))
		return "response.cancelled";
	if (str_eq_z(event, "job.succeeded"))
		return flags & (FLAG_PARTIAL | FLAG_LIMITED) ? "response.incomplete" : "response.completed";
	bool cut = str_eq_z(event, "job.failed") &&
	           (str_eq_z(error_code, err_code_name(ERR_OUTPUT_TRUNCATED)) || str_eq_z(error_code, err_code_name(ERR_CONTENT_FILTER)));
	return cut ? "response.incomplete" : "response.failed";
}

int webhook_openai_body(struct buf *b, struct id delivery, struct str type, int64_t created_us, const char *prefix, struct id object)
{
	char event[ID_TEXT_MAX], name[ID_TEXT_MAX];
	id_text(delivery, "evt_", event);
	id_text(object, prefix, name);
	buf_printf(b, "{\"id\":\"%s\",\"object\":\"event\",\"created_at\":%lld,\"type\":\"" STR_FMT "\",\"data\":{\"id\":\"%s\"}}", event,
	           (long long)(created_us / 1000000), STR_ARG(type), name);
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

static int openai_body(struct buf *b, const struct db_query *q, int row, bool is_batch)
{
	struct str type = db_get_str(q, row, W_EVENT);
	if (!is_batch)
		type = str_from(webhook_response_event(type, (int)db_get_int(q, row, W_FLAGS), db_get_str(q, row, W_ERROR_CODE)));
	return webhook_openai_body(b, db_get_id(q, row, W_ID), type, db_get_time(q, row, W_CREATED), is_batch ? "batch_" : "resp_",
	                           db_get_id(q, row, is_batch ? W_BATCH : W_JOB));
}

int webhook_body(struct buf *b, const struct db_query *q, int row)
{
	bool is_batch = !db_is_null(q, row, W_BATCH);
	if (db_get_int(q, row, is_batch ? W_BATCH_FORM : W_FORM) == (is_batch ? JOB_FORM_FILE : JOB_FORM_RESPONSE))
		return openai_body(b, q, row, is_batch);
	buf_add_char(b, '{');
	text(b, "type", q, row, W_EVENT);
	time_of(b, "timestamp", db_get_time(q, row, W_CREATED));
	key(b, "data");
	buf_add_char(b, '{');
	if (is_batch)
		batch_data(b, q, row);
	else
		job_data(b, q, row);
	buf_add_z(b, "}}");
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}

int webhook_sign(struct buf *b, struct str secret, struct str msg_id, int64_t unix_s, struct str body)
{
	struct str prefix = STR("whsec_");
	struct buf raw, head;
	uint8_t mac[SHA256_LEN];
	if (!str_has_prefix(secret, prefix))
		return -ERR_INVALID;
	buf_init(&raw, 128);
	int rc = crypto_base64_decode(&raw, str_sub(secret, prefix.n, secret.n));
	if (rc == 0 && (raw.n < 24 || raw.n > 64))
		rc = -ERR_INVALID;
	if (rc == 0) {
		buf_init(&head, 256);
		buf_printf(&head, STR_FMT ".%lld.", STR_ARG(msg_id), (long long)unix_s);
		const struct str parts[] = { buf_str(&head), body };
		crypto_hmac_sha256(buf_str(&raw), parts, ARRAY_LEN(parts), mac);
		buf_done(&head);
		buf_add_z(b, "v1,");
		rc = crypto_base64(b, (struct str){ (const char *)mac, sizeof mac });
	}
	if (raw.n)
		crypto_wipe(raw.p, raw.n);
	buf_done(&raw);
	return rc;
}

int64_t webhook_delay_ms(struct str schedule, int tries)
{
	struct str part;
	int64_t ms;
	for (int i = 0; str_split(&schedule, ',', &part); i++)
		if (i == tries)
			return clock_parse_duration_ms(str_trim(part), 0, (int64_t)30 * 86400000, &ms) == 0 ? ms : -1;
	return -1;
}
