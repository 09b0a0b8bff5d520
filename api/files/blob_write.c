/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob on its way into the database. Bytes gather in `pending`; as soon as there is a whole chunk and a slot is free, a statement takes it. The row of
 * the blob is written first, and chunks go out when it is there; then their order does not matter, because each carries its place.
 *
 * What can go wrong: a statement fails for good. Then nothing more is sent, what comes is thrown away, and the failure is told to whoever waits for room
 * or for the end. Nothing ends before all statements have come back: their arguments lie in the slots.
 */
#include "api/files/blob_write.h"

#include "api/api.h"
#include "sql_api.h"

#define RETRY_MS    30000
#define PENDING_MAX ((size_t)1 << 30) /* of one piece; callers' pieces are bounded by what they read */

static void settle(struct blob_write *w);

static void fail(struct blob_write *w, int rc)
{
	if (w->rc == 0)
		w->rc = rc;
	buf_done(&w->pending);
}

/* --- statements --- */

static void on_slot_done(struct op *op, int rc)
{
	struct blob_write_slot *s = container_of(op, struct blob_write_slot, query.op);
	struct blob_write *w = s->w;
	db_query_done(&s->query);
	s->busy = false;
	w->in_flight--;
	if (rc < 0)
		fail(w, rc);
	w->is_open = true; /* the first that comes back is the blob's own */
	settle(w);
}

static struct blob_write_slot *free_slot(struct blob_write *w)
{
	for (int i = 0; i < BLOB_WRITE_FLIGHT; i++)
		if (!w->slots[i].busy)
			return &w->slots[i];
	return NULL;
}

/* A statement of the blob in a free slot, with its first three parameters. */
static struct db_query *slot_begin(struct blob_write *w, const struct db_stmt *stmt)
{
	struct blob_write_slot *s = free_slot(w);
	assert(s);
	s->w = w;
	db_query_init(&s->query, stmt);
	s->query.retry_ms = RETRY_MS;
	s->query.op.on_done = on_slot_done;
	db_arg_i32(&s->query.args, id_bucket(w->id));
	db_arg_id(&s->query.args, w->id);
	db_arg_i64(&s->query.args, w->tenant_id);
	return &s->query;
}

static void slot_send(struct blob_write *w, struct db_query *q)
{
	struct blob_write_slot *s = container_of(q, struct blob_write_slot, query);
	int rc = api_query_start(w->api, q, NULL);
	if (rc < 0) {
		db_query_done(q);
		fail(w, rc);
		return;
	}
	s->busy = true;
	w->in_flight++;
}

static void send_chunk(struct blob_write *w)
{
	struct str chunk = str_sub(buf_str(&w->pending), 0, BLOB_CHUNK_BYTES);
	struct db_query *q = slot_begin(w, &sql_api_blob_chunk_add);
	db_arg_i64(&q->args, w->at);
	db_arg_bytea(&q->args, chunk);
	w->at += (int64_t)chunk.n;
	buf_consume(&w->pending, chunk.n);
	slot_send(w, q);
}

static void send_chunks(struct blob_write *w, size_t least)
{
	while (w->rc == 0 && w->is_open && free_slot(w) && w->pending.n >= least)
		send_chunk(w);
}

/* Sends what can go, then tells whoever waits. The last call of a callback. */
static void settle(struct blob_write *w)
{
	send_chunks(w, w->is_ending ? 1 : BLOB_CHUNK_BYTES);
	if (w->in_flight == 0 && w->is_dropping && !w->drop_sent) { /* all chunks are back: now the blob itself */
		w->drop_sent = true;
		slot_send(w, slot_begin(w, &sql_api_blob_drop));
	}
	if (w->op.active) {
		if (w->in_flight == 0)
			op_done(&w->op, w->is_dropping ? 0 : w->rc);
	} else if (w->told_full && (w->rc < 0 || w->pending.n < BLOB_CHUNK_BYTES)) {
		w->told_full = false;
		if (w->on_room)
			w->on_room(w);
	}
}

/* --- for the writer --- */

void blob_write_begin(struct blob_write *w, struct api *api, struct id id, int64_t tenant_id)
{
	*w = (struct blob_write){ .api = api, .id = id, .tenant_id = tenant_id };
	buf_init(&w->pending, PENDING_MAX);
	slot_send(w, slot_begin(w, &sql_api_blob_begin));
}

void blob_write_add(struct blob_write *w, struct str piece)
{
	assert(!w->is_ending && !w->is_dropping);
	w->bytes += (int64_t)piece.n;
	if (w->rc < 0)
		return;
	/* The chunk at hand is filled and sent first, so that a large piece does not lie there twice. */
	while (piece.n > 0 && w->rc == 0) {
		size_t room = w->is_open && free_slot(w) && w->pending.n < BLOB_CHUNK_BYTES ? BLOB_CHUNK_BYTES - w->pending.n : piece.n;
		struct str part = str_sub(piece, 0, room);
		if (buf_add_str(&w->pending, part) < 0)
			fail(w, -(int)ERR_TOO_LARGE);
		piece = str_sub(piece, part.n, piece.n);
		send_chunks(w, BLOB_CHUNK_BYTES);
	}
}

bool blob_write_has_room(struct blob_write *w)
{
	bool has = w->rc < 0 || w->pending.n < BLOB_CHUNK_BYTES;
	w->told_full = !has;
	return has;
}

void blob_write_end(struct blob_write *w, struct flow *flow)
{
	assert(!w->is_ending && !w->is_dropping);
	w->is_ending = true;
	op_start(&w->op, flow, "the last bytes of a blob", NULL);
	settle(w);
}

void blob_write_drop(struct blob_write *w, struct flow *flow)
{
	assert(!w->is_dropping && !w->op.active);
	w->is_dropping = true;
	buf_clear(&w->pending);
	op_start(&w->op, flow, "a blob that is dropped", NULL);
	settle(w);
}

void blob_write_done(struct blob_write *w)
{
	assert(!w->op.active && w->in_flight == 0);
	buf_done(&w->pending);
}
