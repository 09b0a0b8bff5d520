/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor: what PostgreSQL alone can do with Millrace's own statements, without HTTP, providers or step tables: the yardstick for the whole life of a
 * job, and the measure of the claim.
 *
 *   floor URL life JOBS BODY_BYTES        accepts, claims and completes JOBS jobs in batches of 100, three streams at a time on one loop
 *   floor URL fill JOBS BODY_BYTES        accepts JOBS jobs and leaves them waiting
 *   floor URL claim SECONDS               claims in batches of 100 as one worker does, floors and all, for SECONDS
 *   floor URL drain JOBS                  the same until JOBS are claimed
 *
 * Prints one JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/db/db.h"
#include "common/id.h"
#include "common/loop.h"
#include "sql_api.h"
#include "sql_worker.h"
#include "worker/queue/lanes.h"
#include "worker/queue/record_columns.h"

#define BATCH      100
#define STREAMS    4
#define COLUMNS    22 /* of accept.sql */

enum mode { LIFE, FILL, CLAIM, DRAIN };

static const enum db_type accept_types[COLUMNS] = { DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_INT2, DB_INT4, DB_TEXT, DB_TEXT, DB_TEXT,
	                                            DB_TIME, DB_TIME, DB_TEXT, DB_TEXT, DB_TEXT, DB_BYTEA, DB_INT8, DB_INT8, DB_INT2, DB_TEXT,
	                                            DB_INT2, DB_INT2, DB_INT8 };

struct stream {
	struct bench *bench;
	struct db_query q;
	struct db_array columns[COLUMNS];
};

struct bench {
	struct loop loop;
	struct db *db;
	enum mode mode;
	struct stream acceptors[STREAMS], claimers[STREAMS];
	struct db_query aux;
	struct db_array job[JOB_COLUMNS], attempt[ATTEMPT_COLUMNS];
	struct str body;
	int64_t jobs, accepted, sent, claimed, done, claim_no, pass, lane, tenant;
	int64_t floor, settling, candidate, published;
	uint64_t settle_at_ms, published_ms, start_ns, end_ns;
	bool publishing;
	struct id worker;
	int in_flight;
	char *text;
};

static void step(struct bench *b);

