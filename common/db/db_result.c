/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading results in binary format. All is well when the statement's columns have the types that the reader expects; a
 * wrong width or a row that is not there is a bug of ours and aborts, so that it cannot become a wrong number. NULL
 * reads as zero or empty; db_is_null tells.
 */
#include <libpq-fe.h>
#include <string.h>

#include "common/db/db.h"
#include "common/db/db_conn.h"

static const char *cell(const struct db_query *q, int row, int col, int *ret_len)
{
	assert(q->result && row >= 0 && row < PQntuples(q->result) && col >= 0 && col < PQnfields(q->result));
	if (PQgetisnull(q->result, row, col))
		return NULL;
	*ret_len = PQgetlength(q->result, row, col);
	return PQgetvalue(q->result, row, col);
}

static int64_t read_int(const char *p, int len)
{
	const unsigned char *u = (const unsigned char *)p;
	uint64_t v = u[0] & 0x80 ? UINT64_MAX : 0; /* the sign */
	for (int i = 0; i < len; i++)
		v = v << 8 | u[i];
	return (int64_t)v;
}

int db_rows(const struct db_query *q)
{
	assert(q->result);
	return PQntuples(q->result);
}

bool db_is_null(const struct db_query *q, int row, int col)
{
	int len;
	return !cell(q, row, col, &len);
}

bool db_get_bool(const struct db_query *q, int row, int col)
{
	int len;
	const char *p = cell(q, row, col, &len);
	if (!p)
		return false;
	assert(len == 1);
	return *p != 0;
}

int64_t db_get_int(const struct db_query *q, int row, int col)
{
	int len;
	const char *p = cell(q, row, col, &len);
	if (!p)
		return 0;
	assert(len == 2 || len == 4 || len == 8);
	return read_int(p, len);
}

struct str db_get_str(const struct db_query *q, int row, int col)
{
	int len;
	const char *p = cell(q, row, col, &len);
	if (!p)
		return STR("");
	return (struct str){ p, (size_t)len };
}

struct id db_get_id(const struct db_query *q, int row, int col)
{
	int len;
	struct id id = { { 0 } };
	const char *p = cell(q, row, col, &len);
	if (!p)
		return id;
	assert(len == (int)sizeof(id.b));
	memcpy(id.b, p, sizeof(id.b));
	return id;
}

int64_t db_get_time(const struct db_query *q, int row, int col)
{
	int len;
	const char *p = cell(q, row, col, &len);
	if (!p)
		return 0;
	assert(len == 8);
	int64_t us = read_int(p, len), wall;
	if (__builtin_add_overflow(us, DB_EPOCH_US, &wall))
		return INT64_MAX; /* "infinity" */
	return wall;
}
