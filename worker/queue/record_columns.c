/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns jobs and attempts into array parameters, in the order in which record.sql, give_back.sql and attempt_write.sql name them. The arrays keep
 * their memory between statements.
 */
#include "worker/queue/record_columns.h"

#include "worker/execution/cache.h"

#define COLUMN_MAX    ((size_t)1 << 30)
#define CACHE_COLUMNS 5

static const enum db_type attempt_types[ATTEMPT_COLUMNS] = {
	DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_TEXT, DB_TIME, DB_INT4, DB_INT4, DB_INT2, DB_TEXT,
	DB_TEXT, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT2, DB_TEXT,
	DB_INT8, DB_INT8, DB_INT8, DB_TEXT,
};

static const enum db_type end_types[JOB_COLUMNS] = {
	DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_INT2, DB_TEXT, DB_TEXT, DB_TEXT, DB_INT2,
	DB_INT2, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT2, DB_TEXT, DB_UUID, DB_TEXT,
	DB_INT8, DB_INT8, DB_BYTEA, DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_INT8,
};

static const enum db_type give_back_types[] = { DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_INT2, DB_INT8, DB_INT2 };
static const enum db_type held_types[] = { DB_INT4, DB_UUID, DB_INT8, DB_INT2 };

void columns_init(struct columns *c)
{
	for (size_t i = 0; i < JOB_COLUMNS; i++)
		db_array_init(&c->job[i], end_types[i], COLUMN_MAX);
	for (size_t i = 0; i < ATTEMPT_COLUMNS; i++)
		db_array_init(&c->attempt[i], attempt_types[i], COLUMN_MAX);
}

void columns_done(struct columns *c)
{
	for (size_t i = 0; i < JOB_COLUMNS; i++)
		db_array_done(&c->job[i]);
	for (size_t i = 0; i < ATTEMPT_COLUMNS; i++)
		db_array_done(&c->attempt[i]);
}

static void i32_or_null(struct db_array *a, int32_t v)
{
	if (v >= 0)
		db_array_i32(a, v);
	else
		db_array_null(a);
}

static void i16_or_null(struct db_array *a, int v)
{
	if (v > 0)
		db_array_i16(a, (int16_t)v);
	else
		db_array_null(a);
}

static void key(struct db_array *a, const struct job *j)
{
	db_array_i32(&a[0], j->bucket);
	db_array_id(&a[1], j->id);
	db_array_i64(&a[2], j->token);
}

static void add_attempt(struct db_array *a, const struct job *j, const struct attempt_row *t)
{
	key(a, j);
	db_array_i16(&a[3], (int16_t)t->number);
	db_array_text(&a[4], t->target);
	db_array_time(&a[5], t->started_us);
	i32_or_null(&a[6], t->first_token_ms);
	i32_or_null(&a[7], t->total_ms);
	i16_or_null(&a[8], t->http_status);
	db_array_text(&a[9], str_from(t->code));
	db_array_text_or_null(&a[10], t->message);
	db_array_i64(&a[11], t->usage.input);
	db_array_i64(&a[12], t->usage.cached_input);
	db_array_i64(&a[13], t->usage.output);
	db_array_i64_or_null(&a[14], t->cost_nanousd);
	db_array_i64_or_null(&a[15], t->price.input);
	db_array_i64_or_null(&a[16], t->price.cached_input);
	db_array_i64_or_null(&a[17], t->price.output);
	db_array_i16(&a[18], (int16_t)t->flags);
	db_array_text_or_null(&a[19], t->next);
	db_array_i64(&a[20], t->usage.cache_write);
	db_array_i64(&a[21], t->usage.reasoning);
	db_array_i64_or_null(&a[22], t->price.cache_write);
	db_array_text_or_null(&a[23], t->choice);
}

