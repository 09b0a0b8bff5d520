/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file object and the rules. `status` and `status_details` are deprecated, but SDKs and their users read them: what is listed here is processed.
 * A refusal says what would be accepted.
 */
#include "api/files/file_object.h"

#include "api/files/files.h"
#include "api/jobs/job_object.h"

/* The columns of file_get.sql. */
enum { COL_ID, COL_BYTES, COL_CREATED, COL_EXPIRES, COL_FILENAME, COL_PURPOSE };

void file_facts_read(const struct db_query *q, int row, struct file_facts *ret)
{
	*ret = (struct file_facts){
		.id = db_get_id(q, row, COL_ID),
		.bytes = db_get_int(q, row, COL_BYTES),
		.created_us = db_get_time(q, row, COL_CREATED),
		.expires_us = db_get_time(q, row, COL_EXPIRES),
		.filename = db_get_str(q, row, COL_FILENAME),
		.purpose = db_get_str(q, row, COL_PURPOSE),
	};
}

void file_object_write(struct buf *b, const struct file_facts *f)
{
	buf_add_z(b, "{\"id\":");
	job_object_id(b, f->id, "file-");
	buf_printf(b, ",\"object\":\"file\",\"bytes\":%lld,\"created_at\":%lld,\"expires_at\":", (long long)f->bytes, (long long)(f->created_us / 1000000));
	if (f->expires_us)
		buf_add_i64(b, f->expires_us / 1000000);
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\"filename\":");
	buf_add_json_str(b, f->filename);
	buf_add_z(b, ",\"purpose\":");
	buf_add_json_str(b, f->purpose);
	buf_add_z(b, ",\"status\":\"processed\",\"status_details\":null}");
}

struct str file_name_of(struct str given)
{
	size_t at = given.n;
	while (at > 0 && given.p[at - 1] != '/' && given.p[at - 1] != '\\')
		at--;
	return str_sub(given, at, given.n);
}

static bool is_purpose(struct str s)
{
	static const char *const purposes[] = { "assistants", "batch", "fine-tune", "vision", "user_data", "evals" };
	for (size_t i = 0; i < ARRAY_LEN(purposes); i++)
		if (str_eq_z(s, purposes[i]))
			return true;
	return false;
}

int file_check(struct str purpose, struct str filename, int64_t bytes, struct err *err)
{
	bool is_batch = str_eq(purpose, STR("batch"));
	if (!is_purpose(purpose))
		return err_set_at(err, ERR_INVALID, "purpose", "purpose is one of assistants, batch, fine-tune, vision, user_data, evals");
	if (filename.n == 0 || filename.n > FILE_NAME_MAX)
		return err_set_at(err, ERR_INVALID, "filename", "a filename has 1 to %d bytes", FILE_NAME_MAX);
	if (is_batch && !str_has_suffix(filename, STR(".jsonl")))
		return err_set(err, ERR_INVALID, "%s", "Invalid file format for Batch API. Must be .jsonl");
	if (is_batch && bytes > FILES_BATCH_BYTES)
		return err_set_at(err, ERR_TOO_LARGE, "file", "the input file of a batch has at most %lld bytes", (long long)FILES_BATCH_BYTES);
	return 0;
}

int file_check_anchor(struct str anchor, const char *param, struct err *err)
{
	return str_eq(anchor, STR("created_at")) ? 0 : err_set_at(err, ERR_INVALID, param, "the anchor of expires_after is created_at");
}

int file_check_seconds(int64_t seconds, const char *param, struct err *err)
{
	if (seconds >= FILES_EXPIRES_MIN_S && seconds <= FILES_EXPIRES_MAX_S)
		return 0;
	return err_set_at(err, ERR_OUT_OF_RANGE, param, "a file expires after %lld to %lld seconds", (long long)FILES_EXPIRES_MIN_S,
	                  (long long)FILES_EXPIRES_MAX_S);
}

int64_t file_life_s(struct str purpose, int64_t given)
{
	if (given)
		return given;
	return str_eq(purpose, STR("batch")) || str_eq(purpose, STR("batch_output")) ? FILES_BATCH_EXPIRES_S : 0;
}
