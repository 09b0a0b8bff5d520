/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/uploads/{upload}/parts: a form whose part `data` becomes a blob, and then a part of the upload. Parts may come at the same time: each is a blob
 * of its own, and only their ends are one after the other, so that they never have more bytes than was announced. As with files, what was refused or cut is dropped.
 */
#include "api/files/file_lock.h"
#include "api/files/file_object.h"
#include "api/files/form.h"
#include "api/jobs/job_object.h"
#include "api/files/uploads.h"
#include "common/conf.h"
#include "common/metrics.h"
#include "sql_api.h"

enum { BEGIN, RECEIVE, END, WRITE, DROP };

struct new_part {
	struct form form; /* first: form.h */
	struct file_lock lock;
};

static int on_field(struct request *q, struct str name, struct str value)
{
	(void)value;
	name = str_utf8_prefix(name, ERR_PARAM_MAX - 1);
	return err_set_at(&q->err, ERR_UNKNOWN_FIELD, arena_strz(&q->http->arena, name), "there is no such field; there is data");
}

static void release(struct request *q)
{
	file_lock_done(&((struct new_part *)q->state)->lock);
	form_done(q);
}

static enum flow_next begin_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct new_part *p = arena_new(&q->http->arena, struct new_part);
	struct form *form = &p->form;
	q->state = p;
	q->release = release;
	form->file = "data";
	form->blob_id = id_make(id_bucket(q->id));
	form->on_field = on_field;
	return form_begin(q) < 0 ? request_refuse(q) : uploads_load(q, q->id);
}

static enum flow_next begin_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct form *form = q->state;
	if (rc < 0)
		return request_fail(q, rc, "the upload could not be read");
	if (uploads_want_pending(q) < 0)
		return request_refuse(q);
	form->most = MIN(UPLOAD_PART_BYTES, conf_now()->limits_file_bytes);
	return FLOW_NEXT;
}

static enum flow_next drop_and_refuse(struct request *q, int rc, const char *detail)
{
	if (q->err.code == ERR_OK)
		err_set(&q->err, (enum err_code)-rc, "%s", detail);
	return flow_jump(&q->flow, DROP);
}

static enum flow_next receive_start(struct flow *f)
{
	return form_receive(request_of(f));
}

static enum flow_next receive_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	q->on_gone = NULL;
	return rc < 0 ? drop_and_refuse(q, rc, rc == -(int)ERR_CANCELED ? "the client left" : "the part could not be written") : FLOW_NEXT;
}

static enum flow_next end_start(struct flow *f)
{
	struct form *form = request_of(f)->state;
	blob_write_end(&form->blob, f);
	return FLOW_WAIT;
}

static enum flow_next end_done(struct flow *f, int rc)
{
	return rc < 0 ? drop_and_refuse(request_of(f), rc, "the part could not be written") : FLOW_NEXT;
}

static enum flow_next write_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct new_part *p = q->state;
	request_query_init(q, &sql_api_upload_part_new);
	db_arg_i32(&q->query.args, id_bucket(q->id));
	db_arg_id(&q->query.args, q->id);
	db_arg_i64(&q->query.args, q->who.tenant_id);
	db_arg_id(&q->query.args, p->form.blob_id);
	db_arg_i64(&q->query.args, p->form.blob.bytes);
	db_arg_i32(&q->query.args, UPLOAD_PARTS_MAX);
	file_lock_upload(&p->lock, q->api, q->id, q->who.tenant_id, &q->query, f);
	return FLOW_WAIT;
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	const struct form *form = q->state;
	struct buf *b = &q->out;
	if (rc == -(int)ERR_OVERLOADED) /* it was not sent */
		return drop_and_refuse(q, rc, "the database has too much to do");
	if (rc < 0) /* it may be there or not: nothing is dropped */
		return request_fail(q, rc, "it is not known whether the part was made");
	if (db_rows(&q->query) == 0) {
		err_set(&q->err, ERR_CONFLICT, "the upload has ended meanwhile, or its parts would have more bytes than it announced, or there would be more than %d",
		        UPLOAD_PARTS_MAX);
		return flow_jump(f, DROP);
	}
	metric_add(METRIC_FILE_BYTES, "in", form->blob.bytes);
	buf_add_z(b, "{\"id\":");
	job_object_id(b, form->blob_id, "part_");
	buf_printf(b, ",\"object\":\"upload.part\",\"created_at\":%lld,\"upload_id\":", (long long)(db_get_time(&q->query, 0, 0) / 1000000));
	job_object_id(b, q->id, "upload_");
	buf_add_char(b, '}');
	return request_answer(q, 200);
}

static enum flow_next drop_start(struct flow *f)
{
	struct form *form = request_of(f)->state;
	if (!form->has_file)
		return FLOW_NEXT;
	blob_write_drop(&form->blob, f);
	return FLOW_WAIT;
}

static enum flow_next refuse_start(struct flow *f)
{
	return request_refuse(request_of(f));
}

const struct flow_step uploads_part_steps[] = {
	[BEGIN] = { "begin", begin_start, begin_done },
	[RECEIVE] = { "receive", receive_start, receive_done },
	[END] = { "end", end_start, end_done },
	[WRITE] = { "write", write_start, write_done },
	[DROP] = { "drop", drop_start, NULL },
	{ "refuse", refuse_start, NULL },
	{ .name = NULL },
};
