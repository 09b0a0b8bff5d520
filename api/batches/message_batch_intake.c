/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/messages/batches: {"requests": [{"custom_id", "params"}, …]}, taken in as it arrives. Each request is judged when its end has come and kept as
 * the native job that it becomes; full groups of jobs are written where nobody sees them (batch_draft.h), and the body as a whole is never held. A client that
 * vanishes leaves nothing.
 *
 * One fault refuses the batch, as Anthropic's does, but all are named (the first 100). The fingerprint of an Idempotency-Key is a chain over the requests,
 * so that it does not depend on the pieces in which they came, nor on the white space between them.
 */
#include "api/batches/message_batches.h"

#include "api/door/attribution.h"
#include "api/batches/batch_draft.h"
#include "api/batches/batch_upload.h"
#include "api/batches/batches.h"
#include "api/faces/face.h"
#include "api/files/file_parts.h"
#include "api/batches/json_items.h"
#include "api/request_private.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/hash.h"

#define SCRATCH_MAX   ((size_t)256 << 20)
#define CUSTOM_ID_MAX 64
#define FAULTS_SHOWN  100
#define FAULTS_BYTES  ((size_t)1 << 18)

struct arrival {
	struct op op; /* the arrival of the body */
	struct request *q;
	struct batch_draft *draft; /* owned */
	struct json_items items;
	struct hash names; /* custom_id → its place + 1 */
	size_t n;          /* requests so far */
	int faults;
	struct buf said;   /* the faults, as one text */
	struct err err;    /* why the arrival ended */
	bool is_over;
	uint8_t chain[SHA256_LEN];
};

static void release(struct request *q)
{
	struct arrival *t = q->state;
	batch_draft_free(t->draft);
	json_items_done(&t->items);
	hash_done(&t->names);
	buf_done(&t->said);
}

static void add_fault(struct arrival *t, const struct err *err)
{
	if (++t->faults > FAULTS_SHOWN)
		return;
	if (t->said.n)
		buf_add_z(&t->said, "; ");
	face_param(&t->said, err->param);
	buf_printf(&t->said, ": %s", err->text);
}

static void chain(struct arrival *t, struct str text)
{
	const struct str parts[] = { { (const char *)t->chain, sizeof(t->chain) }, text };
	if (t->draft->key.p)
		crypto_sha256_parts(parts, ARRAY_LEN(parts), t->chain);
}

/* --- one request --- */

static int read_name(struct arrival *t, const json_t *item, struct arena *a, struct str *ret, struct err *err)
{
	const char *at = arena_printf(a, "/requests/%zu/custom_id", t->n).p;
	const json_t *v = json_get(item, "custom_id");
	struct str name = json_str_of(v);
	if (!json_is_string(v))
		return err_set_at(err, v ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, at, "wanted a string");
	bool good = name.n >= 1 && name.n <= CUSTOM_ID_MAX;
	for (size_t i = 0; good && i < name.n; i++) {
		char c = name.p[i];
		good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
	}
	if (!good)
		return err_set_at(err, ERR_OUT_OF_RANGE, at, "wanted 1 to %d letters, digits, _ and -", CUSTOM_ID_MAX);
	const void *before = hash_get(&t->names, name);
	if (before)
		return err_set_at(err, ERR_INVALID, at, "requests[%zu] has the same one", (size_t)(uintptr_t)before - 1);
	hash_set(&t->names, name, (void *)(uintptr_t)(t->n + 1)); /* a number as a pointer: no memory for each */
	*ret = name;
	return 0;
}

static int read_params(struct arrival *t, const json_t *params, struct arena *a, struct face_request *r, struct submission *ret, struct err *err)
{
	const struct submission_rules rules = { conf_now(), &t->q->api->guard, clock_wall_us() };
	int rc = face_message.read(a, params, r, err);
	if (rc < 0)
		return rc;
	if (r->stream)
		return err_set_at(err, ERR_UNSUPPORTED, "/stream", "answers of a batch are not streamed");
	if (file_parts_has(r->request))
		return err_set_at(err, ERR_UNSUPPORTED, "/messages", "a batch's requests name no files by id: give their bytes");
	rc = face_submission(&face_message, r, a, &rules, ret, err);
	return rc < 0 ? rc : attribution_read(NULL, r, a, &ret->metadata, &ret->user, err);
}

