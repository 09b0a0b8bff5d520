/* SPDX-License-Identifier: Apache-2.0 */
/* Looks up one key and compares fingerprints. What a repeat is answered with is its handler's matter: the object as it stands now. */
#include "api/replay.h"

#include "common/crypto.h"
#include "sql_api.h"

#define ARRAY_BYTES 1024

/* The columns of idempotency_get.sql. */
enum { COL_BUCKET, COL_TENANT, COL_KEY, COL_FINGERPRINT, COL_KIND, COL_ID };

int replay_start(struct request *q, struct str key)
{
	struct db_array buckets, tenants, keys;
	db_array_init(&buckets, DB_INT4, ARRAY_BYTES);
	db_array_init(&tenants, DB_INT8, ARRAY_BYTES);
	db_array_init(&keys, DB_TEXT, ARRAY_BYTES);
	db_array_i32(&buckets, id_bucket_of_key(q->who.tenant_id, key));
	db_array_i64(&tenants, q->who.tenant_id);
	db_array_text(&keys, key);
	request_query_init(q, &sql_api_idempotency_get);
	db_arg_array(&q->query.args, &buckets);
	db_arg_array(&q->query.args, &tenants);
	db_arg_array(&q->query.args, &keys);
	db_array_done(&buckets);
	db_array_done(&tenants);
	db_array_done(&keys);
	return api_query_start(q->api, &q->query, &q->flow);
}

int replay_judge(struct request *q, const uint8_t fingerprint[32], enum replay_kind kind, struct id *ret_id)
{
	const struct db_query *query = &q->query;
	if (db_rows(query) == 0)
		return err_set(&q->err, ERR_DB_CONFLICT, "%s", "nothing was made: ask again");
	struct str theirs = db_get_str(query, 0, COL_FINGERPRINT);
	bool same = theirs.n == SHA256_LEN && crypto_equal(theirs.p, fingerprint, SHA256_LEN);
	if (!same || db_get_int(query, 0, COL_KIND) != (int64_t)kind)
		return err_set(&q->err, ERR_KEY_REUSED, "%s", "this Idempotency-Key came with another request before");
	*ret_id = db_get_id(query, 0, COL_ID);
	return 0;
}
