/* SPDX-License-Identifier: Apache-2.0 */
/* One row of `types` for each column, in the order of the statements' parameters; batch_columns_add fills them in that order. */
#include "api/batches/batch_columns.h"

#include "api/api.h"
#include "api/jobs/fairness.h"
#include "api/jobs/hints.h"

#define COLUMN_MAX ((size_t)1 << 30)

static const enum db_type types[BATCH_COLUMNS] = {
	DB_UUID, DB_INT4, DB_INT2, DB_INT2, DB_INT4, DB_TEXT, DB_TEXT, DB_TEXT, DB_TIME, DB_TIME, DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_INT2, DB_TEXT,
	DB_INT8,
};

void batch_columns_init(struct batch_columns *g)
{
	*g = (struct batch_columns){ 0 };
	for (size_t i = 0; i < BATCH_COLUMNS; i++)
		db_array_init(&g->c[i], types[i], COLUMN_MAX);
}

void batch_columns_clear(struct batch_columns *g)
{
	for (size_t i = 0; i < BATCH_COLUMNS; i++)
		db_array_clear(&g->c[i]);
	g->rows = 0;
	g->bytes = 0;
}

void batch_columns_done(struct batch_columns *g)
{
	for (size_t i = 0; i < BATCH_COLUMNS; i++)
		db_array_done(&g->c[i]);
}

static void note_pair(struct batch_pairs *p, int lane, int priority)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->all[i].lane == lane && p->all[i].priority == priority) {
			p->all[i].lines++;
			return;
		}
	}
	if (p->n < BATCH_PAIRS)
		p->all[p->n++] = (struct batch_pair){ lane, priority, 1 };
}

void batch_columns_add(struct batch_columns *g, const struct batch_lines_of *of, struct batch_pairs *pairs, int index, int lane, const struct submission *s)
{
	struct db_array *c = g->c;
	int64_t floor, pass = fairness_pass(of->api->fairness, of->tenant_id, of->weight, lane, s->priority, loop_now_ms(&of->api->loop), &floor);
	note_pair(pairs, lane, s->priority);
	db_array_id(c++, id_make(id_bucket(of->batch)));
	db_array_i32(c++, index);
	db_array_i16(c++, (int16_t)s->kind);
	db_array_i16(c++, (int16_t)s->priority);
	db_array_i32(c++, lane);
	db_array_text(c++, s->route);
	db_array_text_or_null(c++, s->user);
	db_array_text_or_null(c++, s->metadata);
	db_array_time_or_null(c++, s->run_at_us);
	db_array_time_or_null(c++, s->expires_at_us);
	db_array_text_or_null(c++, s->webhook_url);
	db_array_text(c++, s->body);
	db_array_i64(c++, pass);
	db_array_i64(c++, floor);
	db_array_i16(c++, (int16_t)s->max_attempts);
	db_array_text_or_null(c++, s->custom_id);
	db_array_i64_or_null(c++, s->estimate_nanousd);
	assert(c == g->c + BATCH_COLUMNS);
	g->rows++;
	g->bytes += s->body.n;
}

void batch_columns_arg(const struct batch_columns *g, struct db_args *args)
{
	for (size_t i = 0; i < BATCH_COLUMNS; i++)
		db_arg_array(args, &g->c[i]);
}

void batch_pairs_ready(const struct batch_pairs *p, struct api *api)
{
	for (size_t i = 0; i < p->n; i++)
		hints_ready(api->hints, p->all[i].lane, p->all[i].priority);
}

void batch_pairs_return(const struct batch_pairs *p, const struct batch_lines_of *of)
{
	for (size_t i = 0; i < p->n; i++)
		fairness_return(of->api->fairness, of->tenant_id, of->weight, p->all[i].lane, p->all[i].priority, p->all[i].lines);
}