/* A leader's answer for identical requests. */
static void add_cache(struct db_array *a, const struct cache_write *c)
{
	if (!c) {
		for (size_t i = 0; i < CACHE_COLUMNS; i++)
			db_array_null(&a[i]);
		return;
	}
	db_array_text(&a[0], (struct str){ (const char *)c->key, sizeof c->key });
	db_array_text(&a[1], c->namespace);
	db_array_text(&a[2], c->route);
	db_array_i64(&a[3], c->ttl_ms);
	db_array_i64(&a[4], c->stale_ms);
}

static void add_end(struct db_array *a, const struct job *j)
{
	const struct job_end *e = &j->end;
	key(a, j);
	db_array_i16(&a[3], (int16_t)e->status);
	db_array_i16(&a[4], (int16_t)e->level);
	db_array_text_or_null(&a[5], e->target);
	db_array_text_or_null(&a[6], str_from(e->error_code));
	db_array_text_or_null(&a[7], e->error_message);
	i16_or_null(&a[8], e->error_status);
	db_array_i16(&a[9], (int16_t)j->attempts);
	db_array_i64(&a[10], e->usage.input);
	db_array_i64(&a[11], e->usage.cached_input);
	db_array_i64(&a[12], e->usage.output);
	db_array_i64_or_null(&a[13], e->cost_nanousd);
	db_array_i16(&a[14], (int16_t)e->flags);
	db_array_text_or_null(&a[15], e->result);
	if (id_is_zero(j->batch_id))
		db_array_null(&a[16]);
	else
		db_array_id(&a[16], j->batch_id);
	db_array_text_or_null(&a[17], j->webhook_url);
	db_array_i64(&a[18], e->usage.cache_write);
	db_array_i64(&a[19], e->usage.reasoning);
	add_cache(&a[20], e->cache);
	db_array_i64(&a[25], e->known_nanousd);
}

static void add_give_back(struct db_array *a, const struct record_op *e)
{
	key(a, e->job);
	db_array_i16(&a[3], (int16_t)e->job->attempts);
	db_array_i16(&a[4], (int16_t)(e->job->interruptions + (e->interrupted ? 1 : 0)));
	db_array_i64_or_null(&a[5], e->delay_ms);
	db_array_i16(&a[6], (int16_t)e->reason);
}

static void reset(struct db_array *a, const enum db_type *types, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		db_array_clear(&a[i]);
		a[i].type = types[i];
	}
}

static void args_of(struct db_args *args, const struct db_array *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		db_arg_array(args, &a[i]);
}

void columns_fill(struct columns *c, struct db_args *args, enum record_kind kind, struct record_op *const *entries, size_t n, struct id worker)
{
	reset(c->attempt, attempt_types, ATTEMPT_COLUMNS);
	for (size_t i = 0; i < n; i++)
		LIST_EACH(&entries[i]->job->unwritten, k)
			add_attempt(c->attempt, entries[i]->job, container_of(k, struct attempt_row, link));

	switch (kind) {
	case RECORD_END:
		reset(c->job, end_types, JOB_COLUMNS);
		for (size_t i = 0; i < n; i++)
			add_end(c->job, entries[i]->job);
		args_of(args, c->job, JOB_COLUMNS);
		args_of(args, c->attempt, ATTEMPT_COLUMNS);
		db_arg_id(args, worker);
		break;
	case RECORD_GIVE_BACK:
		reset(c->job, give_back_types, ARRAY_LEN(give_back_types));
		for (size_t i = 0; i < n; i++)
			add_give_back(c->job, entries[i]);
		args_of(args, c->job, ARRAY_LEN(give_back_types));
		args_of(args, c->attempt, ATTEMPT_COLUMNS);
		break;
	case RECORD_ATTEMPT:
		reset(c->job, held_types, ARRAY_LEN(held_types));
		for (size_t i = 0; i < n; i++) {
			key(c->job, entries[i]->job);
			db_array_i16(&c->job[3], (int16_t)entries[i]->job->attempts);
		}
		args_of(args, c->attempt, ATTEMPT_COLUMNS);
		args_of(args, c->job, ARRAY_LEN(held_types));
		break;
	}
}
