/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One part after the other: found in the request, its file opened, judged and read, its text put in the place of the id. Only one file is in memory beside
 * the request, and of what is read only the base64 text is kept.
 *
 * What can go wrong: no such file, too much altogether, an image that is none: refused with the pointer of the id. A file that is deleted while it is read
 * is a file that is not there.
 */
#include "api/files/file_parts.h"

#include "api/api.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/http/http_types.h"

#define URL_HEAD_MAX 256

static void advance(struct file_parts *p);

/* --- finding them --- */

/* The object that has a file_id, when this part has one. */
static json_t *member_of(json_t *part, bool *ret_is_image)
{
	struct str type = json_str(part, "type");
	*ret_is_image = str_eq(type, STR("image_url"));
	json_t *member = *ret_is_image ? json_get(part, "image_url") : str_eq(type, STR("file")) ? json_get(part, "file") : NULL;
	return json_get(member, "file_id") ? member : NULL;
}

/* The next one from (*message, *part) on, which it moves behind it; NULL: none is left. */
static json_t *find_next(const json_t *request, size_t *message, size_t *part, bool *ret_is_image)
{
	const json_t *messages = json_get(request, "messages");
	for (; *message < json_array_size(messages); (*message)++, *part = 0) {
		const json_t *content = json_get(json_array_get(messages, *message), "content");
		while (*part < json_array_size(content)) {
			json_t *member = member_of(json_array_get(content, (*part)++), ret_is_image);
			if (member)
				return member;
		}
	}
	return NULL;
}

bool file_parts_has(const json_t *request)
{
	size_t message = 0, part = 0;
	bool is_image;
	return find_next(request, &message, &part, &is_image) != NULL;
}

/* --- what they become --- */