/* Err's pointer is below the params of the request at hand. */
static int in_params(const struct arrival *t, struct arena *a, struct err *err)
{
	struct err inner = *err;
	const char *text = arena_strz(a, str_from(inner.text));
	return err_set_at(err, inner.code, arena_printf(a, "/requests/%zu/params%s", t->n, inner.param[0] == '/' ? inner.param : "").p, "%s", text);
}

static int judge(struct arrival *t, struct str text, struct arena *a, struct face_request *r, json_t **ret_item, struct submission *ret, struct err *err)
{
	const char *at = arena_printf(a, "/requests/%zu", t->n).p;
	struct str name;
	if (!text.p)
		return err_set_at(err, ERR_TOO_LARGE, at, "a request has at most %lld bytes", (long long)conf_now()->limits_body_bytes);
	struct err why = { 0 };
	json_t *item = *ret_item = json_parse(text, &why);
	if (!item)
		return err_set_at(err, ERR_BAD_JSON, at, "this is not JSON: %s", why.text);
	if (!json_is_object(item))
		return err_set_at(err, ERR_WRONG_TYPE, at, "wanted an object");
	int rc = read_name(t, item, a, &name, err);
	if (rc < 0)
		return rc;
	const json_t *params = json_get(item, "params");
	if (!json_is_object(params))
		return err_set_at(err, params ? ERR_WRONG_TYPE : ERR_MISSING_FIELD, arena_printf(a, "%s/params", at).p, "wanted an object");
	rc = read_params(t, params, a, r, ret, err);
	ret->custom_id = name;
	return rc < 0 ? in_params(t, a, err) : 0;
}

static int on_item(void *arg, struct str text)
{
	struct arrival *t = arg;
	struct face_request r = { 0 };
	struct submission s = { 0 };
	struct err err = { 0 };
	struct arena scratch;
	_cleanup_(json_drop) json_t *item = NULL;
	arena_init(&scratch, SCRATCH_MAX);
	chain(t, text);
	int rc = judge(t, text, &scratch, &r, &item, &s, &err);
	if (rc < 0) {
		add_fault(t, &err);
		rc = 0;
	} else if (t->faults == 0) {
		rc = batch_draft_add(t->draft, &s);
		t->err = t->draft->err;
	}
	face_request_done(&r);
	arena_done(&scratch);
	if (++t->n > (size_t)conf_now()->limits_batch_jobs && rc == 0)
		rc = err_set_at(&t->err, ERR_TOO_LARGE, "/requests", "a batch has at most %lld requests", (long long)conf_now()->limits_batch_jobs);
	return rc;
}

/* --- the rest of the body --- */

