/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are there: list, retrieve, delete; and the statement that makes one. A file that has expired is not there any more, whether the sweep has
 * been at it or not.
 */
#include "api/files/files.h"

#include "api/files/file_object.h"
#include "api/jobs/job_object.h"
#include "api/page.h"
#include "api/request.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "sql_api.h"

#define LIST_MAX 10000
#define FIRST_STATUS 200

static const char no_file[] = "there is no such file";

void file_new_query(struct db_query *q, const struct file_new *f)
{
	db_query_init(q, &sql_api_file_new);
	struct db_args *a = &q->args;
	db_arg_i32(a, id_bucket(f->id));
	db_arg_id(a, f->id);
	db_arg_i64(a, f->tenant_id);
	db_arg_id(a, f->blob);
	db_arg_i64(a, f->bytes);
	db_arg_text(a, f->purpose);
	db_arg_text(a, f->filename);
	db_arg_text_or_null(a, f->mime_type);
	if (f->expires_after_s)
		db_arg_i64(a, f->expires_after_s);
	else
		db_arg_null(a);
	db_arg_i64(a, f->tenant_bytes);
	db_arg_text_or_null(a, f->key);
	if (f->key.p)
		db_arg_bytea(a, (struct str){ (const char *)f->fingerprint, SHA256_LEN });
	else
		db_arg_null(a);
	db_arg_i64(a, conf_now()->idempotency_ttl_ms);
	db_arg_i16(a, FIRST_STATUS);
}

/* --- GET /v1/files/{file} --- */

enum flow_next files_load(struct request *q, struct id id)
{
	request_query_init(q, &sql_api_file_get);
	db_arg_i32(&q->query.args, id_bucket(id));
	db_arg_id(&q->query.args, id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

enum flow_next files_answer(struct request *q)
{
	struct file_facts f;
	if (db_rows(&q->query) == 0)
		return request_fail(q, ERR_NOT_FOUND, no_file);
	file_facts_read(&q->query, 0, &f);
	file_object_write(&q->out, &f);
	return request_answer(q, 200);
}

static enum flow_next load_start(struct flow *f)
{
	struct request *q = request_of(f);
	return files_load(q, q->id);
}

static enum flow_next load_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	return rc < 0 ? request_fail(q, rc, "the file could not be read") : files_answer(q);
}

const struct flow_step files_get_steps[] = {
	{ "load", load_start, load_done },
	{ .name = NULL },
};

/* --- GET /v1/files --- */

static enum flow_next list_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct page *page = arena_new(&q->http->arena, struct page);
	struct str purpose = { 0 };
	q->state = page;
	if (request_page_of(q, "file-", LIST_MAX, LIST_MAX, page) < 0)
		return request_refuse(q);
	http_req_query(q->http, "purpose", &purpose);
	request_query_init(q, page->descending ? &sql_api_file_list : &sql_api_file_list_up);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	if (id_is_zero(page->after))
		db_arg_null(&q->query.args);
	else
		db_arg_id(&q->query.args, page->after);
	db_arg_i32(&q->query.args, page->limit + 1);
	db_arg_text_or_null(&q->query.args, purpose);
	return request_query(q);
}

static void write_file(struct buf *b, const struct db_query *q, int row)
{
	struct file_facts f;
	file_facts_read(q, row, &f);
	file_object_write(b, &f);
}

static enum flow_next list_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct page *page = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the list could not be read");
	page_write(&q->out, &q->query, page->limit, "file-", write_file);
	return request_answer(q, 200);
}

const struct flow_step files_list_steps[] = {
	{ "list", list_start, list_done },
	{ .name = NULL },
};

/* --- DELETE /v1/files/{file} --- */

/* Looked for first: a delete that is sent again after a lost answer finds nothing, and that is no 404. */
static enum flow_next exists_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "the file could not be read");
	return db_rows(&q->query) > 0 ? FLOW_NEXT : request_fail(q, ERR_NOT_FOUND, no_file);
}

static enum flow_next delete_start(struct flow *f)
{
	struct request *q = request_of(f);
	request_query_init(q, &sql_api_file_delete);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	return request_query(q);
}

static enum flow_next delete_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	if (rc < 0)
		return request_fail(q, rc, "it is not known whether the file was deleted: ask again");
	if (db_get_bool(&q->query, 0, 0))
		return request_fail(q, ERR_CONFLICT, "a batch that is not over reads this file: cancel it, or wait for its end");
	buf_add_z(&q->out, "{\"id\":");
	job_object_id(&q->out, q->id, "file-");
	buf_add_z(&q->out, ",\"object\":\"file\",\"deleted\":true}");
	return request_answer(q, 200);
}

const struct flow_step files_delete_steps[] = {
	{ "exists", load_start, exists_done },
	{ "delete", delete_start, delete_done },
	{ .name = NULL },
};