static const struct {
	const char *ending, *type;
} types[] = {
	{ ".pdf", "application/pdf" },  { ".png", "image/png" },   { ".jpg", "image/jpeg" },       { ".jpeg", "image/jpeg" },
	{ ".gif", "image/gif" },        { ".webp", "image/webp" }, { ".txt", "text/plain" },       { ".md", "text/markdown" },
	{ ".csv", "text/csv" },         { ".html", "text/html" },  { ".json", "application/json" }, { ".jsonl", "application/jsonl" },
	{ ".xml", "application/xml" },
	{ ".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
	{ ".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
	{ ".pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
};

/* The file's own type, unless that says nothing; else that of its name. In room, or static. */
static struct str type_of(const struct blob_read *r, char *room, size_t n)
{
	struct str own = http_media_type(r->mime_type, room, n);
	if (own.n && !str_eq(own, STR("application/octet-stream")))
		return own;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct str ending = str_from(types[i].ending);
		if (r->filename.n >= ending.n && str_eq_nocase(str_sub(r->filename, r->filename.n - ending.n, ending.n), ending))
			return str_from(types[i].type);
	}
	return STR("application/octet-stream");
}

static int refuse(struct file_parts *p, enum err_code code, const char *text)
{
	struct buf b;
	buf_init(&b, ERR_PARAM_MAX - 1);
	buf_printf(&b, "%s/messages/%zu/content/%zu/%s/file_id", p->base, p->message, p->part - 1, p->is_image ? "image_url" : "file");
	buf_add_char(&b, '\0');
	err_set_at(&p->err, code, buf_failed(&b) ? p->base : b.p, "%s", text);
	buf_done(&b);
	return -(int)code;
}

static int begin_url(struct file_parts *p)
{
	char room[128];
	struct str type = type_of(&p->read, room, sizeof(room));
	int64_t most = conf_now()->limits_inlined_bytes;
	if (p->is_image && !str_has_prefix(type, STR("image/")))
		return refuse(p, ERR_INVALID, "the file is not an image");
	if (p->read.bytes > most - p->bytes)
		return refuse(p, ERR_TOO_LARGE, "with this one the files of the request are larger than limits.inlined_bytes");
	p->bytes += p->read.bytes;
	p->tail_n = 0;
	buf_done(&p->url);
	buf_init(&p->url, URL_HEAD_MAX + (size_t)p->read.bytes / 3 * 4 + 4);
	buf_room(&p->url, p->url.max);
	buf_printf(&p->url, "data:" STR_FMT ";base64,", STR_ARG(type));
	return 0;
}

static void add_piece(struct file_parts *p, struct str piece)
{
	while (p->tail_n > 0 && p->tail_n < 3 && piece.n) {
		p->tail[p->tail_n++] = piece.p[0];
		piece = str_sub(piece, 1, piece.n);
	}
	if (p->tail_n == 3) {
		crypto_base64(&p->url, (struct str){ p->tail, 3 });
		p->tail_n = 0;
	}
	size_t whole = piece.n / 3 * 3;
	crypto_base64(&p->url, str_sub(piece, 0, whole));
	for (size_t i = whole; i < piece.n; i++)
		p->tail[p->tail_n++] = piece.p[i];
}

static void put_url(struct file_parts *p)
{
	crypto_base64(&p->url, (struct str){ p->tail, p->tail_n });
	assert(!buf_failed(&p->url));
	json_object_del(p->member, "file_id");
	if (!p->is_image && !json_get(p->member, "filename"))
		json_set_str(p->member, "filename", p->read.filename);
	json_set_str(p->member, p->is_image ? "url" : "file_data", buf_str(&p->url));
	buf_done(&p->url);
	p->count++;
}

/* --- the way --- */

static void over(struct file_parts *p, int rc)
{
	blob_read_done(&p->read);
	if (rc < 0 && p->err.code == ERR_OK)
		refuse(p, (enum err_code)-rc, rc == -(int)ERR_NOT_FOUND ? "there is no such file" : "the file could not be read");
	op_done(&p->op, rc);
}

static void on_read(struct op *op, int rc)
{
	struct file_parts *p = container_of(container_of(op, struct blob_read, op), struct file_parts, read);
	if (rc == 0 && p->is_open) { /* all was read */
		put_url(p);
		advance(p);
		return;
	}
	if (rc == 0)
		rc = begin_url(p);
	else if (rc > 0)
		add_piece(p, p->read.piece);
	p->is_open = true;
	if (rc >= 0)
		rc = blob_read_next(&p->read, NULL);
	if (rc < 0)
		over(p, rc);
}

static int open_file(struct file_parts *p)
{
	struct id id;
	json_t *name = json_get(p->member, "file_id");
	if (!json_is_string(name))
		return refuse(p, ERR_WRONG_TYPE, "wanted a string");
	if (id_parse(json_str_of(name), "file-", &id) < 0)
		return -(int)ERR_NOT_FOUND;
	blob_read_done(&p->read);
	p->is_open = false;
	p->read.op.on_done = on_read;
	return blob_read_open(&p->read, p->api, id, p->tenant_id, NULL);
}

/* To the next part, or to the end. */
static void advance(struct file_parts *p)
{
	p->member = find_next(p->request, &p->message, &p->part, &p->is_image);
	int rc = p->member ? open_file(p) : 0;
	if (!p->member || rc < 0)
		over(p, rc);
}

static void on_cancel(struct op *op)
{
	op_cancel(&container_of(op, struct file_parts, op)->read.op);
}

void file_parts_start(struct file_parts *p, struct api *api, int64_t tenant_id, json_t *request, const char *base, struct flow *flow)
{
	void (*on_done)(struct op *, int) = p->op.on_done;
	*p = (struct file_parts){ .api = api, .tenant_id = tenant_id, .request = request, .base = base };
	p->op.on_done = on_done;
	op_start(&p->op, flow, "the files of a request", on_cancel);
	advance(p);
}

void file_parts_done(struct file_parts *p)
{
	assert(!p->op.active);
	blob_read_done(&p->read);
	buf_done(&p->url);
}