static int read_own(struct arrival *t, json_t *own, struct err *err)
{
	struct arena *a = &t->q->http->arena;
	const char *name;
	json_t *value;
	if (!json_is_object(own))
		return err_set_at(err, ERR_WRONG_TYPE, "/millrace", "wanted an object");
	json_object_foreach(own, name, value)
	{
		const char *at = submission_pointer(a, "/millrace", str_from(name));
		if (!str_eq_z(STR("webhook"), name))
			return err_set_at(err, ERR_UNKNOWN_FIELD, at, "there is no such field: those of a job stand in the params");
		int rc = submission_read_webhook(a, &t->q->api->guard, at, value, &t->draft->webhook_url, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int on_member(void *arg, struct str name, struct str text)
{
	struct arrival *t = arg;
	struct err err = { 0 };
	chain(t, name);
	chain(t, text);
	_cleanup_(json_drop) json_t *v = text.p ? json_parse(text, &err) : NULL;
	if (!v) {
		t->err = err;
		return text.p ? -(int)err.code : err_set(&t->err, ERR_TOO_LARGE, "a field is too large");
	}
	if (str_eq_z(name, "millrace") && read_own(t, v, &err) < 0)
		add_fault(t, &err);
	return 0;
}

/* --- its arrival --- */

static void arrival_over(struct arrival *t, int rc)
{
	if (t->is_over)
		return;
	t->is_over = true;
	op_done(&t->op, rc);
}

static void on_client_gone(struct request *q)
{
	struct arrival *t = q->state;
	if (t->op.active)
		arrival_over(t, -(int)ERR_CANCELED);
}

/* The rest of the body is read when there is room for its requests. */
static void on_room(struct batch_draft *d)
{
	struct arrival *t = d->user;
	t->err = d->err;
	if (d->rc < 0)
		arrival_over(t, d->rc);
	else
		http_body_resume(t->q->http);
}

static enum flow_next receive_start(struct flow *f)
{
	struct request *q = request_of(f);
	struct arrival *t = arena_new(&q->http->arena, struct arrival);
	q->state = t;
	q->release = release;
	t->q = q;
	t->items = (struct json_items){ .list = "requests", .max = (size_t)conf_now()->limits_body_bytes, .on_item = on_item, .on_member = on_member, .arg = t };
	json_items_init(&t->items);
	hash_init(&t->names);
	buf_init(&t->said, FAULTS_BYTES);
	t->draft = batch_draft_new(q->api, &q->who);
	t->draft->user = t;
	t->draft->on_room = on_room;
	t->draft->form = FORM_MESSAGE;
	t->draft->first_answer = 200;
	if (request_key(q, &t->draft->key) < 0)
		return request_refuse(q);
	if (q->api->batch_bytes >= (uint64_t)conf_now()->limits_batch_memory)
		return request_fail(q, ERR_OVERLOADED, "too many batches are arriving at once");
	q->on_gone = on_client_gone;
	op_start(&t->op, f, "the body", NULL);
	return FLOW_WAIT;
}

static void on_piece(struct request *q, struct str piece)
{
	struct arrival *t = q->state;
	if (t->is_over)
		return;
	int rc = json_items_feed(&t->items, piece, &t->err);
	if (rc < 0)
		arrival_over(t, rc);
	else if (!batch_draft_has_room(t->draft))
		http_body_pause(q->http);
}

static void on_whole(struct request *q)
{
	struct arrival *t = q->state;
	if (!t->is_over)
		arrival_over(t, json_items_end(&t->items, &t->err));
}

/* All faults in one error. */
static enum flow_next refuse_all(struct request *q)
{
	struct arrival *t = q->state;
	struct buf *b = &q->out;
	if (t->faults > FAULTS_SHOWN)
		buf_printf(&t->said, "; and %d more", t->faults - FAULTS_SHOWN);
	buf_add_z(b, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":");
	buf_add_json_str(b, buf_str(&t->said));
	buf_add_z(b, "},\"request_id\":");
	buf_add_json_str(b, q->http->request_id);
	buf_add_char(b, '}');
	http_reply_header(q->http, "x-should-retry", STR("false"));
	return request_answer(q, 400);
}

static enum flow_next receive_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	struct arrival *t = q->state;
	q->on_gone = NULL;
	q->err = t->err;
	if (rc < 0)
		return q->err.code ? request_refuse(q) : request_fail(q, rc, "the client left");
	if (t->faults)
		return refuse_all(q);
	if (t->draft->total == 0) {
		err_set_at(&q->err, t->items.seen ? ERR_OUT_OF_RANGE : ERR_MISSING_FIELD, "/requests", "wanted at least one request");
		return request_refuse(q);
	}
	request_fingerprint(q, (struct str){ (const char *)t->chain, sizeof(t->chain) }, t->draft->fingerprint);
	return FLOW_NEXT;
}

/* --- written --- */

/* Its first job has its place since the door. */
static enum flow_next room_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct arrival *t = q->state;
	return door_more(&q->visit, t->draft->total - 1, f) > 0 ? FLOW_NEXT : FLOW_WAIT;
}

static enum flow_next write_start(struct flow *f)
{
	struct arrival *t = request_of(f)->state;
	batch_draft_commit(t->draft, f);
	return FLOW_WAIT;
}

static enum flow_next write_done(struct flow *f, int rc)
{
	struct request *q = request_of(f);
	return batch_upload_written(q, ((struct arrival *)q->state)->draft, "/v1/messages/batches/", "msgbatch_", rc);
}

static enum flow_next view_start(struct flow *f)
{
	struct request *q = request_of(f);
	return batches_load(q, ((struct arrival *)q->state)->draft->id);
}

static const struct flow_step steps[] = {
	{ "receive", receive_start, receive_done },
	{ "room", room_start, batch_upload_room_done },
	{ "write", write_start, write_done },
	{ "view", view_start, message_batches_view_done },
	{ .name = NULL },
};

const struct body_stream message_batch_stream = { steps, on_piece, on_whole };