static void fail_on(int rc, const struct db_query *q)
{
	if (rc == 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", q->stmt->name, q->err.text);
	exit(1);
}

/* --- accept --- */

static void on_accepted(struct op *op, int rc)
{
	struct stream *s = container_of(container_of(op, struct db_query, op), struct stream, q);
	struct bench *b = s->bench;
	fail_on(rc, &s->q);
	b->accepted += db_rows(&s->q);
	db_query_done(&s->q);
	b->in_flight--;
	step(b);
}

static void add_row(struct bench *b, struct db_array *c)
{
	struct id id = id_make(-1);
	db_array_i32(&c[0], id_bucket(id));
	db_array_id(&c[1], id);
	db_array_i64(&c[2], b->tenant);
	db_array_i16(&c[3], 0);
	db_array_i16(&c[4], 4);
	db_array_i32(&c[5], (int32_t)b->lane);
	db_array_text(&c[6], STR("default"));
	for (int i = 7; i <= 11; i++)
		db_array_null(&c[i]);
	db_array_text(&c[12], b->body);
	db_array_null(&c[13]);
	db_array_null(&c[14]);
	db_array_i64(&c[15], b->pass += 1000000);
	db_array_i64(&c[16], 0);
	db_array_i16(&c[17], 5);
	db_array_null(&c[18]);
	db_array_i16(&c[19], 0);
	db_array_i16(&c[20], 0);
	db_array_null(&c[21]);
}

static void accept_some(struct bench *b, struct stream *s)
{
	for (int i = 0; i < COLUMNS; i++)
		db_array_clear(&s->columns[i]);
	for (int i = 0; i < BATCH && b->sent < b->jobs; i++, b->sent++)
		add_row(b, s->columns);
	db_query_init(&s->q, &sql_api_accept);
	s->q.op.on_done = on_accepted;
	for (int i = 0; i < COLUMNS; i++)
		db_arg_array(&s->q.args, &s->columns[i]);
	db_arg_i64(&s->q.args, 86400000);
	db_arg_i64(&s->q.args, 86400000);
	db_arg_i16(&s->q.args, 202);
	db_arg_id(&s->q.args, b->worker);
	b->in_flight++;
	fail_on(db_query_start(b->db, &s->q, NULL), &s->q);
}

/* --- complete --- */

static void on_recorded(struct op *op, int rc)
{
	struct stream *s = container_of(container_of(op, struct db_query, op), struct stream, q);
	struct bench *b = s->bench;
	fail_on(rc, &s->q);
	b->done += db_rows(&s->q);
	db_query_done(&s->q);
	b->in_flight--;
	step(b);
}

static const enum db_type end_types[JOB_COLUMNS] = { DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_INT2, DB_TEXT, DB_TEXT, DB_TEXT, DB_INT2,
	                                             DB_INT2, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT2, DB_TEXT, DB_UUID, DB_TEXT,
	                                             DB_INT8, DB_INT8, DB_BYTEA, DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_INT8 };
static const enum db_type attempt_types[ATTEMPT_COLUMNS] = { DB_INT4, DB_UUID, DB_INT8, DB_INT2, DB_TEXT, DB_TIME, DB_INT4, DB_INT4, DB_INT2,
	                                                     DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT8,
	                                                     DB_INT2, DB_TEXT, DB_INT8, DB_INT8, DB_INT8, DB_TEXT };

static void key(struct db_array *c, const struct db_query *claim, int row)
{
	db_array_i32(&c[0], (int32_t)db_get_int(claim, row, 0));
	db_array_id(&c[1], db_get_id(claim, row, 1));
	db_array_i64(&c[2], db_get_int(claim, row, 2));
}

static void add_end(struct bench *b, const struct db_query *claim, int row)
{
	struct db_array *c = b->job, *a = b->attempt;
	key(c, claim, row);
	db_array_i16(&c[3], 3);
	db_array_i16(&c[4], 0);
	db_array_text(&c[5], STR("floor"));
	db_array_null(&c[6]);
	db_array_null(&c[7]);
	db_array_null(&c[8]);
	db_array_i16(&c[9], 1);
	for (int i = 10; i <= 13; i++)
		db_array_i64(&c[i], 100);
	db_array_i16(&c[14], 0);
	db_array_text(&c[15], str_sub(b->body, 0, 400));
	db_array_null(&c[16]);
	db_array_null(&c[17]);
	db_array_i64(&c[18], 0);
	db_array_i64(&c[19], 0);
	for (int i = 20; i <= 24; i++)
		db_array_null(&c[i]);
	db_array_i64(&c[25], 100);
	key(a, claim, row);
	db_array_i16(&a[3], 1);
	db_array_text(&a[4], STR("floor"));
	db_array_time(&a[5], clock_wall_us());
	db_array_i32(&a[6], 1);
	db_array_i32(&a[7], 1);
	db_array_i16(&a[8], 200);
	db_array_text(&a[9], STR("ok"));
	db_array_null(&a[10]);
	for (int i = 11; i <= 17; i++)
		db_array_i64(&a[i], 100);
	db_array_i16(&a[18], 0);
	db_array_null(&a[19]);
	db_array_i64(&a[20], 0);
	db_array_i64(&a[21], 0);
	db_array_null(&a[22]);
	db_array_null(&a[23]);
}

/* The claim's stream goes on as the completion of what it claimed. */
static void record(struct bench *b, struct stream *s, const struct db_query *claim)
{
	for (int i = 0; i < JOB_COLUMNS; i++)
		db_array_clear(&b->job[i]);
	for (int i = 0; i < ATTEMPT_COLUMNS; i++)
		db_array_clear(&b->attempt[i]);
	for (int row = 0; row < db_rows(claim); row++)
		add_end(b, claim, row);
	struct db_query next;
	db_query_init(&next, &sql_worker_record);
	for (int i = 0; i < JOB_COLUMNS; i++)
		db_arg_array(&next.args, &b->job[i]);
	for (int i = 0; i < ATTEMPT_COLUMNS; i++)
		db_arg_array(&next.args, &b->attempt[i]);
	db_arg_id(&next.args, b->worker);
	db_query_done(&s->q);
	s->q = next;
	s->q.op.on_done = on_recorded;
	b->in_flight++;
	fail_on(db_query_start(b->db, &s->q, NULL), &s->q);
}

/* --- claim, with the floors that worker/queue/lanes.c keeps --- */

static void on_published(struct op *op, int rc)
{
	struct bench *b = container_of(container_of(op, struct db_query, op), struct bench, aux);
	fail_on(rc, &b->aux);
	db_query_done(&b->aux);
	b->publishing = false;
	b->settling = b->published;
	b->settle_at_ms = loop_now_ms(&b->loop) + FLOOR_SETTLE_MS;
	b->in_flight--;
}

static void move_floor(struct bench *b)
{
	uint64_t now = loop_now_ms(&b->loop);
	if (b->settling > b->floor && now >= b->settle_at_ms)
		b->floor = b->settling;
	if (b->publishing || b->settling > b->floor || now < b->published_ms + FLOOR_PUBLISH_MS || b->candidate <= b->published)
		return;
	struct db_array lane, priority, floor;
	db_array_init(&lane, DB_INT4, 64);
	db_array_init(&priority, DB_INT2, 64);
	db_array_init(&floor, DB_INT8, 64);
	db_array_i32(&lane, (int32_t)b->lane);
	db_array_i16(&priority, 4);
	db_array_i64(&floor, b->candidate);
	b->published = b->candidate;
	b->published_ms = now;
	b->publishing = true;
	db_query_init(&b->aux, &sql_worker_floor_raise);
	b->aux.op.on_done = on_published;
	db_arg_array(&b->aux.args, &lane);
	db_arg_array(&b->aux.args, &priority);
	db_arg_array(&b->aux.args, &floor);
	db_array_done(&lane);
	db_array_done(&priority);
	db_array_done(&floor);
	b->in_flight++;
	fail_on(db_query_start(b->db, &b->aux, NULL), &b->aux);
}

static void on_claimed(struct op *op, int rc)
{
	struct stream *s = container_of(container_of(op, struct db_query, op), struct stream, q);
	struct bench *b = s->bench;
	fail_on(rc, &s->q);
	int rows = db_rows(&s->q);
	int64_t first = INT64_MAX;
	for (int row = 0; row < rows; row++)
		first = MIN(first, db_get_int(&s->q, row, 6));
	if (rows > 0)
		b->candidate = MAX(b->candidate, first);
	b->claimed += rows;
	b->in_flight--;
	if (b->mode == LIFE && rows > 0) {
		record(b, s, &s->q);
		return;
	}
	db_query_done(&s->q);
	step(b);
}

static void claim_some(struct bench *b, struct stream *s)
{
	move_floor(b);
	db_query_init(&s->q, &sql_worker_claim);
	s->q.op.on_done = on_claimed;
	db_arg_i32(&s->q.args, (int32_t)b->lane);
	db_arg_i16(&s->q.args, 4);
	db_arg_i64(&s->q.args, b->floor);
	db_arg_i32(&s->q.args, BATCH);
	db_arg_id(&s->q.args, b->worker);
	db_arg_i64(&s->q.args, ++b->claim_no);
	db_arg_i64(&s->q.args, 600000);
	b->in_flight++;
	fail_on(db_query_start(b->db, &s->q, NULL), &s->q);
}

/* --- the run --- */

static bool is_over(const struct bench *b)
{
	switch (b->mode) {
	case LIFE:
		return b->done >= b->jobs;
	case FILL:
		return b->accepted >= b->jobs;
	case DRAIN:
		return b->claimed >= b->jobs;
	case CLAIM:
		break;
	}
	return clock_mono_ns() >= b->end_ns;
}

static void step(struct bench *b)
{
	if (is_over(b)) {
		if (b->in_flight == 0)
			loop_stop(&b->loop);
		return;
	}
	int claimers = b->mode == LIFE ? 2 : 1, acceptors = b->mode >= CLAIM ? 0 : b->mode == LIFE ? 2 : STREAMS;
	for (int i = 0; i < acceptors; i++)
		if (!b->acceptors[i].q.op.active && b->sent < b->jobs)
			accept_some(b, &b->acceptors[i]);
	for (int i = 0; b->mode != FILL && i < claimers; i++)
		if (!b->claimers[i].q.op.active && (b->mode >= CLAIM || b->claimed < b->jobs))
			claim_some(b, &b->claimers[i]);
}

static void on_aux(struct op *op, int rc)
{
	struct bench *b = container_of(container_of(op, struct db_query, op), struct bench, aux);
	fail_on(rc, &b->aux);
	if (b->aux.stmt == &sql_api_lane_get)
		b->lane = db_get_int(&b->aux, 0, 0);
	db_query_done(&b->aux);
	loop_stop(&b->loop);
}

static void run_aux(struct bench *b)
{
	b->aux.op.on_done = on_aux;
	fail_on(db_query_start(b->db, &b->aux, NULL), &b->aux);
	loop_run(&b->loop);
}

/* The lane "floor" (no worker of the system claims from it unless it is routed) and a worker row of our own. */
static void prepare(struct bench *b)
{
	struct db_array names;
	db_array_init(&names, DB_TEXT, 256);
	db_array_text(&names, STR("floor"));
	db_query_init(&b->aux, &sql_api_lane_get);
	db_arg_array(&b->aux.args, &names);
	db_array_done(&names);
	run_aux(b);
	db_query_init(&b->aux, &sql_worker_worker_register);
	db_arg_id(&b->aux.args, b->worker);
	db_arg_text(&b->aux.args, STR("bench"));
	db_arg_i32(&b->aux.args, 1);
	db_arg_i32(&b->aux.args, 1);
	db_arg_null(&b->aux.args);
	run_aux(b);
}

static void set_up(struct bench *b, const char *url, size_t body_bytes)
{
	loop_init(&b->loop);
	struct db_cfg cfg = { .url = url, .application = "floor", .connections = 3, .depth = 2, .max_waiting = 100, .statement_timeout_ms = 60000,
		              .deadline_ms = 60000 };
	b->db = db_new(&b->loop, &cfg);
	b->worker = id_make(-1);
	b->tenant = 1;
	b->text = malloc(body_bytes + 1);
	for (size_t i = 0; i < body_bytes; i++)
		b->text[i] = "the licence grants each contributor "[(i * 7 + i / 36) % 36];
	b->body = (struct str){ b->text, body_bytes };
	for (int s = 0; s < STREAMS; s++) {
		b->acceptors[s].bench = b->claimers[s].bench = b;
		for (int i = 0; i < COLUMNS; i++)
			db_array_init(&b->acceptors[s].columns[i], accept_types[i], 64 << 20);
	}
	for (int i = 0; i < JOB_COLUMNS; i++)
		db_array_init(&b->job[i], end_types[i], 64 << 20);
	for (int i = 0; i < ATTEMPT_COLUMNS; i++)
		db_array_init(&b->attempt[i], attempt_types[i], 64 << 20);
}

static int64_t number(const char *z)
{
	uint64_t v;
	if (str_u64(str_from(z), 1, 1u << 30, &v) < 0) {
		fprintf(stderr, "floor: not a number: %s\n", z);
		exit(2);
	}
	return (int64_t)v;
}

int main(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof *b);
	if (argc < 4) {
		fprintf(stderr, "usage: floor URL life|fill JOBS BODY_BYTES, floor URL claim SECONDS, or floor URL drain JOBS\n");
		return 2;
	}
	static const char *const modes[] = { "life", "fill", "claim", "drain" };
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(argv[2], modes[i]) == 0)
			b->mode = (enum mode)i;
	set_up(b, argv[1], argc > 4 ? (size_t)number(argv[4]) : 2048);
	prepare(b);
	b->jobs = number(argv[3]);
	b->start_ns = clock_mono_ns();
	b->end_ns = b->start_ns + (uint64_t)b->jobs * 1000000000;
	step(b);
	loop_run(&b->loop);
	double seconds = (double)(clock_mono_ns() - b->start_ns) / 1e9;
	int64_t n = b->mode >= CLAIM ? b->claimed : b->mode == FILL ? b->accepted : b->done;
	printf("{\"jobs\":%lld,\"seconds\":%.3f,\"per_s\":%.0f}\n", (long long)n, seconds, (double)n / seconds);
	return 0;
}
