/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from lane names to numbers, filled from table lane as names come up. Two requests that ask for the same new
 * name both get it: the statement makes what is missing and returns the rest. A number is kept as a pointer that is
 * never followed.
 */
#include "api/jobs/lane_ids.h"

#include <stdlib.h>

#include "api/api.h"
#include "common/hash.h"
#include "sql_api.h"

struct lane_ids {
	struct api *api;
	struct hash by_name; /* id as a pointer; ids start at 1 */
};

struct lane_ids *lane_ids_new(struct api *api)
{
	struct lane_ids *l = calloc(1, sizeof(*l));
	assert(l);
	l->api = api;
	hash_init(&l->by_name);
	return l;
}

void lane_ids_free(struct lane_ids *l)
{
	if (!l)
		return;
	hash_done(&l->by_name);
	free(l);
}

int lane_ids_get(const struct lane_ids *l, struct str name)
{
	const void *v = hash_get(&l->by_name, name);
	return v ? (int)(intptr_t)v : -1;
}

int lane_ids_ask(struct lane_ids *l, struct db_query *q, const struct str *names, size_t n, struct flow *flow)
{
	struct db_array a;
	db_array_init(&a, DB_TEXT, 1 << 20);
	for (size_t i = 0; i < n; i++)
		db_array_text(&a, names[i]);
	db_query_done(q);
	db_query_init(q, &sql_api_lane_get);
	db_arg_array(&q->args, &a);
	db_array_done(&a);
	return api_query_start(l->api, q, flow);
}

void lane_ids_learn(struct lane_ids *l, const struct db_query *q)
{
	for (int i = 0; i < db_rows(q); i++)
		hash_set(&l->by_name, db_get_str(q, i, 1),
		         (void *)(intptr_t)db_get_int(q, i, 0)); /* NOLINT(performance-no-int-to-ptr) */
}
