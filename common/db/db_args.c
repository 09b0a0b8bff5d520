/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters in PostgreSQL's binary format: integers big-endian, times as microseconds since 2000, arrays as a head
 * (dimensions, flags, element type, length, lower bound) and elements, each with its length.
 *
 * What can go wrong: the bytes pass their maximum. The buffers latch that, and db_query_start refuses the query; nobody
 * needs to check while adding. Whether a type fits the cast in the SQL is the server's to say.
 */
#include "common/db/db.h"

#include <string.h>

#include "common/db/db_conn.h"

#define INT32_LEN 4

/* --- values --- */

static void put_i16(struct buf *b, int16_t v)
{
	buf_add_be16(b, (uint16_t)v);
}

static void put_i32(struct buf *b, int32_t v)
{
	buf_add_be32(b, (uint32_t)v);
}

static void put_i64(struct buf *b, int64_t v)
{
	buf_add_be64(b, (uint64_t)v);
}

static void put_time(struct buf *b, int64_t wall_us)
{
	int64_t us;
	if (__builtin_sub_overflow(wall_us, DB_EPOCH_US, &us))
		us = INT64_MIN; /* "-infinity" */
	put_i64(b, us);
}

/* --- single parameters --- */

/* Announces the next parameter, of n bytes (-1: NULL), and returns where its bytes go. */
static struct buf *arg_next(struct db_args *a, ssize_t n)
{
	assert(a->n < DB_ARGS_MAX);
	if (a->b.n > UINT32_MAX || n > INT32_MAX)
		a->b.failed = true;
	a->at[a->n] = (uint32_t)a->b.n;
	a->len[a->n] = (int32_t)n;
	a->n++;
	return &a->b;
}

void db_arg_i16(struct db_args *a, int16_t v)
{
	put_i16(arg_next(a, sizeof(v)), v);
}

void db_arg_i32(struct db_args *a, int32_t v)
{
	put_i32(arg_next(a, sizeof(v)), v);
}

void db_arg_i64(struct db_args *a, int64_t v)
{
	put_i64(arg_next(a, sizeof(v)), v);
}

void db_arg_bool(struct db_args *a, bool v)
{
	buf_add_char(arg_next(a, 1), v ? 1 : 0);
}

void db_arg_text(struct db_args *a, struct str v)
{
	buf_add_str(arg_next(a, (ssize_t)v.n), v);
}

void db_arg_bytea(struct db_args *a, struct str v)
{
	db_arg_text(a, v);
}

void db_arg_id(struct db_args *a, struct id v)
{
	buf_add(arg_next(a, sizeof(v.b)), v.b, sizeof(v.b));
}

void db_arg_time(struct db_args *a, int64_t wall_us)
{
	put_time(arg_next(a, sizeof(wall_us)), wall_us);
}

void db_arg_null(struct db_args *a)
{
	arg_next(a, -1);
}

void db_arg_text_or_null(struct db_args *a, struct str v)
{
	if (v.p)
		db_arg_text(a, v);
	else
		db_arg_null(a);
}

/* --- arrays --- */

void db_array_init(struct db_array *a, enum db_type type, size_t max_bytes)
{
	*a = (struct db_array){ .type = type };
	buf_init(&a->b, max_bytes);
}

void db_array_done(struct db_array *a)
{
	buf_done(&a->b);
}

void db_array_clear(struct db_array *a)
{
	buf_clear(&a->b);
	a->n = 0;
	a->has_null = false;
}

static struct buf *array_next(struct db_array *a, enum db_type type, size_t n)
{
	assert(a->type == type);
	(void)type;
	if (n > INT32_MAX)
		a->b.failed = true;
	a->n++;
	buf_add_be32(&a->b, (uint32_t)n);
	return &a->b;
}

void db_array_i16(struct db_array *a, int16_t v)
{
	put_i16(array_next(a, DB_INT2, sizeof(v)), v);
}

void db_array_i32(struct db_array *a, int32_t v)
{
	put_i32(array_next(a, DB_INT4, sizeof(v)), v);
}

void db_array_i64(struct db_array *a, int64_t v)
{
	put_i64(array_next(a, DB_INT8, sizeof(v)), v);
}

void db_array_bool(struct db_array *a, bool v)
{
	buf_add_char(array_next(a, DB_BOOL, 1), v ? 1 : 0);
}

void db_array_text(struct db_array *a, struct str v)
{
	buf_add_str(array_next(a, a->type == DB_BYTEA ? DB_BYTEA : DB_TEXT, v.n), v);
}

void db_array_id(struct db_array *a, struct id v)
{
	buf_add(array_next(a, DB_UUID, sizeof(v.b)), v.b, sizeof(v.b));
}

void db_array_time(struct db_array *a, int64_t wall_us)
{
	put_time(array_next(a, DB_TIME, sizeof(wall_us)), wall_us);
}

void db_array_null(struct db_array *a)
{
	a->n++;
	a->has_null = true;
	put_i32(&a->b, -1);
}

void db_array_text_or_null(struct db_array *a, struct str v)
{
	if (v.p)
		db_array_text(a, v);
	else
		db_array_null(a);
}

void db_array_i64_or_null(struct db_array *a, int64_t v)
{
	if (v >= 0)
		db_array_i64(a, v);
	else
		db_array_null(a);
}

void db_array_time_or_null(struct db_array *a, int64_t wall_us)
{
	if (wall_us)
		db_array_time(a, wall_us);
	else
		db_array_null(a);
}

void db_arg_array(struct db_args *a, const struct db_array *array)
{
	size_t head = array->n ? 5 * INT32_LEN : 3 * INT32_LEN;
	struct buf *b = arg_next(a, (ssize_t)(head + array->b.n));
	put_i32(b, array->n ? 1 : 0); /* dimensions */
	put_i32(b, array->has_null ? 1 : 0);
	put_i32(b, (int32_t)array->type);
	if (array->n) {
		buf_add_be32(b, array->n);
		put_i32(b, 1); /* the first index */
	}
	buf_add_str(b, buf_str(&array->b));
	if (buf_failed(&array->b))
		b->failed = true;
}
