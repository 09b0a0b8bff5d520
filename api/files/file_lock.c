/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two statements, one transaction, one round trip. PostgreSQL gives each statement of a transaction a snapshot of its own (READ COMMITTED), so the second
 * one sees whatever was committed while the first waited for the lock.
 *
 * The queue is a list in the order of arrival; the first of each tenant or upload is on its way. When the database is closed, each in its turn is told so.
 */
#include "api/files/file_lock.h"

#include "api/api.h"
#include "sql_api.h"

static void dispatch(struct file_lock *l);

static bool same(const struct file_lock *a, const struct file_lock *b)
{
	return a->tenant_id == b->tenant_id && id_eq(a->upload, b->upload);
}

/* The first one that waits for the same; NULL: none does. */
static struct file_lock *follower(struct file_lock *l)
{
	LIST_EACH(&l->api->file_locks, k)
	{
		struct file_lock *other = container_of(k, struct file_lock, link);
		if (other != l && same(l, other))
			return other;
	}
	return NULL;
}

static void over(struct file_lock *l, int rc)
{
	struct file_lock *next = follower(l);
	list_remove(&l->api->file_locks, &l->link);
	if (next && !next->is_sent)
		dispatch(next);
	op_done(&l->op, rc);
}

static void on_tx(struct op *op, int rc)
{
	over(container_of(container_of(op, struct db_tx, op), struct file_lock, tx), rc);
}

static void dispatch(struct file_lock *l)
{
	l->is_sent = true;
	int rc = api_tx_start(l->api, &l->tx, NULL);
	if (rc < 0)
		over(l, rc);
}

static void init(struct file_lock *l, struct api *api, struct id upload, int64_t tenant_id, struct db_query *q, const struct db_stmt *stmt)
{
	*l = (struct file_lock){ .api = api, .upload = upload, .tenant_id = tenant_id, .both = { &l->lock, q } };
	db_query_init(&l->lock, stmt);
	l->tx = (struct db_tx){ .queries = l->both, .n = ARRAY_LEN(l->both), .retry_ms = q->retry_ms };
	l->tx.op.on_done = on_tx;
}

static void start(struct file_lock *l, struct flow *flow)
{
	bool is_first = !follower(l);
	list_push(&l->api->file_locks, &l->link);
	op_start(&l->op, flow, "a place among a tenant's files", NULL);
	if (is_first)
		dispatch(l);
}

void file_lock_tenant(struct file_lock *l, struct api *api, int64_t tenant_id, struct db_query *q, struct flow *flow)
{
	init(l, api, (struct id){ 0 }, tenant_id, q, &sql_api_file_lock_tenant);
	db_arg_i64(&l->lock.args, tenant_id);
	start(l, flow);
}

void file_lock_upload(struct file_lock *l, struct api *api, struct id upload, int64_t tenant_id, struct db_query *q, struct flow *flow)
{
	init(l, api, upload, tenant_id, q, &sql_api_file_lock_upload);
	db_arg_i32(&l->lock.args, id_bucket(upload));
	db_arg_id(&l->lock.args, upload);
	db_arg_i64(&l->lock.args, tenant_id);
	start(l, flow);
}

void file_lock_done(struct file_lock *l)
{
	assert(!l->op.active);
	db_query_done(&l->lock);
}
