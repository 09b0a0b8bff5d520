/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the pieces of a body to a blob and fields. Each piece is taken wholly: the blob's writer copies what it cannot send yet, and when that is a whole
 * chunk the body is paused until the database has taken one.
 *
 * What can go wrong: the form is broken or has what nobody asked for (400 or 413, at once; the rest of the body is not read), the writer fails, the client
 * leaves. Each ends the op once; what still comes is thrown away.
 */
#include "api/files/form.h"

#include "common/conf.h"

int form_begin(struct request *q)
{
	struct form *f = q->state;
	struct api *api = q->api;
	f->q = q;
	buf_init(&f->field, FORM_FIELD_MAX);
	http_body_pause(q->http);
	if (api->forms >= conf_now()->limits_uploads)
		return err_set(&q->err, ERR_OVERLOADED, "too many files are arriving at once");
	api->forms++;
	f->is_counted = true;
	f->parser = arena_new(&q->http->arena, struct multipart);
	return multipart_init(f->parser, http_req_header(q->http, "content-type"), &q->err);
}

void form_done(struct request *q)
{
	struct form *f = q->state;
	q->api->forms -= f->is_counted;
	f->is_counted = false;
	crypto_digest_done(&f->hash);
	buf_done(&f->field);
	if (f->has_file)
		blob_write_done(&f->blob);
}

/* The last call of a callback: the request may be gone afterwards. */
static void over(struct form *f, int rc)
{
	if (f->is_over)
		return;
	f->is_over = true;
	f->blob.on_room = NULL;
	op_done(&f->op, rc);
}

static void on_room(struct blob_write *w)
{
	struct form *f = w->user;
	if (w->rc < 0)
		over(f, w->rc);
	else
		http_body_resume(f->q->http);
}

static void on_client_gone(struct request *q)
{
	struct form *f = q->state;
	if (f->op.active)
		over(f, -(int)ERR_CANCELED);
}

static int file_begins(struct form *f, const struct multipart_part *part)
{
	struct request *q = f->q;
	if (f->has_file)
		return err_set_at(&q->err, ERR_INVALID, f->file, "there is more than one part `%s`", f->file);
	if (f->needs_filename && (!part->filename.p || part->filename.n == 0))
		return err_set_at(&q->err, ERR_INVALID, f->file, "the part `%s` has no filename", f->file);
	if (part->filename.p)
		f->filename = arena_str(&q->http->arena, part->filename);
	if (part->content_type.n)
		f->mime_type = arena_str(&q->http->arena, part->content_type);
	if (f->wants_digest)
		crypto_digest_begin_sha256(&f->hash);
	blob_write_begin(&f->blob, q->api, f->blob_id, q->who.tenant_id);
	f->blob.on_room = on_room;
	f->blob.user = f;
	f->has_file = f->in_file = true;
	return 0;
}

static int part_begins(struct form *f)
{
	const struct multipart_part *part = &f->parser->part;
	f->in_file = false;
	buf_clear(&f->field);
	return str_eq_z(part->name, f->file) ? file_begins(f, part) : 0;
}

static int take_data(struct form *f, struct str data)
{
	struct err *err = &f->q->err;
	if (!f->in_file) {
		struct str name = str_utf8_prefix(f->parser->part.name, 64);
		if (buf_add_str(&f->field, data) < 0)
			return err_set(err, ERR_INVALID, "the field `" STR_FMT "` has more than %d bytes", STR_ARG(name), FORM_FIELD_MAX);
		return 0;
	}
	if ((int64_t)data.n > f->most - f->blob.bytes)
		return err_set_at(err, ERR_TOO_LARGE, f->file, "the file has more than %lld bytes", (long long)f->most);
	if (f->wants_digest)
		crypto_digest_add(&f->hash, data);
	blob_write_add(&f->blob, data);
	return f->blob.rc;
}

static int part_ends(struct form *f)
{
	if (!f->in_file)
		return f->on_field(f->q, f->parser->part.name, buf_str(&f->field));
	if (f->wants_digest)
		crypto_digest_end(&f->hash, f->digest);
	return 0;
}

static int take_piece(struct form *f, struct str piece)
{
	struct str data = { 0 };
	int rc;
	while ((rc = multipart_next(f->parser, &piece, &data, &f->q->err)) > 0) {
		if (rc == MULTIPART_PART)
			rc = part_begins(f);
		else if (rc == MULTIPART_DATA)
			rc = take_data(f, data);
		else if (rc == MULTIPART_PART_END)
			rc = part_ends(f);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static void on_piece(struct request *q, struct str piece)
{
	struct form *f = q->state;
	if (f->is_over)
		return;
	int rc = take_piece(f, piece);
	if (rc < 0)
		over(f, rc);
	else if (f->has_file && !blob_write_has_room(&f->blob))
		http_body_pause(q->http);
}

static void on_whole(struct request *q)
{
	struct form *f = q->state;
	if (f->is_over || !f->op.active) /* form_receive sees that it is whole */
		return;
	int rc = multipart_end(f->parser, &q->err);
	if (rc == 0 && !f->has_file)
		rc = err_set_at(&q->err, ERR_MISSING_FIELD, f->file, "the form has no part `%s`", f->file);
	over(f, rc);
}

enum flow_next form_receive(struct request *q)
{
	struct form *f = q->state;
	q->on_gone = on_client_gone;
	op_start(&f->op, &q->flow, "the body", NULL);
	if (q->gone)
		over(f, -(int)ERR_CANCELED);
	else if (q->whole) /* it is empty */
		on_whole(q);
	else
		http_body_resume(q->http);
	return FLOW_WAIT;
}

const struct body_stream form_stream = { NULL, on_piece, on_whole };
